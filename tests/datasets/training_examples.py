"""Examples to write in formats: some made by hand, and any that there may be."""

from __future__ import annotations

import datetime as dt
import string
from typing import Any

from hypothesis import strategies as st

from tracecli.datasets.example import Example, Pair, Source, Tool, media_name
from tracecli.datasets.formats.base import Format, Media
from tracecli.exchange import Message

type Part = dict[str, Any]

SOURCE = Source(id="01", model="gpt-4o", started_at=dt.datetime(2026, 1, 1, tzinfo=dt.UTC), policy="default")
IMAGE: Part = {"type": "blob", "mime_type": "image/png", "size_bytes": 3, "sha256": "ab" * 32}
WEATHER = Tool("get_weather", "Say how the weather is.", {"type": "object", "properties": {"city": {"type": "string"}}})


def text(content: str) -> Part:
    return {"type": "text", "content": content}


def call(name: str = "get_weather", arguments: Any = None, identifier: str | None = "call_1") -> Part:
    return {"type": "tool_call", "id": identifier, "name": name, "arguments": arguments}


def result(response: Any, identifier: str | None = "call_1") -> Part:
    return {"type": "tool_call_response", "id": identifier, "response": response}


def said(role: str, *parts: Part | str, **more: Any) -> Message:
    return {"role": role, "parts": [text(part) if isinstance(part, str) else part for part in parts], **more}


def example(*messages: Message, **more: Any) -> Example:
    return Example(messages=list(messages), source=SOURCE, **more)


def pair(prompt: list[Message], chosen: Message, rejected: Message, **more: Any) -> Pair:
    return Pair(prompt=prompt, chosen=chosen, rejected=rejected, source=SOURCE, rejected_source=SOURCE, **more)


def media_of_format(form: Format) -> Media:
    """What the builder gives formats: data URLs, or the names of files."""
    if form.media == "inline":
        return lambda part: f"data:{part['mime_type']};base64,{part['sha256']}"
    return lambda part: f"media/{media_name(part)}"


SIMPLE = example(said("system", "Be brief."), said("user", "How are you?"), said("assistant", "Fine."))
WITH_TOOLS = example(
    said("system", "Be brief."),
    said("user", "How is the weather in Zürich?"),
    said("assistant", call(arguments={"city": "Zürich", "days": [1, 2.5, None, True]})),
    said("tool", result("18 °C")),
    said("assistant", "18 °C, in Zürich ☀️."),
    tools=[WEATHER],
)
PAIR = pair(
    [said("system", "Be brief."), said("user", "How are you?")], said("assistant", "Fine."), said("assistant", "Ill")
)

# -- any example

_TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\n"), min_size=1, max_size=12)
_NAMES = st.text(string.ascii_letters + string.digits + "_", min_size=1, max_size=10).map(lambda name: f"t{name}")
_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**60), 2**60)
    | st.floats(allow_nan=False, allow_infinity=False)
    | _TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_TEXTS, inner, max_size=3),
    max_leaves=6,
)
_OBJECTS = st.dictionaries(_TEXTS, _JSON, max_size=3)
_ADDRESSES = st.sampled_from(
    ["https://example.com/ü a.png", "s3://bucket/a.png", "gs://bucket/a.jpeg", "http://x/?a=b"]
)
_IMAGES = st.just(IMAGE) | _ADDRESSES.map(lambda uri: {"type": "uri", "uri": uri, "mime_type": "image/png"})
_ODD: st.SearchStrategy[Part] = st.sampled_from(
    [
        {"type": "server_tool_call", "id": "1", "name": "web_search", "arguments": {}},
        {"type": "file", "file_id": "file-1"},
        {"type": "thing", "value": 1},
        {"type": "tool_call", "id": "x", "name": None, "arguments": "{"},
        {"type": "uri", "uri": "https://example.com/a.pdf"},
    ]
)


@st.composite
def _exchange(draw: st.DrawFn, *, images: bool, tools: bool) -> list[Message]:
    """What the user says, and perhaps an answer with calls and their results."""
    texts: st.SearchStrategy[Part] = _TEXTS.map(text)
    pieces = draw(st.lists(texts | _IMAGES if images else texts, min_size=1, max_size=3))
    name = {"name": draw(_NAMES)} if draw(st.integers(0, 9)) == 9 else {}
    messages: list[Message] = [{"role": "user", "parts": pieces, **name}]
    for _ in range(draw(st.integers(0, 2)) if tools else 0):
        names = draw(st.lists(_NAMES, min_size=1, max_size=2))
        identified = draw(st.booleans())
        ids = [f"id_{number}" if identified else None for number in range(len(names))]
        calls = [
            call(name, draw(_OBJECTS | st.none()), identifier) for name, identifier in zip(names, ids, strict=True)
        ]
        messages.append({"role": "assistant", "parts": [*draw(_answers), *calls]})
        told = _TEXTS | _OBJECTS | st.lists(_TEXTS.map(text), min_size=1, max_size=2)
        results = [result(draw(told), identifier or name) for name, identifier in zip(names, ids, strict=True)]
        if draw(st.booleans()):
            messages += [{"role": "tool", "parts": [one]} for one in results]
        else:  # as Anthropic has it, with what the user says on top
            messages.append({"role": "user", "parts": results + draw(st.lists(_TEXTS.map(text), max_size=1))})
    return messages


_answers = st.lists(_TEXTS.map(lambda content: {"type": "reasoning", "content": content}), max_size=1).flatmap(
    lambda reasoning: st.lists(_TEXTS.map(text), max_size=2).map(lambda texts: reasoning + texts)
)


@st.composite
def examples(draw: st.DrawFn) -> Example:
    """Any example: most can be told in some format, and some hold what none can tell."""
    role = draw(st.sampled_from(["system", "developer"]))
    messages: list[Message] = [said(role, one) for one in draw(st.lists(_TEXTS, max_size=2))]
    with_images, with_tools = draw(st.booleans()), draw(st.booleans())
    exchanges = [draw(_exchange(images=with_images, tools=with_tools)) for _ in range(draw(st.sampled_from([1, 1, 2])))]
    for number, one in enumerate(exchanges):
        messages += one
        if number < len(exchanges) - 1 and draw(st.booleans()):
            messages.append(said("assistant", draw(_TEXTS)))
    answer = draw(_answers)
    if with_tools:
        answer += draw(st.lists(st.builds(call, _NAMES, _OBJECTS, st.none()), max_size=2))
    if draw(st.integers(0, 9)) == 9:
        answer.append(draw(_ODD))
    messages.append({"role": "assistant", "parts": answer})
    declared = st.builds(Tool, _NAMES, st.none() | _TEXTS, st.none() | _OBJECTS)
    tools = draw(st.lists(declared, max_size=2)) if with_tools else []
    return Example(messages=messages, tools=tools, only_last=draw(st.booleans()), source=SOURCE)


@st.composite
def pairs(draw: st.DrawFn) -> Pair:
    """Any pair."""
    one, other = draw(examples()), draw(examples())
    return pair(one.messages[:-1], one.messages[-1], other.messages[-1], tools=one.tools)
