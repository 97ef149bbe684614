"""Rules that flag exchanges by what was said in them, and by who said it to which model. Pure.

A rule is a TOML table with the keys of `RuleFile`. Its name, that of its file, becomes a flag of each exchange that it
fits, beside the marks that tracecli sets itself (`MARKS`): a rule's name has no `_`, nearly every mark has one, and the
others are refused.

A rule with words, patterns or detectors fits where at least `min_matches` places of the texts it looks at do; places
that overlap are one. With `where` besides, the exchange's metadata must fit as well; a rule of `where` alone fits by
them. An exchange without content has no texts.

A word fits whatever its case, and whole: no letter, mark, digit or `_` of any script may stand directly before or after
it. Not so where nothing divides words: beside a character of a script that is written without spaces, or joins endings
to words (`_JOINED`), a word may begin and end anywhere; nor at an end of the word that is no such character itself, as
in `C++`. What is left of a line end in JSON within a text (`\\n`) divides too. A space stands for any blanks.

Texts are compared in composed form (Unicode NFC). All is matched by RE2, in time linear in the text.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import Any, Literal, Protocol

import msgspec

from tracecli.contents import Match, Piece, Text, pieces
from tracecli.estimating import Estimator
from tracecli.exchange import Captured
from tracecli.policy.rules import PolicyError, check_table, meant, pattern_problem
from tracecli.price_list import PriceList
from tracecli.providers.values import mended
from tracecli.query import syntax
from tracecli.query.errors import QueryError
from tracecli.query.fits import Facts, fits, unknown
from tracecli.query.syntax import EVERYTHING, Is, Query
from tracecli.recorded import Recorded, read, record
from tracecli.redaction import KINDS, rules, spans

MARKS = frozenset(
    {
        "advisor_not_counted",
        "bad_encoding",
        "bad_event",
        "content_dropped",
        "content_erased",
        "content_removed",
        "content_withheld",
        "error_in_stream",
        "no_end_event",
        "not_understood",
        "redacted",
        "request_cut",
        "request_not_understood",
        "response_cut",
        "too_large",
        "truncated",
    }
)
"""The flags that are no rule's name."""

ROLES = ("system", "developer", "user", "assistant", "tool")
MAX_WORDS, MAX_WORD = 1000, 200
MAX_PATTERNS, MAX_PATTERN, MAX_PROGRAM = 100, 1000, 20_000
MAX_MATCHES = 1000

_MOST = 10_000
"""Places of one word in one text that are looked at."""

_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,38}[a-z0-9])?")
_RESERVED = MARKS | {"none"}
_SCOPE = ("side", "roles", "only_latest", "min_matches")


class RuleFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The keys of a rule file."""

    description: str = ""
    """For people."""
    words: list[str] = []
    """Whole words or phrases, whatever their case."""
    patterns: list[str] = []
    """Regular expressions of RE2; `(?i)` at the beginning of one ignores case."""
    detectors: list[str] = []
    """What redaction recognises: `email`, `phone`, `payment_card`, `iban`, `ip_address`, `national_id`, `secrets`. A
    marker that redaction has left of one counts too."""
    where: str = ""
    """A query of metadata that must fit besides, as `model:gpt-4* -user:ci`; alone it flags whatever fits it."""
    side: Literal["prompt", "completion", "either"] = "either"
    """Where to look."""
    roles: list[str] = []
    """Look at what these say alone: `system`, `developer`, `user`, `assistant`, `tool`. Empty: all."""
    only_latest: bool = True
    """Look at the answer, and of the prompt at its last turn alone, what came after the model's last message: clients
    send the whole conversation again with every request. Off: at all of it, each time."""
    min_matches: int = 1
    """Flag from so many places on; those that overlap are one."""


@dataclass(frozen=True)
class Rule:
    """A rule that was checked; `path` is its file's."""

    name: str
    about: RuleFile
    where: Query = EVERYTHING
    path: str = ""

    @cached_property
    def listens(self) -> bool:
        """Whether it looks at what was said."""
        return bool(self.about.words or self.about.patterns or self.about.detectors)

    @cached_property
    def scope(self) -> tuple[str, tuple[str, ...], bool]:
        """What it looks at; rules of which this is the same look at the same."""
        return self.about.side, tuple(self.about.roles), self.about.only_latest

    @cached_property
    def finders(self) -> list[_Finder]:
        """What finds its words, patterns and detectors."""
        about = self.about
        return [
            *(_Words(word) for word in about.words),
            *(_Pattern(pattern) for pattern in about.patterns),
            *(_Detector(kind) for kind in about.detectors),
        ]


def rule(name: str, values: Mapping[str, Any], path: str = "") -> Rule:
    """The rule that a file's table is. Raises PolicyError for the first thing that is wrong."""
    for error in problems(name, values):
        raise error
    about = msgspec.convert(values, RuleFile)
    return Rule(name, about, syntax.parse(about.where) if about.where else EVERYTHING, path)


