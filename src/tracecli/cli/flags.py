"""`tracecli flags`: rules that flag what is recorded."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tracecli import config
from tracecli.cli import filters, formats, output
from tracecli.cli.formats import Form
from tracecli.errors import ConfigError

if TYPE_CHECKING:
    from tracecli.finding import Found
    from tracecli.flags import Rule
    from tracecli.trying import Trial

_INVALID = 3


@click.group("flags")
def command() -> None:
    """Flag requests by rules: what was said, who said it to which model.

    A rule is a TOML file in flags/ of the policy folder; its name becomes a flag of each request that it fits, when
    that is loaded into the store. Ask for them with `tracecli usage show --flag NAME` or `tracecli usage stats --by
    flag`. `tracecli policy validate` checks the files, `tracecli reparse` goes by new rules over what is stored.
    """


@command.command("list")
@formats.options(csv=True)
def list_(form: Form) -> int | None:
    """List the rules in force, and how many requests each has flagged.

    Flags of rules that are no more stay on the record, and are listed too. The exit code is 3 if a rule's file is
    wrong: that rule is not in force.
    """
    from tracecli import finding, flag_files
    from tracecli.flags import MARKS
    from tracecli.query.syntax import EVERYTHING
    from tracecli.tables import flags as tables

    home = config.home()
    rules, wrong = flag_files.load_some(config.policy_folder(home))
    counted = finding.statistics(home, EVERYTHING, ["flag"], dt.datetime.now(dt.UTC))
    numbers = {name: group.requests for group in counted if (name := group.key[0]) and name not in MARKS}
    found: list[tuple[str, Rule | None, int]] = [(one.name, one, numbers.pop(one.name, 0)) for one in rules.rules]
    found += [(name, None, number) for name, number in sorted(numbers.items())]
    if not form.is_table:
        form.write(tables.as_json(*one) for one in found)
    elif found:
        output.listing(tables.rules(found), tables.rules_plain(found))
    elif not wrong:
        output.say("There are no rules. The README says how to write one: its chapter on flags.")
    for error in wrong:
        output.say(f"tracecli: {error}")
    return _INVALID if wrong else None


@command.command("test", cls=filters.Asking)
@click.argument("file")
@click.argument("query", nargs=-1, metavar="[QUERY]")
@filters.options
@click.option(
    "--limit",
    type=click.IntRange(1, 1_000_000),
    default=1000,
    show_default=True,
    metavar="N",
    help="Look at the N latest.",
)
@filters.zone_options
@formats.options(csv=True, json="jsonl", json_help="Print JSON Lines: one object a request.")
def test(
    form: Form,
    file: str,
    query: tuple[str, ...],
    limit: int,
    zone: str | None,
    utc: bool,
    **given: Any,
) -> None:
    """Show what a rule would have flagged of what was recorded.

    FILE is a rule, which may be anywhere, or the name of one in force. QUERY and options say what to try it on:
    'user:alice since:7d'. Nothing is written.

    In a pipe, one line a match: id, side, role, and the words in their context.
    """
    where = filters.zone_of(zone, utc)
    wanted = filters.asked(query, given)
    from tracecli import flag_files
    from tracecli.tables import flags as tables
    from tracecli.tables import found as tables_found
    from tracecli.trying import Trial

    home = config.home()
    one = flag_files.read(_path(file, config.policy_folder(home)))
    now = dt.datetime.now(dt.UTC)
    trial = Trial()
    flagged: Iterator[Found] = trial.of(home, one, wanted, now, where, limit=limit)
    if form.is_table:
        for each in flagged:
            output.listing(tables_found.found(each, now, where), tables.plain(each))
    else:
        form.write(tables_found.as_json(each) for each in flagged)
    output.say(_summary(one, trial, limit))


def _path(file: str, folder: Path) -> Path:
    from tracecli.policy.files import FLAGS, SUFFIX

    path = Path(file).absolute()
    in_force = folder / FLAGS / f"{file}{SUFFIX}"
    if path.exists() or path.is_symlink():
        return path
    if Path(file).name == file and in_force.exists():
        return in_force
    raise ConfigError(
        f"there is no file {path}, and no rule of that name in {in_force.parent}",
        "Name a file, or a rule that `tracecli flags list` shows.",
    )


def _summary(one: Rule, trial: Trial, limit: int) -> str:
    if not trial.looked_at:
        return "No recorded request fits."
    told = f"{one.name} would have flagged {trial.flagged:,} of {trial.looked_at:,} requests."
    if trial.without_content:
        told += f" {trial.without_content:,} of them are recorded without what was said."
    if trial.looked_at == limit:
        told += f" These are the latest {limit:,}; --limit looks at more."
    return told
