"""Rules that flag exchanges: what they accept, where they look, and what fits."""

from __future__ import annotations

import re
import unicodedata
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.upkeep import chat
from tracecli import flags
from tracecli.contents import Piece
from tracecli.exchange import Understanding
from tracecli.flags import MARKS, Rules, name_problem, problems, recorded_by, rule
from tracecli.price_list import PriceList
from tracecli.recorded import record

SOURCE = Path(flags.__file__).parent


def said(text: str, side: Any = "prompt", role: str = "user", message: int | None = 0) -> Piece:
    return Piece(side, message, role, "text", None, None, text)


def found(text: str, **values: Any) -> list[str]:
    """What a rule finds in one text, and the same told by the rule among others."""
    one = rule("a", values)
    places = [match.text.text[match.start : match.end] for match in Rules([one]).matches(one, [said(text)])]
    others = [rule("z", {"words": ["never said"]}), rule("b", {"patterns": ["never (?P<x>said)", "nor (?P<x>this)"]})]
    flagged = Rules([*others, one]).flagged(record(chat()), [said(text)])
    assert flagged.row.flags == (["a"] if places else [])
    return places


# -- words


@pytest.mark.parametrize(
    ("word", "text", "places"),
    [
        ("secret", "Secret, SECRET; secretary top-secret nonsecret", ["Secret", "SECRET", "secret"]),
        ("secret", "secret_key x_secret secret1", []),
        (
            "project  falcon",
            "Project\n Falcon, projectfalcon, project\u00a0falcon",
            ["Project\n Falcon", "project\u00a0falcon"],
        ),
        ("Straße", "die STRAßE und die straße", ["STRAßE", "straße"]),
        ("тайна", "Тайна. тайная", ["Тайна"]),
        ("سر", "هذا سر كبير، سرير", ["سر"]),
        ("c++", "C++ and C++20, objc++", ["C++", "C++"]),
        ("@alice", "mail@alice @alice", ["@alice", "@alice"]),
        ("機密", "これは機密文書です", ["機密"]),
        ("비밀", "비밀은 없다", ["비밀"]),
        ("ความลับ", "นี่คือความลับของเรา", ["ความลับ"]),
        ("api", "使用API密钥 apiary", ["API"]),
        ("cafe\u0301", "un CAF\u00c9, un cafe\u0301", ["CAF\u00c9", "caf\u00e9"]),
        ("cafe", "un cafe\u0301", []),
        ("secret", '{"a": "x\\nsecret\\tsecret"}', ["secret", "secret"]),
        ("no", "no no no", ["no", "no", "no"]),
        ("a機", "a機a機", ["a機", "a機"]),
        ("[REDACTED:email]", "to [redacted:EMAIL] now", ["[redacted:EMAIL]"]),
    ],
)
def test_words(word: str, text: str, places: list[str]) -> None:
    """Words are found whole, whatever their case, in every script."""
    assert found(text, words=[word]) == places


_JOINED = "機あ한ไ"
_ALPHABET = st.sampled_from(
    ["a", "B", "b", "é", "e", "\u0301", "я", "Я", "1", "_", " ", "\n", "-", "+", "\\", "n", *_JOINED]
)
_TEXTS = st.lists(_ALPHABET, max_size=24).map("".join)


def _is_word(character: str) -> bool:
    return character == "_" or unicodedata.category(character)[0] in "LMN"


def _naive(word: str, text: str) -> list[str]:
    parts = unicodedata.normalize("NFC", word).split()
    text = unicodedata.normalize("NFC", text)
    expression = re.compile(r"\s+".join(map(re.escape, parts)), re.IGNORECASE)
    first, last = parts[0][0], parts[-1][-1]
    places, at = [], 0
    while at < len(text):
        match = expression.match(text, at)
        if match:
            before, after = text[:at], text[match.end() :]
            begins = not _is_word(first) or first in _JOINED or not before or not _is_word(before[-1])
            begins = begins or before[-1] in _JOINED or bool(re.search(r"\\[bfnrt]\Z", before))
            ends = not _is_word(last) or last in _JOINED or not after or not _is_word(after[0]) or after[0] in _JOINED
            if begins and ends:
                places.append(match[0])
                at = match.end()
                continue
        at += 1
    return places


