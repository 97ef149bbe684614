"""`tracecli usage show REF`: its parts, its bytes, its session."""

from __future__ import annotations

import gzip
import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.chats import answered, asked, call, store
from tracecli.cli.main import run
from tracecli.config import Home

_TYPE = ("Content-Type", "application/json")
_ANSWER = gzip.compress(answered("in \x1b[31mred"))
_EXCHANGES = [
    call(0, asked("first"), answered("one"), session="s*"),
    call(1, asked("second"), answered("two"), session="s*", response_headers=[_TYPE], http_version="HTTP/1.1"),
    call(2, asked("other"), answered("three"), session="s1"),
    call(3, asked("third"), _ANSWER, response_headers=[_TYPE, ("Content-Encoding", "gzip")]),
]
IDS = [one.exchange.id for one in _EXCHANGES]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    """Two exchanges of a session, one of another whose name the first one's would fit as a pattern, and one of none."""
    home = Home(tmp_path / "home")
    home.prepare()
    store(home, *_EXCHANGES)
    monkeypatch.setenv("TRACECLI_HOME", str(home.root))
    return home


def _written(capture: pytest.CaptureFixture[bytes], *args: str) -> bytes:
    assert run(["usage", "show", *args]) == 0
    return capture.readouterr().out


def test_parts(home: Home, capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    """Each part goes to standard output alone: bodies as they were said, or with --raw as they were sent."""
    assert _written(capsysbinary, "last", "--part", "request") == asked("third")
    assert _written(capsysbinary, "last", "--part", "response") == gzip.decompress(_ANSWER)
    assert _written(capsysbinary, "last", "--part", "response", "--raw") == _ANSWER
    assert _written(capsysbinary, "last", "--part", "prompt") == b"[user]\nthird\n"
    assert _written(capsysbinary, "last", "--part", "completion") == b"in \x1b[31mred"


def test_raw_is_what_was_sent(home: Home, capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    """--raw alone is heads and bodies, byte for byte."""
    told = _written(capsysbinary, IDS[1], "--raw")
    request, response = told.split(b"\r\n\r\nHTTP/1.1 200\r\n")
    head, body = request.split(b"\r\n\r\n")
    assert head.split(b"\r\n")[0] == b"POST /v1/chat/completions HTTP/1.1"
    assert b"Accept: a\r\nAccept: b" in head
    assert body == asked("second")
    assert response == b"Content-Type: application/json\r\n\r\n" + _EXCHANGES[1].response_body


def test_what_is_no_text_stays_off_a_terminal(home: Home) -> None:
    """On a terminal text is escaped, and bytes that are none are refused."""
    for args, code, said in (
        (("--part", "completion"), 0, b"in \\x1b[31mred"),
        (("--part", "response", "--raw"), 1, b"this is no text"),
    ):
        parent, child = pty.openpty()
        command = [sys.executable, "-m", "tracecli", "usage", "show", "last", *args]
        environment = {"PATH": os.environ["PATH"], "HOME": str(home.root), "TRACECLI_HOME": str(home.root)}
        process = subprocess.Popen(command, env=environment, stdin=child, stdout=child, stderr=child)
        assert process.wait(60) == code
        told = os.read(parent, 100_000)
        os.close(child)
        os.close(parent)
        assert said in told
        assert b"\x1b[31m" not in told


def test_a_session(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    """--follow-session opens all of the session, oldest first, and nothing of another."""
    assert run(["usage", "show", IDS[1], "--follow-session"]) == 0
    out = capsys.readouterr().out
    assert [identifier in out for identifier in IDS] == [True, True, False, False]
    assert out.index(IDS[0]) < out.index(IDS[1])
    assert run(["usage", "show", IDS[1], "--follow-session", "--json"]) == 0
    assert [one["id"] for one in json.loads(capsys.readouterr().out)] == IDS[:2]
    assert run(["usage", "show", "last", "--follow-session"]) == 4
    assert "is of no session" in capsys.readouterr().err


def test_calls(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    """--curl and --python write a call, and say on standard error which variable it needs."""
    for option, begin in (("--curl", "curl https://api.openai.com/"), ("--python", "import json\n")):
        assert run(["usage", "show", "last", option]) == 0
        out, err = capsys.readouterr()
        assert out.startswith(begin)
        assert err == "Set OPENAI_API_KEY: the record does not hold the secret.\n"


@pytest.mark.parametrize(
    "args",
    [
        ["--raw"],
        ["user:alice", "--curl"],
        ["last", "--curl", "--python"],
        ["last", "--json", "--part", "prompt"],
        ["last", "--raw", "--part", "prompt"],
    ],
)
def test_what_makes_no_sense(home: Home, args: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Options of one request need one, and those that exclude each other are refused."""
    assert run(["usage", "show", *args]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
