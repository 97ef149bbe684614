"""Rules that flag exchanges, and what one would have flagged: for a terminal, and as lines for a pipe."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
from rich.console import RenderableType
from rich.text import Text

from tracecli.finding import Found
from tracecli.flags import Rule
from tracecli.tables import found as tables_found
from tracecli.tables import grid, values
from tracecli.tables.grid import Column, Grid
from tracecli.tables.visible import line

_SHOWN = 60


def as_json(name: str, one: Rule | None, exchanges: int) -> dict[str, Any]:
    """A rule and how many exchanges it has flagged; of one that is no more, the name and how many."""
    about = {} if one is None else msgspec.to_builtins(one.about)
    return {"name": name, "exchanges": exchanges, "file": None if one is None else one.path, **about}


def rules(found: Sequence[tuple[str, Rule | None, int]]) -> Iterator[RenderableType]:
    """A line for each rule, for a terminal."""
    columns = [
        Column("rule", floor=12),
        Column("flagged", right=True),
        Column("looks for", floor=12),
        Column("where", floor=10, rank=1),
        Column("description", floor=12, rank=2),
        Column("file", floor=16, rank=3),
    ]
    rows = []
    for name, one, number in found:
        cells = [
            Text(line(name), "bold"),
            Text(values.count(number), "" if number else "dim"),
            Text(looks_for(one) or values.UNKNOWN),
        ]
        more = [one.about.where, one.about.description, one.path] if one else ["", "no rule is called so any more", ""]
        rows.append([*cells, *(Text(line(text)[:500] or values.UNKNOWN, "dim") for text in more)])
    yield Grid(columns, rows)


def rules_plain(found: Sequence[tuple[str, Rule | None, int]]) -> Iterator[str]:
    """The same for a pipe."""
    return grid.plain(
        ["name", "exchanges", "looks_for", "where", "file"],
        [
            [name, str(number), looks_for(one), one.about.where if one else None, one.path if one else None]
            for name, one, number in found
        ],
    )


def looks_for(one: Rule | None) -> str:
    """What a rule looks for, in a few words."""
    if one is None or not one.listens:
        return ""
    about = one.about
    parts = [_some(about.words, "word"), _some(about.patterns, "pattern"), ", ".join(about.detectors)]
    told = "; ".join(part for part in parts if part)
    return told if about.side == "either" else f"{told} in the {about.side}"


def _some(texts: Sequence[str], what: str) -> str:
    if not texts:
        return ""
    if len(texts) == 1 and len(texts[0]) <= _SHOWN:
        return line(texts[0])
    return f"{len(texts):,} {what}s" if len(texts) > 1 else f"1 {what}"


def plain(one: Found) -> Iterator[str]:
    """What a rule would have flagged, for a pipe: one line a match, or one line without where it flags by metadata."""
    if one.matches:
        yield from tables_found.plain(one)
    else:
        yield f"{one.row.id}  -  -  -"
