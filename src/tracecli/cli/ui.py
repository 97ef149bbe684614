"""`tracecli ui`: the terminal application."""

from __future__ import annotations

import sys
from typing import Any

import click

from tracecli import config
from tracecli.cli import filters


@click.command("ui", cls=filters.Asking)
@click.argument("query", nargs=-1, metavar="[QUERY]")
@filters.options
@filters.zone_options
def command(query: tuple[str, ...], zone: str | None, utc: bool, **given: Any) -> None:
    """Browse what was recorded, in the terminal: find as you type.

    Open requests, compare two, follow what ends, see sessions and sums. QUERY and options are
    the filter to begin with: 'user:alice since:2h'. Press ? for the keys.
    """
    where = filters.zone_of(zone, utc)
    wanted = filters.asked(query, given)
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise click.UsageError("`tracecli ui` needs a terminal; in a pipe, `tracecli usage show` lists the same.")
    from tracecli.ui.app import Browser

    browser = Browser(config.home(), wanted, where)
    browser.run()
    if browser.bug is not None:
        raise browser.bug
