"""Server-sent events: the WHATWG event stream (https://html.spec.whatwg.org/multipage/server-sent-events.html).

Bytes in, events out, split anywhere: between the CR and LF of a line end, inside a UTF-8 sequence, inside the byte
order mark. Two departures from the standard: an event that the stream's end left unterminated is delivered by `finish`,
as cut streams matter here, and ids and retry times are not kept.
"""

from __future__ import annotations

from tracecli.wire.events import MAX_EVENT_BYTES, Event

# What a line of data takes in memory beside its bytes: an event of millions of short lines is too large as well.
_LINE_BYTES = 40


class SseDecoder:
    """Decodes one stream; events without a name are named "message".

    An event whose data exceeds `max_event_bytes` is left out and counted in `dropped`.
    """

    def __init__(self, max_event_bytes: int = MAX_EVENT_BYTES) -> None:
        self.dropped = 0
        self._max = max_event_bytes
        self._tail: list[bytes] = []
        self._tail_bytes = 0
        self._after_cr = False
        self._at_start = True
        self._type = ""
        self._data: list[bytes] = []
        self._data_bytes = 0

    def feed(self, data: bytes) -> list[Event]:
        """The events that are complete now."""
        if self._after_cr and data:
            self._after_cr = False
            if data[0] == 0x0A:
                data = data[1:]
        if not data:
            return []
        self._after_cr = data[-1] == 0x0D
        # On bytes, unlike on text, splitlines knows CR, LF and CRLF only: U+2028 in a payload stays there.
        lines = data.splitlines()
        unterminated = lines.pop() if data[-1] not in b"\r\n" else b""
        events: list[Event] = []
        if lines:
            if self._tail:
                lines[0] = self._take_tail() + lines[0]
            self._lines(lines, events)
        if unterminated:
            self._keep_tail(unterminated)
        return events

    def finish(self) -> list[Event]:
        """The stream has ended; what it left unterminated."""
        events: list[Event] = []
        self._lines([self._take_tail(), b""], events)
        return events

    def _take_tail(self) -> bytes:
        tail = b"".join(self._tail)
        self._tail, self._tail_bytes = [], 0
        return tail

    def _keep_tail(self, piece: bytes) -> None:
        """Hold an unfinished line, in pieces: joining at each chunk would cost the square of its length."""
        self._tail_bytes += len(piece)
        if self._tail_bytes <= self._max or not self._tail:
            self._tail.append(piece)
        else:
            # The rest of a line that is too long anyway; its beginning still tells what it is.
            self._data_bytes += len(piece)

    def _lines(self, lines: list[bytes], events: list[Event]) -> None:
        if self._at_start:
            self._at_start = False
            lines[0] = lines[0].removeprefix(b"\xef\xbb\xbf")
        for line in lines:
            if line.startswith(b"data:"):
                value = line[6:] if line.startswith(b" ", 5) else line[5:]
                self._keep_data(value)
            elif not line:
                self._dispatch(events)
            elif line.startswith(b"event"):
                self._field(line)
            elif line == b"data":
                self._keep_data(b"")

    def _keep_data(self, value: bytes) -> None:
        self._data.append(value)
        self._data_bytes += len(value) + (_LINE_BYTES if len(self._data) > 1 else 0)
        if self._data_bytes > self._max:
            self._data = [b""]

    def _field(self, line: bytes) -> None:
        name, _, value = line.partition(b":")
        if name == b"event":
            self._type = value.removeprefix(b" ").decode("utf-8", "replace")

    def _dispatch(self, events: list[Event]) -> None:
        if self._data_bytes > self._max:
            self.dropped += 1
        elif self._data:
            data = self._data[0] if len(self._data) == 1 else b"\n".join(self._data)
            events.append(Event(self._type or "message", data.decode("utf-8", "replace")))
        self._type = ""
        self._data = []
        self._data_bytes = 0
