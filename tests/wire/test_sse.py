"""The event stream: the standard's cases, whatever the splits, and what cut or odd streams give."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tracecli.wire.events import Event
from tracecli.wire.sse import SseDecoder


def message(data: str) -> Event:
    return Event("message", data)


CASES = {
    "one": (b"data: a\n\n", [message("a")]),
    "crlf": (b"data: a\r\n\r\ndata: b\r\n\r\n", [message("a"), message("b")]),
    "cr": (b"data: a\r\rdata: b\r\r", [message("a"), message("b")]),
    "mixed line ends": (b"data: a\r\n\ndata: b\n\r\ndata: c\r\r\n", [message("a"), message("b"), message("c")]),
    "lines joined": (b"data: a\ndata:\ndata:  b\n\n", [message("a\n\n b")]),
    "no space": (b"data:a\n\ndata: \n\n", [message("a"), message("")]),
    "field without colon": (b"data\n\ndata\ndata\n\n", [message(""), message("\n")]),
    "named": (b"event: ping\ndata: {}\n\ndata: x\n\n", [Event("ping", "{}"), message("x")]),
    "the last name counts": (b"event: a\nevent: b\ndata: x\n\n", [Event("b", "x")]),
    "empty name": (b"event:\ndata: x\n\nevent\ndata: y\n\n", [message("x"), message("y")]),
    "comments": (b": OPENROUTER PROCESSING\n\n:\ndata: a\n: inside\n\n", [message("a")]),
    "nothing to dispatch": (b"event: a\n\nid: 1\nretry: 5\n\n\n\ndata: b\n\n", [message("b")]),
    "other fields": (b"database: x\nevents: y\ndata: a\n data: z\n\n", [message("a")]),
    "byte order mark": (b"\xef\xbb\xbfdata: a\n\n\xef\xbb\xbfdata: b\n\n", [message("a")]),
    "bad UTF-8": (b"data: a\xffb\n\n", [message("a\ufffdb")]),
    "line separators of Unicode": (
        "data: a\u2028b\u0085c\x0bd\x0ce\x1ff\n\n".encode(),
        [message("a\u2028b\u0085c\x0bd\x0ce\x1ff")],
    ),
    "multibyte": ("data: \U0001f600é\n\n".encode(), [message("\U0001f600é")]),
    "unterminated event": (b"data: a\n\ndata: b\n", [message("a"), message("b")]),
    "unterminated line": (b"data: a\n\nevent: x\ndata: b", [message("a"), Event("x", "b")]),
    "unterminated name": (b"data: a\n\nevent: x", [message("a")]),
    "unterminated cr": (b"data: a\r", [message("a")]),
    "empty": (b"", []),
}
cases = pytest.mark.parametrize(("stream", "events"), CASES.values(), ids=CASES)


def decoded(pieces: list[bytes]) -> list[Event]:
    decoder = SseDecoder()
    events = [event for piece in pieces for event in decoder.feed(piece)]
    return events + decoder.finish()


@cases
def test_whole(stream: bytes, events: list[Event]) -> None:
    """The events of a stream, in one piece."""
    assert decoded([stream]) == events


@cases
def test_byte_by_byte(stream: bytes, events: list[Event]) -> None:
    """The same, a byte at a time, empty pieces between."""
    assert decoded([piece for i in range(len(stream)) for piece in (stream[i : i + 1], b"")]) == events


@settings(deadline=None)
@given(
    lines=st.lists(
        st.sampled_from([b"data: ab", b"data:", b"event: e", b":c", b"", b"\xef\xbb\xbf", b"x"]), max_size=12
    ),
    ends=st.lists(st.sampled_from([b"\n", b"\r", b"\r\n"]), min_size=12, max_size=12),
    cuts=st.lists(st.integers(0, 120), max_size=6),
)
def test_split_anywhere(lines: list[bytes], ends: list[bytes], cuts: list[int]) -> None:
    """Splits change nothing, nor does the kind of line ends."""
    stream = b"".join(line + end for line, end in zip(lines, ends, strict=False))
    edges = [0, *sorted(cuts), len(stream)]
    pieces = [stream[a:b] for a, b in itertools.pairwise(edges)]
    assert decoded(pieces) == decoded([stream.replace(b"\r\n", b"\n").replace(b"\r", b"\n")])


def test_an_event_comes_as_soon_as_it_is_whole() -> None:
    """The time to first token hangs on it: an event is not held until the next one begins."""
    decoder = SseDecoder()
    assert decoder.feed(b"data: a\n") == []
    assert decoder.feed(b"\n") == [message("a")]
    assert decoder.feed(b"data: b\r\n\r") == [message("b")]
    assert decoder.feed(b"\ndata: c\n\n") == [message("c")]


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_too_large_events_are_left_out(size: int) -> None:
    """An event over the bound is counted and skipped, in one line or in many; those around it are whole."""
    stream = b"data: a\n\nevent: big\ndata: " + b"x" * 60 + b"\n\n" + b"data: 0123456789\n" * 6 + b"\ndata: b\n\n"
    decoder = SseDecoder(max_event_bytes=50)
    events = [event for start in range(0, len(stream), size) for event in decoder.feed(stream[start : start + size])]
    assert events + decoder.finish() == [message("a"), message("b")]
    assert decoder.dropped == 2


def test_a_line_without_end_stays_small() -> None:
    """A stream that never ends its line is held up to the bound only."""
    decoder = SseDecoder(max_event_bytes=1000)
    for _ in range(100):
        decoder.feed(b"x" * 500)
    assert sum(map(len, decoder._tail)) <= 1000


@pytest.mark.parametrize("line", [b"data\n", b"data:\n", b"data:xy\n"])
def test_an_event_of_short_lines_stays_small(line: bytes) -> None:
    """Lines that hold next to nothing still take memory each: an event of very many is too large, and is left out."""
    decoder = SseDecoder(max_event_bytes=10_000)
    assert decoder.feed(line * 100_000) == []
    assert len(decoder._data) <= 10_000 // 40 + 1
    assert decoder.feed(b"\ndata: b\n\n") == [message("b")]
    assert decoder.dropped == 1


@settings(deadline=None)
@given(st.lists(st.binary(max_size=40), max_size=8))
def test_arbitrary_bytes(pieces: list[bytes]) -> None:
    """No bytes raise anything, and how they are cut changes nothing."""
    assert decoded(pieces) == decoded([b"".join(pieces)])
