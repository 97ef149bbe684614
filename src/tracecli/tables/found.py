"""What was found in contents: each exchange with its matches in their context."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from typing import Any

from rich.console import RenderableType
from rich.text import Text

from tracecli.contents import Match
from tracecli.finding import Found
from tracecli.tables import values
from tracecli.tables.grid import Line
from tracecli.tables.listing import model
from tracecli.tables.visible import line

AROUND = 60
"""Characters of context on each side."""
SHOWN = 3
"""Matches of one exchange that are shown to people."""


def found(one: Found, now: dt.datetime, zone: dt.tzinfo | None = None) -> Iterator[RenderableType]:
    """An exchange and its first matches, for a terminal."""
    row = one.row
    facts = (values.moment(row.started_at, now, zone), row.user, model(row) or values.UNKNOWN)
    yield Line(Text.assemble((line(row.id), "cyan"), *(f"  {line(fact)}" for fact in facts)))
    for match in one.matches[:SHOWN]:
        before, words, after = around(match)
        who = match.text.role or match.text.side
        yield Line(Text.assemble((f"  {line(who)}: ", "dim"), before, (words, "bold yellow"), after))
    if (left := len(one.matches) - SHOWN) > 0:
        yield Text(f"  and {left:,} more", "dim")
    yield Text()


def plain(one: Found) -> Iterator[str]:
    """The same for a pipe, one line a match: id, side, role and the words in their context."""
    for match in one.matches:
        before, words, after = around(match)
        yield f"{one.row.id}  {match.text.side}  {line(match.text.role) or '-'}  {before}{words}{after}"


def as_json(one: Found) -> dict[str, Any]:
    """The row's JSON with the matches: side, role, where in the text, and the context as it is."""
    told = []
    for match in one.matches:
        text = match.text.text
        told.append(
            {
                "side": match.text.side,
                "role": match.text.role or None,
                "before": text[max(0, match.start - AROUND) : match.start],
                "match": text[match.start : match.end],
                "after": text[match.end : match.end + AROUND],
            }
        )
    return one.row.as_json() | {"matches": told}


def around(match: Match) -> tuple[str, str, str]:
    """What is before a match, the match, and what is after it, each on one line."""
    text = match.text.text
    start, end = max(0, match.start - AROUND), min(len(text), match.end + AROUND)
    before, words, after = (
        _flat(text[start : match.start]),
        _flat(text[match.start : match.end]),
        _flat(text[match.end : end]),
    )
    if len(words) > 4 * AROUND:
        words = f"{words[: 2 * AROUND]}…{words[-2 * AROUND :]}"
    return ("…" if start else "") + before.lstrip(), words, after.rstrip() + ("…" if end < len(text) else "")


def _flat(text: str) -> str:
    """On one line, with the blanks at its ends, which stand beside the match."""
    left = " " if text[:1].isspace() else ""
    right = " " if text[-1:].isspace() and text.strip() else ""
    return f"{left}{line(text)}{right}"
