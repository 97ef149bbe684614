"""A client that speaks HTTP/2 and nothing else, through a proxy."""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, ResponseReceived, StreamEnded, StreamReset

from tests.support.proxies import Proxy

type Pairs = list[tuple[str, str]]


@dataclass
class Answer:
    """What has arrived on one stream."""

    status: int = 0
    headers: Pairs = field(default_factory=list)
    body: bytes = b""
    ended: bool = False
    reset: bool = False


class Http2Client:
    """One connection; each request is a stream of it."""

    def __init__(self, tls: ssl.SSLSocket, host: str) -> None:
        self._tls = tls
        self._host = host
        self._connection = H2Connection(H2Configuration(client_side=True, header_encoding="utf-8"))
        self._connection.initiate_connection()
        self._answers: dict[int, Answer] = {}
        self._flush()

    def post(self, path: str, headers: Sequence[tuple[str, str]], body: bytes) -> int:
        """Send a request; returns its stream."""
        stream: int = self._connection.get_next_available_stream_id()
        pseudo = [(":method", "POST"), (":path", path), (":scheme", "https"), (":authority", self._host)]
        self._connection.send_headers(stream, [*pseudo, *((name.lower(), value) for name, value in headers)])
        self._connection.send_data(stream, body, end_stream=True)
        self._answers[stream] = Answer()
        self._flush()
        return stream

    def answer(self, stream: int, *, least: int | None = None) -> Answer:
        """The answer, whole, or as soon as `least` bytes of its body are there."""
        answer = self._answers[stream]
        while not (answer.ended or answer.reset or (least is not None and len(answer.body) >= least)):
            self._receive()
        return answer

    def leave(self, stream: int) -> None:
        """Cancel a stream, as a client does that has seen enough."""
        self._connection.reset_stream(stream, error_code=8)
        self._flush()

    def _receive(self) -> None:
        data = self._tls.recv(1 << 16)
        assert data, "the connection was closed"
        for event in self._connection.receive_data(data):
            match event:
                case ResponseReceived():
                    headers = [(str(name), str(value)) for name, value in event.headers]
                    answer = self._answers[event.stream_id]
                    answer.status, answer.headers = int(dict(headers)[":status"]), headers
                case DataReceived():
                    self._answers[event.stream_id].body += event.data
                    self._connection.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                case StreamEnded():
                    self._answers[event.stream_id].ended = True
                case StreamReset():
                    self._answers[event.stream_id].reset = True
        self._flush()

    def _flush(self) -> None:
        self._tls.sendall(self._connection.data_to_send())


@contextlib.contextmanager
def http2(proxy: Proxy, host: str) -> Iterator[Http2Client]:
    """A connection to `host` through `proxy` that offers only HTTP/2."""
    with contextlib.ExitStack() as stack:
        plain = stack.enter_context(tunnel(proxy, host))
        context = proxy.trust()
        context.set_alpn_protocols(["h2"])
        tls = stack.enter_context(context.wrap_socket(plain, server_hostname=host))
        assert tls.selected_alpn_protocol() == "h2"
        yield Http2Client(tls, host)


def tunnel(proxy: Proxy, host: str, port: int = 443, agent: str = "") -> socket.socket:
    """A connection through the proxy with CONNECT, by a client that calls itself `agent`."""
    plain = socket.create_connection(("127.0.0.1", proxy.port), timeout=20)
    named = f"User-Agent: {agent}\r\n" if agent else ""
    plain.sendall(f"CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n{named}\r\n".encode())
    head = b""
    while b"\r\n\r\n" not in head:
        piece = plain.recv(1)
        if not piece:
            break
        head += piece
    if b" 200 " not in head.partition(b"\r\n")[0] + b" ":
        plain.close()
        raise ConnectionRefusedError(head.decode("latin-1"))
    return plain
