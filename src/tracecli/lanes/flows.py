"""The flows lane: mitmproxy's own hooks feed the core. Always right, for HTTP/1, HTTP/2 and HTTP/3.

Rules of mitmproxy that shape this file (`docs/design.md` has more of them):
* A connection that is not intercepted is decided on in `tls_clienthello` (TCP) or `next_layer` (UDP, unknown TCP).
* A callable on `stream` sees each piece as it passes. An exception in it would hang the client; `Capture` never raises.
* Exactly one of the hooks `response` and `error` ends an exchange.
* Whatever is not ours is streamed: mitmproxy would hold it in memory otherwise.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import logging
import socket
import time
from collections.abc import Awaitable, Callable

from mitmproxy import connection, ctx, http, tls
from mitmproxy.net.tls import starts_like_tls_record
from mitmproxy.proxy import commands, events, layer, layers, mode_specs, server_hooks
from mitmproxy.proxy.context import Context
from mitmproxy.proxy.layers.http import HTTPMode
from mitmproxy.proxy.layers.quic import quic_parse_client_hello_from_datagrams

from tracecli import tickets
from tracecli.cache.flights import Waiting
from tracecli.cache.replay import Answer
from tracecli.capture import Capture, Recorder, RequestHead
from tracecli.exchange import Headers
from tracecli.lanes import direct
from tracecli.lanes.choice import who_wants_flows
from tracecli.lanes.fast import WHOLE_REQUEST_BYTES, FastLayer
from tracecli.lanes.passing import Passing
from tracecli.proxy_users import ProxyUsers
from tracecli.sockets import Socket
from tracecli.tickets import PROXY_USER, Ticket

log = logging.getLogger(__name__)

# An identical request in flight is waited for no longer than a slow model thinks.
_MAX_WAIT_S = 600.0
_DNS_PORTS = (53, 5353)
_HTTP1 = b"http/1.1"
_CLIENT_LEFT = ("Client disconnected", "stream reset by client", "stream closed by client")


class FlowsLane:
    """mitmproxy hooks. Until `recorder` is set, everything passes."""

    def __init__(self) -> None:
        self.recorder: Recorder | None = None
        self.proxy_users: ProxyUsers | None = None
        self.leaving = False
        """The proxy ends soon: each connection ends after its next answer, which says so."""
        self.exchanges = 0
        """On their way in the fast lane."""
        self.passing = Passing(self._is_ours)
        self._tickets: dict[str, Ticket] = {}
        self._live: dict[str, Capture] = {}
        self._sockets: dict[str, Socket] = {}

    @property
    def busy(self) -> bool:
        """Whether an exchange is on its way; an open WebSocket is none."""
        return bool(self.exchanges or self._live)

    # What is intercepted

    def tls_clienthello(self, data: tls.ClientHelloData) -> None:
        """Decide by server name whether a TLS connection is opened up or passed through."""
        client = data.context.client
        if client.transport_protocol == "udp":
            return
        if not self._wanted(client, data.client_hello.sni, data.context.server.address):
            data.ignore_connection = True
            self.passing.unopened(data.client_hello.sni, data.context.server.address)
        elif _HTTP1 in (client.alpn_offers or ()):
            # With HTTP/2 upstream, one GOAWAY ends all live streams; gRPC clients, which offer only h2, keep it.
            client.alpn, client.alpn_offers = _HTTP1, [_HTTP1]

    def next_layer(self, data: layer.NextLayer) -> None:
        """Pass through what is neither TLS over TCP nor HTTP to a proxy: QUIC, and unknown TCP."""
        context = data.context
        if isinstance(
            context.client.proxy_mode, mode_specs.ReverseMode | mode_specs.RegularMode | mode_specs.UpstreamMode
        ):
            return
        if context.client.transport_protocol == "udp":
            data.layer = self._udp_layer(data)
        elif len(context.layers) == 1:
            first = data.data_client()
            if len(first) >= 3 and not starts_like_tls_record(first) and not self._plain_provider(context):
                data.layer = layers.TCPLayer(context, ignore=True)

    def layer_chosen(self, data: layer.NextLayer) -> None:
        """After mitmproxy has chosen: what is said to a provider is HTTP, over the fast lane where that may be.

        mitmproxy guesses from the first bytes, and would pass unread what begins with a method that it does not know.
        """
        if data.layer:
            self.passing.chosen(data)
        if not data.layer or not self._is_opened_provider(data.layer.context):
            return
        above = data.layer.context
        if isinstance(data.layer, layers.TCPLayer):
            above.layers.remove(data.layer)
            data.layer = layers.HttpLayer(above, HTTPMode.transparent)
        if isinstance(data.layer, layers.HttpLayer) and self._may_be_fast(above):
            connections = ctx.master.addons.get("proxyserver").connections if direct.fits() else {}
            data.layer = FastLayer(above, data.layer, self, connections.get(above.client.id))

    def _is_opened_provider(self, above: Context) -> bool:
        """Whether a connection to a provider was opened up, and its client asked for the provider by name."""
        client, address = above.client, above.server.address
        return (
            client.tls_established
            and client.sni is not None
            and not isinstance(client.proxy_mode, mode_specs.ReverseMode)
            and address is not None
            and self.recorder is not None
            and self.recorder.wants(client.sni, address[1])
        )

    def _may_be_fast(self, above: Context) -> bool:
        lane = ctx.options.tracecli_lane
        if lane == "flows" or above.client.alpn not in (None, b"", _HTTP1):
            return False
        return lane == "fast" or who_wants_flows(self) is None

    def _plain_provider(self, context: Context) -> bool:
        address = context.server.address
        return bool(address and self.recorder and self.recorder.wants(*address[:2]))

    def _udp_layer(self, data: layer.NextLayer) -> layer.Layer | None:
        """QUIC to a provider is refused, so that the client falls back to TCP; other UDP passes."""
        context = data.context
        datagrams = [
            event.data
            for event in data.events
            if isinstance(event, events.DataReceived) and event.connection == context.client
        ]
        if not datagrams or (context.server.address and context.server.address[1] in _DNS_PORTS):
            return None
        try:
            hello = quic_parse_client_hello_from_datagrams(datagrams)
        except ValueError:
            return layers.UDPLayer(context, ignore=True)
        if hello is None:
            return None
        if self._wanted(context.client, hello.sni, None):
            return _Refuse(context)
        self.passing.unopened(hello.sni, context.server.address)
        return layers.UDPLayer(context, ignore=True)

    def _is_ours(self, host: str, port: int) -> bool:
        return self.recorder is not None and self.recorder.wants(host, port)

    def _wanted(self, client: connection.Client, name: str | None, address: tuple[str, int] | None) -> bool:
        if isinstance(client.proxy_mode, mode_specs.ReverseMode):
            return True
        host, port = address[:2] if address else ("", 443)
        return self._is_ours(name or host, port)

    def tls_established_client(self, data: tls.TlsData) -> None:
        """A client has taken our certificate, as it seems."""
        self.passing.established(data)

    def tls_failed_client(self, data: tls.TlsData) -> None:
        """A client has refused our certificate, or left."""
        self.passing.refused(data)

    def tls_failed_server(self, data: tls.TlsData) -> None:
        """A provider's certificate was refused, or it left."""
        self.passing.upstream_failed(data)

    def server_connect(self, data: server_hooks.ServerConnectionHookData) -> None:
        """Refuse to connect to ourselves: a client that opens the port of a transparent proxy would make it loop."""
        address = data.server.address
        if not address:
            return
        proxyserver = ctx.master.addons.get("proxyserver")
        ports = {listening[1] for listening in proxyserver.listen_addrs()}
        if address[1] in ports and _is_this_machine(address[0]):
            data.server.error = "tracecli: refusing to connect the proxy to itself"

    # Who asks

    def http_connect(self, flow: http.HTTPFlow) -> None:
        """A client opens a tunnel; the user and secret of its proxy URL come with it, and hold for the connection."""
        ticket = self._authenticated(flow)
        if ticket is not None:
            self._tickets[flow.client_conn.id] = ticket
        if agent := flow.request.headers.get("user-agent"):
            self.passing.named(flow.client_conn, agent)

    def client_disconnected(self, client: connection.Client) -> None:
        """Forget whose connection it was."""
        self._tickets.pop(client.id, None)
        self.passing.ended(client)

    def ticket_of(self, client: str) -> Ticket | None:
        """What came with the proxy's password on a connection."""
        return self._tickets.get(client)

    def _authenticated(self, flow: http.HTTPFlow) -> Ticket | None:
        """What a request to the proxy proves by its password: to be a user's, or a program's that `tracecli run` runs.

        Wrong credentials are refused with status 407. Without registered users, what a client sends is ignored: it
        proves nothing. With mitmproxy's own `proxyauth`, that one decides.
        """
        if found := flow.metadata.get("proxyauth"):
            return Ticket(user=str(found[0]))
        if not isinstance(flow.client_conn.proxy_mode, mode_specs.RegularMode | mode_specs.UpstreamMode):
            return None
        given = flow.request.headers.pop("proxy-authorization", None)
        if given is None or ctx.options.proxyauth or self.proxy_users is None or self.recorder is None:
            return None
        with contextlib.suppress(ValueError):
            user, _, secret = base64.b64decode(given.partition(" ")[2]).decode().partition(":")
            if user == PROXY_USER and (ticket := tickets.read(self.recorder.secret, secret, time.time())):
                return ticket
            if self.proxy_users.check(user, secret):
                return Ticket(user=user)
        if not self.proxy_users.any:
            return None
        flow.response = http.Response.make(
            407,
            b"tracecli: unknown proxy user or wrong secret; see `tracecli user list`\n",
            {"Proxy-Authenticate": 'Basic realm="tracecli"', "Content-Type": "text/plain"},
        )
        return None

    # What is recorded

    def requestheaders(self, flow: http.HTTPFlow) -> None:
        """Look at a request's head, and take our own headers out before anything goes upstream."""
        request = flow.request
        request.headers.pop("proxy-connection", None)
        ticket = self._tickets.get(flow.client_conn.id)
        if ticket is None and request.scheme == "http":
            ticket = self._authenticated(flow)
        if flow.response is not None:
            return
        if self.recorder is None:
            request.stream = True
            return
        verdict = self.recorder.begin(_head(flow, ticket), time.monotonic(), "flows")
        for name in verdict.remove:
            request.headers.pop(name, None)
        if verdict.capture is None:
            request.stream = True
            if request.scheme == "http" and not self._is_ours(request.host, request.port):
                self.passing.unopened(request.pretty_host, (request.host, request.port))
            return
        self._live[flow.id] = capture = verdict.capture
        if not _is_small(request):
            action = capture.decide(None)
            if isinstance(action, Answer):
                self._answer(flow, capture, action)
            else:
                request.stream = _tee(capture.request_data)

    def request(self, flow: http.HTTPFlow) -> Awaitable[None] | None:
        """The request is whole: decide what applies to it, and whether it has been answered before."""
        capture = self._live.get(flow.id)
        if capture is None or flow.request.stream:
            return None
        body = flow.request.raw_content or b""
        if flow.response is not None:  # another addon has answered
            capture.decide(None)
            capture.request_data(body)
            return None
        action = capture.decide(body)
        if isinstance(action, Waiting):
            return self._wait(flow, capture, action)
        self._answer(flow, capture, action)
        return None

    def _answer(self, flow: http.HTTPFlow, capture: Capture, answer: Answer | None) -> None:
        """Give an answer of ours, if there is one; the hooks of answers then see it like any other."""
        if answer is not None:
            headers = [
                (name.encode(errors="surrogateescape"), value.encode(errors="surrogateescape"))
                for name, value in answer.headers
            ]
            flow.response = http.Response(
                b"HTTP/1.1", answer.status, b"", http.Headers(headers), answer.body, None, time.time(), None
            )
        if capture.ignored:
            del self._live[flow.id]

    async def _wait(self, flow: http.HTTPFlow, capture: Capture, waiting: Waiting) -> None:
        """Wait for the answer of an identical request; other flows go on meanwhile."""
        try:
            await self.tracecli_wait(waiting)
        finally:
            self._answer(flow, capture, capture.resume())

    async def tracecli_wait(self, waiting: Waiting) -> None:
        """Wait for an identical request in flight; also a hook, by which the fast lane waits."""
        woken = asyncio.get_running_loop().create_future()
        waiting.on_wake(lambda: None if woken.done() else woken.set_result(None))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_MAX_WAIT_S):
                await woken

    def responseheaders(self, flow: http.HTTPFlow) -> None:
        """The answer begins: pass it on piece by piece."""
        response = flow.response
        if response is None:
            return
        capture = self._live.get(flow.id)
        if capture is None:
            self._say_if_last(flow, response)
            response.stream = True
            return
        _tell_connected(flow, capture)
        added = capture.response_head(response.status_code, _pairs(response.headers), time.monotonic())
        for name, value in added:
            response.headers.add(name, value)
        self._say_if_last(flow, response)
        response.stream = _tee(_Answer(flow, capture).piece)
        if (
            response.http_version.startswith(("HTTP/2", "HTTP/3"))
            and flow.request.http_version.startswith("HTTP/1")
            and "content-length" not in response.headers
        ):
            # Without a length, mitmproxy would end the body by closing: a cut answer would look like a whole one.
            response.headers["transfer-encoding"] = "chunked"

    def _say_if_last(self, flow: http.HTTPFlow, response: http.Response) -> None:
        if self.leaving and response.status_code != 101 and flow.request.http_version.startswith("HTTP/1"):
            response.headers["Connection"] = "close"

    def response(self, flow: http.HTTPFlow) -> None:
        """The answer passed whole. A WebSocket goes on, and ends in `websocket_end`."""
        if flow.websocket is None and (capture := self._live.pop(flow.id, None)):
            now = time.monotonic()
            if flow.response and flow.response.raw_content:  # a body that mitmproxy did not stream, as an empty one
                capture.response_data(flow.response.raw_content, now)
            capture.complete(now)

    def error(self, flow: http.HTTPFlow) -> None:
        """The client left, or upstream broke."""
        capture = self._live.pop(flow.id, None)
        if capture is None:
            return
        _tell_connected(flow, capture)
        why = flow.error.msg if flow.error else "unknown error"
        end = capture.aborted if _client_left(flow, why) else capture.failed
        end(why, time.monotonic())

    def websocket_start(self, flow: http.HTTPFlow) -> None:
        """A WebSocket opened: from now on each call on it is an exchange."""
        if capture := self._live.pop(flow.id, None):
            self._sockets[flow.id] = Socket(capture)

    def websocket_message(self, flow: http.HTTPFlow) -> None:
        """A message passed; mitmproxy's own list of them would grow for ever."""
        if flow.websocket is None:
            return
        message = flow.websocket.messages[-1]
        del flow.websocket.messages[:-1]
        if socket_ := self._sockets.get(flow.id):
            socket_.message(message.from_client, message.content, time.monotonic())

    def websocket_end(self, flow: http.HTTPFlow) -> None:
        """The socket closed."""
        if (socket_ := self._sockets.pop(flow.id, None)) and flow.websocket:
            code, by_client = flow.websocket.close_code, bool(flow.websocket.closed_by_client)
            socket_.closed(by_client, f"the WebSocket was closed with code {code}", time.monotonic())


