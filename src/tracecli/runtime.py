"""What runs beside the traffic: a thread that keeps the spool, the policies, the cache and the ingest process going,
and one that does what the event loop has no time for.

It belongs to the proxy process and knows no mitmproxy. Nothing here runs in the event loop but `Runtime()` itself and
`start`, once.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import queue
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from tracecli import __version__, access, files, home_key, keys, roots, spool, unseen
from tracecli.cache.asking import ResponseCache
from tracecli.cache.entries import Entries
from tracecli.capture import Recorder
from tracecli.config import PRIVATE_FILE, PRIVATE_FOLDER, Home, shipped
from tracecli.errors import ConfigError, HomeError, TracecliError
from tracecli.exchange import Captured
from tracecli.policy import history
from tracecli.policy.files import Watch, load
from tracecli.policy.rules import DEFAULT
from tracecli.providers.hosts import Hosts
from tracecli.proxy_users import ProxyUsers
from tracecli.understanding import metered

log = logging.getLogger(__name__)

_TICK_S = 0.25
_MAX_BACKOFF_S = 30.0
_TELL_AGAIN_S = 1.0
_REPORT_AGAIN_S = 10.0


class Runtime:
    """Everything that recording needs, made of checked options.

    Raises ConfigError for a wrong option or policy file, HomeError if the home cannot be used.
    """

    def __init__(
        self,
        home: Home,
        policies: Path,
        *,
        hosts: Sequence[str],
        user_headers: Sequence[str],
        ingest: bool = True,
    ) -> None:
        home.prepare()
        seed_policies(home, policies)
        self.home = home
        self.policies = policies
        self._watch = Watch(policies)
        self.proxy_users = ProxyUsers(home.proxy_users)
        self._beside = _Beside()
        self.spool = spool.SpoolWriter(home.spool, ring=keys.ring(home))
        self.recorder = Recorder(
            hosts=checked_hosts(hosts),
            user_headers=checked_headers(user_headers),
            secret=home_key.read(home),
            policies=load(policies),
            write=self._record,
            can_record=lambda: not self.spool.failing,
            later=self._beside.do,
        )
        self._open_cache()
        self._limit_spool()
        self.unseen = unseen.Counts()
        self._unseen_keeper = unseen.Keeper(home, self.unseen)
        self._ingest = IngestProcess(home, policies) if ingest else None
        self._ready_file = home.root / f"proxy-{os.getpid()}.json"
        self._for_readers = partial(access.share, home, "metadata")
        self._authority: Path | None = None
        self._unsynced: Path | None = None
        self._keys_told = ""
        self._lost = self._dropped = self._dropped_told = 0
        self._about: dict[str, Any] = {}
        self._told: dict[str, Any] = {}
        self._tell_again = self._report_again = 0.0
        self._failure_again: dict[str, float] = {}
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._keep_going, name="tracecli", daemon=True)

    def start(
        self,
        listening: Sequence[tuple[str, int]],
        authority: Path,
        post: Callable[[Callable[[], None]], object],
        *,
        lane: str,
        modes: Sequence[str] = (),
        flows_because: str | None = None,
    ) -> None:
        """Begin to work beside the traffic. `authority` is the certificate that clients have to trust; `post` runs
        something in the event loop, from any thread, and raises RuntimeError once that has ended. `lane` is the option
        and `flows_because` why nothing goes over the fast lane, for `tracecli proxy status`.
        """
        self._authority = authority
        self._about = {
            "pid": os.getpid(),
            "version": __version__,
            "started_at": time.time(),
            "lane": lane,
            "flows_because": flows_because,
            "listen": [list(address[:2]) for address in listening],
            "modes": list(modes),
            "authority": str(authority),
            "policies": str(self.policies),
        }
        self._bundle()
        self.recorder.post = lambda job: _posted(post, job)
        self._beside.start()
        self._thread.start()
        if self._ingest:
            self._ingest.watch(time.monotonic())
        self._tell()

    def _tell(self) -> None:
        """Say in the ready file how it goes, no oftener than once a second."""
        if time.monotonic() < self._tell_again:
            return
        self._tell_again = time.monotonic() + _TELL_AGAIN_S
        about = self._about | {
            "ingest_pid": self._ingest and self._ingest.pid,
            "recorded": self.recorder.recorded,
            "lost": self.spool.lost,
            "dropped": self._dropped,
            "data_keys": [key.id.hex() if (ring := self.spool.ring) and (key := ring.newest) else None],
        }
        if about != self._told:
            with contextlib.suppress(OSError):
                files.write_status(self._ready_file, json.dumps(about).encode(), self._for_readers)
                self._told = about | {"recorded": dict(self.recorder.recorded)}

    def stop(self) -> None:
        """Seal the spool. Ingest takes what is left, and ends after this process."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(timeout=5)
        self._beside.stop()
        self.spool.close()
        self._report_losses()
        if self.recorder.cache is not None:
            self.recorder.cache.entries.close()
        if self._ingest:
            self._ingest.let_go()
        try:
            self._unseen_keeper.close()
        except OSError as error:
            log.warning("tracecli: what passed unrecorded cannot be counted in %s: %s", self.home.coverage, error)
        with contextlib.suppress(OSError):
            self._ready_file.unlink(missing_ok=True)

    def welcome(self, listening: Sequence[tuple[str, int]], *, named: bool = True) -> str:
        """What to tell the person who started the proxy; `named`: its clients name it as their proxy."""
        where = sorted({f"http://{_reachable(host)}:{port}" for host, port, *_ in listening})
        proxy = f"HTTPS_PROXY={where[0] if where else '...'} " if named else ""
        return (
            f"tracecli {__version__} records to {self.home.root}\n"
            f"  proxy     {', '.join(where) or 'no port of its own'}\n"
            f"  clients   {proxy}SSL_CERT_FILE={self.home.ca_bundle}\n"
            f"  policies  {self.policies}\n"
            "  look      tracecli usage show"
        )

    def _record(self, captured: Captured) -> bool:
        if self.spool.crowded and captured.exchange.traced:
            self._dropped += 1
            captured = metered(captured)
        return self.spool.append(captured)

    def _keep_going(self) -> None:
        try:
            history.note(self.home, self.policies)
        except Exception:
            log.warning("tracecli: the history of policies cannot be noted", exc_info=True)
        while not self._stopping.wait(_TICK_S):
            for step in (
                self.spool.tick,
                self._report_losses,
                self._reload_policies,
                self._reload_keys,
                self.proxy_users.refresh,
                self._keep_cache,
                self._watch_ingest,
                self._bundle,
                self._bring_authority_to_disk,
                self._keep_unseen,
                self._tell,
            ):
                name = step.__name__.strip("_")
                try:
                    step()
                except OSError as error:
                    self._report_failure(name, error)
                except Exception:
                    log.warning("tracecli: %s failed; traffic goes on", name, exc_info=True)

    def _report_failure(self, name: str, error: OSError) -> None:
        """The disk, or what else the machine refuses: no bug, and soon the same again."""
        now = time.monotonic()
        if now >= self._failure_again.get(name, now):
            self._failure_again[name] = now + _REPORT_AGAIN_S
            log.warning("tracecli: %s failed, and is tried again; traffic goes on: %s", name, error)

    def _watch_ingest(self) -> None:
        if self._ingest:
            self._ingest.watch(time.monotonic())

    def _report_losses(self) -> None:
        now = time.monotonic()
        if now < self._report_again and not self._stopping.is_set():
            return
        if self.spool.lost > self._lost:
            self._report_again = now + _REPORT_AGAIN_S
            log.warning(
                "tracecli: %d exchanges could not be recorded so far (%s); traffic goes on",
                self.spool.lost,
                self.spool.last_error,
            )
            self._lost = self.spool.lost
        if self._dropped > self._dropped_told:
            self._report_again = now + _REPORT_AGAIN_S
            log.warning(
                "tracecli: %d exchanges were recorded without their content so far: more than %d bytes wait in %s",
                self._dropped,
                self.spool.max_bytes,
                self.home.spool,
            )
            self._dropped_told = self._dropped

    def _reload_policies(self) -> None:
        if not self._watch.changed():
            return
        try:
            self.recorder.policies = load(self.policies, self.recorder.policies)
        except TracecliError as error:
            log.warning("tracecli: the policies stay as they were: %s", error)
            return
        log.info("tracecli: policies read again")
        self._open_cache()
        self._limit_spool()
        history.note(self.home, self.policies)

    def _reload_keys(self) -> None:
        """What comes is encrypted with the newest key."""
        try:
            ring = keys.ring(self.home)
        except TracecliError as error:
            if str(error) != self._keys_told:
                log.warning("tracecli: what is recorded is encrypted as before, or not at all: %s", error)
                self._keys_told = str(error)
            return
        self.spool.ring = ring
        if self.recorder.cache is not None:
            self.recorder.cache.entries.ring = ring

    def _limit_spool(self) -> None:
        self.spool.max_bytes = self.recorder.policies.policies[DEFAULT].settings.retention.max_spool_bytes or None

    def _open_cache(self) -> None:
        """Have the response cache ready where a policy wants one. Without it, requests go upstream."""
        if not self.recorder.policies.uses_cache:
            return
        max_bytes = self.recorder.policies.policies[DEFAULT].settings.cache.max_bytes
        if self.recorder.cache is None:
            self.recorder.cache = ResponseCache(
                Entries(self.home.cache, max_bytes, self.spool.ring), self.recorder.clock
            )
        self.recorder.cache.entries.max_bytes = max_bytes

    def _keep_cache(self) -> None:
        if self.recorder.cache is not None:
            self.recorder.cache.entries.tick()

    def _keep_unseen(self) -> None:
        self._unseen_keeper.tick()

    def _bundle(self) -> None:
        """Write the system's roots and our authority as one file, once mitmproxy has made the authority."""
        if self._authority is None or not self._authority.exists():
            return
        authority, self._authority = self._authority, None
        with contextlib.suppress(OSError):
            bundle = roots.joined([roots.system(), authority])
            if not (self.home.ca_bundle.exists() and self.home.ca_bundle.read_bytes() == bundle):
                files.write_whole(self.home.ca_bundle, bundle, self._for_readers)
        self._unsynced = authority

    def _bring_authority_to_disk(self) -> None:
        """mitmproxy leaves its files to the system: after a power cut it would not start with half of one."""
        if self._unsynced is None:
            return
        folder, self._unsynced = self._unsynced.parent, None
        for path in (*folder.glob("mitmproxy-*"), folder, folder.parent):
            files.to_disk(path)


