"""Texts that go on with a prompt, at OpenAI and at Anthropic."""

from __future__ import annotations

from typing import Any

import pytest

from tests.providers.readings import asked, said, streamed, whole
from tracecli.exchange import Usage


@pytest.mark.parametrize(
    ("prompt", "texts"), [("hi", ["hi"]), (["a", "b"], ["a", "b"]), ([1, 2], []), ([[1], [2]], []), (None, [])]
)
@pytest.mark.parametrize("wire_format", ["openai.completions", "text_completion"])
def test_prompts(wire_format: str, prompt: Any, texts: list[str]) -> None:
    """A prompt, or several; lists of token numbers say nothing."""
    found = asked(wire_format, {"model": "m", "prompt": prompt}).finish()
    assert found.input_messages == [{"role": "user", "parts": said(text)} for text in texts]


def test_openai() -> None:
    """Choices hold texts, whole and streamed."""
    usage = {"prompt_tokens": 1, "completion_tokens": 2}
    found = whole(
        "openai.completions",
        {"model": "m-1", "choices": [{"index": 0, "text": "so", "finish_reason": "stop"}], "usage": usage},
    )
    assert (found.completion, found.finish_reasons, found.usage) == (
        "so",
        ["stop"],
        Usage(input_tokens=1, output_tokens=2),
    )
    pieces = [{"choices": [{"index": 0, "text": text, "finish_reason": None}]} for text in "so"]
    end = {"choices": [{"index": 0, "text": "", "finish_reason": "length"}]}
    stream = streamed("openai.completions", *pieces, end, "[DONE]")
    assert (stream.completion, stream.finish_reasons, stream.flags) == ("so", ["length"], [])


def test_anthropic() -> None:
    """The older API, which reports no tokens."""
    answer = {
        "type": "completion",
        "id": "compl_1",
        "completion": " so",
        "stop_reason": "stop_sequence",
        "model": "claude-2.1",
    }
    request = {"model": "claude-2.1", "prompt": "hi", "metadata": {"user_id": "ann"}}
    found = whole("text_completion", answer, request=request)
    assert (found.completion, found.finish_reasons, found.response_model) == (" so", ["stop_sequence"], "claude-2.1")
    assert (found.response_id, found.claimed_user, found.usage) == ("compl_1", "ann", None)
    stream = streamed(
        "text_completion",
        {"type": "ping"},
        answer | {"completion": "s", "stop_reason": None},
        answer | {"completion": "o", "stop_reason": None},
        answer | {"completion": ""},
    )
    assert (stream.completion, stream.finish_reasons, stream.flags) == ("so", ["stop_sequence"], [])
    cut = streamed("text_completion", answer | {"stop_reason": None})
    assert cut.flags == ["no_end_event"]
    failed = streamed("text_completion", {"error": {"type": "overloaded_error", "message": "Overloaded"}})
    assert (failed.error, failed.flags) == ("Overloaded", ["error_in_stream"])
