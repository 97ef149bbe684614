"""A provider on this machine: TLS, HTTP/1.1 and HTTP/2, and as patient, slow or broken as a test wants it.

It answers for every name that its certificates hold, by path: chat completions, responses, embeddings, messages, the
WebSockets of realtime and responses, and a few things that are no model calls. A request that names a script in
`X-Standin-Script` is answered by that test's own handler instead. Every request is kept as it arrived.

`python -m tests.support.standin HOST PORT CERTIFICATE` runs it alone, for a network namespace.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import itertools
import json
import socket
import ssl
import struct
import sys
import threading
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import trustme
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import ConnectionTerminated, DataReceived, RequestReceived, StreamEnded, StreamReset
from h2.exceptions import ProtocolError
from wsproto import ConnectionType, WSConnection
from wsproto.events import AcceptConnection, CloseConnection, Request, TextMessage
from wsproto.extensions import PerMessageDeflate

from tests.support import answers
from tests.support.waiting import PATIENCE_S, Gate

SCRIPT_HEADER = "X-Standin-Script"

TRUSTED_NAMES = (
    "api.openai.com",
    "api.anthropic.com",
    "api.groq.com",
    "api.openai.com.evil.net",
    "other.example.test",
    "localhost",
)
UNTRUSTED_NAMES = ("api.mistral.ai", "api.deepseek.com")
"""Provider hosts for which the stand-in shows a certificate of an authority that nobody trusts."""

type Pairs = list[tuple[str, str]]


@dataclass(frozen=True)
class Received:
    """A request as the provider got it."""

    method: str
    path: str
    headers: Pairs
    body: bytes
    protocol: str

    def header(self, name: str) -> str | None:
        """The first value of a header."""
        return next((value for key, value in self.headers if key.lower() == name.lower()), None)

    @property
    def host(self) -> str:
        """The name that the client asked for."""
        return self.header("host") or self.header(":authority") or ""

    def json(self) -> dict[str, Any]:
        """The body as a JSON object, empty if it is none."""
        try:
            value = json.loads(self.body)
        except ValueError:
            return {}
        return value if isinstance(value, dict) else {}


class Reply(Protocol):
    """How a handler answers."""

    async def head(self, status: int, headers: Pairs, *, length: int | None = None) -> None:
        """Send status and headers; without a length the body is chunked."""

    async def send(self, data: bytes) -> None:
        """Send a piece of the body."""

    async def end(self) -> None:
        """End the body as HTTP has it."""

    async def cut(self) -> None:
        """Break the connection off, in the middle."""


type Handler = Callable[[Received, Reply], Awaitable[None]]


@dataclass
class Script:
    """A handler of one test, and what it was asked."""

    name: str
    handler: Handler
    received: list[Received] = field(default_factory=list)
    arrived: Gate = field(default_factory=Gate)
    """Opens when the first request is there."""

    @property
    def headers(self) -> dict[str, str]:
        """What a client adds to reach this script."""
        return {SCRIPT_HEADER: self.name}


class Standin:
    """The provider in a thread of its own, between `with` and its end."""

    def __init__(self, folder: Path) -> None:
        authority = trustme.CA()
        self.authority = folder / "standin-authority.pem"
        authority.cert_pem.write_to_path(self.authority)
        self._contexts = _Contexts()
        self._contexts.add(authority.issue_cert(*TRUSTED_NAMES), TRUSTED_NAMES)
        self._contexts.add(trustme.CA().issue_cert(*UNTRUSTED_NAMES), UNTRUSTED_NAMES)
        self._numbers = itertools.count(1)
        self._scripts: dict[str, Script] = {}
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="stand-in", daemon=True)
        self.port = 0
        self.plain_port = 0
        """The same without TLS."""
        self._bound = socket.socket()
        self._bound.bind(("127.0.0.1", 0))
        self.refusing: int = self._bound.getsockname()[1]
        """A port that is taken and where nobody listens."""
        self.received: dict[str, list[Received]] = defaultdict(list)
        """What came without a script, by path without query."""

    def script(self, handler: Handler | None = None) -> Script:
        """A script for one test; without a handler it answers by path."""
        script = Script(f"script-{next(self._numbers)}", handler or answer)
        self._scripts[script.name] = script
        return script

    def __enter__(self) -> Standin:
        self._thread.start()
        listening = serve("127.0.0.1", 0, self._contexts.first, self._handle)
        self._server = asyncio.run_coroutine_threadsafe(listening, self._loop).result(PATIENCE_S)
        self.port = self._server.sockets[0].getsockname()[1]
        plain = serve("127.0.0.1", 0, None, self._handle)
        self._plain_server = asyncio.run_coroutine_threadsafe(plain, self._loop).result(PATIENCE_S)
        self.plain_port = self._plain_server.sockets[0].getsockname()[1]
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(_close(self._server, self._plain_server), self._loop).result(PATIENCE_S)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(PATIENCE_S)
        self._loop.close()
        self._bound.close()

    async def _handle(self, received: Received, reply: Reply) -> None:
        script = self._scripts.get(received.header(SCRIPT_HEADER) or "")
        if script is None:
            self.received[received.path.partition("?")[0]].append(received)
            await answer(received, reply)
            return
        script.received.append(received)
        script.arrived.open()
        await script.handler(received, reply)


class _Contexts:
    """One TLS context for each certificate, chosen by the name that the client asks for."""

    def __init__(self) -> None:
        self._by_name: dict[str, ssl.SSLContext] = {}

    @property
    def first(self) -> ssl.SSLContext:
        return next(iter(self._by_name.values()))

    def add(self, leaf: trustme.LeafCert, names: tuple[str, ...]) -> None:
        context = server_context()
        leaf.configure_cert(context)
        context.sni_callback = self._choose
        self._by_name |= dict.fromkeys(names, context)

    def _choose(self, connection: ssl.SSLObject, name: str, _: ssl.SSLContext) -> None:
        if context := self._by_name.get(name):
            connection.context = context


def server_context() -> ssl.SSLContext:
    """A server's TLS settings, still without a certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_alpn_protocols(["h2", "http/1.1"])
    return context


