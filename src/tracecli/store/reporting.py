# ruff: noqa: S608
"""What a report tells of exchanges beyond sums by one thing: over time, how times spread, what went wrong, sessions."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal

from tracecli.query.fields import ERRORS
from tracecli.store.selection import Condition, Selection

type Bucket = Literal["hour", "day", "week", "month"]

STEPS = 10
"""Steps of a spread to a power of ten."""
_MODEL = "coalesce(request_model, response_model)"


@dataclass(frozen=True)
class Extent:
    """From the first exchange to the end of the last one."""

    first_at: dt.datetime
    last_at: dt.datetime
    saved_ms: float
    """By hits of the response cache."""
    sessions: int
    users: int


@dataclass(frozen=True)
class Spent:
    """What a model cost in one bucket of time, whose beginning is local."""

    begin: dt.datetime
    model: str | None
    requests: int
    cost_usd: Decimal


@dataclass(frozen=True)
class Failed:
    """Exchanges that went wrong alike."""

    status: int | None
    outcome: str
    error: str | None
    """What one of them said."""
    requests: int


@dataclass(frozen=True)
class TopSession:
    """A session, by what it cost."""

    name: str
    users: int
    model: str | None
    """The one asked most often."""
    requests: int
    errors: int
    first_at: dt.datetime
    last_at: dt.datetime
    cost_usd: Decimal | None


def extent(found: Selection, condition: Condition) -> Extent | None:
    """Of what fits; None if nothing does."""
    where, parameters = condition
    [(first, last, saved, sessions, users)] = _rows(
        found,
        "SELECT epoch_us(min(started_at)),"
        " max(epoch_us(started_at) + (least(duration_ms, 1e12) * 1000)::BIGINT), coalesce(sum(saved_ms), 0),"
        f' approx_count_distinct(session), approx_count_distinct("user") FROM {found.table()} WHERE {where}',
        parameters,
    )
    return None if first is None else Extent(_at(first), _at(last), saved, sessions, users)


def over_time(found: Selection, condition: Condition, bucket: Bucket, zone: dt.tzinfo | None) -> list[Spent]:
    """What each model cost in each bucket of local time in which there is anything."""
    where, parameters = condition
    if zone is not None:
        found.connection.execute("SET TimeZone = '" + str(zone).replace("'", "''") + "'")
    rows = _rows(
        found,
        f"SELECT epoch_us(date_trunc('{bucket}', started_at::TIMESTAMP)) AS begin, {_MODEL} AS model, count(*),"
        f" coalesce(sum(cost_usd), 0) FROM {found.table()} WHERE {where} GROUP BY begin, model ORDER BY begin, model",
        parameters,
    )
    return [Spent(_at(begin).replace(tzinfo=None), model, number, Decimal(cost)) for begin, model, number, cost in rows]


def spread(found: Selection, condition: Condition, column: Literal["duration_ms", "ttft_ms"]) -> dict[int, int]:
    """How many took how long: by the step of their logarithm, which is 0 for 1 ms and `STEPS` for 10 ms."""
    where, parameters = condition
    rows = _rows(
        found,
        f"SELECT floor(log10(greatest({column}, 1)) * {STEPS})::INTEGER AS step, count(*) FROM {found.table()}"
        f" WHERE {column} IS NOT NULL AND {where} GROUP BY step ORDER BY step",
        parameters,
    )
    return dict(rows)


def failures(found: Selection, condition: Condition, limit: int) -> list[Failed]:
    """What went wrong most often."""
    where, parameters = condition
    rows = _rows(
        found,
        f"SELECT status, outcome, any_value(left(error, 500)), count(*) AS requests FROM {found.table()}"
        f" WHERE {ERRORS} AND {where} GROUP BY status, outcome ORDER BY requests DESC, status LIMIT {int(limit)}",
        parameters,
    )
    return [Failed(*row) for row in rows]


def top_sessions(found: Selection, condition: Condition, limit: int) -> list[TopSession]:
    """Those that cost most; where nothing has a known cost, those with most requests."""
    where, parameters = condition
    rows = _rows(
        found,
        f'SELECT session, count(DISTINCT "user"), mode({_MODEL}), count(*), count(*) FILTER ({ERRORS}),'
        " epoch_us(min(started_at)), max(epoch_us(started_at) + (least(duration_ms, 1e12) * 1000)::BIGINT),"
        f" sum(cost_usd) FROM {found.table()} WHERE {where} AND session IN ("
        f"SELECT session FROM {found.table()} WHERE session IS NOT NULL AND {where}"
        f" GROUP BY session ORDER BY sum(cost_usd) DESC NULLS LAST, count(*) DESC, session LIMIT {int(limit)})"
        " GROUP BY session ORDER BY sum(cost_usd) DESC NULLS LAST, count(*) DESC, session",
        parameters,
    )
    return [
        TopSession(name, users, model, requests, errors, _at(first), _at(last), cost)
        for name, users, model, requests, errors, first, last, cost in rows
    ]


def _rows(found: Selection, query: str, parameters: Sequence[Any]) -> list[tuple[Any, ...]]:
    return found.connection.execute(query, parameters).fetchall()


def _at(us: int) -> dt.datetime:
    return dt.datetime.fromtimestamp(us / 1_000_000, dt.UTC)
