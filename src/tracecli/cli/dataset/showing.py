"""`tracecli dataset list`, `show`, `preview` and `diff`: look at datasets."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import batched, chain
from typing import TYPE_CHECKING, Any

import click
import msgspec

from tracecli import config
from tracecli.cli import formats, output
from tracecli.cli.formats import Form
from tracecli.errors import ConfigError, DatasetError

if TYPE_CHECKING:
    from tracecli.datasets.folder import Version
    from tracecli.tables.datasets import Listed

_AT_ONCE = 25
"""Requests that are looked at together: those of which nothing is shown are few."""


@click.command("list")
@click.option("--all", "every", is_flag=True, help="All versions, not only the last one of each.")
@formats.options(csv=True)
def list_(form: Form, every: bool) -> None:
    """List the datasets."""
    from tracecli.datasets import folder
    from tracecli.tables import datasets as tables

    home = config.home()
    versions = [one for name in folder.names(home) for one in folder.versions(home, name)[0 if every else -1 :]]
    found = [_listed(one) for one in versions]
    if not form.is_table:
        form.write(tables.as_json(*one) for one in found)
    elif found:
        output.listing(tables.listed(found), tables.listed_plain(found))
    else:
        output.say("There are none yet: tracecli dataset create NAME --where QUERY")


def _listed(version: Version) -> Listed:
    try:
        one = version.definition()
    except ConfigError:
        one = None
    return version, one, version.count(), version.manifest()


@click.command("show")
@click.argument("reference", metavar="NAME[@VERSION]")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def show(reference: str, as_json: bool) -> None:
    """Show a dataset: its definition, what each step did, and the files."""
    from tracecli.datasets import folder
    from tracecli.tables import datasets as tables

    version = folder.version(config.home(), reference)
    one, chosen, built = version.definition(), version.count(), version.manifest()
    if as_json:
        output.json(tables.as_json(version, one, chosen, built))
    else:
        output.listing(tables.shown(version, one, chosen, built), tables.shown_plain(version, one, chosen, built))


@click.command("preview")
@click.argument("reference", metavar="NAME[@VERSION]")
@click.option("--limit", type=click.IntRange(1, 1000), default=3, show_default=True, metavar="N", help="So many.")
@click.option("--dropped", is_flag=True, help="What became no example, by which step, and why. Needs a build.")
@click.option("--step", metavar="NAME", help="With --dropped: by this step alone.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON Lines: one object an example.")
def preview(reference: str, limit: int, dropped: bool, step: str | None, as_json: bool) -> None:
    """Show the first examples as they will be, or what was left out.

    The examples are those that the steps leave which look at one request alone; duplicates and the like are found when
    it is built.
    """
    from tracecli.datasets import folder

    version = folder.version(config.home(), reference)
    if dropped:
        _dropped(version, limit, step, as_json)
        return
    if step:
        raise click.UsageError("--step goes with --dropped.")
    for number, (one, left) in enumerate(_examples(version)):
        if one is None:
            if not number and not left:
                return
            output.say(f"{left:,} requests were looked at and left out before that.")
            return
        if number:
            output.gap()
        _example(one, as_json)
        if number + 1 == limit:
            return


def _examples(version: Version) -> Iterator[tuple[dict[str, Any] | None, int]]:
    """Examples one by one, and last None, with how many were left out."""
    from tracecli import ledger
    from tracecli.datasets import workers
    from tracecli.datasets.preparing import Left

    home = config.home()
    home.prepare()
    left = 0

    def noted() -> Iterator[list[str]]:
        for some in batched(chain.from_iterable(version.chosen()), _AT_ONCE):
            ledger.reading(home, some)
            yield list(some)

    for one in workers.prepared(home, version.definition(), noted(), here=_AT_ONCE):
        if isinstance(one, Left):
            left += 1
        else:
            yield msgspec.json.decode(one.example), left
    yield None, left


def _example(one: dict[str, Any], as_json: bool) -> None:
    if as_json:
        output.json_line(one)
        return
    from rich.text import Text

    from tracecli.tables import opened as tables
    from tracecli.tables.visible import line

    source = one["source"]
    title = Text.assemble(
        (source["id"], "bold"), (f"  {line(source['model'] or '-')}  {line(source['policy'])}", "dim")
    )
    tools = ", ".join(line(str(tool["name"])) for tool in one.get("tools", ()))
    output.people([title, *([Text(f"tools: {tools}", "dim")] if tools else []), *tables.conversation(one["messages"])])


def _dropped(version: Version, limit: int, step: str | None, as_json: bool) -> None:
    if not version.dropped_file.exists():
        raise DatasetError(f"{version.reference} is not built", f"Build it: tracecli dataset build {version.name}")
    shown = 0
    with version.dropped_file.open("rb") as lines:
        for text in lines:
            one = msgspec.json.decode(text)
            if step is None or one["step"] == step:
                if as_json:
                    output.json_line(one)
                else:
                    output.data_lines([f"{one['id']}  {one['step']}  {one['why']}\n"])
                shown += 1
                if shown == limit:
                    return


@click.command("diff")
@click.argument("before", metavar="NAME[@VERSION]")
@click.argument("after", metavar="[NAME[@VERSION]]", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def diff(before: str, after: str | None, as_json: bool) -> None:
    """Show how two versions differ: what chose them, which requests, and what came of them.

    With one name alone: how its last version differs from the one before.
    """
    from tracecli.datasets import comparing, folder
    from tracecli.tables import datasets as tables

    home = config.home()
    if after is None:
        last = folder.version(home, before)
        earlier = [one for one in folder.versions(home, last.name) if one.number < last.number]
        if not earlier:
            raise DatasetError(f"there is no version of {last.name} before {last.number}", "Name two datasets.")
        found = comparing.difference(earlier[-1], last)
    else:
        found = comparing.difference(folder.version(home, before), folder.version(home, after))
    if as_json:
        output.json(msgspec.to_builtins(found))
    else:
        output.listing(tables.difference(found), tables.difference_plain(found))
