"""The card of a built dataset, in Markdown and as JSON: where it is from, how it was made, what it holds. Pure.

The Markdown is a dataset card of the Hugging Face Hub: as the README.md of the folder, its front matter says which file
is which split, and `datasets.load_dataset` reads it.
https://huggingface.co/docs/hub/datasets-cards https://huggingface.co/docs/hub/datasets-manual-configuration

Everything recorded is hostile. In Markdown it stands in code spans, which no mark, link or tag gets out of, and what
does not print is escaped. The notes are a person's own, and stand as they were written.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any

import msgspec

from tracecli.datasets import notes as person
from tracecli.datasets.manifest import File, Manifest, Step
from tracecli.datasets.training_prices import EPOCHS, estimates, price_list, unpriced
from tracecli.exchange import plain_decimal
from tracecli.store.curating import Spread

MARKDOWN = "README.md"
JSON = "card.json"
NAMES = (MARKDOWN, JSON)
"""The files of a card, beside those of the dataset. As HTML it is made in `report.dataset_page`."""
LISTED = 10
"""So many models, users and the like are in a list; JSON has all."""
NO_NAME = "(none)"
_LONGEST = 120
_LANGUAGE = re.compile(r"[a-z]{2,3}")
_SIZES = (
    *("n<1K", "1K<n<10K", "10K<n<100K", "100K<n<1M", "1M<n<10M", "10M<n<100M", "100M<n<1B"),
    *("1B<n<10B", "10B<n<100B", "100B<n<1T"),
)
_UNSAFE_IN_CODE = "`|"
_UNSAFE_IN_QUOTES = '"\\'

PREFERENCE_COST = "Of each pair the better answer alone is in these tokens: with the worse one it costs more."
COST_REMARK = (
    "An estimate: the tokens are not counted with the tokenizer of the model that is trained, and minimum charges, "
    "validation and hosting come on top."
)
OWN_HARDWARE = "is for your own hardware, or whichever you rent: what training costs depends on that."
NO_PRICE = "has no price per token here: see"
LIMITS = (
    "Tokens are scaled from what providers counted, or are characters / 4 where nothing was counted.",
    "Redaction finds secrets and the kinds of personal data that it knows. What people wrote of themselves and of "
    "others in their own words can still be in the examples.",
    "The answers are those of models: they can be wrong, and nobody has read all of them.",
    "Duplicates are found by their words: the same said in other words stays.",
    "The definition says whose requests were chosen, and may name people. Files of provenance name requests by "
    "their ids. Look at both before you hand them on.",
    "Users have pseudonyms, which are the same in all datasets of this home; only who has its key can make them.",
)
ERASING = (
    "Who erases requests (tracecli erase) takes them out of this dataset too, and it is built again where it was "
    "built. Files that were copied or uploaded, and models that were trained, are not reached: build it again, replace "
    "the copies, and tell by the hashes which are old."
)


def written(manifest: Manifest, notes: str) -> dict[str, bytes]:
    """The files of a card that stand beside those of a dataset, by their names."""
    return {MARKDOWN: markdown(manifest, notes).encode(), JSON: json_text(manifest, notes).encode()}


def json_text(manifest: Manifest, notes: str) -> str:
    """The card as JSON, in ASCII."""
    return json.dumps(as_json(manifest, notes), indent=2).replace("\x7f", "\\u007f") + "\n"


def as_json(manifest: Manifest, notes: str) -> dict[str, Any]:
    """The manifest with its licence, notes, size and estimates; money is text, in US dollars."""
    told: dict[str, Any] = msgspec.to_builtins(manifest)
    for name in ("tokens", "turns"):
        told[name] = _spread(getattr(manifest, name))
    told["splits"] = [msgspec.to_builtins(one) | {"tokens": _spread(one.tokens)} for one in manifest.splits]
    told["token_histogram"] = [{"up_to": most, "examples": number} for most, number in manifest.token_histogram]
    return told | {
        "license": person.license_of(notes),
        "notes": notes,
        "size_category": size_category(manifest.examples),
        "training_cost": {
            "epochs": EPOCHS,
            "estimates": [
                {
                    "format": one.format,
                    "provider": one.listed.provider,
                    "model": one.price.model,
                    "usd_per_million_tokens": plain_decimal(one.usd_per_million),
                    "tokens_per_epoch": one.tokens,
                    "usd_per_epoch": plain_decimal(one.usd_epoch),
                    "usd": plain_decimal(one.usd),
                    "listed_in": one.listed.seen,
                    "url": one.listed.url,
                }
                for one in estimates(manifest)
            ],
            "not_priced": unpriced(manifest),
        },
        "limits": list(LIMITS),
    }


def reference(manifest: Manifest) -> str:
    """How commands name the dataset."""
    return f"{manifest.name}@{manifest.version}"


def period(manifest: Manifest) -> str | None:
    """From the first day to the last one, in UTC; None: there is no example."""
    if manifest.first_at is None or manifest.last_at is None:
        return None
    first, last = (f"{at:%Y-%m-%d}" for at in (manifest.first_at, manifest.last_at))
    return first if first == last else f"{first} to {last}"


def size_category(examples: int) -> str:
    """The Hub's word for how many there are."""
    return next((name for power, name in enumerate(_SIZES, 3) if examples < 10**power), "n>1T")


