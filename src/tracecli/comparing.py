"""Two exchanges side by side: what differs in what was asked, in what was said, and in what came of it. Pure."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from os.path import commonprefix
from typing import Any, Literal

import msgspec

from tracecli.contents import Side, said_in
from tracecli.exchange import Message, Opened

_FIELDS = (
    "user",
    "policy",
    "session",
    "provider",
    "host",
    "operation",
    "path",
    "request_model",
    "response_model",
    "stream",
    "status",
    "outcome",
    "error",
    "finish_reasons",
    "input_tokens",
    "output_tokens",
    "cache_read_input_tokens",
    "cost_usd",
    "cache_status",
    "duration_ms",
    "ttft_ms",
    "flags",
)
_SAID = frozenset(("messages", "input", "contents", "system", "instructions", "prompt", "systemInstruction"))
"""Fields of a request that the messages tell."""
_MOST = 2000
"""Messages of a side that are aligned; more are compared one by one."""


@dataclass(frozen=True)
class Field:
    """Something that differs, as JSON values."""

    name: str
    a: Any
    b: Any


@dataclass(frozen=True)
class Pair:
    """Messages at the same place: the same, different, or only in one of the two."""

    side: Side
    kind: Literal["same", "different", "only_a", "only_b"]
    role: str
    a: str | None
    b: str | None
    first: int | None = None
    """The character with which they begin to differ."""


@dataclass(frozen=True)
class Compared:
    """What differs between two exchanges."""

    a: str
    b: str
    fields: list[Field]
    pairs: list[Pair]

    @property
    def first_difference(self) -> int | None:
        """The place of the first pair that is not the same."""
        return next((number for number, pair in enumerate(self.pairs) if pair.kind != "same"), None)

    def as_json(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self) | {"first_difference": self.first_difference}


def compare(a: Opened, b: Opened) -> Compared:
    """What differs. Messages are aligned: one that is only in one of the two moves the others."""
    pairs = [
        *_pairs("prompt", a.input_messages, b.input_messages),
        *_pairs("completion", a.output_messages, b.output_messages),
    ]
    return Compared(a.row.id, b.row.id, [*_fields(a, b), *_parameters(a, b)], pairs)


def _fields(a: Opened, b: Opened) -> Iterator[Field]:
    one, other = a.row.as_json(), b.row.as_json()
    for name in _FIELDS:
        if one[name] != other[name]:
            yield Field(name, one[name], other[name])


def _parameters(a: Opened, b: Opened) -> Iterator[Field]:
    """The fields of the bodies beside the messages, as `temperature`."""
    one, other = _body(a), _body(b)
    for name in dict.fromkeys([*one, *other]):
        if name not in _SAID and name not in ("model", "stream") and one.get(name) != other.get(name):
            yield Field(name, one.get(name), other.get(name))


def _body(opened: Opened) -> dict[str, Any]:
    try:
        found = msgspec.json.decode(opened.request.body)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _pairs(side: Side, a: Sequence[Message], b: Sequence[Message]) -> Iterator[Pair]:
    one, other = [_said(message) for message in a], [_said(message) for message in b]
    if max(len(one), len(other)) > _MOST:
        yield from _rest(side, one, other)
        return
    for kind, begin, end, start, stop in difflib.SequenceMatcher(None, one, other, autojunk=False).get_opcodes():
        if kind == "equal":
            yield from (Pair(side, "same", role, text, text) for role, text in one[begin:end])
        else:
            yield from _rest(side, one[begin:end], other[start:stop])


def _rest(side: Side, a: Sequence[tuple[str, str]], b: Sequence[tuple[str, str]]) -> Iterator[Pair]:
    """Messages one by one."""
    for number in range(max(len(a), len(b))):
        if number >= len(b):
            yield Pair(side, "only_a", *a[number], None)
        elif number >= len(a):
            role, text = b[number]
            yield Pair(side, "only_b", role, None, text)
        else:
            (role, one), (other_role, other) = a[number], b[number]
            if role != other_role:
                yield Pair(side, "only_a", role, one, None)
                yield Pair(side, "only_b", other_role, None, other)
            elif one == other:
                yield Pair(side, "same", role, one, one)
            else:
                first = len(commonprefix((one, other)))  # noqa: RUF071 - characters are meant
                yield Pair(side, "different", role, one, other, first)


def _said(message: Message) -> tuple[str, str]:
    role = message.get("role")
    return (role if isinstance(role, str) else json.dumps(role, default=str)), "\n".join(said_in(message))
