"""Values as people type them, by kind. Each raises ValueError, one sentence, for what it cannot read."""

from __future__ import annotations

import datetime as dt
import re
from decimal import Decimal

from tracecli import when
from tracecli.query.errors import did_you_mean
from tracecli.query.fields import Field

NONE = "none"
"""A value that is unknown, or not there."""
ANY = "*"
"""A value that is known."""

_MONEY = re.compile(r"\$?(?P<number>[0-9]{1,12}(?:\.[0-9]{0,15})?|\.[0-9]{1,15})")
_COUNT = re.compile(r"(?P<number>[0-9]{1,15}(?:\.[0-9]{1,9})?)(?P<unit>[kKmMgG]?)")
_DURATION = re.compile(r"(?P<number>[0-9]{1,9}(?:\.[0-9]{1,9})?|\.[0-9]{1,9})(?P<unit>ms|s|m|h|d)?", re.IGNORECASE)
_SCORE = re.compile(r"[0-9](?:\.[0-9]{1,9})?")
_STATUS = re.compile(r"[1-9][0-9]{2}")
_CLASS = re.compile(r"[1-5]xx", re.IGNORECASE)
_ID = re.compile(r"[0-9a-f-]{1,36}\*?", re.IGNORECASE)
_FACTORS = {"": 1, "k": 1_000, "m": 1_000_000, "g": 1_000_000_000}
_MS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_TRUTHS = {"yes": True, "true": True, "no": False, "false": False}


def number(field: Field, text: str) -> Decimal:
    """The number that a field of an ordered kind is compared with: dollars, a count, milliseconds, a status."""
    match field.kind:
        case "money":
            if found := _MONEY.fullmatch(text):
                return Decimal(found["number"])
            raise ValueError(f"{text!r} is no amount of US dollars; write 0.01 or $2")
        case "count":
            if found := _COUNT.fullmatch(text):
                return Decimal(found["number"]) * _FACTORS[found["unit"].lower()]
            raise ValueError(f"{text!r} is no number; write 500, 10k or 2M")
        case "score":
            if _SCORE.fullmatch(text):
                return Decimal(text)
            raise ValueError(f"{text!r} is no score; write 4 or 4.5")
        case "duration":
            found = _DURATION.fullmatch(text)
            if found is None:
                raise ValueError(f"{text!r} is no duration; write 150ms, 2s, 5m or 1h")
            if found["unit"] is None:
                raise ValueError(f"{text!r} has no unit; write {text}ms or {text}s")
            return Decimal(found["number"]) * _MS[found["unit"].lower()]
        case "status":
            if _STATUS.fullmatch(text):
                return Decimal(text)
            raise ValueError(f"{text!r} is no status; write 200, 4xx, >=400 or 400..499")
    raise AssertionError(field.kind)


def status_class(text: str) -> int | None:
    """The first status of `4xx`; None for anything else."""
    return int(text[0]) * 100 if _CLASS.fullmatch(text) else None


def truth(text: str) -> bool:
    """Yes or no."""
    if (found := _TRUTHS.get(text.lower())) is None:
        raise ValueError(f"{text!r} is neither yes nor no")
    return found


def choice(field: Field, text: str) -> str:
    """One of the field's choices."""
    if text.lower() in field.choices:
        return text.lower()
    near = did_you_mean(text, field.choices)
    raise ValueError(f"`{field.name}` is never {text!r}. {near}It is one of {', '.join(field.choices)}")


def id_bounds(text: str) -> tuple[str, str]:
    """The smallest and the largest UUID that begins with this text."""
    if not _ID.fullmatch(text):
        raise ValueError(f"{text!r} is not the beginning of an id")
    digits = text.lower().rstrip("*").replace("-", "")[:32]
    return digits.ljust(32, "0"), digits.ljust(32, "f")


def moment(text: str, now: dt.datetime, zone: dt.tzinfo | None) -> dt.datetime:
    """An instant, in UTC."""
    return when.moment(text, now, zone)
