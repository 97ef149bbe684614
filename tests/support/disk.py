"""A disk of one's own, that gets full and from which the power is cut: an ext4 in a file, mounted. Needs root.

A power cut is the kernel's own: ext4's ioctl to shut down at once, without its journal. What was not brought to the
disk is gone when it is mounted again: bytes, and names of files.
"""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import os
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tests.support.waiting import wait_until

_FILL = "filler"
_SHUT_DOWN = 0x8004587D
"""EXT4_IOC_SHUTDOWN, of linux/fs/ext4/ext4.h."""
_WITHOUT_JOURNAL = 2
"""EXT4_GOING_FLAGS_NOLOGFLUSH."""


class NoDisk(Exception):
    """There can be none here; says why."""


class Disk:
    """Mounted at `folder`, which must not exist yet, until `close`. Raises NoDisk where that cannot be."""

    def __init__(self, folder: Path, megabytes: int) -> None:
        if os.geteuid() != 0:
            raise NoDisk("only root can mount a disk")
        self.folder = folder
        self._numbers = itertools.count(1)
        self._image = folder.with_name(f"{folder.name}.image")
        with self._image.open("xb") as image:
            image.truncate(megabytes << 20)
        folder.mkdir(mode=0o700)
        # No journal of much size, nothing kept for root: all of it can be filled.
        self._do("mkfs.ext4", "-q", "-F", "-m", "0", "-J", "size=4", str(self._image))
        self._mount()

    def _do(self, *command: str) -> None:
        try:
            subprocess.run(command, check=True, capture_output=True, text=True)
        except FileNotFoundError as error:
            raise NoDisk(f"there is no {command[0]}") from error
        except subprocess.CalledProcessError as error:
            raise NoDisk(f"{command[0]}: {error.stderr.strip()}") from error

    def _mount(self) -> None:
        self._do("mount", "-o", "loop", str(self._image), str(self.folder))

    def _unmount(self) -> None:
        """Once nobody uses it any more: killed processes let go of it a moment later."""

        def unmounted() -> bool:
            return subprocess.run(["umount", str(self.folder)], capture_output=True, check=False).returncode == 0

        wait_until(unmounted, f"{self.folder} to be let go of")

    def fill(self) -> None:
        """Leave no room; called again, not what was freed meanwhile either."""
        file = os.open(self.folder / _FILL, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            for size in (8 << 20, 1 << 20, 64 << 10, 4 << 10):
                with contextlib.suppress(OSError):  # less than that is left
                    while True:
                        _grow(file, size)
        finally:
            os.close(file)

    def empty(self) -> None:
        """Give the room back."""
        (self.folder / _FILL).unlink(missing_ok=True)

    def cut_power(self) -> None:
        """Nothing reaches it from now on; who writes to it gets an error."""
        file = os.open(self.folder, os.O_RDONLY)
        try:
            fcntl.ioctl(file, _SHUT_DOWN, struct.pack("I", _WITHOUT_JOURNAL))
        finally:
            os.close(file)

    def restore(self) -> None:
        """The power is back: there is what was on the disk. Whoever used it has to be gone."""
        self._unmount()
        # A copy: in another mount namespace, of whoever made one meanwhile, the old one may live on, shut down.
        old, self._image = self._image, self._image.with_suffix(f".{next(self._numbers)}")
        self._do("cp", "--sparse=always", str(old), str(self._image))
        old.unlink()
        self._mount()

    def close(self) -> None:
        """Take it away, with all that is on it."""
        self._unmount()
        self._image.unlink()


@contextlib.contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """A folder whose disk is read-only, until the end of the block; files that are open for writing stay so.

    It is mounted over itself. Raises NoDisk where that cannot be.
    """
    if os.geteuid() != 0:
        raise NoDisk("only root can mount a disk")
    done = subprocess.run(["mount", "--bind", folder, folder], capture_output=True, text=True, check=False)
    if done.returncode:
        raise NoDisk(f"mount: {done.stderr.strip()}")
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", folder], check=True, capture_output=True)
        yield
    finally:
        wait_until(
            lambda: subprocess.run(["umount", folder], capture_output=True, check=False).returncode == 0,
            f"{folder} to be let go of",
        )


def _grow(file: int, size: int) -> None:
    """Take room for so many bytes more. Raises OSError if there is not as much."""
    before = os.fstat(file).st_size
    try:
        os.posix_fallocate(file, before, size)
    except OSError:
        os.ftruncate(file, before)
        raise
