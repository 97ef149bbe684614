"""Traffic while everything is killed at random: what must hold afterwards, however long it went on.

A steady load goes through a proxy. Meanwhile the proxy with its ingest, an ingest, or a reader is killed with SIGKILL,
and started again. Every exchange whose client saw its end is then recorded exactly once, with the bytes that were sent;
of those that ended in the second before a proxy was killed some may be missing, and none is there twice.
"""

from __future__ import annotations

import contextlib
import math
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field

from tests.support.commands import environment, rows
from tests.support.load import BODY, load
from tests.support.proxies import Place, ingest_processes, running_proxy
from tests.support.standin import Standin
from tests.support.waiting import wait_until
from tracecli import browse
from tracecli.config import Home

_READERS = (("usage", "show", "--json"), ("usage", "stats"), ("usage", "find", "under load"), ("db", "check"))


@dataclass
class Outcome:
    """What was sent, killed and found."""

    ended: set[str] = field(default_factory=set)
    """Whose answers had arrived whole, a second before their proxy was killed."""
    maybe: set[str] = field(default_factory=set)
    """Whose answers arrived after that."""
    kills: dict[str, int] = field(default_factory=lambda: {"proxy": 0, "ingest": 0, "reader": 0})


def chaos(place: Place, standin: Standin, *, kills: int, per_second: float, seed: int) -> Outcome:
    """Let it happen, and assert what must hold. Raises AssertionError."""
    chance = random.Random(seed)
    done = Outcome()
    left = kills
    number = 0
    while left:
        number += 1
        killed = math.inf
        with running_proxy(place, standin) as proxy, load(proxy, f"round{number}", per_second=per_second) as sent:
            wait_until(lambda: len(sent.ended) > 20, "some load")
            while left:
                left -= 1
                what = chance.choice(("proxy", "ingest", "reader"))
                done.kills[what] += 1
                time.sleep(chance.uniform(0.05, 0.8))
                if what == "reader":
                    _kill_a_reader(place, chance)
                    continue
                for pid in ingest_processes(place.home):
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                if what == "proxy":
                    killed = time.monotonic()
                    proxy.kill()
                    break
        done.ended |= sent.ended_before(killed - 1)
        done.maybe |= set(sent.ended)
    with running_proxy(place, standin) as proxy:
        assert proxy.stop() == 0
    _assert_whole(place, done)
    return done


def _kill_a_reader(place: Place, chance: random.Random) -> None:
    command = [sys.executable, "-m", "tracecli", *chance.choice(_READERS)]
    reader = subprocess.Popen(
        command, env=environment(place.home), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    time.sleep(chance.uniform(0.1, 0.6))
    reader.kill()
    reader.wait()


def _assert_whole(place: Place, done: Outcome) -> None:
    assert list(place.home.glob("spool/*")) == []
    assert list(place.home.glob("quarantine/*")) == []
    recorded = {row["user"]: row["id"] for row in rows(place.home)}
    assert len(recorded) == len(rows(place.home)), "an exchange is recorded twice"
    lost = done.ended - recorded.keys()
    assert not lost, f"{len(lost)} of {len(done.ended)} exchanges are lost"
    home = Home(place.home)
    for identifier in list(recorded.values())[:: max(1, len(recorded) // 200)]:
        assert browse.find(home, identifier)[1].request_body == BODY
