"""Amazon's event stream: frames whole and in pieces, and what a broken one costs."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.wire.frames import frame
from tracecli.wire.events import Event
from tracecli.wire.eventstream import EventStreamDecoder

# A header of each type that is no string: true, byte, short, int, long, bytes, timestamp, UUID.
OTHER_HEADERS = (
    b"\x01a\x00\x01b\x02x\x01c\x03xx\x01d\x04xxxx\x01e\x05xxxxxxxx\x01f\x06\x00\x02xx\x01g\x08xxxxxxxx\x01h\x09"
    + b"x" * 16
)
STREAM = (
    frame("messageStart", {"role": "assistant"})
    + frame("chunk", {"text": "é\n\n"}, more=OTHER_HEADERS)
    + frame("empty", b"")
    + frame("throttlingException", {"message": "slow down"}, kind="exception")
)
EVENTS = [
    Event("messageStart", '{"role": "assistant"}'),
    Event("chunk", '{"text": "\\u00e9\\n\\n"}'),
    Event("empty", ""),
    Event("throttlingException", '{"message": "slow down"}', is_error=True),
]


def decoded(pieces: list[bytes]) -> tuple[list[Event], int]:
    decoder = EventStreamDecoder()
    events = [event for piece in pieces for event in decoder.feed(piece)]
    return events + decoder.finish(), decoder.dropped


def test_whole_and_byte_by_byte() -> None:
    """The events of a stream, with their names and kinds, in whatever pieces they come."""
    assert decoded([STREAM]) == (EVENTS, 0)
    assert decoded([STREAM[i : i + 1] for i in range(len(STREAM))]) == (EVENTS, 0)


@settings(deadline=None)
@given(st.lists(st.integers(0, len(STREAM)), max_size=6))
def test_split_anywhere(cuts: list[int]) -> None:
    """Splits change nothing."""
    edges = [0, *sorted(cuts), len(STREAM)]
    assert decoded([STREAM[a:b] for a, b in itertools.pairwise(edges)]) == (EVENTS, 0)


def test_truncated() -> None:
    """What was whole is told; a frame that was cut is not, as nothing says that it is sound."""
    for end in range(len(STREAM)):
        events, dropped = decoded([STREAM[:end]])
        assert events == EVENTS[: len(events)] and dropped == 0


@pytest.mark.parametrize("place", range(0, 60, 7))
def test_a_wrong_byte_ends_the_stream(place: int) -> None:
    """Checksums are held: a frame with a wrong byte, and what follows it, is left out and counted."""
    first = len(frame("messageStart", {"role": "assistant"}))
    broken = bytearray(STREAM)
    broken[first + place] ^= 1
    assert decoded([bytes(broken)]) == (EVENTS[:1], 1)
    assert decoded([bytes(broken[i : i + 1]) for i in range(len(broken))]) == (EVENTS[:1], 1)


def test_too_large_frames() -> None:
    """A frame over the bound is not waited for."""
    decoder = EventStreamDecoder(max_event_bytes=200)
    assert decoder.feed(frame("small", {})) == [Event("small", "{}")]
    assert decoder.feed(frame("large", {"text": "x" * 500})[:20]) == []
    assert (decoder.dropped, decoder.feed(frame("small", {}))) == (1, [])


@settings(deadline=None)
@given(st.lists(st.binary(max_size=40), max_size=6))
def test_arbitrary_bytes(pieces: list[bytes]) -> None:
    """No bytes raise anything, how they are cut changes nothing, and what was whole before them is told."""
    assert decoded(pieces) == decoded([b"".join(pieces)])
    events, _ = decoded([frame("x", b"y"), *pieces])
    assert events[0] == Event("x", "y")
