"""Ingest: from the spool to the store, each exchange exactly once. A process of its own.

One process ingests for a home (a lock sees to it); others wait for their turn. A round takes the finished segments,
understands and prices what they hold, writes the bodies to files, and then, in one transaction, the rows, the names
of those files and of the segments. Killed anywhere, the next one takes up what is not in that transaction.

What cannot be read goes to `quarantine/`, byte for byte, and is counted; the rest is loaded.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import fcntl
import logging
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Protocol

import msgspec

from tracecli import access, config, files, flag_files, keys, spool
from tracecli.config import PRIVATE_FILE, Home
from tracecli.contents import Piece, pieces
from tracecli.errors import HomeError, NewerDatabase, StoreBusy, TracecliError
from tracecli.estimating import Estimator
from tracecli.exchange import Captured
from tracecli.price_file import Watched
from tracecli.recorded import Recorded, read, record
from tracecli.redacting import redacted
from tracecli.spool import Damage
from tracecli.store import bodies, connection, exchanges, expiry
from tracecli.store.said_files import Known

log = logging.getLogger(__name__)

# A round is of as many segments as there are, but no more than these: they are what bounds the memory it takes.
ROUND_BYTES = 32 << 20
ROUND_EXCHANGES = 4000
_POLL_S = 0.25
# Waits between rounds that fail grow to this: a disk that was full is seen to have room again soon.
_MAX_WAIT_S = 5.0
# After the proxy has gone, its last segment is free within moments; those of other proxies stay open.
_LAST_WAIT_S = 2.0
_MERGE_EVERY_S = 30.0


class Status(msgspec.Struct):
    """What ingest has counted since it started; in `ingest.json`, for people and for checks."""

    pid: int
    exchanges: int = 0
    segments: int = 0
    quarantined: int = 0
    last_error: str | None = None
    """Why the last round failed; None: it did not."""
    last_round_at: float | None = None
    """Unix time."""


@dataclass
class _Round:
    """What one round loads."""

    segments: list[Path] = field(default_factory=list)
    captured: list[Captured] = field(default_factory=list)
    records: list[Recorded] = field(default_factory=list)
    said: dict[str, list[Piece]] = field(default_factory=dict)
    """By the id of the exchange."""


class Ingest:
    """Works through the spool of a home. Hold the lock (`alone`) while using it."""

    def __init__(self, home: Home, policies: Path) -> None:
        self.home = home
        self.policies = policies
        self.prices = Watched(policies)
        self.rules = flag_files.Watched(policies)
        self.estimator = Estimator(config.vocabulary_folder())
        self.status = Status(pid=os.getpid())
        self._loaded: set[str] | None = None
        """Segments that are loaded and still there; None: the database has to tell."""
        self._known = Known()

    def clean_up(self) -> None:
        """Remove what a crashed predecessor left behind, and see that there is a database.

        It is made before the first body file: bodies without a database are then those of one that was moved away.
        """
        orphans = bodies.remove_orphans(self.home)
        connection.make(self.home)
        if orphans:
            log.info("removed %d files of an unfinished round", orphans)

    def round(self) -> int:
        """Load finished segments, the oldest first, up to a round of them; returns how many were dealt with."""
        there = spool.segments(self.home.spool)
        names = [path.stem for path in there]
        loaded = exchanges.loaded(self.home, names) if self._loaded is None else self._loaded.intersection(names)
        self._loaded = loaded
        work = _Round()
        size = removed = 0
        for path in there:
            if size >= ROUND_BYTES or len(work.records) >= ROUND_EXCHANGES:
                break
            if not spool.is_finished(path):
                continue
            if path.stem in loaded:
                path.unlink(missing_ok=True)
                removed += 1
                continue
            size += path.stat().st_size
            self._read(path, work)
        if work.segments:
            self._load(work)
        return len(work.segments) + removed

    def something_is_gone(self) -> None:
        """Bodies were removed, and with them what they alone held."""
        self._known.forget()

    def _read(self, path: Path, work: _Round) -> None:
        data = spool.content(path)
        rules = self.rules.current()
        for number, found in enumerate(spool.frames(self.home, path.stem, data)):
            if isinstance(found, Damage):
                self._quarantine(path, number, data[found.offset : found.offset + found.length], found.reason)
                continue
            try:
                kept = redacted(found)
                reading = read(kept)
                recorded = record(kept, self.prices.current(), self.estimator, reading)
                said = list(pieces(kept, reading[0])) if kept.exchange.traced else []
                recorded = rules.flagged(recorded, said)
            except Exception as error:
                log.exception("cannot understand exchange %s", found.exchange.id)
                raw = msgspec.json.encode(found.exchange) + b"\n" + found.request_body + b"\n" + found.response_body
                self._quarantine(path, number, raw, f"{type(error).__name__} while understanding it")
                continue
            work.records.append(recorded)
            work.captured.append(kept)
            work.said[kept.exchange.id] = said
        work.segments.append(path)

    def _quarantine(self, path: Path, number: int, data: bytes, reason: str) -> None:
        aside = self.home.quarantine / f"{path.stem}-{number}.bin"
        try:
            files.write_new(aside, keys.protected(self.home, data))
        except FileExistsError:  # by an earlier try of the same round
            return
        self.status.quarantined += 1
        log.warning("%s: %d bytes could not be read (%s); kept in %s", path.name, len(data), reason, aside)

    def _load(self, work: _Round) -> None:
        written = bodies.write(self.home, work.captured, work.said, self._known)
        work.captured.clear()
        work.said.clear()
        files.to_disk(self.home.spool)  # a segment whose name is forgotten now must not come back after a power cut
        try:
            self.status.exchanges += exchanges.append(
                self.home,
                work.records,
                written,
                segments=[path.stem for path in work.segments],
                spooled=[path.stem for path in spool.segments(self.home.spool)],
            )
        except Exception:  # interrupted, it may have been committed; if not, the files are orphans
            self._loaded = None
            if written is not None:
                bodies.discard(self.home, written)
            raise
        if written is not None:
            self._known.add(written.said.fresh)
        self._loaded = (self._loaded or set()) | {path.stem for path in work.segments}
        for path in work.segments:
            path.unlink(missing_ok=True)
        self.status.segments += len(work.segments)
        self.status.last_round_at = time.time()

    def failed(self, why: str) -> None:
        """A round failed."""
        self.status.last_error = why
        self.tell()

    def worked(self) -> None:
        """A round did not fail."""
        if self.status.last_error is not None:
            self.status.last_error = None
            self.tell()

    def tell(self) -> None:
        """Write the status down."""
        with contextlib.suppress(OSError):
            share = partial(access.share, self.home, "metadata")
            files.write_status(self.home.status, msgspec.json.encode(self.status), share)


class Chore(Protocol):
    """Something else to do for the one process that ingests, between two rounds."""

    def step(self, now: dt.datetime) -> bool:
        """Do what is to be done at `now`, if anything; whether content may have been removed. Never raises."""


def run(
    home: Home,
    *,
    once: bool,
    ended: Callable[[], bool],
    policies: Path | None = None,
    chores: Sequence[Chore] = (),
) -> Status:
    """Ingest until `ended()` and nothing is left, or with `once` until nothing is left.

    `policies` is the folder whose prices apply (None: as `config.policy_folder` finds it).
    Raises HomeError if the home cannot be used, NewerDatabase if a newer tracecli made the database, StoreBusy with
    `once` if another process ingests already. Other failures, as of a full disk, are logged, told in the status and
    tried again, with `once` raised as HomeError: the spool keeps what was not loaded.
    """
    home.prepare()
    with alone(home, (lambda: True) if once else ended) as locked:
        ingest = Ingest(home, config.policy_folder(home, policies))
        if not locked:
            if once:
                raise StoreBusy(f"another process already ingests for {home.root}", "Leave it to that one.")
            return ingest.status
        ingest.clean_up()
        ingest.tell()
        wait = _POLL_S
        last_chance: float | None = None
        next_merge = time.monotonic() + _MERGE_EVERY_S
        every_chore: list[Chore] = [access.Keeper(home), expiry.Keeper(home, ingest.policies), *chores]
        while True:
            over = once or ended()
            try:
                dealt_with = ingest.round()
                if time.monotonic() >= next_merge and not bodies.merge_small(home):  # else there may be more of them
                    next_merge = time.monotonic() + _MERGE_EVERY_S
                for chore in every_chore:
                    if chore.step(dt.datetime.now(dt.UTC)):
                        ingest.something_is_gone()
                wait = _POLL_S
                ingest.worked()
            except NewerDatabase:
                raise
            except (TracecliError, OSError, connection.DatabaseError) as error:
                why = connection.reason(error)
                if once and isinstance(error, TracecliError):
                    raise
                if once:
                    raise HomeError(f"cannot load: {why}", "Nothing is lost; see to it and try again.") from error
                ingest.failed(why)
                log.warning("a round failed and is tried again in %.1f s: %s", wait, why)
                dealt_with = 0
                wait = min(wait * 2, _MAX_WAIT_S)
            if dealt_with:
                ingest.tell()
                continue
            if over:
                last_chance = last_chance or time.monotonic() + (0 if once else _LAST_WAIT_S)
                if time.monotonic() >= last_chance or not spool.segments(home.spool):
                    ingest.tell()
                    return ingest.status
            time.sleep(wait)


@contextlib.contextmanager
def alone(home: Home, ended: Callable[[], bool]) -> Iterator[bool]:
    """Be the one process that ingests; false if `ended()` came before it was our turn."""
    home.refuse_changes()
    try:
        file = os.open(home.ingest_lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, PRIVATE_FILE)
    except OSError as error:
        raise HomeError(f"cannot use {home.ingest_lock}: {error.strerror}", "Make the home folder writable.") from error
    told = False
    try:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if ended():
                    yield False
                    return
                if not told:
                    log.info("another process ingests for %s; waiting for it to end", home.root)
                    told = True
                time.sleep(_POLL_S)
            else:
                yield True
                return
    finally:
        os.close(file)
