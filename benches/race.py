"""How much does the proxy cost? Everybody in one run, in interleaved rounds, on the same work.

    python3 -m uv run --group dev python -m benches.race [--rounds 5] [--cases ...] [--contenders ...] [--docs]

Each round starts each contender afresh, lets it do the cases, and ends it: a slow minute of the machine hits all. The
contender has core 0, the provider (`benches/provider.py`) and the load (`benches/load.py`) share core 1, on which the
ingest process runs too. CPU is read from the kernel's accounts of the contender's threads, so it hardly depends on what
else runs. Medians over the rounds are printed, and what the project promises beside them; `--docs` writes both into
docs/speed.md.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benches.load import Case, Wanted
from benches.processes import ADDON, BIN, free_port, wait_for, wait_for_port

DOCS = Path(__file__).parents[1] / "docs" / "speed.md"
PROXY_CORE, LOAD_CORE = 0, 1

CASES = {
    "2 KB, 1 at a time": Case(),
    "2 KB, 16 at a time": Case(connections=16),
    "2 KB, 64 at a time": Case(connections=64),
    "50 KB, 1 at a time": Case(size=51200),
    "50 KB, 16 at a time": Case(connections=16, size=51200),
    "50 KB, 64 at a time": Case(connections=64, size=51200),
    "50 streams": Case(connections=50, chunks=100, gap_ms=10, seconds=3, stagger_s=1),
    "a flood of chunks": Case(connections=16, chunks=100),
    "new connections": Case(fresh=True),
    "1 MB uploads": Case(connections=4, upload=1 << 20),
    "cache hits": Case(connections=16, distinct=8),
    "all together": Case(connections=16, seconds=30, count=4000),
}
"""`all together` runs with ingest, and counts its CPU and what it recorded."""
HITS, TOGETHER = "cache hits", "all together"

POLICIES = {
    "default": "tracing = true\n",
    "users/metered": "tracing = false\n",
    "users/hits": '[cache]\nmode = "on"\n',
}


@dataclass(frozen=True)
class Contender:
    """One way to the provider."""

    command: Callable[[Setting], list[str]] | None
    """Its command line; None: there is no proxy."""
    user: str = "traced"
    only: tuple[str, ...] = ()
    """The cases that it takes part in; none: all but those of the cache and of ingest."""


@dataclass
class Setting:
    """What a contender's command line is made of."""

    folder: Path
    provider: int
    port: int
    ingest: bool

    @property
    def home(self) -> Path:
        """Of the contender that runs."""
        return self.folder / "home"

    def options(self, *more: str) -> list[str]:
        """mitmproxy's own."""
        given = [f"ssl_verify_upstream_trusted_ca={self.folder / 'ca.pem'}", f"confdir={self.folder / 'mitm'}", *more]
        return [word for option in given for word in ("--set", option)]


def _mitmdump(*more: str) -> Callable[[Setting], list[str]]:
    return lambda setting: [
        *[str(BIN / "mitmdump"), "-q", "--listen-host", "127.0.0.1", "-p", str(setting.port)],
        *setting.options(),
        *(word.format(folder=setting.folder) for word in more),
    ]


def _addon(lane: str) -> Callable[[Setting], list[str]]:
    def command(setting: Setting) -> list[str]:
        own = [f"tracecli_hosts=localhost:{setting.provider}=openai", f"tracecli_lane={lane}"]
        own.append(f"tracecli_ingest={str(setting.ingest).lower()}")
        quiet = [str(BIN / "mitmdump"), "-q", "--listen-host", "127.0.0.1", "-p", str(setting.port), "-s", str(ADDON)]
        return [*quiet, *setting.options(*own)]

    return command


def _tracecli(*more: str) -> Callable[[Setting], list[str]]:
    def command(setting: Setting) -> list[str]:
        words = [str(BIN / "tracecli"), "proxy", "--listen", f"127.0.0.1:{setting.port}"]
        words += ["--host", f"localhost:{setting.provider}=openai", *([] if setting.ingest else ["--no-ingest"]), *more]
        return [*words, "--", *setting.options()]

    return command


