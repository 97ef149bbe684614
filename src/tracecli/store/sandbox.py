"""A DuckDB for statements that readers write: it reads the views and nothing else, and changes nothing.

It is a database in memory, to which the stored exchanges are attached for reading. Before a statement of a reader
runs, access to files and to the network, extensions and settings are locked. That is not enough by itself: functions
of DuckDB log to standard output or end the process under it. So a statement is parsed before, and only a SELECT runs
that reads the views, with table functions that are known to be harmless.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import re
import shutil
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb

from tracecli.config import Home
from tracecli.errors import SqlError
from tracecli.query.errors import did_you_mean
from tracecli.recorded import Recorded
from tracecli.store import parquet, views
from tracecli.store.connection import MIGRATIONS, attach
from tracecli.store.engine import DATABASE, quoted, spill_folder, spilling, without_pandas
from tracecli.store.selection import Selection

_MEMORY = "400MB"
_BESIDE = 1 << 30
"""Bytes that the process may take while a statement runs."""
_FETCHED = 1000
"""Rows at once."""
_RESULT = "tracecli_result"
# As DuckDB's own; the others are told as text, so that none needs a package of Python's.
_AS_THEY_ARE = frozenset(
    {
        *("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT"),
        *("UHUGEINT", "FLOAT", "DOUBLE", "BOOLEAN", "VARCHAR"),
    }
)


@dataclass(frozen=True)
class Answer:
    """Names and types of the columns, and the rows.

    Values are numbers, truths, texts and None; of a nested type its JSON, of bytes Base64, of all others DuckDB's text.
    """

    columns: list[tuple[str, str]]
    rows: Iterator[tuple[Any, ...]]


class Sandbox:
    """One statement's database. `asked_for` first, then `fill`, `show` and `ask`."""

    def __init__(self, home: Home, connection: duckdb.DuckDBPyConnection) -> None:
        self._home = home
        self._connection = connection
        for view in views.all_views():
            columns = ", ".join(f'"{column.name}" {column.kind}' for column in view.columns)
            connection.execute(f"CREATE TABLE {view.name} ({columns})")

    def asked_for(self, statement: str) -> set[str]:
        """The views that a statement reads. Raises SqlError if it is not one SELECT, or does more than to read them."""
        with _told():
            found = self._connection.extract_statements(statement)
        if len(found) != 1 or found[0].type != duckdb.StatementType.SELECT:
            raise SqlError(
                "this is not one SELECT", "Write one statement that only reads, as SELECT, WITH, FROM or DESCRIBE."
            )
        # DuckDB's own list of a statement's tables stumbles over USING, and tells of no functions.
        [(parsed,)] = self._connection.execute("SELECT json_serialize_sql($1::VARCHAR)", [statement]).fetchall()
        return _tables(json.loads(parsed))

    def fill(self, view: views.View, rows: Sequence[Sequence[Any]]) -> None:
        """Add rows to a view of content. Bytes are given as bytes."""
        columns = [[row[place] for row in rows] for place in range(len(view.columns))]
        given = [
            (f"unnest(${place}::BLOB[])", values)
            if column.kind == "BLOB"
            else (f"unnest(from_json(${place}, '[\"{column.kind}\"]'))", parquet.as_list(values))
            for place, (column, values) in enumerate(zip(view.columns, columns, strict=True), 1)
        ]
        query = f"INSERT INTO {view.name} SELECT {', '.join(sql for sql, _ in given)}"
        self._connection.execute(query, [value for _, value in given])

    def show(self, waiting: Sequence[Recorded], only: Sequence[str] | None) -> None:
        """Attach the stored exchanges, add those still in the spool, and make the views.

        `only` are the ids of those that the views have; None is all. Ingest waits for the database from now on.
        """
        connection = self._connection
        connection.execute("DROP TABLE exchanges; DROP TABLE daily_usage")
        try:
            attach(connection, self._home)
            connection.execute(f"CREATE VIEW exchange AS FROM {DATABASE}.exchange")
        except FileNotFoundError:
            for script in MIGRATIONS:
                connection.execute(script.read_text("utf-8"))
        columns = [column.name for column in views.exchanges_view().columns]
        source = Selection(connection, waiting, columns).table()
        if only is not None:
            connection.execute("CREATE TEMP TABLE chosen AS SELECT unnest($1::UUID[]) AS id", [list(only)])
            source += " WHERE id IN (SELECT id FROM chosen)"
        connection.execute(f"CREATE TEMP VIEW exchanges AS {views.exchanges_sql(source)}")
        connection.execute(f"CREATE TEMP VIEW daily_usage AS {views.daily_sql()}")

    def ask(self, statement: str, *, timeout_s: float, into: Path | None = None) -> Answer:
        """Run a statement; with `into`, write all that it finds to that Parquet file too.

        Raises SqlError if it cannot be run, or takes longer.
        """
        connection = self._connection
        allowed = f"['{quoted(into)}']" if into else "[]"
        connection.execute(f"SET allowed_paths = {allowed}")
        connection.execute("SET enable_external_access = false")
        connection.execute("SET lock_configuration = true")
        with _told(timeout_s, running=True), _interrupted(connection, timeout_s), _little_memory():
            connection.execute(f"CREATE TEMP TABLE {_RESULT} AS\n{statement}")
        connection.execute(f"DETACH DATABASE IF EXISTS {DATABASE}")  # whoever prints the rows may take his time
        if into:
            how = "(FORMAT parquet, COMPRESSION zstd, USE_TMP_FILE false)"  # no other file may be written
            connection.execute(f"COPY {_RESULT} TO '{quoted(into)}' {how}")
        described = connection.execute(f"DESCRIBE {_RESULT}").fetchall()
        columns = [(str(name), str(kind)) for name, kind, *_ in described]
        return Answer(columns, self._rows(columns))

    def _rows(self, columns: Sequence[tuple[str, str]]) -> Iterator[tuple[Any, ...]]:
        shown = ", ".join(_shown(name, kind) for name, kind in columns)
        found = self._connection.execute(f"SELECT {shown} FROM {_RESULT}")  # noqa: S608 - names are quoted
        while rows := found.fetchmany(_FETCHED):
            yield from rows


