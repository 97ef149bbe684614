"""Who read what: for a terminal, and as lines for a pipe."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterator, Sequence

from rich.console import RenderableType
from rich.text import Text

from tracecli.ledger import Entry, Verified
from tracecli.tables import grid, values
from tracecli.tables.grid import Column, Grid
from tracecli.tables.visible import line


def noted(found: Sequence[Entry], now: dt.datetime, zone: dt.tzinfo | None = None) -> Iterator[RenderableType]:
    """A line for each entry, with the first of its ids."""
    yield Grid(
        [
            Column("time"),
            Column("who", floor=6, rank=1),
            Column("event"),
            Column("command", floor=8),
            Column("requests", right=True),
            Column("first id", floor=10),
        ],
        [
            [
                Text(values.moment(one.at, now, zone), "dim"),
                Text(line(one.user + (f" ({one.sudo_user})" if one.sudo_user else "")), "bold"),
                Text(line(one.event)),
                Text(line(one.command)),
                Text(values.count(one.count)),
                Text(line(one.ids[0]) if one.ids else values.UNKNOWN, "cyan"),
            ]
            for one in found
        ],
    )


def noted_plain(found: Sequence[Entry]) -> Iterator[str]:
    """The same for a pipe, with the names of the JSON and all ids."""
    told = [one.as_json() for one in found]
    names = list(told[0]) if told else []
    return grid.plain(names, [[_cell(one[name]) for name in names] for one in told])


def verified(found: Verified) -> Iterator[RenderableType]:
    """How many are whole, and the last hash."""
    whole = "1 entry is whole" if found.entries == 1 else f"{found.entries:,} entries are whole"
    yield Text(f"{whole}.")
    if found.entries:
        yield Text(f"The last one has the hash {line(found.last)}")


def verified_plain(found: Verified) -> Iterator[str]:
    """The same for a pipe."""
    return grid.plain(["entries", "last"], [[str(found.entries), found.last]])


def _cell(value: object) -> str | None:
    if value is None:
        return None
    if isinstance(value, list):
        return ",".join(map(str, value)) or None
    return json.dumps(value, sort_keys=True) if isinstance(value, dict) else str(value)
