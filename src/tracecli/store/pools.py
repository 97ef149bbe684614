"""Pools: Parquet files of what bodies refer to by id, sorted by id, and the table of the database that names them.

Ids are UUIDv7 in the order in which things came: what is read together lies together, and the smallest and the largest
id of each file are enough to find one. What no body refers to any more is swept out.
"""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb

from tracecli.config import Home
from tracecli.exchange import new_id
from tracecli.store import parquet
from tracecli.store.connection import opened, transaction
from tracecli.store.engine import located

# DuckDB reads 2048 rows to find one of them: a file holds no more bytes than these, unless one row has more.
FILE_BYTES = 8 << 20
# Many small files make each reading slow: so many are merged at once, as long as they are small.
MERGE_FILES = 24
SMALL_BYTES = FILE_BYTES // 4


@dataclass(frozen=True)
class Pool:
    """A folder of the home, and the table that names its files: those of a `parquet.File`, and bytes as they were."""

    folder: Callable[[Home], Path]
    table: str
    plain_bytes: str
    """The column of the bytes before compression."""
    size: str
    """SQL of those of one row of a file."""
    hashes: str | None = None
    """The table of what is stored, by hash."""


@dataclass(frozen=True)
class PoolFile:
    """A written file, and the bytes that it holds before compression."""

    file: parquet.File
    plain_bytes: int


def in_batches[T](things: Sequence[T], size: Callable[[T], int]) -> Iterator[list[T]]:
    """Things for one file each."""
    batch: list[T] = []
    room = FILE_BYTES
    for thing in things:
        if batch and size(thing) > room:
            yield batch
            batch, room = [], FILE_BYTES
        batch.append(thing)
        room -= size(thing)
    if batch:
        yield batch


def new_ids() -> Iterator[str]:
    """Ids one after the other."""
    first = uuid.UUID(new_id()).int
    return (str(uuid.UUID(int=first + number)) for number in itertools.count())


def write(
    home: Home,
    pool: Pool,
    connection: duckdb.DuckDBPyConnection,
    query: str,
    given: Sequence[Any],
    holds: parquet.Holds,
    plain_bytes: int,
) -> PoolFile:
    """Write what a query of a scratchpad finds, which must be sorted by id; it counts when `add` has named it."""
    return PoolFile(parquet.write(home, pool.folder(home), connection, query, given, holds), plain_bytes)


def add(connection: duckdb.DuckDBPyConnection, pool: Pool, written: PoolFile) -> None:
    """Make a written file count."""
    file = written.file
    connection.execute(
        f"INSERT INTO {pool.table} VALUES (?, ?::UUID, ?::UUID, ?, ?, ?, ?)",  # noqa: S608 - ours
        [file.name, file.min_id, file.max_id, file.rows, file.bytes, written.plain_bytes, file.sha256],
    )


def discard(home: Home, pool: Pool, files: Sequence[PoolFile]) -> None:
    """Remove written files that do not count."""
    for one in files:
        (pool.folder(home) / one.file.name).unlink(missing_ok=True)


def merge_small(home: Home, pool: Pool, many: int | None = None) -> int:
    """Merge small files into one when there are `many` (None: MERGE_FILES); returns how many were.

    For the ingest process.
    """
    with opened(home) as connection:
        small = connection.execute(
            f"SELECT name, min_id::VARCHAR, max_id::VARCHAR, rows, {pool.plain_bytes} FROM {pool.table}"  # noqa: S608 - ours
            f" WHERE {pool.plain_bytes} < $1 ORDER BY min_id LIMIT $2",
            [SMALL_BYTES, MERGE_FILES],
        ).fetchall()
    if len(small) < (many or MERGE_FILES):
        return 0
    sizes = itertools.accumulate(row[4] for row in small)
    some = [row for row, size in zip(small, sizes, strict=True) if size <= FILE_BYTES]
    names = [row[0] for row in some]
    holds = (min(row[1] for row in some), max(row[2] for row in some), sum(row[3] for row in some))
    merged = PoolFile(parquet.merge(home, pool.folder(home), names, holds), sum(row[4] for row in some))
    with opened(home, write=True) as connection, transaction(connection):
        connection.execute(
            f"DELETE FROM {pool.table} WHERE list_contains($1::VARCHAR[], name)",  # noqa: S608 - ours
            [names],
        )
        add(connection, pool, merged)
    for name in names:
        (pool.folder(home) / name).unlink(missing_ok=True)
    return len(names)


def sweep(home: Home, pool: Pool, connection: duckdb.DuckDBPyConnection, used: str) -> None:
    """Remove what nothing uses; `connection` is a scratchpad with a table of that name of the ids of the rest.

    Only for the process that ingests, between two rounds. Killed anywhere, the next sweep does the rest.
    """
    with opened(home) as database:
        names = [name for (name,) in database.execute(f"SELECT name FROM {pool.table}").fetchall()]  # noqa: S608 - ours
    if not names:
        return
    folder = pool.folder(home)
    unused = parquet.fetched(
        connection,
        "SELECT parse_filename(filename), list(id::VARCHAR) FROM read_parquet($1, filename => true)"  # noqa: S608 - ours
        f" WHERE id NOT IN (SELECT id FROM {used}) GROUP BY filename",
        [parquet.paths(folder, names)],
    )
    for name, ids in unused:
        left = parquet.without(home, folder, connection, name, ids)
        with opened(home, write=True) as database, transaction(database):
            if pool.hashes:
                database.execute(f"DELETE FROM {pool.hashes} WHERE id IN (SELECT unnest($1::UUID[]))", [ids])  # noqa: S608
            database.execute(f"DELETE FROM {pool.table} WHERE name = $1", [name])  # noqa: S608 - ours
            if left:
                add(database, pool, PoolFile(left, _plain_bytes(connection, pool, folder / left.name)))
        (folder / name).unlink(missing_ok=True)


def _plain_bytes(connection: duckdb.DuckDBPyConnection, pool: Pool, path: Path) -> int:
    [(size,)] = connection.execute(
        f"SELECT sum({pool.size}) FROM read_parquet($1)",  # noqa: S608 - ours
        [located(path)],
    ).fetchall()
    return int(size)
