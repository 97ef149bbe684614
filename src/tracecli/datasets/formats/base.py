"""What a format is: how an example becomes a line of it, and the rules that its provider publishes. Pure."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

type Kind = Literal["chat", "preference"]
type Severity = Literal["error", "warning"]
"""An error: the file is not taken, or an example of it is lost. A warning: something to look after first."""
type Keeps = Literal["tools", "images", "reasoning", "names", "weights"]
"""What a format has a place for, beside text. `weights`: that an earlier answer is not to be learned."""
type Line = dict[str, Any]
"""A line of a file: a JSON object."""
type Media = Callable[[dict[str, Any]], str]
"""The URL of a part of media whose bytes are recorded: a data URL, or the name of a file beside the dataset's."""


class Unfit(Exception):
    """Why an example cannot be told in a format: a few words without content, the same for all of its kind."""


class Finding(NamedTuple):
    """What is wrong in a line."""

    where: str
    """As `messages[2].role`; empty: all of it."""
    problem: str
    severity: Severity = "error"


class Problem(NamedTuple):
    """What is wrong in a file."""

    line: int | None
    """From 1; None: it is of the file as a whole."""
    where: str
    """In the line, as `messages[2].role`; empty: all of it."""
    problem: str
    """One sentence, without a full stop, that names the remedy where it is not plain. It quotes no content."""
    severity: Severity = "error"


@dataclass(frozen=True)
class Limits:
    """What a provider publishes of whole files; None: it says nothing."""

    least_examples: int | None = None
    most_examples: int | None = None
    most_bytes: int | None = None
    most_tokens: int | None = None
    """Of an example."""
    most_with_images: int | None = None
    """Examples that hold images."""


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
    check: Callable[[Line], Iterator[Finding]]
    """What is wrong with a line."""
    keeps: frozenset[Keeps]
    shape: frozenset[str]
    """Keys that its lines are known by."""
    media: Literal["inline", "beside"] = "inline"
    suffix: Literal[".jsonl", ".parquet"] = ".jsonl"
    bom: bool = False
    """A file may begin with a byte order mark."""
    columns: tuple[tuple[str, str], ...] = ()
    """Of a Parquet file: their names and DuckDB types, for `store.parquet.export`; no line decides on them."""


def text(line: Line) -> str:
    """A line as it stands in a file, with its end. The same line gives the same text.

    Raises Unfit for a number that JSON does not have.
    """
    return dumped(line) + "\n"


def dumped(value: Any) -> str:
    """A value as JSON on one line. Raises Unfit for a number that JSON does not have."""
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(", ", ": "))
    except (ValueError, RecursionError):
        raise Unfit("a number that JSON does not have, or too many lists in each other") from None