PLAIN, RECORDING = "mitmdump", "mitmdump -w"
OURS = "tracecli proxy"
CONTENDERS = {
    "no proxy": Contender(None),
    PLAIN: Contender(_mitmdump()),
    RECORDING: Contender(_mitmdump("-w", "{folder}/flows"), only=("2 KB, 16 at a time", TOGETHER)),
    "mitmdump -s": Contender(_addon("fast")),
    "mitmdump -s, flows": Contender(_addon("flows")),
    OURS: Contender(_tracecli()),
    f"{OURS}, flows": Contender(_tracecli("--lane", "flows")),
    f"{OURS}, metering": Contender(_tracecli(), user="metered"),
    f"{OURS} --stock": Contender(_tracecli("--stock")),
    f"{OURS}, hits": Contender(_tracecli(), user="hits", only=(HITS,)),
    f"{OURS}, with ingest": Contender(_tracecli(), only=(TOGETHER,)),
}


@dataclass
class Result:
    """Of a case and a contender: a list of values, one for each round, by name of the figure."""

    figures: dict[str, list[float]] = field(default_factory=dict)

    def add(self, **figures: float | None) -> None:
        """One round's."""
        for name, value in figures.items():
            if value is not None:
                self.figures.setdefault(name, []).append(value)

    def median(self, name: str) -> float | None:
        """Over the rounds."""
        return statistics.median(self.figures[name]) if name in self.figures else None


type Results = dict[str, dict[str, Result]]


def ratio(results: Results, case: str, contender: str, base: str = PLAIN, base_case: str = "") -> float | None:
    """How many times the base's answers a contender gives for the same CPU."""
    mine = _cpu(results, case, contender)
    theirs = _cpu(results, base_case or case, base)
    return None if mine is None or theirs is None else theirs / mine


def _cpu(results: Results, case: str, contender: str) -> float | None:
    result = results.get(case, {}).get(contender)
    return result.median("cpu_ms") if result else None


def _figure(results: Results, case: str, contender: str, name: str) -> float | None:
    result = results.get(case, {}).get(contender)
    return result.median(name) if result else None


@dataclass(frozen=True)
class Promise:
    """What the project promises; `at_least` or `at_most`."""

    what: str
    value: Callable[[Results], float | None]
    limit: float
    at_least: bool = True

    def kept(self, value: float) -> bool:
        """Whether a value is as promised."""
        return value >= self.limit if self.at_least else value <= self.limit


def _first_added(results: Results) -> float | None:
    ours, direct = (_figure(results, "50 streams", name, "first_ms") for name in (OURS, "no proxy"))
    return None if ours is None or direct is None else ours - direct


def _stream_cpu(results: Results) -> float | None:
    found = ratio(results, "50 streams", OURS)
    return None if found is None else 1 / found


PROMISES = [
    Promise("answers of 2 KB for the same CPU, against mitmdump", lambda r: ratio(r, "2 KB, 16 at a time", OURS), 5),
    Promise(
        "answers of 50 KB for the same CPU, against mitmdump", lambda r: ratio(r, "50 KB, 16 at a time", OURS), 3.5
    ),
    Promise("the same by `mitmdump -s`, 2 KB", lambda r: ratio(r, "2 KB, 16 at a time", "mitmdump -s"), 4.5),
    Promise("the flows lane in `tracecli proxy`", lambda r: ratio(r, "2 KB, 16 at a time", f"{OURS}, flows"), 1.4),
    Promise("the flows lane in `mitmdump -s`", lambda r: ratio(r, "2 KB, 16 at a time", "mitmdump -s, flows"), 0.9),
    Promise(
        "cache hits for the same CPU, against mitmdump passing on",
        lambda r: ratio(r, HITS, f"{OURS}, hits", base_case="2 KB, 16 at a time"),
        8,
    ),
    Promise("first event of a stream later than without a proxy, of 50, ms", _first_added, 1, at_least=False),
    Promise("CPU of a stream of 100 chunks, against mitmdump", _stream_cpu, 1, at_least=False),
    Promise("new connections for the same CPU, against mitmdump", lambda r: ratio(r, "new connections", OURS), 1.5),
    Promise(
        "recorded for the same CPU, ingest's included, against `mitmdump -w`",
        lambda r: ratio(r, TOGETHER, f"{OURS}, with ingest", base=RECORDING),
        2,
    ),
    Promise("start to listening, s", lambda r: _figure(r, "start", OURS, "start_s"), 1, at_least=False),
]


