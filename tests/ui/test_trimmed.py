"""What a screen can take of an exchange."""

from __future__ import annotations

from tests.support.rows import opened
from tracecli.ui.trimmed import LEAST, trimmed


def test_short_ones_stay() -> None:
    """What fits is as it was."""
    one = opened()
    assert trimmed(one) == one


def test_long_ones() -> None:
    """What was said last has room first, each text shows its beginning, and a cut says how much is left out."""
    texts = ["a" * 10_000, "b" * 3_000]
    messages = [{"role": "user", "parts": [{"type": "text", "content": text}]} for text in texts]
    shown = trimmed(opened(input_messages=messages, output_messages=[], completion=None), most=4_000)
    first, second = (message["parts"][0]["content"] for message in shown.input_messages)
    assert second == texts[1]
    assert first == "a" * LEAST + "\n… 8,000 more characters"
    odd = [{"role": None, "parts": None}, {"parts": ["x" * 9_000, 3, {"type": "tool_call", "arguments": {"q": 1}}]}]
    shown = trimmed(opened(input_messages=odd, output_messages=[], completion="y" * 9_000), most=1)
    assert shown.input_messages[1]["parts"][0].startswith("x" * LEAST + "\n…")
    assert shown.completion == "y" * LEAST + "\n… 7,000 more characters"
    assert len(shown.request.body) <= 1
