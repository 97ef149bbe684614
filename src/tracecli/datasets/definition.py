"""What a dataset is made of: which exchanges, which cleaning steps, how it is split, in which formats. Pure.

A definition is a TOML table with the keys of `Definition`; `tracecli dataset create` has an option for each. The steps
are taken in the order in which their keys stand here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Literal

import msgspec
import tomlkit

from tracecli.datasets.formats.registry import FORMATS
from tracecli.policy.rules import PolicyError, check_table, meant, pattern_problem
from tracecli.query import syntax
from tracecli.query.errors import QueryError
from tracecli.query.sql import contents
from tracecli.redaction import ALWAYS, KINDS

TRAIN = "train"
SPLITS = (TRAIN, "validation", "test")
PERSONAL = tuple(kind for kind in KINDS if kind != ALWAYS)
"""The kinds of personal data that redaction knows."""
_NAME = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,62}[a-z0-9])?")
_LANGUAGE = re.compile(r"[a-z]{2,3}")

_COUNTS = ("min_tokens", "max_tokens", "per_user", "per_template", "sample")
_SHARES = ("near_duplicates", *SPLITS)


class Definition(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The keys of a definition."""

    where: str = ""
    """Which exchanges, as `policy:support score:>=4 since:30d`. Required."""
    sessions: bool = False
    """Whole sessions: with each exchange that fits, all others of its session."""
    kind: Literal["chat", "preference"] = "chat"
    """`chat`: conversations with the answer to be learned. `preference`: two answers to a prompt, better and worse."""

    errors: Literal["drop", "keep"] = "drop"
    """What ended with an error, and holds an answer nevertheless."""
    truncated: Literal["drop", "keep"] = "drop"
    """Answers that broke off: at a limit of tokens, or because client or provider left."""
    refusals: Literal["drop", "keep"] = "drop"
    """Answers that refuse, in the provider's words or in those that models use."""
    empty: Literal["drop", "keep"] = "drop"
    """Answers without text and without a tool call."""
    min_score: float | None = None
    """Of those that were rated this at least (`tracecli usage rate`)."""
    system: Literal["keep", "drop", "replace"] = "keep"
    """System prompts; `replace` puts `system_text` in their place, also where there was none."""
    system_text: str = ""
    """The system prompt of every example, with `system = "replace"`."""
    tools: Literal["keep", "drop", "only"] = "keep"
    """Examples with tool calls: `drop` leaves them out, `only` leaves out all others."""
    reasoning: Literal["keep", "drop"] = "drop"
    """What models thought before they answered. `drop` takes it out of the examples."""
    media: Literal["keep", "strip", "drop"] = "keep"
    """Images, sound and files: `strip` takes them out, `drop` leaves out the examples that hold any."""
    secrets: Literal["redact", "drop"] = "redact"
    """Keys, tokens and passwords: a marker in their place, or the example left out."""
    personal_data: Literal["redact", "drop", "keep"] = "redact"
    """What `kinds` and `patterns` find: a marker in its place, or the example left out."""
    kinds: list[str] = []
    """Kinds of personal data: `email`, `phone`, `payment_card`, `iban`, `ip_address`, `national_id`. Empty: all."""
    patterns: dict[str, str] = {}
    """What else to look for: regular expressions of RE2 by the name of their marker."""
    min_tokens: int | None = None
    """Examples of so many tokens at least, prompt and answer together."""
    max_tokens: int | None = None
    """Examples of so many tokens at most."""
    languages: list[str] = []
    """Answers in these alone, as `en`; what is too short to tell stays. Empty: all."""
    cache_hits: Literal["drop", "keep"] = "drop"
    """Answers that the response cache gave again: of each origin one stays."""
    turns: Literal["last", "each"] = "last"
    """Of a conversation that went on: `last` is one example with all of its answers; `each` is an example for each
    answer, in which only that one is to be learned."""
    duplicates: Literal["drop", "keep"] = "drop"
    """Examples that say the same, but for case and blanks."""
    near_duplicates: float = 0.8
    """Examples whose prompts and whose answers are as alike as this (Jaccard, of words and pairs of words). 0: keep."""
    prefer: Literal["rating", "repeat"] = "rating"
    """With `kind = "preference"`, which of two answers to one prompt is better: the one with the better rating, or the
    one that came when it was asked again."""
    per_user: int | None = None
    """So many examples of each user at most."""
    per_template: int | None = None
    """So many examples of each prompt template at most: the same system prompt, and first words but for numbers."""
    balance: Literal["", "model", "user", "policy", "provider", "language", "template"] = ""
    """As many examples of each of these: as many as there are of the rarest, or `sample` of all."""
    sample: int | None = None
    """So many examples at most."""

    split_by: Literal["session", "user"] = "session"
    """What stays together in one of the files, so that nothing leaks from one into another."""
    train: float = 0.8
    """The share to learn from."""
    validation: float = 0.1
    """The share to watch the training by."""
    test: float = 0.1
    """The share to judge by in the end; the three are 1 together."""
    seed: int = 0
    """Of sampling, shuffling and splitting."""
    order: Literal["time", "shuffled"] = "time"
    """The order in the files."""
    formats: list[str] = []
    """The formats, see `tracecli dataset formats`. Empty: `openai`, or `openai-preference`."""
    provenance: Literal["beside", "inline", "none"] = "beside"
    """Where each example is from (id, model, date, policy): in a file of its own with the same lines, in the example as
    `metadata`, which providers may refuse, or nowhere."""


