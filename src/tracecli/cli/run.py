"""`tracecli run`: a program whose calls are recorded, without any other change."""

from __future__ import annotations

import contextlib
import datetime as dt
import os
import re
import secrets
import shlex
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tracecli import config, foreground
from tracecli.cli import attributing, output
from tracecli.clients import variables
from tracecli.config import Home
from tracecli.errors import ConfigError, ProxyError, TracecliError

if TYPE_CHECKING:
    from tracecli.clients.variables import Upstream
    from tracecli.launching import Launched
    from tracecli.proxy.using import Reached
    from tracecli.store.statistics import Group

_SCRIPT = re.compile(r"\.(py|[mc]?js|[mc]?ts|rb|php|sh|pl)$")


@click.command("run", context_settings={"allow_interspersed_args": False})
@attributing.options
@click.option("--local", is_flag=True, help="Take calls to this machine through the proxy too, as to Ollama.")
@click.option(
    "--proxy-args",
    default="",
    metavar="TEXT",
    help="Start a proxy with these options of `tracecli proxy`, as `--host NAME`.",
)
@click.option(
    "--report", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE", help="Write the sums as JSON, too."
)
@click.option("-q", "--quiet", is_flag=True, help="Say nothing at the end.")
@click.argument("command", nargs=-1, required=True, metavar="COMMAND...", type=click.UNPROCESSED)
def command(
    user: str | None,
    policy: str | None,
    session: str | None,
    local: bool,
    proxy_args: str,
    report: Path | None,
    quiet: bool,
    command: tuple[str, ...],
) -> int:
    """Run a program, and record its calls to AI providers.

    Uses the proxy that runs for the home, or starts one for as long as COMMAND runs. COMMAND gets the variables that
    clients are known to read for a proxy and its authority (`tracecli env` shows them), and this terminal, signals and
    all. Its exit code is that of `tracecli run`, 128 and the number of a signal that ended it. At the end one line on
    standard error sums up its calls.

    The calls are of a session of their own. Without --user they belong to whom the API's field or the key says.

    Where HTTPS_PROXY names a proxy, calls go out through it. Hosts in NO_PROXY go past the proxy, and so does this
    machine. A program that clears its environment, or takes no proxy from it, is not recorded.
    """
    given = attributing.of_the_program()
    file = foreground.program(command[0], given)
    home = config.home()
    words = _split(proxy_args)
    told = attributing.ticket(home, given, user, policy, session or _session_of(command))
    home.prepare()
    started = dt.datetime.now(dt.UTC)
    with _Proxy(home, given, words, told).used() as proxy:
        attributing.check_policy(home, proxy.reached.policies, told.policy)
        attributing.warn_of_exemptions(given)
        with _bundle(home, given, proxy.reached.authority) as bundle:
            password = attributing.password(home, told)
            url = proxy.reached.url(attributing.PROXY_USER, password)
            environment = given | attributing.environment(given, url, bundle, loopback_too=local)
            began = time.monotonic()
            code = foreground.run(file, command, environment)
            took_s = time.monotonic() - began
        with contextlib.suppress(KeyboardInterrupt):  # whoever does not want to wait for the sums
            left = proxy.finish(password)
            if not quiet or report:
                _tell(home, told.session or "", started, took_s, code, left, quiet=quiet, report=report)
    return code


