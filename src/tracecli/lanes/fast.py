"""The fast lane: HTTP/1.1 of intercepted provider connections in a layer of ours, between TLS and mitmproxy's HTTP.

mitmproxy's HTTP layer and its hooks take most of the CPU of a request. This layer takes their place for requests of
the strict grammar (`http1`), and hands the connection over to mitmproxy's layer before the first request that is not:
then mitmproxy refuses or passes it as it always does. TLS, certificates and connections stay mitmproxy's, and so do
the words in which a failure is told to the client.

A small request is read whole before it goes on, as policies and cache need it; others stream. An answer always streams.
Back-pressure is mitmproxy's: it reads no more from one side while the other side's send buffer is full.

As with mitmproxy, a client that closes its sending side has left: a client that gave up looks the same, and what the
model goes on to write for it would be paid for.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Protocol

from mitmproxy import http
from mitmproxy.connection import Connection, ConnectionState, Server
from mitmproxy.net.http import http1 as mitm_http1
from mitmproxy.net.http.validate import validate_headers
from mitmproxy.proxy import commands, context, events, layer, tunnel
from mitmproxy.proxy.layers import tls
from mitmproxy.proxy.layers.http import _upstream_proxy
from mitmproxy.proxy.layers.http._http1 import make_error_response
from mitmproxy.proxy.server import ConnectionHandler

from tracecli.cache.flights import Waiting
from tracecli.cache.replay import Answer
from tracecli.capture import Capture, Recorder, RequestHead
from tracecli.exchange import Headers
from tracecli.lanes.direct import Direct
from tracecli.lanes.http1 import (
    CHUNKED,
    MAX_HEAD_BYTES,
    UNTIL_CLOSE,
    Body,
    NotPlainError,
    RequestLine,
    StatusLine,
    body_of,
    head_end,
    head_of,
    read_request,
    read_response,
)
from tracecli.tickets import Ticket

# A request up to this size is read whole before it goes on, as policies and cache need it; a larger one streams.
WHOLE_REQUEST_BYTES = 4 << 20
# So much may lie here of requests that a client sends before the answer to an earlier one.
_MAX_AHEAD_BYTES = 8 << 20
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_LEFT = "Client disconnected."

type Commands = layer.CommandGenerator[None]


class Surroundings(Protocol):
    """What the layer has to know of the rest."""

    recorder: Recorder | None
    leaving: bool
    """The proxy ends soon: each connection ends after its next answer, which says so."""
    exchanges: int
    """On their way, of all connections."""

    def ticket_of(self, client: str) -> Ticket | None:
        """What came with the proxy's password on a connection."""


@dataclass
class TracecliWaitHook(commands.StartHook):
    """Wait for the outcome of an identical request in flight."""

    waiting: Waiting


@dataclass
class _Send(events.Event):
    """To the upstream stack: send this."""

    data: bytes


@dataclass
class _Close(events.Event):
    """To the upstream stack: close."""


@dataclass(slots=True)
class _Exchange:
    """The request that is being served."""

    request: RequestLine
    capture: Capture | None
    head: bytes
    """As it goes upstream."""
    body: Body
    whole: list[bytes] | None
    """The pieces of a request that is read whole; None: it streams."""
    refusal: Answer | None = None
    """To be given once the client has sent everything."""
    sent: bool = False
    """Something of it went upstream, or will as soon as the connection is open."""
    received: bytes = b""
    """The beginning of an answer's head."""
    looked: int = 0
    status: StatusLine | None = None
    answer: Body | None = None
    answered: bool = False
    last: bool = False
    """The connection ends with it, because we say so."""


@dataclass(slots=True)
class _Opened:
    """The connection to the provider is open, or could not be opened."""

    error: str | None


@dataclass(slots=True)
class _Upstream:
    """The connection to the provider."""

    top: layer.Layer
    outer: Connection
    """What mitmproxy tells events of: the provider, or a proxy before it."""
    happened: list[_Opened | bytes | None]
    """On the connection: it opened, data came, it closed."""
    open: bool = False
    pending: list[bytes] = field(default_factory=list)
    """What waits for it to be open."""
    direct: bool = False
    """It is read without mitmproxy's task."""


