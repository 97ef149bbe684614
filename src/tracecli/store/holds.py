"""Legal holds: records of a user or a tag that neither retention nor erasure removes until somebody lifts the hold.

All functions raise StoreBusy, NewerDatabase or HomeError if the database cannot be used.
"""

from __future__ import annotations

import datetime as dt
from typing import Literal

import msgspec

from tracecli.config import Home
from tracecli.store.connection import opened, transaction

type Kind = Literal["user", "tag"]

ON_HOLD = (
    "coalesce(\"user\" IN (SELECT value FROM hold WHERE kind = 'user')"
    " OR list_has_any(tags, (SELECT list(value) FROM hold WHERE kind = 'tag')), false)"
)
"""Of a row of `exchange`."""


class Hold(msgspec.Struct, frozen=True):
    """One hold, and how many exchanges it keeps."""

    kind: Kind
    value: str
    since: dt.datetime
    reason: str
    exchanges: int = 0


def place(home: Home, kind: Kind, value: str, reason: str, now: dt.datetime) -> bool:
    """Hold what there is and what comes; false if it was held already."""
    home.prepare()
    with opened(home, write=True) as connection, transaction(connection):
        there = connection.execute("SELECT 1 FROM hold WHERE kind = $1 AND value = $2", [kind, value]).fetchone()
        if not there:
            connection.execute("INSERT INTO hold VALUES ($1, $2, $3, $4)", [kind, value, now, reason])
    return not there


def lift(home: Home, kind: Kind, value: str) -> bool:
    """Let it go; false if it was not held."""
    if not home.database.exists():
        return False
    with opened(home, write=True) as connection, transaction(connection):
        gone = connection.execute("DELETE FROM hold WHERE kind = $1 AND value = $2 RETURNING 1", [kind, value])
        return bool(gone.fetchall())


def standing(home: Home) -> list[Hold]:
    """All holds, the oldest first."""
    try:
        with opened(home) as connection:
            found = connection.execute(
                "SELECT kind, value, epoch_us(since), reason, (SELECT count(*) FROM exchange WHERE CASE hold.kind"
                " WHEN 'user' THEN \"user\" = hold.value ELSE list_contains(tags, hold.value) END)"
                " FROM hold ORDER BY since, kind, value"
            ).fetchall()
    except FileNotFoundError:
        return []
    return [
        Hold(kind, value, dt.datetime.fromtimestamp(since / 1_000_000, dt.UTC), reason, exchanges)
        for kind, value, since, reason, exchanges in found
    ]
