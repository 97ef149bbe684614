"""Words in what was said, however it was sent."""

from __future__ import annotations

import gzip
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.chats import answered, asked, call
from tracecli.contents import matches, texts
from tracecli.exchange import Captured
from tracecli.query.syntax import parse, pattern, words

_PIECES = st.lists(
    st.sampled_from(
        ["Par", "is", " ", "in", '"', "\\", "\n", "é", "content", '"content":"', "data: ", "/", "\u2028", "1"]
    ),
    max_size=12,
)
_JSON = ("Content-Type", "application/json")
_STREAM = ("Content-Type", "text/event-stream")


def _events(events: list[Any], names: bool = False) -> bytes:
    """A stream of server-sent events."""
    return b"".join(
        (f"event: {one['type']}\n".encode() if names else b"") + b"data: " + json.dumps(one).encode() + b"\n\n"
        for one in events
    )


def _openai(pieces: list[str], choices: int, padded: bool) -> Captured:
    events = [
        {
            "id": "c1",
            "object": "chat.completion.chunk",
            "choices": [{"index": number % choices, "delta": {"content": piece}, "finish_reason": None}],
            **({"obfuscation": "x" * (number % 3)} if padded else {}),
        }
        for number, piece in enumerate(pieces)
    ]
    body = _events(events) + b"data: [DONE]\n\n"
    return call(0, asked("?", stream=True), body, request_headers=[_JSON], response_headers=[_STREAM])


def _anthropic(pieces: list[str]) -> Captured:
    kinds = [("thinking_delta", "thinking"), ("text_delta", "text")]
    events: list[dict[str, Any]] = [{"type": "message_start", "message": {"id": "m", "content": []}}]
    for index, (kind, name) in enumerate(kinds):
        block = {"type": name, name: ""}
        events.append({"type": "content_block_start", "index": index, "content_block": block})
        events += [
            {"type": "content_block_delta", "index": index, "delta": {"type": kind, name: piece}} for piece in pieces
        ]
        events.append({"type": "content_block_stop", "index": index})
    events.append({"type": "message_stop"})
    about: dict[str, Any] = {"provider": "anthropic", "host": "api.anthropic.com", "path": "/v1/messages"}
    request = b'{"model": "claude", "stream": true, "messages": [{"role": "user", "content": "?"}]}'
    return call(0, request, _events(events, names=True), request_headers=[_JSON], response_headers=[_STREAM], **about)


def _found(captured: Captured, looked_for: str) -> bool:
    """By the bytes first, as `matches` does."""
    return bool(matches(captured, words(looked_for)))


def _said(captured: Captured, looked_for: str) -> bool:
    """In any of the texts, without looking at the bytes."""
    return any(looked_for.casefold() in one.text.casefold() for one in texts(captured))


_WORDS = st.sampled_from(["Paris", "paris in", "isin", "content", "Par", "is 1", '"content', "éPar", "data", "in\nPar"])


@given(_PIECES, st.integers(1, 2), st.booleans(), _WORDS)
def test_streams_in_pieces(pieces: list[str], choices: int, padded: bool, looked_for: str) -> None:
    """A word that came in pieces is found, whatever is between them, and if several answers take turns."""
    captured = _openai(pieces, choices, padded)
    assert _found(captured, looked_for) == _said(captured, looked_for)


@given(_PIECES, _WORDS)
def test_streams_of_blocks(pieces: list[str], looked_for: str) -> None:
    """Blocks that come one after the other are each whole."""
    captured = _anthropic(pieces)
    assert _found(captured, looked_for) == _said(captured, looked_for)


@given(_PIECES, _WORDS, st.booleans(), st.booleans())
def test_json_however_it_is_written(pieces: list[str], looked_for: str, ascii_only: bool, zipped: bool) -> None:
    """Escapes and encodings hide nothing."""
    text = "".join(pieces)
    request = json.dumps({"model": "gpt-4o", "messages": [{"role": "user", "content": text}]}, ensure_ascii=ascii_only)
    body = request.encode()
    headers = [_JSON, ("Content-Encoding", "gzip")] if zipped else [_JSON]
    captured = call(0, gzip.compress(body) if zipped else body, answered("x"), request_headers=headers)
    assert _found(captured, looked_for) == _said(captured, looked_for)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("hello", ["Hello", "HELLO"]),
        ("hel*o", ["Hello", "HELLO"]),
        ('"hel*o"', []),
        ("text:/Hel+o/", ["Hello"]),
        ("prompt:hello", ["Hello"]),
        ("completion:hello", ["HELLO"]),
        ("text:/x*/", []),
    ],
)
def test_where_words_are(text: str, found: list[str]) -> None:
    """Each place is told as it was written; nothing is no match."""
    captured = call(0, asked("Hello"), answered("and HELLO"), request_headers=[_JSON], response_headers=[_JSON])
    term = parse(text)
    assert [one.text.text[one.start : one.end] for one in matches(captured, term)] == found  # type: ignore[arg-type]


def test_offsets_are_of_characters() -> None:
    """Letters of several bytes before a match do not move it."""
    captured = call(0, asked("日本 \U0001f600 Paris"), answered("x"))
    [match] = matches(captured, pattern("P.*s"))
    assert match.text.text[match.start : match.end] == "Paris"
    assert (match.text.side, match.text.role) == ("prompt", "user")
