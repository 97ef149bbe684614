"""generateContent: parts of all kinds, both spellings, and streams as events or as one array."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.providers.readings import HELLO, JSON_HEAD, asked, blob, fed, output, said, streamed, whole
from tracecli.exchange import Usage

FORMAT = "gemini.generate_content"
PATH = "/v1beta/models/gemini-x:generateContent"
STREAM_PATH = "/v1beta/models/gemini-x:streamGenerateContent"


def candidate(*parts: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"content": {"role": "model", "parts": list(parts)}, **more}


PARTS: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"text": "hi"}, {"type": "text", "content": "hi"}),
    ({"text": "hm", "thought": True}, {"type": "reasoning", "content": "hm"}),
    (
        {"functionCall": {"name": "f", "args": {"a": 1}}, "thoughtSignature": "x"},
        {"type": "tool_call", "id": None, "name": "f", "arguments": {"a": 1}},
    ),
    (
        {"functionResponse": {"name": "f", "response": {"r": 1}}},
        {"type": "tool_call_response", "id": "f", "response": {"r": 1}},
    ),
    ({"inlineData": {"mimeType": "image/png", "data": HELLO}}, blob("image/png")),
    (
        {"fileData": {"fileUri": "gs://b/a", "mimeType": "video/mp4"}},
        {"type": "uri", "uri": "gs://b/a", "mime_type": "video/mp4"},
    ),
    (
        {"executableCode": {"id": "e", "language": "PYTHON", "code": "1"}},
        {
            "type": "server_tool_call",
            "id": "e",
            "name": "code_execution",
            "arguments": {"language": "PYTHON", "code": "1"},
        },
    ),
    (
        {"codeExecutionResult": {"id": "e", "outcome": "OUTCOME_OK", "output": "1"}},
        {"type": "server_tool_call_response", "id": "e", "response": {"outcome": "OUTCOME_OK", "output": "1"}},
    ),
    (
        {"toolCall": {"id": "t", "toolType": "FILE_SEARCH", "args": {}}},
        {"type": "server_tool_call", "id": "t", "name": "FILE_SEARCH", "arguments": {}},
    ),
    ({"toolResponse": {"id": "t"}}, {"type": "server_tool_call_response", "id": "t", "response": None}),
]


def snake(value: Any) -> Any:
    """The same with the names of fields in snake_case."""
    if isinstance(value, dict):
        names = {name: "".join(f"_{c.lower()}" if c.isupper() else c for c in name) for name in value}
        return {names[name]: snake(inner) for name, inner in value.items()}
    return value


@pytest.mark.parametrize(("part", "told"), PARTS)
def test_parts(part: dict[str, Any], told: dict[str, Any]) -> None:
    """Each kind of part is told, in a question in either spelling as in an answer."""
    for written in (part, snake(part)):
        found = asked(FORMAT, {"contents": [{"role": "user", "parts": [written]}]}, path=PATH).finish()
        assert found.input_messages == [{"role": "user", "parts": [told]}]
    assert output(whole(FORMAT, {"candidates": [candidate(part)]}, path=PATH)) == [told]


def test_request() -> None:
    """The path names the model and whether a stream is asked for; roles are told in OpenTelemetry's words."""
    found = asked(
        FORMAT,
        {
            "systemInstruction": {"parts": [{"text": "be brief"}]},
            "contents": [
                {"parts": [{"text": "a"}]},
                {"role": "model", "parts": [{"text": "b"}]},
                {"role": "function", "parts": [{"functionResponse": {"id": "i", "name": "f", "response": 1}}]},
            ],
        },
        path=STREAM_PATH + "?alt=sse&key=x",
    ).finish()
    assert (found.request_model, found.stream) == ("gemini-x", True)
    assert found.input_messages == [
        {"role": "system", "parts": said("be brief")},
        {"role": "user", "parts": said("a")},
        {"role": "assistant", "parts": said("b")},
        {"role": "tool", "parts": [{"type": "tool_call_response", "id": "i", "response": 1}]},
    ]
    odd = asked(
        FORMAT, {"system_instruction": {"parts": {}}, "contents": {"parts": [{"text": "a"}]}}, path=PATH
    ).finish()
    assert odd.input_messages == [{"role": "user", "parts": said("a")}]
    assert (
        asked(FORMAT, {}, path="/v1/projects/p/publishers/google/models/a%2Fb:generateContent").finish().request_model
        == "a/b"
    )


