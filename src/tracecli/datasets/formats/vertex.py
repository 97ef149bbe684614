"""Google's format for tuning Gemini, on Vertex AI."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from tracecli.datasets.example import ANSWER, Example, Tool
from tracecli.datasets.formats import rules, turns
from tracecli.datasets.formats.base import Finding, Format, Limits, Line, Media, Unfit, dumped
from tracecli.datasets.formats.bedrock import order
from tracecli.datasets.formats.rules import at, kind
from tracecli.datasets.formats.turns import Medium, Result, Turn

_ABOUT = "https://cloud.google.com/vertex-ai/generative-ai/docs/models/gemini-supervised-tuning"
_PREPARE = "https://cloud.google.com/vertex-ai/generative-ai/docs/models/gemini-supervised-tuning-prepare"
_TOOLS = "https://cloud.google.com/vertex-ai/generative-ai/docs/models/tune-function-calling"
_NAMES = "https://cloud.google.com/vertex-ai/docs/reference/rest/v1/Tool"

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.:-]{0,63}")
_ADDRESS = ("gs://", "https://", "http://")
_SYSTEM = ("systemInstruction", "system_instruction")
_TOP = (*_SYSTEM, "contents", "tools", "toolConfig", "generationConfig")
_ABOUT_A_PART = ("videoMetadata", "mediaResolution")
_PART_KEYS = ("text", "fileData", "inlineData", "functionCall", "functionResponse")


def _write(example: Example, media: Media) -> Line:
    system, told = turns.of_example(example, media).leading_system()
    contents = []
    for turn in turns.merged(told):
        if turn.name:
            raise Unfit("a name of who speaks")
        contents.append({"role": "model" if turn.role == ANSWER else "user", "parts": list(_parts(turn))})
    line: Line = {}
    if system:
        line["systemInstruction"] = {"role": "system", "parts": [{"text": text} for text in system]}
    line["contents"] = contents
    if example.tools:
        line["tools"] = [{"functionDeclarations": [_declaration(tool) for tool in example.tools]}]
    return line


def _parts(turn: Turn) -> Iterator[dict[str, Any]]:
    for result in turn.results:
        yield {"functionResponse": {"name": _named(result.call.name), "response": _response(result)}}
    for piece in turn.pieces:
        yield {"text": piece} if isinstance(piece, str) else {"fileData": _file(piece)}
    if turn.refusal:
        yield {"text": turn.refusal}
    for call in turn.calls:
        yield {"functionCall": {"name": _named(call.name), "args": call.arguments}}


def _response(result: Result) -> dict[str, Any]:
    """An object, as Gemini has it; what a tool said otherwise is its `output`, or its `error`."""
    if result.pieces is None and isinstance(result.value, dict) and not result.is_error:
        dumped(result.value)
        return result.value
    return {"error" if result.is_error else "output": result.text()}


def _file(medium: Medium) -> dict[str, Any]:
    if not medium.recorded and not medium.url.startswith(_ADDRESS):
        raise Unfit("a file that is neither in a bucket nor on the web")
    if medium.mime_type.endswith("/*"):
        raise Unfit("a file of which nobody says what it is")
    return {"mimeType": medium.mime_type, "fileUri": medium.url}


def _named(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise Unfit("a tool name that the provider does not take")
    return name


def _declaration(tool: Tool) -> dict[str, Any]:
    declared: dict[str, Any] = {"name": _named(tool.name)}
    if tool.description is not None:
        declared["description"] = tool.description
    if tool.parameters is not None:
        dumped(tool.parameters)
        declared["parameters"] = tool.parameters
    return declared


def _check(line: Line) -> Iterator[Finding]:
    yield from rules.known(line, "", _TOP)
    if all(name in line for name in _SYSTEM):
        yield Finding("system_instruction", "is there twice, as `systemInstruction` too")
    for name in _SYSTEM:
        if name in line:
            yield from _check_system(line[name], name)
    found, wrong = rules.split(rules.objects(line.get("contents"), "contents"))
    yield from wrong
    for place, content in found:
        yield from rules.known(content, place, {"role", "parts"})
        yield from rules.one_of(content.get("role"), at(place, "role"), ("user", "model", "function"))
        parts, wrong = rules.split(rules.objects(content.get("parts"), at(place, "parts")))
        yield from wrong
        for spot, part in parts:
            yield from _check_part(part, spot, content.get("role"))
    as_two = [(place, one | {"role": "user"} if one.get("role") == "function" else one) for place, one in found]
    yield from order(as_two, ("user", "model"))
    yield from _check_calls(found)
    if "tools" in line:
        yield from _check_tools(line["tools"])


def _check_system(value: Any, where: str) -> Iterator[Finding]:
    if not isinstance(value, dict):
        yield Finding(where, f"has to be an object with `parts`, and is {kind(value)}")
        return
    yield from rules.known(value, where, {"role", "parts"})
    parts, wrong = rules.split(rules.objects(value.get("parts"), at(where, "parts")))
    yield from wrong
    for place, part in parts:
        yield from rules.known(part, place, {"text"})
        yield from rules.is_text(part, place, "text")


def _check_part(part: dict[str, Any], where: str, role: Any) -> Iterator[Finding]:
    yield from rules.known(part, where, (*_PART_KEYS, *_ABOUT_A_PART))
    names = [name for name in _PART_KEYS if name in part]
    if len(names) != 1:
        yield Finding(where, f"has to be one of {', '.join(_PART_KEYS)}")
        return
    [name] = names
    if name == "functionCall" and role != "model":
        yield Finding(where, "only the model can call a function")
    if name in ("functionResponse", "fileData", "inlineData") and role == "model":
        yield Finding(where, "only the user can give a file or a function's response")
    value, place = part[name], at(where, name)
    if name == "text":
        yield from rules.is_text(part, where, "text")
    elif not isinstance(value, dict):
        yield Finding(place, f"has to be an object, and is {kind(value)}")
    elif name in ("fileData", "inlineData"):
        address = "fileUri" if name == "fileData" else "data"
        yield from rules.known(value, place, {"mimeType", address, "displayName"})
        yield from rules.is_text(value, place, "mimeType")
        yield from rules.is_text(value, place, address)
        uri = value.get("fileUri")
        if isinstance(uri, str) and not uri.startswith(_ADDRESS):
            severity: Any = "error" if "://" in uri or uri.startswith("data:") else "warning"
            problem = "is in no bucket: upload the file to one, and name it gs://BUCKET/PATH"
            yield Finding(at(place, "fileUri"), problem, severity)
    else:
        inside = "args" if name == "functionCall" else "response"
        yield from rules.known(value, place, {"name", inside, "id"})
        yield from rules.tool_name(value.get("name"), at(place, "name"), _NAME)
        if not isinstance(value.get(inside, {}), dict):
            yield Finding(at(place, inside), f"has to be an object, and is {kind(value[inside])}")


def _check_calls(found: list[tuple[str, dict[str, Any]]]) -> Iterator[Finding]:
    """The responses to a turn's calls are in the next turn: as many of each name, for they have no ids."""
    waiting: list[tuple[str, Any]] = []
    for position, (place, content) in enumerate(found):
        parts = content.get("parts")
        parts = [part for part in parts if isinstance(part, dict)] if isinstance(parts, list) else []
        for number, part in enumerate(parts):
            response = part.get("functionResponse")
            if isinstance(response, dict):
                meant = next((one for one in waiting if one[1] == response.get("name")), None)
                if meant is None:
                    yield Finding(f"{place}.parts[{number}].functionResponse", "answers no call of the turn before it")
                else:
                    waiting.remove(meant)
        for spot, _ in waiting:
            yield Finding(spot, "has no response: the next turn has to hold it")
        waiting = [
            (f"{place}.parts[{number}].functionCall", part["functionCall"].get("name"))
            for number, part in enumerate(parts)
            if isinstance(part.get("functionCall"), dict) and position < len(found) - 1
        ]


