"""Real proxies for tests: mitmdump with the addon, or `tracecli proxy`, as processes with homes of their own."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import httpx2

from tests.support import commands
from tests.support.commands import BIN, ROOT, JsonRow, environment
from tests.support.standin import Standin
from tests.support.waiting import wait_until

TRACED = "tracing = true\n"
_REDIRECT = Path(__file__).with_name("redirect.py")
_SIGNS_OF_A_BUG = ("Traceback", "has crashed", "Addon error", "ResourceWarning")


@dataclass
class Place:
    """The folder of one installation: home, policies, certificate authority, log. It outlives its proxies."""

    folder: Path

    def __post_init__(self) -> None:
        self.policies.mkdir(parents=True, exist_ok=True)
        if not (self.policies / "default.toml").exists():
            self.policy("default", TRACED)

    @property
    def home(self) -> Path:
        return self.folder / "home"

    @property
    def policies(self) -> Path:
        return self.folder / "policies"

    @property
    def log(self) -> Path:
        return self.folder / "proxy.log"

    def policy(self, name: str, text: str) -> None:
        """Write a policy file, `default` or `users/alice`, as an editor does: whole."""
        path = self.policies / f"{name}.toml"
        path.parent.mkdir(exist_ok=True)
        draft = path.with_suffix(".draft")
        draft.write_text(text)
        draft.replace(path)

    def said(self) -> str:
        """Everything that its proxies have written."""
        return self.log.read_text("utf-8", "replace") if self.log.exists() else ""

    def rows(self, user: str | None = None) -> list[JsonRow]:
        """What is recorded, newest first."""
        return commands.rows(self.home, user)

    def only_row(self, user: str) -> JsonRow:
        """The one record of a user."""
        return commands.only_row(self.home, user)

    def stored_row(self, user: str) -> JsonRow:
        """The one record of a user, once ingest has taken everything that the spool holds."""
        row = self.only_row(user)
        wait_until(lambda: not list(self.home.glob("spool/*")), "ingest to take everything")
        return row

    def opened(self, reference: str) -> JsonRow:
        """One record, opened."""
        return commands.opened(self.home, reference)

    def only_opened(self, user: str) -> JsonRow:
        """The one record of a user, opened."""
        return commands.only_opened(self.home, user)


@dataclass
class Proxy(Place):
    """A running proxy."""

    standin: Standin
    process: subprocess.Popen[bytes]
    about: dict[str, Any]
    """Its ready file."""

    @property
    def port(self) -> int:
        port: int = self.about["listen"][0][1]
        return port

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def authority(self) -> Path:
        """The certificate authority that clients of this proxy trust."""
        return self.home / "mitmproxy" / "mitmproxy-ca-cert.pem"

    @property
    def bundle(self) -> Path:
        """The system's authorities and ours."""
        return self.home / "ca-bundle.pem"

    def rows(self, user: str | None = None) -> list[JsonRow]:
        """What is recorded, newest first: all exchanges whose answers have gone out whole."""
        if self.process.poll() is None:
            self._turn()
        return super().rows(user)

    def _turn(self) -> None:
        """Have the proxy's event loop come round once: what it had begun to record is recorded then."""
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=5) as asking:
            asking.sendall(b"no HTTP\r\n\r\n")
            asking.recv(1)

    def trust(self, authority: Path | None = None) -> ssl.SSLContext:
        """A client's TLS settings that trust one authority and no other: the proxy's, or the one named."""
        return ssl.create_default_context(cafile=authority or self.authority)

    def client(self, user: str | None = None, **settings: Any) -> httpx2.Client:
        """An HTTP client that goes through the proxy and trusts it alone."""
        headers = {"X-Tracecli-User": user} if user else {}
        settings = {"verify": self.trust(), "timeout": 30.0, "headers": headers, **settings}
        return httpx2.Client(proxy=self.url, trust_env=False, **settings)

    def kill(self) -> None:
        """End the proxy as a crash does: no clean-up of any kind."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(10)

    def stop_alone(self) -> int:
        """End the proxy as a user does."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(20)

    def stop(self) -> int:
        """End the proxy, and wait until all ingest of its home is done too."""
        code = self.stop_alone()
        wait_until(lambda: not ingest_processes(self.home), "the end of ingest")
        return code


