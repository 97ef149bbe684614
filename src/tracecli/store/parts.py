"""Cutting bodies into parts: what is large and may come again is a part, what is left between is the rest. Pure.

Agents send their history, images and files again with every call, and a cache gives an answer again. So a body is cut
at the quotes of its long strings, and a form at its boundaries: the same text, image or file is then the same part in
every body. A body with nothing to cut at is one part if it is large. Whatever the bytes, `join` gives back what `split`
was given, and both take time and memory in proportion to them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

SMALLEST = 512
"""A shorter part costs more than it saves."""
SMALLEST_STRING = 1024
"""Bodies are cut at the quotes of strings that are as long: more cuts cost more than they save."""
SMALLEST_LAST = 4096
"""What is after the last of them, or all there is, seldom comes again as it is."""
LONG = 8192
"""A longer part is cut where a line or an object ends."""

# A quote, unless the next one is soon: this passes over most short strings. It need not know which quote opens: after
# one that closes, the next one is soon, or what is between is as good a part as any.
_OPENING = re.compile(rb'"(?![^"\\]{0,%d}+(?:\\.[^"\\]{0,15}+){0,8}+")' % (SMALLEST_STRING - 1), re.DOTALL)
_REST = re.compile(rb'(?:[^"\\]++|\\.)*+', re.DOTALL)
_BACKSLASH = ord("\\")
_FEW = 50  # escaped quotes, after which looking for the next one is no faster
_NEXT_LINE = re.compile(rb"\\n")
_NEXT_OBJECT = re.compile(rb"\},\s*+(?=\{)")
# Bytes that no text has, nor a JSON text sequence. In what is compressed or media, quotes mean nothing.
_BINARY = re.compile(rb"[\x00-\x08\x0e-\x1d\x1f]")
_LOOKED_AT = 1024
# A form begins with its boundary (RFC 2046, 5.1.1), and so does each field, with headers of its own.
_BOUNDARY = re.compile(rb"--[0-9A-Za-z'()+_,./:=? -]{1,70}(?=\r\n)")
_HEADERS = rb"(?:\r\n(?:[^\r\n-][^\r\n]{0,999}+\r\n){0,16}+\r\n)?"


class Split(NamedTuple):
    """A body: its rest, and parts that belong at offsets of it, in their order."""

    rest: bytes
    places: list[int]
    parts: list[bytes]


def split(body: bytes) -> Split:
    """Cut a body into what is stored with it and what is stored once."""
    rest: list[bytes] = []
    places: list[int] = []
    parts: list[bytes] = []
    done = place = 0
    for start, end in _large(body):
        rest.append(body[done:start])
        place += start - done
        places.append(place)
        parts.append(body[start:end])
        done = end
    return Split(b"".join([*rest, body[done:]]), places, parts)


def join(rest: bytes, places: Sequence[int], parts: Sequence[bytes]) -> bytes:
    """The body again."""
    pieces: list[bytes] = []
    done = 0
    for place, part in zip(places, parts, strict=True):
        pieces += rest[done:place], part
        done = place
    return b"".join([*pieces, rest[done:]])


def _large(body: bytes) -> Iterator[tuple[int, int]]:
    """Where the parts of a body begin and end."""
    done = 0
    for start, end in _anchors(body):
        yield from _pieces(body, done, start, _NEXT_OBJECT, SMALLEST)
        yield from _pieces(body, start, end, _NEXT_LINE, SMALLEST)
        done = end
    yield from _pieces(body, done, len(body), _NEXT_OBJECT, SMALLEST_LAST)


def _anchors(body: bytes) -> Iterator[tuple[int, int]]:
    """Where long strings begin and end; in a form, the borders of its fields."""
    if len(body) < SMALLEST:
        return
    if form := _BOUNDARY.match(body):
        for head in re.finditer(re.escape(form[0]) + _HEADERS, body):
            yield head.start(), head.start()
            yield head.end(), head.end()
    elif not _BINARY.search(body, 0, _LOOKED_AT):
        yield from _long_strings(body)


def _long_strings(body: bytes) -> Iterator[tuple[int, int]]:
    """Where the long strings of a JSON text begin and end."""
    at = body.find(b'"')
    while at != -1:
        # What `_OPENING` finds, and faster: no long string begins before the last quote that is as near as this.
        last = body.rfind(b'"', at + 1, at + 1 + SMALLEST_STRING)
        if last != -1 and body.find(b'\\"', at + 1, last + 1) == -1:
            at = last
            continue
        opening = _OPENING.search(body, at)
        if opening is None:
            return
        start = opening.end()
        at = _end(body, start)
        if at - start >= SMALLEST_STRING:
            yield start, at
        if at == len(body):
            return


def _end(body: bytes, start: int) -> int:
    """Where the string ends that begins there: what `_REST` finds, which takes ten times as long."""
    at = start
    for _ in range(_FEW):
        quote = body.find(b'"', at)
        if quote == -1:
            break
        if quote == start or body[quote - 1] != _BACKSLASH:
            return quote
        if body[quote - 2] == _BACKSLASH:
            break
        at = quote + 1
    rest = _REST.match(body, at)
    return rest.end() if rest else at


def _pieces(body: bytes, start: int, end: int, border: re.Pattern[bytes], smallest: int) -> Iterator[tuple[int, int]]:
    """A stretch, cut where it is very long: counted from its start, so that what is added at the end moves no cut."""
    while found := border.search(body, start + LONG, end):
        yield start, found.end()
        start = found.end()
    if end - start >= smallest:
        yield start, end
