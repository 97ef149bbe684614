"""Responses: items in and out, and streams that end at any point."""

from __future__ import annotations

from typing import Any

import pytest

from tests.providers.readings import asked, output, streamed, whole

FORMAT = "openai.responses"
BLOB = {
    "type": "blob",
    "mime_type": "image/png",
    "size_bytes": 5,
    "sha256": "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824",
}


def event(name: str, **values: Any) -> dict[str, Any]:
    return {"type": f"response.{name}", **values}


def test_request() -> None:
    """Instructions and items become messages; the items of one answer are one message again."""
    found = asked(
        FORMAT,
        {
            "model": "gpt",
            "instructions": "be brief",
            "conversation": {"id": "conv_1"},
            "safety_identifier": "s1",
            "input": [
                {
                    "role": "user",
                    "content": [
                        {"type": "input_text", "text": "look"},
                        {"type": "input_image", "image_url": "data:image/png;base64,aGVsbG8="},
                        {"type": "input_image", "file_id": "file-1"},
                        {"type": "input_file", "file_url": "https://example.com/a.pdf"},
                    ],
                },
                {"type": "reasoning", "summary": [{"type": "summary_text", "text": "hm"}], "encrypted_content": "x"},
                {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "so"}]},
                {"type": "function_call", "call_id": "c1", "name": "f", "arguments": '{"a": 1}'},
                {"type": "function_call_output", "call_id": "c1", "output": "done"},
                {"type": "custom_tool_call_output", "call_id": "c2", "output": [{"type": "input_text", "text": "t"}]},
                {"type": "item_reference", "id": "msg_1"},
            ],
        },
    ).finish()
    assert (found.session, found.claimed_user, found.stream) == ("conv_1", "s1", False)
    assert found.input_messages == [
        {"role": "system", "parts": [{"type": "text", "content": "be brief"}]},
        {
            "role": "user",
            "parts": [
                {"type": "text", "content": "look"},
                BLOB,
                {"type": "file", "file_id": "file-1"},
                {"type": "uri", "uri": "https://example.com/a.pdf"},
            ],
        },
        {
            "role": "assistant",
            "parts": [
                {"type": "reasoning", "content": "hm"},
                {"type": "text", "content": "so"},
                {"type": "tool_call", "id": "c1", "name": "f", "arguments": {"a": 1}},
            ],
        },
        {"role": "tool", "parts": [{"type": "tool_call_response", "id": "c1", "response": "done"}]},
        {
            "role": "tool",
            "parts": [{"type": "tool_call_response", "id": "c2", "response": [{"type": "text", "content": "t"}]}],
        },
        {"role": "assistant", "parts": [{"type": "item_reference", "id": "msg_1"}]},
    ]


def test_text_input() -> None:
    """A plain text is the user's."""
    found = asked(FORMAT, {"model": "gpt", "input": "hi", "conversation": "conv_2"}).finish()
    assert found.input_messages == [{"role": "user", "parts": [{"type": "text", "content": "hi"}]}]
    assert found.session == "conv_2"


@pytest.mark.parametrize(
    ("item", "parts"),
    [
        (
            {"type": "message", "content": [{"type": "refusal", "refusal": "no"}]},
            [{"type": "text", "content": "no", "refusal": True}],
        ),
        (
            {"type": "custom_tool_call", "call_id": "c", "name": "g", "input": "4 + 4"},
            [{"type": "tool_call", "id": "c", "name": "g", "arguments": "4 + 4"}],
        ),
        (
            {"type": "computer_call", "call_id": "c", "action": {"type": "click"}},
            [{"type": "tool_call", "id": "c", "name": "computer", "arguments": {"type": "click"}}],
        ),
        (
            {"type": "web_search_call", "id": "ws_1", "action": {"query": "q"}},
            [{"type": "server_tool_call", "id": "ws_1", "name": "web_search", "arguments": {"query": "q"}}],
        ),
        (
            {"type": "mcp_call", "id": "m_1", "name": "find", "arguments": "{}", "output": "found"},
            [
                {"type": "server_tool_call", "id": "m_1", "name": "find", "arguments": {}},
                {"type": "server_tool_call_response", "id": "m_1", "response": "found"},
            ],
        ),
        ({"type": "image_generation_call", "id": "i", "result": "aGVsbG8=", "output_format": "png"}, [BLOB]),
        (
            {"type": "reasoning", "summary": [], "content": [{"type": "reasoning_text", "text": "r"}]},
            [{"type": "reasoning", "content": "r"}],
        ),
        ({"type": "compaction", "id": "cmp_1", "encrypted_content": "x"}, [{"type": "compaction", "id": "cmp_1"}]),
    ],
)
def test_items(item: dict[str, Any], parts: list[Any]) -> None:
    """Each kind of item is told, from a whole answer, from a finished item, and from the finished response."""
    answer = {"id": "r", "status": "completed", "output": [item]}
    assert output(whole(FORMAT, answer)) == parts
    assert output(streamed(FORMAT, event("output_item.done", output_index=0, item=item))) == parts
    assert output(streamed(FORMAT, event("completed", response=answer))) == parts


