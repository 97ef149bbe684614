"""Ollama's own API: chat, generate and embeddings, streamed a line at a time."""

from __future__ import annotations

from typing import Any

import pytest

from tests.providers.readings import HELLO, asked, blob, in_lines, output, said, whole
from tracecli.exchange import Usage

FORMAT = "ollama"
ABOUT: dict[str, Any] = {"provider": "ollama", "path": "/api/chat"}
CALL = {"type": "tool_call", "id": None, "name": "f", "arguments": {"a": 1}}
FUNCTION = {"function": {"name": "f", "arguments": {"a": 1}}}
END = {"model": "m-1", "done": True, "done_reason": "stop", "prompt_eval_count": 3, "eval_count": 2}


@pytest.mark.parametrize(("stream", "told"), [({}, True), ({"stream": True}, True), ({"stream": False}, False)])
def test_streams_by_default(stream: dict[str, bool], told: bool) -> None:
    """Who does not say gets a stream; embeddings are never one."""
    assert asked(FORMAT, {"model": "m", **stream}, **ABOUT).finish().stream is told
    assert asked(FORMAT, {"model": "m", **stream}, path="/api/embed").finish().stream is False


def test_request() -> None:
    """Messages of a chat; prompt, system and images of generate."""
    messages = [
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": "look", "images": [HELLO]},
        {"role": "assistant", "content": "", "thinking": "hm", "tool_calls": [FUNCTION]},
        {"role": "tool", "content": "done", "tool_name": "f"},
    ]
    assert asked(FORMAT, {"model": "m", "messages": messages}, **ABOUT).finish().input_messages == [
        {"role": "system", "parts": said("be brief")},
        {"role": "user", "parts": [*said("look"), blob("image/*")]},
        {"role": "assistant", "parts": [{"type": "reasoning", "content": "hm"}, CALL]},
        {"role": "tool", "parts": [{"type": "tool_call_response", "id": "f", "response": "done"}]},
    ]
    generate = asked(FORMAT, {"model": "m", "system": "be brief", "prompt": "hi", "images": [HELLO]}).finish()
    assert generate.input_messages == [
        {"role": "system", "parts": said("be brief")},
        {"role": "user", "parts": [*said("hi"), blob("image/*")]},
    ]


def test_stream() -> None:
    """Pieces of thinking, text and calls, and the counts of the last line; errors and cuts are marked."""
    lines: list[dict[str, Any]] = [
        {"model": "m-1", "message": {"role": "assistant", "content": "", "thinking": "hm"}, "done": False},
        {"model": "m-1", "message": {"content": "s"}, "done": False},
        {"model": "m-1", "message": {"content": "o", "tool_calls": [FUNCTION]}, "done": False},
    ]
    found = in_lines(FORMAT, *lines, {**END, "message": {"content": ""}}, **ABOUT)
    assert output(found) == [{"type": "reasoning", "content": "hm"}, *said("so"), CALL]
    assert (found.usage, found.finish_reasons) == (Usage(input_tokens=3, output_tokens=2), ["stop"])
    assert (found.response_model, found.flags) == ("m-1", [])
    assert in_lines(FORMAT, *lines, **ABOUT).flags == ["no_end_event"]
    failed = in_lines(FORMAT, *lines, {"error": "no"}, **ABOUT)
    assert (failed.error, failed.completion, failed.flags) == ("no", "so", ["error_in_stream"])


@pytest.mark.parametrize(
    ("answer", "completion", "usage"),
    [
        ({**END, "message": {"content": "so"}}, "so", Usage(input_tokens=3, output_tokens=2)),
        ({**END, "response": "so"}, "so", Usage(input_tokens=3, output_tokens=2)),
        ({"model": "m-1", "response": "so", "done": True, "eval_count": 2}, "so", Usage(output_tokens=2)),
        ({"model": "m-1", "embeddings": [[0.1]], "prompt_eval_count": 3}, None, Usage(input_tokens=3)),
        ({"embedding": [0.1]}, None, None),
    ],
)
def test_whole(answer: Any, completion: str | None, usage: Usage | None) -> None:
    """Answers of chat, generate and the two ways to ask for vectors."""
    found = whole(FORMAT, answer, **ABOUT)
    assert (found.completion, found.usage, found.understood) == (completion, usage, True)
