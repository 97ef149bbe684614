"""Sums over the exchanges that fit, by whatever is asked for."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, NamedTuple

from tracecli.query.fields import ERRORS
from tracecli.query.orders import GROUPS, TIMES
from tracecli.store.selection import Condition, Selection


class Percentiles(NamedTuple):
    """Of so many values, in milliseconds."""

    p50: float
    p95: float
    p99: float


@dataclass(frozen=True)
class Group:
    """Exchanges that have something in common."""

    key: tuple[str | None, ...]
    requests: int
    errors: int
    cached: int
    """Those whose policy has a cache."""
    hits: int
    """Those of them that it answered."""
    input_tokens: int | None
    """None, here and below: it is known of none of them."""
    output_tokens: int | None
    cache_read_input_tokens: int | None
    cost_usd: Decimal | None
    cost_unknown: int
    """How many have no known cost."""
    saved_usd: Decimal
    duration: Percentiles | None
    ttft: Percentiles | None
    score: float | None
    """The mean of those that somebody rated."""


def grouped(found: Selection, condition: Condition, by: Sequence[str], zone: dt.tzinfo | None = None) -> list[Group]:
    """The groups, those with most requests first; without `by`, one of all, if there is any.

    Days and hours are those of `zone`; None is the system's.
    """
    where, parameters = condition
    if zone is not None:
        name = str(zone).replace("'", "''")  # of the tz database, or UTC
        found.connection.execute(f"SET TimeZone = '{name}'")
    keys = ", ".join(f"{GROUPS[name]} AS key_{place}" for place, name in enumerate(by))
    grouping = ", ".join(f"key_{place}" for place in range(len(by)))
    shown = ", ".join(
        f"strftime(key_{place}, '{TIMES[name]}')" if name in TIMES else f"key_{place}" for place, name in enumerate(by)
    )
    needed = (
        '"user", request_model, response_model, provider, operation, host, policy, session, status, outcome, error,'
        " cache_status, flags, tools, started_at, duration_ms, ttft_ms, input_tokens, output_tokens,"
        " cache_read_input_tokens, cost_usd, saved_usd, tags, score"
    )
    rows = found.connection.execute(
        f"SELECT {shown + ', ' if by else ''}{_SUMS}"  # noqa: S608 - text of ours only
        f" FROM (SELECT {keys + ', ' if by else ''}{needed} FROM {found.table()} WHERE {where})"
        f" {'GROUP BY ' + grouping if by else ''} ORDER BY requests DESC{', ' + grouping if by else ''}",
        parameters,
    ).fetchall()
    return [_group(row[: len(by)], row[len(by) :]) for row in rows if row[len(by)]]


_SUMS = f"""
    count(*) AS requests,
    count(*) FILTER ({ERRORS}),
    count(cache_status),
    count(*) FILTER (cache_status IN ('hit', 'collapsed')),
    sum(input_tokens)::VARCHAR,
    sum(output_tokens)::VARCHAR,
    sum(cache_read_input_tokens)::VARCHAR,
    sum(cost_usd),
    count(*) FILTER (cost_usd IS NULL),
    coalesce(sum(saved_usd), 0),
    quantile_cont(duration_ms::FLOAT, [0.5, 0.95, 0.99]),
    quantile_cont(ttft_ms::FLOAT, [0.5, 0.95, 0.99]),
    avg(score)
"""
"""Percentiles hold every value in memory: seven digits of each are enough."""


def _group(key: tuple[Any, ...], values: tuple[Any, ...]) -> Group:
    requests, errors, cached, hits, tokens_in, tokens_out, read, cost, unknown, saved, duration, ttft, score = values
    return Group(
        key=key,
        requests=requests,
        errors=errors,
        cached=cached,
        hits=hits,
        input_tokens=_int(tokens_in),
        output_tokens=_int(tokens_out),
        cache_read_input_tokens=_int(read),
        cost_usd=cost,
        cost_unknown=unknown,
        saved_usd=Decimal(saved),
        duration=Percentiles(*duration) if duration else None,
        ttft=Percentiles(*ttft) if ttft else None,
        score=score,
    )


def _int(value: str | None) -> int | None:
    return None if value is None else int(value)
