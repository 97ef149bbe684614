"""Policies from their folder: read whole, checked whole, or refused whole; and noticing that it changed.

Names decide nothing about where a file is: a user's name is percent-encoded, and one that is too long for a file's
name is cut and told apart by a hash; the file then says its `user` itself. A file of any name may do so.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import stat
import time
import tomllib
from collections.abc import Callable, Generator, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, NoReturn
from urllib.parse import quote, unquote

from tracecli.errors import ConfigError
from tracecli.identity import clean
from tracecli.policy.rules import PolicyError, PolicySet

log = logging.getLogger(__name__)

SUFFIX = ".toml"
USERS = "users"
FLAGS = "flags"
"""The folder in it of rules that flag what was recorded, see `flag_files`."""
PRICES = "prices.toml"
"""The one file of the folder that is no policy, see `price_list`; there may be a user of that name."""
MAX_FILE_BYTES = 1 << 20
_MAX_STEM = 200
REMEDY = "Correct the file; a running proxy keeps the policies it has until then."

type Stamp = tuple[int, int, int]
"""Time of change, size and inode: another one after every edit."""
type Instead = Mapping[str, str | None]
"""What the files of these paths will hold, in place of what they do; None: they will be gone."""


class FileError(ConfigError):
    """A policy file is wrong; `line` and `key` where they are known."""

    def __init__(self, path: str, problem: str, remedy: str = REMEDY, *, key: str = "", line: int | None = None):
        place = f"{path}:{line}" if line else path
        super().__init__(f"{place}: {f'key `{key}`: ' if key else ''}{problem}", remedy)
        self.path, self.key, self.line, self.what = path, key, line, problem


class File(NamedTuple):
    """A file that was read."""

    path: str
    stamp: Stamp | None
    table: dict[str, Any]


class Files(NamedTuple):
    """The files of a folder, by the name of the policy or the user."""

    policies: dict[str, File]
    users: dict[str, File]


class Loaded(PolicySet):
    """Policies with the files that they are from."""

    def __init__(self, files: Files, previous: PolicySet | None) -> None:
        super().__init__(
            {name: file.table for name, file in files.policies.items()},
            {name: file.table for name, file in files.users.items()},
            previous,
        )
        self.files = files


def load(folder: Path, previous: PolicySet | None = None, instead: Instead | None = None) -> Loaded:
    """The policies in `folder`. Only files that changed since `previous` are parsed and checked.

    Raises FileError for the first file that is wrong, ConfigError if the folder cannot be read.
    """
    known = (
        {file.path: file for part in previous.files for file in part.values()} if isinstance(previous, Loaded) else {}
    )
    files = read(folder, _raise, known, instead)
    try:
        return Loaded(files, previous)
    except PolicyError as error:
        raise placed(folder, files, error, instead) from error


def read(
    folder: Path,
    wrong: Callable[[FileError], object],
    known: Mapping[str, File],
    instead: Instead | None = None,
) -> Files:
    """The tables in `folder`; files that are no TOML are told to `wrong`, `known` ones not read if they did not change.

    Raises ConfigError if the folder cannot be read.
    """
    files = Files({}, {})
    parts = ((str(folder), files.policies, _policy_of), (str(folder / USERS), files.users, _user_of))
    for part, into, name_of in parts:
        for path, stamp in _present(part, instead or {}, PRICES if part == str(folder) else ""):
            try:
                file = known.get(path)
                if file is None or stamp is None or file.stamp != stamp:
                    text = (instead or {}).get(path)
                    file = File(path, stamp, parsed(path, text if text is not None else text_of(path)))
                name = name_of(file)
                if name in into:
                    raise FileError(path, f"is the second file of {name!r}, beside {into[name].path}", "Remove one.")
            except FileError as error:
                if path in (instead or {}) or os.path.lexists(path):  # else it was removed this moment
                    wrong(error)
            else:
                into[name] = file
    return files


def placed(folder: Path, files: Files, error: PolicyError, instead: Instead | None = None) -> FileError:
    """What is wrong in the table of a file, with the file's path and the line of its key."""
    name = error.file.removesuffix(SUFFIX)
    of_user = name.startswith(f"{USERS}/")
    file = files.users.get(name.removeprefix(f"{USERS}/")) if of_user else files.policies.get(name)
    if file is None:
        return FileError(str(folder / error.file), error.problem, "Make one: an empty file will do.")
    text = (instead or {}).get(file.path)
    line = line_of(text if text is not None else text_of(file.path), error.key) if error.key else None
    return FileError(file.path, error.problem, key=error.key, line=line)


