"""JSON text sequences: the messages of a WebSocket in one body."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from tracecli.wire.json_seq import JsonSeqDecoder, framed, messages


def told(pieces: list[bytes], limit: int = 1 << 20) -> tuple[list[str], int]:
    decoder = JsonSeqDecoder(limit)
    events = [event for piece in pieces for event in decoder.feed(piece)]
    return [event.data for event in events + decoder.finish()], decoder.dropped


VALUES = st.recursive(
    st.none() | st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
)


@given(st.lists(st.dictionaries(st.text(), VALUES, max_size=3), max_size=4), st.booleans(), st.integers(1, 40))
def test_messages_come_back(values: list[dict[str, object]], pretty: bool, step: int) -> None:
    """Messages come back whole and in order, laid out over lines or not, and however the body is cut."""
    said = [json.dumps(value, indent=2 if pretty else None).encode() for value in values]
    body = b"".join(map(framed, said))
    assert messages(body) == said
    found, dropped = told([body[at : at + step] for at in range(0, len(body), step)])
    assert ([json.loads(one) for one in found], dropped) == (values, 0)


def test_a_message_is_told_as_soon_as_it_is_whole() -> None:
    """The end of a message is known without the next one."""
    decoder = JsonSeqDecoder()
    assert [event.data for event in decoder.feed(framed(b'{"a": 1}'))] == ['{"a": 1}']
    assert decoder.feed(framed(b'{"b": {}\n}')[:-1]) == []


def test_a_message_that_is_too_large_is_left_out() -> None:
    """It is counted, and the ones after it are told."""
    assert told([framed(b"x" * 50), framed(b"{}")], 20) == (["{}"], 1)


@given(st.lists(st.binary(max_size=20), max_size=8))
def test_arbitrary_bytes(pieces: list[bytes]) -> None:
    """No bytes raise anything."""
    found, dropped = told(pieces)
    assert dropped == 0 and all(found)
