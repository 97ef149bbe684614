"""Whether a file of training examples, anybody's, is as a format asks for it: line by line, however large it is.

No content is quoted: a problem names its line and its place in it, and keys and roles of a harmless shape.
"""

from __future__ import annotations

import json
import re
import stat
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import IO, Any

from tracecli import working
from tracecli.config import Home
from tracecli.datasets.formats.base import Format, Line, Problem
from tracecli.datasets.formats.registry import FORMATS
from tracecli.datasets.formats.rules import kind, shown
from tracecli.errors import ConfigError

MOST_LINE_BYTES = 256 << 20
"""Of a line: ten images of 10 MB as base64, and as much again. A longer one is not read."""
_PIECE = 1 << 20
_BOM = b"\xef\xbb\xbf"
_BYTES_A_TOKEN = 4
"""Of UTF-8 text, for an estimate: about that in English, and in Chinese, where a sign of 3 bytes is mostly a token."""
_LOOKED_AT = 20
"""Lines that a format is guessed by."""
_BLANK = b" \t\r\n"


class Validation:
    """The check of one file; `examples` and `bytes` count while `problems` goes on."""

    def __init__(self, home: Home, path: Path, form: Format) -> None:
        self.examples = 0
        self.bytes = 0
        self._home = home
        self._path = path
        self._form = form
        self._with_images = 0

    def problems(self) -> Iterator[Problem]:
        """All that is wrong, in the order of the lines; what is of the whole file comes last.

        Raises ConfigError if the file cannot be read.
        """
        for number, line in _lines(self._home, self._path, self._form):
            working.told(number, None, "lines")
            if isinstance(line, Problem):
                yield line
                continue
            self.examples += 1
            yield from self._of_line(number, line)
        self.bytes = _size(self._path)
        yield from self._of_file()

    def _of_line(self, number: int, line: Line) -> Iterator[Problem]:
        found = list(self._form.check(line))
        if any(one.severity == "error" for one in found) and (other := _other(self._form, line)):
            yield Problem(number, "", f"is a line of the format {other}")
        else:
            yield from (Problem(number, *one) for one in found)
        self._with_images += _has_images(line)
        most = self._form.limits.most_tokens
        if most is not None and (tokens := _text_bytes(line) // _BYTES_A_TOKEN) > most:
            told = f"has about {tokens:,} tokens by its length, and the provider takes {most:,}"
            yield Problem(number, "", told, "warning")

    def _of_file(self) -> Iterator[Problem]:
        limits, form = self._form.limits, self._form.name
        if not self.bytes or not self.examples:
            yield Problem(None, "", "the file holds no examples")
        elif limits.least_examples is not None and self.examples < limits.least_examples:
            yield Problem(None, "", f"{form} asks for {limits.least_examples:,} examples at least: {self.examples:,}")
        if limits.most_examples is not None and self.examples > limits.most_examples:
            yield Problem(None, "", f"{form} takes {limits.most_examples:,} examples at most: {self.examples:,}")
        if limits.most_bytes is not None and self.bytes > limits.most_bytes:
            yield Problem(None, "", f"{form} takes {limits.most_bytes:,} bytes at most: {self.bytes:,}")
        if limits.most_with_images is not None and self._with_images > limits.most_with_images:
            told = f"{form} takes {limits.most_with_images:,} examples with images at most: {self._with_images:,}"
            yield Problem(None, "", told)


def guessed(home: Home, path: Path) -> Format | None:
    """The format of a file, by its first lines: that which most of them are of; None: they are of none.

    Of formats that all fit, it is the first in the order of the registry. Raises ConfigError if it cannot be read.
    """
    if is_parquet(path):
        return FORMATS["parquet"]
    form = FORMATS["openai"]  # a byte order mark is no reason not to look
    lines = (line for _, line in _lines(home, path, form) if not isinstance(line, Problem))
    looked_at = list(islice(lines, _LOOKED_AT))
    fits = {one.name: sum(_fits(one, line) for line in looked_at) for one in FORMATS.values()}
    best = max(fits, key=lambda name: fits[name])
    if fits[best]:
        return FORMATS[best]
    shaped = {one.name: sum(_shaped(one, line) for line in looked_at) * len(one.shape) for one in FORMATS.values()}
    best = max(shaped, key=lambda name: shaped[name])
    return FORMATS[best] if shaped[best] else None


def is_parquet(path: Path) -> bool:
    """Whether it is a Parquet file, by its first bytes. Raises ConfigError if it cannot be read."""
    with _opened(path) as file:
        return file.read(4) == b"PAR1"


def _shaped(form: Format, line: Line) -> bool:
    return form.suffix == ".jsonl" and form.shape <= line.keys()


def _fits(form: Format, line: Line) -> bool:
    return _shaped(form, line) and not any(one.severity == "error" for one in form.check(line))


def _other(form: Format, line: Line) -> str | None:
    """The format that a line is of, if it is right in one whose lines are known by other keys."""
    return next((one.name for one in FORMATS.values() if one.shape != form.shape and _fits(one, line)), None)


# -- lines


def _lines(home: Home, path: Path, form: Format) -> Iterator[tuple[int, Line | Problem]]:
    """The lines of a file with their numbers from 1, or what is wrong with them. Raises ConfigError."""
    parquet = is_parquet(path)
    if parquet != (form.suffix == ".parquet"):
        told = f"is a Parquet file, and {form.name} is JSON Lines" if parquet else "is no Parquet file"
        yield 1, Problem(None, "", f"the file {told}")
        return
    if not parquet:
        yield from _json_lines(path, form)
        return
    from tracecli.store import parquet as store

    for number, row in enumerate(store.rows(home, path), 1):
        yield number, _parsed(number, row.encode(), last=False)


def _json_lines(path: Path, form: Format) -> Iterator[tuple[int, Line | Problem]]:
    with _opened(path) as file:
        if file.peek(3)[:3] == _BOM:  # type: ignore[attr-defined]
            file.read(3)
            if not form.bom:
                yield 1, Problem(1, "", "begins with a byte order mark: save the file without one")
        number = 0
        while data := file.readline(MOST_LINE_BYTES + 1):
            number += 1
            if len(data) > MOST_LINE_BYTES:
                yield number, Problem(number, "", f"is longer than {MOST_LINE_BYTES >> 20} MB, and was not read")
                _skip(file, data)
            elif not data.strip(_BLANK):
                yield number, Problem(number, "", "is empty: remove it")
            else:
                yield number, _parsed(number, data, last=not data.endswith(b"\n"))


def _skip(file: IO[bytes], data: bytes) -> None:
    """Go on to the next line."""
    while data and not data.endswith(b"\n"):
        data = file.readline(_PIECE)


def _opened(path: Path) -> IO[bytes]:
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise ConfigError(f"{path} is no file that can be read twice", "Name a file of examples.")
        return path.open("rb")
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror or error}", "Name a file of examples.") from error


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