def user_file(user: str) -> str:
    """The name of a user's file. If it cannot be the user, encoded, then the file has to say `user`.

    Raises ValueError for a name that is empty or no valid Unicode.
    """
    if not user:
        raise ValueError("a user has a name")
    stem = quote(user, safe="@+=,").replace("~", "%7E")  # which UnicodeEncodeError, a ValueError, may end
    if stem.startswith("."):
        stem = f"%2E{stem[1:]}"
    if len(stem) > _MAX_STEM:
        stem = f"{stem[:_MAX_STEM]}~{hashlib.sha256(user.encode()).hexdigest()[:16]}"
    return stem + SUFFIX


def line_of(text: str, key: str) -> int | None:
    """The line of TOML on which a dotted key is given, or the table that it is in; None if it cannot be told."""
    wanted = tuple(_unquoted(part) for part in key.split("."))
    within: tuple[str, ...] = ()
    best, line, quotes = 0, None, ""
    for number, source in enumerate(text.splitlines(), 1):
        if quotes:
            quotes = "" if source.count(quotes) % 2 else quotes
            continue
        if header := _HEADER.match(source):
            here = within = _parts(header[1])
        elif given := _KEY.match(source):
            here = within + _parts(given[1])
        else:
            continue
        quotes = next((mark for mark in ('"""', "'''") if source.count(mark) % 2), "")
        if len(here) > best and here == wanted[: len(here)]:
            best, line = len(here), number
    return line


_HEADER = re.compile(r"\s*\[\s*([^\[\]]+?)\s*\]")
_KEY = re.compile(r"""\s*((?:"[^"]*"|'[^']*'|[A-Za-z0-9_.\s-])+?)\s*=""")
_PART = re.compile(r""""[^"]*"|'[^']*'|[^.\s]+""")


def _parts(dotted: str) -> tuple[str, ...]:
    return tuple(_unquoted(part) for part in _PART.findall(dotted))


def _unquoted(part: str) -> str:
    return part[1:-1] if part[:1] in "\"'" else part


def _raise(error: FileError) -> NoReturn:
    raise error


def _present(folder: str, instead: Instead, but: str) -> Iterator[tuple[str, Stamp | None]]:
    """The files of a folder in order, as if it had been edited."""
    found = {entry.path: None if entry.path in instead else stamped(entry) for entry in listed(folder, but)}
    found |= {path: None for path in instead if path.rpartition("/")[0] == folder}
    for path in sorted(found):
        if instead.get(path, "") is not None:
            yield path, found[path]


def listed(folder: str | Path, but: str) -> list[os.DirEntry[str]]:
    """The TOML files of a folder, in no order; none if there is no folder. Raises ConfigError if it cannot be read."""
    try:
        with os.scandir(folder) as entries:
            return [
                entry
                for entry in entries
                if entry.name.endswith(SUFFIX) and not entry.name.startswith(".") and entry.name != but
            ]
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise ConfigError(f"cannot read the policy folder {folder}: {error.strerror}", "Make it readable.") from error


def _all(folder: Path) -> list[os.DirEntry[str]]:
    return [*listed(folder, PRICES), *listed(folder / USERS, "")]


def stamped(entry: os.DirEntry[str]) -> Stamp | None:
    """What a file looks like from outside; None if it is none, or not there any more."""
    try:
        about = entry.stat()
    except OSError:  # a link to nothing, or removed this moment
        return None
    return about.st_mtime_ns, about.st_size, about.st_ino


def text_of(path: str) -> str:
    """What a file holds. Raises FileError if that cannot be read, or is too much."""
    try:
        about = Path(path).stat()
        if stat.S_ISDIR(about.st_mode):
            raise FileError(path, "is a folder", "Policies are files: rename it, or move it away.")
        if not stat.S_ISREG(about.st_mode):
            raise FileError(path, "is no regular file", "Policies are: move it away.")
        if about.st_size > MAX_FILE_BYTES:
            raise FileError(path, f"is larger than {MAX_FILE_BYTES} bytes", f"No policy is: {_lower(REMEDY)}")
        return Path(path).read_bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        raise FileError(path, f"not valid TOML: {error}") from error
    except OSError as error:
        if Path(path).is_symlink():
            raise FileError(
                path, f"is a link that leads nowhere: {error.strerror}", "Remove it, or its target back."
            ) from error
        raise FileError(path, f"cannot be read: {error.strerror}", "Make it readable.") from error


def _lower(sentence: str) -> str:
    return sentence[0].lower() + sentence[1:]


def parsed(path: str, text: str) -> dict[str, Any]:
    """The table that a file holds. Raises FileError if it is no TOML."""
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        said = str(error) or type(error).__name__
        line = re.search(r"\(at line (\d+)", said)
        if "end of document" in said:
            line = re.match(r"(\d+)", str(text.count("\n") + 1))
        raise FileError(path, f"not valid TOML: {said}", line=int(line[1]) if line else None) from error


def _policy_of(file: File) -> str:
    name = _stem(file.path)
    if name != clean(name):
        raise FileError(file.path, "the name of a policy is text without control characters", "Rename it.")
    return name


