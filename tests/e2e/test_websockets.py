"""A WebSocket through the real proxy: messages pass as they are, and each call is recorded."""

from __future__ import annotations

import base64
import hashlib
import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from wsproto.connection import Connection, ConnectionType
from wsproto.events import CloseConnection, Event, TextMessage

from tests.support.commands import BIN, ROOT, opened
from tests.support.proxies import Place, end_ingest, launch
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
