"""Bedrock: Converse, and every maker's own format through InvokeModel."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from tests.providers.readings import HELLO, asked, blob, in_frames, output, said, whole
from tracecli.exchange import Usage

CONVERSE = "bedrock.converse"
INVOKE = "bedrock.invoke"
PATH = "/model/us.amazon.nova-lite-v1%3A0/converse"
ABOUT: dict[str, Any] = {"provider": "aws.bedrock", "path": PATH, "request": {"messages": []}}

BLOCKS: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"text": "hi"}, {"type": "text", "content": "hi"}),
    ({"text": ""}, {"type": "text", "content": ""}),
    (
        {"toolUse": {"toolUseId": "t", "name": "f", "input": {"a": 1}}},
        {"type": "tool_call", "id": "t", "name": "f", "arguments": {"a": 1}},
    ),
    (
        {"toolUse": {"toolUseId": "t", "name": "f", "input": {}, "type": "server_tool_use"}},
        {"type": "server_tool_call", "id": "t", "name": "f", "arguments": {}},
    ),
    (
        {"toolResult": {"toolUseId": "t", "status": "error", "content": [{"text": "no"}, {"json": {"a": 1}}]}},
        {
            "type": "tool_call_response",
            "id": "t",
            "response": [{"type": "text", "content": "no"}, {"a": 1}],
            "is_error": True,
        },
    ),
    ({"reasoningContent": {"reasoningText": {"text": "hm", "signature": "x"}}}, {"type": "reasoning", "content": "hm"}),
    ({"reasoningContent": {"redactedContent": "x"}}, {"type": "reasoning", "content": "", "redacted": True}),
    ({"image": {"format": "png", "source": {"bytes": HELLO}}}, blob("image/png")),
    ({"document": {"format": "pdf", "name": "d", "source": {"bytes": HELLO}}}, blob("application/pdf")),
    (
        {"video": {"format": "mp4", "source": {"s3Location": {"uri": "s3://b/a"}}}},
        {"type": "uri", "uri": "s3://b/a", "mime_type": "video/mp4"},
    ),
    ({"guardContent": {"text": {"text": "hi", "qualifiers": []}}}, {"type": "text", "content": "hi"}),
    ({"citationsContent": {"content": [{"text": "a"}, {"text": "b"}]}}, {"type": "text", "content": "ab"}),
    ({"brandNew": {"x": 1}}, {"type": "brandNew"}),
]


@pytest.mark.parametrize(("block", "told"), BLOCKS)
def test_blocks(block: dict[str, Any], told: dict[str, Any]) -> None:
    """Each kind of block is told, in a question as in an answer; cache points are none."""
    message = {"role": "user", "content": [block, {"cachePoint": {"type": "default"}}]}
    found = asked(CONVERSE, {"messages": [message]}, path=PATH).finish()
    assert found.input_messages == [{"role": "user", "parts": [told]}]
    assert output(whole(CONVERSE, {"output": {"message": message}, "stopReason": "end_turn"}, **ABOUT)) == [told]


def test_converse() -> None:
    """The path names the model; cached tokens, which Bedrock counts apart, are part of the input."""
    usage = {
        "inputTokens": 3,
        "outputTokens": 5,
        "cacheReadInputTokens": 10,
        "cacheWriteInputTokens": 100,
        "cacheDetails": [{"ttl": "5m", "inputTokens": 40}, {"ttl": "1h", "inputTokens": 60}],
    }
    answer = {
        "output": {"message": {"content": [{"text": "so"}]}},
        "stopReason": "end_turn",
        "usage": usage,
        "serviceTier": {"type": "flex"},
    }
    request = {"system": [{"text": "be brief"}], "messages": [{"role": "user", "content": [{"text": "hi"}]}]}
    found = whole(CONVERSE, answer, **ABOUT | {"request": request})
    assert (found.request_model, found.response_model, found.stream) == ("us.amazon.nova-lite-v1:0", None, False)
    assert found.input_messages == [
        {"role": "system", "parts": said("be brief")},
        {"role": "user", "parts": said("hi")},
    ]
    assert (found.completion, found.finish_reasons, found.service_tier) == ("so", ["end_turn"], "flex")
    assert found.usage == Usage(
        input_tokens=113,
        output_tokens=5,
        cache_read_input_tokens=10,
        cache_creation_input_tokens=100,
        cache_creation_1h_input_tokens=60,
    )


STREAM: list[tuple[str, Any]] = [
    ("messageStart", {"role": "assistant", "p": "abc"}),
    ("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"reasoningContent": {"text": "hm"}}}),
    ("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"reasoningContent": {"signature": "x"}}}),
    ("contentBlockStop", {"contentBlockIndex": 0}),
    ("contentBlockDelta", {"contentBlockIndex": 1, "delta": {"text": "s"}}),
    ("contentBlockDelta", {"contentBlockIndex": 1, "delta": {"text": "o"}}),
    ("contentBlockStart", {"contentBlockIndex": 2, "start": {"toolUse": {"toolUseId": "t", "name": "f"}}}),
    ("contentBlockDelta", {"contentBlockIndex": 2, "delta": {"toolUse": {"input": '{"a": '}}}),
    ("contentBlockDelta", {"contentBlockIndex": 2, "delta": {"toolUse": {"input": "1}"}}}),
    ("brandNew", {}),
    ("messageStop", {"stopReason": "tool_use"}),
    ("metadata", {"usage": {"inputTokens": 3, "outputTokens": 5}}),
]
PARTS = [
    {"type": "reasoning", "content": "hm"},
    {"type": "text", "content": "so"},
    {"type": "tool_call", "id": "t", "name": "f", "arguments": {"a": 1}},
]


def test_converse_stream() -> None:
    """Blocks grow by their deltas; an exception inside the stream is told, and what came before it."""
    found = in_frames(CONVERSE, *STREAM, **ABOUT | {"path": PATH + "-stream"})
    assert output(found) == PARTS
    assert (found.stream, found.finish_reasons, found.flags) == (True, ["tool_use"], [])
    assert found.usage == Usage(input_tokens=3, output_tokens=5)
    assert in_frames(CONVERSE, *STREAM[:-1], **ABOUT).flags == ["no_end_event"]
    broken = in_frames(CONVERSE, *STREAM[:6], ("throttlingException", {"message": "slow down"}), **ABOUT)
    assert (broken.error, broken.completion, broken.flags) == ("slow down", "so", ["error_in_stream"])
    metered = in_frames(CONVERSE, ("modelStreamErrorException", {"message": "prompt"}), **ABOUT, content=False)
    assert metered.error == "modelStreamErrorException"


def test_errors_name_their_type_in_a_header() -> None:
    """Where the words of an error must not be kept, the header's type is told."""
    head = [("x-amzn-ErrorType", "ValidationException:http://internal.amazon.com/coral/")]
    for content, error in ((True, "bad prompt"), (False, "ValidationException")):
        found = whole(CONVERSE, {"message": "bad prompt"}, status=400, head=head, content=content, **ABOUT)
        assert (found.error, found.understood) == (error, True)


