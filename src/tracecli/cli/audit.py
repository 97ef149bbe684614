"""`tracecli audit`: who read which requests."""

from __future__ import annotations

import datetime as dt
from collections import deque

import click

from tracecli import config, ledger
from tracecli.cli import filters, formats, output
from tracecli.cli.arguments import moment
from tracecli.cli.formats import Form

BROKEN = 7


@click.group("audit")
def command() -> None:
    """See who read which requests, and whether that was changed.

    Whenever a command shows what was said, a line is added to ledger.jsonl in the home: who, when, which requests, and
    the command's name. What cannot be noted is not shown. Lists, sums and what the proxy does by itself are not noted.
    """


@command.command("show")
@click.option(
    "--since", callback=lambda c, o, v: v and moment(c, o, v), metavar="WHEN", help="From then on: 7d, 2h or a date."
)
@click.option("--user", metavar="NAME", help="By this user of the system, or by who became another with sudo.")
@click.option("--id", "identifier", metavar="ID", help="Of this request: its id, or the beginning of it.")
@click.option("--event", metavar="WORD", help="Of this kind: read, ...")
@click.option("--limit", type=click.IntRange(1), default=50, show_default=True, metavar="N", help="The N latest.")
@filters.zone_options
@formats.options(csv=True)
def show(
    form: Form,
    since: dt.datetime | None,
    user: str | None,
    identifier: str | None,
    event: str | None,
    limit: int,
    zone: str | None,
    utc: bool,
) -> None:
    """Show who read what, newest first.

    Of a statement of SQL that reads content it is noted what it could read. More than 1,000 requests at once are noted
    with the first 1,000 ids, the number and a hash of all ids. Lines that are not whole are left out: `tracecli audit
    verify` tells of them.
    """
    where = filters.zone_of(zone, utc)
    found: deque[ledger.Entry] = deque(maxlen=limit)
    unknown = 0
    for one in ledger.entries(config.home()):
        if (
            (since is not None and one.at < since)
            or (user is not None and user not in (one.user, one.sudo_user))
            or (event is not None and event != one.event)
        ):
            continue
        if identifier is None or any(each.startswith(identifier.lower()) for each in one.ids):
            found.append(one)
        elif one.ids_hash is not None:
            unknown += 1
    if not form.is_table:
        form.write(one.as_json() for one in reversed(found))
    elif found:
        from tracecli.tables import audit as tables

        newest = list(reversed(found))
        output.listing(tables.noted(newest, dt.datetime.now(dt.UTC), where), tables.noted_plain(newest))
    else:
        output.say("Nothing that fits is noted.")
    if unknown:
        output.say(f"{unknown:,} more name over 1,000 requests, and do not list all: this one may be among them.")


@command.command("verify")
@click.option("--expect", metavar="HASH", help="A hash that this command told before: its line must still be there.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def verify(expect: str | None, as_json: bool) -> int | None:
    """Look whether lines of the ledger were changed, moved or taken out.

    Tells the hash of the last line. Write it down where nobody who can write the home can change it, and give it with
    --expect the next time: that shows whether lines were cut off at the end, or all of them made anew. The exit code
    is 7 if something is wrong. A torn line is what a computer leaves that stops while it writes.
    """
    home = config.home()
    found = ledger.verify(home)
    expected = None if expect is None else found.holds(expect)
    problem = found.problem
    if as_json:
        told = problem and {"line": problem.line, "kind": problem.kind, "told": problem.told}
        output.json({"entries": found.entries, "last": found.last, "expected": expected, "problem": told})
    else:
        from tracecli.tables import audit as tables

        output.listing(tables.verified(found), tables.verified_plain(found))
    if problem is not None:
        output.say(f"tracecli: {home.ledger}, line {problem.line} ({problem.kind}): {problem.told}.")
    if expected is False:
        output.say(f"tracecli: no line of {home.ledger} has the hash that was expected: it was cut off or made anew.")
    return BROKEN if problem is not None or expected is False else None
