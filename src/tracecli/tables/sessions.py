"""Sessions in a list, and one of them as a timeline."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.text import Text

from tracecli.exchange import Row
from tracecli.store.sessions import Session
from tracecli.tables import values
from tracecli.tables.grid import Column, Grid, Line, aligned
from tracecli.tables.grid import plain as plain_grid
from tracecli.tables.listing import OUTCOME_STYLE, Totals, model, plain, short_ids, status_style
from tracecli.tables.visible import line

__all__ = ["plain", "sessions", "sessions_plain", "timeline"]


def sessions(found: Sequence[Session], now: dt.datetime, zone: dt.tzinfo | None = None) -> Grid:
    """A list for a terminal, the one that went on last first."""
    columns = [
        Column("session", floor=12),
        Column("last", right=False),
        Column("took", right=True, rank=2),
        Column("user", floor=6, rank=1),
        Column("models", floor=10, rank=4),
        Column("requests", right=True),
        Column("errors", right=True, rank=3),
        Column("in→out", right=True, rank=3),
        Column("cost", right=True),
    ]
    costs = aligned([values.money(None if one.cost_unknown == one.requests else one.cost_usd, 4) for one in found])
    rows = [
        [
            Text(line(one.name)[:500], "cyan"),
            Text(values.moment(one.last_at, now, zone), "dim"),
            Text(values.duration((one.last_at - one.first_at).total_seconds() * 1000).replace(" ", "")),
            Text(_some(one.users)),
            Text(_some(one.models), "bold"),
            Text(values.count(one.requests)),
            Text(values.count(one.errors), "bold red" if one.errors else "dim"),
            Text(f"{values.short_count(one.input_tokens)}→{values.short_count(one.output_tokens)}"),
            Text(cost),
        ]
        for one, cost in zip(found, costs, strict=True)
    ]
    return Grid(columns, rows)


def sessions_plain(found: Sequence[Session]) -> Iterator[str]:
    """The same for a pipe, with the names and units of the JSON."""
    told = [one.as_json() for one in found]
    names = list(told[0]) if told else []
    return plain_grid(names, [[_cell(one[name]) for name in names] for one in told])


def timeline(rows: Sequence[Row], now: dt.datetime, zone: dt.tzinfo | None = None) -> Iterator[RenderableType]:
    """One line a request: when since the first one, for how long, and what became of it."""
    begun = rows[0].started_at
    ended = max(row.started_at + dt.timedelta(milliseconds=row.duration_ms) for row in rows)
    span = max((ended - begun).total_seconds() * 1000, 1e-6)
    yield Text(f"{values.full_moment(begun, zone)}, {values.duration(span)}", "dim")
    yield Text()
    short = short_ids(rows)
    for row in rows:
        yield _Step(row, short[row.id], (row.started_at - begun).total_seconds() * 1000, span)
    yield Text()
    yield Totals(rows, more=False)


class _Step:
    """A request of a timeline, with its bar where there is room."""

    def __init__(self, row: Row, identifier: str, at_ms: float, span_ms: float) -> None:
        self.row, self.id, self.at_ms, self.span_ms = row, identifier, at_ms, span_ms

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        row = self.row
        status = values.UNKNOWN if row.status is None else str(row.status)
        good = row.outcome == "complete"
        text = Text.assemble(
            (f"{'+' + values.duration(self.at_ms).replace(' ', ''):>8} ", "dim"),
            (f"{self.id} ", "cyan"),
            (f"{line(model(row) or values.UNKNOWN)[:20]:20} ", "bold"),
            (f"{status:8}", status_style(row)) if good else (f"{row.outcome:8}", OUTCOME_STYLE[row.outcome]),
            f"{values.short_count(row.input_tokens) + '→' + values.short_count(row.output_tokens):>10}",
            f"{values.money(row.cost_usd, 4):>9} {values.duration(row.duration_ms).replace(' ', ''):>7} ",
        )
        if (room := options.max_width - text.cell_len) >= 8:
            before = min(round(self.at_ms / self.span_ms * room), room - 1)
            length = max(1, min(round(row.duration_ms / self.span_ms * room), room - before))
            text.append(" " * before + "━" * length, "green" if good else "red")
        yield from Line(text).__rich_console__(console, options)


def _some(names: Sequence[str]) -> str:
    first, *others = names or [values.UNKNOWN]
    return line(first)[:200] + (f" +{len(others)}" if others else "")


def _cell(value: object) -> str:
    return ",".join(value) if isinstance(value, list) else str(value)