def start_proxy(
    place: Place,
    standin: Standin,
    *,
    via: Literal["mitmdump", "tracecli"] = "mitmdump",
    lane: str = "auto",
    hosts: Sequence[str] = (),
    options: Mapping[str, str] | None = None,
    mitm_args: Sequence[str] = (),
    variables: Mapping[str, str] | None = None,
) -> Proxy:
    """Start a proxy and wait until it listens; `options` are mitmproxy's and the addon's, `variables` are
    for its environment.

    `localhost` leads to the stand-in's plain port, `api.groq.com` to one where nobody listens, all else to its port.
    """
    settings = {"ssl_verify_upstream_trusted_ca": str(standin.authority), "tracecli_lane": lane, **(options or {})}
    if via == "mitmdump":
        settings = {"termlog_verbosity": "warn", "flow_detail": "0", **settings}
    passed = [argument for name, value in settings.items() for argument in ("--set", f"{name}={value}")]
    passed += ["-s", str(_REDIRECT), *mitm_args]
    if via == "mitmdump":
        command = [str(BIN / "mitmdump"), "-s", str(ROOT / "addon" / "tracecli_addon.py")]
        command += ["--listen-host", "127.0.0.1", "-p", "0", "--set", f"confdir={place.home / 'mitmproxy'}"]
        command += [argument for host in hosts for argument in ("--set", f"tracecli_hosts={host}")]
    else:
        command = [sys.executable, "-m", "tracecli", "proxy", "--listen", "127.0.0.1:0"]
        command += [argument for host in hosts for argument in ("--host", host)]
        command += ["--"]
    where = json.dumps({"": standin.port, "api.groq.com": standin.refusing, "localhost": standin.plain_port})
    process, about = launch(place, [*command, *passed], STANDIN_PORTS=where, **(variables or {}))
    return Proxy(place.folder, standin, process, about)


def mitmdump(place: Place, settings: Mapping[str, str], *more: str) -> list[str]:
    """The command line of mitmdump with the addon, on a free port of loopback, with these options."""
    options = {"confdir": str(place.home / "mitmproxy"), **settings}
    command = [str(BIN / "mitmdump"), "-q", "-s", str(ROOT / "addon" / "tracecli_addon.py")]
    command += ["--listen-host", "127.0.0.1", "-p", "0"]
    return [*command, *(word for name, value in options.items() for word in ("--set", f"{name}={value}")), *more]


def launch(place: Place, command: Sequence[str], **more: str) -> tuple[subprocess.Popen[bytes], dict[str, Any]]:
    """Start a proxy by its whole command line; returns its process and its ready file, as soon as there is one."""
    with place.log.open("ab") as log:
        process = subprocess.Popen(
            command,
            cwd=place.folder,
            env=environment(place.home, PYTHONUNBUFFERED="1", **more),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )

    def ready() -> dict[str, Any] | None:
        assert process.poll() is None, place.said()
        with contextlib.suppress(FileNotFoundError):
            about: dict[str, Any] = json.loads((place.home / f"proxy-{process.pid}.json").read_bytes())
            return about
        return None

    try:
        return process, wait_until(ready, "the proxy to listen")
    except BaseException:
        process.kill()
        process.wait()
        raise


@contextlib.contextmanager
def running_proxy(
    folder: Path | Place, standin: Standin, *, policies: Mapping[str, str] | None = None, **settings: Any
) -> Iterator[Proxy]:
    """A proxy between `with` and its end; then it must have ended cleanly and without a sign of a bug.

    `policies` are texts by name, `default` or `users/alice`; `settings` are those of `start_proxy`.
    """
    place = folder if isinstance(folder, Place) else Place(folder)
    for name, text in (policies or {}).items():
        place.policy(name, text)
    proxy = start_proxy(place, standin, **settings)
    try:
        yield proxy
    except BaseException:
        proxy.kill()
        end_ingest(proxy.home)
        raise
    if proxy.process.poll() is None:
        assert proxy.stop_alone() == 0, proxy.said()
        wait_until(lambda: _proxies(proxy.home) or not ingest_processes(proxy.home), "the end of ingest")
    if not _proxies(proxy.home):
        end_ingest(proxy.home)
    assert not any(sign in proxy.said() for sign in _SIGNS_OF_A_BUG), proxy.said()


def ingest_processes(home: Path) -> list[int]:
    """The ingest processes that work on a home."""
    found = []
    for about in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            words = about.read_bytes().split(b"\0")
            if b"ingest" in words and os.fsencode(home) in words:
                found.append(int(about.parent.name))
    return found


def _proxies(home: Path) -> list[int]:
    """The proxies of a home that are running."""
    pids = [int(path.stem.removeprefix("proxy-")) for path in home.glob("proxy-[0-9]*.json")]
    return [pid for pid in pids if Path(f"/proc/{pid}").exists()]


def end_ingest(home: Path) -> None:
    """Leave no ingest process of a home behind, whatever happened to its proxy."""
    for pid in ingest_processes(home):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not ingest_processes(home), "the end of ingest")
