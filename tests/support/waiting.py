"""Waiting for what will come: conditions with a deadline, never a fixed time."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable

PATIENCE_S = 20.0
"""Long enough for a slow machine; nothing waits that long when things work."""


def wait_until[T](
    condition: Callable[[], T | None], what: str, deadline_s: float = PATIENCE_S, every_s: float = 0.02
) -> T:
    """The first true value of `condition`; AssertionError, naming `what`, if none came in time."""
    deadline = time.monotonic() + deadline_s
    while not (value := condition()):
        assert time.monotonic() < deadline, f"waited {deadline_s:.0f} s in vain for {what}"
        time.sleep(every_s)
    return value


class Gate:
    """What one side waits for and the other lets happen, across threads and the stand-in's event loop."""

    def __init__(self) -> None:
        self._open = threading.Event()

    def open(self) -> None:
        """Let everybody pass, for good."""
        self._open.set()

    def wait(self, what: str = "a gate") -> None:
        """Wait in a thread."""
        assert self._open.wait(PATIENCE_S), f"waited {PATIENCE_S:.0f} s in vain for {what}"

    async def passed(self) -> None:
        """Wait in an event loop. Ends after the time that anybody would wait, opened or not."""
        deadline = time.monotonic() + PATIENCE_S
        while not self._open.is_set() and time.monotonic() < deadline:  # noqa: ASYNC110 - opened by another thread
            await asyncio.sleep(0.002)