def name_problem(name: str) -> str | None:
    """Why no rule can have a name; None: it can."""
    if name in _RESERVED:
        return f"no rule can be called {name}: the word has a meaning already"
    if not _NAME.fullmatch(name):
        return "the name of a rule has small letters, digits and - alone, 40 at most"
    return None


def problems(name: str, values: Mapping[str, Any]) -> Iterator[PolicyError]:
    """Everything that is wrong with the table of a rule."""
    file = f"{name}.toml"
    good = dict(values)
    while True:
        try:
            check_table(file, good, RuleFile, RuleFile.__struct_fields__)
            break
        except PolicyError as error:
            yield error
            del good[error.key]
    for key, problem in _problems(msgspec.convert(good, RuleFile)):
        yield PolicyError(file, key, problem)
    if not any(values.get(key) for key in ("words", "patterns", "detectors")):
        if not values.get("where"):
            yield PolicyError(file, "", "flags nothing: give it words, patterns, detectors or where")
        for key in _SCOPE:
            if key in good:
                yield PolicyError(file, key, "does nothing here: there are no words, patterns or detectors")


def _problems(about: RuleFile) -> Iterator[tuple[str, str]]:
    lists: list[tuple[str, list[str]]] = [("words", about.words), ("patterns", about.patterns)]
    for (key, texts), most, longest in zip(lists, (MAX_WORDS, MAX_PATTERNS), (MAX_WORD, MAX_PATTERN), strict=True):
        if len(texts) > most:
            yield key, f"are more than {most}: make another rule of some"
        for text in texts:
            if not text.strip():
                yield key, f"{text!r} is nothing to look for"
            elif len(text) > longest:
                yield key, f"{text[:40] + '…'!r} is longer than {longest} characters"
            elif key == "patterns" and (problem := _pattern_problem(text)):
                yield key, f"{text!r} {problem}"
    for key, names, known in (("detectors", about.detectors, tuple(KINDS)), ("roles", about.roles, ROLES)):
        for name in names:
            if name not in known:
                yield key, f"there is no {key[:-1]} {name!r}{meant(name, known, key)}"
    if about.side == "completion" and about.roles and "assistant" not in about.roles:
        yield "roles", "never fit: what is said in a completion is the assistant's"
    if not 1 <= about.min_matches <= MAX_MATCHES:
        yield "min_matches", f"must be from 1 to {MAX_MATCHES}"
    if about.where and (problem := _where_problem(about.where)):
        yield "where", problem


def _pattern_problem(pattern: str) -> str | None:
    if problem := pattern_problem(pattern):
        return f"is no regular expression of RE2: {problem}"
    compiled = _compiled(pattern)
    if compiled.search("") is not None:
        return "fits everywhere, as it fits nothing at all"
    if compiled.programsize > MAX_PROGRAM:
        return "is too large: write fewer repeats, or classes of fewer characters"
    return None


def _where_problem(text: str) -> str | None:
    try:
        query = syntax.parse(text)
    except QueryError as error:
        return f"{text!r} is no query: {error.problem}. {error.remedy}".strip().rstrip(".")
    if query == EVERYTHING:
        return "is empty: write a query, or take it out"
    if term := unknown(query):
        told = syntax.text_of(term)
        if term.field.kind == "content":
            return f"{told!r} asks what was said: write it into `words` or `patterns`"
        return f"{told!r} cannot be told when an exchange is recorded"
    for term in syntax.terms(query):
        for choice in term.choices if term.name == "flag" else ():
            if isinstance(choice, Is) and choice.value.text not in MARKS:
                known = meant(choice.value.text, sorted(MARKS), "marks")
                return f"{choice.value.text!r} is no mark that tracecli sets itself, and rules see no other{known}"
    return None


class Rules:
    """The rules of one moment; it never changes. What matches them is made when it is first needed."""

    def __init__(self, given: Sequence[Rule] = ()) -> None:
        self.rules = tuple(sorted(given, key=lambda one: one.name))

    def __bool__(self) -> bool:
        return bool(self.rules)

    def flagged(self, recorded: Recorded, said: Iterable[Piece]) -> Recorded:
        """An exchange with the names of the rules that fit it; of `said` nothing is taken unless a rule looks at it."""
        names = list(self._names(recorded, said)) if self.rules else []
        if not names:
            return recorded
        row = msgspec.structs.replace(recorded.row, flags=[*recorded.row.flags, *names])
        return msgspec.structs.replace(recorded, row=row)

    def _names(self, recorded: Recorded, said: Iterable[Piece]) -> Iterator[str]:
        facts = facts_of(recorded)
        heard = _Heard(said, self._sieve) if recorded.exchange.traced else None
        for one in self.rules:
            if one.where is not EVERYTHING and not fits(one.where, facts):
                continue
            if not one.listens or (heard is not None and heard.enough(one)):
                yield one.name

    def matches(self, one: Rule, said: Iterable[Piece]) -> list[Match]:
        """Every place where words, patterns and detectors of one of the rules fit, in order.

        None if there are fewer than it asks for; in one text no more than 10,000 of each.
        """
        found = [
            Match(text, start, end)
            for text, finders in _Heard(said, self._sieve).likely(one)
            for start, end in _places(finders, text, _MOST)
        ]
        return found if len(found) >= one.about.min_matches else []

    @cached_property
    def _sieve(self) -> _Sieve:
        return _Sieve([finder for one in self.rules for finder in one.finders])


