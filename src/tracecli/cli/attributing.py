"""What `tracecli run` and `tracecli env` share: whose calls they are, and the variables that take them to the proxy."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click

from tracecli import config, home_key, roots
from tracecli.cli import output
from tracecli.clients import variables
from tracecli.config import Home
from tracecli.errors import ConfigError, HomeError
from tracecli.identity import clean
from tracecli.proxy_users import ProxyUsers
from tracecli.tickets import LASTS_S, PROXY_USER, Ticket, issue, read

__all__ = ["PROXY_USER", "Ticket"]

_NODE = "node-proxy.cjs"


def options[F: Callable[..., Any]](command: F) -> F:
    """`--user`, `--policy` and `--session`."""
    for option in (
        click.option("--session", metavar="NAME", help="The session of the calls; one can have several runs."),
        click.option("--policy", metavar="NAME", help="The policy of the calls, before those that would apply."),
        click.option("--user", metavar="NAME", help="Who the calls belong to."),
    ):
        command = option(command)
    return command


def of_the_program() -> dict[str, str]:
    """The environment that a program would have had without us: not of the checkout, where `uv run` runs tracecli.

    Nor does it learn the key of an encrypted home.
    """
    given, source = config.environment(), config.checkout()
    given.pop(config.KEY, None)
    return variables.without_uv(given, sys.prefix) if source == Path(sys.prefix).parent else given


def ticket(home: Home, given: Mapping[str, str], user: str | None, policy: str | None, session: str | None) -> Ticket:
    """What holds for the calls, from now on: user and policy of the proxy's URL that is there, where none are given.

    Raises ConfigError for a name that cannot be recorded as it is.
    """
    for option, name in (("--user", user), ("--session", session)):
        if name is not None and (not name or name != clean(name)):
            raise ConfigError(
                f"{option} {name!r} cannot be recorded as it is",
                "Leave out control characters, outer spaces and all beyond 200 characters.",
            )
    outer = _outer(home, given)
    return Ticket(user or outer.user, session, policy or outer.policy, time.time() + LASTS_S)


def _outer(home: Home, given: Mapping[str, str]) -> Ticket:
    """What the URL of a proxy of this home says that is there already: of a run around this one, or of a user."""
    from tracecli.proxy import using

    found = variables.named(given)
    if found is None or not found.auth or not variables.is_one_of(found, using.addresses(home)):
        return Ticket()
    name, _, secret = found.auth.partition(":")
    if name == PROXY_USER and (outer := read(home_key.read(home), secret, time.time())):
        return outer
    return Ticket(user=name) if ProxyUsers(home.proxy_users).check(name, secret) else Ticket()


def password(home: Home, told: Ticket) -> str:
    """A ticket as the proxy of the home takes it. Raises HomeError if the home's secret cannot be read."""
    return issue(home_key.read(home), told)


def check_policy(home: Home, folder: Path | None, name: str | None) -> None:
    """Raises ConfigError if the proxy has no policy of that name."""
    if name is None:
        return
    from tracecli.policy.files import load

    known = load(folder or config.policy_folder(home)).policies
    if name not in known:
        raise ConfigError(f"there is no policy {name!r}", f"Name one of: {', '.join(sorted(known))}.")


def warn_of_exemptions(given: Mapping[str, str]) -> None:
    """Say which entries of NO_PROXY let calls go unrecorded."""
    from tracecli.providers.hosts import Hosts

    past = variables.exempted_providers(given, Hosts(config.extra_hosts()))
    if past:
        output.say(
            f"tracecli: NO_PROXY has calls to {', '.join(past)} go past the proxy, unrecorded. "
            "Take it out there to have them recorded."
        )


def all_roots(home: Home, given: Mapping[str, str], authority: Path) -> bytes:
    """The system's authorities, those that the user's variables name, and ours, in one file.

    Raises HomeError if one cannot be read.
    """
    named = [path for path in map(Path, variables.bundles(given)) if path.is_file()]
    try:
        return roots.joined([roots.system(), *named, authority])
    except OSError as error:
        raise HomeError(f"cannot read {error.filename}: {error.strerror}", "Make it readable, or unset it.") from error


def own_roots(home: Home, given: Mapping[str, str]) -> Path | None:
    """The file of authorities that the user's programs trust, where it is none of ours: a network may have its own."""
    named = given.get("SSL_CERT_FILE")
    if not named or not Path(named).is_file() or Path(named) == home.ca_bundle or home.scratch in Path(named).parents:
        return None
    return Path(named).absolute()


def environment(given: Mapping[str, str], url: str, bundle: Path, *, loopback_too: bool = False) -> dict[str, str]:
    """The variables to set for a program."""
    made = variables.made(given, url, str(bundle), loopback_too=loopback_too)
    return made | {"NODE_OPTIONS": variables.with_node(given, str(config.shipped(_NODE)))}
