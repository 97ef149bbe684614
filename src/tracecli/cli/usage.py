"""`tracecli usage`: look at what was recorded."""

from __future__ import annotations

import datetime as dt
import re
from typing import Any

import click
from click.core import ParameterSource

from tracecli import config
from tracecli.cli import filters, output
from tracecli.cli.arguments import moment
from tracecli.errors import ExchangeNotFound
from tracecli.exchange import Row
from tracecli.query import sql, syntax
from tracecli.query.errors import did_you_mean
from tracecli.query.orders import GROUPS, SORTS, TIMES
from tracecli.query.syntax import EVERYTHING

_NOTHING_YET = """\
Nothing is recorded in {home} yet.

  tracecli demo    shows how it works; no API key needed
  tracecli proxy   starts recording, and prints the two variables that a client needs"""


@click.group("usage")
def command() -> None:
    """Look at what was recorded: requests, tokens, cost."""


_REF = re.compile(r"last|(?=.*[0-9]|.{8})[0-9a-f-]{1,36}", re.IGNORECASE)
_SHORT = {
    "time": "started_at",
    "model": "request_model",
    "in": "input_tokens",
    "out": "output_tokens",
    "cached": "cache_read_input_tokens",
    "reasoning": "reasoning_output_tokens",
    "cost": "cost_usd",
    "duration": "duration_ms",
    "latency": "duration_ms",
    "ttft": "ttft_ms",
    "ttfb": "ttfb_ms",
    "cache": "cache_status",
    "saved": "saved_usd",
    "streamed": "stream",
    "flag": "flags",
}
"""Short names of columns; the others are those of the JSON."""


def _columns(context: click.Context, option: click.Parameter, value: str | None) -> list[tuple[str, str]] | None:
    """Headers as they were typed, and the fields they name."""
    if value is None:
        return None
    chosen = []
    for typed in value.split(","):
        name = typed.strip().lower()
        if (field := _SHORT.get(name, name)) not in Row.__struct_fields__:
            near = did_you_mean(name, [*_SHORT, *Row.__struct_fields__])
            raise click.BadParameter(f"there is no column {typed.strip()!r}. {near}".strip(), context, option)
        chosen.append((name, field))
    return chosen


def _sort(context: click.Context, option: click.Parameter, value: str) -> tuple[str, bool]:
    """By what, and whether descending: names of people and things ascend, figures descend, unless it says."""
    name, _, direction = value.strip().lower().partition(":")
    if name not in SORTS or direction not in ("", "asc", "desc"):
        near = did_you_mean(name, SORTS)
        raise click.BadParameter(
            f"{value!r} is nothing to sort by. {near}Write one of {', '.join(SORTS)}, with :asc or :desc behind it.",
            context,
            option,
        )
    return name, direction == "desc" if direction else name not in ("user", "model", "provider")


