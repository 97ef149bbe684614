"""How the cache did, and what was asked again and again: sums over what is stored."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from decimal import Decimal
from typing import Any

from tracecli import walking
from tracecli.cache.entries import Entries
from tracecli.config import Home
from tracecli.exchange import plain_decimal
from tracecli.store import asked
from tracecli.store.asked import By, Counted, Repeated
from tracecli.store.connection import opened
from tracecli.understanding import understand

_ANSWERED = ("hit", "collapsed")
_PROMPT = 120


@dataclass
class Sums:
    """Requests and what became of them."""

    requests: int = 0
    hits: int = 0
    """Those that shared the answer of a request in flight included."""
    saved_usd: Decimal = Decimal(0)
    saved_unknown: int = 0
    """Hits whose price, and so what they saved, is unknown."""
    saved_ms: float = 0.0

    def add(self, one: Counted) -> None:
        """Count a group in."""
        self.requests += one.requests
        self.hits += one.requests if one.status in _ANSWERED else 0
        self.saved_usd += one.saved_usd
        self.saved_unknown += one.saved_unknown
        self.saved_ms += one.saved_ms

    def as_json(self) -> dict[str, Any]:
        """As JSON values."""
        return {**asdict(self), "saved_usd": plain_decimal(self.saved_usd), "saved_ms": round(self.saved_ms, 3)}


@dataclass
class Stats:
    """How the cache did."""

    by: By
    all: Sums = field(default_factory=Sums)
    groups: dict[str | None, Sums] = field(default_factory=dict)
    why_not: Counter[tuple[str, str | None]] = field(default_factory=Counter)
    """Requests that were no hits, by status and reason."""
    entries: int = 0
    bytes: int = 0

    def as_json(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            **self.all.as_json(),
            "entries": self.entries,
            "bytes": self.bytes,
            "not_hit": [
                {"cache_status": status, "reason": reason, "requests": number}
                for (status, reason), number in self.why_not.most_common()
            ],
            f"by_{self.by}": [{self.by: group, **sums.as_json()} for group, sums in self.ranked()],
        }

    def ranked(self) -> list[tuple[str | None, Sums]]:
        """Groups, those with most hits first; days in their order."""
        if self.by == "day":
            return sorted(self.groups.items(), key=lambda one: one[0] or "")
        return sorted(self.groups.items(), key=lambda one: (-one[1].hits, -one[1].requests, one[0] or ""))


def stats(home: Home, entries: Entries | None, since: dt.datetime, by: By) -> Stats:
    """How the cache did from `since` on; a day is one of UTC.

    Raises StoreBusy, NewerDatabase or HomeError if the database or the cache cannot be used.
    """
    found = Stats(by)
    try:
        with opened(home) as connection:
            counted = asked.counted(connection, since, by)
    except FileNotFoundError:
        counted = []
    for one in counted:
        found.all.add(one)
        found.groups.setdefault(one.group, Sums()).add(one)
        if one.status not in _ANSWERED:
            found.why_not[one.status, one.detail] += one.requests
    if entries is not None:
        found.entries, found.bytes = entries.held()
    return found


@dataclass(frozen=True)
class Repeat:
    """A request that was made more than once."""

    first_id: str
    requests: int
    users: int
    model: str | None
    prompt: str | None
    """The first words of its last message."""
    repeats_usd: Decimal
    """What all but the first cost, as far as that is known."""
    unknown: int
    """How many of these have no known cost."""
    first_at: dt.datetime
    last_at: dt.datetime

    def as_json(self) -> dict[str, Any]:
        """As JSON values."""
        told = asdict(self) | {"repeats_usd": plain_decimal(self.repeats_usd)}
        for name in ("first_at", "last_at"):
            told[name] = getattr(self, name).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        return told


def repeats(home: Home, since: dt.datetime, limit: int) -> list[Repeat]:
    """The requests that were made most often from `since` on. Raises as `walking.some` does."""
    try:
        with opened(home) as connection:
            found = asked.repeated(connection, since, limit)
    except FileNotFoundError:
        return []
    prompts = _prompts(home, found)
    return [
        Repeat(
            first_id=one.first_id,
            requests=one.requests,
            users=one.users,
            model=one.model,
            prompt=prompts.get(one.first_id),
            repeats_usd=one.repeats_usd,
            unknown=one.unknown,
            first_at=one.first_at,
            last_at=one.last_at,
        )
        for one in found
    ]


def _prompts(home: Home, found: Sequence[Repeated]) -> dict[str, str]:
    prompts = {}
    for recorded, captured in walking.each(home, [(one.first_id, one.first_bytes) for one in found]):
        if captured is None:
            continue
        understood, _ = understand(captured.exchange, captured.request_body, captured.response_body)
        parts = [part for message in understood.input_messages[-1:] for part in message.get("parts", [])]
        text = " ".join(str(part.get("content", "")) for part in parts if part.get("type") == "text")
        prompts[recorded.row.id] = " ".join(text[: 10 * _PROMPT].split())[:_PROMPT]
    return prompts
