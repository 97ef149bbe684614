"""A proxy for a program that is run: one of the home that runs already and suits it, or one that is started for it."""

from __future__ import annotations

import base64
import contextlib
import fcntl
import os
import socket
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from tracecli import config
from tracecli.clients.variables import Upstream
from tracecli.config import Home
from tracecli.errors import ProxyError
from tracecli.launching import Launched, launch
from tracecli.proxy import running
from tracecli.proxy.running import RunningProxy

_ASKING_S = 5.0
_NOWHERE = "tracecli.invalid:443"
"""Of a domain that nobody has (RFC 2606)."""


@dataclass(frozen=True)
class Reached:
    """A proxy that serves us."""

    host: str
    port: int
    authority: Path
    policies: Path | None
    processes: int = 1
    """That share its port."""

    def url(self, user: str, password: str) -> str:
        """As a client takes it; user and password need no escaping."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{user}:{password}@{host}:{self.port}"

    def come_round(self) -> None:
        """Wait until the proxy's event loops have come round: what had ended before is recorded then."""
        with contextlib.suppress(OSError), contextlib.ExitStack() as stack:
            where = self.host, self.port
            # All open at once: each process takes one (`listening.py`).
            asking = [stack.enter_context(socket.create_connection(where, _ASKING_S)) for _ in range(self.processes)]
            for one in asking:
                one.sendall(b"no HTTP\r\n\r\n")
            for one in asking:
                one.recv(1)


def addresses(home: Home) -> set[tuple[str, int]]:
    """Where the proxies of a home listen."""
    return {address for proxy in running.proxies(home) for address in reachable(proxy)}


def running_one(home: Home, upstream: Upstream | None, user: str, password: str) -> Reached | None:
    """A proxy of the home that takes this password, and goes out through `upstream` if there is one; else None."""
    for proxy in running.proxies(home):
        if upstream is not None and upstream.mode not in proxy.modes:
            continue
        for host, port in reachable(proxy):
            if serves(host, port, user, password):
                return _reached(home, proxy, host, port)
    return None


@contextlib.contextmanager
def started_one(
    home: Home, policies: Path, words: Sequence[str], upstream: Upstream | None, roots: Path | None
) -> Iterator[tuple[Reached, Launched]]:
    """A proxy on a free port of loopback, that ends with the block, and with this process, however that ends.

    `words` are options of `tracecli proxy`, and after `--` of mitmdump. `roots` are the authorities that it verifies
    providers by; None: mitmproxy's. Raises ProxyError, with what it said, if it does not start.
    """
    environment: Mapping[str, str] = config.environment()
    options, mitmproxy_args = _divided(words)
    options = ["--home", str(home.root), "--policies", str(policies), *options, "--until-eof"]
    if not any(word.partition("=")[0] == "--listen" for word in options):
        options += ["--listen", "127.0.0.1:0"]
    if upstream is not None and not any(word.partition("=")[0] == "--mode" for word in options):
        options += ["--mode", upstream.mode]
        if upstream.auth:
            environment = {**environment, config.UPSTREAM_AUTH: upstream.auth}
    if roots is not None and not any(word.startswith("ssl_verify_upstream_trusted") for word in mitmproxy_args):
        mitmproxy_args = ["--set", f"ssl_verify_upstream_trusted_ca={roots}", *mitmproxy_args]
    with _first_alone(home):
        launched = launch(home, [*options, "--", *mitmproxy_args], environment=environment, ends_with_us=True)
        try:
            about = msgspec.convert(launched.ready(), RunningProxy)
        except BaseException:
            launched.end()
            raise
    try:
        for host, port in reachable(about):
            yield _reached(home, about, host, port), launched
            return
        raise ProxyError("the proxy that was started listens nowhere", "Leave out its --mode.")
    finally:
        launched.end()


@contextlib.contextmanager
def _first_alone(home: Home) -> Iterator[None]:
    """Whoever starts the first proxy of a home is alone with it: two would make an authority each."""
    if (home.mitmproxy / "mitmproxy-ca.pem").exists():
        yield
        return
    folder = os.open(home.root, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def _divided(words: Sequence[str]) -> tuple[list[str], list[str]]:
    at = words.index("--") if "--" in words else len(words)
    return list(words[:at]), list(words[at + 1 :])


def _reached(home: Home, proxy: RunningProxy, host: str, port: int) -> Reached:
    authority = Path(proxy.authority) if proxy.authority else home.mitmproxy / "mitmproxy-ca-cert.pem"
    policies = Path(proxy.policies) if proxy.policies else None
    return Reached(host, port, authority, policies, max(1, len(proxy.workers)))


def reachable(proxy: RunningProxy) -> Iterator[tuple[str, int]]:
    """Where it listens, as addresses that can be connected to."""
    for host, port in proxy.listen:
        yield {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host), port  # noqa: S104 - compared, not bound


def serves(host: str, port: int, user: str, password: str) -> bool:
    """Whether a proxy that opens tunnels is there, and takes the password."""
    login = base64.b64encode(f"{user}:{password}".encode()).decode()
    asked = f"CONNECT {_NOWHERE} HTTP/1.1\r\nHost: {_NOWHERE}\r\nProxy-Authorization: Basic {login}\r\n\r\n"
    try:
        with socket.create_connection((host, port), _ASKING_S) as asking:
            asking.settimeout(_ASKING_S)
            asking.sendall(asked.encode())
            answer = b""
            while b"\r\n" not in answer and (more := asking.recv(256)):
                answer += more
    except OSError:
        return False
    return answer.startswith(b"HTTP/1.") and answer[8:12] == b" 200"


def listens(host: str, port: int) -> bool:
    """Whether anybody does, at an address of this machine."""
    try:
        socket.create_connection((host, port), _ASKING_S).close()
    except OSError:
        return False
    return True
