"""`tracecli usage tail`: requests as they end."""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.chats import answered, asked, call, store
from tests.support.commands import environment
from tracecli.config import Home
from tracecli.exchange import Captured, new_id
from tracecli.spool import SpoolWriter


def _now(user: str, text: str = "x") -> Captured:
    at = time.time_ns() // 1000
    return call(0, asked(text), answered(text), started_at_us=at, id=new_id(at // 1000), user=user)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """A home with one exchange of alice, stored."""
    home = Home(tmp_path / "home")
    home.prepare()
    store(home, _now("alice"))
    return home


@contextmanager
def _tail(home: Home, *args: str) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "tracecli", "usage", "tail", *args],
        env=environment(home.root),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def _spool(home: Home, *exchanges: Captured) -> None:
    writer = SpoolWriter(home.spool)
    for one in exchanges:
        assert writer.append(one)
    writer.close()


def test_what_ends_is_shown_once(home: Home) -> None:
    """It begins with the latest, then shows each request as it ends, also when it moves from the spool to the store."""
    with _tail(home, "--json", "-user:bob") as process:
        assert process.stdout is not None

        def user() -> str:
            return str(json.loads(process.stdout.readline())["user"])  # type: ignore[union-attr]

        assert user() == "alice"
        _spool(home, _now("bob"), _now("carol"))
        assert user() == "carol"
        store(home, _now("dave"))
        assert user() == "dave"
        store(home, _now("erin"))
        assert user() == "erin"
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130
        assert process.communicate() == (b"", b"\n")  # click's, behind the ^C


def test_one_that_took_long(home: Home) -> None:
    """A request that began long before the others is shown when it ends, after them."""
    with _tail(home, "--json", "--limit", "1") as process:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["user"] == "alice"  # now it is waiting
        at = time.time_ns() // 1000 - 3600 * 1_000_000
        _spool(home, call(0, asked("x"), answered("x"), started_at_us=at, id=new_id(at // 1000), user="old"))
        _spool(home, _now("quick"))
        at -= 1_000_000
        long = {"started_at_us": at, "id": new_id(at // 1000), "duration_ms": 3_601_000.0}
        _spool(home, call(0, asked("x"), answered("x"), user="long", **long))
        users = [json.loads(process.stdout.readline())["user"] for _ in range(2)]
        assert sorted(users) == ["long", "quick"]


def test_words_and_an_empty_home(tmp_path: Path) -> None:
    """It can wait for words, and for the first request of all."""
    home = Home(tmp_path / "home")
    with _tail(home, "paris", "--limit", "0") as process:
        assert process.stdout is not None
        home.prepare()
        while not select.select([process.stdout], [], [], 0.5)[0]:  # it may not be waiting yet
            _spool(home, _now("bob", "london"), _now("carol", "PARIS"))
        assert b"  carol  " in process.stdout.readline()


def test_lines_fit_the_terminal(home: Home) -> None:
    """On a terminal each request is one line, whatever its user is called."""
    store(home, _now("\x1b[31mevil\n" + "é" * 500))
    parent, child = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "tracecli", "usage", "tail"],
        env=environment(home.root, COLUMNS="100", TERM="xterm"),
        stdin=child,
        stdout=child,
        stderr=child,
    )
    try:
        told = b""
        while told.count(b"\n") < 2:
            told += os.read(parent, 10_000)
    finally:
        process.kill()
        process.wait()
        os.close(parent)
        os.close(child)
    text = told.decode()
    assert "\x1b[31mevil" not in text
    assert "\\x1b[31mevil" in text
    assert text.count("\n") == 2
