"""Datasets on a terminal: within its width, and harmless whatever was recorded."""

from __future__ import annotations

from pathlib import Path

import pytest
from rich.cells import cell_len
from rich.text import Text

from tests.support.datasets import built, made
from tests.support.looks import rendered
from tests.support.upkeep import chat, new_home, stored
from tracecli.datasets import comparing
from tracecli.tables import datasets as tables

_HOSTILE = "gpt\x1b]52;c;x\x07[bold red]\u202e"


@pytest.mark.parametrize("width", [60, 80, 120])
def test_what_was_built_fits_the_terminal(tmp_path: Path, width: int) -> None:
    """Lists, what each step did, files, differences."""
    home = new_home(tmp_path)
    prompts = [f"Prompt {number} {' '.join(str(number * step) for step in range(2, 30))}" for number in range(9)]
    stored(home, *(chat(prompt=one, answer=f"{one} is answered", user=_HOSTILE) for one in [*prompts, prompts[0]]))
    first = built(home, where=f'user:"{_HOSTILE}" -status:500', formats=["openai", "vertex"])
    second = built(home, turns="each", per_user=2)
    third = made(home, "third")
    manifest = second.manifest()
    assert manifest is not None
    found = [(one, one.definition(), one.count(), one.manifest()) for one in (first, second, third)]
    different = comparing.difference(first, second)
    shown = [
        rendered(tables.listed(found), width),
        rendered(tables.result(manifest), width),
        rendered(tables.difference(different), width),
    ]
    for text in shown:
        plain = Text.from_ansi(text).plain
        assert max(cell_len(line) for line in plain.splitlines()) <= width
        assert "\x1b]52" not in text and "\u202e" not in text and "\x07" not in text
    everything = Text.from_ansi("".join(shown)).plain
    for expected in (
        "all@2",
        "not built",
        "per_user",
        "openai/train.jsonl",
        "more of the user",
        "exchanges are in both",
    ):
        assert expected in everything, expected
    for piped in (tables.listed_plain(found), tables.difference_plain(different), tables.result_plain(manifest)):
        assert not any("\x1b" in line or "\u202e" in line for line in piped)
    assert "\x1b]52" not in rendered(tables.shown(*found[0]), width, terminal=False)
