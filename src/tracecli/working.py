"""How far a long piece of work is: told where it is done, to whoever shows it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

type Told = Callable[[int, int | None, str], None]
"""So many of so many (None: unknown) of what."""

_listeners: list[Told] = []


def listen(listener: Told | None) -> None:
    """Tell this one from now on, in place of the former; None: nobody."""
    _listeners[:] = [listener] if listener else []


def told(done: int, total: int | None, what: str) -> None:
    """So far it is."""
    for listener in _listeners:
        listener(done, total, what)


def counted[T](every: Iterable[T], total: int | None, what: str) -> Iterator[T]:
    """The same, one after the other, each told when it is asked for the next."""
    for number, one in enumerate(every, 1):
        yield one
        told(number, total, what)
