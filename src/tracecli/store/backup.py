"""Backups: a folder with a copy of the store as it was at one moment, and a manifest with the hash of each file.

In it: the database, the files of content, encrypted if the home is, and then its data keys, which the user's key opens;
the key of fingerprints, the users of the proxy, the history of policies, the definitions of datasets, what they chose
and what is noted of them, and the policies if they are in the home. Not in it: what was built of datasets, the cache,
the certificate authority, logs, and without being asked for the spool. Files of content are linked where that is
possible: they never change, so the copy takes no room and is of the same disk. Written beside under another name and
renamed: a backup is whole or not there.

What is restored is not trusted: names are of a fixed form, and every file is copied and hashed before anything of the
home is touched.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import hashlib
import os
import re
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

import msgspec

from tracecli import __version__, access, files, spool, working
from tracecli.config import PRIVATE_FILE, PRIVATE_FOLDER, Home
from tracecli.errors import BackupError
from tracecli.store import connection, snapshot
from tracecli.store.connection import MIGRATIONS
from tracecli.store.engine import spill_folder

MANIFEST = "manifest.json"
FORMAT = 1
_CHUNK = 1 << 20
_POLICIES = "policies"
_PARQUET = re.compile(r"(bodies|parts|said)/[0-9A-Za-z][0-9A-Za-z._-]*\.parquet(\.encrypted)?")
_SEGMENT = re.compile(r"spool/[0-9A-Za-z][0-9A-Za-z._-]*\.seg")
_DATASET = re.compile(r"datasets/[a-z0-9][a-z0-9._-]*/[0-9]+/(dataset\.toml|chosen\.txt|notes\.md)")
_POLICY = re.compile(r"policies/([\w@+=,-][\w@+=,. -]*/)*[\w@+=,-][\w@+=,. -]*\.toml")


class Kept(msgspec.Struct, frozen=True):
    """A file of a backup."""

    path: str
    """Below the folder."""
    bytes: int
    sha256: str


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What a backup is, in `manifest.json`."""

    format: int
    tracecli: str
    schema_version: int
    made_at: dt.datetime
    files: list[Kept]


class Backup(msgspec.Struct, frozen=True, kw_only=True):
    """A backup that was made."""

    path: str
    schema_version: int
    files: int
    bytes: int


class Restored(msgspec.Struct, frozen=True, kw_only=True):
    """A backup that was restored."""

    path: str
    made_at: dt.datetime
    schema_version: int
    files: int
    bytes: int
    aside: str | None
    """The folder in which is what was there before."""


def make(home: Home, target: Path, *, with_spool: bool = False) -> Backup:
    """Back up the home to a new folder, while others record and read.

    Raises BackupError if it cannot be written there, HomeError if a file is missing, and as `opened` does.
    """
    _refuse(home, target)
    home.prepare()
    draft = target.with_name(f".{target.name}.{os.getpid()}.{os.urandom(4).hex()}")
    try:
        _folder(draft)
        with snapshot.taken(home, database=True, segments=with_spool) as still:
            if still.missing:
                raise BackupError(
                    f"{len(still.missing)} files that the database names are not there",
                    "`tracecli db check` says which; restore an older backup, or remove the requests they are of.",
                )
            _fill(home, still.home, draft)
        manifest = _manifest(draft)
        _write(draft / MANIFEST, msgspec.json.format(msgspec.json.encode(manifest), indent=2))
        _to_disk(draft)
        if target.exists():
            raise _exists(target)
        draft.rename(target)
        files.to_disk(target.parent)
    except OSError as error:
        raise _cannot("write the backup", error) from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    size = sum(one.bytes for one in manifest.files)
    return Backup(path=str(target), schema_version=manifest.schema_version, files=len(manifest.files), bytes=size)


def _refuse(home: Home, target: Path) -> None:
    if not home.database.exists():
        raise BackupError(f"nothing is recorded in {home.root}", "There is nothing to back up.")
    if os.path.lexists(target):
        raise _exists(target)
    if not target.parent.is_dir():
        raise BackupError(f"there is no folder {target.parent}", "Make it, or name another.")
    if target.resolve().is_relative_to(home.root.resolve()):
        raise BackupError("a backup inside the home would be lost with it", "Name a folder elsewhere.")


def _exists(target: Path) -> BackupError:
    return BackupError(f"there is something at {target} already", "Name a folder that is not there yet.")


def _cannot(what: str, error: OSError) -> BackupError:
    place = f" ({error.filename})" if error.filename else ""
    return BackupError(
        f"cannot {what}: {error.strerror or error}{place}", "Nothing was changed; mend it and try again."
    )


