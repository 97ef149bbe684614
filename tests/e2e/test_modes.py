"""The other ways in: reverse mode and SOCKS5. `tests/lanes/test_fast_modes.py` has another proxy behind ours."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import httpx2
import pytest

from tests.support import answers
from tests.support.proxies import Proxy, running_proxy
from tests.support.standin import Standin
from tests.support.waiting import wait_until

HOST, OTHER_HOST = "api.openai.com", "other.example.test"
PATH = "/v1/chat/completions"
ASKED = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Hello."}]}


@pytest.fixture(scope="module")
def proxy(standin: Standin, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    """Both modes; mitmproxy takes no two free ports of one address. Reverse mode has UDP beside TCP."""
    modes = ["--mode", f"reverse:https://{HOST}@0", "--mode", "socks5@127.0.0.2:0"]
    with running_proxy(tmp_path_factory.mktemp("modes"), standin, mitm_args=modes) as proxy:
        yield proxy


def test_reverse(proxy: Proxy, user: str) -> None:
    """A client that knows only a base URL reaches the provider, streams included, and is recorded under its name."""
    headers = {"X-Tracecli-User": user, "Authorization": "Bearer sk-standin-0123456789abcdef"}
    with httpx2.Client(base_url=proxy.url, trust_env=False, headers=headers) as client:
        assert client.post(PATH, json=ASKED).json()["choices"] == answers.chat()["choices"]
        streamed = client.post(PATH, json={**ASKED, "stream": True})
        assert streamed.text.endswith("data: [DONE]\n\n")
    wait_until(lambda: len(proxy.rows(user)) == 2, "both records")
    assert [(row["host"], row["provider"], row["outcome"], row["stream"]) for row in proxy.rows(user)] == [
        (HOST, "openai", "complete", True),
        (HOST, "openai", "complete", False),
    ]


def test_socks5(proxy: Proxy, standin: Standin, user: str) -> None:
    """A client of SOCKS5 is recorded on the fast lane; another host passes with its own certificate."""
    for host, authority in ((HOST, proxy.authority), (OTHER_HOST, standin.authority)):
        with socks5(proxy, host) as plain, proxy.trust(authority).wrap_socket(plain, server_hostname=host) as tls:
            body = b'{"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Hello."}]}'
            head = f"POST {PATH} HTTP/1.1\r\nHost: {host}\r\nX-Tracecli-User: {user}\r\nConnection: close\r\n"
            tls.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
            assert tls.recv(64).startswith(b"HTTP/1.1 200 ")
            while tls.recv(65536):
                pass
    row = proxy.only_opened(user)
    assert (row["host"], row["lane"], row["outcome"]) == (HOST, "fast", "complete")


def socks5(proxy: Proxy, host: str) -> socket.socket:
    """A connection to a host by its name: https://www.rfc-editor.org/rfc/rfc1928."""
    plain = socket.create_connection(tuple(proxy.about["listen"][-1]), timeout=20)
    plain.sendall(b"\x05\x01\x00")
    assert plain.recv(2) == b"\x05\x00"
    plain.sendall(b"\x05\x01\x00\x03" + bytes([len(host)]) + host.encode() + (443).to_bytes(2, "big"))
    assert plain.recv(10)[:2] == b"\x05\x00"
    return plain
