"""`tracecli usage show`: the list, and one request in all its parts."""

from __future__ import annotations

import datetime as dt
import re
from typing import Any

import click
from click.core import ParameterSource

from tracecli import config
from tracecli.cli import filters, formats, output
from tracecli.cli.formats import Form
from tracecli.errors import ExchangeNotFound
from tracecli.exchange import Row
from tracecli.query import syntax
from tracecli.query.errors import did_you_mean
from tracecli.query.orders import SORTS
from tracecli.query.syntax import EVERYTHING

_NOTHING_YET = """\
Nothing is recorded in {home} yet.

  tracecli demo    shows how it works; no API key needed
  tracecli proxy   starts recording, and prints the two variables that a client needs"""

_LONGEST_TABLE = 10_000
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
    "tag": "tags",
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


@click.command("show", cls=filters.Asking)
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
@formats.options(csv=True, json_help="Print JSON: a list, or with REF one object.")
def show(
    form: Form,
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
    if query == ("",):
        raise ExchangeNotFound("an empty text is not an id", "Give an id, the beginning of one, or `last`.")
    if len(query) == 1 and _REF.fullmatch(query[0]):
        _only_ref(click.get_current_context())
        as_json = form.name == "json" and not form.file
        if not (as_json or form.is_table):
            raise click.UsageError("REF opens one request: it is shown, or printed with --json.")
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
    if not form.is_table:
        names = [name for _, name in columns] if columns else list(Row.__struct_fields__)
        pages = finding.pages(home, wanted, now, where, sort=finding.Sort(*sort), limit=limit)
        told = (row.as_json() for page in pages for row in page)
        form.write(({name: one[name] for name in names} for one in told), names)
        return
    if limit > _LONGEST_TABLE:
        raise click.UsageError(f"A table has {_LONGEST_TABLE:,} requests at most: add --format jsonl or csv for more.")
    found = finding.rows(home, wanted, now, where, sort=finding.Sort(*sort), limit=limit)
    if found:
        latest = sort == ("time", True)
        with output.layout(width=width, zone=where, pager=config.pager() if pager else None):
            output.rows(found, columns, more=len(found) == limit, latest=latest)
    elif wanted == EVERYTHING:
        output.say(_NOTHING_YET.format(home=home.root))
    else:
        output.say("No recorded request fits.")


_HOW = {"as_format", "as_json", "zone", "utc", "width", "pager"}


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
    if session:
        row = browse.find(home, ref)[0].row
        if (name := row.session) is None:
            raise ExchangeNotFound(f"{row.id} is of no session", "Its client sent no session id.")
        wanted = syntax.named("session", name)
        rows = finding.rows(
            home, wanted, dt.datetime.now(dt.UTC), sort=finding.Sort("time", descending=False), limit=_LONGEST_SESSION
        )
        found = finding.with_content(home, rows)
        if as_json:
            output.json([one.as_json() for one in found])
            return
        for one in found:
            output.opened(one)
            output.gap()
        return
    opened = browse.open_exchange(home, ref)
    if as_json:
        output.json(opened.as_json())
    else:
        output.opened(opened)


_LONGEST_SESSION = 1000


def _write_part(ref: str, part: str | None, *, raw: bool) -> None:
    from tracecli import browse, parts

    if raw and part in ("prompt", "completion"):
        raise click.UsageError("--raw is of bodies: --part request or --part response.")
    home = config.home()
    if raw:
        output.data(parts.raw(browse.captured(home, ref), part))
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
