"""`tracecli usage sessions`, `session` and `diff`: requests that belong together, or beside each other."""

from __future__ import annotations

import datetime as dt
from typing import Any

import click

from tracecli import config
from tracecli.cli import filters, formats, output
from tracecli.cli.formats import Form


@click.command("sessions", cls=filters.Asking)
@click.argument("query", nargs=-1, metavar="[QUERY]")
@filters.options
@click.option("--limit", type=click.IntRange(1, 100_000), default=30, show_default=True, metavar="N")
@click.option("--infer/--no-infer", default=True, help="Find those without an id by their messages.  [default: infer]")
@filters.zone_options
@formats.options(csv=True)
def sessions(
    form: Form, query: tuple[str, ...], limit: int, infer: bool, zone: str | None, utc: bool, **given: Any
) -> None:
    """List agent runs and conversations.

    A session has the id that its client sent. Where it sent none, requests belong together that begin with the messages
    of an earlier one; such a session is called ~ and the id of its first request. So are the latest 2,000 looked at.
    """
    where = filters.zone_of(zone, utc)
    wanted = filters.asked(query, given)
    from tracecli import conversations

    now = dt.datetime.now(dt.UTC)
    found = conversations.sessions(config.home(), wanted, now, where, limit, infer=infer)
    if not form.is_table:
        form.write(one.as_json() for one in found)
        return
    if not found:
        output.say("No session fits.")
        return
    from tracecli.tables import sessions as tables

    output.listing([tables.sessions(found, now, where)], tables.sessions_plain(found))


@click.command("session")
@click.argument("name", metavar="ID")
@filters.zone_options
@formats.options(csv=True)
def session(form: Form, name: str, zone: str | None, utc: bool) -> None:
    """Show a session as a timeline.

    ID is what `usage sessions` lists, or the id of one of its requests.
    """
    from tracecli import conversations

    where = filters.zone_of(zone, utc)
    now = dt.datetime.now(dt.UTC)
    found = conversations.session(config.home(), name, now)
    if not form.is_table:
        form.write(row.as_json() for row in found)
        return
    from tracecli.tables import sessions as tables

    output.listing(tables.timeline(found, now, where), tables.plain(found, where))


@click.command("diff")
@click.argument("first", metavar="A")
@click.argument("second", metavar="B")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def diff(first: str, second: str, as_json: bool) -> None:
    """Compare two requests: settings, messages, answers, and what they cost.

    Messages are aligned, and the first difference is marked. A and B are ids, the beginnings of them, or `last`. In a
    pipe it is a diff: lines of A begin with -, those of B with +.
    """
    from tracecli import browse, comparing

    home = config.home()
    found = comparing.compare(*browse.open_exchanges(home, [first, second]))
    if as_json:
        output.json(found.as_json())
        return
    from tracecli.tables import compared as tables

    output.listing(tables.compared(found), tables.plain(found))
