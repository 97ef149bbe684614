"""Bodies in Parquet files: columns id UUID, request_body BLOB, response_body BLOB, sorted by id, zstd.

A file is written elsewhere, brought to the disk and renamed into `bodies/`; it counts once the table `body_file` names
it. A file that the table does not name was left by a crash, and holds content: ingest removes it.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb

from tracecli.config import PRIVATE_FILE, Home
from tracecli.exchange import Captured, new_id
from tracecli.store.connection import opened, transaction, without_pandas

# Many small files make each reading slow: so many are merged at once, as long as they are small.
MERGE_FILES = 24
SMALL_BYTES = 32 << 20


@dataclass(frozen=True)
class BodyFile:
    """A written file and the ids it holds."""

    name: str
    min_id: str
    max_id: str
    rows: int
    bytes: int


def write(home: Home, captured: Sequence[Captured]) -> BodyFile | None:
    """Write the bodies of traced exchanges to a new file; None if there are none."""
    traced = sorted((one for one in captured if one.exchange.traced), key=lambda one: one.exchange.id)
    if not traced:
        return None
    ids = [one.exchange.id for one in traced]
    columns: list[list[str] | list[bytes]] = [
        ids,
        [one.request_body for one in traced],
        [one.response_body for one in traced],
    ]
    with _writer() as connection:
        return _copy(
            home,
            connection,
            "SELECT unnest($1::UUID[]) AS id, unnest($2::BLOB[]) AS request_body, unnest($3::BLOB[]) AS response_body",
            columns,
            (ids[0], ids[-1], len(ids)),
        )


@contextlib.contextmanager
def _writer() -> Iterator[duckdb.DuckDBPyConnection]:
    connection = duckdb.connect(":memory:", config={"autoinstall_known_extensions": False, "memory_limit": "1GB"})
    try:
        with without_pandas():
            yield connection
    finally:
        connection.close()


def _copy(
    home: Home,
    connection: duckdb.DuckDBPyConnection,
    query: str,
    parameters: Sequence[Sequence[str | bytes]],
    holds: tuple[str, str, int],
) -> BodyFile:
    name = f"{new_id()}.parquet"
    draft = home.scratch / name
    try:
        connection.execute(
            f"COPY ({query}) TO '{_quoted(draft)}' (FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE 2048)", parameters
        )
        draft.chmod(PRIVATE_FILE)
        size = _to_disk(draft)
        draft.rename(home.bodies / name)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
    _folder_to_disk(home.bodies)
    return BodyFile(name, *holds, size)


def _quoted(path: Path) -> str:
    return str(path).replace("'", "''")


def _to_disk(path: Path) -> int:
    with path.open("rb") as file:
        os.fsync(file.fileno())
        return os.fstat(file.fileno()).st_size


def _folder_to_disk(folder: Path) -> None:
    file = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(file)
    finally:
        os.close(file)


def add_body_file(connection: duckdb.DuckDBPyConnection, file: BodyFile) -> None:
    """Make a written file count."""
    connection.execute(
        "INSERT INTO body_file VALUES (?, ?::UUID, ?::UUID, ?, ?)",
        [file.name, file.min_id, file.max_id, file.rows, file.bytes],
    )


def candidates(connection: duckdb.DuckDBPyConnection, ids: Sequence[str]) -> list[str]:
    """The files that may hold the bodies of exchanges."""
    found = connection.execute(
        "SELECT name FROM body_file WHERE min_id <= $2::UUID AND max_id >= $1::UUID", [min(ids), max(ids)]
    )
    return [name for (name,) in found.fetchall()]


def read(home: Home, names: Sequence[str], ids: Sequence[str]) -> dict[str, tuple[bytes, bytes]]:
    """The two bodies of each exchange that one of the files holds.

    Raises FileNotFoundError if a file is gone: it was merged into another, ask for the candidates again.
    """
    paths = [home.bodies / name for name in names]
    for path in paths:
        if not path.exists():
            raise FileNotFoundError(path)
    if not paths:
        return {}
    with _writer() as connection:
        try:
            found = connection.execute(
                "SELECT id::VARCHAR, request_body, response_body FROM read_parquet($1)"
                " WHERE id BETWEEN $3::UUID AND $4::UUID AND list_contains($2::UUID[], id)",
                [[str(path) for path in paths], list(ids), min(ids), max(ids)],
            ).fetchall()
        except duckdb.IOException as error:
            raise FileNotFoundError(str(error)) from error
    return {identifier: (request, response) for identifier, request, response in found}


def merge_small(home: Home) -> int:
    """Merge the small files into one when there are many; returns how many were merged. For the ingest process."""
    with opened(home) as connection:
        small = connection.execute(
            "SELECT name, min_id::VARCHAR, max_id::VARCHAR, rows FROM body_file"
            " WHERE bytes < $1 ORDER BY min_id LIMIT $2",
            [SMALL_BYTES, MERGE_FILES],
        ).fetchall()
    if len(small) < MERGE_FILES:
        return 0
    names = [name for name, *_ in small]
    holds = (min(row[1] for row in small), max(row[2] for row in small), sum(row[3] for row in small))
    with _writer() as connection:
        merged = _copy(
            home,
            connection,
            "SELECT * FROM read_parquet($1) ORDER BY id",
            [[str(home.bodies / name) for name in names]],
            holds,
        )
    with opened(home, write=True) as connection, transaction(connection):
        connection.execute("DELETE FROM body_file WHERE list_contains($1::VARCHAR[], name)", [names])
        add_body_file(connection, merged)
    for name in names:
        (home.bodies / name).unlink(missing_ok=True)
    return len(names)


def remove_orphans(home: Home) -> int:
    """Remove files that a crash left behind; returns how many. Only for the one process that ingests.

    Without a database nothing says what is an orphan: the bodies of a database that was moved away are set aside.
    """
    try:
        with opened(home) as connection:
            named = {name for (name,) in connection.execute("SELECT name FROM body_file").fetchall()}
    except FileNotFoundError:
        if any(home.bodies.iterdir()):
            home.bodies.rename(home.quarantine / f"bodies-{new_id()}")
            home.prepare()
        named = set()
    orphans = [path for path in home.bodies.iterdir() if path.name not in named]
    orphans += [path for path in home.scratch.iterdir() if path.suffix == ".parquet"]
    for path in orphans:
        path.unlink(missing_ok=True)
    return len(orphans)
