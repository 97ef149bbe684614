"""Anthropic's messages: blocks, usage in two events, who and which session Claude Code names."""

from __future__ import annotations

from typing import Any

import pytest

from tests.providers.readings import asked, output, streamed, whole
from tracecli.exchange import Usage

FORMAT = "anthropic.messages"
START = {
    "type": "message_start",
    "message": {"id": "msg_1", "model": "claude-1", "content": [], "usage": {"input_tokens": 5}},
}
END = [
    {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 7}},
    {"type": "message_stop"},
]


def begin(index: int, **block: Any) -> dict[str, Any]:
    return {"type": "content_block_start", "index": index, "content_block": block}


def delta(index: int, **values: Any) -> dict[str, Any]:
    return {"type": "content_block_delta", "index": index, "delta": values}


def test_request() -> None:
    """System, blocks, images, documents, calls and their results become messages."""
    found = asked(
        FORMAT,
        {
            "model": "claude",
            "stream": True,
            "metadata": {"user_id": "ann"},
            "system": [{"type": "text", "text": "be brief", "cache_control": {"type": "ephemeral"}}],
            "messages": [
                {"role": "user", "content": "hi"},
                {
                    "role": "assistant",
                    "content": [
                        {"type": "thinking", "thinking": "hm", "signature": "x"},
                        {"type": "redacted_thinking", "data": "x"},
                        {"type": "text", "text": "so"},
                        {"type": "tool_use", "id": "t1", "name": "f", "input": {"a": 1}},
                    ],
                },
                {
                    "role": "user",
                    "content": [
                        {"type": "tool_result", "tool_use_id": "t1", "content": "done"},
                        {
                            "type": "tool_result",
                            "tool_use_id": "t2",
                            "is_error": True,
                            "content": [{"type": "text", "text": "no"}],
                        },
                        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGVsbG8="}},
                        {"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}},
                        {"type": "document", "source": {"type": "file", "file_id": "file_1"}},
                        {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "doc"}},
                        {"type": "container_upload", "file_id": "file_2"},
                    ],
                },
            ],
        },
    ).finish()
    assert (found.request_model, found.stream, found.claimed_user, found.session) == ("claude", True, "ann", None)
    assert found.input_messages == [
        {"role": "system", "parts": [{"type": "text", "content": "be brief"}]},
        {"role": "user", "parts": [{"type": "text", "content": "hi"}]},
        {
            "role": "assistant",
            "parts": [
                {"type": "reasoning", "content": "hm"},
                {"type": "reasoning", "content": "", "redacted": True},
                {"type": "text", "content": "so"},
                {"type": "tool_call", "id": "t1", "name": "f", "arguments": {"a": 1}},
            ],
        },
        {
            "role": "user",
            "parts": [
                {"type": "tool_call_response", "id": "t1", "response": "done"},
                {
                    "type": "tool_call_response",
                    "id": "t2",
                    "response": [{"type": "text", "content": "no"}],
                    "is_error": True,
                },
                {
                    "type": "blob",
                    "mime_type": "image/png",
                    "size_bytes": 5,
                    "sha256": "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824",
                },
                {"type": "uri", "uri": "https://example.com/a.png"},
                {"type": "file", "file_id": "file_1"},
                {"type": "text", "content": "doc"},
                {"type": "container_upload", "file_id": "file_2"},
            ],
        },
    ]


@pytest.mark.parametrize(
    ("user_id", "user", "session"),
    [
        ("user_ab12_account_11-22_session_33-44", "11-22", "33-44"),
        ("user_ab12_account__session_33-44", "user_ab12", "33-44"),
        ('{"device_id": "d", "account_uuid": "11-22", "session_id": "33-44"}', "11-22", "33-44"),
        ('{"device_id": "d", "account_uuid": "", "session_id": "33-44"}', "d", "33-44"),
        ("{ann}", "{ann}", None),
        ("{}", "{}", None),
        ("ann", "ann", None),
        ("user_ann", "user_ann", None),
        ("", None, None),
        (5, None, None),
    ],
)
def test_user_and_session(user_id: object, user: str | None, session: str | None) -> None:
    """The user is the same in every session, whichever way Claude Code writes the two."""
    found = asked(FORMAT, {"model": "c", "metadata": {"user_id": user_id}}).finish()
    assert (found.claimed_user, found.session) == (user, session)


