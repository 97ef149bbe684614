"""`tracecli flags`: the rules in force, and one tried on the past."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest

from tests.policy.folders import folder
from tests.support.upkeep import chat, load, spooled
from tracecli.cli.main import run
from tracecli.config import Home
from tracecli.exchange import Understanding

METERED: dict[str, Any] = {"traced": False, "metered": Understanding(understood=True, request_model="gpt-4o")}
HOSTILE = "\x1b[31m secret\u202e\n[bold]x[/bold]"
_EXCHANGES = [
    chat(user="alice", prompt="Tell me a secret. " + "and then some. " * 20, answer="No secret."),
    chat(user="bob", prompt=HOSTILE),
    chat(user="bob", **METERED),
    chat("gpt-4o-mini", user="ci"),
]
IDS = [one.exchange.id for one in _EXCHANGES]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    """Two exchanges that speak of a secret, one of them in the spool; one without content; one of no secret."""
    made = Home(tmp_path / "home")
    made.prepare()
    folder(tmp_path / "policies")
    (tmp_path / "policies" / "flags").mkdir()
    monkeypatch.setenv("TRACECLI_HOME", str(made.root))
    monkeypatch.setenv("TRACECLI_POLICIES", str(tmp_path / "policies"))
    spooled(made, _EXCHANGES[0], *_EXCHANGES[2:])
    load(made)
    spooled(made, _EXCHANGES[1])
    return made


@pytest.fixture
def rule(home: Home) -> Path:
    """A rule that is in force nowhere."""
    path = home.root.parent / "leak.toml"
    path.write_text('words = ["secret"]')
    return path


def in_force(home: Home, name: str, text: str) -> Path:
    path = home.root.parent / "policies" / "flags" / f"{name}.toml"
    path.write_text(text)
    return path


# -- test


def test_what_it_would_have_flagged(home: Home, rule: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each match is a line in its context, newest request first, stored or not; nothing acts on a terminal."""
    assert run(["flags", "test", str(rule)]) == 0
    out, err = capsys.readouterr()
    first, second, third = out.splitlines()
    assert first == f"{IDS[1]}  prompt  user  \\x1b[31m secret\\u202e [bold]x[/bold]"
    assert second.startswith(f"{IDS[0]}  prompt  user  Tell me a secret. and then")
    assert third == f"{IDS[0]}  completion  assistant  No secret."
    assert err == ("leak would have flagged 2 of 4 requests. 1 of them are recorded without what was said.\n")


