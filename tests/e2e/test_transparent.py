"""Transparent mode, the way a router runs it: the client knows nothing of a proxy.

Three network namespaces, made for the run and removed after it: a client, a router with the proxy, a provider. Needs
root, `ip` and `nft`.
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
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import trustme

from tests.support import answers
from tests.support.commands import BIN, ROOT, environment
from tests.support.proxies import Place, end_ingest, launch
from tests.support.standin import TRUSTED_NAMES
from tests.support.waiting import wait_until

CLIENT, CLIENT_SIDE, PROVIDER_SIDE, PROVIDER = "10.77.1.2", "10.77.1.1", "10.77.2.1", "10.77.2.2"
PORT = 8080
CONFIGURATION = Path("/etc/netns")

# What a user sets up on the router: https to the proxy, no QUIC, which could not be redirected.
RULES = f"""
table inet tracecli {{
  chain prerouting {{
    type nat hook prerouting priority dstnat; policy accept;
    iifname "lan" tcp dport {{ 80, 443 }} redirect to :{PORT}
  }}
  chain forward {{
    type filter hook forward priority filter; policy accept;
    iifname "lan" udp dport 443 reject
  }}
}}
"""

# Run in the client's namespace: the official client with nothing but a trusted authority, and what it saw.
ASK = """
import json, sys, time
import openai
user, stream = sys.argv[1], sys.argv[2] == "stream"
headers = {"X-Tracecli-User": user}
with openai.OpenAI(api_key="sk-standin-0123456789abcdef", max_retries=0, default_headers=headers) as c:
    asked = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Who is in the middle?"}]}
    if stream:
        times, text = [], ""
        for chunk in c.chat.completions.create(**asked, stream=True, stream_options={"include_usage": True}):
            times.append(time.monotonic())
            text += (chunk.choices[0].delta.content or "") if chunk.choices else ""
        print(json.dumps({"text": text, "spread_s": times[-1] - times[0]}))
    else:
        print(json.dumps({"text": c.chat.completions.create(**asked).choices[0].message.content}))
"""
FETCH = """
import sys
import httpx2
print(httpx2.post(sys.argv[1], json={"model": "gpt-4o-mini"}, headers={"X-Tracecli-User": sys.argv[2]}).text)
"""
FETCH_CACHED = """
import sys
import httpx2
headers = {"X-Tracecli-User": sys.argv[2], "X-Cached": "yes"}
body = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "again?"}]}
answer = httpx2.post(sys.argv[1], json=body, headers=headers)
print(answer.status_code, answer.headers.get("cache-status"))
print(answer.text)
"""
KNOCK = f"""
import socket
with socket.create_connection(("{CLIENT_SIDE}", {PORT}), timeout=5) as knocking:
    knocking.sendall(b"GET / HTTP/1.1\\r\\nHost: {CLIENT_SIDE}:{PORT}\\r\\n\\r\\n")
    while knocking.recv(65536):
        pass
