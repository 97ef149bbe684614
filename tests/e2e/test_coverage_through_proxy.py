"""`tracecli coverage` tells of what passed a real proxy unrecorded, and keeps no name that is none of its business."""

from __future__ import annotations

import json
import ssl
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.support.commands import printed, tracecli
from tests.support.http2 import tunnel
from tests.support.proxies import Place, Proxy, end_ingest, start_proxy
from tests.support.standin import Received, Reply, Standin
from tests.support.waiting import Gate, wait_until

CHAT = "/v1/chat/completions"
ASKED: dict[str, Any] = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Who listens?"}]}
LOOKS_LIKE = "api.openai.com.evil.net"
PRIVATE = "other.example.test"
CURL = "curl/8.14.1 (of-alice)"


def looked(proxy: Place) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(printed(proxy.home, "coverage", "--json"))
    return found


def times(proxy: Place) -> dict[tuple[str, str, str, str | None], int]:
    """What was not seen, how often."""
    return {(one["matter"], one["why"], one["host"], one["client"]): one["times"] for one in looked(proxy)["unseen"]}


@pytest.fixture(scope="module", params=["mitmdump", "tracecli"])
def watched(
    request: pytest.FixtureRequest, standin: Standin, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Proxy]:
    """A proxy of a test's own, on the fast lane and on the other; it is killed in the end."""
    place = Place(tmp_path_factory.mktemp("watched"))
    lane = "fast" if request.param == "tracecli" else "flows"
    proxy = start_proxy(place, standin, via=request.param, lane=lane)
    try:
        yield proxy
    finally:
        proxy.kill()
        end_ingest(proxy.home)


def test_what_passes_unseen(watched: Proxy, standin: Standin) -> None:
    """Each way to go unseen is counted with its host, and a private host's name is in no file, also after a kill."""
    proxy = watched
    trusting_nobody = proxy.trust(standin.authority)
    with proxy.client("u", verify=trusting_nobody) as client, pytest.raises(httpx2.ConnectError):
        client.post(f"https://api.openai.com{CHAT}", json=ASKED)
    with proxy.client("u", verify=trusting_nobody) as client:
        assert client.post(f"https://{LOOKS_LIKE}{CHAT}", json=ASKED).status_code == 200
    for _ in range(2):
        with proxy.client("u", verify=trusting_nobody) as client:
            assert client.post(f"https://{PRIVATE}{CHAT}", json=ASKED).status_code == 200
    with tunnel(proxy, "api.anthropic.com", agent=CURL) as plain, pytest.raises(ssl.SSLCertVerificationError):
        trusting_nobody.wrap_socket(plain, server_hostname="api.anthropic.com")
    with (
        tunnel(proxy, "api.groq.com", agent="node") as plain,
        unverified().wrap_socket(plain, server_hostname="api.groq.com"),
    ):
        pass  # as Node, which looks at the certificate after the handshake
    with proxy.client("u") as client:
        assert client.post(f"https://api.openai.com{CHAT}", json=ASKED).status_code == 200
        assert client.post(f"https://api.mistral.ai{CHAT}", json=ASKED).status_code == 502
        assert client.post("https://api.openai.com/v1/inventions", json={"model": "gpt-9"}).status_code == 200
        assert client.get("http://localhost:8000/v1/models").status_code == 200
    left(proxy)

    expected = {
        ("refused", "unknown_ca", "api.openai.com", None),
        ("refused", "unknown_ca", "api.anthropic.com", "curl"),
        ("refused", "silent", "api.groq.com", "node"),
        ("passed", "name", LOOKS_LIKE, None),
        ("upstream", "untrusted", "api.mistral.ai", None),
        ("not understood", "not_understood", "api.openai.com", "python-httpx2"),
        ("broken off", "aborted", "api.openai.com", "python-httpx2"),
        ("broken off", "failed", "api.mistral.ai", "python-httpx2"),
    }
    wait_until(lambda: expected <= set(times(proxy)), "all of it to be counted", every_s=0.3)
    wait_until(lambda: not list(proxy.home.glob("spool/*")), "ingest to take everything")
    before = wait_until(
        lambda: looked(proxy) if looked(proxy)["connections"]["others"] == 3 else None, "all counts", every_s=0.3
    )
    assert dict.fromkeys(expected, 1) == times(proxy)
    assert before["connections"] | {"opened": 0, "share": 0} == {
        "opened": 0, "refused": 3, "passed": 1, "passed_known": 0, "others": 3, "share": 0,
    }  # fmt: skip
    assert before["connections"]["opened"] >= 2
    advice = {one["host"]: one["remedy"] for one in before["unseen"] if one["matter"] == "refused"}
    assert "CURL_CA_BUNDLE" in advice["api.anthropic.com"]
    assert "NODE_EXTRA_CA_CERTS" in advice["api.groq.com"]

    proxy.kill()
    assert looked(proxy)["connections"] == before["connections"]
    folder = proxy.home / "coverage"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in folder.iterdir())
    kept = b"".join(path.read_bytes() for path in folder.iterdir())
    assert LOOKS_LIKE.encode() in kept
    for private in (PRIVATE, "localhost", "127.0.0.1", "alice", "8.14", "/v1", "sk-"):
        assert private.encode() not in kept, private
    assert tracecli(proxy.home, "coverage", "--strict", code=7).stdout.count("\n") == len(expected) + 1

    again = start_proxy(proxy, standin)  # the next one that has something to count gathers what that one left
    try:
        with again.client("u", verify=trusting_nobody) as client:
            client.post(f"https://{PRIVATE}{CHAT}", json=ASKED)
        wait_until((folder / "kept.json").exists, "the counts to be gathered")
        assert again.stop() == 0
    finally:
        again.kill()
        end_ingest(again.home)
    assert [path.name for path in folder.iterdir()] == ["kept.json"]
    assert looked(proxy)["connections"] == before["connections"] | {"others": 4}


def left(proxy: Proxy) -> None:
    """A client that goes away in the middle of a stream."""
    begun, over = Gate(), Gate()

    async def slow(_: Received, reply: Reply) -> None:
        await reply.head(200, [("Content-Type", "text/event-stream")])
        await reply.send(b'data: {"choices":[{"index":0,"delta":{"content":"a"}}]}\n\n')
        begun.open()
        await over.passed()

    script = proxy.standin.script(slow)
    with proxy.client("u") as client:
        url = f"https://api.openai.com{CHAT}"
        with client.stream("POST", url, json=ASKED | {"stream": True}, headers=script.headers) as answer:
            next(answer.iter_raw())
    over.open()


def unverified() -> ssl.SSLContext:
    """A client's TLS settings that take any certificate."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def test_what_mitmproxy_was_told_to_ignore(standin: Standin, tmp_path: Path) -> None:
    """A provider that an option of mitmproxy exempts passes unopened, and that is told with the remedy."""
    proxy = start_proxy(Place(tmp_path), standin, options={"ignore_hosts": r"api\.anthropic\.com"})
    try:
        with proxy.client("u", verify=proxy.trust(standin.authority)) as client:
            client.post("https://api.anthropic.com/v1/messages", json=ASKED)
        wait_until(lambda: times(proxy), "a count", every_s=0.3)
        assert times(proxy) == {("passed", "provider", "api.anthropic.com", None): 1}
        assert "ignore_hosts" in looked(proxy)["unseen"][0]["remedy"]
        assert looked(proxy)["connections"]["share"] == 0
    finally:
        proxy.kill()
        end_ingest(proxy.home)
