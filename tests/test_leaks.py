"""`tracecli doctor secrets`: a credential that passed is found wherever it is, and nothing else is."""

from __future__ import annotations

import gzip
import json
import sqlite3
from pathlib import Path

import pytest

from tests.support.chats import answered, asked, call, store
from tracecli import leaks
from tracecli.cli.main import run
from tracecli.config import Home
from tracecli.credentials import fingerprint
from tracecli.spool import SpoolWriter

# Without a form that redaction would know.
KEY = "q7Wm2xLp9Rt4Zs8Vb3Nc6Kd1Jf5Hg0Ya"
SECRET = b"s" * 32


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    """A caller used the key; nothing holds it."""
    home = Home(tmp_path / "home")
    home.prepare()
    home.secret.write_bytes(SECRET)
    monkeypatch.setenv("TRACECLI_HOME", str(home.root))
    known = fingerprint([("Authorization", f"Bearer {KEY}")], "/", SECRET)
    store(home, call(0, asked("x"), answered("y"), credential=known))
    return home


def places(home: Home) -> list[str]:
    return [leak.place for leak in leaks.look(home).found]


def test_nothing_is_found_where_nothing_is(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    assert places(home) == []
    assert run(["doctor", "secrets"]) == 0
    assert capsys.readouterr().err.startswith("No of 1 credentials found in ")


@pytest.mark.parametrize(
    "text",
    [KEY, f"Authorization: Bearer {KEY}", f"GET /v1?key={KEY}&x=1", f'{{"api_key":"{KEY}"}}', f"a={KEY}=", f"x:{KEY}."],
)
@pytest.mark.parametrize("file", ["ingest.log", "quarantine/a.bin", "spool/x.seg", "notes/deep/er.txt"])
def test_in_a_file(home: Home, text: str, file: str) -> None:
    """As bytes, whatever is around it, also over the border of what is read at once."""
    path = home.root / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"\x00\xff" + text.encode() + b"\n")
    assert places(home) == [file]


def test_across_blocks(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leaks, "_BLOCK", 64)
    (home.root / "notes.txt").write_text("x " * 25 + KEY + " y" * 100)
    assert places(home) == ["notes.txt"]


def test_in_what_is_packed(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    """In a compressed body, a column of the database, the spool, and the cache: it says where, and not what."""
    body = gzip.compress(answered(f"your key is {KEY}"))
    leaky = call(1, asked("z"), body, response_headers=[("Content-Encoding", "gzip")])
    store(home, leaky)
    waiting = call(2, asked(f"it is {KEY}"), answered("y"))
    spool = SpoolWriter(home.spool)
    assert spool.append(waiting)
    spool.close()
    run(["usage", "rate", leaky.exchange.id, "--score", "3", "--comment", f"he sent {KEY}"])
    with sqlite3.connect(home.cache) as cache:
        cache.execute("CREATE TABLE x (y)")
        cache.execute("INSERT INTO x VALUES (?)", [KEY])
    cache.close()
    capsys.readouterr()
    assert run(["doctor", "secrets", "--json"]) == 7
    out = capsys.readouterr().out
    assert KEY not in out
    found = {leak["place"].partition("/")[0] for leak in json.loads(out)["found"]}
    assert found >= {
        f"exchange {leaky.exchange.id}",
        f"exchange {waiting.exchange.id}",
        "table exchange",
        "cache.db",
        "spool",
    }


def test_without_the_secret(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing can be recognised, and that is said."""
    home.secret.unlink()
    assert run(["doctor", "secrets"]) == 5
    assert "no credential can be recognised" in capsys.readouterr().err


def test_an_empty_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRACECLI_HOME", str(tmp_path / "none"))
    assert run(["doctor", "secrets"]) == 0
    assert not (tmp_path / "none").exists()
