"""The listening socket that several proxy processes share, from the side of one of them.

The process that started them (`workers.py`) made it, and they inherit it. What nobody has accepted yet waits in the one
queue of the socket, so a worker that ends loses nothing; with SO_REUSEPORT each would have a queue that ends with it.

Whoever is idle sees a new connection first, and a client that opens many, one after the other, would have them all with
one worker. So each tells the others how many it has (`Counts`), and one that has more than another leaves a new one to
it for a moment.

`use_socket` replaces a method of mitmproxy that is not its public interface: only where it is the one that it was made
for.
"""

from __future__ import annotations

import asyncio
import hashlib
import inspect
import logging
import socket
from collections.abc import Awaitable, Callable
from typing import Any

from mitmproxy import ctx, version
from mitmproxy.proxy.mode_servers import AsyncioServerInstance

from tracecli.errors import ConfigError
from tracecli.lanes.dispatch import MADE_FOR
from tracecli.proxy import leaving
from tracecli.proxy.counts import Counts
from tracecli.proxy.runner import Inherited

log = logging.getLogger(__name__)

_DIGEST = "56b3417bab5e976f"
_FOR_ONE_PROCESS = ("save_stream_file", "hardump", "rfile", "client_replay")
_LEAVE_IT_S = 0.001
"""Who has fewer connections and does not take a new one in this time is busy."""
_NO_MORE_S = 1.0
"""Until it is tried again, where no more files can be open."""


class _Accepting:
    """Takes connections, one at a time; what mitmproxy needs of an `asyncio.Server`."""

    def __init__(
        self,
        listening: socket.socket,
        counts: Counts,
        slot: int,
        serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
    ) -> None:
        self.sockets = (listening,)
        self._listening = listening
        self._counts = counts
        self._slot = slot
        self._serve = serve
        self._loop = asyncio.get_running_loop()
        self._connections = 0
        self._closed = False
        self._waiting: asyncio.TimerHandle | None = None
        self._begun: set[asyncio.Task[Any]] = set()
        listening.setblocking(False)
        counts.say(slot, 0)
        self._loop.add_reader(listening, self._somebody_came)

    def close(self) -> None:
        """Accept no more."""
        self._closed = True
        self._loop.remove_reader(self._listening)
        if self._waiting:
            self._waiting.cancel()
        self._counts.close(self._slot)
        self._listening.close()

    def _somebody_came(self) -> None:
        if self._connections <= self._counts.fewest():
            self._accept()
        else:
            self._wait(_LEAVE_IT_S)

    def _wait(self, seconds: float) -> None:
        self._loop.remove_reader(self._listening)
        self._waiting = self._loop.call_later(seconds, self._waited)

    def _waited(self) -> None:
        self._waiting = None
        self._loop.add_reader(self._listening, self._somebody_came)
        self._accept()

    def _accept(self) -> None:
        try:
            connection, _ = self._listening.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):  # another worker has it, or it has left
            return
        except OSError as error:
            log.warning("tracecli: cannot accept a connection: %s", error)
            self._wait(_NO_MORE_S)
            return
        connection.setblocking(False)
        self._count(1)
        begun = self._loop.create_task(self._begin(connection))
        self._begun.add(begun)
        begun.add_done_callback(self._begun.discard)

    async def _begin(self, connection: socket.socket) -> None:
        reader = asyncio.StreamReader()
        protocol = asyncio.StreamReaderProtocol(reader, self._served)
        try:
            await self._loop.connect_accepted_socket(lambda: protocol, connection)
        except OSError:  # it left at once
            connection.close()
            self._count(-1)

    async def _served(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await self._serve(reader, writer)
        finally:
            self._count(-1)

    def _count(self, change: int) -> None:
        self._connections += change
        if not self._closed:
            self._counts.say(self._slot, self._connections)


def use_socket(inherited: Inherited) -> None:
    """Have mitmproxy serve an inherited socket in place of one of its own, as a worker does (`leaving.py`).

    Raises ConfigError if this mitmproxy is another one than this was made for, or what is inherited is no socket.
    """
    if fingerprint() != _DIGEST:
        raise ConfigError(
            f"--workers was made for mitmproxy {MADE_FOR}, and this is {version.VERSION}", "Leave out --workers."
        )
    try:
        listening = socket.socket(fileno=inherited.socket_fd)
        counts = Counts(inherited.counts_fd)
    except (OSError, ValueError) as error:
        raise ConfigError(f"--inherited {inherited} cannot be used: {error}", "Leave it to --workers.") from error

    async def listen(instance: AsyncioServerInstance[Any], *_: object) -> list[_Accepting]:
        for option in _FOR_ONE_PROCESS:
            if getattr(ctx.options, option, None):
                raise ValueError(f"tracecli: the option {option} is for one process. Leave out --workers.")
        leaving.when_told()
        return [_Accepting(listening, counts, inherited.slot, instance.handle_stream)]

    AsyncioServerInstance.listen = listen  # type: ignore[method-assign, assignment]


def fingerprint() -> str:
    """Of the method that is replaced, and of those that rely on it."""
    methods = (AsyncioServerInstance.listen, AsyncioServerInstance._start, AsyncioServerInstance._stop)
    code = "".join(inspect.getsource(method) for method in methods)
    return hashlib.sha256(code.encode()).hexdigest()[:16]
