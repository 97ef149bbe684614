"""Who beside its owner may read a home: nobody, or the members of two groups of the operating system.

Members of the one see usage records; members of the other, who must be in the first too, also what was said. The system
keeps everybody else out: what each file and folder is open to is said here, and nothing of it is checked by us.

Secrets, and what is not redacted yet (the spool, `quarantine/`), stay the owner's alone. Nobody but the owner writes in
the home, but for the ledger: who reads content has to note it.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import grp
import logging
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import msgspec

from tracecli import files
from tracecli.config import PRIVATE_FILE, PRIVATE_FOLDER, Home
from tracecli.errors import ConfigError, HomeError, NotYours

log = logging.getLogger(__name__)

type Readers = Literal["metadata", "content"]


class Groups(msgspec.Struct, frozen=True, kw_only=True):
    """The groups whose members may read, by their numbers; what `access.json` holds."""

    format: int = 1
    metadata: int | None = None
    """They see usage records."""
    content: int | None = None
    """They see what was said, if they are members of the other, too."""

    def of(self, readers: Readers | None) -> int | None:
        """The group of these readers; None: there are none."""
        return None if readers is None else self.metadata if readers == "metadata" else self.content


NOBODY = Groups()

_kept: dict[Path, tuple[tuple[int, int, int], Groups]] = {}
_told: set[str] = set()


def groups(home: Home) -> Groups:
    """Who may read, as it is now; nobody if that cannot be told."""
    try:
        about = home.access.stat()
        identity = about.st_ino, about.st_mtime_ns, about.st_size
        kept = _kept.get(home.access)
        if kept is None or kept[0] != identity:
            kept = _kept[home.access] = identity, stored(home)
    except (FileNotFoundError, PermissionError):
        return NOBODY
    except (HomeError, OSError) as error:
        _warn(f"nobody but the owner may read what comes: {error}")
        return NOBODY
    return kept[1]


def stored(home: Home) -> Groups:
    """Who may read, as the file says. Raises HomeError if it cannot be understood, OSError if it cannot be read."""
    try:
        found = msgspec.json.decode(home.access.read_bytes(), type=Groups)
    except FileNotFoundError:
        return NOBODY
    except msgspec.DecodeError as error:
        raise HomeError(
            f"{home.access} is damaged: {error}", "Say again who may read: `tracecli access set`."
        ) from error
    if found.format != 1:
        raise HomeError(f"{home.access} is of a newer tracecli", "Upgrade tracecli.")
    return found


def share(home: Home, readers: Readers, file: int | Path, *, writable: bool = False) -> None:
    """Open a file of the home, or a folder, to these readers and to nobody else: a new one before it has its name.

    `file` is open, or a path. Where the system refuses, as for a group that the owner is no member of, it stays the
    owner's alone, which is logged.
    """
    _open_to(file, groups(home).of(readers), writable=writable)


def _open_to(file: int | Path, group: int | None, *, writable: bool) -> None:
    """Nobody is let in who will not be, at no moment."""
    about, change = (os.fstat(file), partial(os.fchmod, file)) if isinstance(file, int) else (file.lstat(), file.chmod)
    private, wanted = _modes(about, group, writable=writable)
    if stat.S_IMODE(about.st_mode) == wanted and group in (None, about.st_gid):
        return
    change(private)
    if group is None:
        return
    try:
        os.chown(file, -1, group)
    except OSError as error:
        _warn(f"files cannot be given to the group {group_name(group)}: {error.strerror}")
        return
    change(wanted)


def _modes(about: os.stat_result, group: int | None, *, writable: bool) -> tuple[int, int]:
    """The mode that is the owner's alone, and that with what the group may."""
    if stat.S_ISDIR(about.st_mode):
        return PRIVATE_FOLDER, PRIVATE_FOLDER | (0 if group is None else 0o050)
    return PRIVATE_FILE, PRIVATE_FILE | (0 if group is None else 0o060 if writable else 0o040)


def _warn(problem: str) -> None:
    if problem not in _told:
        _told.add(problem)
        log.warning("tracecli: %s", problem)


@dataclass(frozen=True)
class Place:
    """A file or folder that is there, and who is to get at it."""

    path: Path
    readers: Readers | None
    """Beside the owner."""
    writable: bool = False


def places(home: Home) -> Iterator[Place]:
    """Everything that readers can come across: content, all that lies in the home, and the home itself last."""
    for folder in (home.bodies, home.parts, home.said):
        with contextlib.suppress(FileNotFoundError):
            yield from (Place(path, "content") for path in folder.iterdir() if not path.is_symlink())
    with contextlib.suppress(FileNotFoundError):
        for path in home.root.iterdir():
            if not path.is_symlink():
                yield Place(path, _readers(home, path), writable=path == home.ledger)
        yield Place(home.root, "metadata")


def _readers(home: Home, path: Path) -> Readers | None:
    if path in (home.bodies, home.parts, home.said, home.keys, home.ledger):
        return "content"
    known = (home.database, home.database_log, home.status, home.ca_bundle)
    if path in (*known, home.access) or path.match("proxy-[0-9]*.json"):
        return "metadata"
    return None


class Wrong(msgspec.Struct, frozen=True):
    """A place that is not open to those to whom it is to be, or is to others."""

    path: Path
    mode: int
    wider: bool
    """Others than those may use it."""
    remedy: str
    """A shell command."""


