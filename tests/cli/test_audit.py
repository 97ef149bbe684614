"""`tracecli audit`: each command that shows content leaves its entry, and no other does."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.chats import answered, asked, call, store
from tests.support.collector import Collector, running
from tracecli import browse, ledger
from tracecli.cli.main import run
from tracecli.config import Home
from tracecli.errors import HomeError
from tracecli.spool import SpoolWriter

WORD = "zanzibar"
RULE = f'words = ["{WORD}"]\n'
BARE, A, B, C = (f"01a1ee56-5e0{number}-7000-8000-000000000000" for number in range(4))
_EXCHANGES = [
    call(0, asked(f"first {WORD}"), answered("one"), session="s1", user="alice", id=A),
    call(1, asked(f"second {WORD}"), answered("two"), session="s1", user="alice", id=B),
    call(2, asked("third"), answered("three"), user="bob", id=C),
    call(-1, b"", b"", traced=False, user="carol", id=BARE),
]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    """Three stored exchanges with content, one of them still in the spool, and one without."""
    home = Home(tmp_path / "home")
    home.prepare()
    monkeypatch.setenv("TRACECLI_HOME", str(home.root))
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies" / "default.toml").touch()
    monkeypatch.setenv("TRACECLI_POLICIES", str(tmp_path / "policies"))
    store(home, *_EXCHANGES[:2], _EXCHANGES[3])
    spool = SpoolWriter(home.spool)
    assert spool.append(_EXCHANGES[2])
    spool.close()
    return home


@pytest.fixture
def there() -> Iterator[Collector]:
    """A collector."""
    with running() as collector:
        yield collector


def noted(home: Home) -> list[tuple[str, str, list[str]]]:
    """Event, command and ids of each entry; the chain is whole."""
    assert ledger.verify(home).problem is None
    return [(one.event, one.command, sorted(one.ids)) for one in ledger.entries(home)]


@pytest.mark.parametrize(
    ("args", "command", "ids"),
    [
        (["usage", "show", A], "usage show", [A]),
        (["usage", "show", "last", "--json"], "usage show", [C]),
        (["usage", "show", A, "--part", "prompt"], "usage show", [A]),
        (["usage", "show", A, "--part", "response", "--raw"], "usage show", [A]),
        (["usage", "show", A, "--raw"], "usage show", [A]),
        (["usage", "show", A, "--curl"], "usage show", [A]),
        (["usage", "show", C, "--python"], "usage show", [C]),
        (["usage", "show", A, "--follow-session"], "usage show", [A, B]),
        (["usage", "show", B, "--follow-session", "--json"], "usage show", [A, B]),
        (["usage", "find", WORD], "usage find", [A, B]),
        (["usage", "find", WORD, "--limit", "1"], "usage find", [B]),
        (["usage", "find", "third", "--json"], "usage find", [C]),
        (["usage", "diff", A, C], "usage diff", [A, C]),
        (["usage", "diff", A, B, "--json"], "usage diff", [A, B]),
        (["export", "har"], "export har", [A, B, C]),
        (["export", "har", "user:alice", "--limit", "1"], "export har", [B]),
        (["sql", f"SELECT count(*) FROM messages WHERE text LIKE '%{WORD}%'"], "sql", [A, B, C]),
        (["sql", "SELECT * FROM bodies", "user:alice", "--json"], "sql", [A, B]),
        (["flags", "test", "rule.toml"], "flags test", [A, B]),
        (["cache", "explain", A], "cache explain", [A]),
        (["cache", "explain", A, B], "cache explain", [A, B]),
    ],
    ids=lambda value: " ".join(value)[:40] if isinstance(value, list) else None,
)
def test_showing_content_is_noted(
    home: Home, monkeypatch: pytest.MonkeyPatch, args: list[str], command: str, ids: list[str]
) -> None:
    """In one line, of exactly what was shown, without a word of what was said or looked for."""
    monkeypatch.chdir(home.root.parent)
    Path("rule.toml").write_text(RULE)
    assert run(args) == 0
    assert noted(home) == [("read", command, sorted(ids))]
    for word in (WORD, "SELECT", "alice", "first", "third", "rule.toml", "--"):
        assert word not in home.ledger.read_text()


@pytest.mark.parametrize(
    "args",
    [
        ["usage", "show"],
        ["usage", "show", WORD],
        ["usage", "show", "--json"],
        ["usage", "show", BARE],
        ["usage", "find", "nothing-holds-this"],
        ["usage", "stats"],
        ["usage", "sessions"],
        ["usage", "session", "s1"],
        ["usage", "repeats"],
        ["usage", "tag", A, "--add", "x"],
        ["sql", "SELECT * FROM exchanges"],
        ["sql", "SELECT * FROM messages", "user:carol"],
        ["policy", "explain", "--id", A],
        ["export", "har", "user:carol"],
        ["ingest", "--once"],
        ["reparse", "--since", "2020-01-01"],
        ["reprice", "--since", "2020-01-01"],
        ["audit", "show"],
        ["audit", "verify"],
    ],
    ids=" ".join,
)
def test_what_shows_no_content_is_not_noted(home: Home, args: list[str]) -> None:
    """Lists, sums, what holds no content, and what works without showing it."""
    assert run(args) == 0
    assert noted(home) == []


def test_spans_are_noted_with_content_alone(home: Home, there: Collector) -> None:
    """What is sent with prompts and completions was read by whoever gets it."""
    assert run(["export", "otlp", "--endpoint", there.url]) == 0
    assert noted(home) == []
    assert run(["export", "otlp", "--endpoint", there.url, "--content", "--header", "api-key=secret-1"]) == 0
    assert noted(home) == [("read", "export otlp", [A, B, C])]
    assert "secret-1" not in home.ledger.read_text()


@pytest.mark.parametrize(
    "args",
    [
        ["usage", "show", "last"],
        ["usage", "show", "last", "--raw"],
        ["usage", "find", WORD],
        ["usage", "diff", A, B],
        ["export", "har"],
        ["sql", "SELECT text FROM messages"],
        ["cache", "explain", A],
    ],
    ids=" ".join,
)
def test_what_cannot_be_noted_is_not_shown(home: Home, args: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """One sentence and the code of a home that cannot be used; nothing of what was said."""
    home.ledger.mkdir()
    assert run(args) == 5
    out, err = capsys.readouterr()
    assert "nothing is shown that is not noted" in err
    assert WORD not in out + err
    assert "third" not in out + err


def test_lists_need_no_ledger(home: Home) -> None:
    """What is not noted is shown where nothing can be."""
    home.ledger.mkdir()
    assert run(["usage", "show"]) == 0


def test_reading_makes_no_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An absent one stays absent."""
    monkeypatch.setenv("TRACECLI_HOME", str(tmp_path / "absent"))
    for args in (["usage", "show", "last"], ["usage", "find", "x"], ["audit", "show"], ["audit", "verify"]):
        run(args)
    assert not (tmp_path / "absent").exists()


