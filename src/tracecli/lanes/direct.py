"""Bytes from the socket to the layers at once, without a task, a future and three locks for each piece.

mitmproxy reads each connection in a task: a piece that arrives wakes it by a future, is handed to the layers under a
lock, and then all writers are waited for. That is a quarter of the CPU of a request on the fast lane. Here the
transport's protocol is replaced: it calls the layers itself, and writes what they send. Everything but sending (opening
and closing connections, hooks) stays mitmproxy's own code, and so does the end of a connection: its task, which goes on
waiting for data, is told of that.

Where one side does not take what is sent to it, nothing more is read from the other side, as with mitmproxy.
"""

from __future__ import annotations

import asyncio
import hashlib
import inspect
import logging
from collections.abc import Iterator
from functools import lru_cache
from typing import cast

from mitmproxy.connection import Connection, ConnectionState
from mitmproxy.proxy import commands, events, layer, server

_DIGEST = "cba6ed093eef5a2d"


@lru_cache(maxsize=1)
def fits() -> bool:
    """Whether this mitmproxy reads as the one that this was made for."""
    return fingerprint() == _DIGEST


def fingerprint() -> str:
    """Of mitmproxy's code that this goes past."""
    handler = server.ConnectionHandler
    passed = (handler.handle_connection, handler.drain_writers, handler.server_event)
    code = "".join(inspect.getsource(method) for method in passed)
    return hashlib.sha256(code.encode()).hexdigest()[:16]


class Direct:
    """The connections of one client, as far as they are read without mitmproxy's tasks."""

    def __init__(self, handler: server.ConnectionHandler, layers: layer.Layer) -> None:
        """`layers` is the outermost layer that has to see what arrives."""
        self._handler = handler
        self._layers = layers
        self._sides: dict[Connection, _Side] = {}

    def take(self, connection: Connection) -> bool:
        """Read a connection from now on; False if something of it is still on its way through mitmproxy's task."""
        streams = self._handler.transports.get(connection)
        if connection in self._sides or streams is None:
            return True
        reader, writer = streams.reader, streams.writer
        if not isinstance(reader, asyncio.StreamReader) or not isinstance(writer, asyncio.StreamWriter):
            return True
        if reader._buffer or reader.at_eof() or writer.is_closing():  # type: ignore[attr-defined]
            return False
        if self._handler._server_event_lock._waiters:
            return False  # perhaps mitmproxy's task, with a piece of this connection in its hands
        self._sides[connection] = _Side(self, connection, cast(asyncio.Transport, writer.transport))
        self.balance()
        return True

    def drop(self, connection: Connection) -> None:
        """A connection has ended."""
        self._sides.pop(connection, None)
        self.balance()

    def balance(self) -> None:
        """Read each side as long as what it sends is taken: no other side's send buffer is full."""
        for side in self._sides.values():
            side.hold_back(any(other.full for other in self._sides.values() if other is not side))

    def received(self, event: events.DataReceived) -> None:
        """Let the layers have what arrived, and do what they ask for."""
        if event.connection.state is ConnectionState.CLOSED:
            return
        handler = self._handler
        handler.timeout_watchdog.register_activity()
        try:
            asked = self._layers.handle_event(event)
            for command in asked:
                if type(command) is commands.SendData:
                    streams = handler.transports.get(command.connection)
                    if streams is not None and streams.writer is not None and not streams.writer.is_closing():
                        streams.writer.write(command.data)
                else:
                    self._by_mitmproxy(command, asked)
                    return
        except Exception:
            handler.log("mitmproxy has crashed!", logging.ERROR, exc_info=True)

    def _by_mitmproxy(self, first: commands.Command, rest: Iterator[commands.Command]) -> None:
        """Have mitmproxy carry out commands, as if its own reading had brought them forth."""
        handler = self._handler
        layers, handler.layer = handler.layer, _Given(first, rest)  # type: ignore[assignment]
        # Nothing is being carried out at this moment, but something may wait for its turn: the lock is one of its own.
        lock, handler._server_event_lock = handler._server_event_lock, asyncio.Lock()
        carrying_out = handler.server_event(events.Start())
        try:
            carrying_out.send(None)
        except StopIteration:
            return
        finally:
            handler.layer, handler._server_event_lock = layers, lock
        carrying_out.close()
        raise RuntimeError("mitmproxy's handling of an event had to wait")


class _Given:
    """In the place of the layers: commands that are known already."""

    def __init__(self, first: commands.Command, rest: Iterator[commands.Command]) -> None:
        self._first = first
        self._rest = rest

    def handle_event(self, _: events.Event) -> Iterator[commands.Command]:
        """Them."""
        yield self._first
        yield from self._rest


class _Side(asyncio.Protocol):
    """One connection's protocol, in the place of asyncio's for streams."""

    def __init__(self, direct: Direct, connection: Connection, transport: asyncio.Transport) -> None:
        self._direct = direct
        self._connection = connection
        self._transport = transport
        self._held_back = False
        self._streams: asyncio.Protocol = transport.get_protocol()  # type: ignore[assignment]
        self.full: bool = getattr(self._streams, "_paused", False)
        """Its send buffer is: more is written there than the other end takes."""
        transport.set_protocol(self)

    def hold_back(self, held_back: bool) -> None:
        """Read nothing more, or read on."""
        if held_back != self._held_back and not self._transport.is_closing():
            self._held_back = held_back
            (self._transport.pause_reading if held_back else self._transport.resume_reading)()

    def data_received(self, data: bytes) -> None:
        """A piece has arrived."""
        self._direct.received(events.DataReceived(self._connection, data))

    def eof_received(self) -> bool | None:
        """The other end sends no more: mitmproxy's task ends the connection."""
        return self._streams.eof_received()

    def connection_lost(self, error: Exception | None) -> None:
        """The connection is gone."""
        self._direct.drop(self._connection)
        self._streams.connection_lost(error)

    def pause_writing(self) -> None:
        """The send buffer is full."""
        self.full = True
        self._streams.pause_writing()
        self._direct.balance()

    def resume_writing(self) -> None:
        """The send buffer has room."""
        self.full = False
        self._streams.resume_writing()
        self._direct.balance()
