"""The tools that a request offers to the model, in whatever form its provider has them. Pure.

OpenAI chat, Mistral, Groq, Ollama, Cohere v2: `tools[].function`; OpenAI Responses: `tools[]` of the type `function`;
Anthropic: `tools[].input_schema`; Gemini: `tools[].functionDeclarations`; Bedrock Converse:
`toolConfig.tools[].toolSpec`; Cohere v1: `tools[].parameter_definitions`. Tools that the provider runs are none.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from tracecli.providers.values import Json, obj, objects, parse, text


class Defined(NamedTuple):
    """A tool as it was offered."""

    name: str
    description: str | None
    parameters: Json | None
    """A JSON schema."""
    strict: bool | None


class Offered(NamedTuple):
    """What a request offers."""

    tools: list[Defined]
    parallel: bool | None
    """Whether the model may call several at once; None: the request does not say."""


def offered(body: bytes) -> Offered:
    """The tools of a request's plain body; none if it is no JSON."""
    if b'"tools"' not in body and b'"functions"' not in body:
        return Offered([], None)
    try:
        request = obj(parse(body))
    except ValueError:
        return Offered([], None)
    tools = [*objects(request.get("tools")), *objects(obj(request.get("toolConfig")).get("tools"))]
    parallel = request.get("parallel_tool_calls")  # OpenAI, Mistral, Groq
    if isinstance(disabled := obj(request.get("tool_choice")).get("disable_parallel_tool_use"), bool):  # Anthropic
        parallel = not disabled
    defined = [*_each(tools), *_each(objects(request.get("functions")))]
    return Offered(defined, parallel if isinstance(parallel, bool) else None)


def _each(tools: list[Json]) -> Iterator[Defined]:
    for one in tools:
        for names in ("functionDeclarations", "function_declarations"):
            for declared in objects(one.get(names)):
                yield from _defined(declared)
        about = obj(one.get("function")) or obj(one.get("toolSpec")) or one
        yield from _defined(about)


def _defined(about: Json) -> Iterator[Defined]:
    name = text(about.get("name"))
    schema = next((obj(about[key]) for key in _SCHEMAS if isinstance(about.get(key), dict)), None)
    if name is None or (schema is None and not {"description", "parameters"} & about.keys()):
        return  # one that the provider runs: it has a type and settings
    if schema is not None and isinstance(schema.get("json"), dict):  # Bedrock
        schema = obj(schema["json"])
    if schema is None and (given := obj(about.get("parameter_definitions"))):  # Cohere v1
        schema = _of_cohere(given)
    strict = about.get("strict")
    yield Defined(name, text(about.get("description")), schema, strict if isinstance(strict, bool) else None)


_SCHEMAS = ("parameters", "input_schema", "inputSchema", "parametersJsonSchema", "parameters_json_schema")


def _of_cohere(given: Json) -> Json:
    """https://docs.cohere.com/v1/reference/chat: names with a Python type and whether they are required."""
    kinds = {"str": "string", "int": "integer", "float": "number", "bool": "boolean", "list": "array", "dict": "object"}
    properties: Json = {}
    for name, about in given.items():
        kind = kinds.get((text(obj(about).get("type")) or "").lower().partition("[")[0])
        properties[name] = ({"type": kind} if kind else {}) | (
            {"description": said} if (said := text(obj(about).get("description"))) else {}
        )
    required = [name for name, about in given.items() if obj(about).get("required") is True]
    return {"type": "object", "properties": properties} | ({"required": required} if required else {})
