"""Looking through the whole store for what is broken: the database, every file of content, and what refers to what.

Files are looked at as they are at one moment (`snapshot`), so that ingest may go on. Everything is read and unpacked,
file by file; ids go to temporary tables, which spill to the disk. Nothing is changed, but that an older database is
brought up to date, as whoever opens it does.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import duckdb
import msgspec

from tracecli import spool, working
from tracecli.config import Home
from tracecli.errors import HomeError, NewerDatabase, StoreBusy
from tracecli.spool import Damage
from tracecli.store import snapshot
from tracecli.store.bodies import BODIES
from tracecli.store.connection import opened
from tracecli.store.engine import DATABASE, located, scratchpad, sparing
from tracecli.store.exchanges import HELD
from tracecli.store.snapshot import Snapshot

_BACKUP = "Bring it back from a backup (`tracecli db restore`), if there is one."
_SETTLED_S = 60.0
"""A file that no table names may be one that ingest has just written."""


class Finding(msgspec.Struct, frozen=True):
    """One thing that is broken (error), or left over (warning)."""

    area: str
    severity: Literal["error", "warning"]
    problem: str
    remedy: str


class Checked(msgspec.Struct, kw_only=True):
    """What was looked at, and found."""

    database: bool
    """Whether there is one."""
    columns: int = 0
    """Of tables of the database."""
    exchanges: int = 0
    files: int = 0
    bytes: int = 0
    """Of the files."""
    parts: int = 0
    segments: int = 0
    found: list[Finding] = []

    @property
    def healthy(self) -> bool:
        """Whether nothing is broken."""
        return all(one.severity != "error" for one in self.found)


def check(home: Home) -> Checked:
    """Look through everything. Raises StoreBusy and NewerDatabase; what else is wrong is a finding."""
    done = Checked(database=home.database.exists(), found=[])
    if done.database:
        done.found += _database(home, done)
        done.found += _content(home, done)
    else:
        for name in snapshot.TABLES:
            if count := len(_there(snapshot.folder(home, name))):
                problem = f"there are {count} files in {home.root / name}, and no database that names them"
                done.found.append(Finding("database", "error", problem, _BACKUP))
    done.found += _spool(home, done)
    return done


def _database(home: Home, done: Checked) -> Iterator[Finding]:
    """Each column of each table is read, one in a moment: whoever writes need not wait for long."""
    try:
        with opened(home) as connection:
            columns = connection.execute(
                "SELECT table_name, column_name FROM duckdb_columns() WHERE database_name = $1 AND NOT internal"
                " ORDER BY table_name, column_index",
                [DATABASE],
            ).fetchall()
    except (StoreBusy, NewerDatabase):
        raise
    except HomeError as error:
        yield Finding("database", "error", error.problem, _BACKUP)
        return
    except duckdb.Error as error:
        yield Finding("database", "error", f"its catalog cannot be read: {_first_line(error)}", _BACKUP)
        return
    for table, column in working.counted(columns, len(columns), "columns"):
        try:
            with opened(home) as connection:
                connection.execute(f'SELECT bit_xor(hash("{column}")) FROM "{table}"')  # noqa: S608 - of our schema
        except (StoreBusy, NewerDatabase):
            raise
        except (duckdb.Error, HomeError) as error:
            problem = f"the column {column} of the table {table} cannot be read: {_first_line(error)}"
            yield Finding("database", "error", problem, _BACKUP)
    done.columns = len(columns)


def _content(home: Home, done: Checked) -> Iterator[Finding]:
    try:
        with scratchpad(home) as pad, sparing(pad):
            now = dt.datetime.now(dt.UTC)
            with snapshot.taken(home, lambda _: _note(pad, now)) as still:
                yield from _Look(home, pad, still, done).findings()
    except (StoreBusy, NewerDatabase):
        raise
    except (duckdb.Error, HomeError) as error:
        yield Finding("content", "error", f"not all could be looked at: {_first_line(error)}", _BACKUP)


def _note(pad: duckdb.DuckDBPyConnection, now: dt.datetime) -> None:
    """Take over from the database, which is attached in this moment, what the files have to agree with.

    Content that is due may be gone already, and be marked a moment later.
    """
    due = "coalesce(least(content_until, metadata_until) <= $1, false)"
    pad.execute(
        f"CREATE OR REPLACE TEMP TABLE exchange AS SELECT id, {HELD} AS held, {due} AS due"  # noqa: S608 - ours
        f" FROM {DATABASE}.exchange",
        [now],
    )
    pad.execute(f"CREATE OR REPLACE TEMP TABLE part AS SELECT hash, id FROM {DATABASE}.part")  # noqa: S608 - ours
    pieces = [
        f"SELECT '{name}' AS folder, name, min_id::VARCHAR AS min_id, max_id::VARCHAR AS max_id, rows, bytes,"  # noqa: S608
        f" {plain} AS plain, sha256 FROM {DATABASE}.{snapshot.TABLES[name]}"
        for name, plain in (("bodies", "NULL"), ("parts", "part_bytes"), ("said", "text_bytes"))
    ]
    pad.execute(f"CREATE OR REPLACE TEMP TABLE named AS {' UNION ALL '.join(pieces)}")


# What a file holds: rows, smallest and largest id, bytes before compression, and what is wrong with its rows. All of
# it is unpacked.
_READ = {
    "bodies": f"""
        SELECT count(*), min(id)::VARCHAR, max(id)::VARCHAR, NULL, bit_xor(hash(t)),
            count(*) FILTER (
                coalesce(len(request_parts), 0) <> coalesce(len(request_at), 0)
                OR coalesce(len(response_parts), 0) <> coalesce(len(response_at), 0)
                OR coalesce(list_max(request_at) > octet_length(request_body), false)
                OR coalesce(list_max(response_at) > octet_length(response_body), false))
        FROM {BODIES} t""",  # noqa: S608 - text of ours only
    "parts": """
        SELECT count(*), min(f.id)::VARCHAR, max(f.id)::VARCHAR, sum(size)::BIGINT, NULL,
            count(*) FILTER (p.hash IS DISTINCT FROM f.hash)
        FROM (SELECT id, unhex(sha256(part)) AS hash, octet_length(part) AS size FROM read_parquet($1)) f
        LEFT JOIN (SELECT id, hash FROM part WHERE id BETWEEN $2::UUID AND $3::UUID) p ON p.id = f.id""",
    "said": """
        SELECT count(*), min(id)::VARCHAR, max(id)::VARCHAR, sum(octet_length(text::BLOB))::BIGINT, bit_xor(hash(t)), 0
        FROM read_parquet($1) t""",
}
_WRONG = {
    "bodies": "bodies have parts at places that they do not have",
    "parts": "parts are not what was stored: their SHA-256 is another",
    "said": "",
}


class _Look:
    """At the files of a snapshot, with the temporary tables of `_note`."""

    def __init__(self, home: Home, pad: duckdb.DuckDBPyConnection, still: Snapshot, done: Checked) -> None:
        self.home, self.pad, self.still, self.done = home, pad, still, done
        self.readable: list[str] = []
        """Files of bodies."""
        self.orphans = [
            (name, path.name)
            for name in snapshot.TABLES
            for path in _there(snapshot.folder(home, name))
            if not (snapshot.folder(still.home, name) / path.name).exists()
        ]

    def findings(self) -> Iterator[Finding]:
        for name in snapshot.TABLES:
            self.pad.execute(f"CREATE TEMP TABLE in_{name} (id UUID)")
        named = self.pad.execute("SELECT * FROM named ORDER BY folder, min_id").fetchall()
        for folder, name, *stated in working.counted(named, len(named), "files"):
            yield from self._file(folder, name, stated)
        yield from self._references()
        yield from self._exchanges()
        yield from self._left_over()

    def _file(self, folder: str, name: str, stated: list[Any]) -> Iterator[Finding]:
        place = f"{folder}/{name}"
        if (folder, name) in self.still.missing:
            yield Finding(folder, "error", f"{place} is not there", _BACKUP)
            return
        path = snapshot.folder(self.still.home, folder) / name
        min_id, max_id, rows, size, plain, digest = stated
        self.done.files += 1
        self.done.bytes += (has := path.stat().st_size)
        if has != size:
            yield Finding(folder, "error", f"{place} has {has:,} bytes, and should have {size:,}", _BACKUP)
        elif digest is not None and _digest(path) != digest:
            yield Finding(folder, "error", f"{place} is not as it was written: its SHA-256 is another", _BACKUP)
        try:
            given = [located(path), min_id, max_id] if folder == "parts" else [located(path)]
            [(count, least, most, unpacked, _, wrong)] = self.pad.execute(_READ[folder], given).fetchall()
            self.pad.execute(f"INSERT INTO in_{folder} SELECT id FROM read_parquet($1)", [located(path)])  # noqa: S608
        except (duckdb.FatalException, duckdb.InternalException, duckdb.OutOfMemoryException):
            raise
        except duckdb.Error as error:
            yield Finding(folder, "error", f"{place} cannot be read: {_first_line(error, path)}", _BACKUP)
            return
        if count != rows:
            yield Finding(folder, "error", f"{place} has {count:,} rows, and should have {rows:,}", _BACKUP)
        if count and not (min_id <= least and most <= max_id):
            yield Finding(folder, "error", f"{place} holds ids beyond those that it should hold", _BACKUP)
        if plain is not None and (unpacked or 0) != plain:
            problem = f"{place} holds {unpacked or 0:,} bytes of content, and should hold {plain:,}"
            yield Finding(folder, "error", problem, _BACKUP)
        if wrong:
            yield Finding(folder, "error", f"in {place}, {wrong:,} {_WRONG[folder]}", _BACKUP)
        if folder == "bodies":
            self.readable.append(located(path))
        elif folder == "parts":
            self.done.parts += count

    def _references(self) -> Iterator[Finding]:
        """What bodies refer to is there, and what the database says is stored."""
        for folder, what, one, other in (
            ("parts", "parts", "request_parts", "response_parts"),
            ("said", "texts", "prompt_said", "completion_said"),
        ):
            if not self.readable:
                break
            working.told(self.done.files, None, f"files read; looking for the {what} that bodies refer to")
            self.pad.execute(
                "CREATE OR REPLACE TEMP TABLE gone AS SELECT id FROM (SELECT DISTINCT unnest(list_concat("  # noqa: S608
                f"{one}, {other})) AS id FROM {BODIES}) ANTI JOIN in_{folder} USING (id)",
                [self.readable],
            )
            count = self._count("gone")
            if count:
                bodies = self.pad.execute(
                    f"SELECT id::VARCHAR, count(*) OVER () FROM {BODIES}"  # noqa: S608 - ours
                    f" WHERE list_has_any(list_concat({one}, {other}), (SELECT list(id) FROM gone)) ORDER BY 1 LIMIT 3",
                    [self.readable],
                ).fetchall()
                problem = f"{count:,} {what} that bodies refer to are not there; {_of(bodies)} need them"
                yield Finding(folder, "error", problem, _BACKUP)
        if count := self._count("part ANTI JOIN in_parts USING (id)"):
            problem = f"{count:,} parts that the database says are stored are in no file"
            yield Finding("parts", "error", problem, _BACKUP)

    def _exchanges(self) -> Iterator[Finding]:
        self.done.exchanges = self._count("exchange")
        held = "(SELECT id FROM exchange WHERE held AND NOT due) ANTI JOIN in_bodies USING (id)"
        if gone := self._some(held):
            yield Finding("exchanges", "error", f"the bodies of {_of(gone)} are not there", _BACKUP)
        if stray := self._some("in_bodies ANTI JOIN (SELECT id FROM exchange WHERE held) USING (id)"):
            problem = f"there are bodies of {_of(stray)}, and the database says there are none"
            yield Finding("exchanges", "error", problem, "`tracecli db compact` removes them.")

    def _left_over(self) -> Iterator[Finding]:
        """Files that no table names, then and now, and that are not from ingest at work."""
        orphans = [
            (folder, name)
            for folder, name in self.orphans
            if _age_s(snapshot.folder(self.home, folder) / name) > _SETTLED_S
        ]
        if not orphans:
            return
        with opened(self.home) as connection:
            for folder, table in snapshot.TABLES.items():
                named = {name for (name,) in connection.execute(f"SELECT name FROM {table}").fetchall()}  # noqa: S608
                left = [name for of, name in orphans if of == folder and name not in named]
                if left:
                    problem = f"{len(left)} files in {self.home.root / folder} belong to nothing ({left[0]}, ...)"
                    yield Finding(folder, "warning", problem, "`tracecli db compact` removes them.")

    def _count(self, rows: str) -> int:
        [(count,)] = self.pad.execute(f"SELECT count(*) FROM {rows}").fetchall()  # noqa: S608 - ours
        return int(count)

    def _some(self, rows: str) -> list[tuple[str, int]]:
        """The first ids, and how many there are."""
        return self.pad.execute(
            f"SELECT id::VARCHAR, count(*) OVER () FROM {rows} ORDER BY id LIMIT 3"  # noqa: S608 - ours
        ).fetchall()


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _spool(home: Home, done: Checked) -> Iterator[Finding]:
    """Segments that are finished; one that grows is not whole yet."""
    for path in spool.segments(home.spool):
        if not spool.is_finished(path):
            continue
        try:
            damage = [found for found in spool.read(home, path) if isinstance(found, Damage)]
        except FileNotFoundError:  # loaded this moment
            continue
        except OSError as error:
            yield Finding("spool", "error", f"{path} cannot be read: {error.strerror}", "Make it readable.")
            continue
        done.segments += 1
        if damage:
            size = sum(one.length for one in damage)
            problem = f"{size:,} bytes of {path} are damaged ({damage[0].reason})"
            remedy = "`tracecli ingest --once` loads the rest, and keeps these in quarantine."
            yield Finding("spool", "error", problem, remedy)


def _of(found: list[tuple[str, int]]) -> str:
    """So many exchanges, and some of their ids."""
    count = found[0][1]
    return (
        f"{count:,} exchange{'' if count == 1 else 's'} ({', '.join(name for name, _ in found)}{', ...' * (count > 3)})"
    )


def _there(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except FileNotFoundError:
        return []


def _age_s(path: Path) -> float:
    """Of what is gone, none."""
    try:
        return time.time() - path.stat().st_mtime
    except FileNotFoundError:
        return 0


def _first_line(error: Exception, path: Path | None = None) -> str:
    """What went wrong; the path of a snapshot would help nobody."""
    text = (str(error).splitlines() or [type(error).__name__])[0]
    return (text.replace(str(path), path.name) if path else text).rstrip(".")
