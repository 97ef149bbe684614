"""Writing content anew that is not encrypted as what comes now is: with an older key, or not at all, or still.

The process that ingests does it between two rounds, some at a time. Which files are left shows by their names and their
first bytes; killed anywhere, the next one goes on.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import logging
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from tracecli import files, keys, working
from tracecli.config import Home
from tracecli.encryption import FILE, MESSAGE, key_of
from tracecli.errors import TracecliError
from tracecli.store import parquet, snapshot
from tracecli.store.connection import opened, transaction

log = logging.getLogger(__name__)

_AT_ONCE_BYTES = 32 << 20
_LOOK_EVERY_S = 5.0
_BEGIN = 16


class State(msgspec.Struct, frozen=True, kw_only=True):
    """What is encrypted, and how."""

    path: str
    on: bool
    key: str | None
    """Where the user's key is to be had; None: there is none."""
    data_keys: int
    """That content may be encrypted with."""
    newest_made_at: dt.datetime | None
    files: int
    """Of content."""
    files_left: int
    """Of these, that are not encrypted with the newest key, or that are though encryption is off."""
    proxies_behind: list[int]
    """Processes of proxies that do not encrypt what they write with the newest key, or still encrypt it."""

    @property
    def complete(self) -> bool:
        """Whether all is as it should be."""
        return not (self.files_left or self.proxies_behind)

    def as_json(self) -> dict[str, Any]:
        """As `--json` prints it."""
        return {**msgspec.to_builtins(self), "complete": self.complete}


def state(home: Home, proxies: Mapping[int, Sequence[str | None]]) -> State:
    """Look. `proxies` are the ids of the keys that running proxies encrypt with, by their process.

    Raises NoKey or HomeError.
    """
    ring = keys.ring(home)
    stored = None if ring is None else keys.stored(home)
    wanted = ring.newest.id.hex() if ring and ring.newest else None
    return State(
        path=str(home.root),
        on=wanted is not None,
        key=keys.described(keys.source(home)) if stored else None,
        data_keys=len(stored.keys) if stored else 0,
        newest_made_at=stored.keys[-1].made_at if stored else None,
        files=sum(len(_files(folder)) for folder in _folders(home)),
        files_left=sum(1 for _ in left(home)),
        proxies_behind=[process for process, used in proxies.items() if any(key != wanted for key in used)],
    )


def _folders(home: Home) -> list[Path]:
    return [*(snapshot.folder(home, name) for name in snapshot.TABLES), home.quarantine]


def left(home: Home) -> Iterator[Path]:
    """The files of content that are to be written anew. Raises NoKey or HomeError."""
    ring = keys.ring(home)
    if ring is None:
        return
    wanted = ring.newest.id if ring.newest else None
    for folder in _folders(home):
        yield from (path for path in _files(folder) if _key(path) != wanted)


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("."))


def _key(path: Path) -> bytes | None:
    """The id of the key that a file is encrypted with; None: with none."""
    with contextlib.suppress(FileNotFoundError), path.open("rb") as file:
        begin = file.read(_BEGIN)
        return key_of(begin) if begin.startswith((FILE, MESSAGE)) else None
    return None


class Reencrypter:
    """Does it, for the process that ingests."""

    def __init__(self, home: Home, *, whole: bool = False) -> None:
        """`whole`: all in one step, and what fails is raised."""
        self._home = home
        self._whole = whole
        self._next: dt.datetime | None = None

    def step(self, now: dt.datetime) -> bool:
        """Write some anew; false, for no content goes by it. Never raises, unless all is to be done."""
        if self._next and now < self._next and not self._whole:
            return False
        try:
            some = size = 0
            todo = list(left(self._home))
            for path in working.counted(todo, len(todo), "files written anew"):
                if size > _AT_ONCE_BYTES and not self._whole:
                    return False  # the rest comes next time
                size += path.stat().st_size
                some += 1
                _write_anew(self._home, path)
        except (TracecliError, OSError) as error:
            if self._whole:
                raise
            log.warning("content is not written anew with the newest key yet: %s", error)
        else:
            if some:
                log.info("%d files of content were written anew with the newest key", some)
        self._next = now + dt.timedelta(seconds=_LOOK_EVERY_S)
        return False


def _write_anew(home: Home, path: Path) -> None:
    if path.is_relative_to(home.quarantine):
        with contextlib.suppress(FileNotFoundError), keys.opened(home, path) as file:
            files.write_whole(path, keys.protected(home, file.read()))
        return
    table = snapshot.TABLES[path.parent.name]
    draft = home.scratch / parquet.new_name(home)
    try:
        ring = keys.ring(home)
        with (
            keys.opened(home, path) as old,
            ring.encrypt_file(draft) if ring and ring.newest else draft.open("xb") as new,
        ):
            shutil.copyfileobj(old, new, 1 << 20)
        size, digest = parquet.moved(home, draft, path.parent)
    except FileNotFoundError:  # merged or forgotten
        draft.unlink(missing_ok=True)
        return
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
    with opened(home, write=True) as connection, transaction(connection):
        connection.execute(
            f"UPDATE {table} SET name = ?, bytes = ?, sha256 = ? WHERE name = ?",  # noqa: S608 - ours
            [draft.name, size, digest, path.name],
        )
    path.unlink(missing_ok=True)
