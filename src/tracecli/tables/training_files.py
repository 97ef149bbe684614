"""Formats of training files, and what is wrong with such a file: for a terminal, and as lines for a pipe."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import RenderableType
from rich.text import Text

from tracecli.datasets.formats.base import Format, Problem
from tracecli.tables import grid, values
from tracecli.tables.grid import Column, Grid
from tracecli.tables.visible import line

_ORDER = ("tools", "images", "reasoning", "names", "weights")


def keeps(form: Format) -> str:
    """What a format has a place for, beside text."""
    return ", ".join(name for name in _ORDER if name in form.keeps) or "text alone"


def limits(form: Format) -> str:
    """Its published limits of a file, in words."""
    given = form.limits
    told = []
    if given.least_examples is not None:
        told.append(f"{given.least_examples:,} examples at least")
    if given.most_examples is not None:
        told.append(f"{given.most_examples:,} examples")
    if given.most_with_images is not None:
        told.append(f"{given.most_with_images:,} with images")
    if given.most_bytes is not None:
        told.append(values.size(given.most_bytes))
    if given.most_tokens is not None:
        told.append(f"{given.most_tokens:,} tokens an example")
    return ", ".join(told)


def as_json(form: Format) -> dict[str, Any]:
    """A format as data."""
    given = form.limits
    return {
        "name": form.name,
        "kind": form.kind,
        "title": form.title,
        "suffix": form.suffix,
        "media": form.media,
        "keeps": [name for name in _ORDER if name in form.keeps],
        "least_examples": given.least_examples,
        "most_examples": given.most_examples,
        "most_bytes": given.most_bytes,
        "most_tokens": given.most_tokens,
        "most_with_images": given.most_with_images,
        "rules": list(form.rules),
        "urls": list(form.urls),
    }


def formats(every: Iterable[Format]) -> Iterator[RenderableType]:
    """A line for each format, for a terminal."""
    columns = [
        Column("format"),
        Column("kind", rank=3),
        Column("keeps", floor=12, rank=2),
        Column("what for", floor=20),
        Column("limits", floor=16, rank=1),
        Column("rules at", floor=30, rank=4),
    ]
    rows = [
        [
            Text(one.name, "bold"),
            Text(one.kind, "dim"),
            Text(keeps(one)),
            Text(one.title),
            Text(limits(one) or values.UNKNOWN, "dim"),
            Text(one.urls[0], "dim"),
        ]
        for one in every
    ]
    yield Grid(columns, rows)


def formats_plain(every: Iterable[Format]) -> Iterator[str]:
    """The same for a pipe."""
    return grid.plain(
        ["name", "kind", "keeps", "title", "limits", "url"],
        [[one.name, one.kind, keeps(one), one.title, limits(one) or None, one.urls[0]] for one in every],
    )


def problems(file: Path, found: Sequence[Problem]) -> Iterator[str]:
    """What is wrong, as compilers say it."""
    for one in found:
        place = f"{file}:{one.line}" if one.line is not None else str(file)
        where = f"{one.where}: " if one.where else ""
        yield line(f"{place}: {one.severity}: {where}{one.problem}.")


def summary(form: Format, examples: int, counts: Mapping[str, int], shown: int, *, guessed: bool) -> str:
    """How it ended, in a sentence or two."""
    told = f"Looks like {form.name}: " if guessed else f"{form.name}: "
    told += f"{_number(examples, 'example')}, {_number(counts['error'], 'error')}"
    told += f", {_number(counts['warning'], 'warning')}."
    more = counts["error"] + counts["warning"] - shown
    return f"{told} {more:,} more are not shown: --limit shows them." if more else told


def _number(number: int, of: str) -> str:
    return f"{number:,} {of}{'' if number == 1 else 's'}" if number else f"no {of}s"
