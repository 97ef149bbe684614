"""A proxy of our own: `tracecli proxy` started as a process, for as long as this one needs it.

It is in a session of its own, so Ctrl-C in the terminal does not reach it.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from tracecli.config import Home
from tracecli.errors import ProxyError

_POLL_S = 0.02
_START_S = 20.0
_STOP_S = 10.0
"""A proxy that is told to end takes eight seconds at most."""
_INGEST_S = 5.0


@dataclass
class Launched:
    """A proxy that was started."""

    process: subprocess.Popen[bytes]
    ready_file: Path
    log: IO[bytes]

    def ready(self) -> dict[str, Any]:
        """Its ready file, as soon as it serves. Raises ProxyError, with what it said, if it does not."""
        deadline = time.monotonic() + _START_S
        while time.monotonic() < deadline:
            if about := self._about():
                return about
            if self.process.poll() is not None:
                break
            time.sleep(_POLL_S)
        said = self.said()
        raise ProxyError("the proxy did not start", f"It said:\n{said}" if said else "It said nothing.")

    def said(self) -> str:
        """What it has written."""
        file = self.log.fileno()  # its place in the file is the process's too, and has to stay
        return os.pread(file, os.fstat(file).st_size, 0).decode("utf-8", "replace").strip()

    def end(self, *, kill_ingest: bool = False) -> None:
        """End it, and wait for it and for its ingest, which ends by itself; with bounds."""
        ingest = (self._about() or {}).get("ingest_pid")
        if self.process.stdin is not None:
            self.process.stdin.close()
        else:
            self.process.terminate()
        try:
            self.process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            self.ready_file.unlink(missing_ok=True)
        if ingest and not _has_ended(ingest) and kill_ingest:
            with contextlib.suppress(ProcessLookupError):
                os.kill(ingest, signal.SIGKILL)
        self.log.close()

    def _about(self) -> dict[str, Any] | None:
        with contextlib.suppress(OSError, ValueError):
            about: dict[str, Any] = json.loads(self.ready_file.read_bytes())
            return about
        return None


def launch(
    home: Home,
    words: Sequence[str],
    *,
    environment: Mapping[str, str] | None = None,
    ends_with_us: bool = False,
) -> Launched:
    """Start `tracecli proxy WORDS` for a home. `ends_with_us`: it ends with this process, however that ends.

    What it writes goes to a file without a name.
    """
    log = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as what is returned
    process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
        [sys.executable, "-P", "-m", "tracecli", "proxy", *words],
        stdin=subprocess.PIPE if ends_with_us else subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        env=environment,
        start_new_session=True,
    )
    ready_file = home.root / f"proxy-{process.pid}.json"
    ready_file.unlink(missing_ok=True)  # of a process that had the same number
    return Launched(process, ready_file, log)


def _has_ended(pid: int) -> bool:
    """Wait until a process that is no child of ours has ended; whether it has."""
    try:
        process = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    except (AttributeError, OSError):  # not Linux
        deadline = time.monotonic() + _INGEST_S
        with contextlib.suppress(ProcessLookupError):
            while time.monotonic() < deadline:
                os.kill(pid, 0)
                time.sleep(_POLL_S)
            return False
        return True
    try:
        return bool(select.select([process], [], [], _INGEST_S)[0])
    finally:
        os.close(process)
