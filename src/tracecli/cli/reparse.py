"""`tracecli reparse`: read stored requests and answers again."""

from __future__ import annotations

import datetime as dt

import click

from tracecli import config
from tracecli.cli import output
from tracecli.cli.arguments import moment


@click.command("reparse")
@click.option("--since", callback=moment, required=True, metavar="WHEN", help="From then on: 7d, 2h, 30m or a date.")
@click.option("--dry-run", is_flag=True, help="Show what would change, and write nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON.")
def command(since: dt.datetime, dry_run: bool, as_json: bool) -> None:
    """Read stored requests and answers again, as a new one would be.

    For when a newer tracecli understands what an older one did not: models, tokens, finish reasons, errors, and so the
    cost. Requests that were recorded without content are left alone. What a cost was is kept in the table cost_change.
    """
    from tracecli.reparse import reparse

    home = config.home()
    if not dry_run:
        home.refuse_changes()
    found = reparse(home, since, dry_run=dry_run)
    if as_json:
        output.json(found.as_json())
    else:
        output.changes(found)
