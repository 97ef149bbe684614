"""The short cut of hits: it answers what it may, and everything else reaches mitmproxy's layer byte for byte."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mitmproxy import connection
from mitmproxy.options import Options
from mitmproxy.proxy import commands, context, events, layer

from tests.support.core import KEY, Spool
from tracecli.cache.asking import ResponseCache
from tracecli.cache.entries import Entries
from tracecli.capture import Capture, Recorder
from tracecli.lanes.shortcut import Decided, Shortcut
from tracecli.policy.rules import PolicySet
from tracecli.providers.hosts import Hosts

BODY = json.dumps({"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "again?"}]}).encode()
USAGE = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
CHOICE = {"index": 0, "message": {"role": "assistant", "content": "yes"}, "finish_reason": "stop"}
ANSWER = json.dumps(
    {"id": "c", "object": "chat.completion", "model": "m", "choices": [CHOICE], "usage": USAGE}
).encode()


def request(
    body: bytes = BODY,
    path: str = "/v1/chat/completions",
    method: str = "POST",
    version: str = "1.1",
    length: bytes | None = None,
    *more: str,
) -> bytes:
    """A request as on the wire."""
    lines = [f"{method} {path} HTTP/{version}", "Host: api.openai.com", f"Authorization: Bearer {KEY}", *more]
    told = b"Content-Length: " + (str(len(body)).encode() if length is None else length)
    return "\r\n".join(lines).encode() + b"\r\n" + told + b"\r\n\r\n" + body


HIT = request()
MISS = request(BODY.replace(b"again", b"never"))
CHUNKED = HIT.replace(b"Content-Length: %d" % len(BODY), b"Transfer-Encoding: chunked").replace(
    BODY, b"%x\r\n%s\r\n0\r\n\r\n" % (len(BODY), BODY)
)
ODD = {
    "a GET": b"GET /v1/models HTTP/1.1\r\nHost: api.openai.com\r\n\r\n",
    "another path": request(path="/v1/files"),
    "an absolute path": request(path="https://api.openai.com/v1/chat/completions"),
    "HTTP/1.0": request(version="1.0"),
    "a chunked body": CHUNKED,
    "both lengths": HIT.replace(b"Host:", b"Transfer-Encoding: chunked\r\nHost:"),
    "two lengths": HIT.replace(b"Host:", b"Content-Length: 5\r\nHost:"),
    "a large body": request(b"x" * 5000),
    "Expect": request(BODY, "/v1/chat/completions", "POST", "1.1", None, "Expect: 100-continue"),
    "Connection: close": request(BODY, "/v1/chat/completions", "POST", "1.1", None, "Connection: close"),
    "an upgrade": request(BODY, "/v1/chat/completions", "POST", "1.1", None, "Connection: upgrade", "Upgrade: h2c"),
    "no HTTP": b"\x00\x01\x02 what is this\r\n\r\n",
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00",
    "a long head": b"POST / HTTP/1.1\r\nX-Long: " + b"a" * 100_000 + b"\r\n\r\n",
    "two at once": HIT + MISS,
}


class Inner(layer.Layer):
    """In the place of mitmproxy's HTTP layer: keeps what reaches it."""

    def __init__(self, above: context.Context) -> None:
        super().__init__(above)
        self.received = b""
        self.closed = False

    def _handle_event(self, event: events.Event) -> layer.CommandGenerator[None]:
        if isinstance(event, events.DataReceived):
            self.received += event.data
        elif isinstance(event, events.ConnectionClosed):
            self.closed = True
        yield from ()


class Lane:
    """In the place of the flows lane."""

    def __init__(self, recorder: Recorder) -> None:
        self.recorder = recorder
        self.handed: list[Decided] = []

    def user_of(self, client: str) -> str | None:
        """Nobody was authenticated."""
        return None

    def hand_over(self, client: str, decided: Decided) -> None:
        """Keep it."""
        self.handed.append(decided)


class Connection:
    """A client connection with the short cut above an inner layer."""

    def __init__(self, recorder: Recorder) -> None:
        client = connection.Client(peername=("127.0.0.1", 1), sockname=("127.0.0.1", 2), timestamp_start=0)
        client.sni = "api.openai.com"
        above = context.Context(client, Options())
        above.server = connection.Server(address=("api.openai.com", 443))
        self.lane = Lane(recorder)
        self.inner = Inner(above)
        self.shortcut = Shortcut(above, self.inner, cast(Any, self.lane), 4096)
        self.client = client
        self.sent = b""

    def receive(self, data: bytes, cuts: tuple[int, ...] = ()) -> None:
        """Bytes from the client, cut at these places."""
        for start, end in zip((0, *cuts), (*cuts, len(data)), strict=True):
            self._tell(events.DataReceived(self.client, data[start:end]))

    def close(self) -> None:
        """The client leaves."""
        self._tell(events.ConnectionClosed(self.client))

    def _tell(self, event: events.Event) -> None:
        for command in self.shortcut.handle_event(event):
            assert isinstance(command, commands.SendData)
            self.sent += command.data


@pytest.fixture(scope="module")
def spool() -> Spool:
    return Spool()


