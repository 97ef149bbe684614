"""The fast lane where mitmproxy connects in another way: before the client's handshake, or through another proxy."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from tests.support import answers
from tests.support.proxies import Place, end_ingest, launch, mitmdump
from tests.support.standin import Standin
from tests.support.tunnels import Tunnels

ASKED = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Hello."}]}


@pytest.fixture
def tunnels() -> Iterator[Tunnels]:
    proxy = Tunnels()
    yield proxy
    proxy.listening.close()


@pytest.mark.parametrize("way", ["eager", "upstream"])
def test_the_fast_lane_on_another_way(standin: Standin, tmp_path: Path, tunnels: Tunnels, way: str, user: str) -> None:
    """Exchanges of one connection and of the next pass and are recorded, on the fast lane."""
    place = Place(tmp_path)
    settings = {
        "ssl_verify_upstream_trusted_ca": str(standin.authority),
        "tracecli_hosts": f"localhost:{standin.port}=openai",
        "connection_strategy": "eager" if way == "eager" else "lazy",
    }
    mode = ["--mode", f"upstream:http://127.0.0.1:{tunnels.port}"] if way == "upstream" else []
    process, about = launch(place, mitmdump(place, settings, *mode))
    try:
        port = about["listen"][0][1]
        for _ in range(2):
            with httpx2.Client(
                proxy=f"http://127.0.0.1:{port}",
                trust_env=False,
                verify=ssl.create_default_context(cafile=place.home / "mitmproxy" / "mitmproxy-ca-cert.pem"),
                headers={"X-Tracecli-User": user},
            ) as client:
                for _ in range(3):
                    answer = client.post(f"https://localhost:{standin.port}/v1/chat/completions", json=ASKED)
                    assert answer.json()["choices"] == answers.chat()["choices"]
        process.terminate()
        assert process.wait(20) == 0
        rows = [place.opened(row["id"]) for row in place.rows(user)]
        assert [(row["lane"], row["outcome"]) for row in rows] == [("fast", "complete")] * 6
        assert len(tunnels.asked) == (2 if way == "upstream" else 0)
        assert "Traceback" not in place.said()
    finally:
        process.kill()
        process.wait()
        end_ingest(place.home)
