"""Retention: content and records go when the time that their policy gave them is over, to the last byte.

How long an exchange is kept is decided when it is recorded (`content_until`, `metadata_until`; NULL: for ever). Content
goes first: bodies, the parts that no other body has, the answer in the cache; then its row is marked. A record goes by
writing the database anew without it, since DuckDB leaves the bytes of deleted rows in its file.

Only the one process that ingests removes anything, between two rounds, in bounded steps. Whoever reads meanwhile finds
all the rest. Killed anywhere, the next step does what is left: what is over and not marked, or still there, is to do.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import logging
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb

from tracecli import access, files, keys
from tracecli.cache.entries import Entries
from tracecli.config import PRIVATE_FOLDER, Home
from tracecli.errors import ConfigError, HomeError, StoreBusy, TracecliError
from tracecli.policy.files import load
from tracecli.store import bodies, limits
from tracecli.store.connection import READ_PATIENCE_S, make, opened, transaction
from tracecli.store.engine import Engine, quoted
from tracecli.store.exchanges import HELD
from tracecli.store.holds import ON_HOLD

log = logging.getLogger(__name__)

STEP = 1000
"""How many exchanges lose their content in one step."""
REMOVED = "content_removed"
"""The flag of a record whose content is gone."""

# What goes at the moment $1. `least` passes over NULL. A record stays until its content is gone: it alone says that
# there is some.
_CONTENT_GOES = f"({HELD} AND least(content_until, metadata_until) <= $1 AND NOT {ON_HOLD})"
_RECORD_GOES = f"(metadata_until <= $1 AND NOT {HELD} AND NOT {ON_HOLD})"
_STAYS = {
    "exchange": "id NOT IN (SELECT id FROM going)",
    "cost_change": "exchange_id NOT IN (SELECT id FROM going)",
}
"""What stays of a table; of others, all."""


@dataclass
class Removed:
    """What a step removed."""

    content: int = 0
    records: int = 0
    bytes: int = 0
    """Of files of bodies and parts."""


def remove_due(home: Home, now: dt.datetime, limit: int = STEP) -> Removed:
    """Remove what is due: content of at most `limit` exchanges, the oldest first; where that was all, the records.

    Raises StoreBusy, NewerDatabase or HomeError if the home cannot be used now.
    """
    removed = remove_content(home, now, limit)
    if removed.content < limit:
        removed.records = remove_records(home, now)
    return removed


def remove_content(home: Home, now: dt.datetime, limit: int = STEP) -> Removed:
    """Remove the content that is due of at most `limit` exchanges, the oldest first."""
    try:
        with opened(home) as connection:
            found = connection.execute(
                f"SELECT id::VARCHAR FROM exchange WHERE {_CONTENT_GOES}"  # noqa: S608 - text of ours only
                " ORDER BY exchange.id LIMIT $2",
                [now, limit],
            ).fetchall()
    except FileNotFoundError:
        found = []
    if not found:
        return Removed()
    ids = [identifier for (identifier,) in found]
    forget_answers(home, ids)
    freed = bodies.forget(home, ids)
    with opened(home, write=True) as connection, transaction(connection):
        connection.execute(
            "UPDATE exchange SET content_removed_at = $2, flags = list_append(flags, $3)"
            " WHERE id BETWEEN $4::UUID AND $5::UUID AND list_contains($1::UUID[], id)",
            [ids, now, REMOVED, ids[0], ids[-1]],
        )
    return Removed(content=len(ids), bytes=freed)


def forget_answers(home: Home, ids: Sequence[str], users: Sequence[str] = ()) -> int:
    """The cache gives no answer again whose exchange is gone, nor one of these users; returns how many went."""
    if not home.cache.exists():
        return 0
    with contextlib.closing(
        Entries(home.cache, sys.maxsize, keys.ring(home))
    ) as entries:  # it removes these and evicts nothing
        gone, _ = entries.purge(exchange_ids=ids)
        if users:
            gone += entries.purge(users=users)[0]
    return gone


def remove_records(home: Home, now: dt.datetime) -> int:
    """Remove the records that are due and have no content any more; returns how many.

    The database is written anew without them: some 4 s for a million others, in which nobody waits to read it.
    """
    try:
        with opened(home) as connection:
            [(records,)] = connection.execute(
                f"SELECT count(*) FROM exchange WHERE {_RECORD_GOES}",  # noqa: S608 - text of ours only
                [now],
            ).fetchall()
    except FileNotFoundError:
        return 0
    if records:
        _rewrite(home, f"SELECT id FROM exchange WHERE {_RECORD_GOES}", [now])  # noqa: S608 - text of ours only
    return int(records)


def write_anew(home: Home, without: Sequence[str] = ()) -> None:
    """Write the database anew, without the records of these ids and without the bytes of what was deleted or changed.

    Raises HomeError if there is no room for a second one.
    """
    _rewrite(home, "SELECT unnest($1::UUID[]) AS id", [list(without)])


_DRAFT = "rewrite.spill"  # a name that `bodies.remove_orphans` clears away after a crash
# A process that had opened the old file, but not locked it yet, must find it locked; then it takes the new one.
_LINGER_S = 0.2


def _rewrite(home: Home, going: str, parameters: list[Any]) -> None:
    """Put a copy without the records that a query of the old one finds in the place of the database.

    The old file is open for reading until the new one has its name. So others can read, and nobody writes: what is
    copied is what there is.
    """
    draft = Home(home.scratch / _DRAFT)
    shutil.rmtree(draft.root, ignore_errors=True)
    try:
        draft.root.mkdir(mode=PRIVATE_FOLDER)
        make(home)  # what a killed process left in the log gets into the file
        make(draft)
        with contextlib.closing(Engine(home)) as engine, engine.connection() as connection:
            _attach_old(connection, home)
            connection.execute(f"ATTACH '{quoted(draft.database)}' AS fresh")
            with transaction(connection):
                _copy(connection, going, parameters)
            connection.execute("DETACH fresh")
            access.share(home, "metadata", draft.database)
            files.to_disk(draft.database)
            draft.database.rename(home.database)
            files.to_disk(home.root)
            time.sleep(_LINGER_S)
    except (duckdb.Error, OSError) as error:
        raise HomeError(
            f"cannot write {home.database} anew: {str(error).splitlines()[0]}",
            "It is as it was; there has to be room for a second one.",
        ) from error
    finally:
        shutil.rmtree(draft.root, ignore_errors=True)


def _attach_old(connection: duckdb.DuckDBPyConnection, home: Home) -> None:
    deadline = time.monotonic() + READ_PATIENCE_S
    while True:
        try:
            connection.execute(f"ATTACH '{quoted(home.database)}' AS old (READ_ONLY)")
            break
        except duckdb.IOException as error:
            if time.monotonic() > deadline:
                raise StoreBusy(f"another process holds {home.database}", "Try again when it has ended.") from error
        time.sleep(0.01)
    if home.database_log.exists():  # it would be taken for the new file's
        raise StoreBusy(f"a process was killed while it wrote to {home.database}", "Try again.")


def _copy(connection: duckdb.DuckDBPyConnection, going: str, parameters: list[Any]) -> None:
    connection.execute("USE old")
    connection.execute(f"CREATE TEMP TABLE going AS {going}", parameters)
    connection.execute("USE memory")
    tables = connection.execute("SELECT table_name FROM duckdb_tables() WHERE database_name = 'old'").fetchall()
    connection.execute("DELETE FROM fresh.schema_version")
    for (table,) in tables:
        stays = f" WHERE {_STAYS[table]}" if table in _STAYS else ""
        connection.execute(
            f'INSERT INTO fresh."{table}" BY NAME SELECT * FROM old."{table}"{stays}'  # noqa: S608 - text of ours only
        )


class Keeper:
    """Removes what is due while ingest runs: content within a minute or so, records within ten.

    Where that takes long it happens less often: looking and removing content take a twentieth of the time at most,
    writing the database anew a hundredth. What has piled up goes step by step, and ingest has its turn in between.
    """

    LOOK_S = 60.0
    REWRITE_S = 600.0

    def __init__(self, home: Home, policies: Path | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        """`policies` is the folder whose limits of size hold; None: there are none."""
        self.home = home
        self.policies = policies
        self._clock = clock
        self._next = self._next_rewrite = clock()

    def step(self, now: dt.datetime) -> bool:
        """Do what is to be done at `now`, if anything. For the ingest process, between two rounds. Never raises.

        Returns whether content may have been removed.
        """
        begun = self._clock()
        if begun < self._next:
            return False
        more = False
        untouched = False
        try:
            limits.shorten(self.home, self._limits(now), now)
            removed = remove_content(self.home, now, STEP)
            more = removed.content == STEP
            untouched = not removed.content
            if not more and begun >= self._next_rewrite:
                removed.records = self._remove_records(now)
            if removed.content or removed.records:
                log.info("retention: content of %d, and %d records are gone", removed.content, removed.records)
        except (TracecliError, OSError, duckdb.Error) as error:
            log.warning("retention failed and is tried again: %s", str(error).partition("\n")[0])
        except Exception:
            log.exception("retention failed and is tried again")
        took = self._clock() - begun
        self._next = begun + took + (took if more else max(self.LOOK_S, 20 * took))
        return not untouched

    def _limits(self, now: dt.datetime) -> list[limits.Limit]:
        """Those of the policies as they are; none where these cannot be read: what is over goes all the same."""
        if self.policies is None:
            return []
        try:
            return limits.of(load(self.policies), now)
        except ConfigError as error:
            log.warning("retention goes without limits of size: %s", error)
            return []

    def _remove_records(self, now: dt.datetime) -> int:
        begun = self._clock()
        records = remove_records(self.home, now)
        if records:
            ended = self._clock()
            self._next_rewrite = ended + max(self.REWRITE_S, 100 * (ended - begun))
        return records
