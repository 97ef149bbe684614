"""Until when records are kept: what is over, what is recorded, and a change of policy for the past.

Until when an exchange is kept is decided when it is recorded: `content_until` and `metadata_until`, NULL for ever. A
policy that changes acts on what comes; `apply` brings what is recorded in line with it. What is over is removed by
`expiry`. All functions raise StoreBusy, NewerDatabase or HomeError if the database cannot be used.
"""

from __future__ import annotations

import datetime as dt
import itertools
import time
from collections.abc import Mapping
from typing import Any

import msgspec

from tracecli.config import Home
from tracecli.store.connection import opened, transaction
from tracecli.store.exchanges import HELD
from tracecli.store.holds import ON_HOLD

_BATCH = 20_000  # rows that `apply` changes while others wait
_PAUSE_S = 0.05  # for those who waited

_BYTES = "request_bytes + response_bytes"
# What is over at the moment $1. `least` passes over NULL.
_CONTENT_OVER = f"({HELD} AND least(content_until, metadata_until) <= $1 AND NOT {ON_HOLD})"
_RECORD_OVER = f"(metadata_until <= $1 AND NOT {ON_HOLD})"


class DueOf(msgspec.Struct, frozen=True, kw_only=True):
    """What is over of the exchanges of one policy."""

    policy: str
    content: int
    """Exchanges whose content goes."""
    content_bytes: int
    """Of their bodies as they passed; on the disk they take less."""
    records: int
    """Exchanges of which nothing is left."""


class Due(msgspec.Struct, frozen=True):
    """What is over at a moment."""

    at: dt.datetime
    policies: list[DueOf]

    @property
    def content(self) -> int:
        """Of all policies."""
        return sum(one.content for one in self.policies)

    @property
    def content_bytes(self) -> int:
        """Of all policies."""
        return sum(one.content_bytes for one in self.policies)

    @property
    def records(self) -> int:
        """Of all policies."""
        return sum(one.records for one in self.policies)


class Holding(msgspec.Struct, frozen=True, kw_only=True):
    """What is recorded under one policy, and until when."""

    policy: str
    exchanges: int
    content: int
    """Exchanges whose content is there."""
    content_bytes: int
    """Of their bodies as they passed."""
    content_for_ever: int
    next_content: dt.datetime | None
    """When the next content goes; None: never."""
    content_removed: int
    """Exchanges whose content went."""
    records_for_ever: int
    next_record: dt.datetime | None
    """When the next record goes; None: never."""


class Terms(msgspec.Struct, frozen=True):
    """For how many seconds content and record are kept; None is for ever."""

    content_s: float | None
    metadata_s: float | None


class Applied(msgspec.Struct, frozen=True, kw_only=True):
    """What `apply` changed, or would."""

    policy: str
    dry_run: bool
    exchanges: int
    """That are recorded under the policy."""
    sooner: int
    """Exchanges of which something goes sooner than before."""
    later: int
    """Of which something goes later, and nothing sooner."""
    due_content: int
    """Whose content is over at once."""
    due_content_bytes: int
    due_records: int


def due(home: Home, now: dt.datetime) -> Due:
    """What is over at `now`, by policy."""
    try:
        with opened(home) as connection:
            found = connection.execute(
                f"SELECT policy, count(*) FILTER ({_CONTENT_OVER}),"  # noqa: S608 - text of ours only
                f" coalesce(sum({_BYTES}) FILTER ({_CONTENT_OVER}), 0)::BIGINT, count(*) FILTER ({_RECORD_OVER})"
                f" FROM exchange WHERE {_CONTENT_OVER} OR {_RECORD_OVER} GROUP BY policy ORDER BY policy",
                [now],
            ).fetchall()
    except FileNotFoundError:
        found = []
    names = DueOf.__struct_fields__
    return Due(now, [DueOf(**dict(zip(names, row, strict=True))) for row in found])


def holdings(home: Home) -> list[Holding]:
    """What is recorded, by policy."""
    first_end = "least(content_until, metadata_until)"
    try:
        with opened(home) as connection:
            found = connection.execute(
                f"SELECT policy, count(*), count(*) FILTER ({HELD}),"  # noqa: S608 - text of ours only
                f" coalesce(sum({_BYTES}) FILTER ({HELD}), 0)::BIGINT,"
                f" count(*) FILTER ({HELD} AND {first_end} IS NULL), epoch_us(min({first_end}) FILTER ({HELD})),"
                " count(content_removed_at), count(*) FILTER (metadata_until IS NULL), epoch_us(min(metadata_until))"
                " FROM exchange GROUP BY policy ORDER BY policy"
            ).fetchall()
    except FileNotFoundError:
        return []
    return [_holding(row) for row in found]


