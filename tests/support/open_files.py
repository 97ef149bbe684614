"""Processes that may open no more files. Linux."""

from __future__ import annotations

import contextlib
import itertools
import resource
import socket
from collections.abc import Iterator
from pathlib import Path

from tests.support.waiting import wait_until

_ROOM = 10


@contextlib.contextmanager
def no_more_files(pid: int) -> Iterator[None]:
    """Until the end of the block whatever the process opens is refused, also in the place of what it closes."""
    soft, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    taken = _open_in(pid)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (next(n for n in itertools.count() if n not in taken), hard))
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (soft, hard))


@contextlib.contextmanager
def as_many_clients_as_it_takes(pid: int, port: int) -> Iterator[None]:
    """A server has as many connections as it may have open files, until the end of the block. Its limit stays low."""
    _, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    taken = _open_in(pid)
    limit = max(taken) + _ROOM
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (limit, hard))
    with contextlib.ExitStack() as stack:
        for _ in range(limit - len(taken)):
            stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=5))
        wait_until(lambda: len(_open_in(pid)) == limit, "all files to be taken")
        yield
    wait_until(lambda: len(_open_in(pid)) <= limit - _ROOM // 2, "connections to be closed")


def _open_in(pid: int) -> set[int]:
    return {int(path.name) for path in Path(f"/proc/{pid}/fd").iterdir()}
