"""Sums over what is stored: how the cache did, and what was asked again and again."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests.support.chats import COST, EVER, START, answered, asked, call, home_with_cache, store
from tests.support.entries import entry
from tracecli import walking
from tracecli.cache.entries import Entries
from tracecli.cache_report import counts
from tracecli.config import Home

UNPRICED = answered("x", "no-such-model")


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return home_with_cache(tmp_path)


def test_stats(home: Home) -> None:
    """Hits, misses by reason, what was saved and what is held, by whatever is asked for."""
    first = call(0, asked("a"), cache_status="stored")
    given: dict[str, Any] = {"cache_origin": first.exchange.id, "cache_origin_ms": 900.0, "duration_ms": 1.0}
    store(
        home,
        first,
        call(1, asked("a"), cache_status="hit", **given),
        call(2, asked("a", model="no-such-model"), UNPRICED, cache_status="collapsed", **given),
        call(3, asked("a"), user="bob", policy="red", cache_status="miss", cache_detail="too_large"),
        call(4, asked("b"), cache_status="bypass", cache_detail="stateful"),
        call(5, asked("c")),
    )
    entries = Entries(home.cache, 10**6)
    entries.put(entry())
    found = counts.stats(home, entries, EVER, "user")
    assert (found.entries, found.bytes) == entries.held()
    entries.close()
    assert (found.all.requests, found.all.hits, found.all.saved_ms) == (5, 2, 1798.0)
    assert (found.all.saved_usd, found.all.saved_unknown) == (Decimal(COST), 1)
    assert [(name, one.requests, one.hits) for name, one in found.ranked()] == [("alice", 4, 2), ("bob", 1, 0)]
    assert found.why_not == {("stored", None): 1, ("miss", "too_large"): 1, ("bypass", "stateful"): 1}
    groups = {by: counts.stats(home, None, EVER, by).groups.keys() for by in ("model", "day", "policy")}
    assert groups["model"] == {"gpt-4o-mini", "no-such-model"}
    assert groups["day"] == {dt.datetime.fromtimestamp(START / 1e6, dt.UTC).date().isoformat()}
    assert groups["policy"] == {"default", "red"}
    later = dt.datetime.fromtimestamp(START / 1e6 + 3, dt.UTC)
    assert counts.stats(home, None, later, "user").all.requests == 2


def test_repeats(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was asked most often comes first, whoever asked, with what all but the first cost and how it begins."""
    store(
        home,
        *(call(n, asked("thrice", user=f"{n}"), user=f"user{n % 2}") for n in range(3)),
        *(call(10 + 5 * n, asked("twice")) for n in range(2)),
        call(30, asked("once")),
        call(31, b"", b"", traced=False),
        call(32, b"", b"", traced=False),
    )
    monkeypatch.setattr(walking, "BATCH_BYTES", 1)
    thrice, twice = counts.repeats(home, EVER, 10)
    assert (thrice.requests, thrice.users, thrice.prompt) == (3, 2, "thrice")
    assert (thrice.repeats_usd, thrice.unknown) == (2 * Decimal(COST), 0)
    assert (twice.requests, twice.last_at - twice.first_at) == (2, dt.timedelta(seconds=5))
    assert [one.requests for one in counts.repeats(home, EVER, 1)] == [3]


def test_the_first_of_repeats_has_no_known_cost(home: Home) -> None:
    """What the repeats cost is the sum of theirs, also where the first one's cost is unknown."""
    request = asked("a", model="no-such-model")
    store(home, call(0, request, UNPRICED), call(1, request), call(2, request, UNPRICED))
    [found] = counts.repeats(home, EVER, 10)
    assert (found.requests, found.repeats_usd, found.unknown) == (3, Decimal(COST), 1)


def test_an_empty_home(home: Home) -> None:
    """Without a database there is nothing to count."""
    assert counts.stats(home, None, EVER, "day").as_json()["requests"] == 0
    assert counts.repeats(home, EVER, 10) == []
