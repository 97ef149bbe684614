"""Requests one by one as they end, each on a line of its own that needs no other to be laid out."""

from __future__ import annotations

import datetime as dt

from rich.cells import cell_len, set_cell_size
from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from tracecli.exchange import Row
from tracecli.tables import values
from tracecli.tables.grid import Line
from tracecli.tables.listing import OUTCOME_STYLE, model, pipe_values, status_style
from tracecli.tables.visible import line

_OTHERS = 63
"""Cells of a line beside the user and the model."""


class Ended:
    """For a terminal: time of the start, id, who and what, what became of it, tokens, cost and duration."""

    def __init__(self, row: Row, zone: dt.tzinfo | None = None) -> None:
        self.row, self.zone = row, zone

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        row = self.row
        names = max(12, min(40, options.max_width - _OTHERS))
        user = names * 3 // 8
        tokens = f"{values.short_count(row.input_tokens)}→{values.short_count(row.output_tokens)}"
        status = values.UNKNOWN if row.status is None else str(row.status)
        good = row.outcome == "complete"
        text = Text.assemble(
            (f"{row.started_at.astimezone(self.zone):%H:%M:%S} ", "dim"),
            (f"{line(row.id[:13])} ", "cyan"),
            _cell(row.user, user),
            " ",
            (_cell(model(row) or values.UNKNOWN, names - user), "bold"),
            " ",
            (status.ljust(8), status_style(row)) if good else (row.outcome.ljust(8), OUTCOME_STYLE[row.outcome]),
            f" {tokens:>9} {values.money(row.cost_usd, 4):>9} {values.duration(row.duration_ms).replace(' ', ''):>7}",
        )
        yield from Line(text).__rich_console__(console, options)


def plain(row: Row, zone: dt.tzinfo | None = None) -> str:
    """For a pipe: the values of `usage show` there, two spaces apart."""
    return "  ".join(pipe_values(row, zone))


def _cell(text: str, width: int) -> str:
    shown = line(text[:500])
    return set_cell_size(shown if cell_len(shown) <= width else set_cell_size(shown, width - 1) + "…", width)
