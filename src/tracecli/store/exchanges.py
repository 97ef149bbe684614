"""The tables `exchange` and `loaded_segment`: rows in and out."""

from __future__ import annotations

import contextlib
import datetime as dt
import os
from collections.abc import Callable, Iterator, Sequence
from operator import attrgetter
from typing import Any

import duckdb
import msgspec

from tracecli.config import PRIVATE_FILE, Home
from tracecli.exchange import Exchange, Headers, Row, new_id
from tracecli.recorded import CostBasis, Recorded
from tracecli.store import bodies
from tracecli.store.connection import opened, transaction
from tracecli.store.engine import quoted, sparing

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
    "tags": "VARCHAR[]",
    "score": "DOUBLE",
    "comment": "VARCHAR",
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
    "chunks": (_CHUNKS, lambda exchange: [_Chunk(size, ms) for size, ms in exchange.chunks]),
    "record_version": ("INTEGER", lambda exchange: exchange.version),
    "cache_detail": ("VARCHAR", lambda exchange: exchange.cache_detail),
    "credential": ("VARCHAR", lambda exchange: exchange.credential),
    "content_until": ("TIMESTAMPTZ", lambda exchange: _instant(exchange.content_until_us)),
    "metadata_until": ("TIMESTAMPTZ", lambda exchange: _instant(exchange.metadata_until_us)),
}
_ELSEWHERE = ("version", "started_at_us", "ttft_ms", "metered", "content_until_us", "metadata_until_us")
_CAPTURED = [
    (field.name, field.default if field.default_factory is msgspec.NODEFAULT else field.default_factory())
    for field in msgspec.structs.fields(Exchange)
    # A column of another name, or of its own, holds these; what was read while untraced bytes passed is in the row.
    if field.name not in _EXCHANGE_COLUMNS and field.name not in _ELSEWHERE
]
"""Names and defaults of the fields of an exchange that the row may hold otherwise, or not at all."""


def _captured(recorded: Recorded) -> str | None:
    """The fields of an exchange that no column holds as they were captured: the row tells how they were understood."""
    changed = {}
    for name, default in _CAPTURED:
        value = getattr(recorded.exchange, name)
        if value != (getattr(recorded.row, name) if name in _ROW_COLUMNS else default):
            changed[name] = value
    return msgspec.json.encode(changed).decode() if changed else None


_RECORDED_COLUMNS: dict[str, tuple[str, Callable[[Recorded], Any]]] = {
    "tools": ("VARCHAR[]", lambda recorded: recorded.tools),
    "cost_detail": ("VARCHAR", lambda recorded: recorded.cost_detail),
    "cost_basis": ("VARCHAR", lambda recorded: recorded.basis and msgspec.json.encode(recorded.basis).decode()),
    "captured": ("VARCHAR", _captured),
    "asked_hash": ("BLOB", lambda recorded: recorded.asked_hash and recorded.asked_hash.hex()),
}
# As text and numbers: a TIMESTAMPTZ as a Python object would need pytz.
_READ_AS = {
    "id": "id::VARCHAR",
    "started_at": "epoch_us(started_at)",
    "cache_origin": "cache_origin::VARCHAR",
    "content_until": "epoch_us(content_until)",
    "metadata_until": "epoch_us(metadata_until)",
    "tags": "coalesce(tags, [])",
}


_ENCODER = msgspec.json.Encoder()
_HEX = "VARCHAR"  # JSON has no bytes
_LONGEST = 1 << 20  # bytes of a line; twice as much is held, unless a recorded text is longer


def _instant(us: int | None) -> dt.datetime | None:
    return None if us is None else dt.datetime.fromtimestamp(us / 1_000_000, dt.UTC)


class _Header(msgspec.Struct):
    name: str
    value: str


class _Chunk(msgspec.Struct):
    bytes: int
    ms: float


def _structs(headers: Headers) -> list[_Header]:
    return [_Header(name, value) for name, value in headers]


