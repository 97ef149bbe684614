"""What there is in a folder of policies, for looking at it. Pure: the clock is passed in.

The fields and their order are the JSON of the commands.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from tracecli.exchange import Headers
from tracecli.policy.files import Loaded
from tracecli.policy.history import flat
from tracecli.policy.rules import DEFAULT, Rule, Settings, shown

BUILT_IN = "built in"
_NAMED = 100


class Setting(msgspec.Struct, frozen=True):
    """A setting, and what says it: the name of a policy, or `BUILT_IN`."""

    key: str
    value: Any
    source: str


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """A policy and who uses it."""

    name: str
    file: str
    description: str
    extends: str | None
    match: dict[str, str]
    extended_by: list[str]
    users: int
    """How many files of users name it, for good or for now."""
    some_users: list[str]
    """The first hundred of them."""
    settings: list[Setting]

    def value(self, key: str) -> Any:
        """What it says about a dotted key."""
        return next(one.value for one in self.settings if one.key == key)


class User(msgspec.Struct, frozen=True, kw_only=True):
    """A user with a file."""

    user: str
    file: str
    description: str
    policy: str
    temporary_policy: str | None
    settings: dict[str, Any]
    """Of the user's own, by dotted key."""
    expires_at: str | None
    """When the temporary policy and the settings end."""
    expired: bool
    credentials: list[str]


class Explained(msgspec.Struct, frozen=True, kw_only=True):
    """What applies to a request, and why."""

    user: str
    at: str
    policy: str
    reason: str
    changes_at: str | None
    then: str | None
    """The policy from then on."""
    no_cache: str | None
    """Why the cache is off although it is asked for."""
    bound_to: list[str]
    """The credentials that a request which names the user must come with."""
    rules: list[Rule]
    settings: dict[str, Any]


def policies(loaded: Loaded) -> list[Policy]:
    """All policies: default first, then by name."""
    users: dict[str, list[str]] = {}
    for user, own in loaded.users.items():
        for name in {name for key in ("policy", "temporary_policy") if (name := own.table.get(key))}:
            users.setdefault(name, []).append(user)
    return [
        Policy(
            name=name,
            file=loaded.files.policies[name].path,
            description=policy.about.description,
            extends=policy.about.extends or None,
            match=policy.about.match,
            extended_by=[other for other, its in loaded.policies.items() if its.about.extends == name],
            users=len(users.get(name, ())),
            some_users=users.get(name, [])[:_NAMED],
            settings=list(_settings(loaded, name)),
        )
        for name, policy in sorted(loaded.policies.items(), key=lambda one: (one[0] != DEFAULT, one[0]))
    ]


def users(loaded: Loaded, now: dt.datetime, expiring: dt.timedelta | None = None) -> list[User]:
    """Users with a file; with `expiring`, those of whom something ends within that time, soonest first."""
    names = list(loaded.users)
    if expiring is not None:
        begin, end = now.timestamp(), (now + expiring).timestamp()
        ends = {name: own.expires_at for name, own in loaded.users.items() if own.expires_at is not None}
        names = sorted((name for name, at in ends.items() if begin < at <= end), key=lambda name: ends[name])
    return [user(loaded, name, now) for name in names]


def user(loaded: Loaded, name: str, now: dt.datetime) -> User:
    """A user; one without a file has what everybody has."""
    own, file = loaded.users.get(name), loaded.files.users.get(name)
    ends = own.expires_at if own else None
    return User(
        user=name,
        file=file.path if file else "",
        description=own.about.description if own else "",
        policy=own.about.policy if own else DEFAULT,
        temporary_policy=(own.about.temporary_policy or None) if own else None,
        settings=flat(own.values) if own else {},
        expires_at=None if ends is None else shown(ends),
        expired=ends is not None and ends <= now.timestamp(),
        credentials=own.about.credentials if own else [],
    )


def explained(loaded: Loaded, user: str, headers: Headers, now: dt.datetime) -> Explained:
    """What applies to a request of a user now."""
    decision = loaded.decide(user, headers, now.timestamp())
    ends = decision.changes_at
    return Explained(
        user=user,
        at=shown(int(now.timestamp())),
        policy=decision.policy,
        reason=decision.reason,
        changes_at=None if ends is None else shown(ends),
        then=None if ends is None else loaded.decide(user, headers, ends).policy,
        no_cache=decision.no_cache,
        bound_to=loaded.bound_to(user),
        rules=loaded.explain(user, headers, now.timestamp()),
        settings=flat(msgspec.to_builtins(decision.settings)),
    )


def _settings(loaded: Loaded, name: str) -> Iterator[Setting]:
    sources: dict[str, str] = {}
    at: str | None = name
    while at:
        for key in flat(_own(loaded.files.policies[at].table)):
            sources.setdefault(key, at)
        at = loaded.policies[at].about.extends
    for key, value in flat(msgspec.to_builtins(loaded.policies[name].settings)).items():
        yield Setting(key, value, sources.get(key, BUILT_IN))


def _own(table: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in table.items() if key in Settings.__struct_fields__}
