"""The datasets of a home: a folder for each, in it one for each version.

`dataset.toml` is the definition, `chosen.txt` the ids that it chose when it was made, a line each, and `notes.md` what
people note of it (`notes.py`). What is built stands beside them (`building.py`); `copies.json` names the folders
elsewhere to which it was built too.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import batched, islice
from pathlib import Path

import msgspec

from tracecli import files
from tracecli.config import PRIVATE_FOLDER, Home
from tracecli.datasets import definition as definitions
from tracecli.datasets import notes
from tracecli.datasets.definition import Definition, name_problem
from tracecli.datasets.manifest import Manifest
from tracecli.errors import ConfigError, DatasetError
from tracecli.policy.files import FileError, line_of, parsed, text_of
from tracecli.policy.rules import PolicyError

MANIFEST = "manifest.json"
COPIES = "copies.json"
_REMEDY = "Correct the file."
_REFERENCE = re.compile(r"(?P<name>[^@]+)(?:@(?P<version>[0-9]{1,9}))?")
_AT_ONCE = 10_000


@dataclass(frozen=True)
class Version:
    """A version of a dataset: its definition, and what it chose."""

    name: str
    number: int
    folder: Path

    @property
    def reference(self) -> str:
        """How commands name it."""
        return f"{self.name}@{self.number}"

    @property
    def file(self) -> Path:
        """Its definition."""
        return self.folder / "dataset.toml"

    @property
    def chosen_file(self) -> Path:
        """The ids that it chose."""
        return self.folder / "chosen.txt"

    @property
    def dropped_file(self) -> Path:
        """What was chosen and became no example, as JSON Lines; there once it is built."""
        return self.folder / "dropped.jsonl"

    def definition(self) -> Definition:
        """Raises FileError if somebody broke it, ConfigError if it cannot be read."""
        return read_definition(self.file)

    def chosen(self) -> Iterator[list[str]]:
        """The ids, in time order, some at a time."""
        with self.chosen_file.open(encoding="ascii") as lines:
            for some in batched(lines, _AT_ONCE):
                yield [line.strip() for line in some]

    def count(self) -> int:
        """How many ids it chose."""
        return sum(len(some) for some in self.chosen())

    def ids_sha256(self) -> str:
        """Of the ids, a line each."""
        with self.chosen_file.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def manifest(self) -> Manifest | None:
        """What was built; None: nothing yet."""
        return read_manifest(self.folder)

    def copies(self) -> list[Path]:
        """The folders elsewhere to which it was built."""
        try:
            return [
                Path(path) for path in msgspec.json.decode((self.folder / "copies.json").read_bytes(), type=list[str])
            ]
        except (FileNotFoundError, msgspec.DecodeError):
            return []

    def note_copy(self, folder: Path) -> None:
        """Remember a folder elsewhere, for who erases."""
        every = dict.fromkeys([*map(str, self.copies()), str(folder)])
        files.write_whole(self.folder / COPIES, msgspec.json.encode(list(every)))

    @contextlib.contextmanager
    def locked(self) -> Iterator[tuple[int, int]]:
        """Nobody else writes ids down, or puts built files into their place; tells one writing of the ids from another.

        Raises OSError.
        """
        file = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
            about = self.chosen_file.stat()
            yield about.st_ino, about.st_mtime_ns
        finally:
            os.close(file)

    def choose(self, ids: Iterable[str]) -> None:
        """Write down ids, which are in time order."""
        with files.drafted(self.chosen_file) as draft, draft.open("w", encoding="ascii") as file:
            file.writelines(f"{identifier}\n" for identifier in ids)


def read_definition(path: Path) -> Definition:
    """The definition that a file holds. Raises FileError for the first thing that is wrong."""
    place = str(path)
    text = text_of(place)
    try:
        return definitions.definition(path.name, parsed(place, text))
    except PolicyError as error:
        line = line_of(text, error.key) if error.key else None
        raise FileError(place, error.problem, _REMEDY, key=error.key, line=line) from error
    except FileError as error:
        raise FileError(place, error.what, _REMEDY, line=error.line) from error


def read_manifest(folder: Path) -> Manifest | None:
    """What was built in a folder; None: nothing."""
    try:
        return msgspec.json.decode((folder / MANIFEST).read_bytes(), type=Manifest)
    except (FileNotFoundError, msgspec.MsgspecError):
        return None


def names(home: Home) -> list[str]:
    """The datasets of a home, by name."""
    try:
        found = sorted(path.name for path in home.datasets.iterdir() if path.is_dir())
    except FileNotFoundError:
        return []
    return [name for name in found if name_problem(name) is None and versions(home, name)]


def versions(home: Home, name: str) -> list[Version]:
    """The versions of a dataset, the first one first."""
    folder = home.datasets / name
    try:
        numbers = sorted(int(path.name) for path in folder.iterdir() if path.name.isdecimal())
    except FileNotFoundError:
        return []
    found = [Version(name, number, folder / str(number)) for number in numbers]
    return [one for one in found if one.file.is_file()]


def version(home: Home, reference: str) -> Version:
    """The version that `NAME@2` names, or the last one that `NAME` does. Raises DatasetError if there is none."""
    match = _REFERENCE.fullmatch(reference)
    found = versions(home, match["name"]) if match and name_problem(match["name"]) is None else []
    if not match or not found:
        known = names(home)
        told = f"There are: {', '.join(known)}." if known else "Make one with `tracecli dataset create`."
        raise DatasetError(f"there is no dataset {reference!r}", told)
    if match["version"] is None:
        return found[-1]
    for one in found:
        if one.number == int(match["version"]):
            return one
    raise DatasetError(f"{match['name']} has no version {match['version']}", f"The last one is {found[-1].number}.")


def make(home: Home, name: str, one: Definition, ids: Iterable[str]) -> Version:
    """Write down a new version of a dataset. Raises ConfigError for its name, HomeError or OSError."""
    if problem := name_problem(name):
        raise ConfigError(f"{name!r}: {problem}", "Name it otherwise.")
    home.prepare()
    number = versions(home, name)[-1].number + 1 if versions(home, name) else 1
    folder = home.datasets / name
    for path in (home.datasets, folder):
        path.mkdir(mode=PRIVATE_FOLDER, exist_ok=True)
    # What is half made has no definition yet, and is none.
    made = Version(name, number, folder / str(number))
    with contextlib.suppress(FileExistsError):
        made.folder.mkdir(mode=PRIVATE_FOLDER)
    made.choose(ids)
    notes.lay_out(made.folder)
    files.write_whole(made.file, definitions.text_of(one).encode())
    return made


def delete(home: Home, name: str, numbers: Iterable[int]) -> None:
    """Remove versions of a dataset, with what was built in the home. Raises OSError."""
    folder = home.datasets / name
    for number in numbers:
        (folder / str(number) / "dataset.toml").unlink(missing_ok=True)
        shutil.rmtree(folder / str(number))
    if not any(islice(folder.iterdir(), 1)):
        folder.rmdir()
