"""Policies, users, decisions and the history of edits: for a terminal, and as lines for a pipe."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterator, Sequence
from typing import Any

from rich.console import RenderableType
from rich.text import Text

from tracecli.policy.checks import Finding
from tracecli.policy.history import Change, Entry
from tracecli.policy.look import BUILT_IN, Explained, Policy, User
from tracecli.policy.rules import Rule
from tracecli.tables import grid, values
from tracecli.tables.grid import Column, Grid
from tracecli.tables.visible import line

_NONE = Text(values.UNKNOWN, "dim")
_IN = "  "


def policies(found: Sequence[Policy]) -> Iterator[RenderableType]:
    """A line for each policy."""
    columns = [
        Column("policy", floor=12),
        Column("tracing"),
        Column("cache"),
        Column("keeps", rank=2),
        Column("users", right=True),
        Column("extends", floor=8, rank=3),
        Column("matches", floor=10, rank=1),
        Column("description", floor=12, rank=4),
    ]
    rows = [
        [
            Text(line(one.name), "bold"),
            _switch(one.value("tracing")),
            _switch(one.value("cache.mode")),
            Text(line(one.value("retention.content")), "dim"),
            Text(f"{one.users:,}", "" if one.users else "dim"),
            _maybe(one.extends),
            _maybe(_matched(one)),
            _maybe(one.description),
        ]
        for one in found
    ]
    yield _used(columns, rows)


def policies_plain(found: Sequence[Policy]) -> Iterator[str]:
    """The same for a pipe."""
    names = ["name", "tracing", "metering", "cache", "content", "metadata", "users", "extends", "match"]
    keys = ("tracing", "metering", "cache.mode", "retention.content", "retention.metadata")
    return grid.plain(
        names,
        [
            [
                one.name,
                *(_value(one.value(key)) for key in keys),
                str(one.users),
                one.extends,
                _matched(one),
            ]
            for one in found
        ],
    )


def policy(one: Policy) -> Iterator[RenderableType]:
    """One policy with all that it decides."""
    used = ", ".join([*(f"policy {name}" for name in one.extended_by), *one.some_users[:10]])
    more = one.users - min(len(one.some_users), 10)
    yield from _fields(
        {
            "policy": one.name,
            "description": one.description,
            "file": one.file,
            "extends": one.extends,
            "matches": _matched(one),
            "used by": used + (f" and {more:,} more" if more else ""),
        }
    )
    yield Text()
    yield Grid(
        [Column("setting", floor=16), Column("value", floor=10), Column("from", floor=8)],
        [
            [
                Text(line(setting.key)),
                Text(line(_value(setting.value)) or '""', "" if setting.source == BUILT_IN else "bold"),
                Text(line(setting.source), "dim"),
            ]
            for setting in one.settings
        ],
    )


def policy_plain(one: Policy) -> Iterator[str]:
    """The same for a pipe: its settings."""
    return grid.plain(
        ["setting", "value", "from"],
        [[setting.key, _value(setting.value), setting.source] for setting in one.settings],
    )


def users(found: Sequence[User]) -> Iterator[RenderableType]:
    """A line for each user."""
    columns = [
        Column("user", floor=12),
        Column("policy", floor=8),
        Column("for now", floor=8),
        Column("own settings", floor=12, rank=1),
        Column("ends", floor=8),
        Column("bound to", floor=8, rank=2),
    ]
    cells = [
        [
            Text(line(one.user), "bold"),
            Text(line(one.policy), "dim" if one.policy == "default" else ""),
            _ending(one, one.temporary_policy),
            _ending(one, _settings(one.settings)),
            _ending(one, one.expires_at and ("ended " * one.expired) + one.expires_at),
            _maybe(", ".join(one.credentials)),
        ]
        for one in found
    ]
    yield _used(columns, cells)


def users_plain(found: Sequence[User]) -> Iterator[str]:
    """The same for a pipe."""
    names = ["user", "policy", "temporary_policy", "settings", "expires_at", "expired", "credentials"]
    return grid.plain(
        names,
        [
            [
                one.user,
                one.policy,
                one.temporary_policy,
                _settings(one.settings),
                one.expires_at,
                _value(one.expired),
                ", ".join(one.credentials),
            ]
            for one in found
        ],
    )


def user(one: User, now: Explained) -> Iterator[RenderableType]:
    """One user: what the file says, and what applies."""
    ended = " (ended)" if one.expired else ""
    yield from _fields(
        {
            "user": one.user,
            "description": one.description,
            "file": one.file or "none: what everybody has applies",
            "policy": one.policy,
            "for now": one.temporary_policy and one.temporary_policy + ended,
            "own settings": _settings(one.settings) and _settings(one.settings) + ended,
            "ends": one.expires_at,
            "bound to": ", ".join(one.credentials),
            "applies": f"{now.policy} ({now.reason})",
        }
    )


def explained(now: Explained, recorded: dict[str, Any] | None) -> Iterator[RenderableType]:
    """A decision and how it was come to."""
    fields = {
        "user": now.user,
        "policy": now.policy,
        "because": now.reason,
        "changes": now.changes_at and f"at {now.changes_at}, to {now.then}" if now.then != now.policy else None,
        "settings end": now.changes_at if now.then == now.policy else None,
        "bound to": ", ".join(now.bound_to),
        "tracing": _value(now.settings["tracing"]),
        "cache": _value(now.settings["cache.mode"]) + (f" ({now.no_cache})" if now.no_cache else ""),
    }
    if recorded:
        same = recorded["policy"] == now.policy and recorded["reason"] == now.reason
        was = f"{recorded['policy']} ({recorded['reason']})"
        fields |= {"recorded": f"{recorded['id']}", "was": f"{was}; the same" if same else was}
    yield from _fields(fields)
    yield Text()
    yield Grid(
        [Column("rule"), Column("policy", floor=8), Column(""), Column("why", floor=16)],
        [
            [
                Text(rule.rule, "bold" if rule.holds else "dim"),
                _maybe(rule.policy),
                Text(outcome := _outcome(rule), {"applies": "green", "beaten": "yellow"}.get(outcome, "dim")),
                Text(line(rule.why), "" if rule.holds else "dim"),
            ]
            for rule in now.rules
        ],
    )


def explained_plain(now: Explained, recorded: dict[str, Any] | None) -> Iterator[str]:
    """The same for a pipe: the decision, and a line for each rule."""
    facts: list[list[str | None]] = [["user", now.user], ["policy", now.policy], ["reason", now.reason]]
    facts += [["changes_at", now.changes_at], ["then", now.then]]
    facts += [[f"recorded_{name}", value] for name, value in (recorded or {}).items()]
    facts += [[key, _value(value)] for key, value in now.settings.items()]
    yield from grid.plain(["field", "value"], facts)
    yield ""
    rows = [[rule.rule, rule.policy, _outcome(rule), rule.why] for rule in now.rules]
    yield from grid.plain(["rule", "policy", "outcome", "why"], rows)


def history(found: Sequence[Entry], now: dt.datetime, zone: dt.tzinfo | None = None) -> Iterator[RenderableType]:
    """A line for each key that was changed, newest first."""
    yield Grid(
        [
            Column("time"),
            Column("by", floor=6, rank=1),
            Column("of", floor=12),
            Column("change", floor=20),
        ],
        [
            [
                Text(values.moment(entry.at, now, zone), "dim"),
                Text(line(entry.by)),
                Text(line(_named(entry)), "bold"),
                Text(line(change)),
            ]
            for entry in found
            for change in _told(entry)
        ],
    )


def history_plain(found: Sequence[Entry]) -> Iterator[str]:
    """The same for a pipe."""
    return grid.plain(
        ["at", "by", "kind", "name", "event", "key", "from", "to"],
        [
            [
                entry.at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
                entry.by,
                entry.kind,
                entry.name,
                entry.event,
                key,
                *(None if value is None else _value(value) for value in change),
            ]
            for entry in found
            for key, change in (entry.changes or {"": (None, None)}).items()
        ],
    )


def edited(found: Sequence[Change]) -> Iterator[str]:
    """What an edit did, a line for each key."""
    for change in found:
        for told in _told(change):
            yield line(f"{_named(change)}: {told}")


def findings(found: Sequence[Finding]) -> Iterator[str]:
    """What is wrong, as compilers say it."""
    for one in found:
        place = f"{one.file}:{one.line}" if one.line else one.file
        key = f"key `{one.key}`: " if one.key else ""
        problem = one.problem if one.problem.endswith(".") else f"{one.problem}."
        yield line(f"{place}: {one.severity}: {key}{problem} {one.remedy}")


def _told(change: Change) -> Iterator[str]:
    if change.event == "deleted":
        yield "deleted"
    elif change.event == "created":
        yield "created" + "".join(f", {key} = {_value(new)}" for key, (_, new) in change.changes.items())
    else:
        for key, (old, new) in change.changes.items():
            before, after = ("not set" if value is None else _value(value) for value in (old, new))
            yield f"{key}: {before} -> {after}"


def _named(change: Change) -> str:
    return f"{change.kind} {change.name}"


def _outcome(rule: Rule) -> str:
    if rule.holds:
        return "on top" if rule.policy is None else "applies"
    return "beaten" if rule.fits else "no"


def _used(columns: Sequence[Column], rows: Sequence[Sequence[Text]]) -> Grid:
    """The table without the columns in which there is nothing."""
    used = [place for place in range(len(columns)) if any(row[place].plain != values.UNKNOWN for row in rows)]
    return Grid([columns[place] for place in used], [[row[place] for place in used] for row in rows])


def _matched(one: Policy) -> str:
    return ", ".join(f"{name}: {value}" for name, value in one.match.items())


def _fields(found: dict[str, str | None]) -> Iterator[RenderableType]:
    shown = {name: value for name, value in found.items() if value}
    wide = max(map(len, shown))
    for name, value in shown.items():
        text = Text(f"{name:{wide}}", "dim").append(f"{_IN}{line(value)}", "not dim")
        yield text


def _ending(one: User, value: str | None) -> Text:
    return Text(line(value), "dim" if one.expired else "") if value else _NONE


def _maybe(value: str | None) -> Text:
    return Text(line(value)) if value else _NONE


def _switch(value: Any) -> Text:
    text = {True: "on", False: "off"}.get(value, str(value)) if isinstance(value, bool) else str(value)
    return Text(line(text), "dim" if text == "off" else "green")


def _settings(found: dict[str, Any]) -> str:
    return ", ".join(f"{key} = {_value(value)}" for key, value in found.items())


def _value(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
