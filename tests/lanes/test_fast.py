"""The fast lane's layer by itself: what client, provider and record see, however the bytes are cut."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mitmproxy import connection
from mitmproxy.connection import ConnectionState
from mitmproxy.options import Options
from mitmproxy.proxy import commands, context, events, layer

from tests.support.core import KEY, Spool
from tracecli.cache.asking import ResponseCache
from tracecli.cache.entries import Entries
from tracecli.capture import Recorder
from tracecli.exchange import Captured
from tracecli.lanes.fast import FastLayer, TracecliWaitHook
from tracecli.policy.rules import PolicySet
from tracecli.providers.hosts import Hosts

BODY = json.dumps({"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "again?"}]}).encode()
ANSWER = json.dumps(
    {
        "id": "c",
        "object": "chat.completion",
        "model": "m",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "yes"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
    }
).encode()


def request(body: bytes = BODY, *more: str, method: str = "POST", path: str = "/v1/chat/completions") -> bytes:
    """A request as on the wire."""
    lines = [f"{method} {path} HTTP/1.1", "Host: api.openai.com", f"Authorization: Bearer {KEY}", *more]
    length = [f"Content-Length: {len(body)}"] if body else []
    return "\r\n".join([*lines, *length, "", ""]).encode() + body


def answer(body: bytes = ANSWER, *more: str, status: str = "200 OK") -> bytes:
    """An answer as on the wire."""
    return "\r\n".join([f"HTTP/1.1 {status}", *more, f"Content-Length: {len(body)}", "", ""]).encode() + body


def chunked(body: bytes, size: int = 7) -> bytes:
    """A body in chunks, with a trailer."""
    pieces = [body[at : at + size] for at in range(0, len(body), size)]
    return b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\nX-Sum: 1\r\n\r\n"


PLAIN = request()
IN_CHUNKS = request(b"", "Transfer-Encoding: chunked") + chunked(BODY)
ODD = {
    "an absolute path": request(path="https://api.openai.com/v1/chat/completions"),
    "HTTP/1.0": PLAIN.replace(b"HTTP/1.1", b"HTTP/1.0"),
    "both lengths": request(BODY, "Transfer-Encoding: chunked"),
    "two lengths": request(BODY, "Content-Length: 5"),
    "an odd length": PLAIN.replace(b"Length: ", b"Length: +"),
    "another coding": request(b"", "Transfer-Encoding: gzip, chunked"),
    "another expectation": request(BODY, "Expect: more"),
    "an upgrade": request(BODY, "Connection: upgrade", "Upgrade: h2c"),
    "folding": request(BODY, "X-Folded: a\r\n b"),
    "a bare LF": request(BODY, "X-A: a\nX-B: b"),
    "a space before the colon": request(BODY, "X-A : a"),
    "a NUL": request(BODY, "X-A: \0"),
    "no HTTP": b"\x00\x01\x02 what is this\r\n\r\n",
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00",
}


class Inner(layer.Layer):
    """In the place of mitmproxy's HTTP layer: keeps what reaches it."""

    def __init__(self, above: context.Context) -> None:
        super().__init__(above)
        self.started = False
        self.received = b""
        self.closed = False

    def _handle_event(self, event: events.Event) -> layer.CommandGenerator[None]:
        if isinstance(event, events.Start):
            self.started = True
        elif isinstance(event, events.DataReceived):
            self.received += event.data
        elif isinstance(event, events.ConnectionClosed):
            self.closed = True
        yield from ()


class Lane:
    """In the place of the flows lane."""

    def __init__(self, recorder: Recorder) -> None:
        self.recorder: Recorder | None = recorder
        self.leaving = False
        self.exchanges = 0

    def ticket_of(self, client: str) -> None:
        """Nobody was authenticated."""
        return


