"""The table `cost_change`, and what is written when exchanges are priced or understood again.

A cost is never overwritten without its former value being kept, in the same transaction.
"""

from __future__ import annotations

import contextlib
import datetime as dt
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal

import duckdb
import msgspec

from tracecli.config import Home
from tracecli.pricing import Price
from tracecli.recorded import UNDERSTOOD, CostBasis, Recorded
from tracecli.store.connection import opened, transaction
from tracecli.store.exchanges import drafted

type Cause = Literal["reprice", "reparse"]

_OF_RECORD = ("cost_detail", "cost_basis", "captured", "tools")


@dataclass(frozen=True)
class StoredCost:
    """The cost of a stored exchange, and what it depends on."""

    id: str
    started_at: dt.datetime
    provider: str
    host: str
    request_model: str | None
    response_model: str | None
    price: Price
    basis: CostBasis | None
    """None: recorded before it was kept."""


def extent(connection: duckdb.DuckDBPyConnection, since: dt.datetime) -> tuple[str | None, int]:
    """The newest id of the exchanges that began at `since` or later, and how many they are."""
    [(newest, number)] = connection.execute(
        "SELECT max(id)::VARCHAR, count(*) FROM exchange WHERE started_at >= $1", [since]
    ).fetchall()
    return newest, number


def costs(
    connection: duckdb.DuckDBPyConnection, since: dt.datetime, after: str, until: str, limit: int
) -> list[StoredCost]:
    """Costs of exchanges from `since`, with ids after `after` and up to `until`, in their order, at most `limit`."""
    found = connection.execute(
        "SELECT id::VARCHAR, epoch_us(started_at), provider, host, request_model, response_model, cost_usd,"
        " cost_source, cost_detail, cost_basis FROM exchange"
        " WHERE started_at >= $1 AND id > $2::UUID AND id <= $3::UUID ORDER BY exchange.id LIMIT $4",
        [since, after, until, limit],
    )
    return [
        StoredCost(
            identifier,
            dt.datetime.fromtimestamp(started / 1_000_000, dt.UTC),
            provider,
            host,
            asked,
            answered,
            Price(cost, source, detail),
            None if basis is None else msgspec.json.decode(basis, type=CostBasis),
        )
        for identifier, started, provider, host, asked, answered, cost, source, detail, basis in found.fetchall()
    ]


def sizes(
    connection: duckdb.DuckDBPyConnection, since: dt.datetime, after: str, until: str, limit: int
) -> list[tuple[str, bool, int]]:
    """The same exchanges by id, with whether they are traced and how many body bytes passed."""
    found = connection.execute(
        "SELECT id::VARCHAR, traced, request_bytes + response_bytes FROM exchange"
        " WHERE started_at >= $1 AND id > $2::UUID AND id <= $3::UUID ORDER BY exchange.id LIMIT $4",
        [since, after, until, limit],
    )
    return found.fetchall()


def reprice(home: Home, changes: Sequence[tuple[str, Price]]) -> None:
    """Write new costs of exchanges, and keep what they were: all or nothing."""
    if not changes:
        return
    ids = [identifier for identifier, _ in changes]
    with opened(home, write=True) as connection, transaction(connection):
        _keep(connection, changes, "reprice")
        connection.execute(
            "UPDATE exchange SET"  # noqa: S608 - text of ours only
            " cost_usd = new.cost_usd, cost_source = new.cost_source, cost_detail = new.cost_detail"
            f" FROM ({_NEW_COSTS}) AS new WHERE exchange.id = new.id AND exchange.id BETWEEN $5::UUID AND $6::UUID",
            [*_new_costs(changes), min(ids), max(ids)],
        )


def reparse(home: Home, records: Sequence[Recorded]) -> None:
    """Write what exchanges are understood as now, and keep the costs that change: all or nothing."""
    if not records:
        return
    ids = [record.row.id for record in records]
    names = [*UNDERSTOOD, *_OF_RECORD]
    new = drafted(home, records, ["id", *names])
    with new as rows, opened(home, write=True) as connection, transaction(connection):
        prices = [Price(record.row.cost_usd, record.row.cost_source, record.cost_detail) for record in records]
        _keep(connection, list(zip(ids, prices, strict=True)), "reparse")
        settings = ", ".join(f'"{name}" = new."{name}"' for name in names)
        connection.execute(
            f"UPDATE exchange SET {settings} FROM ({rows}) AS new"  # noqa: S608 - text of ours only
            " WHERE exchange.id = new.id AND exchange.id BETWEEN $1::UUID AND $2::UUID",
            [min(ids), max(ids)],
        )


_OF_REDACTION = ("flags", "error", "comment", "captured", "request_headers", "response_headers")


@contextlib.contextmanager
def redacted(home: Home, records: Sequence[Recorded]) -> Iterator[Callable[[duckdb.DuckDBPyConnection], None]]:
    """What writes the rows of exchanges of which something was taken out."""
    ids = [record.row.id for record in records]
    settings = ", ".join(f'"{name}" = new."{name}"' for name in _OF_REDACTION)
    with drafted(home, records, ["id", *_OF_REDACTION]) as rows:

        def write(connection: duckdb.DuckDBPyConnection) -> None:
            connection.execute(
                f"UPDATE exchange SET {settings} FROM ({rows}) AS new"  # noqa: S608 - text of ours only
                " WHERE exchange.id = new.id AND exchange.id BETWEEN $1::UUID AND $2::UUID",
                [min(ids), max(ids)],
            )

        yield write


_NEW_COSTS = (
    "SELECT unnest($1::UUID[]) AS id, unnest($2::DECIMAL(28, 15)[]) AS cost_usd,"
    " unnest($3::VARCHAR[]) AS cost_source, unnest($4::VARCHAR[]) AS cost_detail"
)


def _new_costs(changes: Sequence[tuple[str, Price]]) -> list[list[Any]]:
    prices = [price for _, price in changes]
    costs: list[Decimal | None] = [price.cost_usd for price in prices]
    return [
        [identifier for identifier, _ in changes],
        costs,
        [price.source for price in prices],
        [price.detail for price in prices],
    ]


def _keep(connection: duckdb.DuckDBPyConnection, changes: Sequence[tuple[str, Price]], cause: Cause) -> None:
    """Add a row of history for each price that differs (`Price.differs`) from what the database holds this moment."""
    ids = [identifier for identifier, _ in changes]
    connection.execute(
        "INSERT INTO cost_change SELECT"  # noqa: S608 - text of ours only
        " exchange.id, $5, $6, exchange.cost_usd, exchange.cost_source, exchange.cost_detail, new.cost_usd,"
        " new.cost_source, new.cost_detail"
        f" FROM exchange JOIN ({_NEW_COSTS}) AS new ON exchange.id = new.id"
        " WHERE exchange.id BETWEEN $7::UUID AND $8::UUID AND (exchange.cost_usd IS DISTINCT FROM new.cost_usd"
        " OR exchange.cost_source IS DISTINCT FROM new.cost_source"
        " OR (new.cost_usd IS NULL AND exchange.cost_detail IS DISTINCT FROM new.cost_detail))",
        [*_new_costs(changes), dt.datetime.now(dt.UTC), cause, min(ids), max(ids)],
    )
