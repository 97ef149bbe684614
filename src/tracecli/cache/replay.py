"""Giving a stored answer again: its bytes exactly, and headers that say so. Pure.

https://www.rfc-editor.org/rfc/rfc9211 (Cache-Status), https://www.rfc-editor.org/rfc/rfc9111 (Age)
"""

from __future__ import annotations

import re
from typing import NamedTuple

import msgspec

from tracecli.cache.entries import Entry
from tracecli.credentials import is_credential_header
from tracecli.exchange import CacheStatus, Headers
from tracecli.wire.encodings import decode

_HOP_BY_HOP = frozenset(
    {
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
# Of the moment, or of one client: limits, cookies; and what is made afresh.
_OF_THE_MOMENT = re.compile(
    r"set-cookie2?|retry-after.*|x-should-retry|.*rate-?limit.*|.*-call-(limit|remaining)|server-timing"
    r"|content-length|age|cache-status|alt-svc|x-tracecli-.*",
    re.IGNORECASE,
)
_FORWARDED = {"miss": "fwd=miss", "stored": "fwd=miss", "stale": "fwd=stale", "collapsed": "fwd=miss; collapsed"}
_TOKEN = re.compile(r"[A-Za-z*][A-Za-z0-9!#$%&'*+.^_`|~:/-]*")


class Answer(NamedTuple):
    """An answer of ours."""

    status: int
    headers: Headers
    body: bytes


def stored_headers(headers: Headers) -> Headers:
    """Of an answer's headers those that belong to it whenever it is given."""
    named = {name.strip().lower() for key, value in headers if key.lower() == "connection" for name in value.split(",")}
    return [(name, value) for name, value in headers if name.lower() not in named and _lasts(name)]


def _lasts(name: str) -> bool:
    return not (name.lower() in _HOP_BY_HOP or _OF_THE_MOMENT.fullmatch(name) or is_credential_header(name))


def answer(entry: Entry, request_headers: Headers, now: float, ttl_s: float, *, collapsed: bool = False) -> Answer:
    """A stored answer for a client; `now` is Unix time, `ttl_s` for how long the policy lets it be given.

    A client that does not take the content encoding it is stored in gets it decoded.
    """
    headers, body = list(entry.headers), entry.body
    encoding = ", ".join(value for name, value in headers if name.lower() == "content-encoding")
    if encoding and not accepts(request_headers, encoding):
        plain, error = decode(encoding, body)
        if error is None:
            body = plain
            headers = [pair for pair in headers if pair[0].lower() != "content-encoding"]
    age = max(0.0, now - entry.stored_at)
    told = _FORWARDED["collapsed"] if collapsed else f"hit; ttl={max(0, int(ttl_s - age))}"
    told += f'; key="{entry.key[:8].hex()}"'
    headers += [
        ("Content-Length", str(len(body))),
        ("Age", str(int(age))),
        ("Cache-Status", f"tracecli; {told}"),
    ]
    return Answer(entry.status, headers, body)


def cache_status(status: CacheStatus, detail: str | None) -> str:
    """`Cache-Status` of an answer from upstream: why the cache did not answer."""
    if status == "bypass":
        told = "fwd=request" if detail in ("no-cache", "max-age") else "fwd=bypass"
    else:
        told = _FORWARDED.get(status, "fwd=miss")
    if detail is None:
        return f"tracecli; {told}"
    return f"tracecli; {told}; detail={detail if _TOKEN.fullmatch(detail) else 'other'}"


def only_if_cached_failed() -> Answer:
    """For a request that asks for a stored answer or none (RFC 9111, 5.2.1.7)."""
    message = "tracecli has no stored answer for this request, which asked for nothing else (only-if-cached)."
    body = msgspec.json.encode({"error": {"type": "not_cached", "message": message}})
    headers = [
        ("Content-Type", "application/json"),
        ("Content-Length", str(len(body))),
        ("Cache-Status", "tracecli; detail=only-if-cached"),
    ]
    return Answer(504, headers, body)


def accepts(request_headers: Headers, encoding: str) -> bool:
    """Whether a client takes a content encoding, stacked ones too (RFC 9110, 12.5.3). By default only `identity`."""
    weights: dict[str, float] = {}
    for name, value in request_headers:
        if name.lower() == "accept-encoding":
            for choice in value.split(","):
                coding, _, parameter = choice.strip().lower().partition(";")
                weights[coding.strip()] = _weight(parameter)
    wanted = [coding.strip().lower() for coding in encoding.split(",")]
    return all(coding in ("", "identity") or weights.get(coding, weights.get("*", 0.0)) > 0 for coding in wanted)


def _weight(parameter: str) -> float:
    name, _, value = parameter.strip().partition("=")
    if name.strip() != "q":
        return 1.0
    try:
        return float(value)
    except ValueError:
        return 0.0
