"""A query that cannot be understood, and the place of it that is wrong."""

from __future__ import annotations

import difflib
import unicodedata
from collections.abc import Iterable

from tracecli.errors import TracecliError

_SHOWN = 100
"""Characters of the query that are shown around the place."""


class QueryError(TracecliError):
    """A query cannot be understood; `at` and `end` are where in `text` it goes wrong. Exit code 2."""

    exit_code = 2

    def __init__(self, problem: str, remedy: str, text: str = "", at: int = 0, end: int = 0) -> None:
        super().__init__(problem, remedy)
        self.text, self.at, self.end = text, at, max(end, at + 1)

    def pointed(self) -> str:
        """The query, and below it carets under the place."""
        begin = max(0, self.at - _SHOWN // 2)
        shown = "".join(_plain(char) for char in self.text[begin : begin + _SHOWN])
        before = sum(map(_cells, shown[: self.at - begin]))
        under = sum(map(_cells, shown[self.at - begin : self.end - begin])) or 1
        return f"{shown}\n{' ' * before}{'^' * under}"

    def __str__(self) -> str:
        sentence = super().__str__()
        return f"{sentence}\n  {self.pointed().replace('\n', '\n  ')}" if self.text else sentence


def did_you_mean(typed: str, known: Iterable[str]) -> str:
    """`Did you mean ...? `, or nothing where none of the known is near."""
    near = difflib.get_close_matches(typed.lower(), list(known), 1, 0.6)
    return f"Did you mean `{near[0]}`? " if near else ""


def _plain(char: str) -> str:
    """A character that takes the place it shows in: what acts on a terminal would shift the carets."""
    if char.isspace():
        return " "
    category = unicodedata.category(char)
    return "?" if category[0] == "C" or category in ("Mn", "Me") else char


def _cells(char: str) -> int:
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1
