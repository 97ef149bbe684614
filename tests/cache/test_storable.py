"""Which requests the cache is asked for, and which answers it keeps."""

from __future__ import annotations

import gzip
import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.providers import recordings
from tests.support import answers
from tests.support.exchanges import captured
from tracecli.cache.key import Asked, material
from tracecli.cache.storable import Control, request_control, why_not_answered, why_not_asked
from tracecli.exchange import Headers

CHAT = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
FUNCTION = {"type": "function", "function": {"name": "f", "parameters": {}}}
PROVIDER_TOOLS: list[Any] = [
    {"type": "web_search"},
    {"type": "web_search_20250305", "name": "web_search"},
    {"type": "code_interpreter", "container": {"type": "auto"}},
    {"type": "code_execution_20250825", "name": "code_execution"},
    {"type": "mcp", "server_url": "https://example.com"},
    {"type": "file_search", "vector_store_ids": ["vs_1"]},
    {"type": "something_of_next_year"},
    {"googleSearch": {}},
    {"functionDeclarations": [], "google_search": {}},
    {"codeExecution": {}},
]
CLIENT_TOOLS: list[Any] = [
    FUNCTION,
    {"type": "custom", "name": "grammar"},
    {"name": "f", "input_schema": {}},
    {"type": "bash_20250124", "name": "bash"},
    {"type": "computer_use_preview"},
    {"functionDeclarations": []},
    "odd",
]


def asked(operation: str | None = "chat", method: str = "POST", headers: Headers | None = None, **more: Any) -> Any:
    """Why a request is not looked up."""
    return why_not_asked(operation, method, headers or [], CHAT | more, only_deterministic=False)


@pytest.mark.parametrize(
    "operation", ["chat", "text_completion", "generate_content", "embeddings", "moderation", "rerank"]
)
def test_operations_that_compute(operation: str) -> None:
    """What only computes is looked up."""
    assert asked(operation) is None


@pytest.mark.parametrize(
    "operation",
    [None, "image_generation", "speech", "transcription", "video_generation", "realtime", "invoke_agent", "compaction"],
)
def test_operations_that_do_not(operation: str | None) -> None:
    """Media, agents, and what nobody knows go upstream."""
    assert asked(operation) == "operation"


def test_only_posted_requests() -> None:
    """No other method, and no WebSocket."""
    assert asked(method="GET") == asked(method="HEAD") == "operation"
    assert asked(method="GET", headers=[("Upgrade", "WebSocket")]) == "websocket"


@pytest.mark.parametrize(
    ("field", "value", "why"),
    [
        ("previous_response_id", "resp_1", "stateful"),
        ("conversation", {"id": "conv_1"}, "stateful"),
        ("conversation_id", "c", "stateful"),
        ("previous_interaction_id", "i", "stateful"),
        ("container", "container_1", "stateful"),
        ("background", True, "background"),
        ("deferred", True, "background"),
        ("mcp_servers", [{"url": "https://example.com"}], "provider_tool"),
        ("web_search_options", {"search_context_size": "low"}, "provider_tool"),
        ("connectors", [{"id": "web-search"}], "provider_tool"),
        ("data_sources", [{"type": "azure_search"}], "provider_tool"),
        *(("tools", [FUNCTION, tool], "provider_tool") for tool in PROVIDER_TOOLS),
        ("toolConfig", {"tools": [{"toolSpec": {}}, {"systemTool": {"name": "nova_grounding"}}]}, "provider_tool"),
    ],
)
def test_what_leans_on_the_provider(field: str, value: Any, why: str) -> None:
    """Calls that hold state at the provider, or let it act or look something up, go upstream."""
    assert asked(**{field: value}) == why


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("previous_response_id", None),
        ("conversation", ""),
        ("background", False),
        ("store", True),
        ("prompt", {"id": "pmpt_1"}),
        ("cachedContent", "cachedContents/1"),
        ("tools", None),
        ("tools", []),
        ("tools", "odd"),
        ("toolConfig", "odd"),
        *(("tools", [tool]) for tool in CLIENT_TOOLS),
        ("toolConfig", {"tools": [{"toolSpec": {}}, {"cachePoint": {}}]}),
    ],
)
def test_what_does_not(field: str, value: Any) -> None:
    """What the client runs itself, and fields that say nothing, are no reason."""
    assert asked(**{field: value}) is None


