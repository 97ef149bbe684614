"""What is kept until when, and what goes: for a terminal, and as lines for a pipe."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence

from rich.console import RenderableType
from rich.text import Text

from tracecli.policy.rules import Retention
from tracecli.store.expiry import Removed
from tracecli.store.holds import Hold
from tracecli.store.keeping import Applied, Due, Holding
from tracecli.store.limits import TooMuch
from tracecli.tables import grid, values
from tracecli.tables.grid import Column, Grid
from tracecli.tables.visible import line

type Kept = tuple[str, Retention | None, Holding | None]
"""A policy, what it says (None: there is none of that name any more), and what is recorded under it."""

_NONE = Text(values.UNKNOWN, "dim")


def kept(found: Sequence[Kept], now: dt.datetime, zone: dt.tzinfo | None = None) -> Iterator[RenderableType]:
    """A line for each policy."""
    yield Grid(
        [
            Column("policy", floor=10),
            Column("content"),
            Column("record"),
            Column("requests", right=True, rank=1),
            Column("with content", right=True),
            Column("bytes", right=True, rank=2),
            Column("next content", rank=3),
            Column("next record", rank=3),
        ],
        [
            [
                Text(line(name), "bold"),
                Text(line(says.content)) if says else _NONE,
                Text(line(says.metadata)) if says else _NONE,
                Text(values.count(held.exchanges) if held else "0", "" if held else "dim"),
                Text(values.count(held.content) if held else "0", "" if held and held.content else "dim"),
                Text(values.size(held.content_bytes)) if held and held.content else _NONE,
                _moment(held.next_content if held else None, now, zone),
                _moment(held.next_record if held else None, now, zone),
            ]
            for name, says, held in found
        ],
    )


def kept_plain(found: Sequence[Kept]) -> Iterator[str]:
    """The same for a pipe, with the names of the JSON."""
    names = [name for name in Holding.__struct_fields__ if name != "policy"]
    rows = [
        [
            name,
            says.content if says else None,
            says.metadata if says else None,
            *(_plain(getattr(held, field)) if held else None for field in names),
        ]
        for name, says, held in found
    ]
    return grid.plain(["policy", "keeps_content", "keeps_metadata", *names], rows)


def due(found: Due) -> Iterator[RenderableType]:
    """A line for each policy, and the sums."""
    yield Grid(
        [
            Column("policy", floor=10),
            Column("content goes", right=True),
            Column("bytes", right=True, rank=1),
            Column("record goes", right=True),
        ],
        [
            [
                Text(line(one.policy), "bold"),
                Text(values.count(one.content), "" if one.content else "dim"),
                Text(values.size(one.content_bytes)) if one.content else _NONE,
                Text(values.count(one.records), "" if one.records else "dim"),
            ]
            for one in found.policies
        ],
    )
    yield Text()
    yield Text(
        f"The content of {_requests(found.content)} ({values.size(found.content_bytes)} as they passed), and the record"
        f" of {_requests(found.records)}.",
        "dim",
    )


def due_plain(found: Due) -> Iterator[str]:
    """The same for a pipe."""
    rows = [[one.policy, str(one.content), str(one.content_bytes), str(one.records)] for one in found.policies]
    return grid.plain(["policy", "content", "content_bytes", "records"], rows)


def removed(found: Removed) -> Iterator[RenderableType]:
    """What was removed, in a sentence."""
    if not found.content and not found.records:
        yield Text("Nothing was over.")
        return
    freed = f"; files of bodies take {values.size(found.bytes)} less" if found.bytes > 0 else ""
    yield Text(
        f"Removed the content of {_requests(found.content)}, and the record of {_requests(found.records)}{freed}."
    )


def removed_plain(found: Removed) -> Iterator[str]:
    """The same for a pipe."""
    return grid.plain(["content", "records", "bytes"], [[str(found.content), str(found.records), str(found.bytes)]])


def applied(found: Applied) -> Iterator[RenderableType]:
    """What was changed, or would be, in sentences."""
    of = f"{found.exchanges:,} recorded under {line(found.policy)}"
    would = "would go" if found.dry_run else "go"
    yield Text(f"Of {of}, {found.sooner:,} {would} sooner than before, and {found.later:,} later.")
    if found.due_content or found.due_records:
        yield Text(
            f"Over by now: the content of {_requests(found.due_content)} ({values.size(found.due_content_bytes)} as"
            f" they passed), and the record of {_requests(found.due_records)}.",
            "bold",
        )


def applied_plain(found: Applied) -> Iterator[str]:
    """The same for a pipe."""
    names = Applied.__struct_fields__
    return grid.plain(names, [[_plain(getattr(found, name)) for name in names]])


def _requests(number: int) -> str:
    return f"{number:,} request{'' if number == 1 else 's'}"


def _moment(at: dt.datetime | None, now: dt.datetime, zone: dt.tzinfo | None) -> Text:
    return Text(values.moment(at, now, zone)) if at else _NONE


def _plain(value: object) -> str | None:
    match value:
        case None:
            return None
        case bool():
            return str(value).lower()
        case dt.datetime():
            return value.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        case _:
            return str(value)


def too_much(found: Sequence[TooMuch]) -> Iterator[RenderableType]:
    """A line for each limit that is passed."""
    yield Grid(
        [
            Column("too much of", floor=10),
            Column("content goes", right=True),
            Column("bytes", right=True, rank=1),
            Column("record goes", right=True),
        ],
        [
            [
                Text(line(f"{one.kind} {one.name}"), "bold"),
                Text(values.count(one.content)),
                Text(values.size(one.content_bytes)),
                Text(values.count(one.records)),
            ]
            for one in found
        ],
    )


def too_much_plain(found: Sequence[TooMuch]) -> Iterator[str]:
    """The same for a pipe."""
    names = TooMuch.__struct_fields__
    return grid.plain(list(names), [[_plain(getattr(one, name)) for name in names] for one in found])


def holds(found: Sequence[Hold], now: dt.datetime, zone: dt.tzinfo | None = None) -> Iterator[RenderableType]:
    """A line for each hold."""
    yield Grid(
        [Column("hold", floor=10), Column("since"), Column("requests", right=True), Column("reason", floor=10, rank=1)],
        [
            [
                Text(line(f"{one.kind} {one.value}"), "bold"),
                _moment(one.since, now, zone),
                Text(values.count(one.exchanges)),
                Text(line(one.reason)),
            ]
            for one in found
        ],
    )


def holds_plain(found: Sequence[Hold]) -> Iterator[str]:
    """The same for a pipe."""
    names = ["kind", "value", "since", "exchanges", "reason"]
    return grid.plain(names, [[_plain(getattr(one, name)) for name in names] for one in found])