class Wire:
    """A client connection and, in the clear, one to the provider, with the layer between them."""

    def __init__(self, recorder: Recorder) -> None:
        client = connection.Client(
            peername=("127.0.0.1", 1), sockname=("127.0.0.1", 2), timestamp_start=0, state=ConnectionState.OPEN
        )
        client.sni = "api.openai.com"
        above = context.Context(client, Options())
        above.server = connection.Server(address=("api.openai.com", 443))
        above.server.state = ConnectionState.OPEN
        self.client, self.server = client, above.server
        self.inner = Inner(above)
        self.lane = Lane(recorder)
        self.layer = FastLayer(above, self.inner, self.lane)
        self.to_client = b""
        self.to_server = b""
        self.closed: list[connection.Connection] = []
        self.waiting: TracecliWaitHook | None = None
        self._tell(events.Start())

    def ask(self, data: bytes, cuts: list[int] | None = None) -> None:
        """Bytes from the client, cut at these places."""
        self._pieces(self.client, data, cuts)

    def reply(self, data: bytes, cuts: list[int] | None = None) -> None:
        """Bytes from the provider, cut at these places."""
        self._pieces(self.server, data, cuts)

    def close(self, side: connection.Connection) -> None:
        """One side closes."""
        side.state &= ~ConnectionState.CAN_READ
        self._tell(events.ConnectionClosed(side))

    def woken(self) -> None:
        """What a request waited for has come."""
        assert self.waiting is not None
        hook, self.waiting = self.waiting, None
        self._tell(events.HookCompleted(hook))

    def _pieces(self, side: connection.Connection, data: bytes, cuts: list[int] | None) -> None:
        places = sorted({cut for cut in cuts or [] if 0 < cut < len(data)})
        for start, end in zip([0, *places], [*places, len(data)], strict=True):
            self._tell(events.DataReceived(side, data[start:end]))

    def _tell(self, event: events.Event) -> None:
        for command in self.layer.handle_event(event):
            if isinstance(command, commands.SendData):
                assert command.connection not in self.closed
                if command.connection is self.client:
                    self.to_client += command.data
                else:
                    self.to_server += command.data
            elif isinstance(command, commands.CloseConnection):
                self.closed.append(command.connection)
            elif isinstance(command, TracecliWaitHook):
                self.waiting = command
            else:  # a second connection to the provider is only asked for: it would need TLS
                assert isinstance(command, commands.Log | commands.OpenConnection)


@pytest.fixture(scope="module")
def spool() -> Spool:
    return Spool()


@pytest.fixture(scope="module")
def recorder(tmp_path_factory: pytest.TempPathFactory, spool: Spool) -> Iterator[Recorder]:
    """A recorder with a cache for the user `cached`, and nothing but usage for `metered`."""
    recorder = Recorder(
        hosts=Hosts([]),
        user_headers=["X-Tracecli-User"],
        secret=b"s" * 32,
        policies=PolicySet(
            {"default": {}, "cached": {"cache": {"mode": "on"}}},
            {"cached": {"policy": "cached"}, "metered": {"tracing": False}},
        ),
        write=spool.write,
    )
    recorder.cache = ResponseCache(Entries(tmp_path_factory.mktemp("cache") / "cache.db", 10**9), recorder.clock)
    yield recorder
    recorder.cache.entries.close()


@pytest.fixture
def wire(recorder: Recorder, spool: Spool) -> Wire:
    spool.clear()
    return Wire(recorder)


CUTS = st.lists(st.integers(1, 400), max_size=5)


@given(cuts=CUTS, back=CUTS, chunks=st.booleans(), chunked_back=st.booleans())
def test_an_exchange_however_it_is_cut(
    recorder: Recorder, spool: Spool, cuts: list[int], back: list[int], chunks: bool, chunked_back: bool
) -> None:
    """Both sides get what the other sent, byte for byte, and the record holds the bodies without their chunks."""
    spool.clear()
    wire, asked = Wire(recorder), IN_CHUNKS if chunks else PLAIN
    replied = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked(ANSWER) if chunked_back else answer()
    for _ in range(2):
        wire.ask(asked, cuts)
        wire.reply(replied, back)
    assert (wire.to_server, wire.to_client, wire.closed) == (asked * 2, replied * 2, [])
    assert not wire.inner.started
    for captured in spool:
        assert (captured.request_body, captured.response_body) == (BODY, ANSWER)
        assert (captured.exchange.lane, captured.exchange.outcome, captured.exchange.status) == (
            "fast",
            "complete",
            200,
        )
    assert len(spool) == 2


@given(cuts=CUTS)
def test_requests_sent_ahead_wait_their_turn(recorder: Recorder, spool: Spool, cuts: list[int]) -> None:
    """Pipelined requests go upstream one after the other, each after the answer to the last."""
    spool.clear()
    wire = Wire(recorder)
    wire.ask(PLAIN + IN_CHUNKS + PLAIN, cuts)
    for sent in (PLAIN, PLAIN + IN_CHUNKS, PLAIN + IN_CHUNKS + PLAIN):
        assert wire.to_server == sent
        wire.reply(answer())
    assert wire.to_client == answer() * 3
    assert [one.request_body for one in spool] == [BODY] * 3


