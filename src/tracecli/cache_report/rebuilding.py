"""Making the cache again from the records: for when its file was lost or removed."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from tracecli import walking
from tracecli.cache import replay, storable
from tracecli.cache.entries import Entries, Entry
from tracecli.cache.key import scoped
from tracecli.cache_report.asked import material_of
from tracecli.config import Home
from tracecli.exchange import Captured
from tracecli.policy.rules import PolicySet
from tracecli.recorded import Recorded


@dataclass
class Rebuilt:
    """What was put into the cache, and why the rest was not."""

    entries: int = 0
    left: Counter[str] = field(default_factory=Counter)

    def as_json(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "entries": self.entries,
            "left": [{"reason": why, "exchanges": number} for why, number in self.left.most_common()],
        }


def rebuild(home: Home, entries: Entries, policies: PolicySet, now: float) -> Rebuilt:
    """Make the entries again of exchanges whose answers were kept, under the policies that hold now.

    Of several answers to the same request the latest stays, also where it is in the cache already. Raises as
    `walking.walk` does, and HomeError if the cache cannot be used.
    """
    found = Rebuilt()
    entries.held()
    for batch in walking.walk(home, dt.datetime.fromtimestamp(0, dt.UTC)):
        for recorded, captured in batch:
            why = _put(entries, policies, now, recorded, captured)
            if why is None:
                found.entries += 1
            else:
                found.left[why] += 1
    return found


def _put(
    entries: Entries, policies: PolicySet, now: float, recorded: Recorded, captured: Captured | None
) -> str | None:
    """Store the answer of an exchange again, or why not."""
    exchange = recorded.exchange
    if exchange.cache_status != "stored":
        return "not_stored"
    if captured is None:
        return "content_removed"
    decision = policies.decide(exchange.user, exchange.request_headers, now)
    rules = decision.settings.cache
    stored_at = exchange.started_at_us / 1_000_000 + exchange.duration_ms / 1000
    if not rules.writes:
        return "policy"
    if now - stored_at >= rules.ttl_s:
        return "ttl"
    of = material_of(captured)
    why = storable.why_not_asked(
        exchange.operation,
        exchange.method,
        exchange.request_headers,
        of.value,
        only_deterministic=rules.only_deterministic,
    ) or storable.why_not_answered(exchange, captured.response_body, rules.max_entry_bytes)
    if why is not None or exchange.status is None:
        return why
    asked_hash = of.hash()
    key = scoped(asked_hash, rules.scope, user=exchange.user, credential=exchange.credential, policy=decision.policy)
    held = entries.get(key)
    if held is not None and held.stored_at >= stored_at:
        return "newer_is_there"
    entry = Entry(
        key=key,
        asked_hash=asked_hash,
        exchange_id=exchange.id,
        stored_at=stored_at,
        duration_ms=exchange.duration_ms,
        user=exchange.user,
        policy=decision.policy,
        provider=exchange.provider,
        host=exchange.host,
        operation=exchange.operation,
        model=recorded.row.request_model,
        status=exchange.status,
        headers=replay.stored_headers(exchange.response_headers),
        body=captured.response_body,
    )
    return None if entries.put(entry) else "no_room"
