"""An exchange: one request to a provider and its outcome.

Three shapes of it, in the order in which they come to be:

`Exchange`       what the proxy captured, as the spool carries it: no interpretation, credentials already removed
`Understanding`  what a provider module read out of the bytes: models, messages, tokens
`Row`            one line of `usage show`, and the JSON contract

Bodies travel beside an `Exchange`, never inside it: as bytes as they were on the wire, content encoding included.
This module is imported by the proxy and must stay light.
"""

from __future__ import annotations

import datetime as dt
import os
import time
from decimal import Decimal
from typing import Any, Literal

import msgspec

type Headers = list[tuple[str, str]]
"""Name and value, in the order of the wire; names keep their case and may repeat."""

type Outcome = Literal["complete", "aborted", "failed"]
"""`aborted`: the client left; `failed`: upstream broke or could not be reached."""

type CacheStatus = Literal["hit", "miss", "stored", "bypass", "stale", "collapsed"]
"""In words of RFC 9211. `stored`: a miss whose answer was kept; `collapsed`: answered together with another request;
`stale`: kept, and too old to be given again."""

type Message = dict[str, Any]
"""An OpenTelemetry GenAI message: `role`, `parts`, and on outputs `finish_reason`.

https://github.com/open-telemetry/semantic-conventions-genai (gen_ai.input.messages, gen_ai.output.messages). Part
types used: text, reasoning, tool_call (id, name, arguments), tool_call_response (id, response), uri, blob, file.
"""

RECORD_VERSION = 1


_RANDOM: list[bytes] = []
os.register_at_fork(after_in_child=_RANDOM.clear)


def _random() -> bytes:
    """10 random bytes, of the operating system's: asked for by the hundred, as each asking takes 5 µs."""
    while True:
        try:
            return _RANDOM.pop()
        except IndexError:
            many = os.urandom(1000)
            _RANDOM.extend(many[at : at + 10] for at in range(0, 1000, 10))


def new_id(unix_ms: int | None = None) -> str:
    """A UUIDv7 (RFC 9562, 5.7): 48 bits of Unix milliseconds, then random; text order is time order."""
    ms = time.time_ns() // 1_000_000 if unix_ms is None else unix_ms
    value = (ms << 80) | (int.from_bytes(_random()) & ~(0xF << 76) & ~(0x3 << 62)) | (0x7 << 76) | (0x2 << 62)
    digits = f"{value:032x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


