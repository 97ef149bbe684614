"""The other ways in: reverse mode and SOCKS5. `tests/lanes/test_fast_modes.py` has another proxy behind ours."""

from __future__ import annotations

import socket
from pathlib import Path

import httpx2

from tests.support import answers
from tests.support.proxies import Proxy, running_proxy
from tests.support.standin import Standin

HOST, OTHER_HOST = "api.openai.com", "other.example.test"
PATH = "/v1/chat/completions"
ASKED = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Hello."}]}


def test_reverse(standin: Standin, tmp_path: Path, user: str) -> None:
    """A client that knows only a base URL reaches the provider, streams included, and is recorded under its name."""
    with running_proxy(tmp_path, standin, mitm_args=["--mode", f"reverse:https://{HOST}"]) as proxy:
        headers = {"X-Tracecli-User": user, "Authorization": "Bearer sk-standin-0123456789abcdef"}
        with httpx2.Client(base_url=proxy.url, trust_env=False, headers=headers) as client:
            assert client.post(PATH, json=ASKED).json()["choices"] == answers.chat()["choices"]
            streamed = client.post(PATH, json={**ASKED, "stream": True})
            assert streamed.text.endswith("data: [DONE]\n\n")
    rows = proxy.rows(user)
    assert [(row["host"], row["provider"], row["outcome"], row["stream"]) for row in rows] == [
        (HOST, "openai", "complete", True),
        (HOST, "openai", "complete", False),
    ]


def test_socks5(standin: Standin, tmp_path: Path, user: str) -> None:
    """A client of SOCKS5 is recorded on the fast lane; another host passes with its own certificate."""
    with running_proxy(tmp_path, standin, mitm_args=["--mode", "socks5"]) as proxy:
        for host, authority in ((HOST, proxy.authority), (OTHER_HOST, standin.authority)):
            with (
                socks5(proxy, host) as plain,
                proxy.trust(authority).wrap_socket(plain, server_hostname=host) as tls,
            ):
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
    plain = socket.create_connection(("127.0.0.1", proxy.port), timeout=20)
    plain.sendall(b"\x05\x01\x00")
    assert plain.recv(2) == b"\x05\x00"
    plain.sendall(b"\x05\x01\x00\x03" + bytes([len(host)]) + host.encode() + (443).to_bytes(2, "big"))
    assert plain.recv(10)[:2] == b"\x05\x00"
    return plain
