"""`tracecli usage tag` and `rate`: say something of recorded requests."""

from __future__ import annotations

import datetime as dt

import click

from tracecli import config, tags
from tracecli.cli import output
from tracecli.query import syntax

_WHERE = click.option("--where", metavar="QUERY", help="All that fit, instead of IDs: 'user:alice since:2h'.")


@click.command("tag")
@click.argument("ids", nargs=-1, metavar="ID...")
@click.option("--add", multiple=True, metavar="TAG", help="May be given again.")
@click.option("--remove", multiple=True, metavar="TAG", help="May be given again.")
@_WHERE
def tag(ids: tuple[str, ...], add: tuple[str, ...], remove: tuple[str, ...], where: str | None) -> None:
    """Tag requests, to find and count them by it: `usage show tag:good`, `usage stats --by tag`.

    ID is an id, the beginning of one, or `last`. A tag is a few words; a request has at most 32. Clients give tags too,
    in the header X-Tracecli-Tags.
    """
    if not (add or remove):
        raise click.UsageError("Say which tag: --add TAG or --remove TAG.")
    adding, removing = [tags.checked(one) for one in add], [tags.checked(one) for one in remove]
    if both := set(adding) & set(removing):
        raise click.UsageError(f"{sorted(both)[0]!r} cannot be added and removed at once.")
    from tracecli import noting

    chosen = _chosen(ids, where)
    changed = noting.tag(config.home(), chosen, add=adding, remove=removing) if chosen else 0
    _say(len(chosen), changed)


@click.command("rate")
@click.argument("ids", nargs=-1, metavar="ID...")
@click.option("--score", type=float, metavar="N", help="From 1, bad, to 5, good.")
@click.option("--comment", metavar="TEXT", help="Why.")
@click.option("--clear", is_flag=True, help="Take score and comment away.")
@_WHERE
def rate(ids: tuple[str, ...], score: float | None, comment: str | None, clear: bool, where: str | None) -> None:
    """Say how good answers are, to find and count them by it: `usage show 'score:>=4'`.

    ID is an id, the beginning of one, or `last`. A new rating takes the place of the old one. `usage stats` shows the
    mean.
    """
    if clear == (score is not None) or (clear and comment is not None):
        raise click.UsageError("Give --score N, with a --comment if you like, or --clear.")
    if score is not None:
        score = tags.checked_score(score)
    if comment is not None:
        comment = tags.checked_comment(comment) or None
    from tracecli import noting

    chosen = _chosen(ids, where)
    _say(len(chosen), noting.rate(config.home(), chosen, score, comment) if chosen else 0)


def _chosen(ids: tuple[str, ...], where: str | None) -> list[str]:
    if bool(ids) == (where is not None):
        raise click.UsageError("Name requests by ID, or with --where QUERY.")
    home = config.home()
    if where is None:
        from tracecli import noting

        return noting.named(home, ids)
    query = syntax.parse(where)
    from tracecli import finding

    with finding.selected(home, query, dt.datetime.now(dt.UTC)) as (found, condition):
        return found.ids(condition)


def _say(chosen: int, changed: int) -> None:
    if not chosen:
        output.say("No recorded request fits.")
        return
    same = f"; {chosen - changed:,} had it so already" if changed < chosen else ""
    output.say(f"Changed {changed:,} {'request' if changed == 1 else 'requests'}{same}.")
