"""`tracecli usage tag` and `rate`, and finding and counting by them."""

from __future__ import annotations

import datetime as dt
import json
import time
from pathlib import Path
from typing import Any

import pytest

from tests.support.chats import answered, asked, call, store
from tests.support.upkeep import queried
from tracecli import noting
from tracecli.cli.main import run
from tracecli.config import Home
from tracecli.ingest import run as ingest
from tracecli.spool import SpoolWriter
from tracecli.store.expiry import remove_due

HOSTILE = "\x1b]0;x\x07[bold]=1+1\u202e"
_EXCHANGES = [
    call(0, asked("zero"), answered("0"), user="alice", tags=["nightly", "agent-7"]),
    call(1, asked("one"), answered("1"), user="bob"),
    call(2, asked("two"), answered("2"), user="bob", tags=["nightly"]),
]
IDS = [one.exchange.id for one in _EXCHANGES]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    """Three exchanges, two of them tagged by their client."""
    home = Home(tmp_path / "home")
    home.prepare()
    store(home, *_EXCHANGES)
    monkeypatch.setenv("TRACECLI_HOME", str(home.root))
    return home


def found(capsys: pytest.CaptureFixture[str], query: str) -> list[int]:
    """The places of those that fit."""
    capsys.readouterr()
    assert run(["usage", "show", query, "--json", "--sort", "time"]) == 0
    return sorted(IDS.index(row["id"]) for row in json.loads(capsys.readouterr().out))


def stats(capsys: pytest.CaptureFixture[str], *args: str) -> list[dict[str, Any]]:
    """Sums."""
    capsys.readouterr()
    assert run(["usage", "stats", *args, "--json"]) == 0
    told: list[dict[str, Any]] = json.loads(capsys.readouterr().out)
    return told


@pytest.mark.usefixtures("home")
def test_tags(capsys: pytest.CaptureFixture[str]) -> None:
    """Tags of clients and of readers are one: added, removed, found, counted once for each."""
    assert run(["usage", "tag", IDS[1], "last", "--add", "good", "--add", "for review", "--remove", "nightly"]) == 0
    assert "Changed 2 requests." in capsys.readouterr().err
    assert run(["usage", "tag", IDS[1], "--add", "good"]) == 0
    assert "Changed 0 requests; 1 had it so already." in capsys.readouterr().err
    for query, places in {
        "tag:good": [1, 2],
        'tag:"for review"': [1, 2],
        "-tag:good": [0],
        "tag:night*": [0],
        "tag:none": [],
        "tag:good user:alice": [],
    }.items():
        assert found(capsys, query) == places, query
    counted = {row["tag"]: row["requests"] for row in stats(capsys, "--by", "tag")}
    assert counted == {"good": 2, "for review": 2, "nightly": 1, "agent-7": 1}
    assert run(["usage", "show", "--tag", "good", "--columns", "id,tag", "--csv"]) == 0
    assert '"[""good"", ""for review""]"' in capsys.readouterr().out
    assert run(["usage", "tag", "--where", "tag:good", "--remove", "good"]) == 0
    assert found(capsys, "tag:good") == []