def invoked(model: str) -> dict[str, Any]:
    return {"provider": "aws.bedrock", "path": f"/model/{model}/invoke"}


def chunks(*values: dict[str, Any]) -> list[tuple[str, Any]]:
    """The events of an invoked model's stream, which wrap what the model says in base64."""
    return [("chunk", {"bytes": base64.b64encode(json.dumps(value).encode()).decode()}) for value in values]


@pytest.mark.parametrize(
    ("model", "request_body", "answer", "text", "reasons", "counts"),
    [
        (
            "amazon.titan-text-express-v1",
            {"inputText": "hi"},
            {
                "inputTextTokenCount": 3,
                "results": [{"tokenCount": 2, "outputText": "so", "completionReason": "FINISH"}],
            },
            "so",
            ["FINISH"],
            (3, 2),
        ),
        (
            "meta.llama3-8b-instruct-v1:0",
            {"prompt": "hi"},
            {"generation": "so", "prompt_token_count": 3, "generation_token_count": 2, "stop_reason": "stop"},
            "so",
            ["stop"],
            (3, 2),
        ),
        (
            "mistral.mistral-7b-instruct-v0:2",
            {"prompt": "hi"},
            {"outputs": [{"text": "so", "stop_reason": "stop"}]},
            "so",
            ["stop"],
            (30, 20),
        ),
        (
            "cohere.command-text-v14",
            {"prompt": "hi"},
            {
                "id": "i",
                "generations": [
                    {"text": "so", "finish_reason": "COMPLETE"},
                    {"text": "la", "finish_reason": "MAX_TOKENS"},
                ],
            },
            "sola",
            ["COMPLETE", "MAX_TOKENS"],
            (30, 20),
        ),
        (
            "ai21.j2-mid-v1",
            {"prompt": "hi"},
            {"id": 1, "completions": [{"data": {"text": "so"}, "finishReason": {"reason": "length"}}]},
            "so",
            ["length"],
            (30, 20),
        ),
        (
            "anthropic.claude-instant-v1",
            {"prompt": "hi"},
            {"completion": "so", "stop_reason": "stop_sequence"},
            "so",
            ["stop_sequence"],
            (30, 20),
        ),
        (
            "anthropic.claude-3-haiku-20240307-v1:0",
            {"anthropic_version": "bedrock-2023-05-31", "messages": [{"role": "user", "content": "hi"}]},
            {
                "content": [{"type": "text", "text": "so"}],
                "stop_reason": "end_turn",
                "usage": {"input_tokens": 3, "output_tokens": 2},
            },
            "so",
            ["end_turn"],
            (3, 2),
        ),
        (
            "arn%3Aaws%3Abedrock%3Aus-east-1%3A1%3Aapplication-inference-profile%2Fabc",
            {"anthropic_version": "bedrock-2023-05-31", "messages": [{"role": "user", "content": "hi"}]},
            {
                "content": [{"type": "text", "text": "so"}],
                "stop_reason": "end_turn",
                "usage": {"input_tokens": 3, "output_tokens": 2},
            },
            "so",
            ["end_turn"],
            (3, 2),
        ),
        (
            "amazon.nova-micro-v1:0",
            {"messages": [{"role": "user", "content": [{"text": "hi"}]}]},
            {
                "output": {"message": {"content": [{"text": "so"}]}},
                "stopReason": "end_turn",
                "usage": {"inputTokens": 3, "outputTokens": 2},
            },
            "so",
            ["end_turn"],
            (3, 2),
        ),
        (
            "ai21.jamba-1-5-mini-v1:0",
            {"messages": [{"role": "user", "content": "hi"}]},
            {
                "choices": [{"message": {"content": "so"}, "finish_reason": "stop"}],
                "usage": {"prompt_tokens": 3, "completion_tokens": 2},
            },
            "so",
            ["stop"],
            (3, 2),
        ),
    ],
)
def test_invoke(
    model: str, request_body: Any, answer: Any, text: str, reasons: list[str], counts: tuple[int, int]
) -> None:
    """Question, answer and tokens of each maker's format; what a model does not count, the headers do."""
    head = [("X-Amzn-Bedrock-Input-Token-Count", "30"), ("x-amzn-bedrock-output-token-count", "20")]
    found = whole(INVOKE, answer, request=request_body, head=head, **invoked(model))
    assert found.understood and not found.flags
    assert found.input_messages == [{"role": "user", "parts": said("hi")}]
    assert (found.completion, found.finish_reasons) == (text, reasons)
    assert found.usage is not None and (found.usage.input_tokens, found.usage.output_tokens) == counts


