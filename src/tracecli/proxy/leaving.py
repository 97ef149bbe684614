"""How a worker ends, and a proxy that another process started for itself: it accepts no more, and lets what it has
begun come to its end.

SIGTERM, SIGINT, or the end of the process that started it: it ends when no exchange is on its way, or after eight
seconds. A second SIGTERM ends it at once.

SIGHUP: another worker takes its place. Each connection ends with its next answer, which says so. The worker ends when
no connection is left, or only such as have been silent for a minute without an exchange on its way, or after ten
minutes.

Runs in the event loop of the proxy, whose standard input ends with the process that started it.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time

from mitmproxy import ctx

_SOON_S = 8.0
_LATE_S = 600.0
_SILENT_S = 60.0
_LOOK_AGAIN_S = 0.05


def when_told() -> None:
    """Listen for what ends a worker, in the place of mitmproxy's own handlers."""
    loop = asyncio.get_running_loop()
    leaving = _Leaving()
    loop.add_signal_handler(signal.SIGTERM, leaving.soon)
    loop.add_signal_handler(signal.SIGINT, leaving.soon)
    loop.add_signal_handler(signal.SIGHUP, leaving.in_time)
    stdin = sys.stdin.fileno()

    def heard() -> None:
        if not os.read(stdin, 1024):
            loop.remove_reader(stdin)
            leaving.soon()

    loop.add_reader(stdin, heard)


class _Leaving:
    """The end of this process."""

    def __init__(self) -> None:
        self._soon = False
        self._deadline = 0.0
        self._waiting: asyncio.Task[None] | None = None

    def soon(self) -> None:
        """End after the exchanges that are on their way; told again, at once."""
        if self._soon:
            ctx.master.shutdown()
        self._soon = True
        self._begin(_SOON_S)

    def in_time(self) -> None:
        """End after the connections that there are."""
        if self._waiting is None:
            self._begin(_LATE_S)

    def _begin(self, patience_s: float) -> None:
        self._deadline = time.monotonic() + patience_s
        if self._waiting is None:
            ctx.options.update(server=False)
            ctx.master.addons.get("tracecli").lane.leaving = True
            self._waiting = asyncio.get_running_loop().create_task(self._wait())

    async def _wait(self) -> None:
        while time.monotonic() < self._deadline and self._has_work():  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(_LOOK_AGAIN_S)
        ctx.master.shutdown()

    def _has_work(self) -> bool:
        if ctx.master.addons.get("tracecli").lane.busy:
            return True
        connections = ctx.master.addons.get("proxyserver").connections.values()
        silent_since = time.time() - _SILENT_S
        return not self._soon and any(one.timeout_watchdog.last_activity > silent_since for one in connections)
