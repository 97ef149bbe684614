"""Bodies in Parquet files, sorted by id, zstd; their large parts are stored once, in files of their own.

Columns id UUID, request_body BLOB, request_parts UUID[], request_at BIGINT[], and the same of the response: the body is
`request_body` with each of the parts at its offset (`parts.split`). Beside them is what was said (`said_files`). Files
of older versions have the bodies whole, and fewer columns.

A file is written elsewhere, brought to the disk and renamed into its folder; it counts once the table `body_file`, or
`part_file` or `said_file`, names it. A file that no table names was left by a crash, and holds content: ingest removes
it.
"""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import duckdb

from tracecli.config import Home
from tracecli.contents import Piece, Side
from tracecli.errors import HomeError
from tracecli.exchange import Captured, new_id
from tracecli.store import parquet, part_files, pools, said_files
from tracecli.store.connection import opened, transaction
from tracecli.store.engine import ENCRYPTED, left_over, scratchpad, sparing
from tracecli.store.parts import Split, join, split

# Many small files make each reading slow: so many are merged at once, as long as they are small. They are sorted in
# memory, and may be ten times as large there as in what they are merged to.
MERGE_FILES = 24
FILE_BYTES = 16 << 20
SMALL_BYTES = FILE_BYTES // 4

# The rows of a new file.
_GIVEN = """
    SELECT unnest(from_json($1, '["UUID"]')) AS id,
        unnest($2::BLOB[]) AS request_body,
        unnest(from_json($3, '[["UUID"]]')) AS request_parts,
        unnest(from_json($4, '[["BIGINT"]]')) AS request_at,
        unnest($5::BLOB[]) AS response_body,
        unnest(from_json($6, '[["UUID"]]')) AS response_parts,
        unnest(from_json($7, '[["BIGINT"]]')) AS response_at,
        unnest(from_json($8, '[["UUID"]]')) AS prompt_said,
        unnest(from_json($9, '[["INTEGER"]]')) AS prompt_message,
        unnest(from_json($10, '[["UUID"]]')) AS completion_said,
        unnest(from_json($11, '[["INTEGER"]]')) AS completion_message
"""
# The rows of files, also of older versions.
BODIES = """(
    SELECT * FROM read_parquet($1, union_by_name => true)
    UNION ALL BY NAME SELECT NULL::UUID[] AS request_parts, NULL::BIGINT[] AS request_at,
        NULL::UUID[] AS response_parts, NULL::BIGINT[] AS response_at,
        NULL::UUID[] AS prompt_said, NULL::INTEGER[] AS prompt_message,
        NULL::UUID[] AS completion_said, NULL::INTEGER[] AS completion_message WHERE false
)"""
_SIDES = "request_body, request_at, request_parts::VARCHAR[], response_body, response_at, response_parts::VARCHAR[]"


@dataclass(frozen=True)
class Written:
    """The files of a round: of bodies, and of parts and texts that they are the first to hold."""

    bodies: parquet.File
    parts: list[part_files.PartFile]
    said: said_files.Written


def write(
    home: Home, captured: Sequence[Captured], said: Mapping[str, Sequence[Piece]], known: said_files.Known
) -> Written | None:
    """Write the bodies of traced exchanges to new files, and what was said by their ids; None if there are none.

    Only for the one process that ingests: what it finds stored must stay until `add`.
    """
    traced = sorted((one for one in captured if one.exchange.traced), key=lambda one: one.exchange.id)
    if not traced:
        return None
    ids = [one.exchange.id for one in traced]
    requests = [split(one.request_body) for one in traced]
    responses = [split(one.response_body) for one in traced]
    pieces = [said.get(identifier, ()) for identifier in ids]
    with scratchpad(home) as connection, sparing(connection):
        parts = [part for one in (*requests, *responses) for part in one.parts]
        part_ids, written = part_files.write(home, connection, parts)
        names = iter(part_ids)
        columns = [parquet.as_list(ids), *_columns(requests, names), *_columns(responses, names)]
        texts: list[pools.PoolFile] = []
        try:
            spoken = said_files.write(home, connection, pieces, known)
            texts = spoken.files
            columns += [*_said(pieces, spoken.ids, "prompt"), *_said(pieces, spoken.ids, "completion")]
            file = parquet.write(home, home.bodies, connection, _GIVEN, columns, (ids[0], ids[-1], len(ids)))
        except BaseException:
            part_files.discard(home, written)
            pools.discard(home, said_files.SAID, texts)
            raise
    return Written(file, written, spoken)


