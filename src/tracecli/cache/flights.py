"""Identical requests at one time share one call: the first one leads, the others wait for its answer. Pure.

Used in one thread. A flight ends in one of three ways. `landed`: there is an answer, and all get it. `dispersed`: there
will be none to share (an error, too large an answer), and all who wait ask for themselves. `left`: the leader's client
is gone, which says nothing about the others: one of them leads, the rest go on waiting.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from tracecli.cache.entries import Entry


class Waiting:
    """One request that waits; `outcome` is what it has to do once `wake` was called."""

    def __init__(self, flight: Flight) -> None:
        self.flight = flight
        self.late = flight.answered
        """The answer was there already, and only had to be looked at."""
        self.outcome: Entry | Literal["lead", "ask"] | None = None
        """The answer to give, or to lead, or to ask for itself; None while nothing is decided."""
        self._wake: Callable[[], None] | None = None

    def on_wake(self, wake: Callable[[], None]) -> None:
        """Have `wake` called once, as soon as there is an outcome."""
        self._wake = wake
        if self.outcome is not None:
            wake()

    def give_up(self) -> None:
        """Wait no longer."""
        if self.outcome is None:
            self.flight.waiting.remove(self)
            self.outcome = "ask"

    def decide(self, outcome: Entry | Literal["lead", "ask"]) -> None:
        """Say what to do."""
        self.outcome = outcome
        if self._wake is not None:
            self._wake()


class Flight:
    """One call upstream whose answer others wait for."""

    def __init__(self, flights: Flights, key: bytes) -> None:
        self.key = key
        self.waiting: list[Waiting] = []
        self.answered = False
        """The leader has its answer."""
        self._flights = flights

    def landed(self, entry: Entry) -> None:
        """The answer is whole: everybody gets it."""
        for one in self._end():
            one.decide(entry)

    def dispersed(self) -> None:
        """The answer is not to be shared: everybody asks for himself."""
        for one in self._end():
            one.decide("ask")

    def left(self) -> None:
        """The leader's client is gone: the next one leads."""
        if self.waiting:
            self.waiting.pop(0).decide("lead")
        else:
            self._end()

    def _end(self) -> list[Waiting]:
        if self._flights.live.get(self.key) is self:
            del self._flights.live[self.key]
        waiting, self.waiting = self.waiting, []
        return waiting


class Flights:
    """The flights of this process by cache key."""

    def __init__(self) -> None:
        self.live: dict[bytes, Flight] = {}

    def lead(self, key: bytes) -> Flight | None:
        """Begin a flight; None if there is one."""
        if key in self.live:
            return None
        flight = self.live[key] = Flight(self, key)
        return flight

    def join(self, key: bytes, *, answered: bool = False) -> Waiting | None:
        """Wait for the flight with this key; None if there is none, or, with `answered`, none that has its answer."""
        flight = self.live.get(key)
        if flight is None or (answered and not flight.answered):
            return None
        waiting = Waiting(flight)
        flight.waiting.append(waiting)
        return waiting
