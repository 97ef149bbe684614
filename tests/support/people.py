"""Other users of the machine, as processes of theirs: only root can be them."""

from __future__ import annotations

import functools
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from tests.support.commands import environment

# In a namespace of its own, what others cannot get at for the folder $2 above it is there for them: $1.
_REACHABLE = """
mount --bind "$1" /mnt && mount -t tmpfs -o mode=755 tmpfs "$2" && mkdir -p "$1" && mount --bind /mnt "$1" || exit 99
shift 2
exec "$@"
"""


_RUN = """
import contextlib, io, json, shlex, sys
from tracecli.cli import main
done = []
for line in sys.argv[1:]:
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as err:
        code = main.run(shlex.split(line))
    done.append((line, code, out.getvalue(), err.getvalue()))
json.dump(done, sys.stdout)
"""


class Ran(NamedTuple):
    """A command line, and what came of it."""

    line: str
    code: int
    out: str
    err: str


@dataclass(frozen=True)
class Person:
    """A user without a name, and the numbers of the groups that he is in."""

    uid: int
    groups: tuple[int, ...] = ()

    def command(self, *words: str) -> list[str]:
        """What runs a command as this user."""
        groups = ["--groups", ",".join(map(str, self.groups))] if self.groups else ["--clear-groups"]
        return [*_reachable(), "setpriv", f"--reuid={self.uid}", f"--regid={self.uid}", *groups, *words]

    def tracecli(self, home: Path, *commands: str, **more: str) -> list[Ran]:
        """Run command lines of tracecli on a home, one after the other in one process."""
        done = subprocess.run(
            self.command(sys.executable, "-c", _RUN, *commands),
            cwd="/",
            env=environment(home, HOME="/nonexistent", **more),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert (done.returncode, done.stderr) == (0, "")
        return [Ran(*one) for one in json.loads(done.stdout)]

    def reads(self, path: Path) -> bool:
        """Whether he may read a file."""
        done = subprocess.run(self.command("cat", str(path)), cwd="/", capture_output=True, check=False, timeout=60)
        return done.returncode == 0


@functools.cache
def why_not() -> str | None:
    """Why tests cannot be other users here; None: they can."""
    if os.geteuid() != 0:
        return "only root can be another user"
    if shutil.which("setpriv") is None:
        return "needs setpriv"
    try:
        command = Person(54_321).command(sys.executable, "-c", "import tracecli.cli.main")
    except RuntimeError as error:
        return str(error)
    done = subprocess.run(command, cwd="/", capture_output=True, text=True, check=False, timeout=60)
    return f"others cannot run this Python: {done.stderr[-200:]}" if done.returncode else None


@functools.cache
def _reachable() -> tuple[str, ...]:
    """What a command begins with so that others can run this Python, also one in a folder that is closed to them."""
    python = Path(sys.base_prefix).resolve()
    closed = [folder for folder in python.parents if not folder.stat().st_mode & 0o001]
    if not closed:
        return ()
    if shutil.which("unshare") is None:
        raise RuntimeError("others cannot get at this Python")
    return "unshare", "--mount", "--propagation=private", "sh", "-c", _REACHABLE, "sh", str(python), str(closed[-1])


@contextmanager
def open_folder() -> Iterator[Path]:
    """A new folder that lets everybody pass, unlike those of pytest."""
    folder = Path(tempfile.mkdtemp(prefix="tracecli-test-"))
    try:
        folder.chmod(0o755)
        yield folder
    finally:
        shutil.rmtree(folder)
