"""`tracecli cache`: what the response cache holds, does, and would do."""

from __future__ import annotations

import contextlib
import datetime as dt
import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal

import click
import msgspec

from tracecli import access, config, keys
from tracecli.cli import formats, output
from tracecli.cli.arguments import moment
from tracecli.cli.formats import Form
from tracecli.config import Home
from tracecli.errors import AmbiguousId, ConfigError, ExchangeNotFound

if TYPE_CHECKING:
    from tracecli.cache.entries import Entries

_as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
_since = click.option(
    "--since", callback=moment, default="7d", show_default=True, metavar="WHEN", help="From then on: 7d, 2h or a date."
)


@click.group("cache")
def command() -> None:
    """See what the response cache holds and saves, and what it would.

    A policy switches it on: `tracecli policy set NAME --cache`. Look before you do: `tracecli cache simulate`.
    """


@command.command("stats")
@_since
@click.option(
    "--by",
    type=click.Choice(["user", "model", "day", "policy"]),
    default="model",
    show_default=True,
    help="What to break it down by.",
)
@formats.options(csv=True, json_help="Print JSON: all sums, why there was no hit, and the list.")
def stats(form: Form, since: dt.datetime, by: Literal["user", "model", "day", "policy"]) -> None:
    """Count hits, misses and why, and the money and time saved."""
    from tracecli.cache_report import counts

    home = config.home()
    with _stored(home) as entries:
        found = counts.stats(home, entries, since, by)
    if not form.is_table:
        told = found.as_json()
        form.write(told[f"by_{by}"], whole=told)
        return
    if not found.all.requests:
        output.say("No request since then was under a policy with a cache. See `tracecli cache simulate`.")
    from tracecli.tables import cache as tables

    output.listing(tables.stats(found), tables.stats_plain(found))


@command.command("list")
@click.option("--user", help="Of this user.")
@click.option("--model", help="Of this model.")
@click.option("--limit", type=click.IntRange(1, 1_000_000), default=50, show_default=True, metavar="N")
@formats.options(csv=True)
def list_(form: Form, user: str | None, model: str | None, limit: int) -> None:
    """List stored answers, the one used last first."""
    with _stored(config.home()) as entries:
        found = entries.listed(user=user, model=model, limit=limit) if entries else []
    from tracecli.tables import cache as tables

    if not form.is_table:
        form.write(tables.listed_json(one) for one in found)
    elif found:
        output.listing(tables.listed(found, dt.datetime.now(dt.UTC)), tables.listed_plain(found))
    else:
        output.say("Nothing is stored.")


@command.command("show")
@click.argument("key")
@_as_json
def show(key: str, as_json: bool) -> None:
    """Show one stored answer.

    KEY is the beginning of a key that `cache list` shows.
    """
    with _stored(config.home()) as entries:
        found = entries.with_prefix(key) if entries else []
    if not found:
        raise ExchangeNotFound(f"no stored answer has a key that begins with {key}", "See `tracecli cache list`.")
    if len(found) > 1:
        raise AmbiguousId(f"more than one key begins with {key}", "Give more of it.")
    from tracecli.tables import cache as tables

    told = tables.entry_json(found[0])
    if as_json:
        output.json(told)
    else:
        output.listing(tables.fields(told), tables.fields_plain(told))


@command.command("purge")
@click.option(
    "--id",
    "ids",
    multiple=True,
    metavar="ID",
    help="The answer of this exchange, by the beginning of its id; may be repeated.",
)
@click.option("--user", "users", multiple=True, help="What this user's requests stored; may be repeated.")
@click.option("--model", "models", multiple=True, help="Answers of this model; may be repeated.")
@click.option("--older-than", callback=lambda c, o, v: v and moment(c, o, v), metavar="AGE", help="As 7d.")
@click.option("--all", "everything", is_flag=True, help="All of it.")
@_as_json
def purge(
    ids: tuple[str, ...],
    users: tuple[str, ...],
    models: tuple[str, ...],
    older_than: dt.datetime | None,
    everything: bool,
    as_json: bool,
) -> None:
    """Remove stored answers, to the last byte. What fits all that is given goes.

    Records stay: `tracecli cache rebuild` makes entries of them again.
    """
    given = bool(ids or users or models or older_than)
    if given == everything:
        raise click.UsageError("Say what: --id, --user, --model or --older-than, or --all for everything.")
    went = (0, 0)
    with _stored(config.home()) as entries:
        if entries is not None:
            went = entries.purge(
                exchange_ids=[_of_one(entries, prefix) for prefix in ids] if ids else None,
                users=users or None,
                models=models or None,
                stored_before=older_than.timestamp() if older_than else None,
            )
    if as_json:
        output.json({"entries": went[0], "bytes": went[1]})
    else:
        from tracecli.tables.cache import answers

        output.say(f"Gone: {answers(went[0])} of {went[1]:,} bytes.")


