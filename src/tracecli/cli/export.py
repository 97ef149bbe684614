"""`tracecli export`: what was recorded, for other tools."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import click

from tracecli import config, working
from tracecli.cli import filters, output, progress
from tracecli.cli.formats import Form
from tracecli.errors import ConfigError
from tracecli.files import drafted

if TYPE_CHECKING:
    from tracecli.collector import Sent
    from tracecli.config import Home
    from tracecli.exchange import Opened, Row


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


@command.command("otlp", cls=filters.Asking)
@click.argument("query", nargs=-1, metavar="[QUERY]")
@filters.options
@click.option("--endpoint", metavar="URL", help="The collector's.  [default: what OTEL_EXPORTER_OTLP_ENDPOINT says]")
@click.option("--header", "headers", multiple=True, metavar="NAME=VALUE", help="To send with each request.")
@click.option("--service", metavar="NAME", help="The service's.  [default: OTEL_SERVICE_NAME, or tracecli]")
@click.option("--content", is_flag=True, help="Send prompts and completions too.")
@click.option(
    "--limit", type=click.IntRange(1), default=1_000_000, show_default=True, metavar="N", help="The latest N."
)
@click.option("--follow", is_flag=True, help="Send those that end from now on, until Ctrl-C.")
@filters.zone_options
def otlp(
    query: tuple[str, ...],
    endpoint: str | None,
    headers: tuple[str, ...],
    service: str | None,
    content: bool,
    limit: int,
    follow: bool,
    zone: str | None,
    utc: bool,
    **given: Any,
) -> None:
    """Send exchanges to an OpenTelemetry collector, as GenAI spans over OTLP/HTTP.

    QUERY and options say which: 'since:1d -user:ci'. Each is one span, those of a session are one trace, and ids are
    the same whenever they are sent. Without --content nothing of what was said is sent. Headers can come from
    OTEL_EXPORTER_OTLP_HEADERS too, which keeps them out of the list of processes.
    """
    where = filters.zone_of(zone, utc)
    wanted = filters.asked(query, given)
    try:
        from tracecli import collector
        from tracecli.exporting import spans
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"sending spans needs the package {error.name}", "Install it: pip install 'tracecli[otlp]'."
        ) from None
    told = config.otlp()
    place = endpoint or told.endpoint
    if place is None:
        raise click.UsageError("Say where the collector is: --endpoint http://localhost:4318.")
    from tracecli import finding, following

    home = config.home()
    now = dt.datetime.now(dt.UTC)

    def sent(so_far: Sent) -> None:
        working.told(so_far.spans, None, "spans sent")
        if follow and so_far.refused:
            output.say(_refused(so_far))

    def send(rows: Iterator[list[Row]]) -> Sent:
        every = (spans.span(row, one) for page in rows for row, one in _opened(home, page, content=content))
        return collector.send(
            every,
            collector.address(place),
            _headers(headers, told.headers),
            service or told.service or "tracecli",
            sent=sent,
        )

    if follow:
        progress.end()
        output.say("Sending what ends from now on; Ctrl-C ends it.")
        for row in following.follow(home, wanted, where, 0):
            send(iter([[row]]))
        return
    done = send(finding.pages(home, wanted, now, where, limit=limit))
    output.say(f"Sent {done.spans:,} {'span' if done.spans == 1 else 'spans'}.")
    if done.refused:
        output.say(_refused(done))


def _opened(home: Home, rows: list[Row], *, content: bool) -> Iterator[tuple[Row, Opened | None]]:
    if not content:
        yield from ((row, None) for row in rows)
        return
    from tracecli import finding

    yield from ((one.row, one) for one in finding.with_content(home, rows[::-1]))


def _refused(sent: Sent) -> str:
    return f"The collector did not take {sent.refused:,}{f': {sent.why}' if sent.why else ''}."


def _headers(typed: tuple[str, ...], told: str) -> dict[str, str]:
    """Headers by name. What is wrong with one is said without its value."""
    found: dict[str, str] = {}
    for number, text in enumerate([*(part for part in told.split(",") if part.strip()), *typed], 1):
        name, equals, value = text.partition("=")
        name, value = name.strip(), value.strip() if text in typed else unquote(value.strip())
        if not equals or not name.isascii() or not name.replace("-", "").replace("_", "").isalnum():
            raise ConfigError(f"header {number} is no NAME=VALUE", "Write it as --header api-key=....")
        if not value.isascii() or not value.isprintable():
            raise ConfigError(f"the value of the header {name} is no text of ASCII", "Percent-encode it.")
        found[name] = value
    return found