CHUNKS: list[dict[str, Any]] = [
    {
        "candidates": [candidate({"text": "hm", "thought": True})],
        "usageMetadata": {"promptTokenCount": 3},
        "modelVersion": "gemini-x-1",
        "responseId": "r",
    },
    {"candidates": [candidate({"text": "Hel"})]},
    {"candidates": [candidate({"text": "lo"}, {"functionCall": {"name": "f", "args": {}}})]},
    {
        "candidates": [candidate({"text": ""}, finishReason="STOP")],
        "usageMetadata": {"promptTokenCount": 4, "candidatesTokenCount": 5, "thoughtsTokenCount": 6},
    },
]


@pytest.mark.parametrize("as_array", [False, True])
def test_stream(as_array: bool) -> None:
    """Pieces are put together and the last usage counts, as events or as an array, which comes bit by bit too."""
    if as_array:
        text = json.dumps(CHUNKS, indent=1).encode()
        reading = asked(FORMAT, {}, path=STREAM_PATH)
        reading.response_head(200, JSON_HEAD)
        half = text.index(b"Hel") + 30
        reading.feed(text[:half])
        assert reading.started
        reading.feed(text[half:])
        found = reading.finish()
    else:
        found = streamed(FORMAT, *CHUNKS, path=STREAM_PATH)
    assert output(found) == [
        {"type": "reasoning", "content": "hm"},
        {"type": "text", "content": "Hello"},
        {"type": "tool_call", "id": None, "name": "f", "arguments": {}},
    ]
    assert found.usage == Usage(input_tokens=4, output_tokens=11, reasoning_output_tokens=6)
    assert (found.response_model, found.response_id, found.finish_reasons, found.flags) == (
        "gemini-x-1",
        "r",
        ["STOP"],
        [],
    )


def test_a_stream_without_its_end() -> None:
    """A stream that stops before a reason was given is marked; in either form."""
    assert streamed(FORMAT, *CHUNKS[:2], path=STREAM_PATH).flags == ["no_end_event"]
    cut = fed(asked(FORMAT, {}, path=STREAM_PATH), JSON_HEAD, json.dumps(CHUNKS).encode()[:-60])
    assert (cut.completion, cut.flags, cut.understood) == ("Hello", ["no_end_event"], True)


def test_a_stream_of_many_candidates() -> None:
    """A stream is over when each candidate has its reason, given once or again; thousands of them take no hours."""
    begun = [{"candidates": [candidate({"text": "a"}, index=index)]} for index in range(20_000)]
    ends = [{"candidates": [candidate(index=index, finishReason="STOP")]} for index in range(20_000)]
    found = streamed(FORMAT, *begun, *ends, path=STREAM_PATH)
    assert (len(found.output_messages), found.finish_reasons, found.flags) == (20_000, ["STOP"] * 20_000, [])
    assert streamed(FORMAT, *begun[:2], ends[0], ends[0], path=STREAM_PATH).flags == ["no_end_event"]


@pytest.mark.parametrize(
    ("raw", "usage"),
    [
        (
            {"promptTokenCount": 10, "toolUsePromptTokenCount": 5, "candidatesTokenCount": 2, "thoughtsTokenCount": 3},
            Usage(input_tokens=15, output_tokens=5, reasoning_output_tokens=3),
        ),
        (
            {
                "promptTokenCount": 10,
                "candidatesTokenCount": 2,
                "cachedContentTokenCount": 8,
                "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 4}, {"modality": "AUDIO", "tokenCount": 6}],
                "cacheTokensDetails": [{"modality": 4, "tokenCount": 5}],
                "candidatesTokensDetails": [{"modality": 2, "tokenCount": 1}],
            },
            Usage(
                input_tokens=10,
                output_tokens=2,
                cache_read_input_tokens=8,
                input_audio_tokens=6,
                cache_read_audio_tokens=5,
                output_image_tokens=1,
            ),
        ),
        ({"promptTokenCount": 10, "totalTokenCount": 10}, Usage(input_tokens=10, output_tokens=0)),
        ({"promptTokenCount": 10}, Usage(input_tokens=10)),
        ({"trafficType": "ON_DEMAND"}, None),
    ],
)
def test_usage(raw: dict[str, Any], usage: Usage | None) -> None:
    """Tools' results are input, thoughts are output; a blocked answer made nothing."""
    assert whole(FORMAT, {"candidates": [], "usageMetadata": raw}, path=PATH).usage == usage


