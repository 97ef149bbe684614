"""`tracecli cache` and `tracecli usage repeats`, as people and scripts use them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.chats import answered, asked, call, home_with_cache, store
from tests.support.commands import tracecli
from tests.support.entries import entry
from tracecli.cache.entries import Entries
from tracecli.config import Home
from tracecli.policy.rules import Cache

SINCE = "--since", "2020-01-01"


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return home_with_cache(tmp_path)


def told(home: Home, *args: str) -> Any:
    """What a command prints as JSON."""
    return json.loads(tracecli(home.root, *args, "--json").stdout)


def test_looking_back_and_ahead(home: Home) -> None:
    """Stats, simulate, explain and repeats tell in JSON what they found, and in a pipe a line for each thing."""
    first = call(0, asked("a"), cache_status="stored")
    given: dict[str, Any] = {"cache_origin": first.exchange.id, "cache_origin_ms": 900.0, "duration_ms": 1.0}
    ids = store(home, first, call(1, asked("a"), cache_status="hit", **given), call(2, asked("a", seed=1)))
    found = told(home, "cache", "stats", *SINCE, "--by", "user")
    assert (found["requests"], found["hits"], found["saved_usd"], found["saved_ms"]) == (2, 1, "0.00021", 899.0)
    assert found["not_hit"] == [{"cache_status": "stored", "reason": None, "requests": 1}]
    assert [one["user"] for one in found["by_user"]] == ["alice"]
    found = told(home, "cache", "simulate", *SINCE, "--ttl", "2h", "--scope", "shared")
    assert (found["hits"], found["ttl"], found["scope"], found["by_model"][0]["hits"]) == (1, "2h", "shared", 1)
    found = told(home, "cache", "explain", ids[2], ids[0])
    assert found["difference"] == {"where": "$.seed", "one": "1", "other": None}
    [found] = told(home, "usage", "repeats", *SINCE)
    assert (found["requests"], found["repeats_usd"], found["prompt"]) == (2, "0", "a")
    piped = tracecli(home.root, "cache", "simulate", *SINCE).stdout.splitlines()
    assert [line.split()[:3] for line in piped] == [
        ["model", "requests", "hits"],
        ["gpt-4o-mini", "3", "1"],
        ["all", "3", "1"],
    ]


def test_what_is_stored(home: Home) -> None:
    """What was rebuilt can be listed, shown by the beginning of its key, and purged by whatever is given."""
    first, second, third = store(
        home,
        call(0, asked("a"), cache_status="stored"),
        call(1, asked("b"), answered("y"), cache_status="stored", user="bob"),
        call(2, asked("c", model="other"), cache_status="stored", user="bob"),
    )
    (home.root.parent / "policies" / "default.toml").write_text('[cache]\nmode = "on"\nttl = "99999d"\n')
    assert told(home, "cache", "rebuild") == {"entries": 3, "left": []}
    assert {one["exchange_id"] for one in told(home, "cache", "list")} == {first, second, third}
    [alice] = told(home, "cache", "list", "--user", "alice", "--model", "gpt-4o-mini")
    shown = told(home, "cache", "show", alice["key"][:10])
    assert (shown["exchange_id"], shown["status"], shown["stored_at"]) == (first, 200, alice["stored_at"])
    assert "body" not in shown
    assert told(home, "cache", "purge", "--user", "bob", "--model", "other")["entries"] == 1
    assert told(home, "cache", "purge", "--older-than", "2020-01-01")["entries"] == 0
    assert told(home, "cache", "purge", "--id", second[:-1])["entries"] == 1
    assert tracecli(home.root, "cache", "purge", "--all").stderr.startswith("Gone: 1 answer of ")
    assert told(home, "cache", "list") == []


def test_mistakes(home: Home) -> None:
    """What cannot be done is said in a sentence, with the exit code of its kind."""
    entries = Entries(home.cache, 10**6)
    for last in b"ab":
        entries.put(entry(b"k" * 31 + bytes([last]), exchange_id="0" * 31 + chr(last)))
    entries.close()
    for code, sentence, args in (
        (2, "Say what:", ["purge"]),
        (2, "Say what:", ["purge", "--all", "--user", "alice"]),
        (4, "more than one id begins with 000", ["purge", "--id", "000"]),
        (4, "more than one key begins with 6b6b", ["show", "6b6b"]),
        (4, "no stored answer has a key that begins with x", ["show", "x"]),
        (4, "nothing is recorded yet", ["explain", "last"]),
        (3, "there is no policy 'nobody'", ["simulate", "--policy", "nobody"]),
        (2, "--ttl", ["simulate", "--ttl", "soon"]),
    ):
        assert sentence in tracecli(home.root, "cache", *args, code=code).stderr
    assert len(told(home, "cache", "list")) == 2


def test_a_home_without_anything(home: Home) -> None:
    """Without records and without a cache, each command says so and ends well, and makes no cache."""
    assert told(home, "cache", "stats")["requests"] == 0
    assert "Nothing is stored." in tracecli(home.root, "cache", "list").stderr
    assert told(home, "cache", "purge", "--all") == {"entries": 0, "bytes": 0}
    assert told(home, "cache", "simulate")["requests"] == 0
    assert told(home, "usage", "repeats") == []
    assert not home.cache.exists()


def test_looking_removes_nothing(home: Home) -> None:
    """A cache that is larger than the default size is left as it is by whoever looks into it."""
    entries = Entries(home.cache, Cache().max_bytes)
    entries.put(entry())
    entries._writer.execute("UPDATE total SET bytes = 2000000000")  # type: ignore[union-attr]
    entries._let_go()
    assert told(home, "cache", "stats")["entries"] == 1
    assert len(told(home, "cache", "list")) == 1


def test_simulate_says_how_to_switch_it_on(home: Home) -> None:
    """Where hits would have come and the cache is off, the command that switches it on is named."""
    store(home, call(0, asked("a")), call(1, asked("a")))
    policy = home.root.parent / "policies" / "default.toml"
    for text, hint in (
        ("", "`tracecli policy set default --cache`"),
        ("tracing = false", "the cache stays off all the same: tracing is off"),
        ('[cache]\nmode = "on"', ""),
    ):
        policy.write_text(text)
        said = tracecli(home.root, "cache", "simulate", *SINCE).stderr
        assert hint in said
        assert bool(said) == bool(hint)