async def serve(host: str, port: int, context: ssl.SSLContext | None, handler: Handler) -> asyncio.Server:
    """Listen; without a context in plain HTTP/1.1."""
    tasks: set[asyncio.Task[None]] = set()

    async def serve_one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tls = writer.get_extra_info("ssl_object")
        connection = _serve_http2 if tls and tls.selected_alpn_protocol() == "h2" else _serve_http1
        try:
            await connection(reader, writer, handler)
        except (OSError, asyncio.IncompleteReadError, ProtocolError):
            pass  # the other side has gone, as tests have it do
        finally:
            writer.close()
            with contextlib.suppress(OSError, ssl.SSLError):
                await writer.wait_closed()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(serve_one(reader, writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    return await asyncio.start_server(accept, host, port, ssl=context, limit=1 << 22, backlog=512)


async def _close(*servers: asyncio.Server) -> None:
    for server in servers:
        server.close()
    rest = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    for task in rest:
        task.cancel()
    await asyncio.gather(*rest, return_exceptions=True)
    await asyncio.sleep(0)


# HTTP/1.1


async def _serve_http1(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, handler: Handler) -> None:
    while line := await reader.readline():
        method, path, protocol = line.decode("latin-1").split()
        headers: Pairs = []
        while (field_line := await reader.readline()) not in (b"\r\n", b""):
            name, _, value = field_line.decode("latin-1").partition(":")
            headers.append((name, value.strip()))
        known = {name.lower(): value for name, value in headers}
        if known.get("transfer-encoding", "").lower() == "chunked":
            body = await _chunked(reader)
        else:
            body = await reader.readexactly(int(known.get("content-length", "0")))
        reply = _WebSocket(reader, writer) if known.get("upgrade", "").lower() == "websocket" else _Http1Reply(writer)
        await handler(Received(method, path, headers, body, protocol), reply)
        if not reply.ended or known.get("connection", "").lower() == "close":
            return


async def _chunked(reader: asyncio.StreamReader) -> bytes:
    body = b""
    while size := int((await reader.readline()).partition(b";")[0], 16):
        body += await reader.readexactly(size)
        await reader.readline()
    while await reader.readline() not in (b"\r\n", b""):
        pass
    return body


class _Http1Reply:
    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self._writer = writer
        self._chunked = False
        self.ended = False

    async def head(self, status: int, headers: Pairs, *, length: int | None = None) -> None:
        self._chunked = length is None
        framing = ("Transfer-Encoding", "chunked") if length is None else ("Content-Length", str(length))
        lines = [f"HTTP/1.1 {status} Stand-in", *(f"{name}: {value}" for name, value in [*headers, framing])]
        self._writer.write("\r\n".join([*lines, "", ""]).encode("latin-1"))
        await self._writer.drain()

    async def send(self, data: bytes) -> None:
        if self._chunked:
            if not data:
                return
            data = b"%x\r\n%b\r\n" % (len(data), data)
        self._writer.write(data)
        await self._writer.drain()

    async def end(self) -> None:
        if self._chunked:
            self._writer.write(b"0\r\n\r\n")
            await self._writer.drain()
        self.ended = True

    async def cut(self) -> None:
        """With a reset, as a provider's load balancer does it."""
        own: socket.socket = self._writer.get_extra_info("socket")
        own.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()


class _WebSocket(_Http1Reply):
    """A request to open a WebSocket, which a handler may accept."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        super().__init__(writer)
        self._reader = reader
        self._frames = WSConnection(ConnectionType.SERVER)

    async def accept(self, received: Received) -> None:
        """Open it, with compression if the client wants it."""
        headers = [(name.encode(), value.encode()) for name, value in received.headers]
        self._frames.initiate_upgrade_connection(headers, received.path)
        [asked] = self._frames.events()
        assert isinstance(asked, Request)
        self._writer.write(self._frames.send(AcceptConnection(extensions=[PerMessageDeflate()])))

    async def say(self, message: dict[str, Any]) -> None:
        self._writer.write(self._frames.send(TextMessage(json.dumps(message))))
        await self._writer.drain()

    async def heard(self) -> AsyncIterator[dict[str, Any]]:
        """What the client says, until it leaves."""
        text = ""
        while data := await self._reader.read(1 << 16):
            self._frames.receive_data(data)
            for event in self._frames.events():
                if isinstance(event, CloseConnection):
                    self._writer.write(self._frames.send(event.response()))
                    return
                elif isinstance(event, TextMessage):
                    text += event.data
                    if event.message_finished:
                        yield json.loads(text)
                        text = ""


# HTTP/2


async def _serve_http2(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, handler: Handler) -> None:
    connection = H2Connection(H2Configuration(client_side=False, header_encoding="utf-8"))
    connection.initiate_connection()
    writer.write(connection.data_to_send())
    requests: dict[int, tuple[Pairs, bytearray]] = {}
    answering: dict[int, asyncio.Task[None]] = {}
    try:
        while data := await reader.read(1 << 16):
            for event in connection.receive_data(data):
                match event:
                    case RequestReceived():
                        requests[event.stream_id] = ([(str(n), str(v)) for n, v in event.headers], bytearray())
                    case DataReceived():
                        requests[event.stream_id][1].extend(event.data)
                        connection.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                    case StreamEnded():
                        headers, body = requests.pop(event.stream_id)
                        about = dict(headers)
                        received = Received(about[":method"], about[":path"], headers, bytes(body), "HTTP/2")
                        reply = _Http2Reply(connection, event.stream_id, writer)
                        answering[event.stream_id] = asyncio.create_task(_answer_http2(handler, received, reply))
                    case StreamReset():
                        if task := answering.pop(event.stream_id, None):
                            task.cancel()
                    case ConnectionTerminated():
                        return
            writer.write(connection.data_to_send())
            await writer.drain()
    finally:
        for task in answering.values():
            task.cancel()
        await asyncio.gather(*answering.values(), return_exceptions=True)


async def _answer_http2(handler: Handler, received: Received, reply: Reply) -> None:
    with contextlib.suppress(OSError, ProtocolError):
        await handler(received, reply)


class _Http2Reply:
    def __init__(self, connection: H2Connection, stream: int, writer: asyncio.StreamWriter) -> None:
        self._connection = connection
        self._stream = stream
        self._writer = writer

    async def head(self, status: int, headers: Pairs, *, length: int | None = None) -> None:
        fields = [(":status", str(status)), *((name.lower(), value) for name, value in headers)]
        if length is not None:
            fields.append(("content-length", str(length)))
        self._connection.send_headers(self._stream, fields)
        await self._flush()

    async def send(self, data: bytes) -> None:
        while data:
            window = self._connection.local_flow_control_window(self._stream)
            size = min(window, self._connection.max_outbound_frame_size, len(data))
            if size <= 0:
                await asyncio.sleep(0.002)
                continue
            self._connection.send_data(self._stream, data[:size])
            data = data[size:]
            await self._flush()

    async def end(self) -> None:
        self._connection.end_stream(self._stream)
        await self._flush()

    async def cut(self) -> None:
        self._connection.reset_stream(self._stream, error_code=2)
        await self._flush()

    async def _flush(self) -> None:
        self._writer.write(self._connection.data_to_send())
        await self._writer.drain()


# Answers


async def answer(received: Received, reply: Reply, *, gap_s: float = 0.002) -> None:
    """Answer by path, as a provider would; the events of a stream are `gap_s` apart, each a piece of its own."""
    if isinstance(reply, _WebSocket):
        await _converse(received, reply)
        return
    asked = received.json()
    stream = asked.get("stream") is True
    match received.path.partition("?")[0]:
        case "/v1/chat/completions":
            tool = bool(asked.get("tools"))
            if stream:
                usage = bool((asked.get("stream_options") or {}).get("include_usage"))
                await send_events(reply, answers.chat_sse(answers.chat_stream(tool=tool, include_usage=usage)), gap_s)
            else:
                await send_json(reply, answers.chat_tool() if tool else answers.chat())
        case "/v1/responses":
            if stream:
                await send_events(reply, answers.named(answers.response_stream()), gap_s)
            else:
                await send_json(reply, answers.response())
        case "/v1/embeddings":
            await send_json(reply, answers.embeddings())
        case "/v1/messages":
            tool, thinking = bool(asked.get("tools")), "thinking" in asked
            if stream:
                events = answers.message_stream(tool=tool, thinking=thinking)
                await send_events(reply, answers.named(events), gap_s)
            else:
                await send_json(reply, answers.message(tool=tool, thinking=thinking))
        case "/":
            await send(reply, b"<html><body>a web page</body></html>", [("Content-Type", "text/html")])
        case _:
            await send_json(reply, {"ok": True})


async def _converse(received: Received, socket: _WebSocket) -> None:
    """Answer each `response.create` on a WebSocket."""
    await socket.accept(received)
    events = _response_events
    if received.path.startswith("/v1/realtime"):
        events = _realtime_events
        await socket.say({"type": "session.created", "session": {"type": "realtime", "model": "gpt-realtime"}})
    calls = itertools.count(1)
    async for message in socket.heard():
        if message["type"] == "response.create":
            for event in events(next(calls)):
                await socket.say(event)


def _response_events(number: int) -> list[dict[str, Any]]:
    """The answer to the n-th call on a socket: its name ends in n, and it has n times the output."""
    usage = answers.RESPONSES_USAGE | {"output_tokens": 200 * number, "total_tokens": 1500 + 200 * number}
    events = answers.response_stream()
    for event in events:
        if response := event.get("response"):
            event["response"] = response | {"id": f"resp_standin{number}", "usage": response["usage"] and usage}
    return events


def _realtime_events(number: int) -> list[dict[str, Any]]:
    """The same in the words of the realtime API: https://platform.openai.com/docs/api-reference/realtime-server-events"""
    usage = answers.RESPONSES_USAGE | {"output_tokens": 200 * number, "total_tokens": 1500 + 200 * number}
    usage["input_token_details"] = usage.pop("input_tokens_details")
    usage["output_token_details"] = usage.pop("output_tokens_details")
    response = {"id": f"resp_standin{number}", "object": "realtime.response", "status": "in_progress", "output": []}
    place = {"response_id": response["id"], "item_id": f"item_standin{number}", "output_index": 0, "content_index": 0}
    content = [{"type": "output_text", "text": answers.TEXT}]
    item = {"id": place["item_id"], "type": "message", "status": "completed", "role": "assistant", "content": content}
    return [
        {"type": "response.created", "response": response},
        *({"type": "response.output_text.delta", **place, "delta": piece} for piece in answers.pieces(answers.TEXT, 8)),
        {"type": "response.output_text.done", **place, "text": answers.TEXT},
        {"type": "response.done", "response": response | {"status": "completed", "output": [item], "usage": usage}},
    ]


async def send(reply: Reply, body: bytes, headers: Pairs, status: int = 200) -> None:
    """Answer with a body of known length."""
    await reply.head(status, headers, length=len(body))
    await reply.send(body)
    await reply.end()


async def send_json(reply: Reply, value: dict[str, Any], status: int = 200, headers: Pairs | None = None) -> None:
    """Answer with JSON."""
    await send(reply, json.dumps(value).encode(), [("Content-Type", "application/json"), *(headers or [])], status)


async def send_events(reply: Reply, events: list[bytes], gap_s: float) -> None:
    """Answer with server-sent events, one after the other."""
    await reply.head(200, [("Content-Type", "text/event-stream; charset=utf-8")])
    for event in events:
        await reply.send(event)
        await asyncio.sleep(gap_s)
    await reply.end()


def answers_with(body: bytes, headers: Pairs, status: int = 200) -> Handler:
    """A handler that always gives this answer."""

    async def handler(_: Received, reply: Reply) -> None:
        await send(reply, body, headers, status)

    return handler


def answers_json(value: dict[str, Any], status: int = 200) -> Handler:
    """A handler that always answers with this JSON."""
    return answers_with(json.dumps(value).encode(), [("Content-Type", "application/json")], status)


def gated(events: list[bytes], gates: list[Gate], *, cut: bool = False) -> Handler:
    """A handler that streams, and passes gate k before event k; events without a gate follow at once.

    With `cut`, the connection breaks after the last event, when one more gate is passed.
    """

    async def handler(_: Received, reply: Reply) -> None:
        await reply.head(200, [("Content-Type", "text/event-stream; charset=utf-8")])
        for number, event in enumerate(events):
            if number < len(gates):
                await gates[number].passed()
            await reply.send(event)
        for gate in gates[len(events) :]:
            await gate.passed()
        await (reply.cut() if cut else reply.end())

    return handler


async def _alone(host: str, port: int, certificate: str) -> None:
    context = server_context()
    context.load_cert_chain(certificate)
    await serve(host, port, context, functools.partial(answer, gap_s=0.05))
    sys.stdout.write("listening\n")
    sys.stdout.flush()
    await asyncio.Event().wait()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_alone(sys.argv[1], int(sys.argv[2]), sys.argv[3]))
