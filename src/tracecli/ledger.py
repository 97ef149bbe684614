"""Who read what was recorded, and when: a ledger of JSON lines in the home, each chained to the one before.

A line says which exchanges were read, by whom and with which command, and nothing of what they hold or of what was
looked for. Its `hash` is the SHA-256 of its own canonical JSON without it, and `previous` is the hash of the line
before: a line that is changed, taken out or moved is found by `verify`. Lines that are cut off at the end are found by
who knows the hash of one of them. Whoever may write the file can make a whole chain of his own: only a hash that is
kept elsewhere shows that.

A write that was cut off leaves a torn line. It stays, the next line begins a new one and continues the last whole one.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import errno
import fcntl
import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import batched
from typing import Any, Literal

from tracecli import access, config
from tracecli.config import PRIVATE_FILE, Home
from tracecli.errors import HomeError

READ = "read"
LISTED = 1000
"""So many ids are in a line at most; of more, their number and their hash are there too."""
START = "0" * 64
"""What the first line has as the hash of the one before."""
_AT_ONCE = 1 << 16


class Running:
    """The command that this process runs. Whoever shows content need not say who he is, and cannot forget it.

    It is one for all threads: those of the terminal application begin with a context of their own.
    """

    name: Callable[[], str] = staticmethod(lambda: "python")
    """Gives its name, as `usage show`."""


type Told = str | int | bool | None


@dataclass(frozen=True)
class Entry:
    """A line that is whole."""

    number: int
    """From 1 on."""
    at: dt.datetime
    user: str
    """Whose process it was, as the system calls him."""
    uid: int
    sudo_user: str | None
    """Who became that user with sudo, as the environment says."""
    pid: int
    event: str
    """`read`, ..."""
    command: str
    """What was run: its name alone, since arguments may be content."""
    count: int
    """Of the ids."""
    ids: list[str]
    """All of them, or the first 1000."""
    ids_hash: str | None
    """Where not all are listed: the SHA-256 of all, a line each."""
    about: dict[str, Told]
    previous: str
    hash: str

    def as_json(self) -> dict[str, Any]:
        """As `--json` prints it."""
        return {**vars(self), "at": _instant(self.at)}


@dataclass(frozen=True)
class Problem:
    """What is wrong with a ledger."""

    line: int
    """Of the file, from 1 on."""
    kind: Literal["changed", "missing", "order", "torn"]
    told: str
    """In words."""


@dataclass(frozen=True)
class Verified:
    """What a ledger was found to be."""

    entries: int
    """Lines that are whole."""
    last: str
    """The hash of the last one."""
    problem: Problem | None
    """The first one; one of a torn line only if there is no other."""
    hashes: frozenset[str] = field(repr=False)

    def holds(self, expected: str) -> bool:
        """Whether a line with this hash is there."""
        return expected.strip().lower() in self.hashes


def note(home: Home, event: str, command: str, ids: Sequence[str], **about: Told) -> None:
    """Add a line, and return when it is on the disk.

    `command` is a name, such as `usage show`; neither it nor `about` may hold content or what was looked for. Raises
    HomeError if it cannot be written: what cannot be noted must not be shown.
    """
    try:
        ledger = _opened(home)
        try:
            fcntl.flock(ledger, fcntl.LOCK_EX)
            _append(ledger, _line(event, command, ids, about, *_end(ledger)))
        finally:
            os.close(ledger)
    except OSError as error:
        if home.foreign and isinstance(error, PermissionError):
            raise access.no_content(home) from error
        raise HomeError(
            f"cannot note in {home.ledger} what is read: {error.strerror}",
            "Make it writable for you: nothing is shown that is not noted.",
        ) from error


def reading(home: Home, ids: Iterable[str]) -> None:
    """Note that what these exchanges hold is shown next, in as few lines as list all ids. Raises as `note` does."""
    for some in batched(ids, LISTED):
        note(home, READ, Running.name(), some)


def entries(home: Home) -> Iterator[Entry]:
    """What was noted, oldest first. A line that is not whole is left out. Raises HomeError if it cannot be read."""
    for line, _ in _lines(home):
        if (values := _whole(line)) is not None:
            yield _entry(values)


def verify(home: Home) -> Verified:
    """Look at every line. An absent ledger has none, and nothing is wrong with it. Raises HomeError."""
    number, last = 0, START
    count = 0
    hashes: set[str] = set()
    problem: Problem | None = None
    torn: list[int] = []
    broken: list[int] = []  # torn, if the next whole line continues the last one
    gap = 0
    place, ended = 0, True
    for place, (line, ended) in enumerate(_lines(home), 1):
        values = _whole(line)
        if values is None:
            if _may_be_torn(line):
                broken.append(place)
            else:
                problem = problem or _changed(place)
            continue
        continues = values["number"] == number + 1 and values["previous"] == last
        if continues:
            torn += broken
        elif problem is None:
            gap = number + 1 if not broken else 0
            problem = _changed(broken[0]) if broken else _misplaced(place, number, values["number"])
        elif values["number"] == gap and problem.kind == "missing":
            problem = Problem(problem.line, "order", f"entry {gap} comes later, in line {place}")
        broken = []
        count += 1
        number, last = values["number"], values["hash"]
        hashes.add(last)
        if not ended:
            torn.append(place)
    if broken and ended:
        problem = problem or _changed(broken[0])
    elif broken:
        torn += broken
    if problem is None and torn:
        problem = Problem(torn[0], "torn", "it ends too soon, as when a computer stops while it is written")
    return Verified(count, last, problem, frozenset(hashes))


def _changed(line: int) -> Problem:
    return Problem(line, "changed", "it is not what was written")


def _misplaced(line: int, number: int, found: int) -> Problem:
    if found > number + 1:
        gone = f"entry {number + 1} is" if found == number + 2 else f"entries {number + 1} to {found - 1} are"
        return Problem(line, "missing", f"{gone} missing before it")
    if found == number + 1:
        return Problem(line, "changed", "it does not continue the entry before it")
    return Problem(line, "order", f"entry {found} comes after entry {number}")


def _may_be_torn(line: bytes) -> bool:
    """A beginning of a line has no end; what never got to the disk may be read as zeros."""
    written = line.rstrip(b"\0")
    return not written or (written.startswith(b"{") and not written.endswith(b"}"))


def _line(event: str, command: str, ids: Sequence[str], about: dict[str, Told], number: int, previous: str) -> bytes:
    uid = os.getuid()
    values: dict[str, Any] = {
        "number": number + 1,
        "at": _instant(dt.datetime.now(dt.UTC)),
        "user": config.user_name(uid),
        "uid": uid,
        "sudo_user": config.sudo_user(),
        "pid": os.getpid(),
        "event": event,
        "command": command,
        "count": len(ids),
        "ids": list(ids[:LISTED]),
        "ids_hash": hashlib.sha256("".join(f"{one}\n" for one in ids).encode()).hexdigest()
        if len(ids) > LISTED
        else None,
        "about": about,
        "previous": previous,
    }
    return _canonical(values | {"hash": _hash(values)})


def _canonical(values: dict[str, Any]) -> bytes:
    return json.dumps(values, sort_keys=True, separators=(",", ":")).encode("ascii")


def _hash(values: dict[str, Any]) -> str:
    return hashlib.sha256(_canonical(values)).hexdigest()


_KINDS: dict[str, type | tuple[type, ...]] = {
    "number": int,
    "at": str,
    "user": str,
    "uid": int,
    "sudo_user": (str, type(None)),
    "pid": int,
    "event": str,
    "command": str,
    "count": int,
    "ids": list,
    "ids_hash": (str, type(None)),
    "about": dict,
    "previous": str,
    "hash": str,
}


def _whole(line: bytes) -> dict[str, Any] | None:
    """The values of a line, if it is byte for byte what its hash says."""
    try:
        values = json.loads(line)
        if not isinstance(values, dict) or not all(isinstance(values.get(key), kind) for key, kind in _KINDS.items()):
            return None
        if _canonical(values) != line:
            return None
        dt.datetime.fromisoformat(values["at"])
    except (ValueError, RecursionError):
        return None
    rest = {key: value for key, value in values.items() if key != "hash"}
    return values if _hash(rest) == values["hash"] else None


def _entry(values: dict[str, Any]) -> Entry:
    known = {key: values[key] for key in _KINDS}  # a later version may say more
    return Entry(**(known | {"at": dt.datetime.fromisoformat(values["at"])}))


def _lines(home: Home) -> Iterator[tuple[bytes, bool]]:
    """The lines of the file, and whether each is ended."""
    try:
        with home.ledger.open("rb") as stream:
            fcntl.flock(stream, fcntl.LOCK_SH)  # what is being written this moment is not torn
            left = os.fstat(stream.fileno()).st_size
            fcntl.flock(stream, fcntl.LOCK_UN)
            for line in stream:
                yield line.removesuffix(b"\n"), line.endswith(b"\n")
                left -= len(line)
                if left <= 0:
                    return
    except FileNotFoundError:
        return
    except OSError as error:
        if home.foreign and isinstance(error, PermissionError):
            raise access.refused(home, home.ledger) from error
        raise HomeError(f"cannot read {home.ledger}: {error.strerror}", "Make it readable for you.") from error


def _opened(home: Home) -> int:
    """The ledger, made if it is not there; its folder is not."""
    path = home.ledger
    ledger = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW, PRIVATE_FILE)
    try:
        about = os.fstat(ledger)
        if about.st_size == 0:
            owner = path.parent.stat()
            if os.geteuid() == 0 != owner.st_uid:  # else the owner could read nothing any more
                os.fchown(ledger, owner.st_uid, owner.st_gid)
            folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        if os.geteuid() in (0, about.st_uid):
            access.share(home, "content", ledger, writable=True)
    except BaseException:
        os.close(ledger)
        raise
    return ledger


def _end(ledger: int) -> tuple[int, str]:
    """The number and the hash of the last whole line, found from the end."""
    for line in _backwards(ledger):
        if (values := _whole(line)) is not None:
            return values["number"], values["hash"]
    return 0, START


def _backwards(ledger: int) -> Iterator[bytes]:
    """The lines from the last one on, reading no more than is asked for."""
    position = os.fstat(ledger).st_size
    pieces: list[bytes] = []  # of the line that begins before `position`, the last one first
    while position > 0:
        start = max(0, position - _AT_ONCE)
        first, *lines = os.pread(ledger, position - start, start).split(b"\n")
        position = start
        if lines:
            yield lines.pop() + b"".join(reversed(pieces))
            yield from reversed(lines)
            pieces = []
        pieces.append(first)
    yield b"".join(reversed(pieces))


def _append(ledger: int, line: bytes) -> None:
    size = os.fstat(ledger).st_size
    unended = size > 0 and os.pread(ledger, 1, size - 1) != b"\n"
    whole = b"\n" * unended + line + b"\n"
    if os.write(ledger, whole) != len(whole):
        with contextlib.suppress(OSError):  # it may be allowed to grow only
            os.ftruncate(ledger, size)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    os.fsync(ledger)


def _instant(at: dt.datetime) -> str:
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
