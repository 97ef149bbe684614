"""`tracecli policy`: what is recorded and cached of whom."""

from __future__ import annotations

import datetime as dt
import shlex
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click
import msgspec

from tracecli import config, when
from tracecli.cli import formats, output
from tracecli.cli.formats import Form
from tracecli.config import Home
from tracecli.errors import ConfigError

if TYPE_CHECKING:
    from tracecli.policy.checks import Finding
    from tracecli.policy.edit import Edited, Key
    from tracecli.policy.files import Loaded

HOLDS = "for new requests, within a second"
_INVALID = 3
_SWITCHES = {"on": True, "yes": True, "off": False, "no": False}

_as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
_tracing = click.option("--tracing/--no-tracing", default=None, help="Record content, or usage alone.")
_cache = click.option("--cache/--no-cache", default=None, help="Answer identical requests from the cache, or not.")


@click.group("policy")
def command() -> None:
    """Say what is recorded and cached, and of whom.

    Policies are TOML files; these commands edit them, and so may you. A running proxy reads them again within a second;
    a change acts on new requests.
    """


@command.command("list")
@formats.options(csv=True)
def list_(form: Form) -> None:
    """List the policies."""
    from tracecli.policy import look

    found = look.policies(_loaded())
    if not form.is_table:
        form.write(msgspec.to_builtins(found))
        return
    from tracecli.tables import policies as tables

    output.listing(tables.policies(found), tables.policies_plain(found))


@command.command("show")
@click.argument("name")
@_as_json
def show(name: str, as_json: bool) -> None:
    """Show all that a policy decides, and which file says it."""
    from tracecli.policy import look

    loaded = _loaded()
    found = next((one for one in look.policies(loaded) if one.name == name), None)
    if found is None:
        raise ConfigError(f"there is no policy {name!r}", f"Name one of: {', '.join(sorted(loaded.policies))}.")
    if as_json:
        output.json(msgspec.to_builtins(found))
        return
    from tracecli.tables import policies as tables

    output.listing(tables.policy(found), tables.policy_plain(found))


