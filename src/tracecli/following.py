"""Exchanges as they come: what ended since the last look, stored or in the spool, each once."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Iterator
from contextlib import suppress

from tracecli import finding
from tracecli.config import Home
from tracecli.exchange import Row
from tracecli.finding import LATEST
from tracecli.query import syntax
from tracecli.query.syntax import Is, Query, Term, Value

POLL_S = 0.25
_LONGEST = dt.timedelta(hours=6)
"""An exchange is found when it ends; one that took longer is not."""
_LATE = dt.timedelta(seconds=30)
"""It is recorded so soon after its end, or is not found."""
_MOST = 50_000


class Watch:
    """What ends, from now on: `begun` are the latest before, oldest first; then ask `new` again and again.

    Raises StoreBusy, NewerDatabase or HomeError if the home or its database cannot be read; it can be asked again.
    """

    def __init__(self, home: Home, query: Query, zone: dt.tzinfo | None, latest: int) -> None:
        self._home, self._query, self._zone = home, query, zone
        self._looked = dt.datetime.now(dt.UTC)
        self._signature = _signature(home)
        self._seen = {row.id: _end(row) for row in _ended(home, self._looked)}
        shown = finding.rows(home, query, self._looked, zone, limit=latest) if latest else []
        self._seen |= {row.id: _end(row) for row in shown}
        self.begun = shown[::-1]

    def new(self) -> list[Row]:
        """Those that fit and have ended since it was asked last, in the order of their ends."""
        if (signature := _signature(self._home)) == self._signature:
            return []
        now = dt.datetime.now(dt.UTC)
        since = min(self._looked, now)  # the clock may have been set back
        new = [row for row in _ended(self._home, since) if row.id not in self._seen]
        found = sorted(_fitting(self._home, self._query, self._zone, new), key=_end) if new else []
        kept = {name: end for name, end in self._seen.items() if end >= since - _LATE}
        self._seen = kept | {row.id: _end(row) for row in new}
        self._signature, self._looked = signature, now
        return found


def follow(home: Home, query: Query, zone: dt.tzinfo | None, latest: int) -> Iterator[Row]:
    """The `latest` ones that fit, oldest first, and then, for ever, those that end from now on. Raises as `Watch`."""
    watch = Watch(home, query, zone, latest)
    yield from watch.begun
    while True:
        time.sleep(POLL_S)
        yield from watch.new()


def _ended(home: Home, since: dt.datetime) -> list[Row]:
    """What has ended since then, or is recorded since then though it ended a little before."""
    begun = syntax.term("since", (since - _LONGEST).isoformat())
    ended = syntax.term("ended", (since - _LATE).isoformat())
    return finding.rows(home, syntax.all_of([begun, ended]), since, limit=_MOST)


def _fitting(home: Home, query: Query, zone: dt.tzinfo | None, rows: list[Row]) -> list[Row]:
    if query == syntax.EVERYTHING:
        return rows
    these = Term("id", tuple(Is(Value(row.id)) for row in rows))
    return finding.rows(
        home, syntax.all_of([query, these]), dt.datetime.now(dt.UTC), zone, sort=LATEST, limit=len(rows)
    )


def _end(row: Row) -> dt.datetime:
    return row.started_at + dt.timedelta(milliseconds=row.duration_ms)


def _signature(home: Home) -> list[tuple[str, int]]:
    """What changes when something is recorded or ingested. The database is never opened for it: see `Home.database`."""
    found = []
    with suppress(FileNotFoundError):  # nothing is recorded yet
        for path in () if home.foreign else home.spool.iterdir():  # see `browse.spooled`
            with suppress(FileNotFoundError):  # ingested this moment
                found.append((path.name, path.stat().st_size))
    with suppress(FileNotFoundError):
        found.append((home.database.name, home.database.stat().st_mtime_ns))
    return sorted(found)
