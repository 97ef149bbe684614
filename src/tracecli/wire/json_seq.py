"""JSON text sequences (RFC 7464): how the messages of a WebSocket are recorded, one after the other in one body."""

from __future__ import annotations

import msgspec

from tracecli.wire.events import MAX_EVENT_BYTES, Event

RECORD_SEPARATOR = b"\x1e"
"""Before each message; in JSON it can only stand escaped."""


def framed(message: bytes) -> bytes:
    """A message as it stands in a sequence."""
    return RECORD_SEPARATOR + message + b"\n"


def messages(sequence: bytes) -> list[bytes]:
    """The messages of a whole sequence; the last one may be cut."""
    return [message.removesuffix(b"\n") for message in sequence.split(RECORD_SEPARATOR)[1:]]


class JsonSeqDecoder:
    """Decodes a sequence; one text of more than `max_event_bytes` is left out."""

    def __init__(self, max_event_bytes: int = MAX_EVENT_BYTES) -> None:
        self.dropped = 0
        self._max = max_event_bytes
        self._pieces: list[bytes] = []
        self._bytes = 0

    def feed(self, data: bytes) -> list[Event]:
        """The messages that are complete now."""
        events: list[Event] = []
        first, *others = data.split(RECORD_SEPARATOR)
        self._keep(first)
        for message in others:
            events += self._take()
            self._keep(message)
        if self._is_whole():
            events += self._take()
        return events

    def _is_whole(self) -> bool:
        """Whether what is held is a JSON text that ended: then nobody has to wait for the message after it."""
        if not self._pieces or not self._pieces[-1].endswith(b"\n"):
            return False
        try:
            msgspec.json.decode(b"".join(self._pieces), type=msgspec.Raw)
        except (msgspec.DecodeError, RecursionError):
            return False
        return True

    def finish(self) -> list[Event]:
        """The last message, which may be cut."""
        return self._take()

    def _keep(self, piece: bytes) -> None:
        self._bytes += len(piece)
        if piece and self._bytes <= self._max:
            self._pieces.append(piece)

    def _take(self) -> list[Event]:
        message, size = b"".join(self._pieces).strip(), self._bytes
        self._pieces, self._bytes = [], 0
        if size > self._max:
            self.dropped += 1
            return []
        return [Event("message", message.decode("utf-8", "replace"))] if message else []
