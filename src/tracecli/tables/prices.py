"""The table of prices: `listing` for a terminal, `plain` for a pipe."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import RenderableType
from rich.text import Text

from tracecli.exchange import plain_decimal
from tracecli.price_list import FILE
from tracecli.price_table import ListedPrice, Rate
from tracecli.tables import grid, values
from tracecli.tables.grid import Column, Grid
from tracecli.tables.visible import line

_NAMES = [Column("provider", floor=9), Column("model", floor=26), Column("source", floor=13)]
_RATES = {
    "input": Column("input", right=True),
    "cache_read": Column("cached", right=True, rank=1),
    "cache_write": Column("written", right=True, rank=2),
    "cache_write_1h": Column("for 1 h", right=True, rank=3),
    "output": Column("output", right=True),
    "input_audio": Column("audio in", right=True, rank=4),
    "cache_read_audio": Column("cached", right=True, rank=5),
    "output_audio": Column("audio out", right=True, rank=4),
    "web_searches": Column("1k searches", right=True, rank=6),
}
_LIST = "list"
_RISES = "+"


def listing(found: Sequence[ListedPrice], source: str) -> Iterator[RenderableType]:
    """The lines as a table that fits the terminal, with where they are from below."""
    cells = [
        [Text(line(one.provider), "dim") for one in found],
        [_model(one) for one in found],
        [_source(one) for one in found],
        *([_rate(one, text) for one, text in zip(found, _figures(found, name), strict=True)] for name in _RATES),
    ]
    columns = [*_NAMES, *_RATES.values()]
    used = [place for place, texts in enumerate(cells) if {text.plain for text in texts} - {values.UNKNOWN, _LIST}]
    yield Grid([columns[place] for place in used], list(zip(*(cells[place] for place in used), strict=True)))
    yield Text()
    number = f"{len(found):,} price{'' if len(found) == 1 else 's'}"
    yield Text(f"{number} in US dollars per million tokens · {line(source)}", "dim")
    if any(rate.steps for one in found for rate in one.rates.values()):
        yield Text(f"{_RISES} another rate above a length of the input: --json tells which", "dim")


def _model(one: ListedPrice) -> Text:
    text = Text(line(one.model), "bold" if one.status == "in force" else "dim")
    return text.append(f" ({line(one.service_tier)})" if one.service_tier else "", "dim")


def _source(one: ListedPrice) -> Text:
    if one.entry is None:
        return Text(_LIST, "dim")
    ended = {"in force": "", "replaced": ", replaced", "later": f", from {one.from_}"}
    return Text(f"{FILE} {one.entry}{ended[one.status]}", "yellow" if one.status == "in force" else "dim")


def _rate(one: ListedPrice, text: str) -> Text:
    return Text(text or values.UNKNOWN, "" if text and one.status == "in force" else "dim")


def _figures(found: Sequence[ListedPrice], name: str) -> list[str]:
    """One kind of rate with at least two decimals, the points below each other; empty where there is none."""
    shown = []
    for one in found:
        rate: Rate | None = one.rates.get(name)
        whole, _, cents = ("" if rate is None else plain_decimal(rate.usd)).partition(".")
        shown.append(f"{whole}.{cents:0<2}{_RISES if rate.steps else ''}" if rate else "")
    return grid.aligned(shown)


def plain(found: Sequence[ListedPrice]) -> Iterator[str]:
    """The lines for a pipe, with the names of the JSON; where a rate depends on the length, that of a short input."""
    facts = ("provider", "model", "service_tier", "source", "from", "status")
    told = [one.as_json() for one in found]
    rows = [[*(one[name] for name in facts), *(one["rates"][name] for name in _RATES)] for one in told]
    return grid.plain([*facts, *_RATES], rows)
