"""Real traffic against answers that were worked out without any of our code."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

from tests.providers.recordings import Row, exchange, flavor, needs_recordings, operation, oracle, rows
from tests.wire.frames import frame
from tracecli.exchange import Understanding
from tracecli.understanding import Reading, understand
from tracecli.wire.encodings import decode
from tracecli.wire.eventstream import EventStreamDecoder

USAGE = {
    "input": "input_tokens",
    "output": "output_tokens",
    "cache_read": "cache_read_input_tokens",
    "cache_write": "cache_creation_input_tokens",
    "cache_write_1h": "cache_creation_1h_input_tokens",
    "reasoning": "reasoning_output_tokens",
    "audio_in": "input_audio_tokens",
    "audio_out": "output_audio_tokens",
    "web_searches": "web_searches",
}

SERVER_TOOL = "the oracle counts a tool that the provider runs among the client's"
COMMAND_STREAM = "the oracle does not know the stream of Cohere's Command: it has neither its text nor its reason"
INTERACTION = "the oracle does not look for the model inside `interaction`"
# Where we differ from the oracle, and why.
MISSES = {
    "bc2591ae0bbabe34": ({"tool calls"}, "the oracle's client has no fields for the name and input of a custom tool"),
    "703201eba294f277": ({"finish reasons"}, "the prompt was blocked: the reason of that is told as the end's"),
    "434eaca036f6edfe": ({"tool calls"}, SERVER_TOOL),
    "339f401dce9a8405": ({"tool calls"}, SERVER_TOOL),
    "1c773247095470ae": ({"finish reasons"}, COMMAND_STREAM),
    "b3b115abc66e0dbe": ({"finish reasons"}, COMMAND_STREAM),
    "1bba13ea04a3fe3a": ({"asked model"}, "the oracle does not read forms"),
    "9991d517458cc2d0": ({"usage"}, "the oracle does not read Vertex's token counts of embeddings"),
    "f79ca06ff424cc41": ({"answered model"}, INTERACTION),
    "12d559581052c35c": ({"answered model"}, INTERACTION),
    "d0c8b8d8f2456de8": ({"answered model"}, INTERACTION),
    "f24e6480e18b0c9a": ({"answered model"}, INTERACTION),
}
# Recordings that end early: what is missing stood in the part that is gone.
CUT_STREAM = {"usage", "finish reasons"}
CUT = {
    "c7ee29f9bcd85b92~gzip-truncated": CUT_STREAM,
    "dc66bc2c4b65c8d5~gzip-truncated": CUT_STREAM | {"tool calls"},
    "59c8bf423f73954d~gzip-truncated": CUT_STREAM | {"tool calls", "answered model", "service tier"},
    "a0bc5ecafa11bdea~gzip-truncated": CUT_STREAM | {"text"},
    "b51aa47f1ed9aa64~gzip-truncated": CUT_STREAM | {"text"},
    "feb856f8b3845210~gzip-truncated": CUT_STREAM,
}
# No answer of the format at all.
NOT_UNDERSTOOD = {
    "20b6fe8135339d7b": "the recorder lost the body",
    "11f5b8755e204dc8": "the recorder lost the request's body",
    "e8a55a0d3a1b81ef": "a server that echoes the request's line as text",
    "59c8bf423f73954d~gzip-truncated": "JSON that ends early",
}


NONE = pytest.param({}, id="none")  # without recordings: skipped, with its reason


def covered(file: str) -> list[Any]:
    """The rows whose format has a module, as parameters."""
    return [
        pytest.param(row, id=f"{row['id']}-{flavor(row)}")
        for row in rows(file)
        if (found := operation(row)) is not None and found.format
    ] or [NONE]


def misses(found: Understanding, expected: Row) -> set[str]:
    """The measures in which a reading differs from the oracle's."""
    usage = expected.get("usage") or {}
    choices = (expected.get("completion") or {}).get("choices", [])
    text = "".join(choice.get("text") or "" for choice in choices)
    reasoning = "".join(choice.get("reasoning") or "" for choice in choices)
    same = {
        "usage": all(
            found.usage is not None and getattr(found.usage, name) == usage[theirs]
            for theirs, name in USAGE.items()
            if usage.get(theirs) is not None
        )
        and (bool(usage) or found.usage is None),
        "reported cost": "cost_reported" not in usage
        or (found.reported_cost_usd is not None and float(found.reported_cost_usd) == usage["cost_reported"]),
        "stream": bool(found.stream) == bool(expected.get("stream_asked")),
        "asked model": found.request_model == expected.get("model_asked"),
        "answered model": found.response_model == expected.get("model_answered"),
        "service tier": found.service_tier == expected["service_tier"] if "service_tier" in expected else True,
        "error": not expected.get("error") or found.error == expected["error"]["message"],
        "text": not text or same_text(found.completion or "", text),
        "reasoning": not reasoning or same_text(our_reasoning(found), reasoning),
        "finish reasons": [reason for choice in choices if (reason := choice.get("finish_reason"))]
        == (found.finish_reasons or [])
        or not choices,
        "tool calls": not (calls := their_calls(choices)) or calls == our_calls(found),
    }
    return {measure for measure, equal in same.items() if not equal}


