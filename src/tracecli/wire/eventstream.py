"""Amazon's event stream, `application/vnd.amazon.eventstream`.

https://docs.aws.amazon.com/transcribe/latest/dg/streaming-setting-up.html#streaming-event-stream: big-endian frames of
total length, length of the headers, CRC-32 of those two, headers, payload, CRC-32 of all before it.
"""

from __future__ import annotations

import struct
import zlib

from tracecli.wire.events import MAX_EVENT_BYTES, Event

_PRELUDE = struct.Struct(">III")
_CRC_BYTES = 4
_STRING = 7
# Bytes of a header value by its type; 6 and 7, byte arrays and strings, carry their length.
_SIZES = {0: 0, 1: 0, 2: 1, 3: 2, 4: 4, 5: 8, 8: 8, 9: 16}


class EventStreamDecoder:
    """Decodes one stream; an event's name is its `:event-type`, or its `:exception-type` with `is_error` set.

    A frame with a wrong checksum or of more than `max_event_bytes` is counted in `dropped`, and is the end: where the
    next one begins cannot be known then.
    """

    def __init__(self, max_event_bytes: int = MAX_EVENT_BYTES) -> None:
        self.dropped = 0
        self._max = max_event_bytes
        self._held = bytearray()

    def feed(self, data: bytes) -> list[Event]:
        """The events that are complete now."""
        if self.dropped:
            return []
        self._held += data
        events: list[Event] = []
        start = 0
        while len(self._held) - start >= _PRELUDE.size:
            total, headers, checksum = _PRELUDE.unpack_from(self._held, start)
            if not self._is_sound(start, total, headers, checksum):
                self.dropped += 1
                self._held.clear()
                return events
            if len(self._held) - start < total:
                break
            frame = bytes(self._held[start : start + total])
            start += total
            if zlib.crc32(frame[:-_CRC_BYTES]) != int.from_bytes(frame[-_CRC_BYTES:]):
                self.dropped += 1
                self._held.clear()
                return events
            events.append(_event(frame, headers))
        del self._held[:start]
        return events

    def finish(self) -> list[Event]:
        """Nothing: a frame that was cut has no checksum."""
        return []

    def _is_sound(self, start: int, total: int, headers: int, checksum: int) -> bool:
        prelude = self._held[start : start + _PRELUDE.size - _CRC_BYTES]
        fits = _PRELUDE.size + headers + _CRC_BYTES <= total <= self._max
        return fits and zlib.crc32(prelude) == checksum


def _event(frame: bytes, headers_bytes: int) -> Event:
    payload = _PRELUDE.size + headers_bytes
    headers = _headers(frame[_PRELUDE.size : payload])
    is_error = headers.get(":message-type", "event") != "event"
    name = headers.get(":exception-type" if is_error else ":event-type") or headers.get(":error-code", "")
    return Event(name, frame[payload:-_CRC_BYTES].decode("utf-8", "replace"), is_error)


def _headers(data: bytes) -> dict[str, str]:
    """The headers that are strings; those of other types are passed over."""
    headers: dict[str, str] = {}
    at = 0
    while at < len(data):
        name_end = at + 1 + data[at]
        name, kind = data[at + 1 : name_end], data[name_end] if name_end < len(data) else 0
        at = name_end + 1
        size = _SIZES.get(kind)
        if size is None:
            size = int.from_bytes(data[at : at + 2])
            at += 2
        if kind == _STRING:
            headers[name.decode("utf-8", "replace")] = data[at : at + size].decode("utf-8", "replace")
        at += size
    return headers
