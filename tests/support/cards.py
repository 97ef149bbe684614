"""Manifests, made up. `python -m tests.support.cards` writes the golden cards anew: look at the difference."""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from tracecli.datasets import card
from tracecli.datasets.definition import Definition, text_of
from tracecli.datasets.manifest import File, Manifest, Part, Step
from tracecli.datasets.notes import FORM
from tracecli.store.curating import Spread

GOLDEN = Path(__file__).parents[1] / "datasets" / "golden"
HOSTILE = (
    "</code><script>alert(1)</script>` ``| [a](http://example.com) ![b](http://example.com/x)\n\n---\n# c\r\n"
    "www.example.com a@example.com \x1b[31m\x00\u202e\u2028 é 👍 {{ x }} $HOME"
)
NONE = Spread(0, 0, 0, 0, 0)


def file(form: str, split: str, examples: int, **more: Any) -> File:
    """A file of a format."""
    path = f"{form}/{split}.{'parquet' if form == 'parquet' else 'jsonl'}"
    digest = hashlib.sha256(path.encode()).hexdigest()
    about: dict[str, Any] = {"path": path, "bytes": 1000 * examples, "sha256": digest}
    return File(format=form, split=split, examples=examples, **(about | more))


def usual(*formats: str, definition: str = 'where = "policy:support"\n', **changes: Any) -> Manifest:
    """A dataset as they are: 1,000 examples, of which 800 with a million tokens are to be learned."""
    about: dict[str, Any] = {
        "name": "support",
        "version": 2,
        "definition": definition,
        "chosen": 1500,
        "ids_sha256": "0" * 64,
        "first_at": dt.datetime(2026, 11, 1, 23, 59, tzinfo=dt.UTC),
        "last_at": dt.datetime(2026, 11, 20, tzinfo=dt.UTC),
        "steps": [
            Step(name="checked", setting=""),
            Step(name="refusals", setting="drop", dropped=400, reasons={"the answer refuses": 400}),
            Step(name="personal_data", setting="redact", changed=31),
            Step(name="duplicates", setting="drop", dropped=100, reasons={"the same as an earlier one": 100}),
        ],
        "splits": [
            Part(name="train", examples=800, conversations=700, tokens=Spread(20, 1200, 2400, 9000, 1_000_000)),
            Part(name="validation", examples=100, conversations=90, tokens=Spread(20, 1200, 2400, 9000, 125_000)),
            Part(name="test", examples=100, conversations=90, tokens=Spread(20, 1200, 2400, 9000, 125_000)),
        ],
        "files": [
            file(form, split, number)
            for form in formats or ("openai",)
            for split, number in (("train", 800), ("validation", 100), ("test", 100))
        ],
        "examples": 1000,
        "answer_tokens": 300_000,
        "tokens": Spread(20, 1200, 2400, 9000, 1_250_000),
        "turns": Spread(1, 1, 4, 12, 1800),
        "with_tools": 12,
        "token_histogram": [(32, 3), (1024, 500), (2048, 400), (16384, 97)],
        "models": {"gpt-4o-mini": 900, "claude-sonnet-4-5": 100},
        "policies": {"support": 1000},
        "providers": {"openai": 900, "anthropic": 100},
        "languages": {"en": 990, "de": 10},
        "users": {f"user-{number:010x}": 40 - number for number in range(25)},
        "tracecli": "0.1.0",
    }
    return Manifest(**(about | changes))


def awkward() -> Manifest:
    """Recorded names that want to be more than text, no models, splits without examples, a format that tells none."""
    asked = Definition(where="user:*", system="replace", system_text=f"````{HOSTILE}")
    return msgspec.structs.replace(
        usual("openai", "sharegpt", definition=text_of(asked)),
        first_at=None,
        last_at=None,
        steps=[Step(name="patterns", setting=HOSTILE, dropped=2, changed=1, reasons={HOSTILE: 1, "W" * 500: 1})],
        splits=[
            Part(name="train", examples=3, conversations=3, tokens=Spread(1, 2, 4, 4, 7)),
            Part(name="validation", examples=0, conversations=0, tokens=NONE),
            Part(name="test", examples=0, conversations=0, tokens=NONE),
        ],
        files=[
            file("openai", "train", 2, left_out={HOSTILE: 1}),
            file("sharegpt", "train", 0, path="", bytes=0, sha256="", left_out={"results of several calls": 3}),
        ],
        examples=3,
        answer_tokens=2,
        tokens=Spread(1, 2, 4, 4, 7),
        turns=Spread(1, 1, 1, 1, 3),
        with_tools=0,
        token_histogram=[(1, 1), (4, 2)],
        models={},
        policies={HOSTILE: 2, "": 1},
        providers={"|" * 200: 3},
        languages={"en": 2, "no": 1, HOSTILE: 1},
        users={},
        tracecli="0.1.0",
    )


GOLDENS: dict[str, Callable[[], str]] = {
    "awkward.md": lambda: card.markdown(awkward(), FORM),
    "usual.md": lambda: card.markdown(usual("openai", "huggingface"), "License: CC-BY-4.0\n\nAll **agreed**.\n"),
}


if __name__ == "__main__":
    GOLDEN.mkdir(exist_ok=True)
    for name, made in GOLDENS.items():
        (GOLDEN / name).write_text(made(), "utf-8")
