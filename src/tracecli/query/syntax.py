"""Queries as people type them, and back.

    query   = all ("OR" all)*
    all     = one ("AND"? one)*
    one     = ("-" | "NOT") one | "(" query ")" | term
    term    = name ":" choice ("," choice)* | word | "quoted words"
    choice  = value | (">" | ">=" | "<" | "<=" | "=") value | value? ".." value?
    value   = word | "quoted" | /regular expression/

What a name may be, and how its values are read, `fields` says; a regular expression is for contents only. Words without
a name are looked for in contents. In quotes, `\\"` is a quote, `\\\\` a backslash, and nothing means more than itself.
`cost>1` is `cost:>1`.

`parse` accepts nothing that `sql` could not make a condition of: every mistake is an error with its place. `text_of`
gives a query that reads the same.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Literal

from tracecli.query import fields, values
from tracecli.query.errors import QueryError, did_you_mean
from tracecli.query.fields import Field

type Form = Literal["plain", "quoted", "pattern"]
type Operator = Literal[">", ">=", "<", "<="]

DEEPEST = 50
"""Groups in each other."""


@dataclass(frozen=True)
class Value:
    """A value as it was typed, without its quotes."""

    text: str
    form: Form = "plain"
    at: int = field(default=0, compare=False)
    end: int = field(default=0, compare=False)


@dataclass(frozen=True)
class Is:
    """The field has this value, or one that fits it."""

    value: Value


@dataclass(frozen=True)
class Compared:
    """The field is beyond a value."""

    operator: Operator
    value: Value


@dataclass(frozen=True)
class Between:
    """The field is from one value to another, both included; None is no bound."""

    low: Value | None
    high: Value | None


type Choice = Is | Compared | Between


@dataclass(frozen=True)
class Term:
    """A field is one of several things."""

    name: str
    """The field's own name, not an alias."""
    choices: tuple[Choice, ...]

    @property
    def field(self) -> Field:
        """What is asked for."""
        return fields.FIELDS[self.name]


@dataclass(frozen=True)
class Not:
    """What does not fit a query."""

    query: Query


@dataclass(frozen=True)
class All:
    """What fits every one of them; without any, everything."""

    queries: tuple[Query, ...]


@dataclass(frozen=True)
class AnyOf:
    """What fits at least one of two or more."""

    queries: tuple[Query, ...]


type Query = Term | Not | All | AnyOf

EVERYTHING = All(())


def all_of(queries: Sequence[Query]) -> Query:
    """What fits every one of these."""
    flat = [one for query in queries for one in (query.queries if isinstance(query, All) else (query,))]
    return flat[0] if len(flat) == 1 else All(tuple(flat))


def any_of(queries: Sequence[Query]) -> Query:
    """What fits at least one of these."""
    flat = [one for query in queries for one in (query.queries if isinstance(query, AnyOf) else (query,))]
    return flat[0] if len(flat) == 1 else AnyOf(tuple(flat))


def negated(query: Query) -> Query:
    """What does not fit."""
    return query.query if isinstance(query, Not) else Not(query)


def parse(text: str) -> Query:
    """The query that `text` is. Raises QueryError."""
    parser = _Parser(text)
    parser.only_text()
    query = parser.query(0)
    if parser.at < len(text):
        raise parser.wrong("this closes nothing", "Take it away, or open a group with `(`.", parser.at, parser.at + 1)
    return query


def term(name: str, text: str) -> Query:
    """What an option says, whose value is that of a field. Raises QueryError, which points into `text`."""
    parser = _Parser(text)
    parser.only_text()
    parser.space()
    found = parser.term(fields.FIELDS[name], 0)
    parser.space()
    if parser.at < len(text):
        raise parser.wrong("there is more than one value", "Put it in quotes, or separate values by commas.")
    return found


def named(name: str, text: str) -> Term:
    """What has exactly this value, whatever is in it."""
    return Term(name, (Is(Value(text, "quoted")),))


def at_least(name: str, text: str) -> Query:
    """What an option says that is the least value of a field. Raises QueryError, which points into `text`."""
    parser = _Parser(text)
    parser.only_text()
    value = Value(text, "plain", 0, len(text))
    parser.ordered(fields.FIELDS[name], value)
    return Term(name, (Compared(">=", value),))


def yes_or_no(name: str, *, wanted: bool) -> Query:
    """What an option says that is there or not."""
    return Term(name, (Is(Value("yes" if wanted else "no")),))


