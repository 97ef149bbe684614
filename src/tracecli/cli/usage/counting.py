"""`tracecli usage stats`, `me` and `repeats`: sums."""

from __future__ import annotations

import datetime as dt
from typing import Any, Literal

import click

from tracecli import config
from tracecli.cli import filters, formats, output
from tracecli.cli.arguments import moment
from tracecli.cli.formats import Form
from tracecli.query import syntax
from tracecli.query.errors import did_you_mean
from tracecli.query.orders import GROUPS, TIMES


def _by(context: click.Context, option: click.Parameter, value: str) -> list[str]:
    """What to group by."""
    chosen = list(dict.fromkeys(name.strip().lower() for name in value.split(",")))
    for name in chosen:
        if name not in GROUPS:
            near = did_you_mean(name, GROUPS)
            raise click.BadParameter(
                f"there is nothing {name!r} to group by. {near}Write one or two of {', '.join(GROUPS)}.",
                context,
                option,
            )
    if len(chosen) > 2:
        raise click.BadParameter("that is more than two.", context, option)
    return chosen


@click.command("stats", cls=filters.Asking)
@click.argument("query", nargs=-1, metavar="[QUERY]")
@click.option(
    "--by", callback=_by, default="model", show_default=True, metavar="A[,B]", help=f"Group by {', '.join(GROUPS)}."
)
@filters.options
@click.option(
    "--sort", type=click.Choice(["requests", "cost", "errors", "p95"]), help="Those with most first; times in order."
)
@click.option("--limit", type=click.IntRange(1, 1_000_000), default=30, show_default=True, metavar="N")
@filters.zone_options
@formats.options(csv=True)
def stats(
    form: Form,
    query: tuple[str, ...],
    by: list[str],
    sort: Literal["requests", "cost", "errors", "p95"] | None,
    limit: int,
    zone: str | None,
    utc: bool,
    **given: Any,
) -> None:
    """Count requests, tokens and cost, with error and hit rates and the spread of times.

    QUERY and options say what counts: 'since:7d -status:429'. Percentiles are of the duration and of the time to the
    first token. Days and hours are local. A request with several flags, tags or tools counts in each. What costs
    nothing known is left out of the cost, and --json says how much.
    """
    where = filters.zone_of(zone, utc)
    wanted = filters.asked(query, given)
    from tracecli import finding

    now = dt.datetime.now(dt.UTC)
    order = sort or ("latest" if by[0] in TIMES else "requests")
    shown, number = finding.first_statistics(config.home(), wanted, by, now, where, order=order, limit=limit)
    if order == "latest":
        shown.sort(key=lambda group: [part or "" for part in group.key])
    from tracecli.tables import statistics as tables

    if not form.is_table:
        form.write(tables.as_json(group, by) for group in shown)
    elif shown:
        output.listing(tables.statistics(shown, by, left_out=number - len(shown)), tables.plain(shown, by))
    else:
        output.say("No recorded request fits.")


@click.command("me")
@click.option("--user", required=True, help="Whose.")
@filters.zone_options
@formats.options(csv=True, json_help="Print JSON: hours, days, months.")
def me(form: Form, user: str, zone: str | None, utc: bool) -> None:
    """Add up what one user did: the last 24 hours, 30 days and 12 months.

    As data, each is a row, whose `period` is hour, day or month; JSON has a list of each.
    """
    from tracecli import finding
    from tracecli.tables import statistics as tables

    where = filters.zone_of(zone, utc)
    now = dt.datetime.now(dt.UTC)
    mine = syntax.named("user", user)
    told: dict[str, list[dict[str, Any]]] = {}
    for name, since in (("hour", "24h"), ("day", "30d"), ("month", "365d")):
        wanted = syntax.all_of([mine, syntax.term("since", since)])
        found = sorted(finding.statistics(config.home(), wanted, [name], now, where), key=lambda group: group.key)
        told[name] = [tables.as_json(group, [name]) for group in found]
        if form.is_table and found:
            output.listing([*tables.statistics(found, [name]), ""], [*tables.plain(found, [name]), ""])
    if not form.is_table:
        every = ({"period": name, "begin": one.pop(name), **one} for name, groups in told.items() for one in groups)
        form.write(every, whole={f"{name}s": groups for name, groups in told.items()})
    elif not any(told.values()):
        output.say(f"Nothing was recorded of {user} in the last 365 days.")


@click.command("repeats")
@click.option(
    "--since", callback=moment, default="7d", show_default=True, metavar="WHEN", help="From then on: 7d, 2h or a date."
)
@click.option("--limit", type=click.IntRange(1, 10_000), default=20, show_default=True, metavar="N")
@formats.options(csv=True)
def repeats(form: Form, since: dt.datetime, limit: int) -> None:
    """List the requests that were made most often, and what all but the first of them cost.

    Requests are the same where the cache would say so, whoever made them; recorded without content, they do not count.
    """
    from tracecli.cache_report import counts

    found = counts.repeats(config.home(), since, limit)
    if not form.is_table:
        form.write(one.as_json() for one in found)
        return
    if not found:
        output.say("No recorded request was made twice since then.")
        return
    from tracecli.tables import cache as tables

    output.listing(tables.repeats(found, dt.datetime.now(dt.UTC)), tables.repeats_plain(found))
