"""What an SQL statement found, and the views that there are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from rich.console import RenderableType
from rich.text import Text

from tracecli.store.views import View
from tracecli.tables import values
from tracecli.tables.grid import Column, Grid
from tracecli.tables.grid import plain as plain_grid
from tracecli.tables.visible import line

_CELL_CHARACTERS = 500
_NUMBERS = ("INT", "FLOAT", "DOUBLE", "DECIMAL")

type Columns = Sequence[tuple[str, str]]


def people(columns: Columns, rows: Sequence[Sequence[Any]]) -> Iterator[RenderableType]:
    """For a terminal."""
    shown = [
        Column(line(name), right=_is_number(kind), floor=8 if kind == "VARCHAR" else None, rank=place)
        for place, (name, kind) in enumerate(columns)
    ]
    cells = [
        [Text(values.UNKNOWN, "dim") if value is None else Text(line(_told(value)[:_CELL_CHARACTERS])) for value in row]
        for row in rows
    ]
    yield Grid(shown, cells)
    yield Text(f"{len(rows):,} {'row' if len(rows) == 1 else 'rows'}", "dim")


def plain(columns: Columns, rows: Sequence[Sequence[Any]]) -> Iterator[str]:
    """For a pipe: names, and a line for each row; nothing is shortened, NULL is `-`."""
    told = [[None if value is None else _told(value) for value in row] for row in rows]
    return plain_grid([name for name, _ in columns], told)


def schema(views: Sequence[View]) -> Iterator[RenderableType]:
    """The views for a terminal."""
    for view in views:
        yield Text(view.name, "bold")
        yield Text(f"  {view.help}")
        columns = [Column("  column"), Column("type", floor=8), Column("", floor=8)]
        yield Grid(
            columns,
            [[Text(f"  {one.name}", "cyan"), Text(one.kind, "dim"), Text(one.help)] for one in view.columns],
        )
        yield Text()


def schema_plain(views: Sequence[View]) -> Iterator[str]:
    """The same for a pipe, as a table of columns."""
    rows = [[view.name, column.name, column.kind, column.help] for view in views for column in view.columns]
    return plain_grid(["view", "column", "type", "comment"], rows)


def _told(value: Any) -> str:
    return ("false", "true")[value] if isinstance(value, bool) else str(value)


def _is_number(kind: str) -> bool:
    return any(one in kind for one in _NUMBERS) and "(" not in kind.replace("DECIMAL(", "")
