"""A process that does what is to be done between rounds, and dies on its way: for tests of what comes after."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

from tracecli import erasing, ingest
from tracecli.config import Home
from tracecli.store.reencryption import Reencrypter


def die_at(home: Home, step: int, *steps: str) -> None:
    """Have a process erase and encrypt, and kill it at so many of the steps, as `tracecli.store.bodies:forget`."""
    done = subprocess.run([sys.executable, "-m", __name__, str(home.root), str(step), *steps], check=False)
    assert done.returncode in (-signal.SIGKILL, 0)


def main() -> None:
    """Do it, and die."""
    root, step, *steps = sys.argv[1:]
    left = int(step)

    def deadly(of: Callable[..., Any]) -> Callable[..., Any]:
        def taken(*args: Any, **named: Any) -> Any:
            nonlocal left
            left -= 1
            if left < 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return of(*args, **named)

        return taken

    for one in steps:
        module, _, name = one.partition(":")
        setattr(import_module(module), name, deadly(getattr(import_module(module), name)))
    home = Home(Path(root))
    policies = home.root.parent / "policies"
    chores: list[ingest.Chore] = [erasing.Eraser(home), Reencrypter(home, whole=True)]
    ingest.run(home, once=True, ended=lambda: True, policies=policies, chores=chores)


if __name__ == "__main__":
    main()