def test_stream() -> None:
    """Blocks are put together by index; signatures, citations and unknown things are passed over."""
    found = streamed(
        FORMAT,
        START,
        {"type": "ping"},
        begin(0, type="thinking", thinking="", signature=""),
        delta(0, type="thinking_delta", thinking="h"),
        delta(0, type="thinking_delta", thinking="m"),
        delta(0, type="signature_delta", signature="x"),
        begin(1, type="text", text=""),
        delta(1, type="text_delta", text="so"),
        delta(1, type="citations_delta", citation={"text": "cited"}),
        delta(1, type="brand_new_delta", text="?"),
        begin(2, type="server_tool_use", id="s1", name="web_search", input={}),
        delta(2, type="input_json_delta", partial_json='{"query": '),
        delta(2, type="input_json_delta", partial_json='"q"}'),
        begin(3, type="web_search_tool_result", tool_use_id="s1", content=[{"title": "t"}]),
        begin(4, type="tool_use", id="t1", name="f", input={}),
        begin(5, type="brand_new", x=1),
        {"type": "content_block_stop", "index": 5},
        {"type": "brand_new_event"},
        *END,
    )
    assert output(found) == [
        {"type": "reasoning", "content": "hm"},
        {"type": "text", "content": "so"},
        {"type": "server_tool_call", "id": "s1", "name": "web_search", "arguments": {"query": "q"}},
        {"type": "server_tool_call_response", "id": "s1", "response": [{"title": "t"}]},
        {"type": "tool_call", "id": "t1", "name": "f", "arguments": {}},
        {"type": "brand_new", "x": 1},
    ]
    assert (found.completion, found.finish_reasons, found.understood, found.flags) == ("so", ["end_turn"], True, [])
    assert found.usage == Usage(input_tokens=5, output_tokens=7)


def test_later_usage_counts() -> None:
    """What `message_delta` says replaces what `message_start` said; what it leaves out stands."""
    start = {"input_tokens": 5, "cache_read_input_tokens": 10, "cache_creation_input_tokens": 100, "output_tokens": 1}
    later = {"input_tokens": 6, "output_tokens": 7, "cache_read_input_tokens": None, "service_tier": "standard"}
    found = streamed(
        FORMAT,
        {"type": "message_start", "message": {"content": [], "usage": start}},
        {"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": later},
        {"type": "message_stop"},
    )
    assert found.usage == Usage(
        input_tokens=116, output_tokens=7, cache_read_input_tokens=10, cache_creation_input_tokens=100
    )
    assert found.service_tier == "standard"


def test_parts_of_usage() -> None:
    """Cache writes for an hour, thinking and searches are told apart; fast mode is a tier."""
    raw = {
        "input_tokens": 1,
        "output_tokens": 2,
        "cache_creation_input_tokens": 30,
        "cache_creation": {"ephemeral_5m_input_tokens": 10, "ephemeral_1h_input_tokens": 20},
        "output_tokens_details": {"thinking_tokens": 1},
        "server_tool_use": {"web_search_requests": 3},
        "service_tier": "standard",
        "speed": "fast",
    }
    found = whole(FORMAT, {"content": [], "usage": raw, "stop_reason": "end_turn"})
    assert found.usage == Usage(
        input_tokens=31,
        output_tokens=2,
        cache_creation_input_tokens=30,
        cache_creation_1h_input_tokens=20,
        reasoning_output_tokens=1,
        web_searches=3,
    )
    assert found.service_tier == "fast"


def test_advice_of_another_model() -> None:
    """Tokens of an advising model stand beside the sums: that they are not counted is marked."""
    advice = {"type": "advisor_message", "model": "claude-2", "input_tokens": 100, "output_tokens": 50}
    usage = {"input_tokens": 1, "output_tokens": 2, "iterations": [{"type": "message"}, advice]}
    found = whole(FORMAT, {"content": [], "usage": usage, "stop_reason": "end_turn"})
    assert (found.usage, found.flags) == (Usage(input_tokens=1, output_tokens=2), ["advisor_not_counted"])
    alone = whole(FORMAT, {"content": [], "usage": {**usage, "iterations": [{"type": "message"}]}})
    assert alone.flags == []


def test_a_stream_without_its_end() -> None:
    """What had come is told; a call's arguments stay the text they were."""
    found = streamed(
        FORMAT,
        START,
        begin(0, type="tool_use", id="t", name="f", input={}),
        delta(0, type="input_json_delta", partial_json='{"a'),
    )
    assert output(found) == [{"type": "tool_call", "id": "t", "name": "f", "arguments": '{"a'}]
    assert (found.flags, found.finish_reasons) == (["no_end_event"], None)


def test_a_cut_stream_has_no_sum() -> None:
    """`message_start` counts the one token it begins with: without the end, the number of output tokens is unknown."""
    start = {"type": "message_start", "message": {"content": [], "usage": {"input_tokens": 5, "output_tokens": 1}}}
    found = streamed(FORMAT, start, begin(0, type="text", text=""), delta(0, type="text_delta", text="so much"))
    assert found.usage == Usage(input_tokens=5)


def test_error_event() -> None:
    """An error inside a stream is told, without its words where content is not kept."""
    error = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
    found = streamed(FORMAT, START, error)
    assert (found.error, found.flags, found.usage) == ("Overloaded", ["error_in_stream"], Usage(input_tokens=5))
    assert streamed(FORMAT, START, error, content=False).error == "overloaded_error"
