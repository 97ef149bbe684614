"""How alike two texts are: as sets of their words and pairs of neighbours (Jaccard). Pure.

Texts that may be alike are found by MinHash, a hundred and twenty-eight smallest values of each set: bands of a few
values of the prompt and a few of the answer are equal, for one band at least, in nearly all examples that are alike in
both. Where nothing divides words, each character counts as one.
"""

from __future__ import annotations

import re
import struct
from functools import cache
from itertools import pairwise
from typing import Any, NamedTuple
from zlib import crc32

_VALUES = 128
_SEED = 1
_BAND_BYTES = 16
"""Four values of either side are a band, so there are 32: two examples that are 0.8 alike in both agree in one of them
with a probability of 0.997, two that are 0.5 alike with 0.12."""
_LONGEST = 8000
"""Characters of a text that are looked at."""
_WORD = re.compile(r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]|\w+")


def words(text: str, *, end: bool = False) -> list[str]:
    """Words and pairs of neighbours in the first part of a text, or in its `end`."""
    looked_at = text[-_LONGEST:] if end else text[:_LONGEST]
    found: list[str] = _WORD.findall(looked_at.casefold()) or looked_at.split()
    return [*found, *map(" ".join, pairwise(found))]


def bands(prompt: str, answer: str) -> list[int]:
    """Of an example: 64-bit numbers, equal where it may be alike another one."""
    asked, answered = _smallest(words(prompt, end=True)), _smallest(words(answer))
    return [
        crc32(asked[at : at + _BAND_BYTES]) << 32 | crc32(answered[at : at + _BAND_BYTES])
        for at in range(0, len(asked), _BAND_BYTES)
    ]


class Words(NamedTuple):
    """What an example is compared by."""

    prompt: frozenset[str]
    answer: frozenset[str]


def heard(prompt: str, answer: str) -> Words:
    """What is compared of a prompt and an answer."""
    return Words(frozenset(words(prompt, end=True)), frozenset(words(answer)))


def alike(one: Words, other: Words, least: float) -> bool:
    """Whether both prompt and answer of two examples are as alike as `least`."""
    return _jaccard(one.answer, other.answer) >= least and _jaccard(one.prompt, other.prompt) >= least


def _jaccard(one: frozenset[str], other: frozenset[str]) -> float:
    return len(one & other) / len(one | other) if one or other else 1.0


def _smallest(found: list[str]) -> bytes:
    """The smallest values, four bytes each."""
    made = _rensa().RMinHash(num_perm=_VALUES, seed=_SEED)
    made.update(found)
    return struct.pack(f"<{_VALUES}I", *made.digest())


@cache
def _rensa() -> Any:
    import rensa  # type: ignore[import-untyped]

    return rensa
