"""Numbers and instants as people read them."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.rows import NOW, ZONE
from tracecli.tables import values


@pytest.mark.parametrize(
    ("usd", "shown"),
    [
        (None, "–"),  # noqa: RUF001
        ("0", "$0.00"),
        ("0.000423", "$0.00042"),
        ("0.00000018", "$0.00000018"),
        ("0.0996", "$0.10"),
        ("0.00996", "$0.01"),
        ("0.0301", "$0.03"),
        ("0.0123", "$0.012"),
        ("0.999", "$1.00"),
        ("1.234", "$1.23"),
        ("12", "$12.00"),
        ("1234567.891", "$1,234,567.89"),
        ("-0.5", "-$0.50"),
        ("1E-15", "<$0.000000000001"),
    ],
)
def test_money(usd: str | None, shown: str) -> None:
    """Costs read to the cent, or to two digits below one; unknown is a dash."""
    assert values.money(None if usd is None else Decimal(usd)) == shown


@settings(deadline=None)
@given(st.decimals(min_value=Decimal("1e-20"), max_value=Decimal("1e9")), st.integers(2, 12))
def test_a_cost_never_reads_as_nothing(usd: Decimal, places: int) -> None:
    """What is not zero shows a digit that is not zero, however few places there are."""
    assert set(values.money(usd, places)) & set("123456789")


@pytest.mark.parametrize(
    ("ms", "shown"),
    [
        (None, "–"),  # noqa: RUF001
        (0, "0 ms"),
        (0.04, "<0.1 ms"),
        (0.42, "0.4 ms"),
        (640.4, "640 ms"),
        (999.6, "1.0 s"),
        (2412.3, "2.4 s"),
        (9949, "9.9 s"),
        (9951, "10 s"),
        (59_600, "1 m 00 s"),
        (190_000, "3 m 10 s"),
        (7_500_000, "2 h 05 m"),
    ],
)
def test_duration(ms: float | None, shown: str) -> None:
    """Durations have the unit that fits them, and never `60 s`."""
    assert values.duration(ms) == shown


@pytest.mark.parametrize(
    ("number", "shown"),
    [
        (None, "–"),  # noqa: RUF001
        (0, "0"),
        (999, "999"),
        (1000, "1.0k"),
        (1234, "1.2k"),
        (9_949, "9.9k"),
        (9_950, "10k"),
        (999_499, "999k"),
        (999_500, "1.0M"),
        (1_234_567, "1.2M"),
        (5_000_000_000_000, "5.0T"),
    ],
)
def test_short_count(number: int | None, shown: str) -> None:
    """Counts take at most four characters."""
    assert values.short_count(number) == shown


@pytest.mark.parametrize(
    ("number", "shown"),
    [(1, "1 byte"), (999, "999 bytes"), (30_000, "30.0 KB"), (999_960, "1.0 MB"), (2 * 10**12, "2000.0 GB")],
)
def test_size(number: int, shown: str) -> None:
    """Sizes are in units of a thousand."""
    assert values.size(number) == shown


@pytest.mark.parametrize(
    ("at", "long", "short"),
    [
        ("2026-11-22T13:04:57Z", "14:04:57", "14:04:57"),
        ("2026-11-21T23:30:00Z", "00:30:00", "00:30:00"),
        ("2026-11-21T22:30:00Z", "Nov 21 23:30", "Nov 21"),
        ("2026-06-01T22:30:00Z", "Jun  2 00:30", "Jun  2"),
        ("2025-12-31T22:59:00Z", "2025-12-31", "Dec 2025"),
    ],
)
def test_moment(at: str, long: str, short: str) -> None:
    """Today is a time of day, another day a date, both where the reader is, summer time included."""
    instant = dt.datetime.fromisoformat(at)
    assert values.moment(instant, NOW, ZONE) == long
    assert values.moment(instant, NOW, ZONE, short=True) == short


def test_full_moment_has_its_distance_from_utc() -> None:
    """An opened request says when to the millisecond, and in which zone."""
    at = dt.datetime(2026, 1, 2, 3, 4, 5, 678_000, tzinfo=dt.UTC)
    assert values.full_moment(at, ZONE) == "2026-01-02 04:04:05.678 +01:00"
    assert values.full_moment(at, dt.timezone(-dt.timedelta(hours=3, minutes=30))) == "2026-01-01 23:34:05.678 -03:30"