def same_text(ours: str, theirs: str) -> bool:
    """Whether two texts are the same; the oracle cuts some of the long ones."""
    return ours == theirs or (len(theirs) >= 500 and ours.startswith(theirs))


def our_reasoning(found: Understanding) -> str:
    parts = [part for message in found.output_messages for part in message["parts"]]
    return "".join(part["content"] for part in parts if part["type"] == "reasoning")


def our_calls(found: Understanding) -> list[tuple[str, Any]]:
    parts = [part for message in found.output_messages for part in message["parts"]]
    return [(part["name"], part["arguments"]) for part in parts if part["type"] == "tool_call"]


def their_calls(choices: list[Row]) -> list[tuple[str, Any]]:
    calls = []
    for call in (call for choice in choices for call in choice.get("tool_calls") or []):
        arguments = call.get("arguments", call.get("input"))
        calls.append((call["name"], json.loads(arguments) if isinstance(arguments, str) else arguments))
    return calls


@needs_recordings
@pytest.mark.parametrize("row", covered("exchanges.jsonl"))
def test_recorded(row: Row) -> None:
    """Usage, models, texts, calls, reasons and errors are those of the oracle."""
    found, _ = understand(*exchange(row))
    assert misses(found, oracle()[row["id"]]) == MISSES.get(row["id"], (set(), ""))[0]
    assert found.understood is (row["id"] not in NOT_UNDERSTOOD)


@needs_recordings
@pytest.mark.parametrize("row", covered("encoded.jsonl"))
def test_encoded(row: Row) -> None:
    """The same when the body is encoded in whatever way; a truncated one gives what it held and says so."""
    found, _ = understand(*exchange(row))
    original = row["id"].partition("~")[0]
    assert misses(found, oracle()[original]) == CUT.get(row["id"], set()) | MISSES.get(original, (set(), ""))[0]
    assert ("truncated" in found.flags) is row["id"].endswith("truncated")
    assert found.understood is (row["id"] not in NOT_UNDERSTOOD)


@needs_recordings
@pytest.mark.parametrize("row", covered("exchanges.jsonl"))
def test_split(row: Row) -> None:
    """Split at random places, an exchange reads the same; small streams also byte by byte."""
    recorded, request, response = exchange(row)
    expected, _ = understand(recorded, request, response)
    rng = random.Random(row["id"])
    splits = [sorted(rng.randrange(len(response) + 1) for _ in range(5))]
    if len(response) < 4000:
        splits.append(list(range(1, len(response))))
    for offsets in splits:
        found, _ = understand(exchange(row, chunks=[(offset, 1.0) for offset in offsets])[0], request, response)
        reading = read(row, [response[a:b] for a, b in zip([0, *offsets], [*offsets, len(response)], strict=True)])
        assert found == expected
        assert reading.finish() == expected


@needs_recordings
@pytest.mark.parametrize("row", covered("exchanges.jsonl"))
def test_without_content(row: Row) -> None:
    """Metering finds the same facts, and keeps no message, no text and no words of an error."""
    response = exchange(row)[2]
    metered = read(row, [response[:100], response[100:]], content=False).finish()
    full = read(row, [response]).finish()
    assert (metered.input_messages, metered.output_messages, metered.completion) == ([], [], None)
    for name in full.__struct_fields__:
        if name not in ("input_messages", "output_messages", "completion", "error"):
            assert getattr(metered, name) == getattr(full, name), name
    assert full.error is None or metered.error != full.error


ODD: list[Any] = [None, True, -1, 1.5, "x", "", [], [None], ["x"], {}, {"a": []}, [[]], {"type": 5}, "\ud83d"]


def mutated(value: Any, rng: random.Random) -> Any:
    """The value with one thing in it, somewhere, replaced by something odd."""
    if isinstance(value, dict | list) and value and rng.random() < 0.9:
        key = rng.choice(list(value) if isinstance(value, dict) else range(len(value)))
        copy = value.copy()
        copy[key] = mutated(value[key], rng)
        return copy
    return rng.choice(ODD)


def mutated_body(body: bytes, rng: random.Random) -> bytes:
    """A body of JSON, of JSON in lines, of events or of frames, one value in it changed."""
    frames = EventStreamDecoder().feed(body)
    if frames:
        changed = rng.randrange(len(frames))
        return b"".join(
            frame(one.event, mutated(json.loads(one.data), rng) if number == changed else one.data.encode())
            for number, one in enumerate(frames)
        )
    lines = body.split(b"\n")
    for number in rng.sample(range(len(lines)), len(lines)):
        mark, brace, text = lines[number].partition(b"{")
        try:
            value = json.loads(brace + text)
        except ValueError:
            continue
        lines[number] = mark + json.dumps(mutated(value, rng)).encode()
        break
    return b"\n".join(lines)