@given(_TEXTS.filter(str.strip), _TEXTS)
def test_words_as_by_hand(word: str, text: str) -> None:
    """RE2 finds what going through the text letter by letter finds."""
    assert found(text, words=[word]) == _naive(word, text)


@given(st.lists(_TEXTS.filter(str.strip), min_size=1, max_size=4), _TEXTS)
def test_any_of_several_words(words: list[str], text: str) -> None:
    """A rule of several words fits where one of them does, and overlapping places are one."""
    places = found(text, words=words)
    assert bool(places) == any(_naive(word, text) for word in words)
    assert sum(map(len, places)) <= len(text)


def test_many_near_misses_take_no_time() -> None:
    """A text that nearly fits everywhere is gone through once."""
    assert found("a" * 300_000 + " " + "ab " * 100_000, words=["a", "ab a b"]) == []


def test_more_words_than_one_set_holds() -> None:
    """However many words there are, each of them is found."""
    words = [f"word{number}{'x' * 150}" for number in range(900)]
    for word in (words[0], words[450], words[-1]):
        assert found(f"a {word} b", words=words) == [word]


# -- patterns and detectors


def test_patterns() -> None:
    """Expressions of RE2 are found as they are written."""
    assert found("ACME-12 acme-3", patterns=[r"ACME-\d+"]) == ["ACME-12"]
    assert found("ACME-12 acme-3", patterns=[r"(?i)acme-\d+", r"^nothing$"]) == ["ACME-12", "acme-3"]
    assert found("é日本 x1", patterns=[r"x\d"]) == ["x1"]


@pytest.mark.parametrize(
    ("kind", "text", "places"),
    [
        ("email", "write to bob@example.com", ["bob@example.com"]),
        ("payment_card", "4111 1111 1111 1111 but not 4111 1111 1111 1112", ["4111 1111 1111 1111"]),
        ("secrets", "key sk-proj-abcdefghij0123456789abcd", ["sk-proj-abcdefghij0123456789abcd"]),
        ("email", "write to [REDACTED:email] at once", ["[REDACTED:email]"]),
        ("phone", "write to [REDACTED:email] at once", []),
    ],
)
def test_detectors(kind: str, text: str, places: list[str]) -> None:
    """What redaction recognises is found, and so is the marker that it left."""
    assert found(text, detectors=[kind]) == places


def test_min_matches() -> None:
    """So many places must fit, in all texts together; those that overlap are one."""
    assert found("a b", words=["a", "b"], min_matches=3) == []
    assert found("a b a", words=["a", "b"], min_matches=3) == ["a", "b", "a"]
    assert found("top secret", words=["secret", "top secret"], min_matches=2) == []
    two = Rules([rule("a", {"words": ["x"], "min_matches": 2})])
    assert two.flagged(record(chat()), [said("x"), said("x", "completion", "assistant")]).row.flags == ["a"]
    assert two.flagged(record(chat()), [said("x"), said("y")]).row.flags == []


# -- where to look

CONVERSATION = [
    said("system", role="system", message=0),
    said("first", message=1),
    said("thought", role="assistant", message=2),
    said("result", role="tool", message=3),
    said("second", message=4),
    said("answer", "completion", "assistant", 0),
]


def _looked_at(conversation: list[Piece] = CONVERSATION, **values: Any) -> str:
    one = rule("a", {"patterns": [r"^."], **values})
    return " ".join(match.text.text for match in Rules([one]).matches(one, conversation))


