"""Processes for benches: started, waited for, ended."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

HOST = "localhost"
BIN = Path(sys.executable).parent
ADDON = Path(__file__).parents[1] / "addon" / "tracecli_addon.py"


def wait_for(path: Path) -> None:
    """Until a file is there."""
    deadline = time.monotonic() + 20
    while not path.exists():
        if time.monotonic() > deadline:
            raise SystemExit(f"{path.name} did not appear")
        time.sleep(0.02)


@contextlib.contextmanager
def running(*command: str | Path, **environment: str) -> Iterator[None]:
    """A process for a while."""
    process = subprocess.Popen(command, env={**os.environ, **environment}, stdout=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.terminate()
        process.wait(20)


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def wait_for_port(port: int) -> None:
    """Until somebody listens."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", port), 0.2).close()
            return
        time.sleep(0.05)
    raise SystemExit(f"nobody listens on {port}")
