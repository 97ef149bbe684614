"""Chat completions: what OpenAI-compatible providers do besides what the recordings show."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from tests.providers.readings import asked, output, streamed, whole
from tracecli.exchange import Usage

FORMAT = "openai.chat"
CALL = {"type": "tool_call", "id": "c1", "name": "f", "arguments": {"a": 1}}


def chunk(delta: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"id": "x", "model": "m-1", "choices": [{"index": 0, "delta": delta, **more}]}


def piece(arguments: str, **more: Any) -> dict[str, Any]:
    function = {"arguments": arguments} | ({"name": more.pop("name")} if "name" in more else {})
    return chunk({"tool_calls": [{"function": function, **more}]})


def test_request() -> None:
    """Roles, parts, calls and answers of tools become messages; media are described and not copied."""
    found = asked(
        FORMAT,
        {
            "model": "gpt",
            "stream": True,
            "user": "u1",
            "safety_identifier": "s1",
            "prompt_cache_key": "0b7c2f3e-1111-4222-8333-444455556666",
            "messages": [
                {"role": "system", "content": "be brief"},
                {"role": "developer", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
                {
                    "role": "user",
                    "name": "ann",
                    "content": [
                        {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGVsbG8="}},
                        {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}},
                        {"type": "input_audio", "input_audio": {"data": "aGVsbG8=", "format": "wav"}},
                        {"type": "file", "file": {"file_id": "file-1"}},
                        {
                            "type": "file",
                            "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,aGk="},
                        },
                        {"type": "brand_new", "x": 1},
                    ],
                },
                {
                    "role": "assistant",
                    "content": None,
                    "reasoning_content": "hm",
                    "tool_calls": [
                        {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}},
                        {"id": "c2", "type": "custom", "custom": {"name": "g", "input": "4 + 4"}},
                    ],
                },
                {"role": "tool", "tool_call_id": "c1", "content": "done"},
                {"role": "function", "name": "f", "content": "old"},
                {"role": "assistant", "content": "x", "function_call": {"name": "f", "arguments": "{oops"}},
                "not a message",
            ],
        },
    ).finish()
    hello = {"size_bytes": 5, "sha256": "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"}
    assert (found.request_model, found.stream, found.claimed_user) == ("gpt", True, "u1")
    assert found.session == "0b7c2f3e-1111-4222-8333-444455556666"
    assert found.understood and not found.flags
    assert found.input_messages == [
        {"role": "system", "parts": [{"type": "text", "content": "be brief"}]},
        {"role": "developer", "parts": [{"type": "text", "content": "a"}, {"type": "text", "content": "b"}]},
        {
            "role": "user",
            "parts": [
                {"type": "blob", "mime_type": "image/png", **hello},
                {"type": "uri", "uri": "https://example.com/a.png"},
                {"type": "blob", "mime_type": "audio/wav", **hello},
                {"type": "file", "file_id": "file-1"},
                {
                    "type": "blob",
                    "mime_type": "application/pdf",
                    "size_bytes": 2,
                    "sha256": "8f434346648f6b96df89dda901c5176b10a6d83961dd3c1ac88b59b2dc327aa4",
                    "filename": "a.pdf",
                },
                {"type": "brand_new", "x": 1},
            ],
            "name": "ann",
        },
        {
            "role": "assistant",
            "parts": [
                {"type": "reasoning", "content": "hm"},
                CALL,
                {"type": "tool_call", "id": "c2", "name": "g", "arguments": "4 + 4"},
            ],
        },
        {"role": "tool", "parts": [{"type": "tool_call_response", "id": "c1", "response": "done"}]},
        {"role": "tool", "parts": [{"type": "tool_call_response", "id": "f", "response": "old"}]},
        {
            "role": "assistant",
            "parts": [
                {"type": "text", "content": "x"},
                {"type": "tool_call", "id": None, "name": "f", "arguments": "{oops"},
            ],
        },
    ]


def test_model_of_a_deployment() -> None:
    """Where the body names no model, Azure's path names the deployment."""
    found = asked(FORMAT, {"messages": []}, path="/openai/deployments/my%20d/chat/completions?api-version=1").finish()
    assert (found.request_model, found.stream, found.session) == ("my d", False, None)


@pytest.mark.parametrize(
    "events",
    [
        [piece('{"a"', index=0, id="c1", name="f"), piece(": 1}", index=0)],
        [piece('{"a"', id="c1", name="f"), piece(": 1}")],
        [piece('{"a"', id="c1", name="f"), piece(": 1}", id="c1")],
        [piece('{"a": 1}', id="c1", name="f")],
        [piece("", index=0, id="c1"), piece('{"a": 1}', index=0, name="f", id="c1")],
        [chunk({"tool_calls": [{"id": "c1", "function": {"name": "f", "arguments": {"a": 1}}}]})],
    ],
)
def test_tool_call_in_pieces(events: list[Any]) -> None:
    """The pieces of a call are put together, numbered or not."""
    assert output(streamed(FORMAT, *events)) == [CALL]


