"""The core of recording: what is recorded of which request. Knows neither mitmproxy nor sockets.

An adapter (a "lane") tells the `Recorder` of each request head and gets a `Verdict`: which headers to take out, and,
if this is a call to a model, a `Capture`. Once the request is whole, `Capture.decide` says who it belongs to, what
applies to it, and whether the lane gives an answer of ours in place of asking upstream. The lane then tells the capture
what passes, with the time of a monotonic clock in seconds, and how it ended: `complete`, `aborted` or `failed`. The
first ending counts; it writes the exchange to the spool. Nothing here raises into the lane: a failure of ours costs the
record, never the client's call.

Called inside the proxy's event loop.
"""

from __future__ import annotations

import logging
import time
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import msgspec

from tracecli import tags
from tracecli.cache.asking import Asking, ResponseCache, Who
from tracecli.cache.flights import Waiting
from tracecli.cache.key import Asked
from tracecli.cache.replay import Answer
from tracecli.credentials import REDACTED, redact_headers, redact_path, secrets_of
from tracecli.exchange import Captured, Exchange, Headers, Outcome, new_id
from tracecli.identity import Identity, clean, identify, own_names
from tracecli.peek import Peek, peek
from tracecli.policy.rules import Decision, PolicySet, names_one_of
from tracecli.providers.hosts import Hosts
from tracecli.providers.registry import Operation, operation_of
from tracecli.tickets import Ticket
from tracecli.understanding import Reading

log = logging.getLogger(__name__)

type Lane = Literal["fast", "flows"]

# The time to first token is looked for among the first chunks; streams of thousands need not be timed to the end.
MAX_TIMED_CHUNKS = 512
_METERED_REQUEST_BYTES = 64 << 20
_OPT_OUT = "x-tracecli-trace"
_TAGS = "x-tracecli-tags"
NOTICE = "X-Tracecli-Recorded"


class RequestHead(msgspec.Struct, frozen=True):
    """A request line and its headers, as the client sent them."""

    method: str
    scheme: str
    host: str
    """The name the client asked for, also in transparent mode."""
    port: int
    path: str
    """With the query."""
    http_version: str
    headers: Headers
    ticket: Ticket | None = None
    """What came with the proxy's password: who the proxy authenticated, and what `tracecli run` says of its calls."""


class Verdict(msgspec.Struct, frozen=True):
    """What a lane does with a request: pass it on without the headers `remove`, and tell `capture`, if there is one."""

    remove: frozenset[str]
    """Lower-case names."""
    capture: Capture | None


def _inline(job: Callable[[], None]) -> None:
    job()


class Recorder:
    """Decides about requests. One for a process; its policies are replaced as a whole when the files change.

    `clock` gives Unix seconds, for what expires. `can_record` says whether a record could be written now. `later` runs
    a job in a thread beside the event loop, `post` runs one in the event loop, from any thread.
    """

    def __init__(
        self,
        *,
        hosts: Hosts,
        user_headers: Sequence[str],
        secret: bytes,
        policies: PolicySet,
        write: Callable[[Captured], bool],
        clock: Callable[[], float] = time.time,
        can_record: Callable[[], bool] = lambda: True,
        later: Callable[[Callable[[], None]], None] = _inline,
        post: Callable[[Callable[[], None]], None] = _inline,
    ) -> None:
        self.hosts = hosts
        self.user_headers = tuple(name.lower() for name in user_headers)
        self.secret = secret
        self.policies = policies
        self.write = write
        self.clock = clock
        self.can_record = can_record
        self.later = later
        self.post = post
        self.cache: ResponseCache | None = None
        """None: there is none, or it cannot be used."""
        self.errors = 0
        self.recorded: dict[Lane, int] = {"fast": 0, "flows": 0}
        """Exchanges by the lane that they took."""

    def wants(self, host: str, port: int) -> bool:
        """Whether connections to this host are intercepted."""
        return self.hosts.provider_of(host, port) is not None

    def begin(self, head: RequestHead, now: float, lane: Lane) -> Verdict:
        """Look at a request's head; `now` is the monotonic time at which it began."""
        remove = own_names(head.headers, self.user_headers)
        try:
            provider = self.hosts.provider_of(head.host, head.port)
            operation = operation_of(provider, head.method, head.path) if provider else None
            capture = Capture(self, head, remove, provider, operation, now, lane) if provider and operation else None
        except Exception:
            self.errors += 1
            log.warning("tracecli could not begin a record; the request goes on", exc_info=True)
            capture = None
        return Verdict(remove, capture)


