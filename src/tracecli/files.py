"""Writing files that are whole or not there, and private to their owner."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from tracecli.config import PRIVATE_FILE

type Shared = Callable[[int], None]
"""Opens a new file, of which it gets the descriptor, to more than its owner, before it has its name."""


def write_new(path: Path, content: bytes) -> None:
    """Write a file that must not exist yet: readers see nothing of it, or all.

    Raises FileExistsError if it exists, OSError if it cannot be written.
    """
    draft = _draft(path, content)
    try:
        os.link(draft, path)
    finally:
        draft.unlink()


def write_whole(path: Path, content: bytes, shared: Shared | None = None) -> None:
    """Write or replace a file: readers see the old content or the new one. A device or a pipe is written to.

    Raises OSError if it cannot be written; the old content stays then.
    """
    if _is_special(path):
        with path.open("wb") as special:
            special.write(content)
        return
    draft = _draft(path, content, shared)
    try:
        draft.replace(path)
    except OSError:
        draft.unlink(missing_ok=True)
        raise


def write_status(path: Path, content: bytes, shared: Shared | None = None) -> None:
    """Write or replace a small file that only tells how things are. Raises OSError if it cannot be written.

    It tells that a disk is full, too: where there is no room for a draft, it is written over in place.
    """
    try:
        write_whole(path, content, shared)
    except OSError:
        file = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.pwrite(file, content.ljust(os.fstat(file).st_size), 0)
        finally:
            os.close(file)


def to_disk(path: Path) -> None:
    """Bring a file, or the names that a folder holds, to the disk. Raises OSError."""
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(file)
    finally:
        os.close(file)


@contextlib.contextmanager
def drafted(path: Path) -> Iterator[Path]:
    """A private, empty file beside `path`, that takes its place at the end. Raises OSError.

    What was written to it goes to a device or a pipe that has the name, and does not take its place.
    """
    if _is_special(path):
        with tempfile.TemporaryDirectory() as folder:
            yield (aside := Path(folder) / path.name)
            with aside.open("rb") as written, path.open("wb") as special:
                shutil.copyfileobj(written, special)
        return
    draft = _beside(path)
    os.close(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, PRIVATE_FILE))
    try:
        yield draft
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def _is_special(path: Path) -> bool:
    """Whether there is something that is neither file nor folder, as /dev/null."""
    try:
        mode = path.stat().st_mode
    except OSError:
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def _beside(path: Path) -> Path:
    return path.with_name(f".{path.name}.{os.getpid()}.{os.urandom(4).hex()}")


def _draft(path: Path, content: bytes, shared: Shared | None = None) -> Path:
    draft = _beside(path)
    file = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, PRIVATE_FILE)
    try:
        with os.fdopen(file, "wb") as stream:
            stream.write(content)
            stream.flush()
            if shared is not None:
                shared(stream.fileno())
            os.fsync(stream.fileno())
    except BaseException:
        with contextlib.suppress(OSError):
            draft.unlink()
        raise
    return draft