def _check_tools(value: Any) -> Iterator[Finding]:
    found, wrong = rules.split(rules.objects(value, "tools", least=0))
    yield from wrong
    for place, tool in found:
        yield from rules.known(tool, place, {"functionDeclarations", "function_declarations"})
        name = "functionDeclarations" if "functionDeclarations" in tool else "function_declarations"
        declared, wrong = rules.split(rules.objects(tool.get(name), at(place, name)))
        yield from wrong
        for spot, one in declared:
            yield from rules.function(one, spot, _NAME, ("response",))


FORMATS = (
    Format(
        name="vertex",
        kind="chat",
        title="Google Vertex AI: Gemini",
        urls=(_ABOUT, _PREPARE, _TOOLS, _NAMES),
        rules=(
            "`systemInstruction`, `contents` of user and model, `tools` with `functionDeclarations`",
            "the user begins, the model ends, and they take turns: messages of one role that follow one another, and "
            "the responses of functions, are made one",
            "images, sound, video and documents of the user by gs:// or HTTP address; recorded ones are written as "
            "files to be uploaded to a bucket",
            "what a function said as a text is the `output` of its response; calls have no ids: they are told apart "
            "by name and order",
            "no place for reasoning, which is left out; no weights: earlier answers are learned too",
            "100 examples are a good beginning; a validation file has 5,000 at most",
        ),
        limits=Limits(most_examples=1_000_000, most_bytes=1_000_000_000, most_tokens=131_072, most_with_images=300_000),
        write=_write,
        check=_check,
        keeps=frozenset({"tools", "images"}),
        shape=frozenset({"contents"}),
        media="beside",
    ),
)
