"""A plain table for a terminal or a pipe: columns that shrink or go where the reader has no room for them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich import box
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

from tracecli.tables.listing import Fitted, shortened
from tracecli.tables.visible import line

_GAP = 2
_PIPE_CELLS = 60
"""Columns of a pipe are padded to this; a longer value moves what follows it in its line."""


@dataclass(frozen=True)
class Column:
    """A column, and what it does where there is no room."""

    header: str
    right: bool = False
    floor: int | None = None
    """May be shortened to this many cells; None: never."""
    rank: int = 0
    """Those of the highest rank go first; 0 stays."""


class Grid:
    """Rows of texts below their headers, for a terminal."""

    def __init__(self, columns: Sequence[Column], rows: Sequence[Sequence[Text]]) -> None:
        self.columns, self.rows = columns, rows

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        fitted = self.fitted(options.max_width)
        table = Table(
            box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, _GAP - 1, 0, 0), border_style="dim"
        )
        for name, right, width in fitted.columns:
            justify = "right" if right else "left"
            header = Text(name, style="dim")
            table.add_column(header, justify=justify, width=width, no_wrap=True, overflow="ellipsis")  # type: ignore[arg-type]
        for row in fitted.rows:
            table.add_row(*row)
        yield table

    def fitted(self, width: int) -> Fitted:
        """The columns that fit into so many cells, and the rows in them."""
        wanted = [
            max([cell_len(column.header), *(row[place].cell_len for row in self.rows)])
            for place, column in enumerate(self.columns)
        ]
        shown, widths = self._fitted(wanted, width)
        columns = [
            (self.columns[place].header, self.columns[place].right, wide)
            for place, wide in zip(shown, widths, strict=True)
        ]
        return Fitted(_GAP, columns, [tuple(row[place] for place in shown) for row in self.rows])

    def _fitted(self, wanted: Sequence[int], room: int) -> tuple[list[int], list[int]]:
        """The places of the columns that are shown, and their widths."""
        shown = list(range(len(self.columns)))
        while True:
            excess = sum(wanted[place] for place in shown) + _GAP * (len(shown) - 1) - room
            widths = shortened(
                [wanted[place] for place in shown], [self.columns[place].floor for place in shown], excess
            )
            last = max(self.columns[place].rank for place in shown)
            if widths is not None or last == 0:
                return shown, widths or [wanted[place] for place in shown]
            shown = [place for place in shown if self.columns[place].rank < last]


class Line:
    """Text on one line, cut where the reader has no room for it."""

    def __init__(self, text: Text) -> None:
        self.text = text

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        text = self.text.copy()
        text.truncate(options.max_width, overflow="ellipsis")
        yield text


def plain(names: Sequence[str], rows: Sequence[Sequence[str | None]]) -> Iterator[str]:
    """The same for a pipe: a line of names and one line a row, in columns at least two spaces apart.

    No value is shortened, empty or holds two spaces in a row, and unknown is `-`.
    """
    table = [list(names)] + [[line(value or "") or "-" for value in row] for row in rows]
    widths = [min(max(cell_len(cells[place]) for cells in table), _PIPE_CELLS) for place in range(len(names))]
    for cells in table:
        padded = (cell + " " * (wide - cell_len(cell)) for cell, wide in zip(cells, widths, strict=True))
        yield "  ".join(padded).rstrip()


def aligned(figures: Sequence[str]) -> list[str]:
    """Figures with their decimal points below each other, in a column that is set to the right."""
    after = max((len(text) - text.find(".") for text in figures if "." in text), default=0)
    return [
        text + " " * (after - len(text) + text.find(".")) if "." in text else text + " " * after if text else text
        for text in figures
    ]
