"""JSON values one after the other: one a line (NDJSON), or the elements of one array that is sent bit by bit.

https://github.com/ndjson/ndjson-spec  https://ai.google.dev/api/generate-content: without `alt=sse`, an array
"""

from __future__ import annotations

import re

from tracecli.wire.events import MAX_EVENT_BYTES, Event

_STRUCTURE = re.compile(rb'["{}\[\]]')
_IN_STRING = re.compile(rb'["\\]')


class NdjsonDecoder:
    """Decodes lines; empty ones are passed over. One of more than `max_event_bytes` is left out."""

    def __init__(self, max_event_bytes: int = MAX_EVENT_BYTES) -> None:
        self.dropped = 0
        self._line = _Held(max_event_bytes)

    def feed(self, data: bytes) -> list[Event]:
        """The lines that are complete now."""
        events: list[Event] = []
        *lines, rest = data.split(b"\n")
        for line in lines:
            self._line.keep(line)
            events += self._take()
        self._line.keep(rest)
        return events

    def finish(self) -> list[Event]:
        """The last line, which may be cut."""
        return self._take()

    def _take(self) -> list[Event]:
        events = self._line.take()
        self.dropped += events is None
        return events or []


class JsonArrayDecoder:
    """Decodes the elements, objects or arrays, of one array. One of more than `max_event_bytes` is left out."""

    def __init__(self, max_event_bytes: int = MAX_EVENT_BYTES) -> None:
        self.dropped = 0
        self._element = _Held(max_event_bytes)
        self._depth = 0
        self._in_string = False
        self._escaped = False

    def feed(self, data: bytes) -> list[Event]:
        """The elements that are complete now."""
        events: list[Event] = []
        start = 0
        position = 1 if self._escaped and data else 0
        self._escaped = self._escaped and not data
        while match := (_IN_STRING if self._in_string else _STRUCTURE).search(data, position):
            position = match.end()
            byte = match[0]
            if byte == b"\\":
                self._escaped = position == len(data)
                position += 1
            elif byte == b'"':
                self._in_string = not self._in_string
            elif byte in b"{[":
                self._depth += 1
                if self._depth == 2:
                    start = match.start()
            else:
                self._depth = max(self._depth - 1, 0)
                if self._depth == 1:
                    self._element.keep(data[start:position])
                    events += self._take()
        if self._depth > 1:
            self._element.keep(data[start:])
        return events

    def finish(self) -> list[Event]:
        """The last element, if it was cut."""
        return self._take()

    def _take(self) -> list[Event]:
        events = self._element.take()
        self.dropped += events is None
        return events or []


class _Held:
    """The beginning of a value, in pieces, as far as the bound allows."""

    def __init__(self, bound: int) -> None:
        self._bound = bound
        self._pieces: list[bytes] = []
        self._bytes = 0

    def keep(self, piece: bytes) -> None:
        self._bytes += len(piece)
        if piece and self._bytes <= self._bound:
            self._pieces.append(piece)

    def take(self) -> list[Event] | None:
        """The value as an event, or no event if it is blank; None if it was too large. Nothing is held then."""
        value, size = b"".join(self._pieces).strip(), self._bytes
        self._pieces, self._bytes = [], 0
        if size > self._bound:
            return None
        return [Event("message", value.decode("utf-8", "replace"))] if value else []