def _of_row(name: str) -> Callable[[Recorded], Any]:
    return attrgetter(f"row.{name}")


def _of_exchange(of: Callable[[Exchange], Any]) -> Callable[[Recorded], Any]:
    return lambda recorded: of(recorded.exchange)


# Once in 120,000 rows DuckDB merges what was added, in as much memory as it may have.
_MEMORY = "256MB"


def append(
    home: Home,
    records: Sequence[Recorded],
    written: bodies.Written | None,
    segments: Sequence[str],
    spooled: Sequence[str],
) -> int:
    """Add exchanges, the files with their bodies, and the names of the segments they came from: all or nothing.

    Segments that were loaded before must not be given; `loaded` tells. `spooled` are all segments there are: a
    segment that is gone cannot be loaded again, and its name is forgotten. Returns how many exchanges were added.
    """
    names = [*_ROW_COLUMNS, *_RECORDED_COLUMNS, *_EXCHANGE_COLUMNS]
    into = ", ".join(f'"{name}"' for name in names)
    with (
        drafted(home, records, names) as rows,
        opened(home, write=True) as connection,
        sparing(connection, _MEMORY),
        transaction(connection),
    ):
        if records:
            connection.execute(f"INSERT INTO exchange ({into}) {rows}")
        if written is not None:
            bodies.add(connection, written)
        connection.execute("DELETE FROM loaded_segment WHERE NOT list_contains($1::VARCHAR[], name)", [list(spooled)])
        now = dt.datetime.now(dt.UTC)
        connection.execute("INSERT INTO loaded_segment SELECT unnest($1::VARCHAR[]), $2", [list(segments), now])
    return len(records)


_GIVEN: dict[str, tuple[str, Callable[[Recorded], Any]]] = {
    **{name: (kind, _of_row(name)) for name, kind in _ROW_COLUMNS.items()},
    **{name: (kind, _of_exchange(of)) for name, (kind, of) in _EXCHANGE_COLUMNS.items()},
    **_RECORDED_COLUMNS,
}


@contextlib.contextmanager
def drafted(home: Home, records: Sequence[Recorded], names: Sequence[str]) -> Iterator[str]:
    """Columns of records as a query, while they lie in a file.

    A file of JSON lines: from there DuckDB takes a row in a tenth of the time that it takes for one from Python.
    """
    columns = [(name, _GIVEN[name][1]) for name in names]
    path = home.scratch / f"{new_id()}.rows"
    longest = _LONGEST
    try:
        with open(path, "xb", opener=_private) as file:
            for record in records:
                line = _ENCODER.encode({name: of(record) for name, of in columns})
                longest = max(longest, len(line) + 1)
                file.write(line + b"\n")
        kinds = {name: _GIVEN[name][0] for name in names}
        given = ", ".join(f"{name}: '{_HEX if kind == 'BLOB' else kind}'" for name, kind in kinds.items())
        taken = ", ".join(f'unhex("{name}") AS "{name}"' if kinds[name] == "BLOB" else f'"{name}"' for name in names)
        yield (
            f"SELECT {taken} FROM read_json('{quoted(path)}', format = 'newline_delimited',"  # noqa: S608 - text of ours only
            f" maximum_object_size = {longest}, columns = {{{given}}})"
        )
    finally:
        path.unlink(missing_ok=True)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CLOEXEC, PRIVATE_FILE)


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


def newest(connection: duckdb.DuckDBPyConnection) -> str | None:
    """The id of the newest exchange."""
    [(identifier,)] = connection.execute("SELECT max(id)::VARCHAR FROM exchange").fetchall()
    return None if identifier is None else str(identifier)


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
    return next(iter(some(connection, [identifier])), None)


