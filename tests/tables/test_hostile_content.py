"""What was recorded cannot act on the terminal that shows it."""

from __future__ import annotations

import re
import unicodedata
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.looks import rendered
from tests.support.rows import NOW, ZONE, opened, row
from tracecli.exchange import Body
from tracecli.tables import visible
from tracecli.tables.listing import Listing, plain
from tracecli.tables.opened import opened as parts

CORPUS = [
    "\x1b[2J\x1b[H clear the screen",
    "\x1b]52;c;cm0gLXJmIC8=\x07 write the clipboard",
    "\x1b]8;;https://evil.example\x1b\\a link\x1b]8;;\x1b\\",
    "\x1b]0;title\x07",
    "\x9b31m C1 \x9d0;title\x9c",
    "over\rwritten",
    "back\b\b\b\bspace",
    "bell\x07 nul\x00 del\x7f vt\x0b ff\x0c nel\x85",
    "bidi \u202egnp.exe \u2066isolate\u2069 \u200f\u061c",
    "separators \u2028 \u2029",
    "invisible \u200b\u2060\ufeff\u00ad \U000e0041\U000e0042\U000e007f",
    "lone surrogates \ud800 \udfff",
    "[red]markup[/red] [link=https://evil.example]x[/link] [bold",
    ":smiling_face:",
    '{"json": "\x1b[31m", "\u202e": [1]}',
    '{"json":"\\u001b[31m \u202e","b":[[[]]]}',
    "Cost\n  $0.00  computed\n\nuser\n  a made-up heading",
    "x" * 5000,
    "wide 山" * 300,
    "\t\ttabs\tand\t" * 20,
    "",
    " ",
    "\n\n\n",
    "\r\n" * 3,
]
_ALLOWED_FORMAT = {"\u200c", "\u200d"}  # joiners, which scripts and emoji need
_VISIBLE_FORMAT = set("\u0600\u0601\u0602\u0603\u0604\u0605\u06dd\u070f\u0890\u0891\u08e2\U000110bd\U000110cd")


def assert_harmless(output: str) -> None:
    """No control but newline is left when the styles that Rich made are taken away; and it is UTF-8."""
    output.encode("utf-8")
    text = re.sub(r"\x1b\[[\d;]*m", "", output)
    for character in set(text) - {"\n"}:
        category = unicodedata.category(character)
        assert category not in {"Cc", "Cs", "Zl", "Zp"}, repr(character)
        if category == "Cf":
            assert character in _ALLOWED_FORMAT | _VISIBLE_FORMAT or unicodedata.name(character).startswith(
                ("EGYPTIAN", "SHORTHAND", "MUSICAL")
            ), repr(character)


def hostile_row(text: str) -> dict[str, Any]:
    return {
        "user": text,
        "user_source": text,
        "policy": text,
        "session": text,
        "provider": text,
        "operation": text,
        "method": text,
        "request_model": text,
        "response_model": text,
        "response_id": text,
        "finish_reasons": [text],
        "cache_status": text,
        "error": text,
        "flags": [text],
    }


def hostile_parts(text: str) -> list[dict[str, Any]]:
    return [
        {"type": "text", "content": text},
        {"type": "reasoning", "content": text},
        {"type": "tool_call", "id": text, "name": text, "arguments": {text: [text, {"a": text}]}},
        {"type": "tool_call", "id": None, "name": text, "arguments": text},
        {"type": "tool_call_response", "id": text, "response": text},
        {"type": "tool_call_response", "id": text, "response": [{"type": "text", "content": text}]},
        {"type": "blob", "modality": text, "mime_type": text, "content": text},
        {"type": "uri", "modality": text, "mime_type": text, "uri": text},
        {"type": "uri", "modality": text, "uri": f"data:{text};base64,AAAA"},
        {"type": "file", "file_id": text},
        {"type": text, text: text},
    ]