@pytest.mark.usefixtures("home")
def test_ratings(capsys: pytest.CaptureFixture[str]) -> None:
    """A score is found, sorted by and averaged; a new one takes the place of the old one, and it can be taken away."""
    assert run(["usage", "rate", IDS[0], "--score", "2"]) == 0
    assert run(["usage", "rate", IDS[0], IDS[2], "--score", "4.5", "--comment", "just so"]) == 0
    assert run(["usage", "rate", IDS[1], "--score", "1"]) == 0
    assert found(capsys, "score:>=4") == [0, 2]
    assert found(capsys, "score:1..2 rated:yes") == [1]
    assert [row["score"] for row in stats(capsys, "--by", "user", "--sort", "requests")] == [2.75, 4.5]
    assert run(["usage", "show", "--sort", "score", "--columns", "id,score,comment"]) == 0
    shown = [line.split(maxsplit=2)[1:] for line in capsys.readouterr().out.splitlines()]
    assert shown == [["score", "comment"], ["4.5", "just so"], ["4.5", "just so"], ["1.0", "-"]]
    assert run(["usage", "rate", IDS[0], "--clear"]) == 0
    assert found(capsys, "rated:no") == [0]
    assert run(["sql", "SELECT score, comment, tags FROM exchanges ORDER BY id", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [row["comment"] for row in told] == [None, None, "just so"]
    assert told[0]["tags"] == ["nightly", "agent-7"]


def test_still_in_the_spool(home: Home, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """What is not stored yet is found by its client's tags; a reader's wait, and are refused where nobody ingests."""
    late = call(3, asked("three"), answered("3"), tags=["nightly"])
    IDS.append(late.exchange.id)
    spool = SpoolWriter(home.spool)
    assert spool.append(late)
    spool.close()
    try:
        assert found(capsys, "tag:nightly") == [0, 2, 3]
        monkeypatch.setattr(noting, "_PATIENCE_S", 0.0)
        assert run(["usage", "tag", "last", "--add", "good"]) == 5
        assert "tracecli ingest --once" in capsys.readouterr().err
        monkeypatch.undo()
        monkeypatch.setenv("TRACECLI_HOME", str(home.root))
        waited = iter([lambda: ingest(home, once=True, ended=lambda: True, policies=home.root)])
        monkeypatch.setattr(time, "sleep", lambda _: next(waited)())
        assert run(["usage", "tag", "last", "--add", "good"]) == 0
        assert found(capsys, "tag:good") == [3]
    finally:
        IDS.pop()


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize(
    ("args", "code", "said"),
    [
        (["tag", "last"], 2, "--add TAG or --remove TAG"),
        (["tag", "--add", "x"], 2, "by ID, or with --where"),
        (["tag", "last", "--where", "user:bob", "--add", "x"], 2, "by ID, or with --where"),
        (["tag", "last", "--add", "x", "--remove", "x"], 2, "'x' cannot be added and removed"),
        (["tag", "last", "--add", "a,b"], 3, "comma"),
        (["tag", "last", "ffff", "--add", "x"], 4, "begins with ffff"),
        (["tag", "--where", "nofield:x", "--add", "x"], 2, "nofield"),
        (["rate", "last"], 2, "--score N"),
        (["rate", "last", "--score", "3", "--clear"], 2, "--score N"),
        (["rate", "last", "--score", "6"], 3, "not from 1 to 5"),
        (["tag", "last", *(word for number in range(33) for word in ("--add", f"t{number}"))], 3, "at most 32 tags"),
    ],
)
def test_mistakes(args: list[str], code: int, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Each mistake is a sentence and its exit code, and nothing is half done."""
    assert run(["usage", *args]) == code
    assert said in capsys.readouterr().err
    assert found(capsys, "tag:none") == [1]


@pytest.mark.usefixtures("home")
def test_nothing_fits(capsys: pytest.CaptureFixture[str]) -> None:
    """A query that nothing fits is no error."""
    assert run(["usage", "rate", "--where", "user:nobody", "--score", "3"]) == 0
    assert "No recorded request fits." in capsys.readouterr().err


@pytest.mark.usefixtures("home")
def test_hostile_words(capsys: pytest.CaptureFixture[str]) -> None:
    """A comment is shown harmlessly."""
    assert run(["usage", "rate", "last", "--score", "3", "--comment", HOSTILE]) == 0
    assert run(["usage", "show", "last"]) == 0
    shown = capsys.readouterr().out
    assert "[bold]=1+1" in shown
    assert not {"\x1b", "\x07", "\u202e"} & set(shown)


def test_they_go_with_the_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When a record is removed, the bytes of its tags and of what was said of it go too; those of others stay."""
    home = Home(tmp_path / "home")
    home.prepare()
    monkeypatch.setenv("TRACECLI_HOME", str(home.root))
    now = dt.datetime.now(dt.UTC)
    until = round((now - dt.timedelta(days=1)).timestamp() * 1e6)
    gone, stays = call(0, b"", traced=False, metadata_until_us=until), call(1, b"", traced=False)
    store(home, stays)
    assert run(["usage", "rate", "last", "--score", "5", "--comment", "staying-words"]) == 0
    with monkeypatch.context() as patch:
        patch.setattr("tracecli.store.expiry.Keeper.step", lambda *_: False)
        store(home, gone)
    assert run(["usage", "rate", gone.exchange.id, "--score", "1", "--comment", "leaving-words"]) == 0
    assert run(["usage", "tag", gone.exchange.id, "--add", "leaving-tag"]) == 0
    assert remove_due(home, now).records == 1
    data = home.database.read_bytes()
    assert b"leaving-" not in data
    assert queried(home, "SELECT score, comment FROM exchange") == [(5.0, "staying-words")]
