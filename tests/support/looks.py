"""The looks that are kept as golden files. `python -m tests.support.looks` writes them anew: look at the difference."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from rich.console import Console, RenderableType

from tests.support.rows import NOTHING_KNOWN, NOW, ZONE, opened, rows
from tracecli.exchange import Body
from tracecli.tables.listing import Listing, plain
from tracecli.tables.opened import opened as parts

GOLDEN = Path(__file__).parents[1] / "tables" / "golden"


def rendered(what: RenderableType | Iterable[RenderableType], width: int = 80, *, terminal: bool = True) -> str:
    """What a terminal of `width` cells gets, styles included, or a pipe."""
    console = Console(
        file=io.StringIO(),
        width=width,
        force_terminal=terminal,
        color_system="standard" if terminal else None,
        markup=False,
        emoji=False,
        highlight=False,
        legacy_windows=False,
        _environ={},
    )
    for one in [what] if hasattr(what, "__rich_console__") else what:  # type: ignore[union-attr]
        console.print(one, soft_wrap=not terminal)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def _not_understood() -> Any:
    return opened(
        **NOTHING_KNOWN,
        input_messages=[],
        output_messages=[],
        completion=None,
        status=429,
        error="You exceeded your current quota.",
        flags=["not_understood"],
        cost_detail="the answer reports no tokens",
        ttft_ms=None,
        request=Body([("content-type", "application/json")], b'{"input":["a"],"vector":[0.1,0.2,-3e-5]}', False),
        response=Body([("content-type", "image/png")], b"\x89PNG\0\0", True),
    )


LOOKS: dict[str, Callable[[], str]] = {
    **{
        f"list-{width}": lambda width=width: rendered(Listing(rows(), NOW, ZONE), width)  # type: ignore[misc]
        for width in (60, 80, 100, 120, 160)
    },
    "list-pipe": lambda: "".join(f"{line}\n" for line in plain(rows(), ZONE)),
    "opened-80": lambda: rendered(parts(opened(), ZONE)),
    "opened-pipe": lambda: rendered(parts(opened(), ZONE), terminal=False),
    "opened-not-understood-80": lambda: rendered(parts(_not_understood(), ZONE)),
    "opened-not-traced-80": lambda: rendered(
        parts(opened(traced=False, input_messages=[], output_messages=[], completion=None), ZONE)
    ),
}

if __name__ == "__main__":
    GOLDEN.mkdir(exist_ok=True)
    for name, look in LOOKS.items():
        (GOLDEN / f"{name}.txt").write_text(look(), "utf-8")
