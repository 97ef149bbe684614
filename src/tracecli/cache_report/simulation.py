"""What a cache would have done with recorded traffic, and whether its answers would have been right."""

from __future__ import annotations

import datetime as dt
import hashlib
from collections import Counter
from dataclasses import asdict, dataclass, field
from decimal import Decimal
from typing import Any, NamedTuple

import msgspec

from tracecli import walking
from tracecli.cache import storable
from tracecli.cache.key import scoped
from tracecli.cache_report.asked import material_of
from tracecli.config import Home
from tracecli.exchange import Captured, Message, plain_decimal
from tracecli.policy.rules import Cache
from tracecli.recorded import Recorded
from tracecli.understanding import understand


@dataclass
class Would:
    """Requests of one model, and what a cache would have done with them."""

    requests: int = 0
    hits: int = 0
    compared: int = 0
    """Hits that the provider had really been asked; others had been answered by the cache already."""
    agreed: int = 0
    """Of these, how many got an answer that says the same as the one that would have been given."""
    saved_usd: Decimal = Decimal(0)
    saved_unknown: int = 0
    """Hits whose price, and so what they would have saved, is unknown."""
    saved_ms: float = 0.0

    def add(self, other: Would) -> None:
        """Count those of another model in."""
        for name in self.__dataclass_fields__:
            setattr(self, name, getattr(self, name) + getattr(other, name))

    def as_json(self) -> dict[str, Any]:
        """As JSON values."""
        return {**asdict(self), "saved_usd": plain_decimal(self.saved_usd), "saved_ms": round(self.saved_ms, 3)}


@dataclass
class Simulated:
    """What a cache would have done with recorded traffic."""

    rules: Cache
    since: dt.datetime
    models: dict[str | None, Would] = field(default_factory=dict)
    stored: int = 0
    stored_bytes: int = 0
    """Of the answers, before compression."""
    why_not: Counter[str] = field(default_factory=Counter)
    """Why requests were not looked up, or their answers not kept."""
    without_content: int = 0
    """Exchanges that say nothing: recorded without content, or it was removed."""

    def all(self) -> Would:
        """The sums over all models."""
        sums = Would()
        for one in self.models.values():
            sums.add(one)
        return sums

    def ranked(self) -> list[tuple[str | None, Would]]:
        """Models, those with most hits first."""
        return sorted(self.models.items(), key=lambda one: (-one[1].hits, -one[1].requests, one[0] or ""))

    def as_json(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "since": self.since.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "scope": self.rules.scope,
            "ttl": self.rules.ttl,
            **self.all().as_json(),
            "stored": self.stored,
            "stored_bytes": self.stored_bytes,
            "without_content": self.without_content,
            "not_cacheable": [{"reason": why, "requests": number} for why, number in self.why_not.most_common()],
            "by_model": [{"model": model, **one.as_json()} for model, one in self.ranked()],
        }


class _Kept(NamedTuple):
    """A stored answer: when it was whole, in Unix seconds, and a hash of what it says."""

    at: float
    says: bytes


def simulate(home: Home, rules: Cache, since: dt.datetime) -> Simulated:
    """What a cache with these rules, empty at `since`, would have done until now, request by request in their order.

    Its mode counts as `on`, and its size is not limited. Raises as `walking.walk` does.
    """
    found = Simulated(rules, since)
    held: dict[bytes, _Kept] = {}

    def without_content() -> None:
        found.without_content += 1

    for batch in walking.walk(home, since, without_content):
        for recorded, captured in batch:
            if captured is None:
                without_content()
            else:
                _pass(found, held, recorded, captured)
    return found


def _pass(found: Simulated, held: dict[bytes, _Kept], recorded: Recorded, captured: Captured) -> None:
    row, exchange, rules = recorded.row, recorded.exchange, found.rules
    would = found.models.setdefault(row.request_model or row.response_model, Would())
    would.requests += 1
    control = storable.request_control(exchange.request_headers)
    of = material_of(captured)
    why = storable.why_not_asked(
        exchange.operation,
        exchange.method,
        exchange.request_headers,
        of.value,
        only_deterministic=rules.only_deterministic,
    )
    if exchange.request_cut:
        why = "request_cut"
    elif exchange.marks:
        why = "redacted"  # or withheld: requests that differed may look the same
    elif control.no_store:
        why = "no-store"
    if why is not None:
        found.why_not[why] += 1
        return
    key = scoped(of.hash(), rules.scope, user=row.user, credential=exchange.credential, policy=row.policy)
    began = exchange.started_at_us / 1_000_000
    kept = held.get(key)
    fresh_s = min(rules.ttl_s, rules.ttl_s if control.max_age is None else control.max_age)
    if kept is not None and not control.no_cache and began - kept.at < fresh_s:
        _hit(would, recorded, captured, kept, wait_ms=max(0.0, kept.at - began) * 1000)
        return
    why = storable.why_not_answered(exchange, captured.response_body, rules.max_entry_bytes)
    if why is not None:
        found.why_not[why] += 1
        return
    found.stored += 1
    found.stored_bytes += len(captured.response_body)
    held[key] = _Kept(began + row.duration_ms / 1000, _says(captured))


def _hit(would: Would, recorded: Recorded, captured: Captured, kept: _Kept, wait_ms: float) -> None:
    """Count a hit; one that came while the answer was still under way waits for it."""
    row, took_ms = recorded.row, recorded.row.duration_ms
    would.hits += 1
    if row.cache_origin is None:
        would.compared += 1
        would.agreed += kept.says == _says(captured)
        spent_usd = row.cost_usd
    else:
        took_ms += row.saved_ms or 0.0
        spent_usd = row.saved_usd
    would.saved_usd += spent_usd or 0
    would.saved_unknown += spent_usd is None
    would.saved_ms += max(0.0, took_ms - wait_ms)


def _says(captured: Captured) -> bytes:
    """A hash of what an answer says: its texts and tool calls, and no ids; of what has neither, of its bytes."""
    understood, _ = understand(captured.exchange, captured.request_body, captured.response_body)
    told = [_content(message) for message in understood.output_messages]
    return hashlib.sha256(msgspec.json.encode(told, order="sorted") if told else captured.response_body).digest()


def _content(message: Message) -> list[Any]:
    return [{name: value for name, value in part.items() if name != "id"} for part in message.get("parts", [])]