def definition(file: str, values: Mapping[str, Any]) -> Definition:
    """The definition that a table is. Raises PolicyError for the first thing that is wrong."""
    check_table(file, values, Definition, Definition.__struct_fields__)
    made = msgspec.convert(values, Definition)
    for key, problem in _problems(made):
        raise PolicyError(file, key, problem)
    return made


def text_of(one: Definition) -> str:
    """A definition as TOML: what is not as it is by itself."""
    document = tomlkit.document()
    for name, value in settings_of(one).items():
        document.add(name, value)
    return tomlkit.dumps(document)


def settings_of(one: Definition) -> dict[str, Any]:
    """What is not as it is by itself."""
    defaults = Definition()
    names: tuple[str, ...] = Definition.__struct_fields__
    return {name: getattr(one, name) for name in names if getattr(one, name) != getattr(defaults, name)}


def name_problem(name: str) -> str | None:
    """Why no dataset can have a name; None: it can."""
    if _NAME.fullmatch(name) and ".." not in name:
        return None
    return "the name of a dataset has small letters, digits, '.', '_' and '-' alone, 64 at most"


def _problems(one: Definition) -> Iterator[tuple[str, str]]:
    if not one.where.strip():
        yield "where", "says which exchanges: 'user:*' if all of them are meant"
    try:
        contents(syntax.parse(one.where))
    except QueryError as error:
        yield "where", error.problem
    for name in one.formats:
        if name not in FORMATS:
            yield "formats", f"there is no format {name!r}{meant(name, list(FORMATS), 'formats')}"
        elif FORMATS[name].kind != one.kind:
            yield "formats", f"{name} is for the kind {FORMATS[name].kind}, and this is {one.kind}"
    for name in one.kinds:
        if name not in PERSONAL:
            yield "kinds", f"there is no kind {name!r}{meant(name, PERSONAL, 'kinds')}"
    for name, pattern in one.patterns.items():
        if not re.fullmatch(r"[a-z0-9_-]{1,40}", name):
            yield f"patterns.{name}", "is no name: small letters, digits, _ and - alone"
        if problem := pattern_problem(pattern):
            yield f"patterns.{name}", f"is no regular expression of RE2: {problem}"
    for name in one.languages:
        if not _LANGUAGE.fullmatch(name):
            yield "languages", f"{name!r} is no language: write its ISO 639 code, as en"
    for name in _COUNTS:
        if (number := getattr(one, name)) is not None and number < 1:
            yield name, "must be 1 or more"
    for name in _SHARES:
        if not 0 <= getattr(one, name) <= 1:
            yield name, "must be between 0 and 1"
    if abs(sum(shares(one).values()) - 1) > 1e-9:
        yield "train", "and `validation` and `test` have to be 1 together"
    if not one.train:
        yield "train", "is nothing: there would be no examples to learn from"
    if one.system == "replace" and not one.system_text.strip():
        yield "system_text", "says what to put in the place of system prompts"
    if one.system != "replace" and one.system_text:
        yield "system_text", 'does nothing without `system = "replace"`'
    if one.min_tokens and one.max_tokens and one.min_tokens > one.max_tokens:
        yield "min_tokens", f"is more than max_tokens, {one.max_tokens}"
    if one.kind == "preference" and one.min_score is not None and one.prefer == "rating":
        yield "min_score", "would leave out the answers with the worse rating: there were no pairs left"


def value_text(value: object) -> str:
    """The value of a key, to be shown."""
    if isinstance(value, list):
        return ", ".join(str(one) for one in value if one not in ("", None))
    return "" if value is None else str(value)


def formats(one: Definition) -> list[str]:
    """The formats that it is to be written in."""
    return one.formats or ["openai" if one.kind == "chat" else "openai-preference"]


def shares(one: Definition) -> dict[str, float]:
    """The shares of the files, by name."""
    return {name: getattr(one, name) for name in SPLITS}
