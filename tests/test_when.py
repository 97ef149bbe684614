"""Moments as people type them."""

from __future__ import annotations

import datetime as dt
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracecli.when import moment

NOW = dt.datetime(2026, 11, 22, 13, 5, 7, tzinfo=dt.UTC)
BERLIN = ZoneInfo("Europe/Berlin")


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("30m", "2026-11-22T12:35:07Z"),
        ("2h", "2026-11-22T11:05:07Z"),
        ("7d", "2026-11-15T13:05:07Z"),
        (" 2W ", "2026-11-08T13:05:07Z"),
        ("90s", "2026-11-22T13:03:37Z"),
        ("0m", "2026-11-22T13:05:07Z"),
        ("2026-11-01", "2026-10-31T23:00:00Z"),
        ("2026-07-01", "2026-06-30T22:00:00Z"),
        ("2026-11-01T14:30", "2026-11-01T13:30:00Z"),
        ("2026-11-01 14:30:15", "2026-11-01T13:30:15Z"),
        ("2026-11-01T14:30Z", "2026-11-01T14:30:00Z"),
        ("2026-11-01T14:30+05:30", "2026-11-01T09:00:00Z"),
    ],
)
def test_what_is_meant(typed: str, meant: str) -> None:
    """So long ago, or a date; without an offset it is meant where the reader is, in summer as in winter."""
    found = moment(typed, NOW.astimezone(BERLIN), BERLIN)
    assert found == dt.datetime.fromisoformat(meant)
    assert found.tzinfo is dt.UTC


def test_without_a_zone_it_is_the_systems() -> None:
    """A date is midnight of the system's zone, which is UTC in tests."""
    assert moment("2026-11-01", NOW) == dt.datetime(2026, 11, 1, tzinfo=dt.UTC)


@pytest.mark.parametrize(
    "typed", ["", "7", "d", "-7d", "7 d", "7dd", "1.5h", "yesterday", "2026-13-01", "01.11.2026", "\u0667d", "7d\n8"]
)
def test_what_is_no_moment(typed: str) -> None:
    """Anything else is refused with what to write."""
    with pytest.raises(ValueError, match="is no moment; write 30m, 2h, 7d"):
        moment(typed, NOW)


@pytest.mark.parametrize("typed", ["999999999w", "999999999d", "0001-01-01T00:00+14:00"])
def test_beyond_the_calendar(typed: str) -> None:
    """What no calendar holds is refused, not a crash."""
    with pytest.raises(ValueError, match="before the year 1"):
        moment(typed, NOW)


@given(st.integers(0, 10**6), st.sampled_from("smhdw"))
def test_so_long_ago(number: int, unit: str) -> None:
    """The number of units before now, whatever the zone."""
    seconds = number * {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}[unit]
    try:
        expected = NOW - dt.timedelta(seconds=seconds)
    except OverflowError:
        return
    assert moment(f"{number}{unit}", NOW, BERLIN) == expected


@given(st.datetimes(min_value=dt.datetime(2, 1, 1), max_value=dt.datetime(9998, 1, 1), timezones=st.timezones()))  # noqa: DTZ001 - bounds of naive values
def test_an_iso_date_is_itself(at: dt.datetime) -> None:
    """A moment with its offset means itself, to the microsecond."""
    offset = at.utcoffset()
    assert offset is not None
    if not offset.seconds % 60:
        assert moment(at.isoformat(), NOW) == at.astimezone(dt.UTC)


@given(st.text(max_size=20))
def test_nothing_else_escapes(typed: str) -> None:
    """Whatever is typed: an instant in UTC, or a ValueError of one line."""
    try:
        assert moment(typed, NOW).tzinfo is dt.UTC
    except ValueError as error:
        assert "\n" not in str(error)