@dataclass
class _Kept:
    """The beginning of a body, up to `limit` bytes, and how much of it passed."""

    limit: int
    parts: list[bytes] = field(default_factory=list)
    kept: int = 0
    total: int = 0

    def add(self, data: bytes) -> None:
        self.total += len(data)
        if self.kept < self.limit:
            part = data[: self.limit - self.kept]
            self.parts.append(part)
            self.kept += len(part)

    @property
    def cut(self) -> bool:
        return self.total > self.kept

    def body(self) -> bytes:
        return b"".join(self.parts)


class _Decided(msgspec.Struct, frozen=True):
    """Who a request belongs to and what applies to it; it holds to the request's end."""

    identity: Identity
    decision: Decision
    reason: str
    traced: bool


class Capture:
    """One exchange being recorded. `decide` comes first."""

    def __init__(
        self,
        recorder: Recorder,
        head: RequestHead,
        remove: frozenset[str],
        provider: str,
        operation: Operation,
        now: float,
        lane: Lane,
    ) -> None:
        self._recorder = recorder
        self._head = head
        self._remove = remove
        self._headers = [pair for pair in head.headers if pair[0].lower() not in remove] if remove else head.headers
        self._provider = provider
        self._operation = operation
        self._started = now
        self._started_at_us = time.time_ns() // 1000
        self._id: str | None = None
        self._decided: _Decided | None = None
        self._request = _Kept(0)
        self._response = _Kept(0)
        self._chunks: list[tuple[int, float]] = []
        self._status: int | None = None
        self._response_headers: Headers = []
        self._connected: float | None = None
        self._first_byte: float | None = None
        self._first_token: float | None = None
        self._meter: Reading | None = None
        self._asking: Asking | None = None
        self._model: str | None = None
        self._seen = False
        self._request_read = False
        self._ended = False
        self._lane: Lane = lane
        self.session = self._own("x-tracecli-session") or (head.ticket.session if head.ticket else None)
        self.connection_model: str | None = None

    @property
    def ignored(self) -> bool:
        """Nothing is recorded; the lane need not tell more."""
        return self._ended

    def _own(self, wanted: str) -> str | None:
        """The value of one of our own headers."""
        if wanted not in self._remove:
            return None
        return next((clean(value) or None for name, value in self._head.headers if name.lower() == wanted), None)

    def _tags(self, secrets: list[str]) -> list[str]:
        """What the client calls it, in one header or several."""
        told = ",".join(value for name, value in self._head.headers if name.lower() == _TAGS)
        return tags.of_header(_without(secrets, told.encode("utf-8", "surrogateescape").decode("utf-8", "replace")))

    # What applies

    def decide(self, body: bytes | None) -> Answer | Waiting | None:
        """The request is whole, or, with None, it will pass in pieces of which none has passed yet.

        Returns an answer to give without asking upstream, or an identical request in flight to wait for (then comes
        `resume`), or None: the request goes on. An answer is told as one from upstream is, unless `ignored`.
        """
        try:
            return self._decide(body)
        except Exception:
            self._recorder.errors += 1
            self._ended = True
            log.warning("tracecli could not decide about a request; it goes unrecorded", exc_info=True)
            decision = self._decided.decision if self._decided else self._recorder.policies.decide("", [], 0)
            return _refusal() if decision.settings.on_record_failure == "refuse" else None

    def _decide(self, body: bytes | None) -> Answer | Waiting | None:
        head, recorder = self._head, self._recorder
        policies = recorder.policies  # replaced as a whole while we look
        peeked: list[Peek] = []

        def look() -> Peek:
            if not peeked:
                peeked.append(peek(self._provider, self._operation, head.path, head.headers, body or b""))
            return peeked[0]

        identity = identify(
            head.headers,
            head.path,
            recorder.user_headers,
            recorder.secret,
            proxy_user=head.ticket.user if head.ticket else None,
            api_user=lambda: look().user,
            bound_to=policies.bound_to,
        )
        asked = head.ticket.policy if head.ticket else None
        decision = policies.decide(identity.user, head.headers, recorder.clock(), asked)
        settings = decision.settings
        self._seen = body is not None and head.method != "GET"  # what is said on a WebSocket comes later
        if settings.models:
            self._model = look().model
        why_not = self._why_not_traced(decision)
        traced = settings.tracing and why_not is None
        if not (traced or settings.metering):
            self._ended = True
            return None
        if self._operation.unsure and self._seen and look().model is None:
            self._ended = True
            return None
        reason = "; ".join(
            part
            for part in (
                decision.reason,
                f"claimed to be {identity.refused}, without the credential for it" if identity.refused else "",
                f"no content: {why_not}" if why_not else "",
            )
            if part
        )
        self._decided = _Decided(identity, decision, reason, traced)
        self._request.limit = settings.max_body_bytes if traced else _METERED_REQUEST_BYTES
        self._response.limit = settings.max_body_bytes if traced else 0
        if not traced:
            self._meter = Reading(self._provider, self._operation.format, head.path, content=False)
        if settings.on_record_failure == "refuse" and not recorder.can_record():
            self._ended = True
            return _refusal()
        if body is None:
            return None
        self._request.add(body)
        return self._ask_cache(body, why_not)

    def _why_not_traced(self, decision: Decision) -> str | None:
        """Why a request is recorded without its content under a policy that traces."""
        settings = decision.settings
        if not settings.tracing:
            return None
        if settings.client_may_opt_out and (self._own(_OPT_OUT) or "").lower() in ("off", "0", "false"):
            return "the client opted out"
        if settings.operations and self._operation.name not in settings.operations:
            return f"the policy does not trace the operation {self._operation.name}"
        if settings.models and (self._seen or self._model) and not names_one_of(self._model or "", settings.models):
            return f"the policy does not trace the model {self._model}"
        if not self._sampled(settings.sampling):
            return _NOT_SAMPLED
        return None

    def _sampled(self, share: float) -> bool:
        """Whether this request is in the sample: as a whole session is, where the client names it."""
        if share >= 1:
            return True
        return zlib.crc32((self.session or self.id).encode("utf-8", "replace")) < share * (1 << 32)

    @property
    def id(self) -> str:
        """Of the exchange."""
        if self._id is None:
            self._id = new_id(self._started_at_us // 1000)
        return self._id

    # The cache

    def _ask_cache(self, body: bytes, why_not: str | None) -> Answer | Waiting | None:
        decided = self._decided
        if decided is None or why_not not in (None, _NOT_SAMPLED):
            return None
        rules = decided.decision.settings.cache
        if rules.mode == "off":
            return None
        if self._recorder.cache is None or not self._seen:
            return None
        head = self._head
        asked = Asked(head.method, head.scheme, head.host, head.port, head.path, self._headers, body)
        who = Who(decided.identity.user, decided.identity.credential, decided.decision.policy)
        self._asking = self._recorder.cache.ask(asked, rules, self._operation.name, who, may_store=decided.traced)
        return self._asking.waiting or self._asking.answer

    def resume(self) -> Answer | None:
        """The wait is over, by an outcome or by patience: an answer, or the request goes on."""
        try:
            if self._asking is None:
                return None
            self._asking.resume()
            return self._asking.answer
        except Exception:
            self._recorder.errors += 1
            log.warning("tracecli could not answer from the cache; the request goes on", exc_info=True)
            return None

    def _notice(self) -> Headers:
        decided = self._decided
        if decided is None or not decided.decision.settings.notice_header:
            return []
        what = "content" if decided.traced else "usage"
        return [(NOTICE, f"{what}; id={self.id}; policy={_header_safe(decided.decision.policy)}")]

    # What passes

    def request_data(self, data: bytes) -> None:
        """Bytes of the request body passed."""
        self._request.add(data)

    def connected(self, now: float) -> None:
        """The connection to the provider, opened for this request, was ready at this moment."""
        self._connected = now

    def response_head(self, status: int, headers: Headers, now: float) -> Headers:
        """The answer's head arrived; returns headers to add to it for the client."""
        self._status = status
        self._response_headers = headers
        self._first_byte = now
        self._guard(self._read_request)
        if self._meter is not None:
            self._meter.response_head(status, headers)
        if self._ended:
            return []
        added = self._notice()
        if self._asking is not None and self._asking.answer is None:
            added.append(("Cache-Status", self._asking.header()))
            if not 200 <= status < 300:
                self._guard(lambda: self._not_kept(f"status_{status}"))
        return added

    def response_data(self, data: bytes, now: float) -> None:
        """Bytes of the response body passed."""
        self._response.add(data)
        if self._meter is not None:
            self._meter.feed(data)
            if self._first_token is None and self._meter.started:
                self._first_token = now
        elif len(self._chunks) < MAX_TIMED_CHUNKS:
            self._chunks.append((self._response.total, now))
        asking = self._asking
        if (
            asking is not None
            and asking.stores
            and self._response.total > min(asking.max_entry_bytes, self._response.limit)
        ):
            self._guard(lambda: self._not_kept("too_large"))

    def _not_kept(self, why: str) -> None:
        if self._asking is not None:
            self._asking.not_kept(why)

    def another(self, now: float) -> Capture:
        """A capture of the next call on the same connection, under the same decision. For WebSockets."""
        call = Capture(self._recorder, self._head, self._remove, self._provider, self._operation, now, self._lane)
        call._decided, call._model = self._decided, self._model
        call._request.limit, call._response.limit = self._request.limit, self._response.limit
        call._ended = self._decided is None
        call.session, call.connection_model = self.session, self.connection_model
        call._status, call._response_headers = self._status, self._response_headers
        if self._meter is not None:
            call._meter = Reading(self._provider, self._operation.format, self._head.path, content=False)
            if self._status is not None:
                call._meter.response_head(self._status, self._response_headers)
        return call

    def begins(self, asked: float, answered: float) -> None:
        """A call on a connection was asked for and its answer began at these moments, after other messages."""
        self._started_at_us += round((asked - self._started) * 1_000_000)
        self._started = asked
        self._first_byte = answered

    # How it ends

    def complete(self, now: float) -> None:
        """Request and answer passed whole."""
        self._end("complete", None, now)

    def aborted(self, why: str, now: float) -> None:
        """The client left before the end."""
        self._end("aborted", why, now)

    def failed(self, why: str, now: float) -> None:
        """The provider could not be reached, or broke off."""
        self._end("failed", why, now)

    def _since[T: (float, float | None)](self, moment: T) -> T:
        """Milliseconds from the start; 0 for what was before it."""
        return moment if moment is None else max(0.0, round((moment - self._started) * 1000, 3))

    def _guard(self, step: Callable[[], None]) -> None:
        try:
            step()
        except Exception:
            self._recorder.errors += 1
            log.warning("tracecli could not record part of an exchange; the request goes on", exc_info=True)

    def _read_request(self) -> None:
        """Look at a request body that passed in pieces, once: what `decide` could not know, and what metering needs."""
        if self._request_read or self._decided is None:
            return
        self._request_read = True
        body = self._request.body()
        settings = self._decided.decision.settings
        if not self._seen and self._meter is None and (self._operation.unsure or settings.models):
            found = peek(self._provider, self._operation, self._head.path, self._head.headers, body)
            model = found.model or self.connection_model
            if self._operation.unsure and model is None:
                self._ended = True
                return
            if settings.models and not names_one_of(model or "", settings.models):
                self._forget_content(f"the policy does not trace the model {model}")
        if self._meter is not None:
            self._meter.request(self._head.headers, body)
            self._request.parts.clear()

    def _forget_content(self, why: str) -> None:
        """A request that is not to be traced after all."""
        if self._decided is None:
            return
        self._decided = _Decided(
            self._decided.identity, self._decided.decision, f"{self._decided.reason}; no content: {why}", traced=False
        )
        self._ended = not self._decided.decision.metering
        self._response.limit = 0
        self._meter = Reading(self._provider, self._operation.format, self._head.path, content=False)

    def _end(self, outcome: Outcome, error: str | None, now: float) -> None:
        if self._decided is None and not self._ended:
            self.decide(None)  # it ended before it was whole
        if self._ended:
            return
        self._guard(self._read_request)
        if self._ended:
            return
        self._ended = True
        asking = self._asking
        if asking is not None and asking.stores and outcome != "failed":
            asking.answered()
            self._guard(lambda: self._recorder.later(lambda: self._keep(asking, outcome, error, now)))
            return
        if asking is not None and outcome == "failed":
            self._guard(lambda: asking.not_kept("failed"))
        elif asking is not None:
            self._guard(asking.left)
        self._guard(lambda: self._write(outcome, error, now))

    def _keep(self, asking: Asking, outcome: Outcome, error: str | None, now: float) -> None:
        """In a thread: keep the answer if it is whole, and record the exchange with what became of it."""
        entry = None
        try:
            captured = self._captured(outcome, error, now)
            exchange = captured.exchange
            try:
                status, detail, entry = asking.keep(exchange, captured.response_body, self._asked_model())
            except Exception:
                self._recorder.errors += 1
                log.warning("tracecli could not keep an answer in the cache", exc_info=True)
                status, detail = exchange.cache_status or "miss", "unavailable"
            exchange = msgspec.structs.replace(exchange, cache_status=status, cache_detail=detail)
            self._recorder.write(Captured(exchange, captured.request_body, captured.response_body))
        except Exception:
            self._recorder.errors += 1
            log.warning("tracecli could not record an exchange; the request went on", exc_info=True)
        finally:
            if entry is None and outcome == "aborted":
                self._recorder.post(asking.left)
            else:
                self._recorder.post(lambda: asking.landed(entry))

    def _asked_model(self) -> str | None:
        """The model that the request names."""
        head = self._head
        return self._model or peek(self._provider, self._operation, head.path, head.headers, self._request.body()).model

    def _write(self, outcome: Outcome, error: str | None, now: float) -> None:
        self._recorder.write(self._captured(outcome, error, now))

    def _captured(self, outcome: Outcome, error: str | None, now: float) -> Captured:
        decided = self._decided
        if decided is None:
            raise RuntimeError("no decision")
        head, settings, asking = self._head, decided.decision.settings, self._asking
        origin = asking.origin if asking else None
        secrets = secrets_of(head.headers, head.path)
        self._recorder.recorded[self._lane] += 1
        exchange = Exchange(
            id=self.id,
            lane=self._lane,
            started_at_us=self._started_at_us,
            user=decided.identity.user,
            user_source=decided.identity.source,
            policy=decided.decision.policy,
            reason=decided.reason,
            traced=decided.traced,
            session=self.session and _without(secrets, self.session),
            tags=self._tags(secrets) if _TAGS in self._remove else [],
            connection_model=self.connection_model,
            provider=self._provider,
            operation=self._operation.name,
            method=head.method,
            scheme=head.scheme,
            host=head.host,
            port=head.port,
            path=_without(secrets, redact_path(head.path)),
            http_version=head.http_version,
            request_headers=_printable(redact_headers(self._headers), secrets),
            status=self._status,
            response_headers=_printable(redact_headers(self._response_headers), secrets),
            request_bytes=self._request.total,
            response_bytes=self._response.total,
            request_cut=decided.traced and self._request.cut,
            response_cut=decided.traced and self._response.cut,
            outcome=outcome,
            error=error,
            connect_ms=self._since(self._connected),
            ttfb_ms=self._since(self._first_byte),
            duration_ms=self._since(now),
            chunks=[(size, self._since(moment)) for size, moment in self._chunks],
            metered=self._meter.finish() if self._meter is not None else None,
            ttft_ms=self._since(self._first_token),
            credential=decided.identity.credential,
            cache_status=asking.status if asking else None,
            cache_detail=asking.detail if asking else None,
            cache_origin=origin.exchange_id if origin else None,
            cache_origin_ms=origin.duration_ms if origin else None,
            redact_kinds=[*settings.redaction.kinds],
            redact_patterns=settings.redaction.expressions,
            content_until_us=self._until(settings.retention.content_s),
            metadata_until_us=self._until(settings.retention.metadata_s),
        )
        bodies = (b"", b"") if self._meter is not None else (self._request.body(), self._response.body())
        return Captured(exchange, *(_without_bytes(secrets, body) for body in bodies))

    def _until(self, kept_s: float | None) -> int | None:
        return None if kept_s is None else self._started_at_us + round(kept_s * 1_000_000)


_NOT_SAMPLED = "not in the sample"


def _refusal() -> Answer:
    """What a client is told whose policy asks for a record that cannot be made."""
    message = "tracecli cannot record at the moment, and the policy of this request refuses what is not recorded."
    body = msgspec.json.encode({"error": {"type": "recording_unavailable", "message": message}})
    headers = [("Content-Type", "application/json"), ("Content-Length", str(len(body))), ("Retry-After", "5")]
    return Answer(503, headers, body)


def _header_safe(text: str) -> str:
    return text.encode("ascii", "replace").decode().replace(";", "_")


def _printable(headers: Headers, secrets: list[str]) -> Headers:
    """Headers as valid Unicode, and without a credential that was repeated in another header."""
    whole = "".join(["".join(pair) for pair in headers])
    if whole.isascii() and not any(secret in whole for secret in secrets):
        return headers
    return [(_text(name), _without(secrets, _text(value))) for name, value in headers]


def _text(value: str) -> str:
    if value.isascii():
        return value
    return value.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _without(secrets: list[str], text: str) -> str:
    for secret in secrets:
        text = text.replace(secret, REDACTED)
    return _text(text)


def _without_bytes(secrets: list[str], body: bytes) -> bytes:
    for secret in secrets:
        body = body.replace(secret.encode("utf-8", "surrogateescape"), REDACTED.encode())
    return body
