"""ShareGPT's conversations, as LLaMA-Factory and axolotl take them. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from tracecli.datasets.example import ANSWER, Example
from tracecli.datasets.formats import rules, turns
from tracecli.datasets.formats.base import Finding, Format, Limits, Line, Media, Unfit, dumped
from tracecli.datasets.formats.chat import parsed
from tracecli.datasets.formats.rules import at, kind
from tracecli.datasets.formats.turns import Turn

_DATA = "https://github.com/hiyouga/LLaMA-Factory/blob/main/data/README.md"
_CODE = "https://github.com/hiyouga/LLaMA-Factory/blob/main/src/llamafactory/data/converter.py"
_AXOLOTL = "https://docs.axolotl.ai/docs/dataset-formats/conversation.html"

_IMAGE = "<image>"
_NAME = re.compile(r"(?s).+")
_ASKING = ("human", "observation")
_ANSWERING = ("gpt", "function_call")


def _write(example: Example, media: Media) -> Line:
    conversation = turns.of_example(example, media)
    system, told = conversation.leading_system()
    said = [_said(turn) for turn in _merged(told)]
    for position, one in enumerate(said):
        if one["from"] not in (_ANSWERING if position % 2 else _ASKING):
            raise Unfit("messages that do not take turns")
    line: Line = {"conversations": said}
    if system:
        line["system"] = turns.GAP.join(system)
    if example.tools:
        line["tools"] = dumped(
            [
                {"name": tool.name, "description": tool.description or "", "parameters": tool.parameters or {}}
                for tool in example.tools
            ]
        )
    if conversation.media:
        line["images"] = [medium.url for medium in conversation.media]
    return line


def _merged(told: list[Turn]) -> list[Turn]:
    """What the user says without a break made one; results of tools stay apart."""
    found: list[Turn] = []
    for turn in told:
        if found and found[-1].role == turn.role == "user":
            found[-1] = turns.joined(found[-1], turn)
        else:
            found.append(turn)
    return found


def _said(turn: Turn) -> dict[str, str]:
    if turn.name:
        raise Unfit("a name of who speaks")
    for piece in turn.pieces:
        if isinstance(piece, str) and _IMAGE in piece:
            raise Unfit("a text that holds the sign for an image")
    if turn.role == "tool":
        if len(turn.results) > 1:
            raise Unfit("results of several tool calls at once")
        text = turn.results[0].text()
        if _IMAGE in text:
            raise Unfit("a text that holds the sign for an image")
        return {"from": "observation", "value": text}
    if turn.calls:
        if turn.pieces or turn.refusal:
            raise Unfit("text beside a tool call")
        calls: list[Any] = [{"name": call.name, "arguments": call.arguments} for call in turn.calls]
        return {"from": "function_call", "value": dumped(calls if len(calls) > 1 else calls[0])}
    if any(not medium.is_image for medium in turn.media):
        raise Unfit("sound or a file that is no image")
    if turn.media and turn.role != "user":
        raise Unfit("an image or a file that is not the user's")
    if turn.role == ANSWER:
        return {"from": "gpt", "value": turn.text()}
    return {"from": "human", "value": turns.GAP.join(p if isinstance(p, str) else _IMAGE for p in turn.pieces)}


def _check(line: Line) -> Iterator[Finding]:
    yield from rules.known(line, "", {"conversations", "system", "tools", "images"}, "warning")
    yield from rules.is_text(line, "", "system", needed=False)
    found, wrong = rules.split(rules.objects(line.get("conversations"), "conversations", least=2))
    yield from wrong
    for place, one in found:
        yield from rules.known(one, place, {"from", "value"})
        yield from rules.one_of(one.get("from"), at(place, "from"), ("system", *_ASKING, *_ANSWERING))
        yield from rules.is_text(one, place, "value")
        if one.get("from") == "function_call" and isinstance(one.get("value"), str):
            yield from _check_call(one["value"], at(place, "value"))
    yield from _check_turns(found)
    if "tools" in line:
        yield from _check_tools(line["tools"])
    images = line.get("images")
    if images is not None and not isinstance(images, list):
        yield Finding("images", f"has to be a list, and is {kind(images)}")
    elif images is not None:
        places = sum(one["value"].count(_IMAGE) for _, one in found if isinstance(one.get("value"), str))
        if places != len(images):
            yield Finding("images", f"has {len(images)} images for {places} signs {_IMAGE}")


def _check_call(value: str, where: str) -> Iterator[Finding]:
    calls = parsed(value)
    for call in calls if isinstance(calls, list) and calls else [calls]:
        if not isinstance(call, dict) or not isinstance(call.get("name"), str):
            yield Finding(where, "has to be JSON: an object with `name` and `arguments`, or a list of such")
        elif not isinstance(call.get("arguments"), dict):
            yield Finding(where, "has arguments that are no JSON object")


def _check_turns(found: list[tuple[str, dict[str, Any]]]) -> Iterator[Finding]:
    if found and found[0][1].get("from") == "system":
        found = found[1:]
    for position, (place, one) in enumerate(found):
        wanted = _ANSWERING if position % 2 else _ASKING
        if one.get("from") not in wanted:
            yield Finding(at(place, "from"), f"has to be {' or '.join(wanted)} here: they take turns")
            return
        if one["from"] == "observation" and (not position or found[position - 1][1]["from"] != "function_call"):
            yield Finding(place, "is the result of no call: a function_call stands before it")
    if len(found) % 2:
        yield Finding("conversations", "has to end with gpt or function_call")


def _check_tools(value: Any) -> Iterator[Finding]:
    if not isinstance(value, str):
        yield Finding("tools", f"has to be a list as a text of JSON, and is {kind(value)}")
        return
    tools = parsed(value) if value else []
    if not isinstance(tools, list):
        yield Finding("tools", "is no list as a text of JSON")
        return
    for position, tool in enumerate(tools):
        inner = tool.get("function", tool) if isinstance(tool, dict) else tool
        yield from rules.function(inner, at("tools", position), _NAME, ("strict", "type", "required"))


FORMATS = (
    Format(
        name="sharegpt",
        kind="chat",
        title="ShareGPT: LLaMA-Factory and axolotl",
        urls=(_DATA, _CODE, _AXOLOTL),
        rules=(
            "`conversations` of `from` and `value`; `system`, `tools` and `images` beside them",
            "human or observation, then gpt or function_call, and so on; messages of the user that follow one another "
            "are made one",
            "a call is a function_call whose value is JSON with `name` and `arguments`, without an id; its result is "
            "an observation; results of several calls at once, and text beside a call, cannot be told",
            "images of the user: a sign <image> for each, and their addresses in `images`, in order",
            "no place for reasoning, which is left out; no weights: earlier answers are learned too",
        ),
        limits=Limits(),
        write=_write,
        check=_check,
        keeps=frozenset({"tools", "images"}),
        shape=frozenset({"conversations"}),
        media="beside",
    ),
)
