"""Opening the database: for a moment, waiting for others, at the right version."""

from __future__ import annotations

import contextlib
import datetime as dt
import os
import random
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import duckdb
import msgspec

from tracecli import __version__, access, files
from tracecli.config import PRIVATE_FOLDER, Home
from tracecli.errors import OF_THE_MACHINE, HomeError, NewerDatabase, StoreBusy
from tracecli.store.engine import DATABASE, Engine, Held, engine, quoted, spill_folder, without_pandas

MIGRATIONS = tuple(
    Path(__file__).with_name(f"{name}.sql")
    for name in (
        "001_first",
        "002_costs",
        "003_parts",
        "004_cache",
        "005_tools",
        "006_notes",
        "007_said",
        "008_holds",
        "009_hashes",
    )
)
"""Numbered and append-only: each is applied once, in a transaction with the row that records it."""

DatabaseError = duckdb.Error
"""What DuckDB raises when it cannot do something, as to write on a full disk."""

READ_PATIENCE_S = 20.0
WRITE_PATIENCE_S = 60.0


@contextlib.contextmanager
def opened(home: Home, *, write: bool = False) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection, waited for while others have the database, and closed at the end.

    A database of an older version is brought up to date first, also for a reader: ingest may not be running.
    Raises FileNotFoundError when there is no database and `write` is false, StoreBusy when the wait was too long,
    NewerDatabase and HomeError as they say.
    """
    if write:
        home.refuse_changes()
    else:
        access.enter(home)
    if not write and not home.database.exists():
        raise FileNotFoundError(home.database)
    with contextlib.ExitStack() as stack:
        connection = stack.enter_context(_database(home, write))
        have = _checked_version(connection, home)
        if write:
            for number, script in enumerate(MIGRATIONS[have:], have + 1):
                _apply(connection, number, script)
        elif have == 0:  # ingest is making it this moment
            raise FileNotFoundError(home.database)
        elif have < len(MIGRATIONS):
            stack.close()
            make(home)
            connection = stack.enter_context(_database(home, write))
        with without_pandas():
            yield connection


def make(home: Home) -> None:
    """Make the database if there is none, and bring it up to date. Raises as `opened` does."""
    with opened(home, write=True):
        pass


def version(home: Home) -> int:
    """The schema version of the database as it is; nothing is brought up to date. Raises as `opened` for a reader."""
    if not home.database.exists():
        raise FileNotFoundError(home.database)
    with _database(home, write=False) as connection:
        return _version(connection)


def refuse_newer(home: Home, have: int) -> None:
    """Raise NewerDatabase if a database of this version is of a newer tracecli."""
    if have > len(MIGRATIONS):
        raise NewerDatabase(
            f"{home.database} has schema version {have}, and this tracecli ({__version__}) knows versions up to"
            f" {len(MIGRATIONS)}",
            "Upgrade tracecli, or name another home with TRACECLI_HOME.",
        )


def attach(connection: duckdb.DuckDBPyConnection, home: Home) -> None:
    """Add the database to another one, as `traces`, for reading alone. Raises as `opened` does."""
    with opened(home):
        pass  # it is there, and of this version
    statement = f"ATTACH '{quoted(home.database)}' AS {DATABASE} (READ_ONLY)"
    _waited(home, READ_PATIENCE_S, lambda: connection.execute(statement))


@contextlib.contextmanager
def _database(home: Home, write: bool) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection with the database, which was waited for."""
    if write and not home.database.exists():
        _create(home)
    patience = WRITE_PATIENCE_S if write else READ_PATIENCE_S
    with contextlib.ExitStack() as stack:
        yield _waited(home, patience, lambda: stack.enter_context(engine(home).database(write=write)))