def _holding(row: tuple[Any, ...]) -> Holding:
    values = dict(zip(Holding.__struct_fields__, row, strict=True))
    return Holding(**values | {name: _instant(values[name]) for name in ("next_content", "next_record")})


def _instant(us: int | None) -> dt.datetime | None:
    return None if us is None else dt.datetime.fromtimestamp(us / 1_000_000, dt.UTC)


# The exchanges of the policy $1 as they are and as they will be.
_NEW = f"""
    SELECT id, {HELD} AS held, {_BYTES} AS bytes, content_until AS old_content, metadata_until AS old_metadata,
        CASE WHEN held THEN started_at + to_microseconds(CASE WHEN own.name IS NULL THEN $2 ELSE own.content_us END)
            ELSE content_until END AS content_until,
        started_at + to_microseconds(CASE WHEN own.name IS NULL THEN $3 ELSE own.metadata_us END) AS metadata_until
    FROM exchange LEFT JOIN (
        SELECT unnest($4::VARCHAR[]) AS name, unnest($5::BIGINT[]) AS content_us, unnest($6::BIGINT[]) AS metadata_us
    ) AS own ON own.name = exchange."user"
    WHERE policy = $1
"""  # noqa: S608 - text of ours only
_DIFFERS = "(new.content_until IS DISTINCT FROM old_content OR new.metadata_until IS DISTINCT FROM old_metadata)"
_COUNT = f"""
    WITH new AS ({_NEW}), ends AS (
        SELECT *, coalesce(content_until, 'infinity') AS content, coalesce(old_content, 'infinity') AS content_before,
            coalesce(metadata_until, 'infinity') AS record, coalesce(old_metadata, 'infinity') AS record_before,
            (held AND least(content, record) <= $7) AS content_over
        FROM new
    )
    SELECT count(*),
        count(*) FILTER (content < content_before OR record < record_before),
        count(*) FILTER ((content > content_before OR record > record_before)
            AND NOT (content < content_before OR record < record_before)),
        count(*) FILTER (content_over), coalesce(sum(bytes) FILTER (content_over), 0)::BIGINT,
        count(*) FILTER (record <= $7)
    FROM ends
"""  # noqa: S608 - text of ours only


def apply(
    home: Home, now: dt.datetime, policy: str, terms: Terms, of_users: Mapping[str, Terms], *, dry_run: bool
) -> Applied:
    """Keep what is recorded under a policy for as long as these terms say, those of some users going before.

    Batch by batch, each in moments. Killed anywhere, the next one does the rest. Nothing is removed here, and content
    that was removed does not come back.
    """
    own = list(of_users.values())
    given = [
        policy,
        _us(terms.content_s),
        _us(terms.metadata_s),
        list(of_users),
        [_us(one.content_s) for one in own],
        [_us(one.metadata_s) for one in own],
    ]
    counted: tuple[int, ...] = (0,) * 6
    try:
        with opened(home) as connection:
            [counted] = connection.execute(_COUNT, [*given, now]).fetchall()
    except FileNotFoundError:
        pass
    if not dry_run and counted[0]:
        for first, last in itertools.pairwise(_bounds(home, policy)):
            _apply_between(home, given, first, last)
            time.sleep(_PAUSE_S)
    names = ("exchanges", "sooner", "later", "due_content", "due_content_bytes", "due_records")
    return Applied(policy=policy, dry_run=dry_run, **dict(zip(names, counted, strict=True)))


def _bounds(home: Home, policy: str) -> list[str]:
    """Ids with a batch of exchanges of a policy from each to the next."""
    with opened(home) as connection:
        found = connection.execute(
            "SELECT id::VARCHAR FROM (SELECT id, row_number() OVER (ORDER BY id) AS number, count(*) OVER () AS all_of"
            " FROM exchange WHERE policy = $1) WHERE (number - 1) % $2 = 0 OR number = all_of ORDER BY number",
            [policy, _BATCH],
        ).fetchall()
    ids = [identifier for (identifier,) in found]
    return ids if len(ids) > 1 else ids * 2


def _apply_between(home: Home, given: list[Any], first: str, last: str) -> None:
    with opened(home, write=True) as connection, transaction(connection):
        connection.execute(
            "UPDATE exchange SET content_until = new.content_until, metadata_until = new.metadata_until"  # noqa: S608
            f" FROM ({_NEW} AND id BETWEEN $7::UUID AND $8::UUID) AS new"
            f" WHERE exchange.id = new.id AND exchange.id BETWEEN $7::UUID AND $8::UUID AND {_DIFFERS}",
            [*given, first, last],
        )


def _us(seconds: float | None) -> int | None:
    return None if seconds is None else round(seconds * 1_000_000)
