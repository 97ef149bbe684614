"""What a built dataset says of itself: what went into it, what each step did, what came out. Without content.

The same definition over the same records makes the same manifest, byte for byte: it holds no time of its making.
"""

from __future__ import annotations

import datetime as dt

import msgspec

from tracecli.store.curating import Spread


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """What a cleaning step did."""

    name: str
    """As its key in a definition; `checked` is what is always looked at."""
    setting: str
    """How it was set, as text."""
    dropped: int = 0
    changed: int = 0
    """Examples that stay, and that it changed."""
    reasons: dict[str, int] = {}
    """Why it dropped how many, the most frequent reason first."""


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """One of the files that a dataset is split into, whatever its format."""

    name: str
    """`train`, `validation` or `test`."""
    examples: int
    conversations: int
    tokens: Spread
    """Of examples, prompt and answer together."""


class File(msgspec.Struct, frozen=True, kw_only=True):
    """A file that was written."""

    path: str
    """Below the folder of the dataset; empty: no example could be told."""
    format: str
    split: str
    examples: int
    bytes: int
    sha256: str
    left_out: dict[str, int] = {}
    """Examples that the format cannot tell, and why."""


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """A built dataset."""

    name: str
    version: int
    definition: str
    """As TOML."""
    chosen: int
    """Exchanges that the query chose."""
    ids_sha256: str
    """Of their ids, in order, a line each."""
    first_at: dt.datetime | None
    last_at: dt.datetime | None
    """When the first and the last exchange with an example began."""
    steps: list[Step]
    splits: list[Part]
    files: list[File]
    examples: int
    answer_tokens: int
    """Of the answers that are to be learned."""
    tokens: Spread
    """Of an example, prompt and answer together; scaled from what providers counted, else characters / 4."""
    turns: Spread
    """Answers in an example."""
    with_tools: int
    token_histogram: list[tuple[int, int]]
    """How many examples have up to so many tokens."""
    models: dict[str, int]
    policies: dict[str, int]
    providers: dict[str, int]
    languages: dict[str, int]
    """Empty: no step asked."""
    users: dict[str, int]
    """Pseudonyms, which only who has the home's secret can make: the same in all datasets of a home."""
    tracecli: str
    """The version that built it."""


class Touched(msgspec.Struct, frozen=True, kw_only=True):
    """A dataset that held something of what was erased."""

    dataset: str
    """As `NAME@2`."""
    exchanges: int
    """How many of those that were erased it had chosen."""
    rebuilt: list[str]
    """The folders in which it is built again."""
    removed: list[str]
    """The folders from which what was built is removed: no example was left."""
    failed: list[str]
    """Why it is as it was in others: sentences."""