TEXT = {"type": "message", "content": [{"type": "output_text", "text": "Hello"}]}
STREAM = [
    event("created", response={"id": "r", "model": "m-1", "status": "in_progress", "output": []}),
    event("output_item.added", output_index=0, item={"type": "reasoning", "summary": []}),
    event("reasoning_summary_text.delta", output_index=0, delta="hm"),
    event("output_item.added", output_index=1, item={"type": "message", "content": []}),
    event("output_text.delta", output_index=1, delta="Hel"),
    event("output_text.delta", output_index=1, delta="lo"),
    event("output_item.done", output_index=1, item=TEXT),
    event(
        "output_item.added",
        output_index=2,
        item={"type": "function_call", "call_id": "c", "name": "f", "arguments": ""},
    ),
    event("function_call_arguments.delta", output_index=2, delta='{"a": '),
    event("function_call_arguments.delta", output_index=2, delta="1}"),
]
PARTS = [
    {"type": "reasoning", "content": "hm"},
    {"type": "text", "content": "Hello"},
    {"type": "tool_call", "id": "c", "name": "f", "arguments": {"a": 1}},
]


def test_a_stream_without_its_end() -> None:
    """A cut stream gives what it told: finished items whole, others as far as they came."""
    found = streamed(FORMAT, *STREAM)
    assert output(found) == PARTS
    assert (found.response_model, found.finish_reasons, found.usage) == ("m-1", None, None)
    assert (found.understood, found.flags) == (True, ["no_end_event"])
    assert streamed(FORMAT, *STREAM[:5]).completion == "Hel"
    assert output(streamed(FORMAT, *STREAM[:9]))[-1]["arguments"] == '{"a": '


def test_an_end_that_repeats_nothing() -> None:
    """Codex's endpoint ends with an empty output: the items of the stream stand."""
    usage = {"input_tokens": 5, "output_tokens": 6}
    found = streamed(
        FORMAT, *STREAM, event("completed", response={"status": "completed", "output": [], "usage": usage})
    )
    assert output(found) == PARTS
    assert found.usage is not None and found.usage.input_tokens == 5
    assert (found.finish_reasons, found.flags) == (["completed"], [])


@pytest.mark.parametrize(
    ("end", "reasons", "error", "flags"),
    [
        (event("incomplete", response={"status": "incomplete", "output": []}), ["incomplete"], None, []),
        (event("cancelled", response={"status": "cancelled"}), ["cancelled"], None, []),
        (
            event("failed", response={"status": "failed", "error": {"code": "server_error", "message": "no"}}),
            ["failed"],
            "no",
            ["error_in_stream"],
        ),
        ({"type": "error", "code": "x", "message": "no", "param": None}, None, "no", ["error_in_stream"]),
        ({"type": "error", "error": {"message": "no"}}, None, "no", ["error_in_stream"]),
        ({"error": {"message": "no"}}, None, "no", ["error_in_stream"]),
    ],
)
def test_ends(end: dict[str, Any], reasons: list[str] | None, error: str | None, flags: list[str]) -> None:
    """Other ends than a good one, and errors."""
    found = streamed(FORMAT, *STREAM, end)
    assert (found.finish_reasons, found.error, found.flags) == (reasons, error, flags)
    assert output(found) == PARTS


def test_unfinished_answers() -> None:
    """A response that runs in the background has not ended, and an error in it is told."""
    found = whole(FORMAT, {"id": "r", "status": "queued", "output": [], "error": None})
    assert (found.understood, found.finish_reasons, found.completion) == (True, None, None)
    failed = whole(FORMAT, {"id": "r", "status": "failed", "output": [], "error": {"message": "no"}})
    assert (failed.understood, failed.finish_reasons, failed.error, failed.flags) == (True, ["failed"], "no", [])
