"""Network namespaces for tests: made for a run and removed after it. Needs root, `ip`, and what a test names.

Nothing is ever set in the namespace that the tests themselves run in.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import trustme

from tests.support.commands import ROOT, environment
from tests.support.proxies import Place, end_ingest
from tests.support.standin import TRUSTED_NAMES
from tests.support.waiting import wait_until

_CONFIGURATION = Path("/etc/netns")
_IS_UP = "go to the proxy now"


@dataclass
class Network(Place):
    """Namespaces that are wired together, and one installation of tracecli."""

    name: str = field(default_factory=lambda: f"tracecli-{os.getpid()}-{secrets.token_hex(3)}")

    @property
    def provider_authority(self) -> Path:
        """The provider's certificate authority."""
        return self.folder / "provider-authority.pem"

    @property
    def authority(self) -> Path:
        """The proxy's."""
        return self.home / "mitmproxy" / "mitmproxy-ca-cert.pem"

    def within(self, place: str) -> list[str]:
        """What has to be put before a command that runs in a namespace."""
        return ["ip", "netns", "exec", f"{self.name}-{place}"]

    def do(self, place: str, *command: str, given: str | None = None, code: int | None = 0) -> str:
        """Run a command in a namespace, which has to end with `code`; returns what it printed, errors at the end."""
        done = subprocess.run(
            [*self.within(place), *command],
            cwd=self.folder,
            env=environment(self.home),
            input=given,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert code is None or done.returncode == code, (command, done.returncode, done.stdout, done.stderr)
        return done.stdout + done.stderr

    def python(self, place: str, script: str, *args: str, trust: Path | None = None, before: Sequence[str] = ()) -> str:
        """Run a Python script in a namespace that trusts one authority: the proxy's, if no other is named.

        `before` are words of a command that runs it.
        """
        env = ["env", f"SSL_CERT_FILE={trust or self.authority}", f"PYTHONPATH={ROOT}"]
        return self.do(place, *env, *before, sys.executable, "-c", script, *args)

    def tracecli(self, place: str, *args: str, code: int | None = 0) -> str:
        """Run `tracecli ARGS` in a namespace."""
        return self.do(place, sys.executable, "-m", "tracecli", *args, code=code)

    def status(self, place: str, code: int | None = 0) -> dict[str, Any]:
        """What `tracecli transparent status --json` says."""
        said = self.tracecli(place, "transparent", "status", "--json", code=code)
        found: dict[str, Any] = json.loads(said)
        return found

    @contextlib.contextmanager
    def up(self, place: str, *args: str, before: Sequence[str] = ()) -> Iterator[subprocess.Popen[bytes]]:
        """`tracecli transparent up ARGS` in a namespace, from when it intercepts; at the end it is asked to end.

        Its process is that of `ip`, and of `before` that runs it: each puts the next in its own place.
        """
        said = len(self.said())
        command = [*self.within(place), *before, sys.executable, "-m", "tracecli", "transparent", "up", *args]
        with self.log.open("ab") as log:
            process = subprocess.Popen(
                command,
                cwd=self.folder,
                env=environment(self.home, PYTHONUNBUFFERED="1"),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

        def is_up() -> bool:
            assert process.poll() is None, self.said()
            return _IS_UP in self.said()[said:]

        try:
            wait_until(is_up, "transparent mode to be up")
            yield process
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
                assert process.wait(30) == 0, self.said()
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
                process.wait(30)
            end_ingest(self.home)
        assert "Traceback" not in self.said(), self.said()


def run(*command: str) -> None:
    """Run a command that has to work."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=20)
    assert done.returncode == 0, (command, done.stderr)


def require(*tools: str) -> None:
    """Skip the test if there can be no namespaces here, or if one of these tools is not there."""
    if os.geteuid() != 0:
        pytest.skip("network namespaces need root")
    if missing := [tool for tool in ("ip", *tools) if shutil.which(tool) is None]:
        pytest.skip(f"not installed: {', '.join(missing)} (Debian: iproute2, nftables, iptables, wireguard-tools)")
    if not Path("/proc/sys/net/ipv6").exists():
        pytest.skip("this kernel has no IPv6")
    probe = f"tracecli-probe-{secrets.token_hex(4)}"
    done = subprocess.run(["ip", "netns", "add", probe], capture_output=True, text=True, check=False, timeout=20)
    if done.returncode:
        pytest.skip(f"network namespaces cannot be made here: {done.stderr.strip()}")
    run("ip", "netns", "del", probe)


@contextlib.contextmanager
def namespaces(network: Network, *places: str, hosts: Sequence[str]) -> Iterator[None]:
    """The namespaces; in all of them the provider's names have these addresses."""
    with contextlib.ExitStack() as stack:
        stack.callback(_remove_if_empty, _CONFIGURATION)
        for place in places:
            name = f"{network.name}-{place}"
            run("ip", "netns", "add", name)
            stack.callback(run, "ip", "netns", "del", name)
            run("ip", "-n", name, "link", "set", "lo", "up")
            # `ip netns exec` puts these files over those in /etc.
            own = _CONFIGURATION / name
            stack.callback(shutil.rmtree, own, ignore_errors=True)
            own.mkdir(parents=True)
            names = " ".join(TRUSTED_NAMES[:-1])
            lines = ["127.0.0.1 localhost", "::1 localhost", *(f"{address} {names}" for address in hosts)]
            (own / "hosts").write_text("\n".join([*lines, ""]))
        yield


def _remove_if_empty(folder: Path) -> None:
    with contextlib.suppress(OSError):
        folder.rmdir()


type End = tuple[str, str, Sequence[str]]
"""A namespace, its device, and its addresses with the length of their network."""


def wire(network: Network, one: End, other: End) -> None:
    """Put a wire between two namespaces."""
    names = [f"{network.name}-{end[0]}" for end in (one, other)]
    first, second = ([end[1], "netns", name] for end, name in zip((one, other), names, strict=True))
    run("ip", "link", "add", *first, "type", "veth", "peer", "name", *second)
    for name, (_, device, addresses) in zip(names, (one, other), strict=True):
        for address in addresses:
            run("ip", "-n", name, "addr", "add", address, "dev", device, *(["nodad"] if ":" in address else []))
        run("ip", "-n", name, "link", "set", device, "up")


def route(network: Network, place: str, *gateways: str) -> None:
    """The way out of a namespace, for each version of IP."""
    for gateway in gateways:
        run("ip", "-n", f"{network.name}-{place}", "route", "replace", "default", "via", gateway)


@contextlib.contextmanager
def provider(network: Network, place: str) -> Iterator[None]:
    """The stand-in provider, on port 443 of all addresses of a namespace."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(network.provider_authority)
    leaf = network.folder / "provider.pem"
    authority.issue_cert(*TRUSTED_NAMES).private_key_and_cert_chain_pem.write_to_path(leaf)
    command = [*network.within(place), sys.executable, "-m", "tests.support.standin", "", "443", str(leaf)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"listening\n"
            yield
        finally:
            process.kill()


# What clients run. They know nothing of a proxy.

FETCH = """
import json, sys
import httpx2
url, user, local, version = (*sys.argv[1:], "", "", "")[:4]
transport = httpx2.HTTPTransport(local_address=local or None, http1=version != "2", http2=version == "2")
body = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Who is in the middle?"}]}
with httpx2.Client(transport=transport, timeout=10) as client:
    answer = client.post(url, json=body, headers={"X-Tracecli-User": user})
print(json.dumps({"version": answer.http_version, "status": answer.status_code, "answer": answer.json()}))
"""
"""Asks URL as USER, from a local address (`0.0.0.0`: over IPv4, `::`: over IPv6), and over HTTP/2 if asked to."""

QUIC = """
import socket, sys
address = sys.argv[1]
with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM) as asking:
    asking.settimeout(10)
    asking.connect((address, 443))
    try:
        asking.send(bytes(1200))
        asking.recv(1)
    except OSError as error:
        print(type(error).__name__)
"""
"""What a client that tries QUIC sees: the name of an error."""

SHOWN = """
import encodings.idna, os, socket, ssl, sys
host, address, uid = (*sys.argv[1:], "0")[:3]
context = ssl.create_default_context()
context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
os.setuid(int(uid))
with socket.create_connection((address, 443), timeout=10) as plain:
    with context.wrap_socket(plain, server_hostname=host) as tls:
        print("proxy" if b"mitmproxy" in tls.getpeercert(binary_form=True) else "provider")
"""
"""Whose certificate a client of HOST sees, that runs as user UID."""