@pytest.mark.parametrize(
    ("body", "settled"),
    [
        ({}, False),
        ({"temperature": 0.1}, False),
        ({"temperature": None, "seed": None}, False),
        ({"temperature": 0}, True),
        ({"temperature": 0.0}, True),
        ({"seed": 0}, True),
        ({"random_seed": 1}, True),
        ({"generationConfig": {"temperature": 0}}, True),
        ({"generation_config": {"seed": 5}}, True),
        ({"inferenceConfig": {"temperature": 0}}, True),
        ({"options": {"seed": 5}}, True),
        ({"parameters": {"temperature": 0}}, True),
        ({"options": "odd", "metadata": {"seed": 1}}, False),
    ],
)
def test_deterministic(body: dict[str, Any], settled: bool) -> None:
    """Temperature 0 or a seed, wherever a format has them; what samples nothing is always deterministic."""
    why = why_not_asked("chat", "POST", [], body, only_deterministic=True)
    assert why == (None if settled else "not_deterministic")
    assert why_not_asked("chat", "POST", [], body, only_deterministic=False) is None
    assert why_not_asked("embeddings", "POST", [], body, only_deterministic=True) is None
    assert why_not_asked("chat", "POST", [], None, only_deterministic=True) == "not_deterministic"


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["tools", "type", "name", "toolConfig", "options", "a"]), inner, max_size=3
            )
        ),
    )
)
def test_any_value_has_an_answer(value: Any) -> None:
    """Nothing raises, whatever JSON a body holds."""
    why = why_not_asked("chat", "POST", [], value, only_deterministic=False)
    assert why in (None, "provider_tool")


@pytest.mark.parametrize(
    ("given_headers", "control"),
    [
        ([], Control()),
        ([("Cache-Control", "no-cache")], Control(no_cache=True)),
        ([("cache-control", "No-Store, MAX-AGE=60")], Control(no_store=True, max_age=60)),
        (
            [("Cache-Control", "max-age=60"), ("Cache-Control", "max-age=5, only-if-cached")],
            Control(False, False, 5, True),
        ),
        ([("Cache-Control", 'max-age="7"')], Control(max_age=7)),
        ([("Cache-Control", "max-age=0")], Control(max_age=0)),
        ([("Cache-Control", "max-age=-1, max-age=x, max-age=, max-age=99999999999, =, ,, max-stale=5")], Control()),
        ([("Cache-Control", "no-cache=x")], Control(no_cache=True)),
        ([("Pragma", "No-Cache")], Control(no_cache=True)),
        ([("Pragma", "no-cache"), ("Cache-Control", "max-age=1")], Control(max_age=1)),
        ([("Pragma", "else")], Control()),
    ],
)
def test_request_control(given_headers: Headers, control: Control) -> None:
    """What a client asks of the cache; odd values count for nothing, of repeated ones the strictest."""
    assert request_control(given_headers) == control


@given(st.lists(st.tuples(st.sampled_from(["Cache-Control", "Pragma", "A"]), st.text())))
def test_any_control_has_an_answer(headers: Headers) -> None:
    """Nothing raises, whatever a client sends."""
    assert isinstance(request_control(headers), Control)


# Answers

MESSAGES = "/v1/messages"
RESPONSES = "/v1/responses"


