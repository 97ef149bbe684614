"""All that the tables hold, as text: for looking through it."""

from __future__ import annotations

import re
from collections.abc import Iterator

from tracecli.config import Home
from tracecli.store.connection import opened

_ROWS = 20_000


def tables(home: Home) -> Iterator[tuple[str, str]]:
    """Each table's name with rows of it as JSON, some at a time, each read in a moment.

    Raises StoreBusy, NewerDatabase or HomeError if the database cannot be used.
    """
    try:
        with opened(home) as connection:
            names = [name for (name,) in connection.execute("SELECT table_name FROM duckdb_tables()").fetchall()]
    except FileNotFoundError:
        return
    for name in names:
        first = 0
        while True:
            with opened(home) as connection:
                rows = connection.execute(
                    f'SELECT to_json(t)::VARCHAR FROM "{name}" AS t WHERE rowid >= $1 AND rowid < $2',  # noqa: S608 - ours
                    [first, first + _ROWS],
                ).fetchall()
                [(last,)] = connection.execute(f'SELECT coalesce(max(rowid), -1) FROM "{name}"').fetchall()  # noqa: S608
            if rows:
                yield name, "\n".join(row for (row,) in rows)
            first += _ROWS
            if first > last:
                break


def fingerprints(home: Home) -> set[str]:
    """Of all credentials that callers used."""
    try:
        with opened(home) as connection:
            found = connection.execute(
                "SELECT DISTINCT credential FROM exchange WHERE credential IS NOT NULL"
            ).fetchall()
    except FileNotFoundError:
        return set()
    return {one for (one,) in found if re.fullmatch(r"key:[0-9a-f]+", one)}