class FastLayer(layer.Layer):
    """Above `inner`, mitmproxy's HTTP layer of one client connection, which has not started."""

    def __init__(
        self, above: context.Context, inner: layer.Layer, lane: Surroundings, handler: ConnectionHandler | None = None
    ) -> None:
        """`handler` is mitmproxy's of the client's connection, where that may be read directly."""
        super().__init__(above)
        self.context.layers.remove(self)  # to everybody else, the connection has the layers that mitmproxy gave it
        self._inner = inner
        self._lane = lane
        self._buffer = b""
        self._looked = 0
        self._exchange: _Exchange | None = None
        self._upstream: _Upstream | None = None
        self._dropped: list[Connection] = []
        self._handed_over = False
        self._handler = handler
        self._direct: Direct | None = None
        self._client_direct = False
        self._over = False
        """The client connection is closed, or about to be."""

    def _handle_event(self, event: events.Event) -> Commands:
        client = self.context.client
        if isinstance(event, events.ConnectionEvent):
            if self._direct is not None:
                self._read_directly(self._direct)
            if event.connection in self._dropped:
                return
            if self._handed_over:
                yield from self._inner.handle_event(event)
            elif self._over:
                return
            elif event.connection is not client:
                yield from self._to_upstream(event)
            elif isinstance(event, events.DataReceived):
                yield from self._from_client(event.data)
            elif isinstance(event, events.ConnectionClosed):
                yield from self._abort(_LEFT)
                return
            yield from self._serve()
        elif self._handed_over:
            yield from self._inner.handle_event(event)
        elif isinstance(event, events.CommandCompleted):
            if not self._over:
                yield from self._to_upstream(event)
                yield from self._serve()
        elif isinstance(event, events.Start):
            self._shorten_the_way()

    def _shorten_the_way(self) -> None:
        """Let events come to TLS at once, past layers that only hand them on: a CONNECT tunnel's, above all.

        Not where mitmproxy connects to the provider first: then its TLS layer for that is on the way.
        """
        above = self.context.layers
        client_tls = next((one for one in above if isinstance(one, tls.ClientTLSLayer)), None)
        if client_tls is not None and client_tls is not above[0] and not self.context.server.connected:
            above[0]._handle_event = client_tls.handle_event  # type: ignore[method-assign]
            if self._handler is not None:
                self._direct = Direct(self._handler, client_tls)

    def _read_directly(self, direct: Direct) -> None:
        """Go past mitmproxy's reading tasks, as soon as nothing is on its way through them."""
        if not self._client_direct:
            self._client_direct = direct.take(self.context.client)
        upstream = self._upstream
        if upstream is not None and upstream.open and not upstream.direct:
            upstream.direct = direct.take(upstream.outer)

    # The request

    def _from_client(self, data: bytes) -> Commands:
        exchange = self._exchange
        if exchange is None or exchange.body.complete:
            self._buffer = self._buffer + data if self._buffer else data
            if exchange is not None and len(self._buffer) > _MAX_AHEAD_BYTES:
                yield from self._abort("the client sent too much before the answer to an earlier request")
        else:
            yield from self._request_data(exchange, data)

    def _serve(self) -> Commands:
        """Begin what the client has sent, if nothing else is being served."""
        while self._exchange is None and self._buffer and not (self._over or self._handed_over):
            end = head_end(self._buffer, self._looked)
            if end < 0:
                self._looked = len(self._buffer)
                if self._looked > MAX_HEAD_BYTES:
                    yield from self._refuse(431, "The head of the request is too large.")
                return
            try:
                request = read_request(self._buffer[:end])
            except NotPlainError:
                yield from self._hand_over()
                return
            rest, self._buffer, self._looked = self._buffer[end:], b"", 0
            yield from self._begin(request, rest)

    def _begin(self, request: RequestLine, rest: bytes) -> Commands:
        capture, remove = None, request.drop
        if recorder := self._lane.recorder:
            verdict = recorder.begin(self._head(request), time.monotonic(), "fast")
            capture, remove = verdict.capture, remove | verdict.remove
        head = request.without(remove) if remove else request.wire
        body = body_of(request.length)
        exchange = self._exchange = _Exchange(request, capture, head, body, None)
        self._lane.exchanges += 1
        if request.expects:
            yield commands.SendData(self.context.client, _CONTINUE)
        if capture is not None:
            if _is_small(request):
                exchange.whole = []
            else:
                action = capture.decide(None)
                exchange.refusal = action if isinstance(action, Answer) else None
                if capture.ignored:
                    exchange.capture = None
        yield from self._request_data(exchange, rest)

    def _head(self, request: RequestLine) -> RequestHead:
        client, address = self.context.client, self.context.server.address
        return RequestHead(
            request.method,
            "https",
            client.sni or (address[0] if address else ""),
            address[1] if address else 443,
            request.target,
            "HTTP/1.1",
            request.headers,
            self._lane.ticket_of(client.id),
        )

    def _request_data(self, exchange: _Exchange, data: bytes) -> Commands:
        """Pieces of the request's body, or its end."""
        content, wire, self._buffer = exchange.body.feed(data)
        complete = exchange.body.complete
        if exchange.body.broken and not exchange.sent:
            yield from self._abort(f"HTTP/1 protocol error: {exchange.body.broken}")
            return
        if exchange.refusal is not None:
            if complete:
                yield from self._answer(exchange, exchange.refusal)
        elif exchange.whole is not None:
            exchange.whole.append(content)
            if complete:
                yield from self._decide(exchange, b"".join(exchange.whole))
        elif not exchange.answered or self._upstream is not None:
            if content and exchange.capture is not None:
                exchange.capture.request_data(content)
            if exchange.sent:
                yield from self._send(wire)
            else:
                exchange.sent = True
                yield from self._send(exchange.head + wire)
        if exchange.body.broken:
            yield from self._abort(f"HTTP/1 protocol error: {exchange.body.broken}")
        elif complete and exchange.answered:
            yield from self._finish(exchange)

    def _decide(self, exchange: _Exchange, body: bytes) -> Commands:
        """The request is whole."""
        capture = exchange.capture
        if capture is not None:
            action = capture.decide(body)
            if isinstance(action, Waiting):
                yield TracecliWaitHook(action)
                action = capture.resume()
                if not self.context.client.state & ConnectionState.CAN_READ:
                    yield from self._abort(_LEFT)
                    return
            if capture.ignored:
                exchange.capture = None
            if action is not None:
                yield from self._answer(exchange, action)
                return
        exchange.sent = True
        yield from self._send(exchange.head + body)

    def _answer(self, exchange: _Exchange, answer: Answer) -> Commands:
        """Give an answer of ours. It is recorded before the client sees its end."""
        capture, headers = exchange.capture, answer.headers
        if capture is not None:
            headers = [*headers, *capture.response_head(answer.status, headers, time.monotonic())]
        if self._lane.leaving:
            headers, exchange.last = [*headers, ("Connection", "close")], True
        if capture is not None:
            now = time.monotonic()
            capture.response_data(answer.body, now)
            capture.complete(now)
        yield commands.SendData(self.context.client, head_of(answer.status, headers) + answer.body)
        yield from self._finish(exchange)

    # Upstream

    def _send(self, data: bytes) -> Commands:
        """Send upstream, on the connection there is or on a new one."""
        upstream = self._upstream
        if upstream is None:
            yield from self._connect(data)
        elif upstream.open:
            yield from upstream.top.handle_event(_Send(data))
        else:
            upstream.pending.append(data)

    def _connect(self, data: bytes) -> Commands:
        """Open a connection as mitmproxy's HTTP layer does, or take the one that it has opened already."""
        above = self.context.fork()
        stack = tunnel.LayerStack()
        if self.context.server.error:
            yield from self._fail(self.context.server.error)
            return
        if not self.context.server.connected or self.context.server in self._dropped:
            above.server = Server(address=self.context.server.address)
            above.server.sni = self.context.server.sni or self.context.client.sni
            if self.context.server.via:
                above.server.via = self.context.server.via
                stack /= _upstream_proxy.HttpUpstreamProxy.make(above, True)
            stack /= tls.ServerTLSLayer(above)
        happened: list[_Opened | bytes | None] = []
        stack /= _Bottom(above, happened)
        outer = getattr(stack[0], "tunnel_connection", above.server)
        self._upstream = _Upstream(stack[0], outer, happened, pending=[data])
        yield from self._to_upstream(events.Start())

    def _to_upstream(self, event: events.Event) -> Commands:
        """Let the stack of a connection have an event, and see to what came of it."""
        upstream = self._upstream
        if upstream is None:
            return
        yield from upstream.top.handle_event(event)
        while upstream.happened and self._upstream is upstream:
            what = upstream.happened.pop(0)
            if what is None:
                yield from self._upstream_closed()
            elif isinstance(what, bytes):
                yield from self._received(what)
            elif what.error:
                yield from self._fail(what.error)
            else:
                upstream.open = True
                if self._exchange is not None and self._exchange.capture is not None:
                    self._exchange.capture.connected(time.monotonic())
                data, upstream.pending = b"".join(upstream.pending), []
                yield from upstream.top.handle_event(_Send(data))

    def _drop_upstream(self) -> Commands:
        if self._upstream is not None:
            upstream, self._upstream = self._upstream, None
            self._dropped.append(upstream.outer)
            yield from upstream.top.handle_event(_Close())

    # The answer

    def _received(self, data: bytes) -> Commands:
        """Bytes from the provider."""
        exchange, now = self._exchange, time.monotonic()
        if exchange is None or exchange.answered or not exchange.sent:
            yield commands.Log("Unexpected data from the server; its connection is closed.")
            yield from self._drop_upstream()
            return
        client, capture = self.context.client, exchange.capture
        out = b""
        if exchange.answer is None:
            while True:  # one head after another, as long as they are interim ones
                exchange.received = data = exchange.received + data if exchange.received else data
                end = head_end(data, exchange.looked)
                if end < 0:
                    exchange.looked = len(data)
                    if exchange.looked > MAX_HEAD_BYTES:
                        yield from self._fail("Cannot parse HTTP response: its head is too large")
                    return
                try:
                    status = _status(data[:end], exchange.request.method)
                except ValueError as error:
                    yield from self._fail(str(error))
                    return
                data, exchange.received, exchange.looked = data[end:], b"", 0
                if status.status >= 200:
                    break
                if status.status == 101:
                    yield from self._fail("Cannot parse HTTP response: it switches protocols without being asked to")
                    return
                if status.status != 100 or not exchange.request.expects:
                    yield commands.SendData(client, status.wire)
            if self._lane.leaving:
                status = status.as_last()
            exchange.status = status
            exchange.answer = body_of(status.length)
            added = capture.response_head(status.status, status.headers, now) if capture is not None else []
            out = status.with_headers(added)
        content, wire, rest = exchange.answer.feed(data)
        send = [commands.SendData(client, out + wire if out else wire)] if out or wire else []
        ends = exchange.answer.complete and exchange.body.complete
        if not ends:
            yield from send
        if content and capture is not None:
            capture.response_data(content, now)
        if ends:
            if capture is not None:  # recorded first: what a client saw the end of is there, also if we are killed now
                capture.complete(now)
            yield from send
        if exchange.answer.broken:
            yield from self._fail(f"HTTP/1 protocol error: {exchange.answer.broken}")
        elif exchange.answer.complete:
            yield from self._answered(exchange)
            if rest and self._upstream is not None:
                yield commands.Log("Unexpected data from the server; its connection is closed.")
                yield from self._drop_upstream()

    def _answered(self, exchange: _Exchange) -> Commands:
        """The answer has passed whole."""
        exchange.answered = True
        if exchange.status is not None and exchange.status.last:
            yield from self._drop_upstream()
        if exchange.body.complete:
            yield from self._finish(exchange)

    def _finish(self, exchange: _Exchange) -> Commands:
        """Both sides are done: on to the next request, or to the end of the connection."""
        self._forget()
        if exchange.capture is not None:
            exchange.capture.complete(time.monotonic())
        if exchange.last or exchange.request.last or (exchange.status is not None and exchange.status.last):
            yield from self._close()

    def _forget(self) -> None:
        if self._exchange is not None:
            self._exchange = None
            self._lane.exchanges -= 1

    def _upstream_closed(self) -> Commands:
        """The provider closed the connection."""
        exchange = self._exchange
        if exchange is None or not exchange.sent or exchange.answered:
            # What has not been sent goes over a new connection; what is left after an early answer goes nowhere.
            yield from self._drop_upstream()
        elif exchange.answer is None:
            beginning = exchange.received
            why = f"unexpected server response: {beginning!r}" if beginning else "server closed connection"
            yield from self._fail(why)
        elif (why_broken := exchange.answer.closed()) is None:
            yield from self._answered(exchange)
            if self._exchange is not None:
                yield from self._close()
        else:
            yield from self._fail(why_broken)

    # How it ends before its time

    def _fail(self, why: str) -> Commands:
        """The provider could not be reached, or broke off: told to the client as mitmproxy tells it."""
        exchange = self._exchange
        if exchange is not None and exchange.capture is not None:
            exchange.capture.failed(why, time.monotonic())
        if exchange is not None and exchange.status is None:
            yield commands.SendData(self.context.client, make_error_response(502, why))
        yield from self._close()

    def _abort(self, why: str) -> Commands:
        """The client left, or does not speak HTTP any more."""
        if self._exchange is not None and self._exchange.capture is not None:
            if self._exchange.answered:
                self._exchange.capture.complete(time.monotonic())
            else:
                self._exchange.capture.aborted(why, time.monotonic())
        yield from self._close()

    def _refuse(self, status: int, why: str) -> Commands:
        yield commands.SendData(self.context.client, make_error_response(status, why))
        yield from self._close()

    def _close(self) -> Commands:
        self._over = True
        self._forget()
        self._buffer = b""
        yield from self._drop_upstream()
        yield commands.CloseConnection(self.context.client)

    def _hand_over(self) -> Commands:
        """From now on, mitmproxy's layer has this connection to itself."""
        self._handed_over = True
        yield from self._drop_upstream()
        data, self._buffer = self._buffer, b""
        yield from self._inner.handle_event(events.Start())
        yield from self._inner.handle_event(events.DataReceived(self.context.client, data))


