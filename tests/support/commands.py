"""The command line as people and scripts use it: a process, its output, the JSON contract."""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

from tests.support.waiting import wait_until
from tracecli.cli import main

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent

type JsonRow = dict[str, Any]


def environment(home: Path, **more: str) -> dict[str, str]:
    """What a process of a test gets to know: nothing of the person who runs the tests."""
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(home.parent),
        "LANG": "C.UTF-8",
        "TZ": "UTC",
        "TRACECLI_HOME": str(home),
        "TRACECLI_POLICIES": str(home.parent / "policies"),
        **more,
    }


def tracecli(home: Path, *args: str, code: int | None = 0, **more: str) -> subprocess.CompletedProcess[str]:
    """Run `tracecli ARGS` on a home; it has to end with `code`, None for any."""
    done = subprocess.run(
        [sys.executable, "-m", "tracecli", *args],
        cwd=home.parent,
        env=environment(home, **more),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert code is None or done.returncode == code, (args, done.returncode, done.stderr)
    return done


def printed(home: Path, *args: str) -> str:
    """What `tracecli ARGS` prints, without a process of its own: those who wait ask many times."""
    with (
        _ONE_AT_A_TIME,
        contextlib.redirect_stdout(io.StringIO()) as out,
        contextlib.redirect_stderr(io.StringIO()) as err,
    ):
        before = dict(os.environ)
        os.environ.update(environment(home))
        try:
            code = main.run(args)
        finally:
            os.environ.clear()
            os.environ.update(before)
    assert code == 0, (args, code, err.getvalue())
    return out.getvalue()


_ONE_AT_A_TIME = threading.Lock()


def rows(home: Path, user: str | None = None, *, limit: int = 100_000) -> list[JsonRow]:
    """What is recorded, newest first; of one user, or all."""
    found: list[JsonRow] = json.loads(printed(home, "usage", "show", "--json", "--limit", str(limit)) or "[]")
    return [row for row in found if user is None or row["user"] == user]


def opened(home: Path, reference: str) -> JsonRow:
    """One exchange with its content."""
    found: JsonRow = json.loads(printed(home, "usage", "show", reference, "--json"))
    return found


def only_row(home: Path, user: str) -> JsonRow:
    """The one record of a user, as soon as it is there."""
    found = wait_until(lambda: rows(home, user), f"a record of {user}")
    assert len(found) == 1, found
    return found[0]


def only_opened(home: Path, user: str) -> JsonRow:
    """The one record of a user, opened."""
    return opened(home, only_row(home, user)["id"])
