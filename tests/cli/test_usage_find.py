"""`tracecli usage find`: words in their context."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.chats import answered, asked, call, store
from tracecli.cli.main import run
from tracecli.config import Home

_EXCHANGES = [
    call(0, asked("Where is Paris? " + "and then some. " * 20), answered("Paris is in France."), user="alice"),
    call(1, asked("x"), answered("\x1b[31mParis\u202e\n\nin [bold]spring[/bold]"), user="bob"),
    call(2, asked("nothing"), answered("of the kind"), user="bob"),
]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    """Three exchanges; two of them speak of Paris."""
    home = Home(tmp_path / "home")
    home.prepare()
    store(home, *_EXCHANGES)
    monkeypatch.setenv("TRACECLI_HOME", str(home.root))
    return home


def test_matches_in_their_context(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    """In a pipe each match is a line, newest request first, with what is around it, and nothing acts on a terminal."""
    assert run(["usage", "find", "PARIS"]) == 0
    out, err = capsys.readouterr()
    first, second, third = out.splitlines()
    ids = [one.exchange.id for one in _EXCHANGES]
    assert first == f"{ids[1]}  completion  assistant  \\x1b[31mParis\\u202e in [bold]spring[/bold]"
    assert second.startswith(f"{ids[0]}  prompt  user  Where is Paris? and then")
    assert second.endswith("…")
    assert third == f"{ids[0]}  completion  assistant  Paris is in France."
    assert err == ""


def test_where_to_look(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    """A query, options and --in narrow it; a regular expression is one."""
    for args, number in (
        (["paris", "user:alice"], 2),
        (["paris", "--user", "bob"], 1),
        (["paris", "--in", "prompt"], 1),
        (["paris", "--limit", "1"], 1),
        (["(Paris|kind)$", "--regex"], 1),
        (["paris", "--regex"], 0),
        (["[bold]"], 1),
        (["-rude", "user:alice"], 0),
    ):
        assert run(["usage", "find", *args]) == 0
        assert len(capsys.readouterr().out.splitlines()) == number, args


def test_json_lines(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    """--json is one object a request: the row and its matches, as they were said."""
    assert run(["usage", "find", "paris", "--json", "user:bob", "--in", "completion"]) == 0
    [told] = map(json.loads, capsys.readouterr().out.splitlines())
    assert told["user"] == "bob"
    assert [one["match"] for one in told["matches"]] == ["Paris"]
    assert told["matches"][0]["before"] == "\x1b[31m"
    assert told["matches"][0]["after"] == "\u202e\n\nin [bold]spring[/bold]"
    assert told["matches"][0]["role"] == "assistant"


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["("], None),
        (["(", "--regex"], "RE2"),
        (["a", "b"], "more of it"),
        ([""], "empty"),
        (["a", "modle:x"], "`model`"),
    ],
)
def test_mistakes(home: Home, args: list[str], said: str | None, capsys: pytest.CaptureFixture[str]) -> None:
    """What makes no sense is said; a parenthesis is just text."""
    assert run(["usage", "find", *args]) == (2 if said else 0)
    assert (said or "Nothing was found.") in capsys.readouterr().err
