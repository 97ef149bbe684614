"""Who does a request belong to? Pure.

In this order, first match wins: one of the configured user headers, else the fingerprint of the credential, else
`anonymous`. A header is a claim; the record says which of them it was (`user_source`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal, NamedTuple

from tracecli.credentials import fingerprint
from tracecli.exchange import Headers

DEFAULT_USER_HEADERS = ("X-Tracecli-User",)
OWN_PREFIX = "x-tracecli-"
MAX_USER_LENGTH = 200

_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f]")


class Identity(NamedTuple):
    """A user and how it was found."""

    user: str
    source: Literal["header", "credential", "anonymous"]


def identify(headers: Headers, path: str, user_headers: Sequence[str], secret: bytes) -> Identity:
    """Decide whose request this is.

    `user_headers` are lower-case names. Of a repeated header the first value that is not empty counts; control
    characters are dropped and long values cut to `MAX_USER_LENGTH` characters.
    """
    for wanted in user_headers:
        for name, value in headers:
            if name.lower() == wanted and (user := clean(value)):
                return Identity(user, "header")
    if key := fingerprint(headers, path, secret):
        return Identity(key, "credential")
    return Identity("anonymous", "anonymous")


def clean(value: str) -> str:
    """A header value as a name: valid Unicode, no control characters, no outer spaces, not too long."""
    text = value.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    return _CONTROLS.sub("", text).strip()[:MAX_USER_LENGTH].strip()


def is_own(name: str, user_headers: Sequence[str]) -> bool:
    """Whether a request header is meant for us and must not go upstream. `user_headers` are lower-case names."""
    lower = name.lower()
    return lower.startswith(OWN_PREFIX) or lower in user_headers
