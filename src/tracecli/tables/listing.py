"""The table of requests: `Listing` for a terminal, `plain` for a pipe.

A terminal gets as many columns as fit, from the layouts below; what does not fit even then is shortened with an
ellipsis, never wrapped. A pipe gets every value whole.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import pairwise
from os.path import commonprefix

from rich import box
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

from tracecli.exchange import Row, plain_decimal
from tracecli.tables import values
from tracecli.tables.visible import line

_ID_CHARACTERS = 13
"""The whole timestamp of a UUIDv7 with its dash. Fewer are the same for all requests of a second or a minute."""
_CELL_CHARACTERS = 500
"""No cell of a terminal shows more; a recorded name can be a megabyte."""
_PIPE_CELLS = 60
"""Columns of a pipe are padded to this; a longer value moves what follows it in its line."""
_UNKNOWN = Text(values.UNKNOWN, "dim")


@dataclass(frozen=True)
class _Column:
    header: str
    cells: Callable[[Sequence[Row], Listing], list[Text]]
    right: bool = False
    floor: int | None = None
    """May be shortened to this many cells; None: never."""


class Listing:
    """Rows as a table that fits itself to the console, with their totals below.

    `now` decides what is today, `zone` is where the reader is (None: the system's zone). `more` says that there may
    be older requests than these.
    """

    def __init__(
        self, rows: Sequence[Row], now: dt.datetime, zone: dt.tzinfo | None = None, *, more: bool = False
    ) -> None:
        self.rows, self.now, self.zone, self.more = rows, now, zone, more

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield self._table(options.max_width)
        yield Text()
        yield Totals(self.rows, more=self.more)

    def _table(self, width: int) -> Table:
        fitted = self.fitted(width)
        table = Table(
            box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, fitted.gap - 1, 0, 0), border_style="dim"
        )
        for header, right, cells_wide in fitted.columns:
            table.add_column(
                Text(header, style="dim"),
                justify="right" if right else "left",
                width=cells_wide,
                no_wrap=True,
                overflow="ellipsis",
            )
        for texts in fitted.rows:
            table.add_row(*texts)
        return table

    def fitted(self, width: int) -> Fitted:
        """The columns that fit into so many cells, and the rows in them."""
        for gap, columns in _LAYOUTS:
            cells = [column.cells(self.rows, self) for column in columns]
            wanted = [
                max(cell_len(column.header), *(text.cell_len for text in texts), 0)
                for column, texts in zip(columns, cells, strict=True)
            ]
            spare = width - gap * (len(columns) - 1) - sum(wanted)
            widths = shortened(wanted, [column.floor for column in columns], -spare)
            if widths is not None:
                break
        else:
            widths = wanted  # narrower than an id: who shows it shortens what is left
        about = [(column.header, column.right, wide) for column, wide in zip(columns, widths, strict=True)]
        return Fitted(gap, about, list(zip(*cells, strict=True)))


@dataclass(frozen=True)
class Fitted:
    """Rows in columns: cells between them, of each column its header, whether it is to the right, and its width."""

    gap: int
    columns: list[tuple[str, bool, int]]
    rows: list[tuple[Text, ...]]


class Totals:
    """How many rows there are, and what they come to; `more`: there may be others."""

    def __init__(self, rows: Sequence[Row], *, more: bool) -> None:
        self.rows, self.more = rows, more

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield totals(self.rows, options.max_width, more=self.more)


def shortened(wanted: list[int], floors: list[int | None], excess: int) -> list[int] | None:
    """Widths that are `excess` cells less in sum, taken from the widest column that may shrink; None if none may."""
    widths = list(wanted)
    for _ in range(excess):
        shrinkable = [i for i, floor in enumerate(floors) if floor is not None and widths[i] > floor]
        if not shrinkable:
            return None
        widths[max(shrinkable, key=lambda i: widths[i] / (floors[i] or 1))] -= 1
    return widths


def totals(rows: Sequence[Row], width: int, *, more: bool = False) -> Text:
    """How many requests, their tokens and cost, and how many have no known cost; less exactly where that fits."""
    number = f"{'latest ' if more else ''}{len(rows):,} request{'' if len(rows) == 1 else 's'}"
    tokens_in, tokens_out, cached = (
        sum(getattr(row, name) or 0 for row in rows)
        for name in ("input_tokens", "output_tokens", "cache_read_input_tokens")
    )
    any_tokens = any(row.input_tokens is not None or row.output_tokens is not None for row in rows)
    costs = [row.cost_usd for row in rows if row.cost_usd is not None]
    unknown = len(rows) - len(costs)
    for show, of_it in ((values.count, cached), (values.short_count, cached), (values.short_count, 0)):
        parts = [
            number,
            f"{show(tokens_in)} → {show(tokens_out)} tokens" if any_tokens else "",
            values.money(sum(costs, Decimal(0))) if costs else "cost unknown",
            f"{unknown:,} without a known cost" if costs and unknown else "",
        ]
        parts[1] += f" ({show(of_it)} cached)" if of_it else ""
        text = Text(" · ".join(part for part in parts if part), style="dim")
        if text.cell_len <= width:
            break
    return text


def short_ids(rows: Sequence[Row]) -> dict[str, str]:
    """For each id its shortest prefix that opens it, at least 13 characters; prefixes differ amongst these rows."""
    ids = sorted({row.id for row in rows})
    needed = dict.fromkeys(ids, _ID_CHARACTERS)
    for left, right in pairwise(ids):
        same = len(commonprefix((left, right)))  # noqa: RUF071 - characters are meant
        for one in (left, right):
            needed[one] = max(needed[one], same + 1)
    return {one: line(one[:length]) for one, length in needed.items()}


def plain(rows: Sequence[Row], zone: dt.tzinfo | None = None) -> Iterator[str]:
    """The rows for a pipe: a line of names and one line a request, in columns at least two spaces apart.

    Names and units are those of the JSON; nothing is shortened, no value is empty or holds two spaces in a row, and
    unknown is `-`. Times are local, with their distance from UTC.
    """
    table = [list(_PLAIN), *(pipe_values(row, zone) for row in rows)]
    widths = [min(max(cell_len(cells[i]) for cells in table), _PIPE_CELLS) for i in range(len(_PLAIN))]
    for cells in table:
        padded = (cell + " " * (wide - cell_len(cell)) for cell, wide in zip(cells, widths, strict=True))
        yield "  ".join(padded).rstrip()


def pipe_values(row: Row, zone: dt.tzinfo | None) -> list[str]:
    """What a pipe gets of a row."""
    return [line(show(row, zone)) or "-" for show in _PLAIN.values()]


def model(row: Row) -> str | None:
    """The model that was asked for, else the one that answered."""
    return row.request_model or row.response_model


def _number(value: int | None) -> str:
    return "-" if value is None else str(value)


_PLAIN: dict[str, Callable[[Row, dt.tzinfo | None], str]] = {
    "id": lambda row, zone: row.id,
    "started_at": lambda row, zone: row.started_at.astimezone(zone).isoformat(timespec="seconds"),
    "user": lambda row, zone: row.user,
    "provider": lambda row, zone: row.provider,
    "request_model": lambda row, zone: row.request_model or "-",
    "status": lambda row, zone: _number(row.status),
    "outcome": lambda row, zone: row.outcome,
    "stream": lambda row, zone: {True: "yes", False: "no", None: "-"}[row.stream],
    "input_tokens": lambda row, zone: _number(row.input_tokens),
    "output_tokens": lambda row, zone: _number(row.output_tokens),
    "cache_read_input_tokens": lambda row, zone: _number(row.cache_read_input_tokens),
    "cost_usd": lambda row, zone: "-" if row.cost_usd is None else plain_decimal(row.cost_usd),
    "duration_ms": lambda row, zone: f"{row.duration_ms:.1f}",
}


def _each(show: Callable[[Row], str | None], style: str | Callable[[Row], str] = "") -> Callable[..., list[Text]]:
    """Cells made row by row; None is unknown."""

    def cells(rows: Sequence[Row], listing: Listing) -> list[Text]:
        made = []
        for row in rows:
            text = line((show(row) or "")[:_CELL_CHARACTERS])
            made.append(Text(text, style if isinstance(style, str) else style(row)) if text else _UNKNOWN)
        return made

    return cells


def _ids(rows: Sequence[Row], listing: Listing) -> list[Text]:
    short = short_ids(rows)
    return [Text(short[row.id], "cyan") for row in rows]


def _times(short: bool) -> Callable[[Sequence[Row], Listing], list[Text]]:
    return lambda rows, listing: [
        Text(values.moment(row.started_at, listing.now, listing.zone, short=short), "dim") for row in rows
    ]


def _tokens(show: Callable[[int | None], str], arrow: str) -> Callable[[Sequence[Row], Listing], list[Text]]:
    """Tokens in and out, with the arrows in one column."""

    def cells(rows: Sequence[Row], listing: Listing) -> list[Text]:
        pairs = [(_about(row.usage_source, show(row.input_tokens)), show(row.output_tokens)) for row in rows]
        after = max((len(tokens_out) for _, tokens_out in pairs), default=0)
        return [
            _UNKNOWN
            if row.input_tokens is None and row.output_tokens is None
            else Text(tokens_in).append(arrow, "dim").append(tokens_out.rjust(after))
            for row, (tokens_in, tokens_out) in zip(rows, pairs, strict=True)
        ]

    return cells


def _costs(places: int, *, aligned: bool) -> Callable[[Sequence[Row], Listing], list[Text]]:
    """Costs; `aligned` puts the decimal points below each other, so that magnitudes can be compared at a glance."""

    def cells(rows: Sequence[Row], listing: Listing) -> list[Text]:
        shown = [_about(row.cost_source, values.money(row.cost_usd, places)) for row in rows]
        if aligned:
            after = max((len(text) - text.find(".") for text in shown if "." in text), default=0)
            shown = [text + " " * (after - len(text) + text.find(".")) if "." in text else text for text in shown]
        wide = max((len(text) for text in shown), default=0)
        return [
            Text(text.rjust(wide), "dim" if row.cost_usd is None else "", justify="left" if aligned else None)
            for row, text in zip(rows, shown, strict=True)
        ]

    return cells


def _about(source: str, shown: str) -> str:
    return f"~{shown}" if source == "estimated" and shown != values.UNKNOWN else shown


def status_style(row: Row) -> str:
    """The Rich style of the status: an error stands out."""
    return "dim" if row.status is None else "bold red" if row.status >= 400 else "green"


OUTCOME_STYLE = {"complete": "dim", "aborted": "bold magenta", "failed": "bold red"}


def _status_or_outcome(rows: Sequence[Row], listing: Listing) -> list[Text]:
    """The status, or in its place what went wrong: a 200 says little about an answer that broke off."""
    return [
        Text(values.UNKNOWN if row.status is None else str(row.status), status_style(row))
        if row.outcome == "complete"
        else Text(row.outcome, OUTCOME_STYLE[row.outcome])
        for row in rows
    ]


def _short_model(row: Row) -> str | None:
    """The model without what every model of its kind has: path, region and vendor before it, the date after it.

    `arn:aws:bedrock:us-east-1:123:inference-profile/us.anthropic.claude-sonnet-4-5-20250929-v1:0` is
    `claude-sonnet-4-5`.
    """
    name = model(row)
    return _MODEL_TRIM.sub("", name) or name if name else None


def _long_model(row: Row) -> str | None:
    """The model as it was asked for; of an ARN only the model, as its beginning says nothing."""
    return _short_model(row) if (model(row) or "").startswith("arn:") else model(row)


_MODEL_TRIM = re.compile(
    r"^.*/"  # the path
    r"|(?:(?<=/)|^)(?:[a-z-]+\.)+(?=[a-z])"  # region and vendor; the dot of `gpt-5.2` stands before a digit
    r"|[-@]20\d\d-?\d\d-?\d\d(?:-v\d+(?::\d+)?)?$",  # the date, and the version that Bedrock puts after it
    re.DOTALL,
)


def _cached(row: Row) -> str | None:
    return None if row.cache_read_input_tokens is None else values.count(row.cache_read_input_tokens)


_ID = _Column("id", _ids)
_TIME, _SHORT_TIME = _Column("time", _times(short=False)), _Column("time", _times(short=True))
_PROVIDER = _Column("provider", _each(lambda row: row.provider, "dim"), floor=9)
_STATUS = _Column("status", _each(lambda row: None if row.status is None else str(row.status), status_style))
_STATUS_OR_OUTCOME = _Column("status", _status_or_outcome)
_OUTCOME = _Column("outcome", _each(lambda row: row.outcome, lambda row: OUTCOME_STYLE[row.outcome]))
_STREAM = _Column("stream", _each(lambda row: {True: "yes", False: "no", None: None}[row.stream], "dim"))
_TOKENS = _Column("tokens in → out", _tokens(values.count, " → "), right=True)
_SHORT_TOKENS = _Column("in→out", _tokens(values.short_count, "→"), right=True)
_CACHED = _Column("cached", _each(_cached, "dim"), right=True)
_COST = _Column("cost", _costs(6, aligned=True), right=True)
_SHORT_COST = _Column("cost", _costs(4, aligned=False), right=True)
_DURATION = _Column("duration", _each(lambda row: values.duration(row.duration_ms)), right=True)
_SHORT_DURATION = _Column("took", _each(lambda row: values.duration(row.duration_ms).replace(" ", "")), right=True)


def _user(floor: int) -> _Column:
    return _Column("user", _each(lambda row: row.user), floor=floor)


def _model(floor: int, show: Callable[[Row], str | None] = _short_model) -> _Column:
    return _Column("model", _each(show, "bold"), floor=floor)


_FIGURES = [_SHORT_TOKENS, _SHORT_COST, _SHORT_DURATION]
_WIDEST = [_STATUS, _OUTCOME, _STREAM, _TOKENS, _CACHED, _COST, _DURATION]
_WIDE = [_STATUS_OR_OUTCOME, _STREAM, _TOKENS, _COST, _DURATION]
_LAYOUTS: list[tuple[int, list[_Column]]] = [
    (2, [_ID, _TIME, _user(9), _PROVIDER, _model(26, _long_model), *_WIDEST]),
    (2, [_ID, _SHORT_TIME, _user(10), _PROVIDER, _model(20), *_WIDE]),
    (2, [_ID, _SHORT_TIME, _user(9), _PROVIDER, _model(18), _STATUS_OR_OUTCOME, _STREAM, *_FIGURES]),
    (2, [_ID, _SHORT_TIME, _user(9), _model(18), _STATUS_OR_OUTCOME, *_FIGURES]),
    (1, [_ID, _SHORT_TIME, _user(6), _model(15), _STATUS_OR_OUTCOME, *_FIGURES]),
    (1, [_ID, _SHORT_TIME, _model(14), _STATUS_OR_OUTCOME, _SHORT_TOKENS, _SHORT_COST]),
    (1, [_ID, _SHORT_TIME, _model(8), _STATUS_OR_OUTCOME]),
    (1, [_ID, _model(1)]),
]
"""The cells between columns, and the columns; the first layout that fits is taken."""