class Usage(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Token counts of one exchange; None is "not reported".

    `input_tokens` includes cached tokens (read and written), `output_tokens` includes reasoning, whatever the
    provider's own habit. The rest are parts of those two.
    """

    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    cache_creation_input_tokens: int | None = None
    cache_creation_1h_input_tokens: int | None = None
    reasoning_output_tokens: int | None = None
    input_audio_tokens: int | None = None
    output_audio_tokens: int | None = None
    cache_read_audio_tokens: int | None = None
    web_searches: int | None = None
    """Searches of the web that the provider made for the model and counts in its usage; some charge for each."""
    input_image_tokens: int | None = None
    output_image_tokens: int | None = None
    billed_input_tokens: int | None = None
    """What Cohere charges for, which leaves out what it puts around the prompt itself."""
    billed_output_tokens: int | None = None


class Understanding(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a provider module read out of an exchange; every field is None when the bytes do not say."""

    understood: bool
    """False: no module knows this format, or the bytes are not of the format; the rest may still hold something."""
    stream: bool | None = None
    """Whether the client asked for a stream."""
    ended: bool = False
    """A stream came to the event that ends it."""
    request_model: str | None = None
    response_model: str | None = None
    response_id: str | None = None
    finish_reasons: list[str] | None = None
    usage: Usage | None = None
    service_tier: str | None = None
    reported_cost_usd: Decimal | None = None
    """What the provider itself says the call cost."""
    session: str | None = None
    """A conversation or session id that the client sent of its own accord."""
    claimed_user: str | None = None
    """The API's own user field."""
    error: str | None = None
    """The provider's error message, from an error answer or from inside a stream."""
    input_messages: list[Message] = []
    output_messages: list[Message] = []
    completion: str | None = None
    """The answer's text, the choices joined; None when there is none."""
    flags: list[str] = []
    """Marks such as `bad_encoding`, `no_end_event`, `not_understood`."""


class Exchange(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One captured exchange. Durations are milliseconds since `started_at_us`, on a monotonic clock."""

    version: int = RECORD_VERSION
    id: str
    lane: Literal["flows", "fast"]
    started_at_us: int
    """Unix time in microseconds."""
    user: str
    user_source: str
    policy: str
    reason: str
    traced: bool
    session: str | None = None
    connection_model: str | None = None
    """The model that a WebSocket had named before this call; the call's own messages need not name it again."""
    provider: str
    operation: str | None
    """An OpenTelemetry operation name, or None when the path is of no known operation."""
    method: str
    scheme: str
    host: str
    port: int
    path: str
    """With the query; credentials in the query are replaced."""
    http_version: str
    request_headers: Headers
    status: int | None = None
    """The provider's status; None when no answer head arrived."""
    response_headers: Headers = []
    request_bytes: int = 0
    response_bytes: int = 0
    """Body bytes that passed on the wire, also where the record holds fewer."""
    request_cut: bool = False
    response_cut: bool = False
    """The body was larger than the policy's limit: the record holds its beginning."""
    outcome: Outcome
    error: str | None = None
    connect_ms: float | None = None
    """Until the connection to the provider was ready, TLS included; None: it was open already, or was never."""
    ttfb_ms: float | None = None
    duration_ms: float
    chunks: list[tuple[int, float]] = []
    """(bytes of the response body that had arrived, when), of the answer's beginning: for the time to first token."""
    metered: Understanding | None = None
    """Tracing off: what was read while the bytes passed. Bodies are then empty."""
    ttft_ms: float | None = None
    """Tracing off: time to first token, found in the same way."""
    credential: str | None = None
    """The fingerprint of the caller's credential."""
    cache_status: CacheStatus | None = None
    """None: the policy has no cache."""
    cache_detail: str | None = None
    """Why the cache did not answer, or why it did not keep the answer: one word, as `operation` or `no_end_event`."""
    cache_origin: str | None = None
    """The exchange whose answer was given again."""
    cache_origin_ms: float | None = None
    """How long that one took."""
    redact_kinds: list[str] = []
    redact_patterns: dict[str, str] = {}
    """What the policy wants taken out of the bodies before they are stored, beside secrets."""
    tags: list[str] = []
    """What the client says of it, by a header of ours."""
    marks: list[str] = []
    """What was done to it since: `redacted`, `content_withheld`."""
    redactions: list[str] = []
    """Where something was taken out, and what: `request messages[0].content: email`."""
    content_until_us: int | None = None
    metadata_until_us: int | None = None
    """Unix microseconds until which content and record are kept; None is for ever."""


class Captured(msgspec.Struct, frozen=True):
    """An exchange with its bodies, as bytes of the wire."""

    exchange: Exchange
    request_body: bytes
    response_body: bytes


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One line of `usage show`; the fields and their order are the JSON contract. None is "unknown"."""

    id: str
    started_at: dt.datetime
    duration_ms: float
    ttfb_ms: float | None
    ttft_ms: float | None
    user: str
    user_source: str
    policy: str
    session: str | None
    provider: str
    host: str
    operation: str | None
    method: str
    path: str
    status: int | None
    stream: bool | None
    request_model: str | None
    response_model: str | None
    response_id: str | None
    finish_reasons: list[str] | None
    input_tokens: int | None
    output_tokens: int | None
    cache_read_input_tokens: int | None
    cache_creation_input_tokens: int | None
    reasoning_output_tokens: int | None
    usage_source: Literal["reported", "estimated", "unknown"]
    cost_usd: Decimal | None
    cost_source: Literal["provider", "computed", "estimated", "unknown"]
    cache_status: CacheStatus | None
    cache_origin: str | None
    saved_usd: Decimal | None
    saved_ms: float | None
    outcome: Outcome
    error: str | None
    request_bytes: int
    response_bytes: int
    traced: bool
    flags: list[str]
    tags: list[str]
    score: float | None
    comment: str | None

    def as_json(self) -> dict[str, Any]:
        """The row as JSON values: money as plain decimal text, instants as ISO 8601 UTC."""
        values = {name: getattr(self, name) for name in self.__struct_fields__}
        values["started_at"] = (
            self.started_at.astimezone(dt.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        )
        for name in ("cost_usd", "saved_usd"):
            values[name] = None if values[name] is None else plain_decimal(values[name])
        return values


class Body(msgspec.Struct, frozen=True):
    """One side of an opened exchange: headers as recorded, the body with its content encoding taken off."""

    headers: Headers
    body: bytes
    cut: bool

    def as_json(self) -> dict[str, Any]:
        """Headers as pairs; the body as text, or as base64 with `body_encoding` where it is not UTF-8."""
        import base64

        try:
            return {"headers": self.headers, "body": self.body.decode("utf-8"), "body_encoding": None}
        except UnicodeDecodeError:
            return {"headers": self.headers, "body": base64.b64encode(self.body).decode(), "body_encoding": "base64"}


class Opened(msgspec.Struct, frozen=True, kw_only=True):
    """One exchange with its content, for `usage show ID`."""

    row: Row
    url: str
    http_version: str
    lane: str
    reason: str
    """Why the policy applied."""
    cost_detail: str | None
    """How the cost was worked out, or why it is unknown; one sentence."""
    request: Body
    response: Body
    input_messages: list[Message]
    output_messages: list[Message]
    completion: str | None
    connect_ms: float | None = None
    """Until the connection to the provider was ready; None: it was open already, or was never."""
    request_id: str | None = None
    """The provider's, from its answer's headers."""
    cache_detail: str | None = None
    """Why the cache did not answer, or did not keep the answer."""
    rate_limits: dict[str, str] = {}
    """The headers of the answer that tell of limits, by lower-case name."""

    def as_json(self) -> dict[str, Any]:
        """The row's JSON with the content beside it."""
        return self.row.as_json() | {
            "url": self.url,
            "http_version": self.http_version,
            "lane": self.lane,
            "reason": self.reason,
            "cost_detail": self.cost_detail,
            "connect_ms": self.connect_ms,
            "request_id": self.request_id,
            "cache_detail": self.cache_detail,
            "rate_limits": self.rate_limits,
            "request": self.request.as_json(),
            "response": self.response.as_json(),
            "input_messages": self.input_messages,
            "output_messages": self.output_messages,
            "completion": self.completion,
        }


def plain_decimal(value: Decimal) -> str:
    """Decimal text without exponent and without trailing zeros: `0.000016415`."""
    text = format(value, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text
