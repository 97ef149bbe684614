"""Limits of size: how much is kept of the exchanges of a policy, or of a user. The newest is kept.

What is beyond a limit is over from now on, and goes as everything does whose time is over (`expiry`). All functions
raise StoreBusy, NewerDatabase or HomeError if the database cannot be used.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Any, Literal

import duckdb
import msgspec

from tracecli.config import Home
from tracecli.policy.rules import PolicySet
from tracecli.store.connection import opened, transaction
from tracecli.store.exchanges import HELD
from tracecli.store.holds import ON_HOLD


class Limit(msgspec.Struct, frozen=True, kw_only=True):
    """How much is kept; 0 is no limit."""

    kind: Literal["policy", "user"]
    name: str
    content_bytes: int
    """Of bodies as they passed."""
    records: int


class TooMuch(msgspec.Struct, frozen=True, kw_only=True):
    """What is beyond a limit."""

    kind: Literal["policy", "user"]
    name: str
    content: int
    """Exchanges whose content goes."""
    content_bytes: int
    """Of their bodies as they passed."""
    records: int
    """Exchanges of which nothing is left."""


def of(policies: PolicySet, now: dt.datetime) -> list[Limit]:
    """The limits that policies set, and that users have in settings of their own."""
    found = [
        Limit(kind="policy", name=name, content_bytes=kept.max_content_bytes, records=kept.max_records)
        for name, kept in ((name, policy.settings.retention) for name, policy in policies.policies.items())
    ]
    for user, own in policies.users.items():
        if own.expires_at is None or now.timestamp() < own.expires_at:
            its = own.values.get("retention", {})
            size, records = its.get("max_content_bytes", 0), its.get("max_records", 0)
            found.append(Limit(kind="user", name=user, content_bytes=size, records=records))
    return [one for one in found if one.content_bytes or one.records]


def beyond(home: Home, limits: Sequence[Limit]) -> list[TooMuch]:
    """What is too much, by limit; those that hold are left out."""
    if not limits:
        return []
    found = []
    try:
        with opened(home) as connection:
            for limit in limits:
                [(content, size)] = connection.execute(
                    f"SELECT count(*), coalesce(sum(bytes), 0)::BIGINT FROM ({_CONTENT})",  # noqa: S608 - ours
                    _given(limit, limits, limit.content_bytes),
                ).fetchall()
                [(records,)] = connection.execute(
                    f"SELECT count(*) FROM ({_RECORDS})",  # noqa: S608 - text of ours only
                    _given(limit, limits, limit.records),
                ).fetchall()
                if content or records:
                    found.append(
                        TooMuch(kind=limit.kind, name=limit.name, content=content, content_bytes=size, records=records)
                    )
    except FileNotFoundError:
        return []
    return found


def shorten(home: Home, limits: Sequence[Limit], now: dt.datetime) -> None:
    """Have what is too much be over at `now`."""
    named = {(one.kind, one.name) for one in beyond(home, limits)}
    if not named:
        return
    with opened(home, write=True) as connection, transaction(connection):
        for limit in limits:
            if (limit.kind, limit.name) in named:
                _end(connection, "content_until", _CONTENT, _given(limit, limits, limit.content_bytes), now)
                _end(connection, "metadata_until", _RECORDS, _given(limit, limits, limit.records), now)


def _end(connection: duckdb.DuckDBPyConnection, column: str, query: str, given: list[Any], now: dt.datetime) -> None:
    connection.execute(
        f"UPDATE exchange SET {column} = $5 WHERE id IN (SELECT id FROM ({query}))"  # noqa: S608 - text of ours only
        f" AND coalesce({column} > $5, true)",
        [*given, now],
    )


# Of a policy those count that are of no user with a limit of his own. $1 is the policy, else $2 is the user; $3 are the
# users with limits; $4 is the limit.
_WHOSE = (
    '(CASE WHEN $1::VARCHAR IS NULL THEN "user" = $2'
    ' ELSE policy = $1 AND NOT coalesce(list_contains($3::VARCHAR[], "user"), false) END)'
)
_CONTENT = (
    f"SELECT id, bytes FROM (SELECT id, request_bytes + response_bytes AS bytes, {ON_HOLD} AS on_hold,"  # noqa: S608
    " sum(request_bytes + response_bytes) OVER (ORDER BY id DESC) AS upto FROM exchange"
    f" WHERE {HELD} AND {_WHOSE}) WHERE $4 > 0 AND upto > $4 AND NOT on_hold"
)
_RECORDS = (
    f"SELECT id FROM (SELECT id, {ON_HOLD} AS on_hold, row_number() OVER (ORDER BY id DESC) AS upto"  # noqa: S608
    f" FROM exchange WHERE {_WHOSE}) WHERE $4 > 0 AND upto > $4 AND NOT on_hold"
)


def _given(limit: Limit, limits: Sequence[Limit], most: int) -> list[Any]:
    users = [one.name for one in limits if one.kind == "user"]
    name = limit.name
    return [name if limit.kind == "policy" else None, name if limit.kind == "user" else None, users, most]
