"""`tracecli reprice`: work out stored costs again."""

from __future__ import annotations

import datetime as dt

import click

from tracecli import config
from tracecli.cli import output
from tracecli.cli.arguments import moment


@click.command("reprice")
@click.option("--since", callback=moment, required=True, metavar="WHEN", help="From then on: 7d, 2h, 30m or a date.")
@click.option("--dry-run", is_flag=True, help="Show what would change, and write nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON.")
def command(since: dt.datetime, dry_run: bool, as_json: bool) -> None:
    """Work out stored costs again, with the prices that hold now.

    For when prices.toml or tracecli's own prices have changed. Each call is priced as of its day, so a dated price
    changes no call from before it. What a cost was is kept in the table cost_change. What a provider itself said a
    call cost stays.
    """
    from tracecli.reprice import reprice

    home = config.home()
    if not dry_run:
        home.refuse_changes()
    found = reprice(home, since, dry_run=dry_run)
    if as_json:
        output.json(found.as_json())
    else:
        output.changes(found)