@pytest.mark.parametrize(
    ("raw", "tier"),
    [
        ({"serviceTier": "standard"}, "standard"),
        ({"trafficType": "ON_DEMAND"}, "on_demand"),
        ({"trafficType": "ON_DEMAND_FLEX"}, "flex"),
        ({"trafficType": "PROVISIONED_THROUGHPUT"}, "provisioned_throughput"),
        ({"trafficType": 1}, None),
    ],
)
def test_tiers(raw: dict[str, Any], tier: str | None) -> None:
    """The type of traffic tells the tier, on which the price depends."""
    assert whole(FORMAT, {"candidates": [], "usageMetadata": raw}, path=PATH).service_tier == tier


def test_why_it_ended() -> None:
    """Reasons as words or numbers, of each candidate, or of a prompt that was blocked."""
    candidates = [
        candidate({"text": "b"}, index=1, finishReason=2),
        candidate({"text": "a"}, index=0, finishReason="STOP"),
    ]
    found = whole(FORMAT, {"candidates": candidates}, path=PATH)
    assert (found.finish_reasons, found.completion) == (["STOP", "MAX_TOKENS"], "ab")
    assert whole(FORMAT, {"candidates": [candidate(finishReason=99)]}, path=PATH).finish_reasons == ["99"]
    blocked = streamed(FORMAT, {"promptFeedback": {"blockReason": "SAFETY"}}, path=STREAM_PATH)
    assert (blocked.finish_reasons, blocked.flags, blocked.understood) == (["SAFETY"], [], True)


def test_errors() -> None:
    """An error inside a stream, as an event or as an element, and one as an array under an error status."""
    error = {"error": {"code": 503, "message": "no", "status": "UNAVAILABLE"}}
    assert streamed(FORMAT, CHUNKS[1], error, path=STREAM_PATH).flags == ["error_in_stream"]
    found = fed(asked(FORMAT, {}, path=STREAM_PATH), JSON_HEAD, json.dumps([CHUNKS[1], error]).encode())
    assert (found.error, found.completion, found.flags) == ("no", "Hel", ["error_in_stream"])
    refused = whole(FORMAT, [error], status=503, path=STREAM_PATH)
    assert (refused.error, refused.flags, refused.understood) == ("no", [], True)


EMBEDDINGS = "gemini.embeddings"


@pytest.mark.parametrize(
    ("request_body", "answer", "texts", "tokens"),
    [
        ({"content": {"parts": [{"text": "a"}]}}, {"embedding": {"values": [1.0]}}, ["a"], None),
        (
            {"requests": [{"content": {"parts": [{"text": "a"}]}}, {"content": {"parts": [{"text": "b"}]}}]},
            {"embeddings": [{"values": []}], "usageMetadata": {"promptTokenCount": 2}},
            ["a", "b"],
            2,
        ),
        (
            {"instances": [{"content": "a"}, {"content": "b"}]},
            {"predictions": [{"embeddings": {"statistics": {"token_count": n}}} for n in (3, 4)]},
            ["a", "b"],
            7,
        ),
    ],
)
def test_embeddings(request_body: Any, answer: Any, texts: list[str], tokens: int | None) -> None:
    """Texts and their tokens are told, vectors are not kept."""
    found = whole(EMBEDDINGS, answer, request=request_body, path="/v1/models/e:embedContent")
    assert found.input_messages == [{"role": "user", "parts": [part for one in texts for part in said(one)]}]
    assert (found.usage and found.usage.input_tokens) == tokens
    assert (found.request_model, found.understood, found.output_messages) == ("e", True, [])
