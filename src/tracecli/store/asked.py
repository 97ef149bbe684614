"""Questions about what was asked: how the cache did, and what was asked again and again."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

import duckdb

from tracecli.exchange import Row

type By = Literal["user", "model", "day", "policy"]

_GROUPS = {
    "user": '"user"',
    "model": "coalesce(request_model, response_model)",
    "day": "epoch_us(started_at) // 86400000000",
    "policy": "policy",
}
_TOLD = "cache_status IN ('hit', 'collapsed')"


@dataclass(frozen=True)
class Counted:
    """Requests of one group with one status and one reason."""

    group: str | None
    status: str
    detail: str | None
    requests: int
    saved_usd: Decimal
    saved_unknown: int
    """Hits whose saving is unknown, since their price is."""
    saved_ms: float


@dataclass(frozen=True)
class Repeated:
    """What was asked more than once."""

    first_id: str
    first_bytes: int
    """Of the bodies of the first one."""
    requests: int
    users: int
    model: str | None
    first_at: dt.datetime
    last_at: dt.datetime
    repeats_usd: Decimal
    """What all but the first cost, as far as that is known."""
    unknown: int
    """How many of these have no known cost."""


def counted(connection: duckdb.DuckDBPyConnection, since: dt.datetime, by: By) -> list[Counted]:
    """How the cache did from `since` on, over all requests under a policy that has one."""
    found = connection.execute(
        f"SELECT {_GROUPS[by]} AS part, cache_status, cache_detail, count(*), coalesce(sum(saved_usd), 0),"  # noqa: S608
        f" count(*) FILTER ({_TOLD} AND saved_usd IS NULL), coalesce(sum(saved_ms), 0)"
        " FROM exchange WHERE cache_status IS NOT NULL AND started_at >= $1 GROUP BY ALL ORDER BY ALL",
        [since],
    )
    return [Counted(_group(by, part), *rest) for part, *rest in found.fetchall()]


def _group(by: By, part: str | int | None) -> str | None:
    if by != "day" or part is None:
        return None if part is None else str(part)
    return (dt.date(1970, 1, 1) + dt.timedelta(days=int(part))).isoformat()


def repeated(connection: duckdb.DuckDBPyConnection, since: dt.datetime, limit: int) -> list[Repeated]:
    """The requests that were made most often from `since` on."""
    found = connection.execute(
        "SELECT min(id)::VARCHAR, arg_min(request_bytes + response_bytes, id), count(*) AS requests,"
        ' count(DISTINCT "user"), arg_min(coalesce(request_model, response_model), id),'
        " epoch_us(min(started_at)), epoch_us(max(started_at)),"
        " coalesce(sum(cost_usd), 0) - coalesce(arg_min_null(cost_usd, id), 0),"
        " count(*) FILTER (cost_usd IS NULL) - arg_min(cost_usd IS NULL, id)::INTEGER"
        " FROM exchange WHERE asked_hash IS NOT NULL AND started_at >= $1"
        " GROUP BY asked_hash HAVING count(*) > 1 ORDER BY requests DESC, min(id) LIMIT $2",
        [since, limit],
    )
    return [
        Repeated(first, size, requests, users, model, _at(begun), _at(ended), usd, unknown)
        for first, size, requests, users, model, begun, ended, usd, unknown in found.fetchall()
    ]


def neighbours(connection: duckdb.DuckDBPyConnection, row: Row, asked_hash: bytes, limit: int) -> list[tuple[str, int]]:
    """Earlier traced exchanges of the same operation at the same host, by id, with how many body bytes passed.

    First those that asked the same, then those that asked the same model; of each the latest.
    """
    found = connection.execute(
        "SELECT id::VARCHAR, request_bytes + response_bytes FROM exchange"
        " WHERE id < $1::UUID AND traced AND NOT request_cut AND content_removed_at IS NULL AND host = $2"
        " AND operation IS NOT DISTINCT FROM $3 ORDER BY asked_hash IS NOT DISTINCT FROM $4 DESC,"
        " request_model IS NOT DISTINCT FROM $5 DESC, exchange.id DESC LIMIT $6",
        [row.id, row.host, row.operation, asked_hash, row.request_model, limit],
    )
    return found.fetchall()


def _at(us: int) -> dt.datetime:
    return dt.datetime.fromtimestamp(us / 1_000_000, dt.UTC)
