"""`tracecli dataset validate` and `formats`: is a training file as its format asks for it, and which there are."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from tracecli import config
from tracecli.cli import formats, output
from tracecli.cli.formats import Form
from tracecli.errors import ConfigError

if TYPE_CHECKING:
    from tracecli.datasets.formats.base import Format

_BROKEN = 7


@click.command("validate")
@click.argument("file", type=click.Path(path_type=Path), metavar="FILE")
@click.option(
    "--format", "name", metavar="FORMAT", help="What it is to be, of `tracecli dataset formats`.  [default: a guess]"
)
@click.option(
    "--limit",
    type=click.IntRange(0),
    default=50,
    show_default=True,
    metavar="N",
    help="Show the first N problems; the others are counted.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def validate(file: Path, name: str | None, limit: int, as_json: bool) -> int | None:
    """Check a training file, anybody's, against the rules that the provider publishes.

    Reads it line by line: UTF-8, one JSON object a line, keys, roles and their order, tool calls and their results,
    images, and how many examples and bytes a file may have. Tokens are estimated by length, as a warning. One line for
    each problem: its line, its place in it, and what is wrong; the content of a file is not shown.

    The exit code is 7 if there are errors; warnings leave it 0.
    """
    from tracecli.datasets.formats.base import Problem
    from tracecli.datasets.validation import Validation, guessed
    from tracecli.tables import training_files as tables

    home = config.home()
    form = _named(name) if name else guessed(home, file)
    if form is None:
        raise ConfigError(
            f"{file} looks like no format that is known",
            "Name what it is to be with --format; `tracecli dataset formats` lists them.",
        )
    check = Validation(home, file, form)
    shown: list[Problem] = []
    counts = {"error": 0, "warning": 0}
    for problem in check.problems():
        counts[problem.severity] += 1
        if len(shown) < limit:
            shown.append(problem)
    if as_json:
        output.json(
            {
                "valid": not counts["error"],
                "format": form.name,
                "guessed": name is None,
                "examples": check.examples,
                "bytes": check.bytes,
                "errors": counts["error"],
                "warnings": counts["warning"],
                "problems": [one._asdict() for one in shown],
            }
        )
    else:
        output.listing(tables.problems(file, shown), tables.problems(file, shown))
        output.say(tables.summary(form, check.examples, counts, len(shown), guessed=name is None))
    return _BROKEN if counts["error"] else None


@click.command("formats")
@formats.options(csv=True)
def formats_(form: Form) -> None:
    """List the formats of training files: what they keep, their limits, and where their rules are published.

    What a format has no place for is left out where that changes nothing of what was said (reasoning, that a tool
    failed), and else keeps an example from being written in it. docs/datasets.md has the rules.
    """
    from tracecli.datasets.formats.registry import FORMATS
    from tracecli.tables import training_files as tables

    if form.is_table:
        output.listing(tables.formats(FORMATS.values()), tables.formats_plain(FORMATS.values()))
    else:
        form.write(tables.as_json(one) for one in FORMATS.values())


def _named(name: str) -> Format:
    from tracecli.datasets.formats.registry import FORMATS

    found = FORMATS.get(name)
    if found is None:
        raise click.BadParameter(f"there is no format {name!r}; there are {', '.join(FORMATS)}.", param_hint="--format")
    return found
