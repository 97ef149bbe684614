"""`tracecli access`: let other users of the machine read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from tracecli import access, config
from tracecli.cli import output

if TYPE_CHECKING:
    from tracecli.config import Home

_as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.group("access")
def command() -> None:
    """Let others of this machine read: records, or also what was said.

    Nobody but you reads what is recorded, until you say which groups of the operating system do. Members of the one
    see usage records: lists, sums, sessions, cost, the report, with what providers said of errors, and tags and
    comments. Members of the other, who must be members of the first, too, also see what was said; each reading of
    theirs is in the ledger (`tracecli audit`). Nobody but you changes or removes anything.

    Readers set TRACECLI_HOME to your home, and have to be let through the folders above it. They see a request when it
    is stored, a second or two after it ended: what waits in the spool is not redacted yet. Yours alone stay the spool
    and what could not be read, the cache, policies, secrets of proxy users and the authority's key. Of an encrypted
    home, who reads what was said needs a copy of your key.

    Exit code 5 for who asks for what is not for him.
    """


@command.command("set")
@click.option("--metadata-group", "metadata", required=True, metavar="GROUP", help="Its members see usage records.")
@click.option(
    "--content-group",
    "content",
    metavar="GROUP",
    help="Its members see what was said, too, if they are members of the other.  [default: nobody]",
)
@_as_json
def let(metadata: str, content: str | None, as_json: bool) -> None:
    """Let members of groups read what was recorded, and what comes.

    Give names of groups, or their numbers. You have to be a member of them. Running proxies go by it at once.
    """
    named = access.group_named(metadata), None if content is None else access.group_named(content)
    home = config.home()
    access.let_read(home, access.Groups(metadata=named[0], content=named[1]))
    _told(home, as_json)


@command.command("off")
@_as_json
def off(as_json: bool) -> None:
    """Let nobody but you read."""
    home = config.home()
    access.let_read(home, access.NOBODY)
    _told(home, as_json)


@command.command("show")
@_as_json
def show(as_json: bool) -> None:
    """Say who may read."""
    _told(config.home(), as_json)


def _told(home: Home, as_json: bool) -> None:
    access.enter(home)
    found = access.stored(home)
    owner = home.owner if home.root.exists() else None
    closed = [] if found.metadata is None or owner is None else access.closed(home, found.metadata)
    if as_json:
        output.json(
            {
                "path": str(home.root),
                "owner": owner,
                "metadata_group": _group(found.metadata),
                "content_group": _group(found.content),
                "closed_folders": list(map(str, closed)),
            }
        )
    else:
        lines = [
            f"Home: {home.root}, of {owner or 'nobody yet'}",
            f"Usage records: {_readers(found.metadata)}",
            f"What was said: {_readers(found.content)}",
        ]
        output.listing(lines, lines)
    for path in closed:
        output.say(f"Note: {path} does not let them pass; `chmod o+x {path}` does, or another place for the home.")
    if strangers := access.outsiders(found):
        output.say(f"Note: not in the group for usage records, and so kept out: {', '.join(strangers)}.")


def _group(group: int | None) -> dict[str, Any] | None:
    return None if group is None else {"name": access.group_name(group), "gid": group}


def _readers(group: int | None) -> str:
    return "the owner alone" if group is None else f"the owner, and members of the group {access.group_name(group)}"
