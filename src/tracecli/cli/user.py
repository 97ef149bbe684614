"""`tracecli user`: users who prove to the proxy who they are."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from urllib.parse import quote

import click

from tracecli import config
from tracecli.cli import formats, output
from tracecli.cli.formats import Form
from tracecli.config import Home
from tracecli.errors import ConfigError
from tracecli.identity import clean
from tracecli.proxy_users import ProxyUsers

_ADDRESS = "127.0.0.1:8080"
_as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.group("user")
def command() -> None:
    """Register users who prove to the proxy who they are.

    A user header is a claim. A proxy user has a secret, which is part of the proxy's URL; what comes with it belongs to
    that user. Who gives none passes as before, under a header, an API field or a credential.
    """


@command.command("add")
@click.argument("name")
@click.option("--replace", is_flag=True, help="Give a user that is there a new secret; the old one ends.")
@_as_json
def add(name: str, replace: bool, as_json: bool) -> None:
    """Register a user, and print the proxy's URL with a new secret.

    The secret is shown this once: a hash of it is kept. A running proxy knows the user within a second.
    """
    home = config.home()
    if not name or name != clean(name) or ":" in name:
        raise ConfigError(
            f"{name!r} cannot be a proxy user", "Leave out colons, control characters, outer spaces and excess length."
        )
    home.prepare()
    users = ProxyUsers(home.proxy_users)
    if name in users.names and not replace:
        raise ConfigError(f"there is a proxy user {name!r} already", "With --replace it gets a new secret.")
    secret = users.add(name)
    url = f"http://{quote(name, safe='')}:{secret}@{next(_listening(home), _ADDRESS)}"
    if as_json:
        output.json({"user": name, "secret": secret, "proxy_url": url})
        return
    output.listing([f"HTTPS_PROXY={url}"], [f"HTTPS_PROXY={url}"])
    output.say("Keep it: the secret is shown this once.")


@command.command("list")
@formats.options(csv=True)
def list_(form: Form) -> None:
    """List the users that are registered."""
    home = config.home()
    home.refuse_changes()
    names = ProxyUsers(home.proxy_users).names
    if not form.is_table:
        form.write([{"user": name} for name in names], ["user"])
    elif names:
        from tracecli.tables import visible

        lines = [visible.line(name) for name in names]
        output.listing(lines, lines)
    else:
        output.say("Nobody is registered: `tracecli user add NAME` does.")


@command.command("remove")
@click.argument("name")
@_as_json
def remove(name: str, as_json: bool) -> None:
    """Take a user out: its secret ends, within a second.

    Connections that are open stay open. Policies and records of the user stay too.
    """
    home = config.home()
    home.refuse_changes()
    if not ProxyUsers(home.proxy_users).remove(name):
        raise ConfigError(f"there is no proxy user {name!r}", "See `tracecli user list`.")
    if as_json:
        output.json({"user": name, "removed": True})
    else:
        output.say(f"{name} is removed.")


def _listening(home: Home) -> Iterator[str]:
    """Where the proxies of this home listen, as a client of this machine writes it."""
    for path in sorted(home.root.glob("proxy-[0-9]*.json")):
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
            about = json.loads(path.read_bytes())
            os.kill(about["pid"], 0)
            for host, port in about["listen"]:
                reachable = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)  # noqa: S104
                yield f"{reachable}:{port}"
