"""Answers in the shapes of providers: what the stand-in says unless a test says otherwise.

Values are fixed, so that a test can name what must be recorded. Sources:
https://platform.openai.com/docs/api-reference (chat, responses, their streaming events),
https://docs.anthropic.com/en/api/messages and /en/docs/build-with-claude/streaming
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterable
from typing import Any

import brotli  # type: ignore[import-untyped]
import zstandard

TEXT = "The capital of France is Paris — it has been for a while. 🗼"
THOUGHT = "They ask for a capital; France's is Paris."
TOOL = "get_weather"
TOOL_ARGUMENTS = {"city": "Paris", "days": 2}

OPENAI_MODEL = "gpt-4o-mini-2024-07-18"
OPENAI_USAGE = {
    "prompt_tokens": 1500,
    "completion_tokens": 200,
    "total_tokens": 1700,
    "prompt_tokens_details": {"cached_tokens": 1024, "audio_tokens": 0},
    "completion_tokens_details": {
        "reasoning_tokens": 64,
        "audio_tokens": 0,
        "accepted_prediction_tokens": 0,
        "rejected_prediction_tokens": 0,
    },
}
RESPONSES_USAGE = {
    "input_tokens": 1500,
    "input_tokens_details": {"cached_tokens": 1024},
    "output_tokens": 200,
    "output_tokens_details": {"reasoning_tokens": 64},
    "total_tokens": 1700,
}
ANTHROPIC_MODEL = "claude-haiku-4-5-20251001"
ANTHROPIC_USAGE = {
    "input_tokens": 400,
    "cache_creation_input_tokens": 100,
    "cache_read_input_tokens": 1000,
    "output_tokens": 200,
    "service_tier": "standard",
}


def pieces(text: str, count: int) -> list[str]:
    """The text in `count` pieces of about equal length."""
    return [text[len(text) * n // count : len(text) * (n + 1) // count] for n in range(count)]


# OpenAI, chat completions


def _chat(kind: str) -> dict[str, Any]:
    return {
        "id": "chatcmpl-standin1",
        "object": kind,
        "created": 1_760_000_000,
        "model": OPENAI_MODEL,
        "service_tier": "default",
        "system_fingerprint": "fp_standin",
    }


def _tool_call() -> dict[str, Any]:
    return {
        "id": "call_standin1",
        "type": "function",
        "function": {"name": TOOL, "arguments": json.dumps(TOOL_ARGUMENTS)},
    }


def chat(text: str = TEXT) -> dict[str, Any]:
    """A plain chat completion."""
    message: dict[str, Any] = {"role": "assistant", "content": text, "refusal": None, "annotations": []}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}
    return _chat("chat.completion") | {"choices": [choice], "usage": OPENAI_USAGE}


def chat_tool() -> dict[str, Any]:
    """A chat completion that calls a tool."""
    message: dict[str, Any] = {"role": "assistant", "content": None, "tool_calls": [_tool_call()], "refusal": None}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "tool_calls"}
    return _chat("chat.completion") | {"choices": [choice], "usage": OPENAI_USAGE}


def chat_stream(
    text: str = TEXT, *, count: int = 8, tool: bool = False, include_usage: bool = True
) -> list[dict[str, Any]]:
    """The chunks of a streamed chat completion: the role, `count` pieces, the finish, and the usage if asked for."""
    deltas: list[dict[str, Any]] = [{"role": "assistant", "content": None if tool else "", "refusal": None}]
    if tool:
        first = _tool_call() | {"index": 0, "function": {"name": TOOL, "arguments": ""}}
        deltas.append({"tool_calls": [first]})
        for piece in pieces(json.dumps(TOOL_ARGUMENTS), 3):
            deltas.append({"tool_calls": [{"index": 0, "function": {"arguments": piece}}]})
    else:
        deltas += [{"content": piece} for piece in pieces(text, count)]
    about = _chat("chat.completion.chunk")
    chunks = [about | {"choices": [_choice(delta, None)]} for delta in deltas]
    chunks.append(about | {"choices": [_choice({}, "tool_calls" if tool else "stop")]})
    if include_usage:
        chunks = [chunk | {"usage": None} for chunk in chunks]
        chunks.append(about | {"choices": [], "usage": OPENAI_USAGE})
    return chunks


def _choice(delta: dict[str, Any], finish_reason: str | None) -> dict[str, Any]:
    return {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}


def chat_sse(chunks: Iterable[dict[str, Any]]) -> list[bytes]:
    """Chunks as server-sent events, with the end marker."""
    return [*(data(chunk) for chunk in chunks), b"data: [DONE]\n\n"]


def embeddings() -> dict[str, Any]:
    """An embedding."""
    return {
        "object": "list",
        "data": [{"object": "embedding", "index": 0, "embedding": [0.25, -0.5, 0.125]}],
        "model": "text-embedding-3-small",
        "usage": {"prompt_tokens": 8, "total_tokens": 8},
    }


# OpenAI, responses


def response(status: str = "completed") -> dict[str, Any]:
    """A response, whole or as it begins."""
    done = status == "completed"
    return {
        "id": "resp_standin1",
        "object": "response",
        "created_at": 1_760_000_000,
        "status": status,
        "background": False,
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "max_output_tokens": None,
        "metadata": {},
        "model": OPENAI_MODEL,
        "output": [_output_message("completed")] if done else [],
        "parallel_tool_calls": True,
        "previous_response_id": None,
        "reasoning": {"effort": None, "summary": None},
        "service_tier": "default",
        "store": True,
        "temperature": 1.0,
        "text": {"format": {"type": "text"}},
        "tool_choice": "auto",
        "tools": [],
        "top_p": 1.0,
        "truncation": "disabled",
        "usage": RESPONSES_USAGE if done else None,
        "user": None,
    }


def _output_message(status: str) -> dict[str, Any]:
    content = [_output_text(TEXT)] if status == "completed" else []
    return {"id": "msg_standin1", "type": "message", "status": status, "role": "assistant", "content": content}


def _output_text(text: str) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def response_stream(count: int = 8) -> list[dict[str, Any]]:
    """The events of a streamed response."""
    place = {"item_id": "msg_standin1", "output_index": 0, "content_index": 0}
    events: list[dict[str, Any]] = [
        {"type": "response.created", "response": response("in_progress")},
        {"type": "response.in_progress", "response": response("in_progress")},
        {"type": "response.output_item.added", "output_index": 0, "item": _output_message("in_progress")},
        {"type": "response.content_part.added", **place, "part": _output_text("")},
    ]
    for piece in pieces(TEXT, count):
        events.append({"type": "response.output_text.delta", **place, "delta": piece, "logprobs": []})
    events += [
        {"type": "response.output_text.done", **place, "text": TEXT, "logprobs": []},
        {"type": "response.content_part.done", **place, "part": _output_text(TEXT)},
        {"type": "response.output_item.done", "output_index": 0, "item": _output_message("completed")},
        {"type": "response.completed", "response": response()},
    ]
    return [event | {"sequence_number": number} for number, event in enumerate(events)]


# Anthropic, messages


def _thinking() -> dict[str, Any]:
    return {"type": "thinking", "thinking": THOUGHT, "signature": "c3RhbmRpbg=="}


def _tool_use(arguments: dict[str, Any]) -> dict[str, Any]:
    return {"type": "tool_use", "id": "toolu_standin1", "name": TOOL, "input": arguments}


def message(text: str = TEXT, *, tool: bool = False, thinking: bool = False) -> dict[str, Any]:
    """A plain message."""
    content: list[dict[str, Any]] = [_thinking()] if thinking else []
    content.append({"type": "text", "text": text})
    if tool:
        content.append(_tool_use(TOOL_ARGUMENTS))
    return {
        "id": "msg_standin1",
        "type": "message",
        "role": "assistant",
        "model": ANTHROPIC_MODEL,
        "content": content,
        "stop_reason": "tool_use" if tool else "end_turn",
        "stop_sequence": None,
        "usage": ANTHROPIC_USAGE,
    }


def message_stream(
    text: str = TEXT, *, count: int = 8, tool: bool = False, thinking: bool = False
) -> list[dict[str, Any]]:
    """The events of a streamed message."""
    start = message() | {"content": [], "stop_reason": None, "usage": ANTHROPIC_USAGE | {"output_tokens": 1}}
    blocks: list[tuple[dict[str, Any], list[dict[str, Any]]]] = []
    if thinking:
        thoughts = [{"type": "thinking_delta", "thinking": piece} for piece in pieces(THOUGHT, 3)]
        signature = {"type": "signature_delta", "signature": "c3RhbmRpbg=="}
        blocks.append(({"type": "thinking", "thinking": "", "signature": ""}, [*thoughts, signature]))
    texts = [{"type": "text_delta", "text": piece} for piece in pieces(text, count)]
    blocks.append(({"type": "text", "text": ""}, texts))
    if tool:
        arguments = pieces(json.dumps(TOOL_ARGUMENTS), 3)
        blocks.append((_tool_use({}), [{"type": "input_json_delta", "partial_json": piece} for piece in arguments]))
    events: list[dict[str, Any]] = [{"type": "message_start", "message": start}]
    for index, (block, deltas) in enumerate(blocks):
        events.append({"type": "content_block_start", "index": index, "content_block": block})
        events += [{"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas]
        events.append({"type": "content_block_stop", "index": index})
    events.insert(2, {"type": "ping"})
    ending = {"stop_reason": "tool_use" if tool else "end_turn", "stop_sequence": None}
    events.append({"type": "message_delta", "delta": ending, "usage": {"output_tokens": 200}})
    events.append({"type": "message_stop"})
    return events


# On the wire


def data(value: dict[str, Any]) -> bytes:
    """A server-sent event without a name."""
    return b"data: " + json.dumps(value).encode() + b"\n\n"


def named(events: Iterable[dict[str, Any]]) -> list[bytes]:
    """Server-sent events with their type as name."""
    return [f"event: {event['type']}\n".encode() + data(event) for event in events]


def encode(coding: str, body: bytes) -> bytes:
    """The body in a content coding: gzip, deflate (zlib, RFC 9110), br or zstd."""
    match coding:
        case "gzip":
            return gzip.compress(body, mtime=0)
        case "deflate":
            return zlib.compress(body)
        case "br":
            compressed: bytes = brotli.compress(body)
            return compressed
        case "zstd":
            return zstandard.ZstdCompressor().compress(body)
    raise ValueError(coding)