class Tree:
    """A process and those that it started."""

    def __init__(self, pid: int) -> None:
        self.pid = pid

    def pids(self) -> list[int]:
        """Those that live."""
        found, waiting = [], [self.pid]
        while waiting:
            pid = waiting.pop()
            found.append(pid)
            for children in Path(f"/proc/{pid}/task").glob("*/children"):
                with contextlib.suppress(OSError):
                    waiting += map(int, children.read_text().split())
        return found

    def cpu_s(self) -> float:
        """On a core so far, of all threads."""
        total = 0
        for pid in self.pids():
            for account in Path(f"/proc/{pid}/task").glob("*/schedstat"):
                with contextlib.suppress(OSError):
                    total += int(account.read_text().split()[0])
        return total / 1e9

    def pss_mb(self) -> float:
        """Memory, shared pages shared."""
        total = 0
        for pid in self.pids():
            with contextlib.suppress(OSError):
                lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
                total += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
        return total / 1024


def _started(command: Sequence[str], core: int, **environment: str) -> subprocess.Popen[bytes]:
    pinned = ["taskset", "-c", str(core), *command]
    return subprocess.Popen(pinned, env={**os.environ, **environment}, stdout=subprocess.DEVNULL)


@contextlib.contextmanager
def running(contender: Contender, setting: Setting) -> Iterator[tuple[Tree | None, float | None]]:
    """A contender, and how long it took until it listened."""
    if contender.command is None:
        yield None, None
        return
    shutil.rmtree(setting.home, ignore_errors=True)
    (setting.folder / "flows").unlink(missing_ok=True)
    places = {"TRACECLI_HOME": str(setting.home), "TRACECLI_POLICIES": str(setting.folder / "policies")}
    began = time.monotonic()
    process = _started(contender.command(setting), PROXY_CORE, **places)
    try:
        wait_for_port(setting.port)
        took = time.monotonic() - began
        wait_for(setting.folder / "mitm" / "mitmproxy-ca-cert.pem")
        yield Tree(process.pid), took
    finally:
        process.terminate()
        process.wait(30)


