"""TLS sessions are taken up again, and only where what one has verified holds for the other."""

from __future__ import annotations

import json
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx2
import pytest
import trustme
from mitmproxy import tls
from mitmproxy.connection import Client, Server
from mitmproxy.options import Options
from mitmproxy.proxy.context import Context
from mitmproxy.proxy.server_hooks import ServerConnectionHookData
from OpenSSL import SSL

from tests.support import answers
from tests.support.proxies import Place, Proxy, end_ingest, launch, mitmdump
from tracecli.lanes.resumption import Resumption

AUTHORITY = trustme.CA()
NAME = "api.openai.com"


class Handshakes:
    """A provider's TLS, in memory."""

    def __init__(self, version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3, authority: trustme.CA = AUTHORITY) -> None:
        self.settings = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.settings.maximum_version = version
        authority.issue_cert(NAME, "other.example").configure_cert(self.settings)

    def meet(self, connection: SSL.Connection) -> bool:
        """Shake hands and say a word; whether the session was taken up again. Raises SSL.Error if not verified."""
        arriving, leaving = ssl.MemoryBIO(), ssl.MemoryBIO()
        here = self.settings.wrap_bio(arriving, leaving, server_side=True)
        both = [connection.do_handshake, here.do_handshake]
        while both:
            for shake in list(both):
                with suppress(SSL.WantReadError, ssl.SSLWantReadError):
                    shake()
                    both.remove(shake)
                _carry(connection, arriving, leaving)
        here.write(b"word")
        _carry(connection, arriving, leaving)
        assert connection.recv(10) == b"word"
        return bool(here.session_reused)


def _carry(connection: SSL.Connection, arriving: ssl.MemoryBIO, leaving: ssl.MemoryBIO) -> None:
    with suppress(SSL.WantReadError):
        arriving.write(connection.bio_read(65535))
    if leaving.pending:
        connection.bio_write(leaving.read())


def _trusting(folder: Path, authority: trustme.CA = AUTHORITY, verify: int = SSL.VERIFY_PEER) -> SSL.Context:
    path = folder / "authority.pem"
    authority.cert_pem.write_to_path(str(path))
    settings = SSL.Context(SSL.TLS_CLIENT_METHOD)
    settings.set_verify(verify, None)
    settings.load_verify_locations(str(path))
    return settings


@dataclass
class Connection:
    """A connection of the proxy's, as mitmproxy's hooks tell of it."""

    addon: Resumption
    settings: SSL.Context
    address: tuple[str, int] = (NAME, 443)
    name: str = NAME
    offers: tuple[bytes, ...] = ()
    data: tls.TlsData = field(init=False)

    def open(self, provider: Handshakes) -> bool:
        """Whether it is resumed."""
        server = Server(address=self.address, sni=self.name, alpn_offers=self.offers)
        above = Context(Client(peername=("127.0.0.1", 1), sockname=("127.0.0.1", 2)), Options())
        above.server = server
        connection = SSL.Connection(self.settings)
        connection.set_tlsext_host_name(self.name.encode())
        connection.set_connect_state()
        self.data = tls.TlsData(server, above, connection)
        self.addon.tls_start_server(self.data)
        try:
            resumed = provider.meet(connection)
        except SSL.Error:
            self.addon.tls_failed_server(self.data)
            raise
        self.addon.tls_established_server(self.data)
        return resumed

    def close(self) -> None:
        assert isinstance(self.data.conn, Server)
        self.addon.server_disconnected(ServerConnectionHookData(self.data.conn, self.data.context.client))
        del self.data


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_the_next_connection_resumes(tmp_path: Path, version: ssl.TLSVersion) -> None:
    """Beside an open connection and after a closed one, however often."""
    addon, provider, settings = Resumption(), Handshakes(version), _trusting(tmp_path)
    first = Connection(addon, settings)
    assert not first.open(provider)
    beside = Connection(addon, settings)
    assert beside.open(provider)
    first.close()
    beside.close()
    for _ in range(3):
        after = Connection(addon, settings)
        assert after.open(provider)
        after.close()


def test_only_for_the_same_server_and_settings(tmp_path: Path) -> None:
    """Another name, address, offer of protocols or OpenSSL context is another session."""
    addon, provider, settings = Resumption(), Handshakes(), _trusting(tmp_path)
    assert not Connection(addon, settings).open(provider)
    assert not Connection(addon, settings, name="other.example").open(provider)
    assert not Connection(addon, settings, address=(NAME, 8443)).open(provider)
    assert not Connection(addon, settings, offers=(b"http/1.1",)).open(provider)
    assert not Connection(addon, _trusting(tmp_path)).open(provider)
    assert Connection(addon, settings).open(provider)