"""


@dataclass
class Network(Place):
    """The namespaces, and the installation on the router."""

    name: str

    @property
    def authority(self) -> Path:
        """The provider's certificate authority."""
        return self.folder / "provider-authority.pem"

    def within(self, place: str) -> list[str]:
        """What has to be put before a command that runs in a namespace."""
        return ["ip", "netns", "exec", f"{self.name}-{place}"]

    def as_client(self, script: str, *args: str, trust: Path | None = None) -> str:
        """Run a Python script in the client's namespace; returns what it printed."""
        done = subprocess.run(
            [*self.within("client"), sys.executable, "-c", script, *args],
            cwd=self.folder,
            env=environment(self.home, SSL_CERT_FILE=str(trust or self.home / "mitmproxy" / "mitmproxy-ca-cert.pem")),
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout


def run(*command: str, given: str | None = None) -> None:
    """Run a command that has to work."""
    done = subprocess.run(command, input=given, capture_output=True, text=True, check=False, timeout=20)
    assert done.returncode == 0, (command, done.stderr)


def why_not() -> str | None:
    """Why there can be no namespaces here, or None."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    missing = [tool for tool in ("ip", "nft") if shutil.which(tool) is None]
    if missing:
        return f"not installed: {', '.join(missing)} (Debian: iproute2, nftables)"
    probe = f"tracecli-probe-{secrets.token_hex(4)}"
    done = subprocess.run(["ip", "netns", "add", probe], capture_output=True, text=True, check=False, timeout=20)
    if done.returncode:
        return f"network namespaces cannot be made here: {done.stderr.strip()}"
    run("ip", "netns", "del", probe)
    return None


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    """Client, router and provider, and the proxy running on the router."""
    if reason := why_not():
        pytest.skip(reason)
    network = Network(tmp_path_factory.mktemp("transparent"), f"tracecli-{os.getpid()}-{secrets.token_hex(3)}")
    with contextlib.ExitStack() as stack:
        _namespaces(network, stack)
        _wires(network)
        stack.enter_context(_provider(network))
        stack.enter_context(_router(network))
        yield network


def _namespaces(network: Network, stack: contextlib.ExitStack) -> None:
    for place in ("client", "router", "provider"):
        run("ip", "netns", "add", f"{network.name}-{place}")
        stack.callback(run, "ip", "netns", "del", f"{network.name}-{place}")
        run("ip", "-n", f"{network.name}-{place}", "link", "set", "lo", "up")
    # `ip netns exec` puts these files over those in /etc: the client's own name service.
    stack.callback(_remove_if_empty, CONFIGURATION)
    own = CONFIGURATION / f"{network.name}-client"
    stack.callback(shutil.rmtree, own, ignore_errors=True)
    own.mkdir(parents=True)
    (own / "hosts").write_text(f"127.0.0.1 localhost\n{PROVIDER} {' '.join(TRUSTED_NAMES[:-1])}\n")


def _remove_if_empty(folder: Path) -> None:
    with contextlib.suppress(OSError):
        folder.rmdir()


def _wires(network: Network) -> None:
    client, router, provider = (f"{network.name}-{place}" for place in ("client", "router", "provider"))
    run("ip", "link", "add", "eth0", "netns", client, "type", "veth", "peer", "name", "lan", "netns", router)
    run("ip", "link", "add", "eth0", "netns", provider, "type", "veth", "peer", "name", "wan", "netns", router)
    for namespace, device, address in (
        (client, "eth0", CLIENT),
        (router, "lan", CLIENT_SIDE),
        (router, "wan", PROVIDER_SIDE),
        (provider, "eth0", PROVIDER),
    ):
        run("ip", "-n", namespace, "addr", "add", f"{address}/24", "dev", device)
        run("ip", "-n", namespace, "link", "set", device, "up")
    run("ip", "-n", client, "route", "add", "default", "via", CLIENT_SIDE)
    run("ip", "-n", provider, "route", "add", "default", "via", PROVIDER_SIDE)
    for setting in ("ip_forward=1", "conf/all/send_redirects=0"):
        name, _, value = setting.partition("=")
        run(*network.within("router"), "sh", "-c", f"echo {value} > /proc/sys/net/ipv4/{name}")
    run(*network.within("router"), "nft", "-f", "-", given=RULES)


@contextlib.contextmanager
def _provider(network: Network) -> Iterator[None]:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(network.authority)
    leaf = network.folder / "provider.pem"
    authority.issue_cert(*TRUSTED_NAMES).private_key_and_cert_chain_pem.write_to_path(leaf)
    command = [*network.within("provider"), sys.executable, "-m", "tests.support.standin", "0.0.0.0", "443", str(leaf)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"listening\n"
            yield
        finally:
            process.kill()


@contextlib.contextmanager
def _router(network: Network) -> Iterator[None]:
    command = [*network.within("router"), str(BIN / "mitmdump"), "--mode", "transparent"]
    command += ["-s", str(ROOT / "addon" / "tracecli_addon.py"), "--listen-port", str(PORT)]
    for name, value in {
        "confdir": network.home / "mitmproxy",
        "ssl_verify_upstream_trusted_ca": network.authority,
        "termlog_verbosity": "warn",
        "flow_detail": "0",
    }.items():
        command += ["--set", f"{name}={value}"]
    process, _ = launch(network, command)
    try:
        yield
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0, network.said()
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        end_ingest(network.home)
    assert "Traceback" not in network.said(), network.said()


def asked(network: Network, user: str, how: str) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(network.as_client(ASK, user, how))
    return answer


def test_a_plain_call(network: Network, user: str) -> None:
    """A client that knows nothing of a proxy is recorded under the provider's name, not its address."""
    assert asked(network, user, "plain") == {"text": answers.TEXT}
    one = network.only_opened(user)
    assert one["url"] == "https://api.openai.com/v1/chat/completions"
    assert (one["provider"], one["host"], one["outcome"]) == ("openai", "api.openai.com", "complete")
    assert (one["completion"], one["input_tokens"], one["cost_usd"]) == (answers.TEXT, 1500, "0.0002682")


def test_a_streamed_call(network: Network, user: str) -> None:
    """A stream arrives piece by piece at such a client too, and is recorded."""
    seen = asked(network, user, "stream")
    assert seen["text"] == answers.TEXT
    assert seen["spread_s"] > 0.2, "the stream was held back"
    row = network.only_row(user)
    assert (row["outcome"], row["stream"], row["output_tokens"]) == ("complete", True, 200)
    assert 0 < row["ttfb_ms"] <= row["ttft_ms"] < row["duration_ms"] - 200


@pytest.mark.parametrize("host", ["other.example.test", "api.openai.com.evil.net"])
def test_another_host_passes_undecrypted(network: Network, user: str, host: str) -> None:
    """Another host shows its own certificate, and nothing of it is recorded."""
    url = f"https://{host}/v1/chat/completions"
    assert json.loads(network.as_client(FETCH, url, user, trust=network.authority)) == answers.chat()
    asked(network, f"{user}-after", "plain")
    network.only_row(f"{user}-after")
    assert network.rows(user) == []


def test_the_proxys_own_port(network: Network, user: str) -> None:
    """Who opens the proxy's own port does not make it talk to itself: the connection ends, and traffic goes on."""
    network.as_client(KNOCK)
    assert asked(network, user, "plain") == {"text": answers.TEXT}
    assert network.only_row(user)["outcome"] == "complete"


def test_a_hit_opens_no_connection(network: Network, user: str) -> None:
    """What was answered before is answered while there is no way to the provider at all."""
    network.policy("cached", '[match]\nX-Cached = "yes"\n[cache]\nmode = "on"\n')
    url = "https://api.openai.com/v1/chat/completions"

    def told() -> str:
        return network.as_client(FETCH_CACHED, url, user).splitlines()[0]

    wait_until(lambda: told().startswith("200 tracecli; hit"), "a hit")
    provider = f"{network.name}-provider"
    run("ip", "-n", provider, "link", "set", "eth0", "down")
    try:
        assert told().startswith("200 tracecli; hit")
    finally:
        run("ip", "-n", provider, "link", "set", "eth0", "up")
        run("ip", "-n", provider, "route", "replace", "default", "via", PROVIDER_SIDE)
    assert network.rows(user)[0]["cache_status"] == "hit"
