"""Python imports this as it starts where this folder is in PYTHONPATH: the process gets a wall clock that jumps.

The file that JUMPING_CLOCK names says by how many seconds the clock is ahead; it may be written anew, whole, at any
time. Monotonic clocks go on as they are. A process that is started by one with such a clock has it too.
"""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import time_machine

_LOOK_S = 0.01


def _follow(file: Path, clock: time_machine.Traveller, ahead: float) -> None:
    sleep = threading.Event().wait
    while not sleep(_LOOK_S):
        wanted = float(file.read_text())
        clock.shift(wanted - ahead)
        ahead = wanted


def _begin(file: Path) -> None:
    ahead = float(file.read_text())
    clock = time_machine.travel(time.time() + ahead, tick=True).start()
    threading.Thread(target=_follow, args=(file, clock, ahead), name="jumping clock", daemon=True).start()


if "JUMPING_CLOCK" in os.environ:
    _begin(Path(os.environ["JUMPING_CLOCK"]))
