"""Gemini's interactions: steps, whole and streamed."""

from __future__ import annotations

from tests.providers.readings import HELLO, asked, blob, output, said, streamed, whole
from tracecli.exchange import Usage

FORMAT = "gemini.interactions"
USAGE = {
    "total_input_tokens": 9,
    "total_tool_use_tokens": 1,
    "total_output_tokens": 13,
    "total_thought_tokens": 7,
    "total_cached_tokens": 2,
    "input_tokens_by_modality": [{"modality": "text", "tokens": 5}, {"modality": "audio", "tokens": 4}],
}
COUNTED = Usage(
    input_tokens=10, output_tokens=20, cache_read_input_tokens=2, reasoning_output_tokens=7, input_audio_tokens=4
)
CALL = {"type": "tool_call", "id": "c", "name": "f", "arguments": {"a": 1}}


def test_request() -> None:
    """A text, parts, or the steps of earlier turns."""
    assert asked(FORMAT, {"model": "g", "input": "hi"}).finish().input_messages == [
        {"role": "user", "parts": said("hi")}
    ]
    found = asked(
        FORMAT,
        {
            "model": "g",
            "stream": True,
            "system_instruction": "be brief",
            "input": [
                {"type": "text", "text": "look"},
                {"type": "image", "data": HELLO, "mime_type": "image/png"},
                {"role": "user", "content": [{"type": "document", "uri": "https://example.com/a.pdf"}]},
                {"type": "model_output", "content": [{"type": "text", "text": "so"}]},
                {"role": "model", "content": "and"},
                {"type": "function_result", "call_id": "c", "result": "done"},
            ],
        },
    ).finish()
    assert (found.request_model, found.stream) == ("g", True)
    assert found.input_messages == [
        {"role": "system", "parts": said("be brief")},
        {"role": "user", "parts": said("look")},
        {"role": "user", "parts": [blob("image/png")]},
        {"role": "user", "parts": [{"type": "uri", "uri": "https://example.com/a.pdf", "mime_type": None}]},
        {"role": "assistant", "parts": said("so")},
        {"role": "assistant", "parts": said("and")},
        {"role": "user", "parts": [{"type": "tool_call_response", "id": "c", "response": "done"}]},
    ]


def test_whole() -> None:
    """Thoughts, calls and words of an answer; one that goes on in the background has not ended."""
    found = whole(
        FORMAT,
        {
            "id": "i",
            "model": "g-1",
            "status": "completed",
            "service_tier": "standard",
            "usage": USAGE,
            "steps": [
                {"type": "thought", "signature": "x", "summary": [{"type": "text", "text": "hm"}]},
                {"type": "function_call", "id": "c", "name": "f", "arguments": {"a": 1}},
                {"type": "model_output", "content": [{"type": "text", "text": "so"}]},
            ],
        },
    )
    assert output(found) == [{"type": "reasoning", "content": "hm"}, CALL, *said("so")]
    assert (found.usage, found.response_model, found.response_id) == (COUNTED, "g-1", "i")
    assert (found.finish_reasons, found.service_tier, found.understood) == (["completed"], "standard", True)
    assert whole(FORMAT, {"id": "i", "status": "in_progress"}).finish_reasons is None


def test_stream() -> None:
    """Steps grow by their deltas; the last event has the usage."""
    events = [
        {"event_type": "interaction.created", "interaction": {"id": "i", "status": "in_progress", "model": "g-1"}},
        {"event_type": "step.start", "index": 0, "step": {"type": "thought"}},
        {"event_type": "step.delta", "index": 0, "delta": {"type": "signature", "signature": "x"}},
        {"event_type": "step.delta", "index": 0, "delta": {"type": "thought_summary", "content": {"text": "hm"}}},
        {"event_type": "step.start", "index": 1, "step": {"type": "model_output"}},
        {"event_type": "step.delta", "index": 1, "delta": {"type": "text", "text": "s"}},
        {"event_type": "step.delta", "index": 1, "delta": {"type": "text", "text": "o"}},
        {"event_type": "step.start", "index": 2, "step": {"type": "function_call", "id": "c", "name": "f"}},
        {"event_type": "step.delta", "index": 2, "delta": {"type": "arguments_delta", "arguments": '{"a": '}},
        {"event_type": "step.delta", "index": 2, "delta": {"type": "arguments_delta", "arguments": "1}"}},
        {"event_type": "brand.new"},
    ]
    end = {"event_type": "interaction.completed", "interaction": {"status": "completed", "usage": USAGE}}
    found = streamed(FORMAT, *events, end, "[DONE]")
    assert output(found) == [{"type": "reasoning", "content": "hm"}, *said("so"), CALL]
    assert (found.usage, found.finish_reasons, found.flags) == (COUNTED, ["completed"], [])
    assert streamed(FORMAT, *events).flags == ["no_end_event"]
    failed = streamed(FORMAT, *events, {"event_type": "error", "error": {"message": "no"}})
    assert (failed.error, failed.flags) == ("no", ["error_in_stream"])
