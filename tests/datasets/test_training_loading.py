"""Written files load with Hugging Face `datasets`, with nothing changed, and TRL's own checks take them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.datasets import loading
from tests.datasets.training_examples import (
    IMAGE,
    PAIR,
    SIMPLE,
    WITH_TOOLS,
    call,
    example,
    media_of_format,
    pair,
    result,
    said,
)
from tracecli.config import Home
from tracecli.datasets.example import Example, Pair, Tool
from tracecli.datasets.formats import base
from tracecli.datasets.formats.base import Line, Unfit
from tracecli.datasets.formats.registry import FORMATS
from tracecli.store import parquet

OTHER = Tool("add", "Add.", {"type": "object", "properties": {"n": {"type": "number", "minimum": 0}}})
EXAMPLES = [
    SIMPLE,
    WITH_TOOLS,
    example(
        said("user", "1 + 1?\u2028☃"),
        said("assistant", {"type": "reasoning", "content": "Two."}, call("add", {"n": 1, "of": {"a": [1]}})),
        said("tool", result("2")),
        said("assistant", "2"),
        tools=[OTHER],
    ),
    example(said("user", "Go on."), said("assistant", call("add", {"of": "text"})), tools=[OTHER]),
]
SHOWN = example(said("user", "What is it?", IMAGE), said("assistant", "A dog."))
PAIRS = [
    PAIR,
    pair([said("user", "How?")], said("assistant", call("add", {"n": 1})), said("assistant", "No."), tools=[OTHER]),
]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a file of each format that libraries read."""
    folder = tmp_path_factory.mktemp("written")
    home = Home(folder / "home")
    home.prepare()
    for name in ("openai", "huggingface", "prompt-completion", "sharegpt", "huggingface-preference", "vertex"):
        every: list[Example | Pair] = [*PAIRS] if FORMATS[name].kind == "preference" else [*EXAMPLES]
        (folder / f"{name}.jsonl").write_text("".join(base.text(line) for line in lines(name, every)), "utf-8")
    (folder / "images.jsonl").write_text(
        "".join(base.text(line) for line in lines("huggingface", [SIMPLE, SHOWN])), "utf-8"
    )
    form = FORMATS["parquet"]
    for name, some in (("parquet", [*EXAMPLES, SHOWN]), ("plain", [SIMPLE])):
        parquet.export(home, map(base.text, lines("parquet", [*some])), folder / f"{name}.parquet", form.columns)
    return folder


def lines(name: str, every: list[Example | Pair]) -> list[Line]:
    """What a format can tell of them."""
    found = []
    for one in every:
        try:
            found.append(FORMATS[name].write(one, media_of_format(FORMATS[name])))
        except Unfit:
            continue
    assert found
    return found


@pytest.fixture(scope="module")
def loaded(written: Path) -> dict[str, Any]:
    command = [sys.executable, loading.__file__, str(written)]
    # To compile these libraries anew takes ten seconds, each time.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    ran = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert ran.returncode == 0, ran.stderr[-3000:]
    found: dict[str, Any] = json.loads(ran.stdout)
    return found


def read(file: Path) -> list[Line]:
    return [json.loads(line) for line in file.read_text("utf-8").split("\n") if line]


@pytest.mark.parametrize(
    "name",
    ["openai", "huggingface", "huggingface-preference", "prompt-completion", "sharegpt", "vertex", "images"],
)
def test_lines_load_as_they_were_written(name: str, written: Path, loaded: dict[str, Any]) -> None:
    """But for columns that a row has none of, which are NULL: no argument of a call is added or taken away."""
    rows = [{key: value for key, value in row.items() if value is not None} for row in loaded[name]["rows"]]
    assert rows == read(written / f"{name}.jsonl")


def test_columns_load_as_they_were_written(loaded: dict[str, Any]) -> None:
    assert loaded["parquet"]["rows"] == lines("parquet", [*EXAMPLES, SHOWN])
    assert loaded["plain"]["rows"] == lines("parquet", [SIMPLE])


def test_trl_takes_messages_for_a_conversation(loaded: dict[str, Any]) -> None:
    for name in ("openai", "huggingface", "huggingface-preference", "images", "parquet", "plain"):
        assert set(loaded[name]["conversational"]) == {True}
    assert set(loaded["prompt-completion"]["conversational"]) == {False}


def test_a_chat_template_finds_tools_calls_results_and_reasoning(loaded: dict[str, Any]) -> None:
    """TRL's `apply_chat_template` with the template of Qwen 3, which trl ships."""
    plain, tools, thought, called = (one["text"] for one in loaded["huggingface"]["templated"])
    assert plain.count("<|im_start|>") == 3
    assert (
        '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Zürich", "days": [1, 2.5, null, true]}}' in tools
    )
    assert "<tool_response>\n18 °C\n</tool_response>" in tools
    assert '"description": "Say how the weather is."' in tools
    assert "<think>\nTwo.\n</think>" in thought
    assert '{"name": "add", "arguments": {"of": "text"}}' in called
    chosen = loaded["huggingface-preference"]["templated"][1]
    assert '"arguments": {"n": 1}' in chosen["chosen"]
    assert chosen["rejected"].endswith("No.<|im_end|>\n")
    assert chosen["prompt"].endswith("<|im_start|>user\nHow?<|im_end|>\n<|im_start|>assistant\n")


def test_trl_makes_messages_of_sharegpt(written: Path, loaded: dict[str, Any]) -> None:
    wanted = [
        [{"role": one["from"], "content": one["value"]} for one in line["conversations"]]
        for line in read(written / "sharegpt.jsonl")
    ]
    assert [one["messages"] for one in loaded["sharegpt"]["chatml"]] == wanted
