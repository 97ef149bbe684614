"""Applying a policy's redaction to what was captured, before anybody understands, stores or shows it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache

import msgspec

from tracecli.exchange import Captured, Headers
from tracecli.redaction import ALWAYS, Rules, may_hold_secret, redact, redact_text, rules

REDACTED = "redacted"
"""Marks an exchange of whose content something was taken out."""
WITHHELD = "content_withheld"
"""Marks one of which a body could not be looked into, and is not kept."""


def redacted(captured: Captured) -> Captured:
    """An exchange as it may be stored: without what its policy names, and without secrets whatever that says.

    The very same if there is nothing to take out.
    """
    exchange = captured.exchange
    if not exchange.traced:
        return captured
    named = bool(exchange.redact_kinds or exchange.redact_patterns)
    if not named and not _may_hold_secret(captured):
        return captured
    return without(captured, exchange.redact_kinds, exchange.redact_patterns)


def without(captured: Captured, kinds: Sequence[str], patterns: Mapping[str, str]) -> Captured:
    """An exchange without what these rules name, and without secrets. The very same if there is nothing to take out."""
    exchange = captured.exchange
    try:
        by = _rules(tuple(dict.fromkeys([*kinds, ALWAYS])), tuple(sorted(patterns.items())))
    except ValueError:  # of a version that knew other kinds
        marked = msgspec.structs.replace(exchange, marks=[*exchange.marks, WITHHELD])
        return Captured(marked, b"", b"")
    marks: list[str] = []
    found: list[str] = []
    sides = (
        ("request", exchange.request_headers, captured.request_body),
        ("response", exchange.response_headers, captured.response_body),
    )
    (headers, request), (response_headers, response) = (_side(*side, by, marks, found) for side in sides)
    if not marks:
        return captured
    new_marks = [mark for mark in (REDACTED, WITHHELD) if mark in marks and mark not in exchange.marks]
    changed = msgspec.structs.replace(
        exchange,
        request_headers=headers,
        response_headers=response_headers,
        marks=[*exchange.marks, *new_marks],
        redactions=[*exchange.redactions, *found],
    )
    return Captured(changed, request, response)


def _may_hold_secret(captured: Captured) -> bool:
    exchange = captured.exchange
    return may_hold_secret(captured.request_body, _encoding(exchange.request_headers)) or may_hold_secret(
        captured.response_body, _encoding(exchange.response_headers)
    )


def _encoding(headers: Headers) -> str | None:
    return next((value for name, value in headers if name.lower() == "content-encoding"), None)


def text_without(text: str, kinds: Sequence[str], patterns: Mapping[str, str]) -> str:
    """What a record says, without what these rules name, and without secrets. Raises ValueError for a wrong rule."""
    return redact_text(text, _rules(tuple(dict.fromkeys([*kinds, ALWAYS])), tuple(sorted(patterns.items()))))


@lru_cache(maxsize=64)
def _rules(kinds: tuple[str, ...], patterns: tuple[tuple[str, str], ...]) -> Rules:
    return rules(kinds, dict(patterns))


def _side(
    side: str, headers: Headers, body: bytes, by: Rules, marks: list[str], places: list[str]
) -> tuple[Headers, bytes]:
    found = redact(body, _encoding(headers), by)
    if found.body is None:
        marks.append(WITHHELD)
        return headers, b""
    if not found.changed:
        return headers, body
    marks.append(REDACTED)
    places += (f"{side} {path}" for path in found.paths)
    return [pair for pair in headers if pair[0].lower() != "content-encoding"], found.body
