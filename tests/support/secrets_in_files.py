"""Looking for text in everything that a home holds, compressed or not."""

from __future__ import annotations

import contextlib
import json
import random
import time
from collections.abc import Iterator
from pathlib import Path

import duckdb


def files_with(folder: Path, needle: str) -> list[str]:
    """The files below `folder` that hold `needle`: as bytes, in a column of the database, or in a Parquet file.

    A file that goes while it is looked for has become another: then all is looked through again.
    """
    wanted = needle.encode()
    for _ in range(50):
        with contextlib.suppress(FileNotFoundError):
            return sorted({name for name, content in _contents(folder) if wanted in content})
    raise AssertionError(f"{folder} never came to rest")


def _contents(folder: Path) -> Iterator[tuple[str, bytes]]:
    # What moves, moves from the spool to the bodies: looked for in this order, it is met at least once.
    for path in sorted(folder.rglob("*"), key=lambda path: ("spool" not in path.parts, path)):
        name = str(path.relative_to(folder))
        yield name, name.encode()
        if not path.is_file():
            continue
        yield name, path.read_bytes()
        if path.suffix == ".parquet":
            yield name, _parquet(path)
        elif path.suffix == ".duckdb":
            yield name, _database(path)


def _parquet(path: Path) -> bytes:
    with duckdb.connect() as connection:
        try:
            found = connection.execute("SELECT * FROM read_parquet(?)", [str(path)]).fetchall()
        except duckdb.IOException as error:
            raise FileNotFoundError(path) from error
    return b"\n".join(value if isinstance(value, bytes) else str(value).encode() for row in found for value in row)


def _database(path: Path) -> bytes:
    for _ in range(1000):
        try:
            connection = duckdb.connect(str(path), read_only=True)
        except duckdb.IOException:  # ingest has it, for milliseconds, or was only making it
            if not path.exists():
                raise FileNotFoundError(path) from None
            time.sleep(random.uniform(0.002, 0.02))
            continue
        with connection:
            names = connection.execute("SELECT table_name FROM duckdb_tables()").fetchall()
            tables = [connection.execute(f'SELECT to_json(t)::VARCHAR FROM "{name}" t').fetchall() for (name,) in names]
            return json.dumps(tables, ensure_ascii=False).encode()
    raise AssertionError(f"{path} was held all the time")
