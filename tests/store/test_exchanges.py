"""Rows of exchanges come out of the database as they went in."""

from __future__ import annotations

import datetime as dt
import tempfile
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.exchanges import captured
from tracecli.config import Home
from tracecli.exchange import Usage, new_id
from tracecli.recorded import CostBasis, Recorded, record
from tracecli.store import exchanges
from tracecli.store.connection import opened

EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
TEXTS = st.text() | st.sampled_from(["null", "{}", '"', "\\", "\x00", "\x1b[31m", "a\nb\r\n", "\u2028", "😀", "NaN"])
COUNTS = st.none() | st.integers(0, (1 << 63) - 1)
TIMES = st.none() | st.floats(0, 1e15)
USD = st.none() | st.decimals(0, 1_000_000_000, places=15)
INSTANTS = st.integers(0, 4_000_000_000_000_000).map(lambda us: EPOCH + dt.timedelta(microseconds=us))
HEADERS = st.lists(st.tuples(TEXTS, TEXTS), max_size=4)
ROWS = st.fixed_dictionaries(
    {
        "started_at": INSTANTS,
        "duration_ms": st.floats(0, 1e15),
        "ttfb_ms": TIMES,
        "user": TEXTS,
        "session": st.none() | TEXTS,
        "path": TEXTS,
        "status": st.none() | st.integers(0, 999),
        "stream": st.none() | st.booleans(),
        "finish_reasons": st.none() | st.lists(TEXTS, max_size=3),
        "input_tokens": COUNTS,
        "cost_usd": USD,
        "saved_usd": USD,
        "error": st.none() | TEXTS,
        "flags": st.lists(TEXTS, max_size=3),
    }
)
EXCHANGES: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {
        "reason": TEXTS,
        "request_headers": HEADERS,
        "response_headers": HEADERS,
        "chunks": st.lists(st.tuples(st.integers(0, 1 << 40), st.floats(0, 1e9)), max_size=4),
        "cache_detail": st.none() | TEXTS,
        "credential": st.none() | TEXTS,
    }
)


@st.composite
def recorded(draw: st.DrawFn) -> Recorded:
    """A recorded exchange with whatever values a column takes."""
    found = record(captured(**draw(EXCHANGES)))
    row = msgspec.structs.replace(found.row, **draw(ROWS))
    basis = CostBasis(usage=Usage(input_tokens=draw(COUNTS)), service_tier=draw(TEXTS))
    return Recorded(found.exchange, row, draw(TEXTS), basis, draw(st.none() | st.binary(min_size=32, max_size=32)))


def stored(home: Home, given_: list[Recorded]) -> list[Recorded]:
    exchanges.append(home, given_, None, [new_id()], [])
    with opened(home) as connection:
        return exchanges.some(connection, [one.row.id for one in given_])


@settings(max_examples=15, deadline=None)
@given(st.lists(recorded(), min_size=1, max_size=20))
def test_whatever_the_values(some: list[Recorded]) -> None:
    """Texts with any character, money to the last digit, times to the microsecond, all come back as they were."""
    with tempfile.TemporaryDirectory() as folder:
        home = Home(Path(folder))
        home.prepare()
        found = {one.row.id: one for one in stored(home, some)}
    for one in some:
        again = found[one.row.id]
        assert again.row == one.row
        assert (again.cost_detail, again.basis, again.asked_hash) == (one.cost_detail, one.basis, one.asked_hash)
        for name in ("reason", "request_headers", "response_headers", "chunks", "cache_detail", "credential"):
            assert getattr(again.exchange, name) == getattr(one.exchange, name)


def test_a_text_of_any_length(tmp_path: Path) -> None:
    """A provider that names a model of 20 MB does not stop the others' exchanges from being recorded."""
    home = Home(tmp_path)
    home.prepare()
    huge = record(captured())
    huge = msgspec.structs.replace(huge, row=msgspec.structs.replace(huge.row, response_model="m" * (20 << 20)))
    small = record(captured())
    assert [len(one.row.response_model or "") for one in stored(home, [huge, small])] == [20 << 20, 0]


def test_money_is_exact(tmp_path: Path) -> None:
    """The smallest and the largest cost, also where Decimal writes them with an exponent."""
    home = Home(tmp_path)
    home.prepare()
    costs = [Decimal("0E-15"), Decimal("1E-15"), Decimal("1.50000000E-7"), Decimal("1000000000.000000000000001")]
    one = record(captured())
    given_ = [
        msgspec.structs.replace(one, row=msgspec.structs.replace(one.row, id=new_id(number), cost_usd=cost))
        for number, cost in enumerate(costs)
    ]
    assert [found.row.cost_usd for found in stored(home, given_)] == costs


def test_no_row_stays_beside_the_database(tmp_path: Path) -> None:
    """The file of rows is gone once they are inserted."""
    home = Home(tmp_path)
    home.prepare()
    stored(home, [record(captured())])
    assert list(home.scratch.iterdir()) == []
