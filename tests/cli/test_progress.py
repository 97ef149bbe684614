"""That a command is at work shows on a terminal, after a while, and never where data goes."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.chats import answered, asked, call, store
from tracecli.config import Home

# A command that takes its time, as the one a user starts.
_SLOW = """
import sys, threading
from tracecli import finding, reparse, walking
from tracecli.cli import main, progress
progress.AFTER_S = 0.05
real = finding.selected
shown = threading.Event()
update = progress._Watch._update
def noted(watch):
    update(watch)
    if watch._shown is not None:
        shown.set()
progress._Watch._update = noted
def slow(*args, **kwargs):
    if sys.argv[1] == "wait":
        assert shown.wait(20)
    return real(*args, **kwargs)
finding.selected = slow
walk = walking.walk
def slowly(*args, **kwargs):
    for batch in walk(*args, **kwargs):
        assert shown.wait(20)
        yield batch
reparse.walk = slowly
sys.exit(main.run(sys.argv[2:]))
"""


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """One exchange."""
    home = Home(tmp_path / "home")
    home.prepare()
    store(home, call(0, asked("x"), answered("y"), user="alice"))
    return home


def ran(home: Home, how: str, *args: str, **environment: str) -> tuple[str, str]:
    """What a slow command writes to a pipe, and what to the terminal of its standard error."""
    ours, its = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", _SLOW, how, *args],
        stdout=subprocess.PIPE,
        stderr=its,
        env={**os.environ, "TRACECLI_HOME": str(home.root), "TERM": "xterm", **environment},
    )
    os.close(its)
    with process:
        assert process.stdout is not None
        out = process.stdout.read().decode()
    assert process.returncode == 0
    told = b""
    while True:
        try:
            piece = os.read(ours, 65536)
        except OSError:
            break
        if not piece:
            break
        told += piece
    os.close(ours)
    return out, told.decode()


def test_what_takes_long(home: Home) -> None:
    """It shows on the terminal of standard error, is erased again, and the data is as it would be."""
    out, told = ran(home, "wait", "usage", "show", "--json")
    assert "working" in told
    assert told.rpartition("working")[2].count("\x1b[2K") >= 1  # the line is erased after it
    assert '"user": "alice"' in out and "working" not in out and "\x1b" not in out


def test_how_much_there_is_to_do(home: Home) -> None:
    """Where that is known, it shows how much of it is done."""
    _, told = ran(home, "wait", "reparse", "--since", "2020-01-01")
    assert "0 of 1 exchanges" in told
    assert "━" in told


def test_without_colours(home: Home) -> None:
    """NO_COLOR takes the colours away."""
    _, told = ran(home, "wait", "usage", "show", NO_COLOR="1")
    assert "working" in told
    assert "\x1b[3" not in told


def test_what_does_not_take_long(home: Home) -> None:
    """What is done at once says nothing."""
    out, told = ran(home, "at once", "policy", "list")
    assert out and not told


def test_in_a_pipe(home: Home) -> None:
    """Where standard error is no terminal, nothing shows."""
    done = subprocess.run(
        [sys.executable, "-c", _SLOW, "at once", "usage", "show"],
        env={**os.environ, "TRACECLI_HOME": str(home.root)},
        capture_output=True,
        check=True,
        text=True,
    )
    assert done.stderr == ""
    assert "\x1b" not in done.stdout
