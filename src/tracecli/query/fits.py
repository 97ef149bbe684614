"""Whether one exchange fits a query of its metadata, as `sql` would find it in the table. Pure.

For whoever has an exchange in hand that no table holds yet. What it contains, and when it was relative to now, is not
asked here: `unknown` says which term of a query cannot be answered.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal
from functools import lru_cache
from typing import Any, NamedTuple

from tracecli.exchange import Row
from tracecli.query import values
from tracecli.query.fields import Field
from tracecli.query.syntax import All, AnyOf, Choice, Compared, Is, Not, Query, Term, Value, is_known, is_none, terms


class Facts(NamedTuple):
    """What is known of an exchange."""

    row: Row
    tools: Sequence[str] | None
    lane: str


def fits(query: Query, facts: Facts) -> bool:
    """Whether an exchange fits. What is unknown of it fits nothing, and so fits what leaves it out."""
    match query:
        case Not():
            return not fits(query.query, facts)
        case All():
            return all(fits(one, facts) for one in query.queries)
        case AnyOf():
            return any(fits(one, facts) for one in query.queries)
        case Term():
            known = _KNOWN[query.name](facts)
            return any(_choice(query.field, choice, known) for choice in query.choices)


def unknown(query: Query) -> Term | None:
    """The first term that cannot be answered by what is known of one exchange."""
    return next((term for term in terms(query) if term.name not in _KNOWN), None)


def _of(*names: str) -> Callable[[Facts], list[Any]]:
    return lambda facts: [getattr(facts.row, name) for name in names]


def _tokens(facts: Facts) -> list[Any]:
    counts = [count for count in (facts.row.input_tokens, facts.row.output_tokens) if count is not None]
    return [sum(counts) if counts else None]


def _errors(facts: Facts) -> list[Any]:
    row = facts.row
    return [(row.status is not None and row.status >= 400) or row.outcome != "complete" or row.error is not None]


_KNOWN: dict[str, Callable[[Facts], list[Any]]] = {
    **{
        name: _of(name) for name in ("user", "provider", "operation", "status", "outcome", "error", "policy", "session")
    },
    **{name: _of(name) for name in ("host", "path", "method", "id", "traced")},
    "model": _of("request_model", "response_model"),
    "errors": _errors,
    "cache": _of("cache_status"),
    "flag": _of("flags"),
    "tag": _of("tags"),
    "tool": lambda facts: [facts.tools],
    "finish": _of("finish_reasons"),
    "lane": lambda facts: [facts.lane],
    "streamed": _of("stream"),
    "cost": _of("cost_usd"),
    "saved": _of("saved_usd"),
    "tokens": _tokens,
    "in": _of("input_tokens"),
    "out": _of("output_tokens"),
    "cached": _of("cache_read_input_tokens"),
    "reasoning": _of("reasoning_output_tokens"),
    "duration": _of("duration_ms"),
    "ttft": _of("ttft_ms"),
    "ttfb": _of("ttfb_ms"),
}
"""The values of a field, by its name; None is unknown."""


def _choice(field: Field, choice: Choice, known: list[Any]) -> bool:
    if isinstance(choice, Is):
        return _value(field, choice.value, known)
    if (given := known[0]) is None:
        return False
    if isinstance(choice, Compared):
        bound = _number(field, choice.value)
        match choice.operator:
            case ">":
                return bool(given > bound)
            case ">=":
                return bool(given >= bound)
            case "<":
                return bool(given < bound)
            case "<=":
                return bool(given <= bound)
    low, high = (None if value is None else _number(field, value) for value in (choice.low, choice.high))
    return (low is None or given >= low) and (high is None or given <= high)


def _value(field: Field, value: Value, known: list[Any]) -> bool:
    if field.kind == "list":
        return _in_list(field, value, known[0] or ())
    there = [one for one in known if one is not None]
    if is_none(field, value):
        return not there
    if is_known(field, value):
        return bool(there)
    return any(_is(field, value, one) for one in there)


def _in_list(field: Field, value: Value, known: Iterable[str]) -> bool:
    if is_none(field, value):
        return not known
    return any(_fits_word(value, one) for one in known)


def _is(field: Field, value: Value, known: Any) -> bool:
    match field.kind:
        case "word":
            return _fits_word(value, known)
        case "words":
            return value.text.lower() in known.lower()
        case "choice":
            return bool(known == values.choice(field, value.text))
        case "truth":
            return bool(known == values.truth(value.text))
        case "status" if (begin := values.status_class(value.text)) is not None:
            return bool(begin <= known <= begin + 99)
        case "id":
            low, high = values.id_bounds(value.text)
            return bool(low <= known.replace("-", "") <= high)
    return bool(known == _number(field, value))


def _number(field: Field, value: Value) -> Decimal | float:
    number = values.number(field, value.text)
    return float(number) if field.kind == "duration" else number


def _fits_word(value: Value, known: str) -> bool:
    if "*" not in value.text or value.form == "quoted":
        return known == value.text
    return _glob(value.text).fullmatch(known) is not None


@lru_cache(maxsize=256)
def _glob(text: str) -> re.Pattern[str]:
    # A run of stars is one; what is between two is found at its first place, so nothing is tried twice.
    head, *middle = re.sub(r"\*+", "*", text).split("*")
    inner = "".join(f"(?>.*?{re.escape(piece)})" for piece in middle[:-1])
    return re.compile(f"{re.escape(head)}{inner}.*{re.escape(middle[-1])}", re.DOTALL)