class AfterMitmproxy:
    """An addon for the end of the chain: hooks that have to come after mitmproxy's own."""

    def __init__(self, lane: Callable[[], FlowsLane]) -> None:
        self._lane = lane

    def next_layer(self, data: layer.NextLayer) -> None:
        """mitmproxy has chosen."""
        self._lane().layer_chosen(data)


class _Refuse(layer.Layer):
    """Closes the connection at once."""

    def _handle_event(self, event: events.Event) -> layer.CommandGenerator[None]:
        if isinstance(event, events.Start):
            yield commands.CloseConnection(self.context.client)


def _tee(see: Callable[[bytes], None]) -> Callable[[bytes], bytes]:
    """Show each piece to `see` and pass it on. The empty piece marks the end and is no data."""

    def tee(data: bytes) -> bytes:
        if data:
            try:
                see(data)
            except Exception:  # an exception here would hang the client
                log.warning("tracecli could not record a piece of a body; it passes", exc_info=True)
        return data

    return tee


class _Answer:
    """An answer that passes. Its last piece is recorded before the client sees it: what has a length ends with that."""

    def __init__(self, flow: http.HTTPFlow, capture: Capture) -> None:
        self._request = flow.request
        self._capture = capture
        length = flow.response.headers.get("content-length", "") if flow.response else ""
        self._left = int(length) if length.isascii() and length.isdigit() else None

    def piece(self, data: bytes) -> None:
        now = time.monotonic()
        self._capture.response_data(data, now)
        if self._left is not None:
            self._left -= len(data)
            if self._left == 0 and self._request.timestamp_end:
                self._capture.complete(now)


