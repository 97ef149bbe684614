"""Amazon Bedrock's formats: that of Claude, and that of Converse, which Nova and Llama take."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from typing import Any

from tracecli.datasets.example import ANSWER, Example, Tool
from tracecli.datasets.formats import rules, turns
from tracecli.datasets.formats.base import Finding, Format, Limits, Line, Media, Unfit, dumped
from tracecli.datasets.formats.rules import at, kind
from tracecli.datasets.formats.turns import Medium, Piece, Turn

_CLAUDE = "https://platform.claude.com/cookbook/finetuning-finetuning-on-bedrock"
_TEXT = "https://docs.aws.amazon.com/bedrock/latest/userguide/preparing-text-data.html"
_IMAGES = "https://docs.aws.amazon.com/bedrock/latest/userguide/preparing-image-text-data.html"
_NOVA = "https://docs.aws.amazon.com/nova/latest/nova2-userguide/nova-data-prep-sft-2.html"
_NOVA_1 = "https://docs.aws.amazon.com/nova/latest/userguide/fine-tune-prepare-data-understanding.html"
_BLOCKS = "https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ContentBlock.html"

VERSION = "bedrock-conversation-2024"
_IMAGE_TYPES = ("png", "jpeg", "gif", "webp")
_ROLES = ("user", ANSWER)
_MEDIA = {"image": _IMAGE_TYPES, "video": ("mp4", "mov", "mkv"), "document": ("pdf",)}
_BLOCK_KEYS = ("text", *_MEDIA, "toolUse", "toolResult", "reasoningContent")
# What Nova keeps for itself: https://docs.aws.amazon.com/nova/latest/userguide/fine-tune-prepare-data-understanding.html
_RESERVED = re.compile(r"\A(?:User|Bot|Assistant|System):|<image>|<video>|\[EOS\]")


def _claude(example: Example, media: Media) -> Line:
    system, told = turns.of_example(example, media).leading_system()
    if example.tools:
        raise Unfit("tools that could be called")
    messages = []
    for turn in turns.merged(told):
        _unnamed(turn)
        if turn.calls or turn.results:
            raise Unfit("a tool call")
        if turn.media:
            raise Unfit("an image or a file")
        messages.append({"role": turn.role, "content": turn.text()})
    return ({"system": turns.GAP.join(system)} if system else {}) | {"messages": messages}


def _check_claude(line: Line) -> Iterator[Finding]:
    yield from rules.known(line, "", {"system", "messages"})
    yield from rules.is_text(line, "", "system", needed=False)
    found, wrong = rules.split(rules.objects(line.get("messages"), "messages", least=2))
    yield from wrong
    for place, message in found:
        yield from rules.known(message, place, {"role", "content"})
        yield from rules.one_of(message.get("role"), at(place, "role"), _ROLES)
        yield from rules.is_text(message, place, "content")
    yield from order(found, _ROLES)


def order(found: list[tuple[str, dict[str, Any]]], roles: tuple[str, str]) -> Iterator[Finding]:
    """The first message is the user's, the last one is the model's, and they take turns."""
    user, model = roles
    said = [(place, message.get("role")) for place, message in found]
    if said and said[0][1] != user:
        yield Finding(at(said[0][0], "role"), f"the first one has to be of the role {user}")
    if said and said[-1][1] != model:
        yield Finding(at(said[-1][0], "role"), f"the last one has to be of the role {model}")
    for (_, before), (place, role) in itertools.pairwise(said):
        if role == before and role in roles:
            yield Finding(at(place, "role"), f"{user} and {model} have to take turns: make it one with the last")


def _unnamed(turn: Turn) -> None:
    if turn.name:
        raise Unfit("a name of who speaks")


def _conversation(example: Example, media: Media) -> Line:
    system, told = turns.of_example(example, media).leading_system()
    messages = []
    for turn in turns.merged(told):
        _unnamed(turn)
        messages.append({"role": turn.role, "content": list(_blocks(turn))})
    line: Line = {"schemaVersion": VERSION}
    if system:
        line["system"] = [{"text": text} for text in system]
    line["messages"] = messages
    if example.tools:
        line["toolConfig"] = {"tools": [{"toolSpec": _spec(tool)} for tool in example.tools]}
    return line


def _blocks(turn: Turn) -> Iterator[dict[str, Any]]:
    if turn.reasoning:
        if not turn.reasoning_is_first:
            raise Unfit("reasoning between the parts of an answer")
        yield {"reasoningContent": {"reasoningText": {"text": turn.reasoning}}}
    for result in turn.results:
        if result.pieces is None:
            dumped(result.value)
            content = [{"json": result.value}] if isinstance(result.value, dict) else [{"text": dumped(result.value)}]
        else:
            content = [_block(piece) for piece in result.pieces]
        told: dict[str, Any] = {"toolUseId": result.call.id, "content": content}
        yield {"toolResult": told | ({"status": "error"} if result.is_error else {})}
    for piece in turn.pieces:
        yield _block(piece)
    if turn.refusal:
        yield {"text": turn.refusal}
    for call in turn.calls:
        yield {"toolUse": {"toolUseId": call.id, "name": _named(call.name), "input": call.arguments}}


def _block(piece: Piece) -> dict[str, Any]:
    if isinstance(piece, str):
        return {"text": piece}
    return {"image": {"format": _format(piece), "source": {"s3Location": {"uri": piece.url}}}}


def _format(medium: Medium) -> str:
    if not medium.is_image:
        raise Unfit("sound or a file that is no image")
    if not medium.recorded and not medium.url.startswith("s3://"):
        raise Unfit("an image that is not in S3")
    subtype = {"jpg": "jpeg"}.get(medium.subtype, medium.subtype)
    if subtype not in _IMAGE_TYPES:
        raise Unfit("an image of a kind that the provider does not take")
    return subtype


def _named(name: str) -> str:
    if not rules.TOOL_NAME.fullmatch(name):
        raise Unfit("a tool name that the provider does not take")
    return name


def _spec(tool: Tool) -> dict[str, Any]:
    spec: dict[str, Any] = {"name": _named(tool.name)}
    if tool.description:
        spec["description"] = tool.description
    schema = tool.parameters if tool.parameters is not None else {"type": "object", "properties": {}}
    dumped(schema)
    return spec | {"inputSchema": {"json": schema}}


def _check_conversation(line: Line) -> Iterator[Finding]:
    yield from rules.known(line, "", {"schemaVersion", "system", "messages", "toolConfig"})
    yield from rules.is_text(line, "", "schemaVersion")
    if isinstance(line.get("schemaVersion"), str) and line["schemaVersion"] != VERSION:
        yield Finding("schemaVersion", f"has to be {VERSION}, for all but Nova", "warning")
    if "system" in line:
        system, wrong = rules.split(rules.objects(line["system"], "system", least=0))
        yield from wrong
        for place, block in system:
            yield from rules.known(block, place, {"text"})
            yield from rules.is_text(block, place, "text")
            yield from _reserved(block.get("text"), at(place, "text"))
    found, wrong = rules.split(rules.objects(line.get("messages"), "messages", least=2))
    yield from wrong
    for place, message in found:
        yield from rules.known(message, place, {"role", "content"})
        yield from rules.one_of(message.get("role"), at(place, "role"), _ROLES)
        blocks, wrong = rules.split(rules.objects(message.get("content"), at(place, "content")))
        yield from wrong
        for spot, block in blocks:
            yield from _check_block(block, spot, message.get("role"))
    yield from order(found, _ROLES)
    yield from _check_calls(found)
    if "toolConfig" in line:
        yield from _check_tools(line["toolConfig"])


def _reserved(text: Any, where: str) -> Iterator[Finding]:
    if isinstance(text, str) and _RESERVED.search(text):
        yield Finding(where, "holds a word that Nova 1 keeps for itself: User:, <image>, [EOS] and others", "warning")


def _check_block(block: dict[str, Any], where: str, role: Any) -> Iterator[Finding]:
    yield from rules.known(block, where, _BLOCK_KEYS)
    kinds = [name for name in _BLOCK_KEYS if name in block]
    if len(kinds) != 1:
        yield Finding(where, f"has to be one of {', '.join(_BLOCK_KEYS)}")
        return
    [name] = kinds
    if name in (*_MEDIA, "toolResult") and role == ANSWER:
        yield Finding(where, "only the user can give an image, a file or a tool's result")
    if name in ("toolUse", "reasoningContent") and role != ANSWER:
        yield Finding(where, "only the assistant can call a tool or reason")
    value, place = block[name], at(where, name)
    if name == "text":
        yield from rules.is_text(block, where, "text")
        if role != ANSWER:
            yield from _reserved(value, place)
    elif not isinstance(value, dict):
        yield Finding(place, f"has to be an object, and is {kind(value)}")
    elif name in _MEDIA:
        yield from _check_media(value, place, name)
    elif name == "toolUse":
        yield from rules.known(value, place, {"toolUseId", "name", "input"})
        yield from rules.is_text(value, place, "toolUseId")
        yield from rules.tool_name(value.get("name"), at(place, "name"), rules.TOOL_NAME)
        if not isinstance(value.get("input"), dict):
            yield Finding(at(place, "input"), f"has to be an object, and is {kind(value.get('input'))}")
    elif name == "toolResult":
        yield from _check_result(value, place)
    else:
        text = value.get("reasoningText")
        if not isinstance(text, dict) or not isinstance(text.get("text"), str):
            yield Finding(at(place, "reasoningText"), "has to be an object with a `text`")


def _check_media(value: dict[str, Any], where: str, name: str) -> Iterator[Finding]:
    yield from rules.known(value, where, {"format", "source", "name"} if name == "document" else {"format", "source"})
    yield from rules.one_of(value.get("format"), at(where, "format"), _MEDIA[name])
    source = value.get("source")
    location = source.get("s3Location") if isinstance(source, dict) else None
    uri = location.get("uri") if isinstance(location, dict) else None
    place = at(where, "source.s3Location.uri")
    if not isinstance(uri, str):
        yield Finding(place, "is missing: a file is named by its place in S3")
    elif not uri.startswith("s3://"):
        severity: Any = "error" if "://" in uri or uri.startswith("data:") else "warning"
        yield Finding(place, "is no place in S3: upload the file there, and name it s3://BUCKET/PATH", severity)


def _check_result(value: dict[str, Any], where: str) -> Iterator[Finding]:
    yield from rules.known(value, where, {"toolUseId", "content", "status"})
    yield from rules.is_text(value, where, "toolUseId")
    if "status" in value:
        yield from rules.one_of(value["status"], at(where, "status"), ("success", "error"))
    found, wrong = rules.split(rules.objects(value.get("content"), at(where, "content"), least=0))
    yield from wrong
    for place, block in found:
        yield from rules.known(block, place, {"text", "json", "image"})
        if "text" in block:
            yield from rules.is_text(block, place, "text")
        elif isinstance(block.get("image"), dict):
            yield from _check_media(block["image"], at(place, "image"), "image")
        elif "json" not in block:
            yield Finding(place, "has to be text, json or image")


def _check_calls(found: list[tuple[str, dict[str, Any]]]) -> Iterator[Finding]:
    """The results of an answer's calls are in the user's next message, all of them and no others."""
    waiting: dict[str, str] = {}
    for position, (place, message) in enumerate(found):
        blocks = message.get("content")
        blocks = [block for block in blocks if isinstance(block, dict)] if isinstance(blocks, list) else []
        for number, block in enumerate(blocks):
            result = block.get("toolResult")
            identifier = result.get("toolUseId") if isinstance(result, dict) else None
            if isinstance(identifier, str) and waiting.pop(identifier, None) is None:
                spot = f"{place}.content[{number}].toolResult"
                yield Finding(spot, "is the result of no call in the message before it")
        for spot in waiting.values():
            yield Finding(spot, "has no result: the next message has to hold it")
        waiting = {}
        for number, block in enumerate(blocks):
            use = block.get("toolUse")
            if isinstance(use, dict) and isinstance(identifier := use.get("toolUseId"), str):
                spot = f"{place}.content[{number}].toolUse"
                if identifier in waiting:
                    yield Finding(at(spot, "toolUseId"), "is the id of another call of the message too")
                elif position < len(found) - 1:
                    waiting[identifier] = spot


def _check_tools(value: Any) -> Iterator[Finding]:
    where = "toolConfig"
    if not isinstance(value, dict):
        yield Finding(where, f"has to be an object, and is {kind(value)}")
        return
    yield from rules.known(value, where, {"tools", "toolChoice"})
    found, wrong = rules.split(rules.objects(value.get("tools"), at(where, "tools")))
    yield from wrong
    for place, tool in found:
        yield from rules.known(tool, place, {"toolSpec"})
        spec, spot = tool.get("toolSpec"), at(place, "toolSpec")
        if not isinstance(spec, dict):
            yield Finding(spot, f"has to be an object, and is {kind(spec)}")
            continue
        yield from rules.known(spec, spot, {"name", "description", "inputSchema"})
        yield from rules.tool_name(spec.get("name"), at(spot, "name"), rules.TOOL_NAME)
        yield from rules.is_text(spec, spot, "description", needed=False)
        schema = spec.get("inputSchema")
        if not isinstance(schema, dict) or not isinstance(schema.get("json"), dict):
            yield Finding(at(spot, "inputSchema"), "has to be an object with a JSON schema as `json`")


FORMATS = (
    Format(
        name="bedrock-claude",
        kind="chat",
        title="Amazon Bedrock: Claude",
        urls=(_CLAUDE, _TEXT),
        rules=(
            "`system` and `messages` of user and assistant; no other keys; every content is a text",
            "two messages at least; the user begins, the assistant ends, and they take turns: messages of one role "
            "that follow one another are made one",
            "text only: tools and images cannot be told; no place for reasoning, which is left out",
            "no weights: the earlier answers of a conversation are learned too",
        ),
        limits=Limits(),
        write=_claude,
        check=_check_claude,
        keeps=frozenset(),
        shape=frozenset({"messages"}),
    ),
    Format(
        name="bedrock-conversation",
        kind="chat",
        title="Amazon Bedrock: Nova, Llama and distillation",
        urls=(_TEXT, _IMAGES, _NOVA, _NOVA_1, _BLOCKS),
        rules=(
            f"`schemaVersion: {VERSION}`, `system`, `messages` of content blocks, `toolConfig`",
            "the user begins, the assistant ends, and they take turns: messages of one role that follow one another, "
            "and the results of tools, are made one",
            "images of the user in S3: PNG, JPEG, GIF, WEBP; recorded ones are written as files to be uploaded there",
            "Nova 2 takes tools and reasoning; Nova 1, Claude and Llama take neither, the latter two one turn only",
            "no weights: the earlier answers of a conversation are learned too",
        ),
        limits=Limits(),
        write=_conversation,
        check=_check_conversation,
        keeps=frozenset({"tools", "images", "reasoning"}),
        shape=frozenset({"schemaVersion", "messages"}),
        media="beside",
    ),
)
