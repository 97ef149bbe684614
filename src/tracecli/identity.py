"""Who does a request belong to? Pure.

In this order, first match wins: one of the configured user headers, the user that the proxy authenticated, the API's
own user field, the fingerprint of the credential, else `anonymous`. The record says which of them it was.

A header and an API field are claims. Where a policy binds the user that they name to credentials, the claim counts
only beside one of those.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Literal, NamedTuple

from tracecli.credentials import fingerprint
from tracecli.exchange import Headers

DEFAULT_USER_HEADERS = ("X-Tracecli-User",)
OWN_PREFIX = "x-tracecli-"
MAX_USER_LENGTH = 200
BY_PROXY = "proxy"
"""Binds a user to the proxy's password, in place of a credential's fingerprint."""

_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f]")

type UserSource = Literal["header", "proxy", "api", "credential", "anonymous"]


class Identity(NamedTuple):
    """A user and how it was found."""

    user: str
    source: UserSource
    credential: str | None = None
    """The fingerprint of the request's credential."""
    refused: str | None = None
    """The user that was claimed without the credential that it is bound to."""


def identify(
    headers: Headers,
    path: str,
    user_headers: Sequence[str],
    secret: bytes,
    *,
    proxy_user: str | None = None,
    api_user: Callable[[], str | None] = lambda: None,
    bound_to: Callable[[str], Sequence[str]] = lambda user: (),
) -> Identity:
    """Decide whose request this is.

    `user_headers` are lower-case names. Of a repeated header the first value that is not empty counts; control
    characters are dropped and long values cut to `MAX_USER_LENGTH` characters. `api_user` is asked only when it
    matters; `bound_to` gives the credentials that a user is bound to, fingerprints or `BY_PROXY`.
    """
    names = [name.lower() for name, _ in headers]
    credential = fingerprint(headers, path, secret)
    refused = None

    def claims() -> Iterator[tuple[str, UserSource]]:
        for wanted in user_headers:
            if wanted not in names:
                continue
            given = (clean(value) for name, (_, value) in zip(names, headers, strict=True) if name == wanted)
            if user := next(filter(None, given), ""):
                yield user, "header"
                break
        if proxy_user:
            yield proxy_user, "proxy"
        if user := clean(api_user() or ""):
            yield user, "api"

    for user, source in claims():
        bound = bound_to(user)
        if not bound or credential in bound or (BY_PROXY in bound and proxy_user == user):
            return Identity(user, source, credential, refused)
        refused = refused or user
    if credential:
        return Identity(credential, "credential", credential, refused)
    return Identity("anonymous", "anonymous", None, refused)


def clean(value: str) -> str:
    """A header value as a name: valid Unicode, no control characters, no outer spaces, not too long."""
    text = value.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    return _CONTROLS.sub("", text).strip()[:MAX_USER_LENGTH].strip()


def own_names(headers: Headers, user_headers: Sequence[str]) -> frozenset[str]:
    """The headers that are meant for us and must not go upstream. All names are lower-case, `user_headers` too."""
    names = [name.lower() for name, _ in headers]
    return frozenset(name for name in names if name.startswith(OWN_PREFIX) or name in user_headers)
