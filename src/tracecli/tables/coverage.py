"""What was not seen, as a table with what to do about it, as lines for a pipe, and as data."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from typing import Any

import msgspec
from rich.console import RenderableType
from rich.text import Text

from tracecli.coverage import Connections, Coverage, Unseen
from tracecli.tables import grid, values
from tracecli.tables.grid import Column, Grid
from tracecli.tables.statistics import rate
from tracecli.tables.visible import line

_STYLES = {"refused": "bold red", "passed": "bold yellow", "upstream": "bold red", "not understood": "bold magenta"}
_SHOWN = 500
NAMES = Unseen.__struct_fields__
"""The columns of data."""


def coverage(found: Coverage, now: dt.datetime) -> Iterator[RenderableType]:
    """For a terminal: a line for each finding, and below what each means and what helps."""
    if found.unseen:
        yield _table(found.unseen, now)
        yield Text()
        for means, remedy, hosts in _advice(found.unseen):
            yield Text(line(", ".join(hosts)), "bold").append(f": {line(means)}", "not bold")
            yield Text(f"  {line(remedy)}", "dim")
        yield Text()
    yield from (Text(one) for one in summary(found))


def _table(found: list[Unseen], now: dt.datetime) -> Grid:
    columns = [
        Column("what"),
        Column("why", floor=8, rank=3),
        Column("host", floor=16),
        Column("client", floor=8, rank=1),
        Column("times", right=True),
        Column("last", rank=2),
        Column("example", rank=4),
    ]
    rows = [
        [
            Text(one.matter, _STYLES.get(one.matter, "bold")),
            Text(one.why.replace("_", " "), "dim"),
            Text(line(one.host)[:_SHOWN]),
            Text(line(one.client or "")[:_SHOWN] or values.UNKNOWN, "dim"),
            Text(values.count(one.times)),
            Text(values.moment(one.last_at, now, None, short=True), "dim"),
            Text(line(one.example or "")[:13] or values.UNKNOWN, "cyan" if one.example else "dim"),
        ]
        for one in found
    ]
    return Grid(columns, rows)


def _advice(found: list[Unseen]) -> Iterator[tuple[str, str, list[str]]]:
    """Each piece of advice once, with the hosts that it is for; the example in it is the first one's."""
    told: dict[tuple[str, str, str | None], tuple[Unseen, list[str]]] = {}
    for one in found:
        _, hosts = told.setdefault((one.matter, one.means, None if one.example else one.remedy), (one, []))
        if one.host not in hosts:
            hosts.append(one.host)
    for one, hosts in told.values():
        shown = hosts[:3] + ([f"{len(hosts) - 3} more"] if len(hosts) > 3 else [])
        yield one.means, one.remedy, shown


def summary(found: Coverage) -> Iterator[str]:
    """In words: how much was seen."""
    there = found.connections
    share = there.share
    known = there.opened + there.refused + there.passed_known
    if share is None:
        yield "No connection to an AI provider came through the proxy."
    else:
        yield (
            f"Of {_many(known, 'connection')} to providers {rate(there.opened, known)} were opened: {there.opened:,},"
            f" while {there.refused:,} were refused by clients and {there.passed_known:,} passed unopened."
        )
    not_whole = sum(one.times for one in found.unseen if one.example)
    yield f"{_many(found.exchanges, 'exchange')} recorded, {not_whole:,} of them not understood or broken off."
    if there.others:
        yield f"{_many(there.others, 'connection')} to other hosts passed unopened; their names are not kept."
    yield "QUIC, and what goes past the proxy, nobody counts: docs/coverage.md."


def _many(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def plain(found: Coverage) -> Iterator[str]:
    """The findings for a pipe."""
    names = ["what", "why", "provider", "host", "client", "times", "first_at", "last_at", "example", "remedy"]
    rows = [
        [
            one.matter,
            one.why,
            one.provider,
            one.host,
            one.client,
            str(one.times),
            one.first_at.isoformat(timespec="seconds"),
            one.last_at.isoformat(timespec="seconds"),
            one.example,
            one.remedy,
        ]
        for one in found.unseen
    ]
    return grid.plain(names, rows)


def as_json(one: Unseen) -> dict[str, Any]:
    """A finding as JSON values."""
    told: dict[str, Any] = msgspec.to_builtins(one)
    return told


def whole(found: Coverage) -> dict[str, Any]:
    """All of it as JSON values."""
    told: dict[str, Any] = msgspec.to_builtins(found)
    told["connections"]["share"] = _share(found.connections)
    return told


def _share(there: Connections) -> float | None:
    return None if there.share is None else round(there.share, 4)
