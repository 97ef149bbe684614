"""Transparent mode, the way a router runs it: the client knows nothing of a proxy.

Three network namespaces: a client, a router with `tracecli transparent up`, a provider.
"""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support import answers, namespaces
from tests.support.namespaces import FETCH, QUIC, Network, run
from tests.support.waiting import wait_until

CLIENT, CLIENT_SIDE, PROVIDER_SIDE, PROVIDER = "10.77.1.2", "10.77.1.1", "10.77.2.1", "10.77.2.2"
CLIENT6, CLIENT_SIDE6, PROVIDER_SIDE6, PROVIDER6 = "fd77:1::2", "fd77:1::1", "fd77:2::1", "fd77:2::2"
PORT = 8080
FORWARDING = ("net/ipv4/ip_forward", "net/ipv4/conf/lan/send_redirects", "net/ipv6/conf/all/forwarding")

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
import socket, sys
with socket.create_connection((sys.argv[1], {PORT}), timeout=5) as knocking:
    knocking.sendall(b"GET / HTTP/1.1\\r\\nHost: x:{PORT}\\r\\n\\r\\n")
    while knocking.recv(65536):
        pass
"""


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    """Client, router and provider, and transparent mode up on the router. In the end all is as it was before."""
    namespaces.require("nft")
    network = Network(tmp_path_factory.mktemp("transparent"))
    with contextlib.ExitStack() as stack:
        stack.enter_context(namespaces.namespaces(network, "client", "router", "provider", hosts=(PROVIDER, PROVIDER6)))
        lan, wan = (f"{CLIENT_SIDE}/24", f"{CLIENT_SIDE6}/64"), (f"{PROVIDER_SIDE}/24", f"{PROVIDER_SIDE6}/64")
        namespaces.wire(network, ("client", "eth0", (f"{CLIENT}/24", f"{CLIENT6}/64")), ("router", "lan", lan))
        namespaces.wire(network, ("provider", "eth0", (f"{PROVIDER}/24", f"{PROVIDER6}/64")), ("router", "wan", wan))
        namespaces.route(network, "client", CLIENT_SIDE, CLIENT_SIDE6)
        namespaces.route(network, "provider", PROVIDER_SIDE, PROVIDER_SIDE6)
        stack.enter_context(namespaces.provider(network, "provider"))
        before = _settings(network)
        authority = f"ssl_verify_upstream_trusted_ca={network.provider_authority}"
        with network.up("router", "--router", "lan", "--port", str(PORT), "--", "--", "--set", authority):
            assert _settings(network) == ["1", "0", "1"]
            yield network
        assert _settings(network) == before == ["0", "1", "0"]
        assert network.do("router", "nft", "list", "ruleset") == ""


def _settings(network: Network) -> list[str]:
    return network.do("router", "cat", *(f"/proc/sys/{name}" for name in FORWARDING)).split()


def asked(network: Network, user: str, how: str) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(network.python("client", ASK, user, how))
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
    seen = json.loads(network.python("client", FETCH, url, user, trust=network.provider_authority))
    assert seen["answer"] == answers.chat()
    network.python("client", FETCH, "https://api.openai.com/v1/chat/completions", f"{user}-after")
    network.only_row(f"{user}-after")
    assert network.rows(user) == []


@pytest.mark.parametrize(("local", "version"), [("0.0.0.0", "2"), ("::", "1"), ("::", "2")])
def test_either_version_of_ip_and_of_http(network: Network, user: str, local: str, version: str) -> None:
    """A call over IPv6, and one that speaks HTTP/2 alone, is recorded like any other."""
    url = "https://api.openai.com/v1/chat/completions"
    seen = json.loads(network.python("client", FETCH, url, user, local, version))
    assert (seen["status"], seen["version"]) == (200, "HTTP/2" if version == "2" else "HTTP/1.1")
    row = network.only_row(user)
    assert (row["host"], row["outcome"], row["output_tokens"]) == ("api.openai.com", "complete", 200)


@pytest.mark.parametrize("address", [PROVIDER, PROVIDER6])
def test_quic_is_refused_at_once(network: Network, address: str) -> None:
    """A client that tries QUIC is told that nobody is there, and falls back to TCP."""
    assert network.python("client", QUIC, address).strip() == "ConnectionRefusedError"


def test_other_ports_and_the_router_itself(network: Network) -> None:
    """What the client wants of the router, and at another port, does not go to the proxy."""
    refused = "import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=10)"
    for address, port in ((CLIENT_SIDE, "443"), (PROVIDER, "8443"), (PROVIDER6, "8443")):
        said = network.do("client", sys.executable, "-c", refused, address, port, code=1)
        assert "ConnectionRefusedError" in said, (address, port)


def test_the_proxys_own_port(network: Network, user: str) -> None:
    """Who opens the proxy's own port is refused; on the router itself it does not make it talk to itself."""
    for address in (CLIENT_SIDE, CLIENT_SIDE6):
        assert "ConnectionRefusedError" in network.do("client", sys.executable, "-c", KNOCK, address, code=1)
    network.python("router", KNOCK, "127.0.0.1")
    network.python("client", FETCH, "https://api.openai.com/v1/chat/completions", user)
    assert network.only_row(user)["outcome"] == "complete"


def test_a_hit_opens_no_connection(network: Network, user: str) -> None:
    """What was answered before is answered while there is no way to the provider at all."""
    network.policy("cached", '[match]\nX-Cached = "yes"\n[cache]\nmode = "on"\n')
    url = "https://api.openai.com/v1/chat/completions"

    def told() -> str:
        return network.python("client", FETCH_CACHED, url, user).splitlines()[0]

    wait_until(lambda: told().startswith("200 tracecli; hit"), "a hit")
    provider = f"{network.name}-provider"
    run("ip", "-n", provider, "link", "set", "eth0", "down")
    try:
        assert told().startswith("200 tracecli; hit")
    finally:
        run("ip", "-n", provider, "link", "set", "eth0", "up")
        run("ip", "-n", provider, "addr", "add", f"{PROVIDER6}/64", "dev", "eth0", "nodad")
        namespaces.route(network, "provider", PROVIDER_SIDE, PROVIDER_SIDE6)
    assert network.rows(user)[0]["cache_status"] == "hit"
