"""Does memory stay flat in the long run? Weeks of traffic in as short a time as the machine takes for them.

    python3 -m uv run --group dev python -m benches.soak [--exchanges 300000] [--ingested 2000000] [--kind small]
        [--contender "tracecli proxy"] [--megabytes 64] [--minutes 600] [--folder FOLDER]

First so many exchanges go through a real proxy with its ingest, as fast as they go, against the provider of the race;
then so many are written to a spool, as the proxy writes it, and a real ingest loads them. What waits in that spool is
kept to some megabytes. A run that takes longer than so many minutes ends with what was done until then. The memory of
each process is read twice a second. Printed is what it was around the half and at the end (medians over a tenth of the
run each, by exchanges and not by time), and the highest in each tenth: merging files takes more for moments. The exit
code is 1 if memory grew by 10 % or more over the second half of a run, and also if not everything was recorded once.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path
from typing import Any

import duckdb
from msgspec.structs import replace

from benches.ingest import COUNTS, exchanges
from benches.load import Case
from benches.processes import free_port, running, wait_for
from benches.race import CONTENDERS, OURS, Setting, stage
from tracecli import spool
from tracecli.config import Home
from tracecli.exchange import Captured, new_id
from tracecli.runtime import IngestProcess

LIMIT = 0.1
"""Growth over the second half that is too much."""
type _Sent = Callable[[], int | None]
"""How many exchanges there are in all; None: some are still to come."""

_EVERY_S = 0.5
_CONNECTIONS = 16
_STUCK_S = 120.0


@dataclass
class Memory:
    """What a process had, sample by sample."""

    name: str
    done: list[int] = field(default_factory=list)
    """Exchanges so far."""
    rss_mb: list[float] = field(default_factory=list)
    pss_mb: list[float] = field(default_factory=list)

    def sample(self, pid: int | None, done: int) -> None:
        """Look at the process; one that is gone or not there yet has no sample."""
        with contextlib.suppress(OSError):
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
            sizes = {line.split()[0]: int(line.split()[1]) / 1024 for line in lines[1:]}
            self.done.append(done)
            self.rss_mb.append(sizes["Rss:"])
            self.pss_mb.append(sizes["Pss:"])

    def between(self, values: list[float], begin: float, end: float) -> list[float]:
        """The values of a part of the run, given as shares of what was done in all."""
        whole = self.done[-1]
        return [value for done, value in zip(self.done, values, strict=True) if begin * whole <= done <= end * whole]

    def level(self, values: list[float], until: float) -> float:
        """The median over the tenth of the run that ends there; what was next before, if that has no sample."""
        return statistics.median(self.between(values, until - 0.1, until) or self.between(values, 0.0, until)[-1:])

    @property
    def growth(self) -> float:
        """Over the second half, as a share."""
        return self.level(self.rss_mb, 1.0) / self.level(self.rss_mb, 0.5) - 1

    def __str__(self) -> str:
        tenths = [self.between(self.rss_mb, number / 10, (number + 1) / 10) for number in range(10)]
        return (
            f"  {self.name:7} RSS at the half {self.level(self.rss_mb, 0.5):.1f} MB, at the end"
            f" {self.level(self.rss_mb, 1.0):.1f} MB: growth {self.growth:+.1%};"
            f" PSS {self.level(self.pss_mb, 0.5):.1f} MB, then {self.level(self.pss_mb, 1.0):.1f} MB\n"
            f"          highest RSS in each tenth: {', '.join(f'{max(some, default=0):.0f}' for some in tenths)} MB"
        )


def _told(path: Path) -> dict[str, Any]:
    """What a status file of the home says; nothing, if it is not there yet."""
    try:
        found: dict[str, Any] = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    return found


def _watched(home: Home, memories: Callable[[], Iterator[tuple[Memory, int | None, int]]], sent: _Sent) -> int:
    """Take samples until everything that was sent is loaded; returns how much that is."""
    loaded, moved = -1, time.monotonic()
    while (wanted := sent()) is None or loaded < wanted:
        time.sleep(_EVERY_S)
        for memory, pid, done in memories():
            memory.sample(pid, done)
        now = _told(home.status).get("exchanges", 0)
        if now != loaded:
            loaded, moved = now, time.monotonic()
        if time.monotonic() > moved + _STUCK_S:
            raise SystemExit(f"{loaded:,} exchanges are loaded, and no more come")
    return wanted


def _report(what: str, home: Home, wanted: int, begun: float, memories: list[Memory]) -> bool:
    """Print the figures; whether they are as promised."""
    took = time.monotonic() - begun
    with duckdb.connect(str(home.database), read_only=True) as connection:
        [(rows, ids)] = connection.execute("SELECT count(*), count(DISTINCT id) FROM exchange").fetchall()
    print(f"{what}: {wanted:,} exchanges in {took:,.0f} s; {rows:,} records, {rows - ids} of them twice")
    for memory in memories:
        print(memory, flush=True)
    return rows == ids == wanted and all(memory.growth < LIMIT for memory in memories)


def through_proxy(folder: Path, contender: str, count: int, minutes: float) -> bool:
    """Send exchanges through a proxy that ingests; whether memory stayed flat."""
    proxy, ingest = Memory("proxy"), Memory("ingest")
    case = Case(connections=_CONNECTIONS, count=count, seconds=minutes * 60)
    with stage(folder) as port:
        setting = Setting(folder, port, free_port(), ingest=True)
        home = Home(setting.home)
        command = CONTENDERS[contender].command
        assert command is not None
        places = {"TRACECLI_HOME": str(setting.home), "TRACECLI_POLICIES": str(folder / "policies")}
        begun = time.monotonic()
        with running(*command(setting), **places):
            wait_for(folder / "mitm" / "mitmproxy-ca-cert.pem")
            ready = _ready_file(setting.home)
            with _Load(case, setting) as load:

                def memories() -> Iterator[tuple[Memory, int | None, int]]:
                    told = _told(ready)
                    yield proxy, told["pid"], sum(told["recorded"].values())
                    yield ingest, told["ingest_pid"], _told(home.status).get("exchanges", 0)

                sent = _watched(home, memories, load.answered)
            told = _told(ready)
            if told["lost"] or told["dropped"]:
                raise SystemExit(f"{told['lost']} exchanges are lost, {told['dropped']} have no content")
    return _report(contender, home, sent, begun, [proxy, ingest])


class _Load:
    """The load of the race, begun; ended with the block."""

    _WARM_UP = 3

    def __init__(self, case: Case, setting: Setting) -> None:
        told = {
            "case": {name: getattr(case, name) for name in case.__struct_fields__},
            "port": setting.provider,
            "proxy": setting.port,
            "ca": str(setting.folder / "mitm" / "mitmproxy-ca-cert.pem"),
            "user": "traced",
        }
        self._warm_up = self._WARM_UP * case.connections
        self._answers: int | None = None
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benches.load", json.dumps(told)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> _Load:
        assert self._process.stdin is not None
        self._process.stdin.write("go\ngo\n")
        self._process.stdin.flush()
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.communicate()

    def answered(self) -> int | None:
        """How many exchanges it had in all, the warm-up's too; None: it goes on."""
        if self._answers is None and self._process.poll() is not None:
            assert self._process.stdout is not None
            *_, found = self._process.stdout.read().splitlines() or [""]
            if self._process.returncode:
                raise SystemExit("the load failed: an answer was wrong, or a connection was lost")
            self._answers = json.loads(found)["answers"] + self._warm_up
        return self._answers


