"""The card of a dataset in Markdown and JSON: complete, harmless, the same each time, and with a person's notes."""

from __future__ import annotations

import itertools
import json
import stat
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token
from ruamel.yaml import YAML

from tests.support.cards import GOLDEN, GOLDENS, HOSTILE, awkward, file, usual
from tracecli.datasets import card, notes
from tracecli.datasets.training_prices import PRICES

ANY = st.text(min_size=1, max_size=60) | st.lists(st.sampled_from(list("`|<>[]()!-#\n\\\"'&:*_ a~@.")), min_size=1).map(
    "".join
)


def front_matter(text: str) -> Any:
    """What YAML reads at the top of a card."""
    _, head, _ = text.split("---\n", 2)
    return YAML(typ="safe").load(head)


def inline(text: str) -> list[Token]:
    """What Markdown, as GitHub and the Hub read it, makes of a card's body: links of bare addresses too."""
    every = MarkdownIt("gfm-like", {"html": True}).parse(text.split("---\n", 2)[2])
    return [inner for token in every for inner in (token, *(token.children or ()))]


@pytest.mark.parametrize("name", sorted(GOLDENS))
def test_golden(name: str) -> None:
    """The whole card, and the same bytes each time."""
    text = GOLDENS[name]()
    assert text == (GOLDEN / name).read_text("utf-8")
    assert text == GOLDENS[name]()


def test_front_matter() -> None:
    """It is what the Hub's cards have, and says which file is which split of which configuration."""
    told = front_matter(card.markdown(usual("openai", "parquet", "together"), "License: cc-by-4.0\n"))
    assert told == {
        "license": "cc-by-4.0",
        "pretty_name": "support@2",
        "language": ["de", "en"],
        "size_categories": ["1K<n<10K"],
        "task_categories": ["text-generation"],
        "configs": [
            {
                "config_name": "openai",
                "default": True,
                "data_files": [
                    {"split": split, "path": f"openai/{split}.jsonl"} for split in ("train", "validation", "test")
                ],
            },
            {
                "config_name": "together",
                "data_files": [
                    {"split": split, "path": f"together/{split}.jsonl"} for split in ("train", "validation", "test")
                ],
            },
        ],
    }
    text = card.markdown(usual("parquet", "openai", "together"), notes.FORM)
    assert [one["config_name"] for one in front_matter(text)["configs"]] == ["parquet"]
    assert "leaves out `openai`, `together`" in text
    assert "leaves out" not in card.markdown(usual("openai", "together"), notes.FORM)
    bare = front_matter(card.markdown(usual(files=[], languages={}), notes.FORM))
    assert set(bare) == {"license", "pretty_name", "size_categories", "task_categories"}
    assert bare["license"] == "unknown"


@pytest.mark.parametrize(
    ("examples", "category"),
    [(0, "n<1K"), (999, "n<1K"), (1000, "1K<n<10K"), (99_999, "10K<n<100K"), (10**9, "1B<n<10B"), (10**12, "n>1T")],
)
def test_size_category(examples: int, category: str) -> None:
    """As the Hub counts."""
    assert card.size_category(examples) == category


def test_hostile_names_in_markdown() -> None:
    """No tag, picture, heading or link comes of what was recorded; the links are those of price lists."""
    found = inline(card.markdown(awkward(), notes.FORM))
    assert {token.type for token in found} & {"html_inline", "html_block", "image", "hr"} == set()
    links = {str(token.attrs["href"]) for token in found if token.type == "link_open"}
    assert links == {PRICES["openai"].url}
    assert [token.tag for token in found if token.type == "heading_open"] == ["h1"] + ["h2"] * 7
    assert "<script>alert(1)</script>" in "".join(token.content for token in found if token.type == "code_inline")
    assert not set(card.markdown(awkward(), notes.FORM)) & set("\x1b\x00\u202e\u2028")


