"""What the response cache holds, did and would do, as people read it, and in a pipe."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
from rich.console import RenderableType
from rich.text import Text

from tracecli.cache.entries import Entry, Listed
from tracecli.cache_report.counts import Repeat, Stats, Sums
from tracecli.cache_report.explanation import Explained
from tracecli.cache_report.rebuilding import Rebuilt
from tracecli.cache_report.simulation import Simulated, Would
from tracecli.tables import grid, values
from tracecli.tables.grid import Column, Grid
from tracecli.tables.visible import line

_STATS = [
    Column("", floor=12),
    Column("requests", right=True),
    Column("hits", right=True),
    Column("rate", right=True),
    Column("saved", right=True),
    Column("time saved", right=True, rank=1),
]
_WHY = [Column("no hit", floor=6), Column("requests", right=True), Column("why", floor=12)]
_ENTRIES = [
    Column("key", floor=12),
    Column("stored", right=True),
    Column("user", floor=8),
    Column("model", floor=12),
    Column("size", right=True, rank=1),
    Column("exchange", floor=8, rank=2),
]
_WOULD = [
    Column("model", floor=12),
    Column("requests", right=True),
    Column("hits", right=True),
    Column("rate", right=True),
    Column("agreed", right=True),
    Column("saved", right=True),
    Column("time saved", right=True, rank=1),
]
_REPEATS = [
    Column("times", right=True),
    Column("users", right=True, rank=1),
    Column("model", floor=12, rank=2),
    Column("repeats cost", right=True),
    Column("last", right=True, rank=3),
    Column("first id", floor=8),
    Column("asked", floor=20),
]
# What the reasons that are recorded mean; a flag or a status, as `no_end_event` or `status_500`, speaks for itself.
_WORDS = {
    "operation": "not an operation whose answer is kept",
    "stateful": "leans on what the provider keeps of earlier calls",
    "background": "asks for an answer later",
    "provider_tool": "has the provider search, run code or call tools",
    "not_deterministic": "neither temperature 0 nor a seed, and the policy wants one",
    "websocket": "calls on a socket are not cached",
    "no-store": "the client asked for that",
    "no-cache": "the client asked for a new answer",
    "max-age": "what was stored was older than the client takes",
    "ttl": "what was stored was older than the policy's ttl",
    "read-only": "the policy stores nothing",
    "write-only": "the policy answers nothing from the cache",
    "too_large": "larger than the policy's max_entry_bytes",
    "secret": "the answer looks as if it held a key or a password",
    "request_cut": "the record holds only the beginning of the request",
    "truncated": "not all bytes of the answer were recorded",
    "redacted": "the record is not what was asked",
    "failed": "there was no whole answer",
    "aborted": "the client left before the end",
    "unfinished": "the provider did not finish its answer",
    "error": "an error came under a status that says success",
    "format": "the form of the answer is not known",
    "unavailable": "the cache could not be used",
    "not_stored": "their answers were not stored at the time",
    "content_removed": "the content is not there any more",
    "policy": "their policy stores nothing now",
    "newer_is_there": "the cache has a newer answer",
    "no_room": "the answer alone is larger than the cache",
}

_STORED, _NEW = ("stored", None), "not asked before, or not for long; the answer is kept"


def _reason(word: str | None) -> str:
    if word is None:
        return values.UNKNOWN
    return line(f"{word}: {_WORDS[word]}" if word in _WORDS else word)


def stats(found: Stats) -> Iterator[RenderableType]:
    """How the cache did, for a terminal."""
    if found.all.requests:
        rows = [_sums(group, sums) for group, sums in found.ranked()]
        yield Grid([Column(found.by, floor=12), *_STATS[1:]], [*rows, _sums("all", found.all)])
        yield Text()
    if found.why_not:
        yield Grid(
            _WHY,
            [
                [
                    Text(line(status)),
                    Text(f"{number:,}"),
                    Text(_NEW if (status, detail) == _STORED else _reason(detail)),
                ]
                for (status, detail), number in found.why_not.most_common()
            ],
        )
        yield Text()
    yield Text(f"Stored: {answers(found.entries)} in {values.size(found.bytes)}.")


def stats_plain(found: Stats) -> Iterator[str]:
    """The same for a pipe."""
    names = [found.by, *Sums().as_json()]
    rows = [[group, *map(str, sums.as_json().values())] for group, sums in [*found.ranked(), ("all", found.all)]]
    yield from grid.plain(names, rows)


def _sums(group: str | None, sums: Sums) -> list[Text]:
    return [
        Text(line(group or values.UNKNOWN), "bold"),
        Text(f"{sums.requests:,}"),
        Text(f"{sums.hits:,}"),
        Text(_rate(sums.hits, sums.requests)),
        Text(_money(sums)),
        Text(values.duration(sums.saved_ms)),
    ]


def answers(number: int) -> str:
    """So many answers."""
    return f"{number:,} answer{'s' if number != 1 else ''}"


def _money(sums: Sums | Would) -> str:
    known = values.money(sums.saved_usd)
    return f"{known} + {sums.saved_unknown:,} unknown" if sums.saved_unknown else known


def _rate(part: int, whole: int) -> str:
    return f"{100 * part / whole:.0f} %" if whole else values.UNKNOWN


def listed(found: Sequence[Listed], now: dt.datetime) -> Iterator[RenderableType]:
    """Stored answers, for a terminal."""
    yield Grid(
        _ENTRIES,
        [
            [
                Text(one.key.hex()[:12], "bold"),
                Text(values.moment(_at(one.stored_at), now)),
                Text(line(one.user)),
                Text(line(one.model or values.UNKNOWN)),
                Text(values.size(one.bytes)),
                Text(one.exchange_id, "dim"),
            ]
            for one in found
        ],
    )


def listed_plain(found: Sequence[Listed]) -> Iterator[str]:
    """The same for a pipe."""
    names = ["key", "stored_at", "user", "model", "bytes", "exchange_id"]
    rows = [[_text(listed_json(one)[name]) for name in names] for one in found]
    yield from grid.plain(names, rows)


def listed_json(one: Listed) -> dict[str, Any]:
    """A line of the list as JSON values."""
    return msgspec.structs.asdict(one) | {"key": one.key.hex(), "stored_at": _instant(one.stored_at)}


def entry_json(one: Entry) -> dict[str, Any]:
    """A stored answer as JSON values; its body is shown by `usage show` of its exchange."""
    told = msgspec.structs.asdict(one) | {
        "key": one.key.hex(),
        "asked_hash": one.asked_hash.hex(),
        "stored_at": _instant(one.stored_at),
        "headers": [list(pair) for pair in one.headers],
        "bytes": len(one.body),
    }
    del told["body"]
    return told


def _at(unix: float) -> dt.datetime:
    return dt.datetime.fromtimestamp(unix, dt.UTC)


def _instant(unix: float) -> str:
    return _at(unix).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def fields(found: dict[str, Any]) -> Iterator[RenderableType]:
    """Names and values, for a terminal."""
    rows = [[Text(name, "dim"), Text(line(_value(value)))] for name, value in found.items()]
    yield Grid([Column("field"), Column("value", floor=20)], rows)


def fields_plain(found: dict[str, Any]) -> Iterator[str]:
    """The same for a pipe."""
    yield from grid.plain(["field", "value"], [[name, _value(value)] for name, value in found.items()])


def _value(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(f"{name}: {text}" for name, text in value)
    return values.UNKNOWN if value is None else str(value)


def explained(found: Explained) -> Iterator[RenderableType]:
    """What makes a request what it is, for a terminal."""
    yield Grid(
        [Column("part of the key"), Column("value", floor=20)],
        [[Text(line(name), "dim"), Text(line(value))] for name, value in found.parts],
    )
    yield Text()
    for text in _sentences(found):
        yield Text(text)


def explained_plain(found: Explained) -> Iterator[str]:
    """The same for a pipe."""
    yield from grid.plain(["part", "value"], [list(pair) for pair in found.parts])
    yield ""
    yield from _sentences(found)


def _sentences(found: Explained) -> Iterator[str]:
    if found.cache_status is None:
        could = "could" if found.why_not is None else f"could not ({_reason(found.why_not)})"
        yield f"Its policy had no cache; with one, its answer {could} have been kept."
    else:
        yield f"The cache said {found.cache_status}{f', {_reason(found.cache_detail)}' if found.cache_detail else ''}."
    if found.other_id is None:
        yield "There is no earlier request of this operation at this host to compare it with."
        return
    if found.difference is None:
        yield f"{found.other_id} asks exactly the same."
        if found.scope_differs:
            yield f"They differ in {', '.join(found.scope_differs)}: the scope of the policy says who shares answers."
        return
    one, other = found.difference.one, found.difference.other
    yield f"{found.other_id} differs first in {line(found.difference.where)}:"
    yield f"  this one   {line('(not there)' if one is None else one)}"
    yield f"  that one   {line('(not there)' if other is None else other)}"


def simulated(found: Simulated) -> Iterator[RenderableType]:
    """What a cache would have done, for a terminal."""
    sums = found.all()
    if sums.requests:
        yield Grid(_WOULD, [_would(model, one) for model, one in [*found.ranked(), ("all", sums)]])
        yield Text()
    if found.why_not:
        reasons = [[Text(f"{number:,}"), Text(_reason(why))] for why, number in found.why_not.most_common()]
        yield Grid([Column("not cacheable", right=True), Column("why", floor=12)], reasons)
        yield Text()
    for text in _summary(found, sums):
        yield Text(text)


def _summary(found: Simulated, sums: Would) -> Iterator[str]:
    yield (
        f"{sums.hits:,} of {sums.requests:,} requests would have been hits (scope {found.rules.scope}, ttl"
        f" {found.rules.ttl}), and {answers(found.stored)} stored, of {values.size(found.stored_bytes)}."
    )
    if sums.compared:
        rate = _rate(sums.agreed, sums.compared)
        yield f"{sums.agreed:,} of {sums.compared:,} that were asked again got the answer that a hit gives ({rate})."
    if found.without_content:
        yield f"{found.without_content:,} more say nothing: they are recorded without content."


def _would(model: str | None, one: Would) -> list[Text]:
    return [
        Text(line(model or values.UNKNOWN), "bold"),
        Text(f"{one.requests:,}"),
        Text(f"{one.hits:,}"),
        Text(_rate(one.hits, one.requests)),
        Text(_rate(one.agreed, one.compared)),
        Text(_money(one)),
        Text(values.duration(one.saved_ms)),
    ]


def simulated_plain(found: Simulated) -> Iterator[str]:
    """The same for a pipe."""
    names = list(Would().as_json())
    rows = [[model, *map(str, one.as_json().values())] for model, one in [*found.ranked(), ("all", found.all())]]
    yield from grid.plain(["model", *names], rows)


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


def rebuilt(found: Rebuilt) -> Iterator[str]:
    """What was put into the cache."""
    yield f"Stored again: {answers(found.entries)}."
    for why, number in found.left.most_common():
        yield f"Left alone: {number:,} exchange{'s' if number != 1 else ''}, {_reason(why)}."


def repeats(found: Sequence[Repeat], now: dt.datetime) -> Iterator[RenderableType]:
    """What was asked again and again, for a terminal."""
    yield Grid(
        _REPEATS,
        [
            [
                Text(f"{one.requests:,}", "bold"),
                Text(f"{one.users:,}"),
                Text(line(one.model or values.UNKNOWN)),
                Text(values.money(one.repeats_usd) + (f" + {one.unknown:,} unknown" if one.unknown else "")),
                Text(values.moment(one.last_at, now)),
                Text(one.first_id[:13], "dim"),
                Text(line(one.prompt or values.UNKNOWN)),
            ]
            for one in found
        ],
    )


def repeats_plain(found: Sequence[Repeat]) -> Iterator[str]:
    """The same for a pipe."""
    names = ["requests", "users", "model", "repeats_usd", "unknown", "first_id", "first_at", "last_at", "prompt"]
    rows = [[_text(one.as_json()[name]) for name in names] for one in found]
    yield from grid.plain(names, rows)
