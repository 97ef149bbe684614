"""The cleaning steps that compare examples with each other, in their order."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

from tracecli import working
from tracecli.datasets import similar
from tracecli.datasets.definition import Definition
from tracecli.datasets.preparing import CHECKED
from tracecli.store.curating import Entries

STEPS = (
    *(CHECKED, "errors", "truncated", "refusals", "empty", "min_score", "system", "tools", "reasoning", "media"),
    *("secrets", "personal_data", "min_tokens", "max_tokens", "languages", "cache_hits", "turns", "duplicates"),
    *("near_duplicates", "prefer", "per_user", "per_template", "balance"),
)
"""All of them, in the order in which they are taken."""
_WHY = {
    "cache_hits": "an answer that the cache gave again",
    "turns": "a later request goes on with it",
    "duplicates": "the same as an earlier one",
    "near_duplicates": "much like an earlier one",
    "prefer": "no other answer to compare it with",
    "per_user": "more of the user than wanted",
    "per_template": "more of the template than wanted",
    "balance": "more than the sample takes",
}
_KNOWN = 512

type Spoken = Callable[[int, int], tuple[str, str]]
"""Prompt and answer of an example, as they are compared, by where it is and its size."""


@dataclass
class Tally:
    """What the steps did so far: by step, why how many went."""

    dropped: dict[str, dict[str, int]] = field(default_factory=dict)

    def note(self, step: str, why: str, number: int = 1) -> None:
        """So many went."""
        if number:
            reasons = self.dropped.setdefault(step, {})
            reasons[why] = reasons.get(why, 0) + number


def clean(of: Definition, entries: Entries, spoken: Spoken, tally: Tally) -> None:
    """Take the steps."""

    def took(step: str, number: int) -> None:
        tally.note(step, why(step), number)

    if of.cache_hits == "drop":
        took("cache_hits", entries.leave_first_of("origin", "cache_hits"))
    if of.turns == "last" and of.kind == "chat":
        took("turns", entries.leave_unfinished("turns"))
    if of.duplicates == "drop":
        took("duplicates", entries.leave_first_of("said", "duplicates"))
    if of.near_duplicates:
        alike = _alike(entries, spoken, of.near_duplicates)
        took("near_duplicates", entries.leave(alike, "near_duplicates"))
    if of.kind == "preference":
        took("prefer", entries.pair(of.prefer, "prefer"))
    if of.per_user is not None:
        took("per_user", entries.leave_most("user", of.per_user, "per_user"))
    if of.per_template is not None:
        took("per_template", entries.leave_most("template", of.per_template, "per_template"))
    if of.balance or of.sample is not None:
        took("balance", entries.leave_sample(of.balance, of.sample, "balance"))


def why(step: str) -> str:
    """Why an example goes by a step that compares."""
    return _WHY[step]


def _alike(entries: Entries, spoken: Spoken, least: float) -> list[int]:
    """Those that are much like an earlier one. What is like that one too goes with it."""
    known: OrderedDict[int, similar.Words] = OrderedDict()
    first: dict[int, int] = {}

    def root(number: int) -> int:
        while (earlier := first.get(number)) is not None:
            number = earlier
        return number

    for done, (one, others) in enumerate(entries.candidates()):
        working.told(done, None, "looked at for near duplicates")
        for held in (one, *others):
            if held.n not in known:
                known[held.n] = similar.heard(*spoken(held.at, held.size))
        for other in others:
            if root(other.n) != root(one.n) and similar.alike(known[one.n], known[other.n], least):
                earlier, later = sorted((root(one.n), root(other.n)))
                first[later] = earlier
        while len(known) > _KNOWN:
            known.popitem(last=False)
    return sorted(first)
