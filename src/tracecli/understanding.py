"""Understanding an exchange: bytes of the wire in, `Understanding` out.

`Reading` follows an exchange while it passes, also in the proxy's event loop; `understand` takes a recorded one.
Neither raises, whatever the bytes: what cannot be understood is marked by flags, and the rest is told all the same.

| flag                     | means                                                                                     |
| ------------------------ | ----------------------------------------------------------------------------------------- |
| `not_understood`         | no module reads this format yet, or the answer is not of it                               |
| `request_not_understood` | the request's body is not what the format asks for, or was cut                            |
| `bad_encoding`           | a content encoding that is unknown, or does not decode                                    |
| `truncated`              | a body ends inside its encoding or its JSON                                               |
| `too_large`              | a body is larger than the limit of a reading; its beginning was read                      |
| `bad_event`              | events of the stream were no JSON, or too large, and were left out                        |
| `error_in_stream`        | the provider reported an error inside a stream that began well                            |
| `no_end_event`           | the stream ended without the event that says so                                           |
| `advisor_not_counted`    | another model advised; neither tokens nor cost hold its share                             |
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, Concatenate

import msgspec

from tracecli.exchange import Captured, Exchange, Headers, Understanding
from tracecli.providers.formats import FORMATS
from tracecli.providers.reader import Reader, completion
from tracecli.providers.registry import operation_of
from tracecli.providers.values import blob_of, error_text, mended, obj, parse_leniently, parse_strictly
from tracecli.wire import json_seq, multipart
from tracecli.wire.encodings import DEFAULT_LIMIT, Decoder, decode
from tracecli.wire.events import Event, EventDecoder
from tracecli.wire.eventstream import EventStreamDecoder
from tracecli.wire.json_seq import JsonSeqDecoder
from tracecli.wire.json_streams import JsonArrayDecoder, NdjsonDecoder
from tracecli.wire.sse import SseDecoder

# A stream is read event by event: however long it is, a reading holds no more than its content.
_STREAM_LIMIT = 1 << 30
# What is decoded at a time: the events of more are never in memory together.
_PIECE = 256 << 10
# Of an answer in an unknown format: enough for an error.
_UNKNOWN_BYTES = 64 << 10
_MAX_PLAIN_ERROR = 300
# A record holds no more of a name: one of 64 MB, of which there may be many, would fill the memory of who loads them.
_MAX_NAME = 1000
_BOM = b"\xef\xbb\xbf"
_SSE_STARTS = (b"data:", b"event:", b"id:", b"retry:", b":")
_SSE = "text/event-stream"
_AWS = "application/vnd.amazon.eventstream"
_NDJSON = ("application/x-ndjson", "application/ndjson", "application/stream+json", "application/jsonl")
_STREAMS = {_SSE, _AWS, *_NDJSON}
_TEXTS = {"application/json", *_STREAMS}
_ENCODING_FLAGS = {"truncated": "truncated", "too large": "too_large"}

# Sessions that clients name in a header: Claude Code, Codex, others.
_SESSION_HEADERS = ("x-claude-code-session-id", "session_id", "session-id", "conversation_id", "x-session-id")


def _guarded[**P](step: Callable[Concatenate[Reading, P], None]) -> Callable[Concatenate[Reading, P], None]:
    """A step whose failure costs only what it would have found: the client's call must not fail because of us."""

    @wraps(step)
    def guarded(self: Reading, /, *args: P.args, **kwargs: P.kwargs) -> None:
        try:
            step(self, *args, **kwargs)
        except Exception:
            self.give_up()

    return guarded


DROPPED = "content_dropped"
"""Marks an exchange whose content was not kept, for too much waited to be loaded."""