def words(text: str, name: str = "text") -> Term:
    """What holds exactly this text; `prompt` or `completion` instead of `text` is one side of it."""
    return named(name, text)


def pattern(text: str, name: str = "text") -> Term:
    """What fits a regular expression. Raises QueryError, which points at it."""
    if problem := _pattern_problem(text):
        raise QueryError(f"this is no regular expression of RE2: {problem}", "", text, 0, len(text))
    return Term(name, (Is(Value(text, "pattern")),))


def text_of(query: Query) -> str:
    """A text that `parse` reads as this query."""
    match query:
        case Term():
            return _term_text(query)
        case Not():
            return f"-{_grouped(query.query, (All, AnyOf))}"
        case All():
            return " ".join(_grouped(one, (All, AnyOf)) for one in query.queries)
        case AnyOf():
            return " OR ".join(_grouped(one, (AnyOf,)) if one != EVERYTHING else "()" for one in query.queries)


def terms(query: Query) -> Iterator[Term]:
    """Every term, in the order in which it is written."""
    match query:
        case Term():
            yield query
        case Not():
            yield from terms(query.query)
        case All() | AnyOf():
            for one in query.queries:
                yield from terms(one)


_NAME = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(:|[<>=])")
_KEYWORD = re.compile(r"(AND|OR|NOT)(?=[\s()\"]|$)")
_WORD = re.compile(r"[^\s()\"]+")
_PLAIN = re.compile(r"[^\s(),\"]+")
_ORDERED = re.compile(r"(?:(?!\.\.)[^\s(),\"])+")
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"', re.DOTALL)
_PATTERN = re.compile(r"/((?:[^/\\]|\\.)+)/", re.DOTALL)
_OPERATORS: dict[str, Operator] = {">": ">", ">=": ">=", "<": "<", "<=": "<="}
_COMPARISON = re.compile(r">=|<=|>|<|=")
_NO_TEXT = re.compile("[\ud800-\udfff]")
_EDGE = re.compile(r"[\s)]|$")
_SAFE_WORD = re.compile(r"\w[\w.@*]*")
_EARLY = dt.datetime(2000, 1, 1, tzinfo=dt.UTC)


