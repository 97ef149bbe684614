"""What a format is: how an example becomes a line of it, and the rules that its provider publishes. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

type Kind = Literal["chat", "preference"]
type Line = dict[str, Any]
"""A line of a file: a JSON object."""
type Media = Callable[[dict[str, Any]], str]
"""The URL of a part of media whose bytes are recorded: a data URL, or the name of a file beside the dataset's."""


class Unfit(Exception):
    """Why an example cannot be told in a format: a few words without content, the same for all of its kind."""


class Problem(NamedTuple):
    """What is wrong in a file."""

    line: int | None
    """From 1; None: it is of the file as a whole."""
    where: str
    """In the line, as `messages[2].role`; empty: all of it."""
    problem: str
    """One sentence, without a full stop, that names the remedy where it is not plain."""


@dataclass(frozen=True)
class Limits:
    """What a provider publishes of whole files; None: it says nothing."""

    least_examples: int | None = None
    most_examples: int | None = None
    most_bytes: int | None = None
    most_tokens: int | None = None
    """Of an example."""


@dataclass(frozen=True)
class Format:
    """A format of training files."""

    name: str
    kind: Kind
    title: str
    """For people: whose it is, and what for."""
    urls: tuple[str, ...]
    """Where its rules are published."""
    rules: tuple[str, ...]
    """The rules in short, for `tracecli dataset formats` and the docs."""
    limits: Limits
    write: Callable[[Any, Media], Line]
    """Of an `Example` or a `Pair`, as `kind` says. Raises Unfit."""
    check: Callable[[Line], Iterator[tuple[str, str]]]
    """What is wrong with a line: where, and what."""
    media: Literal["inline", "beside"] = "inline"
    suffix: Literal[".jsonl", ".parquet"] = ".jsonl"
