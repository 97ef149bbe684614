"""Sums over the exchanges that fit, by whatever is asked for."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal, NamedTuple

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


type Order = Literal["requests", "cost", "errors", "p95", "latest"]
"""Those with most first; of times, the latest first."""
_ORDERS: dict[Order, str] = {
    "requests": "count(*)",
    "cost": "coalesce(sum(cost_usd), 0)",
    "errors": f"count(*) FILTER ({ERRORS})",
    "p95": "coalesce(quantile_cont(duration_ms::FLOAT, 0.95), 0)",
    "latest": "key_0",
}


class Groups(NamedTuple):
    """The first groups in an order, and how many there are."""

    shown: list[Group]
    number: int


def first_groups(
    found: Selection, condition: Condition, by: Sequence[str], zone: dt.tzinfo | None, *, order: Order, limit: int
) -> Groups:
    """The first groups in this order. Of the others nothing is kept: there may be millions of them."""
    where, parameters = condition
    _set_zone(found, zone)
    keys = [f"key_{place}" for place in range(len(by))]
    grouping = ", ".join(keys)
    chosen = (
        f"SELECT {grouping}, row_number() OVER (ORDER BY {_ORDERS[order]} DESC, {grouping}) AS place,"  # noqa: S608
        f" count(*) OVER () AS number FROM fitting GROUP BY {grouping} QUALIFY place <= {int(limit)}"
    )
    same = " AND ".join(f"fitting.{key} IS NOT DISTINCT FROM chosen.{key}" for key in keys)
    shown = ", ".join(_shown(name, f"fitting.key_{place}") for place, name in enumerate(by))
    rows = found.connection.execute(
        f"WITH fitting AS NOT MATERIALIZED ({_fitting(found, by, where)}), chosen AS ({chosen})"  # noqa: S608 - text of ours only
        f" SELECT any_value(number), {shown}, {_SUMS} FROM fitting JOIN chosen ON {same}"
        f" GROUP BY {', '.join(f'fitting.{key}' for key in keys)} ORDER BY any_value(place)",
        parameters,
    ).fetchall()
    return Groups([_group(row[1 : len(by) + 1], row[len(by) + 1 :]) for row in rows], rows[0][0] if rows else 0)


def grouped(found: Selection, condition: Condition, by: Sequence[str], zone: dt.tzinfo | None = None) -> list[Group]:
    """All groups, those with most requests first; without `by`, one of all, if there is any.

    Days and hours are those of `zone`; None is the system's.
    """
    where, parameters = condition
    _set_zone(found, zone)
    grouping = ", ".join(f"key_{place}" for place in range(len(by)))
    shown = ", ".join(_shown(name, f"key_{place}") for place, name in enumerate(by))
    rows = found.connection.execute(
        f"SELECT {shown + ', ' if by else ''}{_SUMS}"  # noqa: S608 - text of ours only
        f" FROM ({_fitting(found, by, where)})"
        f" {'GROUP BY ' + grouping if by else ''} ORDER BY requests DESC{', ' + grouping if by else ''}",
        parameters,
    ).fetchall()
    return [_group(row[: len(by)], row[len(by) :]) for row in rows if row[len(by)]]


def _set_zone(found: Selection, zone: dt.tzinfo | None) -> None:
    if zone is not None:
        name = str(zone).replace("'", "''")  # of the tz database, or UTC
        found.connection.execute(f"SET TimeZone = '{name}'")


def _fitting(found: Selection, by: Sequence[str], where: str) -> str:
    """A query of what is counted, with its keys."""
    keys = "".join(f"{GROUPS[name]} AS key_{place}, " for place, name in enumerate(by))
    return f"SELECT {keys}{_NEEDED} FROM {found.table()} WHERE {where}"  # noqa: S608 - text of ours only


def _shown(name: str, key: str) -> str:
    return f"strftime({key}, '{TIMES[name]}')" if name in TIMES else key


_NEEDED = (
    '"user", request_model, response_model, provider, operation, host, policy, session, status, outcome, error,'
    " cache_status, flags, tools, started_at, duration_ms, ttft_ms, input_tokens, output_tokens,"
    " cache_read_input_tokens, cost_usd, saved_usd, tags, score"
)
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
