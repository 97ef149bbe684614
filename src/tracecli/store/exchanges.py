"""The tables `exchange` and `loaded_segment`: rows in and out."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence
from typing import Any

import duckdb

from tracecli.config import Home
from tracecli.exchange import Exchange, Headers, Row
from tracecli.recorded import Recorded
from tracecli.store.bodies import BodyFile, add_body_file
from tracecli.store.connection import opened, transaction

_HEADERS = "STRUCT(name VARCHAR, value VARCHAR)[]"
_CHUNKS = "STRUCT(bytes BIGINT, ms DOUBLE)[]"

# The columns in the order of the schema, and their types.
_ROW_COLUMNS = {
    "id": "UUID",
    "started_at": "TIMESTAMPTZ",
    "duration_ms": "DOUBLE",
    "ttfb_ms": "DOUBLE",
    "ttft_ms": "DOUBLE",
    "user": "VARCHAR",
    "user_source": "VARCHAR",
    "policy": "VARCHAR",
    "session": "VARCHAR",
    "provider": "VARCHAR",
    "host": "VARCHAR",
    "operation": "VARCHAR",
    "method": "VARCHAR",
    "path": "VARCHAR",
    "status": "INTEGER",
    "stream": "BOOLEAN",
    "request_model": "VARCHAR",
    "response_model": "VARCHAR",
    "response_id": "VARCHAR",
    "finish_reasons": "VARCHAR[]",
    "input_tokens": "BIGINT",
    "output_tokens": "BIGINT",
    "cache_read_input_tokens": "BIGINT",
    "cache_creation_input_tokens": "BIGINT",
    "reasoning_output_tokens": "BIGINT",
    "usage_source": "VARCHAR",
    "cost_usd": "DECIMAL(28, 15)",
    "cost_source": "VARCHAR",
    "cache_status": "VARCHAR",
    "cache_origin": "UUID",
    "saved_usd": "DECIMAL(28, 15)",
    "saved_ms": "DOUBLE",
    "outcome": "VARCHAR",
    "error": "VARCHAR",
    "request_bytes": "BIGINT",
    "response_bytes": "BIGINT",
    "traced": "BOOLEAN",
    "flags": "VARCHAR[]",
}
_EXCHANGE_COLUMNS: dict[str, tuple[str, Callable[[Exchange], Any]]] = {
    "reason": ("VARCHAR", lambda exchange: exchange.reason),
    "scheme": ("VARCHAR", lambda exchange: exchange.scheme),
    "port": ("INTEGER", lambda exchange: exchange.port),
    "http_version": ("VARCHAR", lambda exchange: exchange.http_version),
    "lane": ("VARCHAR", lambda exchange: exchange.lane),
    "request_cut": ("BOOLEAN", lambda exchange: exchange.request_cut),
    "response_cut": ("BOOLEAN", lambda exchange: exchange.response_cut),
    "request_headers": (_HEADERS, lambda exchange: _structs(exchange.request_headers)),
    "response_headers": (_HEADERS, lambda exchange: _structs(exchange.response_headers)),
    "chunks": (_CHUNKS, lambda exchange: [{"bytes": size, "ms": ms} for size, ms in exchange.chunks]),
    "record_version": ("INTEGER", lambda exchange: exchange.version),
}
# As text and numbers: a TIMESTAMPTZ as a Python object would need pytz.
_READ_AS = {"id": "id::VARCHAR", "started_at": "epoch_us(started_at)", "cache_origin": "cache_origin::VARCHAR"}


def _structs(headers: Headers) -> list[dict[str, str]]:
    return [{"name": name, "value": value} for name, value in headers]


def append(
    home: Home,
    records: Sequence[Recorded],
    bodies: BodyFile | None,
    segments: Sequence[str],
    spooled: Sequence[str],
) -> int:
    """Add exchanges, the file with their bodies, and the names of the segments they came from: all or nothing.

    Segments that were loaded before must not be given; `loaded` tells. `spooled` are all segments there are: a
    segment that is gone cannot be loaded again, and its name is forgotten. Returns how many exchanges were added.
    """
    with opened(home, write=True) as connection, transaction(connection):
        if records:
            _insert(connection, records)
        if bodies is not None:
            add_body_file(connection, bodies)
        connection.execute("DELETE FROM loaded_segment WHERE NOT list_contains($1::VARCHAR[], name)", [list(spooled)])
        now = dt.datetime.now(dt.UTC)
        connection.execute("INSERT INTO loaded_segment SELECT unnest($1::VARCHAR[]), $2", [list(segments), now])
    return len(records)


def _insert(connection: duckdb.DuckDBPyConnection, records: Sequence[Recorded]) -> None:
    columns: list[str] = []
    types: list[str] = []
    values: list[list[Any]] = []
    for name, kind in _ROW_COLUMNS.items():
        columns.append(name)
        types.append(kind)
        values.append([getattr(record.row, name) for record in records])
    columns.append("cost_detail")
    types.append("VARCHAR")
    values.append([record.cost_detail for record in records])
    for name, (kind, value) in _EXCHANGE_COLUMNS.items():
        columns.append(name)
        types.append(kind)
        values.append([value(record.exchange) for record in records])
    into = ", ".join(f'"{name}"' for name in columns)
    rows = ", ".join(f"unnest(${number}::{kind}[])" for number, kind in enumerate(types, 1))
    connection.execute(f"INSERT INTO exchange ({into}) SELECT {rows}", values)


def loaded(home: Home, segments: Sequence[str]) -> set[str]:
    """Which of the segments were loaded already."""
    try:
        with opened(home, write=False) as connection:
            found = connection.execute(
                "SELECT name FROM loaded_segment WHERE list_contains($1::VARCHAR[], name)", [list(segments)]
            ).fetchall()
    except FileNotFoundError:
        return set()
    return {name for (name,) in found}


def latest(connection: duckdb.DuckDBPyConnection, limit: int) -> list[Row]:
    """The newest exchanges, newest first."""
    columns = ", ".join(_READ_AS.get(name, f'"{name}"') for name in _ROW_COLUMNS)
    found = connection.execute(
        f"SELECT {columns} FROM exchange ORDER BY id DESC LIMIT $1",  # noqa: S608 - names of ours only
        [limit],
    )
    return [_row(values) for values in found.fetchall()]


def known(connection: duckdb.DuckDBPyConnection, ids: Sequence[str]) -> set[str]:
    """Which of these ids are stored."""
    if not ids:
        return set()
    found = connection.execute(
        "SELECT id::VARCHAR FROM exchange WHERE id BETWEEN $2::UUID AND $3::UUID AND list_contains($1::UUID[], id)",
        [list(ids), min(ids), max(ids)],
    )
    return {identifier for (identifier,) in found.fetchall()}


def between(connection: duckdb.DuckDBPyConnection, first: str, last: str, limit: int = 1000) -> list[str]:
    """The newest ids from `first` to `last`, at most `limit`."""
    found = connection.execute(
        "SELECT id::VARCHAR FROM exchange WHERE id BETWEEN $1::UUID AND $2::UUID ORDER BY id DESC LIMIT $3",
        [first, last, limit],
    )
    return [identifier for (identifier,) in found.fetchall()]


def one(connection: duckdb.DuckDBPyConnection, identifier: str) -> Recorded | None:
    """The exchange with this id."""
    names = [*_ROW_COLUMNS, "cost_detail", *_EXCHANGE_COLUMNS]
    columns = ", ".join(_READ_AS.get(name, f'"{name}"') for name in names)
    found = connection.execute(
        f"SELECT {columns} FROM exchange WHERE id = $1::UUID",  # noqa: S608 - names of ours only
        [identifier],
    ).fetchone()
    if found is None:
        return None
    values = dict(zip(names, found, strict=True))
    row = _row(found[: len(_ROW_COLUMNS)])
    return Recorded(_exchange(row, values), row, values["cost_detail"])


def _row(values: Sequence[Any]) -> Row:
    named = dict(zip(_ROW_COLUMNS, values, strict=True))
    named["started_at"] = dt.datetime.fromtimestamp(named["started_at"] / 1_000_000, dt.UTC)
    return Row(**named)


def _exchange(row: Row, values: dict[str, Any]) -> Exchange:
    return Exchange(
        version=values["record_version"],
        started_at_us=values["started_at"],
        **{
            name: getattr(row, name)
            for name in Exchange.__struct_fields__
            if name in _ROW_COLUMNS and name not in ("started_at", "error", "ttft_ms")
        },
        error=row.error,
        ttft_ms=row.ttft_ms,
        reason=values["reason"],
        scheme=values["scheme"],
        port=values["port"],
        http_version=values["http_version"],
        lane=values["lane"],
        request_cut=values["request_cut"],
        response_cut=values["response_cut"],
        request_headers=[(header["name"], header["value"]) for header in values["request_headers"]],
        response_headers=[(header["name"], header["value"]) for header in values["response_headers"]],
        chunks=[(chunk["bytes"], chunk["ms"]) for chunk in values["chunks"]],
    )
