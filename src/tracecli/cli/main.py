"""The `tracecli` command: which commands there are, and the one boundary where errors become words and exit codes.

A command's module is imported when the command runs, not before: `usage show` starts without mitmproxy, `--help`
without any of them.
"""

from __future__ import annotations

import os
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import NoReturn

import click

import tracecli
from tracecli import access, config, ledger
from tracecli.cli import output, progress
from tracecli.errors import OF_THE_MACHINE, HomeError, TracecliError

SECTIONS = {
    "First steps": {"demo": "See it work on a stand-in provider, without an API key."},
    "Recording": {
        "run": "Run a program, and record its calls to AI providers.",
        "env": "Print the variables that take a program's calls to the proxy.",
        "ca": "Show and install the authority that clients have to trust.",
        "proxy": "Run the proxy: record calls to AI providers, pass all else.",
        "transparent": "Have the firewall send connections to the proxy. Linux.",
        "ingest": "Load recorded exchanges from the spool into the store.",
    },
    "Reading": {
        "usage": "Look at what was recorded: requests, tokens, cost.",
        "ui": "Browse what was recorded, in the terminal: find as you type.",
        "sql": "Ask with SQL what was recorded, and change nothing.",
        "export": "Hand what was recorded to other tools.",
        "coverage": "Show what was not seen, or not whole, and what to do about it.",
    },
    "Training": {"dataset": "Make training files of what was recorded."},
    "Policies": {
        "policy": "Say what is recorded and cached, and of whom.",
        "cache": "See what the response cache holds and saves, and what it would.",
        "user": "Register users who prove to the proxy who they are.",
        "flags": "Flag requests by rules: what was said, who said it to which model.",
    },
    "Cost": {
        "prices": "Show the prices in use, and where they are from.",
        "reprice": "Work out stored costs again, with the prices that hold now.",
        "reparse": "Read stored requests and answers again, as a new one would be.",
    },
    "Keeping": {
        "retention": "Say for how long records are kept, and remove what is over.",
        "redact": "See what redaction takes out, and take it out of the past.",
        "erase": "Erase requests for good: from all files, not only from lists.",
        "db": "Look after the store: its size and health, backups, less space.",
        "encryption": "Keep what was recorded encrypted on the disk.",
        "access": "Let others of this machine read: records, or also what was said.",
        "audit": "See who read which requests, and whether that was changed.",
    },
    "Help": {"doctor": "Look for what is broken, and say how to mend it."},
}
"""The commands as `--help` lists them: the first sentence of each one's own help, kept here to import none of them.

`tracecli.cli.NAME` holds the click command `command`.
"""

EXIT_CODES = {
    0: "done",
    1: "a bug in tracecli, or output that cannot be written",
    2: "a command line that cannot be understood",
    3: "an option, a policy file or a setting is wrong",
    4: "no recorded request matches, or several do",
    5: "the home, the database or the system's authorities cannot be used",
    6: "the proxy cannot start",
    7: "something broken was found, or something left that was to go",
    8: "no proxy is running",
    9: "an OpenTelemetry collector cannot be reached, or refuses",
    10: "the firewall cannot be set: no permission, no tool, or it refuses",
    11: "a dataset cannot be built: nothing fits, or too few examples are left",
    126: "`tracecli run`: the command cannot be executed",
    127: "`tracecli run`, `doctor client`: there is no such command",
    130: "interrupted",
}


@dataclass
class _Asked:
    """What the options before the command asked for."""

    debug: bool = False


class _Commands(click.Group):
    """Commands that are imported when they are used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [name for commands in SECTIONS.values() for name in commands]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.list_commands(ctx):
            return None
        command: click.Command = import_module(f"tracecli.cli.{cmd_name}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for title, commands in SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl([(name, text.rstrip(".")) for name, text in commands.items()])

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Exit codes"):
            formatter.write_dl([(str(code), meaning) for code, meaning in EXIT_CODES.items()])


@click.command(
    "tracecli", cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 80}
)
@click.version_option(tracecli.__version__, message="%(prog)s %(version)s")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
@click.pass_context
def cli(context: click.Context, debug: bool) -> None:
    """See what your AI calls sent, what came back and what it cost.

    Everything is kept in one folder, ~/.tracecli or TRACECLI_HOME.
    """
    context.obj.debug = debug
    ledger.Running.name = partial(_name_of, context)
    progress.begin(context.invoked_subcommand or "")


def _name_of(context: click.Context) -> str:
    """The name of the command that runs, as `usage show`, without its arguments; in a thread of it as far as known."""
    running = click.get_current_context(silent=True)
    names = []
    while running is not None and running.parent is not None:
        names.append(running.info_name or "")
        running = running.parent
    return " ".join(reversed(names)) or context.invoked_subcommand or ""


def main(args: Sequence[str] | None = None) -> NoReturn:
    """Run the command line `args` (default: the program's own) and exit."""
    output.use_utf8()
    raise SystemExit(run(args))


def run(args: Sequence[str] | None = None) -> int:
    """Run a command line and return its exit code; every error has been said on standard error.

    A command returns nothing, or an exit code of its own.
    """
    asked = _Asked()
    try:
        code = cli.main(args, prog_name="tracecli", standalone_mode=False, obj=asked)
        return code if isinstance(code, int) else 0
    except click.Abort as abort:  # click makes it of Ctrl-C, and of an EOFError too, which is none
        if not isinstance(abort.__cause__, EOFError):
            return 130
        return _bug(abort.__cause__, asked.debug)
    except click.exceptions.NoArgsIsHelpError as asking:
        output.say(asking.format_message())
        return asking.exit_code
    except click.ClickException as error:
        path = error.ctx.command_path if isinstance(error, click.UsageError) and error.ctx else "tracecli"
        output.say(f"tracecli: {error.format_message()} See `{path} --help`.")
        return error.exit_code
    except TracecliError as error:
        return _told(error, asked.debug)
    except OSError as error:
        refused = isinstance(error, PermissionError) or error.errno in OF_THE_MACHINE
        return _told(_refused(error), asked.debug) if refused and error.filename else _bug(error, asked.debug)
    except Exception as error:
        return _bug(error, asked.debug)
    finally:
        progress.end()


def _told(error: TracecliError, debug: bool) -> int:
    if debug:
        output.say("".join(traceback.format_exception(error)))
    output.say(f"tracecli: {error}")
    return error.exit_code


def _refused(error: OSError) -> TracecliError:
    """What the system does not do for this user, in a sentence; what is only known here was not expected before."""
    home, path = config.home(), Path(os.fsdecode(error.filename))
    refusal: TracecliError
    if isinstance(error, PermissionError) and home.foreign and path.is_relative_to(home.root):
        refusal = access.refused(home, path)
    else:
        remedy = OF_THE_MACHINE.get(error.errno or 0, "Give yourself the right to, or name another place.")
        refusal = HomeError(f"cannot use {path}: {error.strerror}", remedy)
    refusal.__cause__ = error
    return refusal


def _bug(error: BaseException, debug: bool) -> int:
    """Say where it happened, and no more: a message or a local variable may hold recorded content."""
    if debug:
        output.say("".join(traceback.format_exception(error)))
    ours = Path(tracecli.__file__).parent
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if ours in Path(frame.filename).parents]
    place = f" in {Path(frames[-1].filename).relative_to(ours)}, line {frames[-1].lineno}" if frames else ""
    output.say(
        f"tracecli: this is a bug in tracecli: {type(error).__name__}{place}. "
        "Please report it; `tracecli --debug ...` shows the traceback."
    )
    return 1
