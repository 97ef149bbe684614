"""`tracecli demo` shows the whole way without a key, and leaves nothing behind."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.commands import environment
from tests.support.waiting import wait_until


def start(folder: Path) -> subprocess.Popen[str]:
    """The demo, with a folder for temporary files that is its own."""
    scratch = folder / "scratch"
    scratch.mkdir()
    given = environment(folder / "home", TMPDIR=str(scratch))
    # A home, policies and a proxy of the user must not matter.
    (folder / "policies").mkdir()
    (folder / "policies" / "default.toml").write_text("tracing = false\n")
    given |= {"HTTPS_PROXY": "http://127.0.0.1:9", "HTTP_PROXY": "http://127.0.0.1:9"}
    return subprocess.Popen(
        [sys.executable, "-m", "tracecli", "demo"],
        cwd=folder,
        env=given,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def processes_of(folder: Path) -> list[str]:
    """The command lines of running processes that name the folder or have it as their temporary one."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            known = (process / "cmdline").read_bytes() + (process / "environ").read_bytes()
            if os.fsencode(folder) in known and int(process.name) != os.getpid():
                found.append((process / "cmdline").read_text())
    return found


def interrupted_by(number: signal.Signals) -> set[int]:
    """The exit codes of an interrupted process, for a shell one and the same.

    Python ends by the signal itself, whatever code is asked for, if Ctrl-C arrived while it ran text with `exec`, as a
    named tuple does when its module is imported.
    """
    return {128 + number, -number} if number == signal.SIGINT else {128 + number}


def assert_nothing_left(folder: Path) -> None:
    """No process, no file: neither where the demo worked nor in the user's own home."""
    wait_until(lambda: not processes_of(folder / "scratch"), f"the end of {processes_of(folder / 'scratch')}")
    assert list((folder / "scratch").iterdir()) == []
    assert not (folder / "home").exists()
    assert sorted(path.name for path in folder.iterdir()) == ["policies", "scratch"]


def test_the_demo(tmp_path: Path) -> None:
    """It ends by itself within seconds with exit code 0, and shows a plain, a streamed and an aborted call."""
    with start(tmp_path) as demo:
        shown, said = demo.communicate(timeout=60)
    assert demo.returncode == 0, said
    for outcome in ("complete", "aborted"):
        assert outcome in shown
    assert "gpt-4o-mini" in shown
    assert "the river hands me pebbles" in shown
    assert "tracecli proxy" in said
    assert "Traceback" not in said + shown
    assert_nothing_left(tmp_path)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_demo(tmp_path: Path, number: signal.Signals) -> None:
    """Ctrl-C in the middle ends everything and clears everything away."""
    with start(tmp_path) as demo:
        wait_until(lambda: list(tmp_path.glob("scratch/*/home/proxy-*.json")), "the demo's proxy")
        demo.send_signal(number)
        _, said = demo.communicate(timeout=60)
    assert demo.returncode in interrupted_by(number), said
    assert "Traceback" not in said
    assert_nothing_left(tmp_path)


def test_an_interrupt_at_the_start(tmp_path: Path) -> None:
    """Ctrl-C while the proxy is still starting leaves nothing either."""
    with start(tmp_path) as demo:
        wait_until(lambda: list(tmp_path.glob("scratch/*/home")), "the start of the demo's proxy", every_s=0.001)
        demo.send_signal(signal.SIGINT)
        _, said = demo.communicate(timeout=60)
    assert demo.returncode in interrupted_by(signal.SIGINT), said
    assert_nothing_left(tmp_path)