def _ready_file(home: Path) -> Path:
    """What the proxy says of itself, once it does."""
    deadline = time.monotonic() + 20
    while not (found := list(home.glob("proxy-[0-9]*.json"))):
        if time.monotonic() > deadline:
            raise SystemExit("the proxy does not say that it is ready")
        time.sleep(0.05)
    return found[0]


def through_spool(folder: Path, kind: str, count: int, minutes: float, megabytes: int) -> bool:
    """Write exchanges to a spool that an ingest loads; whether memory stayed flat."""
    home = Home(folder / "spooled")
    home.prepare()
    writing, loading = Memory("spool"), Memory("ingest")
    spawn = multiprocessing.get_context("spawn")
    written = spawn.Value("q", 0)
    begun = time.monotonic()
    until = begun + minutes * 60
    writer = spawn.Process(target=_write, args=(home.root, kind, count, until, megabytes, written))
    ingest = IngestProcess(home, folder / "policies")
    ingest.watch(begun)
    started = ingest.pid
    writer.start()
    try:

        def memories() -> Iterator[tuple[Memory, int | None, int]]:
            ingest.watch(time.monotonic())
            if ingest.pid != started or writer.exitcode:
                raise SystemExit("ingest or the writer of the spool died")
            done = _told(home.status).get("exchanges", 0)
            if writer.is_alive():
                yield writing, writer.pid, done
            yield loading, ingest.pid, done

        sent = _watched(home, memories, lambda: None if writer.is_alive() else written.value)
    finally:
        writer.terminate()
        writer.join()
        ingest.let_go()
        if ingest.process:
            ingest.process.wait(60)
    return _report(f"spool and ingest, {kind}", home, sent, begun, [writing, loading])


