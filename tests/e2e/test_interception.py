"""Connections to providers are opened up; every other one passes as it is."""

from __future__ import annotations

import json
import ssl
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from tests.support import answers
from tests.support.http2 import tunnel
from tests.support.proxies import Proxy, running_proxy
from tests.support.standin import Standin
from tests.support.waiting import wait_until

CHAT = "/v1/chat/completions"
ASKED: dict[str, Any] = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Who listens?"}]}


def assert_nothing_recorded(proxy: Proxy, user: str) -> None:
    """The user has no record, also after another exchange has come all the way."""
    with proxy.client(f"{user}-after") as client:
        client.post(f"https://api.openai.com{CHAT}", json=ASKED)
    proxy.only_row(f"{user}-after")
    assert proxy.rows(user) == []


@pytest.mark.parametrize("host", ["other.example.test", "api.openai.com.evil.net"])
def test_other_hosts_pass_undecrypted(proxy: Proxy, user: str, host: str) -> None:
    """A client that trusts only the other host's own certificate reaches it: nobody was in between."""
    script = proxy.standin.script()
    with proxy.client(user, verify=proxy.trust(proxy.standin.authority)) as client:
        answer = client.post(f"https://{host}{CHAT}", json=ASKED, headers=script.headers)
    assert answer.json() == answers.chat()
    assert script.received[0].header("x-tracecli-user") == user
    assert_nothing_recorded(proxy, user)


def test_a_provider_is_intercepted(proxy: Proxy, user: str) -> None:
    """A client that does not trust the proxy cannot reach a provider through it: the test above tells them apart."""
    with (
        proxy.client(user, verify=proxy.trust(proxy.standin.authority)) as client,
        pytest.raises(httpx2.ConnectError, match="certificate verify failed"),
    ):
        client.post(f"https://api.openai.com{CHAT}", json=ASKED)


def test_bytes_that_are_no_tls_pass(proxy: Proxy, user: str) -> None:
    """A tunnel to another host carries what it likes, here plain HTTP to a port of its own."""
    with tunnel(proxy, "localhost", 9999) as plain:
        plain.sendall(f"GET /v1/models HTTP/1.1\r\nHost: x\r\nX-Mark: {user}\r\nConnection: close\r\n\r\n".encode())
        answer = b""
        while piece := plain.recv(1 << 16):
            answer += piece
    assert answer.endswith(json.dumps({"ok": True}).encode())
    assert proxy.standin.received["/v1/models"][-1].header("x-mark") == user
    assert_nothing_recorded(proxy, user)


@pytest.mark.parametrize("host", ["api.mistral.ai", "api.deepseek.com"])
def test_a_provider_with_a_wrong_certificate(proxy: Proxy, user: str, host: str) -> None:
    """A provider whose certificate nobody vouches for is refused, and recorded as failed; it gets no prompt."""
    script = proxy.standin.script()
    with proxy.client(user) as client:
        answer = client.post(f"https://{host}{CHAT}", json=ASKED, headers=script.headers)
    assert answer.status_code == 502
    assert script.received == []
    row = proxy.only_row(user)
    assert (row["outcome"], row["status"], row["host"]) == ("failed", None, host)
    assert "certificate" in row["error"].lower()


OPENAI, ANTHROPIC = "https://api.openai.com", "https://api.anthropic.com"


@pytest.mark.parametrize(
    ("method", "url"),
    [
        ("GET", f"{OPENAI}/"),
        ("GET", f"{OPENAI}/favicon.ico"),
        ("GET", f"{OPENAI}/v1/models"),
        ("POST", f"{OPENAI}/v1/files"),
        ("POST", f"{OPENAI}/oauth/token"),
        ("POST", f"{OPENAI}/v1/traces/ingest"),
        ("OPTIONS", f"{OPENAI}/v1/chat/completions"),
        ("GET", f"{OPENAI}/v1/chat/completions"),
        ("POST", f"{ANTHROPIC}/api/event_logging/batch"),
        ("POST", f"{ANTHROPIC}/api/claude_cli_feedback"),
        ("POST", f"{ANTHROPIC}/v1/oauth/token"),
        ("POST", f"{ANTHROPIC}/v1/messages/count_tokens"),
    ],
)
def test_what_is_no_model_call(proxy: Proxy, user: str, method: str, url: str) -> None:
    """Telemetry, sign-in and web pages of a provider's host pass, and are not recorded."""
    script = proxy.standin.script()
    body = json.dumps({"model": "gpt-4o-mini", "event": user}) if method == "POST" else None
    with proxy.client(user) as client:
        answer = client.request(method, url, content=body, headers=script.headers)
    assert answer.status_code == 200
    assert script.received[0].body == (body or "").encode()
    assert script.received[0].header("x-tracecli-user") is None
    assert_nothing_recorded(proxy, user)


