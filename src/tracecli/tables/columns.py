"""A list of requests in columns that the reader chose: for a terminal, a pipe, or as CSV."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Any

from rich.console import RenderableType
from rich.text import Text

from tracecli.exchange import Row, plain_decimal
from tracecli.tables import values
from tracecli.tables.grid import Column, Grid, aligned
from tracecli.tables.grid import plain as plain_grid
from tracecli.tables.listing import OUTCOME_STYLE, Totals, short_ids, status_style
from tracecli.tables.visible import line

_CELL_CHARACTERS = 500
_TOKENS = ("input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")
_COUNTS = frozenset((*_TOKENS, "reasoning_output_tokens", "request_bytes", "response_bytes"))
_NARROW = frozenset({"id", "status", "stream", "traced", "outcome", "started_at"})


def people(
    rows: Sequence[Row],
    names: Sequence[tuple[str, str]],
    now: dt.datetime,
    zone: dt.tzinfo | None = None,
    *,
    more: bool = False,
) -> Iterator[RenderableType]:
    """For a terminal: those of the columns (header, field) that fit, and the totals below."""
    columns = [_column(place, header, name) for place, (header, name) in enumerate(names)]
    cells = [_cells(rows, name, now, zone) for _, name in names]
    yield Grid(columns, list(zip(*cells, strict=True)))
    yield Text()
    yield Totals(rows, more=more)


def _cells(rows: Sequence[Row], name: str, now: dt.datetime, zone: dt.tzinfo | None) -> list[Text]:
    shown = [_people(row, name, now, zone) for row in rows]
    if name == "id":
        short = short_ids(rows)
        shown = [short[row.id] for row in rows]
    if name in ("cost_usd", "saved_usd"):
        shown = aligned(shown)
    return [Text(text, _style(row, name, text)) for row, text in zip(rows, shown, strict=True)]


def plain(rows: Sequence[Row], names: Sequence[str], zone: dt.tzinfo | None = None) -> Iterator[str]:
    """For a pipe: a line of names and one line a request; nothing is shortened, unknown is `-`."""
    return plain_grid(names, [[_exact(getattr(row, name), zone) for name in names] for row in rows])


def _column(place: int, header: str, name: str) -> Column:
    narrow = name in _NARROW or _is_number(name)
    return Column(line(header), right=_is_number(name), floor=None if narrow else 8, rank=place)


def _is_number(name: str) -> bool:
    return name in _COUNTS or name.endswith(("_ms", "_usd"))


def _people(row: Row, name: str, now: dt.datetime, zone: dt.tzinfo | None) -> str:
    value = getattr(row, name)
    if value is None or value == []:
        return values.UNKNOWN
    if name == "started_at":
        return values.moment(value, now, zone)
    if name in _COUNTS:
        return values.count(value)
    if name.endswith("_ms"):
        return values.duration(value)
    if name.endswith("_usd"):
        return values.money(value, 6)
    return line((_exact(value, zone) or "")[:_CELL_CHARACTERS]) or values.UNKNOWN


def _style(row: Row, name: str, text: str) -> str:
    if text == values.UNKNOWN:
        return "dim"
    if name == "outcome":
        return OUTCOME_STYLE[row.outcome]
    return {"id": "cyan", "status": status_style(row), "request_model": "bold", "started_at": "dim"}.get(name, "")


def _exact(value: Any, zone: dt.tzinfo | None) -> str | None:
    match value:
        case None:
            return None
        case bool():
            return "yes" if value else "no"
        case Decimal():
            return plain_decimal(value)
        case dt.datetime():
            return value.astimezone(zone).isoformat(timespec="seconds")
        case float():
            return f"{value:.1f}"
        case list():
            return ",".join(map(str, value))
    return str(value)
