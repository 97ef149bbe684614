"""Credentials in requests and answers: found, fingerprinted, taken out. Pure.

What counts as one: the headers and query keys named here, and any whose name says so (`...-api-key`, `...-token`, ...).
"""

from __future__ import annotations

import hashlib
import hmac
import re
from functools import lru_cache
from urllib.parse import unquote_plus

from tracecli.exchange import Headers

REDACTED = "[redacted]"
_MAX_MET_CHARS = 512

_HEADERS = re.compile(
    r"authorization|cookie|secret|password|credential|signature|api-?key|subscription-key|virtual-key|helicone-auth"
    r"|(?:^|[-_])(?:token|auth|key)$|csrf",
    re.IGNORECASE,
)
# A name that says "token" and counts them: x-ratelimit-limit-tokens ends in "tokens"; these end in "token".
_NO_CREDENTIAL = frozenset({"sec-websocket-key", "idempotency-key", "x-idempotency-key", "anthropic-idempotency-key"})
_QUERY = re.compile(
    r"^(?:key|sig|auth|code|token|password|secret|(?:.*[-_.])?(?:api[-_]?key|token|secret|signature|credential))$",
    re.IGNORECASE,
)
# Where clients put the key of the call itself, in the order of asking.
_KEYS = ("authorization", "x-api-key", "api-key", "x-goog-api-key")
_SIGV4 = re.compile(r"^AWS4-[A-Z0-9-]+ Credential=([^/,\s]+)")
# Browsers can set no header on a WebSocket: OpenAI's realtime API takes the key as a subprotocol.
_IN_PROTOCOL = re.compile(r"(insecure-api-key\.)[^,\s]+")
_SCHEME = re.compile(r"^(?P<scheme>[A-Za-z][A-Za-z0-9_-]*) +(?P<value>.+)$", re.DOTALL)


@lru_cache(maxsize=1024)
def is_credential_header(name: str) -> bool:
    """Whether a header of this name carries a credential."""
    return name.lower() not in _NO_CREDENTIAL and _HEADERS.search(name) is not None


def is_credential_query(name: str) -> bool:
    """Whether a query key of this name, as in the URL, carries a credential."""
    return _QUERY.match(unquote_plus(name)) is not None


def redact_headers(headers: Headers) -> Headers:
    """The headers with each credential replaced; an authentication scheme such as `Bearer` stays readable."""
    return [
        (name, _redact_value(value) if is_credential_header(name) else _redact_protocol(value))
        for name, value in headers
    ]


def _redact_protocol(value: str) -> str:
    return _IN_PROTOCOL.sub(rf"\1{REDACTED}", value) if "insecure-api-key." in value else value


def _redact_value(value: str) -> str:
    match = _SCHEME.match(value)
    return f"{match['scheme']} {REDACTED}" if match else REDACTED


def redact_path(path: str) -> str:
    """A request target with each credential in its query replaced."""
    target, mark, query = path.partition("?")
    if not mark:
        return path
    pairs = [pair.partition("=") for pair in query.split("&")]
    return (
        target
        + mark
        + "&".join(
            name + equals + (REDACTED if equals and is_credential_query(name) else value)
            for name, equals, value in pairs
        )
    )


def secrets_of(headers: Headers, path: str) -> list[str]:
    """The bare credential values of a request, longest first: for taking them out where they were repeated."""
    values = {_bare(value) for name, value in headers if is_credential_header(name)}
    _, _, query = path.partition("?")
    for pair in query.split("&") if query else ():
        name, _, value = pair.partition("=")
        if is_credential_query(name):
            values |= {value, unquote_plus(value)}
    return sorted((value for value in values if len(value) >= 16), key=len, reverse=True)


def _bare(value: str) -> str:
    match = _SCHEME.match(value.strip())
    return match["value"].strip() if match else value.strip()


def fingerprint(headers: Headers, path: str, secret: bytes) -> str | None:
    """`key:` and 16 hex digits that stand for the caller's credential, or None if it sent none.

    An HMAC-SHA256 with a secret of this machine: equal for equal keys, whichever header carries them, and useless
    for guessing them. AWS signatures change with each request: there the access key id is taken.
    """
    values = {lower: value for name, value in reversed(headers) if (lower := name.lower()) in _KEYS}
    found = next((values[name] for name in _KEYS if values.get(name, "").strip()), None)
    if found is None and "?" in path:
        _, _, query = path.partition("?")
        pairs = (pair.partition("=") for pair in query.split("&"))
        found = next((unquote_plus(value) for name, _, value in pairs if name in ("key", "api_key", "api-key")), None)
    if not found:
        return None
    aws = _SIGV4.match(found)
    credential = aws[1] if aws else _bare(found)
    look = _met if len(credential) <= _MAX_MET_CHARS else fingerprint_of
    return look(credential, secret)


def fingerprint_of(credential: str, secret: bytes) -> str:
    """What stands for a bare credential."""
    return "key:" + hmac.digest(secret, credential.encode("utf-8", "surrogateescape"), hashlib.sha256).hex()[:16]


_met = lru_cache(maxsize=1024)(fingerprint_of)
