"""The store as it is at one moment, held still: links to the files that the database names, beside it on the disk.

Files of content never change, but ingest merges and removes them. While somebody reads the database nobody writes to
it, and what it names is there: in that moment each file gets a second name, and the lock is given back. A process that
is killed leaves a folder in `tmp/` that the next ingest removes.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import duckdb

from tracecli import spool
from tracecli.config import PRIVATE_FILE, PRIVATE_FOLDER, Home
from tracecli.errors import StoreBusy
from tracecli.store.connection import opened
from tracecli.store.engine import spill_folder

TABLES = {"bodies": "body_file", "parts": "part_file", "said": "said_file"}
"""The folders of content, and the tables that name their files."""
_TRIES = 20

# In a process of its own: to close the database here would drop the lock that DuckDB has on it.
_COPY = "import shutil, sys; shutil.copyfile(sys.argv[1], sys.argv[2])"


@dataclass
class Snapshot:
    """The store at one moment."""

    home: Home
    """A folder with the names of a home, in which only what was asked for is."""
    missing: list[tuple[str, str]] = field(default_factory=list)
    """Folder and name of files that the database names and that are not there."""


def folder(home: Home, name: str) -> Path:
    """A folder of content of a home."""
    return home.root / name


@contextlib.contextmanager
def taken(
    home: Home,
    noted: Callable[[duckdb.DuckDBPyConnection], None] | None = None,
    *,
    database: bool = False,
    segments: bool = False,
) -> Iterator[Snapshot]:
    """The files of content of this moment; with a copy of the database, and the finished segments of the spool.

    `noted` reads the database in the same moment, perhaps more than once: the last time counts.
    Raises as `opened` for a reader does, and OSError if it cannot be written.
    """
    into = Home(spill_folder(home))
    try:
        for _ in range(_TRIES):
            shutil.rmtree(into.root, ignore_errors=True)
            for path in (into.root, into.bodies, into.parts, into.said, into.spool):
                path.mkdir(mode=PRIVATE_FOLDER, parents=True)
                path.chmod(PRIVATE_FOLDER)
            if (snapshot := _take(home, into, noted, database, segments)) is not None:
                break
        else:
            raise StoreBusy(f"{home.database} is written anew again and again", "Try again.")
        yield snapshot
    finally:
        shutil.rmtree(into.root, ignore_errors=True)


def _take(
    home: Home,
    into: Home,
    noted: Callable[[duckdb.DuckDBPyConnection], None] | None,
    database: bool,
    segments: bool,
) -> Snapshot | None:
    """None if another database took the name meanwhile: then the lock is on the old one, and keeps nobody away."""
    snapshot = Snapshot(into)
    before = _identity(home.database)
    with opened(home) as connection:
        for name, table in TABLES.items():
            for (file,) in connection.execute(f"SELECT name FROM {table}").fetchall():  # noqa: S608 - ours
                if not _linked(folder(home, name), folder(into, name), file):
                    snapshot.missing.append((name, file))
        if noted:
            noted(connection)
        if segments:
            for path in spool.segments(home.spool):
                if spool.is_finished(path):
                    _linked(home.spool, into.spool, path.name)
        if database:
            _copy_database(home, into)
        return snapshot if _identity(home.database) == before else None


def _identity(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_dev, found.st_ino


def _linked(source: Path, into: Path, name: str) -> bool:
    """Give a file a second name; false if it is not there."""
    if Path(name).name != name or not (source / name).is_file():
        return False
    try:
        os.link(source / name, into / name)
    except FileExistsError:
        return True
    except OSError:  # a file system without links
        try:
            shutil.copyfile(source / name, into / name)
        except FileNotFoundError:
            return False
        (into / name).chmod(PRIVATE_FILE)
    return True


def _copy_database(home: Home, into: Home) -> None:
    """Byte for byte, with what a killed process left in its log: nobody writes to it now."""
    for path in database_files(home):
        copy = into.root / path.name
        if path.exists():
            command = [sys.executable, "-I", "-S", "-c", _COPY, str(path), str(copy)]
            done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - ours
            if done.returncode:
                raise OSError(5, (done.stderr.strip().splitlines() or ["the copy failed"])[-1], str(copy))
            copy.chmod(PRIVATE_FILE)


def database_files(home: Home) -> tuple[Path, Path]:
    """The database, and its log, which is seldom there."""
    return home.database, home.database_log
