"""`tracecli redact test`: what would be taken out, of a text, a file, a recorded request."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import pytest

from tests.support.chats import answered, asked, call, store
from tracecli import ledger
from tracecli.cli.main import run
from tracecli.config import Home

KEY = "sk-proj-" + "a1B2" * 6


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    home = Home(tmp_path / "home")
    monkeypatch.setenv("TRACECLI_HOME", str(home.root))
    monkeypatch.setenv("TRACECLI_POLICIES", str(tmp_path))
    (tmp_path / "default.toml").write_text("")
    (tmp_path / "strict.toml").write_text('[redaction]\nkinds = ["email"]\nwords = ["Ann"]')
    return home


def tried(capsys: pytest.CaptureFixture[str], *args: str) -> tuple[str, str]:
    """What it writes and what it says."""
    assert run(["redact", "test", *args]) == 0
    return capsys.readouterr()


def test_a_text(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    text = f"Ann (ann@example.org, 8.8.8.8) has {KEY}"
    assert tried(capsys, "--text", text) == (
        "Ann ([REDACTED:email], [REDACTED:ip_address]) has [REDACTED:secrets]\n",
        "email\nip_address\nsecrets\n",
    )
    out, _ = tried(capsys, "--text", text, "--policy", "strict")
    assert out == "[REDACTED:name] ([REDACTED:email], 8.8.8.8) has [REDACTED:secrets]\n"
    out, _ = tried(capsys, "--text", text, "--policy", "default")
    assert out == "Ann (ann@example.org, 8.8.8.8) has [REDACTED:secrets]\n"
    out, _ = tried(capsys, "--text", text, "--word", "has", "--pattern", "digits=[0-9][.][0-9]")
    assert out == "Ann (ann@example.org, [REDACTED:digits].[REDACTED:digits]) [REDACTED:name] [REDACTED:secrets]\n"
    assert tried(capsys, "--text", "nothing")[1] == "Nothing would be taken out.\n"


def test_a_file_and_a_pipe(
    home: Home, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """JSON is looked into as a body is; what is no text would not be kept."""
    file = tmp_path / "body.json"
    file.write_text('{"to": [{"mail": "a@example.org"}], "n": 4111111111111111}')
    told = json.loads(tried(capsys, str(file), "--json")[0])
    assert told == {
        "found": ["to[0].mail: email"],
        "redacted": '{"to": [{"mail": "[REDACTED:email]"}], "n": 4111111111111111}',
    }
    file.write_bytes(b"\xff\x00")
    assert tried(capsys, str(file)) == ("", "it is no text\n")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"call 415-555-2671")))
    assert tried(capsys)[0] == "call [REDACTED:phone]\n"


def test_a_recorded_request(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    """Both of its bodies; that they were shown is in the ledger."""
    home.prepare()
    one = call(0, asked("mail a@example.org"), answered("b@example.org said so"))
    store(home, one)
    out, said = tried(capsys, "last", "--kind", "email")
    assert said == "request messages[0].content: email\nresponse choices[0].message.content: email\n"
    assert "example.org" not in out
    assert [entry.ids for entry in ledger.entries(home)] == [[one.exchange.id]]


@pytest.mark.parametrize(
    "args",
    [
        ["--kind", "mail", "--text", "x"], ["--pattern", "x", "--text", "x"], ["--pattern", "a=(", "--text", "x"],
        ["--policy", "none", "--text", "x"], ["--policy", "strict", "--kind", "email", "--text", "x"], ["no-such-file"],
        ["last"],
    ],
)  # fmt: skip
def test_bad_command_lines(home: Home, args: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["redact", "test", *args]) in (2, 3, 4)
    assert capsys.readouterr().err.count("tracecli:") == 1
