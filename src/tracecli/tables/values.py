"""Numbers and instants as people read them. None is unknown and shown as `UNKNOWN`, never as zero."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal

UNKNOWN = "–"  # noqa: RUF001 - an en dash: it cannot be taken for a minus


def money(usd: Decimal | None, places: int = 12) -> str:
    """US dollars to the cent, below a cent to two significant digits: `$1,234.56`, `$0.42`, `$0.00042`.

    What is not zero never reads as zero: where it would need more than `places` decimals, it is `<$0.0001`.
    """
    if usd is None:
        return UNKNOWN
    if not usd:
        return "$0.00"
    least = Decimal(1).scaleb(-places)
    if abs(usd) < least:
        return f"<${least:f}"
    digits = min(max(2, 1 - usd.adjusted()), places)
    whole, _, cents = f"{usd:,.{digits}f}".partition(".")
    return f"${whole}.{cents.rstrip('0'):0<2}".replace("$-", "-$")


def count(number: int | None) -> str:
    """A count in full: `12,345`."""
    return UNKNOWN if number is None else f"{number:,}"


def short_count(number: int | None) -> str:
    """A count in at most four characters up to a trillion: `987`, `1.2k`, `12k`, `3.4M`."""
    if number is None:
        return UNKNOWN
    if number < 1000:
        return str(number)
    value, units = number / 1000, list("TBMk")
    while value >= 999.5 and len(units) > 1:
        value /= 1000
        units.pop()
    return f"{value:.1f}{units[-1]}" if value < 9.95 else f"{value:.0f}{units[-1]}"


def duration(ms: float | None) -> str:
    """Milliseconds as `0.4 ms`, `640 ms`, `2.4 s`, `42 s`, `3 m 10 s` or `2 h 05 m`."""
    if ms is None:
        return UNKNOWN
    if 0 < ms < 0.95:
        return f"{ms:.1f} ms" if ms >= 0.05 else "<0.1 ms"
    if ms < 999.5:
        return f"{ms:.0f} ms"
    if ms < 9_950:
        return f"{ms / 1000:.1f} s"
    seconds = round(ms / 1000)
    if seconds < 60:
        return f"{seconds} s"
    minutes, seconds = divmod(seconds, 60)
    if minutes < 60:
        return f"{minutes} m {seconds:02} s"
    return f"{minutes // 60} h {minutes % 60:02} m"


def size(number: int) -> str:
    """Bytes as `640 bytes`, `12.3 KB` or `4.5 MB`, in units of 1,000."""
    if number < 1000:
        return f"{number} bytes" if number != 1 else "1 byte"
    value, units = number / 1000, ["GB", "MB", "KB"]
    while value >= 999.95 and len(units) > 1:
        value /= 1000
        units.pop()
    return f"{value:.1f} {units[-1]}"


def moment(at: dt.datetime, now: dt.datetime, zone: dt.tzinfo | None = None, *, short: bool = False) -> str:
    """An instant in `zone` (None: the reader's own): `14:03:07` on the day of `now`, else `Nov 21 14:03`.

    The year shows where it is another one. `short` leaves out the time of another day.
    """
    here, today = at.astimezone(zone), now.astimezone(zone)
    if here.date() == today.date():
        return f"{here:%H:%M:%S}"
    day = f"{_MONTHS[here.month - 1]} {here.day:2}"
    if here.year != today.year:
        return f"{here:%Y-%m-%d}" if not short else f"{_MONTHS[here.month - 1]} {here:%Y}"
    return day if short else f"{day} {here:%H:%M}"


def full_moment(at: dt.datetime, zone: dt.tzinfo | None = None) -> str:
    """An instant with its date, milliseconds and distance from UTC: `2026-11-22 14:03:07.120 +01:00`."""
    here = at.astimezone(zone)
    return f"{here:%Y-%m-%d %H:%M:%S}.{here.microsecond // 1000:03} {here:%:z}"


_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")  # in every locale
