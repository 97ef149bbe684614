"""Which proxies of a home are running, and how far what they recorded has come. Reads files only.

Each proxy says in a file of the home, `proxy-PID.json`, how it goes (`runtime.py`). One that was killed leaves its file
behind; it does not count.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import msgspec

from tracecli import spool
from tracecli.config import Home


class RunningProxy(msgspec.Struct):
    """What a proxy says of itself; None: it does not say."""

    pid: int
    listen: list[tuple[str, int]] = []
    modes: list[str] = []
    """mitmproxy's, as they were asked for."""
    authority: str | None = None
    """The file of the certificate that its clients have to trust."""
    policies: str | None = None
    """Its policy folder."""
    lane: str | None = None
    """As it was asked for: `auto`, `fast` or `flows`."""
    flows_because: str | None = None
    """Why nothing goes over the fast lane where the proxy had the choice."""
    recorded: dict[str, int] = {}
    """Exchanges, by the lane that recorded them."""
    lost: int | None = None
    """Exchanges that could not be recorded."""
    dropped: int = 0
    """Recorded without content, for too much waited to be loaded."""
    data_keys: list[str | None] = []
    """The ids of the keys that it and its workers encrypt with; None: one of them encrypts nothing."""
    workers: list[int] = []
    """Processes that do its work; their figures are added to its own."""
    ingest_pid: int | None = None
    version: str | None = None
    started_at: float | None = None
    """Unix time."""


class Waiting(msgspec.Struct):
    """What is recorded and not loaded yet."""

    segments: int
    bytes: int
    behind_s: float
    """For so long the oldest finished segment has waited; 0: none waits."""


class Status(msgspec.Struct):
    """How recording into a home goes."""

    proxies: list[RunningProxy]
    spool: Waiting
    ingest_error: str | None
    """Why ingest last failed."""
    read_only: bool
    """The home's disk is: nothing is recorded, and proxies cannot say how it goes."""


def status(home: Home) -> Status:
    """Look. A home that does not exist has nothing."""
    return Status(proxies(home), _waiting(home), _ingest_error(home), home.read_only)


def proxies(home: Home) -> list[RunningProxy]:
    """Those that run. The one that was started first comes first; workers are part of theirs."""
    found = {}
    for path in home.root.glob("proxy-*.json"):
        try:
            proxy = msgspec.json.decode(path.read_bytes(), type=RunningProxy)
        except (OSError, msgspec.DecodeError):  # it ended this moment; or it is no ready file of ours
            continue
        if path.name == f"proxy-{proxy.pid}.json" and _lives(proxy.pid):
            found[proxy.pid] = proxy
    for proxy in list(found.values()):
        for pid in proxy.workers:
            if pid != proxy.pid and (worker := found.pop(pid, None)):
                _add(worker, proxy)
    return sorted(found.values(), key=lambda proxy: proxy.started_at or 0)


def _add(worker: RunningProxy, proxy: RunningProxy) -> None:
    for lane, count in worker.recorded.items():
        proxy.recorded[lane] = proxy.recorded.get(lane, 0) + count
    if worker.lost is not None:
        proxy.lost = (proxy.lost or 0) + worker.lost
    proxy.dropped += worker.dropped
    proxy.data_keys += worker.data_keys


def _lives(pid: int) -> bool:
    """Whether a process is there, and is a proxy where the system tells what it is."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return True
    return b"mitm" in words or b"tracecli" in words


def _waiting(home: Home) -> Waiting:
    there = Waiting(0, 0, 0.0)
    for path in spool.segments(home.spool):
        try:
            about = path.stat()
            waits = spool.is_finished(path)
        except FileNotFoundError:  # ingested this moment
            continue
        there.segments += 1
        there.bytes += about.st_size
        if waits:
            there.behind_s = max(there.behind_s, time.time() - about.st_mtime)
    return there


def _ingest_error(home: Home) -> str | None:
    try:
        said = msgspec.json.decode(home.status.read_bytes())
    except (OSError, msgspec.DecodeError):
        return None
    return said.get("last_error") if isinstance(said, dict) else None
