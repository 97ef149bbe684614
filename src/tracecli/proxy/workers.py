"""`tracecli proxy --workers N`: several proxy processes on one port, with one home, one cache and one ingest.

The process that the user started makes the listening socket, starts the workers and the ingest process, and sees that
they run. It serves nothing itself. A worker is `tracecli proxy` with the socket inherited (`listening.py`); how it ends
is in `leaving.py`. Workers share what is in the home: each writes spool segments of its own and reads the policies
itself; the response cache is one file. Identical requests in flight wait for each other within one worker only.

The first worker starts alone: it makes the certificate authority, and says what is wrong with options, once.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from mitmproxy.proxy.mode_specs import ProxyMode, ReverseMode

from tracecli import __version__, access, files
from tracecli.errors import ConfigError, ProxyError
from tracecli.proxy.counts import Counts
from tracecli.proxy.runner import Inherited, Listen, ProxySettings
from tracecli.runtime import IngestProcess

log = logging.getLogger(__name__)

BACKLOG = 1024
"""So many connections may wait to be accepted; the system may allow less."""
_TICK_S = 0.25
_TELL_AGAIN_S = 1.0
# A worker that is told to end takes eight seconds at most. Who stops containers kills after ten.
_KILL_AFTER_S = 9.5
_FIRST_BACKOFF_S = 0.25
_MAX_BACKOFF_S = 30.0
_LONG_LIFE_S = 60.0
_HANDLED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)


def supervise(settings: ProxySettings, workers: int) -> int:
    """Run the proxy in `workers` processes until a signal ends it; returns the exit code.

    SIGTERM and SIGINT: accept no more, let what is on its way come to its end, for eight seconds at most. SIGHUP:
    replace one worker after the other by a new one, and cut nobody's call.

    Raises ConfigError for a mode that cannot be shared, ProxyError if the port is taken.
    """
    _check_modes(settings.modes)
    with _listening_socket(settings.listen) as listening, tempfile.TemporaryFile() as counts:
        return _Supervisor(settings, workers, listening, counts.fileno()).run()


@dataclass(eq=False)
class _Worker:
    """One process. Its ready file is there as soon as it serves."""

    process: subprocess.Popen[bytes]
    ready_file: Path
    started: float
    slot: int
    """Of the counts."""
    about: dict[str, Any] = field(default_factory=dict)
    """What it last said of itself; empty: it does not serve yet."""
    outdated: bool = False
    """Another one is to take its place."""
    leaving: bool = False

    def look(self) -> None:
        """See what it says of itself."""
        with contextlib.suppress(OSError, ValueError):
            self.about = json.loads(self.ready_file.read_bytes())

    def tell(self, number: signal.Signals) -> None:
        """Have it end; `leaving.py` says how."""
        self.leaving = True
        self.process.send_signal(number)


class _Supervisor:
    """Keeps the processes going."""

    def __init__(self, settings: ProxySettings, count: int, listening: socket.socket, counts_fd: int) -> None:
        self._settings = settings
        self._count = count
        self._listening = listening
        self._counts_fd = counts_fd
        self._counts = Counts.make(counts_fd)
        self._listen = Listen(*listening.getsockname()[:2])
        self._ready_file = settings.home.root / f"proxy-{os.getpid()}.json"
        self._ingest = IngestProcess(settings.home, settings.policies) if settings.ingest else None
        self._workers: list[_Worker] = []
        self._serving = False
        self._next_start = 0.0
        self._backoff_s = _FIRST_BACKOFF_S
        self._started_at = time.time()
        self._recorded: Counter[str] = Counter()
        self._lost = 0
        self._told: dict[str, Any] = {}
        self._tell_again = 0.0
        self._stopping_since: float | None = None
        self._code = 0
        self._terminal = _has_terminal()

    def run(self) -> int:
        """Until a signal comes, or the first worker cannot start."""
        signals, wake = socket.socketpair()
        wake.setblocking(False)
        for number in _HANDLED:
            if signal.getsignal(number) is not signal.SIG_IGN:  # nohup(1) ignores one
                signal.signal(number, lambda *_: None)
        signal.set_wakeup_fd(wake.fileno())
        with signals, wake:
            try:
                while self._step(time.monotonic()):
                    if select.select([signals], [], [], _TICK_S)[0]:
                        for received in signals.recv(64):
                            self._handle(signal.Signals(received))
            finally:
                signal.set_wakeup_fd(-1)
                self._clean_up()
        return self._code

    def _handle(self, number: signal.Signals) -> None:
        if number is signal.SIGHUP and not (self._terminal and not _has_terminal()):
            for worker in self._workers:
                worker.outdated = True
        elif number is not signal.SIGCHLD:
            self._stop()

    def _stop(self) -> None:
        """End, and have all workers end."""
        if self._stopping_since is None:
            self._stopping_since = time.monotonic()
            self._listening.close()
        for worker in self._workers:
            worker.tell(signal.SIGTERM)

    def _step(self, now: float) -> bool:
        """Do what is due; False: all is over."""
        for worker in [worker for worker in self._workers if worker.process.poll() is not None]:
            self._ended(worker, now)
        if self._stopping_since is None:
            self._keep_going(now)
        elif now - self._stopping_since > _KILL_AFTER_S:
            for worker in self._workers:
                worker.process.kill()
        if now >= self._tell_again:
            self._tell_again = now + _TELL_AGAIN_S
            for worker in self._workers:
                worker.look()
        self._tell()
        return self._stopping_since is None or bool(self._workers)

    def _keep_going(self, now: float) -> None:
        """Start what is missing, and let those workers go that others have taken the place of."""
        for worker in self._workers:
            if not worker.about:
                worker.look()
        there = [worker for worker in self._workers if not worker.leaving]
        ready = [worker for worker in there if worker.about]
        outdated = [worker for worker in there if worker.outdated]
        self._serving = self._serving or bool(ready)
        if outdated and len(ready) > self._count:
            outdated[0].tell(signal.SIGHUP)
            return
        if now < self._next_start:
            return
        try:
            if len(there) < self._count + bool(outdated) and (self._serving or not there):
                self._start(now)
            if self._serving and self._ingest:
                self._ingest.watch(now)
        except OSError as error:
            log.warning("tracecli: cannot start a process: %s; it is tried again in %.0f s", error, _MAX_BACKOFF_S)
            self._next_start = now + _MAX_BACKOFF_S

    def _start(self, now: float) -> None:
        words = self._settings.mitmproxy_args
        if self._serving and not any("termlog_verbosity" in word for word in words):
            words = (*words, "--set", "termlog_verbosity=warn")  # where the proxy listens was said already
        taken = {worker.slot for worker in self._workers}
        slot = next(slot for slot in range(Counts.SLOTS) if slot not in taken)
        settings = replace(
            self._settings,
            listen=self._listen,
            inherited=Inherited(self._listening.fileno(), self._counts_fd, slot),
            ingest=False,
            mitmproxy_args=words,
        )
        # Its standard input ends with us, however we end. A session of its own keeps Ctrl-C from it.
        process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
            [sys.executable, "-P", "-m", "tracecli", "proxy", *settings.arguments()],
            stdin=subprocess.PIPE,
            pass_fds=[self._listening.fileno(), self._counts_fd],
            start_new_session=True,
        )
        ready_file = self._settings.home.root / f"proxy-{process.pid}.json"
        ready_file.unlink(missing_ok=True)
        self._workers.append(_Worker(process, ready_file, now, slot))

    def _ended(self, worker: _Worker, now: float) -> None:
        self._workers.remove(worker)
        self._counts.close(worker.slot)
        worker.look()
        worker.ready_file.unlink(missing_ok=True)
        self._recorded.update(worker.about.get("recorded", {}))
        self._lost += worker.about.get("lost", 0)
        if worker.process.stdin:
            worker.process.stdin.close()
        if worker.leaving:
            return
        code = worker.process.returncode
        if not self._serving:  # it has said why
            self._code = code if code > 0 else 1
            self._stop()
        elif not worker.about and sum(not one.leaving for one in self._workers) >= self._count:
            log.warning("tracecli: the new worker ended with code %s; the old ones go on", code)
            for one in self._workers:
                one.outdated = False
        else:
            if now - worker.started > _LONG_LIFE_S:
                self._backoff_s = _FIRST_BACKOFF_S
            log.warning("tracecli: a worker ended with code %s; another starts in %.2f s", code, self._backoff_s)
            self._next_start = now + self._backoff_s
            self._backoff_s = min(self._backoff_s * 2, _MAX_BACKOFF_S)

    def _tell(self) -> None:
        """Say in the ready file how it goes. `tracecli proxy status` adds what the workers say of themselves."""
        ready = [worker for worker in self._workers if worker.about]
        if not ready:
            return
        about = {
            "pid": os.getpid(),
            "version": __version__,
            "started_at": self._started_at,
            "lane": self._settings.lane,
            "flows_because": ready[-1].about.get("flows_because"),
            "listen": [[self._listen.host, self._listen.port]],
            "modes": list(self._settings.modes),
            "policies": str(self._settings.policies),
            "authority": ready[-1].about.get("authority"),
            "ingest_pid": self._ingest and self._ingest.pid,
            "recorded": dict(self._recorded),
            "lost": self._lost,
            "workers": [worker.process.pid for worker in ready],
        }
        if about != self._told:
            with contextlib.suppress(OSError):
                share = partial(access.share, self._settings.home, "metadata")
                files.write_status(self._ready_file, json.dumps(about).encode(), share)
                self._told = about

    def _clean_up(self) -> None:
        for worker in self._workers:
            worker.process.kill()
            worker.process.wait()
        if self._ingest:
            self._ingest.let_go()
        self._ready_file.unlink(missing_ok=True)


def _check_modes(modes: tuple[str, ...]) -> None:
    """Workers share the one port of --listen. Raises ConfigError for what has none, or another."""
    if len(modes) > 1:
        raise ConfigError(
            f"--workers shares one port, and --mode {modes[0]} and --mode {modes[1]} are two",
            "Start `tracecli proxy` once for each.",
        )
    mode = ProxyMode.parse(modes[0])
    shared = mode.type_name in ("regular", "transparent", "upstream", "socks5") or (
        isinstance(mode, ReverseMode) and mode.scheme in ("http", "https", "tcp", "tls")
    )
    if not shared:
        raise ConfigError(f"--mode {modes[0]} cannot be shared by several workers", "Leave out --workers.")
    if mode.custom_listen_host is not None or mode.custom_listen_port is not None:
        raise ConfigError(
            f"--mode {modes[0]} names a place of its own, and workers share that of --listen",
            "Name it with --listen.",
        )


def _listening_socket(listen: Listen) -> socket.socket:
    family = socket.AF_INET6 if ":" in listen.host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)  # as asyncio does
        listening.bind((listen.host, listen.port))
        listening.listen(BACKLOG)
    except OSError as error:
        listening.close()
        raise ProxyError(
            f"cannot listen on {listen}: {error.strerror}",
            "Stop what listens there, or choose another port with --listen 127.0.0.1:PORT (0 takes a free one).",
        ) from error
    return listening


def _has_terminal() -> bool:
    """Whether this process belongs to a terminal: one that is closed sends SIGHUP too."""
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY | os.O_CLOEXEC))
    except OSError:
        return False
    return True
