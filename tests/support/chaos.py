"""Traffic while everything is killed at random: what must hold afterwards, however long it went on.

A steady load goes through a proxy. Meanwhile the proxy with its ingest, an ingest, or a reader is killed with SIGKILL
and started again, the disk gets full and has room again, the wall clock jumps, the power is cut. Every exchange whose
client saw its end is then recorded exactly once, with the bytes that passed, but for those that were counted as lost
while the disk was full, and those of the last moments before a power cut.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from tests.support.commands import environment, rows, tracecli
from tests.support.disk import Disk
from tests.support.load import Load, body_of, load
from tests.support.proxies import Place, Proxy, end_ingest, ingest_processes, running_proxy
from tests.support.standin import Standin
from tests.support.waiting import wait_until
from tracecli.config import Home
from tracecli.store import bodies
from tracecli.store.connection import opened

type Event = Literal["proxy", "ingest", "reader", "full disk", "clock", "power cut"]
"""The first three are killed."""
KILLED: tuple[Event, ...] = ("proxy", "ingest", "reader")

_JUMPING = Path(__file__).with_name("jumping")
_READERS = (("usage", "show", "--json"), ("usage", "stats"), ("usage", "find", "under load"), ("db", "check"))
_FURTHEST_JUMP_S = 6 * 3600
_SETTLED_S = 2.5
"""A proxy tells its counts once a second."""
_BATCH = 1000


@dataclass
class Outcome:
    """What was sent, what happened, and what was found."""

    ended: dict[str, bytes] = field(default_factory=dict)
    """Whose answers had arrived whole, and these: all are recorded, or counted as lost."""
    unsure: set[str] = field(default_factory=set)
    """Whose answers arrived in the last moments before a power cut, or after it."""
    before_cut: dict[str, float] = field(default_factory=dict)
    """How long before a power cut answers had arrived, in seconds, in the rounds that ended with one."""
    worst: float = 0.0
    """The longest of those that are not recorded."""
    while_full: set[str] = field(default_factory=set)
    """Whose answers arrived while the disk was full, or moments before or after."""
    lost: int = 0
    """What proxies said that they could not record."""
    happened: Counter[Event] = field(default_factory=Counter)


class Chaos:
    """Lets things happen, and asserts what must hold.

    `disk` is what the home is on, if it is to get full or to lose power. What ended so long before a power cut is sure.
    """

    def __init__(
        self,
        place: Place,
        standin: Standin,
        *,
        per_second: float,
        seed: int,
        disk: Disk | None = None,
        unsure_s: float = 0.5,
    ) -> None:
        self._place = place
        self._standin = standin
        self._per_second = per_second
        self._chance = random.Random(seed)
        self._given_disk = disk
        self._unsure_s = unsure_s
        self._clock = place.folder / "clock"
        self._set_clock(0)
        self._variables = {"PYTHONPATH": str(_JUMPING), "JUMPING_CLOCK": str(self._clock)}
        self.done = Outcome()

    def run(self, wanted: dict[Event, int]) -> Outcome:
        """Let so many of each happen, in any order, and look whether everything is there. Raises AssertionError."""
        coming = [event for event, times in wanted.items() for _ in range(times)]
        self._chance.shuffle(coming)
        for number in itertools.count(1):
            if not coming:
                break
            with running_proxy(self._place, self._standin, variables=self._variables) as proxy:
                with load(proxy, f"round{number}", per_second=self._per_second) as sent:
                    wait_until(lambda: len(sent.ended) > 20, "some load")
                    while coming and not self._ends_with(coming.pop(), proxy, sent):
                        pass
                if proxy.process.poll() is None:
                    self.done.lost += _told(proxy)["lost"]
            self.done.ended |= {user: answer for user, answer in sent.answers.items() if user not in self.done.unsure}
        tracecli(self._place.home, "ingest", "--once")
        self._assert_whole()
        return self.done

    def _ends_with(self, event: Event, proxy: Proxy, sent: Load) -> bool:
        """Let it happen, after a while; whether it was the end of the proxy."""
        self.done.happened[event] += 1
        time.sleep(self._chance.uniform(0.05, 0.8))
        match event:
            case "reader":
                self._kill_a_reader()
            case "full disk":
                self._fill_disk(proxy, sent)
            case "clock":
                self._set_clock(self._chance.uniform(-_FURTHEST_JUMP_S, _FURTHEST_JUMP_S))
            case "ingest":
                _kill_ingest(self._place.home)
            case "proxy":
                self.done.lost += _told(proxy)["lost"]
                _kill_ingest(self._place.home)
                proxy.kill()
                return True
            case "power cut":
                wait_until(lambda: len(sent.ended_before(time.monotonic() - self._unsure_s)) > 20, "what is sure")
                self.done.lost += _told(proxy)["lost"]
                cut = time.monotonic()
                self._disk.cut_power()
                proxy.kill()
                end_ingest(self._place.home)
                self.done.before_cut |= {user: cut - at for user, at in sent.ended.items()}
                self.done.unsure |= sent.ended.keys() - sent.ended_before(cut - self._unsure_s)
                self._disk.restore()
                return True
        return False

    @property
    def _disk(self) -> Disk:
        assert self._given_disk is not None, "this needs a disk"
        return self._given_disk

    def _fill_disk(self, proxy: Proxy, sent: Load) -> None:
        """No room, until some exchanges were lost; then room again, until none is lost any more."""
        before = _told(proxy)["lost"]
        sure = set(sent.ended)

        def losing() -> bool:
            self._disk.fill()
            return int(_told(proxy)["lost"]) > before + 20

        wait_until(losing, "exchanges that are lost, and a word about it")
        self._disk.empty()
        settled = time.monotonic()
        lost = _told(proxy)["lost"]
        while time.monotonic() < settled + _SETTLED_S:
            time.sleep(0.1)
            if (now := _told(proxy)["lost"]) != lost:
                lost, settled = now, time.monotonic()
        self.done.while_full |= sent.ended.keys() - sure

    def _set_clock(self, ahead_s: float) -> None:
        draft = self._clock.with_suffix(".draft")
        draft.write_text(str(ahead_s))
        draft.replace(self._clock)

    def _kill_a_reader(self) -> None:
        reader = subprocess.Popen(
            [sys.executable, "-m", "tracecli", *self._chance.choice(_READERS)],
            env=environment(self._place.home, **self._variables),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        time.sleep(self._chance.uniform(0.1, 0.6))
        reader.kill()
        reader.wait()

    def _assert_whole(self) -> None:
        place, done = self._place, self.done
        assert list(place.home.glob("spool/*")) == []
        if not done.happened["power cut"]:
            assert list(place.home.glob("quarantine/*")) == []
        found = rows(place.home)
        recorded = {row["user"]: row["id"] for row in found}
        assert len(recorded) == len(found), "an exchange is recorded twice"
        assert len({row["id"] for row in found}) == len(found)
        missing = done.ended.keys() - recorded.keys()
        uncounted = done.before_cut.keys() - recorded.keys() - done.while_full
        done.worst = max((done.before_cut[user] for user in uncounted), default=0.0)
        assert len(missing) == done.lost, (
            f"{len(missing)} of {len(done.ended)} exchanges are lost, {done.lost} counted; before a power cut, of the"
            f" last {done.worst:.2f} s"
        )
        assert missing <= done.while_full
        held = _bodies(Home(place.home), list(recorded.values()))
        for user in done.ended.keys() & recorded.keys():
            assert held[recorded[user]] == (body_of(user), done.ended[user])


def _told(proxy: Proxy) -> dict[str, int]:
    """What the proxy says of itself."""
    found: dict[str, int] = json.loads((proxy.home / f"proxy-{proxy.process.pid}.json").read_bytes())
    return found


def _kill_ingest(home: Path) -> None:
    for pid in ingest_processes(home):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _bodies(home: Home, ids: list[str]) -> dict[str, tuple[bytes, bytes]]:
    """What is stored of the exchanges."""
    held: dict[str, tuple[bytes, bytes]] = {}
    for some in itertools.batched(sorted(ids), _BATCH):
        with opened(home) as connection:
            names = bodies.candidates(connection, some)
        held |= bodies.read(home, names, some)
    return held