class _Beside:
    """A thread that does one job after the other; before its start and after its end, the caller does them."""

    def __init__(self) -> None:
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="tracecli-beside", daemon=True)
        self._working = False

    def start(self) -> None:
        self._working = True
        self._thread.start()

    def do(self, job: Callable[[], None]) -> None:
        if self._working:
            self._jobs.put(job)
        else:
            job()

    def stop(self) -> None:
        """Finish what there is to do."""
        if self._working:
            self._working = False
            self._jobs.put(None)
            self._thread.join(timeout=10)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            try:
                job()
            except Exception:
                log.warning("tracecli: a job beside the traffic failed", exc_info=True)


def _posted(post: Callable[[Callable[[], None]], object], job: Callable[[], None]) -> None:
    try:
        post(job)
    except RuntimeError:  # the event loop has ended, and nobody waits any more
        log.debug("tracecli: too late for the event loop")


class IngestProcess:
    """The ingest process: started, and started again when it ends, ever more slowly."""

    def __init__(self, home: Home, policies: Path) -> None:
        self.home = home
        self.policies = policies
        self.process: subprocess.Popen[bytes] | None = None
        self._next_start = 0.0
        self._backoff_s = 1.0

    @property
    def pid(self) -> int | None:
        return self.process.pid if self.process else None

    def watch(self, now: float) -> None:
        if self.process is not None:
            if self.process.poll() is None:
                return
            log.warning(
                "tracecli: ingest ended with code %s and is started again in %.0f s; see %s",
                self.process.returncode,
                self._backoff_s,
                self.home.ingest_log,
            )
            self.let_go()
            self.process = None
            self._back_off(now)
        elif now >= self._next_start:
            try:
                self._start()
            except OSError as error:
                log.warning(
                    "tracecli: ingest cannot be started, and that is tried again in %.0f s: %s", self._backoff_s, error
                )
                self._back_off(now)

    def _back_off(self, now: float) -> None:
        self._next_start = now + self._backoff_s
        self._backoff_s = min(self._backoff_s * 2, _MAX_BACKOFF_S)

    def _start(self) -> None:
        output = os.open(self.home.ingest_log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, PRIVATE_FILE)
        try:
            # It ends when its standard input does: with us, however we end. A session of its own keeps Ctrl-C from it.
            where = ["--home", str(self.home.root), "--policies", str(self.policies)]
            self.process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
                [sys.executable, "-P", "-m", "tracecli", "ingest", *where, "--until-eof"],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        finally:
            os.close(output)

    def let_go(self) -> None:
        """Tell the process that nothing more will come: it ingests what there is and ends."""
        if self.process and self.process.stdin:
            self.process.stdin.close()


