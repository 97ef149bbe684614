"""`tracecli coverage`: what was not seen."""

from __future__ import annotations

import datetime as dt

import click

from tracecli import config
from tracecli.cli import formats, output
from tracecli.cli.arguments import moment
from tracecli.cli.formats import Form

_UNSEEN = 7


@click.command("coverage")
@click.option(
    "--since", callback=moment, default="7d", show_default=True, metavar="WHEN", help="From then on: 7d, 2h or a date."
)
@click.option("--strict", is_flag=True, help="Exit with 7 if something was not seen.")
@formats.options(csv=True, json_help="Print JSON: connections, exchanges, unseen.")
def command(form: Form, since: dt.datetime, strict: bool) -> int | None:
    """Show what was not seen, or not whole, and what to do about it.

    Connections that passed unopened to hosts that look like AI providers; clients that refused the proxy's
    certificate, with what has them trust it; providers whose certificate was refused; exchanges that were not
    understood, or broke off. Of other hosts only a number is kept, for 30 days.

    Connections are counted by days, in UTC: the day of --since counts whole.
    """
    from tracecli import coverage
    from tracecli.tables import coverage as tables

    now = dt.datetime.now(dt.UTC)
    found = coverage.coverage(config.home(), since, now)
    if form.is_table:
        output.listing(tables.coverage(found, now), tables.plain(found))
    else:
        form.write([tables.as_json(one) for one in found.unseen], tables.NAMES, whole=tables.whole(found))
    return _UNSEEN if strict and found.unseen else None
