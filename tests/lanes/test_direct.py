"""Reading without mitmproxy's tasks: nothing is read faster than it is taken, and other mitmproxys are left alone."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast
from unittest.mock import Mock

import pytest
from mitmproxy.connection import Client, ConnectionState, Server
from mitmproxy.proxy import commands, events, server

from tests.support import answers
from tests.support.proxies import Proxy
from tests.support.standin import Received, Reply
from tests.support.waiting import Gate
from tracecli.lanes import direct

CHAT = "https://api.openai.com/v1/chat/completions"
PIECE = b"data: " + b"x" * (1 << 20) + b"\n\n"
PIECES = 40


def test_a_slow_client_holds_the_provider_back(proxy: Proxy, user: str) -> None:
    """While a client does not read, the provider cannot go on sending; then all of it arrives."""
    held_back = Gate()

    async def endless(_: Received, reply: Reply) -> None:
        await reply.head(200, [("Content-Type", "text/event-stream")])
        for _piece in range(PIECES):
            sending = asyncio.ensure_future(reply.send(PIECE))
            if not (await asyncio.wait([sending], timeout=2))[0]:
                held_back.open()
            await sending
        await reply.end()

    script = proxy.standin.script(endless)
    asked = {"model": "gpt-4o-mini", "messages": [], "stream": True}
    with proxy.client(user) as client, client.stream("POST", CHAT, json=asked, headers=script.headers) as answer:
        held_back.wait()
        assert sum(map(len, answer.iter_raw())) == PIECES * len(PIECE)
    row = proxy.only_row(user)
    assert (row["outcome"], row["response_bytes"]) == ("complete", PIECES * len(PIECE))


class Transport:
    """A transport that only notes whether it is read."""

    def __init__(self) -> None:
        self.protocol: Any = asyncio.Protocol()
        self.reads = True
        self.closed = False

    def get_protocol(self) -> asyncio.Protocol:
        """Of the streams."""
        return cast(asyncio.Protocol, self.protocol)

    def set_protocol(self, protocol: asyncio.Protocol) -> None:
        """Ours."""
        self.protocol = protocol

    def is_closing(self) -> bool:
        """Once it was closed."""
        return self.closed

    def close(self) -> None:
        """The test is over."""
        self.closed = True

    def pause_reading(self) -> None:
        """Read nothing."""
        assert self.reads
        self.reads = False

    def resume_reading(self) -> None:
        """Read on."""
        assert not self.reads
        self.reads = True


class Streams:
    """What mitmproxy keeps of a connection."""

    def __init__(self, transport: Transport) -> None:
        loop = cast(Any, Mock(is_closed=Mock(return_value=False)))
        self.reader = asyncio.StreamReader(loop=loop)
        self.writer = asyncio.StreamWriter(cast(Any, transport), cast(Any, None), None, loop)


class Handler:
    """In the place of mitmproxy's handler of a client's connections."""

    def __init__(self, transports: dict[Any, Streams]) -> None:
        self.transports = transports
        self._server_event_lock = asyncio.Lock()


type Sides = tuple[direct.Direct, list[Transport], list[Any]]


@pytest.fixture
def sides() -> Iterator[Sides]:
    """A client's connection and two to providers, taken over."""
    connections: list[Any] = [
        Client(peername=("a", 1), sockname=("b", 2), state=ConnectionState.OPEN),
        Server(address=("c", 3)),
        Server(address=("d", 4)),
    ]
    transports = [Transport() for _ in connections]
    handler = Handler({one: Streams(transport) for one, transport in zip(connections, transports, strict=True)})
    taken = direct.Direct(cast(Any, handler), cast(Any, None))
    assert all(taken.take(one) for one in connections)
    yield taken, transports, connections
    for transport in transports:
        transport.close()


def test_who_is_full_is_still_read(sides: Sides) -> None:
    """A full send buffer stops the reading of the others, until no other is full; and so does its end."""
    _, (client, one, two), _ = sides

    def reads() -> list[bool]:
        return [client.reads, one.reads, two.reads]

    client.protocol.pause_writing()
    assert reads() == [True, False, False]
    one.protocol.pause_writing()
    assert reads() == [False, False, False]
    client.protocol.resume_writing()
    assert reads() == [False, True, False]
    one.protocol.connection_lost(None)
    assert [client.reads, two.reads] == [True, True]


def test_who_is_full_when_taken(sides: Sides) -> None:
    """A connection whose send buffer is full already holds the others back from the start."""
    taken, (client, *_), _ = sides
    late, connection = Transport(), Server(address=("e", 5))
    late.protocol = Mock(_paused=True)
    cast(Any, taken)._handler.transports[connection] = Streams(late)
    assert taken.take(connection)
    assert not client.reads
    late.protocol.resume_writing()
    assert client.reads
    late.close()


