"""What does a second worker bring? `tracecli proxy --workers 2` against one process, each with a core of its own.

    python3 -m uv run --group dev python -m benches.workers [--rounds 5] [--share 0.5] [--docs]

Load and provider need a core too, so a machine of two cores has none to spare for a second worker. There, and as root,
each worker gets a share of a core that it can never exceed and that nobody else needs, by a quota of the kernel's CPU
controller (cgroup v1): half of core 0 for one worker, half of core 0 and half of core 1 for two. What workers wait for
together, as a lock, a file or the socket, they wait for all the same. With `--share 1`, as on four cores and more, each
worker has its core whole.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from benches.load import Case, Wanted
from benches.processes import free_port
from benches.race import CONTENDERS, OURS, Contender, Setting, Tree, about, measured, number, running, stage, write_docs

CASES = {
    "2 KB": Case(connections=32, seconds=4),
    "50 KB": Case(connections=32, size=51200, seconds=4),
}
PROMISED = 1.7
_CONTROLLER = Path("/sys/fs/cgroup/cpu")
_PERIOD_US = 100_000


def _two(setting: Setting) -> list[str]:
    words = CONTENDERS[OURS].command
    assert words is not None
    first, *rest = words(setting)
    at = rest.index("--")
    return [first, *rest[:at], "--workers", "2", *rest[at:]]


CONTENDING = {1: CONTENDERS[OURS], 2: Contender(_two)}


@contextlib.contextmanager
def _cores(workers: Sequence[int], share: float) -> Iterator[None]:
    """Give each process a core of its own, or that share of one."""
    groups: list[Path] = []
    try:
        for core, pid in enumerate(workers):
            os.sched_setaffinity(pid, {core})
            for task in Path(f"/proc/{pid}/task").iterdir():
                os.sched_setaffinity(int(task.name), {core})
            if share < 1:
                group = _CONTROLLER / f"tracecli-bench-{pid}"
                group.mkdir()
                groups.append(group)
                (group / "cpu.cfs_period_us").write_text(str(_PERIOD_US))
                (group / "cpu.cfs_quota_us").write_text(str(int(_PERIOD_US * share)))
                (group / "cgroup.procs").write_text(str(pid))
        yield
    finally:
        for group in groups:
            for member in (group / "cgroup.procs").read_text().split():
                (_CONTROLLER / "cgroup.procs").write_text(member)
            group.rmdir()


def _workers(tree: Tree, count: int) -> list[int]:
    """The processes that serve, once they do: one that has workers serves nothing itself."""
    if count == 1:
        return [tree.pid]
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        found = [pid for pid in tree.pids() if pid != tree.pid]
        if len(found) == count:
            time.sleep(2)  # they listen a moment after they are there
            return found
        time.sleep(0.1)
    raise SystemExit(f"{count} workers did not start")


def compare(rounds: int, share: float) -> dict[str, dict[int, list[float]]]:
    """Answers a second, by case and number of workers, one for each round."""
    found: dict[str, dict[int, list[float]]] = {case: {count: [] for count in CONTENDING} for case in CASES}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with stage(folder) as port:
            for done in range(rounds):
                for count, contender in CONTENDING.items():
                    setting = Setting(folder, port, free_port(), ingest=False)
                    with running(contender, setting) as (tree, _):
                        assert tree is not None
                        with _cores(_workers(tree, count), share):
                            for case, asked in CASES.items():
                                ca = str(folder / "mitm" / "mitmproxy-ca-cert.pem")
                                wanted = Wanted(asked, port, setting.port, ca, contender.user)
                                per_s = measured(asked, wanted, tree, lambda: None)["per_s"]
                                found[case][count].append(per_s or 0.0)
                    print(f"round {done + 1} of {rounds}: {count}", file=sys.stderr)
    return found


def table(found: dict[str, dict[int, list[float]]], rounds: int, share: float) -> str:
    """The figures and the promise, as Markdown."""
    of_each = "a core" if share == 1 else f"{share:g} of a core"
    lines = [
        f"{about(rounds)} Each worker has {of_each}.",
        "",
        f"| 32 at a time, answers/s | one worker | two workers | times (promised: at least {PROMISED}) |",
        "| --- | ---: | ---: | ---: |",
    ]
    for case, by_count in found.items():
        one, two = (statistics.median(by_count[count]) for count in (1, 2))
        lines.append(f"| {case} | {number(one)} | {number(two)} | {two / one:.2f} |")
    return "\n".join(lines)


def main() -> None:
    """Compare, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--share", type=float, default=1 if (os.cpu_count() or 1) >= 4 else 0.5)
    parser.add_argument("--docs", action="store_true", help="write the figures into docs/speed.md")
    asked = parser.parse_args()
    if asked.share < 1 and not os.access(_CONTROLLER / "cgroup.procs", os.W_OK):
        raise SystemExit(f"shares of cores need root and the CPU controller of cgroup v1 at {_CONTROLLER}")
    found = table(compare(asked.rounds, asked.share), asked.rounds, asked.share)
    print(found)
    if asked.docs:
        write_docs("workers", found)


if __name__ == "__main__":
    main()
