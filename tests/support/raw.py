"""HTTP as bytes over TLS: a provider that plays what it is given, and a client that sends what it is given.

Nothing here knows more of HTTP than h11 does, so that what passes between them shows as it is.
"""

from __future__ import annotations

import contextlib
import itertools
import socket
import ssl
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import h11
import trustme

from tests.support.waiting import PATIENCE_S

PLAN = "x-plan"
type Pairs = list[tuple[bytes, bytes]]


@dataclass
class Seen:
    """A message as one side got it."""

    start: tuple[bytes, ...]
    """Method and target, or the status."""
    headers: Pairs
    """Names in lower case."""
    body: bytes = b""
    interim: list[int] = field(default_factory=list)
    trailers: Pairs = field(default_factory=list)
    whole: bool = False


@dataclass
class Plan:
    """How the provider answers a connection's requests: each with the bytes of its turn, as soon as it is whole."""

    answers: Sequence[bytes]
    close: bool = False
    """Close after the last answer."""
    seen: list[Seen] = field(default_factory=list)
    raw: bytes = b""
    """All that came on connections with this plan."""


class RawProvider:
    """Listens between `with` and its end. A request names its plan in the header `X-Plan`."""

    def __init__(self, folder: Path) -> None:
        authority = trustme.CA()
        self.authority = folder / "raw-authority.pem"
        authority.cert_pem.write_to_path(self.authority)
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("localhost").configure_cert(self._context)
        self._numbers = itertools.count(1)
        self.plans: dict[str, Plan] = {}
        self._listening = socket.create_server(("127.0.0.1", 0), backlog=100)
        self.port: int = self._listening.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def plan(self, plan: Plan) -> str:
        """Take a plan; returns what a request says to have it."""
        name = f"plan-{next(self._numbers)}"
        self.plans[name] = plan
        return name

    def __enter__(self) -> RawProvider:
        return self

    def __exit__(self, *_: object) -> None:
        self._listening.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        connection.settimeout(PATIENCE_S * 3)
        with contextlib.suppress(OSError), self._context.wrap_socket(connection, server_side=True) as secure:
            self._converse(secure)

    def _converse(self, secure: ssl.SSLSocket) -> None:
        reading, raw, current = h11.Connection(h11.SERVER), b"", None
        plan: Plan | None = None
        while True:
            try:
                event = reading.next_event()
            except h11.RemoteProtocolError:
                secure.sendall(b"HTTP/1.1 400 Bad\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                return
            if event is h11.NEED_DATA:
                data = secure.recv(65536)
                raw += data
                if plan is None:
                    plan = next((self.plans[name] for name in self.plans if name.encode() + b"\r" in raw), None)
                    if plan is not None:
                        plan.raw += raw
                else:
                    plan.raw += data
                reading.receive_data(data)
                if not data:
                    return
            elif isinstance(event, h11.Request):
                current = Seen((event.method, event.target), list(event.headers))
                if plan is not None:
                    plan.seen.append(current)
                if reading.they_are_waiting_for_100_continue:
                    secure.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
            elif isinstance(event, h11.Data) and current is not None:
                current.body += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage) and current is not None and plan is not None:
                current.trailers, current.whole = list(event.headers), True
                turn = len(plan.seen) - 1
                secure.sendall(plan.answers[turn])
                if turn + 1 == len(plan.answers) and plan.close:
                    return
                # h11 has to believe that it answered.
                reading.send(h11.Response(status_code=200, headers=[("content-length", "0")]))
                reading.send(h11.EndOfMessage())
                if reading.our_state is h11.MUST_CLOSE:
                    return
                reading.start_next_cycle()
            else:
                return


@dataclass
class Way:
    """How a client reaches the provider."""

    port: int
    """Of the provider itself, or of the proxy in front of it."""
    trust: ssl.SSLContext
    provider: int
    is_proxy: bool

    def talk(self, data: bytes, cuts: Sequence[int] = (), patience_s: float = PATIENCE_S) -> tuple[bytes, str]:
        """Send bytes, cut at these places, and read until the connection ends; all that came, and how it ended.

        `closed`, or `waiting` if nothing came for `patience_s`.
        """
        with socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE_S) as plain:
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self.is_proxy:
                plain.sendall(b"CONNECT localhost:%d HTTP/1.1\r\n\r\n" % self.provider)
                head = b""
                while b"\r\n\r\n" not in head:
                    head += plain.recv(4096)
            got = b""
            with self.trust.wrap_socket(plain, server_hostname="localhost") as secure:
                places = sorted({cut for cut in cuts if 0 < cut < len(data)})
                try:
                    for start, end in zip([0, *places], [*places, len(data)], strict=True):
                        secure.sendall(data[start:end])
                    secure.settimeout(patience_s)
                    while piece := secure.recv(65536):
                        got += piece
                except TimeoutError:
                    return got, "waiting"
                except OSError:
                    return got, "closed"
            return got, "closed"


def answers_in(data: bytes, methods: Sequence[str]) -> list[Seen]:
    """The answers to requests of these methods, as h11 reads them; the last one may not be whole."""
    found: list[Seen] = []
    reading = h11.Connection(h11.CLIENT)
    reading.receive_data(data)
    reading.receive_data(b"")
    for method in methods:
        reading.send(h11.Request(method=method, target="/", headers=[("host", "a")]))
        reading.send(h11.EndOfMessage())
        current, interim = None, []
        while True:
            try:
                event = reading.next_event()
            except h11.RemoteProtocolError:
                return found
            if isinstance(event, h11.InformationalResponse):
                interim.append(event.status_code)
            elif isinstance(event, h11.Response):
                current = Seen((str(event.status_code).encode(),), list(event.headers), interim=interim)
                found.append(current)
            elif isinstance(event, h11.Data) and current is not None:
                current.body += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage) and current is not None:
                current.trailers, current.whole = list(event.headers), True
                break
            else:
                return found
        if reading.their_state is not h11.DONE:
            return found
        reading.start_next_cycle()
    return found