def test_what_is_on_its_way_goes_first() -> None:
    """A connection of which mitmproxy's task has bytes to hand on is not taken yet."""
    client = Client(peername=("a", 1), sockname=("b", 2), state=ConnectionState.OPEN)
    transport = Transport()
    streams = Streams(transport)
    streams.reader._buffer.extend(b"first")  # type: ignore[attr-defined]
    taken = direct.Direct(cast(Any, Handler({client: streams})), cast(Any, None))
    assert not taken.take(client)
    streams.reader._buffer.clear()  # type: ignore[attr-defined]
    assert taken.take(client)
    transport.close()


async def _turned_away(lock: asyncio.Lock) -> asyncio.Task[bool]:
    """Something that waits for its turn at a lock."""
    await lock.acquire()
    waiting = asyncio.ensure_future(lock.acquire())
    await asyncio.sleep(0)
    return waiting


def test_what_waits_for_its_turn_goes_first() -> None:
    """A connection is not taken while an event waits to be handled: that may be a piece of it, read already."""

    async def both() -> tuple[bool, bool]:
        client = Client(peername=("a", 1), sockname=("b", 2), state=ConnectionState.OPEN)
        transport = Transport()
        handler = Handler({client: Streams(transport)})
        taken = direct.Direct(cast(Any, handler), cast(Any, None))
        waiting = await _turned_away(handler._server_event_lock)
        before = taken.take(client)
        handler._server_event_lock.release()
        await waiting
        after = taken.take(client)
        cast(Any, handler).transports[client].writer.close()
        return before, after

    assert asyncio.run(both()) == (False, True)


def test_others_that_wait_hold_up_nothing() -> None:
    """All that the layers ask for is done at once, also while mitmproxy has an event waiting for its turn."""

    async def written() -> tuple[list[str], bool]:
        client = Client(peername=("a", 1), sockname=("b", 2), state=ConnectionState.OPEN)
        transport = Mock(is_closing=Mock(return_value=False))
        handler: Any = Handler({client: Streams(transport)})
        handler.timeout_watchdog, handler.log, handler.layer = Mock(), Mock(), Mock()
        handler.server_event = server.ConnectionHandler.server_event.__get__(handler)
        asked = [commands.Log("first"), commands.SendData(client, b"second")]
        taken = direct.Direct(handler, Mock(handle_event=Mock(return_value=iter(asked))))
        await _turned_away(handler._server_event_lock)
        handler._server_event_lock.release()  # whoever waits has not had its turn yet
        taken.received(events.DataReceived(client, b"asked"))
        cast(Any, transport).is_closing.return_value = True
        done = [str(call.args[0]) for call in (*handler.log.call_args_list, *transport.write.call_args_list)]
        return done, handler._server_event_lock.locked()

    assert asyncio.run(written()) == (["first", "b'second'"], False)


def _upload(proxy: Proxy, trust: ssl.SSLContext, request: bytes) -> bytes:
    """The answer to a request that is there whole at once, behind the handshake of a new connection."""
    whole = json.dumps(answers.chat()).encode()
    arriving, leaving = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = trust.wrap_bio(arriving, leaving, server_hostname="api.openai.com")
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=20) as connection:
        connection.sendall(b"CONNECT api.openai.com:443 HTTP/1.1\r\n\r\n")
        assert b" 200 " in connection.recv(4096)
        while True:
            try:
                client.do_handshake()
                break
            except ssl.SSLWantReadError:
                connection.sendall(leaving.read())
                arriving.write(connection.recv(65536))
        client.write(request)
        connection.sendall(leaving.read())
        answer = b""
        while not answer.endswith(whole):
            try:
                answer += client.read(65536)
            except ssl.SSLWantReadError:
                arriving.write(connection.recv(65536))
        return answer


def test_uploads_over_new_connections(proxy: Proxy, user: str) -> None:
    """Requests that take many reads pass whole, each over a connection that has just been opened."""
    body = json.dumps({"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "y" * (1 << 20)}]}).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: api.openai.com\r\nX-Tracecli-User: {user}\r\n"
    request = f"{head}Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
    trust = proxy.trust()
    with ThreadPoolExecutor(4) as clients:
        told = list(clients.map(lambda _: _upload(proxy, trust, request), range(8)))
    assert [answer[:12] for answer in told] == [b"HTTP/1.1 200"] * 8
    assert [(row["outcome"], row["request_bytes"]) for row in proxy.rows(user)] == [("complete", len(body))] * 8


def test_what_comes_after_the_end_counts_for_nothing(sides: Sides) -> None:
    """Bytes of a connection that mitmproxy has closed reach nobody."""
    taken, _, (client, _, _) = sides
    layers = Mock(handle_event=Mock(return_value=iter(())))
    cast(Any, taken)._layers, cast(Any, taken)._handler.timeout_watchdog = layers, Mock()
    taken.received(events.DataReceived(client, b"in time"))
    client.state = ConnectionState.CLOSED
    taken.received(events.DataReceived(client, b"late"))
    assert [call.args[0].data for call in layers.handle_event.call_args_list] == [b"in time"]


def test_it_fits_this_mitmproxy() -> None:
    """It is in use, and would not be with another mitmproxy."""
    assert direct.fits()
