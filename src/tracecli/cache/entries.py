"""Stored answers: compressed bytes in one SQLite file, shared by all proxies of the machine and the command line.

What was used longest ago goes first when there is too much. What is purged is gone from the file and from its
write-ahead log. `get`, `put` and `tick`, which the proxy calls, never raise: a file that cannot be used is a cache
without entries, with one warning; a damaged one is begun anew, as is one that somebody removed. The others are for
people, and raise HomeError.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
import zstandard

from tracecli.config import PRIVATE_FILE
from tracecli.encryption import MESSAGE, Keyring, Undecryptable, UnknownKey
from tracecli.errors import HomeError
from tracecli.exchange import Headers

log = logging.getLogger(__name__)

VERSION = 1
_BUSY_S = 5.0
_LOOP_BUSY_S = 0.05  # what the event loop waits where SQLite has to clean up after a killed process
# Of 1 to 12 the fastest on answers of 1.5 KB (8 µs), and less than 1 % larger than the smallest.
_LEVEL = 3
# Bytes that an entry takes beside itself: its row, its places in the indexes, what pages leave empty. Measured.
_BESIDE = 400
_MAX_EVICTED = 1000
_HOT_BYTES = 8 << 20
_MAX_TOUCHED = 100_000

# Bodies are in a table with row ids: measured with 20,000 answers of 1 KB packed, the file takes 42 MB and a lookup
# 5 µs, where bodies beside the key without row ids take 94 MB and 16 µs.
_SCHEMA = """
BEGIN IMMEDIATE;
CREATE TABLE IF NOT EXISTS entry (  -- one row for each stored answer: what it is
    key BLOB PRIMARY KEY,
    answer INTEGER NOT NULL,    -- `answer.id`
    used INTEGER NOT NULL,      -- counts up with each use of any entry: no clock that jumps decides what goes
    bytes INTEGER NOT NULL,     -- that it takes
    exchange_id TEXT NOT NULL,
    stored_at REAL NOT NULL,
    user TEXT NOT NULL,
    model TEXT
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS entry_by_use ON entry (used);
CREATE TABLE IF NOT EXISTS answer ( -- and what it says
    id INTEGER PRIMARY KEY,
    packed INTEGER NOT NULL,    -- its body was compressed by us, with zstd
    whole BLOB NOT NULL         -- all of the entry, in MessagePack; a message (`encryption`) if the home is encrypted
);
CREATE TABLE IF NOT EXISTS total (
    bytes INTEGER NOT NULL,
    entries INTEGER NOT NULL,
    gone INTEGER NOT NULL,      -- how many entries ever were removed
    cleaned INTEGER NOT NULL    -- of how many of those the bytes are gone, too
);
INSERT INTO total SELECT 0, 0, 0, 0 WHERE NOT EXISTS (SELECT * FROM total);
CREATE TRIGGER IF NOT EXISTS entry_comes AFTER INSERT ON entry BEGIN
    UPDATE total SET bytes = bytes + new.bytes, entries = entries + 1;
END;
CREATE TRIGGER IF NOT EXISTS entry_goes AFTER DELETE ON entry BEGIN
    DELETE FROM answer WHERE id = old.answer;
    UPDATE total SET bytes = bytes - old.bytes, entries = entries - 1, gone = gone + 1;
END;
PRAGMA user_version = 1;
COMMIT;
"""


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """A stored answer."""

    key: bytes
    asked_hash: bytes
    """Of what was asked, whoever asked."""
    exchange_id: str
    """The exchange that it is the answer of."""
    stored_at: float
    """Unix time."""
    duration_ms: float
    """How long that exchange took."""
    user: str
    policy: str
    provider: str
    host: str
    operation: str | None
    model: str | None
    status: int
    headers: Headers
    body: bytes
    """As on the wire, content encoding included."""


class Listed(msgspec.Struct, frozen=True):
    """An entry in a list."""

    key: bytes
    exchange_id: str
    user: str
    model: str | None
    stored_at: float
    bytes: int


_FIND = "SELECT key, packed, whole FROM entry JOIN answer ON id = answer"
_GET = f"{_FIND} WHERE key = ?"
_NEXT_USE = "(SELECT coalesce(max(used), 0) + 1 FROM entry)"
_INSERT = (
    "INSERT INTO entry (key, answer, bytes, exchange_id, stored_at, user, model, used)"  # noqa: S608 - names of ours
    f" VALUES (?, ?, ?, ?, ?, ?, ?, {_NEXT_USE})"
)
_ENCODE = msgspec.msgpack.Encoder()
_DECODE = msgspec.msgpack.Decoder(Entry)
# What reading can fail with where a damaged file holds what we never wrote.
_NOT_OURS = (ValueError, TypeError, msgspec.MsgspecError, zstandard.ZstdError)
_FAILURES = (sqlite3.Error, OSError, *_NOT_OURS)


class Entries:
    """The entries in one file. `get` is for one thread, the others for any."""

    def __init__(self, path: Path, max_bytes: int, ring: Keyring | None = None) -> None:
        self.path = path
        self.max_bytes = max_bytes
        self.ring = ring
        """The keys of the home. What was encrypted with others is as if it were not there."""
        self.failures = 0
        self._file: tuple[int, int] | None = None
        self._damaged = False
        self._touched: deque[bytes] = deque(maxlen=_MAX_TOUCHED)
        self._unpack = zstandard.ZstdDecompressor()
        self._reading = threading.Lock()
        self._reader: sqlite3.Connection | None = None
        self._hot: dict[bytes, Entry] = {}
        """What was read since anybody last changed the file."""
        self._hot_bytes = 0
        self._hot_version: tuple[int] | None = None
        self._writing = threading.RLock()
        self._writer: sqlite3.Connection | None = None
        with self._guarded("open"):
            self._ready()

    def get(self, key: bytes) -> Entry | None:
        """The entry with this key. Some 10 µs, or 3 if nothing was written since it was last asked for; for the event
        loop.
        """
        try:
            with self._reading:
                if self._reader is None:
                    return None
                version = self._reader.execute("PRAGMA data_version").fetchone()
                if version != self._hot_version or self._hot_bytes > _HOT_BYTES:
                    self._hot_version, self._hot_bytes = version, 0
                    self._hot.clear()
                found = self._hot.get(key)
                if found is None:
                    row = self._reader.execute(_GET, (key,)).fetchone()
                    if not row:
                        return None
                    found = _entry(row, self._unpack, self.ring)
                    if found is None:
                        return None
                    self._hot[key] = found
                    self._hot_bytes += len(found.body)
        except _FAILURES as error:
            self._damaged = self._damaged or isinstance(error, _NOT_OURS)
            self._failed("read", error)
            return None
        self._touched.append(key)
        return found

    def put(self, entry: Entry) -> bool:
        """Store an entry in place of one with the same key; false if that failed, or it alone is too large."""
        with self._guarded("write"):
            encoded = any(name.lower() == "content-encoding" for name, _ in entry.headers)
            body = entry.body if encoded else zstandard.ZstdCompressor(level=_LEVEL).compress(entry.body)
            whole = _ENCODE.encode(msgspec.structs.replace(entry, body=body))
            if self.ring and self.ring.newest:
                whole = self.ring.encrypt(whole, entry.key)
            size = len(whole) + _BESIDE
            if size > self.max_bytes:
                return False
            with self._transaction() as connection:
                connection.execute("DELETE FROM entry WHERE key = ?", (entry.key,))
                answer = connection.execute("INSERT INTO answer (packed, whole) VALUES (?, ?)", (not encoded, whole))
                about = entry.exchange_id, entry.stored_at, entry.user, entry.model
                connection.execute(_INSERT, (entry.key, answer.lastrowid, size, *about))
                self._evict(connection)
            return True
        return False

    def tick(self) -> None:
        """Write down which entries were used, keep within `max_bytes`, and mend. Call it a few times a second."""
        with self._guarded("write"), self._writing:
            connection = self._ready()
            self._note_uses(connection)
            if self._excess(connection) > 0:
                with self._transaction():
                    self._evict(connection)
                connection.execute(f"PRAGMA incremental_vacuum({4 * _MAX_EVICTED})").fetchall()

    def purge(
        self,
        *,
        keys: Sequence[bytes] | None = None,
        exchange_ids: Sequence[str] | None = None,
        users: Sequence[str] | None = None,
        models: Sequence[str] | None = None,
        stored_before: float | None = None,
    ) -> tuple[int, int]:
        """Remove what fits all that is given, or everything, to the last byte; how many entries and bytes went.

        It rewrites the file, some 5 s for 1 GB, unless nothing was removed since the last time. Raises HomeError if
        that cannot be done now; the next call finishes what was begun.
        """
        terms = ["TRUE"]
        values: list[str | float] = []
        wanted: Sequence[tuple[str, Sequence[str] | None]] = (
            ("hex(key)", None if keys is None else [key.hex().upper() for key in keys]),
            ("exchange_id", exchange_ids),
            ("user", users),
            ("model", models),
        )
        for column, choice in wanted:
            if choice is not None:
                terms.append(f"{column} IN (SELECT value FROM json_each(?))")  # noqa: S608 - names of ours
                values.append(msgspec.json.encode(choice).decode())
        if stored_before is not None:
            terms.append("stored_at < ?")
            values.append(stored_before)
        where = " AND ".join(terms)
        with self._for_people(), self._writing:
            with self._transaction() as connection:
                found = connection.execute(
                    f"SELECT count(*), total(bytes) FROM entry WHERE {where}",  # noqa: S608 - names of ours
                    values,
                ).fetchone()
                connection.execute(f"DELETE FROM entry WHERE {where}", values)  # noqa: S608 - names of ours
            self._clean(connection)
            return int(found[0]), int(found[1])

    def listed(self, *, user: str | None = None, model: str | None = None, limit: int | None = None) -> list[Listed]:
        """Entries, the last used first. Raises HomeError."""
        with self._for_people(), self._writing:
            found = self._ready().execute(
                "SELECT key, exchange_id, user, model, stored_at, bytes FROM entry"
                " WHERE (?1 IS NULL OR user = ?1) AND (?2 IS NULL OR model = ?2) ORDER BY used DESC LIMIT ?3",
                (user, model, -1 if limit is None else limit),
            )
            return [Listed(*row) for row in found.fetchall()]

    def with_prefix(self, prefix: str) -> list[Entry]:
        """The entries whose key, in hex, begins like this; two of them at most. Raises HomeError."""
        try:
            span = bytes.fromhex(prefix.ljust(64, "0")), bytes.fromhex(prefix.ljust(64, "f"))
        except ValueError:
            return []
        with self._for_people(), self._writing:
            found = self._ready().execute(f"{_FIND} WHERE key BETWEEN ? AND ? LIMIT 2", span)
            entries = [_entry(row, zstandard.ZstdDecompressor(), self.ring) for row in found.fetchall()]
            return [one for one in entries if one is not None]

    def held(self) -> tuple[int, int]:
        """How many entries there are, and how many bytes they take. Raises HomeError."""
        with self._for_people(), self._writing:
            entries, size = self._ready().execute("SELECT entries, bytes FROM total").fetchone()
            return entries, size

    def close(self) -> None:
        """Write down what was used, and let go of the file; it is opened again when it is needed."""
        with self._writing:
            if self._writer is not None:
                with self._guarded("write"):
                    self._note_uses(self._writer)
            self._let_go()

    # The file

    def _ready(self) -> sqlite3.Connection:
        """The connection for all but `get`; opens the file if there is need."""
        with self._writing:
            if self._damaged or self._writer is None or self._file != _identity(self.path):
                self._let_go()
                self._open()
            if self._writer is None:
                raise sqlite3.OperationalError("it is not open")
            return self._writer

    def _let_go(self) -> None:
        with self._reading:
            if self._reader is not None:
                self._reader.close()
            self._reader = None
            self._hot.clear()
        if self._writer is not None:
            self._writer.close()
        self._writer = None

    def _open(self) -> None:
        if self._damaged:
            self._begin_anew("it could not be read")
        try:
            self._writer = self._checked()
        except sqlite3.DatabaseError as error:
            if not _is_damage(error):
                raise
            self._begin_anew(error)
            self._writer = self._checked()
        self._file = _identity(self.path)
        self._reader = self._connected(_LOOP_BUSY_S, "query_only = ON")

    def _begin_anew(self, why: object) -> None:
        """It holds content, and can be made again from the records: better gone than set aside."""
        if self._file in (None, _identity(self.path)):  # else another process has begun anew already
            log.warning("tracecli: the cache %s is damaged and begins anew: %s", self.path, why)
            for suffix in ("-wal", "-shm", ""):
                self.path.with_name(self.path.name + suffix).unlink(missing_ok=True)
        self._damaged = False

    def _checked(self) -> sqlite3.Connection:
        """A connection to a file that is a cache of this version; makes one where there is none."""
        # Only a new file: closing a file that SQLite has open in this process would drop SQLite's locks.
        with contextlib.suppress(FileExistsError):
            os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, PRIVATE_FILE))
        connection = self._connected(_BUSY_S)
        try:
            version, tables = connection.execute(
                "SELECT user_version, (SELECT count(*) FROM sqlite_schema) FROM pragma_user_version"
            ).fetchone()
            if version == 0 and tables == 0:
                connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
                _set_wal(connection)
                connection.executescript(_SCHEMA)
            elif version != VERSION:
                raise sqlite3.OperationalError(f"it has version {version}, and this tracecli knows {VERSION}")
            connection.execute("SELECT cleaned FROM total").fetchone()
        except BaseException:
            connection.close()
            raise
        return connection

    def _connected(self, busy_s: float, *settings: str) -> sqlite3.Connection:
        connection = sqlite3.connect(self.path, timeout=busy_s, isolation_level=None, check_same_thread=False)
        try:
            for setting in ("secure_delete = ON", "synchronous = NORMAL", *settings):
                connection.execute(f"PRAGMA {setting}")
        except BaseException:
            connection.close()
            raise
        return connection

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._writing:
            connection = self._ready()
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise

    @contextlib.contextmanager
    def _guarded(self, step: str) -> Iterator[None]:
        try:
            yield
        except _FAILURES as error:
            self._failed(step, error)

    def _failed(self, step: str, error: Exception) -> None:
        self._damaged = self._damaged or _is_damage(error)
        self.failures += 1
        if self.failures == 1:
            log.warning("tracecli: cannot %s the cache %s: %s; requests go upstream", step, self.path, error)

    @contextlib.contextmanager
    def _for_people(self) -> Iterator[None]:
        try:
            yield
        except _FAILURES as error:
            self._damaged = self._damaged or _is_damage(error)
            raise HomeError(
                f"cannot use the cache {self.path}: {error}",
                "Try again; if that does not help, remove the file: `tracecli cache rebuild` makes it again.",
            ) from error

    def _note_uses(self, connection: sqlite3.Connection) -> None:
        touched = [self._touched.popleft() for _ in range(len(self._touched))]
        if touched:
            last_used_last = reversed(dict.fromkeys(reversed(touched)))
            with self._transaction():
                connection.executemany(
                    f"UPDATE entry SET used = {_NEXT_USE} WHERE key = ?",  # noqa: S608 - names of ours
                    [(key,) for key in last_used_last],
                )

    def _clean(self, connection: sqlite3.Connection) -> None:
        """Have the bytes of all that was removed gone. `secure_delete` leaves copies where pages were rearranged."""
        gone, cleaned = connection.execute("SELECT gone, cleaned FROM total").fetchone()
        if gone == cleaned:
            return
        connection.execute("VACUUM")
        deadline = time.monotonic() + _BUSY_S
        while connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]:
            # Where another process is at its own checkpoint, SQLite does not wait.
            if time.monotonic() > deadline:
                raise sqlite3.OperationalError("it is in use, and its log still holds what was removed")
            time.sleep(0.02)
        connection.execute("UPDATE total SET cleaned = ?", (gone,))

    def _excess(self, connection: sqlite3.Connection) -> int:
        return int(connection.execute("SELECT bytes FROM total").fetchone()[0]) - self.max_bytes

    def _evict(self, connection: sqlite3.Connection) -> None:
        excess = self._excess(connection)
        oldest: list[tuple[bytes]] = []
        if excess > 0:
            for key, size in connection.execute("SELECT key, bytes FROM entry ORDER BY used LIMIT ?", (_MAX_EVICTED,)):
                oldest.append((key,))
                excess -= size
                if excess <= 0:
                    break
        connection.executemany("DELETE FROM entry WHERE key = ?", oldest)


def _entry(row: tuple[bytes, int, bytes], unpack: zstandard.ZstdDecompressor, ring: Keyring | None) -> Entry | None:
    """An entry; None if it was encrypted with a key that is not on the ring."""
    key, packed, whole = row
    if whole.startswith(MESSAGE):
        try:
            if ring is None:
                return None
            whole = ring.decrypt(whole, key)
        except UnknownKey:
            return None
        except Undecryptable as error:
            raise ValueError(str(error)) from error
    found = _DECODE.decode(whole)
    if packed:
        msgspec.structs.force_setattr(found, "body", unpack.decompress(found.body))  # nobody else has it yet
    return found


def _identity(path: Path) -> tuple[int, int] | None:
    """Which file has this name now; None: there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _is_damage(error: Exception) -> bool:
    code = getattr(error, "sqlite_errorcode", None) or 0  # what Python itself raises has none
    return code & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def _set_wal(connection: sqlite3.Connection) -> None:
    """Two processes may do it at once, and then SQLite does not wait."""
    deadline = time.monotonic() + _BUSY_S
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL").fetchone()
            return
        except sqlite3.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)
