"""`tracecli export`: what was recorded, for other tools."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import click

from tracecli import config
from tracecli.cli import filters, output
from tracecli.cli.formats import Form
from tracecli.files import drafted


@click.group("export")
def command() -> None:
    """Hand what was recorded to other tools."""


@command.command("har", cls=filters.Asking)
@click.argument("query", nargs=-1, metavar="[QUERY]")
@filters.options
@click.option(
    "--limit", type=click.IntRange(1, 1_000_000), default=1000, show_default=True, metavar="N", help="The latest N."
)
@click.option(
    "--output",
    "file",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write to this file, which only you can read.  [default: standard output]",
)
@filters.zone_options
def har(query: tuple[str, ...], limit: int, file: Path | None, zone: str | None, utc: bool, **given: Any) -> None:
    """Write an HTTP Archive (HAR 1.2), which browsers' developer tools and others read.

    QUERY and options say of which exchanges: 'session:run-7 since:2d'. They are in the order of their time, with their
    headers and bodies, and without the secrets, which the record does not hold.
    """
    where = filters.zone_of(zone, utc)
    wanted = filters.asked(query, given)
    from tracecli import finding
    from tracecli.exporting import har as archive

    now = dt.datetime.now(dt.UTC)
    pieces = archive.pieces(finding.opened(config.home(), wanted, now, where, limit=limit))
    if file is None:
        output.data_lines(pieces)
        return
    with Form("har", file).writing(), drafted(file) as draft, draft.open("w", encoding="ascii") as stream:
        stream.writelines(pieces)
