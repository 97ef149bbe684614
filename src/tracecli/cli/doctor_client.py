"""`tracecli doctor client`: a test call with a client's own stack, and whether it is recorded as it should be."""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import shutil
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click
import msgspec

from tracecli.cli import attributing, output
from tracecli.clients.calls import CALLERS, Call, Caller
from tracecli.clients.table import CLIENTS
from tracecli.errors import CommandNotFound

if TYPE_CHECKING:
    from tracecli.demo.standin import Served
    from tracecli.demo.trial import Trial
    from tracecli.exchange import Row

BROKEN = 7
_VERSION_S = 30.0
_ANSWERED = (200, 101)
"""101 opens a WebSocket, and is the status of every call on it."""
_TOOLS = {
    "PYENV_ROOT": ".pyenv",
    "ASDF_DATA_DIR": ".asdf",
    "MISE_DATA_DIR": ".local/share/mise",
    "VOLTA_HOME": ".volta",
    "RBENV_ROOT": ".rbenv",
    "PYTHONUSERBASE": ".local",
}
"""Where programs are installed that look for themselves below the home directory, which is another one here."""
_KEPT = ("PATH", "LANG", "LC_ALL", "TERM", "PYENV_VERSION", "VIRTUAL_ENV")


type Came = Literal["past", "untrusting", "reached"]
"""Past the proxy; to it, and no further for it did not trust it; through it."""


class Tried(msgspec.Struct):
    """A test call, and what became of it."""

    stack: str
    version: str | None
    kind: str
    recorded: bool
    model: str | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    problem: str | None = None
    remedy: str | None = None


@click.command("client")
@click.argument("name", type=click.Choice(list(CALLERS)), metavar="NAME")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(name: str, as_json: bool) -> int | None:
    """Make test calls with a client's own stack, and see whether they are recorded.

    NAME is python, node, curl, claude, codex, gemini, aider or boto3: the program of that name on your PATH. Of python
    urllib calls, and requests, httpx, openai and websockets if they are installed.

    It calls a stand-in provider on this machine through a proxy, both there for as long as this takes. It takes no key,
    and gets a home directory and an environment of its own, so that neither your settings nor your records change.

    The exit code is 7 if a call is not recorded as it should be, 127 if the client is not installed.
    """
    caller = CALLERS[name]
    given = attributing.of_the_program()
    program = _program(caller, given)
    from tracecli.demo.trial import trial

    output.say("Starting a stand-in provider and a proxy ...")
    with trial() as stage:
        version, tried = try_all(stage, caller, program, given)
    broken = any(one.problem for one in tried)
    _show(name, program, version, tried, old=_too_old(caller, version), as_json=as_json)
    return BROKEN if broken else None


def try_all(stage: Trial, caller: Caller, program: str, given: Mapping[str, str]) -> tuple[str | None, list[Tried]]:
    """The program's version, and its test calls, one after the other. Raises CommandNotFound if it can make none."""
    clean = _clean(given, stage.folder)
    version = _version(program, clean)
    stacks = _stacks(caller, program, clean)
    calls = [call for call in caller.calls if call.module is None or call.module in stacks]
    if not calls:
        raise CommandNotFound(f"{program} has no {caller.name}", f"`{caller.get}`, and try again.")
    tried = []
    for call in calls:
        output.say(f"  {call.stack}, {call.kind}")
        tried.append(_try(stage, program, caller, call, clean, stacks.get(call.stack) or version))
    return version, tried


def _program(caller: Caller, given: Mapping[str, str]) -> str:
    for name in caller.programs:
        if found := shutil.which(name, path=given.get("PATH")):
            return found
    wanted = " or ".join(caller.programs)
    raise CommandNotFound(f"there is no {wanted} on PATH", f"`{caller.get}`." if caller.get else "Install it.")


def _clean(given: Mapping[str, str], folder: Path) -> dict[str, str]:
    """The least that programs run with: nothing of it says who the user is, or what is set."""
    kept = {name: given[name] for name in _KEPT if name in given}
    before = Path(given.get("HOME") or Path.home())
    for name, below in _TOOLS.items():
        if name in given or (before / below).is_dir():
            kept[name] = given.get(name) or str(before / below)
    return kept | {"HOME": str(folder), "TMPDIR": str(folder)}


def _version(program: str, clean: Mapping[str, str]) -> str | None:
    said = _asked([program, "--version"], clean)
    found = re.search(r"\d+(\.\d+)+", said)
    return found[0] if found else None


def _asked(words: Sequence[str], clean: Mapping[str, str]) -> str:
    """What a program prints; empty if it fails."""
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        return subprocess.run(  # noqa: S603 - the user's own program
            words, env=clean, cwd=clean["HOME"], input="", capture_output=True, text=True, errors="replace",
            timeout=_VERSION_S, check=False,
        ).stdout  # fmt: skip
    return ""


def _stacks(caller: Caller, program: str, clean: Mapping[str, str]) -> dict[str, str]:
    """The versions of the distributions that a Python has, of those that matter."""
    wanted = sorted({call.module for call in caller.calls if call.module})
    if not wanted:
        return {}
    source = (
        "import importlib.metadata as m, json\n"
        f"print(json.dumps({{d.metadata['Name'].lower(): d.version for d in m.distributions()"
        f" if (d.metadata['Name'] or '').lower() in {wanted!r}}}))"
    )
    with contextlib.suppress(ValueError):
        found: dict[str, str] = json.loads(_asked([program, "-c", source], clean))
        return found
    return {}


def _too_old(caller: Caller, version: str | None) -> str | None:
    """What to say of a version that cannot do it."""
    if version is None or tuple(map(int, version.split("."))) >= caller.at_least:
        return None
    wanted = ".".join(map(str, caller.at_least))
    return f"{caller.name} {version} is too old: it has to be {wanted} or newer"


