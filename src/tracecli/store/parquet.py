"""Parquet files of content: written elsewhere, brought to the disk and renamed into their folder.

A file counts once its table names it, with the ids that it holds. It never changes: another takes its place.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import msgspec

from tracecli import access, files, keys
from tracecli.config import PRIVATE_FILE, Home
from tracecli.errors import ConfigError, HomeError
from tracecli.exchange import new_id
from tracecli.store.engine import ENCRYPTED, located, quoted, scratch, scratchpad, sparing

type Holds = tuple[str, str, int]
"""The smallest and the largest id of a file, and how many there are."""


@dataclass(frozen=True)
class File:
    """A written file and the ids it holds."""

    name: str
    min_id: str
    max_id: str
    rows: int
    bytes: int
    sha256: str
    """Of the file as it is on the disk, in hexadecimal."""


def write(
    home: Home,
    folder: Path,
    connection: duckdb.DuckDBPyConnection,
    query: str,
    parameters: Sequence[Any],
    holds: Holds,
) -> File:
    """Write what a query of a scratchpad finds to a new file in `folder`."""
    name = new_name(home)
    draft = home.scratch / name
    how = "(FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE 2048, USE_TMP_FILE false)"
    try:
        connection.execute(f"COPY ({query}) TO '{quoted(draft)}' {how}", parameters)
        size, digest = moved(home, draft, folder)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
    return File(name, *holds, size, digest)


def new_name(home: Home) -> str:
    """For a new file, encrypted if the home is."""
    ring = keys.ring(home)
    return f"{new_id()}.parquet{ENCRYPTED if ring and ring.newest else ''}"


def moved(home: Home, draft: Path, folder: Path) -> tuple[int, str]:
    """Bring a written file to the disk and into its folder; returns how many bytes it has, and their SHA-256."""
    access.share(home, "content", draft)
    with draft.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        os.fsync(file.fileno())
        size = os.fstat(file.fileno()).st_size
    draft.rename(folder / draft.name)
    files.to_disk(folder)
    return size, digest


def merge(home: Home, folder: Path, names: Sequence[str], holds: Holds) -> File:
    """Write what files of `folder` hold to one. Columns that not all of them have are NULL."""
    query = "SELECT * FROM read_parquet($1, union_by_name => true) ORDER BY id"
    with scratchpad(home) as connection, sparing(connection):
        return write(home, folder, connection, query, [paths(folder, names)], holds)


def without(
    home: Home, folder: Path, connection: duckdb.DuckDBPyConnection, name: str, ids: Sequence[str]
) -> File | None:
    """Write what a file of `folder` holds beside some ids to another; None if that is nothing."""
    query = "SELECT * FROM read_parquet($1) WHERE id NOT IN (SELECT unnest($2::UUID[])) ORDER BY id"
    parameters = [located(folder / name), ids]
    [holds] = connection.execute(
        f"SELECT min(id)::VARCHAR, max(id)::VARCHAR, count(*) FROM ({query})",  # noqa: S608 - text of ours only
        parameters,
    ).fetchall()
    return write(home, folder, connection, query, parameters, holds) if holds[2] else None


def export(home: Home, lines: Iterable[str], path: Path, columns: Sequence[tuple[str, str]] = ()) -> None:
    """Write JSON lines to a Parquet file of the reader's, whole or not at all. Raises OSError.

    `columns` are names and DuckDB types; without them, the lines decide on them.
    """
    rows = scratch(home) / f"{new_id()}.rows"
    longest = 0
    try:
        with open(rows, "xb", opener=_private) as file:
            for line in lines:
                longest = max(longest, file.write(line.encode()))
        with files.drafted(path) as draft, scratchpad(home) as connection, sparing(connection):
            how = "FORMAT parquet, COMPRESSION zstd, USE_TMP_FILE false"  # another would be readable by others
            if columns:
                how += ", ROW_GROUP_SIZE 2048"  # rows of content are large, and a group of them is kept in memory
                source = f"FROM {_read(rows, longest)}, columns = {_struct(columns)})"
            else:
                source = _typed(connection, rows, longest) if longest else "SELECT NULL AS nothing WHERE false"
            connection.execute(f"COPY ({source}) TO '{quoted(draft)}' ({how})")
    finally:
        rows.unlink(missing_ok=True)


_BY_NAME = {"usd": "DECIMAL(28, 15)", "at": "TIMESTAMPTZ", "ms": "DOUBLE", "tokens": "BIGINT", "bytes": "BIGINT"}
_TEXTS = ("DATE", "TIME", "TIMESTAMP", "UUID", "JSON")
"""Types that DuckDB takes texts for."""


def _typed(connection: duckdb.DuckDBPyConnection, path: Path, longest: int) -> str:
    """A query of JSON lines: texts stay texts, but money, which is told as text to stay exact, and moments.

    What a name says of its column holds also where no line has a value.
    """
    read = _read(path, longest)
    found = connection.execute(f"DESCRIBE FROM {read}, sample_size = -1)").fetchall()
    kinds = {name: "VARCHAR" if kind in _TEXTS else kind.replace("JSON", "VARCHAR") for name, kind, *_ in found}
    columns = []
    for name, kind in kinds.items():
        column = '"' + name.replace('"', '""') + '"'
        wanted = _BY_NAME.get(name.rpartition("_")[2])
        columns.append(f"TRY_CAST({column} AS {wanted}) AS {column}" if wanted and kind == "VARCHAR" else column)
    given = _struct(kinds.items())
    return f"SELECT {', '.join(columns)} FROM {read}, columns = {given})"  # noqa: S608 - names are quoted


def _read(path: Path, longest: int) -> str:
    """The beginning of a call that reads JSON lines."""
    return f"read_json('{quoted(path)}', format = 'newline_delimited', maximum_object_size = {max(longest, 1 << 20)}"


def _struct(columns: Iterable[tuple[str, str]]) -> str:
    return "{" + ", ".join(f"{_text(name)}: {_text(kind)}" for name, kind in columns) + "}"


_SLICE_BYTES = 64 << 20
"""What is read at a time: DuckDB keeps all that a query finds in memory."""


def rows(home: Home, path: Path) -> Iterator[str]:
    """The rows of a Parquet file of anybody's, as JSON objects.

    Raises ConfigError if it is none, if it is damaged, or if 2,048 rows, which DuckDB reads at a time, are too large.
    """
    if not home.foreign:
        home.prepare()
    place = re.sub(r"([*?\[])", r"[\1]", str(path.absolute()))  # DuckDB takes these for patterns
    query = (
        "SELECT to_json(one)::VARCHAR FROM (SELECT * EXCLUDE (file_row_number)"
        " FROM read_parquet($1, file_row_number => true) WHERE file_row_number BETWEEN $2 AND $3) AS one"
    )
    with scratchpad(home) as connection, sparing(connection):
        try:
            sizes = "SELECT sum(total_uncompressed_size)::BIGINT FROM parquet_metadata($1)"
            [(size,)] = connection.execute(sizes, [place]).fetchall()
            [(number,)] = connection.execute("SELECT count(*) FROM read_parquet($1)", [place]).fetchall()
            step = max(_SLICE_BYTES * number // max(size or 0, 1), 1)
            for first in range(0, number, step):
                found = connection.execute(query, [place, first, first + step - 1])
                while row := found.fetchone():
                    yield row[0]
        except duckdb.OutOfMemoryException as error:
            raise ConfigError(f"the rows of {path} are too large to be read", "Write it as JSON Lines.") from error
        except duckdb.Error as error:
            raise ConfigError(f"cannot read {path}", "It has to be a whole Parquet file.") from error


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CLOEXEC, PRIVATE_FILE)


def as_list(values: Sequence[Any]) -> str:
    """Values for `from_json`: DuckDB takes a long list faster as JSON than from Python."""
    return msgspec.json.encode(values).decode()


def candidates(connection: duckdb.DuckDBPyConnection, table: str, ids: Sequence[str]) -> list[str]:
    """The files that may hold some ids, from the table of the database that names them."""
    found = connection.execute(
        f"SELECT DISTINCT name FROM {table} JOIN (SELECT unnest($1::UUID[]) AS id) AS wanted"  # noqa: S608 - ours
        " ON wanted.id BETWEEN min_id AND max_id",
        [list(ids)],
    )
    return [name for (name,) in found.fetchall()]


def paths(folder: Path, names: Sequence[str]) -> list[str]:
    """The files of these names, of a folder of content.

    Raises FileNotFoundError if one is gone: another took its place; NotYours if this process may not read them.
    """
    if names and not access.sees_content(home := Home(folder.parent)):
        raise access.no_content(home)
    found = [folder / name for name in names]
    for path in found:
        if not path.exists():
            raise FileNotFoundError(path)
    return [located(path) for path in found]


def fetched(connection: duckdb.DuckDBPyConnection, query: str, parameters: Sequence[Any]) -> list[tuple[Any, ...]]:
    """What a query over files finds. Raises FileNotFoundError if one is gone: another took its place."""
    try:
        return connection.execute(query, parameters).fetchall()
    except duckdb.IOException as error:
        if "Permission denied" in str(error):
            raise HomeError(
                "a file of content is not open to you", "Its owner opens it: `tracecli doctor` tells him how."
            ) from error
        raise FileNotFoundError(str(error)) from error
