"""A WebSocket through the real proxy: messages pass as they are, and each call is recorded."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from wsproto.connection import Connection, ConnectionType
from wsproto.events import CloseConnection, Event, TextMessage

from tests.support import answers
from tests.support.commands import BIN, ROOT, opened
from tests.support.proxies import Place, Proxy, end_ingest, launch
from tests.support.waiting import wait_until

HOST = "realtime.test"
REDIRECT = Path(__file__).parents[1] / "support" / "redirect.py"


class Talk:
    """One end of a WebSocket whose handshake is done."""

    def __init__(self, wire: socket.socket, kind: ConnectionType, rest: bytes = b"") -> None:
        self.wire = wire
        self.frames = Connection(kind)
        self.waiting: list[Event] = []
        self.text = ""
        if rest:
            self._take(rest)

    def _take(self, data: bytes) -> None:
        self.frames.receive_data(data)
        self.waiting += self.frames.events()

    def say(self, message: dict[str, Any]) -> None:
        self.wire.sendall(self.frames.send(TextMessage(json.dumps(message))))

    def hear(self) -> dict[str, Any] | None:
        """The next message; None when the other side has left."""
        while True:
            while self.waiting:
                event = self.waiting.pop(0)
                if isinstance(event, CloseConnection):
                    return None
                assert isinstance(event, TextMessage)
                self.text += event.data
                if event.message_finished:
                    message, self.text = json.loads(self.text), ""
                    return dict(message)
            data = self.wire.recv(65536)
            if not data:
                return None
            self._take(data)

    def leave(self) -> None:
        """Close as a client does, with a reason."""
        self.wire.sendall(self.frames.send(CloseConnection(code=1000)))
        self.wire.close()


def head_of(wire: socket.socket) -> tuple[bytes, bytes]:
    """An HTTP head, and what came after it."""
    data = b""
    while b"\r\n\r\n" not in data:
        piece = wire.recv(65536)
        assert piece, data
        data += piece
    head, _, rest = data.partition(b"\r\n\r\n")
    return head, rest


class RealtimeProvider(threading.Thread):
    """Answers each `response.create` with a word and its usage."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.server = socket.create_server(("127.0.0.1", 0))
        self.port: int = self.server.getsockname()[1]
        self.heads: list[bytes] = []
        self.heard: list[dict[str, Any]] = []

    def run(self) -> None:
        while True:
            try:
                wire, _ = self.server.accept()
            except OSError:
                return
            threading.Thread(target=self._talk, args=(wire,), daemon=True).start()

    def _talk(self, wire: socket.socket) -> None:
        with wire:
            head, rest = head_of(wire)
            self.heads.append(head)
            [key] = [
                line[18:].strip() for line in head.split(b"\r\n") if line.lower().startswith(b"sec-websocket-key:")
            ]
            accept = base64.b64encode(hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())
            wire.sendall(
                b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n"
            )
            talk = Talk(wire, ConnectionType.SERVER, rest)
            talk.say({"type": "session.created", "session": {"model": "gpt-realtime"}})
            while (message := talk.hear()) is not None:
                self.heard.append(message)
                if message["type"] == "response.create":
                    self._answer(talk, f"resp_{len(self.heard)}")

    def _answer(self, talk: Talk, name: str) -> None:
        about = {"item_id": "item_1", "response_id": name}
        usage = {"total_tokens": 30, "input_tokens": 20, "output_tokens": 10}
        content = [{"type": "output_text", "text": f"word of {name}"}]
        item = {"id": "item_1", "type": "message", "role": "assistant", "content": content}
        talk.say({"type": "response.created", "response": {"id": name}})
        talk.say({"type": "response.output_text.delta", "delta": f"word of {name}", **about})
        done = {"id": name, "status": "completed", "output": [item], "usage": usage}
        talk.say({"type": "response.done", "response": done})


@pytest.fixture
def provider() -> Iterator[RealtimeProvider]:
    """A provider that speaks over WebSockets."""
    running = RealtimeProvider()
    running.start()
    yield running
    running.server.close()


def test_each_call_on_a_socket_is_recorded(provider: RealtimeProvider, tmp_path: Path, user: str) -> None:
    """Two calls on one socket are two exchanges, there while the socket is open; the third, cut off, is a third."""
    place = Place(tmp_path)
    command = [str(BIN / "mitmdump"), "-s", str(ROOT / "addon" / "tracecli_addon.py"), "-s", str(REDIRECT)]
    command += ["--listen-host", "127.0.0.1", "-p", "0", "--set", f"confdir={tmp_path}/ca"]
    command += ["--set", f"tracecli_hosts={HOST}=openai", "--set", "termlog_verbosity=warn"]
    process, about = launch(place, command, STANDIN_PORTS=json.dumps({"": provider.port}))
    try:
        with socket.create_connection(tuple(about["listen"][0]), timeout=20) as wire:
            wire.sendall(
                f"GET http://{HOST}/v1/realtime?model=gpt-realtime HTTP/1.1\r\nHost: {HOST}\r\nUpgrade: websocket\r\n"
                f"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
                f"Authorization: Bearer sk-0123456789abcdef\r\nX-Tracecli-User: {user}\r\n\r\n".encode()
            )
            head, rest = head_of(wire)
            assert b" 101 " in head
            talk = Talk(wire, ConnectionType.CLIENT, rest)
            assert (talk.hear() or {})["type"] == "session.created"
            for _ in range(2):
                talk.say({"type": "response.create"})
                while (talk.hear() or {})["type"] != "response.done":
                    pass
            found = wait_until(lambda: rows if len(rows := place.rows(user)) == 2 else None, "two exchanges")
            talk.say({"type": "conversation.item.create", "item": {"type": "message", "role": "user"}})
            wait_until(lambda: len(provider.heard) == 3, "the last message")
            talk.leave()
        wait_until(lambda: len(place.rows(user)) == 3, "the message without an answer")
        for row in found:
            assert (row["operation"], row["status"], row["outcome"]) == ("realtime", 101, "complete")
            assert (row["request_model"], row["input_tokens"], row["output_tokens"]) == ("gpt-realtime", 20, 10)
            one = opened(place.home, row["id"])
            assert one["completion"] == f"word of {row['response_id']}"
            assert "sk-0123456789abcdef" not in json.dumps(one)
        assert len({row["session"] for row in found}) == 1
        assert len({row["response_id"] for row in found}) == 2
        assert b"x-tracecli" not in provider.heads[0].lower()
        assert [message["type"] for message in provider.heard] == [
            "response.create",
            "response.create",
            "conversation.item.create",
        ]
    finally:
        process.terminate()
        process.wait(20)
        end_ingest(place.home)
    assert "Traceback" not in place.said()