def _tell_connected(flow: http.HTTPFlow, capture: Capture) -> None:
    """When the connection to the provider was ready, if it was opened for this request."""
    server = flow.server_conn
    ready = server.timestamp_tls_setup if server.tls else server.timestamp_tcp_setup
    if ready is not None and (server.timestamp_start or 0) >= flow.request.timestamp_start:
        # From mitmproxy's wall clock to ours, which cannot be set.
        capture.connected(time.monotonic() - max(0.0, time.time() - ready))


def _head(flow: http.HTTPFlow, ticket: Ticket | None) -> RequestHead:
    request = flow.request
    return RequestHead(
        method=request.method,
        scheme=request.scheme,
        host=_host(flow),
        port=request.port,
        path=request.path,
        http_version=request.http_version,
        headers=_pairs(request.headers),
        ticket=ticket,
    )


def _host(flow: http.HTTPFlow) -> str:
    """The provider's name: transparent requests have only an address, and reverse clients know only us."""
    if isinstance(flow.client_conn.proxy_mode, mode_specs.ReverseMode):
        return flow.request.host
    return flow.client_conn.sni or flow.request.pretty_host


def _pairs(headers: http.Headers) -> Headers:
    return [
        (name.decode("utf-8", "surrogateescape"), value.decode("utf-8", "surrogateescape"))
        for name, value in headers.fields
    ]


def _is_small(request: http.Request) -> bool:
    """Whether a request is read whole before it goes on: of a known, moderate size, and no upload of parts."""
    headers = request.headers
    if headers.get("content-type", "").startswith("multipart/"):
        return False
    length = headers.get("content-length")
    if length is None:
        return request.method == "GET" and "transfer-encoding" not in headers
    return length.isdecimal() and int(length) <= WHOLE_REQUEST_BYTES


def _client_left(flow: http.HTTPFlow, why: str) -> bool:
    return why.startswith(_CLIENT_LEFT) or not flow.client_conn.state & connection.ConnectionState.CAN_READ


def _is_this_machine(host: str) -> bool:
    """Whether an address is one of this machine's: only those can be bound."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((host, 0))
        except (OSError, UnicodeError):
            return False
    return True
