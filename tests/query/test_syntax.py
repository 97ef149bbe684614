"""Queries as people type them, and the places of their mistakes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.query.queries import queries
from tracecli.query.errors import QueryError
from tracecli.query.fields import NAMES
from tracecli.query.syntax import (
    DEEPEST,
    EVERYTHING,
    All,
    AnyOf,
    Between,
    Compared,
    Is,
    Not,
    Query,
    Term,
    Value,
    parse,
    term,
    text_of,
)


def _is(name: str, *texts: str) -> Term:
    return Term(name, tuple(Is(Value(text)) for text in texts))


def test_the_language_as_people_know_it() -> None:
    """Fields, comparisons, negation, words in quotes: each is read as it looks."""
    text = 'user:alice model:gpt-4* cost:>0.01 latency:>2s -status:200 tool:search "exact words" since:2h'
    assert parse(text) == All(
        (
            _is("user", "alice"),
            _is("model", "gpt-4*"),
            Term("cost", (Compared(">", Value("0.01")),)),
            Term("duration", (Compared(">", Value("2s")),)),
            Not(_is("status", "200")),
            _is("tool", "search"),
            Term("text", (Is(Value("exact words", "quoted")),)),
            _is("since", "2h"),
        )
    )


@pytest.mark.parametrize(
    ("text", "query"),
    [
        ("", EVERYTHING),
        (" \n", EVERYTHING),
        ("()", EVERYTHING),
        ("a", _is("text", "a")),
        ("User:a", _is("user", "a")),
        ("user=a", _is("user", "a")),
        ("user:=a", _is("user", "a")),
        ("user:a,b", _is("user", "a", "b")),
        ("in>=10k", Term("in", (Compared(">=", Value("10k")),))),
        ("cost:0.1..0.5", Term("cost", (Between(Value("0.1"), Value("0.5")),))),
        ("cost:.1...5", Term("cost", (Between(Value(".1"), Value(".5")),))),
        ("ttft:..2s,5s..", Term("ttft", (Between(None, Value("2s")), Between(Value("5s"), None)))),
        ("NOT user:a", Not(_is("user", "a"))),
        ("--user:a"[1:], Not(_is("user", "a"))),
        ("-(-user:a)", _is("user", "a")),
        ("user:a AND user:b", All((_is("user", "a"), _is("user", "b")))),
        ("user:a user:b OR user:c", AnyOf((All((_is("user", "a"), _is("user", "b"))), _is("user", "c")))),
        ("user:a (user:b OR user:c)", All((_is("user", "a"), AnyOf((_is("user", "b"), _is("user", "c")))))),
        ("(user:a (user:b))", All((_is("user", "a"), _is("user", "b")))),
        ('user:"a b","none"', Term("user", (Is(Value("a b", "quoted")), Is(Value("none", "quoted"))))),
        (r'"a \"b\" \\ \d"', Term("text", (Is(Value(r'a "b" \ \d', "quoted")),))),
        (r"prompt:/a b\/c\d/", Term("prompt", (Is(Value(r"a b/c\d", "pattern")),))),
        ("path:/v1/*", _is("path", "/v1/*")),
        ("/v1/chat", _is("text", "/v1/chat")),
        ("or and not", All((_is("text", "or"), _is("text", "and"), _is("text", "not")))),
        ("12:30 a=b x>y", All((_is("text", "12:30"), _is("text", "a=b"), _is("text", "x>y")))),
        ("session:none", _is("session", "none")),
        ("op:chat stream:yes flags:a", All((_is("operation", "chat"), _is("streamed", "yes"), _is("flag", "a")))),
    ],
)
def test_what_a_query_means(text: str, query: Query) -> None:
    """Aliases, lists, ranges, groups and quotes come down to few forms."""
    assert parse(text) == query


@pytest.mark.parametrize(
    ("text", "place", "said"),
    [
        ("user:a modle:x", "modle", "Did you mean `model`?"),
        ("http://x", "http", "no field `http`"),
        ("user: a", "user:", "no value"),
        ("user:a, b", ",", "no value"),
        ("user:a cost:", "cost:", "no value"),
        ("cost:>", "cost:>", "no value"),
        ("cost:many", "many", "US dollars"),
        ("latency:>2", "2", "write 2ms or 2s"),
        ("latency:2 weeks", "2", "no unit"),
        ("tokens:1e3", "1e3", "10k"),
        ("tokens:5..1", "5..1", "smaller value first"),
        ("tokens:..", "..", "no end"),
        ("status:2x", "2x", "4xx"),
        ("status:>4xx", "4xx", "no status"),
        ("outcome:complet", "complet", "Did you mean `complete`?"),
        ("errors:maybe", "maybe", "yes nor no"),
        ("since:yesterday", "yesterday", "2026-11-01"),
        ("since:999999999w", "999999999w", "before the year 1"),
        ("id:last", "last", "beginning of an id"),
        ("user:>5", ">", "no order"),
        ("cost > 5", ">", "without spaces"),
        ("(a", "(", "not closed"),
        ("a)", ")", "closes nothing"),
        ('a "b', '"', "not closed"),
        ('a ""', '""', "nothing in these quotes"),
        ('user:"a"b', "b", "space is missing"),
        ('user:a"b"', '"', "space is missing"),
        ("text:/a", "/", "not closed"),
        ("text:/a(/", "/a(/", "RE2"),
        ("text:/(?=a)/", "/(?=a)/", "RE2"),
        ("a OR", "OR", "nothing after OR"),
        ("(a OR ) b", "OR", "nothing after OR"),
        ("OR a", "OR", "nothing before OR"),
        ("AND a", "AND", "nothing before AND"),
        ("a AND", "AND", "nothing after AND"),
        ("a -", "-", "nothing to leave out"),
        ("a - b", "-", "nothing to leave out"),
        ("NOT", "NOT", "nothing to leave out"),
        ("a --limit", "--limit", "no option"),
        ("a *", "*", "fits everything"),
        ("text:**", "**", "fits everything"),
        ("a \udc80", "\udc80", "UTF-8"),
        ("(" * 60, "(", "groups"),
        ("NOT " * 60 + "a", "N", "negation"),
    ],
)
def test_a_mistake_has_a_place_and_a_remedy(text: str, place: str, said: str) -> None:
    """Whatever is wrong: the carets are under it, and the sentence says what to do."""
    with pytest.raises(QueryError) as caught:
        parse(text)
    error = caught.value
    assert error.exit_code == 2
    assert said in str(error)
    assert text[error.at : error.end] == place


def test_carets_are_under_the_place_as_it_shows() -> None:
    """Wide letters count twice, what would act on a terminal is not shown, and a long query is shown in part."""
    for text, shown in (
        ("日本 modle:x", "日本 modle:x\n     ^^^^^"),
        ("a\x1b[31m\n e\u0301 modle:x", "a?[31m  e? modle:x\n           ^^^^^"),
    ):
        with pytest.raises(QueryError) as caught:
            parse(text)
        assert caught.value.pointed() == shown
    with pytest.raises(QueryError) as caught:
        parse("a " * 5000 + "modle:x" + " b" * 5000)
    shown, carets = caught.value.pointed().split("\n")
    assert len(shown) == 100
    assert shown[carets.index("^") :].startswith("modle:x")
    assert carets.count("^") == 5


@given(queries())
def test_a_query_reads_as_it_was_written(query: Query) -> None:
    """What is written of a query is read as the same query."""
    assert parse(text_of(query)) == query


_TYPED = st.lists(
    st.sampled_from([*NAMES, *':=<>()",-/\\*. \n', "..", "OR", "AND", "NOT", "none", "5", "2s", "4xx", "200", "7d"])
    | st.text(max_size=3)
).map("".join)


@given(_TYPED)
def test_any_text_is_a_query_or_a_mistake_in_it(text: str) -> None:
    """Nothing that can be typed does anything but parse, or fail at a place inside of it."""
    try:
        query = parse(text)
    except QueryError as error:
        assert 0 <= error.at <= len(text)
        assert error.at < error.end <= len(text) + 1
        carets = error.pointed().split("\n")[1]
        assert set(carets) <= {" ", "^"}
        assert "^" in carets
    else:
        assert parse(text_of(query)) == query


def test_an_option_is_a_term() -> None:
    """The value of an option is read as a field's is, and nothing behind it."""
    assert term("model", " gpt-4*,o1 ") == parse("model:gpt-4*,o1")
    for text in ("a b", "", "a)", "(a"):
        with pytest.raises(QueryError):
            term("model", text)


def test_groups_may_be_deep_but_not_endless() -> None:
    """As many groups as anyone writes are read."""
    assert parse("(" * DEEPEST + "a" + ")" * DEEPEST) == parse("a")