def test_programs_are_noted_too(home: Home) -> None:
    """Without a command, as what they are."""
    browse.open_exchange(home, A)
    assert [one.ids for one in ledger.entries(home)] == [[A]]
    home.ledger.unlink()
    home.ledger.mkdir()
    with pytest.raises(HomeError):
        browse.open_exchange(home, A)


def _some(home: Home) -> None:
    ledger.note(home, "read", "usage show", [A])
    ledger.note(home, "erase", "erase", [B], reason="asked for\x1b[31m")
    ledger.note(home, "read", "sql", [f"0{number:06}" for number in range(1001)])


def test_entries_are_listed_newest_first(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    """As JSON, CSV and lines; by event, id, user, time and number."""
    _some(home)

    def numbers(*args: str) -> list[int]:
        assert run(["audit", "show", "--json", *args]) == 0
        return [one["number"] for one in json.loads(capsys.readouterr().out)]

    assert numbers() == [3, 2, 1]
    assert numbers("--limit", "2") == [3, 2]
    assert numbers("--event", "erase") == [2]
    assert numbers("--user", "nobody-is-called-that") == []
    assert numbers("--since", "1h") == [3, 2, 1]
    assert numbers("--since", "2099-01-01") == []
    assert run(["audit", "show", "--json", "--id", A[:30].upper() + A[30:]]) == 0
    out, err = capsys.readouterr()
    assert 1 in [one["number"] for one in json.loads(out)]
    assert "1 more name over 1,000 requests" in err
    assert run(["audit", "show", "--csv"]) == 0
    found = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [one["command"] for one in found] == ["sql", "erase", "usage show"]
    assert run(["audit", "show"]) == 0
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert out.splitlines()[0].split()[:3] == ["number", "at", "user"]
    assert len(out.splitlines()) == 4


def test_a_whole_ledger_is_verified(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    """How many entries, and the hash to write down; later that hash is expected."""
    assert run(["audit", "verify", "--json"]) == 0
    empty = json.loads(capsys.readouterr().out)
    assert empty == {"entries": 0, "last": ledger.START, "expected": None, "problem": None}
    _some(home)
    assert run(["audit", "verify"]) == 0
    out = capsys.readouterr().out
    last = ledger.verify(home).last
    assert last in out
    assert "3" in out
    ledger.note(home, "read", "usage show", [A])
    assert run(["audit", "verify", "--expect", last]) == 0
    home.ledger.write_bytes(b"".join(home.ledger.read_bytes().splitlines(keepends=True)[:2]))
    assert run(["audit", "verify"]) == 0
    capsys.readouterr()
    assert run(["audit", "verify", "--expect", last]) == 7
    assert "cut off or made anew" in capsys.readouterr().err
    home.ledger.unlink()
    assert run(["audit", "verify", "--expect", last]) == 7


@pytest.mark.parametrize(
    ("kind", "lines"), [("missing", [0, 2]), ("order", [0, 2, 1]), ("changed", [0, -1, 2]), ("torn", [0, -2])]
)
def test_what_is_wrong_is_told(home: Home, capsys: pytest.CaptureFixture[str], kind: str, lines: list[int]) -> None:
    """The line and what it is, as words and as JSON, with the exit code of something broken."""
    _some(home)
    whole = home.ledger.read_bytes().splitlines(keepends=True)
    more = {-1: whole[1].replace(b"erase", b"reads"), -2: whole[1][:50]}
    home.ledger.write_bytes(b"".join(more[place] if place < 0 else whole[place] for place in lines))
    assert run(["audit", "verify"]) == 7
    assert f"line 2 ({kind})" in capsys.readouterr().err
    assert run(["audit", "verify", "--json"]) == 7
    assert json.loads(capsys.readouterr().out)["problem"]["kind"] == kind