def everywhere(text: str) -> list[Any]:
    """The text in every place of a list and of opened exchanges that recorded text can reach."""
    body = Body([(text, text)], text.encode("utf-8", "surrogatepass"), True)
    message = {"role": text, "name": text, "parts": hostile_parts(text), "finish_reason": text}
    of_opened = {"url": text, "http_version": text, "reason": text, "cost_detail": text, "request": body} | {
        "response": body
    }
    return [
        opened(**hostile_row(text), **of_opened, input_messages=[message], output_messages=[message, message]),
        opened(**hostile_row(text), **of_opened, input_messages=[], output_messages=[], completion=text),
        opened(**hostile_row(text), **of_opened, input_messages=[], output_messages=[], completion=None),
    ]


@pytest.mark.parametrize("text", CORPUS)
def test_known_attacks_are_shown_not_done(text: str) -> None:
    """Escape sequences, controls, bidi, invisible letters and surrogates come out as text, in lists and details."""
    hostile = [row(3, **hostile_row(text)), row(4)]
    for width in (40, 80, 160):
        assert_harmless(rendered(Listing(hostile, NOW, ZONE), width))
    piped = "\n".join(plain(hostile, ZONE))
    assert_harmless(piped)
    assert len(piped.split("\n")) == 3
    for one in everywhere(text):
        for terminal in (True, False):
            assert_harmless(rendered(parts(one, ZONE), terminal=terminal))


@settings(deadline=None)
@given(
    st.text(
        st.characters(exclude_categories=()) | st.sampled_from('\x1b\r\b\x07\x9b\u202e[]\\{}"\n\t\ud800'), max_size=60
    )
)
def test_any_text_is_harmless(text: str) -> None:
    """Whatever was recorded, no control character reaches the terminal and nothing raises."""
    assert_harmless(visible.lines(text))
    assert_harmless(visible.line(text))
    assert "\n" not in visible.line(text)
    assert_harmless(rendered(Listing([row(3, **hostile_row(text))], NOW, ZONE), 100))
    for one in everywhere(text):
        assert_harmless(rendered(parts(one, ZONE)))


def test_content_never_reads_as_a_heading() -> None:
    """Only our own headings stand at the margin, so a prompt cannot fake a cost or an answer."""
    fake = "hello\n\nCost\n  $0.00  computed"
    messages = [{"role": "user", "parts": [{"type": "text", "content": fake}]}]
    text = rendered(parts(opened(input_messages=messages, error=fake), ZONE), terminal=False)
    assert text.split("\n").count("Cost") == 1


def test_markup_is_text() -> None:
    """What looks like Rich markup or an emoji code is shown as it was written."""
    text = rendered(Listing([row(3, user="[red]a[/red] :cat:")], NOW, ZONE), 160)
    assert "[red]a[/red] :cat:" in text


def test_escapes_name_their_character() -> None:
    """A replaced character can be told from its escape; joiners of emoji and scripts stay."""
    assert visible.lines("a\x1b\u202e\U000e0041\ud800\r\nb\rc\td") == "a\\x1b\\u202e\\U000e0041\\ud800\nb\\x0dc  d"
    assert visible.lines("👩\u200d💻") == "👩\u200d💻"
    assert visible.line("  a \n\t b\r\n") == "a b"


@pytest.mark.parametrize("depth", [100, 5_000, 100_000])
def test_brackets_in_brackets_stay_small(depth: int) -> None:
    """A body of nested brackets is shown without a recursion error and without megabytes of indents."""
    body = Body([], b"[" * depth + b"]" * depth, False)
    one = opened(input_messages=[], output_messages=[], completion=None, request=body)
    assert len(rendered(parts(one, ZONE), terminal=False)) < 50 * depth + 10_000


def test_a_huge_name_stays_in_its_row() -> None:
    """A model name of a megabyte neither widens the other rows nor fills the terminal."""
    huge = [row(3, request_model="x" * 1_000_000, user="y/" * 500_000), row(4)]
    assert len(rendered(Listing(huge, NOW, ZONE), 160)) < 5_000
    assert len(list(plain(huge, ZONE))[2]) < 500