def test_an_unknown_call_is_kept_and_marked(proxy: Proxy, user: str) -> None:
    """A request that names a model at a path nobody knows is recorded as it came, and marked."""
    asked = {"model": "gpt-9", "something": "new"}
    with proxy.client(user) as client:
        assert client.post(f"{OPENAI}/v1/inventions", json=asked).status_code == 200
    one = proxy.only_opened(user)
    assert (one["operation"], one["path"], one["outcome"]) == (None, "/v1/inventions", "complete")
    assert "not_understood" in one["flags"]
    assert json.loads(one["request"]["body"]) == asked
    assert json.loads(one["response"]["body"]) == {"ok": True}


def test_plain_http_to_a_local_model(proxy: Proxy, user: str) -> None:
    """Ollama's own port on this machine, without TLS, is recorded too."""
    with proxy.client(user) as client:
        answer = client.post(f"http://localhost:11434{CHAT}", json=ASKED | {"model": "llama3.2"})
    assert answer.json() == answers.chat()
    one = proxy.only_opened(user)
    assert (one["provider"], one["host"], one["completion"]) == ("ollama", "localhost", answers.TEXT)
    assert one["url"] == f"http://localhost:11434{CHAT}"


@pytest.fixture(scope="module")
def own(standin: Standin, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    """`tracecli proxy` with hosts and a user header of its own."""
    with running_proxy(
        tmp_path_factory.mktemp("own"),
        standin,
        via="tracecli",
        hosts=["other.example.test=anthropic", "localhost:8000"],
    ) as proxy:
        yield proxy


def test_a_host_of_ones_own(own: Proxy, user: str) -> None:
    """A host that was named on the command line is intercepted, and read as the provider that was named."""
    with own.client(user) as client:
        asked = {"model": "claude-haiku-4-5", "max_tokens": 9, "messages": ASKED["messages"]}
        assert client.post("https://other.example.test/v1/messages", json=asked).json() == answers.message()
    one = own.only_opened(user)
    assert (one["provider"], one["host"], one["completion"]) == ("anthropic", "other.example.test", answers.TEXT)
    assert one["input_tokens"] == 1500


def test_a_port_of_ones_own(own: Proxy, user: str) -> None:
    """A host that was named with a port is intercepted there, and at no other."""
    with own.client(user) as client:
        assert client.post(f"http://localhost:8000{CHAT}", json=ASKED).status_code == 200
        assert client.post(f"http://localhost:8001{CHAT}", json=ASKED).status_code == 200
    row = own.only_row(user)
    assert (row["provider"], row["host"], row["input_tokens"]) == ("openai_compatible", "localhost", 1500)


def test_the_bundle_suits_all_connections(own: Proxy, user: str) -> None:
    """The bundle that clients are given holds the system's authorities and the proxy's."""
    wait_until(own.bundle.exists, "the bundle")
    held = {name["commonName"] for name in _subjects(own.trust(own.bundle)) if "commonName" in name}
    assert "mitmproxy" in held
    assert len(held) > 20


def _subjects(context: ssl.SSLContext) -> list[dict[str, str]]:
    found = context.get_ca_certs()
    return [{key: value for part in authority["subject"] for key, value in part} for authority in found]  # type: ignore


def test_when_the_provider_was_reached(proxy: Proxy, user: str) -> None:
    """The call that opened the connection tells how long that took; the one behind it found the connection open."""
    with proxy.client(user) as client:
        for _ in range(2):
            client.post(f"https://api.openai.com{CHAT}", json=ASKED)
    second, first = (proxy.opened(row["id"]) for row in proxy.rows(user))
    assert 0 < first["connect_ms"] <= first["ttfb_ms"]
    assert second["connect_ms"] is None