def metered(captured: Captured) -> Captured:
    """An exchange without its content, as if its policy did not trace, with what its usage record needs."""
    exchange = captured.exchange
    operation = operation_of(exchange.provider, exchange.method, exchange.path)
    reading = Reading(exchange.provider, operation.format if operation else None, exchange.path, content=False)
    reading.request(exchange.request_headers, captured.request_body)
    if exchange.status is not None:
        reading.response_head(exchange.status, exchange.response_headers)
        reading.feed(captured.response_body)
    changed = msgspec.structs.replace(
        exchange,
        traced=False,
        metered=reading.finish(),
        marks=[*exchange.marks, DROPPED],
        request_cut=False,
        response_cut=False,
        chunks=[],
    )
    return Captured(changed, b"", b"")


class Reading:
    """Reads one exchange while it passes: the request, the answer's head, bytes of its body, the end.

    Without `content` no message and no text is built or kept, and of an error only its type. `limit` bounds the
    decoded bytes of a body; a stream may be longer.
    """

    def __init__(
        self, provider: str, format: str | None, path: str, *, content: bool = True, limit: int = DEFAULT_LIMIT
    ) -> None:
        self._known = format in FORMATS
        self._reader = FORMATS.get(format or "", Reader)(provider, path, content)
        self._content = content
        self._limit = limit
        self._flags: list[str] = []
        self._session: str | None = None
        self._odd = False
        self._request_understood = False
        self._answer_understood = False
        self._status: int | None = None
        self._content_type = ""
        self._error_type: str | None = None
        self._decoder = Decoder(None, limit)
        self._binary = False
        self._start: bytes | None = b""
        self._events: EventDecoder | None = None
        self._silent = True
        self._whole: list[bytes] = []
        self._whole_bytes = 0

    @property
    def started(self) -> bool:
        """Whether the bytes fed so far held a generated piece of a stream: text, reasoning or a tool call."""
        return self._reader.started

    @_guarded
    def request(self, headers: Headers, body: bytes) -> None:
        """The request's headers and its body, or the beginning of it, as on the wire."""
        named = _named(headers)
        self._session = next((value for name in _SESSION_HEADERS if (value := named.get(name))), None)
        plain, error = decode(named.get("content-encoding"), body, self._limit)
        self._encoding_flag(error)
        if plain.startswith(json_seq.RECORD_SEPARATOR):
            self._messages(plain)
            return
        content_type = named.get("content-type", "")
        is_form = content_type.lower().startswith("multipart/form-data")
        asked: Any = _form(content_type, plain, self._content) if is_form else self._parsed(plain)
        if isinstance(asked, dict):
            self._reader.request(asked)
            self._request_understood = True

    def _messages(self, sequence: bytes) -> None:
        """What the client said on a WebSocket."""
        for message in json_seq.messages(sequence):
            if isinstance(value := self._parsed(message), dict):
                self._reader.message(value)
                self._request_understood = True
        self._reader.said()

    @_guarded
    def response_head(self, status: int, headers: Headers) -> None:
        """The answer's status and headers."""
        self._status = status
        named = _named(headers)
        self._content_type = named.get("content-type", "").partition(";")[0].strip().lower()
        held = not (self._content_type in _STREAMS or self._reader.binary)
        limit = self._limit if held else _STREAM_LIMIT
        self._decoder = Decoder(named.get("content-encoding"), limit)
        self._error_type = named.get("x-amzn-errortype", "").partition(":")[0] or None
        self._reader.head(headers)
        self._binary = self._reader.binary and not self._failed and self._content_type not in _TEXTS

    @_guarded
    def feed(self, data: bytes) -> None:
        """Bytes of the answer's body as on the wire, split anywhere."""
        if self._known or self._whole_bytes < _UNKNOWN_BYTES:
            for piece in self._decoder.pieces(data):
                for start in range(0, len(piece), _PIECE):
                    self._decoded(piece[start : start + _PIECE])

    def finish(self) -> Understanding:
        """All that was found."""
        self._end()
        try:
            return self._understanding()
        except Exception:
            self.give_up()
            return Understanding(understood=False, flags=self._flags)

    def give_up(self) -> None:
        """A step failed: mark what it leaves."""
        self._flag("not_understood")

    def _decoded(self, data: bytes) -> None:
        if self._binary:
            self._reader.data(data)
            self._answer_understood = True
            return
        if self._start is not None:
            data = self._start + data
            start = data.removeprefix(_BOM).lstrip()
            framing = self._framing(start)
            self._start = start if framing is None else None
            if framing is None:
                return
            self._events = framing()
        if self._events is None:
            self._whole.append(data)
            self._whole_bytes += len(data)
        else:
            for event in self._events.feed(data):
                self._event(event)

    def _framing(self, start: bytes) -> Callable[[], EventDecoder | None] | None:
        """What makes the decoder of a body that begins like this, or of no stream; None if that is too short to tell.

        The bytes decide where they contradict the content type: gateways send errors as JSON under the type of the
        stream that was asked for, and streams as JSON or text.
        """
        kind = self._content_type
        if start[:1] == json_seq.RECORD_SEPARATOR:
            return JsonSeqDecoder
        if not start or _BOM.startswith(start):
            return None
        if kind == _AWS and start[:1] != b"{":
            return EventStreamDecoder
        if start[:1] == b"{":
            return NdjsonDecoder if kind in _NDJSON else _no_stream
        if start[:1] == b"[":
            as_array = self._reader.array_streams and self._reader.stream and not self._failed
            return JsonArrayDecoder if as_array else _no_stream
        if start.startswith(_SSE_STARTS) or (kind == _SSE and start[:1] != b"<"):
            return SseDecoder
        return None if any(known.startswith(start) for known in _SSE_STARTS) else _no_stream

    @property
    def _failed(self) -> bool:
        return (self._status or 0) >= 400

    @_guarded
    def _event(self, event: Event, *, may_be_cut: bool = False) -> None:
        if event.data == "[DONE]":
            self._reader.done()
            return
        value = self._parsed(event.data)
        if value is None and may_be_cut:
            return
        self._silent = False
        if event.is_error:
            self._reader.fail(obj(value) | {"type": event.event})
            self._answer_understood = True
        elif isinstance(value, dict):
            self._answer_understood = self._reader.event(event.event, value) or self._answer_understood
        else:
            self._flag("bad_event")

    @_guarded
    def _end(self) -> None:
        self._decoder.finish()
        self._encoding_flag(self._decoder.error)
        if not self._request_understood:
            self._flag("request_not_understood")
        if self._events is not None or (self._start == b"" and self._content_type in _STREAMS):
            self._end_stream()
        elif self._status is not None and not self._binary:
            self._end_whole(b"".join(self._whole) + (self._start or b""))
        if not self._known or (self._status is not None and not self._answer_understood):
            self._flag("not_understood")
        for name in self._reader.flags:
            self._flag(name)

    def _end_stream(self) -> None:
        if self._events is not None:
            for event in self._events.finish():
                self._event(event, may_be_cut=True)
            if self._events.dropped:
                self._flag("bad_event")
                self._silent = False
        if self._reader.failed:
            self._flag("error_in_stream")
        elif self._known and not self._reader.ended:
            self._flag("no_end_event")
        # A stream that broke off before its first event is no fault of the format.
        self._answer_understood = self._answer_understood or self._silent

    def _end_whole(self, body: bytes) -> None:
        body = body.removeprefix(_BOM).strip()
        value = self._parsed(body)
        if value is None:
            self._end_unreadable(body)
        elif self._failed or not (isinstance(value, dict) and self._reader.answer(value)):
            self._end_error(value)
        else:
            self._answer_understood = True

    def _end_error(self, value: Any) -> None:
        """No answer of the format: an error, under an error status or, as some gateways do it, under 200."""
        told = value[0] if isinstance(value, list) and value else value
        if self._failed or (isinstance(told, dict) and told.get("error")):
            self._answer_understood = error_text(value, True) is not None
            self._reader.error = error_text(value, self._content) or self._error_type

    def _end_unreadable(self, body: bytes) -> None:
        if body[:1] in (b"{", b"[") and body[-1:] not in (b"}", b"]"):
            self._flag("truncated")
        elif self._failed and self._content and self._content_type == "text/plain":
            self._reader.error = body.decode("utf-8", "replace")[:_MAX_PLAIN_ERROR] or None
        elif not self._failed and body:
            self._answer_understood = self._reader.text_answer(body.decode("utf-8", "replace"))

    def _parsed(self, data: bytes | str) -> Any:
        """The value of a JSON text; None if it is none."""
        try:
            return parse_strictly(data)
        except ValueError:
            pass
        try:
            value = parse_leniently(data)
        except ValueError:
            return None
        self._odd = True
        return value

    def _flag(self, name: str) -> None:
        if name not in self._flags:
            self._flags.append(name)

    def _encoding_flag(self, error: str | None) -> None:
        if error:
            self._flag(_ENCODING_FLAGS.get(error, "bad_encoding"))

    def _understanding(self) -> Understanding:
        reader = self._reader
        output_messages = reader.output_messages()
        found = Understanding(
            understood=self._known and self._request_understood and "not_understood" not in self._flags,
            stream=reader.stream,
            ended=reader.ended,
            request_model=_name(reader.request_model),
            response_model=_name(reader.response_model),
            response_id=_name(reader.response_id),
            finish_reasons=[reason[:_MAX_NAME] for reason in reader.finish_reasons()] or None,
            usage=reader.usage(),
            service_tier=_name(reader.service_tier),
            reported_cost_usd=reader.reported_cost_usd,
            session=_name(mended(self._session) or reader.session),
            claimed_user=reader.claimed_user,
            error=reader.error,
            input_messages=reader.input_messages,
            output_messages=output_messages,
            completion=completion(output_messages),
            flags=self._flags,
        )
        return _mended(found) if self._odd else found


