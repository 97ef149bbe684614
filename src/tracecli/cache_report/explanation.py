"""Why a recorded request is what it is to the cache: what its key is made of, and where that of another differs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, overload

import msgspec

from tracecli import browse, ledger, walking
from tracecli.cache import storable
from tracecli.cache.key import NOT_IN_THE_KEY, Material
from tracecli.cache_report.asked import material_of
from tracecli.config import Home
from tracecli.errors import ExchangeNotFound
from tracecli.exchange import Captured, Exchange, Row
from tracecli.policy.rules import Cache
from tracecli.store import asked
from tracecli.store.connection import opened

_NEIGHBOURS = 200
_SHOWN = 120
_BEFORE = 20
"""Of a long value that much is shown before the place where it differs."""


@dataclass(frozen=True)
class Difference:
    """The first thing in which two requests differ."""

    where: str
    """A part of the key, or a JSON path in the body, as `$.messages[2].content`."""
    one: str | None
    """Not too long, from shortly before where they differ; None: it has no such thing."""
    other: str | None


@dataclass(frozen=True)
class Explained:
    """What the key of a recorded request is made of, and how it compares with another."""

    id: str
    asked_hash: str
    """SHA-256 in hex; equal where the same is asked, whoever asks."""
    cache_status: str | None
    cache_detail: str | None
    why_not: str | None
    """Why no cache would give its answer again, in the words of `storable`; None: one would."""
    how: Literal["json", "bytes"]
    """How the body counts: in canonical form, or byte for byte."""
    parts: list[tuple[str, str]]
    """Name and value, not too long."""
    other_id: str | None = None
    """What it is compared with."""
    difference: Difference | None = None
    """None with another id: both ask the same."""
    scope_differs: list[str] = field(default_factory=list)
    """Which of user, credential and policy differ: requests that ask the same may still not share an answer."""

    def as_json(self) -> dict[str, Any]:
        """As JSON values."""
        return {**asdict(self), "parts": [{"name": name, "value": value} for name, value in self.parts]}


def explain(home: Home, reference: str, other: str | None = None) -> Explained:
    """The key material of a recorded request, compared with another, else with the earlier one that is nearest to it.

    Parts of what was asked are told: that is noted in the ledger.

    Raises ExchangeNotFound or AmbiguousId if a reference names none that was recorded with content, and what
    `browse.open_exchange` raises.
    """
    row, captured = _found(home, reference)
    exchange, of = captured.exchange, material_of(captured)
    near = _nearest(home, row, of) if other is None else _beside(home, other)
    ledger.reading(home, dict.fromkeys([row.id, *([near[0].id] if near else [])]))
    return Explained(
        id=row.id,
        asked_hash=of.hash().hex(),
        cache_status=exchange.cache_status,
        cache_detail=exchange.cache_detail,
        why_not=_why_not(captured, of),
        how=of.how,
        parts=[(name, _shown(value.decode("utf-8", "backslashreplace"))) for name, value in of.parts],
        other_id=near[0].id if near else None,
        difference=difference(of, near[1]) if near else None,
        scope_differs=_scope(exchange, near[0]) if near else [],
    )


def _found(home: Home, reference: str) -> tuple[Row, Captured]:
    recorded, captured = browse.find(home, reference)
    exchange = captured.exchange
    if not exchange.traced or (exchange.request_bytes and not captured.request_body):
        raise ExchangeNotFound(
            f"the request {recorded.row.id} has no content in the record, and so no key",
            "Name one that was recorded with content, and has it still.",
        )
    return recorded.row, captured


def _beside(home: Home, reference: str) -> tuple[Exchange, Material]:
    _, captured = _found(home, reference)
    return captured.exchange, material_of(captured)


def _why_not(captured: Captured, of: Material) -> str | None:
    exchange = captured.exchange
    if exchange.request_cut:
        return "request_cut"
    return storable.why_not_asked(
        exchange.operation, exchange.method, exchange.request_headers, of.value, only_deterministic=False
    ) or storable.why_not_answered(exchange, captured.response_body, Cache().max_entry_bytes)


def _scope(one: Exchange, other: Exchange) -> list[str]:
    return [name for name in ("user", "credential", "policy") if getattr(one, name) != getattr(other, name)]


# The nearest


def _nearest(home: Home, row: Row, of: Material) -> tuple[Exchange, Material] | None:
    """Of earlier requests the one that has most in common with this one; of several, the latest."""
    try:
        with opened(home) as connection:
            sized = asked.neighbours(connection, row, of.hash(), _NEIGHBOURS)
    except FileNotFoundError:
        return None
    own = _leaves(of)
    best: tuple[tuple[float, str], Exchange, Material] | None = None
    for recorded, captured in walking.each(home, sized):
        if captured is None:
            continue
        near = material_of(captured)
        leaves = _leaves(near)
        likeness = len(own & leaves) / len(own | leaves), recorded.row.id
        if best is None or likeness > best[0]:
            best = likeness, recorded.exchange, near
    return None if best is None else best[1:]


def _leaves(of: Material) -> set[tuple[str, bytes]]:
    """What a key is made of, in pieces: its parts, the body as its values with their places."""
    pieces = {(name, value) for name, value in of.parts if name != "json"}
    if of.how == "json":
        pieces |= {(path, msgspec.json.encode(value)) for path, value in _values(_counting(of))}
    return pieces


def _values(value: Any) -> Iterator[tuple[str, Any]]:
    """The values in a JSON value that hold no others, with their paths."""
    waiting = [("$", value)]
    while waiting:
        path, one = waiting.pop()
        inner = _inner(one)
        if inner:
            waiting += [(path + place, below) for place, below in inner.items()]
        else:
            yield path, one


# The first difference


def difference(one: Material, other: Material) -> Difference | None:
    """The first of the parts, or of the places in the body, in which two differ."""
    if one.hash() == other.hash():
        return None
    ours, theirs = _named(one), _named(other)
    for name in dict.fromkeys([*ours, *theirs]):
        if ours.get(name) != theirs.get(name):
            return _told(name, ours.get(name), theirs.get(name))
    found = _in_body(one, other) if one.how == other.how == "json" else None
    return found or next(
        _told(name, mine, its)
        for name, mine, its in (
            ("body", _body(one), _body(other)),
            ("property order", dict(one.parts).get("property order"), dict(other.parts).get("property order")),
        )
        if mine != its
    )


def _named(of: Material) -> dict[str, bytes]:
    """The parts beside the body by name; those of the query have the name that they have there."""
    named: dict[str, bytes] = {}
    times: Counter[str] = Counter()
    for part, value in of.parts:
        if part in ("json", "body", "property order"):
            continue
        name = f"query {value.decode('utf-8', 'backslashreplace').partition('=')[0]}" if part == "query" else part
        times[name] += 1
        named[name if times[name] == 1 else f"{name} [{times[name]}]"] = value
    return named


def _body(of: Material) -> bytes:
    return next(value for name, value in of.parts if name in ("json", "body"))


def _in_body(one: Material, other: Material) -> Difference | None:
    waiting = [("$", _counting(one), _counting(other))]
    while waiting:
        path, mine, its = waiting.pop()
        if type(mine) is type(its) and isinstance(mine, dict | list):
            ours, theirs = _inner(mine), _inner(its)
            places = [(path + place, ours.get(place, _MISSING), theirs.get(place, _MISSING)) for place in ours | theirs]
            waiting += sorted(places, key=lambda one: one[0], reverse=True) if isinstance(mine, dict) else places[::-1]
        elif _bytes(mine) != _bytes(its):
            return _told(path, _bytes(mine), _bytes(its))
    return None


_MISSING = object()


def _counting(of: Material) -> Any:
    """The JSON value of a body, as far as it counts."""
    if not isinstance(of.value, dict):
        return of.value
    return {name: inner for name, inner in of.value.items() if name not in NOT_IN_THE_KEY}


def _inner(value: Any) -> dict[str, Any]:
    """What a JSON value holds, each with its step in a JSON path."""
    if isinstance(value, dict):
        return {f".{name}" if name.isidentifier() else f"[{_quoted(name)}]": inner for name, inner in value.items()}
    if isinstance(value, list):
        return {f"[{place}]": inner for place, inner in enumerate(value)}
    return {}


def _quoted(name: str) -> str:
    return msgspec.json.encode(name).decode()


def _bytes(value: Any) -> bytes | None:
    """A JSON value as JSON."""
    return None if value is _MISSING else msgspec.json.encode(value)


def _told(where: str, one: bytes | None, other: bytes | None) -> Difference:
    mine, its = (value.decode("utf-8", "backslashreplace") if value is not None else None for value in (one, other))
    pairs = enumerate(zip(mine or "", its or "", strict=False))
    same = next((place for place, (left, right) in pairs if left != right), min(len(mine or ""), len(its or "")))
    begin = same - _BEFORE if same > _SHOWN // 2 else 0
    return Difference(where, _shown(mine, begin), _shown(its, begin))


@overload
def _shown(text: str, begin: int = 0) -> str: ...
@overload
def _shown(text: str | None, begin: int = 0) -> str | None: ...
def _shown(text: str | None, begin: int = 0) -> str | None:
    """A text from there on, not too long."""
    if text is None:
        return None
    piece = text[begin : begin + _SHOWN]
    whole = len(piece) == len(text)
    return piece if whole else f"{'…' if begin else ''}{piece}… ({len(text):,} characters)"
