"""What the guard waits for."""

from __future__ import annotations

import subprocess
import sys

WAIT = """
import os, signal, subprocess, time
from tracecli.transparent.guard import _Signals
with _Signals() as signals:
    proxy = subprocess.Popen(["sleep", "60"])
    subprocess.run(["true"], check=True)
    begun = time.monotonic()
    print(signals.asked(0.3, proxy), time.monotonic() - begun >= 0.3)
    proxy.kill()
    print(signals.asked(50, proxy), proxy.returncode)
    other = subprocess.Popen(["sleep", "60"])
    os.kill(os.getpid(), signal.SIGTERM)
    print(signals.asked(50, other), other.poll())
    other.kill()
    other.wait()
"""


def test_it_is_woken_by_what_matters() -> None:
    """The end of the proxy, or a signal to end; not the end of the command that has just set the rules."""
    done = subprocess.run([sys.executable, "-c", WAIT], capture_output=True, text=True, check=True, timeout=30)
    assert done.stdout.split() == ["False", "True", "False", "-9", "True", "None"]
