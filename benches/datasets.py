"""How long does it take to build a dataset, and with how much memory? Of traffic of which it is known what has to go.

    python3 -m uv run --group dev --all-extras python -m benches.datasets [--exchanges 100000] [--home DIR] [--rounds 1]

The store is made up (`tests.support.corpus`): chats, conversations and tool calls of 1 to 5 KB, among them duplicates,
near duplicates, refusals and the like. A dataset is built of a tenth of it and of all of it, with all steps that are on
by themselves, and that of languages. Printed are wall time and CPU, the memory of all processes together, how much
longer ten times the data takes, and whether each exchange became what it has to. The exit code is 1 if one did not.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from itertools import batched, islice, product
from pathlib import Path
from string import ascii_lowercase

from tests.support.chats import store
from tests.support.corpus import Planted, planted
from tests.support.datasets import dropped
from tracecli.config import Home
from tracecli.datasets import folder
from tracecli.datasets.definition import Definition

_STORED_AT_ONCE = 20_000
# All that can be told: the words are of no language, and none of them is to go by that.
_LANGUAGES = [
    *("".join(letters) for letters in product(ascii_lowercase, repeat=2)),
    *re.findall("...", "alsarzastazbbarbclbpybxrcbkcebckbdiqdtyemlfrrgomhifhsbilojbokrclezlmolrcmaimhrminmrjmwlmyv"),
    *re.findall("...", "mznnahnapndsnewpampflpmspnbruesahscnscotyvvecvepvlswarwuuxalxmfyue"),
]
_BUILD = """
import sys
from pathlib import Path
from tracecli.config import Home
from tracecli.datasets import building, folder
if __name__ == "__main__":
    home = Home(Path(sys.argv[1]))
    version = folder.version(home, sys.argv[2])
    building.build(home, version, version.folder)
"""


def fill(home: Home, exchanges: int) -> None:
    """Make the store; what has to become of each exchange is written beside it."""
    home.prepare()
    policies = home.root.parent / "policies"
    policies.mkdir(exist_ok=True)
    (policies / "default.toml").write_text("")
    with (home.root.parent / "planted.txt").open("w") as known:
        every: Iterator[Planted] = islice(planted(exchanges), exchanges)
        for some in batched(every, _STORED_AT_ONCE):
            store(home, *(one.captured for one in some))
            known.writelines(f"{one.captured.exchange.id} {one.step}\n" for one in some)


def build(home: Home, name: str) -> tuple[float, float, int]:
    """Seconds, seconds of CPU, and the most memory of all its processes together, in bytes (PSS)."""
    with tempfile.TemporaryDirectory() as place:
        script = Path(place) / "build.py"
        script.write_text(_BUILD)
        begun, cpu = time.perf_counter(), os.times()
        process = subprocess.Popen([sys.executable, str(script), str(home.root), name])
        most = 0
        while process.poll() is None:
            most = max(most, _memory(process.pid))
            time.sleep(0.2)
        took, after = time.perf_counter() - begun, os.times()
    if process.returncode:
        raise SystemExit(process.returncode)
    used = after.children_user + after.children_system - cpu.children_user - cpu.children_system
    return took, used, most


def _memory(pid: int) -> int:
    """Of a process and its children."""
    total = 0
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                total += int(line.split()[1]) * 1024
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return 0
    return total + sum(_memory(int(child)) for child in children)


def main() -> int:
    """Print what was measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--exchanges", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--home", type=Path, help="a folder for the store, to be used again")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        root = (options.home or Path(temporary)).absolute()
        home = Home(root / "home")
        if not home.database.exists():
            root.mkdir(parents=True, exist_ok=True)
            begun = time.perf_counter()
            fill(home, options.exchanges)
            print(f"{options.exchanges:,} exchanges stored in {time.perf_counter() - begun:,.0f} s", flush=True)
        known = [line.split() for line in (root / "planted.txt").read_text().splitlines()]
        ids = sorted(name for name, _ in known)
        of = Definition(where="user:*", languages=_LANGUAGES)
        wrong: Counter[str] = Counter()
        for number in range(options.rounds):
            took = []
            for name, some in (("a-tenth", ids[: len(ids) // 10]), ("all", ids)):
                version = folder.make(home, name, of, some)
                seconds, cpu, memory = build(home, name)
                took.append(seconds)
                print(
                    f"{len(some):>10,} exchanges: {seconds:7.1f} s, {cpu:7.1f} s of CPU,"
                    f" {memory / 1e6:6.0f} MB in all processes, {seconds / len(some) * 1e3:.2f} ms each",
                    flush=True,
                )
                gone = dropped(version)
            print(f"round {number + 1}: ten times the data takes {took[1] / took[0]:.1f} times as long", flush=True)
            wrong.update(f"{step} by {gone.get(name)}" for name, step in known if gone.get(name, "None") != step)
        print(f"wrong: {dict(wrong) or 'none'}")
        return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
