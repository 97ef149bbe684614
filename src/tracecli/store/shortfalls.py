"""Exchanges of which something is missing: not understood, or broken off. Grouped, each group with an example."""

from __future__ import annotations

import datetime as dt
from typing import NamedTuple

from tracecli.store.selection import Condition, Selection

NOT_UNDERSTOOD = (
    "not_understood",
    "request_not_understood",
    "bad_encoding",
    "bad_event",
    "truncated",
    "too_large",
)
"""Flags of what could not be read, or not to its end."""

# What went wrong comes first where there are several: a stream that its client left has no end event either.
_WHY = f"""CASE
    WHEN outcome = 'aborted' THEN 'aborted'
    WHEN outcome = 'failed' AND status IS NOT NULL THEN 'broken_off'
    WHEN outcome = 'failed' THEN 'failed'
    WHEN list_contains(flags, 'no_end_event') THEN 'no_end_event'
    ELSE list_filter({list(NOT_UNDERSTOOD)}, lambda mark: list_contains(flags, mark))[1]
END"""
_AGENT = "list_filter(request_headers, lambda header: lower(header.name) = 'user-agent')[1].value"


class Shortfall(NamedTuple):
    """Exchanges of one provider and client that lack the same."""

    why: str
    """`aborted`: the client left; `broken_off`: the provider did, within its answer; `failed`: before it; or a flag."""
    provider: str
    host: str
    agent: str | None
    """The User-Agent; None: there was none, or it is not known yet."""
    times: int
    first_at: dt.datetime
    last_at: dt.datetime
    example: str
    """The id of the latest."""


def shortfalls(found: Selection, condition: Condition) -> list[Shortfall]:
    """All groups, those with most exchanges first."""
    where, parameters = condition
    rows = found.connection.execute(
        "SELECT why, provider, host, agent, count(*) AS times,"  # noqa: S608 - text of ours only
        " epoch_us(min(started_at)), epoch_us(max(started_at)), max(id)::VARCHAR"
        f" FROM (SELECT {_WHY} AS why, provider, host, {_AGENT} AS agent, started_at, id"
        f" FROM {found.table()} WHERE {where}) WHERE why IS NOT NULL"
        " GROUP BY why, provider, host, agent ORDER BY times DESC, why, host",
        parameters,
    ).fetchall()
    return [
        Shortfall(why, provider, host, agent, times, _moment(first), _moment(last), example)
        for why, provider, host, agent, times, first, last, example in rows
    ]


def _moment(microseconds: int) -> dt.datetime:
    return dt.datetime.fromtimestamp(microseconds / 1_000_000, dt.UTC)