METRICS = {
    "amazon-bedrock-invocationMetrics": {"inputTokenCount": 30, "outputTokenCount": 20, "cacheReadInputTokenCount": 5}
}


@pytest.mark.parametrize(
    ("model", "request_body", "values", "counts"),
    [
        (
            "amazon.titan-text-express-v1",
            {"inputText": "hi"},
            [{"outputText": "s"}, {"outputText": "o", "completionReason": "FINISH", **METRICS}],
            (35, 20),
        ),
        (
            "meta.llama2-13b-chat-v1",
            {"prompt": "hi"},
            [
                {"generation": "s", "prompt_token_count": 3, "generation_token_count": 1},
                {"generation": "o", "generation_token_count": 2, "stop_reason": "stop", **METRICS},
            ],
            (3, 2),
        ),
        (
            "cohere.command-light-text-v14",
            {"prompt": "hi"},
            [
                {"text": "s", "is_finished": False},
                {"text": "o"},
                {"finish_reason": "MAX_TOKENS", "is_finished": True, **METRICS},
            ],
            (35, 20),
        ),
        (
            "anthropic.claude-3-haiku-20240307-v1:0",
            {"messages": []},
            [
                {"type": "message_start", "message": {"content": [], "usage": {"input_tokens": 3}}},
                {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "so"}},
                {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 2}},
                {"type": "message_stop", **METRICS},
            ],
            (3, 2),
        ),
        (
            "amazon.nova-micro-v1:0",
            {"messages": []},
            [
                {"messageStart": {"role": "assistant"}},
                {"contentBlockDelta": {"delta": {"text": "so"}, "contentBlockIndex": 0}},
                {"messageStop": {"stopReason": "end_turn"}},
                {"metadata": {"usage": {"inputTokens": 3, "outputTokens": 2}}, **METRICS},
            ],
            (3, 2),
        ),
        (
            "openai.gpt-oss-20b-1:0",
            {"messages": []},
            [
                {"choices": [{"index": 0, "delta": {"content": "so"}, "finish_reason": "stop"}]},
                {"choices": [], **METRICS},
            ],
            (35, 20),
        ),
    ],
)
def test_invoke_stream(model: str, request_body: Any, values: list[Any], counts: tuple[int, int]) -> None:
    """The stream of each maker's format, unwrapped; what a model does not count, the last chunk does."""
    found = in_frames(INVOKE, *chunks(*values), request=request_body, **invoked(model))
    assert (found.completion, found.understood, found.flags) == ("so", True, [])
    assert found.usage is not None and (found.usage.input_tokens, found.usage.output_tokens) == counts
    assert in_frames(INVOKE, *chunks(*values[:-1]), request=request_body, **invoked(model)).flags in (
        [],
        ["no_end_event"],
    )


@pytest.mark.parametrize(
    "answer",
    [
        {"embedding": [0.1], "inputTextTokenCount": 4},
        {"embeddings": {"float": [[0.1]]}, "id": "i"},
        {"results": [{"index": 2, "relevance_score": 0.8}]},
    ],
)
def test_vectors_and_ranks(answer: Any) -> None:
    """Embeddings and rankings are understood, and not kept."""
    head = [("x-amzn-bedrock-input-token-count", "4")]
    found = whole(INVOKE, answer, request={"inputText": "hi"}, head=head, **invoked("amazon.titan-embed-text-v2%3A0"))
    assert found.usage == Usage(input_tokens=4)
    assert (found.understood, found.output_messages, found.completion) == (True, [], None)


def test_chunks_that_hold_nothing() -> None:
    """A chunk whose bytes are no JSON is not understood, and nothing else happens."""
    for payload in ({"bytes": "!!"}, {"bytes": base64.b64encode(b"[1]").decode()}, {}):
        found = in_frames(INVOKE, ("chunk", payload), request={"prompt": "hi"}, **invoked("meta.llama3"))
        assert (found.understood, found.flags) == (False, ["no_end_event", "not_understood"])
