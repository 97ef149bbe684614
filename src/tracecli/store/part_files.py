"""Parts in Parquet files: columns id UUID, part BLOB, sorted by id, zstd; the table `part` says which are stored.

A part has an id beside its hash. Ids are in the order in which parts came: what is read together lies together, and the
table `part_file` is enough to find it. Hashes are looked up only when something is stored.
"""

from __future__ import annotations

import hashlib
import itertools
import uuid
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb

from tracecli.config import Home
from tracecli.exchange import new_id
from tracecli.store import parquet
from tracecli.store.connection import opened, transaction

# DuckDB reads 2048 parts to find one of them: a file holds no more bytes than these, unless one part has more.
FILE_BYTES = 8 << 20
# Many small files make each reading slow: so many are merged at once, as long as they are small.
MERGE_FILES = 24
SMALL_BYTES = FILE_BYTES // 4

# What `_hex` gives.
_HASHES = """unhex(unnest(from_json($1, '["VARCHAR"]')))"""


@dataclass(frozen=True)
class PartFile:
    """A written file, the bytes of its parts before compression, and their ids by SHA-256."""

    file: parquet.File
    part_bytes: int
    ids: dict[bytes, str]


def write(
    home: Home, connection: duckdb.DuckDBPyConnection, parts: Sequence[bytes]
) -> tuple[list[str], list[PartFile]]:
    """Write those parts that are not stored yet to new files. Returns the id of each part, and the files.

    `connection` is a scratchpad.
    """
    if not parts:
        return [], []
    hashes = [hashlib.sha256(part).digest() for part in parts]
    content = dict(zip(hashes, parts, strict=True))
    ids = _stored(home, list(content))
    first = uuid.UUID(new_id()).int
    files: list[PartFile] = []
    try:
        for batch in _batches({name: part for name, part in content.items() if name not in ids}):
            new = {name: str(uuid.UUID(int=first + number)) for number, name in enumerate(batch)}
            first += len(new)
            files.append(_write(home, connection, new, list(batch.values())))
            ids |= new
    except BaseException:
        discard(home, files)
        raise
    return [ids[name] for name in hashes], files


def _stored(home: Home, hashes: Sequence[bytes]) -> dict[bytes, str]:
    try:
        with opened(home) as connection:
            found = connection.execute(
                f"SELECT hash, id::VARCHAR FROM part WHERE hash IN (SELECT {_HASHES})",  # noqa: S608 - ours
                [_hex(hashes)],
            )
            return dict(found.fetchall())
    except FileNotFoundError:
        return {}


def _hex(hashes: Iterable[bytes]) -> str:
    """Hashes, for `_HASHES`."""
    return parquet.as_list([name.hex() for name in hashes])


def _batches(content: dict[bytes, bytes]) -> Iterator[dict[bytes, bytes]]:
    """Parts for one file each."""
    batch: dict[bytes, bytes] = {}
    room = FILE_BYTES
    for name, part in content.items():
        if batch and len(part) > room:
            yield batch
            batch, room = {}, FILE_BYTES
        batch[name] = part
        room -= len(part)
    if batch:
        yield batch


def _write(
    home: Home, connection: duckdb.DuckDBPyConnection, ids: dict[bytes, str], parts: Sequence[bytes]
) -> PartFile:
    names = list(ids.values())
    query = """SELECT unnest(from_json($1, '["UUID"]')) AS id, unnest($2::BLOB[]) AS part"""
    given = [parquet.as_list(names), parts]
    file = parquet.write(home, home.parts, connection, query, given, (names[0], names[-1], len(names)))
    return PartFile(file, sum(map(len, parts)), ids)


def add(connection: duckdb.DuckDBPyConnection, written: PartFile) -> None:
    """Make a written file count."""
    _name(connection, written.file, written.part_bytes)
    connection.execute(
        f"""INSERT INTO part SELECT {_HASHES}, unnest(from_json($2, '["UUID"]'))""",
        [_hex(written.ids), parquet.as_list(list(written.ids.values()))],
    )


