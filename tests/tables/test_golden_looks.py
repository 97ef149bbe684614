"""How lists and opened requests look, as golden files."""

from __future__ import annotations

import re

import pytest
from rich.cells import cell_len

from tests.support.looks import GOLDEN, LOOKS


@pytest.mark.parametrize("name", LOOKS)
def test_look(name: str) -> None:
    """Each look is the one in its golden file, styles included (`python -m tests.support.looks` renews them)."""
    assert LOOKS[name]() == (GOLDEN / f"{name}.txt").read_text("utf-8")


@pytest.mark.parametrize("name", [name for name in LOOKS if name.rsplit("-", 1)[1].isdigit()])
def test_nothing_is_wider_than_the_terminal(name: str) -> None:
    """No line passes the edge of the terminal it was made for, wide characters counted as two cells."""
    width = int(name.rsplit("-", 1)[1])
    for line in re.sub(r"\x1b\[[\d;]*m", "", LOOKS[name]()).splitlines():
        assert cell_len(line) <= width, line


def test_a_pipe_gets_neither_escapes_nor_boxes() -> None:
    """Piped looks hold no escape sequence and no box-drawing or block character."""
    for name in ("list-pipe", "opened-pipe"):
        assert not re.search("[\x1b\u2500-\u259f]", LOOKS[name]())