def facts_of(recorded: Recorded) -> Facts:
    """What rules are told of an exchange."""
    return Facts(recorded.row, recorded.tools, recorded.exchange.lane)


def recorded_by(rules: Rules, captured: Captured, prices: PriceList, estimator: Estimator | None = None) -> Recorded:
    """One captured exchange understood, priced and flagged."""
    reading = read(captured)
    recorded = record(captured, prices, estimator, reading)
    return rules.flagged(recorded, pieces(captured, reading[0]))


class _Heard:
    """What was said in an exchange, and which finders may find something in it; each text is sifted once."""

    def __init__(self, said: Iterable[Piece], sieve: _Sieve) -> None:
        self._said = said
        self._sieve = sieve
        self._scopes: dict[tuple[str, tuple[str, ...], bool], list[tuple[Text, frozenset[_Finder]]]] = {}
        self._sifted: dict[str, frozenset[_Finder]] = {}

    @cached_property
    def _pieces(self) -> Sequence[Piece]:
        return list(self._said)

    def enough(self, one: Rule) -> bool:
        """Whether a rule finds as much as it asks for."""
        if not self._there(one):
            return False
        left = one.about.min_matches
        for text, finders in self.likely(one):
            left -= len(_places(finders, text, 1 if left == 1 else _MOST))
            if left <= 0:
                return True
        return False

    def likely(self, one: Rule) -> Iterator[tuple[Text, list[_Finder]]]:
        """The texts that a rule looks at, with those of its finders that may find something there."""
        for text, likely in self._there(one):
            if finders := [finder for finder in one.finders if finder in likely]:
                yield text, finders

    def _there(self, one: Rule) -> list[tuple[Text, frozenset[_Finder]]]:
        """The texts that a rule looks at, and in which some finder may find something."""
        if (there := self._scopes.get(one.scope)) is None:
            there = self._scopes[one.scope] = [
                (text, likely) for text in _scope(one.about, self._pieces) if (likely := self._sift(text.text))
            ]
        return there

    def _sift(self, text: str) -> frozenset[_Finder]:
        if (known := self._sifted.get(text)) is None:
            known = self._sifted[text] = self._sieve.likely(text)
        return known


def _places(finders: Sequence[_Finder], text: Text, most: int) -> list[_Span]:
    """Where some finders find something in a text, each at most so often; places that overlap are one."""
    apart: list[_Span] = []
    for start, end in sorted(span for finder in finders for span in islice(finder.find(text.text), most)):
        if apart and start < apart[-1][1]:
            apart[-1] = apart[-1][0], max(end, apart[-1][1])
        else:
            apart.append((start, end))
    return apart


def _scope(about: RuleFile, said: Sequence[Piece]) -> Iterator[Text]:
    """The texts that a rule looks at."""
    first = _latest(said) if about.only_latest else 0
    for one in said:
        if (
            one.text
            and about.side in ("either", one.side)
            and (not about.roles or one.role in about.roles)
            and (one.side == "completion" or one.message is None or one.message >= first)
        ):
            yield Text(one.side, one.role, _composed(one.text))


def _latest(said: Sequence[Piece]) -> int:
    """The prompt's message with which its last turn begins: the one after the model's last.

    What a client puts into the model's mouth at the end, for it to go on with, is of the turn.
    """
    roles = {one.message: one.role for one in said if one.side == "prompt" and one.message is not None}
    places = sorted((place for place in roles if place is not None), reverse=True)
    others = [place for place in places if roles[place] != "assistant"]
    if not others:
        return 0
    return next((place + 1 for place in places if place < others[0] and roles[place] == "assistant"), 0)


def _composed(text: str) -> str:
    return text if text.isascii() else unicodedata.normalize("NFC", mended(text))


type _Span = tuple[int, int]


# -- finding

