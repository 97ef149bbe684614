"""Conditions for the table of exchanges, made of queries: text of ours, and parameters for all that was typed.

A value that is unknown fits nothing that is asked of it, and so fits what leaves it out: `-status:200` finds exchanges
without a status too.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any, NamedTuple

from tracecli.query import values
from tracecli.query.fields import Field
from tracecli.query.syntax import All, AnyOf, Between, Choice, Compared, Is, Not, Query, Term, Value, is_known, is_none
from tracecli.query.syntax import terms as _terms

MATCHED = "matched"
"""The table of what was found in contents: `term` INTEGER, `id` UUID."""


class Condition(NamedTuple):
    """An SQL expression over the columns of `exchange`, and its parameters, numbered from `first` on."""

    sql: str
    parameters: list[Any]


def contents(query: Query) -> list[Term]:
    """What is to be looked for in contents, each once."""
    return list(dict.fromkeys(term for term in _terms(query) if term.field.kind == "content"))


def condition(
    query: Query,
    now: dt.datetime,
    zone: dt.tzinfo | None = None,
    *,
    first: int = 1,
    found: Mapping[Term, int] | None = None,
) -> Condition:
    """What an exchange has to be.

    `found` numbers the terms of contents as the table `matched` does; without it, what they are about may or may not
    fit: more exchanges do than in the end.
    """
    writer = _Writer(now, zone, first, found)
    return Condition(writer.condition(query, wanted=True), writer.parameters)


def are_required(query: Query) -> bool:
    """Whether all that fits holds every one of the query's words."""
    parts = query.queries if isinstance(query, All) else (query,)
    return all(isinstance(one, Term) or not contents(one) for one in parts)


class _Writer:
    def __init__(self, now: dt.datetime, zone: dt.tzinfo | None, first: int, found: Mapping[Term, int] | None) -> None:
        self.now, self.zone, self.first, self.found = now, zone, first, found
        self.parameters: list[Any] = []

    def given(self, value: Any, kind: str = "") -> str:
        self.parameters.append(value)
        number = f"${self.first + len(self.parameters) - 1}"
        return f"{number}::{kind}" if kind else number

    def condition(self, query: Query, *, wanted: bool) -> str:
        """Negation goes down to the terms: so what is wanted stays bare, and the database can skip what cannot fit."""
        match query:
            case Not():
                return self.condition(query.query, wanted=not wanted)
            case All() | AnyOf():
                both = isinstance(query, All) == wanted
                if not query.queries:
                    return "true" if both else "false"
                word = " AND " if both else " OR "
                return f"({word.join(self.condition(one, wanted=wanted) for one in query.queries)})"
            case Term() if query.field.kind == "content":
                if self.found is None:
                    return "true"
                number = int(self.found[query])
                inside = "IN" if wanted else "NOT IN"
                return f"id {inside} (SELECT id FROM {MATCHED} WHERE term = {number})"  # noqa: S608 - a number of ours
            case Term():
                sql = " OR ".join(self.choice(query.field, choice) for choice in query.choices)
                return f"({sql})" if wanted else f"(({sql}) IS NOT TRUE)"

    def choice(self, field: Field, choice: Choice) -> str:
        match choice:
            case Is():
                return self.value(field, choice.value)
            case Compared():
                return f"{field.columns[0]} {choice.operator} {self.number(field, choice.value)}"
            case Between():
                bounds = ((">=", choice.low), ("<=", choice.high))
                return " AND ".join(
                    f"{field.columns[0]} {operator} {self.number(field, value)}" for operator, value in bounds if value
                ).join("()")

    def value(self, field: Field, value: Value) -> str:
        column = field.columns[0]
        if is_none(field, value) or is_known(field, value):
            none = is_none(field, value)
            if field.kind == "list":
                return f"(coalesce(len({column}), 0) {'=' if none else '>'} 0)"
            joined = " AND " if none else " OR "
            return f"({joined.join(f'{one} IS {"" if none else "NOT "}NULL' for one in field.columns)})"
        match field.kind:
            case "word":
                fits = self.pattern(value)
                return " OR ".join(fits(one) for one in field.columns)
            case "words":
                return f"contains(lower({column}), {self.given(value.text.lower())})"
            case "list":
                if "*" in value.text and value.form == "plain":
                    return f"len(list_filter({column}, lambda one: {self.pattern(value)('one')})) > 0"
                return f"list_contains({column}, {self.given(value.text)})"
            case "choice":
                return f"{column} = {self.given(values.choice(field, value.text))}"
            case "truth":
                return column if values.truth(value.text) else f"NOT {column}"
            case "status" if (begin := values.status_class(value.text)) is not None:
                return f"{column} BETWEEN {self.given(begin)} AND {self.given(begin + 99)}"
            case "id":
                low, high = values.id_bounds(value.text)
                return f"{column} BETWEEN {self.given(low, 'UUID')} AND {self.given(high, 'UUID')}"
            case "since" | "until":
                operator = ">=" if field.kind == "since" else "<"
                return f"{column} {operator} {self.given(values.moment(value.text, self.now, self.zone))}"
        return f"{column} = {self.number(field, value)}"

    def number(self, field: Field, value: Value) -> str:
        number = values.number(field, value.text)
        match field.kind:
            case "money":
                return self.given(str(number), "DECIMAL(28, 15)")
            case "duration":
                return self.given(float(number))
        # A count may have a fraction (2.5 tokens, typed as 0.0025k): compared as it is, like all numbers of a query.
        return self.given(int(number)) if number == int(number) else self.given(float(number))

    def pattern(self, value: Value) -> Any:
        """What a column has to be for a word: a function of its SQL."""
        text = value.text
        if "*" not in text or value.form == "quoted":
            given = self.given(text)
            return lambda column: f"{column} = {given}"
        head, *middle, tail = text.split("*")
        if not any(middle) and not (head and tail):
            given = self.given(head or tail)
            function = "starts_with" if head else "ends_with"
            return lambda column: f"{function}({column}, {given})"
        if not head and not tail and len([one for one in middle if one]) == 1:
            given = self.given(next(one for one in middle if one))
            return lambda column: f"contains({column}, {given})"
        escaped = [_escaped(piece) for piece in text.split("*")]
        given = self.given("%".join([escaped[0], *(one for one in escaped[1:-1] if one), escaped[-1]]))
        return lambda column: f"{column} LIKE {given} ESCAPE '\\'"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
