"""Does recording hold when everything is killed at random? For as long as one likes.

    python3 -m uv run --group dev python -m benches.chaos [--kills 100] [--fills 2] [--jumps 10] [--cuts 5]
        [--per-second 200] [--seed 1] [--unsure 0.5] [--megabytes 1024] [--folder FOLDER]

While a load goes through a proxy, it, its ingest and readers are killed with SIGKILL and started again, the disk of the
home gets full and has room again, the wall clock of all of them jumps by up to six hours, and the power of the disk is
cut. Then every exchange whose client saw its end has to be there, once, with the bytes that passed, but for as many as
were counted as lost while the disk was full, and those that ended within `--unsure` seconds before a power cut.

The disk is an ext4 in a file; to mount it, and to cut its power, takes root. Without, ask for `--fills 0 --cuts 0`.
Printed is what was sent, what happened and what was found; a failure is an AssertionError.
"""

from __future__ import annotations

import argparse
import contextlib
import tempfile
import time
from pathlib import Path

from tests.support.chaos import KILLED, Chaos, Event
from tests.support.disk import Disk, NoDisk
from tests.support.proxies import Place, end_ingest
from tests.support.standin import Standin


def main() -> None:
    """Let it happen."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100, help="of proxies, ingests and readers together")
    parser.add_argument("--fills", type=int, default=2, help="of the disk")
    parser.add_argument("--jumps", type=int, default=10, help="of the wall clock")
    parser.add_argument("--cuts", type=int, default=5, help="of the power")
    parser.add_argument("--per-second", type=float, default=200, help="exchanges that are begun")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--unsure", type=float, default=0.5, help="seconds before a power cut whose exchanges may go")
    parser.add_argument("--megabytes", type=int, default=1024, help="the size of the disk")
    parser.add_argument("--folder", type=Path, help="where to make a temporary folder")
    options = parser.parse_args()
    wanted: dict[Event, int] = {
        **{what: len(range(number, options.kills, len(KILLED))) for number, what in enumerate(KILLED)},
        "full disk": options.fills,
        "clock": options.jumps,
        "power cut": options.cuts,
    }
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=options.folder)))
        (folder / "standin").mkdir()
        place = Place(folder / "place")
        disk = _disk(place, options.megabytes) if options.fills or options.cuts else None
        if disk is not None:
            stack.callback(disk.close)
        stack.callback(end_ingest, place.home)
        standin = stack.enter_context(Standin(folder / "standin"))
        begun = time.monotonic()
        chaos = Chaos(
            place, standin, per_second=options.per_second, seed=options.seed, disk=disk, unsure_s=options.unsure
        )
        done = chaos.run(wanted)
        took = time.monotonic() - begun
    happened = ", ".join(f"{number} {what}" for what, number in done.happened.items())
    print(f"{len(done.ended) + len(done.unsure):,} exchanges ended in {took:.0f} s; {happened}")
    print(
        f"{len(done.ended) - done.lost:,} are there, each once, their bytes as they passed; {done.lost:,} were counted"
        f" as lost; {len(done.unsure):,} ended within {options.unsure:g} s before a power cut, and of the last"
        f" {done.worst:.2f} s some are not there"
    )


def _disk(place: Place, megabytes: int) -> Disk:
    try:
        return Disk(place.home, megabytes)
    except NoDisk as error:
        raise SystemExit(f"{error}; ask for --fills 0 --cuts 0") from error


if __name__ == "__main__":
    main()
