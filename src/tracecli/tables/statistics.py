"""Sums over requests, with bars that show at a glance who has most."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from rich.console import RenderableType
from rich.text import Text

from tracecli.exchange import plain_decimal
from tracecli.store.statistics import Group, Percentiles
from tracecli.tables import values
from tracecli.tables.grid import Column, Grid, aligned
from tracecli.tables.grid import plain as plain_grid
from tracecli.tables.visible import line

_BAR = 12
_EIGHTHS = " ▏▎▍▌▋▊▉█"
_NONE = "(none)"


def statistics(groups: Sequence[Group], by: Sequence[str], *, left_out: int = 0) -> Iterator[RenderableType]:
    """A table for a terminal. The bar is the share of the cost, or of the requests where none has a cost."""
    by_cost = any(group.cost_usd for group in groups)
    shares = [float(group.cost_usd or 0) if by_cost else float(group.requests) for group in groups]
    most = max(shares, default=0.0)
    columns = [
        *(Column(line(name), floor=8) for name in by),
        Column("requests", right=True),
        Column("errors", right=True, rank=3),
        Column("hits", right=True, rank=5),
        Column("in→out", right=True, rank=4),
        Column("cost", right=True),
        *([Column("", rank=6)] if by else []),
        Column("p50", right=True, rank=1),
        Column("p95", right=True, rank=1),
        Column("p99", right=True, rank=2),
        Column("ttft p50", right=True, rank=7),
        Column("p95", right=True, rank=8),
    ]
    rated = any(group.score is not None for group in groups)
    columns += [Column("score", right=True, rank=2)] if rated else []
    costs = aligned([_cost(group) for group in groups])
    rows = []
    for group, cost, share in zip(groups, costs, shares, strict=True):
        tokens = f"{values.short_count(group.input_tokens)}→{values.short_count(group.output_tokens)}"
        if group.input_tokens is None and group.output_tokens is None:
            tokens = values.UNKNOWN
        rows.append(
            [
                *(Text(_NONE, "dim") if part is None else Text(line(part)[:500], "bold") for part in group.key),
                Text(values.count(group.requests)),
                Text(rate(group.errors, group.requests), "bold red" if group.errors else "dim"),
                Text(rate(group.hits, group.cached) if group.cached else values.UNKNOWN, "dim"),
                Text(tokens),
                Text(cost),
                *([Text(bar(share / most if most else 0.0), "cyan")] if by else []),
                *(Text(_ms(group.duration, place)) for place in range(3)),
                *(Text(_ms(group.ttft, place), "dim") for place in range(2)),
                *([Text(values.UNKNOWN if group.score is None else f"{group.score:.1f}")] if rated else []),
            ]
        )
    yield Grid(columns, rows)
    if left_out:
        yield Text(f"and {left_out:,} more; --limit shows them", "dim")


def plain(groups: Sequence[Group], by: Sequence[str]) -> Iterator[str]:
    """The same for a pipe, with the names and units of the JSON."""
    told = [as_json(group, by) for group in groups]
    names = list(told[0]) if told else []
    return plain_grid(names, [[None if one[name] is None else str(one[name]) for name in names] for one in told])


def as_json(group: Group, by: Sequence[str]) -> dict[str, Any]:
    """As JSON values; what nobody reported is null."""
    told = asdict(group)
    for name in ("cost_usd", "saved_usd"):
        told[name] = None if told[name] is None else plain_decimal(told[name])
    del told["key"]
    for name in ("duration", "ttft"):
        found: Percentiles | None = getattr(group, name)
        del told[name]
        for place, what in enumerate(Percentiles._fields):
            told[f"{name}_{what}_ms"] = None if found is None else round(found[place], 1)
    return dict(zip(by, group.key, strict=True)) | told


def bar(share: float, cells: int = _BAR) -> str:
    """A bar of this share of some cells, to the eighth of a cell; what is not nothing shows."""
    eighths = round(max(0.0, min(1.0, share)) * cells * 8)
    eighths = max(1, eighths) if share > 0 else 0
    return ("█" * (eighths // 8) + _EIGHTHS[eighths % 8]).strip().ljust(cells)


def _cost(group: Group) -> str:
    return values.UNKNOWN if group.cost_usd is None else values.money(group.cost_usd, 4)


def rate(some: int, of: int) -> str:
    """A share in percent; what is not nothing never reads as nothing."""
    share = 100 * some / of if of else 0.0
    return "0%" if not some else f"{share:.0f}%" if share >= 9.95 else f"{share:.1f}%" if share >= 0.05 else "<0.1%"


def _ms(found: Percentiles | None, place: int) -> str:
    return values.UNKNOWN if found is None else values.duration(found[place]).replace(" ", "")