def _reachable(host: str) -> str:
    """A listening address as a client of this machine writes it into a URL."""
    if host in ("0.0.0.0", "::"):  # noqa: S104 - compared, not bound
        return "127.0.0.1"
    return f"[{host}]" if ":" in host else host


def checked_hosts(entries: Sequence[str]) -> Hosts:
    """The hosts to intercept. Raises ConfigError for an entry that is wrong."""
    try:
        return Hosts(entries)
    except ValueError as error:
        raise ConfigError(f"option tracecli_hosts: {error}", "Correct the entry.") from error


def checked_headers(names: Sequence[str]) -> list[str]:
    """The user headers. Raises ConfigError for one that cannot be a header name."""
    for name in names:
        if not name or not all(
            letter.isascii() and (letter.isalnum() or letter in "!#$%&'*+-.^_`|~") for letter in name
        ):
            raise ConfigError(
                f"option tracecli_user_headers: {name!r} cannot be the name of a header",
                "Use letters, digits and dashes.",
            )
    return list(names)


def seed_policies(home: Home, policies: Path) -> None:
    """Give a new home the default policy. A policy folder elsewhere is its owner's: it must have one."""
    default = policies / "default.toml"
    if policies != home.root / "policies" or default.exists():
        return
    try:
        policies.mkdir(mode=PRIVATE_FOLDER, parents=True, exist_ok=True)
        shutil.copyfile(shipped("default.toml"), default)
        default.chmod(PRIVATE_FILE)
    except OSError as error:
        raise HomeError(f"cannot write {default}: {error.strerror}", "Make the home folder writable.") from error
