"""How many connections each worker has, for the others to see."""

from __future__ import annotations

import mmap
import os
from typing import Self


class Counts:
    """Numbers in memory that processes share: a slot for each worker, and none in it while it does not accept.

    A slot is written by one process, and read by all without a lock: a number that is old for a moment does no harm.
    """

    SLOTS = 256
    _CLOSED = -1

    def __init__(self, fd: int) -> None:
        self._slots = memoryview(mmap.mmap(fd, self.SLOTS * 4)).cast("i")

    @classmethod
    def make(cls, fd: int) -> Self:
        """In this empty file."""
        os.truncate(fd, cls.SLOTS * 4)
        counts = cls(fd)
        for slot in range(cls.SLOTS):
            counts.close(slot)
        return counts

    def say(self, slot: int, connections: int) -> None:
        """So many."""
        self._slots[slot] = connections

    def close(self, slot: int) -> None:
        """Nobody accepts here."""
        self._slots[slot] = self._CLOSED

    def fewest(self) -> int:
        """Of all who accept; 0 if nobody does."""
        return min((count for count in self._slots if count != self._CLOSED), default=0)