class _Parser:
    def __init__(self, text: str) -> None:
        self.text, self.at = text, 0

    def wrong(self, problem: str, remedy: str, at: int | None = None, end: int | None = None) -> QueryError:
        at = self.at if at is None else at
        return QueryError(problem, remedy, self.text, at, len(self.text) if end is None else end)

    def only_text(self) -> None:
        if found := _NO_TEXT.search(self.text):
            raise self.wrong("this is not UTF-8", "Take it away.", found.start(), found.end())

    def space(self) -> None:
        while self.at < len(self.text) and self.text[self.at].isspace():
            self.at += 1

    def query(self, depth: int) -> Query:
        if depth > DEEPEST:
            raise self.wrong(f"more than {DEEPEST} groups are in each other", "Write it with fewer.", end=self.at + 1)
        found = [self.all(depth)]
        while self.taken("OR"):
            found.append(self.all(depth, after="OR"))
        return any_of(found)

    def all(self, depth: int, after: str = "") -> Query:
        found: list[Query] = []
        begun = self.at
        while True:
            self.space()
            keyword = self.next_keyword()
            if self.at == len(self.text) or self.text[self.at] == ")" or keyword == "OR":
                break
            if keyword == "AND" and not found:
                raise self.wrong("there is nothing before AND", 'To look for the word, write "AND".', end=self.at + 3)
            if self.taken("AND"):
                after, begun = "AND", self.at
                self.space()
                if self.at == len(self.text) or self.text[self.at] == ")" or self.next_keyword() in ("AND", "OR"):
                    break
            found.append(self.one(depth))
            after = ""
        if keyword == "OR" and not found:
            raise self.wrong("there is nothing before OR", 'To look for the word, write "OR".', end=self.at + 2)
        if after:
            raise self.wrong(
                f"there is nothing after {after}", f'To look for the word, write "{after}".', begun - len(after), begun
            )
        return all_of(found)

    def one(self, depth: int) -> Query:
        self.space()
        at = self.at
        if self.text.startswith("--", at):
            raise self.wrong("this is no option, and nothing to look for", "Put it in quotes to look for it.")
        minus = self.text.startswith("-", at)
        if minus or self.taken("NOT"):
            self.at = at + 1 if minus else self.at
            if not minus:
                self.space()
            if self.at == len(self.text) or self.text[self.at].isspace() or self.text[self.at] == ")":
                raise self.wrong("there is nothing to leave out", "Write it behind, as in -status:200.", at, self.at)
            if depth > DEEPEST:
                raise self.wrong("there is too much negation", "Write it with less.", at, at + 1)
            return negated(self.one(depth + 1))
        if self.text.startswith("(", at):
            self.at += 1
            found = self.query(depth + 1)
            if not self.text.startswith(")", self.at):
                raise self.wrong("this group is not closed", "Write `)` where it ends.", at, at + 1)
            self.at += 1
            return found
        return self.named_or_words()

    def named_or_words(self) -> Query:
        at = self.at
        if self.text[at] == '"':
            return Term("text", (Is(self.quoted()),))
        if named := _NAME.match(self.text, at):
            known = fields.named(named[1])
            if known is not None:
                self.at = named.end() if named[2] == ":" else named.end(1)
                return self.term(known, at)
            if named[2] == ":":
                raise self.wrong(
                    f"there is no field `{named[1]}`",
                    f"{did_you_mean(named[1], fields.NAMES)}Put it in quotes to look for the text.",
                    at,
                    named.end(1),
                )
        found = _WORD.match(self.text, at)
        assert found is not None  # noqa: S101 - what is no word was seen before
        self.at = found.end()
        if _COMPARISON.match(found[0]):
            raise self.wrong("there is no field before this", "Write it without spaces, as cost:>0.01.", at, self.at)
        return Term("text", (Is(self.checked(fields.FIELDS["text"], Value(found[0], "plain", at, self.at))),))

    def term(self, of: Field, at: int) -> Term:
        """A field's choices, from the first on."""
        choices = [self.choice(of, at)]
        while self.text.startswith(",", self.at):
            self.at += 1
            choices.append(self.choice(of, self.at - 1))
        if not _EDGE.match(self.text, self.at):
            raise self.wrong("a space is missing here", "Put the whole value in quotes.", end=self.at + 1)
        return Term(of.name, tuple(choices))

    def choice(self, of: Field, begun: int) -> Choice:
        at = self.at
        compared = _COMPARISON.match(self.text, at)
        if compared and (of.kind in fields.NUMERIC or compared[0] == "="):
            self.at = compared.end()
            value = self.value(of, begun)
            operator = _OPERATORS.get(compared[0])
            if operator is None:
                return Is(self.checked(of, value))
            self.ordered(of, value)
            return Compared(operator, value)
        if compared:
            raise self.wrong(
                f"`{of.name}` has no order", f"Write {of.name}:value, or put it in quotes.", at, compared.end()
            )
        if of.kind not in fields.NUMERIC:
            return Is(self.checked(of, self.value(of, begun)))
        low = None if self.text.startswith("..", at) else self.value(of, begun)
        if not self.text.startswith("..", self.at):
            assert low is not None  # noqa: S101 - just read
            return Is(self.checked(of, low))
        self.at += 2
        high = None if self.at == len(self.text) or self.text[self.at] in " \t\n)," else self.value(of, begun)
        if low is None and high is None:
            raise self.wrong("this range has no end", "Write one, as 10..20, 10.. or ..20.", at, self.at)
        numbers = [self.ordered(of, value) for value in (low, high) if value is not None]
        if len(numbers) == 2 and numbers[0] > numbers[1]:
            raise self.wrong("nothing is in this range", "Write the smaller value first.", at, self.at)
        return Between(low, high)

    def value(self, of: Field, begun: int) -> Value:
        at = self.at
        if self.text.startswith('"', at):
            return self.quoted()
        if of.kind == "content" and self.text.startswith("/", at):
            return self.pattern()
        kind = _ORDERED if of.kind in fields.NUMERIC else _PLAIN
        if (found := kind.match(self.text, at)) and not _COMPARISON.match(found[0]):
            self.at = found.end()
            return Value(found[0], "plain", at, self.at)
        example = {"since": "2h", "until": "2026-11-01", "money": ">0.01", "duration": ">2s", "status": "200"}
        raise self.wrong(
            f"`{of.name}` has no value here",
            f"Write one right behind, as {of.name}:{example.get(of.kind, 'value')}.",
            begun,
            max(at, begun + 1),
        )

    def quoted(self) -> Value:
        at = self.at
        found = _QUOTED.match(self.text, at)
        if found is None:
            raise self.wrong("this quote is not closed", 'Write `"` where it ends.', at, at + 1)
        self.at = found.end()
        if not found[1]:
            raise self.wrong("there is nothing in these quotes", "Write something, or take them away.", at, self.at)
        return Value(re.sub(r'\\(["\\])', r"\1", found[1]), "quoted", at, self.at)

    def pattern(self) -> Value:
        at = self.at
        found = _PATTERN.match(self.text, at)
        if found is None:
            raise self.wrong("this regular expression is not closed", "Write `/` where it ends.", at, at + 1)
        self.at = found.end()
        text = re.sub(r"\\(.)", lambda pair: "/" if pair[1] == "/" else pair[0], found[1], flags=re.DOTALL)
        if problem := _pattern_problem(text):
            raise self.wrong(f"this is no regular expression of RE2: {problem}", "", at, self.at)
        return Value(text, "pattern", at, self.at)

    def ordered(self, of: Field, value: Value) -> Decimal:
        return self.read(value, lambda: values.number(of, value.text))

    def checked(self, of: Field, value: Value) -> Value:
        if _is_special(of, value):
            return value
        match of.kind:
            case "status" if values.status_class(value.text):
                pass
            case "status" | "money" | "count" | "duration":
                self.ordered(of, value)
            case "truth":
                self.read(value, lambda: values.truth(value.text))
            case "choice":
                self.read(value, lambda: values.choice(of, value.text))
            case "content" | "words" if value.form == "plain" and not value.text.strip(values.ANY):
                raise self.wrong("this fits everything", "Take it away, or put it in quotes.", value.at, value.end)
            case "id":
                self.read(value, lambda: values.id_bounds(value.text))
            case "since" | "until":
                self.read(value, lambda: values.moment(value.text, _EARLY, dt.UTC))
        return value

    def read[T](self, value: Value, read: Callable[[], T]) -> T:
        try:
            return read()
        except ValueError as error:
            raise self.wrong(str(error), "", value.at, value.end) from None

    def next_keyword(self) -> str | None:
        found = _KEYWORD.match(self.text, self.at)
        return found[1] if found else None

    def taken(self, keyword: str) -> bool:
        if self.next_keyword() != keyword:
            return False
        self.at += len(keyword)
        return True


