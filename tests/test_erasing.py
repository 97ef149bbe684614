"""Erasure: what is erased is in no file any more, all the rest is, and a receipt says so."""

from __future__ import annotations

import datetime as dt
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.chats import answered, call
from tests.support.deadly import die_at
from tests.support.entries import entry
from tests.support.secrets_in_files import files_with
from tests.support.upkeep import new_home, spooled, stored
from tracecli import browse, erasing, finding, ledger
from tracecli.cache.entries import Entries
from tracecli.cli.main import run
from tracecli.config import Home
from tracecli.exchange import Captured
from tracecli.query import syntax
from tracecli.query.syntax import EVERYTHING, parse
from tracecli.store import erasure, holds

_JSON = [("Content-Type", "application/json")]
_SHARED = "You are a helpful assistant of the harbour office. " * 100


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    return new_home(tmp_path, monkeypatch)


def said(second: int, user: str, **changes: object) -> Captured:
    """A chat of a user with a long text that all have, and a mark of this one in prompt, answer, header and error."""
    mark = f'mark {user} {second} of the silver lighthouse \\ "quoted" é'
    messages = [{"role": "system", "content": _SHARED}, {"role": "user", "content": f"{mark} asks. " * 200}]
    request = json.dumps({"model": "gpt-4o-mini", "messages": messages}).encode()
    return call(
        second, request, answered(f"{mark} is told. " * 100), user=user, request_headers=_JSON, response_headers=_JSON,
        **changes,
    )  # fmt: skip


def users(home: Home) -> list[str]:
    return sorted(row.user for row in browse.latest(home, 100))


def erased(home: Home, capsys: pytest.CaptureFixture[str], *args: str, code: int = 0) -> dict[str, object]:
    """The receipt."""
    assert run(["erase", *args, "--yes", "--json"]) == code
    told: dict[str, object] = json.loads(capsys.readouterr().out)
    return told