def understand(exchange: Exchange, request_body: bytes, response_body: bytes) -> tuple[Understanding, float | None]:
    """What a recorded exchange says, and its time to first token in milliseconds.

    The latter is the time of the chunk that brought the first generated piece; None where nothing was streamed, or
    where the record does not hold that chunk's time.
    """
    operation = operation_of(exchange.provider, exchange.method, exchange.path)
    reading = Reading(exchange.provider, operation.format if operation else None, exchange.path)
    reading.request(exchange.request_headers, request_body)
    if exchange.status is not None:
        reading.response_head(exchange.status, exchange.response_headers)
    ttft_ms = None
    fed = 0
    for arrived, at_ms in exchange.chunks:
        reading.feed(response_body[fed:arrived])
        fed = max(fed, arrived)
        if reading.started:
            ttft_ms = at_ms
            break
    reading.feed(response_body[fed:])
    return reading.finish(), ttft_ms


def _form(content_type: str, body: bytes, keep: bool) -> dict[str, Any]:
    """A form as if it were JSON: its texts, and its files as parts of a message."""
    form: dict[str, Any] = {}
    for field in multipart.fields(content_type, body):
        if field.filename is None:
            form[field.name] = field.data.decode("utf-8", "replace")
        elif keep:
            form[field.name] = blob_of(field.data, field.content_type) | {"filename": field.filename}
    return form


def _name(value: str | None) -> str | None:
    return value and value[:_MAX_NAME]


def _no_stream() -> None:
    return None


def _named(headers: Headers) -> dict[str, str]:
    """The headers by lower-case name; the values of one that repeats joined as RFC 9110, 5.3 allows."""
    named: dict[str, str] = {}
    for name, value in headers:
        lower = name.lower()
        named[lower] = f"{named[lower]}, {value}" if lower in named else value
    return named


def _mended(found: Understanding) -> Understanding:
    changes = {name: mended(getattr(found, name)) for name in found.__struct_fields__}
    return msgspec.structs.replace(found, **changes)