def is_preference(manifest: Manifest) -> bool:
    """It holds pairs of answers, and not conversations."""
    return bool(tomllib.loads(manifest.definition).get("kind") == "preference")


def first_of(counted: Mapping[str, int]) -> tuple[list[tuple[str, int]], int, int]:
    """The first so many, how many more there are, and how many examples these have."""
    every = list(counted.items())
    rest = every[LISTED:]
    return every[:LISTED], len(rest), sum(number for _, number in rest)


def cost_remarks(manifest: Manifest) -> list[str]:
    """What to know of the estimates: sentences without anything recorded."""
    lists = dict.fromkeys(one.listed for one in estimates(manifest))
    told = [COST_REMARK] if lists else []
    if lists and is_preference(manifest):
        told.append(PREFERENCE_COST)
    return told + [one.remark for one in lists if one.remark]


def markdown(manifest: Manifest, notes: str) -> str:
    """The card in Markdown, with its front matter."""
    parts = (
        _front_matter(manifest, notes),
        _summary(manifest),
        _source(manifest),
        _content(manifest),
        _making(manifest),
        _files(manifest),
        _cost(manifest),
        _limits(),
        _notes(manifest, notes),
    )
    return "\n".join(line for part in parts for line in part) + "\n"


def _front_matter(manifest: Manifest, notes: str) -> Iterator[str]:
    named = person.license_of(notes)
    yield "---"
    yield f"license: {named}" + (f"  # to be filled in: {person.NAME}" if named == person.UNKNOWN else "")
    yield f"pretty_name: {_yaml(reference(manifest))}"
    if languages := sorted(name for name in manifest.languages if _LANGUAGE.fullmatch(name)):
        yield from ("language:", *(f"- {_yaml(name)}" for name in languages))
    yield from ("size_categories:", f"- {size_category(manifest.examples)}")
    yield from ("task_categories:", "- text-generation")
    yield from _configs(manifest.files)
    yield "---"


def _configs(files: Sequence[File]) -> Iterator[str]:
    there = [one for one in files if one.path]
    formats = _loaded(there)
    if formats:
        yield "configs:"
    for place, name in enumerate(formats):
        yield f"- config_name: {_yaml(name)}"
        if not place:
            yield "  default: true"
        yield "  data_files:"
        for one in there:
            if one.format == name:
                yield from (f"  - split: {_yaml(one.split)}", f"    path: {_yaml(one.path)}")