def wrong(home: Home) -> Iterator[Wrong]:
    """Where the modes are not those of `places`. Raises HomeError or OSError as `stored` does."""
    now = stored(home)
    for place in places(home):
        with contextlib.suppress(FileNotFoundError):
            about = place.path.lstat()
            group = now.of(place.readers)
            mode = stat.S_IMODE(about.st_mode)
            _, wanted = _modes(about, group, writable=place.writable)
            if mode & 0o077 & ~wanted:
                yield Wrong(place.path, mode, True, f"chmod {mode & (wanted | 0o700):o} {place.path}")
            elif group is not None and mode & 0o070 and about.st_gid != group:
                yield Wrong(place.path, mode, True, f"chgrp {group_name(group)} {place.path}")
            elif group is not None and wanted & 0o070 & ~mode:
                command = f"chgrp {group_name(group)} {place.path} && chmod {wanted:o} {place.path}"
                yield Wrong(place.path, mode, False, command)


def apply(home: Home) -> None:
    """Open what is there to those who may read it, and to nobody else. Raises OSError."""
    now = groups(home)
    for place in places(home):
        with contextlib.suppress(FileNotFoundError):  # merged, or ended, this moment
            if place.readers is None:
                mode = stat.S_IMODE(place.path.lstat().st_mode)
                if mode & 0o077:
                    place.path.chmod(mode & 0o700)
            else:
                _open_to(place.path, now.of(place.readers), writable=place.writable)


def let_read(home: Home, now: Groups) -> None:
    """Say who may read, and open what is there to them; NOBODY: the owner alone.

    Raises NotYours, HomeError, or ConfigError for a group to which this process can give no files.
    """
    home.prepare()
    if home.root.stat().st_uid != os.geteuid():
        raise NotYours(f"{home.root} belongs to {home.owner}", "Its owner alone says who else may read it.")
    for group in (now.metadata, now.content):
        if group is not None and os.geteuid() != 0 and group not in (*os.getgroups(), os.getegid()):
            raise ConfigError(
                f"you are no member of the group {group_name(group)}, and so can give no files to it",
                "Have yourself added to it, log in again, and start the proxy again.",
            )
    try:
        home.root.chmod(PRIVATE_FOLDER)  # nobody gets in while it changes
        if now == NOBODY:
            home.access.unlink(missing_ok=True)
        else:
            files.write_whole(home.access, msgspec.json.encode(now))
            os.close(os.open(home.ledger, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, PRIVATE_FILE))
        apply(home)
    except OSError as error:
        raise HomeError(
            f"cannot change who may read {home.root}: {error.strerror} ({error.filename})",
            "Say it again; until then nobody but you gets in.",
        ) from error


class Keeper:
    """Opens what is there anew when it was changed who may read; for the process that ingests, between two rounds."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._applied = NOBODY

    def step(self, now: dt.datetime) -> bool:
        """Do it if there is reason to; false, for no content goes by it. Never raises."""
        wanted = groups(self._home)
        if wanted != self._applied:
            try:
                apply(self._home)
                self._applied = wanted
            except OSError as error:
                _warn(f"not all is open to those who may read it: {error}")
        return False


def closed(home: Home, group: int) -> list[Path]:
    """The folders above the home that do not let members of a group pass, as far as modes tell."""
    found = []
    for path in home.root.parents:
        about = path.stat()
        if not (about.st_mode & 0o001 or (about.st_gid == group and about.st_mode & 0o010)):
            found.append(path)
    return found


def outsiders(now: Groups) -> list[str]:
    """Users who are listed as members of the group for content, and not of the other: they do not get in."""
    try:
        content, metadata = (grp.getgrgid(-1 if one is None else one).gr_mem for one in (now.content, now.metadata))
    except (KeyError, OverflowError):
        return []
    return sorted(set(content) - set(metadata))


def group_named(text: str) -> int:
    """The number of a group, of its name or its number. Raises ConfigError if there is none."""
    try:
        return grp.getgrnam(text).gr_gid
    except KeyError:
        if text.isascii() and text.isdigit() and int(text) < 1 << 31:
            return int(text)
    raise ConfigError(f"there is no group {text!r} on this machine", "`getent group` lists those that there are.")


def group_name(group: int) -> str:
    """The name of a group, or its number where it has none."""
    try:
        return grp.getgrgid(group).gr_name
    except KeyError:
        return str(group)


def enter(home: Home) -> None:
    """Raise NotYours if this process may not even look into the home."""
    try:
        home.root.stat()
    except FileNotFoundError:
        return
    except PermissionError as error:
        raise NotYours(f"a folder above {home.root} does not let you pass", _ASK) from error
    if not os.access(home.root, os.X_OK):
        raise NotYours(f"{home.root} belongs to {home.owner}, and you may not read it", _ASK)


def sees_content(home: Home) -> bool:
    """Whether this process may read what was said, if something was."""
    return os.access(home.bodies, os.X_OK) or not home.foreign


_ASK = "Ask its owner to let you."


def no_content(home: Home) -> NotYours:
    """What to raise where somebody asks for content who may see none."""
    group = groups(home).content
    who = "its owner alone" if group is None else f"members of the group {group_name(group)}"
    return NotYours(f"what was said in the requests of {home.root} is for {who}", _ASK)


def refused(home: Home, path: Path) -> NotYours:
    """What to raise where the system says that this process may not use a file or folder of the home."""
    if not os.access(home.root, os.X_OK):
        return NotYours(f"{home.root} belongs to {home.owner}, and you may not read it", _ASK)
    if any(path == one or path.is_relative_to(one) for one in (home.bodies, home.parts, home.said, home.keys)):
        return no_content(home)
    if path == home.ledger:
        return NotYours(f"{path}, which says who read what, is for those who may read content", _ASK)
    return NotYours(f"{path} is for the owner of {home.root} alone, {home.owner}", "Ask its owner to do it.")