@needs_recordings
@pytest.mark.parametrize("row", covered("exchanges.jsonl"))
def test_mutated(row: Row) -> None:
    """Whatever stands where something else was expected, no format's module breaks; the guards are for the rest."""

    class Unguarded(Reading):
        def give_up(self) -> None:
            raise AssertionError("a step failed")

    recorded, request, response = exchange(row)
    found = operation(row)
    encoding = next((value for name, value in recorded.response_headers if name.lower() == "content-encoding"), None)
    head = [header for header in recorded.response_headers if header[0].lower() != "content-encoding"]
    plain, _ = decode(encoding, response)
    rng = random.Random(row["id"])
    for _ in range(MUTATIONS):
        reading = Unguarded(recorded.provider, found.format if found else None, recorded.path)
        reading.request(recorded.request_headers, mutated_body(request, rng))
        reading.response_head(recorded.status or 0, head)
        reading.feed(mutated_body(plain, rng))
        told = reading.finish()
        json.dumps([told.input_messages, told.output_messages, told.completion, told.error])


MUTATIONS = 5


def read(row: Row, pieces: list[bytes], *, content: bool = True) -> Reading:
    """A reading that was told of an exchange as it passes."""
    recorded, request, _ = exchange(row)
    found = operation(row)
    reading = Reading(recorded.provider, found.format if found else None, recorded.path, content=content)
    reading.request(recorded.request_headers, request)
    reading.response_head(recorded.status or 0, recorded.response_headers)
    for piece in pieces:
        reading.feed(piece)
    return reading


# understood, error, flags, completion
FAILURES: dict[str, tuple[bool, str | None, list[str], str | None]] = {
    "synthetic-openai-429-rpm": (
        True,
        "Rate limit reached for gpt-4o-mini in organization org-x on requests per min (RPM): Limit 500, Used 500, "
        "Requested 1. Please try again in 120ms.",
        [],
        None,
    ),
    "synthetic-openai-429-quota": (
        True,
        "You exceeded your current quota, please check your plan and billing details.",
        [],
        None,
    ),
    "synthetic-openai-500": (
        True,
        "The server had an error while processing your request. Sorry about that!",
        [],
        None,
    ),
    "synthetic-openai-503": (True, "The engine is currently overloaded, please try again later", [], None),
    "synthetic-cloudflare-502-html": (False, None, ["not_understood"], None),
    "synthetic-anthropic-429": (True, "This request would exceed your organization's rate limit.", [], None),
    "synthetic-anthropic-529": (True, "Overloaded", [], None),
    "synthetic-anthropic-500": (True, "Internal server error", [], None),
    "synthetic-anthropic-413": (True, "Request exceeds the maximum size", [], None),
    "synthetic-anthropic-stream-overloaded": (True, "Overloaded", ["error_in_stream"], "Hel"),
    "synthetic-openai-stream-cut": (True, None, ["no_end_event"], "Hello wor"),
    "synthetic-responses-stream-failed": (
        True,
        "The model failed to generate a response.",
        ["error_in_stream"],
        None,
    ),
    "synthetic-azure-429": (
        True,
        "Requests to the ChatCompletions_Create Operation under Azure OpenAI API have exceeded token rate limit. "
        "Please retry after 26 seconds.",
        [],
        None,
    ),
    "synthetic-mistral-429": (True, "Requests rate limit exceeded", [], None),
    "synthetic-bedrock-throttle": (True, "Too many tokens, please wait before trying again.", [], None),
    "synthetic-bedrock-503": (True, "Bedrock is unable to process your request.", [], None),
    "synthetic-bedrock-stream-exception": (True, "Too many tokens", ["error_in_stream"], "Hel"),
    "synthetic-ollama-ndjson-error": (
        True,
        "an error was encountered while running the model",
        ["error_in_stream"],
        "Hel",
    ),
    "synthetic-gemini-429": (True, "You exceeded your current quota.", [], None),
    "synthetic-gemini-503": (True, "The model is overloaded. Please try again later.", [], None),
    "synthetic-gemini-array-429": (True, "Resource has been exhausted", [], None),
}


@needs_recordings
@pytest.mark.parametrize("row", covered("synthetic_errors.jsonl"))
def test_failures(row: Row) -> None:
    """An error is told in the provider's words; what came before it in a stream is kept."""
    found, _ = understand(*exchange(row))
    assert (found.understood, found.error, found.flags, found.completion) == FAILURES[row["id"]]
    if row["id"] == "synthetic-anthropic-stream-overloaded":
        assert found.usage is not None and found.usage.input_tokens == 25
    else:
        assert found.usage is None
