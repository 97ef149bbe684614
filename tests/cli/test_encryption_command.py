"""`tracecli encryption`: nothing is in the clear on the disk, everything reads as before, and the key is needed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.chats import answered, call
from tests.support.commands import tracecli
from tests.support.deadly import die_at
from tests.support.encrypting import encrypt, key_file
from tests.support.entries import entry
from tests.support.secrets_in_files import files_with
from tests.support.upkeep import new_home, spooled, stored
from tracecli import browse, ingest, keys, ledger
from tracecli.cache.entries import Entries
from tracecli.cli.main import run
from tracecli.config import Home, KeySource
from tracecli.exchange import Captured
from tracecli.store import bodies, erasure
from tracecli.store.reencryption import left

MARK = "the silver lighthouse"
HISTORY = "You are a helpful assistant of the harbour office. " * 100


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    return new_home(tmp_path, monkeypatch)


def said(second: int) -> Captured:
    messages = [
        {"role": "system", "content": HISTORY},
        {"role": "user", "content": f"{MARK} No{second:03}x. " * 100},
    ]
    request = json.dumps({"model": "gpt-4o-mini", "messages": messages}).encode()
    return call(second, request, answered(f"{MARK} No{second:03}y. " * 100))


def in_the_clear(home: Home) -> list[str]:
    return files_with(home.root, MARK) + files_with(home.root, HISTORY[:50])


def state(capsys: pytest.CaptureFixture[str], *args: str, code: int = 0) -> dict[str, object]:
    assert run(["encryption", *args, "--json"]) == code
    told: dict[str, object] = json.loads(capsys.readouterr().out)
    return told


@pytest.fixture
def filled(home: Home) -> list[Captured]:
    """What is recorded: in several files, in the spool, the cache and the quarantine."""
    every = [said(n) for n in range(6)]
    stored(home, *every[:2])
    stored(home, *every[2:4])
    spooled(home, *every[4:])
    entries = Entries(home.cache, 10_000_000, keys.ring(home))
    entries.put(entry(key=b"k" * 32, exchange_id=every[0].exchange.id, body=MARK.encode(), headers=[]))
    entries.close()
    (home.quarantine / "broken-0.bin").write_bytes(f"broken {MARK}".encode())
    return every


def as_recorded(home: Home, every: list[Captured]) -> bool:
    """All bodies are there, byte for byte, and found by what was said."""
    found = [browse.open_exchange(home, one.exchange.id) for one in every]
    return [(one.request.body, one.response.body) for one in found] == [
        (one.request_body, one.response_body) for one in every
    ]


def test_on_rotate_and_off(home: Home, filled: list[Captured], capsys: pytest.CaptureFixture[str]) -> None:
    """What is there is encrypted, then encrypted anew, then in the clear again: and reads the same all the time."""
    assert in_the_clear(home)
    first, second = key_file(home.root.parent, "first"), key_file(home.root.parent, "second")
    found = state(capsys, "on", "--key-file", str(first))
    assert (found["on"], found["complete"], found["files_left"], found["answers_forgotten"]) == (True, True, 0, 1)
    assert found["files"] == sum(
        1 for name in ("bodies", "parts", "said", "quarantine") for _ in (home.root / name).iterdir()
    )
    assert in_the_clear(home) == []
    assert as_recorded(home, filled)
    before = {path.read_bytes() for path in home.root.rglob("*.encrypted")}
    stored(home, said(7))
    spooled(home, said(8))
    assert in_the_clear(home) == []
    found = state(capsys, "rotate", "--key-file", str(second))
    assert (found["data_keys"], found["complete"]) == (2, True)
    first.unlink()
    assert not before & {path.read_bytes() for path in home.root.rglob("*.encrypted")}
    assert as_recorded(home, filled)
    assert state(capsys, "show")["key"] == f"file {second}"
    assert state(capsys, "off")["on"] is False
    assert as_recorded(home, filled)
    assert not list(home.root.rglob("*.encrypted"))
    assert (home.quarantine / "broken-0.bin").read_bytes() == f"broken {MARK}".encode()


def test_everything_works(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    """Search, SQL, check, compaction, erasure, backup: as in a home that is not encrypted."""
    encrypt(home)
    home.secret.write_bytes(b"k" * 32)
    every = [said(n) for n in range(6)]
    for some in (every[:2], every[2:4]):
        stored(home, *some)
    assert bodies.merge_small(home, 2)
    spooled(home, *every[4:])
    capsys.readouterr()
    assert run(["usage", "find", "No005x", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["id"] == every[5].exchange.id
    assert run(["sql", "SELECT count(*) FROM messages WHERE text LIKE '%silver%'"]) == 0
    assert "12" in capsys.readouterr().out
    assert run(["erase", "--id", every[3].exchange.id, "--yes", "--json"]) == 0
    receipt = json.loads(capsys.readouterr().out)
    assert (receipt["complete"], receipt["erased"]["records"]) == (True, 1)
    assert run(["db", "check"]) == 0
    assert run(["db", "compact"]) == 0
    assert run(["db", "info"]) == 0
    assert run(["doctor", "secrets"]) == 0
    assert run(["db", "backup", str(home.root.parent / "backup")]) == 0
    assert files_with(home.root.parent / "backup", MARK) == in_the_clear(home) == []
    assert as_recorded(home, every[:3] + every[4:])
    assert run(["db", "restore", str(home.root.parent / "backup"), "--replace"]) == 0
    assert as_recorded(home, every[:3] + every[4:])


def test_what_is_looked_through_is_decrypted(home: Home) -> None:
    """A marker that an erasure looks for is found in encrypted files, too: nothing is said to be gone that is not."""
    encrypt(home)
    stored(home, said(0))
    spooled(home, said(1))
    (home.quarantine / "x.bin").write_bytes(keys.protected(home, f"left {MARK}".encode()))
    found = erasure.check(home, [], erasure.Markers([], [MARK.encode()]), content_only=True).found
    assert any("spool/" in one for one in found)
    assert any("quarantine/x.bin" in one for one in found)


def test_without_the_key(home: Home, filled: list[Captured], capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is shown and nothing lost: a sentence, exit code 5; with the key all is there."""
    path = key_file(home.root.parent)
    state(capsys, "on", "--key-file", str(path))
    spooled(home, said(9))
    hidden = path.rename(path.with_name("hidden"))
    for words in (["usage", "find", MARK], ["ingest", "--once"]):
        done = tracecli(home.root, *words, code=5)
        assert str(path) in done.stderr
        assert MARK not in done.stdout + done.stderr
    assert len(list(home.spool.iterdir())) == 1
    hidden.rename(path)
    tracecli(home.root, "ingest", "--once")
    assert as_recorded(home, filled)
    assert len(list(home.spool.iterdir())) == 0


