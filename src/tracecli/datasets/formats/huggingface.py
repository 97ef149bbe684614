"""The formats of Hugging Face's TRL and of those who follow it: JSON Lines, and a Parquet file of the same."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from typing import Any

from tracecli.datasets.example import Example, Pair
from tracecli.datasets.formats import rules, turns
from tracecli.datasets.formats.base import Finding, Format, Limits, Line, Media, dumped
from tracecli.datasets.formats.chat import Dialect, parsed
from tracecli.datasets.formats.rules import at, kind
from tracecli.datasets.formats.turns import Conversation

_FORMATS = "https://huggingface.co/docs/trl/dataset_formats"
_TOOLS = "https://huggingface.co/docs/transformers/chat_extras"
_IMAGES = "https://huggingface.co/docs/trl/sft_trainer"

_DIALECT = Dialect(
    images="column",
    arguments="object",
    reasoning=True,
    names=True,
    tool_name=re.compile(r"(?s).+"),
    other_keys="warning",
    content_beside_calls=True,
    name_of_tool=True,
)
_TEXTS = dataclasses.replace(_DIALECT, arguments="text")
"""With arguments as texts, as columns have them."""
_BESIDE = ("images", "chat_template_kwargs")
_IMAGE_RULE = 'images of the user: a part `{"type": "image"}` for each, and their addresses in `images`, in order'
_REASONING_RULE = "reasoning as `reasoning_content` of an answer, as the templates of Qwen, GLM and others read it"
_WEIGHTS_RULE = "no weights: the earlier answers of a conversation are learned too"


def _write(example: Example, media: Media) -> Line:
    found = turns.of_example(example, media)
    return _DIALECT.told(found, example) | _images(found)


def _images(found: Conversation) -> Line:
    return {"images": [medium.url for medium in found.media]} if found.media else {}


def _write_pair(pair: Pair, media: Media) -> Line:
    prompt, chosen, rejected = turns.of_pair(pair, media)
    line: Line = {"prompt": _DIALECT.messages(prompt)}
    for name, answer in (("chosen", chosen), ("rejected", rejected)):
        message = _DIALECT.message(answer)
        if prompt.media and message.get("content"):
            message["content"] = [{"type": "text", "text": message["content"]}]
        line[name] = [message]
    return line | _DIALECT.beside(pair.tools, None) | _images(prompt)


def _check(line: Line) -> Iterator[Finding]:
    yield from rules.known(line, "", {"messages", "tools", *_BESIDE}, "warning")
    yield from _DIALECT.check_messages(line.get("messages"), "messages", answered=True)
    yield from _check_beside(line, line.get("messages"))


def _check_beside(line: Line, messages: Any) -> Iterator[Finding]:
    tools = line.get("tools")
    if isinstance(tools, str):
        tools = parsed(tools)
        if not isinstance(tools, list):
            yield Finding("tools", "has to be a list of JSON schemas, or such a list as a text of JSON")
            tools = None
    if tools is not None:
        yield from rules.openai_tools(tools, "tools", _DIALECT.tool_name)
    images = line.get("images")
    if images is not None and not isinstance(images, list):
        yield Finding("images", f"has to be a list, and is {kind(images)}")
        return
    found, _ = rules.split(rules.objects(messages, ""))
    places = sum(
        isinstance(part, dict) and part.get("type") == "image" and "image" not in part
        for _, message in found
        if isinstance(message.get("content"), list)
        for part in message["content"]
    )
    if places != len(images or []):
        yield Finding("images", f"has {len(images or [])} images for {places} places in the messages")


def _check_pair(line: Line) -> Iterator[Finding]:
    yield from rules.known(line, "", {"prompt", "chosen", "rejected", "tools", *_BESIDE}, "warning")
    yield from _DIALECT.check_messages(line.get("prompt"), "prompt", answered=False)
    for name in ("chosen", "rejected"):
        yield from _DIALECT.check_messages(line.get(name), name, answered=True)
    yield from _check_beside(line, line.get("prompt"))


# -- Parquet

_MESSAGE = (
    "STRUCT(role VARCHAR, content VARCHAR, content_parts VARCHAR, name VARCHAR, reasoning_content VARCHAR, "
    'tool_calls STRUCT(id VARCHAR, "type" VARCHAR, "function" STRUCT("name" VARCHAR, arguments VARCHAR))[], '
    "tool_call_id VARCHAR)"
)
_COLUMNS = (("messages", f"{_MESSAGE}[]"), ("tools", "VARCHAR"), ("images", "VARCHAR[]"))
_FIELDS = ("role", "content", "content_parts", "name", "reasoning_content", "tool_calls", "tool_call_id")


def _write_row(example: Example, media: Media) -> Line:
    line = _write(example, media)
    tools = line.get("tools")
    return {
        "messages": [_columns(message) for message in line["messages"]],
        "tools": None if tools is None else dumped(tools),
        "images": line.get("images"),
    }


def _columns(message: dict[str, Any]) -> dict[str, Any]:
    content = message["content"]
    told = {**message}
    if isinstance(content, list):
        told["content"] = turns.GAP.join(part["text"] for part in content if part["type"] == "text")
        told["content_parts"] = dumped(content)
    if "tool_calls" in message:
        told["tool_calls"] = [
            call | {"function": call["function"] | {"arguments": dumped(call["function"]["arguments"])}}
            for call in message["tool_calls"]
        ]
    return {name: told.get(name) for name in _FIELDS}


def _check_row(line: Line) -> Iterator[Finding]:
    yield from rules.known(line, "", [name for name, _ in _COLUMNS], "warning")
    messages = line.get("messages")
    if isinstance(messages, list):
        messages = [_without_nulls(message) for message in messages]
    for position, message in enumerate(messages if isinstance(messages, list) else []):
        if isinstance(message, dict) and isinstance(message.get("content_parts"), str):
            parts = parsed(message.pop("content_parts"))
            if isinstance(parts, list):
                message["content"] = parts
            else:
                yield Finding(at(at("messages", position), "content_parts"), "has to be a list as a text of JSON")
    yield from _TEXTS.check_messages(messages, "messages", answered=True)
    if line.get("tools") is not None and not isinstance(line["tools"], str):
        yield Finding("tools", f"has to be a text of JSON, and is {kind(line['tools'])}")
    else:
        yield from _check_beside(line, messages)


def _without_nulls(message: Any) -> Any:
    """Without what is NULL: a column has a place for it in every message."""
    return (
        {name: value for name, value in message.items() if value is not None} if isinstance(message, dict) else message
    )


FORMATS = (
    Format(
        name="huggingface",
        kind="chat",
        title="Hugging Face TRL: conversations",
        urls=(_FORMATS, _TOOLS, _IMAGES),
        rules=(
            "`messages` of system, user, assistant and tool; `tools` as JSON schemas; a call's arguments are an object",
            "a tool's result names its tool, and its call by `tool_call_id`",
            "a `datasets` without the type Json gives each call the arguments of all others: take `parquet` then",
            _IMAGE_RULE,
            _REASONING_RULE,
            _WEIGHTS_RULE,
        ),
        limits=Limits(),
        write=_write,
        check=_check,
        keeps=frozenset({"tools", "images", "reasoning", "names"}),
        shape=frozenset({"messages"}),
        media="beside",
    ),
    Format(
        name="huggingface-preference",
        kind="preference",
        title="Hugging Face TRL: two answers to a prompt, for DPO",
        urls=(_FORMATS, _TOOLS, _IMAGES),
        rules=(
            "`prompt`, `chosen` and `rejected` are lists of messages; the prompt does not end with an answer, the "
            "others do",
            "`tools`, calls and results as in `huggingface`",
            _IMAGE_RULE,
            _REASONING_RULE,
        ),
        limits=Limits(),
        write=_write_pair,
        check=_check_pair,
        keeps=frozenset({"tools", "images", "reasoning", "names"}),
        shape=frozenset({"prompt", "chosen", "rejected"}),
        media="beside",
    ),
)
PARQUET = (
    Format(
        name="parquet",
        kind="chat",
        title="Parquet: `huggingface` in columns",
        urls=(_FORMATS, _TOOLS),
        rules=(
            "`messages` is a list of structs with the same fields in every file, NULL where a message has none",
            "`tools`, and the arguments of a call, are texts of JSON: their types differ from line to line",
            "`content` is a text; where there are images, `content_parts` has the parts in order as a text of JSON, "
            "and `images` their addresses",
            _REASONING_RULE,
            _WEIGHTS_RULE,
        ),
        limits=Limits(),
        write=_write_row,
        check=_check_row,
        keeps=frozenset({"tools", "images", "reasoning", "names"}),
        shape=frozenset({"messages"}),
        media="beside",
        suffix=".parquet",
        columns=_COLUMNS,
    ),
)