def test_where_to_look() -> None:
    """The last turn and the answer, or all; one side, or some roles."""
    assert _looked_at() == "result second answer"
    assert _looked_at(only_latest=False) == "system first thought result second answer"
    assert _looked_at(side="prompt") == "result second"
    assert _looked_at(side="completion") == "answer"
    assert _looked_at(roles=["tool", "system"]) == "result"
    assert _looked_at(roles=["assistant"], only_latest=False) == "thought answer"


def test_the_last_turn() -> None:
    """It begins after the model's last message, or is all; what is put into the model's mouth at the end is of it."""
    assert _looked_at(CONVERSATION[:2]) == "system first"
    assert _looked_at(CONVERSATION[:3]) == "system first thought"
    assert _looked_at(CONVERSATION[2:3]) == "thought"
    assert _looked_at([said("only what was cut", role="", message=None)]) == "only what was cut"
    assert _looked_at([*CONVERSATION[:4], said("prefill", role="assistant", message=4)]) == "result prefill"


def test_several_scopes_at_once() -> None:
    """Rules that look at different texts are told apart."""
    some = Rules(
        [
            rule("everywhere", {"words": ["first"], "only_latest": False}),
            rule("latest", {"words": ["first"]}),
            rule("answered", {"words": ["answer"], "side": "completion"}),
            rule("asked", {"words": ["answer"], "side": "prompt"}),
        ]
    )
    assert some.flagged(record(chat()), CONVERSATION).row.flags == ["answered", "everywhere"]


def test_metadata() -> None:
    """`where` must fit besides, and alone it flags what was recorded without content too."""
    mini = rule("mini", {"where": "model:gpt-4o-mini -user:ci"})
    both = rule("both", {"where": "model:gpt-4o-mini", "words": ["hi"]})
    rules = Rules([mini, both])
    assert recorded_by(rules, chat("gpt-4o-mini"), PriceList()).row.flags == ["both", "mini"]
    assert recorded_by(rules, chat("gpt-4o"), PriceList()).row.flags == []
    metered = chat(metered=Understanding(understood=True, request_model="gpt-4o-mini"), traced=False)
    assert recorded_by(rules, metered, PriceList()).row.flags == ["mini"]


def test_marks_come_first() -> None:
    """Rules see the marks of the record, and add their names behind them."""
    rules = Rules([rule("cut", {"where": "flag:request_cut"}), rule("uncut", {"where": "-flag:request_cut"})])
    flagged = recorded_by(rules, chat(request_cut=True), PriceList()).row.flags
    assert flagged == ["request_cut", "cut"]


def test_without_rules_nothing_is_looked_at() -> None:
    """No rule, no cost: the record is the very same, and no text is taken."""

    def never() -> Any:
        raise AssertionError
        yield

    one = record(chat())
    assert Rules().flagged(one, never()) is one
    assert Rules([rule("a", {"where": "user:nobody"})]).flagged(one, never()) is one


def test_real_exchanges() -> None:
    """An answer is found in the exchange as it is understood."""
    one = chat(prompt="What is the Falcon project?", answer="It is top secret.")
    rules = Rules([rule("a", {"words": ["top secret"]}), rule("b", {"words": ["falcon"], "roles": ["user"]})])
    assert recorded_by(rules, one, PriceList()).row.flags == ["a", "b"]


def test_broken_text() -> None:
    """Half characters of Unicode stop nothing."""
    assert found("\ud800 secret \udfff", words=["secret"]) == ["secret"]


# -- what rules may say