def _fill(home: Home, still: Home, draft: Path) -> None:
    """Bring what belongs to a backup into its folder."""
    moved = [path for path in sorted(still.root.rglob("*")) if path.is_file()]
    for path in working.counted(moved, len(moved), "files copied"):
        into = draft / path.relative_to(still.root)
        _folder(into.parent)
        try:
            path.rename(into)
        except OSError:  # of another file system
            shutil.copyfile(path, into)
        into.chmod(PRIVATE_FILE)
    for path in _small_files(home):
        if path.is_file():
            content = path.read_bytes()
            if path == home.policy_history:  # somebody may be adding a line
                content = content[: content.rfind(b"\n") + 1]
            into = draft / path.relative_to(home.root)
            _folder(into.parent)
            _write(into, content)


def _small_files(home: Home) -> Iterator[Path]:
    """What is not the store's, and belongs to it."""
    yield from (
        home.secret,
        home.keys,
        home.proxy_users,
        home.policy_history,
        home.policy_history.with_suffix(".seen.json"),
    )
    yield from (path for path in sorted(home.datasets.glob("*/*/*")) if _DATASET.fullmatch(_name(home.root, path)))
    policies = home.root / _POLICIES
    if policies.is_dir() and not policies.is_symlink():
        yield from (path for path in sorted(policies.rglob("*.toml")) if _allowed(home, _name(home.root, path)))


def _manifest(draft: Path) -> Manifest:
    paths = [path for path in sorted(draft.rglob("*")) if path.is_file()]
    kept = []
    for path in working.counted(paths, len(paths), "files hashed"):
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            os.fsync(file.fileno())
            kept.append(Kept(_name(draft, path), os.fstat(file.fileno()).st_size, digest))
    made_at = dt.datetime.now(dt.UTC).replace(microsecond=0)
    version = len(MIGRATIONS)  # whoever opens a database brings it up to date
    return Manifest(format=FORMAT, tracecli=__version__, schema_version=version, made_at=made_at, files=kept)


def read_manifest(home: Home, folder: Path) -> Manifest:
    """The manifest of a backup. Raises BackupError if there is none, or one that cannot be restored to this home."""
    try:
        with _regular(folder, MANIFEST) as file, open(file, "rb", closefd=False) as stream:
            manifest = msgspec.json.decode(stream.read(), type=Manifest)
    except FileNotFoundError as error:
        raise BackupError(f"{folder} is no backup: there is no {MANIFEST}", "Name a folder of `db backup`.") from error
    except OSError as error:
        raise _cannot("read the backup", error) from error
    except msgspec.DecodeError as error:
        raise BackupError(f"{folder / MANIFEST} is damaged", "Restore another backup.") from error
    if manifest.format > FORMAT:
        raise BackupError(f"{folder} was made by a newer tracecli ({manifest.tracecli})", "Upgrade tracecli.")
    names = [one.path for one in manifest.files]
    for name in names:
        if not _allowed(home, name):
            raise BackupError(f"{folder / MANIFEST} names {name!r}, which no backup holds", "Restore another backup.")
    if len(set(names)) < len(names) or home.database.name not in names:
        raise BackupError(f"{folder / MANIFEST} is damaged", "Restore another backup.")
    connection.refuse_newer(Home(folder), manifest.schema_version)
    return manifest


def _allowed(home: Home, name: str) -> bool:
    """Whether a backup may hold a file of this name."""
    single = [*snapshot.database_files(home), home.secret, home.keys, home.proxy_users, home.policy_history]
    single.append(home.policy_history.with_suffix(".seen.json"))
    if name in {path.name for path in single}:
        return True
    return any(pattern.fullmatch(name) for pattern in (_PARQUET, _SEGMENT, _POLICY, _DATASET))


def restore(home: Home, folder: Path, *, replace: bool = False) -> Restored:
    """Put a backup in the place of what is in the home. Only for the one process that ingests, and without a proxy.

    Without `replace`, nothing of it may be there. With it, that moves to a folder of its own. Killed anywhere, nothing
    is lost: the database comes last. Raises BackupError, and NewerDatabase for a backup of a newer schema.
    """
    manifest = read_manifest(home, folder)
    tops = sorted({one.path.partition("/")[0] for one in manifest.files} | set(snapshot.TABLES))
    tops += [path.name for path in snapshot.database_files(home) if path.name not in tops]
    tops = [name for name in tops if name != home.spool.name]
    home.prepare()
    in_the_way = [name for name in tops if _holds_something(home.root / name)]
    if in_the_way and not replace:
        raise BackupError(
            f"there is something in {home.root} already: {', '.join(in_the_way)}",
            "`--replace` moves it aside, and deletes nothing.",
        )
    _refuse_other_keys(home, folder)
    stage = Home(spill_folder(home))
    try:
        _folder(stage.root)
        for one in working.counted(manifest.files, len(manifest.files), "files verified"):
            _copied(folder, one, stage.root)
        connection.refuse_newer(stage, connection.version(stage))
        _to_disk(stage.root)
        aside = _changed(home, stage, in_the_way)
    except OSError as error:
        raise _cannot("restore the backup", error) from error
    finally:
        shutil.rmtree(stage.root, ignore_errors=True)
    return Restored(
        path=str(home.root),
        made_at=manifest.made_at,
        schema_version=manifest.schema_version,
        files=len(manifest.files),
        bytes=sum(one.bytes for one in manifest.files),
        aside=str(aside) if aside else None,
    )


