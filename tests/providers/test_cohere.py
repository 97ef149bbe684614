"""Cohere: chat in both versions, embeddings, reranking."""

from __future__ import annotations

from typing import Any

import pytest

from tests.providers.readings import asked, in_lines, output, said, streamed, whole
from tracecli.exchange import Usage

FORMAT = "cohere.chat"
USAGE = {
    "billed_units": {"input_tokens": 5, "output_tokens": 2},
    "tokens": {"input_tokens": 71, "output_tokens": 6},
    "cached_tokens": 64,
}
COUNTED = Usage(
    input_tokens=71, output_tokens=6, cache_read_input_tokens=64, billed_input_tokens=5, billed_output_tokens=2
)
FUNCTION = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}
CALL = {"type": "tool_call", "id": "c1", "name": "f", "arguments": {"a": 1}}


def test_request() -> None:
    """Messages of version 2; preamble, history and message of version 1."""
    found = asked(
        FORMAT,
        {
            "model": "command",
            "stream": True,
            "messages": [
                {"role": "system", "content": "be brief"},
                {"role": "assistant", "tool_plan": "look it up", "tool_calls": [FUNCTION]},
                {"role": "tool", "tool_call_id": "c1", "content": [{"type": "text", "text": "done"}]},
                {"role": "tool", "tool_call_id": "c2", "content": "done"},
                {
                    "role": "assistant",
                    "content": [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "so"}],
                },
            ],
        },
    ).finish()
    assert (found.request_model, found.stream) == ("command", True)
    assert found.input_messages == [
        {"role": "system", "parts": said("be brief")},
        {"role": "assistant", "parts": [{"type": "reasoning", "content": "look it up"}, CALL]},
        {"role": "tool", "parts": [{"type": "tool_call_response", "id": "c1", "response": said("done")}]},
        {"role": "tool", "parts": [{"type": "tool_call_response", "id": "c2", "response": "done"}]},
        {"role": "assistant", "parts": [{"type": "reasoning", "content": "hm"}, *said("so")]},
    ]
    history = [{"role": "USER", "message": "a"}, {"role": "CHATBOT", "message": "b"}]
    older = asked(FORMAT, {"message": "c", "preamble": "p", "chat_history": history}).finish()
    assert [(message["role"], message["parts"][0]["content"]) for message in older.input_messages] == [
        ("system", "p"),
        ("user", "a"),
        ("assistant", "b"),
        ("user", "c"),
    ]


def test_whole() -> None:
    """Plan, thoughts, text and calls; the tokens of the model and those that are charged."""
    message = {
        "role": "assistant",
        "tool_plan": "look it up",
        "content": [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "so"}],
        "tool_calls": [FUNCTION],
    }
    found = whole(FORMAT, {"id": "i", "finish_reason": "TOOL_CALL", "message": message, "usage": USAGE})
    assert output(found) == [
        {"type": "reasoning", "content": "look it up"},
        {"type": "reasoning", "content": "hm"},
        *said("so"),
        CALL,
    ]
    assert (found.usage, found.finish_reasons, found.response_id) == (COUNTED, ["TOOL_CALL"], "i")
    older = {
        "response_id": "r",
        "generation_id": "g",
        "text": "so",
        "finish_reason": "COMPLETE",
        "meta": USAGE,
        "tool_calls": [{"name": "f", "parameters": {"a": 1}}],
    }
    found = whole(FORMAT, older)
    assert output(found) == [*said("so"), CALL | {"id": None}]
    assert (found.usage, found.finish_reasons, found.response_id) == (COUNTED, ["COMPLETE"], "r")


def delta(name: str, message: Any, **more: Any) -> dict[str, Any]:
    return {"type": name, "delta": {"message": message}, **more}


def test_stream() -> None:
    """Version 2, as events."""
    found = streamed(
        FORMAT,
        {"type": "message-start", "id": "i", "delta": {"message": {"role": "assistant"}}},
        delta("tool-plan-delta", {"tool_plan": "look"}),
        delta("content-start", {"content": {"type": "text", "text": ""}}, index=0),
        delta("content-delta", {"content": {"text": "s"}}, index=0),
        delta("content-delta", {"content": {"text": "o"}}, index=0),
        {"type": "content-end", "index": 0},
        delta("citation-start", {"citations": {}}),
        delta("tool-call-start", {"tool_calls": {"id": "c1", "function": {"name": "f", "arguments": ""}}}),
        delta("tool-call-delta", {"tool_calls": {"function": {"arguments": '{"a": '}}}),
        delta("tool-call-delta", {"tool_calls": {"function": {"arguments": "1}"}}}),
        {"type": "tool-call-end"},
        {"type": "message-end", "delta": {"finish_reason": "TOOL_CALL", "usage": USAGE}},
    )
    assert output(found) == [{"type": "reasoning", "content": "look"}, *said("so"), CALL]
    assert (found.usage, found.finish_reasons, found.response_id, found.flags) == (COUNTED, ["TOOL_CALL"], "i", [])


def test_older_stream() -> None:
    """Version 1, one event a line; cut, and broken off."""
    events: list[dict[str, Any]] = [
        {"event_type": "stream-start", "generation_id": "g"},
        {"event_type": "search-queries-generation"},
        {"event_type": "text-generation", "text": "s"},
        {"event_type": "text-generation", "text": "o"},
        {"event_type": "tool-calls-generation", "tool_calls": [{"name": "f", "parameters": {"a": 1}}]},
    ]
    end = {"event_type": "stream-end", "finish_reason": "COMPLETE", "response": {"text": "so", "meta": USAGE}}
    found = in_lines(FORMAT, *events, end)
    assert output(found) == [*said("so"), CALL | {"id": None}]
    assert (found.usage, found.finish_reasons, found.response_id, found.flags) == (COUNTED, ["COMPLETE"], "g", [])
    assert in_lines(FORMAT, *events).flags == ["no_end_event"]
    assert in_lines(FORMAT, *events, {"error": "no"}).error == "no"


@pytest.mark.parametrize(
    ("request_body", "texts"),
    [
        ({"model": "e", "texts": ["a", "b"]}, ["a", "b"]),
        ({"model": "e", "inputs": [{"content": [{"type": "text", "text": "a"}]}]}, ["a"]),
        ({"model": "e", "texts": "a"}, []),
    ],
)
def test_embeddings(request_body: Any, texts: list[str]) -> None:
    """Texts and their tokens are told, vectors are not kept."""
    meta = {"billed_units": {"input_tokens": 4}}
    found = whole("cohere.embed", {"id": "i", "embeddings": {"float": [[0.1]]}, "meta": meta}, request=request_body)
    parts = [part for text in texts for part in said(text)]
    assert found.input_messages == ([{"role": "user", "parts": parts}] if parts else [])
    assert (found.usage, found.understood) == (Usage(input_tokens=4, billed_input_tokens=4), True)


@pytest.mark.parametrize(
    ("answer", "usage"),
    [
        ({"id": "i", "results": [{"index": 0}], "meta": {"billed_units": {"search_units": 1}}}, None),
        ({"data": [{"index": 0}], "model": "r-1", "usage": {"total_tokens": 9}}, Usage(input_tokens=9)),
    ],
)
def test_rerank(answer: Any, usage: Usage | None) -> None:
    """Query and tokens are told, ranks are not kept."""
    found = whole("rerank", answer, request={"model": "r", "query": "which?", "documents": ["a", "b"]})
    assert found.input_messages == [{"role": "user", "parts": said("which?")}]
    assert (found.usage, found.request_model, found.understood) == (usage, "r", True)
