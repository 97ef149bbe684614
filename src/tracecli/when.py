"""Moments as people type them: `30m`, `2h`, `7d`, `2026-11-01`, `2026-11-01T14:30`. Pure: the clock is passed in."""

from __future__ import annotations

import datetime as dt
import re
from functools import lru_cache

FORMS = "30m, 2h, 7d, 2w, or an ISO 8601 date with or without a time, as 2026-11-01"

_AGO = re.compile(r"(?P<number>[0-9]{1,9})(?P<unit>[smhdw])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def moment(text: str, now: dt.datetime, zone: dt.tzinfo | None = None) -> dt.datetime:
    """The instant that `text` names, in UTC: so long before `now`, or a date, which begins at midnight.

    `now` is aware. A date without an offset is meant in `zone` (None: the system's zone), as commands show times.
    Raises ValueError, one sentence, for anything else.
    """
    typed = text.strip()
    try:
        if ago := _AGO.fullmatch(typed.lower()):
            return now.astimezone(dt.UTC) - dt.timedelta(**{_UNITS[ago["unit"]]: int(ago["number"])})
        named = dt.datetime.fromisoformat(typed)
        if named.tzinfo is None and zone is not None:
            named = named.replace(tzinfo=zone)
        return named.astimezone(dt.UTC)
    except OverflowError:
        raise ValueError(f"{text!r} is before the year 1 or after 9999") from None
    except ValueError:
        raise ValueError(f"{text!r} is no moment; write {FORMS}") from None


@lru_cache(maxsize=1024)
def duration(text: str) -> dt.timedelta:
    """How long `text` says: `30s`, `15m`, `2h`, `7d`, `2w`.

    Raises ValueError, one sentence, for anything else.
    """
    named = _AGO.fullmatch(text.strip().lower())
    if named is None:
        raise ValueError(f"{text!r} is no duration; write 30s, 15m, 2h, 7d or 2w")
    try:
        return dt.timedelta(**{_UNITS[named["unit"]]: int(named["number"])})
    except OverflowError:
        raise ValueError(f"{text!r} is too long") from None
