"""`tracecli transparent`: have the firewall send connections to the proxy."""

from __future__ import annotations

import datetime as dt
import shlex
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tracecli import config
from tracecli.cli import output
from tracecli.errors import ConfigError

if TYPE_CHECKING:
    from tracecli.transparent.guard import Wanted
    from tracecli.transparent.looking import Status

BROKEN = 7
NOT_UP = 8
_OPTIONS = (
    click.option(
        "--user",
        "users",
        multiple=True,
        metavar="NAME|UID",
        help="Only this user's connections; else those of all users of this machine. Can be repeated.",
    ),
    click.option(
        "--router",
        "interfaces",
        multiple=True,
        metavar="INTERFACE",
        help="What comes in here from others, and of this machine's own only that of a --user. Can be repeated.",
    ),
    click.option(
        "--port",
        type=click.IntRange(1, 65535),
        default=8081,
        show_default=True,
        metavar="N",
        help="Where the proxy listens.",
    ),
    click.option(
        "--intercept",
        "ports",
        type=click.IntRange(1, 65535),
        multiple=True,
        default=[443],
        show_default=True,
        metavar="N",
        help="The port that connections were meant for. Can be repeated.",
    ),
    click.option(
        "--run-as",
        metavar="NAME|UID",
        help="Whose process the proxy is, and whose home it records to (default: who called sudo).",
    ),
    click.option(
        "--home",
        type=click.Path(path_type=Path),
        help="The folder of all state (default: TRACECLI_HOME, or ~/.tracecli of --run-as).",
    ),
    click.option("--firewall", type=click.Choice(["nft", "iptables"]), help="Default: nft, if it is installed."),
    click.argument("proxy_args", nargs=-1, type=click.UNPROCESSED, metavar="[-- PROXY OPTIONS...]"),
)


def _options[F: Callable[..., Any]](function: F) -> F:
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


@click.group("transparent")
def command() -> None:
    """Have the firewall send connections to the proxy. Linux.

    Clients need no proxy setting then, only to trust the certificate authority.
    """


@command.command("up")
@_options
@click.option("--dry-run", is_flag=True, help="Print what would be set, as a script for a shell, and set nothing.")
def up(dry_run: bool, **options: Any) -> None:
    """Start the proxy, send connections to it, and take all back at the end.

    It stays until Ctrl-C or `tracecli transparent down`. If the proxy dies or hangs, or
    this command dies with it, connections go where they went before. What follows `--` are
    options of `tracecli proxy`.
    """
    wanted = _wanted(**options)
    if dry_run:
        output.data_lines(_script(wanted))
        return
    _require_privileges(shlex.join(["up", *_words(wanted, options)]))
    from tracecli.transparent import guard
    from tracecli.transparent.state import Taken

    try:
        guard.up(wanted, _is_up(wanted), output.say)
    except Taken as taken:
        if taken.state is not None and taken.state.interception != wanted.interception:
            raise ConfigError(
                f"it is up already, with other options (process {taken.state.guard})",
                "`tracecli transparent down` first.",
            ) from None
        output.say("It is up already. See `tracecli transparent status`.")


@command.command("down")
def down() -> None:
    """Take out all rules, restore settings, end the proxy. Where nothing is up, do nothing."""
    _require_privileges("down")
    from tracecli.transparent import guard

    output.say("It is down: all traffic goes directly." if guard.down() else "It was not up.")


@command.command("status")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def status(as_json: bool) -> int | None:
    """Say which rules there are, whether the proxy lives, and what to do.

    The exit code is 8 if it is not up, and 7 if something is broken.
    """
    _require_privileges("status")
    import msgspec

    from tracecli.transparent import looking

    found = looking.look()
    if as_json:
        output.json(msgspec.to_builtins(found))
    else:
        lines = list(_lines(found))
        output.listing(lines, lines)
        if not found.rules:
            output.say("Transparent mode is not up: all traffic goes directly.")
        if found.problem:
            output.say(f"tracecli: {found.problem}. {found.remedy}")
    if found.problem and (found.rules or found.guard or found.settings):
        return BROKEN
    return None if found.intercepting else NOT_UP


@command.command("unit")
@_options
def unit(**options: Any) -> None:
    """Print a unit of systemd that keeps it up, with the options of `up`."""
    wanted = _wanted(**options)
    from tracecli.transparent import unit

    own = [sys.executable, "-m", "tracecli", "transparent"]
    whole = options | {"run_as": wanted.runs_as.pw_name, "home": wanted.home.root}
    output.data_lines(unit.text([*own, "up", *_words(wanted, whole)], [*own, "down"]).splitlines(keepends=True))