@pytest.fixture(scope="module")
def recorder(tmp_path_factory: pytest.TempPathFactory, spool: Spool) -> Iterator[Recorder]:
    """A recorder whose cache holds the answer to `HIT`."""
    recorder = Recorder(
        lane="flows",
        hosts=Hosts([]),
        user_headers=["X-Tracecli-User"],
        secret=b"s" * 32,
        policies=PolicySet({"default": {"cache": {"mode": "on"}}}, {}),
        write=spool.write,
    )
    recorder.cache = ResponseCache(Entries(tmp_path_factory.mktemp("cache") / "cache.db", 10**9), recorder.clock)
    connection = Connection(recorder)
    connection.receive(HIT)
    [decided] = connection.lane.handed
    capture = cast(Capture, decided.verdict.capture)
    capture.response_head(200, [("Content-Type", "application/json")], 1e9)
    capture.response_data(ANSWER, 1e9)
    capture.complete(1e9)
    yield recorder
    recorder.cache.entries.close()


@given(cut=st.integers(1, len(HIT) - 1))
def test_a_hit_is_answered_however_it_arrives(recorder: Recorder, spool: Spool, cut: int) -> None:
    """A request that was answered before is answered, again and again, and mitmproxy's layer sees nothing of it."""
    connection = Connection(recorder)
    before = len(spool)
    for _ in range(2):
        connection.receive(HIT, (cut,))
    assert connection.sent.count(ANSWER) == 2
    assert connection.sent.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"\r\nCache-Status: tracecli; hit; " in connection.sent
    assert (connection.inner.received, connection.lane.handed) == (b"", [])
    assert [one.exchange.cache_status for one in spool[before:]] == ["hit", "hit"]
    assert spool[-1].exchange.lane == "fast"
    assert spool[-1].request_body == BODY


@given(cut=st.integers(1, len(MISS) - 1))
def test_a_miss_goes_on_with_its_decision(recorder: Recorder, cut: int) -> None:
    """What was not answered before reaches mitmproxy's layer whole, and is not decided about twice."""
    connection = Connection(recorder)
    connection.receive(MISS, (cut,))
    assert (connection.inner.received, connection.sent) == (MISS, b"")
    [decided] = connection.lane.handed
    assert decided.path == "/v1/chat/completions"
    cast(Capture, decided.verdict.capture).failed("end of the test", 1e9)


def test_hits_after_a_miss(recorder: Recorder) -> None:
    """Once mitmproxy's layer has answered, the next request may take the short cut."""
    connection = Connection(recorder)
    connection.receive(MISS)
    connection.shortcut.free = True
    connection.receive(HIT)
    assert connection.inner.received == MISS
    assert ANSWER in connection.sent
    cast(Capture, connection.lane.handed[0].verdict.capture).failed("end of the test", 1e9)


def test_pipelining_is_left_to_mitmproxy(recorder: Recorder) -> None:
    """A request that comes before the answer to the last one goes behind it, and so does all that follows."""
    connection = Connection(recorder)
    connection.receive(MISS)
    connection.receive(HIT)
    connection.shortcut.free = True
    connection.receive(HIT)
    assert (connection.inner.received, connection.sent) == (MISS + HIT + HIT, b"")
    cast(Capture, connection.lane.handed[0].verdict.capture).failed("end of the test", 1e9)


@pytest.mark.parametrize("name", ODD)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_what_is_odd_passes_as_it_is(recorder: Recorder, name: str, data: st.DataObject) -> None:
    """What is no plain request reaches mitmproxy's layer byte for byte, cut anywhere, and is not answered."""
    odd = ODD[name]
    cuts = tuple(sorted(data.draw(st.lists(st.integers(1, len(odd) - 1), max_size=4, unique=True))))
    connection = Connection(recorder)
    connection.receive(odd, cuts)
    connection.close()
    if name == "two at once" and any(cut <= len(HIT) for cut in cuts) and connection.sent:
        assert connection.inner.received == MISS  # the first came alone, and was answered
    else:
        assert (connection.inner.received, connection.sent) == (odd, b"")
    assert connection.inner.closed
    for decided in connection.lane.handed:
        cast(Capture, decided.verdict.capture).failed("end of the test", 1e9)


@given(
    data=st.lists(
        st.one_of(st.binary(max_size=200), st.sampled_from([HIT, MISS, CHUNKED, HIT[:50], HIT[50:]])), max_size=6
    )
)
def test_nothing_is_lost_or_made_up(recorder: Recorder, data: list[bytes]) -> None:
    """Whatever a client sends: each byte is answered as part of a hit, or reaches mitmproxy's layer, in order."""
    connection = Connection(recorder)
    for piece in data:
        connection.receive(piece)
    connection.close()
    sent, answers = b"".join(data), connection.sent.count(b"HTTP/1.1 200 OK\r\n")
    assert sent.endswith(connection.inner.received)
    assert answers or sent == connection.inner.received
    assert sent[: len(sent) - len(connection.inner.received)].count(BODY) == answers
    for decided in connection.lane.handed:
        cast(Capture, decided.verdict.capture).failed("end of the test", 1e9)


def test_a_client_that_leaves_in_the_middle(recorder: Recorder) -> None:
    """Half a request reaches mitmproxy's layer before it hears that the client is gone."""
    connection = Connection(recorder)
    connection.receive(HIT[:-5])
    assert connection.inner.received == b""
    connection.close()
    assert (connection.inner.received, connection.inner.closed) == (HIT[:-5], True)
