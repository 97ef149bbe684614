"""The command line itself: what it lists, what it imports, and how it fails."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module
from importlib.util import find_spec
from types import SimpleNamespace

import click
import pytest

import tracecli
from tracecli.cli import main as cli_main
from tracecli.cli.main import EXIT_CODES, SECTIONS, cli, main, run
from tracecli.errors import TracecliError

COMMANDS = {name: text for commands in SECTIONS.values() for name, text in commands.items()}


@pytest.mark.parametrize("name", COMMANDS)
def test_short_help_is_the_commands_own(name: str) -> None:
    """The list of commands says what each command's own help begins with."""
    if find_spec(f"tracecli.cli.{name}") is None:
        pytest.skip(f"`{name}` is not written yet")
    command = import_module(f"tracecli.cli.{name}").command
    assert command.name == name
    assert (command.help or "").split("\n\n")[0].replace("\n", " ") == COMMANDS[name]
    assert len(COMMANDS[name]) <= 68, "or it is cut in the list"


def test_help_lists_every_command_and_exit_code(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The help is the same in a wide terminal, at most 80 columns, and names commands and exit codes."""
    monkeypatch.setenv("COLUMNS", "80")
    assert run(["--help"]) == 0
    at_80 = capsys.readouterr().out
    monkeypatch.setenv("COLUMNS", "300")
    assert run(["-h"]) == 0
    assert capsys.readouterr().out == at_80
    assert at_80.isascii()
    assert max(map(len, at_80.splitlines())) <= 80
    for name, text in COMMANDS.items():
        assert f"  {name}" in at_80
        assert text.rstrip(".") in at_80
    for code, meaning in EXIT_CODES.items():
        assert f"  {code}" in at_80
        assert meaning in at_80


def test_exit_codes_are_those_of_the_errors() -> None:
    """Every exit code of an error is documented in the help."""

    def tree(kind: type[TracecliError]) -> set[int]:
        return {kind.exit_code}.union(*(tree(below) for below in kind.__subclasses__()))

    assert tree(TracecliError) <= set(EXIT_CODES)


def test_help_imports_nothing_heavy() -> None:
    """`--help`, `--version` and `usage show --help` start without proxy, database or tables."""
    heavy = {"mitmproxy", "duckdb", "rich", "genai_prices", "openai", "anthropic", "tracecli.browse"}
    script = (
        "import sys; from tracecli.cli.main import run\n"
        "for args in (['--help'], ['--version'], ['usage', 'show', '--help']): assert run(args) == 0\n"
        f"print(sorted({heavy!r} & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert done.stderr.strip() == "[]"


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    """--version says the name and the version."""
    assert run(["--version"]) == 0
    assert capsys.readouterr().out == f"tracecli {tracecli.__version__}\n"


@pytest.mark.parametrize(
    "args",
    [
        ["usgae"],
        ["--nope"],
        ["usage", "shwo"],
        ["usage", "show", "--nope"],
        ["usage", "show", "--limit"],
        ["us\x1b[31mage"],
        ["\udc80"],
    ],
)
def test_a_wrong_command_line_is_one_sentence(args: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """What cannot be parsed is exit code 2 and one line that names the help, without acting on the terminal."""
    assert run(args) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("tracecli: ")
    assert "--help`" in err
    assert err.count("\n") == 1
    assert "\x1b" not in err


@pytest.mark.parametrize("args", [[], ["usage"]])
def test_a_group_alone_shows_its_help(args: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Without a command the help is shown, as an error as nothing was done."""
    assert run(args) == 2
    assert capsys.readouterr().err.startswith("Usage: tracecli")


def with_command(monkeypatch: pytest.MonkeyPatch, body: object) -> None:
    """Make `tracecli usage` run `body`."""
    monkeypatch.setattr(
        cli_main,
        "import_module",
        lambda _: SimpleNamespace(command=click.Command("usage", callback=body)),  # type: ignore[arg-type]
    )


def test_a_bug_names_its_place_and_no_content(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A bug is exit code 1 and a short message; what its message or its variables hold is not shown."""

    def body() -> None:
        secret = "sk-secret"
        tracecli.exchange.plain_decimal(secret)  # type: ignore[arg-type]

    import tracecli.exchange

    with_command(monkeypatch, body)
    assert run(["usage"]) == 1
    err = capsys.readouterr().err
    assert "bug in tracecli: ValueError in exchange.py, line " in err
    assert "sk-secret" not in err
    assert "Traceback" not in err


def test_debug_shows_the_traceback(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """--debug adds the traceback to a bug and to an expected error, escape sequences shown as text."""

    def bug() -> None:
        raise KeyError("\x1b[31m")

    def expected() -> None:
        raise TracecliError("no", "Try again.")

    for body, code in ((bug, 1), (expected, 1)):
        with_command(monkeypatch, body)
        assert run(["--debug", "usage"]) == code
        err = capsys.readouterr().err
        assert "Traceback (most recent call last)" in err
        assert "\x1b" not in err


@pytest.mark.parametrize(("error", "code"), [(KeyboardInterrupt, 130), (EOFError, 1)])
def test_an_interrupt_is_not_a_bug(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: type[BaseException], code: int
) -> None:
    """Ctrl-C is exit code 130 without a word; an EOFError, which click takes for one, is a bug."""

    def body() -> None:
        raise error

    with_command(monkeypatch, body)
    assert run(["usage"]) == code
    assert ("bug" in capsys.readouterr().err) is (code == 1)


def test_a_command_may_have_its_own_exit_code(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a command returns as a number, or exits with, is the exit code."""
    with_command(monkeypatch, lambda: 7)
    assert run(["usage"]) == 7
    with_command(monkeypatch, lambda: click.get_current_context().exit(8))
    assert run(["usage"]) == 8
    with_command(monkeypatch, lambda: None)
    with pytest.raises(SystemExit) as exited:
        main(["usage"])
    assert exited.value.code == 0


def test_commands_come_in_sections() -> None:
    """Every command is listed once, in the order of the help."""
    names = [name for commands in SECTIONS.values() for name in commands]
    assert cli.list_commands(click.Context(cli)) == names == list(COMMANDS)