def test_who_does_not_verify_opens_no_door(tmp_path: Path) -> None:
    """A session made without verifying is not taken up by who verifies: that one refuses the server."""
    addon, provider = Resumption(), Handshakes(authority=trustme.CA())
    careless = Connection(addon, _trusting(tmp_path, verify=SSL.VERIFY_NONE))
    assert not careless.open(provider)
    careless.close()
    with pytest.raises(SSL.Error, match="certificate verify failed"):
        Connection(addon, _trusting(tmp_path)).open(provider)


def test_a_server_that_forgot(tmp_path: Path) -> None:
    """It gets a full handshake, verified: one with another authority's certificate is refused, also with a session."""
    addon, settings = Resumption(), _trusting(tmp_path)
    assert not Connection(addon, settings).open(Handshakes())
    assert not Connection(addon, settings).open(Handshakes())
    with pytest.raises(SSL.Error, match="certificate verify failed"):
        Connection(addon, settings).open(Handshakes(authority=trustme.CA()))
    provider = Handshakes()
    assert not Connection(addon, settings).open(provider)
    assert Connection(addon, settings).open(provider)


def test_servers_without_end(tmp_path: Path) -> None:
    """The sessions of so many are kept, and no more; those that were used last."""
    addon, provider, settings = Resumption(), Handshakes(), _trusting(tmp_path)
    for port in range(300):
        connection = Connection(addon, settings, address=(NAME, port))
        assert not connection.open(provider)
        connection.close()
    assert Connection(addon, settings, address=(NAME, 299)).open(provider)
    assert not Connection(addon, settings, address=(NAME, 0)).open(provider)


class Provider(ThreadingHTTPServer):
    """A provider that closes after each answer, and remembers which handshakes were resumed ones."""

    daemon_threads = True

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Answer)
        self.settings = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        AUTHORITY.issue_cert("localhost").configure_cert(self.settings)
        self.authority = folder / "provider.pem"
        AUTHORITY.cert_pem.write_to_path(str(self.authority))
        self.resumed: list[bool] = []

    def finish_request(self, request: socket.socket | tuple[bytes, socket.socket], client_address: object) -> None:
        assert isinstance(request, socket.socket)
        with self.settings.wrap_socket(request, server_side=True) as connection:
            self.resumed.append(bool(connection.session_reused))
            super().finish_request(connection, client_address)


class _Answer(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        body = json.dumps(answers.chat()).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)
        self.close_connection = True

    def log_message(self, *_: object) -> None:
        """The handshakes are what is looked at."""


@pytest.fixture
def provider(tmp_path: Path) -> Iterator[Provider]:
    server = Provider(tmp_path)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.mark.parametrize("lane", ["fast", "flows"])
def test_through_the_proxy(tmp_path: Path, provider: Provider, lane: str, user: str) -> None:
    """The first connection to a provider is verified, and those behind it take up its session; all is recorded."""
    place = Place(tmp_path)
    port = provider.server_address[1]
    settings = {
        "ssl_verify_upstream_trusted_ca": str(provider.authority),
        "tracecli_hosts": f"localhost:{port}=openai",
        "tracecli_lane": lane,
    }
    process, about = launch(place, mitmdump(place, settings))
    try:
        with httpx2.Client(
            proxy=f"http://127.0.0.1:{about['listen'][0][1]}",
            trust_env=False,
            verify=ssl.create_default_context(cafile=place.home / "mitmproxy" / "mitmproxy-ca-cert.pem"),
            headers={"X-Tracecli-User": user},
        ) as client:
            for _ in range(4):
                answer = client.post(f"https://localhost:{port}/v1/chat/completions", json={"model": "gpt-4o-mini"})
                assert answer.json()["choices"] == answers.chat()["choices"]
        assert provider.resumed == [False, True, True, True]
        process.terminate()
        assert process.wait(20) == 0
        assert [(row["status"], row["outcome"]) for row in place.rows(user)] == [(200, "complete")] * 4
        assert "Traceback" not in place.said()
    finally:
        process.kill()
        process.wait()
        end_ingest(place.home)


def test_clients_resume(proxy: Proxy, user: str) -> None:
    """A client that kept its session with the proxy does without the proxy's certificate."""
    trusting = proxy.trust()
    session = None
    for resumed in (False, True, True):
        raw = socket.create_connection(("127.0.0.1", proxy.port), timeout=20)
        raw.sendall(b"CONNECT api.openai.com:443 HTTP/1.1\r\n\r\n")
        assert b" 200 " in raw.recv(4096)
        with trusting.wrap_socket(raw, server_hostname="api.openai.com", session=session) as connection:
            head = f"GET /v1/models HTTP/1.1\r\nHost: api.openai.com\r\nX-Tracecli-User: {user}\r\n\r\n"
            connection.sendall(head.encode())
            assert connection.recv(4096).startswith(b"HTTP/1.1 ")
            assert connection.session_reused is resumed
            session = connection.session
