"""Tickets: what `tracecli run` and `tracecli env` say of the calls of a program, signed, in the place of a password.

Every client that takes a proxy's URL sends the user and password in it to the proxy, also one that cannot send headers
of ours. A ticket is such a password. It holds who the calls belong to, their session and their policy, and a signature
made with the home's secret: whoever can make one can read the home, and could register users and edit policies as well.
Nothing is written down for it, so nothing has to be taken back. Pure.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac

import msgspec

PROXY_USER = "run"
"""The user name beside a ticket; the ticket itself says who it is for."""
LASTS_S = 30 * 86400.0
"""So long a ticket is good for; a program that runs longer goes on without one."""


class Ticket(msgspec.Struct, frozen=True, omit_defaults=True):
    """What holds for the requests of a connection."""

    user: str | None = None
    """Who they belong to; None: what else says so counts."""
    session: str | None = None
    """Their session, where they name none in a header."""
    policy: str | None = None
    """Goes before the policies that would apply."""
    until: float = 0.0
    """Unix time."""


def issue(secret: bytes, ticket: Ticket) -> str:
    """The ticket as a password: letters, digits, `-`, `_` and one `.`, which no URL needs to escape."""
    told = _text(msgspec.json.encode(ticket))
    return f"{told}.{_text(_signature(secret, told))}"


def read(secret: bytes, password: str, now: float) -> Ticket | None:
    """The ticket in a password; None if it is none, was signed with another secret, or is over at this Unix time."""
    told, _, signature = password.partition(".")
    try:
        if not hmac.compare_digest(_signature(secret, told), _bytes(signature)):
            return None
        ticket = msgspec.json.decode(_bytes(told), type=Ticket)
    except (binascii.Error, ValueError):
        return None
    return ticket if now < ticket.until else None


def _signature(secret: bytes, told: str) -> bytes:
    # A key of its own: what is signed here can be no fingerprint of a credential, and the other way round.
    key = hmac.digest(secret, b"tracecli ticket 1", hashlib.sha256)
    return hmac.digest(key, told.encode("utf-8", "surrogateescape"), hashlib.sha256)


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _bytes(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
