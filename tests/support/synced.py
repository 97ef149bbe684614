"""What would be left after a power cut, by the letter of POSIX: what was brought to the disk, and nothing else.

Real file systems keep more: their journals bring names to the disk that nobody asked for. Here a file is as long as it
was when it was synchronised last, and has the names that its folders had when these were.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest


class Synced:
    """Watches `fsync` and `fdatasync` of this process from now on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._sizes: dict[int, int] = {}
        self._names: dict[Path, dict[str, int]] = {}
        for name in ("fsync", "fdatasync"):
            monkeypatch.setattr(os, name, self._noting(getattr(os, name)))

    def _noting(self, synchronise: Callable[[int], None]) -> Callable[[int], None]:
        def noting(file: int) -> None:
            path = Path(f"/proc/self/fd/{file}").readlink()
            if path.is_dir():
                self._names[path] = {one.name: one.stat().st_ino for one in path.iterdir()}
            else:
                about = os.fstat(file)
                self._sizes[about.st_ino] = about.st_size
            synchronise(file)

        return noting

    def names(self, folder: Path) -> set[str]:
        """What would be in a folder."""
        return set(self._names.get(folder, ()))

    def content(self, path: Path) -> bytes:
        """What would be in a file that is still there; nothing, if its name would not be."""
        inode = self._names.get(path.parent, {}).get(path.name)
        return b"" if inode is None else path.read_bytes()[: self._sizes.get(inode, 0)]