@command.command("create")
@click.argument("name")
@click.argument("settings", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("--from", "like", metavar="NAME", help="Begin with a copy of this policy.")
@_as_json
def create(name: str, settings: tuple[str, ...], like: str | None, as_json: bool) -> None:
    """Make a policy.

    It applies to whom it is assigned (`tracecli policy user set USER --policy NAME`), or to requests whose headers it
    matches: `tracecli policy set NAME match.X-Team=red`.
    """
    from tracecli.policy import edit
    from tracecli.policy.rules import PolicyFile

    home, folder = _prepared()
    values = dict(_setting(text, f"{name}.toml", PolicyFile) for text in settings)
    given = [*(("--from", like) if like else ()), *settings]
    retry = _retry(["policy", "create", name], given, "tracing=true")
    _tell(edit.create_policy(home, folder, name, like, values, retry), as_json)


@command.command("set")
@click.argument("name")
@click.argument("settings", nargs=-1, metavar="[KEY=VALUE]...")
@_tracing
@_cache
@click.option("--unset", multiple=True, metavar="KEY", help="Take a key out of the file. Can be repeated.")
@_as_json
def set_(
    name: str,
    settings: tuple[str, ...],
    tracing: bool | None,
    cache: bool | None,
    unset: tuple[str, ...],
    as_json: bool,
) -> None:
    """Change a policy.

    KEY=VALUE is a key of the file as the README lists them, as `retention.content=30d`, `sampling=0.1`,
    `match.X-Team=red` or `models='["gpt-5*"]'`.
    """
    from tracecli.policy import edit
    from tracecli.policy.rules import PolicyFile

    home, folder = _prepared()
    values = _values(settings, tracing, cache, unset, f"{name}.toml", PolicyFile)
    retry = _retry(["policy", "set", name], _again(settings, cache, unset), "--tracing")
    _tell(edit.set_policy(home, folder, name, values, retry), as_json)


@command.command("rename")
@click.argument("old")
@click.argument("new")
@_as_json
def rename(old: str, new: str, as_json: bool) -> None:
    """Give a policy another name.

    Users that have it and policies that extend it follow.
    """
    from tracecli.policy import edit

    _tell(edit.rename_policy(*_prepared(), old, new), as_json)


@command.command("delete")
@click.argument("name")
@click.option("--reassign", metavar="OTHER", help="Give its users and what extends it this policy.")
@click.option("--force", is_flag=True, help="Leave its users with what applies without it.")
@_as_json
def delete(name: str, reassign: str | None, force: bool, as_json: bool) -> None:
    """Delete a policy.

    One that is in use needs --reassign or --force.
    """
    from tracecli.policy import edit

    if reassign is not None and force:
        raise click.UsageError("--reassign and --force are two ways of doing it: leave one of them out.")
    _tell(edit.delete_policy(*_prepared(), name, reassign=reassign, force=force), as_json)


@command.command("validate")
@click.argument("path", required=False, type=click.Path(path_type=Path), metavar="[FILE|FOLDER]")
@_as_json
def validate(path: Path | None, as_json: bool) -> int | None:
    """Check policy files, and say all that is wrong with them.

    Without FILE or FOLDER, the policies in use, with prices.toml and the rules in flags/. One line for each thing:
    file, line, key, what is wrong, and what to do. The exit code is 3 if there are errors; warnings leave it 0.
    """
    found = findings(path.absolute() if path else _place()[1])
    errors = [one for one in found if one.severity == "error"]
    if as_json:
        output.json({"valid": not errors, "findings": msgspec.to_builtins(found)})
    elif found:
        from tracecli.tables import policies as tables

        output.listing(tables.findings(found), tables.findings(found))
    else:
        output.say("No errors, no warnings.")
    return _INVALID if errors else None


def findings(path: Path) -> list[Finding]:
    """What is to be said of the policies, prices and rules in a folder, or in one file. Raises ConfigError for none."""
    from tracecli import flag_files, price_file
    from tracecli.policy import checks
    from tracecli.policy.files import FLAGS
    from tracecli.price_list import FILE

    folder = path if path.is_dir() else path.parent
    if folder.name == FLAGS and folder != config.policy_folder(config.home()):
        rules = flag_files.paths(folder.parent) if path.is_dir() else [path]
        return [checks.found(error) for one in rules for error in flag_files.problems(one)]
    found = [] if path.name == FILE and path.parent.name != "users" else checks.validate(path, _now())
    if path.is_dir() or path.name == FILE:
        try:
            price_file.load(folder)
        except ConfigError as error:
            place = str(folder / FILE)
            problem = error.problem.removeprefix(place).lstrip(": ")
            found.append(
                checks.Finding(
                    severity="error", file=place, name=FILE, line=None, key="", problem=problem, remedy=error.remedy
                )
            )
    if path.is_dir():
        found += [checks.found(error) for one in flag_files.paths(path) for error in flag_files.problems(one)]
    return found


@command.command("explain")
@click.argument("user", required=False)
@click.option("--header", "headers", multiple=True, metavar="'NAME: VALUE'", help="A header of the request.")
@click.option("--id", "ref", metavar="REF", help="Explain a recorded request: an id, the beginning of one, or `last`.")
@_as_json
def explain(user: str | None, headers: tuple[str, ...], ref: str | None, as_json: bool) -> None:
    """Say which policy applies to a request, and why.

    Without USER, to a request of nobody in particular. With --id, what was decided then, and what would be decided now.
    Credentials and headers meant for tracecli are not recorded: a policy that matches one is not seen to fit.
    """
    if ref is not None and (user is not None or headers):
        raise click.UsageError("--id names a request with its user and headers: leave out the others.")
    from tracecli.policy import look

    asked = [_header(text) for text in headers]
    recorded = None
    if ref is not None:
        from tracecli import browse

        one, _ = browse.find(config.home(), ref)
        user, asked = one.row.user, one.exchange.request_headers
        recorded = {"id": one.row.id, "policy": one.row.policy, "reason": one.exchange.reason}
    found = look.explained(_loaded(), user or "anonymous", asked, _now())
    if as_json:
        output.json(msgspec.to_builtins(found) | {"recorded": recorded})
        return
    from tracecli.tables import policies as tables

    output.listing(tables.explained(found, recorded), tables.explained_plain(found, recorded))


@command.command("history")
@click.argument("name", required=False)
@click.option("--limit", type=click.IntRange(1), default=50, show_default=True, metavar="N", help="The N latest.")
@formats.options(csv=True)
def history(form: Form, name: str | None, limit: int) -> None:
    """Show who changed which policy, and when.

    NAME is a policy or a user. What was edited by hand is noted when a running proxy reads it, or before the next
    command changes something.
    """
    from tracecli.policy import history

    home, folder = _place()
    found = [entry for entry in history.entries(home, folder) if name in (None, entry.name)][: -limit - 1 : -1]
    if not form.is_table:
        form.write(msgspec.to_builtins(found))
    elif found:
        from tracecli.tables import policies as tables

        output.listing(tables.history(found, _now()), tables.history_plain(found))
    else:
        output.say("No change is noted." if name is None else f"No change of {name!r} is noted.")


@command.group("user")
def user_group() -> None:
    """Assign policies to users, for good or for a while."""


@user_group.command("set")
@click.argument("user")
@click.option("--policy", metavar="NAME", help="The policy; with --expires a temporary one.")
@_tracing
@_cache
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="A setting of the user's own.")
@click.option("--unset", multiple=True, metavar="KEY", help="Take a key out of the file. Can be repeated.")
@click.option("--expires", metavar="WHEN", help="When that ends: 2h, 7d, a date, or never.")
@_as_json
def user_set(
    user: str,
    policy: str | None,
    tracing: bool | None,
    cache: bool | None,
    settings: tuple[str, ...],
    unset: tuple[str, ...],
    expires: str | None,
    as_json: bool,
) -> None:
    """Change what applies to a user.

    With --expires, the policy and the settings of the user's own end then, to the second: the assigned policy applies
    again, or default. A date without a time begins at midnight, here.
    """
    from tracecli.policy import edit
    from tracecli.policy.rules import UserFile

    home, folder = _prepared()
    ends = _expiry(expires, _now()) if expires else None
    values = _values(settings, tracing, cache, unset, "users/USER.toml", UserFile)
    if not values and policy is None and ends is None:
        raise click.UsageError("Nothing to change: give a policy, a setting or a time.")
    given = [*(("--policy", policy) if policy else ()), *(("--expires", expires) if expires else ())]
    given += [part for text in settings for part in ("--set", text)]
    retry = _retry(["policy", "user", "set", user], [*given, *_again((), cache, unset)], "--tracing")
    _tell(edit.set_user(home, folder, user, policy=policy, values=values, expires_at=ends, retry=retry), as_json)


