"""Policies from their folder: read whole, checked whole, or refused whole."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from tracecli.errors import ConfigError
from tracecli.policy.rules import DEFAULT, PolicyFile, PolicySet, UserFile, parse

MAX_FILE_BYTES = 1 << 20
PRICES = "prices.toml"
"""The one file of the folder that is no policy, see `price_list`; there may be a user of that name."""

type Stamp = tuple[tuple[str, int, int, int], ...]
"""Names, times of change, sizes and inodes of the files: equal as long as nothing was edited."""


def load(folder: Path) -> PolicySet:
    """The policies in `folder`.

    Raises ConfigError, naming the file, the key or line, and the remedy, if a file is missing, cannot be read or is
    wrong, or if a user is assigned a policy that does not exist.
    """
    policies = {path.stem: _parse(path, PolicyFile) for path in _policies(folder)}
    if DEFAULT not in policies:
        raise ConfigError(
            f"{folder / 'default.toml'} does not exist",
            "Create it (one line, `tracing = true`, will do), or name another policy folder with TRACECLI_POLICIES.",
        )
    users: dict[str, UserFile] = {}
    for path in _files(folder / "users"):
        user = unquote(path.stem)
        users[user] = file = _parse(path, UserFile)
        if file.policy not in policies:
            raise ConfigError(
                f"{path}: key `policy`: there is no policy {file.policy!r}",
                f"Name one of: {', '.join(sorted(policies))}; or create {folder / (file.policy + '.toml')}.",
            )
    return PolicySet(policies, users)


def stamp(folder: Path) -> Stamp:
    """Changes whenever a policy file is added, edited or removed."""
    found = []
    for path in (*_policies(folder), *_files(folder / "users")):
        try:
            about = path.stat()
        except OSError:
            continue  # removed this moment: its absence changes the stamp
        found.append((str(path), about.st_mtime_ns, about.st_size, about.st_ino))
    return tuple(found)


def _policies(folder: Path) -> list[Path]:
    return [path for path in _files(folder) if path.name != PRICES]


def _files(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if path.suffix == ".toml" and not path.name.startswith("."))
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise ConfigError(f"cannot read the policy folder {folder}: {error.strerror}", "Make it readable.") from error


def _parse[T: (PolicyFile, UserFile)](path: Path, kind: type[T]) -> T:
    remedy = "Correct the file; a running proxy keeps the policies it has until then."
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise ConfigError(f"{path} is larger than {MAX_FILE_BYTES} bytes", "No policy is: " + remedy)
        values: dict[str, Any] = tomllib.loads(path.read_text("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not valid TOML: {error}", remedy) from error
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}", "Make it readable.") from error
    try:
        return parse(values, kind)
    except ValueError as error:
        raise ConfigError(f"{path}: {error}", remedy) from error
