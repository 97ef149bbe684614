"""The core of recording: what is recorded of which request. Knows neither mitmproxy nor sockets.

An adapter (a "lane") tells the `Recorder` of each request head and gets a `Verdict`: which headers to take out, and,
if the exchange is to be recorded, a `Capture`. It then tells the capture what passes, with the time of a monotonic
clock in seconds, and how it ended: `complete`, `aborted` or `failed`. The first ending counts; it writes the exchange
to the spool. Nothing here raises into the lane: a failure of ours costs the record, never the client's call.

Called inside the proxy's event loop.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import msgspec

from tracecli.credentials import REDACTED, redact_headers, redact_path, secrets_of
from tracecli.exchange import Captured, Exchange, Headers, Outcome, new_id
from tracecli.identity import Identity, clean, identify, is_own
from tracecli.policy.rules import Decision, PolicySet
from tracecli.providers.hosts import Hosts
from tracecli.providers.registry import Operation, operation_of
from tracecli.understanding import Reading
from tracecli.wire.encodings import decode

log = logging.getLogger(__name__)

# The time to first token is looked for among the first chunks; streams of thousands need not be timed to the end.
MAX_TIMED_CHUNKS = 512
_METERED_REQUEST_BYTES = 64 << 20


@dataclass(frozen=True)
class RequestHead:
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


@dataclass(frozen=True)
class Verdict:
    """What a lane does with a request: pass it on without the headers `remove`, and tell `capture`, if there is one."""

    remove: frozenset[str]
    """Lower-case names."""
    capture: Capture | None


class Recorder:
    """Decides about requests. One for a process; its policies are replaced as a whole when the files change."""

    def __init__(
        self,
        *,
        lane: Literal["flows", "fast"],
        hosts: Hosts,
        user_headers: Sequence[str],
        secret: bytes,
        policies: PolicySet,
        write: Callable[[Captured], bool],
    ) -> None:
        self.lane = lane
        self.hosts = hosts
        self.user_headers = tuple(name.lower() for name in user_headers)
        self.secret = secret
        self.policies = policies
        self.write = write
        self.errors = 0

    def wants(self, host: str, port: int) -> bool:
        """Whether connections to this host are intercepted."""
        return self.hosts.provider_of(host, port) is not None

    def begin(self, head: RequestHead, now: float) -> Verdict:
        """Decide about a request; `now` is the monotonic time at which it began."""
        remove = frozenset(name.lower() for name, _ in head.headers if is_own(name, self.user_headers))
        try:
            capture = self._capture(head, now)
        except Exception:
            self.errors += 1
            log.warning("tracecli could not begin a record; the request goes on", exc_info=True)
            capture = None
        return Verdict(remove, capture)

    def _capture(self, head: RequestHead, now: float) -> Capture | None:
        provider = self.hosts.provider_of(head.host, head.port)
        operation = operation_of(provider, head.method, head.path) if provider else None
        if provider is None or operation is None:
            return None
        identity = identify(head.headers, head.path, self.user_headers, self.secret)
        decision = self.policies.decide(identity.user)
        if not (decision.tracing or decision.metering):
            return None
        return Capture(self, head, provider, operation, identity, decision, now)


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


class Capture:
    """One exchange being recorded."""

    def __init__(
        self,
        recorder: Recorder,
        head: RequestHead,
        provider: str,
        operation: Operation,
        identity: Identity,
        decision: Decision,
        now: float,
    ) -> None:
        self._recorder = recorder
        self._head = head
        self._provider = provider
        self._operation = operation
        self._identity = identity
        self._decision = decision
        self._started = now
        self._started_at_us = time.time_ns() // 1000
        self._request = _Kept(decision.max_body_bytes if decision.tracing else _METERED_REQUEST_BYTES)
        self._response = _Kept(decision.max_body_bytes if decision.tracing else 0)
        self._chunks: list[tuple[int, float]] = []
        self._status: int | None = None
        self._response_headers: Headers = []
        self._first_byte: float | None = None
        self._first_token: float | None = None
        self._meter: Reading | None = None
        if not decision.tracing:
            self._meter = Reading(provider, operation.format, head.path, content=False)
        self._names_a_model = True
        self._request_read = False
        self._ended = False
        self.session = _own_session(head.headers)
        self.connection_model: str | None = None

    def request_data(self, data: bytes) -> None:
        """Bytes of the request body passed."""
        self._request.add(data)

    def response_head(self, status: int, headers: Headers, now: float) -> None:
        """The answer's head arrived."""
        self._status = status
        self._response_headers = headers
        self._first_byte = now
        self._guard(self._read_request)
        if self._meter is not None:
            self._meter.response_head(status, headers)

    def response_data(self, data: bytes, now: float) -> None:
        """Bytes of the response body passed."""
        self._response.add(data)
        if self._meter is not None:
            self._meter.feed(data)
            if self._first_token is None and self._meter.started:
                self._first_token = now
        elif len(self._chunks) < MAX_TIMED_CHUNKS:
            self._chunks.append((self._response.total, now))

    def another(self, now: float) -> Capture:
        """A capture of the next call on the same connection, under the same decision. For WebSockets."""
        call = Capture(self._recorder, self._head, self._provider, self._operation, self._identity, self._decision, now)
        call.session, call.connection_model = self.session, self.connection_model
        call._status, call._response_headers = self._status, self._response_headers
        if call._meter is not None and self._status is not None:
            call._meter.response_head(self._status, self._response_headers)
        return call

    def begins(self, asked: float, answered: float) -> None:
        """A call on a connection was asked for and its answer began at these moments, after other messages."""
        self._started_at_us += round((asked - self._started) * 1_000_000)
        self._started = asked
        self._first_byte = answered

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
        """Look at the request body, once: metering reads it and lets go of it; an unknown path must name a model."""
        if self._request_read:
            return
        self._request_read = True
        if self._operation.unsure:
            self._names_a_model = _names_a_model(self._head.headers, self._request.body())
        if self._meter is not None:
            self._meter.request(self._head.headers, self._request.body())
            self._request.parts.clear()

    def _end(self, outcome: Outcome, error: str | None, now: float) -> None:
        if self._ended:
            return
        self._ended = True
        self._guard(self._read_request)
        if self._names_a_model:
            self._guard(lambda: self._write(outcome, error, now))

    def _write(self, outcome: Outcome, error: str | None, now: float) -> None:
        head, decision = self._head, self._decision
        secrets = secrets_of(head.headers, head.path)
        own = self._recorder.user_headers
        exchange = Exchange(
            id=new_id(self._started_at_us // 1000),
            lane=self._recorder.lane,
            started_at_us=self._started_at_us,
            user=self._identity.user,
            user_source=self._identity.source,
            policy=decision.policy,
            reason=decision.reason,
            traced=decision.tracing,
            session=self.session,
            connection_model=self.connection_model,
            provider=self._provider,
            operation=self._operation.name,
            method=head.method,
            scheme=head.scheme,
            host=head.host,
            port=head.port,
            path=_without(secrets, redact_path(head.path)),
            http_version=head.http_version,
            request_headers=_printable(redact_headers([h for h in head.headers if not is_own(h[0], own)]), secrets),
            status=self._status,
            response_headers=_printable(redact_headers(self._response_headers), secrets),
            request_bytes=self._request.total,
            response_bytes=self._response.total,
            request_cut=decision.tracing and self._request.cut,
            response_cut=decision.tracing and self._response.cut,
            outcome=outcome,
            error=error,
            ttfb_ms=self._since(self._first_byte),
            duration_ms=self._since(now),
            chunks=[(size, self._since(moment)) for size, moment in self._chunks],
            metered=self._meter.finish() if self._meter is not None else None,
            ttft_ms=self._since(self._first_token),
        )
        bodies = (b"", b"") if self._meter is not None else (self._request.body(), self._response.body())
        self._recorder.write(Captured(exchange, *(_without_bytes(secrets, body) for body in bodies)))


class _Named(msgspec.Struct):
    model: str


def _names_a_model(headers: Headers, body: bytes) -> bool:
    """Whether a request body is a JSON object with a text `model`: then an unknown path is a model call too."""
    encoding = next((value for name, value in headers if name.lower() == "content-encoding"), None)
    plain, _ = decode(encoding, body)
    try:
        msgspec.json.decode(plain, type=_Named)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return False
    return True


def _own_session(headers: Headers) -> str | None:
    return next((clean(value) or None for name, value in headers if name.lower() == "x-tracecli-session"), None)


def _printable(headers: Headers, secrets: list[str]) -> Headers:
    """Headers as valid Unicode, and without a credential that was repeated in another header."""
    return [(_text(name), _without(secrets, _text(value))) for name, value in headers]


def _text(value: str) -> str:
    return value.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _without(secrets: list[str], text: str) -> str:
    for secret in secrets:
        text = text.replace(secret, REDACTED)
    return _text(text)


def _without_bytes(secrets: list[str], body: bytes) -> bytes:
    for secret in secrets:
        body = body.replace(secret.encode("utf-8", "surrogateescape"), REDACTED.encode())
    return body
