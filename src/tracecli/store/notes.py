"""Tags, scores and comments of stored exchanges: changed by readers, in moments."""

from __future__ import annotations

from collections.abc import Sequence

import duckdb

from tracecli.config import Home
from tracecli.store.connection import opened, transaction

_THESE = "id BETWEEN $1::UUID AND $2::UUID AND id IN (SELECT unnest($3::UUID[]))"


def stored(home: Home, ids: Sequence[str]) -> int:
    """How many of these exchanges are stored."""
    if not ids:
        return 0
    try:
        with opened(home) as connection:
            [(found,)] = connection.execute(f"SELECT count(*) FROM exchange WHERE {_THESE}", _these(ids)).fetchall()  # noqa: S608
    except FileNotFoundError:
        return 0
    return int(found)


def tag(home: Home, ids: Sequence[str], add: Sequence[str], remove: Sequence[str], most: int) -> int:
    """Add and remove tags of all of these; returns how many changed.

    If one of them would have more than `most` tags, nothing changes and -1 is returned. Raises as `opened` does.
    """
    new = "list_filter($4::VARCHAR[], lambda one: NOT list_contains(coalesce(tags, []), one))"
    kept = "list_filter(coalesce(tags, []), lambda one: NOT list_contains($5::VARCHAR[], one))"
    values = [*_these(ids), list(dict.fromkeys(add)), list(remove)]
    with opened(home, write=True) as connection, transaction(connection):
        connection.execute(
            f"CREATE TEMP TABLE tagged AS SELECT id, coalesce(tags, []) AS before, list_concat({kept}, {new}) AS after"  # noqa: S608
            f" FROM exchange WHERE {_THESE}",
            values,
        )
        [(longest,)] = connection.execute("SELECT coalesce(max(len(after)), 0) FROM tagged").fetchall()
        changed = 0 if longest > most else _changed(connection)
        connection.execute("DROP TABLE tagged")
    return -1 if longest > most else changed


def _changed(connection: duckdb.DuckDBPyConnection) -> int:
    connection.execute("DELETE FROM tagged WHERE before = after")
    [(first, last, number)] = connection.execute(
        "SELECT min(id)::VARCHAR, max(id)::VARCHAR, count(*) FROM tagged"
    ).fetchall()
    if number:
        connection.execute(
            "UPDATE exchange SET tags = tagged.after FROM tagged"
            " WHERE exchange.id = tagged.id AND exchange.id BETWEEN $1::UUID AND $2::UUID",
            [first, last],
        )
    return int(number)


def rate(home: Home, ids: Sequence[str], score: float | None, comment: str | None) -> int:
    """Set score and comment of all of these, or take them away; returns of how many. Raises as `opened` does."""
    with opened(home, write=True) as connection, transaction(connection):
        done = connection.execute(
            f"UPDATE exchange SET score = $4, comment = $5 WHERE {_THESE}",  # noqa: S608 - text of ours only
            [*_these(ids), score, comment],
        ).fetchall()
    return int(done[0][0])


def _these(ids: Sequence[str]) -> list[object]:
    return [min(ids), max(ids), list(ids)]
