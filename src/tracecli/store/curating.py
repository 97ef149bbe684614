# ruff: noqa: S608 - text and names of ours only
"""The examples of a dataset in the making, as a table: which of them stay, by comparing them with each other.

The table spills to the disk: memory does not grow with the dataset. An example that goes stays in it, with the step
that it went by.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import duckdb
import msgspec

from tracecli.config import Home
from tracecli.exchange import new_id
from tracecli.store.engine import scratchpad, sparing

_MEMORY = "256MB"
_COLUMNS = {
    "n": "INTEGER",
    "id": "VARCHAR",
    "user": "VARCHAR",
    "model": "VARCHAR",
    "policy": "VARCHAR",
    "provider": "VARCHAR",
    "language": "VARCHAR",
    "template": "VARCHAR",
    "group": "VARCHAR",
    "score": "DOUBLE",
    "started_at_us": "BIGINT",
    "tokens": "BIGINT",
    "answer_tokens": "BIGINT",
    "answers": "INTEGER",
    "calls_tools": "BOOLEAN",
    "origin": "VARCHAR",
    "said": "VARCHAR",
    "prompt": "VARCHAR",
    "conversation": "VARCHAR",
    "earlier": "VARCHAR[]",
    "bands": "UBIGINT[]",
    "changed": "VARCHAR[]",
    "draw": "UBIGINT",
    "split": "VARCHAR",
    "at_byte": "BIGINT",
    "size": "BIGINT",
}
"""Of an entry: `n` is its place in time order, `draw` a number by which samples are drawn, `at_byte` and `size` where
the example is in the file of its maker; the rest is as in `datasets.preparing.Prepared`."""
_KEPT = ", ".join(f'"{name}"' for name in _COLUMNS if name not in ("earlier", "bands"))
_STAYS = "gone IS NULL"
_PAIRED = "paired"
"""In the place of a step: it is the worse answer of a pair."""
_CANDIDATES = 16
"""So many of those that an example may be alike are looked at, the likeliest first."""
_FETCHED = 5000
"""Rows at a time."""


class Held(NamedTuple):
    """Where an example is: its place in time, and the offset and size in the file of its maker."""

    n: int
    at: int
    size: int


class Place(NamedTuple):
    """Where an example is, and in which of the files it goes; of a pair, where the worse answer is."""

    n: int
    id: str
    split: str
    at: int
    size: int
    other_at: int | None
    other_size: int | None


class Spread(NamedTuple):
    """How a number is spread over examples."""

    least: int
    median: int
    p95: int
    most: int
    total: int


class Entries:
    """The examples, in the order in which they were added."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection
        self._schema = f"curating_{new_id().replace('-', '')}"
        connection.execute(f"CREATE SCHEMA {self._schema}; SET search_path = '{self._schema}'")
        columns = ", ".join(f'"{name}" {kind}' for name, kind in _COLUMNS.items() if name not in ("earlier", "bands"))
        connection.execute(f"CREATE TABLE entry ({columns}, gone VARCHAR, other INTEGER)")
        connection.execute("CREATE TABLE lost (id VARCHAR, step VARCHAR, why VARCHAR)")
        connection.execute("CREATE TABLE ending (conversation VARCHAR, n INTEGER)")
        connection.execute("CREATE TABLE band (band UBIGINT, n INTEGER)")
        self._kinds = msgspec.json.encode([_COLUMNS]).decode()

    def close(self) -> None:
        """Forget all of it."""
        self._connection.execute(f"RESET search_path; DROP SCHEMA {self._schema} CASCADE")

    def _paged(self, query: str) -> Iterator[tuple[Any, ...]]:
        """The rows of a query whose first column counts them, from 1 on; other things can be asked meanwhile.

        A query that finds much is held in memory whole, however it is fetched.
        """
        self._connection.execute(f"CREATE OR REPLACE TABLE page AS {query}")
        first = 1
        while rows := self._connection.execute(
            "SELECT * FROM page WHERE place BETWEEN $1 AND $2 ORDER BY place", [first, first + _FETCHED - 1]
        ).fetchall():
            yield from (row[1:] for row in rows)
            first += _FETCHED

    def add(self, entries: Sequence[dict[str, Any]], lost: Sequence[tuple[str, str, str]]) -> None:
        """Add some, with the names of `_COLUMNS`; and some that are none: their ids, by which step, and why."""
        if lost:
            self._connection.execute(
                "INSERT INTO lost SELECT unnest($1::VARCHAR[]), unnest($2::VARCHAR[]), unnest($3::VARCHAR[])",
                [list(column) for column in zip(*lost, strict=True)],
            )
        if not entries:
            return
        self._connection.execute(
            "CREATE OR REPLACE TABLE added AS"
            f" SELECT one.* FROM (SELECT unnest(from_json($1, '{self._kinds}')) AS one)",
            [msgspec.json.encode(entries).decode()],
        )
        self._connection.execute(f"INSERT INTO entry SELECT {_KEPT}, NULL, NULL FROM added")
        self._connection.execute("INSERT INTO ending SELECT unnest(earlier), n FROM added")
        self._connection.execute("INSERT INTO band SELECT unnest(bands), n FROM added")

    def leave_first_of(self, column: str, step: str) -> int:
        """Of those with the same value of a column the first one stays. Returns how many go."""
        return self._leave(
            step,
            f'n NOT IN (SELECT min(n) FROM entry WHERE {_STAYS} GROUP BY "{column}")',
        )

    def leave_unfinished(self, step: str) -> int:
        """Conversations that a later one goes on with go."""
        return self._leave(
            step,
            "EXISTS (SELECT 1 FROM (SELECT e.conversation, max(e.n) AS last FROM ending e JOIN entry o ON o.n = e.n"
            " AND o.gone IS NULL GROUP BY e.conversation) AS later"
            " WHERE later.conversation = entry.conversation AND later.last > entry.n)",
        )

    def candidates(self) -> Iterator[tuple[Held, list[Held]]]:
        """Each that may be alike others before it, with those, the likeliest first."""
        self._connection.execute(
            "CREATE OR REPLACE TABLE shared AS SELECT band, n FROM band"
            f" SEMI JOIN (SELECT n FROM entry WHERE {_STAYS}) USING (n)"
            " WHERE band IN (SELECT band FROM band GROUP BY band HAVING count(*) > 1)"
        )
        found = self._paged(
            "WITH met AS (SELECT n, unnest([first_value(n) OVER w, lag(n, 1) OVER w, lag(n, 2) OVER w]) AS other"
            " FROM shared WINDOW w AS (PARTITION BY band ORDER BY n)),"
            " counted AS (SELECT n, other, count(*) AS bands FROM met WHERE other < n GROUP BY n, other"
            f" QUALIFY row_number() OVER (PARTITION BY n ORDER BY count(*) DESC, other) <= {_CANDIDATES}),"
            " listed AS (SELECT one.n, one.at_byte, one.size,"
            " list([other.n, other.at_byte, other.size] ORDER BY bands DESC, other.n)"
            " FROM counted JOIN entry AS one ON one.n = counted.n JOIN entry AS other ON other.n = counted.other"
            " GROUP BY ALL)"
            " SELECT row_number() OVER (ORDER BY n) AS place, * FROM listed"
        )
        return ((Held(*one), [Held(*other) for other in others]) for *one, others in found)

    def leave(self, numbers: Iterable[int], step: str) -> int:
        """These go."""
        return self._leave(step, "n IN (SELECT unnest($2::INTEGER[]))", [list(numbers)])

    def pair(self, prefer: str, step: str) -> int:
        """Of the answers to one prompt the best gets the worst beside it; all others go. Returns how many go.

        `prefer`: `rating`, by their scores, or `repeat`, the later ones being better.
        """
        measure = "score" if prefer == "rating" else "n"
        self._connection.execute(
            "CREATE OR REPLACE TABLE best AS"
            " SELECT prompt, arg_max(n, (worth, n)) AS n, arg_min(n, (worth, n)) AS other"
            f" FROM (SELECT prompt, n, {measure} AS worth FROM entry WHERE {_STAYS} AND {measure} IS NOT NULL)"
            " GROUP BY prompt HAVING min(worth) < max(worth)"
        )
        self._connection.execute("UPDATE entry SET other = best.other FROM best WHERE best.n = entry.n")
        self._leave(_PAIRED, "n IN (SELECT other FROM best)")
        return self._leave(step, "other IS NULL")

    def leave_most(self, column: str, most: int, step: str) -> int:
        """Of each value of a column so many stay, drawn."""
        return self._leave(
            step,
            "n IN (SELECT n FROM (SELECT n, row_number() OVER"
            f' (PARTITION BY "{column}" ORDER BY draw, n) AS place FROM entry WHERE {_STAYS}) WHERE place > $2)',
            [most],
        )

    def leave_sample(self, balance: str, most: int | None, step: str) -> int:
        """So many stay, as evenly as can be by a column, if one is named; without a number, as many of each of its
        values as there are of the rarest."""
        column = f'"{balance}"' if balance else "''"
        ranked = (
            f"SELECT n, draw, row_number() OVER (PARTITION BY {column} ORDER BY draw, n) AS place"
            f" FROM entry WHERE {_STAYS}"
        )
        if most is None:
            rarest = (
                f"(SELECT min(number) FROM (SELECT count(*) AS number FROM entry WHERE {_STAYS} GROUP BY {column}))"
            )
            return self._leave(step, f"n IN (SELECT n FROM ({ranked}) WHERE place > {rarest})")
        return self._leave(
            step,
            "n IN (SELECT n FROM (SELECT n, row_number() OVER (ORDER BY place, draw, n) AS turn"
            f" FROM ({ranked})) WHERE turn > $2)",
            [most],
        )

    def _leave(self, step: str, condition: str, parameters: Sequence[Any] = ()) -> int:
        [(number,)] = self._connection.execute(
            f"UPDATE entry SET gone = $1 WHERE {_STAYS} AND {condition}",
            [step, *parameters],
        ).fetchall()
        return int(number)

    def staying(self, order: str) -> Iterator[Place]:
        """Those that stay, in the order of `time`, or `shuffled`."""
        by = "entry.n" if order == "time" else "entry.draw, entry.n"
        found = self._paged(
            f"SELECT row_number() OVER (ORDER BY {by}) AS place, entry.n, entry.id, entry.split, entry.at_byte,"
            " entry.size, worse.at_byte AS other_at, worse.size AS other_size"
            f" FROM entry LEFT JOIN entry AS worse ON worse.n = entry.other WHERE entry.{_STAYS}"
        )
        return (Place(*row) for row in found)

    def gone(self) -> Iterator[tuple[str, str, str | None]]:
        """Those that went or were none, in the order of their ids: by which step, and of the latter why."""
        found = self._paged(
            "SELECT row_number() OVER (ORDER BY id) AS place, * FROM"
            f" (SELECT id, gone, NULL FROM entry WHERE gone IS NOT NULL AND gone <> '{_PAIRED}'"
            " UNION ALL SELECT id, step, why FROM lost)"
        )
        return ((identifier, step, why) for identifier, step, why in found)

    def counted(self, column: str, most: int = 1000) -> dict[str, int]:
        """How many stay of each value of a column, the most frequent first."""
        found = self._connection.execute(
            f"SELECT coalesce(\"{column}\"::VARCHAR, ''), count(*) FROM entry WHERE {_STAYS}"
            f" GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT {most}"
        )
        return dict(found.fetchall())

    def changed(self) -> dict[str, int]:
        """How many of those that stay each step has changed."""
        found = self._connection.execute(
            f"SELECT step, count(*) FROM (SELECT unnest(changed) AS step FROM entry WHERE {_STAYS}) GROUP BY 1"
        )
        return dict(found.fetchall())

    def spread(self, column: str, split: str | None = None) -> Spread:
        """How a number is spread over those that stay, or over those of a file."""
        found = self._connection.execute(
            f"SELECT min(v), quantile_disc(v, 0.5), quantile_disc(v, 0.95), max(v), sum(v)::BIGINT"
            f' FROM (SELECT "{column}" AS v FROM entry WHERE {_STAYS} AND ($1 IS NULL OR split = $1))',
            [split],
        )
        [values] = found.fetchall()
        return Spread(*(value or 0 for value in values))

    def histogram(self, column: str) -> list[tuple[int, int]]:
        """How many of those that stay have up to so much of a number: powers of two."""
        found = self._connection.execute(
            f'SELECT (1 << ceil(log2(greatest("{column}", 1)))::INTEGER)::BIGINT AS up_to, count(*) FROM entry'
            f" WHERE {_STAYS} GROUP BY 1 ORDER BY 1"
        )
        return found.fetchall()

    def number(self, condition: str = "true") -> int:
        """How many of those that stay fit a condition of ours."""
        [(number,)] = self._connection.execute(f"SELECT count(*) FROM entry WHERE {_STAYS} AND {condition}").fetchall()
        return int(number)

    def groups(self, split: str | None = None) -> int:
        """In how many conversations those that stay are."""
        [(number,)] = self._connection.execute(
            f'SELECT count(DISTINCT "group") FROM entry WHERE {_STAYS} AND ($1 IS NULL OR split = $1)',
            [split],
        ).fetchall()
        return int(number)

    def period(self) -> tuple[int, int] | None:
        """When the first and the last of those that stay began, in Unix microseconds."""
        [(first, last)] = self._connection.execute(
            f"SELECT min(started_at_us), max(started_at_us) FROM entry WHERE {_STAYS}"
        ).fetchall()
        return None if first is None else (first, last)


@contextlib.contextmanager
def entries(home: Home) -> Iterator[Entries]:
    """An empty table of examples."""
    with scratchpad(home) as connection, sparing(connection, _MEMORY):
        made = Entries(connection)
        try:
            yield made
        finally:
            made.close()
