"""A small stand-in for AI providers on 127.0.0.1: answers in the shapes of each, by path (`answers.py`).

It is spoken to in two ways. The demo goes to a port for each provider, over HTTPS for `localhost`. The trial of clients
goes through it as through a proxy that the network has: whatever host a tunnel is opened to, it is the stand-in that
answers there, so that nothing reaches a network. The certificates are signed by an authority that is made on the spot;
nothing but who is given that authority trusts it. It asks for no API key and sends nothing anywhere.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import functools
import http.server
import ipaddress
import json
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from wsproto import ConnectionType, WSConnection
from wsproto.events import AcceptConnection, CloseConnection, TextMessage

from tracecli.config import PRIVATE_FILE
from tracecli.demo.answers import FORMATS, Answer, Format, Responses

_DATED = {"gpt-4o-mini": "gpt-4o-mini-2024-07-18", "claude-haiku-4-5": "claude-haiku-4-5-20251001"}
"""What OpenAI and Anthropic answer with, where a model is asked for by its short name."""

# A model thinks before its first token and then writes at a pace that a reader can follow.
_THINKS_S = 0.12
_BETWEEN_TOKENS_S = 0.03
_TLS_HANDSHAKE = b"\x16"
"""The type of the first record of a client: https://www.rfc-editor.org/rfc/rfc8446#section-5.1."""
_VALID = dt.timedelta(days=1)
_SIGNS_CERTIFICATES = x509.KeyUsage(
    digital_signature=True,
    key_cert_sign=True,
    crl_sign=True,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    encipher_only=False,
    decipher_only=False,
)


@dataclass(frozen=True)
class Served:
    """A call that was answered, as it has to be recorded."""

    host: str
    model: str
    """As it was asked for."""
    stream: bool
    tokens_in: int
    tokens_out: int


