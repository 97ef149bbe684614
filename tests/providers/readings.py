"""Readings of hand-made exchanges, for what recordings do not show."""

from __future__ import annotations

import base64
import json
from typing import Any

from tests.wire.frames import frame
from tracecli.exchange import Headers, Understanding
from tracecli.understanding import Reading

JSON_HEAD = [("Content-Type", "application/json")]
STREAM_HEAD = [("Content-Type", "text/event-stream; charset=utf-8")]
LINES_HEAD = [("Content-Type", "application/x-ndjson")]
AWS_HEAD = [("Content-Type", "application/vnd.amazon.eventstream")]

HELLO = base64.b64encode(b"hello").decode()
"""Five bytes of media, as they are sent."""


def blob(mime_type: str | None, **more: Any) -> dict[str, Any]:
    """The part that those five bytes become."""
    digest = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
    return {"type": "blob", "mime_type": mime_type, "size_bytes": 5, "sha256": digest, **more}


def said(text: str) -> list[dict[str, Any]]:
    """The parts of a plain text."""
    return [{"type": "text", "content": text}]


def asked(
    wire_format: str | None,
    request: Any = None,
    *,
    provider: str = "openai",
    path: str = "/v1",
    headers: dict[str, str] | None = None,
    content: bool = True,
) -> Reading:
    """A reading that was told the request."""
    reading = Reading(provider, wire_format, path, content=content)
    reading.request(list((headers or {}).items()), json.dumps({"model": "m"} if request is None else request).encode())
    return reading


def whole(
    wire_format: str | None, answer: Any, *, status: int = 200, head: Headers | None = None, **about: Any
) -> Understanding:
    """What a whole answer gives."""
    reading = asked(wire_format, **about)
    reading.response_head(status, JSON_HEAD + (head or []))
    reading.feed(answer if isinstance(answer, bytes) else json.dumps(answer).encode())
    return reading.finish()


def streamed(wire_format: str | None, *events: Any, **about: Any) -> Understanding:
    """What an event stream gives: an event is a JSON value, or text as it stands."""
    pieces = [event if isinstance(event, str) else json.dumps(event) for event in events]
    return fed(asked(wire_format, **about), STREAM_HEAD, *(f"data: {piece}\n\n".encode() for piece in pieces))


def in_lines(wire_format: str | None, *events: Any, **about: Any) -> Understanding:
    """What a stream of one JSON value a line gives."""
    return fed(asked(wire_format, **about), LINES_HEAD, *(json.dumps(event).encode() + b"\n" for event in events))


def in_frames(wire_format: str | None, *events: tuple[str, Any], **about: Any) -> Understanding:
    """What Amazon's event stream gives: an event is a name and a JSON value; an exception's name ends so."""
    frames = [frame(name, value, kind="exception" if name.endswith("Exception") else "event") for name, value in events]
    return fed(asked(wire_format, **about), AWS_HEAD, *frames)


def fed(reading: Reading, head: Headers, *pieces: bytes) -> Understanding:
    """What an answer in pieces gives."""
    reading.response_head(200, head)
    for piece in pieces:
        reading.feed(piece)
    return reading.finish()


def output(found: Understanding) -> list[Any]:
    """The parts of the only output message."""
    [message] = found.output_messages
    parts: list[Any] = message["parts"]
    return parts