def _name(connection: duckdb.DuckDBPyConnection, file: parquet.File, part_bytes: int) -> None:
    connection.execute(
        "INSERT INTO part_file VALUES (?, ?::UUID, ?::UUID, ?, ?, ?)",
        [file.name, file.min_id, file.max_id, file.rows, file.bytes, part_bytes],
    )


def discard(home: Home, files: Sequence[PartFile]) -> None:
    """Remove written files that do not count."""
    for one in files:
        (home.parts / one.file.name).unlink(missing_ok=True)


def read(home: Home, ids: Collection[str]) -> dict[str, bytes]:
    """The parts with these ids. Raises FileNotFoundError if one is not there: what refers to it is out of date."""
    if not ids:
        return {}
    wanted = list(ids)
    with opened(home) as connection:
        names = parquet.candidates(connection, "part_file", wanted)
    paths = parquet.paths(home.parts, names)
    found: dict[str, bytes] = {}
    if paths:
        with parquet.scratchpad(home) as connection:
            found = dict(
                parquet.fetched(
                    connection,
                    "SELECT id::VARCHAR, part FROM read_parquet($1) WHERE id IN (SELECT unnest($2::UUID[]))",
                    [paths, wanted],
                )
            )
    if missing := ids - found.keys():
        raise FileNotFoundError(f"{len(missing)} parts")
    return found


def merge_small(home: Home) -> int:
    """Merge small files into one when there are many; returns how many were merged. For the ingest process."""
    with opened(home) as connection:
        small = connection.execute(
            "SELECT name, min_id::VARCHAR, max_id::VARCHAR, rows, part_bytes FROM part_file"
            " WHERE part_bytes < $1 ORDER BY min_id LIMIT $2",
            [SMALL_BYTES, MERGE_FILES],
        ).fetchall()
    if len(small) < MERGE_FILES:
        return 0
    sizes = itertools.accumulate(row[4] for row in small)
    some = [row for row, size in zip(small, sizes, strict=True) if size <= FILE_BYTES]
    names = [row[0] for row in some]
    holds = (min(row[1] for row in some), max(row[2] for row in some), sum(row[3] for row in some))
    merged = parquet.merge(home, home.parts, names, holds)
    with opened(home, write=True) as connection, transaction(connection):
        connection.execute("DELETE FROM part_file WHERE list_contains($1::VARCHAR[], name)", [names])
        _name(connection, merged, sum(row[4] for row in some))
    for name in names:
        (home.parts / name).unlink(missing_ok=True)
    return len(names)


def sweep(home: Home, connection: duckdb.DuckDBPyConnection) -> None:
    """Remove parts that nothing uses; `connection` is a scratchpad with a table `used` of the ids of the others.

    Only for the process that ingests, between two rounds. Killed anywhere, the next sweep does the rest.
    """
    with opened(home) as database:
        names = [name for (name,) in database.execute("SELECT name FROM part_file").fetchall()]
    if not names:
        return
    unused = parquet.fetched(
        connection,
        "SELECT parse_filename(filename), list(id::VARCHAR) FROM read_parquet($1, filename => true)"
        " WHERE id NOT IN (SELECT id FROM used) GROUP BY filename",
        [parquet.paths(home.parts, names)],
    )
    for name, ids in unused:
        left = parquet.without(home, home.parts, connection, name, ids)
        with opened(home, write=True) as database, transaction(database):
            database.execute("DELETE FROM part WHERE id IN (SELECT unnest($1::UUID[]))", [ids])
            database.execute("DELETE FROM part_file WHERE name = $1", [name])
            if left:
                _name(database, left, _part_bytes(connection, home.parts / left.name))
        (home.parts / name).unlink(missing_ok=True)


def _part_bytes(connection: duckdb.DuckDBPyConnection, path: Path) -> int:
    [(size,)] = connection.execute("SELECT sum(octet_length(part)) FROM read_parquet($1)", [str(path)]).fetchall()
    return int(size)
