"""Variables as a shell, a dotenv file or docker's `--env-file` takes them. Pure."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Iterator, Mapping

from tracecli.errors import ConfigError

EVALUATED = ("bash", "zsh", "fish", "powershell")
"""Shells, which evaluate what is printed."""
FORMS = (*EVALUATED, "dotenv", "docker")

_PLAIN = re.compile(r"[A-Za-z0-9_@%+=:,./~-]*")
_POWERSHELL_QUOTES = re.compile("(['\u2018\u2019\u201a\u201b])")
"""It takes typographic ones for the same: about_Quoting_Rules of its documentation."""


def assignments(form: str, values: Mapping[str, str]) -> Iterator[str]:
    """A line for each variable. Raises ConfigError for a value that the form cannot hold."""
    for name, value in values.items():
        match form:
            case "fish":
                yield f"set -gx {name} {_fish(value)}"
            case "powershell":
                yield f"$env:{name} = {_powershell(value)}"
            case "dotenv":
                yield f"{name}={_dotenv(name, value)}"
            case "docker":
                yield f"{name}={_one_line(name, value)}"
            case _:
                yield f"export {name}={shlex.quote(value)}"


def removals(form: str, names: Iterable[str]) -> Iterator[str]:
    """A line for each variable that is to go; for shells."""
    for name in names:
        match form:
            case "fish":
                yield f"set -e {name}"
            case "powershell":
                yield f"Remove-Item Env:{name} -ErrorAction SilentlyContinue"
            case _:
                yield f"unset {name}"


def of_program(path: str) -> str:
    """The form for a shell by its path: `/usr/bin/fish`; what nobody knows takes what bash takes."""
    name = path.rpartition("/")[2]
    return {"pwsh": "powershell"}.get(name, name if name in EVALUATED else "bash")


def _fish(value: str) -> str:
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _powershell(value: str) -> str:
    return "'" + _POWERSHELL_QUOTES.sub(r"\1\1", value) + "'"


def _dotenv(name: str, value: str) -> str:
    """Plain, or in single quotes, within which every reader takes all as it is."""
    _one_line(name, value)
    if _PLAIN.fullmatch(value):
        return value
    if "'" not in value:
        return f"'{value}'"
    if '"' not in value and "\\" not in value and "$" not in value and "`" not in value:
        return f'"{value}"'
    raise ConfigError(f"a dotenv file cannot hold the value of {name}", "Take the quotes out of it.")


def _one_line(name: str, value: str) -> str:
    if "\n" in value or "\r" in value:
        raise ConfigError(f"the value of {name} has more than one line", "Give it one.")
    return value
