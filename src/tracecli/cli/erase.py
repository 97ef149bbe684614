"""`tracecli erase`: remove somebody's records, or what was said, from every file, and prove it."""

from __future__ import annotations

import datetime as dt
import sys

import click
import msgspec

from tracecli import config
from tracecli.cli import output
from tracecli.config import Home
from tracecli.errors import ConfigError
from tracecli.query import syntax
from tracecli.query.syntax import EVERYTHING, Query

INCOMPLETE = 7


@click.command("erase")
@click.option("--user", "users", multiple=True, metavar="NAME", help="All of this user's.")
@click.option("--id", "ids", multiple=True, metavar="REF", help="This request: an id, or the beginning of one.")
@click.option("--where", metavar="QUERY", help="All that fit: 'session:run-7 before:30d'.")
@click.option("--content-only", is_flag=True, help="What was said goes, and the usage record stays.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--json", "as_json", is_flag=True, help="Print the receipt as JSON.")
def command(
    users: tuple[str, ...], ids: tuple[str, ...], where: str | None, content_only: bool, yes: bool, as_json: bool
) -> int | None:
    """Erase requests for good: from all files, not only from lists.

    Goes are the records, bodies and texts, answers in the cache, comments and tags, what is still in the spool and what
    could not be read from it. Then all files of the home are looked through for ids and pieces of text of what was
    erased, and a receipt says what went, where it was looked for, and its hash, which `tracecli audit show` has too.
    Exit code 7 if something is left.

    Works while the proxy records and people read. Datasets that held some of it are built again without it, also in
    other folders. What is on legal hold stays (`tracecli retention holds`). Copies that you made (exports, backups,
    reports) are yours to remove.
    """
    wanted, what = _chosen(users, ids, where)
    from tracecli import erasing, finding

    home = config.home()
    if not yes:
        question = f"Erase {'what was said in' if content_only else 'all of'} {{}}, for good?"
        confirmed(question, len(finding.ids(home, wanted, dt.datetime.now(dt.UTC))))
    asked = erasing.ask(home, wanted, what, users, content_only=content_only)
    return carried_out(home, asked, as_json)


def carried_out(home: Home, asked: str, as_json: bool) -> int | None:
    """Have done what was asked for, and show the receipt; returns the exit code."""
    from tracecli import erasing

    receipt = erasing.carried_out(home, asked, config.policy_folder(home))
    if as_json:
        output.json(msgspec.to_builtins(receipt) | {"complete": receipt.complete})
    else:
        from tracecli.tables import erasure as tables

        output.listing(tables.receipt(receipt), tables.plain(receipt))
    return None if receipt.complete else INCOMPLETE


def _chosen(users: tuple[str, ...], ids: tuple[str, ...], where: str | None) -> tuple[Query, str]:
    """What is to go, and how the receipt names that: a query may hold what was said."""
    if sum((bool(users), bool(ids), where is not None)) != 1:
        raise click.UsageError("Say what is to go by one of --user, --id and --where.")
    if users:
        return syntax.any_of([syntax.named("user", user) for user in users]), f"user {', '.join(users)}"
    if ids:
        from tracecli import browse

        found = [browse.identified(config.home(), ref) for ref in ids]
        return syntax.any_of([syntax.named("id", one) for one in found]), f"id {', '.join(found)}"
    query = syntax.parse(where or "")
    if query == EVERYTHING:
        raise ConfigError("an empty query fits everything", "Say which: 'user:*' if all of it is to go.")
    fields = sorted({term.name for term in syntax.terms(query)})
    return query, f"a query of {', '.join(fields)}"


def confirmed(question: str, number: int) -> None:
    """Ask about so many requests, which `{}` stands for. Raises click.Abort for a no, UsageError if nobody is there."""
    requests = f"{number:,} request{'' if number == 1 else 's'}"
    if not sys.stdin.isatty():
        raise click.UsageError(f"This is about {requests}, and nobody is there to ask: add --yes.")
    click.confirm(question.format(requests), abort=True, err=True)