@given(ANY)
def test_any_name(name: str) -> None:
    """Whatever a name is, it is one cell and one code span in Markdown, and one text in YAML."""
    text = card.markdown(usual(policies={name: 1}, files=[file("openai", "train", 1, path=name)]), notes.FORM)
    found = inline(text)
    assert {token.type for token in found} & {"html_inline", "html_block", "image"} == set()
    assert {token.attrs["href"] for token in found if token.type == "link_open"} <= {PRICES["openai"].url}
    for above, below in itertools.pairwise(text.split("\n")):
        if above.startswith("|") and below.startswith("|"):
            assert above.count("|") == below.count("|")
    path = front_matter(text)["configs"][0]["data_files"][0]["path"]
    assert path == name or not name.isprintable()


def test_json() -> None:
    """Everything that the manifest has, spreads and ranges by name, the notes, and money as text."""
    told = json.loads(card.json_text(usual("fireworks-preference"), "License: mit\n"))
    assert told["tokens"] == {"least": 20, "median": 1200, "p95": 2400, "most": 9000, "total": 1_250_000}
    assert told["splits"][0]["tokens"]["total"] == 1_000_000
    assert told["token_histogram"][1] == {"up_to": 1024, "examples": 500}
    assert told["steps"][1] == {
        "name": "refusals",
        "setting": "drop",
        "dropped": 400,
        "changed": 0,
        "reasons": {"the answer refuses": 400},
    }
    assert (told["license"], told["notes"], told["size_category"]) == ("mit", "License: mit\n", "1K<n<10K")
    assert told["first_at"] == "2026-11-01T23:59:00Z"
    assert len(told["users"]) == 25
    assert told["files"][0]["sha256"] == file("fireworks-preference", "train", 1).sha256
    assert told["training_cost"]["estimates"][1] == {
        "format": "fireworks-preference",
        "provider": "Fireworks AI",
        "model": "models of 16.1B to 80B, LoRA",
        "usd_per_million_tokens": "6",
        "tokens_per_epoch": 1_000_000,
        "usd_per_epoch": "6",
        "usd": "18",
        "listed_in": PRICES["fireworks"].seen,
        "url": PRICES["fireworks"].url,
    }
    assert card.json_text(awkward(), HOSTILE).isascii()


def test_long_lists() -> None:
    """Markdown has the first of them and says how many are left; JSON has all."""
    text = card.markdown(usual(), notes.FORM)
    assert text.count("| `user-") == card.LISTED
    assert f"| 15 more | {sum(40 - number for number in range(10, 25))} |" in text


def test_pairs() -> None:
    """A dataset of pairs says that it is one, and that its cost is more."""
    text = card.markdown(usual("openai-preference", definition='where = "user:*"\nkind = "preference"\n'), notes.FORM)
    assert "pairs of a better and a worse answer" in text
    assert card.PREFERENCE_COST in text
    assert card.PREFERENCE_COST not in card.markdown(usual(), notes.FORM)


def test_formats_without_a_price() -> None:
    """Of formats for one's own hardware, and of providers without a listed price, the card says so."""
    text = card.markdown(usual("huggingface", "bedrock-conversation"), notes.FORM)
    assert f"`huggingface` {card.OWN_HARDWARE}" in text
    assert f"`bedrock-conversation` {card.NO_PRICE} <{PRICES['bedrock'].url}>." in text
    assert card.COST_REMARK not in text
    assert "There is nothing to train on." in card.markdown(usual(files=[]), notes.FORM)


def test_notes_stay(tmp_path: Path) -> None:
    """The form is laid there once, only its owner can read it, and what a person made of it is not written again."""
    assert notes.read(tmp_path) == notes.FORM
    notes.lay_out(tmp_path)
    path = tmp_path / notes.NAME
    assert path.read_text("utf-8") == notes.FORM
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.write_bytes(b"license:  Apache-2.0 \r\nAsk \xff me.\r\n")
    notes.lay_out(tmp_path)
    text = notes.read(tmp_path)
    assert text == "license:  Apache-2.0 \nAsk \ufffd me.\n"
    assert notes.license_of(text) == "apache-2.0"
    assert card.markdown(usual(), text).endswith("\n\nlicense:  Apache-2.0 \nAsk \ufffd me.\n")


@pytest.mark.parametrize("line", ["", "License:", "License: to be filled in", "Our License: mit", 'License: "x"\n---'])
def test_no_licence(line: str) -> None:
    """What is no id of the Hub is none, and breaks nothing."""
    assert front_matter(card.markdown(usual(), f"{line}\n"))["license"] == "unknown"
