"""What a cache would have done with recorded traffic."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests.support.chats import COST, EVER, answered, asked, call, home_with_cache, store
from tracecli.cache_report.simulation import Simulated, simulate
from tracecli.config import Home
from tracecli.exchange import Captured
from tracecli.policy.rules import Cache


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return home_with_cache(tmp_path)


def simulated(home: Home, *exchanges: Captured, **rules: Any) -> Simulated:
    store(home, *exchanges)
    return simulate(home, Cache(mode="on", **rules), EVER)


def test_it_counts_hits_and_what_they_save(home: Home) -> None:
    """An answer is given again within its time to live to those who share it, and saves what it cost."""
    found = simulated(
        home,
        call(0, asked("a"), answered("yes")),
        call(10, asked("a"), answered("yes")),
        call(20, asked("a"), answered("no")),
        call(30, asked("a"), answered("yes"), user="bob"),
        call(3601, asked("a"), answered("yes")),
        call(3700, asked("a"), answered("yes"), duration_ms=100.0),
        ttl="1h",
    )
    sums = found.all()
    assert (sums.requests, sums.hits, sums.compared, sums.agreed) == (6, 3, 3, 2)
    assert (sums.saved_usd, sums.saved_unknown, sums.saved_ms) == (3 * Decimal(COST), 0, 1900.0)
    assert found.stored == 3
    assert found.stored_bytes == 3 * len(answered("yes"))
    assert simulate(home, Cache(scope="shared", ttl="1h"), EVER).all().hits == 4
    assert simulate(home, Cache(scope="shared", ttl="2h"), EVER).all().hits == 5
    assert simulate(home, Cache(ttl="5s"), EVER).all().hits == 0


def test_what_is_not_cached_is_told_by_reason(home: Home) -> None:
    """Requests and answers that a cache would have left alone are counted by why; those without content apart."""
    found = simulated(
        home,
        call(1, asked("b", previous_response_id="r")),
        call(2, asked("c"), b'{"error": {"message": "no"}}', status=500),
        call(3, asked("d"), request_cut=True),
        call(4, asked("e"), request_headers=[("Cache-Control", "no-store")]),
        call(5, asked("f"), marks=["redacted"]),
        call(6, b"", b"", traced=False),
    )
    assert found.why_not == {"stateful": 1, "status_500": 1, "request_cut": 1, "no-store": 1, "redacted": 1}
    assert (found.all().requests, found.stored, found.without_content) == (5, 0, 1)
    assert simulate(home, Cache(only_deterministic=True), EVER).why_not["not_deterministic"] == 1


def test_what_the_client_asked_for_counts(home: Home) -> None:
    """A request for a new answer is no hit, and its answer is stored in place of the old one."""
    found = simulated(
        home,
        call(0, asked("a"), answered("old")),
        call(10, asked("a"), answered("new"), request_headers=[("Cache-Control", "no-cache"), ("Accept", "a, b")]),
        call(20, asked("a"), answered("new")),
        call(60, asked("a"), answered("new"), request_headers=[("Cache-Control", "max-age=30"), ("Accept", "a, b")]),
    )
    assert (found.all().hits, found.all().agreed, found.stored) == (1, 1, 3)


def test_identical_requests_at_the_same_time_share_an_answer(home: Home) -> None:
    """Who asks while the first answer is under way waits for it, which saves the money and the rest of the time."""
    sums = simulated(home, call(0, asked("a"), duration_ms=1000.0), call(0.4, asked("a"), duration_ms=1000.0)).all()
    assert (sums.hits, sums.saved_usd, round(sums.saved_ms)) == (1, Decimal(COST), 400)


def test_a_real_hit_agrees_with_nothing(home: Home) -> None:
    """What the cache answered is a hit again, at what the provider would have cost; it says nothing of agreement."""
    first = call(0, asked("a"))
    given: dict[str, Any] = {"cache_origin": first.exchange.id, "cache_origin_ms": 900.0, "duration_ms": 1.0}
    sums = simulated(home, first, call(10, asked("a"), cache_status="hit", **given)).all()
    assert (sums.hits, sums.compared, sums.agreed) == (1, 0, 0)
    assert (sums.saved_usd, sums.saved_ms) == (Decimal(COST), 900.0)


def test_tool_calls_agree_without_their_ids(home: Home) -> None:
    """Ids are made afresh for each answer: agreement is about texts and tool calls."""

    def calls(identifier: str, arguments: str) -> bytes:
        tool = {"id": identifier, "type": "function", "function": {"name": "f", "arguments": arguments}}
        told = answered("x").replace(
            b'"content": "x"', b'"content": null, "tool_calls": [%s]' % json.dumps(tool).encode()
        )
        return told.replace(b'"stop"', b'"tool_calls"')

    sums = simulated(
        home,
        call(0, asked("a"), calls("call_1", '{"x": 1}')),
        call(1, asked("a"), calls("call_2", '{"x": 1}')),
        call(2, asked("a"), calls("call_3", '{"x": 2}')),
    ).all()
    assert (sums.hits, sums.agreed) == (2, 1)


def test_models_are_told_apart(home: Home) -> None:
    """Each model has its own numbers, those with most hits first."""
    found = simulated(
        home,
        call(0, asked("a", model="one")),
        *(call(n, asked("a", model="two"), answered("x", "no-such-model")) for n in (1, 2, 3)),
    )
    assert [(model, one.requests, one.hits, one.saved_unknown) for model, one in found.ranked()] == [
        ("two", 3, 2, 2),
        ("one", 1, 0, 0),
    ]
    assert found.as_json()["by_model"][0]["model"] == "two"
