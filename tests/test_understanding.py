"""Readings as a whole: framing, encodings, flags, times, and that nothing makes them raise."""

from __future__ import annotations

import gzip
import json
import tracemalloc
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.providers.readings import JSON_HEAD, STREAM_HEAD, asked, streamed, whole
from tests.support.exchanges import captured
from tracecli.exchange import Exchange, Headers
from tracecli.providers.formats import FORMATS
from tracecli.recorded import record
from tracecli.understanding import Reading, metered, understand

CHAT = "openai.chat"
ANSWER = {"id": "c1", "model": "m-1", "choices": [{"index": 0, "message": {"content": "Hi"}, "finish_reason": "stop"}]}
CHUNKS = [
    {"id": "c1", "model": "m-1", "choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}]},
    {"id": "c1", "choices": [{"index": 0, "delta": {"content": "Hi"}, "finish_reason": "stop"}]},
    {"id": "c1", "choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 2}},
]
PIECES = [f"data: {json.dumps(chunk)}\n\n".encode() for chunk in CHUNKS] + [b"data: [DONE]\n\n"]
STREAM = b"".join(PIECES)


def fed(headers: Headers, *pieces: bytes, status: int = 200, content: bool = True, limit: int = 1 << 20) -> Reading:
    reading = Reading("openai", CHAT, "/v1/chat/completions", content=content, limit=limit)
    reading.request(JSON_HEAD, b'{"model": "m", "messages": []}')
    reading.response_head(status, headers)
    for piece in pieces:
        reading.feed(piece)
    return reading


@pytest.mark.parametrize(
    "content_type", ["text/event-stream", "Text/Event-Stream; charset=utf-8", "application/json", None]
)
@pytest.mark.parametrize("start", [b"", b"\xef\xbb\xbf", b"\r\n", b": comment\n\n", b"event: message\n"])
def test_streams_are_told_by_their_bytes(content_type: str | None, start: bytes) -> None:
    """A stream is read as one under any content type, a byte at a time too."""
    headers = [("content-type", content_type)] if content_type else []
    for pieces in ([start + STREAM], [(start + STREAM)[i : i + 1] for i in range(len(start + STREAM))]):
        found = fed(headers, *pieces).finish()
        assert (found.understood, found.completion, found.flags) == (True, "Hi", [])


def test_long_names_are_cut() -> None:
    """Of what an answer gives as a name, however long, the record holds the beginning."""
    long = "m" * (1 << 20)
    choices = [{"index": 0, "message": {"content": "Hi"}, "finish_reason": long}]
    answer = {"id": long, "model": long, "service_tier": long, "choices": choices}
    found = fed([], json.dumps(answer).encode(), limit=8 << 20).finish()
    cut = "m" * 1000
    assert (found.response_id, found.response_model, found.service_tier, found.finish_reasons) == (cut, cut, cut, [cut])


@pytest.mark.parametrize("content_type", ["text/event-stream", "application/json", "text/plain", None])
@pytest.mark.parametrize("start", [b"", b"\xef\xbb\xbf", b" \r\n"])
def test_whole_answers_are_told_by_their_bytes(content_type: str | None, start: bytes) -> None:
    """JSON is read as a whole answer under any content type."""
    headers = [("content-type", content_type)] if content_type else []
    body = start + json.dumps(ANSWER).encode()
    for pieces in ([body], [body[i : i + 1] for i in range(len(body))]):
        found = fed(headers, *pieces).finish()
        assert (found.understood, found.completion, found.flags) == (True, "Hi", [])


@pytest.mark.parametrize(
    ("body", "content_type", "error", "flags"),
    [
        (b"", "application/json", None, ["not_understood"]),
        (b"null", "application/json", None, ["not_understood"]),
        (b"[]", "application/json", None, ["not_understood"]),
        (b'{"id": 1}', "application/json", None, ["not_understood"]),
        (b'{"error": {"code": "x"}}', "application/json", "x", []),
        (b'{"choices": [', "application/json", None, ["truncated", "not_understood"]),
        (b"<html>", "text/html", None, ["not_understood"]),
        (b"<html>", "text/event-stream", None, ["not_understood"]),
        (b"da", "application/json", None, ["not_understood"]),
        (b"plain", "text/plain", None, ["not_understood"]),
        (b"data: nothing\n\n", "text/event-stream", None, ["bad_event", "no_end_event", "not_understood"]),
        (b"data: [1]\n\ndata: [DONE]\n\n", "text/event-stream", None, ["bad_event", "not_understood"]),
        (b": ping\n\n", "text/event-stream", None, ["no_end_event"]),
        (b"", "text/event-stream", None, ["no_end_event"]),
    ],
)
def test_no_answers(body: bytes, content_type: str, error: str | None, flags: list[str]) -> None:
    """What is no answer of the format is marked; the request is told all the same."""
    found = fed([("content-type", content_type)], body).finish()
    assert (found.request_model, found.completion, found.error, found.flags) == ("m", None, error, flags)
    assert found.understood is ("not_understood" not in flags)


@pytest.mark.parametrize(
    ("body", "content_type", "error", "metered"),
    [
        (
            '{"error": {"message": "Bad prompt", "type": "t_error", "code": "c1"}}',
            "application/json",
            "Bad prompt",
            "t_error c1",
        ),
        (
            '{"error": {"message": "Bad prompt", "status": "UNAVAILABLE", "code": 503}}',
            "application/json",
            "Bad prompt",
            "UNAVAILABLE 503",
        ),
        ('[{"error": {"message": "Bad prompt", "code": 429}}]', "application/json", "Bad prompt", "429"),
        ('{"message": "Bad prompt", "type": "rate_limited"}', "application/json", "Bad prompt", "rate_limited"),
        ('{"error": "Bad prompt"}', "application/json", "Bad prompt", None),
        ('{"detail": [{"msg": "Bad prompt"}]}', "application/json", '[{"msg":"Bad prompt"}]', None),
        ('{"detail": "Bad prompt"}', "text/event-stream", "Bad prompt", None),
        ('{"error": {"type": "quotes the prompt"}}', "application/json", None, None),
        ("upstream connect error", "text/plain", "upstream connect error", None),
        ("<html>Bad Gateway</html>", "text/html", None, None),
        ("{}", "application/json", None, None),
    ],
)
def test_error_answers(body: str, content_type: str, error: str | None, metered: str | None) -> None:
    """An error is told in the provider's words, and by its type alone where content must not be kept."""
    headers = [("content-type", content_type)]
    found = fed(headers, body.encode(), status=500).finish()
    assert found.error == error
    assert found.understood is (error is not None and content_type != "text/plain")
    assert fed(headers, body.encode(), status=500, content=False).finish().error == metered


def test_long_errors_are_cut() -> None:
    """An error that repeats a whole prompt does not become the record of it."""
    found = whole(CHAT, {"error": {"message": "x" * 10_000}}, status=400)
    assert found.error == "x" * 4000


@pytest.mark.parametrize("wire_format", [None, "no.such.format"])
def test_unknown_formats(wire_format: str | None) -> None:
    """Of a format nobody reads, the model and the wish for a stream are told, and an error."""
    request = {"model": "m", "stream": True}
    found = whole(wire_format, {"choices": []}, request=request)
    assert (found.request_model, found.stream, found.understood, found.flags) == ("m", True, False, ["not_understood"])
    assert whole(wire_format, {"error": {"message": "no"}}, request=request, status=404).error == "no"
    assert streamed(wire_format, *CHUNKS, request=request).flags == ["not_understood"]


def test_unknown_formats_are_not_held() -> None:
    """Megabytes of speech or images that nobody reads are not kept while they pass."""
    reading = Reading("openai", None, "/v1/audio/speech")
    reading.response_head(200, [("content-type", "audio/mpeg")])
    for _ in range(100):
        reading.feed(b"\xff" * 50_000)
    assert sum(map(len, reading._whole)) < 200_000


@pytest.mark.parametrize(
    ("body", "encoding", "model", "flags"),
    [
        (b'{"model": "m"}', "identity", "m", []),
        (gzip.compress(b'{"model": "m"}', mtime=0), "gzip", "m", []),
        (gzip.compress(b'{"model": "m"}', mtime=0)[:-4], "gzip", "m", ["truncated"]),
        (b'{"model": "m"}', "utf-8", "m", ["bad_encoding"]),
        (b'{"model": "m"}', "gzip", None, ["bad_encoding", "request_not_understood"]),
        (b'{"model": "m", "mess', None, None, ["request_not_understood"]),
        (b"", None, None, ["request_not_understood"]),
        (b"model=m", None, None, ["request_not_understood"]),
        (b'{"model": "m", "x": "\\ud83d"}', None, "m", []),
        (b'{"model": "m", "x": "\xff", "y": NaN}', None, "m", []),
        (b"[" * 100_000, None, None, ["request_not_understood"]),
    ],
)
def test_requests(body: bytes, encoding: str | None, model: str | None, flags: list[str]) -> None:
    """A request is decoded and read as far as it goes; an answer that never came is no fault of the format."""
    reading = Reading("openai", CHAT, "/v1/chat/completions")
    reading.request([("Content-Encoding", encoding)] if encoding else [], body)
    found = reading.finish()
    assert (found.request_model, found.flags) == (model, flags)
    assert found.understood is (model is not None)


@pytest.mark.parametrize(
    ("headers", "session"),
    [
        ({"X-Claude-Code-Session-Id": "s1"}, "s1"),
        ({"session_id": "s1", "conversation_id": "s2"}, "s1"),
        ({"conversation_id": "s2"}, "s2"),
        ({"session_id": ""}, None),
        ({"session_id": "a\udcff"}, "a\ufffd"),
        ({}, None),
    ],
)
def test_sessions_in_headers(headers: dict[str, str], session: str | None) -> None:
    """The session that a client names in a header."""
    assert asked(CHAT, headers=headers).finish().session == session


def test_a_stream_may_be_longer_than_the_limit() -> None:
    """The limit is for what has to be held: a whole answer is cut there, a stream is not."""
    reading = fed(STREAM_HEAD, *PIECES[:2], limit=2000)
    for _ in range(100):
        reading.feed(b": keep-alive, " + b"x" * 100 + b"\n\n")
    for piece in PIECES[2:]:
        reading.feed(piece)
    found = reading.finish()
    assert found.usage is not None and not found.flags
    body = json.dumps({**ANSWER, "padding": "x" * 5000}).encode()
    assert fed(JSON_HEAD, body, limit=2000).finish().flags == ["too_large", "truncated", "not_understood"]


@pytest.mark.parametrize("event", [b": x\n", b" "])
def test_a_bomb_is_marked_and_takes_no_memory(event: bytes) -> None:
    """However many events a small body decodes to, they are never in memory together, and it is cut and marked."""
    bomb = gzip.compress(event * ((32 << 20) // len(event)))
    tracemalloc.start()
    found = fed([*STREAM_HEAD, ("Content-Encoding", "gzip")], bomb).finish()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert "too_large" in found.flags
    assert peak < 32 << 20


def test_metering_holds_no_stream() -> None:
    """With content off, a stream's text is not kept while it passes."""
    reading = fed(STREAM_HEAD, content=False)
    chunk = json.dumps({"choices": [{"index": 0, "delta": {"content": "MARKER" * 100}}]})
    for _ in range(50):
        reading.feed(f"data: {chunk}\n\n".encode())
    assert "MARKER" not in repr(reading.finish())
    assert "MARKER" not in repr([vars(value) for value in vars(reading._reader).values() if hasattr(value, "__dict__")])


def test_characters_cut_in_two() -> None:
    """A character whose halves came with two events is whole again; a single half is replaced."""
    halves = [f'{{"choices": [{{"index": 0, "delta": {{"content": "{half}"}}}}]}}' for half in (r"a\ud83d", r"\ude00b")]
    assert streamed(CHAT, *halves, "[DONE]").completion == "a\U0001f600b"
    assert streamed(CHAT, halves[0], "[DONE]").completion == "a\ufffd"


def recorded(chunks: list[tuple[int, float]], **changes: Any) -> Exchange:
    values: dict[str, Any] = {"status": 200, "response_headers": STREAM_HEAD, "chunks": chunks} | changes
    return captured(**values).exchange


def test_time_to_first_token() -> None:
    """It is the time of the chunk that brought the first text, not of the one that brought only a role."""
    first, second = len(PIECES[0]), len(PIECES[0] + PIECES[1])
    whole_chunks = [(first, 10.0), (second, 20.0), (len(STREAM), 30.0)]
    assert understand(recorded(whole_chunks), b"{}", STREAM)[1] == 20.0
    assert understand(recorded([(first + 5, 10.0), (len(STREAM), 30.0)]), b"{}", STREAM)[1] == 30.0
    assert understand(recorded([(len(STREAM), 30.0)]), b"{}", STREAM)[1] == 30.0
    assert understand(recorded([(first, 10.0)]), b"{}", STREAM)[1] is None
    assert understand(recorded([]), b"{}", STREAM)[1] is None
    answer = json.dumps(ANSWER).encode()
    assert understand(recorded([(len(answer), 10.0)], response_headers=JSON_HEAD), b"{}", answer)[1] is None


def test_time_to_first_token_of_an_encoded_stream() -> None:
    """Offsets are those of the wire, also where the body is encoded."""
    compressor = __import__("zlib").compressobj(wbits=31)
    pieces = [compressor.compress(piece) + compressor.flush(2) for piece in PIECES] + [compressor.flush()]
    chunks = [(sum(map(len, pieces[: i + 1])), float(i)) for i in range(len(pieces))]
    exchange = recorded(chunks, response_headers=[*STREAM_HEAD, ("content-encoding", "gzip")])
    found, ttft_ms = understand(exchange, b"{}", b"".join(pieces))
    assert (found.completion, ttft_ms) == ("Hi", 1.0)


def test_chunks_that_do_not_fit_the_body() -> None:
    """A record that holds less than what passed, or odd offsets, is read to the end of what it holds."""
    for chunks in ([(10, 1.0), (5, 2.0), (10**9, 3.0)], [(10**9, 1.0)]):
        assert understand(recorded(chunks), b"{}", STREAM)[0].completion == "Hi"


def test_no_answer_at_all() -> None:
    """Where no head arrived, the request is told and nothing is missed."""
    found, ttft_ms = understand(recorded([], status=None, response_headers=[]), b'{"model": "m"}', b"")
    assert (found.understood, found.request_model, found.flags, ttft_ms) == (True, "m", [], None)


def test_no_known_operation() -> None:
    """An exchange of an endpoint that is not listed is not understood, and told so."""
    found, _ = understand(recorded([], path="/v1/brand-new"), b'{"model": "m"}', b"{}")
    assert (found.understood, found.request_model, found.flags) == (False, "m", ["not_understood"])


def test_a_failure_of_ours_costs_only_its_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bug in a format's module is marked; neither the caller nor the rest of the reading suffers."""
    monkeypatch.setattr(FORMATS[CHAT], "event", lambda *_: 1 / 0)
    found = fed(STREAM_HEAD, STREAM).finish()
    assert (found.understood, found.request_model, found.flags) == (False, "m", ["not_understood"])
    monkeypatch.setattr(FORMATS[CHAT], "usage", lambda *_: 1 / 0)
    assert fed(STREAM_HEAD, STREAM).finish().understood is False


FIELDS = [
    "id", "model", "choices", "index", "delta", "message", "content", "text", "type", "role", "name", "arguments",
    "function", "tool_calls", "function_call", "finish_reason", "usage", "prompt_tokens", "prompt_tokens_details",
    "cached_tokens", "completion_tokens", "error", "code", "x_groq", "audio", "data", "transcript", "images",
    "image_url", "url", "refusal", "reasoning", "reasoning_details", "reasoning_content", "thinking", "stream",
    "messages", "input", "instructions", "output", "item", "response", "output_index", "status", "call_id", "summary",
    "action", "metadata", "user_id", "system", "source", "content_block", "input_tokens", "output_tokens",
    "cache_read_input_tokens", "cache_creation", "stop_reason", "server_tool_use", "result", "user", "conversation",
    "prompt_cache_key", "file", "file_data", "tool_call_id", "detail", "errors", "custom", "service_tier", "cost",
    "contents", "parts", "thought", "functionCall", "functionResponse", "inlineData", "fileData", "mimeType",
    "fileUri", "executableCode", "codeExecutionResult", "candidates", "finishReason", "usageMetadata",
    "promptTokenCount", "candidatesTokenCount", "promptTokensDetails", "modality", "tokenCount", "promptFeedback",
    "blockReason", "systemInstruction", "requests", "instances", "predictions", "embeddings", "statistics",
    "token_count", "steps", "step", "interaction", "event_type", "outputs", "toolUse", "toolResult",
    "reasoningContent", "reasoningText", "stopReason", "contentBlockIndex", "start", "bytes", "citationsContent",
    "guardContent", "outputText", "results", "generation", "generations", "completions", "completion", "prompt",
    "inputText", "texts", "chat_history", "tool_plan", "billed_units", "tokens", "meta", "documents", "query", "done",
    "prompt_eval_count", "eval_count", "b64_json", "object", "total_tokens", "tool_type", "format",
]  # fmt: skip
TYPES = [
    "text", "message_start", "content_block_start", "content_block_delta", "message_delta", "message_stop", "error",
    "response.created", "response.completed", "response.failed", "response.output_item.added",
    "response.output_item.done", "response.output_text.delta", "response.function_call_arguments.delta", "message",
    "reasoning", "function_call", "web_search_call", "image_generation_call", "function_call_output", "tool_use",
    "tool_result", "thinking", "image", "document", "text_delta", "input_json_delta", "input_text", "input_image",
    "image_url", "input_audio", "file", "refusal", "base64", "assistant", "tool", "user", "data:image/png;base64,xx",
    '{"a":1}', "messageStart", "contentBlockStart", "contentBlockDelta", "messageStop", "metadata", "chunk",
    "text-generation", "content-delta", "tool-call-start", "tool-call-delta", "message-end", "stream-end",
    "interaction.created", "interaction.completed", "step.start", "step.delta", "thought", "model_output",
    "transcript.text.done", "image_generation.completed", "speech.audio.done", "model", "AUDIO", "eyJ0ZXh0IjoiYSJ9",
]  # fmt: skip
values = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 1 << 70) | st.floats() | st.sampled_from(TYPES) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(FIELDS), inner, max_size=5),
    max_leaves=25,
)  # fmt: skip
objects = st.dictionaries(st.sampled_from(FIELDS), values, max_size=6)


@settings(deadline=None)
@given(
    wire_format=st.sampled_from(sorted(FORMATS)),
    request=objects,
    answers=st.lists(objects, min_size=1, max_size=4),
    names=st.lists(st.sampled_from(TYPES), min_size=4, max_size=4),
    content=st.booleans(),
    as_stream=st.booleans(),
)
def test_any_json(
    wire_format: str, request: Any, answers: list[Any], names: list[str], content: bool, as_stream: bool
) -> None:
    """No JSON breaks a format's module: each step holds by itself, not only because it is guarded."""

    class Unguarded(Reading):
        def give_up(self) -> None:
            raise AssertionError("a step failed")

    reading = Unguarded("openrouter", wire_format, "/v1", content=content)
    reading.request([], json.dumps(request).encode())
    reading.response_head(200, [])
    for name, answer in zip(names, answers, strict=False):
        text = json.dumps(answer)
        reading.feed(f"event: {name}\ndata: {text}\n\n".encode() if as_stream else text.encode())
    found = reading.finish()
    json.dumps([found.input_messages, found.output_messages, found.completion, found.error]).encode()
    if not content:
        assert not (found.input_messages or found.output_messages or found.completion)


@settings(deadline=None)
@given(
    wire_format=st.sampled_from([None, *sorted(FORMATS)]),
    head=st.sampled_from(
        [[], JSON_HEAD, STREAM_HEAD, [("content-encoding", "br")], [("content-encoding", "gzip, zstd")]]
    ),
    request=st.binary(max_size=60),
    pieces=st.lists(st.binary(max_size=60) | st.sampled_from(PIECES), max_size=6),
    status=st.sampled_from([200, 429, 502]),
    content=st.booleans(),
)
def test_any_bytes(
    wire_format: str | None, head: Headers, request: bytes, pieces: list[bytes], status: int, content: bool
) -> None:
    """Nothing raises, whatever the bytes."""
    reading = Reading("openai", wire_format, "/v1/chat/completions", content=content)
    reading.request(head, request)
    reading.response_head(status, head)
    for piece in pieces:
        reading.feed(piece)
    reading.finish()
    if wire_format is None:
        understand(recorded([(3, 1.0)], status=status, response_headers=head), request, b"".join(pieces))


@pytest.mark.parametrize("stream", [False, True])
def test_metered_afterwards(stream: bool) -> None:
    """Without its content an exchange has the usage record that it would have with it."""
    usage = {"prompt_tokens": 11, "completion_tokens": 7}
    said = {"content": "hi there"}
    answer = {"model": "gpt-4o-mini-x", "choices": [{"message": said, "finish_reason": "stop"}], "usage": usage}
    event = {"model": "gpt-4o-mini-x", "choices": [{"delta": said, "finish_reason": "stop"}], "usage": usage}
    body = b"data: %s\n\ndata: [DONE]\n\n" % json.dumps(event).encode() if stream else json.dumps(answer).encode()
    messages = [{"role": "user", "content": "x"}]
    request = json.dumps({"model": "gpt-4o-mini", "stream": stream, "messages": messages}).encode()
    kind = "text/event-stream" if stream else "application/json"
    one = captured(
        request, body, status=200, request_headers=[("Content-Type", "application/json")],
        response_headers=[("Content-Type", kind)],
    )  # fmt: skip
    without = metered(one)
    assert (without.request_body, without.response_body) == (b"", b"")
    assert b"hi there" not in msgspec.json.encode(without.exchange)
    kept, bare = record(one).row, record(without).row
    names = ("request_model", "response_model", "input_tokens", "output_tokens", "cost_usd", "finish_reasons", "stream")
    for name in names:
        assert getattr(bare, name) == getattr(kept, name), name
    assert (bare.traced, bare.flags) == (False, ["content_dropped"])
