"""Listings as data: JSON, JSON Lines, CSV or Markdown, of the same values.

A value is what JSON has; what is not told is unknown, and empty in CSV and Markdown. All text is harmless where it is
shown: JSON is ASCII, a spreadsheet runs no formula, and Markdown has neither markup nor HTML of its own.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from textwrap import indent
from typing import Any

from tracecli.tables.visible import line

type Record = Mapping[str, Any]

_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_MARKUP = re.compile(r"([\\`*_{}\[\]()#+!|~<>&])")


def json_lines(texts: Iterable[str]) -> Iterator[str]:
    """A list of JSON, of the texts of what is in it."""
    between = "[\n"
    for text in texts:
        yield f"{between}{indent(text.rstrip('\n'), '  ')}"
        between = ",\n"
    yield "[]\n" if between == "[\n" else "\n]\n"


def csv_lines(records: Iterable[Record], names: Sequence[str]) -> Iterator[str]:
    """CSV (RFC 4180). A text that a spreadsheet would run as a formula gets an apostrophe before it."""
    yield _csv(names)
    for record in records:
        yield _csv([_csv_cell(record.get(name)) for name in names])


def markdown_lines(records: Iterable[Record], names: Sequence[str]) -> Iterator[str]:
    """A table of GitHub's Markdown."""
    yield _row(_escaped(name) for name in names)
    yield _row("---" for _ in names)
    for record in records:
        yield _row(_escaped(_cell(record.get(name))) for name in names)


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |\n"


def _escaped(text: str) -> str:
    return _MARKUP.sub(r"\\\1", line(text)).replace("\\<", "&lt;").replace("\\>", "&gt;").replace("\\&", "&amp;")


def _csv(cells: Sequence[str]) -> str:
    text = io.StringIO()
    csv.writer(text).writerow(cells)
    return text.getvalue()


def _csv_cell(value: Any) -> str:
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else _cell(value)


def _cell(value: Any) -> str:
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case str():
            return value
        case list() | dict():
            return json.dumps(value)
    return str(value)
