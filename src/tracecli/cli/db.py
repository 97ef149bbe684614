"""`tracecli db`: the store's size and health, bringing it up to date, backups, and less space."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from tracecli import config
from tracecli.cli import formats, output
from tracecli.cli.formats import Form
from tracecli.config import Home
from tracecli.errors import StoreBusy

if TYPE_CHECKING:
    from tracecli.store.checking import Checked

BROKEN = 7

_as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
_folder = click.argument("folder", type=click.Path(path_type=Path))


@click.group("db")
def command() -> None:
    """Look after the store: its size and health, backups, less space.

    The store is a database of requests and folders of files with their content, in the home folder. Everything here
    works while the proxy records, but `restore` and `compact`, which need to be alone.
    """


@command.command("info")
@click.option("--quick", is_flag=True, help="Leave out how much deduplication saves: for that, all content is read.")
@formats.options(csv=True)
def info(form: Form, quick: bool) -> None:
    """Say what the store holds, and what it takes on the disk.

    Bytes that passed are those of requests and answers with content. They become less by deduplication, since what is
    sent again is stored once, and by compression.
    """
    from tracecli.store import upkeep

    found = upkeep.info(config.home(), quick=quick)
    if not form.is_table:
        told = msgspec.to_builtins(found)
        form.write([told], whole=told)
        return
    from tracecli.tables import db as tables

    output.listing(tables.info(found), tables.info_plain(found))


@command.command("check")
@formats.options(csv=True)
def check(form: Form) -> int | None:
    """Read the whole store, and say what is broken.

    Looks at the database, every file of content, whether what refers to each other is there, hashes, left-over files
    and the spool. The exit code is 7 if something is broken; warnings leave it 0.
    """
    from tracecli.store import checking

    return _told(checking.check(config.home()), form)


def _told(found: Checked, form: Form) -> int | None:
    """Write what a check found."""
    if not form.is_table:
        told = msgspec.to_builtins(found)
        names = ("area", "severity", "problem", "remedy")
        form.write(told["found"], names, whole={"healthy": found.healthy} | told)
    elif found.found:
        from tracecli.tables import db as tables

        output.listing(tables.checked(found), tables.checked_plain(found))
    if not found.database and not found.found:
        output.say(f"There is no database in {config.home().root}, and nothing is broken.")
    elif form.is_table and not found.found:
        from tracecli.tables import db as tables

        output.say(tables.healthy(found))
    return None if found.healthy else BROKEN


@command.command("migrate")
@click.option("--dry-run", is_flag=True, help="Say what would be done, and change nothing.")
@_as_json
def migrate(dry_run: bool, as_json: bool) -> None:
    """Bring the database up to date, and say from which version.

    Every command that opens the database does so, too. A database that a newer tracecli made is left alone: exit code
    5.
    """
    from tracecli.store import upkeep

    home = config.home()
    found = upkeep.migrate(home, dry_run=dry_run)
    if as_json:
        output.json(msgspec.to_builtins(found))
    elif not found.database:
        output.say(f"There is no database in {home.root}.")
    else:
        from tracecli.tables import db as tables

        output.listing(tables.migrated(found), tables.migrated_plain(found))


@command.command("backup")
@_folder
@click.option("--with-spool", is_flag=True, help="With what is recorded and not in the store yet.")
@_as_json
def backup(folder: Path, with_spool: bool, as_json: bool) -> None:
    """Copy the store to a new folder, as it is at one moment.

    In it are the database, the content, the key of fingerprints, the proxy's users, the history of policies, and the
    policies if they are in the home; not the cache and the certificate authority. On the same disk, files of content
    are linked and take no room; to survive the disk, name a folder of another. A folder that is there is never written
    to. A backup that is killed leaves a folder whose name begins with a dot.
    """
    from tracecli.store import backup as backups

    made = backups.make(config.home(), folder.resolve(), with_spool=with_spool)
    _done(made, "backed_up", as_json)


@command.command("restore")
@_folder
@click.option("--replace", is_flag=True, help="Move what is there to `before-restore-...` in the home folder.")
@_as_json
def restore(folder: Path, replace: bool, as_json: bool) -> int | None:
    """Put a backup in the place of the store.

    Every file is verified first. Refused while a proxy or ingest runs, and where there is something already, unless it
    is to be replaced; nothing is deleted. The spool stays, and is loaded into the restored store. In the end the store
    is checked: exit code 7 if it was backed up broken.
    """
    from tracecli.store import backup as backups
    from tracecli.store import checking

    home = config.home()
    backups.read_manifest(home, folder.resolve())  # before anything is made
    with _alone(home):
        _refuse_proxy(home)
        restored = backups.restore(home, folder.resolve(), replace=replace)
        found = checking.check(home)
    if as_json:
        told = {"healthy": found.healthy, "found": msgspec.to_builtins(found.found)}
        output.json(msgspec.to_builtins(restored) | told)
        return None if found.healthy else BROKEN
    _done(restored, "restored", as_json)
    return _told(found, Form("table"))


@command.command("compact")
@_as_json
def compact(as_json: bool) -> None:
    """Make the store as small as it can be.

    Removes what nothing refers to, merges small files, and writes the database anew without free space, for which there
    has to be room. Nobody else may ingest meanwhile: exit code 5.
    """
    from tracecli.store import upkeep

    home = config.home()
    if not home.database.exists():
        output.say(f"There is no database in {home.root}.")
        return
    with _alone(home):
        done = upkeep.compact(home)
    if done:
        _done(done, "compacted", as_json)


def _done(found: Any, name: str, as_json: bool) -> None:
    if as_json:
        output.json(msgspec.to_builtins(found))
        return
    from tracecli.tables import db as tables

    output.listing(getattr(tables, name)(found), tables.plain(found))


@contextlib.contextmanager
def _alone(home: Home) -> Iterator[None]:
    """Be the one process that ingests. Raises StoreBusy if there is another."""
    from tracecli import ingest

    home.prepare()
    with ingest.alone(home, lambda: True) as locked:
        if not locked:
            raise StoreBusy(f"another process ingests for {home.root}", "End the proxy or `tracecli ingest` first.")
        yield


def _refuse_proxy(home: Home) -> None:
    """Also one that records without an ingest of its own."""
    from tracecli.proxy import running

    if running.status(home).proxies:
        raise StoreBusy(f"a proxy is running for {home.root}", "End it first.")
