"""The process's own DuckDB: in memory, and kept, for to make one takes 16 ms, and to attach a database to it one.

The database of the home is attached while somebody reads or writes it and detached after, which gives its lock back.
Files are read and written in temporary tables of a connection. After an error that leaves a DuckDB which can do nothing
more, the next one to come gets another.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import shutil
import sys
import tempfile
import threading
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import duckdb

from tracecli import keys
from tracecli.config import Home
from tracecli.errors import TracecliError
from tracecli.exchange import new_id

DATABASE = "traces"
"""What the database is called where it is attached."""
_MEMORY = "1GB"
"""A body can be of a hundred megabytes, and takes several times its size."""
_MODEST = "320MB"
"""More makes no list faster, up to ten million exchanges, and a process that lists is to stay below 500 MB."""
_SETTINGS: dict[str, str | bool | int | float | list[str]] = {
    # Files of the 1.5 format: bodies of text are compressed, and DuckDB 1.5 and 2.0 both read them.
    "storage_compatibility_version": "v1.5.0",
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
    "enable_external_file_cache": False,  # content would stay in memory after it was read
    "memory_limit": _MEMORY,
}


class Held(Exception):
    """Another thread of this process has the database attached in the other way."""


class Engine:
    """A DuckDB in memory for one home. Threads share it, each with connections of its own."""

    def __init__(self, home: Home) -> None:
        self.home = home
        self.encrypted = keys.in_use(home)
        self._spill = spill_folder(home)  # else DuckDB spills content to the working directory
        self._connection = duckdb.connect(":memory:", config=_SETTINGS | spilling(home, self._spill))
        if self.encrypted:
            from tracecli.store.encrypted_files import EncryptedFiles

            self._connection.register_filesystem(EncryptedFiles(home))
        self._lock = threading.Lock()
        self._attached = 0
        self._written = False
        self._users = 0
        self._broken = False

    @property
    def idle(self) -> bool:
        """Whether nobody uses it."""
        return not self._users

    @property
    def fit(self) -> bool:
        """Whether it can be used."""
        return not self._broken

    @contextlib.contextmanager
    def connection(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """A connection without the database."""
        with self._lock:
            self._users += 1
            connection = self._connection.cursor()
        try:
            yield connection
        except (duckdb.FatalException, duckdb.InternalException):
            self._broken = True
            raise
        except duckdb.OutOfMemoryException as error:
            raise TracecliError(
                "this needs more memory than it may have", "Ask for less, with --since perhaps."
            ) from error
        finally:
            connection.close()
            with self._lock:
                self._users -= 1

    @contextlib.contextmanager
    def database(self, *, write: bool) -> Iterator[duckdb.DuckDBPyConnection]:
        """A connection with the database. Raises Held, or duckdb.Error if it cannot be opened or locked."""
        with self.connection() as connection:
            self._attach(write)
            try:
                connection.execute(f"USE {DATABASE}")
                yield connection
            finally:
                connection.close()
                self._detach()

    def _attach(self, write: bool) -> None:
        with self._lock:
            if self._attached and self._written != write:
                raise Held
            if not self._attached:
                how = "" if write else "(READ_ONLY)"
                self._connection.execute(f"ATTACH '{quoted(self.home.database)}' AS {DATABASE} {how}")
                self._written = write
            self._attached += 1

    def _detach(self) -> None:
        with self._lock:
            self._attached -= 1
            if self._attached:
                return
            try:
                self._connection.execute(f"DETACH {DATABASE}")
            except duckdb.Error:
                self.close()  # gives the lock back at any rate

    def close(self) -> None:
        """Let go of everything. Idempotent."""
        self._broken = True
        self._connection.close()
        shutil.rmtree(self._spill, ignore_errors=True)


_kept: list[Engine] = []
"""None or one."""
_keeping = threading.Lock()


def engine(home: Home) -> Engine:
    """The engine of this process for a home: the last one that was used, as long as it is fit and of that home."""
    with _keeping:
        if _kept and not (_kept[0].fit and _kept[0].home == home and _kept[0].encrypted == keys.in_use(home)):
            last = _kept.pop()
            if last.idle:
                last.close()
        if not _kept:
            _kept.append(Engine(home))
        return _kept[0]


@atexit.register
def _close() -> None:
    while _kept:
        _kept.pop().close()


@contextlib.contextmanager
def scratchpad(home: Home) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection to write and read files with, without the database: nobody waits for it. Tables are temporary."""
    with engine(home).connection() as connection, without_pandas():
        yield connection


@contextlib.contextmanager
def sparing(connection: duckdb.DuckDBPyConnection, memory: str = _MEMORY) -> Iterator[None]:
    """With one thread: it takes a quarter less CPU to write, and leaves the other cores to the proxy."""
    with _set(connection, f"SET threads = 1; SET memory_limit = '{memory}'"):
        yield


@contextlib.contextmanager
def modest(connection: duckdb.DuckDBPyConnection) -> Iterator[None]:
    """With as much memory as a list or sums need."""
    with _set(connection, f"SET memory_limit = '{_MODEST}'"):
        yield


@contextlib.contextmanager
def _set(connection: duckdb.DuckDBPyConnection, settings: str) -> Iterator[None]:
    """With settings of the whole engine, to the end of the block."""
    connection.execute(settings)
    try:
        yield
    finally:
        with contextlib.suppress(duckdb.Error):  # the one that was raised says more
            connection.execute(f"RESET threads; SET memory_limit = '{_MEMORY}'")


def spilling(home: Home, folder: Path) -> dict[str, str]:
    """DuckDB's setting of where to put what does not fit into memory: nowhere if the home is encrypted.

    It encrypts such files only with an extension that it fetches from the network.
    """
    return {"temp_directory": "" if keys.in_use(home) else str(folder)}


def spill_folder(home: Home) -> Path:
    """A folder for what does not fit into memory; DuckDB makes it when it needs it."""
    return scratch(home) / f"{os.getpid()}-{new_id()}.spill"


def scratch(home: Home) -> Path:
    """Where to write what does not last: in the home, or, where it is somebody else's, in a private folder of ours."""
    return _own_scratch() if home.foreign else home.scratch


@cache
def _own_scratch() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="tracecli-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def left_over(path: Path) -> bool:
    """Whether a path is a folder to spill to, of a process that is gone."""
    process = path.stem.partition("-")[0]
    return path.suffix == ".spill" and not (process.isdigit() and Path("/proc", process).exists())


ENCRYPTED = ".encrypted"
"""The suffix of files that are."""


def located(path: Path) -> str:
    """A file as DuckDB is told of it."""
    return f"encrypted://{path}" if path.suffix == ENCRYPTED else str(path)


def quoted(path: Path) -> str:
    """A path as it stands between quotes in SQL."""
    return located(path).replace("'", "''")


@contextlib.contextmanager
def without_pandas() -> Iterator[None]:
    """Say that pandas is not there, while values are handed to DuckDB.

    DuckDB 1.5 tries to import it for every value in a list, and Python looks for a missing module in every folder each
    time: that was 9 of 10 ms of loading an exchange.
    """
    if "pandas" in sys.modules:
        yield
        return
    sys.modules["pandas"] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        sys.modules.pop("pandas", None)
