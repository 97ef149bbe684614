"""Parts in Parquet files: columns id UUID, part BLOB, sorted by id, zstd; the table `part` says which are stored.

A part has an id beside its hash: hashes are looked up only when something is stored.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

import duckdb

from tracecli.config import Home
from tracecli.store import parquet, pools
from tracecli.store.connection import opened
from tracecli.store.engine import scratchpad

PARTS = pools.Pool(lambda home: home.parts, "part_file", "part_bytes", size="octet_length(part)", hashes="part")

# What `_hex` gives.
_HASHES = """unhex(unnest(from_json($1, '["VARCHAR"]')))"""


@dataclass(frozen=True)
class PartFile:
    """A written file, and the ids of its parts by SHA-256."""

    written: pools.PoolFile
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
    new_ids = pools.new_ids()
    files: list[PartFile] = []
    try:
        new = [(name, part) for name, part in content.items() if name not in ids]
        for batch in pools.in_batches(new, lambda one: len(one[1])):
            named = dict(zip((name for name, _ in batch), new_ids, strict=False))
            files.append(_write(home, connection, named, [part for _, part in batch]))
            ids |= named
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


def _write(
    home: Home, connection: duckdb.DuckDBPyConnection, ids: dict[bytes, str], parts: Sequence[bytes]
) -> PartFile:
    names = list(ids.values())
    query = """SELECT unnest(from_json($1, '["UUID"]')) AS id, unnest($2::BLOB[]) AS part"""
    given = [parquet.as_list(names), parts]
    holds = (names[0], names[-1], len(names))
    return PartFile(pools.write(home, PARTS, connection, query, given, holds, sum(map(len, parts))), ids)


def add(connection: duckdb.DuckDBPyConnection, written: PartFile) -> None:
    """Make a written file count."""
    pools.add(connection, PARTS, written.written)
    connection.execute(
        f"""INSERT INTO part SELECT {_HASHES}, unnest(from_json($2, '["UUID"]'))""",
        [_hex(written.ids), parquet.as_list(list(written.ids.values()))],
    )


def discard(home: Home, files: Sequence[PartFile]) -> None:
    """Remove written files that do not count."""
    pools.discard(home, PARTS, [one.written for one in files])


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
        with scratchpad(home) as connection:
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
