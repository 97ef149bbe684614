"""`tracecli dataset create`: say what a dataset is made of."""

from __future__ import annotations

import ast
import datetime as dt
import itertools
import typing
from pathlib import Path
from types import UnionType
from typing import Any, Literal

import click
import msgspec

from tracecli import config
from tracecli.cli import output
from tracecli.errors import ConfigError, DatasetError


class _Settings(click.Command):
    """A command with an option for each key of a definition, made when it is needed."""

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        own = super().get_params(ctx)
        return [*own[:-1], *_options(), own[-1]]


@click.command("create", cls=_Settings)
@click.argument("name")
@click.option(
    "--from",
    "file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Begin with this definition, a TOML file as the home has them.",
)
@click.option("--update", is_flag=True, help="Make the next version of a dataset, and begin with its last one.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def create(name: str, file: Path | None, update: bool, as_json: bool, **given: Any) -> None:
    """Choose requests for a dataset, and say how they are cleaned, split and written.

    Each option is a key of the definition, which is a file in the home: `tracecli dataset show NAME` says where. What
    the query finds now is written down with it, so that building again gives the same; --update chooses again, and
    makes the next version.

    The steps are taken in the order in which they stand here.
    """
    from tracecli import finding
    from tracecli.datasets import definition as definitions
    from tracecli.datasets import folder
    from tracecli.policy.rules import PolicyError
    from tracecli.query import syntax
    from tracecli.tables import datasets as tables

    home = config.home()
    there = folder.versions(home, name) if definitions.name_problem(name) is None else []
    if there and not update:
        raise ConfigError(f"there is a dataset {name} already", "Make its next version with --update, or name another.")
    if update and file:
        raise click.UsageError("--update begins with the last version, --from with a file: choose one.")
    if update and not there:
        raise ConfigError(f"there is no dataset {name} yet", "Leave --update out.")
    begun = there[-1].definition() if update else folder.read_definition(file) if file else None
    values = (definitions.settings_of(begun) if begun else {}) | _typed(given)
    try:
        made = definitions.definition(f"{name}.toml", values)
    except PolicyError as error:
        option = f"--{error.key.partition('.')[0].replace('_', '-')}"
        raise ConfigError(f"{option}: {error.problem}", "See `tracecli dataset create --help`.") from None
    found = finding.ids(home, syntax.parse(made.where), dt.datetime.now(dt.UTC), sessions=made.sessions)
    if not found:
        raise DatasetError(
            f"no recorded request fits {made.where!r}", "Try the query with `tracecli usage show` first."
        )
    version = folder.make(home, name, made, sorted(found))
    if as_json:
        output.json(tables.as_json(version, made, len(found), None))
        return
    output.say(f"{version.reference}: {len(found):,} requests chosen. Build it: tracecli dataset build {name}")


def _typed(given: dict[str, Any]) -> dict[str, Any]:
    """What was typed, as values of a definition."""
    values: dict[str, Any] = {}
    for name, value in given.items():
        if value is None or value == ():
            continue
        if name == "patterns":
            values[name] = dict(_pattern(text) for text in value)
        elif isinstance(value, tuple):
            values[name] = [one.strip() for text in value for one in text.split(",") if one.strip()]
        else:
            values[name] = value
    return values


def _pattern(text: str) -> tuple[str, str]:
    name, equals, pattern = text.partition("=")
    if not equals:
        raise click.BadParameter(f"{text!r} is no NAME=EXPRESSION.", param_hint="--patterns")
    return name.strip(), pattern


def _options() -> list[click.Option]:
    """An option for each key."""
    from tracecli.datasets.definition import Definition

    hints = typing.get_type_hints(Definition)
    defaults = msgspec.structs.asdict(Definition())
    return [_option(name, hints[name], defaults[name], text) for name, text in _helps()]


def _option(name: str, kind: Any, default: Any, text: str) -> click.Option:
    """Not given is None, so that what a definition says already stays."""
    typed = f"--{name.replace('_', '-')}"
    if isinstance(kind, typing.TypeAliasType):
        kind = kind.__value__
    if isinstance(kind, UnionType):
        kind = next(one for one in typing.get_args(kind) if one is not type(None))
    shown = f"{text}  [default: {default}]" if default not in (None, "", [], {}, False) else text
    if kind is bool:
        return click.Option([f"{typed}/--no-{name}"], default=None, help=text)
    if typing.get_origin(kind) is Literal:
        choices = [one for one in typing.get_args(kind) if one]
        return click.Option([typed], type=click.Choice(choices), help=shown)
    if typing.get_origin(kind) in (list, dict):
        metavar = "NAME=EXPRESSION" if typing.get_origin(kind) is dict else "A,B"
        return click.Option([typed], multiple=True, metavar=metavar, help=shown)
    return click.Option([typed], type=kind, help=shown)


def _helps() -> list[tuple[str, str]]:
    """What each key means, as the definition itself says; without the marks of Markdown."""
    from tracecli.datasets import definition

    tree = ast.parse(Path(definition.__file__).read_text("utf-8"))
    fields = next(one for one in tree.body if isinstance(one, ast.ClassDef) and one.name == "Definition").body
    told: list[tuple[str, str]] = []
    waiting: list[str] = []
    for node, after in itertools.zip_longest(fields, fields[1:]):
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            waiting.append(node.target.id)
            if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
                text = " ".join(str(after.value.value).replace("`", "").split())
                told += [(name, text) for name in waiting]
                waiting = []
    return told