def some(connection: duckdb.DuckDBPyConnection, ids: Sequence[str]) -> list[Recorded]:
    """The exchanges with these ids, as far as they are stored, in the order of their ids."""
    if not ids:
        return []
    names = [*_ROW_COLUMNS, *_RECORDED_COLUMNS, *_EXCHANGE_COLUMNS]
    columns = ", ".join(_READ_AS.get(name, f'"{name}"') for name in names)
    found = connection.execute(
        f"SELECT {columns} FROM exchange"  # noqa: S608 - names of ours only
        " WHERE id BETWEEN $2::UUID AND $3::UUID AND list_contains($1::UUID[], id) ORDER BY exchange.id",
        [list(ids), min(ids), max(ids)],
    )
    return [_recorded(dict(zip(names, values, strict=True))) for values in found.fetchall()]


def sizes(connection: duckdb.DuckDBPyConnection, ids: Sequence[str]) -> list[tuple[str, int]]:
    """Of those of some exchanges that are stored, in the order of their ids: how many body bytes passed."""
    if not ids:
        return []
    found = connection.execute(
        "SELECT id::VARCHAR, request_bytes + response_bytes FROM exchange"
        " WHERE id BETWEEN $2::UUID AND $3::UUID AND id IN (SELECT unnest($1::UUID[])) ORDER BY exchange.id",
        [list(ids), min(ids), max(ids)],
    )
    return found.fetchall()


def _recorded(values: dict[str, Any]) -> Recorded:
    row = _row([values[name] for name in _ROW_COLUMNS])
    basis = values["cost_basis"]
    return Recorded(
        _exchange(row, values),
        row,
        values["cost_detail"],
        None if basis is None else msgspec.json.decode(basis, type=CostBasis),
        values["asked_hash"],
        values["tools"],
    )


def _row(values: Sequence[Any]) -> Row:
    named = dict(zip(_ROW_COLUMNS, values, strict=True))
    named["started_at"] = dt.datetime.fromtimestamp(named["started_at"] / 1_000_000, dt.UTC)
    return Row(**named)


def _exchange(row: Row, values: dict[str, Any]) -> Exchange:
    fields = {name: getattr(row, name) for name in Exchange.__struct_fields__ if name in _ROW_COLUMNS} | {
        "version": values["record_version"],
        "started_at_us": values["started_at"],
        "reason": values["reason"],
        "scheme": values["scheme"],
        "port": values["port"],
        "http_version": values["http_version"],
        "lane": values["lane"],
        "cache_detail": values["cache_detail"],
        "credential": values["credential"],
        "content_until_us": values["content_until"],
        "metadata_until_us": values["metadata_until"],
        "request_cut": values["request_cut"],
        "response_cut": values["response_cut"],
        "request_headers": [(header["name"], header["value"]) for header in values["request_headers"]],
        "response_headers": [(header["name"], header["value"]) for header in values["response_headers"]],
        "chunks": [(chunk["bytes"], chunk["ms"]) for chunk in values["chunks"]],
    }
    if values["captured"] is not None:
        fields |= msgspec.json.decode(values["captured"])
    return msgspec.convert(fields, Exchange)


HELD = "(traced AND content_removed_at IS NULL)"
"""The condition of exchanges whose content is there."""
ROW_COLUMNS = tuple(_ROW_COLUMNS)
ROW = ", ".join(_READ_AS.get(name, f'"{name}"') for name in _ROW_COLUMNS)
"""What to select of a table `exchange`, for `row_of`."""


def row_of(values: Sequence[Any]) -> Row:
    """The row that `ROW` was selected of."""
    return _row(values)


def kind_of(name: str) -> str:
    """The type of a column."""
    return _ROW_COLUMNS.get(name) or (_RECORDED_COLUMNS.get(name) or _EXCHANGE_COLUMNS[name])[0]


def values_of(recorded: Recorded, names: Sequence[str]) -> dict[str, Any]:
    """Some columns of an exchange, as JSON can hold them."""
    found = {}
    for name in names:
        if name in _ROW_COLUMNS:
            found[name] = getattr(recorded.row, name)
        elif name in _RECORDED_COLUMNS:
            found[name] = _RECORDED_COLUMNS[name][1](recorded)
        else:
            found[name] = _EXCHANGE_COLUMNS[name][1](recorded.exchange)
    return found