def _stem(path: str) -> str:
    return path.rpartition("/")[2].removesuffix(SUFFIX)


def _user_of(file: File) -> str:
    said = file.table.get("user")
    if isinstance(said, str) and said:
        return said
    try:
        name = unquote(_stem(file.path), errors="strict")
        name.encode()
    except UnicodeError as error:
        raise FileError(file.path, "its name is no user, percent-encoded as UTF-8", "Rename it.") from error
    return name


# -- noticing changes

type FolderStamp = tuple[tuple[str, Stamp | None], ...] | None
"""Equal as long as nothing was edited; None: the folder cannot be read."""

_POLL_S = 0.7
_SAFETY_S = 30.0
_SETTLE_S = 1.0
_FRESH_S = 0.02
# File systems that others write to, or that do not tell.
_REMOTE = re.compile(r"nfs|cifs|smb|9p|afs|ceph|fuse|virtiofs|vboxsf|prl_fs|drvfs|gluster|lustre")


def stamp(folder: Path) -> FolderStamp:
    """What a folder of policies looks like from outside; 10,000 files take some 20 ms."""
    try:
        return tuple(sorted((entry.path, stamped(entry)) for entry in _all(folder)))
    except ConfigError:
        return None


class Watch:
    """Tells whether the policies in a folder changed. Ask a few times a second; asking costs next to nothing.

    The system's notifications say when to look, and what is seen decides. Where there are none that can be relied on
    (network file systems, links to files elsewhere), it looks by itself. An edit is reported once it is 20 ms old:
    files are then as a rule whole, and two edits cannot have the same time.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._stamp = stamp(folder)
        self._told: Generator[set[Any], None, None] | None = None
        self._identity: tuple[int, int] | None = None
        self._started = False
        self._next_look = 0.0
        self._look_until = 0.0
        self._put_off = 0

    def changed(self) -> bool:
        """Whether there was an edit since the last time that this was true, or since the beginning. Never raises."""
        now = time.monotonic()
        if self._folder_replaced() or self._notified():
            self._look_until = now + _SETTLE_S
        if now >= self._look_until and now < self._next_look:
            return False
        self._next_look = now + (_SAFETY_S if self._told else _POLL_S)
        seen = stamp(self.folder)
        if seen == self._stamp:
            return False
        self._look_until = now + _SETTLE_S
        fresh = _is_fresh(seen)
        if fresh and self._put_off < 2:
            self._put_off += 1
            return False
        self._put_off = 0
        self._stamp = () if fresh else seen
        return True

    def _folder_replaced(self) -> bool:
        """Follow the folder's name, whatever is there now."""
        try:
            about = self.folder.stat()
            identity = about.st_dev, about.st_ino
        except OSError:
            identity = None
        if self._started and identity == self._identity:
            return False
        self._started, self._identity = True, identity
        self._told = self._notifications() if identity else None
        return True

    def _notifications(self) -> Generator[set[Any], None, None] | None:
        if _is_remote(self.folder) or _has_links(self.folder):
            return None
        try:
            from watchfiles import watch  # here, in the thread that asks: it takes 25 ms

            told = watch(
                self.folder,
                watch_filter=None,
                debounce=1,
                step=1,
                rust_timeout=1,
                yield_on_timeout=True,
                raise_interrupt=False,
            )
            next(told)
        except Exception as error:
            log.info("tracecli: no notifications of changed policies (%s); looking for them instead", error)
            return None
        return told

    def _notified(self) -> bool:
        if self._told is None:
            return False
        try:
            return bool(next(self._told))
        except Exception as error:
            log.info("tracecli: notifications of changed policies ended (%s); looking for them instead", error)
            self._told = None
            return True


def _is_fresh(seen: FolderStamp) -> bool:
    newest = max((of_file[0] for _, of_file in seen or () if of_file), default=0)
    return 0 <= time.time() - newest / 1e9 < _FRESH_S


def _has_links(folder: Path) -> bool:
    try:
        return (folder / USERS).is_symlink() or any(entry.is_symlink() for entry in _all(folder))
    except (ConfigError, OSError):
        return True


def _is_remote(folder: Path) -> bool:
    """Whether the folder is on a file system whose notifications miss what others write."""
    try:
        mounts = Path("/proc/self/mountinfo").read_text("utf-8", "replace").splitlines()
    except OSError:
        return False
    best, kind = "", ""
    where = os.path.realpath(folder)
    for mount in mounts:
        before, _, after = mount.partition(" - ")
        point = before.split(" ")[4].replace("\\040", " ")
        if (where + "/").startswith(point.rstrip("/") + "/") and len(point) >= len(best):
            best, kind = point, after.split(" ")[0]
    return _REMOTE.match(kind) is not None
