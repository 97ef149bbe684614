"""Does recording hold when everything is killed at random? For as long as one likes.

    python3 -m uv run --group dev python -m benches.chaos [--kills 100] [--per-second 200] [--seed 1]

A proxy, its ingest and readers are killed with SIGKILL while a load goes through the proxy, and started again. Then
every exchange whose client saw its end more than a second before its proxy was killed has to be there, once, with the
bytes that were sent. Printed is what was sent, killed and found; a failure is an AssertionError.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

from tests.support.chaos import chaos
from tests.support.proxies import Place
from tests.support.standin import Standin


def main() -> None:
    """Let it happen."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--per-second", type=float, default=200)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "standin").mkdir()
        with Standin(Path(folder) / "standin") as standin:
            begun = time.monotonic()
            done = chaos(
                Place(Path(folder) / "place"),
                standin,
                kills=options.kills,
                per_second=options.per_second,
                seed=options.seed,
            )
    killed = ", ".join(f"{number} {what}" for what, number in done.kills.items())
    print(f"{len(done.maybe):,} exchanges ended in {time.monotonic() - begun:.0f} s; killed: {killed}")
    print(f"all {len(done.ended):,} that had ended a second before are there, each once, their bytes as they were sent")


if __name__ == "__main__":
    main()