def _said(pieces: Sequence[Sequence[Piece]], ids: Sequence[Sequence[str]], side: Side) -> list[Any]:
    """The columns of what was said on a side: ids, and places of messages."""
    chosen = [
        [(name, piece.message) for piece, name in zip(some, names, strict=True) if piece.side == side]
        for some, names in zip(pieces, ids, strict=True)
    ]
    unknown = said_files.NOT_UNDERSTOOD
    places = [[unknown if message is None else message for _, message in row] for row in chosen]
    return [parquet.as_list([[name for name, _ in row] for row in chosen]), parquet.as_list(places)]


def _columns(bodies: Sequence[Split], names: Iterator[str]) -> list[Any]:
    """The columns of one side, whose parts have the next of these names."""
    return [
        [one.rest for one in bodies],
        parquet.as_list([list(itertools.islice(names, len(one.parts))) for one in bodies]),
        parquet.as_list([one.places for one in bodies]),
    ]


def add(connection: duckdb.DuckDBPyConnection, written: Written) -> None:
    """Make written files count."""
    _name(connection, written.bodies)
    for file in written.parts:
        part_files.add(connection, file)
    for texts in written.said.files:
        pools.add(connection, said_files.SAID, texts)


def _name(connection: duckdb.DuckDBPyConnection, file: parquet.File) -> None:
    connection.execute(
        "INSERT INTO body_file VALUES (?, ?::UUID, ?::UUID, ?, ?, ?)",
        [file.name, file.min_id, file.max_id, file.rows, file.bytes, file.sha256],
    )


def discard(home: Home, written: Written) -> None:
    """Remove written files that do not count."""
    (home.bodies / written.bodies.name).unlink(missing_ok=True)
    part_files.discard(home, written.parts)
    pools.discard(home, said_files.SAID, written.said.files)


def candidates(connection: duckdb.DuckDBPyConnection, ids: Sequence[str]) -> list[str]:
    """The files that may hold the bodies of exchanges."""
    return parquet.candidates(connection, "body_file", ids)


def read(home: Home, names: Sequence[str], ids: Sequence[str]) -> dict[str, tuple[bytes, bytes]]:
    """The two bodies of each exchange that one of the files holds.

    Raises FileNotFoundError if a file or a part is gone: it was merged or forgotten, ask for the candidates again.
    """
    paths = parquet.paths(home.bodies, names)
    if not paths:
        return {}
    with scratchpad(home) as connection:
        found = parquet.fetched(
            connection,
            f"SELECT id::VARCHAR, {_SIDES} FROM {BODIES}"  # noqa: S608 - text of ours only
            " WHERE id BETWEEN $3::UUID AND $4::UUID AND list_contains($2::UUID[], id)",
            [paths, list(ids), min(ids), max(ids)],
        )
    parts = part_files.read(home, {name for row in found for name in (*(row[3] or ()), *(row[6] or ()))})

    def body(rest: bytes, places: list[int] | None, names: list[str] | None) -> bytes:
        return join(rest, places or [], [parts[name] for name in names or ()])

    return {row[0]: (body(*row[1:4]), body(*row[4:7])) for row in found}


def replace(
    home: Home,
    captured: Sequence[Captured],
    said: Mapping[str, Sequence[Piece]],
    rows: Callable[[duckdb.DuckDBPyConnection], None],
) -> None:
    """Put other bodies in the place of those that are stored, and in the same moment what `rows` writes.

    Only for the one process that ingests, between two rounds; `forget` removes what nothing has any more afterwards.
    """
    ids = [one.exchange.id for one in captured]
    with opened(home) as connection:
        names = candidates(connection, ids)
    with scratchpad(home) as connection:
        found = parquet.fetched(
            connection,
            "SELECT parse_filename(filename), list(id::VARCHAR) FROM read_parquet($1, filename => true)"
            " WHERE id IN (SELECT unnest($2::UUID[])) GROUP BY filename",
            [parquet.paths(home.bodies, names), ids],
        )
        left = [parquet.without(home, home.bodies, connection, name, some) for name, some in found]
    written = write(home, captured, said, said_files.Known())
    old = [name for name, _ in found]
    with opened(home, write=True) as connection, transaction(connection):
        connection.execute("DELETE FROM body_file WHERE list_contains($1::VARCHAR[], name)", [old])
        for file in left:
            if file:
                _name(connection, file)
        if written is not None:
            add(connection, written)
        rows(connection)
    for name in old:
        (home.bodies / name).unlink(missing_ok=True)


