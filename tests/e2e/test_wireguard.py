"""WireGuard: a client whose way to the provider is a tunnel to the proxy.

Three network namespaces: a client with WireGuard, a router with `tracecli proxy --mode wireguard`, a provider that only
the router reaches.
"""

from __future__ import annotations

import contextlib
import json
import secrets
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import mitmproxy_rs
import pytest

from tests.support import namespaces
from tests.support.namespaces import FETCH, SHOWN, Network
from tests.support.proxies import end_ingest, launch
from tests.support.waiting import wait_until

CLIENT, CLIENT_SIDE, PROVIDER_SIDE, PROVIDER = "10.79.1.2", "10.79.1.1", "10.79.2.1", "10.79.2.2"
URL = "https://api.openai.com/v1/chat/completions"


@pytest.fixture
def network(tmp_path: Path) -> Iterator[Network]:
    """The namespaces, the proxy, and the tunnel."""
    namespaces.require("wg", "wireguard-go")
    if not Path("/dev/net/tun").exists():
        pytest.skip("this kernel has no TUN devices")
    network = Network(tmp_path)
    with contextlib.ExitStack() as stack:
        stack.enter_context(namespaces.namespaces(network, "client", "router", "provider", hosts=(PROVIDER,)))
        namespaces.wire(network, ("client", "eth0", (f"{CLIENT}/24",)), ("router", "lan", (f"{CLIENT_SIDE}/24",)))
        namespaces.wire(network, ("provider", "eth0", (f"{PROVIDER}/24",)), ("router", "wan", (f"{PROVIDER_SIDE}/24",)))
        namespaces.route(network, "provider", PROVIDER_SIDE)
        stack.enter_context(namespaces.provider(network, "provider"))
        stack.enter_context(_proxy(network))
        stack.enter_context(_tunnel(network))
        yield network


@contextlib.contextmanager
def _proxy(network: Network) -> Iterator[None]:
    authority = f"ssl_verify_upstream_trusted_ca={network.provider_authority}"
    command = [*network.within("router"), sys.executable, "-m", "tracecli", "proxy", "--mode", "wireguard"]
    process, _ = launch(network, [*command, "--listen", "0.0.0.0:51820", "--", "--set", authority])
    try:
        yield
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0, network.said()
    finally:
        process.kill()
        process.wait()
        end_ingest(network.home)
    assert "Traceback" not in network.said(), network.said()


@contextlib.contextmanager
def _tunnel(network: Network) -> Iterator[None]:
    """WireGuard outside of the kernel, which need not have it. Its control socket is known by the device's name."""
    device = f"wg{secrets.token_hex(4)}"
    keys = json.loads((network.home / "mitmproxy" / "wireguard.conf").read_text())
    configuration = network.folder / "client.conf"
    configuration.write_text(
        f"[Interface]\nPrivateKey = {keys['client_key']}\n"
        f"[Peer]\nPublicKey = {mitmproxy_rs.wireguard.pubkey(keys['server_key'])}\n"
        f"AllowedIPs = 0.0.0.0/0\nEndpoint = {CLIENT_SIDE}:51820\n"
    )
    wireguard = shutil.which("wireguard-go") or "wireguard-go"
    with subprocess.Popen([*network.within("client"), wireguard, "-f", device], stderr=subprocess.DEVNULL) as process:
        try:
            control = Path(f"/var/run/wireguard/{device}.sock")
            wait_until(control.exists, "the device")
            network.do("client", "wg", "setconf", device, str(configuration))
            network.do("client", "ip", "addr", "add", "10.0.0.1/32", "dev", device)
            network.do("client", "ip", "link", "set", device, "mtu", "1280", "up")
            network.do("client", "ip", "route", "add", PROVIDER, "dev", device)
            yield
        finally:
            process.terminate()


def test_through_the_tunnel(network: Network, user: str) -> None:
    """Provider hosts are recorded, over HTTP/1.1 and HTTP/2; another host passes with its own certificate."""
    for version in ("1", "2"):
        seen = json.loads(network.python("client", FETCH, URL, f"{user}-{version}", "", version))
        assert (seen["status"], seen["version"]) == (200, "HTTP/2" if version == "2" else "HTTP/1.1")
        row = network.only_row(f"{user}-{version}")
        assert (row["host"], row["outcome"], row["output_tokens"]) == ("api.openai.com", "complete", 200)
    assert network.python("client", SHOWN, "other.example.test", PROVIDER).strip() == "provider"
    assert (network.home / "mitmproxy" / "wireguard.conf").stat().st_mode & 0o077 == 0
