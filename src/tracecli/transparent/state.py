"""What the guard leaves in /run for those who come after it: one file for each network namespace, for root alone.

The guard holds the file locked as long as it lives. Whoever gets the lock finds what a guard that was killed has left
to be taken back. A restart of the machine takes the file away, and with it all that it speaks of.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec

from tracecli.config import PRIVATE_FILE
from tracecli.errors import FirewallError
from tracecli.transparent.rules import Interception, Setting

_RUN = Path("/run")
_OTHERS_LOOK_S = 0.2
"""Who only looks has the lock for a moment."""


class State(msgspec.Struct):
    """What is set in this network namespace, and by whom; written before it is set."""

    interception: Interception
    firewall: str
    home: str
    guard: int
    """Its process."""
    set: bool = True
    """False: all was taken back, and only `ended` is left to be told."""
    settings: tuple[Setting, ...] = ()
    proxy: int | None = None
    """Its process."""
    proxy_started: int | None = None
    """In ticks since the machine was: names the process with its number."""
    since: float = 0.0
    """Unix time."""
    ended: str | None = None
    """Why it is over, if nobody asked for that."""


class Taken(Exception):
    """A guard lives; `state` is what it wrote."""

    def __init__(self, state: State | None) -> None:
        super().__init__()
        self.state = state


def _path() -> Path:
    """By the number of the network namespace: rules belong to one, and so does what is to be known of them."""
    return _RUN / f"tracecli-transparent-{Path('/proc/self/ns/net').stat().st_ino}.json"


class Held:
    """The file, locked."""

    def __init__(self, file: int, path: Path) -> None:
        self._file = file
        self._path = path
        self.state = _read(file)

    def write(self, state: State) -> None:
        """Replace what it says."""
        self.state = state
        content = msgspec.json.encode(state)
        os.pwrite(self._file, content, 0)
        os.truncate(self._file, len(content))
        os.fsync(self._file)

    def forget(self) -> None:
        """There is nothing to be known any more."""
        self.state = None
        os.truncate(self._file, 0)

    def remove(self) -> None:
        """Take the file away."""
        self._path.unlink(missing_ok=True)


@contextlib.contextmanager
def held() -> Iterator[Held]:
    """The file, made if there is none and locked until the end; then it is removed if nothing is to be known.

    Raises Taken if a guard lives, FirewallError if it cannot be used.
    """
    path = _path()
    try:
        file = _locked(path)
    except OSError as error:
        raise FirewallError(f"cannot use {path}: {error.strerror}", "It has to be root's, and writable.") from error
    try:
        held = Held(file, path)
        try:
            yield held
        finally:
            if held.state is None:
                held.remove()
    finally:
        os.close(file)


def _locked(path: Path) -> int:
    """The file's descriptor. Raises Taken, OSError."""
    deadline = time.monotonic() + _OTHERS_LOOK_S
    while True:
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, PRIVATE_FILE)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if path.exists() and path.stat().st_ino == os.fstat(file).st_ino:
                return file
        except BlockingIOError:
            if time.monotonic() > deadline:
                state = _read(file)
                os.close(file)
                raise Taken(state) from None
            time.sleep(_OTHERS_LOOK_S / 5)
        os.close(file)  # or it was removed meanwhile


def seen() -> tuple[State | None, bool]:
    """What the file says, and whether a guard lives. Raises FirewallError if it cannot be read."""
    path = _path()
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return None, False
    except OSError as error:
        raise FirewallError(f"cannot read {path}: {error.strerror}", "Look as root.") from error
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return _read(file), False
    except BlockingIOError:
        return _read(file), True
    finally:
        os.close(file)


def _read(file: int) -> State | None:
    try:
        return msgspec.json.decode(os.pread(file, 1 << 20, 0), type=State)
    except msgspec.DecodeError:  # nothing is written yet
        return None