class _Bottom(layer.Layer):
    """Below TLS, and a proxy's tunnel where there is one: opens the connection, and keeps what happens on it.

    The layers above it take every command on this connection for plain text to be wrapped, so nothing is answered here.
    """

    def __init__(self, above: context.Context, happened: list[_Opened | bytes | None]) -> None:
        super().__init__(above)
        self._happened = happened

    def _handle_event(self, event: events.Event) -> Commands:
        server = self.context.server
        if isinstance(event, events.DataReceived) and event.connection is server:
            self._happened.append(event.data)
        elif isinstance(event, _Send):
            yield commands.SendData(server, event.data)
        elif isinstance(event, events.ConnectionClosed) and event.connection is server:
            self._happened.append(None)
        elif isinstance(event, _Close):
            yield commands.CloseConnection(server)
        elif isinstance(event, events.Start):
            error = None
            if not server.connected:
                error = yield commands.OpenConnection(server)
            self._happened.append(_Opened(error))


def _is_small(request: RequestLine) -> bool:
    """Whether a request is read whole before it goes on: of a known, moderate size, and no upload of parts."""
    if request.length == CHUNKED or request.length > WHOLE_REQUEST_BYTES:
        return False
    return not request.multipart


def _status(head: bytes, method: str) -> StatusLine:
    """Read an answer's head; one that is not of the strict grammar as mitmproxy does. Raises ValueError as it does."""
    try:
        return read_response(head, method)
    except NotPlainError:
        pass
    try:
        lines = [line.removesuffix(b"\r") for line in head.split(b"\n")][:-2]
        response = mitm_http1.read_response_head(lines)
        request = http.Request.make(method, "https://host/")
        size = mitm_http1.expected_http_body_size(request, response)
    except ValueError as error:
        raise ValueError(f"Cannot parse HTTP response: {error}") from error
    try:
        validate_headers(response)
    except ValueError as error:
        raise ValueError(
            f"Received {error} from server, refusing to prevent request smuggling attacks. "
            "Disable the validate_inbound_headers option to skip this security check."
        ) from error
    headers: Headers = [
        (name.decode("utf-8", "surrogateescape"), value.decode("utf-8", "surrogateescape"))
        for name, value in response.headers.fields
    ]
    length = CHUNKED if size is None else UNTIL_CLOSE if size == -1 else size
    last = length == UNTIL_CLOSE or mitm_http1.connection_close(response.http_version, response.headers)
    return StatusLine(response.status_code, headers, length, last, mitm_http1.assemble_response_head(response))