def measured(case: Case, wanted: Wanted, tree: Tree | None, settle: Callable[[], None]) -> dict[str, float | None]:
    """One case of one round; `settle` waits for what has to be done before the CPU is read again."""
    words = ["taskset", "-c", str(LOAD_CORE), sys.executable, "-m", "benches.load"]
    told = json.dumps(
        {"case": {name: getattr(case, name) for name in case.__struct_fields__}}
        | {name: getattr(wanted, name) for name in ("port", "proxy", "ca", "user")}
    )
    before: list[float] = []
    with subprocess.Popen([*words, told], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as load:
        if load.stdin is None or load.stdout is None:
            raise RuntimeError("no pipes")
        for word in ("ready", "done"):
            if load.stdout.readline().strip() != word:
                raise SystemExit("the load failed: an answer was wrong, or a connection was lost")
            before.append(tree.cpu_s() if tree else 0.0)
            load.stdin.write("go\n")
            load.stdin.flush()
        found = json.loads(load.stdout.read())
    settle()
    cpu = (tree.cpu_s() if case.count < 1_000_000 and tree else before[1]) - before[0]
    return {
        "per_s": found["per_s"],
        "cpu_ms": cpu / found["answers"] * 1000 if tree else None,
        "answers": found["answers"],
        "memory_mb": tree.pss_mb() if tree else None,
    } | {name: found[name] for name in ("p50_ms", "p99_ms", "first_ms", "delay_ms")}


def race(rounds: int, cases: Sequence[str], contenders: Sequence[str]) -> Results:
    """Run everything."""
    results: Results = {case: {} for case in ["start", *cases]}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with stage(folder) as port:
            for done in range(rounds):
                for contender in contenders:
                    _round(results, folder, port, contender, cases)
                    print(f"round {done + 1} of {rounds}: {contender}", file=sys.stderr)
    return results


@contextlib.contextmanager
def stage(folder: Path) -> Iterator[int]:
    """Policies, and the port of a provider that runs."""
    (folder / "policies" / "users").mkdir(parents=True)
    for policy, text in POLICIES.items():
        (folder / "policies" / f"{policy}.toml").write_text(text)
    provider = _started([sys.executable, "-m", "benches.provider", str(folder)], LOAD_CORE)
    try:
        wait_for(folder / "port")
        yield int((folder / "port").read_text())
    finally:
        provider.terminate()
        provider.wait()


def _round(results: Results, folder: Path, port: int, name: str, cases: Sequence[str]) -> None:
    contender = CONTENDERS[name]
    takes = [case for case in cases if (case in contender.only if contender.only else case not in (HITS, TOGETHER))]
    if not takes:
        return
    setting = Setting(folder, port, free_port(), ingest=TOGETHER in takes)
    with running(contender, setting) as (tree, took):
        results["start"].setdefault(name, Result()).add(start_s=took)
        through = setting.port if tree else None
        authority = folder / "mitm" / "mitmproxy-ca-cert.pem" if tree else folder / "ca.pem"
        for case in takes:
            if case == TOGETHER and tree:
                _move_ingest(tree)
            wanted = Wanted(CASES[case], port, through, str(authority), contender.user)
            settle = (lambda: _ingested(setting)) if case == TOGETHER and name != RECORDING else (lambda: None)
            found = measured(CASES[case], wanted, tree, settle)
            if case == TOGETHER and name != RECORDING:
                _check_recorded(setting, int(found["answers"] or 0))
            results[case].setdefault(name, Result()).add(**found)


def _move_ingest(tree: Tree) -> None:
    """Ingest is not to take the proxy's core."""
    time.sleep(1)
    for pid in tree.pids():
        if pid != tree.pid and b"ingest" in Path(f"/proc/{pid}/cmdline").read_bytes():
            os.sched_setaffinity(pid, {LOAD_CORE})


def _ingested(setting: Setting) -> None:
    deadline = time.monotonic() + 120
    while list((setting.home / "spool").glob("*.seg")):
        if time.monotonic() > deadline:
            raise SystemExit("ingest does not come to an end")
        time.sleep(0.1)


def _check_recorded(setting: Setting, answers: int) -> None:
    shown = subprocess.run(
        [str(BIN / "tracecli"), "usage", "show", "--json", "--limit", "1000000"],
        env={**os.environ, "TRACECLI_HOME": str(setting.home)},
        capture_output=True,
        check=True,
    )
    recorded = len(json.loads(shown.stdout))
    if recorded < answers:
        raise SystemExit(f"{answers} answers were given, and {recorded} are recorded")


def about(rounds: int) -> str:
    """How figures were made, and on what."""
    machine = f"{platform.python_implementation()} {platform.python_version()}, {os.cpu_count()} shared cores"
    return f"Medians of {rounds} interleaved rounds, {machine}."


def tables(results: Results, rounds: int) -> str:
    """The figures and the promises, as Markdown."""
    lines = [
        about(rounds),
        "",
        "| promised | | reached |",
        "| --- | ---: | ---: |",
    ]
    for promise in PROMISES:
        value = promise.value(results)
        if value is not None:
            asked = f"{'at least' if promise.at_least else 'at most'} {promise.limit:g}"
            lines.append(f"| {promise.what} | {asked} | {'' if promise.kept(value) else 'not yet: '}{value:.2f} |")
    for case, by_contender in results.items():
        if case == "start" or not by_contender:
            continue
        head = ["answers/s", "CPU ms an answer", "for the same CPU, against mitmdump", "p50 ms", "p99 ms", "memory MB"]
        streams = ["first event ms", "delay of a chunk ms"] if CASES[case].chunks else []
        lines += ["", f"**{case}**", "", "| | " + " | ".join([*head, *streams]) + " |"]
        lines.append("| --- |" + " ---: |" * len([*head, *streams]))
        for name, result in by_contender.items():
            figures = [result.median("per_s"), result.median("cpu_ms"), ratio(results, case, name)]
            figures += [result.median(one) for one in ("p50_ms", "p99_ms", "memory_mb")]
            figures += [result.median(one) for one in ("first_ms", "delay_ms")] if streams else []
            lines.append(f"| {name} | " + " | ".join(map(number, figures)) + " |")
    return "\n".join(lines)


def number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.3f}"


def main() -> None:
    """Race, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES), metavar="CASE")
    parser.add_argument("--contenders", nargs="+", choices=CONTENDERS, default=list(CONTENDERS), metavar="CONTENDER")
    parser.add_argument("--docs", action="store_true", help="write the figures into docs/speed.md")
    asked = parser.parse_args()
    results = race(asked.rounds, asked.cases, asked.contenders)
    found = tables(results, asked.rounds)
    print(found)
    if asked.docs:
        write_docs("figures", found)


def write_docs(what: str, found: str) -> None:
    """Put figures into docs/speed.md, between the marks that are theirs."""
    begin, end = f"<!-- {what} -->\n", f"<!-- end of {what} -->"
    before, _, rest = DOCS.read_text().partition(begin)
    DOCS.write_text(f"{before}{begin}\n{found}\n\n{end}{rest.partition(end)[2]}")


if __name__ == "__main__":
    main()