@pytest.mark.parametrize(
    "events",
    [
        [piece('{"a": 1}', index=0, id="c1", name="f"), piece('{"a": 1}', index=1, id="c2", name="f")],
        [piece('{"a": 1}', index=0, id="c1", name="f"), piece('{"a": 1}', index=0, id="c2", name="f")],
        [piece('{"a": 1}', id="c1", name="f"), piece('{"a": 1}', id="c2", name="f")],
        [
            piece('{"a"', index=0, id="c1", name="f"),
            piece('{"a": 1}', index=1, id="c2", name="f"),
            piece(": 1}", index=0),
        ],
    ],
)
def test_several_tool_calls(events: list[Any]) -> None:
    """Calls are told apart by number or by id, also where all are numbered 0 or their pieces alternate."""
    assert output(streamed(FORMAT, *events)) == [CALL, CALL | {"id": "c2"}]


def test_whole_calls_without_ids() -> None:
    """In a whole answer each entry is a call of its own."""
    calls = [{"function": {"name": "f", "arguments": "{}"}}] * 2
    found = whole(FORMAT, {"choices": [{"message": {"tool_calls": calls}}]})
    assert [part["name"] for part in output(found)] == ["f", "f"]


def test_interleaved_choices() -> None:
    """The choices of a stream are kept apart, and told in their order."""
    events = [{"choices": [{"index": i, "delta": {"content": text}}]} for i, text in ((1, "b"), (0, "a"), (1, "B"))]
    ends = [
        {"choices": [{"index": i, "delta": {}, "finish_reason": reason}]} for i, reason in ((1, "length"), (0, "stop"))
    ]
    found = streamed(FORMAT, *events, *ends, "[DONE]")
    assert [message["parts"][0]["content"] for message in found.output_messages] == ["a", "bB"]
    assert [message["finish_reason"] for message in found.output_messages] == ["stop", "length"]
    assert (found.finish_reasons, found.completion, found.flags) == (["stop", "length"], "abB", [])


@pytest.mark.parametrize(
    ("delta", "parts"),
    [
        ({"reasoning_content": "r"}, [{"type": "reasoning", "content": "r"}]),
        ({"reasoning": "r"}, [{"type": "reasoning", "content": "r"}]),
        ({"reasoning": "r", "reasoning_content": "r"}, [{"type": "reasoning", "content": "r"}]),
        (
            {"reasoning": "r", "reasoning_details": [{"type": "reasoning.text", "text": "r"}]},
            [{"type": "reasoning", "content": "r"}],
        ),
        ({"reasoning_details": [{"summary": "r"}, {"data": "x"}]}, [{"type": "reasoning", "content": "r"}]),
        ({"content": [{"type": "thinking", "thinking": [{"text": "r"}]}]}, [{"type": "reasoning", "content": "r"}]),
        ({"content": [{"type": "text", "text": "t"}]}, [{"type": "text", "content": "t"}]),
        ({"refusal": "no"}, [{"type": "text", "content": "no", "refusal": True}]),
        (
            {"function_call": {"name": "f", "arguments": "{}"}},
            [{"type": "tool_call", "id": None, "name": "f", "arguments": {}}],
        ),
        ({"audio": {"transcript": "said"}}, [{"type": "text", "content": "said"}]),
        ({"images": [{"type": "image_url", "image_url": {"url": "http://i"}}]}, [{"type": "uri", "uri": "http://i"}]),
    ],
)
def test_kinds_of_output(delta: dict[str, Any], parts: list[Any]) -> None:
    """Reasoning, refusals, legacy calls, speech and images are told, in a delta as in a message."""
    assert output(streamed(FORMAT, chunk(delta))) == parts
    assert output(whole(FORMAT, {"choices": [{"message": delta}]})) == parts


def test_order_of_parts() -> None:
    """Pieces of one kind are one part; a change of kind begins another."""
    deltas = [{"reasoning": "a"}, {"reasoning": "b"}, {"content": "c"}, {"content": "d"}, {"reasoning": "e"}]
    found = streamed(FORMAT, *map(chunk, deltas))
    assert [(part["type"], part["content"]) for part in output(found)] == [
        ("reasoning", "ab"),
        ("text", "cd"),
        ("reasoning", "e"),
    ]