class _Wrong(Exception):
    """What is wrong with a line."""


def _parsed(number: int, data: bytes, *, last: bool) -> Line | Problem:
    """The object of a line, or what is wrong with it. `last`: there is no end of line after it."""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        return Problem(number, "", f"is no UTF-8 at byte {error.start + 1:,} of the line")
    try:
        value = _DECODER.decode(text)
    except _Wrong as error:
        return Problem(number, "", str(error))
    except json.JSONDecodeError as error:
        if last and (error.pos >= len(text) or not text.endswith("}")):
            return Problem(number, "", "ends in its middle, as if the file was cut")
        return Problem(number, "", f"is no JSON: see its character {error.pos + 1:,}")
    except (ValueError, RecursionError):
        return Problem(number, "", "is no JSON that can be read: a number of too many digits, or lists too deep")
    if not isinstance(value, dict):
        return Problem(number, "", f"has to be a JSON object, and is {kind(value)}")
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise _Wrong(f"has a key twice: {shown(twice)}")
    return found


def _constant(name: str) -> Any:
    raise _Wrong(f"is no JSON: it holds {name}, which JSON does not have")


_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_constant)


# -- what is in a line

_INLINE = re.compile(r"data:[a-z]+/[a-z0-9.+-]+;base64,", re.IGNORECASE)
_IMAGES = ("image_url", "fileData", "inlineData", "image")


def _text_bytes(value: Any) -> int:
    """Bytes of the texts in a value, without media."""
    texts = (one for one in _values(value) if isinstance(one, str) and not _INLINE.match(one))
    return sum(len(one.encode("utf-8", "surrogatepass")) for one in texts)


def _has_images(value: Any) -> bool:
    return any(name in one for one in _values(value) if isinstance(one, dict) for name in _IMAGES)


def _values(value: Any) -> Iterator[Any]:
    """A value and all in it, however deep that goes."""
    left = [value]
    while left:
        one = left.pop()
        yield one
        if isinstance(one, list):
            left += one
        elif isinstance(one, dict):
            left += one.values()
