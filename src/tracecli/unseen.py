"""What passes the proxy and is not recorded: counted while it passes, and kept in the home for `tracecli coverage`.

Counts hold hosts that look like AI providers' and what kind of client it was; no address, path or user, and no name of
any other host. Each process has a file of its own in `coverage/` of the home, with the counts of its life, and holds a
lock beside it; whoever starts or ends adds the files of those that have ended to `kept.json`. That names the files that
it holds, until they are removed: none counts twice, whatever dies when.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import fcntl
import logging
import os
import re
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Literal, NamedTuple

import msgspec

from tracecli import files
from tracecli.config import PRIVATE_FILE, PRIVATE_FOLDER, Home

log = logging.getLogger(__name__)

KEPT_DAYS = 30
MAX_NAMES = 200
"""So many different counts with a host are held of a day; what comes beyond counts without its name."""

_WRITE_AGAIN_S = 5.0
_KEPT = "kept.json"
_DAY_S = 86_400
_PRODUCT = re.compile(r"[A-Za-z][A-Za-z0-9._+-]{0,29}")
_COMMENT = re.compile(r"\([^()]*\)?")
_MAX_PRODUCTS = 3

type Kind = Literal["opened", "passed", "refused", "upstream"]
"""Of a connection: opened up; passed through unopened (or a request of plain HTTP, passed unread); its client refused
our certificate; the handshake with the provider failed."""
type Reason = Literal[
    "", "unknown_ca", "bad_certificate", "certificate_unknown", "closed", "silent", "other", "untrusted"
]
"""Of a refusal: the alert of TLS; `closed`: the client left during the handshake; `silent`: right after it, before
it asked for anything. Of upstream: `untrusted`, a certificate that nobody vouches for."""
type Where = Literal["", "here", "network"]
"""Where the client is: on this machine, or elsewhere."""


class What(NamedTuple):
    """What is counted together."""

    day: int
    """Since 1970, in UTC."""
    kind: Kind
    host: str | None = None
    """None: it has none that may be written down."""
    client: str = ""
    """The products that the client calls itself when it asks the proxy for a tunnel, without versions."""
    where: Where = ""
    reason: Reason = ""


class Count(msgspec.Struct):
    """How often, and when first and last, in Unix seconds."""

    times: int
    first_at: float
    last_at: float

    def add(self, other: Count) -> None:
        """Count the other's too."""
        self.times += other.times
        self.first_at = min(self.first_at, other.first_at)
        self.last_at = max(self.last_at, other.last_at)


type Counted = dict[What, Count]


class Counts:
    """The counts of one process. The event loop counts, and another thread may copy them."""

    def __init__(self) -> None:
        self._counted: Counted = {}
        self._names: Counter[int] = Counter()
        self._today = 0
        self.number = 0
        """Of all that was counted."""

    def count(
        self,
        kind: Kind,
        host: str | None,
        now: float,
        *,
        client: str = "",
        where: Where = "",
        reason: Reason = "",
    ) -> None:
        """Count one. `host` is a name that may be written down, `now` is in Unix seconds."""
        day = int(now // _DAY_S)
        if day != self._today:
            self._today = day
            self._counted = _of_late(self._counted, now)
        what = What(day, kind, host, client, where, reason)
        held = self._counted.get(what)
        if held is None:
            if host is not None and self._names[day] >= MAX_NAMES:
                what = What(day, kind, None, "", where, reason)
            elif host is not None:
                self._names[day] += 1
            held = self._counted.setdefault(what, Count(0, now, now))
        held.times += 1
        held.last_at = now
        self.number += 1

    def copied(self) -> Counted:
        """The counts of this moment; from any thread."""
        return {what: Count(one.times, one.first_at, one.last_at) for what, one in self._counted.copy().items()}


def products(agent: str) -> str:
    """The first names in a User-Agent: of `Python/3.12 aiohttp/3.9`, `Python aiohttp`. No versions, no comments."""
    words = _COMMENT.sub(" ", agent[:500]).split()
    names = [word.partition("/")[0] for place, word in enumerate(words) if "/" in word or place == 0]
    return " ".join([name for name in dict.fromkeys(names) if _PRODUCT.fullmatch(name)][:_MAX_PRODUCTS])


class _Line(msgspec.Struct, omit_defaults=True):
    """A count as it is in a file."""

    day: int
    kind: Kind
    times: int
    first_at: float
    last_at: float
    host: str | None = None
    client: str = ""
    where: Where = ""
    reason: Reason = ""


class _File(msgspec.Struct):
    counts: list[_Line]
    holds: list[str] = []
    """The names of the files that were added to this one."""


class Keeper:
    """Keeps the counts of this process in the home."""

    def __init__(self, home: Home, counts: Counts, clock: Callable[[], float] = time.time) -> None:
        """`clock` gives Unix seconds."""
        self._clock = clock
        self._folder = home.coverage
        self._counts = counts
        self._written = 0
        self._write_again = 0.0
        self._file = self._folder / f"{uuid.uuid4().hex}.json"
        self._lock: int | None = None

    def tick(self) -> None:
        """Write the counts down if there are new ones, no oftener than every few seconds. Raises OSError."""
        if self._counts.number != self._written and time.monotonic() >= self._write_again:
            self._write_again = time.monotonic() + _WRITE_AGAIN_S
            self._write()

    def close(self) -> None:
        """Write them a last time, and add them to those that are kept. Raises OSError."""
        if self._counts.number != self._written:
            self._write()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None
            gather(self._folder, self._clock())

    def _write(self) -> None:
        if self._lock is None:
            self._folder.mkdir(mode=PRIVATE_FOLDER, exist_ok=True)
            gather(self._folder, self._clock())
            with _alone(self._folder):  # nobody takes it for that of a process that has ended
                lock = self._file.with_suffix(".lock")
                self._lock = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, PRIVATE_FILE)
                fcntl.flock(self._lock, fcntl.LOCK_EX)
        number = self._counts.number
        lines = _lines(_of_late(self._counts.copied(), self._clock()))
        files.write_whole(self._file, msgspec.json.encode(_File(lines)))
        self._written = number