@command.command("show", cls=filters.Asking)
@click.argument("query", nargs=-1, metavar="[QUERY | REF]")
@filters.options
@click.option(
    "--limit",
    type=click.IntRange(1, 1_000_000),
    default=50,
    show_default=True,
    metavar="N",
    help="List N requests at most.",
)
@click.option(
    "--sort",
    callback=_sort,
    default="time",
    show_default=True,
    metavar="BY",
    help="cost, duration, ttft, tokens, in, out, user, model, ...; cost:asc turns it round.",
)
@click.option("--columns", callback=_columns, metavar="A,B", help="Show these: id,time,user,cost, or names of --json.")
@click.option(
    "--part",
    type=click.Choice(["request", "response", "prompt", "completion"]),
    help="Of REF: write this part alone, a body without its content encoding.",
)
@click.option("--raw", is_flag=True, help="Of REF: write heads and bodies as they were; with --part that body.")
@click.option("--curl", "as_curl", is_flag=True, help="Of REF: write it as a call of curl, without its secret.")
@click.option("--python", "as_python", is_flag=True, help="Of REF: write it as a program, without its secret.")
@click.option("--follow-session", is_flag=True, help="Of REF: open all of its session, oldest first.")
@filters.zone_options
@click.option("--width", type=click.IntRange(20, 10_000), metavar="N", help="Lay out for so many columns.")
@click.option("--pager/--no-pager", default=True, help="Page what is longer than the screen.  [default: page]")
@click.option("--json", "as_json", is_flag=True, help="Print JSON: a list, or with REF one object.")
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV.")
def show(
    query: tuple[str, ...],
    limit: int,
    sort: tuple[str, bool],
    columns: list[tuple[str, str]] | None,
    part: str | None,
    raw: bool,
    as_curl: bool,
    as_python: bool,
    follow_session: bool,
    zone: str | None,
    utc: bool,
    width: int | None,
    pager: bool,
    as_json: bool,
    as_csv: bool,
    **given: Any,
) -> None:
    """List the latest requests, find some, or open one.

    Without arguments, the latest requests, newest first, in a table that fits the terminal. Times are local. A dash is
    an unknown value (never zero), ~ an estimate. A wide terminal shows more columns.

    With QUERY, those that fit: 'user:alice model:gpt-4* cost:>0.01 latency:>2s -status:200 "exact words" since:2h'.
    Words are looked for in prompts and completions. See the README for all fields. Options say the same.

    With REF, that request: prompt, completion, timings, tokens and cost. REF is an id, the beginning of one as the
    table shows it, or `last`.

    In a pipe, the table is one line a request, without colours and with every value whole, in columns two or more
    spaces apart. Names and units are then those of --json, and `-` is unknown.
    """
    where = filters.zone_of(zone, utc)
    if as_json and as_csv:
        raise click.UsageError("--json and --csv are two formats: leave one of them out.")
    if query == ("",):
        raise ExchangeNotFound("an empty text is not an id", "Give an id, the beginning of one, or `last`.")
    if len(query) == 1 and _REF.fullmatch(query[0]):
        _only_ref(click.get_current_context())
        if sum((as_json, as_curl, as_python, bool(part or raw), follow_session and not as_json)) > 1:
            raise click.UsageError("--json, --curl, --python, --part and --follow-session exclude each other.")
        if part or raw:
            _write_part(query[0], part, raw=raw)
        elif as_curl or as_python:
            _write_call(query[0], as_curl=as_curl)
        else:
            with output.layout(width=width, zone=where, pager=config.pager() if pager else None):
                _open(query[0], as_json=as_json, session=follow_session)
        return
    if part or raw or as_curl or as_python or follow_session:
        raise click.UsageError("--part, --raw, --curl, --python and --follow-session need a REF: an id, or `last`.")
    wanted = filters.asked(query, given)
    from tracecli import finding

    home = config.home()
    now = dt.datetime.now(dt.UTC)
    found = finding.rows(home, wanted, now, where, sort=finding.Sort(*sort), limit=limit)
    if as_json:
        names = [name for _, name in columns] if columns else list(Row.__struct_fields__)
        told = [row.as_json() for row in found]
        output.json([{name: one[name] for name in names} for one in told])
    elif as_csv:
        from tracecli.tables import columns as tables

        output.csv(tables.csv_lines(found, [name for _, name in columns or []] or Row.__struct_fields__))
    elif found:
        latest = sort == ("time", True)
        with output.layout(width=width, zone=where, pager=config.pager() if pager else None):
            output.rows(found, columns, more=len(found) == limit, latest=latest)
    elif wanted == EVERYTHING:
        output.say(_NOTHING_YET.format(home=home.root))
    else:
        output.say("No recorded request fits.")


_HOW = {"as_json", "zone", "utc", "width", "pager"}


def _only_ref(context: click.Context) -> None:
    """An option that would do nothing is refused."""
    harmless = {"query", "part", "raw", "as_curl", "as_python", "follow_session"} | _HOW
    for option in context.command.params:
        source = context.get_parameter_source(option.name or "")
        if option.name not in harmless and source is ParameterSource.COMMANDLINE:
            raise click.UsageError(
                f"{option.opts[0]} is for the list, and REF opens one request: leave one of them out."
            )


def _open(ref: str, *, as_json: bool, session: bool) -> None:
    from tracecli import browse, finding

    home = config.home()
    found = [browse.open_exchange(home, ref)]
    if session:
        if (name := found[0].row.session) is None:
            raise ExchangeNotFound(f"{found[0].row.id} is of no session", "Its client sent no session id.")
        wanted = syntax.named("session", name)
        rows = finding.rows(
            home, wanted, dt.datetime.now(dt.UTC), sort=finding.Sort("time", descending=False), limit=_LONGEST_SESSION
        )
        if as_json:
            output.json([browse.open_exchange(home, row.id).as_json() for row in rows])
            return
        for row in rows:
            output.opened(browse.open_exchange(home, row.id))
            output.gap()
    elif as_json:
        output.json(found[0].as_json())
    else:
        output.opened(found[0])


