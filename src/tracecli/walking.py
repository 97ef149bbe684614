"""Going through stored exchanges with their bodies: in time order, batch by batch, within bounded memory.

Each batch is read in moments, so that ingest and readers get their turn.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable, Iterator, Sequence

from tracecli import working
from tracecli.config import Home
from tracecli.errors import HomeError
from tracecli.exchange import Captured
from tracecli.recorded import Recorded
from tracecli.store import bodies, costs, exchanges
from tracecli.store.connection import opened

BATCH = 500
BATCH_BYTES = 64 << 20
_TRIES = 5


def walk(
    home: Home, since: dt.datetime, untraced: Callable[[], None] = lambda: None
) -> Iterator[list[tuple[Recorded, Captured | None]]]:
    """The traced exchanges from `since` on that were stored when it began; None: the bodies are not there any more.

    `untraced` is told of each exchange without content. Raises StoreBusy, NewerDatabase or HomeError if the database or
    the bodies cannot be used.
    """
    after, until = "00000000-0000-0000-0000-000000000000", None
    done = total = 0
    while True:
        try:
            with opened(home) as connection:
                if until is None:
                    until, total = costs.extent(connection, since)
                sizes = costs.sizes(connection, since, after, until, BATCH) if until else []
        except FileNotFoundError:
            return
        working.told(done, total, "exchanges")
        if not sizes:
            return
        ids: list[str] = []
        room = BATCH_BYTES
        for identifier, traced, size in sizes:
            if traced and ids and size > room:
                break
            after = identifier
            done += 1
            if traced:
                ids.append(identifier)
                room -= size
            else:
                untraced()
        if ids:
            yield some(home, ids)


def each(home: Home, sized: Iterable[tuple[str, int]], most: int = BATCH) -> Iterator[tuple[Recorded, Captured | None]]:
    """Stored exchanges by id and by how many bytes their bodies have, read so many at a time; raises as `walk` does."""
    for batch in batches(home, sized, most):
        yield from batch


def batches(
    home: Home, sized: Iterable[tuple[str, int]], most: int = BATCH
) -> Iterator[list[tuple[Recorded, Captured | None]]]:
    """The same batch by batch, each at most so many, in the order of their ids; the batches in the order given."""
    ids: list[str] = []
    room = BATCH_BYTES
    for identifier, size in sized:
        if ids and (size > room or len(ids) == most):
            yield some(home, ids)
            ids, room = [], BATCH_BYTES
        ids.append(identifier)
        room -= size
    if ids:
        yield some(home, ids)


def sized(home: Home, ids: Sequence[str]) -> list[tuple[str, int]]:
    """Those of some exchanges that are stored, by id, in the order of their ids: how many bytes their bodies have."""
    try:
        with opened(home) as connection:
            return exchanges.sizes(connection, ids)
    except FileNotFoundError:
        return []


def some(home: Home, ids: Sequence[str]) -> list[tuple[Recorded, Captured | None]]:
    """Stored exchanges by id, in the order of their ids, with their bodies; None where there are none."""
    for _ in range(_TRIES):
        with opened(home) as connection:
            stored = exchanges.some(connection, ids)
            places = bodies.candidates(connection, ids)
        try:
            held = bodies.read(home, places, ids)
        except FileNotFoundError:
            continue  # merged into another file this moment
        return [(one, Captured(one.exchange, *held[one.row.id]) if one.row.id in held else None) for one in stored]
    raise HomeError(
        f"a file in {home.bodies} or {home.parts} that the database names is gone",
        "Bring it back from a backup, if there is one.",
    )