class StandIn:
    """The provider, running in threads between `with` and its end.

    `answers` maps the last message of a request to the text of its answer; whatever else is asked gets `otherwise`.
    """

    def __init__(self, folder: Path, answers: Mapping[str, str], otherwise: str, *, pace: float = 1.0) -> None:
        self.authority = folder / "provider-authority.pem"
        self.served: list[Served] = []
        """In the order in which the answers began."""
        self._signs = _Authority(self.authority, folder)
        says = _Says(answers, otherwise, pace, self._signs.context, self.served)
        direct = self._signs.context("localhost")
        self._servers = {name: _Server(says, direct) for name in ("openai", "anthropic")}
        self._servers["proxy"] = _Server(says, None)

    def port(self, name: str) -> int:
        """Where `openai` or `anthropic` listens, over TLS; or `proxy`, which opens tunnels."""
        return self._servers[name].server_port

    def __enter__(self) -> StandIn:
        for name, server in self._servers.items():
            threading.Thread(target=server.serve_forever, args=(0.05,), name=f"stand-in {name}", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        for server in self._servers.values():
            server.shutdown()
            server.server_close()


@dataclass(frozen=True)
class _Says:
    """What all connections share."""

    answers: Mapping[str, str]
    otherwise: str
    pace: float
    """1: as a model writes; 0: at once."""
    context: Callable[[str], ssl.SSLContext]
    """Makes a TLS context for a host."""
    served: list[Served]


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, says: _Says, context: ssl.SSLContext | None) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.says = says
        if context is not None:
            # The handshake is left to the thread of the connection, so that a slow client holds up nobody else.
            self.socket = context.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: a client that leaves in the middle of a stream is part of the show."""


class _Handler(http.server.BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    server: _Server
    disable_nagle_algorithm = True

    def do_CONNECT(self) -> None:
        """Open a tunnel, and be at its end who was asked for."""
        self.send_response(200, "Connection established")
        self.end_headers()
        host = self.path.rpartition(":")[0].strip("[]")
        self.rfile.close()
        # Some clients open tunnels for plain HTTP, too.
        if self.connection.recv(1, socket.MSG_PEEK) == _TLS_HANDSHAKE:
            self.request = self.server.says.context(host).wrap_socket(self.connection, server_side=True)
        self.setup()
        self.close_connection = False

    def finish(self) -> None:
        """Close the tunnel, too, of which the server knows nothing."""
        super().finish()
        self.connection.close()

    def do_POST(self) -> None:
        """Answer one call."""
        asked = self._body()
        if found := self._format():
            form, match = found
            streams = form.streams(asked, match)
            answer = self._answer(form, match, asked, streams=streams)
            if streams:
                self._stream(form.content_type, form.pieces(answer))
            else:
                self._send(200, form.whole(answer))
        else:
            self._unknown()

    def do_GET(self) -> None:
        """Open a WebSocket where it can be called over one; else there is nothing to get."""
        form, match = self._format() or (None, None)
        if self.headers.get("upgrade", "").lower() == "websocket" and isinstance(form, Responses) and match:
            self._converse(form, match)
        else:
            self._unknown()

    def _format(self) -> tuple[Format, re.Match[str]] | None:
        """What is spoken at this path, if anything is."""
        url = self._url()
        for pattern, form in FORMATS:
            if match := pattern.fullmatch(f"{url.hostname or ''}{url.path}"):
                return form, match
        return None

    def _url(self) -> SplitResult:
        return urlsplit(self.path if "://" in self.path else f"//{self.headers.get('host', '')}{self.path}")

    def _body(self) -> dict[str, Any]:
        if self.headers.get("transfer-encoding", "").lower() == "chunked":
            body = b"".join(iter(functools.partial(self._chunk), b""))
        else:
            body = self.rfile.read(int(self.headers.get("content-length", "0")))
        with contextlib.suppress(ValueError):
            asked = json.loads(body)
            if isinstance(asked, dict):
                return asked
        return {}

    def _chunk(self) -> bytes:
        data = self.rfile.read(int(self.rfile.readline().partition(b";")[0], 16))
        self.rfile.readline()
        return data

    def _answer(self, form: Format, match: re.Match[str], asked: dict[str, Any], *, streams: bool) -> Answer:
        """What is said to a call, after a while; it counts as served."""
        says = self.server.says
        model, prompt = form.model(asked, match), form.prompt(asked)
        text = says.answers.get(prompt, says.otherwise) if form.is_answered(asked) else ""
        answer = Answer(_DATED.get(model, model), text, _tokens(prompt) + 8, _tokens(text))
        says.served.append(Served(self._url().hostname or "", model, streams, answer.tokens_in, answer.tokens_out))
        time.sleep(_THINKS_S * says.pace)
        return answer

    def _converse(self, form: Responses, match: re.Match[str]) -> None:
        """Answer each `response.create` on a WebSocket, until the client leaves."""
        self.close_connection = True
        frames = WSConnection(ConnectionType.SERVER)
        frames.initiate_upgrade_connection([(n.encode(), v.encode()) for n, v in self.headers.items()], self.path)
        self.wfile.write(frames.send(AcceptConnection()))
        text = ""
        while data := self.connection.recv(1 << 16):
            frames.receive_data(data)
            for event in frames.events():
                if isinstance(event, CloseConnection):
                    self.wfile.write(frames.send(event.response()))
                    return
                if isinstance(event, TextMessage):
                    text += event.data
                    if event.message_finished:
                        asked, text = json.loads(text), ""
                        for said in form.events(self._answer(form, match, asked, streams=True)):
                            self.wfile.write(frames.send(TextMessage(json.dumps(said))))

    def _unknown(self) -> None:
        self._send(404, {"error": {"message": f"Unknown path {self.path}", "type": "invalid_request_error"}})

    def log_message(self, format: str, *args: Any) -> None:
        """Print nothing."""

    def version_string(self) -> str:
        """What the `Server` header says."""
        return "stand-in"

    def _send(self, status: int, value: dict[str, Any]) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _stream(self, content_type: str, pieces: Iterator[bytes]) -> None:
        self.send_response(200)
        self.send_header("Content-Type", content_type)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for data in pieces:
            self.wfile.write(b"%x\r\n%b\r\n" % (len(data), data))
            time.sleep(_BETWEEN_TOKENS_S * self.server.says.pace)
        self.wfile.write(b"0\r\n\r\n")


def _tokens(text: str) -> int:
    """About as many as a tokenizer would find in English."""
    return max(1, round(len(text) / 4)) if text else 0


class _Authority:
    """Signs a certificate for whatever name is asked for."""

    def __init__(self, file: Path, folder: Path) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._leaf_key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "tracecli demo provider")])
        self._folder = folder
        self._contexts: dict[str, ssl.SSLContext] = {}
        self._one_at_a_time = threading.Lock()
        own = (
            _certificate(self._name, self._name, self._key.public_key())
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_SIGNS_CERTIFICATES, critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(self._key.public_key()), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        file.write_bytes(own.public_bytes(serialization.Encoding.PEM))

    def context(self, host: str) -> ssl.SSLContext:
        """A server's TLS settings, for a host."""
        with self._one_at_a_time:
            if host not in self._contexts:
                self._contexts[host] = self._made(host)
            return self._contexts[host]

    def _made(self, host: str) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        leaf = self._folder / "provider.pem"
        leaf.touch(PRIVATE_FILE)
        private = self._leaf_key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        leaf.write_bytes(private + self._signed(host).public_bytes(serialization.Encoding.PEM))
        context.load_cert_chain(leaf)
        leaf.unlink()
        context.set_alpn_protocols(["http/1.1"])
        return context

    def _signed(self, host: str) -> x509.Certificate:
        names: list[x509.GeneralName] = [x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
        with contextlib.suppress(ValueError):
            names.insert(0, x509.DNSName(host))
        signing = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        return (
            _certificate(
                x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "stand-in")]),
                self._name,
                self._leaf_key.public_key(),
            )
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(signing, critical=False)
            .sign(self._key, hashes.SHA256())
        )


def _certificate(
    subject: x509.Name, issuer: x509.Name, public_key: ec.EllipticCurvePublicKey
) -> x509.CertificateBuilder:
    now = dt.datetime.now(dt.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _VALID)
        .not_valid_after(now + _VALID)
    )
