"""`tracecli retention`: for how long records are kept, and removing what is over."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Literal

import click
import msgspec

from tracecli import config, when
from tracecli.cli import formats, output
from tracecli.cli.formats import Form
from tracecli.errors import ConfigError, StoreBusy

if TYPE_CHECKING:
    from tracecli.policy.files import Loaded
    from tracecli.store.keeping import Terms

_as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.group("retention")
def command() -> None:
    """Say for how long records are kept, and remove what is over.

    A policy keeps content (prompts, completions, bodies) and the usage record for `retention.content` and
    `retention.metadata`, as it says when the request is recorded. While the proxy runs, what is over goes by itself,
    within minutes.
    """


@command.command("show")
@formats.options(csv=True)
def show(form: Form) -> None:
    """Show what each policy keeps, and what is recorded until when.

    Policies that are no more are shown as long as there are records of them.
    """
    from tracecli.store import keeping

    policies = _loaded().policies
    held = {one.policy: one for one in keeping.holdings(config.home())}
    found = [
        (name, policies[name].settings.retention if name in policies else None, held.get(name))
        for name in sorted(policies.keys() | held.keys(), key=lambda name: (name != "default", name))
    ]
    if not form.is_table:
        form.write(
            {
                "policy": name,
                "content": kept and kept.content,
                "metadata": kept and kept.metadata,
                "recorded": msgspec.to_builtins(holding),
            }
            for name, kept, holding in found
        )
        return
    from tracecli.tables import retention as tables

    output.listing(tables.kept(found, _now()), tables.kept_plain(found))


@command.command("plan")
@click.option("--in", "ahead", metavar="TIME", help="What will be over by then: 2h, 7d. Default: now.")
@_as_json
def plan(ahead: str | None, as_json: bool) -> None:
    """Show what is over, or too much, and goes next, and remove nothing."""
    from tracecli.store import keeping, limits

    try:
        at = _now() + (when.duration(ahead) if ahead else dt.timedelta(0))
    except (ValueError, OverflowError) as error:
        raise click.BadParameter(f"{error}.", param_hint="--in") from None
    home = config.home()
    found = keeping.due(home, at)
    beyond = limits.beyond(home, limits.of(_loaded(), at))
    if as_json:
        output.json(msgspec.to_builtins(found) | {"too_much": msgspec.to_builtins(beyond)})
    elif found.policies or beyond:
        from tracecli.tables import retention as tables

        if found.policies:
            output.listing(tables.due(found), tables.due_plain(found))
        if beyond:
            output.listing(tables.too_much(beyond), tables.too_much_plain(beyond))
    else:
        output.say("Nothing is over by then." if ahead else "Nothing is over.")


@command.command("run")
@_as_json
def run(as_json: bool) -> None:
    """Remove what is over, now.

    A running ingest, which the proxy has, does this by itself, and nobody else may meanwhile: exit code 5. What is
    still in the spool is loaded first by `tracecli ingest --once`.
    """
    from tracecli import ingest
    from tracecli.store import expiry, limits

    home = config.home()
    home.prepare()
    with ingest.alone(home, lambda: True) as locked:
        if not locked:
            raise StoreBusy(
                f"another process ingests for {home.root}, and removes by itself what is over",
                "`tracecli retention plan` shows what is left to do.",
            )
        removed, now = expiry.Removed(), _now()
        limits.shorten(home, limits.of(_loaded(), now), now)
        while (step := expiry.remove_due(home, now)) != expiry.Removed():
            removed.content += step.content
            removed.records += step.records
            removed.bytes += step.bytes
    if as_json:
        output.json(msgspec.to_builtins(removed))
        return
    from tracecli.tables import retention as tables

    output.listing(tables.removed(removed), tables.removed_plain(removed))


@command.command("apply")
@click.option("--policy", required=True, metavar="NAME", help="The policy, as it is now.")
@click.option("--yes", is_flag=True, help="Do it. Without, it is shown what would change.")
@_as_json
def apply(policy: str, yes: bool, as_json: bool) -> None:
    """Keep what is recorded under a policy for as long as it says now.

    A change of policy acts on new requests; this brings the past in line with it. Where a user has settings of his own
    for retention, these go before the policy's. Nothing is removed at once: what is over by then goes as everything
    does.
    """
    from tracecli.store import keeping

    loaded, now = _loaded(), _now()
    if policy not in loaded.policies:
        raise ConfigError(f"there is no policy {policy!r}", f"Name one of: {', '.join(sorted(loaded.policies))}.")
    terms, of_users = _terms(loaded, policy, now)
    found = keeping.apply(config.home(), now, policy, terms, of_users, dry_run=not yes)
    if as_json:
        output.json(msgspec.to_builtins(found))
    else:
        from tracecli.tables import retention as tables

        output.listing(tables.applied(found), tables.applied_plain(found))
    if not yes and (found.sooner or found.later):
        output.say("Nothing was written: --yes does it.")


@command.command("hold")
@click.option("--user", metavar="NAME", help="All of this user's.")
@click.option("--tag", metavar="TAG", help="All that have this tag.")
@click.option("--reason", default="", metavar="TEXT", help="For people.")
def hold(user: str | None, tag: str | None, reason: str) -> None:
    """Keep what there is and what comes, whatever policies say and whoever erases, until it is released."""
    from tracecli.store import holds

    kind, value = _named(user, tag)
    new = holds.place(config.home(), kind, value, reason, _now())
    output.say(f"{'On' if new else 'Already on'} hold: {kind} {value}.")


@command.command("release")
@click.option("--user", metavar="NAME", help="This user's.")
@click.option("--tag", metavar="TAG", help="What has this tag.")
def release(user: str | None, tag: str | None) -> None:
    """End a hold. What is over by then goes as everything does."""
    from tracecli.store import holds

    kind, value = _named(user, tag)
    if not holds.lift(config.home(), kind, value):
        raise ConfigError(f"there is no hold on the {kind} {value}", "`tracecli retention holds` lists all.")
    output.say(f"Released: {kind} {value}.")


@command.command("holds")
@formats.options(csv=True)
def list_holds(form: Form) -> None:
    """List what is on hold."""
    from tracecli.store import holds

    found = holds.standing(config.home())
    if not form.is_table:
        form.write((msgspec.to_builtins(one) for one in found), holds.Hold.__struct_fields__)
    elif found:
        from tracecli.tables import retention as tables

        output.listing(tables.holds(found, _now()), tables.holds_plain(found))
    else:
        output.say("Nothing is on hold.")


def _named(user: str | None, tag: str | None) -> tuple[Literal["user", "tag"], str]:
    if (user is None) == (tag is None):
        raise click.UsageError("Say whose or which: --user or --tag.")
    return ("user", user) if user is not None else ("tag", tag or "")


def _terms(loaded: Loaded, policy: str, now: dt.datetime) -> tuple[Terms, dict[str, Terms]]:
    """For how long a policy keeps, and for how long those users who have settings of their own for that."""
    from tracecli.store.keeping import Terms

    kept = loaded.policies[policy].settings.retention
    of_users = {}
    for user, own in loaded.users.items():
        lasting = own.expires_at is None or now.timestamp() < own.expires_at
        if lasting and (changed := own.values.get("retention")):
            its = msgspec.structs.replace(kept, **changed)
            of_users[user] = Terms(its.content_s, its.metadata_s)
    return Terms(kept.content_s, kept.metadata_s), of_users


def _loaded() -> Loaded:
    from tracecli.policy.files import load

    return load(config.policy_folder(config.home()))


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)
