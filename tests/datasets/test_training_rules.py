"""The rules that providers publish, each broken once: it is found in its line and at its place."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.datasets.training_examples import IMAGE, PAIR, WEATHER, call, example, media_of_format, result, said
from tracecli.config import Home
from tracecli.datasets.example import Example, Pair
from tracecli.datasets.formats import base
from tracecli.datasets.formats.base import Line, Problem, Unfit
from tracecli.datasets.formats.registry import FORMATS
from tracecli.datasets.validation import Validation

GONE = object()
CUT = object()
"""The last one of a list is taken away."""
AGAIN = object()
"""The last one of a list is there twice."""
SAME = ""
"""It is found where it is changed."""

TEXT = example(
    said("system", "S"), said("user", "1"), said("assistant", "2"), said("user", "3"), said("assistant", "4")
)
TOOLS = example(
    said("user", "1"),
    said("assistant", call(arguments={"city": "x"})),
    said("tool", result("2")),
    said("assistant", "3"),
    tools=[WEATHER],
    parallel_tool_calls=True,
)
SHOWN = example(said("user", "What?", IMAGE), said("assistant", "A dog."))
WEIGHED = Example(messages=TEXT.messages, source=TEXT.source, only_last=True)
TURN = example(said("user", "1"), said("assistant", "2"))

OPENAI_LIKE: list[tuple[Example, str, Any, str]] = [
    (TEXT, "messages", GONE, SAME),
    (TEXT, "messages", [], SAME),
    (TEXT, "messages", {}, SAME),
    (TEXT, "messages[1]", "1", SAME),
    (TEXT, "messages[1].role", GONE, SAME),
    (TEXT, "messages[1].role", "critic", SAME),
    (TEXT, "messages[1].content", GONE, SAME),
    (TEXT, "messages[1].content", 1, SAME),
    (TEXT, "messages", CUT, "messages[3].role"),
    (TOOLS, "messages[1].tool_calls", [], SAME),
    (TOOLS, "messages[1].tool_calls[0].type", "thing", SAME),
    (TOOLS, "messages[1].tool_calls[0].function", GONE, SAME),
    (TOOLS, "messages[1].tool_calls[0].function.name", GONE, SAME),
    (TOOLS, "messages[1].tool_calls[0].function.arguments", 1, SAME),
    (TOOLS, "messages[2].tool_call_id", "other", "messages[2]"),
    (TOOLS, "messages[2].content", GONE, SAME),
    (TOOLS, "messages[2].role", "user", "messages[1].tool_calls[0]"),
    (TOOLS, "tools[0].type", "thing", SAME),
    (TOOLS, "tools[0].function.name", GONE, SAME),
    (TOOLS, "tools[0].function.parameters", "x", SAME),
    (TOOLS, "tools", {}, SAME),
]
PROVIDERS: list[tuple[Example, str, Any, str]] = [
    *OPENAI_LIKE,
    (TEXT, "messages[1].extra", 1, SAME),
    (TEXT, "extra", 1, SAME),
    (TOOLS, "messages[1].tool_calls[0].id", GONE, SAME),
    (TOOLS, "messages[1].tool_calls[0].function.name", "a b", SAME),
    (TOOLS, "messages[1].tool_calls[0].function.arguments", "{", SAME),
    (TOOLS, "messages[1].tool_calls[0].function.arguments", "[1]", SAME),
    (TOOLS, "messages[1].tool_calls", AGAIN, "messages[1].tool_calls[1].id"),
    (TOOLS, "messages[2].tool_call_id", GONE, SAME),
    (TOOLS, "tools[0].function.name", "x" * 65, SAME),
    (WEIGHED, "messages[2].weight", 0.5, SAME),
    (WEIGHED, "messages[2].weight", True, SAME),
    (WEIGHED, "messages[4].weight", 0, "messages"),
    (SHOWN, "messages[0].content[1].image_url", "u", SAME),
    (SHOWN, "messages[0].content[1].image_url.url", GONE, SAME),
    (SHOWN, "messages[0].content[1].image_url.url", "data:image/tiff;base64,AA", SAME),
    (SHOWN, "messages[0].content[1].image_url.url", "file.png", SAME),
    (SHOWN, "messages[0].content[1].image_url.detail", "all", SAME),
    (SHOWN, "messages[0].content[1].type", "input_image", SAME),
    (SHOWN, "messages[0].role", "system", "messages[0].content[1]"),
]
LARGE = f"data:image/png;base64,{'A' * 14_000_000}"
OUTPUTS: list[tuple[Pair, str, Any, str]] = [
    (PAIR, "input", GONE, SAME),
    (PAIR, "input", [], SAME),
    (PAIR, "input.messages", [], SAME),
    (PAIR, "input.extra", 1, SAME),
    (PAIR, "input.messages[1].role", "assistant", SAME),
    (PAIR, "preferred_output", GONE, SAME),
    (PAIR, "preferred_output", [], SAME),
    (PAIR, "non_preferred_output", "Ill", SAME),
    (PAIR, "non_preferred_output[0].role", "user", SAME),
    (PAIR, "non_preferred_output[0].content", GONE, SAME),
    (PAIR, "extra", 1, SAME),
]
BROKEN: list[tuple[str, Any, str, Any, str]] = [
    *[(form, *rest) for form in ("openai", "together", "fireworks") for rest in PROVIDERS],
    *[(f"{form}-preference", *rest) for form in ("openai", "together", "fireworks") for rest in OUTPUTS],
    *[("huggingface", *rest) for rest in OPENAI_LIKE],
    ("openai", TOOLS, "parallel_tool_calls", "yes", SAME),
    ("openai", TOOLS, "messages[0].name", 1, SAME),
    ("openai", TEXT, "messages[4].refusal", 1, SAME),
    ("openai", SHOWN, "messages[0].content[1].image_url.url", LARGE, SAME),
    ("together", SHOWN, "messages[0].content[1].image_url.url", LARGE, SAME),
    ("together", SHOWN, "messages[0].content[1].image_url.url", "https://x/a.png", SAME),
    ("fireworks", SHOWN, "messages[0].content[1].image_url.url", "https://x/a.png", SAME),
    ("together", TEXT, "messages[2].role", "user", SAME),
    ("together", TEXT, "messages[1].role", "system", SAME),
    ("together", TEXT, "messages[1].name", "alice", SAME),
    ("together", TOOLS, "parallel_tool_calls", True, SAME),
    ("together-preference", PAIR, "preferred_output", AGAIN, SAME),
    ("fireworks", TEXT, "messages[1].role", "system", SAME),
    ("fireworks", TEXT, "messages[1].reasoning_content", "Hm.", SAME),
    ("fireworks", TEXT, "messages[2].reasoning_content", 1, SAME),
    ("huggingface", SHOWN, "images", [], SAME),
    ("huggingface", SHOWN, "images", AGAIN, SAME),
    ("huggingface", SHOWN, "images", "a.png", SAME),
    ("huggingface", TOOLS, "tools", "{", SAME),
    ("huggingface-preference", PAIR, "prompt", GONE, SAME),
    ("huggingface-preference", PAIR, "prompt[1].role", "assistant", SAME),
    ("huggingface-preference", PAIR, "chosen", [], SAME),
    ("huggingface-preference", PAIR, "rejected", "No.", SAME),
    ("huggingface-preference", PAIR, "rejected[0].role", "user", SAME),
    ("bedrock-claude", TEXT, "system", 1, SAME),
    ("bedrock-claude", TEXT, "extra", 1, SAME),
    ("bedrock-claude", TEXT, "messages[0].extra", 1, SAME),
    ("bedrock-claude", TEXT, "messages[0].role", "assistant", SAME),
    ("bedrock-claude", TEXT, "messages[0].role", "system", SAME),
    ("bedrock-claude", TEXT, "messages[1].role", "user", SAME),
    ("bedrock-claude", TEXT, "messages", CUT, "messages[2].role"),
    ("bedrock-claude", TEXT, "messages[0].content", [{"type": "text", "text": "1"}], SAME),
    ("bedrock-claude", TURN, "messages", CUT, SAME),
    ("bedrock-conversation", TEXT, "schemaVersion", 2024, SAME),
    ("bedrock-conversation", TEXT, "schemaVersion", GONE, SAME),
    ("bedrock-conversation", TEXT, "system[0].text", 1, SAME),
    ("bedrock-conversation", TEXT, "system", "S", SAME),
    ("bedrock-conversation", TEXT, "messages[0].content", "1", SAME),
    ("bedrock-conversation", TEXT, "messages[0].content", [], SAME),
    ("bedrock-conversation", TEXT, "messages[0].content[0]", {"words": "1"}, "messages[0].content[0].words"),
    ("bedrock-conversation", TEXT, "messages[1].role", "user", SAME),
    ("bedrock-conversation", TEXT, "messages", CUT, "messages[2].role"),
    ("bedrock-conversation", TOOLS, "messages[1].content[0].toolUse.input", "x", SAME),
    ("bedrock-conversation", TOOLS, "messages[1].content[0].toolUse.name", "a b", SAME),
    ("bedrock-conversation", TOOLS, "messages[1].content[0].toolUse.toolUseId", GONE, SAME),
    ("bedrock-conversation", TOOLS, "messages[1].content", AGAIN, "messages[1].content[1].toolUse.toolUseId"),
    (
        "bedrock-conversation",
        TOOLS,
        "messages[2].content[0].toolResult.toolUseId",
        "x",
        "messages[1].content[0].toolUse",
    ),
    (
        "bedrock-conversation",
        TOOLS,
        "messages[2].content[0].toolResult.toolUseId",
        "x",
        "messages[2].content[0].toolResult",
    ),
    ("bedrock-conversation", TOOLS, "messages[2].content[0].toolResult.status", "bad", SAME),
    ("bedrock-conversation", TOOLS, "messages[2].content[0].toolResult.content", "2", SAME),
    ("bedrock-conversation", TOOLS, "toolConfig", [], SAME),
    ("bedrock-conversation", TOOLS, "toolConfig.tools", [], SAME),
    ("bedrock-conversation", TOOLS, "toolConfig.tools[0].toolSpec", GONE, SAME),
    ("bedrock-conversation", TOOLS, "toolConfig.tools[0].toolSpec.inputSchema", {}, SAME),
    ("bedrock-conversation", SHOWN, "messages[0].content[1].image.format", "bmp", SAME),
    (
        "bedrock-conversation",
        SHOWN,
        "messages[0].content[1].image.source",
        {"bytes": "AA"},
        "messages[0].content[1].image.source.s3Location.uri",
    ),
    ("bedrock-conversation", SHOWN, "messages[0].content[1].image.source.s3Location.uri", "https://x/a.png", SAME),
    ("vertex", TEXT, "contents", GONE, SAME),
    ("vertex", TEXT, "extra", 1, SAME),
    ("vertex", TEXT, "systemInstruction", "S", SAME),
    ("vertex", TEXT, "systemInstruction.parts", [], SAME),
    ("vertex", TEXT, "system_instruction", {"parts": [{"text": "S"}]}, SAME),
    ("vertex", TEXT, "contents[0].role", "assistant", SAME),
    ("vertex", TEXT, "contents[0].role", "model", SAME),
    ("vertex", TEXT, "contents[1].role", "user", SAME),
    ("vertex", TEXT, "contents", CUT, "contents[2].role"),
    ("vertex", TEXT, "contents[0].parts", [], SAME),
    ("vertex", TEXT, "contents[0].parts[0].text", 1, SAME),
    ("vertex", TEXT, "contents[0].parts[0].words", 1, SAME),
    ("vertex", TOOLS, "contents[1].parts[0].functionCall.args", "x", SAME),
    ("vertex", TOOLS, "contents[1].parts[0].functionCall.name", "1a", SAME),
    ("vertex", TOOLS, "contents[2].parts[0].functionResponse.name", "x", "contents[1].parts[0].functionCall"),
    ("vertex", TOOLS, "contents[2].parts[0].functionResponse.name", "x", "contents[2].parts[0].functionResponse"),
    ("vertex", TOOLS, "contents[2].parts[0].functionResponse.response", "2", SAME),
    ("vertex", TOOLS, "tools[0].functionDeclarations[0].name", GONE, SAME),
    ("vertex", TOOLS, "tools[0].functions", [], SAME),
    ("vertex", SHOWN, "contents[0].parts[1].fileData.mimeType", GONE, SAME),
    ("vertex", SHOWN, "contents[0].parts[1].fileData.fileUri", "s3://b/a.png", SAME),
    ("prompt-completion", TURN, "prompt", GONE, SAME),
    ("prompt-completion", TURN, "prompt", "", SAME),
    ("prompt-completion", TURN, "completion", ["2"], SAME),
    ("prompt-completion", TURN, "text", "3", SAME),
    ("sharegpt", TEXT, "conversations", GONE, SAME),
    ("sharegpt", TEXT, "conversations[0].value", 1, SAME),
    ("sharegpt", TEXT, "conversations[0].from", "user", SAME),
    ("sharegpt", TEXT, "conversations[1].from", "human", SAME),
    ("sharegpt", TEXT, "conversations[2].from", "observation", "conversations[2]"),
    ("sharegpt", TEXT, "conversations", CUT, SAME),
    ("sharegpt", TEXT, "system", 1, SAME),
    ("sharegpt", TOOLS, "conversations[1].value", "get_weather", SAME),
    ("sharegpt", TOOLS, "conversations[1].value", '{"name": "x", "arguments": "{}"}', SAME),
    ("sharegpt", TOOLS, "tools", [], SAME),
    ("sharegpt", TOOLS, "tools", "{", SAME),
    ("sharegpt", TOOLS, "tools", '[{"name": 1}]', "tools[0].name"),
    ("sharegpt", SHOWN, "images", AGAIN, SAME),
    ("sharegpt", SHOWN, "images", "a.png", SAME),
]


def changed(line: Line, path: str, value: Any) -> Line:
    """The line with another value at a place."""
    *way, last = [int(step) if step.isdigit() else step for step in re.findall(r"[\w-]+", path)]
    line = copy.deepcopy(line)
    found: Any = line
    for step in way:
        found = found[step]
    if value is GONE:
        del found[last]
    elif value is CUT:
        found[last].pop()
    elif value is AGAIN:
        found[last].append(found[last][-1])
    else:
        found[last] = value
    return line


def problems(tmp_path: Path, form: str, lines: list[Line]) -> list[Problem]:
    file = tmp_path / "train.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return list(Validation(Home(tmp_path / "home"), file, FORMATS[form]).problems())


@pytest.mark.parametrize(
    ("form", "one", "path", "value", "where"),
    BROKEN,
    ids=[f"{form}-{path}-{number}" for number, (form, _, path, _, _) in enumerate(BROKEN)],
)
def test_a_broken_rule_is_found_in_its_line(
    form: str, one: Example | Pair, path: str, value: Any, where: str, tmp_path: Path
) -> None:
    good = FORMATS[form].write(one, media_of_format(FORMATS[form]))
    lines = [good] * 12
    assert [one for one in problems(tmp_path, form, lines) if one.severity == "error"] == []
    lines[7] = changed(good, path, value)
    found = [one for one in problems(tmp_path, form, lines) if one.severity == "error"]
    assert {one.line for one in found} == {8}
    assert (where or path) in [one.where for one in found], found
    assert all(one.problem and not one.problem.endswith(".") for one in found)


@pytest.mark.parametrize(
    ("form", "changes"),
    [
        ("openai", [("messages[2].role", "developer")]),
        ("openai", [("messages[4].weight", 1)]),
        ("together", [("messages[4].reasoning", "Hm.")]),
        ("fireworks", [("messages[4].reasoning_content", "Hm.")]),
        ("huggingface", [("chat_template_kwargs", {"enable_thinking": True}), ("messages[4].reasoning_content", "")]),
        ("vertex", [("generationConfig", {"mediaResolution": "MEDIA_RESOLUTION_LOW"})]),
    ],
)
def test_what_a_provider_takes_beside_what_is_written_is_no_problem(
    form: str, changes: list[tuple[str, Any]], tmp_path: Path
) -> None:
    line = FORMATS[form].write(TEXT, media_of_format(FORMATS[form]))
    for path, value in changes:
        line = changed(line, path, value)
    assert problems(tmp_path, form, [line] * 12) == []


@pytest.mark.parametrize(
    ("form", "one", "path"),
    [
        ("huggingface", TEXT, "extra"),
        ("huggingface", TEXT, "messages[1].extra"),
        ("huggingface-preference", PAIR, "extra"),
        ("sharegpt", TEXT, "extra"),
    ],
)
def test_what_a_library_leaves_alone_is_a_warning(form: str, one: Example | Pair, path: str, tmp_path: Path) -> None:
    line = changed(FORMATS[form].write(one, media_of_format(FORMATS[form])), path, 1)
    assert [(found.where, found.severity) for found in problems(tmp_path, form, [line])] == [(path, "warning")]


def places(value: Any, path: str = "") -> list[str]:
    """All places in a line, as paths."""
    steps: list[tuple[str, Any]] = []
    if isinstance(value, dict):
        steps = [(f"{path}.{name}" if path else name, inner) for name, inner in value.items()]
    elif isinstance(value, list):
        steps = [(f"{path}[{number}]", inner) for number, inner in enumerate(value)]
    return [found for place, inner in steps for found in (place, *places(inner, place))]


ODD = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.just("sk-12345")
    | st.sampled_from(["user", "assistant", "tool", "text"]),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["role", "content", "sk-12345"]), inner)
    ),
    max_leaves=5,
)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_no_line_is_too_odd_to_be_checked(data: st.DataObject) -> None:
    """Whatever stands at any place: a check ends, its words are plain, and it quotes nothing."""
    form = data.draw(st.sampled_from(list(FORMATS.values())))
    one = data.draw(st.sampled_from([PAIR] if form.kind == "preference" else [TURN, SHOWN, TOOLS]))
    try:
        line = form.write(one, media_of_format(form))
    except Unfit:
        return
    for _ in range(data.draw(st.integers(1, 2))):
        line = changed(line, data.draw(st.sampled_from(places(line))), data.draw(ODD))
    for found in form.check(line):
        assert "sk-" not in found.where + found.problem
        assert "\n" not in found.problem


def test_calls_of_the_last_answer_need_no_result(tmp_path: Path) -> None:
    one = example(said("user", "?"), said("assistant", call()), tools=[WEATHER])
    for form in ("openai", "together", "fireworks", "bedrock-conversation", "vertex", "huggingface", "sharegpt"):
        line = FORMATS[form].write(one, media_of_format(FORMATS[form]))
        assert problems(tmp_path, form, [line] * 12) == []


def test_images_beyond_what_one_of_two_providers_takes_are_a_warning(tmp_path: Path) -> None:
    form = FORMATS["openai"]
    line = form.write(example(said("user", *[IMAGE] * 12), said("assistant", "!")), media_of_format(form))
    [found] = problems(tmp_path, "openai", [line] + [form.write(TEXT, media_of_format(form))] * 10)
    assert (found.line, found.severity) == (1, "warning")
    too_many = changed(line, "messages[0].content", line["messages"][0]["content"] * 6)
    assert "error" in [one.severity for one in problems(tmp_path, "openai", [too_many] * 10)]


@pytest.mark.parametrize("form", ["vertex", "bedrock-conversation"])
def test_a_file_that_has_to_be_uploaded_is_a_warning(form: str, tmp_path: Path) -> None:
    line = FORMATS[form].write(SHOWN, media_of_format(FORMATS[form]))
    assert [(one.line, one.severity) for one in problems(tmp_path, form, [line])] == [(1, "warning")]


def test_each_format_has_its_sources_and_rules() -> None:
    for form in FORMATS.values():
        assert form.urls and all(url.startswith("https://") for url in form.urls)
        assert len(form.rules) >= 3
        assert base.text({"é": 1}) == '{"é": 1}\n'
