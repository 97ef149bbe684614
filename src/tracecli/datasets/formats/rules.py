"""Rules that several formats share, as pieces of their checks. Pure.

What a line holds is told only where it is harmless: a name of letters, as keys and roles have them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Iterator
from typing import Any

from tracecli.datasets.formats.base import Finding, Severity

_HARMLESS = re.compile(r"[A-Za-z][A-Za-z_-]{0,30}")
_KINDS = {dict: "an object", list: "a list", str: "a text", bool: "true or false", int: "a number", float: "a number"}
DATA_URL = re.compile(r"data:(?P<type>[a-z]+/[a-z0-9.+-]+);base64,", re.IGNORECASE)
TOOL_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
"""Of OpenAI, Fireworks, Together and Amazon: https://platform.openai.com/docs/api-reference/chat/create"""


def shown(value: object) -> str:
    """A key or a role for a message, if it is of a harmless shape."""
    return f"`{value}`" if isinstance(value, str) and _HARMLESS.fullmatch(value) else "another one"


def kind(value: object) -> str:
    """What a JSON value is."""
    return _KINDS.get(type(value), "null")


def at(where: str, name: str | int) -> str:
    """The place of a member or an element."""
    if isinstance(name, int):
        return f"{where}[{name}]"
    return f"{where}.{name}" if where else name


def known(value: dict[str, Any], where: str, names: Collection[str], severity: Severity = "error") -> Iterator[Finding]:
    """No other keys. A `warning` where those do no harm."""
    for key in value:
        if key not in names:
            place = at(where, key) if _HARMLESS.fullmatch(key) else where
            yield Finding(place, f"the format has no such key; its keys are {', '.join(sorted(names))}", severity)


def is_text(value: dict[str, Any], where: str, name: str, *, needed: bool = True) -> Iterator[Finding]:
    """A member that is a text."""
    found = value.get(name)
    if found is None:
        if needed:
            yield Finding(at(where, name), "is missing: it has to be a text")
    elif not isinstance(found, str):
        yield Finding(at(where, name), f"has to be a text, and is {kind(found)}")


def objects(value: Any, where: str, *, least: int = 1) -> Iterator[tuple[str, dict[str, Any]] | Finding]:
    """The objects of a list, with their places; findings where it is no list of them."""
    if value is None and least:
        yield Finding(where, "is missing: it has to be a list")
    elif not isinstance(value, list):
        yield Finding(where, f"has to be a list, and is {kind(value)}")
    elif len(value) < least:
        yield Finding(where, f"needs {'an element' if least == 1 else f'{least} elements'} at least")
    else:
        for position, one in enumerate(value):
            place = at(where, position)
            if isinstance(one, dict):
                yield place, one
            else:
                yield Finding(place, f"has to be an object, and is {kind(one)}")


def split(
    found: Iterable[tuple[str, dict[str, Any]] | Finding],
) -> tuple[list[tuple[str, dict[str, Any]]], list[Finding]]:
    """What `objects` yields, apart: objects with their places, and findings."""
    every = list(found)
    return [one for one in every if not isinstance(one, Finding)], [one for one in every if isinstance(one, Finding)]


def one_of(value: object, where: str, choices: Collection[object]) -> Iterator[Finding]:
    """A value of a few."""
    if not isinstance(value, str | int | None) or value not in choices:
        told = " or ".join(str(choice) for choice in choices)
        what = "is missing" if value is None else shown(value) if isinstance(value, str) else kind(value)
        yield Finding(where, f"has to be {told}, and is {what}" if value is not None else f"is missing: {told}")


def function(tool: Any, where: str, name: re.Pattern[str], extra: Collection[str] = ()) -> Iterator[Finding]:
    """The definition of a function: name, description, parameters."""
    if not isinstance(tool, dict):
        yield Finding(where, f"has to be an object, and is {kind(tool)}")
        return
    yield from known(tool, where, {"name", "description", "parameters", *extra})
    yield from tool_name(tool.get("name"), at(where, "name"), name)
    yield from is_text(tool, where, "description", needed=False)
    parameters = tool.get("parameters")
    if parameters is not None and not isinstance(parameters, dict):
        yield Finding(at(where, "parameters"), f"has to be a JSON schema, an object, and is {kind(parameters)}")


def tool_name(value: object, where: str, name: re.Pattern[str]) -> Iterator[Finding]:
    """The name of a tool."""
    if value is None:
        yield Finding(where, "is missing: a tool has a name")
    elif not isinstance(value, str) or not name.fullmatch(value):
        yield Finding(where, f"is no name of a tool: those fit {name.pattern}")


def openai_tools(value: Any, where: str, name: re.Pattern[str], most: int | None = None) -> Iterator[Finding]:
    """Tools as OpenAI defines them: `{"type": "function", "function": {...}}`."""
    found, wrong = split(objects(value, where, least=0))
    yield from wrong
    for place, tool in found:
        yield from known(tool, place, {"type", "function"})
        yield from one_of(tool.get("type"), at(place, "type"), ("function",))
        yield from function(tool.get("function"), at(place, "function"), name, ("strict", "return"))
    if most is not None and len(found) > most:
        yield Finding(where, f"holds more than {most} tools")


def json_object(value: object, where: str) -> Iterator[Finding]:
    """A text that is a JSON object."""
    if not isinstance(value, str):
        yield Finding(where, f"has to be a text of JSON, and is {kind(value)}")
        return
    try:
        parsed = json.loads(value)
    except (ValueError, RecursionError):
        yield Finding(where, "is no JSON: arguments are a JSON object as a text")
        return
    if not isinstance(parsed, dict):
        yield Finding(where, f"has to be a JSON object, and is {kind(parsed)}")


def inline_bytes(url: str) -> tuple[str, int] | None:
    """The type and the size of what a data URL holds; None: it is none."""
    match = DATA_URL.match(url)
    if match is None:
        return None
    data = len(url) - match.end()
    return match["type"].lower(), data * 3 // 4 - url[-2:].count("=")
