"""`tracecli env`: the variables of `tracecli run`, for a shell or a file."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import shlex
from collections.abc import Mapping
from pathlib import Path

import click

from tracecli import config
from tracecli.cli import attributing, output
from tracecli.clients import shells
from tracecli.clients.table import VARIABLES
from tracecli.config import Home
from tracecli.errors import ConfigError, NoProxy

_BEFORE = "TRACECLI_ENV_BEFORE"
"""What the variables were, for --unset."""
_IN_A_CONTAINER = (
    "In a container, 127.0.0.1 is the container itself: add --network host, "
    "and -v {bundle}:{bundle}:ro for the authorities."
)


@click.command("env")
@click.option(
    "--shell",
    "form",
    type=click.Choice(shells.FORMS),
    help="For whom: a shell, a dotenv file, or `docker run --env-file`.  [default: your shell]",
)
@attributing.options
@click.option("--local", is_flag=True, help="Take calls to this machine through the proxy too, as to Ollama.")
@click.option("--unset", is_flag=True, help="Print what takes it back.")
def command(
    form: str | None, user: str | None, policy: str | None, session: str | None, local: bool, unset: bool
) -> None:
    """Print the variables that take a program's calls to the proxy.

    A proxy has to be running. In bash and zsh it is `eval "$(tracecli env)"`, in fish `tracecli env | source`, in
    PowerShell `tracecli env | Out-String | Invoke-Expression`. With --unset the same takes it back, and the variables
    are what they were.

    What is printed holds a password of the proxy, that is good for 30 days. It says whose the calls are: --user,
    --policy and --session, as of `tracecli run`.
    """
    given = config.environment()
    form = form or shells.of_program(given.get("SHELL", ""))
    if unset:
        _take_back(form, given)
        return
    before = _before(given)
    home = config.home()
    told = attributing.ticket(home, before, user, policy, session)
    from tracecli.proxy import using

    if not using.addresses(home):
        raise NoProxy(f"no proxy is running for {home.root}", "Start one: `tracecli proxy`.")
    home.prepare()
    password = attributing.password(home, told)
    reached = using.running_one(home, None, attributing.PROXY_USER, password)
    if reached is None:
        raise NoProxy(
            f"no proxy that runs for {home.root} serves clients that name it",
            "Start one beside it: `tracecli proxy --listen 127.0.0.1:0`.",
        )
    attributing.check_policy(home, reached.policies, told.policy)
    attributing.warn_of_exemptions(before)
    bundle = _bundle(home, attributing.all_roots(home, before, reached.authority))
    url = reached.url(attributing.PROXY_USER, password)
    values = attributing.environment(before, url, bundle, loopback_too=local)
    if form in shells.EVALUATED:
        kept = {name: before[name] for name in values if name in before}
        values[_BEFORE] = base64.urlsafe_b64encode(json.dumps(kept).encode()).decode()
    output.data_lines(f"{line}\n" for line in shells.assignments(form, values))
    if form == "docker":
        output.say(_IN_A_CONTAINER.format(bundle=shlex.quote(str(bundle))))


def _bundle(home: Home, whole: bytes) -> Path:
    """The file of all authorities: that of the home, or where the user names others one beside it."""
    from tracecli import files

    if home.ca_bundle.exists() and home.ca_bundle.read_bytes() == whole:
        return home.ca_bundle
    own = home.root / f"ca-bundle-{hashlib.sha256(whole).hexdigest()[:12]}.pem"
    if not own.exists():
        files.write_whole(own, whole)
    return own


def _before(given: Mapping[str, str]) -> dict[str, str]:
    """The environment without what `tracecli env` has set in it."""
    if _BEFORE not in given:
        return dict(given)
    kept = _kept(given)
    rest = {name: value for name, value in given.items() if name not in _names()}
    return rest | kept


def _take_back(form: str, given: Mapping[str, str]) -> None:
    if form not in shells.EVALUATED:
        raise click.UsageError(f"--unset is for shells, and {form} is a file: leave its lines out.")
    if _BEFORE not in given:
        raise ConfigError("the variables were not set by `tracecli env`, or not exported", "There is nothing to do.")
    kept = _kept(given)
    output.data_lines(f"{line}\n" for line in shells.assignments(form, kept))
    gone = [name for name in _names() if name not in kept]
    output.data_lines(f"{line}\n" for line in shells.removals(form, gone))


def _names() -> list[str]:
    return [*VARIABLES, "NODE_OPTIONS", _BEFORE]


def _kept(given: Mapping[str, str]) -> dict[str, str]:
    try:
        kept = json.loads(base64.urlsafe_b64decode(given[_BEFORE]))
        return {str(name): str(value) for name, value in kept.items() if name in _names()}
    except (binascii.Error, ValueError, AttributeError) as error:
        raise ConfigError(f"{_BEFORE} is damaged", "Start another shell.") from error