def test_on_what(home: Home, rule: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A query, options and --limit say what it is tried on."""
    for args, told in (
        (["user:alice"], "1 of 1 requests."),
        (["--user", "bob", "-traced:no"], "1 of 1 requests."),
        (["tell OR nothing"], "1 of 1 requests."),
        (["--limit", "1"], "0 of 1 requests. These are the latest 1; --limit looks at more."),
        (["model:*mini"], "0 of 1 requests."),
    ):
        assert run(["flags", "test", str(rule), *args]) == 0
        assert capsys.readouterr().err == f"leak would have flagged {told}\n", args
    assert run(["flags", "test", str(rule), "user:nobody"]) == 0
    assert capsys.readouterr() == ("", "No recorded request fits.\n")


def test_by_metadata(home: Home, rule: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A rule of metadata alone has no matches to show, and fits what was recorded without content."""
    rule.write_text('where = "model:gpt-4o user:bob"')
    assert run(["flags", "test", str(rule)]) == 0
    out, err = capsys.readouterr()
    assert out.splitlines() == [f"{IDS[2]}  -  -  -", f"{IDS[1]}  -  -  -"]
    assert err == "leak would have flagged 2 of 4 requests.\n"
    rule.write_text('where = "user:alice"\nwords = ["secret"]')
    assert run(["flags", "test", str(rule), "--json"]) == 0
    out, err = capsys.readouterr()
    (told,) = map(json.loads, out.splitlines())
    assert told["id"] == IDS[0]
    assert [match["match"] for match in told["matches"]] == ["secret", "secret"]
    assert err == "leak would have flagged 1 of 4 requests.\n"


def test_formats(home: Home, rule: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """As data in the formats that every listing has, and for people on a terminal."""
    assert run(["flags", "test", str(rule), "--csv"]) == 0
    assert [line["id"] for line in csv.DictReader(io.StringIO(capsys.readouterr().out))] == [IDS[1], IDS[0]]
    assert run(["flags", "test", str(rule), "--format", "markdown"]) == 0
    assert "\x1b" not in capsys.readouterr().out
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert run(["flags", "test", str(rule)]) == 0
    out = capsys.readouterr().out
    assert "bob" in out
    assert "gpt-4o" in out
    assert "\\x1b[31m" in out
    assert "\x1b[31m secret" not in out


def test_a_rule_in_force_by_its_name(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    """Its name will do; a broken one is refused with file, line, key and remedy, and a missing one too."""
    path = in_force(home, "leak", 'words = ["secret"]')
    assert run(["flags", "test", "leak", "--limit", "9"]) == 0
    assert "2 of 4" in capsys.readouterr().err
    path.write_text('\nwordz = ["secret"]')
    assert run(["flags", "test", "leak"]) == 3
    assert capsys.readouterr() == (
        "",
        f"tracecli: {path}:2: key `wordz`: is unknown (did you mean `words`?)."
        " Correct the file; a running ingest goes by what it said before until then.\n",
    )
    assert run(["flags", "test", "gone.toml"]) == 3
    assert "there is no file" in capsys.readouterr().err
    path.write_text('words = ["secret"]')
    assert run(["flags", "test", "leak", "user:"]) == 2


# -- list


def test_list(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    """The rules with their files and how many requests each flagged; those that are no more too, marks not."""
    gone = in_force(home, "gone", 'where = "user:bob"')
    leak = in_force(
        home, "leak", 'description = "\x1b[2J"\nwords = ["secret", "x"]\nside = "prompt"'.replace("\x1b", "\\u001b")
    )
    spooled(home, chat(user="bob", prompt="secret", request_cut=True))
    load(home)
    gone.unlink()
    assert run(["flags", "list"]) == 0
    out, err = capsys.readouterr()
    assert [line.split() for line in out.splitlines()] == [
        ["name", "exchanges", "looks_for", "where", "file"],
        ["leak", "2", "2", "words", "in", "the", "prompt", "-", str(leak)],
        ["gone", "2", "-", "-", "-"],
    ]
    assert err == ""
    assert run(["flags", "list", "--json"]) == 0
    first, second = json.loads(capsys.readouterr().out)
    assert (first["name"], first["exchanges"], first["words"], first["file"]) == ("leak", 2, ["secret", "x"], str(leak))
    assert second == {"name": "gone", "exchanges": 2, "file": None}


def test_list_on_a_terminal(home: Home, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """For people it fits the width, and what a file says cannot act on it."""
    in_force(home, "leak", 'description = "\\u001b[2J"\nwords = ["\\u001b[2J"]')
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "80")
    assert run(["flags", "list"]) == 0
    out = capsys.readouterr().out
    assert "leak" in out
    assert "\x1b[2J" not in out


def test_list_with_a_broken_rule(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    """The others are listed, what is wrong is said, and the exit code tells."""
    in_force(home, "good", 'words = ["a"]')
    path = in_force(home, "bad", "words = 1")
    assert run(["flags", "list"]) == 3
    out, err = capsys.readouterr()
    assert "good" in out
    assert "bad" not in out
    assert err.startswith(f"tracecli: {path}:1: key `words`: Expected `array`, got `int`. ")


def test_nothing_to_list(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    """Without rules, it says so."""
    assert run(["flags", "list"]) == 0
    assert capsys.readouterr() == ("", "There are no rules. The README says how to write one: its chapter on flags.\n")


# -- elsewhere


def test_found_and_counted_by_flag(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    """A flag is asked for like a mark, and an exchange with two flags counts in both."""
    in_force(home, "leak", 'words = ["secret"]')
    in_force(home, "bobs", 'where = "user:bob"')
    load(home)
    assert run(["usage", "show", "--flag", "leak", "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert (row["id"], row["flags"]) == (IDS[1], ["bobs", "leak"])
    assert run(["usage", "stats", "--by", "flag", "--json"]) == 0
    told = {group["flag"]: group["requests"] for group in json.loads(capsys.readouterr().out)}
    assert told == {None: 3, "bobs": 1, "leak": 1}


def test_validate(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    """`policy validate` says all that is wrong with rules, in the policy folder, in flags/ and in one file."""
    path = in_force(home, "bad", 'wordz = 1\nroles = ["model"]\nwords = ["a"]')
    in_force(home, "good", 'words = ["a"]')
    for place in ([], [str(path.parent.parent)], [str(path.parent)], [str(path)]):
        assert run(["policy", "validate", *place]) == 3
        first, second = capsys.readouterr().out.splitlines()
        assert first.startswith(f"{path}:1: error: key `wordz`: is unknown")
        assert second.startswith(f"{path}:2: error: key `roles`: there is no role 'model'")
    path.unlink()
    for place in ([], [str(path.parent)], [str(path.parent / "good.toml")]):
        assert run(["policy", "validate", *place]) == 0
        assert capsys.readouterr() == ("", "No errors, no warnings.\n")
