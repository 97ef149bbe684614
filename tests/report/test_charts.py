"""Charts: what is as high as what."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracecli.report import charts
from tracecli.store.reporting import Bucket, Spent

DAY = dt.datetime(2026, 11, 1)  # noqa: DTZ001 - local, as the database tells it


def spent(day: int, model: str | None, cost: str, requests: int = 1) -> Spent:
    """On that day of November."""
    return Spent(DAY + dt.timedelta(days=day), model, requests, Decimal(cost))


def test_over_time() -> None:
    """Columns stack the models, the dearest at the bottom; a day without anything is a gap, and the axis is round."""
    chart = charts.over_time([spent(0, "a", "1"), spent(0, "b", "3"), spent(2, "a", "7")], "day", by_cost=True)
    assert [[(piece.colour, piece.percent) for piece in column] for column in chart.columns] == [
        [(0, 12.5), (1, 37.5)],
        [],
        [(0, 87.5)],
    ]
    assert chart.ticks == [(25.0, "$2"), (50.0, "$4"), (75.0, "$6"), (100.0, "$8")]
    assert chart.legend == [(0, "a", "$8.00"), (1, "b", "$3.00")]
    assert chart.table == [("Nov 1", "$4.00"), ("Nov 2", "$0.00"), ("Nov 3", "$7.00")]
    assert chart.columns[0][0].title == "Nov 1 · a · $1.00"


def test_many_models() -> None:
    """Those that cost least are together, in one colour, and counted."""
    chart = charts.over_time([spent(0, f"m{place}", str(10 - place)) for place in range(9)], "day", by_cost=True)
    assert [piece.colour for piece in chart.columns[0]] == list(range(7))
    assert chart.legend[-1] == (6, "3 others", "$9.00")
    assert chart.columns[0][-1].title.endswith("others · $9.00")


def test_without_costs() -> None:
    """Where nothing has a cost, requests are counted."""
    chart = charts.over_time([spent(0, None, "0", 1200), spent(1, None, "0", 300)], "day", by_cost=False)
    assert chart.legend == [(0, "(none)", "1.5k")]
    assert [label for _, label in chart.ticks] == ["500", "1.0k", "1.5k"]


@pytest.mark.parametrize(("bucket", "begins"), [("hour", 745), ("day", 32), ("week", 6), ("month", 2)])
def test_buckets(bucket: Bucket, begins: int) -> None:
    """Every bucket from the first to the last is there, a month as long as it is."""
    long = {"hour": 31, "day": 31, "week": 35, "month": 30}[bucket]
    ones = [Spent(DAY + dt.timedelta(days=days), "m", 1, Decimal(1)) for days in (0, long)]
    assert len(charts.over_time(ones, bucket, by_cost=True).columns) == begins


def test_spread() -> None:
    """Steps of a logarithmic scale, with what lies between them."""
    chart = charts.spread({20: 4, 22: 8})
    assert [[piece.percent for piece in column] for column in chart.columns] == [[50.0], [], [100.0]]
    assert chart.table == [("100 ms to 126 ms", "4"), ("158 ms to 200 ms", "8")]
    assert charts.spread({}).columns == []


@given(st.dictionaries(st.integers(0, 90), st.integers(1, 10**9), min_size=1))
def test_nothing_is_higher_than_the_axis(steps: dict[int, int]) -> None:
    """However the numbers are, columns and ticks stay within the chart, and labels do not meet."""
    chart = charts.spread(steps)
    assert max(piece.percent for column in chart.columns for piece in column) <= 100
    assert chart.ticks[-1][0] == 100
    assert len(chart.ticks) <= 5
    assert len(chart.labels) == len(chart.columns)
    assert 1 <= sum(map(bool, chart.labels)) <= 6


@given(st.text())
def test_names(text: str) -> None:
    """A name is one short line in which nothing acts."""
    shown = charts.name(text)
    assert len(shown) <= 80
    assert not set(shown) & set("\n\t\x1b\u202e\u2028\u200b")
