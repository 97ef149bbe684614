"""How long does it take to erase one user of many, while people read? And is anything left?

    python3 -m uv run --group dev python -m benches.erasing [--megabytes 2000] [--users 1000] [--home DIR]

The store is that of `benches.reading`, of chats whose history grows, each of another user. One user's hold a marker.
`tracecli erase` runs beside a reader that opens one request after the other, of other users; printed are the time, how
often the reader failed, and in which files the marker is found, as bytes and with Parquet unpacked.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benches.reading import fill
from tests.support.secrets_in_files import files_with
from tracecli.config import Home

MARKER = "quetzal-marker-4711"
_READER = """
import random, select, sys
from pathlib import Path
from tracecli import browse
from tracecli.config import Home
home = Home(Path(sys.argv[1]))
others = [row.id for row in browse.latest(home, 5000) if row.user != sys.argv[2] and row.traced]
print(flush=True)
read = failed = 0
while not select.select([0], [], [], 0)[0]:
    try:
        read += bool(browse.open_exchange(home, random.choice(others)).request.body)
    except Exception as error:
        failed += 1
        print(type(error), error, file=sys.stderr)
print(f"{read} read, {failed} failed")
"""


def main() -> None:
    """Make a store, or take the one there is, and erase the first user that is left in it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=int, default=2000)
    parser.add_argument("--users", type=int, default=1000)
    parser.add_argument("--home", type=Path, help="where the store is made, and stays")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        home = Home(options.home or Path(folder) / "home")
        if not home.database.exists():
            size = fill(home, 0, options.megabytes, users=options.users, marked=("user-7", MARKER))
            print(f"{size / 1e6:,.0f} MB of bodies of {options.users} users")
        erase(home, "user-7")


def erase(home: Home, user: str) -> None:
    """Erase one user and print what there is to say."""
    print(f"the marker is in {len(files_with(home.root, MARKER))} files; they take {_size(home) / 1e6:,.0f} MB")
    reader = subprocess.Popen(
        [sys.executable, "-c", _READER, str(home.root), user], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert reader.stdin is not None and reader.stdout is not None
    reader.stdout.readline()
    begun = time.monotonic()
    environment = {**os.environ, "TRACECLI_HOME": str(home.root)}
    command = [sys.executable, "-m", "tracecli", "erase", "--user", user, "--yes"]
    done = subprocess.run(command, env=environment, check=False, capture_output=True, text=True)
    took = time.monotonic() - begun
    reader.stdin.close()
    print(done.stdout, done.stderr, sep="")
    print(f"erased in {took:.1f} s, exit code {done.returncode}; meanwhile {reader.stdout.read().strip()}")
    print(f"the marker is in these files: {files_with(home.root, MARKER)}; they take {_size(home) / 1e6:,.0f} MB")


def _size(home: Home) -> int:
    return sum(path.stat().st_size for path in home.root.rglob("*") if path.is_file())


if __name__ == "__main__":
    main()