@user_group.command("list")
@click.option("--expiring", metavar="TIME", help="Those of whom something ends within this time: 24h, 7d.")
@formats.options(csv=True)
def user_list(form: Form, expiring: str | None) -> None:
    """List the users that have something of their own."""
    from tracecli.policy import look

    try:
        within = when.duration(expiring) if expiring else None
        found = look.users(_loaded(), _now(), within)
    except (ValueError, OverflowError) as error:
        raise click.BadParameter(f"{error}.", param_hint="--expiring") from None
    if not form.is_table:
        form.write(msgspec.to_builtins(found))
    elif found:
        from tracecli.tables import policies as tables

        output.listing(tables.users(found), tables.users_plain(found))
    else:
        output.say("Nobody: what everybody has applies." if within is None else "Of nobody anything ends by then.")


@user_group.command("show")
@click.argument("user")
@_as_json
def user_show(user: str, as_json: bool) -> None:
    """Show what a user has, and what applies."""
    from tracecli.policy import look

    loaded, now = _loaded(), _now()
    found, applies = look.user(loaded, user, now), look.explained(loaded, user, [], now)
    if as_json:
        output.json(msgspec.to_builtins(found) | {"applies": msgspec.to_builtins(applies)})
        return
    from tracecli.tables import policies as tables

    output.listing(tables.user(found, applies), tables.users_plain([found]))


@user_group.command("clear")
@click.argument("user")
@_as_json
def user_clear(user: str, as_json: bool) -> None:
    """Take away what a user has.

    What everybody has applies again. Credentials that the user is bound to stay.
    """
    from tracecli.policy import edit

    _tell(edit.clear_user(*_prepared(), user), as_json)


def _place() -> tuple[Home, Path]:
    """The home and the policy folder, for looking at them. The home's own folder gets its default policy."""
    home = config.home()
    folder = config.policy_folder(home)
    if folder == home.root / "policies" and not home.foreign:
        _prepared()
    return home, folder


def _prepared() -> tuple[Home, Path]:
    """The same, for changing something."""
    from tracecli.runtime import seed_policies

    home = config.home()
    folder = config.policy_folder(home)
    home.prepare()
    seed_policies(home, folder)
    return home, folder


