"""Reading without mitmproxy's tasks: nothing is read faster than it is taken, and other mitmproxys are left alone."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any, cast
from unittest.mock import Mock

import pytest
from mitmproxy.connection import Client, ConnectionState, Server
from mitmproxy.proxy import events

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