def _wanted(
    users: tuple[str, ...],
    interfaces: tuple[str, ...],
    port: int,
    ports: tuple[int, ...],
    run_as: str | None,
    home: Path | None,
    firewall: str | None,
    proxy_args: tuple[str, ...],
) -> Wanted:
    """What the options ask for. Raises ConfigError or FirewallError for what cannot be."""
    from tracecli.transparent import system

    system.require_linux()  # the rest cannot be imported elsewhere
    from tracecli.transparent import firewall as firewalls
    from tracecli.transparent import guard
    from tracecli.transparent.rules import Interception

    system.require_interfaces(interfaces)
    if port in ports:
        raise ConfigError(f"--port and --intercept are both {port}", "Give the proxy a port of its own.")
    runs_as = guard.user(run_as) if run_as else guard.caller()
    what = Interception(
        port=port,
        ports=tuple(sorted(set(ports))),
        own=bool(users) or not interfaces,
        users=tuple(sorted({guard.user(name).pw_uid for name in users})),
        interfaces=tuple(dict.fromkeys(interfaces)),
    )
    state = config.home(home, of=Path(runs_as.pw_dir))
    return guard.Wanted(what, firewalls.choose(firewall), runs_as, state, proxy_args)


def _require_privileges(command: str) -> None:
    from tracecli.transparent import system

    system.require_linux()
    system.require_privileges(command)


def _words(wanted: Wanted, options: dict[str, Any]) -> list[str]:
    """The options again, as words of a command line."""
    what = wanted.interception
    words = [f"--user={name}" for name in options["users"]]
    words += [f"--router={name}" for name in what.interfaces]
    words += [f"--port={what.port}", *(f"--intercept={port}" for port in what.ports)]
    words += [f"--{name.replace('_', '-')}={options[name]}" for name in ("firewall", "run_as", "home") if options[name]]
    return [*words, "--", *wanted.proxy_args] if wanted.proxy_args else words


def _is_up(wanted: Wanted) -> str:
    what = wanted.interception
    whose = [f"what comes in at {name}" for name in what.interfaces]
    if what.own:
        whose.append(f"the users {', '.join(map(str, what.users))}" if what.users else "all users of this machine")
    return (
        f"Connections of {' and of '.join(whose)} to port {', '.join(map(str, what.ports))} go to the proxy now.\n"
        f"  trust     {wanted.home.mitmproxy / 'mitmproxy-ca-cert.pem'}, or {wanted.home.ca_bundle}\n"
        "  look      tracecli transparent status\n"
        "  end       Ctrl-C, or tracecli transparent down"
    )


def _script(wanted: Wanted) -> Iterator[str]:
    from tracecli.transparent import rules, system
    from tracecli.transparent.guard import RENEW_S

    load, renew, remove = wanted.firewall.script(wanted.interception)
    settings = system.settings(wanted.interception)
    proxy = shlex.join(
        [
            *("setpriv", f"--reuid={wanted.runs_as.pw_name}", f"--regid={wanted.interception.group}", "--init-groups"),
            *("env", f"HOME={wanted.runs_as.pw_dir}", *wanted.command()),
        ]
    )
    yield f"# The proxy, in a group of its own, which the rules spare:\n{proxy} &\n"
    for one in settings:
        does = f"sysctl -w {one.name}={one.value}\n" if one.value is not None else ""
        yield f"# {one.name} is {one.before} now\n{does}"
    yield f"# The rules of {wanted.firewall.name}:\n{load}"
    yield f"# Every {RENEW_S:.0f} s as long as the proxy answers; the rules act for {rules.LIVE_S} s after it:\n{renew}"
    yield "# At the end:\n"
    yield from (f"# {line}\n" for line in remove.splitlines())
    for one in reversed(settings):
        yield f"# sysctl -w {one.name}={one.before}\n"


def _lines(found: Status) -> Iterator[str]:
    from tracecli.tables.visible import line

    if found.guard or found.proxy:
        since = f" since {dt.datetime.fromtimestamp(found.since).astimezone():%Y-%m-%d %H:%M}" if found.since else ""
        proxy = f"proxy {found.proxy}" if found.proxy else "no proxy"
        yield line(f"{proxy} on port {found.port}{since}, records to {found.home}")
        yield line(f"rules of {found.firewall or 'none'}, renewed by {found.guard or 'nobody'}")
    for one in found.settings:
        yield line(f"set: {one}")
    for one in found.rules:
        yield line(one.replace("\t", "    "))