def _write(root: Path, kind: str, count: int, until: float, megabytes: int, written: Synchronized[int]) -> None:
    """Write a spool, never so much that more than that waits. A process of its own."""
    home = Home(root)
    writer = spool.SpoolWriter(home.spool)
    for number, captured in enumerate(_different(list(exchanges(kind, 200)), count), 1):
        if not writer.append(captured):
            raise SystemExit(f"cannot write the spool: {writer.last_error}")
        if number % 200 == 0:
            written.value = number
            writer.tick()
            while _waiting_mb(home) > megabytes:
                time.sleep(0.05)
                writer.tick()
            if time.monotonic() > until:
                break
    written.value = number
    writer.close()


def _different(some: list[Captured], count: int) -> Iterator[Captured]:
    """So many exchanges, of which no two say the same, made of a few: to invent each takes longer than its ingest."""
    for number in range(count):
        one = some[number % len(some)]
        bodies = [
            body.replace(b'"content":"', b'"content":"%d ' % number).replace(
                b'"content": "', b'"content": "%d ' % number
            )
            for body in (one.request_body, one.response_body)
        ]
        asked, answered = map(len, bodies)
        own = {"id": new_id(), "started_at_us": time.time_ns() // 1000, "user": f"user{number % 20}"}
        exchange = replace(one.exchange, request_bytes=asked, response_bytes=answered, **own)
        yield Captured(exchange, *bodies)


def _waiting_mb(home: Home) -> float:
    total = 0
    for path in spool.segments(home.spool):
        with contextlib.suppress(FileNotFoundError):
            total += path.stat().st_size
    return total / (1 << 20)


def main() -> None:
    """Run, print, and end with 1 if memory grew."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--exchanges", type=int, default=300_000, help="through the proxy; 0 leaves it out")
    parser.add_argument("--ingested", type=int, default=2_000_000, help="through spool and ingest; 0 leaves it out")
    parser.add_argument("--kind", choices=COUNTS, default="small", help="of exchanges, through spool and ingest")
    parser.add_argument("--contender", choices=[name for name, one in CONTENDERS.items() if one.command], default=OURS)
    parser.add_argument("--megabytes", type=int, default=64, help="that may wait in the spool of spool and ingest")
    parser.add_argument("--minutes", type=float, default=600, help="the longest that either run may send")
    parser.add_argument("--folder", type=Path, help="where to make a temporary folder; some GB are needed")
    options = parser.parse_args()
    flat = True
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        if options.exchanges:
            flat &= through_proxy(Path(folder), options.contender, options.exchanges, options.minutes)
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        if options.ingested:
            flat &= through_spool(Path(folder), options.kind, options.ingested, options.minutes, options.megabytes)
    sys.exit(os.EX_OK if flat else 1)


if __name__ == "__main__":
    main()