def _loaded(there: Sequence[File]) -> list[str]:
    """The formats that `load_dataset` can have of the folder: it reads all of them as it does the first."""
    return list(dict.fromkeys(one.format for one in there if _suffix(one) == _suffix(there[0])))


def _suffix(file: File) -> str:
    return file.path.rpartition(".")[2]


def _summary(manifest: Manifest) -> Iterator[str]:
    what = "pairs of a better and a worse answer" if is_preference(manifest) else "conversations with models"
    yield ""
    yield f"# {_code(reference(manifest))}"
    yield ""
    yield (
        f"{manifest.examples:,} examples, {what}, with {manifest.tokens.total:,} tokens, of which "
        f"{manifest.answer_tokens:,} are of answers to be learned. Made of recorded requests by tracecli "
        f"{_code(manifest.tracecli)}."
    )


def _source(manifest: Manifest) -> Iterator[str]:
    yield from _chapter("Where it is from")
    yield from _table(
        ("", ""),
        (
            ("period (UTC)", period(manifest) or NO_NAME),
            ("requests that the query chose", f"{manifest.chosen:,}"),
            ("their ids, a line each, SHA-256", _code(manifest.ids_sha256)),
        ),
    )
    for title, counted in (
        ("model", manifest.models),
        ("provider", manifest.providers),
        ("policy", manifest.policies),
        ("user (a pseudonym)", manifest.users),
    ):
        yield ""
        yield from _counts(title, counted)


def _content(manifest: Manifest) -> Iterator[str]:
    yield from _chapter("What is in it")
    yield from _table(
        ("of an example", "least", "median", "95 of 100 at most", "most", "in all"),
        [
            (name, *(f"{number:,}" for number in spread))
            for name, spread in (("tokens", manifest.tokens), ("answers", manifest.turns))
        ],
    )
    yield ""
    yield f"{manifest.with_tools:,} examples have calls of tools."
    if manifest.languages:
        yield ""
        yield from _counts("language of the answers", manifest.languages)
    if manifest.token_histogram:
        yield ""
        rows = [(f"up to {most:,}", f"{number:,}") for most, number in manifest.token_histogram]
        yield from _table(("tokens", "examples"), rows)


def _making(manifest: Manifest) -> Iterator[str]:
    yield from _chapter("How it was made")
    yield "The definition; what it does not say is as it is by itself:"
    yield ""
    yield from _fenced(manifest.definition, "toml")
    yield ""
    yield "The steps, in their order:"
    yield ""
    yield from _table(
        ("step", "set to", "dropped", "changed", "why it dropped"),
        [
            (_code(one.name), one.setting and _code(one.setting), f"{one.dropped:,}", f"{one.changed:,}", _reasons(one))
            for one in manifest.steps
        ],
    )


def _reasons(step: Step) -> str:
    return ", ".join(f"{number:,} {_code(why)}" for why, number in step.reasons.items())


def _files(manifest: Manifest) -> Iterator[str]:
    yield from _chapter("Splits and files")
    yield from _table(
        ("split", "examples", "conversations", "tokens", "median", "most"),
        [
            (
                _code(one.name),
                *(f"{number:,}" for number in (one.examples, one.conversations)),
                *(f"{number:,}" for number in (one.tokens.total, one.tokens.median, one.tokens.most)),
            )
            for one in manifest.splits
        ],
    )
    yield ""
    there = [one for one in manifest.files if one.path]
    rows = [(_code(one.path), f"{one.examples:,}", f"{one.bytes:,}", _code(one.sha256)) for one in there]
    yield from _table(("file", "examples", "bytes", "SHA-256"), rows)
    loaded = _loaded(there)
    if others := list(dict.fromkeys(_code(one.format) for one in there if one.format not in loaded)):
        yield ""
        yield f"`datasets.load_dataset` of this folder leaves out {', '.join(others)}: name their files to it."
    left_out = [(one, why, number) for one in manifest.files for why, number in one.left_out.items()]
    if left_out:
        yield ""
        yield "Not every format can tell every example. Left out:"
        yield ""
        for one, why, number in left_out:
            yield f"- {_code(one.format)}, {_code(one.split)}: {number:,} {_code(why)}"


