"""`tracecli ca`: the certificate authority that clients have to trust."""

from __future__ import annotations

import sys

import click

from tracecli import config
from tracecli.cli import output

_yes = click.option("--yes", is_flag=True, help="Do not ask.")


@click.group("ca")
def command() -> None:
    """Show and install the authority that clients have to trust.

    The proxy makes it on its first start: its key never leaves the home. `tracecli run` and `tracecli env` have clients
    trust it by their variables, and that is enough for most. Some read the system's store alone.
    """


@command.command("path")
@click.option("--bundle", is_flag=True, help="The file of the system's authorities and this one.")
def path(bundle: bool) -> None:
    """Print the file of the certificate."""
    from tracecli.authority import authority

    home = config.home()
    file = authority(home).file
    output.data_lines([f"{home.ca_bundle if bundle else file}\n"])


@command.command("show")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def show(as_json: bool) -> None:
    """Show the certificate: its name, fingerprint and dates, and whether the system trusts it."""
    from tracecli import authority
    from tracecli.errors import StoreError

    one = authority.authority(config.home())
    try:
        store: authority.Store | None = authority.store()
    except StoreError:
        store = None
    trusted = store.trusts(one) if store else None
    if as_json:
        told = {"file": str(one.file), "subject": one.subject, "sha256": one.sha256, "trusted": trusted}
        output.json(told | {"begins_at": one.begins_at.isoformat(), "ends_at": one.ends_at.isoformat()})
        return
    system = {None: "unknown", True: "trusts it", False: "does not trust it: `tracecli ca install`"}[trusted]
    lines = [
        f"file      {one.file}",
        f"subject   {one.subject}",
        f"SHA-256   {one.sha256}",
        f"valid     {one.begins_at:%Y-%m-%d} to {one.ends_at:%Y-%m-%d}",
        f"system    {system}",
    ]
    output.listing(lines, lines)


@command.command("install")
@_yes
def install(yes: bool) -> None:
    """Have the system trust it: all programs of all its users.

    On Debian, Fedora, SUSE, Arch, Alpine and macOS. It takes the rights of an administrator. Whoever can read the key
    in the home can then pose as any server towards this machine; `tracecli ca uninstall` takes it back.
    """
    from tracecli import authority

    one, store = authority.authority(config.home()), authority.store()
    if store.trusts(one):
        output.say("The system trusts it already.")
        return
    _ask(f"Have all programs of this machine trust {one.subject} ({store.name}: {', '.join(store.steps(one))})?", yes)
    store.install(one)
    output.say(f"It is in {store.name}.")


@command.command("uninstall")
@_yes
def uninstall(yes: bool) -> None:
    """Take it out of what the system trusts. The authority itself stays in the home."""
    from tracecli import authority

    one, store = authority.authority(config.home()), authority.store()
    _ask(f"Take {one.subject} out of {store.name}?", yes)
    gone = store.uninstall(one)
    output.say(f"It is out of {store.name}." if gone else f"It was not in {store.name}.")


def _ask(question: str, yes: bool) -> None:
    if yes:
        return
    if not sys.stdin.isatty():
        raise click.UsageError("Nobody is there to ask: add --yes.")
    click.confirm(question, abort=True, err=True)