def gather(folder: Path, now: float) -> None:
    """Add the counts of processes that have ended to those that are kept, and forget what is too old.

    Raises OSError if the folder cannot be written.
    """
    with _alone(folder):
        kept = _read(folder / _KEPT)
        if kept is None:
            (folder / _KEPT).replace(folder / f"{_KEPT}.damaged")
            kept = _File([])
        ended = sorted({lock.with_suffix(".json") for lock in folder.glob("*.lock")} | set(_processes(folder)))
        ended = [path for path in ended if _has_ended(path)]
        new = [path for path in ended if path.name not in kept.holds]
        if new:
            counted = _sum([kept, *(_read(path) or _File([]) for path in new)])
            lines = _lines(_bounded(_of_late(counted, now)))
            files.write_whole(folder / _KEPT, msgspec.json.encode(_File(lines, [path.name for path in ended])))
        for path in ended:
            path.unlink(missing_ok=True)
            path.with_suffix(".lock").unlink(missing_ok=True)


def read(home: Home) -> Counted:
    """All counts of a home. Raises OSError if they are there and cannot be read."""
    folder = home.coverage
    if not folder.is_dir():
        return {}
    with _alone(folder):
        kept = _read(folder / _KEPT) or _File([])
        others = [_read(path) for path in _processes(folder) if path.name not in kept.holds]
    return _sum([kept, *(one for one in others if one is not None)])


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Nobody else gathers meanwhile."""
    held = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield
    finally:
        os.close(held)


def _processes(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("[0-9a-f]*.json") if path.name != _KEPT)


def _has_ended(path: Path) -> bool:
    try:
        lock = os.open(path.with_suffix(".lock"), os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return True
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    else:
        return True
    finally:
        os.close(lock)


def _read(path: Path) -> _File | None:
    """A file of counts; None: it is damaged, or gone."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=_File)
    except FileNotFoundError:
        return _File([])
    except msgspec.DecodeError as error:
        log.warning("tracecli: %s is damaged, and is left out: %s", path, error)
        return None


def _sum(found: Iterable[_File]) -> Counted:
    counted: Counted = {}
    for one in found:
        for line in one.counts:
            what = What(line.day, line.kind, line.host, line.client, line.where, line.reason)
            _add(counted, what, Count(line.times, line.first_at, line.last_at))
    return counted


def _add(counted: Counted, what: What, one: Count) -> None:
    if what in counted:
        counted[what].add(one)
    else:
        counted[what] = Count(one.times, one.first_at, one.last_at)


def _of_late(counted: Counted, now: float) -> Counted:
    oldest = int(now // _DAY_S) - KEPT_DAYS
    return {what: one for what, one in counted.items() if what.day > oldest}


def _bounded(counted: Counted) -> Counted:
    """Of each day the names that were met most often; the others count without."""
    bounded: Counted = {}
    names: Counter[int] = Counter()
    for what, one in sorted(counted.items(), key=lambda item: -item[1].times):
        if what.host is not None and names[what.day] >= MAX_NAMES:
            what = What(what.day, what.kind, None, "", what.where, what.reason)  # noqa: PLW2901
        names[what.day] += what.host is not None
        _add(bounded, what, one)
    return bounded


def _lines(counted: Counted) -> list[_Line]:
    return [
        _Line(
            what.day, what.kind, one.times, one.first_at, one.last_at, what.host, what.client, what.where, what.reason
        )
        for what, one in counted.items()
    ]


def day_of(moment: dt.datetime) -> int:
    """The day of an instant, as counts have it."""
    return int(moment.timestamp() // _DAY_S)
