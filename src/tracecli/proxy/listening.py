"""The listening socket that several proxy processes share, from the side of one of them.

The process that started them (`workers.py`) made it, and they inherit it. What nobody has accepted yet waits in the one
queue of the socket, so a worker that ends loses nothing; with SO_REUSEPORT each would have a queue that ends with it.
Connections spread as evenly as there, as long as no worker takes more than one at a time.

`use_socket` replaces a method of mitmproxy that is not its public interface: only where it is the one that it was made
for.
"""

from __future__ import annotations

import asyncio
import hashlib
import inspect
import socket
from typing import Any

from mitmproxy import ctx, version
from mitmproxy.proxy.mode_servers import AsyncioServerInstance

from tracecli.errors import ConfigError
from tracecli.lanes.dispatch import MADE_FOR
from tracecli.proxy import leaving
from tracecli.proxy.workers import BACKLOG

_DIGEST = "56b3417bab5e976f"
_FOR_ONE_PROCESS = ("save_stream_file", "hardump", "rfile", "client_replay")


def use_socket(fd: int) -> None:
    """Have mitmproxy serve this inherited socket in place of one of its own, as a worker does (`leaving.py`).

    Raises ConfigError if this mitmproxy is another one than this was made for, or `fd` is no socket.
    """
    if fingerprint() != _DIGEST:
        raise ConfigError(
            f"--workers was made for mitmproxy {MADE_FOR}, and this is {version.VERSION}", "Leave out --workers."
        )
    try:
        inherited = socket.socket(fileno=fd)
    except OSError as error:
        raise ConfigError(f"--listen-fd {fd} is no socket: {error.strerror}", "Leave it to --workers.") from error

    async def listen(instance: AsyncioServerInstance[Any], *_: object) -> list[asyncio.Server]:
        for option in _FOR_ONE_PROCESS:
            if getattr(ctx.options, option, None):
                raise ValueError(f"tracecli: the option {option} is for one process. Leave out --workers.")
        # asyncio, unlike uvloop, takes as many connections at a time as `backlog` says, and leaves none to the others.
        greedy = isinstance(asyncio.get_running_loop(), asyncio.SelectorEventLoop)
        server = await asyncio.start_server(instance.handle_stream, sock=inherited, backlog=1 if greedy else BACKLOG)
        inherited.listen(BACKLOG)
        leaving.when_told()
        return [server]

    AsyncioServerInstance.listen = listen  # type: ignore[method-assign, assignment]


def fingerprint() -> str:
    """Of the method that is replaced, and of those that rely on it."""
    methods = (AsyncioServerInstance.listen, AsyncioServerInstance._start, AsyncioServerInstance._stop)
    code = "".join(inspect.getsource(method) for method in methods)
    return hashlib.sha256(code.encode()).hexdigest()[:16]
