"""The rules that flag exchanges, from `flags/` in the policy folder: each file read whole, checked whole, or refused.

Rules do not depend on each other: a file that is wrong costs no more than its own rule.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

from tracecli import flags
from tracecli.errors import ConfigError
from tracecli.flags import Rule, Rules
from tracecli.policy import files
from tracecli.policy.files import FLAGS, FileError, Stamp, line_of, listed, parsed, stamped, text_of

log = logging.getLogger(__name__)

_REMEDY = "Correct the file; a running ingest goes by what it said before until then."


def load(folder: Path) -> Rules:
    """The rules of a policy folder. Raises FileError for the first file that is wrong, ConfigError as `listed` does."""
    return Rules([read(path) for path in paths(folder)])


def load_some(folder: Path) -> tuple[Rules, list[ConfigError]]:
    """The rules of a policy folder whose files are right, and what is wrong with the others."""
    found: list[Rule] = []
    wrong: list[ConfigError] = []
    try:
        for path in paths(folder):
            try:
                found.append(read(path))
            except FileError as error:
                wrong.append(error)
    except ConfigError as error:
        wrong.append(error)
    return Rules(found), wrong


def paths(folder: Path) -> list[Path]:
    """The files of rules in a policy folder, by name. Raises ConfigError if they cannot be listed."""
    return sorted(Path(entry.path) for entry in listed(folder / FLAGS, ""))


def read(path: Path) -> Rule:
    """The rule of a file. Raises FileError for the first thing that is wrong."""
    found, wrong = _checked(path)
    if found is None:
        raise wrong[0]
    return found


def problems(path: Path) -> list[FileError]:
    """Everything that is wrong with a file."""
    return _checked(path)[1]


def _checked(path: Path) -> tuple[Rule | None, list[FileError]]:
    place, name = str(path), path.stem
    try:
        text = text_of(place)
        table = parsed(place, text)
    except FileError as error:
        remedy = _REMEDY if error.remedy == files.REMEDY else error.remedy
        return None, [FileError(place, error.what, remedy, line=error.line)]
    wrong = [FileError(place, problem, "Rename the file.") for problem in _name_problems(name)]
    wrong += [
        FileError(place, one.problem, _REMEDY, key=one.key, line=line_of(text, one.key) if one.key else None)
        for one in flags.problems(name, table)
    ]
    return (None if wrong else flags.rule(name, table, place)), wrong


def _name_problems(name: str) -> Iterator[str]:
    if problem := flags.name_problem(name):
        yield problem


class Watched:
    """The rules of a policy folder, read again when files change.

    A file that is wrong changes nothing, and is logged: its rule goes on as it was, or is left out if it was never
    right.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._stamps: dict[Path, Stamp | None] | None = {}
        self._held: dict[Path, Rule | None] = {}
        self._rules = Rules()
        self.current()

    def current(self) -> Rules:
        """The rules that hold now."""
        try:
            stamps = {Path(entry.path): stamped(entry) for entry in listed(self._folder / FLAGS, "")}
        except ConfigError as error:
            if self._stamps is not None:
                self._stamps = None
                log.warning("rules stay as they were: %s", error)
            return self._rules
        if stamps != self._stamps:
            known, self._stamps = self._stamps or {}, stamps
            held = {path: self._held.get(path) for path in stamps}
            for path in sorted(stamps):
                if path not in known or known[path] != stamps[path]:
                    held[path] = self._read(path, held[path])
            self._held = held
            self._rules = Rules([one for one in held.values() if one is not None])
            log.info("%d rules flag what is recorded", len(self._rules.rules))
        return self._rules

    def _read(self, path: Path, before: Rule | None) -> Rule | None:
        try:
            return read(path)
        except FileError as error:
            what = "stays as it was" if before else "is left out"
            log.warning("the rule %s %s: %s", path.stem, what, error)
            return before