@command.command("explain")
@click.argument("ref")
@click.argument("other", required=False, metavar="[REF2]")
@_as_json
def explain(ref: str, other: str | None, as_json: bool) -> None:
    """Say why a recorded request was no hit.

    Shows what its key is made of, what the cache said, and the first thing in which it differs from another request:
    the one given, else the earlier one that has most in common with it. REF is an id, its beginning, or `last`.
    """
    from tracecli.cache_report import explanation

    found = explanation.explain(config.home(), ref, other)
    if as_json:
        output.json(found.as_json())
        return
    from tracecli.tables import cache as tables

    output.listing(tables.explained(found), tables.explained_plain(found))


@command.command("simulate")
@click.option("--policy", "name", default="default", show_default=True, help="The policy whose [cache] is tried.")
@_since
@click.option("--ttl", help="Another time to live than the policy's, as 1h.")
@click.option("--scope", type=click.Choice(["user", "credential", "policy", "shared"]), help="Another scope.")
@_as_json
def simulate(name: str, since: dt.datetime, ttl: str | None, scope: str | None, as_json: bool) -> None:
    """Try a cache on recorded traffic.

    Tells what it would have saved, and whether its answers would have been right: they agree when a repeated request
    got the same texts and tool calls as the first one. Nothing is changed.
    """
    from tracecli.cache_report import simulation
    from tracecli.policy.files import load
    from tracecli.policy.rules import without_cache
    from tracecli.when import duration

    home = config.home()
    policies = load(config.policy_folder(home)).policies
    if name not in policies:
        raise ConfigError(f"there is no policy {name!r}", f"Name one of: {', '.join(sorted(policies))}.")
    settings = policies[name].settings
    rules = settings.cache
    if ttl is not None:
        try:
            duration(ttl)
        except ValueError as error:
            raise click.BadParameter(f"{error}.", param_hint="--ttl") from None
        rules = msgspec.structs.replace(rules, ttl=ttl)
    if scope is not None:
        rules = msgspec.structs.replace(rules, scope=scope)
    found = simulation.simulate(home, rules, since)
    if as_json:
        output.json(found.as_json())
        return
    from tracecli.tables import cache as tables

    output.listing(tables.simulated(found), tables.simulated_plain(found))
    if conflict := without_cache(settings):
        output.say(f"Under the policy {name} the cache stays off all the same: {conflict}.")
    elif rules.mode == "off" and found.all().hits:
        output.say(f"`tracecli policy set {name} --cache` switches it on.")


@command.command("rebuild")
@_as_json
def rebuild(as_json: bool) -> None:
    """Make the cache again from the records.

    For when its file was lost or removed. Answers that were kept once are kept again, where a policy still says so and
    their time is not over.
    """
    from tracecli.cache.entries import Entries
    from tracecli.cache_report import rebuilding
    from tracecli.policy.files import load

    home = config.home()
    home.prepare()
    policies = load(config.policy_folder(home))
    max_bytes = policies.policies["default"].settings.cache.max_bytes
    with contextlib.closing(Entries(home.cache, max_bytes, keys.ring(home))) as entries:
        found = rebuilding.rebuild(home, entries, policies, time.time())
    if as_json:
        output.json(found.as_json())
        return
    from tracecli.tables import cache as tables

    output.listing(tables.rebuilt(found), tables.rebuilt(found))


@contextlib.contextmanager
def _stored(home: Home) -> Iterator[Entries | None]:
    """The stored answers; None if there never was a cache here. If there are too many, the proxy removes some."""
    access.enter(home)
    if not home.cache.exists():
        yield None
        return
    if home.foreign:
        raise access.refused(home, home.cache)
    from tracecli.cache.entries import Entries

    with contextlib.closing(Entries(home.cache, sys.maxsize, keys.ring(home))) as entries:
        yield entries


def _of_one(entries: Entries, prefix: str) -> str:
    """The id of the one exchange with a stored answer whose id begins like this; what fits none stays as it is."""
    fitting = {one.exchange_id for one in entries.listed() if one.exchange_id.startswith(prefix.lower())}
    if len(fitting) > 1:
        raise AmbiguousId(f"more than one id begins with {prefix}", "Give more of the id.")
    return next(iter(fitting), prefix)