def merge_small(home: Home, many: int | None = None) -> int:
    """Merge small files into one when there are `many` (None: MERGE_FILES); returns how many were.

    For the ingest process.
    """
    with opened(home) as connection:
        small = connection.execute(
            "SELECT name, min_id::VARCHAR, max_id::VARCHAR, rows, bytes FROM body_file"
            " WHERE bytes < $1 ORDER BY min_id LIMIT $2",
            [SMALL_BYTES, MERGE_FILES],
        ).fetchall()
    merged = pools.merge_small(home, part_files.PARTS, many) + pools.merge_small(home, said_files.SAID, many)
    if len(small) < (many or MERGE_FILES):
        return merged
    sizes = itertools.accumulate(row[4] for row in small)
    some = [row for row, size in zip(small, sizes, strict=True) if size <= FILE_BYTES]
    names = [row[0] for row in some]
    holds = (min(row[1] for row in some), max(row[2] for row in some), sum(row[3] for row in some))
    file = parquet.merge(home, home.bodies, names, holds)
    _replace(home, names, file)
    return merged + len(names)


def _replace(home: Home, names: Sequence[str], file: parquet.File | None) -> None:
    """Put a file in the place of others."""
    with opened(home, write=True) as connection, transaction(connection):
        connection.execute("DELETE FROM body_file WHERE list_contains($1::VARCHAR[], name)", [names])
        if file:
            _name(connection, file)
    for name in names:
        (home.bodies / name).unlink(missing_ok=True)


def forget(home: Home, ids: Sequence[str]) -> int:
    """Remove the bodies of exchanges from the disk, and the parts that no other body has; returns the bytes freed.

    Only for the one process that ingests, between two rounds. Readers find the other bodies all the time. Killed
    anywhere, it has forgotten some; the next one does the rest, also if it is given no ids.
    Raises HomeError if a file that the database names is gone, and what `opened` raises.
    """
    if not home.database.exists():
        return 0
    home.prepare()
    before = _bytes(home)
    try:
        with scratchpad(home) as connection:
            if ids:
                _forget_bodies(home, connection, ids)
            _note_used(home, connection)
            pools.sweep(home, part_files.PARTS, connection, "used")
            pools.sweep(home, said_files.SAID, connection, "heard")
    except FileNotFoundError as error:
        raise HomeError(
            f"a file that the database names is gone ({error})", "Bring it back from a backup, if there is one."
        ) from error
    remove_orphans(home)
    return before - _bytes(home)


def _forget_bodies(home: Home, connection: duckdb.DuckDBPyConnection, ids: Sequence[str]) -> None:
    with opened(home) as database:
        names = candidates(database, ids)
    if not names:
        return
    held = parquet.fetched(
        connection,
        "SELECT parse_filename(filename), list(id::VARCHAR) FROM read_parquet($1, filename => true)"
        " WHERE id IN (SELECT unnest($2::UUID[])) GROUP BY filename",
        [parquet.paths(home.bodies, names), list(ids)],
    )
    for name, some in held:
        left = parquet.without(home, home.bodies, connection, name, some)
        _replace(home, [name], left)


def _note_used(home: Home, connection: duckdb.DuckDBPyConnection) -> None:
    """Make the tables `used` and `heard` of the parts and the texts that bodies have."""
    with opened(home) as database:
        names = [name for (name,) in database.execute("SELECT name FROM body_file").fetchall()]
    connection.execute("CREATE TEMP TABLE used (id UUID); CREATE TEMP TABLE heard (id UUID)")
    if paths := parquet.paths(home.bodies, names):
        for table, one, other in (
            ("used", "request_parts", "response_parts"),
            ("heard", "prompt_said", "completion_said"),
        ):
            parquet.fetched(
                connection,
                f"INSERT INTO {table} SELECT DISTINCT unnest(list_concat({one}, {other})) FROM {BODIES}",  # noqa: S608 - ours
                [paths],
            )


def _bytes(home: Home) -> int:
    return sum(path.stat().st_size for folder in (home.bodies, home.parts, home.said) for path in folder.iterdir())


def remove_orphans(home: Home) -> int:
    """Remove files that a crash left behind; returns how many. Only for the one process that ingests.

    Without a database nothing says what is an orphan: what a database that was moved away named is set aside.
    """
    folders = {home.bodies: "body_file", home.parts: "part_file", home.said: "said_file"}
    orphans = [
        path for path in home.scratch.iterdir() if path.suffix in (".parquet", ENCRYPTED, ".rows") or left_over(path)
    ]
    try:
        with opened(home) as connection:
            for folder, table in folders.items():
                named = {name for (name,) in connection.execute(f"SELECT name FROM {table}").fetchall()}  # noqa: S608
                orphans += [path for path in folder.iterdir() if path.name not in named]
    except FileNotFoundError:
        for folder in folders:
            if any(folder.iterdir()):
                folder.rename(home.quarantine / f"{folder.name}-{new_id()}")
        home.prepare()
    for path in orphans:
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
    return len(orphans)