def _try(
    stage: Trial, program: str, caller: Caller, call: Call, clean: Mapping[str, str], version: str | None
) -> Tried:
    from tracecli import browse
    from tracecli.proxy.using import Reached

    user = f"{call.stack} {call.kind} {secrets.token_hex(4)}"  # each call has its own, so that its record is found
    password = attributing.password(stage.home, attributing.ticket(stage.home, clean, user, None, None))
    reached = Reached("127.0.0.1", stage.port, stage.home.mitmproxy / "mitmproxy-ca-cert.pem", None)
    url = reached.url(attributing.PROXY_USER, password)
    environment = {**clean, **caller.environment, **attributing.environment(clean, url, stage.home.ca_bundle)}
    served, before = len(stage.provider.served), len(stage.proxy.said())
    code, last = _run([program, *call.words], environment, stage.folder, caller.takes_s)
    reached.come_round()
    rows = [row for row in browse.latest(stage.home, 1000) if row.user == user]
    now = stage.provider.served[served:]
    tried = Tried(call.stack, version, call.kind, recorded=False)
    if one := next((row for row in rows if row.request_model == call.model and row.status in _ANSWERED), None):
        tried.recorded = True
        tried.model, tried.input_tokens, tried.output_tokens = one.request_model, one.input_tokens, one.output_tokens
    said = stage.proxy.said()[before:]
    reached_it = said.count(" client connect") > 1  # one is ours, to have it come round
    came: Came = "untrusting" if "TLS handshake failed" in said else "reached" if reached_it else "past"
    tried.problem, tried.remedy = judge(call, code, last, now, rows, came)
    return tried


def _run(words: Sequence[str], environment: Mapping[str, str], folder: Path, takes_s: float) -> tuple[int | None, str]:
    """A program's exit code, None if it was given up, and the last line that it wrote. Nothing of it is left."""
    process = subprocess.Popen(  # noqa: S603 - the user's own program
        words,
        env=dict(environment),
        cwd=folder,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        written, _ = process.communicate(timeout=takes_s)
        code: int | None = process.returncode
    except subprocess.TimeoutExpired:
        code = None
    finally:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
    if code is None:
        written, _ = process.communicate()
    lines = [line.strip() for line in written.decode("utf-8", "replace").splitlines() if line.strip()]
    return code, lines[-1][:300] if lines else ""


def judge(
    call: Call, code: int | None, last: str, served: Sequence[Served], rows: Sequence[Row], came: Came
) -> tuple[str | None, str | None]:
    """What is wrong with a test call, and the remedy; None, None: nothing.

    `code` is the program's exit code, None if it was given up, and `last` the last line that it wrote; `served` is what
    the stand-in answered, `rows` what was recorded, `came` how far it came where nothing was answered.
    """
    about = next(client for client in CLIENTS if client.name == call.client)
    ended = "did not end" if code is None else f"ended with code {code}"
    words = f"; its last words: {last}" if last else ""
    if not any(one.model == call.model and one.stream == call.streams for one in served):
        if came == "untrusting":
            reads = f"It reads {', '.join(about.authorities)}. " if about.authorities else ""
            return (
                f"it does not trust the proxy's authority{words}",
                f"{reads}{about.needs} `tracecli ca install` has the system trust it. See {about.source}".lstrip(),
            )
        if came == "past":
            reads = f"It reads {', '.join(about.proxy)}" if about.proxy else "It reads no variable"
            return (
                f"it did not come to the proxy, and {ended}{words}",
                f"{reads}; a setting of its own may go before. {about.needs} See {about.source}".replace(".  ", ". "),
            )
        return f"it made no {call.kind} call to {call.model}, and {ended}{words}", "See what it says, run by hand."
    for one in served:
        if not any(_is_of(row, one) for row in rows):
            there = ", ".join(_recorded(row) for row in rows) or "nothing"
            wanted = f"{one.model} with {one.tokens_in:,} tokens in and {one.tokens_out:,} out"
            return f"it called {wanted}, and what is recorded is {there}", "Please report it."
    if code != 0:
        return f"its calls were recorded, and it {ended}{words}", "See what it says, run by hand."
    return None, None


def _is_of(row: Row, one: Served) -> bool:
    return (
        (row.request_model, row.stream or False, row.outcome) == (one.model, one.stream, "complete")
        and (row.input_tokens, row.output_tokens) == (one.tokens_in, one.tokens_out)
        and row.host == one.host
        and row.status in _ANSWERED
    )


def _recorded(row: Row) -> str:
    return f"{row.request_model} with {row.input_tokens} tokens in and {row.output_tokens} out ({row.outcome})"


def _show(
    name: str, program: str, version: str | None, tried: Sequence[Tried], *, old: str | None, as_json: bool
) -> None:
    if as_json:
        healthy = not any(one.problem for one in tried)
        told = {"client": name, "program": program, "version": version, "healthy": healthy, "too_old": old}
        output.json(told | {"calls": msgspec.to_builtins(tried)})
        return
    from tracecli.tables import visible

    lines = [f"{name}: {program}{f' {version}' if version else ''}", *([f"{old}."] if old else [])]
    for one in tried:
        stack = f"{one.stack}{f' {one.version}' if one.version else ''}, {one.kind}:"
        if one.problem:
            lines.append(f"{stack} error: {one.problem}. {one.remedy}")
        else:
            tokens = f"{one.input_tokens:,} tokens in, {one.output_tokens:,} out"
            lines.append(f"{stack} recorded, {one.model}, {tokens}")
    lines = [f"{'  ' if number else ''}{visible.line(line)}" for number, line in enumerate(lines)]
    output.listing(lines, lines)
