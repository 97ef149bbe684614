"""Charts as plain values: how high, how wide, what colour, what it says. Pure; the template draws them with CSS.

Bars are HTML and no SVG: their texts keep their size on a phone.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from tracecli.exchange import plain_decimal
from tracecli.store.reporting import STEPS, Bucket, Spent
from tracecli.tables import values
from tracecli.tables.visible import line

COLOURS = 6
"""Of models; the rest is together in one more."""
REST = "others"
NO_NAME = "(none)"
_LONGEST = 80
_TICKS = 4


@dataclass(frozen=True)
class Piece:
    """A part of a column: its share of the chart's height in percent, and its colour's number."""

    percent: float
    colour: int
    title: str


@dataclass(frozen=True)
class Columns:
    """Columns side by side."""

    columns: list[list[Piece]]
    """From the ground up."""
    labels: list[str]
    """Under each column; mostly empty, so that they do not meet."""
    ticks: list[tuple[float, str]]
    """Heights in percent, and what they say."""
    legend: list[tuple[int, str, str]]
    """Colour, name, and how much in all."""
    table: list[tuple[str, str]]
    """The same to read: of each column what it is of, and how much it is."""


def name(text: str | None) -> str:
    """A recorded name, harmless and not too long."""
    if text is None:
        return NO_NAME
    shown = line(text[: _LONGEST * 4])
    return shown if len(shown) <= _LONGEST else f"{shown[: _LONGEST - 1]}…"


def over_time(spent: Sequence[Spent], bucket: Bucket, *, by_cost: bool) -> Columns:
    """Cost in each bucket of time, or requests where nothing has a cost, stacked by model."""
    sums: dict[str | None, Decimal] = {}
    for one in spent:
        sums[one.model] = sums.get(one.model, Decimal()) + _worth(one, by_cost)
    order = sorted(sums, key=lambda model: (sums[model], model or ""), reverse=True)
    colours = {model: min(place, COLOURS) for place, model in enumerate(order)}
    begins = _all_buckets([one.begin for one in spent], bucket)
    stacks: dict[dt.datetime, dict[int, Decimal]] = {begin: {} for begin in begins}
    for one in spent:
        stack, colour = stacks[one.begin], colours[one.model]
        stack[colour] = stack.get(colour, Decimal()) + _worth(one, by_cost)
    told = _money if by_cost else _count
    tops = [sum(stack.values(), Decimal()) for stack in stacks.values()]
    ticks, top = _ticks(max(tops, default=Decimal()), told, whole=not by_cost)
    names = [*(name(model) for model in order[:COLOURS]), REST]
    columns = [
        [
            Piece(
                _percent(worth, top),
                colour,
                f"{_moment(begin, bucket)} · {names[colour]} · {told(worth)}",
            )
            for colour, worth in sorted(stack.items())
            if worth > 0
        ]
        for begin, stack in stacks.items()
    ]
    legend = [(place, names[place], told(sums[model])) for place, model in enumerate(order[:COLOURS])]
    if rest := order[COLOURS:]:
        legend.append((COLOURS, f"{len(rest)} {REST}", told(sum((sums[model] for model in rest), Decimal()))))
    return Columns(
        columns,
        _sparse([_moment(begin, bucket) for begin in begins]),
        ticks,
        legend,
        [(_moment(begin, bucket), told(worth)) for begin, worth in zip(begins, tops, strict=True)],
    )


def spread(steps: Mapping[int, int]) -> Columns:
    """How many took how long, on a logarithmic scale."""
    if not steps:
        return Columns([], [], [], [], [])
    every = range(min(steps), max(steps) + 1)
    begins = [values.duration(10 ** (step / STEPS)) for step in every]
    ends = [values.duration(10 ** ((step + 1) / STEPS)) for step in every]
    ranges = [f"{begin} to {end}" for begin, end in zip(begins, ends, strict=True)]
    return _counted(ranges, begins, [steps.get(step, 0) for step in every])


def powers(found: Mapping[int, int]) -> Columns:
    """How many have up to so much, which are powers of two."""
    if not found:
        return Columns([], [], [], [], [])
    every = [1 << power for power in range(min(found).bit_length() - 1, max(found).bit_length())]
    ranges = [f"{most // 2 + 1:,} to {most:,}" if most > 1 else "1" for most in every]
    return _counted(ranges, [f"≤ {values.short_count(most)}" for most in every], [found.get(most, 0) for most in every])


def _counted(ranges: Sequence[str], labels: Sequence[str], counts: Sequence[int]) -> Columns:
    """A column for each range, in one colour."""
    ticks, top = _ticks(Decimal(max(counts)), _count, whole=True)
    return Columns(
        [
            [Piece(_percent(Decimal(number), top), 0, f"{what} · {number:,}")] if number else []
            for what, number in zip(ranges, counts, strict=True)
        ],
        _sparse(labels),
        ticks,
        [],
        [(what, f"{number:,}") for what, number in zip(ranges, counts, strict=True) if number],
    )


def shares(worths: Iterable[Decimal | int | None]) -> list[float]:
    """Each as percent of the largest."""
    known = [Decimal(worth or 0) for worth in worths]
    most = max(known, default=Decimal())
    return [_percent(worth, most) for worth in known]


def _worth(one: Spent, by_cost: bool) -> Decimal:
    return one.cost_usd if by_cost else Decimal(one.requests)


def _percent(worth: Decimal, most: Decimal) -> float:
    return round(float(100 * worth / most), 2) if most > 0 else 0.0


def _money(worth: Decimal) -> str:
    return values.money(worth, 6)


def _count(worth: Decimal) -> str:
    return values.short_count(int(worth)) if worth >= 1000 else plain_decimal(worth)


def _ticks(most: Decimal, told: Callable[[Decimal], str], *, whole: bool) -> tuple[list[tuple[float, str]], Decimal]:
    """Round numbers up to what is not less than the most, and that; `whole`: without fractions."""
    if most <= 0:
        return [], Decimal(1)
    rough = max(most / _TICKS, Decimal(whole))
    power = Decimal(10) ** math.floor(rough.log10())
    steps = (power * factor for factor in (1, 2, Decimal("2.5"), 5, 10))
    step = next(step for step in steps if step >= rough and not (whole and step % 1))
    number = math.ceil(most / step)
    top = step * number
    marks = [step * place for place in range(1, number + 1)]
    return [(_percent(mark, top), told(mark).removesuffix(".00")) for mark in marks], top


def _all_buckets(begins: Sequence[dt.datetime], bucket: Bucket) -> list[dt.datetime]:
    """From the first to the last, those without anything too."""
    if not begins:
        return []
    found, last = [min(begins)], max(begins)
    while found[-1] < last:
        found.append(_next(found[-1], bucket))
    return sorted({*found, *begins})


def _next(begin: dt.datetime, bucket: Bucket) -> dt.datetime:
    match bucket:
        case "hour":
            return begin + dt.timedelta(hours=1)
        case "day":
            return begin + dt.timedelta(days=1)
        case "week":
            return begin + dt.timedelta(days=7)
    return (begin.replace(day=1) + dt.timedelta(days=32)).replace(day=1)


def _moment(begin: dt.datetime, bucket: Bucket) -> str:
    match bucket:
        case "hour":
            return f"{begin:%b} {begin.day} {begin:%H}h"
        case "month":
            return f"{begin:%b %Y}"
    return f"{begin:%b} {begin.day}"


def _sparse(labels: Sequence[str]) -> list[str]:
    """As many as fit side by side on a phone."""
    every = max(1, math.ceil(len(labels) / 5))
    return [
        label if place % every == 0 and place + every / 2 <= len(labels) else "" for place, label in enumerate(labels)
    ]
