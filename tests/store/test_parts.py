"""Cutting bodies into parts: they come back as they were, and what comes again is the same part."""

from __future__ import annotations

import base64
import gzip
import json
import random
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracecli.store.parts import LONG, SMALLEST, SMALLEST_LAST, SMALLEST_STRING, _long_strings, join, split

IMAGE = base64.b64encode(random.Random(1).randbytes(60_000)).decode()
WORDS = [f"word{number}" for number in range(400)]

# What cutting looks at, in any order: quotes, escapes, borders of forms and objects, long runs.
FRAGMENTS = [b'"', b"\\", b'\\"', b"\\n", b"},{", b"}, {", b"\r\n", b"--B", b"--B\r\na: b\r\n\r\n", b"\x00", b"\xff",
             b"x" * 600, b"\\a" * 300, b"y" * (LONG + 10), b'"' + b"z" * SMALLEST_STRING + b'"']  # fmt: skip


def text(chance: random.Random, size: int) -> str:
    """Words and lines of about so many characters."""
    return " ".join(chance.choice((*WORDS, "\n", '"')) for _ in range(size // 7))


def body(**values: Any) -> bytes:
    """A request."""
    return json.dumps({"model": "m"} | values).encode()


@given(st.one_of(st.binary(max_size=3000), st.lists(st.sampled_from(FRAGMENTS), max_size=40).map(b"".join)))
def test_whatever_the_bytes_they_come_back(data: bytes) -> None:
    """Rest and parts give exactly the body; no part is small, and places are in order and within the rest."""
    found = split(data)
    assert join(*found) == data
    assert len(found.places) == len(found.parts)
    assert found.places == sorted(found.places) and all(0 <= place <= len(found.rest) for place in found.places)
    assert all(len(part) >= SMALLEST for part in found.parts)


PLAIN = re.compile(rb'"(?![^"\\]{0,1023}+(?:\\.[^"\\]{0,15}+){0,8}+")((?:[^"\\]++|\\.)*+)', re.DOTALL)


@given(
    st.lists(st.sampled_from([*FRAGMENTS, b"a" * 100, b"b" * 1000, b'"c":"d"', b'\\\\"']), max_size=40).map(b"".join)
)
def test_strings_are_found_where_they_always_were(data: bytes) -> None:
    """The quick way finds what the plain pattern does: parts that were stored long ago are found again."""
    plain = [string.span(1) for string in PLAIN.finditer(data)]
    assert list(_long_strings(data)) == [(a, b) for a, b in plain if b - a >= SMALLEST_STRING]


@pytest.mark.parametrize(
    "unit",
    [b'"', b"\\", b'\\"', b'"\\a', b'"' + b"a" * 1023, b'"' + b"\\a" * 9, b"--B\r\n", b"--B\r\n\r\n", b"a: b\r\n",
     b"},", b"},{", b"} , ", b"\\n", b"\x00"],
)  # fmt: skip
@pytest.mark.parametrize("start", [b"", b'"', b"--B\r\n"])
def test_hostile_bytes_take_no_longer(start: bytes, unit: bytes) -> None:
    """A megabyte made to be cut at each byte, or looked through again from each, is done in a moment."""
    data = start + unit * ((1 << 20) // len(unit))
    assert join(*split(data)) == data


def test_small_bodies_stay_whole() -> None:
    """What is small has no parts."""
    for data in (b"", b"x", body(messages=[{"role": "user", "content": "hi" * 200}]), b"x" * (SMALLEST_LAST - 1)):
        assert split(data) == (data, [], [])


def test_a_long_string_is_a_part_wherever_it_is() -> None:
    """An image is one part, in a data URL or as it is, whatever is around it; a text too, with its escapes."""
    url = f"data:image/png;base64,{IMAGE}"
    assert split(body(a=url)).parts == split(body(b=[1, {"c": url}], d=2)).parts == [url.encode()]
    assert split(body(source={"data": IMAGE})).parts == [IMAGE.encode()]
    said = 'He said: "Hello\\". \n' * 60
    assert (
        split(body(content=said)).parts
        == split(body(x="y", messages=[said])).parts
        == [json.dumps(said)[1:-1].encode()]
    )


def test_what_is_between_long_strings_is_a_part_too() -> None:
    """Many short messages between two long ones are a part, so that they need not be stored with each body."""
    chance = random.Random(2)
    short = [{"role": "user", "content": text(chance, 90)} for _ in range(20)]
    long = text(chance, 3000)
    first, second = (split(body(messages=[long, *short, long, *more])) for more in ([], [1, 2, 3]))
    assert first.parts == second.parts and len(first.parts) == 3
    assert len(second.rest) < 100


@pytest.mark.parametrize("shape", ["long messages", "short messages", "one text"])
def test_a_growing_history_has_the_same_parts(shape: str) -> None:
    """Of what was sent before, almost all is in the parts of the next request, however it is told."""
    chance = random.Random(3)
    said: list[str] = []
    known: set[bytes] = set()
    for turn in range(30):
        said += [text(chance, 60 if shape == "short messages" else 4000) for _ in range(80 if turn == 0 else 4)]
        history = "".join(said) if shape == "one text" else [{"role": "user", "content": one} for one in said]
        data = body(messages=history, turn=turn)
        found = split(data)
        new = len(found.rest) + sum(len(part) for part in found.parts if part not in known)
        assert turn == 0 or new < 4 * 4500 + 3 * LONG
        known |= set(found.parts)


def test_a_file_of_a_form_is_a_part() -> None:
    """The same file is the same part, whatever the boundary and the fields beside it."""
    file = random.Random(4).randbytes(20_000)

    def form(boundary: bytes, *more: bytes) -> bytes:
        fields = [b"\r\n\r\nwhisper", *more, b'; name="file"\r\nContent-Type: audio/wav\r\n\r\n' + file]
        head = b"--" + boundary + b"\r\nContent-Disposition: form-data"
        return b"".join(head + field + b"\r\n" for field in fields) + b"--" + boundary + b"--\r\n"

    first, second = split(form(b"one")), split(form(b"another-boundary", b"\r\n\r\nen"))
    assert first.parts == second.parts == [file + b"\r\n"]


def test_what_is_no_text_is_one_part() -> None:
    """In compressed bodies and media quotes mean nothing: they are parts as a whole, or no parts."""
    for data in (gzip.compress(random.Random(5).randbytes(50_000)), b"RIFF\x00\x00" + b'"' + b"x" * 50_000):
        assert split(data) == (b"", [0], [data])


def test_a_json_text_sequence_is_cut_like_json() -> None:
    """The messages of a WebSocket hold long strings too."""
    long = "x" * 2000
    data = b"".join(b"\x1e" + body(text=long) + b"\n" for _ in range(2))
    assert split(data).parts == [long.encode()] * 2
