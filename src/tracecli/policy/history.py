"""What was changed in the policy folder, when and by whom: an append-only journal of JSON lines in the home.

Beside the journal is what the folder looked like when it was last looked at; a change is the difference. Whoever looks
first notes it, under a lock, so that it is noted once: the command that made it, or the proxy that read it, in which
case it was made by hand. The first look at a folder notes nothing.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import fcntl
import json
import os
import pwd
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec

from tracecli import files
from tracecli.config import PRIVATE_FILE, Home
from tracecli.errors import HomeError
from tracecli.policy.files import File, FileError, Stamp, read

BY_HAND = "edited by hand"


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """What was changed in one file."""

    file: str
    """Its path."""
    kind: Literal["policy", "user"]
    name: str
    """Of the policy or the user."""
    event: Literal["created", "changed", "deleted"]
    changes: dict[str, tuple[Any, Any]]
    """Dotted keys, each with what it was and what it is; None: not there."""


class Entry(Change, frozen=True, kw_only=True):
    """A change that was noted."""

    at: dt.datetime
    by: str
    folder: str


class _Seen(msgspec.Struct, frozen=True):
    kind: Literal["policy", "user"]
    name: str
    stamp: Stamp | None
    values: dict[str, Any]


type _Folders = dict[str, dict[str, _Seen]]
_state = msgspec.json.Decoder(dict[str, dict[str, _Seen]])
_entry = msgspec.json.Decoder(Entry)


def note(home: Home, folder: Path, by: str = BY_HAND) -> None:
    """Note what changed in `folder` since somebody looked.

    Raises HomeError if the journal cannot be written, ConfigError if the folder cannot be read.
    """
    with _alone(home) as journal:
        _note(journal, home, folder, by)


@contextlib.contextmanager
def editing(home: Home, folder: Path) -> Iterator[None]:
    """Note what is changed while this lasts as the work of who runs this process. Raises as `note` does."""
    with _alone(home) as journal:
        _note(journal, home, folder, BY_HAND)
        try:
            yield
        finally:
            _note(journal, home, folder, _me())


def entries(home: Home, folder: Path) -> Iterator[Entry]:
    """What was noted of a folder, oldest first. A line that is damaged is left out.

    Raises HomeError if the journal cannot be read.
    """
    try:
        lines = home.policy_history.read_bytes().splitlines()
    except FileNotFoundError:
        return
    except OSError as error:
        raise HomeError(f"cannot read {home.policy_history}: {error.strerror}", "Make it readable.") from error
    for line in lines:
        with contextlib.suppress(msgspec.DecodeError):
            entry = _entry.decode(line)
            if entry.folder == str(folder):
                yield entry


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """A TOML table as dotted keys with JSON values."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        dotted = prefix + (key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else json.dumps(key))
        if isinstance(value, Mapping):
            found |= flat(value, f"{dotted}.")
        else:
            found[dotted] = msgspec.to_builtins(value)
    return found


def differing(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """The keys that are not the same, with what they were and what they are."""
    keys = (*before, *(key for key in after if key not in before))
    return {key: (before.get(key), after.get(key)) for key in keys if before.get(key) != after.get(key)}


@contextlib.contextmanager
def _alone(home: Home) -> Iterator[int]:
    """The journal, open for adding to it, and nobody else's until the end."""
    try:
        journal = os.open(home.policy_history, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, PRIVATE_FILE)
    except OSError as error:
        raise _unusable(home, error) from error
    try:
        fcntl.flock(journal, fcntl.LOCK_EX)
        yield journal
    finally:
        os.close(journal)


def _note(journal: int, home: Home, folder: Path, by: str) -> None:
    folders = _seen(home)
    was = folders.get(str(folder))
    now = _look(folder, was or {})
    if now == was:
        return
    at = dt.datetime.now(dt.UTC)
    found = [] if was is None else list(_differences(at, by, folder, was, now))
    folders[str(folder)] = now
    try:
        if found:
            torn = os.pread(journal, 1, max(0, os.fstat(journal).st_size - 1)) not in (b"", b"\n")
            os.write(journal, b"\n" * torn + b"".join(msgspec.json.encode(entry) + b"\n" for entry in found))
        files.write_whole(_state_file(home), msgspec.json.encode(folders))
    except OSError as error:
        raise _unusable(home, error) from error


def _look(folder: Path, was: Mapping[str, _Seen]) -> dict[str, _Seen]:
    wrong: list[FileError] = []
    known = {path: File(path, seen.stamp, seen.values) for path, seen in was.items()}
    found = read(folder, wrong.append, known)
    now = {error.path: was[error.path] for error in wrong if error.path in was}
    for kind, part in (("policy", found.policies), ("user", found.users)):
        for name, file in part.items():
            same = file is known.get(file.path)
            values = file.table if same else flat(file.table)
            now[file.path] = _Seen("policy" if kind == "policy" else "user", name, file.stamp, values)
    return now


def _differences(
    at: dt.datetime, by: str, folder: Path, was: Mapping[str, _Seen], now: Mapping[str, _Seen]
) -> Iterator[Entry]:
    for path in sorted(was.keys() | now.keys()):
        old, new = was.get(path), now.get(path)
        before, after = old.values if old else {}, new.values if new else {}
        about = new or old
        if about and (before != after or not (old and new)):
            yield Entry(
                at=at,
                by=by,
                folder=str(folder),
                file=path,
                kind=about.kind,
                name=about.name,
                event="changed" if old and new else "created" if new else "deleted",
                changes=differing(before, after),
            )


def _seen(home: Home) -> _Folders:
    try:
        return _state.decode(_state_file(home).read_bytes())
    except (FileNotFoundError, msgspec.DecodeError):
        return {}
    except OSError as error:
        raise _unusable(home, error) from error


def _state_file(home: Home) -> Path:
    return home.policy_history.with_suffix(".seen.json")


def _unusable(home: Home, error: OSError) -> HomeError:
    return HomeError(
        f"cannot note changes of policies in {home.policy_history}: {error.strerror}", "Make it writable for you."
    )


def _me() -> str:
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return f"user {os.getuid()}"
