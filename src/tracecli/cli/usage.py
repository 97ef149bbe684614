"""`tracecli usage`: look at what was recorded."""

from __future__ import annotations

import datetime as dt

import click
from click.core import ParameterSource

from tracecli import config
from tracecli.cli import output
from tracecli.cli.arguments import moment

_NOTHING_YET = """\
Nothing is recorded in {home} yet.

  tracecli demo    shows how it works; no API key needed
  tracecli proxy   starts recording, and prints the two variables that a client needs"""


@click.group("usage")
def command() -> None:
    """Look at what was recorded: requests, tokens, cost."""


@command.command("show")
@click.argument("ref", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print JSON: a list, or with REF one object.")
@click.option(
    "--limit",
    type=click.IntRange(1, 1_000_000),
    default=50,
    show_default=True,
    metavar="N",
    help="List the N latest requests.",
)
@click.pass_context
def show(context: click.Context, ref: str | None, as_json: bool, limit: int) -> None:
    """List the latest requests, or open one.

    Without REF, the latest requests, newest first, in a table that fits the terminal. Times are local. A dash is an
    unknown value (never zero), ~ an estimate. A wide terminal shows more columns.

    With REF, that request: prompt, completion, timings, tokens and cost. REF is an id, the beginning of one as the
    table shows it, or `last`.

    In a pipe, the table is one line a request, without colours and with every value whole, in columns two or more
    spaces apart. Names and units are then those of --json, and `-` is unknown.
    """
    if ref is not None and context.get_parameter_source("limit") is not ParameterSource.DEFAULT:
        raise click.UsageError("--limit is for the list, and REF opens one request: leave one of them out.")
    from tracecli import browse

    home = config.home()
    if ref is not None:
        exchange = browse.open_exchange(home, ref)
        if as_json:
            output.json(exchange.as_json())
        else:
            output.opened(exchange)
        return
    rows = browse.latest(home, limit)
    if as_json:
        output.json([row.as_json() for row in rows])
    elif rows:
        output.rows(rows, more=len(rows) == limit)
    else:
        output.say(_NOTHING_YET.format(home=home.root))


@command.command("repeats")
@click.option(
    "--since", callback=moment, default="7d", show_default=True, metavar="WHEN", help="From then on: 7d, 2h or a date."
)
@click.option("--limit", type=click.IntRange(1, 10_000), default=20, show_default=True, metavar="N")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def repeats(since: dt.datetime, limit: int, as_json: bool) -> None:
    """List the requests that were made most often, and what all but the first of them cost.

    Requests are the same where the cache would say so, whoever made them; recorded without content, they do not count.
    """
    from tracecli.cache_report import counts

    found = counts.repeats(config.home(), since, limit)
    if as_json:
        output.json([one.as_json() for one in found])
        return
    if not found:
        output.say("No recorded request was made twice since then.")
        return
    from tracecli.tables import cache as tables

    output.listing(tables.repeats(found, dt.datetime.now(dt.UTC)), tables.repeats_plain(found))