STEPS = ("tracecli.store.parquet:moved", "tracecli.store.reencryption:opened", "tracecli.files:write_whole")


@pytest.mark.parametrize("step", [0, 2, 5])
def test_killed_anywhere(home: Home, filled: list[Captured], step: int) -> None:
    """Who was killed while it encrypted leaves everything readable, and the next one goes on."""
    encrypt(home)
    die_at(home, step, *STEPS)
    assert as_recorded(home, filled)
    assert list(left(home))
    tracecli(home.root, "ingest", "--once")
    assert not list(left(home))
    assert as_recorded(home, filled)
    assert in_the_clear(home) == ["cache.db"]  # which `encryption on` empties


def test_quarantined(home: Home, capfdbinary: pytest.CaptureFixture[bytes], tmp_path: Path) -> None:
    """What could not be read is encrypted too, and can be had; that is noted."""
    encrypt(home)
    spooled(home, said(0))
    [segment] = home.spool.iterdir()
    data = segment.read_bytes()
    segment.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    ingest.run(home, once=True, ended=lambda: True, policies=tmp_path / "policies")
    [aside] = home.quarantine.iterdir()
    assert data[:-1] not in aside.read_bytes()
    capfdbinary.readouterr()
    assert run(["encryption", "decrypt", str(aside)]) == 0
    assert capfdbinary.readouterr().out == data[:-1] + bytes([data[-1] ^ 1])
    assert [one.command for one in ledger.entries(home)] == ["encryption decrypt"]


def test_bad_input(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    """Each mistake has a sentence and a code, and changes nothing."""
    path = key_file(home.root.parent)
    inside = key_file(home.root)
    for words, code, told in (
        (["on"], 2, "one of --key-file"),
        (["on", "--key-file", str(path), "--key-env", "X"], 2, "one of --key-file"),
        (["on", "--key-file", str(inside)], 3, "beside what it protects"),
        (["on", "--key-file", str(home.root.parent / "none")], 5, "No such file"),
        (["on", "--key-env", "NOT_SET_AT_ALL"], 5, "is not set"),
        (["off"], 3, "is not encrypted"),
        (["rotate"], 3, "is not encrypted"),
    ):
        assert run(["encryption", *words]) == code
        assert told in capsys.readouterr().err
        assert not home.keys.exists()
    inside.unlink()
    assert run(["encryption", "on", "--key-file", str(path)]) == 0
    assert run(["encryption", "on", "--key-file", str(path)]) == 3
    assert "rotate" in capsys.readouterr().err


def test_a_new_key(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    """`encryption key` prints a new one each time, that is taken, here as what a command prints."""
    path = key_file(home.root.parent)
    printed = set()
    for _ in range(2):
        assert run(["encryption", "key"]) == 0
        printed.add(capsys.readouterr().out)
    assert len(printed) == 2
    path.write_text(printed.pop())
    assert run(["encryption", "on", "--key-command", f"cat '{path}'"]) == 0
    assert keys.stored(home).source == KeySource(command=f"cat '{path}'")
