"""`tracecli encryption`: keep what was recorded encrypted on the disk."""

from __future__ import annotations

import base64
import secrets
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tracecli import config, keys, ledger
from tracecli.cli import output
from tracecli.config import Home, KeySource
from tracecli.encryption import KEY_BYTES
from tracecli.errors import ConfigError

if TYPE_CHECKING:
    from tracecli.store.reencryption import State

INCOMPLETE = 7
_PROXIES_S = 5.0
"""So long a proxy has time to say that it encrypts with the newest key; it looks four times a second."""


def _source(function: Callable[..., Any]) -> Callable[..., Any]:
    """Where the key is to be had; one of these."""
    for option in (
        click.option("--key-env", metavar="NAME", help="The key is in this environment variable."),
        click.option("--key-command", metavar="COMMAND", help="This command prints it, of a password manager perhaps."),
        click.option(
            "--key-file", type=click.Path(path_type=Path), help="The key is in this file, yours alone (0600)."
        ),
    ):
        function = option(function)
    return function


_as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.group("encryption")
def command() -> None:
    """Keep what was recorded encrypted on the disk.

    Encrypted (AES-256-GCM) are bodies, texts, the spool, answers in the cache and what could not be read; not usage
    records, with what providers said of errors and your comments, policies and the ledger. The keys for that are in
    keys.json in the home, wrapped with a key of yours, which stays elsewhere: in a file, in an environment variable, or
    with a command that prints it. Without it nothing starts that would need it: exit code 5.

    TRACECLI_KEY_FILE, TRACECLI_KEY and TRACECLI_KEY_COMMAND go before what the home says of where the key is.
    """


@command.command("key")
def key() -> None:
    """Print a new key, for a file or a password manager: `(umask 077; tracecli encryption key > FILE)`."""
    click.echo(base64.b64encode(secrets.token_bytes(KEY_BYTES)).decode())


@command.command("on")
@_source
@_as_json
def on(key_file: Path | None, key_command: str | None, key_env: str | None, as_json: bool) -> int | None:
    """Encrypt what is recorded from now on, and what is there.

    Works while a proxy records and people read. Answers in the cache are forgotten: `tracecli cache rebuild` makes them
    again. Exit code 7 if something is not encrypted in the end: a proxy that cannot get the key goes on as before until
    it is started with it.
    """
    home = config.home()
    source = _chosen(key_file, key_command, key_env)
    if _is_on(home):
        raise ConfigError(f"{home.root} is encrypted already", "`tracecli encryption rotate` changes its keys.")
    keys.add(home, source)
    return _carried_out(home, as_json)


@command.command("rotate")
@_source
@_as_json
def rotate(key_file: Path | None, key_command: str | None, key_env: str | None, as_json: bool) -> int | None:
    """Encrypt everything anew with a new key of tracecli's, and, with an option, under a new key of yours.

    Yours of before must be to be had, where it was. Works while a proxy records and people read.
    """
    home = config.home()
    if not _is_on(home):
        raise ConfigError(f"{home.root} is not encrypted", "`tracecli encryption on` turns it on.")
    new = any((key_file, key_command, key_env))
    keys.add(home, _chosen(key_file, key_command, key_env) if new else keys.source(home))
    return _carried_out(home, as_json)


@command.command("off")
@_as_json
def off(as_json: bool) -> int | None:
    """Write everything in the clear again. Works while a proxy records and people read."""
    home = config.home()
    if not _is_on(home):
        raise ConfigError(f"{home.root} is not encrypted", "There is nothing to turn off.")
    keys.turn_off(home)
    return _carried_out(home, as_json)


@command.command("show")
@_as_json
def show(as_json: bool) -> int | None:
    """Say whether everything is encrypted, with which keys, and whether yours is to be had.

    Exit code 7 if something is not encrypted that should be.
    """
    return _told(config.home(), as_json)


@command.command("decrypt")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
def decrypt(file: Path) -> None:
    """Write what is in an encrypted FILE of the home to standard output, as it is: to a file, not to a terminal.

    For what lies in quarantine/, for instance. It is noted in the ledger.
    """
    if sys.stdout.isatty():
        raise click.UsageError("It may hold anything: send it to a file or another command.")
    home = config.home()
    with keys.opened(home, file) as content:
        ledger.note(home, ledger.READ, "encryption decrypt", [], file=file.name)
        shutil.copyfileobj(content, sys.stdout.buffer)


def _chosen(key_file: Path | None, key_command: str | None, key_env: str | None) -> KeySource:
    if sum(one is not None for one in (key_file, key_command, key_env)) != 1:
        raise click.UsageError("Say where the key is by one of --key-file, --key-command and --key-env.")
    if key_file is None:
        return KeySource(variable=key_env, command=key_command)
    place = key_file.expanduser().absolute()
    if place.resolve().is_relative_to(config.home().root.resolve()):
        raise ConfigError("a key in the home lies beside what it protects", "Keep it elsewhere.")
    return KeySource(file=str(place))


def _is_on(home: Home) -> bool:
    try:
        return keys.stored(home).on
    except FileNotFoundError:
        return False


def _carried_out(home: Home, as_json: bool) -> int | None:
    from tracecli import reencrypting

    answers = reencrypting.carried_out(home, config.policy_folder(home))
    deadline = time.monotonic() + _PROXIES_S
    while _state(home).proxies_behind and time.monotonic() < deadline:
        time.sleep(0.1)
    return _told(home, as_json, answers)


def _told(home: Home, as_json: bool, answers: int | None = None) -> int | None:
    from tracecli.tables import encryption as tables

    found = _state(home)
    if as_json:
        output.json(found.as_json() | ({} if answers is None else {"answers_forgotten": answers}))
    else:
        output.listing(tables.state(found, answers), tables.state(found, answers))
    return None if found.complete else INCOMPLETE


def _state(home: Home) -> State:
    from tracecli.proxy import running
    from tracecli.store import reencryption

    return reencryption.state(home, {proxy.pid: proxy.data_keys for proxy in running.status(home).proxies})
