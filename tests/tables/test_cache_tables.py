"""What is shown of the response cache."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from decimal import Decimal
from typing import Any

import pytest

from tests.support.entries import entry
from tests.support.looks import rendered
from tests.tables.test_hostile_content import CORPUS, assert_harmless
from tracecli.cache.entries import Listed
from tracecli.cache_report.counts import Repeat, Stats, Sums
from tracecli.cache_report.explanation import Difference, Explained
from tracecli.cache_report.rebuilding import Rebuilt
from tracecli.cache_report.simulation import Simulated, Would
from tracecli.policy.rules import Cache
from tracecli.tables import cache

NOW = dt.datetime(2026, 11, 23, 12, 0, tzinfo=dt.UTC)
SUMS = Sums(4, 2, Decimal("0.5"), 1, 1800.0)
WOULD = Would(4, 3, 2, 1, Decimal("0.5"), 1, 1800.0)


def explained(**changes: Any) -> Explained:
    """A request that is compared with another."""
    values: dict[str, Any] = {
        "id": "0193-one",
        "asked_hash": "00",
        "cache_status": "miss",
        "cache_detail": "ttl",
        "why_not": None,
        "how": "json",
        "parts": [("method", "POST"), ("json", "{}")],
        "other_id": "0193-other",
        "difference": Difference("$.seed", None, "1"),
    }
    return Explained(**(values | changes))


@pytest.mark.parametrize("text", CORPUS)
def test_what_was_recorded_cannot_act(text: str) -> None:
    """Whatever users, models, prompts and reasons hold is shown and does nothing, at any width and in a pipe."""
    stats = Stats("user", SUMS, {text: SUMS}, Counter({("miss", text): 1, (text, None): 1}), 1, 100)
    listed = [Listed(b"k" * 32, "0193", text, text, 1.0, 100)]
    about: dict[str, Any] = dict.fromkeys(("user", "policy", "provider", "host", "operation", "model"), text)
    stored = cache.entry_json(entry(**about, headers=[(text, text)]))
    would = Simulated(Cache(), NOW, {text: WOULD}, 1, 100, Counter({text: 1}), 1)
    why = [
        explained(cache_detail=text, parts=[(text, text)], difference=Difference(text, text, None)),
        explained(cache_status=None, why_not=text, difference=None, scope_differs=["user"]),
        explained(other_id=None),
    ]
    repeats = [Repeat("0193", 3, 2, text, text, Decimal(1), 1, NOW, NOW)]
    for width in (40, 120):
        for parts in (
            cache.stats(stats),
            cache.listed(listed, NOW),
            cache.fields(stored),
            cache.simulated(would),
            *map(cache.explained, why),
            cache.repeats(repeats, NOW),
            cache.rebuilt(Rebuilt(1, Counter({text: 1}))),
        ):
            assert_harmless(rendered(list(parts), width))
    for lines in (
        cache.stats_plain(stats),
        cache.listed_plain(listed),
        cache.fields_plain(stored),
        cache.simulated_plain(would),
        *map(cache.explained_plain, why),
        cache.repeats_plain(repeats),
    ):
        for line in lines:
            assert_harmless(line)
            assert "\n" not in line


def test_savings_that_are_not_known_are_said() -> None:
    """A hit without a known price does not count as nothing saved."""
    stats = Stats("user", SUMS, {"alice": SUMS})
    assert "$0.50 + 1 unknown" in rendered(cache.stats(stats), terminal=False)
    would = Simulated(Cache(), NOW, {"m": WOULD})
    shown = rendered(cache.simulated(would), terminal=False)
    assert "$0.50 + 1 unknown" in shown
    assert "1 of 2 that were asked again got the answer that a hit gives (50 %)." in shown


def test_reasons_are_put_in_words() -> None:
    """A reason comes with what it means where its name does not say it."""
    stats = Stats("user", SUMS, {}, Counter({("bypass", "stateful"): 2, ("miss", "no_end_event"): 1}))
    shown = rendered(cache.stats(stats), terminal=False)
    assert "stateful: leans on what the provider keeps" in shown
    assert "no_end_event  " in shown


def test_an_explanation_in_words() -> None:
    """What the cache said, what is compared and what differs, one sentence each."""
    shown = list(cache.explained_plain(explained()))[-4:]
    assert shown == [
        "The cache said miss, ttl: what was stored was older than the policy's ttl.",
        "0193-other differs first in $.seed:",
        "  this one   (not there)",
        "  that one   1",
    ]
    same = list(cache.explained_plain(explained(difference=None, scope_differs=["user", "policy"])))
    assert same[-2:] == [
        "0193-other asks exactly the same.",
        "They differ in user, policy: the scope of the policy says who shares answers.",
    ]