@pytest.mark.parametrize(
    "usage_event",
    [
        {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 4}},
        {"choices": [{"index": 0, "delta": {"content": "y"}}], "usage": {"prompt_tokens": 3, "completion_tokens": 4}},
        {"choices": [], "x_groq": {"usage": {"prompt_tokens": 3, "completion_tokens": 4}}},
        {"usage": {"prompt_tokens": 3, "completion_tokens": 4}},
    ],
)
def test_where_usage_stands(usage_event: dict[str, Any]) -> None:
    """On a chunk with choices or without, under Groq's own name; what is null later does not take it away."""
    found = streamed(
        FORMAT, chunk({"content": "x"}) | {"usage": None}, usage_event, chunk({}) | {"usage": None}, "[DONE]"
    )
    assert found.usage == Usage(input_tokens=3, output_tokens=4)


@pytest.mark.parametrize(
    ("raw", "usage"),
    [
        ({"prompt_tokens": 10, "completion_tokens": 2, "cached_tokens": 4}, (10, 2, 4, None)),
        ({"prompt_tokens": 10, "completion_tokens": 2, "prompt_cache_hit_tokens": 4}, (10, 2, 4, None)),
        ({"prompt_tokens": 10, "completion_tokens": 2, "num_cached_tokens": 4}, (10, 2, 4, None)),
        # Grok at Azure
        (
            {"prompt_tokens": 10, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 161}},
            (171, 2, 161, None),
        ),
        # xAI: reasoning beside the completion
        (
            {
                "prompt_tokens": 10,
                "completion_tokens": 2,
                "total_tokens": 62,
                "completion_tokens_details": {"reasoning_tokens": 50},
            },
            (10, 52, None, 50),
        ),
        # OpenAI: reasoning inside
        (
            {
                "prompt_tokens": 10,
                "completion_tokens": 60,
                "total_tokens": 70,
                "completion_tokens_details": {"reasoning_tokens": 50},
            },
            (10, 60, None, 50),
        ),
        ({"prompt_tokens": 10.0, "completion_tokens": "2"}, (10, None, None, None)),
        ({"prompt_tokens": True, "completion_tokens": -1, "total_tokens": 3}, None),
        ({"prompt_tokens": 10, "completion_tokens": 2, "prompt_tokens_details": None}, (10, 2, None, None)),
    ],
)
def test_usage(raw: dict[str, Any], usage: tuple[int | None, ...] | None) -> None:
    """Input includes what was cached, output includes reasoning, whoever counts."""
    found = whole(FORMAT, {"choices": [], "usage": raw}).usage
    told = found and (
        found.input_tokens,
        found.output_tokens,
        found.cache_read_input_tokens,
        found.reasoning_output_tokens,
    )
    assert told == usage


@pytest.mark.parametrize(
    ("provider", "usage", "cost"),
    [
        ("openrouter", {"cost": 1.13e-05}, "0.0000113"),
        ("openrouter", {"cost": 0}, "0"),
        ("openrouter", {"cost": "free"}, None),
        ("x_ai", {"cost_in_usd_ticks": 37756000}, "0.0037756"),
        ("perplexity", {"cost": {"total_cost": 0.006}}, "0.006"),
        ("openai_compatible", {"cost": 5}, None),
    ],
)
def test_reported_cost(provider: str, usage: dict[str, Any], cost: str | None) -> None:
    """What a provider says the call cost is taken over to the last digit, from providers whose currency is known."""
    found = whole(FORMAT, {"choices": [], "usage": {"prompt_tokens": 1, **usage}}, provider=provider)
    assert found.reported_cost_usd == (None if cost is None else Decimal(cost))


def test_perplexity_repeats_the_message() -> None:
    """A chunk that holds the message so far beside its delta is not counted twice."""
    events = [
        {"choices": [{"index": 0, "delta": {"content": text}, "message": {"content": "so far"}}]} for text in ("a", "b")
    ]
    assert streamed(FORMAT, *events, "[DONE]").completion == "ab"


def test_first_names_count() -> None:
    """Azure's first chunk names nothing; the first name of id and model is kept."""
    found = streamed(
        FORMAT,
        {"id": "", "model": "", "choices": []},
        {"id": "i1", "model": "m1", "service_tier": None, "choices": []},
        {"id": "i2", "model": "m2", "service_tier": "flex", "choices": []},
    )
    assert (found.response_id, found.response_model, found.service_tier) == ("i1", "m1", "flex")


def test_errors_inside_a_stream() -> None:
    """An error chunk, or an error on a choice, is told; what came before it is kept."""
    error = {"error": {"message": "Overloaded prompt", "code": 503, "type": "overloaded"}}
    for event in (error, {"choices": [{"index": 0, "delta": {}, "finish_reason": "error", **error}]}):
        found = streamed(FORMAT, chunk({"content": "x"}), event)
        assert (found.error, found.completion, found.flags) == ("Overloaded prompt", "x", ["error_in_stream"])
        metered = streamed(FORMAT, chunk({"content": "x"}), event, content=False)
        assert (metered.error, metered.completion, metered.output_messages) == ("overloaded 503", None, [])
