"""Preparing examples in processes of their own, one for each core; of few here, as processes take a while to start.

What comes back is in the order of the ids, however many processes there are: the result does not depend on them.
"""

from __future__ import annotations

import contextlib
import os
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from itertools import batched, chain, islice
from multiprocessing import get_context
from pathlib import Path

import msgspec

from tracecli import browse, walking
from tracecli.config import Home
from tracecli.datasets import media
from tracecli.datasets.definition import Definition
from tracecli.datasets.preparing import CHECKED, Left, Prepared, Preparer
from tracecli.exchange import Captured
from tracecli.recorded import Recorded
from tracecli.wire.encodings import decode

AT_ONCE = 1000
"""Exchanges of a piece of work."""
_FEW = 3000
_MOST_PROCESSES = 8
_GONE = "it is not recorded any more"

type Made = Prepared | Left


class _Work:
    """What a process needs for all its pieces of work."""

    def __init__(self, home: Home, definition: Definition, folder: Path | None) -> None:
        self._home = home
        self._preparer = Preparer(definition)
        self._folder = folder

    def stored(self, ids: Sequence[str]) -> list[Made]:
        """Examples of stored exchanges, in the order of their ids."""
        made = {}
        for recorded, captured in walking.each(self._home, walking.sized(self._home, ids), AT_ONCE):
            made[recorded.row.id] = self.one(recorded, captured)
        return [made.get(one) or Left(one, CHECKED, _GONE, 0) for one in ids]

    def one(self, recorded: Recorded, captured: Captured | None) -> Made:
        """An example of an exchange; the bytes of its media are put into the folder, if there is one."""
        made = self._preparer.prepared(recorded, captured)
        if self._folder and isinstance(made, Prepared) and made.media and captured is not None:
            wanted = [name for name in made.media if not (self._folder / name).exists()]
            for name, data in media.found(_bodies(captured), wanted):
                draft = self._folder / f".{name}.{os.getpid()}"
                draft.write_bytes(data)
                draft.rename(self._folder / name)
        return made


def prepared(
    home: Home,
    definition: Definition,
    ids: Iterable[list[str]],
    folder: Path | None = None,
    *,
    here: int | None = None,
) -> Iterator[Made]:
    """Of each exchange by its id, in their order, an example, or why it is none.

    The bytes of media go to `folder`, if one is given. `here`: in no other process, and so many at a time. Raises as
    `walking.each` does.
    """
    work = _Work(home, definition, folder)
    spooled = {one.exchange.id: one for one in browse.spooled(home)}
    record = browse.recorder(home)
    pieces = (list(some) for some in batched(chain.from_iterable(ids), here or AT_ONCE))
    first = [] if here else list(islice(pieces, _FEW // AT_ONCE))
    processes = min(os.cpu_count() or 1, _MOST_PROCESSES)
    with contextlib.ExitStack() as stack:
        made: Iterator[tuple[list[str], list[Made]]]
        if here or processes == 1 or len(first) < _FEW // AT_ONCE:
            made = ((some, work.stored(some)) for some in chain(first, pieces))
        else:
            pool = ProcessPoolExecutor(
                processes, get_context("spawn"), initializer=_begin, initargs=(home, definition, folder)
            )
            stack.callback(pool.shutdown, cancel_futures=True)
            made = _in_order(pool, chain(first, pieces), 2 * processes)
        for some, results in made:
            for identifier, one in zip(some, results, strict=True):
                if isinstance(one, Left) and one.why == _GONE and (captured := spooled.get(identifier)):
                    yield work.one(record(captured), captured)
                else:
                    yield one


def _in_order(
    pool: ProcessPoolExecutor, pieces: Iterator[list[str]], ahead: int
) -> Iterator[tuple[list[str], list[Made]]]:
    waiting: deque[tuple[list[str], Future[bytes]]] = deque()
    for some in pieces:
        waiting.append((some, pool.submit(_run, some)))
        if len(waiting) > ahead:
            yield _done(*waiting.popleft())
    while waiting:
        yield _done(*waiting.popleft())


def _done(some: list[str], future: Future[bytes]) -> tuple[list[str], list[Made]]:
    return some, msgspec.msgpack.decode(future.result(), type=list[Made])


_work: list[_Work] = []
"""Of this process."""


def _begin(home: Home, definition: Definition, folder: Path | None) -> None:
    _work.append(_Work(home, definition, folder))


def _run(ids: list[str]) -> bytes:
    return msgspec.msgpack.encode(_work[0].stored(ids))


def _bodies(captured: Captured) -> Iterator[bytes]:
    exchange = captured.exchange
    for headers, body in (
        (exchange.request_headers, captured.request_body),
        (exchange.response_headers, captured.response_body),
    ):
        encoding = next((value for name, value in headers if name.lower() == "content-encoding"), None)
        yield decode(encoding, body)[0] if encoding else body
