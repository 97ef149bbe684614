"""Applying a policy's redaction to what was captured, before anybody understands, stores or shows it."""

from __future__ import annotations

from functools import lru_cache

import msgspec

from tracecli.exchange import Captured, Headers
from tracecli.redaction import Rules, redact, rules

REDACTED = "redacted"
"""Marks an exchange of whose content something was taken out."""
WITHHELD = "content_withheld"
"""Marks one of which a body could not be looked into, and is not kept."""


def redacted(captured: Captured) -> Captured:
    """An exchange as its policy lets it be stored; the very same if there is nothing to take out."""
    exchange = captured.exchange
    if not exchange.traced or not (exchange.redact_kinds or exchange.redact_patterns):
        return captured
    try:
        by = _rules(tuple(exchange.redact_kinds), tuple(sorted(exchange.redact_patterns.items())))
    except ValueError:  # of a version that knew other kinds
        marked = msgspec.structs.replace(exchange, marks=[*exchange.marks, WITHHELD])
        return Captured(marked, b"", b"")
    marks: list[str] = []
    headers, request = _side(exchange.request_headers, captured.request_body, by, marks)
    response_headers, response = _side(exchange.response_headers, captured.response_body, by, marks)
    if not marks:
        return captured
    changed = msgspec.structs.replace(
        exchange,
        request_headers=headers,
        response_headers=response_headers,
        marks=[*exchange.marks, *(mark for mark in (REDACTED, WITHHELD) if mark in marks)],
    )
    return Captured(changed, request, response)


@lru_cache(maxsize=64)
def _rules(kinds: tuple[str, ...], patterns: tuple[tuple[str, str], ...]) -> Rules:
    return rules(kinds, dict(patterns))


def _side(headers: Headers, body: bytes, by: Rules, marks: list[str]) -> tuple[Headers, bytes]:
    encoding = next((value for name, value in headers if name.lower() == "content-encoding"), None)
    found = redact(body, encoding, by)
    if found.body is None:
        marks.append(WITHHELD)
        return headers, b""
    if not found.changed:
        return headers, body
    marks.append(REDACTED)
    return [pair for pair in headers if pair[0].lower() != "content-encoding"], found.body
