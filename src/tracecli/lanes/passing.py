"""Counts the connections that pass unrecorded, by mitmproxy's hooks of connections; none is called for a request.

Only names that look like AI providers' are counted with their names: the others are what people do besides.
"""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Callable

from mitmproxy import connection, tls
from mitmproxy.net.tls import starts_like_tls_record
from mitmproxy.proxy import layer, layers, mode_specs
from mitmproxy.proxy.layers.tls import parse_client_hello

from tracecli.providers.likely import likeness
from tracecli.unseen import Counts, Reason, Where, products

_ALERTS: dict[str, Reason] = {
    "unknown ca": "unknown_ca",
    "bad certificate": "bad_certificate",
    "certificate unknown": "certificate_unknown",
}
# Node checks a certificate after the handshake, and leaves at once; browsers open connections ahead and keep them.
_SILENT_S = 5.0


class Passing:
    """What happened to connections, counted."""

    def __init__(self, is_ours: Callable[[str, int], bool]) -> None:
        """`is_ours`: whether connections to a host and port are to be opened up."""
        self.counts = Counts()
        self._is_ours = is_ours
        self._agents: dict[str, str] = {}
        self._untested: dict[str, tuple[str | None, float]] = {}
        """Connections that were opened up, and on which the client has said nothing yet: the host, and since when."""

    def named(self, client: connection.Client, agent: str) -> None:
        """A client has told its User-Agent."""
        self._agents[client.id] = products(agent)

    def unopened(self, name: str | None, address: tuple[str, int] | None) -> None:
        """A connection passes through, or a request unread."""
        host, _ = _asked(name, address)
        self.counts.count("passed", host if likeness(host) else None, time.time())

    def chosen(self, data: layer.NextLayer) -> None:
        """mitmproxy has chosen what a connection speaks: then its client has said something."""
        client, address = data.context.client, data.context.server.address
        if client.tls_established:
            if opened := self._untested.pop(client.id, None):
                self._count_opened(client, opened[0])
        elif isinstance(data.layer, layers.TCPLayer):
            self.unopened(_server_name(data.data_client()), address)

    def established(self, data: tls.TlsData) -> None:
        """A client has done its part of the handshake with us."""
        client = data.context.client
        host = self._host(data)
        if isinstance(client.proxy_mode, mode_specs.ReverseMode):  # there, nothing is chosen afterwards
            self._count_opened(client, host)
        else:
            self._untested[client.id] = host, time.time()

    def refused(self, data: tls.TlsData) -> None:
        """A handshake with a client has failed. Only after it saw our certificate that says something."""
        error = data.conn.error or ""
        if data.ssl_conn is None or error == "connection closed early":
            return
        reason: Reason = "closed" if error == "connection closed" else "other"
        reason = next((alert for words, alert in _ALERTS.items() if words in error), reason)
        self._count_refused(data.context.client, self._host(data), reason)

    def ended(self, client: connection.Client) -> None:
        """A client's connection is over."""
        opened = self._untested.pop(client.id, None)
        if opened is not None and time.time() - opened[1] < _SILENT_S:
            self._count_refused(client, opened[0], "silent")
        self._agents.pop(client.id, None)

    def upstream_failed(self, data: tls.TlsData) -> None:
        """A handshake with a provider has failed."""
        error = data.conn.error or ""
        reason: Reason = "untrusted" if error.startswith("Certificate verify failed") else "other"
        self.counts.count("upstream", self._host(data), time.time(), reason=reason)

    def _host(self, data: tls.TlsData) -> str | None:
        """The provider's name, if it is one that may be written down."""
        client, address = data.context.client, data.context.server.address
        reverse = isinstance(client.proxy_mode, mode_specs.ReverseMode)  # its clients know only us
        host, port = _asked(None if reverse else client.sni, address)
        return host if reverse or likeness(host) or self._is_ours(host, port) else None

    def _count_opened(self, client: connection.Client, host: str | None) -> None:
        self.counts.count("opened", host, time.time(), client=self._agents.get(client.id, ""))

    def _count_refused(self, client: connection.Client, host: str | None, reason: Reason) -> None:
        agent = self._agents.get(client.id, "") if host else ""
        self.counts.count("refused", host, time.time(), client=agent, where=_where(client), reason=reason)


def _asked(name: str | None, address: tuple[str, int] | None) -> tuple[str, int]:
    host, port = address[:2] if address else ("", 443)
    return (name or host).lower().removesuffix("."), port


def _server_name(data: bytes) -> str | None:
    """What the beginning of TLS asks for; None: it does not say, or is none."""
    if not starts_like_tls_record(data):
        return None
    try:
        hello = parse_client_hello(data)
    except ValueError:
        return None
    return hello.sni if hello else None


def _where(client: connection.Client) -> Where:
    try:
        return "here" if ipaddress.ip_address(client.peername[0].partition("%")[0]).is_loopback else "network"
    except ValueError:
        return ""