_LONGEST_SESSION = 1000


def _write_part(ref: str, part: str | None, *, raw: bool) -> None:
    from tracecli import browse, parts

    if raw and part in ("prompt", "completion"):
        raise click.UsageError("--raw is of bodies: --part request or --part response.")
    home = config.home()
    if raw:
        _, captured = browse.find(home, ref)
        output.data(parts.raw(captured, part))
    else:
        assert part is not None  # noqa: S101 - one of the two was given
        output.data(parts.part(browse.open_exchange(home, ref), part))


def _write_call(ref: str, *, as_curl: bool) -> None:
    from tracecli import browse, calls

    opened = browse.open_exchange(config.home(), ref)
    try:
        call = calls.curl(opened) if as_curl else calls.python(opened)
    except ValueError as error:
        raise ExchangeNotFound(f"{opened.row.id} cannot be made again: {error}", "") from None
    output.data(call.encode())
    output.say(f"Set {calls.variable_of(opened.row.provider)}: the record does not hold the secret.")


@command.command("find", cls=filters.Asking)
@click.argument("text")
@click.argument("query", nargs=-1, metavar="[QUERY]")
@click.option("--regex", is_flag=True, help="TEXT is a regular expression (RE2); (?i) at its beginning ignores case.")
@click.option("--in", "side", type=click.Choice(["prompt", "completion"]), help="Look there only.")
@filters.options
@click.option("--limit", type=click.IntRange(1, 1_000_000), default=20, show_default=True, metavar="N")
@filters.zone_options
@click.option("--json", "as_json", is_flag=True, help="Print JSON Lines: one object a request.")
def find(
    text: str,
    query: tuple[str, ...],
    regex: bool,
    side: str | None,
    limit: int,
    zone: str | None,
    utc: bool,
    as_json: bool,
    **given: Any,
) -> None:
    """Look for words in prompts and completions.

    Shows where they were said, newest first, as soon as they are found. Words fit whatever their case. QUERY and
    options say where to look: 'user:alice since:7d'.

    In a pipe, one line a match: id, side, role, and the words in their context.
    """
    from itertools import islice

    where = filters.zone_of(zone, utc)
    name = side or "text"
    wanted = syntax.pattern(text, name) if regex else syntax.words(text, name)
    if not text:
        raise click.UsageError("TEXT is empty: write what to look for.")
    within = filters.asked(query, given)
    if words := sql.contents(within):
        raise click.UsageError(f"TEXT comes first and alone, in quotes: {syntax.text_of(words[0])!r} is more of it.")
    from tracecli import finding
    from tracecli.tables import found as tables

    now = dt.datetime.now(dt.UTC)
    number = 0
    for one in islice(finding.search(config.home(), wanted, within, now, where), limit):
        number += 1
        if as_json:
            output.json_line(tables.as_json(one))
        else:
            output.listing(tables.found(one, now, where), tables.plain(one))
    if not number:
        output.say("Nothing was found.")
    elif number == limit:
        output.say(f"These are the latest {limit}; --limit shows more.")


@command.command("tail", cls=filters.Asking)
@click.argument("query", nargs=-1, metavar="[QUERY]")
@filters.options
@click.option("--limit", type=click.IntRange(0, 1000), default=10, show_default=True, metavar="N", help="Begin with N.")
@filters.zone_options
@click.option("--json", "as_json", is_flag=True, help="Print JSON Lines: one object a request.")
def tail(query: tuple[str, ...], limit: int, zone: str | None, utc: bool, as_json: bool, **given: Any) -> None:
    """Follow requests as they end, until Ctrl-C.

    QUERY and options say which. In a pipe, one line a request: the columns of `usage show`.
    """
    where = filters.zone_of(zone, utc)
    wanted = filters.asked(query, given)
    from tracecli import following
    from tracecli.tables import tail as tables

    for row in following.follow(config.home(), wanted, where, limit):
        if as_json:
            output.json_line(row.as_json())
        else:
            output.listing([tables.Ended(row, where)], [tables.plain(row, where)])


