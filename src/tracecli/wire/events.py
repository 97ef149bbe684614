"""What the decoders of all framings give: events, and how they give them."""

from __future__ import annotations

from typing import Protocol

import msgspec

MAX_EVENT_BYTES = 16 << 20
"""An event larger than this is left out: no stream may fill the memory with a line that never ends."""


class Event(msgspec.Struct, frozen=True, gc=False):
    """One event of a stream; `event` is its name, where the framing has names."""

    event: str
    data: str
    is_error: bool = False
    """Whether the framing itself says that this is an error."""


class EventDecoder(Protocol):
    """Decodes one stream, split anywhere."""

    dropped: int
    """How many events were too large or did not decode, and were left out."""

    def feed(self, data: bytes) -> list[Event]:
        """The events that are complete now."""

    def finish(self) -> list[Event]:
        """The stream has ended; what it left unterminated, which may be cut."""
