"""Conditions made of queries, on a real DuckDB."""

from __future__ import annotations

import datetime as dt

import duckdb
import pytest
from hypothesis import given

from tests.query.queries import queries
from tracecli.query.sql import condition, contents
from tracecli.query.syntax import Query, parse
from tracecli.store.connection import MIGRATIONS

NOW = dt.datetime(2026, 11, 22, 12, tzinfo=dt.UTC)
_ROWS = """
INSERT INTO exchange BY NAME
SELECT '01a20000-0000-7000-8000-00000000000' || digit AS id, * EXCLUDE digit FROM (VALUES
    (1, 'alice', 'gpt-4o', 'gpt-4o-2024', 200, 'complete', NULL, 0.02, 1000, 10, 1500.0, true,
        ['no_end_event', 'a%'], 'hit', '2026-11-22 11:30:00+00'),
    (2, 'Alice', 'claude-sonnet', NULL, 429, 'complete', 'Rate LIMIT reached', NULL, NULL, NULL, 33.0, NULL,
        [], NULL, '2026-11-22 09:00:00+00'),
    (3, 'a%', NULL, 'gpt-4o', NULL, 'failed', 'refused', 0, 9223372036854775807, 9223372036854775807, 10.0, false,
        NULL, 'miss', '2026-11-20 09:00:00+00')
) AS rows(digit, "user", request_model, response_model, status, outcome, error, cost_usd, input_tokens, output_tokens,
    duration_ms, stream, flags, cache_status, started_at)
"""


@pytest.fixture(scope="module")
def database() -> duckdb.DuckDBPyConnection:
    """Three exchanges: a good one, one that was refused, one without an answer."""
    connection = duckdb.connect()
    for script in MIGRATIONS:
        connection.execute(script.read_text("utf-8"))
    connection.execute("SET TimeZone = 'UTC'")
    connection.execute(_ROWS)
    connection.execute("CREATE TABLE matched (term INTEGER, id UUID)")
    return connection


def _found(database: duckdb.DuckDBPyConnection, query: Query) -> str:
    terms = {term: number for number, term in enumerate(contents(query))}
    made = condition(query, NOW, dt.UTC, found=terms)
    found = database.execute(f"SELECT id::VARCHAR FROM exchange WHERE {made.sql} ORDER BY id", made.parameters)
    return "".join(identifier[-1] for (identifier,) in found.fetchall())


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ("", "123"),
        ("-()", ""),
        ("user:alice", "1"),
        ("-user:alice", "23"),
        ("user:a*", "13"),
        ("user:*lice", "12"),
        ("user:a%", "3"),
        ('user:"a*"', ""),
        ("user:a*e,A*e", "12"),
        ("user:*", "123"),
        ("model:gpt-4o", "13"),
        ("model:*4o*", "13"),
        ("model:none", ""),
        ("status:200,4xx", "12"),
        ("status:none", "3"),
        ("-status:200", "23"),
        ("-status:>=400", "13"),
        ("-(status:200 OR user:Alice)", "3"),
        ("status:400..499", "2"),
        ("outcome:failed", "3"),
        ("errors:yes", "23"),
        ("errors:no", "1"),
        ('error:"rate limit"', "2"),
        ("cost:>0.01", "1"),
        ("-cost:>0.01", "23"),
        ("cost:0", "3"),
        ("cost:none", "2"),
        ("cost:..0.02", "13"),
        ("tokens:>1k", "13"),
        ("tokens:1010", "1"),
        ("in:1k", "1"),
        ("duration:>33ms", "1"),
        ("duration:33ms..2s", "12"),
        ("streamed:yes", "1"),
        ("streamed:no", "3"),
        ("-streamed:yes", "23"),
        ("flag:no_end*", "1"),
        ("flag:a%", "1"),
        ("flag:*", "1"),
        ("flag:none", "23"),
        ("cache:HIT,none", "12"),
        ("since:2h", "1"),
        ("since:2026-11-22", "12"),
        ("until:1d", "3"),
        ("id:01a20000-0000-7000-8000-000000000001", "1"),
        ("id:01A2*", "123"),
        ("id:ff", ""),
        ("user:alice OR status:none since:9d", "13"),
    ],
)
def test_what_fits(database: duckdb.DuckDBPyConnection, text: str, ids: str) -> None:
    """A query finds what it says, and leaves out what is unknown; negated, it finds the rest."""
    assert _found(database, parse(text)) == ids
    rest = "".join(one for one in "123" if one not in ids)
    assert _found(database, parse(f"-({text})")) == rest


@given(query=queries())
def test_every_query_is_a_condition(database: duckdb.DuckDBPyConnection, query: Query) -> None:
    """Whatever is asked for, in whatever words: the database takes it, and negated it finds the others."""
    found = _found(database, query)
    rest = _found(database, parse(f"-({_text(query)})"))
    assert sorted(found + rest) == ["1", "2", "3"]


def _text(query: Query) -> str:
    from tracecli.query.syntax import text_of

    return text_of(query)


def test_typed_text_is_never_in_the_sql() -> None:
    """Values are parameters, all of them."""
    for text in ("user:x'y", "model:x'*'y", "error:x'y", "flag:x'*", "tool:x'y", '"x\'y"'):
        made = condition(parse(text), NOW, found=dict.fromkeys(contents(parse(text)), 0))
        assert "x'" not in made.sql


def test_contents_are_left_open_until_they_were_looked_for(database: duckdb.DuckDBPyConnection) -> None:
    """Without what contents hold, a condition lets through all that may fit in the end, negated or not."""
    for text in ("user:alice x", "user:alice -x", "user:alice (x OR -status:200)", "-(user:Alice,a% x) user:alice"):
        made = condition(parse(text), NOW)
        assert database.execute(f"SELECT count(*) FROM exchange WHERE {made.sql}", made.parameters).fetchall() >= [(1,)]
    query = parse("x y -x prompt:x")
    assert [term.name for term in contents(query)] == ["text", "text", "prompt"]


def test_what_was_found_in_contents_counts(database: duckdb.DuckDBPyConnection) -> None:
    """Words fit the exchanges that the table of matches names."""
    database.execute("INSERT INTO matched VALUES (0, '01a20000-0000-7000-8000-000000000002')")
    try:
        assert _found(database, parse("x")) == "2"
        assert _found(database, parse("-x")) == "13"
        assert _found(database, parse("user:alice OR x")) == "12"
    finally:
        database.execute("DELETE FROM matched")