@pytest.mark.parametrize("name", ODD)
@given(cuts=CUTS)
def test_what_is_odd_is_handed_over(recorder: Recorder, name: str, cuts: list[int]) -> None:
    """After a plain exchange, what is not plain reaches mitmproxy's layer byte for byte, with all that follows."""
    wire = Wire(recorder)
    wire.ask(PLAIN)
    wire.reply(answer())
    wire.ask(ODD[name], cuts)
    wire.ask(PLAIN)
    assert wire.inner.received == ODD[name] + PLAIN
    assert (wire.to_server, wire.to_client, wire.closed) == (PLAIN, answer(), [wire.server])
    wire.close(wire.client)
    assert wire.inner.closed


def test_our_headers_go_no_further(wire: Wire, spool: Spool) -> None:
    """Headers for us and for the proxy are taken out; the rest stays as it was."""
    wire.ask(request(BODY, "X-Tracecli-User: alice", "Proxy-Connection: keep-alive", "X-odd:  spaces  "))
    wire.reply(answer())
    assert wire.to_server == request(BODY, "X-odd:  spaces  ")
    assert spool[0].exchange.user == "alice"


def test_expecting_to_go_on(wire: Wire) -> None:
    """A client that waits for `100 Continue` gets one from us, once, and the provider is not asked."""
    wire.ask(request(BODY, "Expect: 100-continue").removesuffix(BODY))
    assert (wire.to_client, wire.to_server) == (b"HTTP/1.1 100 Continue\r\n\r\n", b"")
    wire.ask(BODY)
    assert wire.to_server == PLAIN
    wire.reply(b"HTTP/1.1 100 Continue\r\n\r\n" + answer())
    assert wire.to_client == b"HTTP/1.1 100 Continue\r\n\r\n" + answer()


def test_interim_answers_pass(wire: Wire, spool: Spool) -> None:
    """`103 Early Hints` reaches the client before the answer, and the record knows the answer."""
    hints = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
    wire.ask(PLAIN)
    wire.reply(hints + hints + answer(), [10, 60, 110])
    assert wire.to_client == hints + hints + answer()
    assert spool[0].exchange.status == 200


@pytest.mark.parametrize(("method", "status"), [("HEAD", "200 OK"), ("POST", "204 No Content"), ("POST", "304 Not")])
def test_answers_without_a_body(wire: Wire, method: str, status: str) -> None:
    """Their length says nothing of a body, and the next exchange follows."""
    head = answer(status=status).removesuffix(ANSWER)
    for _ in range(2):
        wire.ask(request(method=method))
        wire.reply(head)
    assert (wire.to_client, wire.closed) == (head * 2, [])


@pytest.mark.parametrize("said", ["request", "answer"])
def test_the_connection_is_closed_when_one_side_says_so(wire: Wire, said: str) -> None:
    """`Connection: close` on either side ends both connections after the answer."""
    wire.ask(request(BODY, *["Connection: close"] * (said == "request")))
    replied = answer(ANSWER, *["Connection: close"] * (said == "answer"))
    wire.reply(replied)
    assert wire.to_client == replied
    assert set(wire.closed) == {wire.client, wire.server}


def test_an_answer_that_ends_with_the_connection(wire: Wire, spool: Spool) -> None:
    """It is whole when the provider closes, and then the client's connection closes too."""
    wire.ask(PLAIN)
    wire.reply(b"HTTP/1.1 200 OK\r\n\r\n" + ANSWER, [30])
    assert (wire.closed, list(spool)) == ([], [])
    wire.close(wire.server)
    assert wire.client in wire.closed
    assert (spool[0].exchange.outcome, spool[0].response_body) == ("complete", ANSWER)


