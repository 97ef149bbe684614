# ruff: noqa: RUF001 - other scripts
"""How alike two examples are."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from tests.support.corpus import WORDS
from tracecli.datasets import similar


def _alike(one: tuple[str, str], other: tuple[str, str], least: float = 0.8) -> bool:
    return similar.alike(similar.heard(*one), similar.heard(*other), least)


def test_both_prompt_and_answer_have_to_be_alike() -> None:
    """Two answers to one prompt are two examples, and so is one answer to two prompts."""
    prompt, answer = "what does a spade cost in your shop today", "it costs twelve euros and fifty cents"
    assert _alike((prompt, answer), (f"{prompt}?", answer.upper()))
    assert not _alike((prompt, answer), (prompt, "we have none of them any more, sorry"))
    assert not _alike((prompt, answer), ("how much is a rake, and do you have red ones", answer))
    assert not _alike(("17 + 25", "42"), ("17 + 26", "43"))


def test_alike_ones_share_a_band() -> None:
    """Of five hundred that have a word in twenty-five another one, nearly all are candidates; of others hardly any."""
    chance = random.Random(5)
    found = others = 0
    for _ in range(500):
        words = chance.choices(WORDS, k=120)
        changed = [chance.choice(WORDS) if place % 25 == 7 else word for place, word in enumerate(words)]
        one, other = " ".join(words), " ".join(changed)
        assert _alike((one, one), (other, other))
        found += bool(set(similar.bands(one, one)) & set(similar.bands(other, other)))
        far = " ".join(chance.choices(WORDS, k=120))
        others += bool(set(similar.bands(one, one)) & set(similar.bands(far, far)))
    assert found >= 498 and others == 0


def test_scripts_without_spaces_are_compared_by_characters() -> None:
    """A changed character in a sentence of thirty is a near duplicate."""
    one = "我想知道你们商店里的铁锹今天多少钱一把，还有没有红色的可以买"
    assert _alike((one, one), (one.replace("红", "绿"), one))
    assert not _alike((one, one), ("今天天气很好，我们去公园散步吧", one))


@given(st.text(), st.text())
def test_any_text_is_like_itself(prompt: str, answer: str) -> None:
    """Also what has no words; and always in all bands."""
    assert _alike((prompt, answer), (prompt, answer), 1.0)
    bands = similar.bands(prompt, answer)
    assert len(bands) == 32 and bands == similar.bands(prompt, answer)
    assert all(0 <= band < 2**64 for band in bands)
