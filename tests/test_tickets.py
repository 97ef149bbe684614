"""Tickets: only who has the home's secret can make one, and for a time."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tracecli.tickets import Ticket, issue, read

SECRET = b"s" * 32
TICKET = Ticket("Zo\u00eb \U0001f600", "a session", "metered", 100.0)


def test_a_ticket_says_what_it_was_made_of() -> None:
    """It holds until its end, for the home that it was made for, and needs no escaping in a URL."""
    password = issue(SECRET, TICKET)
    assert read(SECRET, password, 99.9) == TICKET
    assert read(SECRET, password, 100.0) is None
    assert read(b"t" * 32, password, 0.0) is None
    assert all(char.isalnum() or char in "-_." for char in password)


@given(st.integers(0, 500), st.characters(), st.booleans())
def test_a_changed_ticket_is_none(place: int, char: str, insert: bool) -> None:
    """Whatever is changed, taken out or put in, it is no ticket any more, or the same one."""
    password = issue(SECRET, TICKET)
    place %= len(password)
    changed = password[:place] + char + password[place + (not insert) :]
    assert read(SECRET, changed, 0.0) is None or changed.rstrip("=") == password or _same_bits(changed, password)


def _same_bits(changed: str, password: str) -> bool:
    """The last character of base64 has bits that say nothing."""
    return changed[:-1] == password[:-1] and len(changed) == len(password)


@given(st.text())
def test_other_passwords_are_no_tickets(password: str) -> None:
    """Nothing that a client may send raises."""
    assert read(SECRET, password, 0.0) is None