@pytest.mark.parametrize(
    ("values", "key", "problem"),
    [
        ({}, "", "flags nothing: give it words, patterns, detectors or where"),
        ({"words": []}, "", "flags nothing: give it words, patterns, detectors or where"),
        ({"wordz": ["a"], "words": ["a"]}, "wordz", "is unknown (did you mean `words`?)"),
        ({"words": "secret"}, "words", "Expected `array`, got `str`"),
        ({"words": [" "]}, "words", "' ' is nothing to look for"),
        ({"words": ["x" * 201]}, "words", f"'{'x' * 40}…' is longer than 200 characters"),
        ({"words": ["x"] * 1001}, "words", "are more than 1000: make another rule of some"),
        ({"patterns": ["(a"]}, "patterns", "'(a' is no regular expression of RE2: missing ): (a"),
        ({"patterns": [r"(?=a)"]}, "patterns", "'(?=a)' is no regular expression of RE2: invalid perl operator: (?="),
        ({"patterns": ["a*"]}, "patterns", "'a*' fits everywhere, as it fits nothing at all"),
        (
            {"patterns": [r"\p{L}{40}"]},
            "patterns",
            "'\\\\p{L}{40}' is too large: write fewer repeats, or classes of fewer characters",
        ),
        ({"detectors": ["emial"]}, "detectors", "there is no detector 'emial' (did you mean `email`?)"),
        (
            {"words": ["a"], "roles": ["model"]},
            "roles",
            "there is no role 'model'; the roles are: system, developer, user, assistant, tool",
        ),
        (
            {"words": ["a"], "side": "completion", "roles": ["user"]},
            "roles",
            "never fit: what is said in a completion is the assistant's",
        ),
        ({"words": ["a"], "side": "answer"}, "side", "Invalid enum value 'answer'"),
        ({"words": ["a"], "min_matches": 0}, "min_matches", "must be from 1 to 1000"),
        (
            {"where": "user:"},
            "where",
            "'user:' is no query: `user` has no value here. Write one right behind, as user:value",
        ),
        ({"where": "  "}, "where", "is empty: write a query, or take it out"),
        ({"where": "a prompt:b"}, "where", "'a' asks what was said: write it into `words` or `patterns`"),
        ({"where": "since:2h"}, "where", "'since:2h' cannot be told when an exchange is recorded"),
        ({"where": "score:>4"}, "where", "'score:>4' cannot be told when an exchange is recorded"),
        (
            {"where": "-flag:redactd"},
            "where",
            "'redactd' is no mark that tracecli sets itself, and rules see no other (did you mean `redacted`?)",
        ),
        (
            {"where": "user:a", "roles": ["user"]},
            "roles",
            "does nothing here: there are no words, patterns or detectors",
        ),
    ],
)
def test_refused(values: dict[str, Any], key: str, problem: str) -> None:
    """What is wrong is told with its key, and what to do."""
    assert [(error.key, error.problem) for error in problems("a", values)] == [(key, problem)]


def test_everything_wrong_is_told() -> None:
    """Not the first mistake alone."""
    told = problems("a", {"wordz": 1, "side": 2, "patterns": ["("], "where": "x", "detectors": ["y"]})
    assert [error.key for error in told] == ["wordz", "side", "patterns", "detectors", "where"]


@pytest.mark.parametrize("name", ["leak", "top-secret", "a", "x2", "4-eyes", "a" * 40])
def test_good_names(name: str) -> None:
    """Small letters, digits and hyphens."""
    assert name_problem(name) is None


@pytest.mark.parametrize(
    "name", ["", "Leak", "a_b", "a b", "-a", "a-", "a,b", "é", "a" * 41, "none", "truncated", "redacted"]
)
def test_bad_names(name: str) -> None:
    """What a query could not ask for, and what may be a mark of tracecli's."""
    assert name_problem(name) is not None


def test_no_mark_can_be_a_rule() -> None:
    """Every mark that the source sets is known here, and no rule can be called so."""
    assert all(name_problem(mark) for mark in MARKS)
    source = "\n".join(path.read_text("utf-8") for path in SOURCE.rglob("*.py"))
    set_by = re.findall(
        r"""_flag\("(\w+)"\)|^(?:REDACTED|WITHHELD|DROPPED|REMOVED|ERASED) = "(\w+)"|self\.flags = \["(\w+)"\]""",
        source,
        re.M,
    )
    told = re.findall(r"^\| `(\w+)` +\|", (SOURCE / "understanding.py").read_text("utf-8"), re.M)
    assert {name for names in set_by for name in names if name} | set(told) | {"request_cut", "response_cut"} == MARKS
