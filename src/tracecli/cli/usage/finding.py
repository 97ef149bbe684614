"""`tracecli usage find` and `tail`: words in what was said, and requests as they end."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from tracecli import config
from tracecli.cli import filters, formats, output, progress
from tracecli.cli.formats import Form
from tracecli.query import sql, syntax

if TYPE_CHECKING:
    from tracecli.finding import Found


@click.command("find", cls=filters.Asking)
@click.argument("text")
@click.argument("query", nargs=-1, metavar="[QUERY]")
@click.option("--regex", is_flag=True, help="TEXT is a regular expression (RE2); (?i) at its beginning ignores case.")
@click.option("--in", "side", type=click.Choice(["prompt", "completion"]), help="Look there only.")
@filters.options
@click.option("--limit", type=click.IntRange(1, 1_000_000), default=20, show_default=True, metavar="N")
@filters.zone_options
@formats.options(csv=True, json="jsonl", json_help="Print JSON Lines: one object a request.")
def find(
    form: Form,
    text: str,
    query: tuple[str, ...],
    regex: bool,
    side: str | None,
    limit: int,
    zone: str | None,
    utc: bool,
    **given: Any,
) -> None:
    """Look for words in prompts and completions.

    Shows where they were said, newest first, as soon as they are found. Words fit whatever their case. QUERY and
    options say where to look: 'user:alice since:7d'.

    In a pipe, one line a match: id, side, role, and the words in their context.
    """

    where = filters.zone_of(zone, utc)
    name = side or "text"
    wanted = syntax.pattern(text, name) if regex else syntax.words(text, name)
    if not text:
        raise click.UsageError("TEXT is empty: write what to look for.")
    within = filters.asked(query, given)
    if words := sql.contents(within):
        raise click.UsageError(f"TEXT comes first and alone, in quotes: {syntax.text_of(words[0])!r} is more of it.")
    from tracecli import finding
    from tracecli.tables import found as tables

    now = dt.datetime.now(dt.UTC)
    number = 0

    def counted() -> Iterator[Found]:
        nonlocal number
        for one in finding.search(config.home(), wanted, within, now, where, limit=limit):
            number += 1
            yield one

    if form.is_table:
        for one in counted():
            output.listing(tables.found(one, now, where), tables.plain(one))
    else:
        form.write(tables.as_json(one) for one in counted())
    if not number:
        output.say("Nothing was found.")
    elif number == limit:
        output.say(f"These are the latest {limit}; --limit shows more.")


@click.command("tail", cls=filters.Asking)
@click.argument("query", nargs=-1, metavar="[QUERY]")
@filters.options
@click.option("--limit", type=click.IntRange(0, 1000), default=10, show_default=True, metavar="N", help="Begin with N.")
@filters.zone_options
@formats.options(csv=True, json="jsonl", json_help="Print JSON Lines: one object a request.")
def tail(form: Form, query: tuple[str, ...], limit: int, zone: str | None, utc: bool, **given: Any) -> None:
    """Follow requests as they end, until Ctrl-C.

    QUERY and options say which. In a pipe, one line a request: the columns of `usage show`.
    """
    where = filters.zone_of(zone, utc)
    wanted = filters.asked(query, given)
    if form.name not in ("table", "jsonl", "csv") or form.file:
        raise click.UsageError("What is followed has no end: choose --format jsonl or csv, to standard output.")
    progress.end()  # waiting is all it does
    from tracecli import following
    from tracecli.exchange import Row
    from tracecli.tables import tail as tables

    rows = following.follow(config.home(), wanted, where, limit)
    if not form.is_table:
        form.write((row.as_json() for row in rows), Row.__struct_fields__)
        return
    for row in rows:
        output.listing([tables.Ended(row, where)], [tables.plain(row, where)])