def _loaded() -> Loaded:
    from tracecli.policy.files import load

    return load(_place()[1])


def _tell(done: Edited, as_json: bool) -> None:
    from tracecli.tables import policies as tables

    if as_json:
        changes = msgspec.to_builtins(done.changes)
        output.json({"changes": changes, "holds": HOLDS if changes else None, "hints": done.hints})
        return
    output.listing(tables.edited(done.changes), tables.edited(done.changes))
    for hint in done.hints:
        output.say(f"Note: {hint}.".replace("..", "."))
    output.say(f"This holds {HOLDS}." if done.changes else "Nothing changed: it was so already.")


def _values(
    settings: Sequence[str],
    tracing: bool | None,
    cache: bool | None,
    unset: Sequence[str],
    file: str,
    kind: Any,
) -> dict[Key, Any]:
    values: dict[Key, Any] = {_key(text): None for text in unset}
    values |= dict(_setting(text, file, kind) for text in settings)
    if tracing is not None:
        values["tracing",] = tracing
    if cache is not None:
        values["cache", "mode"] = "on" if cache else "off"
    return values


def _setting(text: str, file: str, kind: Any) -> tuple[Key, Any]:
    """A key and its value: TOML if it is, and what it has to be; else the text as it is."""
    name, equals, value = text.partition("=")
    if not equals:
        raise click.UsageError(f"{text!r} is not KEY=VALUE.")
    key, typed = _key(name), value.strip()
    choices: list[Any] = []
    try:
        table = tomllib.loads(f"v = {typed}")
        choices += table.values() if len(table) == 1 else ()
    except (ValueError, RecursionError):
        pass
    choices += [typed, *(meant for word, meant in _SWITCHES.items() if word == typed.lower())]
    fitting = (choice for choice in choices if _wrong(key, choice, file, kind) is None)
    other = (choice for choice in choices if "Expected" not in str(_wrong(key, choice, file, kind)))
    return key, next(fitting, next(other, choices[0]))


def _wrong(key: Key, value: Any, file: str, kind: Any) -> str | None:
    from tracecli.policy.rules import PolicyError, check

    for part in reversed(key):
        value = {part: value}
    try:
        check(file, value, kind)
    except PolicyError as error:
        return error.problem
    return None


def _key(text: str) -> Key:
    try:
        table: Any = tomllib.loads(f"{text} = 0")
    except (ValueError, RecursionError):
        raise click.UsageError(f"{text!r} is no key; write it as `sampling` or `cache.ttl`.") from None
    key: Key = ()
    while isinstance(table, dict) and len(table) == 1:
        ((part, table),) = table.items()
        key += (part,)
    if not key or table != 0:
        raise click.UsageError(f"{text!r} is no key; write it as `sampling` or `cache.ttl`.")
    if key[0] in ("policy", "temporary_policy", "expires_at", "user"):
        raise click.UsageError(f"`{key[0]}` is not set as a key: see `tracecli policy user set --help`.")
    return key


def _retry(words: Sequence[str], given: Sequence[str], tracing: str) -> str:
    kept = [text for text in given if text.partition("=")[0].strip() != "tracing"]
    return shlex.join(["tracecli", *words, *kept, tracing])


def _again(settings: Sequence[str], cache: bool | None, unset: Sequence[str]) -> list[str]:
    switches = [] if cache is None else ["--cache" if cache else "--no-cache"]
    return [*settings, *switches, *(part for key in unset for part in ("--unset", key))]


def _expiry(text: str, now: dt.datetime) -> dt.datetime | Literal["never"]:
    if text.strip().lower() == "never":
        return "never"
    try:
        ends = now + when.duration(text)
    except OverflowError:
        raise click.BadParameter(f"{text!r} is after the year 9999.", param_hint="--expires") from None
    except ValueError:
        try:
            ends = dt.datetime.fromisoformat(text.strip()).astimezone(dt.UTC)
        except (ValueError, OverflowError):
            raise click.BadParameter(
                f"{text!r} is no moment; write 2h, 7d, an ISO 8601 date with or without a time, or never.",
                param_hint="--expires",
            ) from None
    if ends <= now:
        raise click.BadParameter(f"{text!r} is over already.", param_hint="--expires")
    return ends.astimezone(dt.UTC).replace(microsecond=0)


def _header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon or not name.strip():
        raise click.UsageError(f"{text!r} is not 'NAME: VALUE'.")
    return name.strip(), value.strip()


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)