def _cost(manifest: Manifest) -> Iterator[str]:
    yield from _chapter("What training would cost")
    every = estimates(manifest)
    if every:
        yield from _table(
            ("format", "provider", "model", "a million tokens", "tokens", "one epoch", f"{EPOCHS} epochs"),
            [
                (
                    _code(one.format),
                    one.listed.provider,
                    one.price.model,
                    _usd(one.usd_per_million),
                    f"{one.tokens:,}",
                    _usd(one.usd_epoch),
                    _usd(one.usd),
                )
                for one in every
            ],
        )
        yield ""
        for listed in dict.fromkeys(one.listed for one in every):
            yield f"- {listed.provider}: list prices of {listed.seen}, <{listed.url}>"
        yield ""
        yield " ".join(cost_remarks(manifest))
    elif not unpriced(manifest):
        yield "There is nothing to train on."
    for name in unpriced(manifest):
        listed_at = price_list(name)
        yield ""
        yield f"{_code(name)} " + (f"{NO_PRICE} <{listed_at.url}>." if listed_at else OWN_HARDWARE)


def _limits() -> Iterator[str]:
    yield from _chapter("Limits")
    yield from (f"- {text}" for text in LIMITS)


def _notes(manifest: Manifest, notes: str) -> Iterator[str]:
    """The last chapter: whatever a person left open in it, nothing else is in it."""
    yield from _chapter("Licence and consent")
    yield f"{ERASING} The command: {_code(f'tracecli dataset build {reference(manifest)}')}"
    yield ""
    yield notes.rstrip("\n")


def _chapter(title: str) -> Iterator[str]:
    yield from ("", f"## {title}", "")


def _counts(title: str, counted: Mapping[str, int]) -> Iterator[str]:
    shown, more, examples = first_of(counted)
    rows = [(_code(name), f"{number:,}") for name, number in shown]
    if more:
        rows.append((f"{more:,} more", f"{examples:,}"))
    yield from _table((title, "examples"), rows)


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(header)} |"
    yield f"| {' | '.join(['---'] * len(header))} |"
    for row in rows or [(NO_NAME, *[""] * (len(header) - 1))]:
        yield f"| {' | '.join(row)} |"


def _fenced(text: str, language: str) -> Iterator[str]:
    """A block of code that what is in it does not end."""
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", text)), default=0))
    yield f"{fence}{language}"
    yield from (_printing(line) for line in text.rstrip("\n").split("\n"))
    yield fence


def _code(text: str) -> str:
    """Recorded text as a code span, on one line and not too long."""
    shown = _printing(" ".join(text[: _LONGEST * 4].split()), _UNSAFE_IN_CODE)
    if not shown:
        return NO_NAME
    return f"`{shown if len(shown) <= _LONGEST else f'{shown[: _LONGEST - 1]}…'}`"


def _printing(text: str, unsafe: str = "") -> str:
    return "".join(char if char.isprintable() and char not in unsafe else _escape(char) for char in text)


def _escape(char: str) -> str:
    """As TOML and JSON write it."""
    return f"\\u{ord(char):04x}" if ord(char) < 0x10000 else f"\\U{ord(char):08x}"


def _yaml(text: str) -> str:
    """A text of YAML in quotes, whatever it holds."""
    return f'"{_printing(text, _UNSAFE_IN_QUOTES)}"'


def _usd(usd: Decimal) -> str:
    return "less than $0.01" if 0 < usd < Decimal("0.01") else f"${usd:,.2f}"


def _spread(spread: Spread) -> dict[str, int]:
    return spread._asdict()
