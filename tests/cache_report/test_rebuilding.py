"""Making the cache again from the records."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.chats import START, answered, asked, call, home_with_cache, store
from tracecli.cache import key
from tracecli.cache.entries import Entries
from tracecli.cache_report.asked import material_of
from tracecli.cache_report.rebuilding import rebuild
from tracecli.config import Home
from tracecli.exchange import Captured
from tracecli.policy.rules import PolicySet, Scope

NOW = START / 1e6 + 3600
POLICIES = PolicySet({"default": {"cache": {"mode": "on"}}}, {"carol": {"cache": {"mode": "off"}}})


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return home_with_cache(tmp_path)


@pytest.fixture
def entries(home: Home) -> Iterator[Entries]:
    entries = Entries(home.cache, 10**9)
    yield entries
    entries.close()


def key_of(one: Captured, scope: Scope = "user", policy: str = "default") -> bytes:
    """The key of the live request."""
    exchange = one.exchange
    asked_hash = material_of(one).hash()
    return key.scoped(asked_hash, scope, user=exchange.user, credential=exchange.credential, policy=policy)


def test_what_was_kept_is_kept_again(home: Home, entries: Entries) -> None:
    """Answers that were stored are found again under the key of the live request, as they were."""
    headers = [("Content-Type", "application/json"), ("Set-Cookie", "a=b")]
    kept = call(0, asked("a"), cache_status="stored", response_headers=headers)
    store(
        home,
        kept,
        call(1, asked("b"), cache_status="stored", user="carol"),
        call(2, asked("a"), cache_status="hit", cache_origin=kept.exchange.id),
        call(3, asked("c"), cache_status="miss", cache_detail="status_500"),
        call(4, asked("d")),
    )
    found = rebuild(home, entries, POLICIES, NOW)
    assert (found.entries, found.left) == (1, {"not_stored": 3, "policy": 1})
    entry = entries.get(key_of(kept))
    assert entry is not None
    assert (entry.exchange_id, entry.body, entry.user) == (kept.exchange.id, kept.response_body, "alice")
    assert entry.headers == headers[:1]
    assert entry.stored_at == pytest.approx(START / 1e6 + 0.9)
    assert (entry.model, entry.duration_ms, entry.asked_hash) == ("gpt-4o-mini", 900.0, material_of(kept).hash())


def test_the_policies_of_now_decide(home: Home, entries: Entries) -> None:
    """Scope, time to live and limits are those that hold now."""
    one = call(0, asked("a"), cache_status="stored")
    store(home, one)
    for rules, why in (
        ({"mode": "read-only"}, "policy"),
        ({"mode": "on", "ttl": "30m"}, "ttl"),
        ({"mode": "on", "max_entry_bytes": 10}, "too_large"),
        ({"mode": "on", "only_deterministic": True}, "not_deterministic"),
    ):
        found = rebuild(home, entries, PolicySet({"default": {"cache": rules}}, {}), NOW)
        assert (found.entries, found.left) == (0, {why: 1})
    assert rebuild(home, entries, PolicySet({"default": {"cache": {"mode": "on", "scope": "shared"}}}, {}), NOW).entries
    assert entries.get(key_of(one)) is None
    assert entries.get(key_of(one, "shared")) is not None


def test_the_latest_answer_stays(home: Home, entries: Entries) -> None:
    """Of several answers to the same request the latest is kept, and one that is there already is not replaced."""
    old = call(0, asked("a"), answered("old"), cache_status="stored")
    new = call(9, asked("a"), answered("new"), cache_status="stored")
    store(home, old, new)
    assert rebuild(home, entries, POLICIES, NOW).entries == 2
    assert rebuild(home, entries, POLICIES, NOW).left == {"newer_is_there": 2}
    entry = entries.get(key_of(old))
    assert entry is not None
    assert entry.body == new.response_body
    assert entries.held()[0] == 1


def test_a_cache_that_is_too_small(home: Home) -> None:
    """What does not fit is said, not raised."""
    store(home, call(0, asked("a"), cache_status="stored"))
    entries = Entries(home.cache, 10)
    assert rebuild(home, entries, POLICIES, NOW).left == {"no_room": 1}
    entries.close()
