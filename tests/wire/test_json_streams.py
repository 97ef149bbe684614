"""JSON values one after the other: lines, and the elements of an array that comes bit by bit."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tracecli.wire.events import EventDecoder
from tracecli.wire.json_streams import JsonArrayDecoder, NdjsonDecoder


def told(decoder: EventDecoder, pieces: list[bytes]) -> list[str]:
    events = [event for piece in pieces for event in decoder.feed(piece)]
    return [event.data for event in events + decoder.finish()]


def in_bytes(data: bytes) -> list[bytes]:
    return [data[i : i + 1] for i in range(len(data))]


LINES = {
    "lines": (b'{"a": 1}\n{"b": "\\n"}\n', ['{"a": 1}', '{"b": "\\n"}']),
    "crlf and blank": (b'{"a": 1}\r\n\r\n\n  \n{"b": 2}\r\n', ['{"a": 1}', '{"b": 2}']),
    "unterminated": (b'{"a": 1}\n{"b": 2}', ['{"a": 1}', '{"b": 2}']),
    "cut": (b'{"a": 1}\n{"b', ['{"a": 1}', '{"b']),
    "multibyte": ('{"a": "é\u2028"}\n'.encode(), ['{"a": "é\u2028"}']),
    "bad UTF-8": (b'{"a": "\xff"}\n', ['{"a": "\ufffd"}']),
    "empty": (b"", []),
}
ARRAYS = {
    "one": (b'[{"a": 1}]', ['{"a": 1}']),
    "as Google sends it": (
        b'[{\n  "a": "x"\n}\n,\r\n{\n  "b": [1, {"c": []}]\n}\n]\n',
        ['{\n  "a": "x"\n}', '{\n  "b": [1, {"c": []}]\n}'],
    ),
    "brackets in strings": (rb'[{"a": "}]\"{["}, {"b": "\\"}]', [r'{"a": "}]\"{["}', r'{"b": "\\"}']),
    "cut": (b'[{"a": 1}, {"b": "x', ['{"a": 1}', '{"b": "x']),
    "cut between": (b'[{"a": 1},', ['{"a": 1}']),
    "arrays inside": (b"[[1], [2]]", ["[1]", "[2]"]),
    "values that are no objects": (b'[1, "a{b", null, {"c": 2}]', ['{"c": 2}']),
    "nothing": (b"[]", []),
    "empty": (b"", []),
}


@pytest.mark.parametrize(("data", "values"), LINES.values(), ids=LINES)
def test_lines(data: bytes, values: list[str]) -> None:
    """Each line is an event, in one piece or in many."""
    assert told(NdjsonDecoder(), [data]) == told(NdjsonDecoder(), in_bytes(data)) == values


@pytest.mark.parametrize(("data", "values"), ARRAYS.values(), ids=ARRAYS)
def test_arrays(data: bytes, values: list[str]) -> None:
    """Each element is an event, in one piece or in many."""
    assert told(JsonArrayDecoder(), [data]) == told(JsonArrayDecoder(), in_bytes(data)) == values


def test_values_come_as_soon_as_they_are_whole() -> None:
    """The time to first token hangs on it."""
    assert [event.data for event in NdjsonDecoder().feed(b"{}\n")] == ["{}"]
    decoder = JsonArrayDecoder()
    assert [event.data for event in decoder.feed(b"[{}")] == ["{}"]
    assert [event.data for event in decoder.feed(b', {"a": 1}')] == ['{"a": 1}']


json_values = st.recursive(
    st.none() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@settings(deadline=None)
@given(
    st.lists(st.dictionaries(st.text(max_size=3), json_values, max_size=3), max_size=4),
    st.lists(st.integers(0, 300), max_size=6),
    st.sampled_from([None, 1]),
)
def test_any_objects(values: list[Any], cuts: list[int], indent: int | None) -> None:
    """What was encoded comes out, split anywhere."""
    for data, decoder in (
        (json.dumps(values, indent=indent).encode(), JsonArrayDecoder()),
        ("".join(json.dumps(value) + "\n" for value in values).encode(), NdjsonDecoder()),
    ):
        edges = [0, *sorted(cuts), len(data)]
        pieces = [data[a:b] for a, b in itertools.pairwise(edges)]
        assert [json.loads(one) for one in told(decoder, pieces)] == values


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_too_large_values_are_left_out(size: int) -> None:
    """A value over the bound is counted and skipped; those around it are whole."""
    large = json.dumps({"x": "y" * 100}).encode()
    for decoder, data in (
        (NdjsonDecoder(max_event_bytes=50), b"{}\n" + large + b'\n{"a": 1}\n'),
        (JsonArrayDecoder(max_event_bytes=50), b"[{}, " + large + b', {"a": 1}]'),
    ):
        pieces = [data[start : start + size] for start in range(0, len(data), size)]
        assert told(decoder, pieces) == ["{}", '{"a": 1}']
        assert decoder.dropped == 1


@settings(deadline=None)
@given(st.lists(st.binary(max_size=20) | st.sampled_from([b"[", b"{", b'"', b"\\", b"]", b"}"]), max_size=10))
def test_arbitrary_bytes(pieces: list[bytes]) -> None:
    """No bytes raise anything, and how they are cut changes nothing."""
    for decoder in (NdjsonDecoder, JsonArrayDecoder):
        assert told(decoder(), pieces) == told(decoder(), [b"".join(pieces)])
