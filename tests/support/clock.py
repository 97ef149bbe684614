"""A mitmproxy script that gives the proxy the wall clock of a file: what it says is added to the time, in seconds.

`mitmdump -s addon/tracecli_addon.py -s tests/support/clock.py`; the file is `clock` in the current folder.
"""

from __future__ import annotations

import time
from pathlib import Path

from mitmproxy import ctx

_FILE = Path.cwd() / "clock"


def _now() -> float:
    return time.time() + float(_FILE.read_text())


def running() -> None:
    """Put the clock in place of the system's, wherever something expires by it."""
    recorder = ctx.master.addons.get("tracecli").runtime.recorder
    recorder.clock = _now
    if recorder.cache is not None:
        recorder.cache.clock = _now