def kept(body: bytes | dict[str, Any], path: str = "/v1/chat/completions", limit: int = 10**6, **more: Any) -> Any:
    """Why an answer is not kept."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    kind = "text/event-stream" if data.startswith((b"data:", b"event:")) else "application/json"
    values = {"path": path, "status": 200, "response_headers": [("Content-Type", kind)]}
    exchange = captured(b"", data, **(values | more)).exchange
    return why_not_answered(exchange, data, limit)


STREAM = b"".join(answers.chat_sse(answers.chat_stream()))
BREAKS = b'data: {"error":{"message":"overloaded","type":"server_error"}}\n\n'
ANTHROPIC = {"provider": "anthropic", "path": MESSAGES}
GEMINI = {"provider": "gcp.gemini", "path": "/v1beta/models/g:streamGenerateContent?alt=sse"}
GEMINI_PIECE = b'data: {"candidates":[{"content":{"parts":[{"text":"a"}]},"finishReason":"STOP"}]}\n\n'
OLLAMA = {"provider": "ollama", "path": "/api/generate", "operation": "text_completion"}


@pytest.mark.parametrize(
    ("body", "more"),
    [
        (answers.chat(), {}),
        (answers.chat(), {"status": 201}),
        (answers.chat_tool(), {}),
        (STREAM, {}),
        (STREAM, {"outcome": "aborted", "error": "client left"}),
        (answers.message(), ANTHROPIC),
        (b"".join(answers.named(answers.message_stream())), ANTHROPIC),
        (answers.response(), {"path": RESPONSES}),
        (answers.response("incomplete"), {"path": RESPONSES}),
        (b"".join(answers.named(answers.response_stream())), {"path": RESPONSES}),
        (answers.embeddings(), {"path": "/v1/embeddings", "operation": "embeddings"}),
        (GEMINI_PIECE, GEMINI),
        (
            gzip.compress(STREAM),
            {"response_headers": [("Content-Type", "text/event-stream"), ("Content-Encoding", "gzip")]},
        ),
        (json.dumps(answers.chat()).replace('"stop"', '"length"').encode(), {}),
        (json.dumps(answers.chat()).replace('"stop"', '"content_filter"').encode(), {}),
    ],
)
def test_whole_answers_are_kept(body: bytes | dict[str, Any], more: dict[str, Any]) -> None:
    """Complete answers of each form, plain and streamed, also where they end at a limit or a filter."""
    assert kept(body, **more) is None


@pytest.mark.parametrize(
    ("body", "more", "why"),
    [
        (answers.chat(), {"status": 500}, "status_500"),
        (answers.chat(), {"status": 302}, "status_302"),
        (answers.chat(), {"status": None}, "failed"),
        (answers.chat(), {"outcome": "failed"}, "failed"),
        (answers.chat(), {"outcome": "aborted"}, "aborted"),
        (answers.chat(), {"response_cut": True}, "too_large"),
        (answers.chat(), {"limit": 10}, "too_large"),
        (answers.chat(), {"response_bytes": 5}, "truncated"),
        (answers.chat(), {"response_headers": [("Content-Encoding", "gzip")]}, "bad_encoding"),
        (json.dumps(answers.chat()).encode()[:-1], {}, "not_understood"),
        (json.dumps(answers.chat()).encode()[:100], {}, "truncated"),
        (gzip.compress(STREAM)[:-9], {"response_headers": [("Content-Encoding", "gzip")]}, "truncated"),
        (STREAM.removesuffix(b"data: [DONE]\n\n"), {}, "no_end_event"),
        (STREAM[:-1], {"outcome": "aborted"}, "aborted"),
        (STREAM[:200], {"outcome": "aborted"}, "no_end_event"),
        (STREAM.removesuffix(b"data: [DONE]\n\n") + BREAKS, {}, "error_in_stream"),
        (STREAM.replace(b"data: [DONE]", BREAKS + b"data: [DONE]"), {}, "error_in_stream"),
        (GEMINI_PIECE, {**GEMINI, "outcome": "aborted", "operation": "generate_content"}, "aborted"),
        (b"", {}, "not_understood"),
        (b"<html>", {}, "not_understood"),
        ({"error": {"message": "no", "type": "x"}}, {}, "error"),
        ({"error": {"message": "no code, no type"}}, {}, "unfinished"),
        ({"error": "no"}, {"path": "/v1/embeddings", "operation": "embeddings"}, "error"),
        ({"id": "resp_1", "object": "response", "status": "queued", "output": []}, {"path": RESPONSES}, "unfinished"),
        ({**answers.response(), "status": "failed"}, {"path": RESPONSES}, "unfinished"),
        ({"model": "m", "response": "", "done": True, "done_reason": "load"}, OLLAMA, "unfinished"),
        (json.dumps(answers.chat()).replace('"stop"', '"error"').encode(), {}, "unfinished"),
        (answers.chat(), {"path": "/v1/files"}, "format"),
        (b"data: [DONE]\n\n", {"response_headers": [("Content-Type", "text/event-stream")]}, "unfinished"),
    ],
)
def test_what_is_no_whole_answer_is_not_kept(body: bytes | dict[str, Any], more: dict[str, Any], why: str) -> None:
    """Errors, whatever their status; what was cut, broke off, or is still being made."""
    assert kept(body, **more) == why


@given(st.binary(max_size=300), st.sampled_from(["", "gzip", "br"]), st.sampled_from(["text/event-stream", "a/b"]))
def test_any_bytes_have_an_answer(body: bytes, encoding: str, kind: str) -> None:
    """Nothing raises, whatever the provider sent; and noise is never kept."""
    assert kept(body, response_headers=[("Content-Type", kind), ("Content-Encoding", encoding)]) is not None


@pytest.mark.parametrize("cut", [0.1, 0.5, 0.9, 0.999])
@pytest.mark.parametrize("kind", ["chat", "messages", "responses"])
def test_no_cut_stream_is_kept(kind: str, cut: float) -> None:
    """Wherever a stream breaks off before its last event, and however that was told, it is not kept."""
    streams: dict[str, tuple[bytes, dict[str, Any]]] = {
        "chat": (STREAM, {}),
        "messages": (b"".join(answers.named(answers.message_stream())), ANTHROPIC),
        "responses": (b"".join(answers.named(answers.response_stream())), {"path": RESPONSES}),
    }
    body, more = streams[kind]
    body = body.rstrip()
    for outcome in ("complete", "aborted"):
        assert kept(body[: int(len(body) * cut) - 1], **more, outcome=outcome) is not None


@recordings.needs_recordings
def test_recorded_answers() -> None:
    """Of recorded traffic, whole answers of known formats are kept, and no error and no cut one."""
    whys: dict[str, set[str]] = {}
    for name in ("exchanges.jsonl", "synthetic_errors.jsonl", "encoded.jsonl"):
        for row in recordings.rows(name):
            if recordings.operation(row) is None:
                continue
            exchange, request, response = recordings.exchange(row)
            exchange = msgspec.structs.replace(exchange, response_bytes=len(response))
            where = exchange.method, exchange.scheme, exchange.host, exchange.port, exchange.path
            headers = exchange.request_headers
            value = material(Asked(*where, headers, request)).value
            why = why_not_asked(exchange.operation, exchange.method, headers, value, only_deterministic=False)
            if why is None:
                whys.setdefault(why_not_answered(exchange, response, 10**9) or "kept", set()).add(row["id"])
    assert len(whys["kept"]) > 280
    assert not [one for one in whys["kept"] if one.startswith("synthetic") or one.endswith("truncated")]