def _refuse_other_keys(home: Home, folder: Path) -> None:
    """What waits in the spool of an encrypted home could not be read with the keys of another."""
    if not (home.keys.exists() and spool.segments(home.spool)):
        return
    with contextlib.suppress(FileNotFoundError):
        if (folder / home.keys.name).read_bytes() == home.keys.read_bytes():
            return
    raise BackupError(
        "what waits in the spool is encrypted, and the backup has not its keys",
        "Load it first: `tracecli ingest --once`. Nothing was changed.",
    )


def _holds_something(path: Path) -> bool:
    return any(path.iterdir()) if path.is_dir() and not path.is_symlink() else os.path.lexists(path)


def _copied(folder: Path, one: Kept, into: Path) -> None:
    """Copy a file of a backup. Raises BackupError if it is not what the manifest says."""
    target = into / one.path
    _folder(target.parent)
    digest = hashlib.sha256()
    left = one.bytes
    try:
        with _regular(folder, one.path) as source, target.open("xb") as copy:
            target.chmod(PRIVATE_FILE)
            while chunk := os.read(source, _CHUNK):
                left -= len(chunk)
                if left < 0:
                    break
                digest.update(chunk)
                copy.write(chunk)
            copy.flush()
            os.fsync(copy.fileno())
    except FileNotFoundError as error:
        raise BackupError(
            f"{folder / one.path} is not there", "Restore another backup; nothing was changed."
        ) from error
    if left or digest.hexdigest() != one.sha256:
        raise BackupError(
            f"{folder / one.path} is not what was backed up: its SHA-256 is another",
            "Restore another backup; nothing was changed.",
        )


@contextlib.contextmanager
def _regular(folder: Path, name: str) -> Iterator[int]:
    """A file of a backup, open for reading. Raises BackupError for a link or a device, also on the way to it."""
    file = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for piece in name.split("/"):
            found = os.lstat(piece, dir_fd=file)
            if not (stat.S_ISREG(found.st_mode) or stat.S_ISDIR(found.st_mode)):
                raise BackupError(f"{folder / name} is a link or no file", "Restore another backup.")
            inner = os.open(piece, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=file)
            os.close(file)
            file = inner
        yield file
    finally:
        os.close(file)


def _changed(home: Home, stage: Home, in_the_way: list[str]) -> Path | None:
    """Put what was copied in the place of what is there; returns where that is."""
    aside = _folder_aside(home) if in_the_way else None
    try:
        if aside:
            _move_aside(home, in_the_way, aside)
        _put(home, stage)
    except OSError as error:
        where = f"What was there is in {aside}. " if aside else ""
        raise BackupError(
            f"the backup is not wholly restored: {error.strerror or error} ({error.filename})",
            f"{where}Restore it again with `--replace`.",
        ) from error
    return aside


def _folder_aside(home: Home) -> Path:
    """A new one."""
    made_at = f"{dt.datetime.now(dt.UTC):%Y%m%dT%H%M%SZ}"
    aside = next(path for n in range(1, 10_000) if not (path := home.root / f"before-restore-{made_at}-{n}").exists())
    _folder(aside)
    return aside


def _move_aside(home: Home, names: list[str], aside: Path) -> None:
    """Move what is there, the database first: without it nothing reads the rest."""
    first = [path.name for path in snapshot.database_files(home)]
    for name in sorted(names, key=lambda name: name not in first):
        (home.root / name).rename(aside / name)
    files.to_disk(aside)


def _put(home: Home, stage: Home) -> None:
    """Bring what was copied to its place, the database last."""
    segments = sorted(stage.spool.iterdir()) if stage.spool.is_dir() else []
    for path in segments:
        if not (home.spool / path.name).exists():
            path.rename(home.spool / path.name)
    last = [path.name for path in reversed(snapshot.database_files(home))]
    staged = [path for path in stage.root.iterdir() if path.name != home.spool.name]
    for path in sorted(staged, key=lambda path: last.index(path.name) if path.name in last else -1):
        place = home.root / path.name
        if path.is_dir() and place.is_dir():
            place.rmdir()  # empty, or it would have been moved aside
        path.rename(place)
    files.to_disk(home.root)
    home.prepare()
    access.apply(home)


def _folder(path: Path) -> None:
    """Make a private folder, and those above it, whatever the umask."""
    if not path.is_dir():
        _folder(path.parent)
        path.mkdir(mode=PRIVATE_FOLDER)
        path.chmod(PRIVATE_FOLDER)


def _write(path: Path, content: bytes) -> None:
    """Write a private file, whatever the umask."""
    files.write_new(path, content)
    path.chmod(PRIVATE_FILE)


def _name(root: Path, path: Path) -> str:
    return path.relative_to(root).as_posix()


def _to_disk(folder: Path) -> None:
    for path in (folder, *(path for path in folder.rglob("*") if path.is_dir())):
        files.to_disk(path)
