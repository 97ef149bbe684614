"""The tools that requests offer, in every provider's form."""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracecli.providers.tool_definitions import Defined, offered

_SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
_PLAIN = {"name": "weather", "description": "How it is.", "parameters": _SCHEMA}
_WEATHER = Defined("weather", "How it is.", _SCHEMA, None)


@pytest.mark.parametrize(
    "request_",
    [
        {
            "tools": [
                {
                    "type": "function",
                    "function": _PLAIN,
                }
            ]
        },
        {"tools": [{"type": "function", **_PLAIN}]},
        {"tools": [{"name": "weather", "description": "How it is.", "input_schema": _SCHEMA}]},
        {"tools": [{"functionDeclarations": [_PLAIN]}]},
        {"tools": [{"function_declarations": [_PLAIN]}]},
        {
            "toolConfig": {
                "tools": [
                    {"toolSpec": {"name": "weather", "description": "How it is.", "inputSchema": {"json": _SCHEMA}}},
                    {"cachePoint": {"type": "default"}},
                ]
            }
        },
        {"functions": [_PLAIN]},
        {
            "tools": [
                {
                    "name": "weather",
                    "description": "How it is.",
                    "parameter_definitions": {"city": {"type": "str", "required": True}},
                }
            ]
        },
        {"tools": [{"type": "web_search"}, {"name": "weather", "description": "How it is.", "input_schema": _SCHEMA}]},
        {
            "tools": [
                {"type": "bash_20250124", "name": "bash"},
                {"googleSearch": {}},
                _PLAIN,
            ]
        },
    ],
)
def test_each_form_is_read(request_: dict[str, object]) -> None:
    """The client's tools, and not those that the provider runs."""
    assert offered(json.dumps(request_).encode()).tools == [_WEATHER]


def test_strictness_and_what_is_missing() -> None:
    """A tool needs no schema and no description; strict is kept where it is said."""
    tools = [
        {"type": "function", "function": {"name": "a", "parameters": _SCHEMA, "strict": True}},
        {"type": "function", "function": {"name": "b", "description": "nothing more"}},
        {"type": "function", "function": {"parameters": _SCHEMA}},
    ]
    assert offered(json.dumps({"tools": tools}).encode()).tools == [
        Defined("a", None, _SCHEMA, True),
        Defined("b", "nothing more", None, None),
    ]


def test_whether_several_may_be_called_at_once() -> None:
    """As OpenAI says it, and as Anthropic does; mostly nobody says anything."""
    tools = [_PLAIN]
    for more, expected in (
        ({}, None),
        ({"parallel_tool_calls": False}, False),
        ({"tool_choice": {"type": "auto", "disable_parallel_tool_use": True}}, False),
        ({"tool_choice": "auto", "parallel_tool_calls": True}, True),
        ({"parallel_tool_calls": "no"}, None),
    ):
        assert offered(json.dumps({"tools": tools, **more}).encode()).parallel is expected


_KEYS = ["tools", "function", "name", "functionDeclarations", "toolConfig", "parameters", "description", "toolSpec"]
_ANY = st.recursive(
    st.none() | st.text() | st.booleans(),
    lambda some: st.lists(some) | st.dictionaries(st.sampled_from(_KEYS), some),
)


@given(st.binary() | _ANY.map(lambda value: json.dumps({"tools": value}).encode()))
def test_nothing_makes_it_fail(body: bytes) -> None:
    """Whatever is in a request."""
    for one in offered(body).tools:
        assert isinstance(one.name, str)


def test_recorded_requests_have_their_tools() -> None:
    """Each request with tools of the client's has some."""
    folder = os.environ.get("TRACECLI_RECORDINGS")
    if not folder:
        pytest.skip("TRACECLI_RECORDINGS names no folder of recordings")
    found = without = 0
    for line in (Path(folder) / "exchanges.jsonl").read_text("utf-8").splitlines():
        body = base64.b64decode(json.loads(line)["request_body"])
        if any(sign in body for sign in (b'"parameters"', b'"input_schema"', b'"inputSchema"', b"unctionDeclarations")):
            some = offered(body).tools
            found += bool(some)
            without += not some
            assert all(one.parameters is None or isinstance(one.parameters, dict) for one in some)
    assert found > 20 and without <= 6, (found, without)
