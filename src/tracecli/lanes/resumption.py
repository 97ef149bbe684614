"""TLS sessions taken up again: a new connection to a provider does without the certificates of the one before.

A session is what one connection has agreed on and verified. It is offered only to the same server under the same name,
by settings that are the same: mitmproxy makes one OpenSSL context for each set of them (whom to trust, whether to
verify, the client's own certificate, versions, ciphers), and the context is part of what a session is known by. A
server that does not want it makes a full handshake of the attempt. Nothing is sent before the handshake is done.

Towards clients, OpenSSL hands out tickets by itself; keys for them live in each process, so with several workers a
client may meet one that makes a full handshake.
"""

from __future__ import annotations

from mitmproxy import tls
from mitmproxy.connection import Server
from mitmproxy.proxy.server_hooks import ServerConnectionHookData
from OpenSSL import SSL

_KEPT = 256
"""Servers whose sessions are kept."""

type _Key = tuple[SSL.Context, object, str | None, tuple[bytes, ...]]


class Resumption:
    """An addon that offers providers their last session. Its hooks have to come after mitmproxy's own."""

    def __init__(self) -> None:
        self._latest: dict[_Key, SSL.Connection | SSL.Session] = {}
        """The last connection, and its session once it is closed: TLS 1.3 sends sessions at any time."""
        self._open: dict[str, tuple[_Key, SSL.Connection]] = {}

    def tls_start_server(self, data: tls.TlsData) -> None:
        """A handshake is about to begin."""
        if data.ssl_conn is None or data.is_dtls:
            return
        latest = self._latest.get(_key(data.conn, data.ssl_conn))
        session = latest.get_session() if isinstance(latest, SSL.Connection) else latest
        if session is not None:
            data.ssl_conn.set_session(session)

    def tls_established_server(self, data: tls.TlsData) -> None:
        """A handshake is done, and the server verified, if settings say so."""
        if data.ssl_conn is None or data.is_dtls:
            return
        key = _key(data.conn, data.ssl_conn)
        self._open[data.conn.id] = key, data.ssl_conn
        self._latest.pop(key, None)
        self._latest[key] = data.ssl_conn
        if len(self._latest) > _KEPT:
            del self._latest[next(iter(self._latest))]

    def tls_failed_server(self, data: tls.TlsData) -> None:
        """A handshake failed: the next one is a full one, in case it was for the session."""
        if data.ssl_conn is not None:
            self._latest.pop(_key(data.conn, data.ssl_conn), None)

    def server_disconnected(self, data: ServerConnectionHookData) -> None:
        """A connection is closed."""
        if (found := self._open.pop(data.server.id, None)) is None:
            return
        key, connection = found
        # OpenSSL gives up the session of a connection that ends without TLS's own farewell, as most do.
        connection.set_shutdown(SSL.SENT_SHUTDOWN | SSL.RECEIVED_SHUTDOWN)
        if self._latest.get(key) is connection:
            if session := connection.get_session():
                self._latest[key] = session
            else:
                del self._latest[key]


def _key(connection: object, settings: SSL.Connection) -> _Key:
    assert isinstance(connection, Server)  # noqa: S101 - the hooks are those of servers
    return settings.get_context(), connection.address, connection.sni, tuple(connection.alpn_offers)