@pytest.mark.parametrize(
    ("replied", "error"),
    [
        (b"", "server closed connection"),
        (b"HTTP/1.1 20", "unexpected server response"),
        (answer()[:-3], "without sending complete message body (received"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", "(incomplete chunked read)"),
    ],
)
def test_the_provider_breaks_off(wire: Wire, spool: Spool, replied: bytes, error: str) -> None:
    """Before the head, the client is told with status 502; after it, its connection closes. The record says why."""
    wire.ask(PLAIN)
    wire.reply(replied) if replied else None
    wire.close(wire.server)
    assert (b"502 Bad Gateway" in wire.to_client) == (b"200 OK" not in replied)
    assert wire.client in wire.closed
    assert spool[0].exchange.outcome == "failed"
    assert error in (spool[0].exchange.error or "")


@pytest.mark.parametrize(
    ("replied", "error"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", "smuggling"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n", "Cannot parse"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: five\r\n\r\n", "Cannot parse"),
        (b"SSH-2.0-OpenSSH\r\n\r\n", "Cannot parse"),
        (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n", "switches protocols"),
        (b"HTTP/1.1 200 OK\r\n" + b"X: " + b"a" * 1_100_000, "too large"),
    ],
)
def test_an_answer_that_cannot_be_trusted(wire: Wire, spool: Spool, replied: bytes, error: str) -> None:
    """Nothing of it reaches the client, which is told with status 502."""
    wire.ask(PLAIN)
    wire.reply(replied)
    assert wire.to_client.startswith(b"HTTP/1.1 502 Bad Gateway\r\n")
    assert set(wire.closed) == {wire.client, wire.server}
    assert error in (spool[0].exchange.error or "")


def test_an_odd_answer_is_read_as_mitmproxy_reads_it(wire: Wire, spool: Spool) -> None:
    """Folded headers and bare LFs of a provider are put right, and the exchange is recorded."""
    wire.ask(PLAIN)
    wire.reply(b"HTTP/1.1 200 OK\nX-A: a\r\n b\r\nContent-Length: %d\n\n%s" % (len(ANSWER), ANSWER))
    assert wire.to_client.endswith(b"\r\n\r\n" + ANSWER)
    assert (spool[0].exchange.outcome, spool[0].response_body) == ("complete", ANSWER)


def test_what_follows_an_answer_goes_nowhere(wire: Wire) -> None:
    """Bytes that nobody asked for end the connection to the provider, and never reach the client."""
    wire.ask(PLAIN)
    wire.reply(answer() + answer(b"made up"))
    assert (wire.to_client, wire.closed) == (answer(), [wire.server])


def test_the_client_leaves(wire: Wire, spool: Spool) -> None:
    """In the middle of an answer: the exchange is recorded as aborted, and the provider's connection closes."""
    wire.ask(PLAIN)
    wire.reply(answer()[:-9])
    wire.close(wire.client)
    assert wire.server in wire.closed
    assert (spool[0].exchange.outcome, spool[0].response_body) == ("aborted", ANSWER[:-9])


def test_a_request_that_breaks_its_framing(wire: Wire, spool: Spool) -> None:
    """Its connection closes, and so does the provider's: that one has half a request."""
    wire.ask(request(b"", "Transfer-Encoding: chunked") + b"3\r\nabc\r\n")
    wire.ask(b"xyz\r\n")
    assert set(wire.closed) == {wire.client, wire.server}
    assert (spool[0].exchange.outcome, spool[0].request_body) == ("aborted", b"abc")


def test_an_answer_before_the_request_is_whole(wire: Wire, spool: Spool) -> None:
    """It passes at once; the rest of the request goes on, and then the exchange is done."""
    early = answer(b"", status="413 Too Large")
    half = len(IN_CHUNKS) - 20
    wire.ask(IN_CHUNKS[:half])
    wire.reply(early)
    assert (wire.to_client, list(spool)) == (early, [])
    wire.ask(IN_CHUNKS[half:] + PLAIN)
    assert wire.to_server == IN_CHUNKS + PLAIN
    assert (spool[0].exchange.status, spool[0].request_body) == (413, BODY)


def test_an_early_answer_and_a_closed_connection(wire: Wire, spool: Spool) -> None:
    """Where the provider hangs up after an early answer, the rest of the request goes nowhere."""
    wire.ask(IN_CHUNKS[:-20])
    wire.reply(answer(b"", "Connection: close", status="413 Too Large"))
    sent = wire.to_server
    wire.ask(IN_CHUNKS[-20:])
    assert wire.to_server == sent
    assert wire.client in wire.closed
    assert (spool[0].exchange.status, spool[0].exchange.outcome) == (413, "complete")


def test_the_proxy_is_leaving(wire: Wire) -> None:
    """The next answer says that it is the last one, and the connection ends with it; until then it counts as busy."""
    wire.ask(PLAIN)
    assert wire.lane.exchanges == 1
    wire.lane.leaving = True
    wire.reply(answer(ANSWER, "Connection: keep-alive"))
    assert wire.to_client == answer(b"").replace(b"Content-Length: 0\r\n\r\n", b"") + (
        b"Content-Length: %d\r\nConnection: close\r\n\r\n%s" % (len(ANSWER), ANSWER)
    )
    assert set(wire.closed) == {wire.client, wire.server}
    assert wire.lane.exchanges == 0


def test_a_head_without_end_is_refused(wire: Wire) -> None:
    """More than a megabyte of headers is not held in memory."""
    wire.ask(b"POST / HTTP/1.1\r\nX-Long: " + b"a" * (1 << 20))
    assert wire.to_client.startswith(b"HTTP/1.1 431 ")
    assert wire.closed == [wire.client]


def test_requests_without_end_ahead_of_an_answer(wire: Wire, spool: Spool) -> None:
    """What a client sends ahead is not held without limit."""
    wire.ask(PLAIN)
    for _ in range(9):
        wire.ask(b"x" * (1 << 20))
    assert wire.client in wire.closed
    assert spool[0].exchange.outcome == "aborted"


def cached(body: bytes = BODY) -> bytes:
    """A request of the user with a cache."""
    return request(body, "X-Tracecli-User: cached")


@given(cuts=CUTS)
def test_a_hit_is_answered_however_it_arrives(recorder: Recorder, spool: Spool, cuts: list[int]) -> None:
    """What was answered before is answered again, without the provider."""
    first = Wire(recorder)
    first.ask(cached())
    if first.to_server:
        first.reply(answer(ANSWER, "Content-Type: application/json"))
    spool.clear()
    wire = Wire(recorder)
    for _ in range(2):
        wire.ask(cached(), cuts)
    assert (wire.to_server, wire.to_client.count(ANSWER)) == (b"", 2)
    assert b"\r\nCache-Status: tracecli; hit; " in wire.to_client
    assert [(one.exchange.cache_status, one.request_body) for one in spool] == [("hit", BODY)] * 2


def test_a_hit_whose_headers_are_no_utf_8(recorder: Recorder) -> None:
    """Odd bytes in a header keep nobody from the cache."""
    odd = cached(BODY.replace(b"again", b"odd")).replace(b"Host", b"X-Odd: \xff\r\nHost")
    for _ in range(2):
        wire = Wire(recorder)
        wire.ask(odd)
        sent = wire.to_server
        wire.reply(answer(ANSWER, "Content-Type: application/json")) if sent else None
    assert (sent, wire.to_client.count(ANSWER)) == (b"", 1)


def two_at_once(recorder: Recorder, spool: Spool, text: bytes) -> tuple[Wire, Wire]:
    """Two clients that have asked the same; the first one's request is upstream."""
    spool.clear()
    both = Wire(recorder), Wire(recorder)
    for wire in both:
        wire.ask(cached(BODY.replace(b"again", text)))
    return both


def test_an_identical_request_waits_for_the_first(recorder: Recorder, spool: Spool) -> None:
    """Two ask the same at the same time: the provider is asked once, and both get the answer."""
    first, second = two_at_once(recorder, spool, b"at the same time")
    assert (second.to_server, second.waiting is not None) == (b"", True)
    first.reply(answer(ANSWER, "Content-Type: application/json"))
    second.woken()
    assert (second.to_server, second.to_client.count(ANSWER)) == (b"", 1)
    assert sorted(cast(str, one.exchange.cache_status) for one in spool) == ["collapsed", "stored"]


def test_who_leaves_while_waiting_costs_nothing(recorder: Recorder, spool: Spool) -> None:
    """A client that is gone when its wait ends is not asked for again upstream."""
    first, second = two_at_once(recorder, spool, b"gone before")
    second.close(second.client)
    first.reply(answer(b"no", status="500 Internal Server Error"))
    second.woken()
    assert (second.to_server, second.client in second.closed) == (b"", True)
    assert [one.exchange.outcome for one in spool] == ["complete", "aborted"]


@given(
    asked=st.lists(st.one_of(st.binary(max_size=100), st.sampled_from([PLAIN, IN_CHUNKS, PLAIN[:70]])), max_size=5),
    replied=st.lists(st.one_of(st.binary(max_size=100), st.sampled_from([answer(), answer()[:40]])), max_size=5),
    end=st.sampled_from(["client", "server"]),
)
def test_nothing_breaks_it(
    recorder: Recorder, spool: Spool, asked: list[bytes], replied: list[bytes], end: str
) -> None:
    """Whatever both sides send: no exception, and no record of bytes that the provider did not get."""
    spool.clear()
    wire = Wire(recorder)
    for index in range(max(len(asked), len(replied))):
        for data in asked[index : index + 1]:
            wire.ask(data) if not wire.closed else None
        for data in replied[index : index + 1]:
            wire.reply(data) if not wire.closed else None
    wire.close(wire.client if end == "client" else wire.server)
    assert wire.lane.exchanges == 0 or wire.waiting or end == "server"
    assert all(_passed(captured, wire.to_server) for captured in spool if captured.exchange.status)


def _passed(captured: Captured, sent: bytes) -> bool:
    return captured.request_body in sent or b"Transfer-Encoding" in sent