# The official client, which takes its proxy and its authorities from the environment as all its calls do. Only in its
# asynchronous form: the other reads and writes one TLS connection from two threads at once, which OpenSSL does not
# allow; with Python 3.13.0 one opening in a hundred fails by it, with any server and without a proxy.

KEY = "sk-standin-0123456789abcdef"
PROMPTS = ["What is the capital of France?", "And since when?"]


def named(user: str) -> dict[str, Any]:
    return {"api_key": KEY, "max_retries": 0, "default_headers": {"X-Tracecli-User": user}}


def realtime(user: str, options: Any) -> list[str]:
    """Two calls on one socket of the realtime API; returns the texts."""

    async def talk() -> list[str]:
        texts = []
        async with (
            openai.AsyncOpenAI(**named(user)) as client,
            client.realtime.connect(model="gpt-realtime", websocket_connection_options=options) as connection,
        ):
            for prompt in PROMPTS:
                await connection.conversation.item.create(item=user_item(prompt))
                await connection.response.create()
                text = ""
                async for event in connection:
                    if event.type == "response.output_text.delta":
                        text += event.delta
                    elif event.type == "response.done":
                        break
                texts.append(text)
        return texts

    return asyncio.run(talk())


def responses(user: str, options: Any) -> list[str]:
    """The same of the Responses API."""

    async def talk() -> list[str]:
        texts = []
        async with (
            openai.AsyncOpenAI(**named(user)) as client,
            client.responses.connect(websocket_connection_options=options) as connection,
        ):
            for prompt in PROMPTS:
                await connection.response.create(model="gpt-4o-mini", input=prompt)
                async for event in connection:
                    if event.type == "response.completed":
                        texts.append(event.response.output_text)
                        break
        return texts

    return asyncio.run(talk())


def user_item(prompt: str) -> Any:
    return {"type": "message", "role": "user", "content": [{"type": "input_text", "text": prompt}]}


REALTIME = {"operation": "realtime", "request_model": "gpt-realtime"}
RESPONSES = {"operation": "chat", "request_model": "gpt-4o-mini"}


@pytest.mark.parametrize(
    ("talk", "options", "path", "wanted"),
    [
        (realtime, {}, "/v1/realtime", REALTIME),
        (realtime, {"compression": "deflate"}, "/v1/realtime", REALTIME),
        (responses, {}, "/v1/responses", RESPONSES),
        (responses, {"compression": "deflate"}, "/v1/responses", RESPONSES),
    ],
)
def test_openai_client(
    proxy: Proxy,
    user: str,
    monkeypatch: pytest.MonkeyPatch,
    talk: Callable[[str, Any], list[str]],
    options: dict[str, str],
    path: str,
    wanted: dict[str, str],
) -> None:
    """The openai client talks as without a proxy; each call on its socket is recorded with its own prompt and usage."""
    wait_until(proxy.bundle.exists, "the bundle of certificate authorities")
    monkeypatch.setenv("HTTPS_PROXY", proxy.url)
    monkeypatch.setenv("SSL_CERT_FILE", str(proxy.bundle))
    assert talk(user, options) == [answers.TEXT] * 2
    rows = wait_until(lambda: found if len(found := proxy.rows(user)) == 2 else None, "two exchanges")
    for number, row in enumerate(reversed(rows), start=1):
        one = proxy.opened(row["id"])
        assert {name: one[name] for name in wanted} == wanted
        assert (one["host"], one["path"].partition("?")[0], one["status"]) == ("api.openai.com", path, 101)
        assert (one["outcome"], one["stream"], one["flags"]) == ("complete", True, [])
        assert (one["response_id"], one["completion"]) == (f"resp_standin{number}", answers.TEXT)
        assert (one["input_tokens"], one["output_tokens"]) == (1500, 200 * number)
        assert (one["cache_read_input_tokens"], one["reasoning_output_tokens"]) == (1024, 64)
        assert [prompt in str(one["input_messages"]) for prompt in PROMPTS] == [number == 1, number == 2]
        assert KEY not in json.dumps(one)
    assert len({row["session"] for row in rows}) == 1
    [cost, twice] = [row["cost_usd"] for row in reversed(rows)]
    assert cost and twice and cost != twice
    opening = [received for received in proxy.standin.received[path] if received.header("upgrade")][-1]
    assert ("permessage-deflate" in (opening.header("sec-websocket-extensions") or "")) is bool(options)
    assert not any(name.lower().startswith("x-tracecli") for name, _ in opening.headers)