@contextlib.contextmanager
def sandbox(home: Home, zone: dt.tzinfo | None = None) -> Iterator[Sandbox]:
    """A sandbox. Days and hours are those of `zone`; None is the system's."""
    spill = spill_folder(home)
    settings: dict[str, Any] = {
        "autoinstall_known_extensions": False,
        "autoload_known_extensions": False,
        "python_enable_replacements": False,
        "memory_limit": _MEMORY,
    } | spilling(home, spill)
    connection = duckdb.connect(":memory:", config=settings)
    try:
        if zone is not None:
            connection.execute(f"SET TimeZone = '{str(zone).replace("'", "''")}'")
        with without_pandas():
            yield Sandbox(home, connection)
    finally:
        connection.close()
        shutil.rmtree(spill, ignore_errors=True)


_TABLE_FUNCTIONS = frozenset({"range", "generate_series", "unnest", "json_each", "json_tree", "repeat"})
_REFUSED = frozenset({"write_log", "sleep_ms", "pg_sleep", "nextval", "currval", "getvariable"})
"""Functions that do something beside giving a value."""


def _tables(parsed: dict[str, Any]) -> set[str]:
    """The views that a parsed statement reads. Raises SqlError if it reads something else."""
    known = {view.name for view in views.all_views()}
    nodes = list(_nodes(parsed))
    given = {one["key"].lower() for node in nodes if "cte_map" in node for one in node["cte_map"]["map"]}
    found = set()
    for node in nodes:
        function = node.get("function_name", "").lower()
        if node.get("type") == "TABLE_FUNCTION":
            function = node["function"].get("function_name", "").lower()
            if function not in _TABLE_FUNCTIONS:
                possible = ", ".join(sorted(_TABLE_FUNCTIONS))
                raise SqlError(f"the table function {function} cannot be used here", f"These can: {possible}.")
        elif function in _REFUSED:
            raise SqlError(f"the function {function} cannot be used here", "Leave it out.")
        elif node.get("type") == "BASE_TABLE":
            name = node["table_name"].lower()
            if node["catalog_name"] or node["schema_name"] or name not in known | given:
                near = did_you_mean(name, known)
                raise SqlError(f"there is no view {name}", f"{near}`tracecli sql --schema` lists the views.")
            found.add(name)
        elif node.get("type") == "SHOW_REF":
            found |= known & {str(node.get("table_name") or "").lower().strip('"')}
    return found & known


def _nodes(tree: Any) -> Iterator[dict[str, Any]]:
    """Every object of what was parsed, however deep."""
    left = [tree]
    while left:
        value = left.pop()
        if isinstance(value, dict):
            yield value
            left += value.values()
        elif isinstance(value, list):
            left += value


@contextlib.contextmanager
def _little_memory() -> Iterator[None]:
    """Bound what the process takes beside: DuckDB does not count single values, which can be of any size."""
    try:
        import resource

        status = Path("/proc/self/status").read_text("ascii")
    except (ImportError, OSError):  # not Linux
        yield
        return
    used = int(status.partition("VmData:")[2].split()[0]) * 1024
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    bounds = [one for one in (soft, hard, used + _BESIDE) if one != resource.RLIM_INFINITY]
    resource.setrlimit(resource.RLIMIT_DATA, (min(bounds), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


def _shown(name: str, kind: str) -> str:
    column = '"' + name.replace('"', '""') + '"'
    if kind in _AS_THEY_ARE:
        return column
    if kind == "BLOB":
        return f"base64({column})"
    if kind.startswith("DECIMAL") and not kind.endswith(",0)"):
        return f"regexp_replace({column}::VARCHAR, '[.]?0+$', '')"
    if kind == "TIMESTAMP WITH TIME ZONE":
        return f"strftime({column} AT TIME ZONE 'UTC', '%Y-%m-%dT%H:%M:%S.%fZ')"
    if kind.endswith("]") or kind.startswith(("STRUCT", "MAP", "UNION")):
        return f"to_json({column})::VARCHAR"
    return f"{column}::VARCHAR"


@contextlib.contextmanager
def _interrupted(connection: duckdb.DuckDBPyConnection, after_s: float) -> Iterator[None]:
    timer = threading.Timer(after_s, connection.interrupt)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


@contextlib.contextmanager
def _told(timeout_s: float = 0, *, running: bool = False) -> Iterator[None]:
    """Errors of a statement as one sentence, with the place below it."""
    try:
        yield
    except duckdb.InterruptException:
        raise SqlError(
            f"the query took longer than {timeout_s:g} s", "Ask for less, or give it more with --timeout."
        ) from None
    except duckdb.OutOfMemoryException:
        raise SqlError("the query needs more memory than it may have", "Ask for less, or for fewer columns.") from None
    except duckdb.Error as error:
        problem, *more = str(error).splitlines()
        begin = next((number for number, line in enumerate(more) if line.startswith("LINE ")), len(more))
        place = "\n".join(more[begin : begin + 2])
        if running:  # the statement stands on the second line
            place = re.sub(r"^LINE (\d+)", lambda found: f"LINE {int(found[1]) - 1}", place)
        raise SqlError(problem.strip().rstrip("."), "`tracecli sql --schema` lists the views.", place) from None
