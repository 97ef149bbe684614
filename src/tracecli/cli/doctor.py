"""`tracecli doctor`: what is broken, and how to mend it.

Each check is a function that yields what it found, and is told of everything by its arguments.
"""

from __future__ import annotations

import datetime as dt
import stat
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import click
import msgspec

from tracecli import access, config
from tracecli.cli import doctor_client, output, surroundings
from tracecli.cli.found import Check, Found, Well
from tracecli.config import Home
from tracecli.errors import TracecliError

BROKEN = 7
_WAITING_S = 60.0
_EXPIRING = dt.timedelta(days=14)


@click.group("doctor", invoke_without_command=True)
@click.option("--online", is_flag=True, help="Ask providers, too, whether they are reached through the proxy.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def command(context: click.Context, online: bool, as_json: bool) -> int | None:
    """Look for what is broken, and say how to mend it.

    Checks versions, the home folder and its disk, the policies, the database, the spool, ingest, the certificate
    authority and who trusts it, the proxies that run, the clock, and transparent mode. The exit code is 7 if something
    is broken; warnings leave it 0.

    Nothing is sent anywhere, unless --online asks three providers for their first page, through the proxy that runs or
    one that is started for it, and without a key: whatever they answer, they are reached.
    """
    if context.invoked_subcommand is not None:
        if online or as_json:
            raise click.UsageError(f"`{context.invoked_subcommand}` takes its options after its name.", context)
        return None
    home = config.home()
    home.refuse_changes()
    checks = {**CHECKS, surroundings.online: "providers answer"} if online else CHECKS
    looked = look(home, config.policy_folder(home), checks)
    found = [one for one in looked if isinstance(one, Found)]
    broken = any(one.severity == "error" for one in found)
    if as_json:
        well = [one for one in looked if isinstance(one, Well)]
        told = {"healthy": not broken, "checks": [_name(check) for check in checks]}
        output.json({**told, "found": msgspec.to_builtins(found), "well": msgspec.to_builtins(well)})
    else:
        _show(looked)
    return BROKEN if broken else None


def _show(looked: Sequence[Found | Well]) -> None:
    """What is well first, for it scrolls away; what is to be done last."""
    from tracecli.tables import visible

    well: dict[str, list[str]] = {}
    for one in looked:
        if isinstance(one, Well):
            well.setdefault(one.check, []).append(one.about)
    lines = [visible.line(f"{name}: ok: {', '.join(abouts)}") for name, abouts in well.items()]
    found = [one for one in looked if isinstance(one, Found)]
    for one in sorted(found, key=lambda one: one.severity == "error"):
        lines.append(visible.line(f"{one.check}: {one.severity}: {one.problem}. {one.remedy}"))
    output.listing(lines, lines)
    errors = sum(one.severity == "error" for one in found)
    if not found:
        output.say("Everything that was looked at is well.")
    else:
        output.say(f"{errors or 'Nothing'} broken, {len(found) - errors or 'no'} warnings.")


command.add_command(doctor_client.command)


@command.command("secrets")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def secrets(as_json: bool) -> int | None:
    """Look through everything for the credentials that passed, and find none.

    Of each key that a caller used only a fingerprint is kept, made with a secret of this machine. All that looks like a
    key, in files, bodies and tables, is fingerprinted and compared. The exit code is 7 if one is found.
    """
    from tracecli import leaks

    home = config.home()
    home.refuse_changes()
    looked = leaks.look(home)
    if as_json:
        output.json(msgspec.to_builtins(looked))
    else:
        from tracecli.tables import visible

        lines = [visible.line(f"{one.credential} is in {one.place}") for one in looked.found]
        output.listing(lines, lines)
        output.say(
            f"{len(looked.found) or 'No'} of {looked.credentials:,} credentials found in {looked.files:,} files,"
            f" {looked.exchanges:,} exchanges with content and the tables."
        )
        if looked.found:
            output.say("`tracecli erase --id` removes an exchange; make a new key in place of one that was found.")
    return BROKEN if looked.found else None


def examine(home: Home, policies: Path) -> list[Found]:
    """What all checks found wrong."""
    return [one for one in look(home, policies) if isinstance(one, Found)]


def look(home: Home, policies: Path, checks: Mapping[Check, str] | None = None) -> list[Found | Well]:
    """What all checks found, wrong or well."""
    looked: list[Found | Well] = []
    for check, about in (CHECKS if checks is None else checks).items():
        name = _name(check)
        try:
            looked += list(check(home, policies)) or [Well(name, about)]
        except TracecliError as error:
            looked.append(Found(name, "error", error.problem, error.remedy))
        except OSError as error:
            looked.append(Found(name, "error", f"cannot read {error.filename}: {error.strerror}", "Make it readable."))
    return looked


def _name(check: Check) -> str:
    return check.__name__.strip("_")


def _home(home: Home, policies: Path) -> Iterator[Found | Well]:
    if not home.root.exists():
        yield Found("home", "warning", f"nothing is recorded in {home.root} yet", "Start `tracecli proxy`.")
        return
    if home.access.exists():
        yield from _access(home)
    else:
        yield from _private(home)
    probe = home.root / f".doctor-{time.monotonic_ns()}"
    try:
        probe.touch(exist_ok=False)
        probe.unlink()
    except OSError as error:
        yield Found(
            "home", "error", f"cannot write to {home.root}: {error.strerror}", "Make room, or make it writable."
        )


def _private(home: Home) -> Iterator[Found]:
    folders = (home.root, home.spool, home.bodies, home.parts, home.said, home.quarantine, home.coverage)
    for path in (*folders, home.database, home.secret, home.keys, home.proxy_users, home.ledger):
        if path.exists() and (mode := stat.S_IMODE(path.stat().st_mode)) & 0o077:
            problem = f"others of this machine may use {path} (mode {mode:o})"
            yield Found("home", "error", problem, f"`chmod {mode & 0o700:o} {path}`")


def _access(home: Home) -> Iterator[Found]:
    """Where a home that others may read is open to more than these, or not to all of them."""
    for one in access.wrong(home):
        if one.wider:
            problem = f"others than are to may use {one.path} (mode {one.mode:o})"
            yield Found("home", "error", problem, f"`{one.remedy}`")
        else:
            problem = f"those who may read cannot use {one.path} (mode {one.mode:o})"
            yield Found("home", "warning", problem, f"`{one.remedy}`")
    group = access.stored(home).metadata
    if group is None:
        return
    for path in access.closed(home, group):
        problem = f"{path} does not let members of the group {access.group_name(group)} pass to the home"
        yield Found("home", "warning", problem, f"`chmod o+x {path}`, or move the home.")


def _policies(home: Home, policies: Path) -> Iterator[Found | Well]:
    from tracecli.cli.policy import findings

    if not policies.exists() and policies == home.root / "policies":
        return  # the first start makes them
    for one in findings(policies):
        place = f"{one.file}:{one.line}" if one.line else one.file
        key = f"key `{one.key}`: " if one.key else ""
        yield Found("policies", one.severity, f"{place}: {key}{one.problem}", one.remedy)


def _encryption(home: Home, policies: Path) -> Iterator[Found | Well]:
    if not home.keys.exists():
        return
    from tracecli import keys
    from tracecli.store import reencryption

    ring = keys.ring(home)  # raises NoKey where the user's key is not to be had
    on = ring is not None and ring.newest is not None
    if left := sum(1 for _ in reencryption.left(home)):
        how = "not encrypted with the newest key yet" if on else "still encrypted, though it is off"
        problem = f"files of content that are {how}: {left:,}"
        yield Found("encryption", "warning", problem, "`tracecli ingest --once` goes on with it.")
    elif on:
        yield Well("encryption", "it is on, and all content is encrypted with the newest key")


def _database(home: Home, policies: Path) -> Iterator[Found | Well]:
    from tracecli.store.connection import opened

    try:
        with opened(home):
            pass
    except FileNotFoundError:
        return
    yield from ()


def _spool(home: Home, policies: Path) -> Iterator[Found | Well]:
    from tracecli import spool

    for path in spool.strange(home.spool):
        yield Found(
            "spool", "warning", f"{path} is no segment of ours, and is left alone", "Look at it, and remove it."
        )
    waiting = [path for path in spool.segments(home.spool) if spool.is_finished(path)]
    ages = []
    for path in waiting:
        try:
            ages.append(time.time() - path.stat().st_mtime)
        except FileNotFoundError:  # ingested this moment
            continue
    if ages and max(ages) > _WAITING_S:
        problem = f"{len(ages)} segments wait to be loaded, the oldest for {max(ages) / 60:.0f} minutes"
        yield Found("spool", "error", problem, f"`tracecli ingest --once` loads them; {home.ingest_log} says why not.")


def _quarantine(home: Home, policies: Path) -> Iterator[Found | Well]:
    try:
        kept = [path for path in home.quarantine.iterdir() if not path.name.startswith(".")]
    except FileNotFoundError:
        return
    if kept:
        size = sum(path.stat().st_size for path in kept)
        problem = f"{len(kept)} stretches of the spool could not be read ({size:,} bytes, in {home.quarantine})"
        yield Found(
            "quarantine", "warning", problem, f"{home.ingest_log} says why; remove them if you do not need them."
        )


def _ingest(home: Home, policies: Path) -> Iterator[Found | Well]:
    from tracecli.ingest import Status

    try:
        status = msgspec.json.decode(home.status.read_bytes(), type=Status)
    except FileNotFoundError:
        return
    except msgspec.DecodeError:
        yield Found("ingest", "warning", f"{home.status} is damaged", "The next ingest writes it anew.")
        return
    if status.last_error:
        yield Found("ingest", "error", f"ingest failed: {status.last_error}", f"See {home.ingest_log}.")


def _authority(home: Home, policies: Path) -> Iterator[Found | Well]:
    path = home.mitmproxy / "mitmproxy-ca-cert.pem"
    if not path.exists():
        if home.root.exists():
            problem = f"there is no certificate authority in {home.mitmproxy} yet"
            yield Found("authority", "warning", problem, "The first start of `tracecli proxy` makes it.")
        else:
            yield Well("authority", "there is none yet; the first start makes it")
        return
    from cryptography import x509

    try:
        ends = x509.load_pem_x509_certificate(path.read_bytes()).not_valid_after_utc
    except ValueError:
        yield Found("authority", "error", f"{path} is no certificate", "Move the folder away; the proxy makes another.")
        return
    left = ends - dt.datetime.now(dt.UTC)
    if left < _EXPIRING:
        over = left < dt.timedelta(0)
        problem = f"the certificate authority {path} {'expired' if over else 'expires'} at {ends:%Y-%m-%d}"
        remedy = f"Move {home.mitmproxy} away, start the proxy, and have clients trust the new one."
        yield Found("authority", "error" if over else "warning", problem, remedy)
    elif not home.ca_bundle.exists():
        problem = f"{home.ca_bundle}, which clients trust, is not there"
        yield Found("authority", "warning", problem, "The next start of the proxy writes it.")
    else:
        yield Well("authority", f"it is good until {ends:%Y-%m-%d}")


CHECKS: Mapping[Check, str] = {
    surroundings.versions: "they fit together",
    _home: "it is private, and can be written to",
    surroundings.disk: "there is room",
    _policies: "they are valid",
    _encryption: "it is off",
    _database: "it can be read",
    _spool: "nothing waits for long",
    _ingest: "it has not failed",
    _quarantine: "it is empty",
    _authority: "it is good",
    surroundings.trust: "there is no authority yet",
    surroundings.proxies: "they take calls",
    surroundings.clock: "nothing is of the future",
    surroundings.transparent: "not in use",
}
"""The checks, and what is so where they find nothing."""
