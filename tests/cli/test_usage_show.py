"""`tracecli usage show`: the list, one request, and JSON of both."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest

import tracecli
from tests.support.fake_cli import FakeBrowse
from tests.support.rows import opened, rows
from tracecli.cli.main import run
from tracecli.errors import AmbiguousId, NewerDatabase, StoreBusy
from tracecli.exchange import Row

ROOT = Path(__file__).parents[2]
FAKE = [sys.executable, "-m", "tests.support.fake_cli"]


@pytest.fixture
def browse(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FakeBrowse:
    """Made-up records in the place of the store, and a home of the test's own."""
    fake = FakeBrowse()
    monkeypatch.setenv("TRACECLI_HOME", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    for name in ("browse", "finding"):
        monkeypatch.setitem(sys.modules, f"tracecli.{name}", fake)
        monkeypatch.setattr(tracecli, name, fake, raising=False)
    return fake


def environment(**more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name in {"PATH", "HOME"}}
    return kept | {"TZ": "Europe/Berlin", "TERM": "xterm-256color", "PAGER": ""} | more


def on_a_terminal(columns: int, *args: str, **more: str) -> str:
    """What the command writes when its streams are a terminal of `columns` cells."""
    parent, child = pty.openpty()
    fcntl.ioctl(child, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    process = subprocess.Popen(
        [*FAKE, *args], cwd=ROOT, env=environment(**more), stdin=child, stdout=child, stderr=child
    )
    os.close(child)
    read = b""
    while True:
        try:
            piece = os.read(parent, 65536)
        except OSError:  # Linux: the other end has closed
            break
        if not piece:
            break
        read += piece
    os.close(parent)
    assert process.wait(30) == 0
    return read.decode().replace("\r\n", "\n")


def test_a_pipe_gets_plain_lines(browse: FakeBrowse, capsys: pytest.CaptureFixture[str]) -> None:
    """Without a terminal the list is a line of names and one whole line a request, on standard output alone."""
    assert run(["usage", "show"]) == 0
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert lines[0].split()[:3] == ["id", "started_at", "user"]
    assert [line.split()[0] for line in lines[1:]] == [one.id for one in rows()]
    assert lines[1].split()[1] == "2026-11-22T14:04:57+01:00"
    assert "\x1b" not in out
    assert err == ""


def test_a_terminal_gets_a_table_of_its_width() -> None:
    """On a terminal the list has colours, fits the width, and ends in totals."""
    for columns, last in ((80, "took"), (160, "duration")):
        text = on_a_terminal(columns, "usage", "show", "--limit", "12")
        assert "\x1b[36m01a2035c-18a8\x1b[0m" in text
        lines = re.sub(r"\x1b\[[\d;]*m", "", text).splitlines()
        assert lines[0].endswith(last)
        assert max(map(len, lines)) <= columns
        assert lines[-1].startswith("latest 12 requests · 1")


def test_no_color_is_honoured() -> None:
    """NO_COLOR leaves bold and dim, and takes every colour."""
    for args in (["usage", "show"], ["usage", "show", "last"]):
        text = on_a_terminal(80, *args, NO_COLOR="1")
        assert not re.search(r"\x1b\[(?:[\d;]*;)?[34]\d", text)


def test_the_default_is_fifty(browse: FakeBrowse) -> None:
    """Without --limit the fifty latest are asked for; with it as many as it says."""
    assert run(["usage", "show"]) == 0
    assert run(["usage", "show", "--limit", "7"]) == 0
    assert [asked for _, asked in browse.asked] == [50, 7]


@pytest.mark.parametrize("limit", ["0", "-1", "1000001", "many"])
def test_a_limit_out_of_range_is_refused(browse: FakeBrowse, capsys: pytest.CaptureFixture[str], limit: str) -> None:
    """A limit that makes no sense is one sentence and exit code 2."""
    assert run(["usage", "show", "--limit", limit]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "--limit" in err
    assert err.count("\n") == 1


def test_limit_and_ref_exclude_each_other(browse: FakeBrowse, capsys: pytest.CaptureFixture[str]) -> None:
    """An option that would do nothing is refused."""
    assert run(["usage", "show", "last", "--limit", "3"]) == 2
    assert "leave one of them out" in capsys.readouterr().err


def test_one_request_is_opened(browse: FakeBrowse, capsys: pytest.CaptureFixture[str]) -> None:
    """With an id, a prefix or `last`, the request is shown with its content."""
    for ref in (opened().row.id, "01A2035B-F198", "last"):
        assert run(["usage", "show", ref]) == 0
        out, err = capsys.readouterr()
        assert "\nPrompt\n" in out
        assert "You are a weather assistant" in out
        assert err == ""


def test_json_is_the_contract(browse: FakeBrowse, capsys: pytest.CaptureFixture[str]) -> None:
    """--json prints the fields of the contract in their order, money as text; with REF one object with content."""
    assert run(["usage", "show", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert [list(one) for one in listed] == [list(Row.__struct_fields__)] * 12
    assert listed == [one.as_json() for one in rows()]
    assert run(["usage", "show", "--json", "last"]) == 0
    one = json.loads(capsys.readouterr().out)
    assert one["request"]["headers"][0] == ["host", "api.anthropic.com"]
    assert one["completion"] == '{"place":"Paris","celsius":21.5}'


def test_nothing_recorded_is_no_error(browse: FakeBrowse, capsys: pytest.CaptureFixture[str]) -> None:
    """An empty store says on standard error how to begin, and exits with 0; its JSON is an empty list."""
    browse.found = []
    assert run(["usage", "show"]) == 0
    out, err = capsys.readouterr()
    assert out == ""
    assert "tracecli demo" in err
    assert "tracecli proxy" in err
    assert run(["usage", "show", "--json"]) == 0
    assert capsys.readouterr() == ("[]\n", "")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (AmbiguousId("2 ids begin with 01", "Give more of the id."), 4),
        (StoreBusy("the database is busy", "Try again."), 5),
        (NewerDatabase("the database is newer", "Upgrade."), 5),
    ],
)
def test_errors_are_one_sentence_and_a_remedy(
    browse: FakeBrowse,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: Exception,
    code: int,
) -> None:
    """What reading raises becomes a line on standard error and the documented exit code."""

    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(browse, "rows", fail)
    monkeypatch.setattr(browse, "open_exchange", fail)
    for args in (["usage", "show"], ["usage", "show", "01"], ["usage", "show", "--json"]):
        assert run(args) == code
        assert capsys.readouterr() == ("", f"tracecli: {error}\n")


def test_json_of_hostile_content_is_ascii(browse: FakeBrowse, capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    """JSON holds no control but newline, and reads back as what was recorded: surrogates, DEL, C1 and NaN too."""
    text = "\x1b]52;c;x\x07 \x9b31m \x7f \u202e \ud800 \U000e0041 é"
    part = {"type": "tool_call", "id": None, "name": text, "arguments": {"n": float("nan"), "i": [float("inf")]}}
    browse.changes = {"user": text, "output_messages": [{"role": "assistant", "parts": [part]}]}
    assert run(["usage", "show", "last", "--json"]) == 0
    out = capsysbinary.readouterr().out
    assert re.fullmatch(rb"[\n\x20-\x7e]+", out)
    one = json.loads(out, parse_constant=pytest.fail)
    assert one["user"] == text
    assert one["output_messages"][0]["parts"][0]["arguments"] == {"n": None, "i": [None]}


def test_deep_content_is_still_json(browse: FakeBrowse, capsys: pytest.CaptureFixture[str]) -> None:
    """A thousand lists in each other, which no parser refuses, are printed and read back."""
    deep: list[object] = []
    for _ in range(1200):
        deep = [deep]
    browse.changes = {"input_messages": [{"role": "user", "parts": [{"type": "tool_call", "arguments": deep}]}]}
    assert run(["usage", "show", "last", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["input_messages"]
    assert run(["usage", "show", "last"]) == 0


@pytest.mark.parametrize(
    "args", [["usage", "show"], ["usage", "show", "last"], ["usage", "show", "--json"], ["--help"]]
)
def test_any_locale_gets_utf8(args: list[str]) -> None:
    """With a C locale and Python told to write ASCII, the output is the same UTF-8."""
    plain, ascii_only = (
        subprocess.run([*FAKE, *args], cwd=ROOT, env=environment(**more), capture_output=True, check=True, timeout=60)
        for more in ({}, {"LC_ALL": "C", "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"})
    )
    assert ascii_only.stdout == plain.stdout
    assert ascii_only.stderr == b""
    plain.stdout.decode("utf-8")


def test_a_reader_that_leaves_is_no_error() -> None:
    """`| head` ends the command in silence, with the code that SIGPIPE would give."""
    process = subprocess.Popen(
        [*FAKE, "usage", "show", "--limit", "4800"],
        cwd=ROOT,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.read(10)
    process.stdout.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait(30) == 141


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("args", [["usage", "show"], ["usage", "show", "last"], ["usage", "show", "--json"]])
def test_a_full_disk_is_one_sentence(args: list[str]) -> None:
    """Output that cannot be written is said, with exit code 1."""
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [*FAKE, *args], cwd=ROOT, env=environment(), stdout=full, stderr=subprocess.PIPE, check=False, timeout=60
        )
    assert done.returncode == 1
    assert (
        done.stderr
        == b"tracecli: cannot write the output: No space left on device. Free some space, or send it elsewhere.\n"
    )


def test_json_needs_no_rich() -> None:
    """Thousands of rows as JSON are written without Rich, which would take seconds for them."""
    script = (
        "import sys; from tests.support.fake_cli import FakeBrowse, install; from tracecli.cli.main import run\n"
        "install(FakeBrowse([*FakeBrowse().found] * 400))\n"
        "assert run(['usage', 'show', '--json', '--limit', '4000']) == 0\n"
        "print([name for name in sys.modules if name.split('.')[0] == 'rich'], file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, env=environment(), capture_output=True, check=True, timeout=60
    )
    assert len(json.loads(done.stdout)) == 4000
    assert done.stderr.strip() == b"[]"
