"""One request opened."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.support.looks import rendered
from tests.support.rows import NOTHING_KNOWN, ZONE, opened
from tracecli.exchange import Body
from tracecli.tables import visible
from tracecli.tables.opened import opened as parts

NO_MESSAGES: dict[str, Any] = {"input_messages": [], "output_messages": [], "completion": None}


def piped(**changes: Any) -> str:
    return rendered(parts(opened(**changes), ZONE), terminal=False)


def said(*content: dict[str, Any]) -> dict[str, Any]:
    return {"output_messages": [{"role": "assistant", "parts": list(content)}]}


def test_json_answers_are_laid_out() -> None:
    """A completion that is JSON is shown over lines, its numbers as they were written; other text stays as it is."""
    text = piped(**said({"type": "text", "content": '{"a":1.50,"a":12345678901234567890123}'}))
    assert '    {\n      "a": 1.50,\n      "a": 12345678901234567890123\n    }' in text
    assert "    {not json}" in piped(**said({"type": "text", "content": "{not json}"}))


def test_images_are_named_not_dumped() -> None:
    """Pictures and files show kind, type and size, never their bytes."""
    data_uri = {"type": "uri", "modality": "image", "uri": "data:image/webp;base64," + "A" * 4000}
    text = piped(
        **said(data_uri, {"type": "blob", "modality": "audio", "mime_type": "audio/mp3", "content": "A" * 400})
    )
    assert "[image: image/webp, 3.0 KB]" in text
    assert "[audio: audio/mp3, 300 bytes]" in text
    assert "AAAA" not in text


def test_several_choices_are_told_apart() -> None:
    """Each choice of an answer has its number and its own finish reason."""
    choices = [
        {"role": "assistant", "parts": [{"type": "text", "content": one}], "finish_reason": end}
        for one, end in (("heads", "stop"), ("tails", "length"))
    ]
    text = piped(output_messages=choices)
    assert "assistant  choice 1 of 2  stop\n    heads" in text
    assert "assistant  choice 2 of 2  length\n    tails" in text


@pytest.mark.parametrize(
    ("body", "shown"),
    [
        (b'{"a":[1,2]}', '  {\n    "a": [1, 2]\n  }'),
        (b"data: {}\r\n\r\n", "  data: {}\n"),
        ("naïve".encode()[:-1] + "é".encode()[:1], "  naïv\n"),
        (b"\x89PNG\r\n", "  6 bytes, not text (image/png)\n"),
        (b"a\0b", "  3 bytes, not text (image/png)\n"),
    ],
)
def test_what_was_not_understood_is_shown_raw(body: bytes, shown: str) -> None:
    """Without messages the bodies are shown: JSON laid out, text as it is, anything else by its size."""
    text = piped(**NO_MESSAGES, response=Body([("Content-Type", "image/png")], body, False))
    assert f"Response body\n{shown}" in text
    assert 'Request body\n  {\n    "model": "claude-sonnet-4-5"\n  }' in text


def test_cut_bodies_are_marked() -> None:
    """Where the record holds only the beginning of a body, the end of what is shown says so."""
    text = piped(request=Body([], b"{", True), request_bytes=34_000_000)
    assert "Cut here: 34.0 MB passed, the record holds the beginning." in text


def test_tracing_off_says_so() -> None:
    """Without tracing, the content is said not to be kept; figures are still there."""
    text = piped(traced=False, **NO_MESSAGES, request=Body([], b"", False))
    assert "Not kept: tracing was off for this request by its policy." in text
    assert "$0.0501375" in text
    assert "Prompt" not in text


def test_unknown_figures_are_dashes() -> None:
    """Unknown tokens and cost are dashes, with the reason beside them."""
    text = piped(**NOTHING_KNOWN, cost_detail="no price is known for this model")
    assert "  input   –\n  output  –\n  the provider reported none" in text  # noqa: RUF001
    assert "  –  unknown\n  no price is known for this model" in text  # noqa: RUF001


def test_the_providers_error_is_shown() -> None:
    """The error stands under its own heading, whole."""
    assert "Error\n  line one\n  line two\n" in piped(error="line one\nline two")


@pytest.mark.parametrize(
    ("connect", "ttfb", "ttft", "end"),
    [
        (None, None, None, 0.0),
        (None, 97.0, None, 98.0),
        (60.0, 50.0, 40.0, 30.0),
        (0.0, 0.0, 0.0, 1e7),
        (5.0, 5.0, 5.0, 5.0),
    ],
)
@pytest.mark.parametrize("width", [20, 40, 80, 160])
def test_the_waterfall_fits(
    connect: float | None, ttfb: float | None, ttft: float | None, end: float, width: int
) -> None:
    """Whatever the times, each phase that is known has a bar of at least one cell, inside the terminal."""
    one = opened(connect_ms=connect, ttfb_ms=ttfb, ttft_ms=ttft, duration_ms=end)
    text = rendered(parts(one, ZONE), width)
    bars = re.findall(r"━+", text)
    if width >= 40:
        assert len(bars) == sum(at is not None for at in (connect, ttfb, ttft, end))
    lines = re.sub(r"\x1b\[[\d;]*m", "", text).split("\n")
    assert all(len(line) <= width for line in lines)


def test_long_text_is_wrapped_for_a_terminal_and_whole_in_a_pipe() -> None:
    """A terminal gets lines that break between words; a pipe gets each line of the content as one line."""
    content = "word " * 100 + "end"
    assert content in piped(**said({"type": "text", "content": content}))
    text = rendered(parts(opened(**said({"type": "text", "content": content})), ZONE))
    assert max(len(line) for line in text.split("\n") if "word" in line) <= 80


def test_messages_of_another_shape_do_not_raise() -> None:
    """A message without parts, with a part that is no object, or with an unknown part is still shown."""
    odd: list[dict[str, Any]] = [{}, {"role": None, "parts": None}, {"role": "user", "parts": ["bare", 3, None]}]
    odd.append({"role": "tool", "parts": [{"type": "server_tool_call", "name": "web_search", "arguments": {"q": 1}}]})
    text = piped(input_messages=odd)
    assert "bare" in text
    assert '"name": "web_search"' in text


def test_fenced_code_is_coloured() -> None:
    """Code in a fence has colours of its language on a terminal, and stays as it is to the character."""
    code = 'Look:\n```python\ndef f(x):\n    return "\x1b[2J"\n```\nand ```js\nunknown\n```\n```no-such\n<b>\n```'
    message = {"role": "assistant", "parts": [{"type": "text", "content": code}]}
    shown = rendered(parts(opened(output_messages=[message]), ZONE))
    assert re.search(r"\x1b\[[\d;]*mdef\x1b", shown)
    assert "\x1b[2J" not in shown
    plain = re.sub(r"\x1b\[[\d;]*m", "", shown)
    assert all(line in plain for line in visible.lines(code).split("\n"))
