"""Queries for tests: any that the language can say."""

from __future__ import annotations

import re

from hypothesis import strategies as st

from tracecli.query.fields import FIELDS, NUMERIC
from tracecli.query.syntax import Between, Choice, Compared, Is, Query, Term, Value, all_of, any_of, negated

_PIECES = st.sampled_from(
    ["a", "gpt-4o", "*", "%", "_", "\\", "'", ";", "--", "$1", "é", "日本", "\x1b[31m", "\0", "none"]
)
_HOSTILE = st.lists(_PIECES | st.characters(exclude_categories=["Cs"]), min_size=1, max_size=5).map("".join)


def _plain(text: str) -> bool:
    return re.fullmatch(r"[^\s(),\"<>=/][^\s(),\"]*", text) is not None


_ANY_WORD = _HOSTILE.filter(_plain).map(Value) | _HOSTILE.map(lambda text: Value(text, "quoted"))
_CONTENT = (
    _HOSTILE.filter(lambda text: _plain(text) and text.strip("*") != "").map(Value)
    | _HOSTILE.map(lambda text: Value(text, "quoted"))
    | st.sampled_from(["a/b", r"fo+\d{2}", r"\(x\)", "(?i)a b"]).map(lambda text: Value(text, "pattern"))
)
_NUMBERS = {
    "money": st.sampled_from(["0", "0.01", "$2", ".5", "999999999999.999999999999999"]),
    "count": st.sampled_from(["0", "10k", "2.5M", "0.0001k", "999999999999999g"]),
    "duration": st.sampled_from(["0s", "150ms", "1.5s", "2h", "999999999d"]),
    "status": st.sampled_from(["200", "404", "999"]),
    "score": st.sampled_from(["0", "3", "4.5"]),
}
_OTHERS = {
    "truth": st.sampled_from(["yes", "no", "TRUE", "false"]),
    "id": st.sampled_from(["0", "01a2035b", "01a2035b-f198-7c00-8000-00000000abcd", "F*", "---"]),
    "since": st.sampled_from(["2h", "7d", "2026-11-01", "2026-11-01T14:30", "2026-11-01T14:30+01:00"]),
}
_OTHERS["until"] = _OTHERS["since"]


@st.composite
def _choices(draw: st.DrawFn, name: str) -> Choice:
    field = FIELDS[name]
    if field.kind in NUMERIC:
        number = _NUMBERS[field.kind]
        match draw(st.integers(0, 3)):
            case 0:
                return Is(Value(draw(number | st.sampled_from(["none", "*"]))))
            case 1:
                return Compared(draw(st.sampled_from([">", ">=", "<", "<="])), Value(draw(number)))
            case 2:
                return Between(None, Value(draw(number)))
            case _:
                low = Value(draw(number))
                return Between(low, draw(st.sampled_from([None, low])))
    if field.kind == "choice":
        return Is(Value(draw(st.sampled_from([*field.choices, "none", "*"]))))
    if field.kind in ("content", "words"):
        return Is(draw(_CONTENT.filter(lambda value: field.kind == "content" or value.form != "pattern")))
    return Is(draw(_OTHERS[field.kind].map(Value)) if field.kind in _OTHERS else draw(_ANY_WORD))


@st.composite
def terms(draw: st.DrawFn) -> Term:
    """A field and what it should be."""
    name = draw(st.sampled_from(sorted(FIELDS)))
    return Term(name, tuple(draw(st.lists(_choices(name), min_size=1, max_size=3))))


def queries() -> st.SearchStrategy[Query]:
    """Terms, negated and grouped."""
    return st.recursive(
        terms(),
        lambda inner: (
            inner.map(negated)
            | st.lists(inner, max_size=3).map(all_of)
            | st.lists(inner, min_size=1, max_size=3).map(any_of)
        ),
        max_leaves=8,
    )
