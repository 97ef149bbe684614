"""A small stand-in for an AI provider: HTTPS on 127.0.0.1, answers in the shapes of OpenAI and Anthropic.

Each wire format has a port of its own, as each provider has a host of its own. The certificate is for `localhost` and
signed by an authority that is made on the spot; nothing but who is given that authority trusts it. It asks for no API
key and sends nothing anywhere.
"""

from __future__ import annotations

import datetime as dt
import http.server
import ipaddress
import json
import secrets
import ssl
import threading
import time
from abc import abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tracecli.config import PRIVATE_FILE

OPENAI_MODEL = "gpt-4o-mini-2024-07-18"
ANTHROPIC_MODEL = "claude-haiku-4-5-20251001"

# A model thinks before its first token and then writes at a pace that a reader can follow.
_THINKS_S = 0.12
_BETWEEN_TOKENS_S = 0.03
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


class StandIn:
    """The provider, running in threads between `with` and its end.

    `answers` maps the last message of a request to the text of its answer; whatever else is asked gets `otherwise`.
    """

    def __init__(self, folder: Path, answers: dict[str, str], otherwise: str) -> None:
        self.authority = folder / "provider-authority.pem"
        leaf = folder / "provider.pem"
        _make_certificates(self.authority, leaf)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(leaf)
        context.set_alpn_protocols(["http/1.1"])
        self._servers = {name: _Server(context, kind, answers, otherwise) for name, kind in _KINDS.items()}

    def port(self, provider: str) -> int:
        """Where `openai` or `anthropic` listens."""
        return self._servers[provider].server_port

    def __enter__(self) -> StandIn:
        for name, server in self._servers.items():
            threading.Thread(target=server.serve_forever, args=(0.05,), name=f"stand-in {name}", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        for server in self._servers.values():
            server.shutdown()
            server.server_close()


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, context: ssl.SSLContext, kind: type[_Handler], answers: dict[str, str], otherwise: str) -> None:
        super().__init__(("127.0.0.1", 0), kind)
        self.answers = answers
        self.otherwise = otherwise
        # The handshake is left to the thread of the connection, so that a slow client holds up nobody else.
        self.socket = context.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: a client that leaves in the middle of a stream is part of the show."""


class _Handler(http.server.BaseHTTPRequestHandler):
    """One connection; subclasses know a wire format."""

    protocol_version = "HTTP/1.1"
    server: _Server
    path_of_calls: str

    def do_POST(self) -> None:
        """Answer one call."""
        body = self.rfile.read(int(self.headers.get("content-length", "0")))
        if self.path.partition("?")[0] != self.path_of_calls:
            self._send(404, {"error": {"message": f"Unknown path {self.path}", "type": "invalid_request_error"}})
            return
        asked = json.loads(body)
        prompt = asked["messages"][-1]["content"]
        text = self.server.answers.get(prompt, self.server.otherwise)
        tokens_in, tokens_out = _tokens(prompt) + 8, _tokens(text)
        time.sleep(_THINKS_S)
        if asked.get("stream"):
            self._stream(self.events(text, tokens_in, tokens_out))
        else:
            self._send(200, self.whole(text, tokens_in, tokens_out))

    @abstractmethod
    def whole(self, text: str, tokens_in: int, tokens_out: int) -> dict[str, Any]:
        """The body of a plain answer."""

    @abstractmethod
    def events(self, text: str, tokens_in: int, tokens_out: int) -> Iterator[str]:
        """The server-sent events of a streamed answer."""

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

    def _stream(self, events: Iterator[str]) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream; charset=utf-8")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for event in events:
            data = event.encode()
            self.wfile.write(b"%x\r\n%b\r\n" % (len(data), data))
            time.sleep(_BETWEEN_TOKENS_S)
        self.wfile.write(b"0\r\n\r\n")


class _OpenAI(_Handler):
    path_of_calls = "/v1/chat/completions"

    def whole(self, text: str, tokens_in: int, tokens_out: int) -> dict[str, Any]:
        message: dict[str, Any] = {"role": "assistant", "content": text, "refusal": None, "annotations": []}
        return {
            **self._about("chat.completion"),
            "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}],
            "usage": _openai_usage(tokens_in, tokens_out),
        }

    def events(self, text: str, tokens_in: int, tokens_out: int) -> Iterator[str]:
        about = self._about("chat.completion.chunk")
        deltas: list[dict[str, Any]] = [{"role": "assistant", "content": "", "refusal": None}]
        deltas += [{"content": piece} for piece in _pieces(text)]
        for delta in deltas:
            yield _data({**about, "choices": [_choice(delta, None)], "usage": None})
        yield _data({**about, "choices": [_choice({}, "stop")], "usage": None})
        yield _data({**about, "choices": [], "usage": _openai_usage(tokens_in, tokens_out)})
        yield "data: [DONE]\n\n"

    def _about(self, kind: str) -> dict[str, Any]:
        return {
            "id": f"chatcmpl-{secrets.token_hex(12)}",
            "object": kind,
            "created": int(time.time()),
            "model": OPENAI_MODEL,
            "service_tier": "default",
            "system_fingerprint": "fp_0000000000",
        }


class _Anthropic(_Handler):
    path_of_calls = "/v1/messages"

    def whole(self, text: str, tokens_in: int, tokens_out: int) -> dict[str, Any]:
        return self._message(tokens_in, tokens_out) | {
            "content": [{"type": "text", "text": text}],
            "stop_reason": "end_turn",
        }

    def events(self, text: str, tokens_in: int, tokens_out: int) -> Iterator[str]:
        yield _named({"type": "message_start", "message": self._message(tokens_in, 1)})
        yield _named({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}})
        yield _named({"type": "ping"})
        for piece in _pieces(text):
            delta = {"type": "text_delta", "text": piece}
            yield _named({"type": "content_block_delta", "index": 0, "delta": delta})
        yield _named({"type": "content_block_stop", "index": 0})
        ending = {"stop_reason": "end_turn", "stop_sequence": None}
        yield _named({"type": "message_delta", "delta": ending, "usage": {"output_tokens": tokens_out}})
        yield _named({"type": "message_stop"})

    def _message(self, tokens_in: int, tokens_out: int) -> dict[str, Any]:
        return {
            "id": f"msg_{secrets.token_hex(12)}",
            "type": "message",
            "role": "assistant",
            "model": ANTHROPIC_MODEL,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": {
                "input_tokens": tokens_in,
                "cache_creation_input_tokens": 0,
                "cache_read_input_tokens": 0,
                "output_tokens": tokens_out,
                "service_tier": "standard",
            },
        }


_KINDS: dict[str, type[_Handler]] = {"openai": _OpenAI, "anthropic": _Anthropic}


def _choice(delta: dict[str, Any], finish_reason: str | None) -> dict[str, Any]:
    return {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}


def _openai_usage(tokens_in: int, tokens_out: int) -> dict[str, Any]:
    return {
        "prompt_tokens": tokens_in,
        "completion_tokens": tokens_out,
        "total_tokens": tokens_in + tokens_out,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
    }


def _data(value: dict[str, Any]) -> str:
    return f"data: {json.dumps(value)}\n\n"


def _named(value: dict[str, Any]) -> str:
    return f"event: {value['type']}\n{_data(value)}"


def _pieces(text: str) -> list[str]:
    """The text in pieces of a word, each with the space before it."""
    first, *rest = text.split(" ")
    return [first, *(f" {word}" for word in rest)]


def _tokens(text: str) -> int:
    """About as many as a tokenizer would find in English."""
    return max(1, round(len(text) / 4))


def _make_certificates(authority: Path, leaf: Path) -> None:
    """Write an authority, and the key and certificate of `localhost` signed by it."""
    authority_key = ec.generate_private_key(ec.SECP256R1())
    authority_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "tracecli demo provider")])
    authority_certificate = (
        _certificate(authority_name, authority_name, authority_key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_SIGNS_CERTIFICATES, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(authority_key.public_key()), critical=False)
        .sign(authority_key, hashes.SHA256())
    )
    key = ec.generate_private_key(ec.SECP256R1())
    names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    certificate = (
        _certificate(
            x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")]), authority_name, key.public_key()
        )
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key()), critical=False)
        .sign(authority_key, hashes.SHA256())
    )
    authority.write_bytes(authority_certificate.public_bytes(serialization.Encoding.PEM))
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    leaf.touch(PRIVATE_FILE)
    leaf.write_bytes(private + certificate.public_bytes(serialization.Encoding.PEM))


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