_WORD_CHARACTER = r"\p{L}\p{M}\p{N}_"
_JOINED = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Hangul}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}\p{Tibetan}"
_BEFORE = rf"(?:\A|[^{_WORD_CHARACTER}]|[{_JOINED}]|\\[bfnrt])"
_AFTER = rf"(?:[^{_WORD_CHARACTER}]|[{_JOINED}]|\z)"
_BLANKS = r"[\s\v\x{85}\p{Z}]+"


class _Finder(Protocol):
    """Finds places in texts. `literal`: the expression holds little else than letters, and fits wherever it finds."""

    literal: bool
    expression: str

    def find(self, text: str) -> Iterator[_Span]: ...


def _compiled(expression: str | bytes) -> Any:
    import re2  # type: ignore[import-untyped]  # 20 ms that only who has rules pays

    options = re2.Options()
    options.log_errors = False
    return re2.compile(expression, options)


class _Words:
    literal = True

    def __init__(self, words: str) -> None:
        import re2

        parts = unicodedata.normalize("NFC", words).split()
        self.expression = f"(?i:{_BLANKS.join(map(re2.escape, parts))})"
        self._first, self._last = parts[0][0], parts[-1][-1]

    @cached_property
    def _bounded(self) -> tuple[Any, bool]:
        """The expression with what must stand around it, and whether its end may stand before the next one."""
        before, after = _is_bounded(self._first), _is_bounded(self._last)
        whole = f"{_BEFORE if before else ''}({self.expression}){_AFTER if after else ''}"
        return _compiled(whole.encode()), before and not after

    def find(self, text: str) -> Iterator[_Span]:
        bounded, may_precede = self._bounded
        data = text.encode()
        letters = place = at = 0
        while (found := bounded.search(data, at)) is not None:
            start, end = found.span(1)
            begin = letters + len(data[place:start].decode())
            letters, place = begin + len(data[start:end].decode()), end
            yield begin, letters
            at = end
            if may_precede:
                at -= 1
                while data[at] & 0xC0 == 0x80:
                    at -= 1


def _is_bounded(character: str) -> bool:
    return _compiled(rf"[{_WORD_CHARACTER}]").fullmatch(character) is not None and (
        _compiled(rf"[{_JOINED}]").fullmatch(character) is None
    )


class _Pattern:
    literal = False

    def __init__(self, pattern: str) -> None:
        self.expression = f"(?:{pattern})"
        self._compiled = _compiled(pattern)

    def find(self, text: str) -> Iterator[_Span]:
        for found in self._compiled.finditer(text):
            if found.start() < found.end():
                yield found.span()


class _Detector:
    literal = False

    def __init__(self, kind: str) -> None:
        import re2

        self._rules = rules((kind,), {})
        self._marker = re2.escape(f"[REDACTED:{kind}]")
        self.expression = f"(?:{KINDS[kind]}|{self._marker})"

    def find(self, text: str) -> Iterator[_Span]:
        yield from ((start, end) for start, end, _ in spans(text, self._rules))
        yield from (found.span() for found in _compiled(self._marker).finditer(text))


_SET_MEMORY = 64 << 20
_SET_CHARACTERS = 20_000
"""Of the words that one set looks for: it never needs more memory than it may have."""


class _Sieve:
    """Says in one pass over a text, or a few, which finders may find something. It may err on the side of finding."""

    def __init__(self, finders: Sequence[_Finder]) -> None:
        self._sets = [_set(some) for some in _portions([one for one in finders if one.literal])]
        others = [one for one in finders if not one.literal]
        self._searches = [*_together(others)] if others else []

    def likely(self, text: str) -> frozenset[_Finder]:
        data = text.encode()
        found = [some[place] for sifted, some in self._sets for place in sifted.Match(data) or ()]
        for search, some in self._searches:
            if search(data) is not None:
                found += some
        return frozenset(found)


def _together(finders: Sequence[_Finder]) -> Iterator[tuple[Any, Sequence[_Finder]]]:
    """One search for all of them; where that is too large, or groups of theirs have the same name, one for each.

    They are in no set: one that ran out of memory would find nothing.
    """
    import re2

    try:
        yield _compiled("|".join(one.expression for one in finders)).search, finders
    except re2.error:
        yield from ((_compiled(one.expression).search, [one]) for one in finders)


def _portions(finders: Sequence[_Finder]) -> Iterator[list[_Finder]]:
    portion: list[_Finder] = []
    size = 0
    for one in finders:
        if portion and size + len(one.expression) > _SET_CHARACTERS:
            yield portion
            portion, size = [], 0
        portion.append(one)
        size += len(one.expression)
    if portion:
        yield portion


def _set(finders: list[_Finder]) -> tuple[Any, list[_Finder]]:
    import re2

    options = re2.Options()
    options.log_errors = False
    options.max_mem = _SET_MEMORY
    made = re2.Set.SearchSet(options)
    for one in finders:
        made.Add(one.expression)
    made.Compile()
    return made, finders
