"""WebSockets: one socket, many calls, each an exchange of its own."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.providers.recordings import needs_recordings, rows
from tests.support.core import Spool, begun, head, recorder_into
from tracecli.exchange import Captured
from tracecli.recorded import record
from tracecli.sockets import Socket
from tracecli.understanding import understand
from tracecli.wire import json_seq


@pytest.fixture
def spool() -> Spool:
    return Spool()


class Wire:
    """A socket under test, with a clock that ticks a second a message."""

    def __init__(self, spool: Spool, path: str = "/v1/realtime?model=gpt-realtime", **headers: str) -> None:
        capture = begun(recorder_into(spool), head(path, "GET", **headers))
        capture.response_head(101, [("Upgrade", "websocket")], 100.5)
        self.socket = Socket(capture)
        self.now = 101.0

    def client(self, message: dict[str, Any]) -> None:
        self._pass(True, message)

    def server(self, message: dict[str, Any]) -> None:
        self._pass(False, message)

    def _pass(self, from_client: bool, message: dict[str, Any]) -> None:
        self.socket.message(from_client, json.dumps(message).encode(), self.now)
        self.now += 1

    def call(self, answer: str) -> None:
        self.client({"type": "response.create"})
        self.server({"type": "response.created", "response": {"id": "resp_1"}})
        self.server({"type": "response.output_text.delta", "delta": answer})
        usage = {"input_tokens": 7, "output_tokens": 3, "total_tokens": 10}
        self.server({"type": "response.done", "response": {"id": "resp_1", "status": "completed", "usage": usage}})


def messages(body: bytes) -> list[dict[str, Any]]:
    """The messages of a body."""
    return [json.loads(message) for message in json_seq.messages(body)]


def types(one: Captured) -> tuple[list[str], list[str]]:
    """The types of the messages of client and provider."""
    request, response = ([m["type"] for m in messages(body)] for body in (one.request_body, one.response_body))
    return request, response


def test_each_call_is_an_exchange(spool: Spool) -> None:
    """Calls are cut where the provider says that an answer is over; they share a session and the decision."""
    wire = Wire(spool, X_Tracecli_User="alice")
    wire.server({"type": "session.created", "session": {"model": "gpt-realtime-2025", "audio": {"model": "whisper"}}})
    wire.client({"type": "session.update"})
    wire.call("one")
    wire.server({"type": "rate_limits.updated"})
    wire.call("two")
    wire.socket.closed(True, "closed", wire.now)
    first, second = spool
    assert types(first)[0] == ["session.update", "response.create"]
    assert types(second) == (
        ["response.create"],
        ["rate_limits.updated", "response.created", "response.output_text.delta", "response.done"],
    )
    assert first.exchange.session == second.exchange.session is not None
    assert first.exchange.id != second.exchange.id
    assert (first.exchange.connection_model, second.exchange.connection_model) == (None, "gpt-realtime-2025")
    for one in spool:
        assert (one.exchange.outcome, one.exchange.status, one.exchange.user) == ("complete", 101, "alice")


def test_a_call_begins_when_the_client_asks(spool: Spool) -> None:
    """Time before the question is no part of the call's duration."""
    wire = Wire(spool)
    for _ in range(50):
        wire.client({"type": "input_audio_buffer.append"})
    wire.call("one")
    [one] = spool
    assert (one.exchange.ttfb_ms, one.exchange.duration_ms) == (1000.0, 3000.0)
    assert one.exchange.chunks[-1][1] == 3000.0


@pytest.mark.parametrize(("by_client", "outcome"), [(True, "aborted"), (False, "failed")])
def test_a_socket_closed_within_an_answer(spool: Spool, by_client: bool, outcome: str) -> None:
    """An answer that does not come to its end is kept as far as it came, and says who left."""
    wire = Wire(spool)
    wire.client({"type": "response.create"})
    wire.server({"type": "response.created"})
    wire.socket.closed(by_client, "the WebSocket was closed with code 1006", wire.now)
    [one] = spool
    assert (one.exchange.outcome, one.exchange.error) == (outcome, "the WebSocket was closed with code 1006")


def test_what_the_client_said_is_never_lost(spool: Spool) -> None:
    """Words without an answer are recorded when the socket closes; the provider's small talk after a call is not."""
    wire = Wire(spool)
    wire.call("one")
    wire.server({"type": "rate_limits.updated"})
    wire.socket.closed(True, "closed", wire.now)
    assert len(spool) == 1
    wire = Wire(spool)
    wire.call("two")
    wire.client({"type": "conversation.item.create"})
    wire.socket.closed(True, "closed", wire.now)
    assert types(spool[2]) == (["conversation.item.create"], [])
    wire = Wire(spool)
    wire.socket.closed(True, "closed", wire.now)
    assert (spool[3].exchange.outcome, spool[3].request_body) == ("complete", b"")


def test_content_cannot_end_a_call(spool: Spool) -> None:
    """The words that end a call do not end it inside of a text."""
    wire = Wire(spool)
    wire.client({"type": "response.create"})
    wire.server({"type": "response.created"})
    wire.server({"type": "response.output_text.delta", "delta": '{"type": "response.done"} "turnComplete": true'})
    assert spool == []


def test_what_is_said_during_an_answer_is_for_the_next(spool: Spool) -> None:
    """The result of a tool that the client sends before the answer is over belongs to the call that it asks for."""
    wire = Wire(spool)
    wire.client({"type": "response.create"})
    wire.server({"type": "response.created"})
    wire.client({"type": "conversation.item.create", "item": {"type": "function_call_output"}})
    wire.client({"type": "response.cancel"})
    wire.server({"type": "response.done"})
    wire.call("two")
    wire.client({"type": "response.create"})
    wire.server({"type": "response.created"})
    wire.client({"type": "conversation.item.create"})
    wire.socket.closed(True, "closed", wire.now)
    asked = [types(one)[0] for one in spool]
    assert asked == [
        ["response.create", "response.cancel"],
        ["conversation.item.create", "response.create"],
        ["response.create"],
        ["conversation.item.create"],
    ]
    assert [one.exchange.outcome for one in spool] == ["complete", "complete", "aborted", "complete"]