def _split(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError as error:
        raise ConfigError(f"--proxy-args {text!r}: {error}", "Quote it as for a shell.") from error


def _session_of(command: Sequence[str]) -> str:
    """A name that no other run has, and that says what ran: of `python my_agent.py`, `my_agent-3f9a01bc`."""
    words = [Path(word).name for word in command[:2] if not word.startswith("-")]
    names = [_SCRIPT.sub("", word) for word in words[1:] if _SCRIPT.search(word)] or words
    return f"{re.sub(r'[^A-Za-z0-9_.-]+', '-', names[0] if names else 'run')[:40]}-{secrets.token_hex(4)}"


class _Proxy:
    """The proxy of a run."""

    reached: Reached

    def __init__(self, home: Home, given: Mapping[str, str], words: Sequence[str], told: attributing.Ticket) -> None:
        self._home = home
        self._given = given
        self._words = words
        self._told = told
        self._launched: Launched | None = None

    @contextlib.contextmanager
    def used(self) -> Iterator[_Proxy]:
        """One that runs, or one that is started and ends with the block."""
        from tracecli import authority
        from tracecli.proxy import using

        upstream = _upstream(self._home, self._given)
        if not self._words:
            login = attributing.PROXY_USER, attributing.password(self._home, self._told)
            if found := using.running_one(self._home, upstream, *login):
                self.reached = found
                yield self
                return
        policies = config.policy_folder(self._home)
        authority.check(self._home)
        roots = attributing.own_roots(self._home, self._given)
        with using.started_one(self._home, policies, self._words, upstream, roots) as (reached, launched):
            self.reached, self._launched = reached, launched
            yield self

    def finish(self, password: str) -> list[int]:
        """Wait for what is still to be recorded. Returns processes that lose the proxy with this."""
        if self._launched is None:
            self.reached.come_round()
            return []
        left = _holding(password)
        self._launched.end()
        return left


def _upstream(home: Home, given: Mapping[str, str]) -> Upstream | None:
    from tracecli.proxy import using

    found = variables.named(given)
    if found is not None and variables.is_one_of(found, using.addresses(home)):
        return None
    if found is not None and found.is_loopback and not using.listens(found.host, found.port):
        raise ProxyError(
            f"{found.variable} names a proxy on port {found.port} of this machine, where nothing listens",
            f"`unset {found.variable}`, or start what listened there.",
        )
    return found


@contextlib.contextmanager
def _bundle(home: Home, given: Mapping[str, str], authority: Path) -> Iterator[Path]:
    """The file of all authorities for the program: that of the home, or where the user names others one for the run."""
    whole = attributing.all_roots(home, given, authority)
    if home.ca_bundle.exists() and home.ca_bundle.read_bytes() == whole:
        yield home.ca_bundle
        return
    from tracecli import files

    _sweep(home)
    own = home.scratch / f"run-{os.getpid()}.pem"
    files.write_whole(own, whole)
    try:
        yield own
    finally:
        own.unlink(missing_ok=True)


def _sweep(home: Home) -> None:
    """Remove what runs have left that were killed."""
    for path in home.scratch.glob("run-[0-9]*.pem"):
        try:
            os.kill(int(path.stem.removeprefix("run-")), 0)
        except ProcessLookupError:
            path.unlink(missing_ok=True)
        except (ValueError, PermissionError):
            continue


def _holding(password: str) -> list[int]:
    """Processes of the program that are still there, with its environment; on Linux."""
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):
            if password.encode() in path.read_bytes():
                found.append(int(path.parent.name))
    return sorted(found)


@dataclass(frozen=True)
class _Sums:
    requests: int
    errors: int
    input_tokens: int | None
    output_tokens: int | None
    cost_usd: Any
    cost_unknown: int


def _tell(
    home: Home,
    session: str,
    started: dt.datetime,
    took_s: float,
    code: int,
    left: list[int],
    *,
    quiet: bool,
    report: Path | None,
) -> None:
    try:
        sums = _sums(home, session, started)
    except TracecliError as error:
        output.say(f"tracecli: what was recorded cannot be summed up: {error}")
        return
    if report is not None:
        _write_report(report, session, sums, took_s, code)
    if quiet:
        return
    if left:
        many = f"{len(left)} processes" if len(left) > 1 else "a process"
        output.say(
            f"tracecli: {many} that the command started ({', '.join(map(str, left))}) lost the proxy with this run; "
            "`tracecli proxy` runs one that stays."
        )
    output.say(f"tracecli: {_line(sums, session)}")


def _sums(home: Home, session: str, started: dt.datetime) -> _Sums:
    from tracecli import finding
    from tracecli.query import syntax

    since = syntax.term("since", started.isoformat())
    query = syntax.all_of([syntax.named("session", session), since])
    groups = finding.statistics(home, query, [], dt.datetime.now(dt.UTC))
    if not groups:
        return _Sums(0, 0, None, None, None, 0)
    one: Group = groups[0]
    return _Sums(one.requests, one.errors, one.input_tokens, one.output_tokens, one.cost_usd, one.cost_unknown)


def _line(sums: _Sums, session: str) -> str:
    from tracecli.tables import values

    if not sums.requests:
        return "no call to a provider came through the proxy; docs/clients.md says what each client needs."
    calls = "1 call" if sums.requests == 1 else f"{sums.requests:,} calls"
    failed = f" ({sums.errors:,} failed)" if sums.errors else ""
    tokens = f"{values.count(sums.input_tokens)} tokens in, {values.count(sums.output_tokens)} out"
    cost = values.money(sums.cost_usd) if sums.cost_usd is not None else "cost unknown"
    unknown = f" and {sums.cost_unknown:,} of unknown cost" if sums.cost_unknown and sums.cost_usd is not None else ""
    return f"{calls}{failed}, {tokens}, {cost}{unknown}. See them: tracecli usage session {shlex.quote(session)}"


def _write_report(file: Path, session: str, sums: _Sums, took_s: float, code: int) -> None:
    from tracecli import files
    from tracecli.exchange import plain_decimal

    told = {
        "session": session,
        "exit_code": code,
        "duration_ms": round(took_s * 1000),
        "requests": sums.requests,
        "errors": sums.errors,
        "input_tokens": sums.input_tokens,
        "output_tokens": sums.output_tokens,
        "cost_usd": None if sums.cost_usd is None else plain_decimal(sums.cost_usd),
        "cost_unknown": sums.cost_unknown,
    }
    try:
        files.write_whole(file, output.json_text(told).encode())
    except OSError as error:
        output.say(f"tracecli: cannot write {file}: {error.strerror}. Name another file with --report.")
