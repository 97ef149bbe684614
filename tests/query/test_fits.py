"""Whether one exchange fits a query: the same answer as the database gives."""

from __future__ import annotations

import datetime as dt

import duckdb
import pytest
from hypothesis import given

from tests.query.queries import queries
from tests.query.test_sql import NOW, database
from tests.support.rows import row
from tracecli.query.fits import Facts, fits, unknown
from tracecli.query.sql import condition
from tracecli.query.syntax import Query, parse
from tracecli.store.exchanges import ROW, row_of

__all__ = ["database"]


@pytest.fixture(scope="module")
def known(database: duckdb.DuckDBPyConnection) -> list[Facts]:
    """What is known of the exchanges in the database."""
    database.execute("UPDATE exchange SET lane = 'fast', tools = ['read_file', '日本'] WHERE status = 200")
    database.execute("UPDATE exchange SET lane = 'flows' WHERE status IS NULL")
    found = database.execute(f"SELECT tools, lane, {ROW} FROM exchange ORDER BY id").fetchall()
    return [Facts(row_of(values), tools, lane) for tools, lane, *values in found]


def test_as_the_database_finds_them(database: duckdb.DuckDBPyConnection, known: list[Facts]) -> None:
    """Any query of metadata fits exactly the exchanges that SQL finds by it."""

    @given(queries())
    def agrees(query: Query) -> None:
        if unknown(query) is not None:
            return
        made = condition(query, NOW, dt.UTC)
        found = database.execute(f"SELECT id::VARCHAR FROM exchange WHERE {made.sql}", made.parameters).fetchall()
        assert {facts.row.id for facts in known if fits(query, facts)} == {identifier for (identifier,) in found}

    agrees()


@pytest.mark.parametrize(
    "text",
    [
        "user:alice model:gpt-4* -status:>=400 cost:>0.0001 tokens:1k..2k",
        "tool:read_* lane:fast streamed:yes finish:stop in:1234",
        "-flag:* cache:none session:none duration:<3s ttft:>400ms host:*.openai.com",
        "user:b* OR (errors:no -user:bob)",
        "model:*4o*mini,x",
    ],
)
def test_fits(text: str) -> None:
    """Terms of every kind fit what they are true of."""
    assert fits(parse(text), Facts(row(), ["read_file"], "fast"))


@pytest.mark.parametrize("text", ["user:Alice", "model:gpt-4", "tool:none", "cached:none", "error:x", "model:a*b*c"])
def test_does_not_fit(text: str) -> None:
    """Case and whole values count, and what is unknown fits nothing."""
    assert not fits(parse(text), Facts(row(), ["read_file"], "fast"))


def test_many_stars() -> None:
    """A value with many stars takes no time on a long text."""
    query = parse(f"path:{'*a' * 200}*b")
    assert not fits(query, Facts(row(path="a" * 100_000), None, "fast"))


@pytest.mark.parametrize("text", ["secret", "user:a prompt:b", "-(since:2h)", "until:2026-11-01", "user:a OR ended:5m"])
def test_unknown(text: str) -> None:
    """What depends on contents or on now is told."""
    assert unknown(parse(text)) is not None


def test_known() -> None:
    """What the record says can be asked for."""
    assert unknown(parse("user:a -(status:200 OR flag:redacted) tool:x cost:>1")) is None