@command.command("sessions", cls=filters.Asking)
@click.argument("query", nargs=-1, metavar="[QUERY]")
@filters.options
@click.option("--limit", type=click.IntRange(1, 100_000), default=30, show_default=True, metavar="N")
@click.option("--infer/--no-infer", default=True, help="Find those without an id by their messages.  [default: infer]")
@filters.zone_options
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def sessions(
    query: tuple[str, ...], limit: int, infer: bool, zone: str | None, utc: bool, as_json: bool, **given: Any
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
    if as_json:
        output.json([one.as_json() for one in found])
        return
    if not found:
        output.say("No session fits.")
        return
    from tracecli.tables import sessions as tables

    output.listing(tables.sessions(found, now, where), tables.sessions_plain(found))


@command.command("session")
@click.argument("name", metavar="ID")
@filters.zone_options
@click.option("--json", "as_json", is_flag=True, help="Print JSON: a list of requests.")
def session(name: str, zone: str | None, utc: bool, as_json: bool) -> None:
    """Show a session as a timeline.

    ID is what `usage sessions` lists, or the id of one of its requests.
    """
    from tracecli import conversations

    where = filters.zone_of(zone, utc)
    now = dt.datetime.now(dt.UTC)
    found = conversations.session(config.home(), name, now)
    if as_json:
        output.json([row.as_json() for row in found])
        return
    from tracecli.tables import sessions as tables

    output.listing(tables.timeline(found, now, where), tables.plain(found, where))


@command.command("diff")
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
    found = comparing.compare(browse.open_exchange(home, first), browse.open_exchange(home, second))
    if as_json:
        output.json(found.as_json())
        return
    from tracecli.tables import compared as tables

    output.listing(tables.compared(found), tables.plain(found))


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


@command.command("stats", cls=filters.Asking)
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
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def stats(
    query: tuple[str, ...],
    by: list[str],
    sort: str | None,
    limit: int,
    zone: str | None,
    utc: bool,
    as_json: bool,
    **given: Any,
) -> None:
    """Count requests, tokens and cost, with error and hit rates and the spread of times.

    QUERY and options say what counts: 'since:7d -status:429'. Percentiles are of the duration and of the time to the
    first token. Days and hours are local. What costs nothing known is left out of the cost, and --json says how much.
    """
    where = filters.zone_of(zone, utc)
    wanted = filters.asked(query, given)
    from tracecli import finding

    now = dt.datetime.now(dt.UTC)
    found = finding.statistics(config.home(), wanted, by, now, where)
    if sort is not None:
        found.sort(key=_MOST[sort], reverse=True)
    elif by[0] in TIMES:
        found = sorted(found, key=lambda group: group.key)[-limit:]
    from tracecli.tables import statistics as tables

    if as_json:
        output.json([tables.as_json(group, by) for group in found[:limit]])
    elif found:
        shown = found[:limit]
        output.listing(tables.statistics(shown, by, left_out=len(found) - len(shown)), tables.plain(shown, by))
    else:
        output.say("No recorded request fits.")


_MOST: dict[str, Any] = {
    "requests": lambda group: group.requests,
    "cost": lambda group: group.cost_usd,
    "errors": lambda group: group.errors,
    "p95": lambda group: group.duration.p95 if group.duration else 0.0,
}


@command.command("me")
@click.option("--user", required=True, help="Whose.")
@filters.zone_options
@click.option("--json", "as_json", is_flag=True, help="Print JSON: hours, days, months.")
def me(user: str, zone: str | None, utc: bool, as_json: bool) -> None:
    """Add up what one user did: the last 24 hours, 30 days and 12 months."""
    from tracecli import finding
    from tracecli.tables import statistics as tables

    where = filters.zone_of(zone, utc)
    now = dt.datetime.now(dt.UTC)
    mine = syntax.named("user", user)
    told: dict[str, Any] = {}
    for name, since in (("hour", "24h"), ("day", "30d"), ("month", "365d")):
        wanted = syntax.all_of([mine, syntax.term("since", since)])
        found = sorted(finding.statistics(config.home(), wanted, [name], now, where), key=lambda group: group.key)
        if as_json:
            told[f"{name}s"] = [tables.as_json(group, [name]) for group in found]
        elif found:
            output.listing([*tables.statistics(found, [name]), ""], [*tables.plain(found, [name]), ""])
            told[name] = True
    if as_json:
        output.json(told)
    elif not told:
        output.say(f"Nothing was recorded of {user} in the last 365 days.")


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