def test_nothing_of_a_user_is_left(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    """In the store, the spool, the cache, the quarantine, comments: nowhere; and others have all that is theirs."""
    both = [said(n, user) for n in range(5) for user in ("alice", "bob")]
    stored(home, *both[:6])
    cached = [
        entry(key=bytes([n]) * 32, exchange_id=one.exchange.id, user=one.exchange.user) for n, one in enumerate(both)
    ]
    entries = Entries(home.cache, 10_000_000)
    for one in cached:
        entries.put(one)
    entries.close()
    stored(home, *both[6:8])
    spooled(home, *both[8:])
    run(["usage", "rate", both[0].exchange.id, "--score", "4", "--comment", "mark alice 0 was kind"])
    (home.quarantine / "broken-0.bin").write_bytes(b'x{"user":"alice","mark alice 77"')
    (home.quarantine / "broken-1.bin").write_bytes(b'x{"user":"bob"')
    before = [browse.open_exchange(home, one.exchange.id) for one in both if one.exchange.user == "bob"]
    assert run(["usage", "show", both[0].exchange.id, "--part", "prompt"]) == 0
    capsys.readouterr()
    receipt = erased(home, capsys, "--user", "alice")
    assert receipt["complete"] is True
    went = receipt["erased"]
    assert isinstance(went, dict)
    assert [went[name] for name in ("records", "content", "answers", "quarantined")] == [5, 5, 5, 1]
    assert users(home) == ["bob"] * 5
    assert files_with(home.root, "mark alice") == []
    assert files_with(home.root, _SHARED[:50]) != []
    ids = [one.exchange.id for one in both if one.exchange.user == "alice"]
    for identifier in ids:
        assert set(files_with(home.root, identifier)) <= {"ledger.jsonl"}
    assert [browse.open_exchange(home, one.row.id) for one in before] == before
    assert {entry_.event for entry_ in ledger.entries(home)} == {"read", "erase"}
    assert sorted(path.name for path in home.quarantine.iterdir()) == ["broken-1.bin"]
    assert list(home.erasures.iterdir()) == []


def test_the_content_alone(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    """The usage record stays, without what a provider or a reader quoted."""
    one = said(0, "alice", status=400)
    stored(home, one, said(1, "bob"))
    run(["usage", "rate", one.exchange.id, "--score", "2", "--comment", "mark alice 0 it said"])
    cost = [(row.user, row.cost_usd, row.input_tokens) for row in browse.latest(home, 9)]
    receipt = erased(home, capsys, "--where", "user:alice", "--content-only")
    assert receipt["complete"] is True
    assert receipt["what"] == "a query of user"
    assert [(row.user, row.cost_usd, row.input_tokens) for row in browse.latest(home, 9)] == cost
    assert files_with(home.root, "mark alice") == []
    found = browse.open_exchange(home, one.exchange.id)
    assert erasure.ERASED in found.row.flags
    assert found.row.error is None
    assert [one.row.user for one in finding.search(home, syntax.words("mark bob"), EVERYTHING, _now())] == ["bob"]
    erased(home, capsys, "--where", "user:alice", "--content-only")  # again: nothing more to do
    assert browse.open_exchange(home, found.row.id).row.flags.count(erasure.ERASED) == 1


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


def test_one_and_what_holds_words(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    """By the beginning of an id, and by what was said; the receipt does not say what that was."""
    ones = [said(n, "alice") for n in range(4)]
    stored(home, *ones)
    erased(home, capsys, "--id", ones[2].exchange.id[:18])
    assert files_with(home.root, "mark alice 2") == []
    receipt = erased(home, capsys, "--where", 'prompt:"mark alice 3 of"')
    assert receipt["what"] == "a query of prompt"
    assert files_with(home.root, "mark alice 3") == []
    assert len(browse.latest(home, 9)) == 2
    last = list(ledger.entries(home))[-1]
    assert last.event == "erase"
    assert str(receipt["sha256"]) in json.dumps(last.as_json())
    assert ledger.verify(home).problem is None


def test_a_hold_keeps_what_it_names(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    one = said(1, "alice")
    stored(home, said(0, "alice"), one)
    run(["usage", "tag", one.exchange.id, "--add", "case-7"])
    holds.place(home, "tag", "case-7", "a lawsuit", _now())
    receipt = erased(home, capsys, "--user", "alice")
    assert receipt["on_hold"] == 1
    assert users(home) == ["alice"]
    assert files_with(home.root, "mark alice 0") == []
    assert holds.lift(home, "tag", "case-7")
    erased(home, capsys, "--user", "alice")
    assert files_with(home.root, "mark alice") == []


def test_while_ingest_runs(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    """The ingest that runs does it; what comes meanwhile is recorded, and readers find all the rest at any time."""
    stored(home, *(said(n, user) for n in range(3) for user in ("alice", "bob")))
    loader = subprocess.Popen(
        [sys.executable, "-m", "tracecli", "ingest", "--until-eof"], stdin=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    reader = subprocess.Popen(
        [sys.executable, "-c", _READER, str(home.root)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with loader, reader:
        assert reader.stdout is not None
        reader.stdout.readline()
        spooled(home, said(10, "alice"), said(11, "carol"))
        receipt = erased(home, capsys, "--user", "alice")
        assert receipt["erased"]["records"] == 4  # type: ignore[index]
        spooled(home, said(12, "alice"))
        assert reader.stdin is not None
        reader.stdin.close()
        assert reader.wait() == 0
    assert loader.returncode == 0
    assert users(home) == ["alice", "bob", "bob", "bob", "carol"]
    assert files_with(home.root, "mark alice 0") == []


_READER = """
import sys, select
from pathlib import Path
from tracecli import browse
from tracecli.config import Home
home = Home(Path(sys.argv[1]))
bobs = [row.id for row in browse.latest(home, 99) if row.user == "bob"]
while not select.select([0], [], [], 0)[0]:
    for one in bobs:
        assert b"mark bob" in browse.open_exchange(home, one).request.body
    print("read", flush=True) if one else None
"""


@pytest.mark.parametrize("step", range(8))
def test_killed_anywhere(home: Home, capsys: pytest.CaptureFixture[str], step: int) -> None:
    """The next ingest goes on with it, whatever was done by then."""
    stored(home, *(said(n, user) for n in range(3) for user in ("alice", "bob")))
    identifier = erasing.ask(home, parse('"mark alice"'), "words", [], content_only=False)
    die_at(home, step, *_STEPS)
    receipt = erasing.carried_out(home, identifier, home.root.parent / "policies")
    assert receipt.complete
    assert (receipt.erased.records, receipt.erased.content) == (3, 3)
    assert users(home) == ["bob"] * 3
    assert files_with(home.root, "mark alice") == []


_STEPS = (
    "tracecli.erasing:_write",
    "tracecli.store.erasure:erase",
    "tracecli.store.erasure:check",
    "tracecli.store.bodies:forget",
    "tracecli.store.expiry:write_anew",
    "tracecli.store.expiry:_copy",
    "tracecli.store.bodies:_replace",
    "tracecli.store.pools:sweep",
)


def test_what_is_left_is_told(home: Home, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A copy that somebody made in the home is found, by its name, and the exit code says so."""
    stored(home, said(0, "alice"), said(1, "bob"))
    (home.root / "notes.txt").write_text("he asked: mark alice 0 of the silver lighthouse asks. mark alice 0 of")
    receipt = erased(home, capsys, "--user", "alice", code=7)
    assert receipt["complete"] is False
    assert "notes.txt" in str(receipt["checked"])
    assert "silver" not in str(receipt)


@pytest.mark.parametrize("args", [[], ["--user", "a", "--where", "user:b"], ["--where", "user:"], ["--user", "a"]])
def test_bad_command_lines(home: Home, args: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing to go by, two things, a mistake in the query, nobody to ask."""
    stored(home, said(0, "a"))
    assert run(["erase", *args]) in (2, 3)
    assert capsys.readouterr().err.count("tracecli:") == 1
    assert users(home) == ["a"]


def test_an_empty_query_is_no_choice(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    stored(home, said(0, "a"))
    assert run(["erase", "--where", " ", "--yes"]) == 3
    assert users(home) == ["a"]
    assert run(["erase", "--id", "0198", "--yes"]) == 4


def test_files_are_private(home: Home) -> None:
    """Whatever the umask."""
    stored(home, said(0, "a"))
    before = os.umask(0)
    try:
        identifier = erasing.ask(home, parse("user:a"), "user a", ["a"], content_only=False)
    finally:
        os.umask(before)
    assert home.erasures.stat().st_mode & 0o777 == 0o700
    assert (home.erasures / f"{identifier}.json").stat().st_mode & 0o777 == 0o600
