"""Identical requests in flight: one leads, the others wait, and nobody is left waiting."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.entries import entry
from tracecli.cache.flights import Flight, Flights, Waiting

ENTRY = entry()


@pytest.fixture
def flights() -> Flights:
    return Flights()


def led(flights: Flights, key: bytes = b"k") -> Flight:
    """A flight with a leader."""
    flight = flights.lead(key)
    assert flight is not None
    return flight


def joined(flights: Flights, key: bytes = b"k") -> Waiting:
    """Somebody who waits."""
    waiting = flights.join(key)
    assert waiting is not None
    return waiting


def test_one_leads(flights: Flights) -> None:
    """There is one leader for a key; with another key there is another flight."""
    assert flights.join(b"k") is None
    led(flights)
    assert flights.lead(b"k") is None
    assert flights.lead(b"other") is not None


def test_all_get_the_answer(flights: Flights) -> None:
    """An answer reaches everybody, before or after they asked to be woken; then the flight is over."""
    flight = led(flights)
    first, second = joined(flights), joined(flights)
    woken: list[str] = []
    first.on_wake(lambda: woken.append("first"))
    flight.landed(ENTRY)
    second.on_wake(lambda: woken.append("second"))
    assert woken == ["first", "second"]
    assert first.outcome is second.outcome is ENTRY
    assert flights.join(b"k") is None


def test_without_an_answer_all_ask_for_themselves(flights: Flights) -> None:
    """An answer that is none to share sends everybody upstream at once."""
    flight = led(flights)
    waiting = [joined(flights) for _ in range(3)]
    flight.dispersed()
    assert {one.outcome for one in waiting} == {"ask"}
    assert not flights.live


def test_the_next_one_leads(flights: Flights) -> None:
    """If the leader's client leaves, one leads and the rest wait on; with nobody left, the flight is over."""
    flight = led(flights)
    first, second = joined(flights), joined(flights)
    flight.left()
    assert (first.outcome, second.outcome) == ("lead", None)
    flight.left()
    assert second.outcome == "lead"
    flight.left()
    assert not flights.live


def test_who_gives_up_is_not_waited_for(flights: Flights) -> None:
    """A request that waited too long asks for itself, and is not made the leader."""
    flight = led(flights)
    first, second = joined(flights), joined(flights)
    first.give_up()
    assert first.outcome == "ask"
    flight.left()
    assert second.outcome == "lead"


def test_a_late_end_leaves_the_next_flight_alone(flights: Flights) -> None:
    """A flight that is over does not end one that began after it."""
    old = led(flights)
    old.dispersed()
    new = led(flights)
    waiting = joined(flights)
    old.landed(ENTRY)
    old.left()
    assert waiting.outcome is None
    assert flights.live == {b"k": new}


@given(st.lists(st.sampled_from(["lead", "join", "land", "disperse", "leave", "give up"]), max_size=40))
def test_nobody_waits_for_ever(steps: list[str]) -> None:
    """Whatever happens in whatever order: who has no outcome waits in a live flight, once."""
    flights = Flights()
    ended: list[Flight] = []
    waiting: list[Waiting] = []
    for step in steps:
        flight = flights.live.get(b"k")
        if step == "lead":
            flights.lead(b"k")
        elif step == "join" and (one := flights.join(b"k")):
            waiting.append(one)
        elif step == "give up" and waiting:
            waiting[-1].give_up()
        elif flight is not None and step in ("land", "disperse", "leave"):
            ended.append(flight)
            {"land": lambda f: f.landed(ENTRY), "disperse": Flight.dispersed, "leave": Flight.left}[step](flight)
    live = [one for flight in flights.live.values() for one in flight.waiting]
    assert [one for one in waiting if one.outcome is None] == live
