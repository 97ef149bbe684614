"""Exchanges that fit a condition, stored or still in the spool, read as one table.

Conditions are text of ours over the columns of `exchange`, with parameters from `$1` on (`query.sql` makes them).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import duckdb
import msgspec

from tracecli.config import Home
from tracecli.exchange import Row
from tracecli.query.orders import SORTS
from tracecli.recorded import Recorded
from tracecli.store import exchanges
from tracecli.store.connection import MIGRATIONS, opened
from tracecli.store.engine import modest, without_pandas

type Condition = tuple[str, list[Any]]

_WAITING = (*exchanges.ROW_COLUMNS, "tools", "lane", "reason", "cost_detail", "cache_detail")


_FEW = 10_000


class Extent(NamedTuple):
    """The smallest and the largest id, and how many body bytes passed."""

    first: str
    last: str
    bytes: int


class Last(NamedTuple):
    """The last row of a page: what it was sorted by, and its id."""

    key: Any
    id: str


class Page(NamedTuple):
    """Rows, and where the next page begins: behind that one."""

    rows: list[Row]
    last: Last | None


class Selection:
    """All exchanges there are this moment. Others wait while it is open: use it for moments."""

    def __init__(
        self, connection: duckdb.DuckDBPyConnection, waiting: Sequence[Recorded], columns: Sequence[str] = _WAITING
    ) -> None:
        """`columns` are those that are known of `waiting`."""
        self.connection = connection
        known = exchanges.known(connection, [one.row.id for one in waiting])
        left = [one for one in waiting if one.row.id not in known]
        self.waiting = waiting
        self.tables = ["exchange"]
        self.filter = "true"
        if left:
            self._hold(left, columns)
            self.tables.append("waiting")

    def _hold(self, records: Sequence[Recorded], columns: Sequence[str]) -> None:
        lines = msgspec.json.encode([exchanges.values_of(one, columns) for one in records]).decode()
        kinds = msgspec.json.encode([{name: exchanges.kind_of(name) for name in columns}]).decode()
        self.connection.execute(
            f"CREATE TEMP TABLE waiting AS SELECT one.* FROM (SELECT unnest(from_json($1, '{kinds}')) AS one)",  # noqa: S608 - names of ours only
            [lines],
        )

    def table(self) -> str:
        """All of them, as a table for FROM."""
        parts = (f"SELECT * FROM {table} WHERE {self.filter}" for table in self.tables)  # noqa: S608 - text of ours only
        return f"({' UNION ALL BY NAME '.join(parts)}) AS exchange"

    def page(self, condition: Condition, sort: str, *, descending: bool, limit: int, after: Last | None = None) -> Page:
        """The first ones in this order behind `after`.

        What has no value of it comes last, and of equals the newest first.
        """
        where, parameters = condition
        key = SORTS[sort]
        direction = "DESC" if descending else "ASC"
        order = f"ORDER BY {key} {direction} NULLS LAST, exchange.id DESC LIMIT {int(limit)}"
        if sort == "time":
            order = f"ORDER BY exchange.id {direction} LIMIT {int(limit)}"
        if after is not None:
            where, parameters = _behind(after, condition, sort, descending=descending)
        # Each table by itself, and no more than so many: the database then reads whole rows only of those it lists.
        self.connection.execute(f"SET late_materialization_max_rows = {min(int(limit), _FEW)}")
        parts = [
            f"(SELECT * FROM {table} AS exchange WHERE {self.filter} AND {where} {order})"  # noqa: S608 - ours
            for table in self.tables
        ]
        table = f"({' UNION ALL BY NAME '.join(parts)}) AS exchange"
        found = self.connection.execute(
            f"SELECT {exchanges.ROW}, {key} FROM {table} {order}",  # noqa: S608 - text of ours only
            parameters,
        ).fetchall()
        rows = [exchanges.row_of(values[:-1]) for values in found]
        return Page(rows, Last(found[-1][-1], rows[-1].id) if rows else None)

    def extent(self, condition: Condition) -> Extent | None:
        """Of the stored ones that have content; None: there are none."""
        where, parameters = condition
        [(first, last, size)] = self.connection.execute(
            "SELECT min(id)::VARCHAR, max(id)::VARCHAR, sum(request_bytes + response_bytes)::BIGINT"  # noqa: S608 - ours
            f" FROM exchange WHERE {exchanges.HELD} AND {where}",
            parameters,
        ).fetchall()
        return None if first is None else Extent(first, last, size)

    def sizes(self, condition: Condition, among: Sequence[str] | None = None) -> list[tuple[str, int]]:
        """The stored ones that have content, newest first: their ids, and how many body bytes passed.

        `among`: of these alone.
        """
        where, parameters = condition
        parameters = list(parameters)
        if among is not None:
            place = len(parameters)
            where = f"{where} AND id BETWEEN ${place + 1}::UUID AND ${place + 2}::UUID"
            where += f" AND id IN (SELECT unnest(${place + 3}::UUID[]))"
            parameters += [min(among), max(among), list(among)]
        found = self.connection.execute(
            "SELECT id::VARCHAR, request_bytes + response_bytes FROM exchange"  # noqa: S608 - text of ours only
            f" WHERE {exchanges.HELD} AND {where} ORDER BY exchange.id DESC",
            parameters,
        )
        return found.fetchall()

    def waiting_ids(self, condition: Condition) -> list[str]:
        """Those that fit and are still in the spool."""
        if "waiting" not in self.tables:
            return []
        where, parameters = condition
        found = self.connection.execute(f"SELECT id::VARCHAR FROM waiting WHERE {where}", parameters)  # noqa: S608 - ours
        return [identifier for (identifier,) in found.fetchall()]

    def only(self, ids: Iterable[str]) -> None:
        """Leave out all others from now on."""
        self.connection.execute("CREATE TEMP TABLE looked_at AS SELECT unnest($1::UUID[]) AS id", [list(ids)])
        self.filter = "id IN (SELECT id FROM looked_at)"

    def ids(self, condition: Condition) -> list[str]:
        """All that fit."""
        where, parameters = condition
        found = self.connection.execute(f"SELECT id::VARCHAR FROM {self.table()} WHERE {where}", parameters)  # noqa: S608
        return [identifier for (identifier,) in found.fetchall()]

    def session_ids(self, condition: Condition) -> list[str]:
        """All that fit, and all others of their sessions."""
        where, parameters = condition
        found = self.connection.execute(
            f"WITH fitting AS (SELECT id, session FROM {self.table()} WHERE {where})"  # noqa: S608 - text of ours only
            f" SELECT id::VARCHAR FROM {self.table()} WHERE id IN (SELECT id FROM fitting)"
            " OR session IN (SELECT session FROM fitting WHERE session IS NOT NULL)",
            parameters,
        )
        return [identifier for (identifier,) in found.fetchall()]

    def stored_ids(self, condition: Condition) -> list[str]:
        """Those that fit and are stored."""
        where, parameters = condition
        found = self.connection.execute(f"SELECT id::VARCHAR FROM exchange WHERE {where}", parameters)  # noqa: S608 - ours
        return [identifier for (identifier,) in found.fetchall()]

    def note(self, matched: Iterable[tuple[int, Sequence[str]]]) -> None:
        """Make the table of what was found in contents."""
        self.connection.execute("CREATE TEMP TABLE matched (term INTEGER, id UUID)")
        for term, ids in matched:
            self.connection.execute("INSERT INTO matched SELECT $1, unnest($2::UUID[])", [term, list(ids)])


def _behind(last: Last, condition: Condition, sort: str, *, descending: bool) -> Condition:
    """Of what fits a condition, what comes behind a row in the order of `page`."""
    where, parameters = condition
    place = len(parameters) + 1
    older, key, further = f"exchange.id < ${place}::UUID", SORTS[sort], "<" if descending else ">"
    if sort == "time":
        return f"({where}) AND exchange.id {further} ${place}::UUID", [*parameters, last.id]
    if last.key is None:
        return f"({where}) AND {key} IS NULL AND {older}", [*parameters, last.id]
    value = f"${place + 1}"
    behind = f"({key} {further} {value} OR {key} IS NULL OR ({key} = {value} AND {older}))"
    return f"({where}) AND {behind}", [*parameters, last.id, last.key]


@contextlib.contextmanager
def selection(home: Home, waiting: Sequence[Recorded]) -> Iterator[Selection]:
    """What is stored, and `waiting`, which was read from the spool before. Raises StoreBusy and the like."""
    with contextlib.ExitStack() as stack:
        try:
            connection = stack.enter_context(opened(home))
            stack.enter_context(modest(connection))
        except FileNotFoundError:
            connection = stack.enter_context(_nothing())
        yield Selection(connection, waiting)


@contextlib.contextmanager
def _nothing() -> Iterator[duckdb.DuckDBPyConnection]:
    """An empty store."""
    connection = duckdb.connect(":memory:", config={"autoinstall_known_extensions": False})
    try:
        for script in MIGRATIONS:
            connection.execute(script.read_text("utf-8"))
        with without_pandas():
            yield connection
    finally:
        connection.close()
