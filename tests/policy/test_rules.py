"""Which policy applies, why, and when it changes."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest

from tracecli.policy.rules import PolicyError, PolicySet, problems

END = dt.datetime(2026, 12, 1, 12, 0, tzinfo=dt.UTC)
RED = [("x-team", "Red"), ("X-Team", "blue")]
EARLY, LATE = (dt.timezone(dt.timedelta(hours=hours)) for hours in (14, -14))
MORE: dict[str, dict[str, Any]] = {
    "default": {},
    "strict": {"tracing": False},
    "cached": {"cache": {"mode": "on"}},
    "red": {"match": {"X-Team": "r*d"}},
    "both": {"match": {"X-TEAM": "red", "x-site": "*"}},
}


def rules(users: dict[str, Any] | None = None, **policies: Any) -> PolicySet:
    return PolicySet(MORE | policies, users or {})


def test_the_order_of_precedence() -> None:
    """Temporary, then a match (of most headers first), then assigned, then default; explain tells all of them."""
    alice = {"policy": "strict", "temporary_policy": "cached", "expires_at": END}
    policies = rules({"alice": alice, "bob": {"policy": "strict"}})
    now = END.timestamp() - 1
    assert policies.decide("alice", RED, now).policy == "cached"
    assert policies.decide("bob", RED, now).policy == "red"
    assert policies.decide("bob", [*RED, ("X-Site", "here")], now).policy == "both"
    assert policies.decide("bob", [("x-team", "green")], now).policy == "strict"
    assert policies.decide("carol", [], now).policy == "default"
    told = [
        (one.rule, one.policy, one.fits, one.holds) for one in policies.explain("alice", [*RED, ("X-Site", "")], now)
    ]
    assert told == [
        ("temporary", "cached", True, True),
        ("match", "both", True, False),
        ("match", "red", True, False),
        ("assigned", "strict", True, False),
        ("default", "default", True, False),
    ]


def test_expiry_to_the_second() -> None:
    """A temporary policy and own settings end at their second, whatever the clock did before, and it says when."""
    alice = {"policy": "strict", "temporary_policy": "cached", "expires_at": END, "sampling": 0.5}
    policies, again = rules({"alice": alice}), rules({"alice": alice})
    end = END.timestamp()
    for chosen in (policies, again):  # another set of the same files, as after a restart
        for now in (end - 86_400, end - 0.001, end, end + 3600, end - 1, end + 0.001):
            decision = chosen.decide("alice", [], now)
            lasts = now < end
            assert decision.policy == ("cached" if lasts else "strict")
            assert decision.settings.sampling == (0.5 if lasts else 1.0)
            assert decision.changes_at == (end if lasts else None)
            assert ("2026-12-01T12:00:00Z" in decision.reason) is lasts
    rule, *_ = policies.explain("alice", [], end)
    assert (rule.fits, rule.holds) == (False, False)
    assert "expired" in rule.why


def test_the_cache_needs_tracing() -> None:
    """Where tracing is off, or redaction changes answers, nothing is cached, and the reason says so."""
    policies = rules(
        {"alice": {"policy": "cached", "tracing": False}, "bob": {"policy": "careful"}},
        careful={"extends": "cached", "redaction": {"kinds": ["email"]}},
    )
    for user, why in (("alice", "tracing is off"), ("bob", "redaction")):
        decision = policies.decide(user, [], 0)
        assert decision.settings.cache.mode == "off"
        assert why in (decision.no_cache or "") and "no cache" in decision.reason
    with pytest.raises(PolicyError, match="needs tracing"):
        rules(wrong={"tracing": False, "cache": {"mode": "on"}})


def test_extending() -> None:
    """What a policy does not say, the one it extends says, table by table; patterns replace each other."""
    policies = rules(
        base={"sampling": 0.5, "cache": {"mode": "on", "ttl": "1h"}, "redaction": {"patterns": {"a": "1"}}},
        above={"extends": "base", "cache": {"ttl": "2h"}, "redaction": {"patterns": {"b": "2"}}},
    )
    settings = policies.policies["above"].settings
    assert (settings.sampling, settings.cache.mode, settings.cache.ttl) == (0.5, "on", "2h")
    assert settings.redaction.patterns == {"b": "2"}


WRONG: dict[str, tuple[dict[str, Any], str, str]] = {
    "unknown key": ({"tracng": True}, "tracng", "is unknown (did you mean `tracing`?)"),
    "unknown key in a table": ({"cache": {"tll": "1d"}}, "cache.tll", "did you mean `cache.ttl`?"),
    "far from all": ({"zzzzz": 1}, "zzzzz", "the keys are: description, extends, match"),
    "a dotted name": ({"a.b": 1}, "a.b", "is unknown"),
    "type": ({"tracing": "yes"}, "tracing", "Expected `bool`, got `str`"),
    "type of a table": ({"cache": 5}, "cache", "Expected"),
    "choice": ({"cache": {"mode": "maybe"}}, "cache.mode", "Invalid enum value 'maybe'"),
    "share": ({"sampling": 1.5}, "sampling", "between 0 and 1"),
    "no number": ({"sampling": float("nan")}, "sampling", "between 0 and 1"),
    "below nothing": ({"max_body_bytes": -1}, "max_body_bytes", "must be 0 or more"),
    "no duration": ({"retention": {"content": "soon"}}, "retention.content", "is no duration"),
    "nothing at all": ({"cache": {"ttl": "0s"}}, "cache.ttl", "must be more than nothing"),
    "for ages": ({"retention": {"content": "999999999d"}}, "retention.content", "less than a thousand years"),
    "of all": ({"cache": {"max_bytes": 5}}, "cache.max_bytes", "set it in default.toml"),
    "nowhere": ({"extends": "gone"}, "extends", "there is no policy 'gone'; name one of: both, cached"),
    "circle": ({"extends": "wrong"}, "extends", "goes round in a circle: wrong -> wrong"),
    "header twice": ({"match": {"X-A": "1", "x-a": "2"}}, "match.x-a", "is there twice"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_with_a_policy(name: str) -> None:
    """Each mistake is refused with the key and what is wrong; `problems` says the same, and goes on."""
    table, key, says = WRONG[name]
    with pytest.raises(PolicyError) as caught:
        rules(wrong=table)
    assert (caught.value.file, caught.value.key) == ("wrong.toml", key)
    assert says in caught.value.problem
    found = list(problems(MORE | {"wrong": {**table, "also_wrong": 1}}, {"alice": {"policy": "gone"}}))
    assert [(one.file, one.key) for one in found if one.key != "also_wrong"] == [
        ("wrong.toml", key),
        ("users/alice.toml", "policy"),
    ]
    assert len(found) == 3


@pytest.mark.parametrize(
    ("table", "key", "says"),
    [
        ({"policy": "gone"}, "policy", "there is no policy 'gone'"),
        ({"temporary_policy": "gone", "expires_at": END}, "temporary_policy", "there is no policy 'gone'"),
        ({"temporary_policy": "strict"}, "temporary_policy", "needs `expires_at`"),
        ({"expires_at": END.replace(tzinfo=None)}, "expires_at", "needs an offset"),
        ({"expires_at": END.date()}, "expires_at", "Expected `datetime`"),
        ({"expires_at": dt.datetime(1, 1, 1, tzinfo=EARLY)}, "expires_at", "year 1"),
        ({"expires_at": dt.datetime(9999, 12, 31, 23, tzinfo=LATE)}, "expires_at", "9999"),
        ({"credentials": ["sk-1"]}, "credentials", "neither a fingerprint"),
        ({"extends": "strict"}, "extends", "is unknown"),
        ({"cache": {"max_bytes": 5}}, "cache.max_bytes", "set it in default.toml"),
    ],
)
def test_what_is_wrong_with_a_user(table: dict[str, Any], key: str, says: str) -> None:
    """Each mistake in a user's file is refused with the key and what is wrong."""
    with pytest.raises(PolicyError) as caught:
        rules({"alice": table})
    assert (caught.value.file, caught.value.key) == ("users/alice.toml", key)
    assert says in caught.value.problem
    assert key in [one.key for one in problems(MORE, {"alice": table})]


def test_there_must_be_a_default() -> None:
    """Without default.toml nothing is decided, and that is said."""
    with pytest.raises(PolicyError, match=r"default\.toml: does not exist"):
        PolicySet({"other": {}}, {})
    assert [str(one) for one in problems({}, {})] == ["default.toml: does not exist"]


def test_only_what_changed_is_checked_again() -> None:
    """A table that is the same object is taken over; the policy that it names must still be there."""
    alice = {"policy": "strict"}
    first = rules({"alice": alice, "bob": {}})
    second = PolicySet(MORE, {"alice": alice, "bob": {"policy": "cached"}}, first)
    assert second.users["alice"] is first.users["alice"]
    assert second.decide("bob", [], 0).policy == "cached"
    with pytest.raises(PolicyError, match="there is no policy 'strict'"):
        PolicySet({"default": {}}, {"alice": alice}, first)