def _is_special(of: Field, value: Value) -> bool:
    """Whether a value means that there is one, or none."""
    if value.form != "plain" or of.kind in ("content", "words", "id", "since", "until", "truth"):
        return False
    return value.text == values.ANY or value.text.lower() == values.NONE


def is_none(of: Field, value: Value) -> bool:
    """Whether a value means that there is none."""
    return _is_special(of, value) and value.text != values.ANY


def is_known(of: Field, value: Value) -> bool:
    """Whether a value means that there is one."""
    return _is_special(of, value) and value.text == values.ANY


def _pattern_problem(text: str) -> str | None:
    import re2  # type: ignore[import-untyped]

    options = re2.Options()
    options.log_errors = False
    options.never_nl = False
    try:
        re2.compile(text, options)
    except re2.error as error:
        said = error.args[0]
        return said.decode("utf-8", "replace") if isinstance(said, bytes) else str(said)
    return None


def _grouped(query: Query, kinds: tuple[type, ...]) -> str:
    text = text_of(query)
    return f"({text})" if isinstance(query, kinds) else text


def _term_text(term: Term) -> str:
    only = term.choices[0] if len(term.choices) == 1 else None
    if term.name == "text" and isinstance(only, Is):
        if only.value.form == "quoted":
            return _value_text(only.value)
        text = only.value.text
        # Behind a name, a comma would divide it, and a slash begin a regular expression.
        bare = _SAFE_WORD.fullmatch(text) or "," in text or text.startswith("/")
        if only.value.form == "plain" and bare and not _KEYWORD.match(text):
            return text
    return f"{term.name}:{','.join(map(_choice_text, term.choices))}"


def _choice_text(choice: Choice) -> str:
    match choice:
        case Is():
            return _value_text(choice.value)
        case Compared():
            return choice.operator + _value_text(choice.value)
        case Between():
            low, high = (_value_text(value) if value else "" for value in (choice.low, choice.high))
            return f"{low}..{high}"


def _value_text(value: Value) -> str:
    match value.form:
        case "plain":
            return value.text
        case "quoted":
            return '"' + re.sub(r'(["\\])', r"\\\1", value.text) + '"'
        case "pattern":
            return (
                "/"
                + re.sub(r"\\.|/", lambda one: "\\/" if one[0] == "/" else one[0], value.text, flags=re.DOTALL)
                + "/"
            )