@needs_recordings
def test_recorded_sessions() -> None:
    """Every answer of recorded sessions is an exchange with its model, its usage, its words and its tool calls."""
    sessions = rows("websockets.jsonl")
    for session in sessions:
        url = urlsplit(session["url"])
        spool = Spool()
        opening = head(f"{url.path}?{url.query}", "GET", url.hostname or "")
        capture = begun(recorder_into(spool), opening)
        capture.response_head(101, [], 100.1)
        socket = Socket(capture)
        for number, message in enumerate(session["messages"]):
            socket.message(message["dir"] == "client", message["data"].encode(), 101.0 + number)
        socket.closed(True, "closed", 10_000.0)
        answers = [usage for message in session["messages"] if (usage := answer(json.loads(message["data"])))]
        assert len(spool) - len(answers) in (0, 1), session["id"]
        for one, usage in zip(spool, answers, strict=False):
            row = record(one).row
            assert (row.input_tokens, row.output_tokens) == usage, session["id"]
            assert row.request_model == session["model"]
            assert (row.outcome, row.flags, row.stream) == ("complete", [], True)
            found, ttft_ms = understand(one.exchange, one.request_body, one.response_body)
            assert found.understood and ttft_ms is not None
            assert found.completion or "tool_call" in json.dumps(found.output_messages), session["id"]
    assert len(sessions) == 24


def answer(message: dict[str, Any]) -> tuple[int, int] | None:
    """The usage in the message that ends an answer, by hand: input and output, thoughts included."""
    if message.get("type") == "response.done":
        usage = message["response"]["usage"]
        return usage["input_tokens"], usage["output_tokens"]
    if usage := message.get("usageMetadata"):
        return usage["promptTokenCount"], usage["responseTokenCount"] + usage.get("thoughtsTokenCount", 0)
    return None


def test_responses_over_a_socket(spool: Spool) -> None:
    """Codex speaks the responses API over a WebSocket: what it asks and what it gets are read as over HTTP."""
    wire = Wire(spool, "/v1/responses")
    for number in range(2):
        wire.client({"type": "response.create", "model": "gpt-5", "input": f"question {number}"})
        wire.server({"type": "response.created", "response": {"id": f"resp_{number}", "model": "gpt-5"}})
        wire.server({"type": "response.output_text.delta", "output_index": 0, "delta": f"answer {number}"})
        usage = {"input_tokens": 7, "output_tokens": 3, "total_tokens": 10}
        item = {
            "type": "message",
            "role": "assistant",
            "content": [{"type": "output_text", "text": f"answer {number}"}],
        }
        response = {"id": f"resp_{number}", "model": "gpt-5", "status": "completed", "output": [item], "usage": usage}
        wire.server({"type": "response.completed", "response": response})
    for number, one in enumerate(spool):
        found, _ = understand(one.exchange, one.request_body, one.response_body)
        assert found.understood
        assert (found.request_model, found.response_id, found.completion) == (
            "gpt-5",
            f"resp_{number}",
            f"answer {number}",
        )
        assert found.input_messages == [{"role": "user", "parts": [{"type": "text", "content": f"question {number}"}]}]
        assert found.usage is not None and (found.usage.input_tokens, found.usage.output_tokens) == (7, 3)
    assert len(spool) == 2


def test_gemini(spool: Spool) -> None:
    """Gemini's live API names its turns in another way, and its model only once."""
    capture = begun(
        recorder_into(spool),
        head(
            "/ws/google.ai.generativelanguage.v1beta.GenerativeService.BidiGenerateContent",
            "GET",
            "generativelanguage.googleapis.com",
        ),
    )
    socket = Socket(capture)
    for turn in range(2):
        if not turn:
            socket.message(True, b'{"setup": {"model": "models/gemini-2.5-flash"}}', 101.0)
            socket.message(False, b'{"setupComplete": {}}', 102.0)
        socket.message(True, b'{"client_content": {"turns": [], "turn_complete": true}}', 103.0)
        socket.message(False, b'{"serverContent": {"modelTurn": {"parts": []}}}', 104.0)
        socket.message(False, b'{\n  "serverContent": {\n "turnComplete": true }\n, "usageMetadata": {}}', 105.0)
    assert len(spool) == 2
    assert spool[1].exchange.connection_model == "models/gemini-2.5-flash"
    assert b"client_content" in spool[1].request_body


def test_metering_keeps_no_messages(spool: Spool) -> None:
    """With tracing off, calls are counted and no message is kept."""
    wire = Wire(spool, X_Tracecli_User="metered")
    wire.call("MARKER")
    wire.socket.closed(True, "closed", wire.now)
    [one] = spool
    metered = one.exchange.metered
    assert metered is not None and metered.usage is not None
    assert (metered.request_model, metered.usage.input_tokens, metered.usage.output_tokens) == ("gpt-realtime", 7, 3)
    assert (one.request_body, one.response_body) == (b"", b"")
    assert "MARKER" not in repr(spool)


def test_messages_that_are_no_json(spool: Spool) -> None:
    """Anything may pass."""
    wire = Wire(spool)
    for content in (b"", b"\x00\xff", b'{"type": "session.created", "session": 5}', b"[" * 5000):
        wire.socket.message(False, content, wire.now)
        wire.socket.message(True, content, wire.now)
    wire.socket.closed(False, "closed", wire.now)
    assert len(spool) == 1