def _create(home: Home) -> None:
    """Make the database elsewhere and give it its name once it is whole and on the disk.

    What a full disk or a power cut leaves of one that is being made cannot be opened, and would have to be moved away.
    """
    draft = Home(spill_folder(home))
    try:
        home.scratch.mkdir(mode=PRIVATE_FOLDER, exist_ok=True)
        draft.root.mkdir(mode=PRIVATE_FOLDER)
        with contextlib.closing(Engine(draft)) as own, own.database(write=True) as connection:
            for number, script in enumerate(MIGRATIONS, 1):
                _apply(connection, number, script)
        access.share(home, "metadata", draft.database)
        files.to_disk(draft.database)
        with contextlib.suppress(FileExistsError):  # another process was first
            os.link(draft.database, home.database)
        files.to_disk(home.root)
    except (duckdb.Error, OSError) as error:
        raise HomeError(
            f"cannot make the database {home.database}: {reason(error)}",
            "See that there is room for it, and that the home is yours to write.",
        ) from error
    finally:
        shutil.rmtree(draft.root, ignore_errors=True)


def _waited[T](home: Home, patience: float, open_it: Callable[[], T]) -> T:
    deadline = time.monotonic() + patience
    while True:
        before = _identity(home)
        try:
            return open_it()
        except (duckdb.Error, Held) as error:
            message = str(error)
            # Another database took the name (`expiry`) while this one was opened, and its log was taken for this one's.
            replaced = _identity(home) != before
            if not isinstance(error, Held) and not _is_locked(message) and not replaced:
                if home.foreign and "Permission denied" in message:
                    raise _unreadable(home) from error
                raise HomeError(
                    f"cannot open the database {home.database}: {message.splitlines()[0]}",
                    next(
                        (remedy for code, remedy in OF_THE_MACHINE.items() if os.strerror(code) in message),
                        "If it is damaged, move it away; what is still in the spool is loaded into a new one.",
                    ),
                ) from error
            if time.monotonic() > deadline:
                raise StoreBusy(
                    f"another process has held {home.database} for {patience:.0f} s",
                    "Close the program that has it open (a DuckDB shell, for instance) and try again.",
                ) from error
        time.sleep(random.uniform(0.002, 0.02))  # noqa: S311 - spreads the waiting, no secret


def _unreadable(home: Home) -> HomeError:
    """Why a reader may not open the database."""
    if os.access(home.database, os.R_OK) and home.database_log.exists():
        return HomeError(
            f"a process was killed while it wrote to {home.database}",
            "Try again when its owner has loaded it: `tracecli ingest --once`.",
        )
    return access.refused(home, home.database)


def _identity(home: Home) -> tuple[int, int] | None:
    """Which file has the name of the database; None: there is none."""
    try:
        about = home.database.stat()
    except FileNotFoundError:
        return None
    return about.st_dev, about.st_ino


def _is_locked(message: str) -> bool:
    return "Could not set lock" in message or "Conflicting lock" in message


def _checked_version(connection: duckdb.DuckDBPyConnection, home: Home) -> int:
    have = _version(connection)
    refuse_newer(home, have)
    return have


def _version(connection: duckdb.DuckDBPyConnection) -> int:
    try:
        row = connection.execute("SELECT coalesce(max(version), 0) FROM schema_version").fetchone()
    except duckdb.CatalogException:  # no such table; to look in the catalog takes longer than all the rest
        return 0
    return int(row[0]) if row else 0


def _apply(connection: duckdb.DuckDBPyConnection, number: int, script: Path) -> None:
    with transaction(connection):
        connection.execute(script.read_text("utf-8"))
        connection.execute(
            "INSERT INTO schema_version VALUES (?, ?, ?)", [number, dt.datetime.now(dt.UTC), __version__]
        )


def reason(error: Exception) -> str:
    """What went wrong, in a line: without the JSON that DuckDB puts around some messages."""
    line = str(error).partition("\n")[0]
    begin = line.find('{"exception_type"')
    if begin < 0:
        return line
    try:
        return str(msgspec.json.decode(line[begin:])["exception_message"])
    except (msgspec.DecodeError, KeyError):
        return line


@contextlib.contextmanager
def transaction(connection: duckdb.DuckDBPyConnection) -> Iterator[None]:
    """All or nothing."""
    connection.begin()
    try:
        yield
    except BaseException:
        with contextlib.suppress(duckdb.Error):
            connection.rollback()
        raise
    connection.commit()
