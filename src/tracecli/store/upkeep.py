"""What the store holds and takes on the disk, bringing its database up to date, and making it small.

Bytes *passed* are those of requests and answers as they were on the wire. They become less twice: each part is stored
once, however many bodies refer to it (deduplication), and files are compressed.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from pathlib import Path

import duckdb
import msgspec

from tracecli import __version__, spool, working
from tracecli.config import Home
from tracecli.store import bodies, connection, expiry, snapshot
from tracecli.store.connection import MIGRATIONS, opened
from tracecli.store.engine import located, scratchpad, sparing
from tracecli.store.exchanges import HELD


class Info(msgspec.Struct, kw_only=True):
    """What the store is. None: not known, since there is no database or one of another version."""

    path: str
    database: bool
    """Whether there is one."""
    tracecli: str
    duckdb: str
    schema_version: int | None = None
    newest_schema_version: int = len(MIGRATIONS)
    """That this tracecli knows."""
    exchanges: int | None = None
    with_content: int | None = None
    oldest: dt.datetime | None = None
    newest: dt.datetime | None = None
    passed_bytes: int | None = None
    """Of exchanges with content."""
    content_bytes: int = 0
    """Of the files of bodies, parts and texts on the disk."""
    ratio: float | None = None
    """Bytes that passed to bytes on the disk."""
    referred_bytes: int | None = None
    """Of parts, once for each body that refers to one."""
    part_bytes: int | None = None
    """Of parts, each once, before compression."""
    deduplication: float | None = None
    compression: float | None = None
    """Of parts."""
    database_bytes: int = 0
    bodies_bytes: int = 0
    bodies_files: int = 0
    parts_bytes: int = 0
    parts_files: int = 0
    said_bytes: int = 0
    said_files: int = 0
    spool_bytes: int = 0
    spool_files: int = 0
    """Segments, of which some are still written."""
    waiting_segments: int = 0
    """That are finished, and not loaded yet."""
    cache_bytes: int = 0
    quarantine_bytes: int = 0
    quarantine_files: int = 0


def info(home: Home, *, quick: bool = False) -> Info:
    """What the store is; nothing is changed, and there need not be any.

    To tell how much parts save, all of them are read; `quick` leaves that out. Raises StoreBusy or HomeError.
    """
    found = Info(path=str(home.root), database=home.database.exists(), tracecli=__version__, duckdb=duckdb.__version__)
    for name in ("bodies", "parts", "said", "spool", "quarantine"):
        size, files = _size(home.root / name)
        setattr(found, f"{name}_bytes", size)
        setattr(found, f"{name}_files", files)
    found.content_bytes = found.bodies_bytes + found.parts_bytes + found.said_bytes
    found.database_bytes = sum(_bytes(path) for path in snapshot.database_files(home))
    found.cache_bytes = sum(_bytes(home.cache.with_name(home.cache.name + end)) for end in ("", "-wal", "-shm"))
    found.waiting_segments = sum(map(spool.is_finished, spool.segments(home.spool)))
    try:
        found.schema_version = connection.version(home)
    except FileNotFoundError:
        return found
    if found.schema_version != len(MIGRATIONS):
        return found
    _count(home, found)
    if not quick:
        found.referred_bytes = _referred(home)
        found.deduplication = _ratio(found.referred_bytes, found.part_bytes)
    return found


def _count(home: Home, found: Info) -> None:
    with opened(home) as open_:
        [row] = open_.execute(
            f"SELECT count(*), count(*) FILTER ({HELD}), epoch_us(min(started_at)), epoch_us(max(started_at)),"  # noqa: S608
            f" coalesce(sum(request_bytes + response_bytes) FILTER ({HELD}), 0)::BIGINT FROM exchange"
        ).fetchall()
        [(plain, packed)] = open_.execute(
            "SELECT coalesce(sum(part_bytes), 0)::BIGINT, coalesce(sum(bytes), 0)::BIGINT FROM part_file"
        ).fetchall()
    found.exchanges, found.with_content = row[0], row[1]
    found.oldest, found.newest = (None if us is None else _instant(us) for us in row[2:4])
    found.passed_bytes, found.part_bytes = row[4], plain
    found.ratio = _ratio(found.passed_bytes, found.content_bytes)
    found.compression = _ratio(plain, packed)


def _referred(home: Home) -> int:
    """The bytes of parts, each as often as bodies refer to it."""
    with snapshot.taken(home) as still, scratchpad(home) as pad, sparing(pad):
        of_bodies, of_parts = _files(still.home.bodies), _files(still.home.parts)
        if not of_bodies or not of_parts:
            return 0
        pad.execute("CREATE TEMP TABLE referred (id UUID, times BIGINT)")
        pad.execute(
            "INSERT INTO referred SELECT id, count(*) FROM (SELECT unnest(list_concat(request_parts, response_parts))"  # noqa: S608
            f" AS id FROM {bodies.BODIES}) GROUP BY id",
            [of_bodies],
        )
        total = 0
        for path in working.counted(of_parts, len(of_parts), "files"):
            [(size,)] = pad.execute(
                "SELECT coalesce(sum(octet_length(part) * times), 0)::BIGINT FROM read_parquet($1) JOIN referred"
                " USING (id)",
                [path],
            ).fetchall()
            total += size
        return total


def _files(folder: Path) -> list[str]:
    return sorted(located(path) for path in folder.iterdir())


def _ratio(many: int | None, few: int | None) -> float | None:
    return round(many / few, 2) if many and few else None


def _instant(us: int) -> dt.datetime:
    return dt.datetime.fromtimestamp(us / 1_000_000, dt.UTC)


def _bytes(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _size(folder: Path) -> tuple[int, int]:
    """The bytes of the files in a folder, and how many they are; what goes meanwhile is not counted."""
    sizes = list(_sizes(folder))
    return sum(sizes), len(sizes)


def _sizes(folder: Path) -> Iterator[int]:
    try:
        paths = [path for path in folder.iterdir() if not path.name.startswith(".")]
    except FileNotFoundError:
        return
    for path in paths:
        try:
            yield path.stat().st_size
        except FileNotFoundError:
            continue


class Migrated(msgspec.Struct, frozen=True, kw_only=True):
    """From which to which version the database was brought, or would be."""

    database: bool
    """Whether there is one."""
    dry_run: bool
    before: int | None
    after: int | None
    steps: list[str]
    """Names of the migrations."""


def migrate(home: Home, *, dry_run: bool) -> Migrated:
    """Bring the database up to date, if there is one. Raises NewerDatabase, StoreBusy or HomeError."""
    try:
        before = connection.version(home)
    except FileNotFoundError:
        return Migrated(database=False, dry_run=dry_run, before=None, after=None, steps=[])
    connection.refuse_newer(home, before)
    if not dry_run:
        connection.make(home)
    steps = [script.stem for script in MIGRATIONS[before:]]
    return Migrated(database=True, dry_run=dry_run, before=before, after=len(MIGRATIONS), steps=steps)


class Compacted(msgspec.Struct, frozen=True, kw_only=True):
    """Bytes and files of the store before and after."""

    database_bytes_before: int
    database_bytes: int
    content_bytes_before: int
    content_bytes: int
    files_before: int
    files: int


_PAIR = 2


def _stray(home: Home) -> list[str]:
    """Exchanges whose bodies are there though the database says that they are not."""
    with snapshot.taken(home) as still, opened(home) as open_:
        if not (files := _files(still.home.bodies)):
            return []
        found = open_.execute(
            f"SELECT id::VARCHAR FROM read_parquet($1) ANTI JOIN (SELECT id FROM exchange WHERE {HELD}) USING (id)",  # noqa: S608
            [files],
        ).fetchall()
    return [identifier for (identifier,) in found]


def compact(home: Home) -> Compacted | None:
    """Make the store as small as it can be; None if there is no database. Others may read and record meanwhile.

    Only for the one process that ingests, between two rounds. Killed anywhere, the store is whole.
    Raises NewerDatabase, StoreBusy or HomeError.
    """
    if not home.database.exists():
        return None
    home.prepare()
    connection.make(home)
    before = info(home, quick=True)
    bodies.forget(home, _stray(home))  # and orphans, and what no body refers to
    merged = 0
    while more := bodies.merge_small(home, _PAIR):
        working.told(merged := merged + more, None, "files merged")
    working.told(merged, None, "files merged; writing the database anew")
    expiry.write_anew(home)
    after = info(home, quick=True)
    return Compacted(
        database_bytes_before=before.database_bytes,
        database_bytes=after.database_bytes,
        content_bytes_before=before.content_bytes,
        content_bytes=after.content_bytes,
        files_before=before.bodies_files + before.parts_files + before.said_files,
        files=after.bodies_files + after.parts_files + after.said_files,
    )
