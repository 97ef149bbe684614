"""`tracecli usage report`: a page to look at."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import click

from tracecli import config
from tracecli.cli import filters, output
from tracecli.cli.formats import Form


@click.command("report", cls=filters.Asking)
@click.argument("query", nargs=-1, metavar="[QUERY]")
@click.option(
    "--html",
    "file",
    type=click.Path(dir_okay=False, allow_dash=True, path_type=Path),
    required=True,
    metavar="FILE",
    help="Write to this file, which only you can read; - is standard output.",
)
@filters.options
@filters.zone_options
def report(query: tuple[str, ...], file: Path, zone: str | None, utc: bool, **given: Any) -> None:
    """Write a page about what was spent, by whom and on what; how long it took; what went wrong.

    One HTML file that needs nothing else: no script, no network. QUERY and options say what counts: 'since:30d'.
    """
    where = filters.zone_of(zone, utc)
    wanted = filters.asked(query, given)
    from tracecli.query.syntax import text_of
    from tracecli.report import figures, page

    now = dt.datetime.now(dt.UTC)
    text = page.page(figures.gather(config.home(), wanted, now, where), text_of(wanted), now, where)
    if str(file) == "-":
        output.data_lines([text])
        return
    from tracecli.files import write_whole

    with Form("html", file, "--html").writing():
        write_whole(file, text.encode("utf-8", "backslashreplace"))
    output.say(f"Wrote {file}.")
