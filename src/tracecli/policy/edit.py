"""Editing policies: what the command line does to the files. Comments and order survive, and no edit is lost.

One edit at a time: a lock file in the folder sees to it. Before anything is written, the whole folder has to load with
the edit applied. Files are replaced whole, in an order in which the folder loads after each of them.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import fcntl
import os
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import tomlkit
from tomlkit.exceptions import TOMLKitError

from tracecli.config import Home
from tracecli.errors import ConfigError
from tracecli.identity import clean
from tracecli.policy import checks, history
from tracecli.policy.files import PRICES, SUFFIX, USERS, FileError, Loaded, load, text_of, user_file
from tracecli.policy.history import Change, differing, flat
from tracecli.policy.rules import DEFAULT, Settings, shown

LOCK = ".lock"

type Key = tuple[str, ...]
"""A key, or one in a table: `("cache", "mode")`."""
type Values = Mapping[Key, Any]


@dataclass
class Edited:
    """What an edit did."""

    changes: list[Change] = field(default_factory=list)
    hints: list[str] = field(default_factory=list)
    """What else there is to know, a sentence each."""


class CacheNeedsTracing(ConfigError):
    """The cache cannot be turned on where tracing is off."""


class _Document:
    """One file while it is edited."""

    def __init__(self, path: str, kind: Literal["policy", "user"], name: str, text: str | None) -> None:
        self.path, self.kind, self.name = path, kind, name
        self.before: dict[str, Any] | None = None if text is None else tomllib.loads(text)
        self.table: dict[str, Any] = tomllib.loads(text or "")
        self._layout = tomlkit.parse(text or "")

    def set(self, key: Key, value: Any) -> None:
        """Give a key a value, or with None take it out."""
        if value is None:
            _unset(self._layout, key)
            _unset(self.table, key)
            return
        _set(self._layout, key, value, tomlkit.table)
        _set(self.table, key, value, dict)

    def text(self) -> str:
        """The file as it will be. Raises FileError if it would say something else than it should."""
        text = tomlkit.dumps(self._layout)
        try:
            if flat(tomllib.loads(text)) == flat(self.table):
                return text
        except tomllib.TOMLDecodeError:
            pass
        raise FileError(self.path, "is written in a way that cannot be edited by a command", "Edit it by hand.")


def _set(table: Any, key: Key, value: Any, new: Callable[[], Any]) -> None:
    for part in key[:-1]:
        if not isinstance(table.get(part), Mapping):
            table[part] = new()
        table = table[part]
    table[key[-1]] = value


def _unset(table: Any, key: Key) -> None:
    for part in key[:-1]:
        table = table.get(part)
        if not isinstance(table, Mapping):
            return
    if key[-1] in table:
        del table[key[-1]]


class _Draft:
    """The folder while it is edited."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.policies: Loaded = load(folder)
        self.edited = Edited()
        self._writes: dict[str, _Document | None] = {}
        self._texts: dict[str, str | None] = {}

    def policy(self, name: str) -> _Document:
        """The file of a policy that exists, for editing. Raises ConfigError if there is none."""
        self.check_policy(name)
        return self._opened(self.policies.files.policies[name].path, "policy", name)

    def check_policy(self, name: str) -> None:
        """Raises ConfigError if there is no policy of this name."""
        if name not in self.policies.policies:
            raise ConfigError(
                f"there is no policy {name!r}", f"Name one of: {', '.join(sorted(self.policies.policies))}."
            )

    def user(self, name: str) -> _Document:
        """The file of a user, for editing; a new one if there is none. Raises ConfigError if it cannot be a user's."""
        file = self.policies.files.users.get(name)
        if file is not None:
            return self._opened(file.path, "user", name)
        if not name or name != clean(name):
            better = f": {clean(name)!r} is what its requests are recorded under" if clean(name) else ""
            raise ConfigError(
                f"{name!r} cannot be a user",
                f"Leave out outer spaces and control characters, and all beyond 200 characters{better}.",
            )
        path = self.folder / USERS / user_file(name)
        if os.path.lexists(path):
            raise ConfigError(
                f"{path} exists and belongs to another user",
                "This file system takes upper and lower case for the same: name the user in a file of your own.",
            )
        document = _Document(str(path), "user", name, None)
        if "~" in path.name:
            document.set(("user",), name)
        return document

    def write(self, document: _Document) -> None:
        """Have a file written."""
        self._writes[document.path] = document
        self._texts[document.path] = document.text()

    def create(self, name: str, text: str) -> _Document:
        """Have a policy made. Raises ConfigError if it cannot be called that."""
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", name) or name + SUFFIX == PRICES:
            raise ConfigError(f"{name!r} cannot be the name of a policy", "Use letters, digits, dots and dashes.")
        path = self.folder / (name + SUFFIX)
        if os.path.lexists(path):
            raise ConfigError(f"there is a policy {name!r} already", "Choose another name.")
        document = _Document(str(path), "policy", name, text)
        document.before = None
        return document

    def delete(self, document: _Document) -> None:
        """Have a file removed."""
        self._writes[document.path] = None
        self._texts[document.path] = None
        self.edited.changes.append(_change(document, deleted=True))

    def commit(self, home: Home) -> None:
        """Do it, if the folder loads then. Raises FileError if it would not, ConfigError if it cannot be written."""
        changes = [_change(document) for document in self._writes.values() if document]
        self.edited.changes[:0] = [one for one in changes if one.changes or one.event == "created"]
        if not self.edited.changes:
            return
        now = dt.datetime.now(dt.UTC)
        try:
            after = load(self.folder, self.policies, self._texts)
        except FileError as error:
            key = f"key `{error.key}`: " if error.key else ""
            raise ConfigError(f"{Path(error.path).name}: {key}{error.what}", "Nothing was changed.") from error
        known = {(one.file, one.problem) for one in checks.warnings(self.policies, now)}
        self.edited.hints += [
            f"{one.name}: {one.problem}. {one.remedy}".strip()
            for one in checks.warnings(after, now)
            if (one.file, one.problem) not in known
        ]
        with history.editing(home, self.folder):
            for path, text in self._texts.items():
                _write(Path(path), text, self.folder)

    def _opened(self, path: str, kind: Literal["policy", "user"], name: str) -> _Document:
        if Path(path).is_symlink():
            raise FileError(path, "is a link", f"Edit the file that it leads to: {os.path.realpath(path)}.")
        try:
            return _Document(path, kind, name, text_of(path))
        except TOMLKitError as error:
            raise FileError(path, f"cannot be edited by a command: {error}", "Edit it by hand.") from error


@contextlib.contextmanager
def _editing(home: Home, folder: Path) -> Iterator[_Draft]:
    with _alone(folder):
        draft = _Draft(folder)
        yield draft
        draft.commit(home)


def set_policy(home: Home, folder: Path, name: str, values: Values, retry: str = "") -> Edited:
    """Change the keys of a policy; a value of None takes a key out. `retry` is the command that would turn on the cache
    and tracing with it.

    Raises ConfigError, and nothing is changed, if the result would not load or would cache without tracing.
    """
    with _editing(home, folder) as draft:
        document = draft.policy(name)
        _apply(draft, document, values)
        extends = document.table.get("extends")
        below = draft.policies.policies.get(extends) if isinstance(extends, str) else None
        _check_cache(document, values, below.settings if below else Settings(), retry)
        draft.write(document)
    return draft.edited


def create_policy(home: Home, folder: Path, name: str, like: str | None, values: Values, retry: str = "") -> Edited:
    """Make a policy, empty or with the text of another, but for what that matches. Raises as `set_policy` does."""
    with _editing(home, folder) as draft:
        text = ""
        if like is not None:
            original = draft.policy(like)
            if "match" in original.table:
                original.set(("match",), None)
                draft.edited.hints.append(f"the headers that {like} matches were left out")
            text = original.text()
        document = draft.create(name, text)
        _apply(draft, document, values)
        _check_cache(document, values, Settings(), retry)
        draft.write(document)
    return draft.edited


def rename_policy(home: Home, folder: Path, old: str, new: str) -> Edited:
    """Give a policy another name, wherever it is named. Raises ConfigError if that cannot be done."""
    with _editing(home, folder) as draft:
        _not_default(old, "renamed")
        original = draft.policy(old)
        draft.write(draft.create(new, original.text()))
        for document, key in _naming(draft, old):
            document.set((key,), new)
            draft.write(document)
        draft.delete(original)
    return draft.edited


def delete_policy(home: Home, folder: Path, name: str, *, reassign: str | None = None, force: bool = False) -> Edited:
    """Remove a policy. Whoever uses it gets `reassign`, or with `force` what applies without it.

    Raises ConfigError if it is in use and neither is given.
    """
    with _editing(home, folder) as draft:
        _not_default(name, "deleted")
        document = draft.policy(name)
        if reassign is not None:
            draft.check_policy(reassign)
            if reassign == name:
                raise ConfigError(f"{name!r} cannot be replaced by itself", "Name another policy.")
        naming = list(_naming(draft, name))
        if naming and reassign is None and not force:
            raise ConfigError(
                f"policy {name!r} is used by {_users_of(naming)}",
                f"Give them another: `tracecli policy delete {name} --reassign {DEFAULT}`; "
                "or with --force what applies without it.",
            )
        for other, key in naming:
            other.set((key,), reassign)
            if key == "temporary_policy" and reassign is None and not _own_settings(other.table):
                other.set(("expires_at",), None)
            draft.write(other)
        draft.delete(document)
    return draft.edited


def set_user(
    home: Home,
    folder: Path,
    user: str,
    *,
    policy: str | None = None,
    values: Values,
    expires_at: dt.datetime | Literal["never"] | None = None,
    retry: str = "",
) -> Edited:
    """Assign a policy to a user, or with `expires_at` a temporary one, and change settings of the user's own.

    What had expired is cleared first: it would come back with a new time. Raises as `set_policy` does.
    """
    with _editing(home, folder) as draft:
        if policy is not None:
            draft.check_policy(policy)
        document = draft.user(user)
        table = document.table
        ended = table.get("expires_at")
        if isinstance(ended, dt.datetime) and ended <= dt.datetime.now(dt.UTC) and document.before:
            for key in ("temporary_policy", "expires_at", *_own_settings(table)):
                document.set((key,), None)
            draft.edited.hints.append("what had expired was cleared")
        if isinstance(expires_at, dt.datetime):
            document.set(("expires_at",), expires_at)
            if policy is not None:
                document.set(("temporary_policy",), policy)
        else:
            if policy is not None:
                document.set(("policy",), policy)
            if expires_at == "never":
                document.set(("temporary_policy",), None)
                document.set(("expires_at",), None)
        _apply(draft, document, values)
        _end(draft, document, policy, values, expires_at)
        base = draft.policies.policies.get(table.get("temporary_policy") or table.get("policy") or DEFAULT)
        _check_cache(document, values, base.settings if base else Settings(), retry)
        draft.write(document)
    return draft.edited


def clear_user(home: Home, folder: Path, user: str) -> Edited:
    """Take away a user's policies and settings. To which credentials the user is bound stays, if anything.

    Raises ConfigError if there is no file of that user.
    """
    with _editing(home, folder) as draft:
        if user not in draft.policies.files.users:
            raise ConfigError(
                f"there is nothing of a user {user!r}", "See `tracecli policy user list` for who has a file."
            )
        document = draft.user(user)
        if document.table.get("credentials"):
            for key in ("policy", "temporary_policy", "expires_at", *_own_settings(document.table)):
                document.set((key,), None)
            draft.write(document)
            draft.edited.hints.append("the credentials that the user is bound to stay")
        else:
            draft.delete(document)
    return draft.edited


def _apply(draft: _Draft, document: _Document, values: Values) -> None:
    for key, value in values.items():
        document.set(key, value)
    turns_off = values.get(("tracing",)) is False
    cache = document.table.get("cache")
    if turns_off and ("cache", "mode") not in values and isinstance(cache, dict) and cache.get("mode", "off") != "off":
        document.set(("cache", "mode"), "off")
        draft.edited.hints.append("the cache is off too: it needs tracing")


def _check_cache(document: _Document, values: Values, below: Settings, retry: str) -> None:
    if values.get(("cache", "mode")) in (None, "off"):
        return
    if not document.table.get("tracing", below.tracing):
        raise CacheNeedsTracing(
            f"the cache needs tracing, and tracing is off for {document.kind} {document.name!r}",
            f"Turn both on: `{retry}`" if retry else "Turn tracing on.",
        )


def _end(draft: _Draft, document: _Document, policy: str | None, values: Values, given: object) -> None:
    """See that what ends has an end, and the other way round."""
    table = document.table
    ends, temporary, own = table.get("expires_at"), table.get("temporary_policy"), _own_settings(table)
    if not isinstance(ends, dt.datetime):
        return
    if not temporary and not own:
        if given is not None:
            raise ConfigError(
                f"nothing of user {document.name!r} would expire", "Give --policy or a setting with --expires."
            )
        document.set(("expires_at",), None)
    elif given is None and temporary and policy:
        draft.edited.hints.append(f"the temporary policy {temporary} goes before it until {shown(ends.timestamp())}")
    elif given is None and own and values:
        draft.edited.hints.append(f"the settings end at {shown(ends.timestamp())}, as the file says")


def _own_settings(table: Mapping[str, Any]) -> list[str]:
    return [key for key in table if key in Settings.__struct_fields__]


def _not_default(name: str, what: str) -> None:
    if name == DEFAULT:
        raise ConfigError(f"the policy {DEFAULT!r} cannot be {what}", "It is what everybody has who has nothing else.")


def _naming(draft: _Draft, name: str) -> Iterator[tuple[_Document, str]]:
    """The files that name a policy, and the key that does."""
    for other, file in draft.policies.files.policies.items():
        if file.table.get("extends") == name:
            yield draft.policy(other), "extends"
    for user, file in draft.policies.files.users.items():
        keys = [key for key in ("policy", "temporary_policy") if file.table.get(key) == name]
        document = draft.user(user) if keys else None
        for key in keys:
            assert document is not None  # noqa: S101 - there are keys
            yield document, key


def _users_of(naming: Sequence[tuple[_Document, str]]) -> str:
    names = list(dict.fromkeys(f"{document.kind} {document.name!r}" for document, _ in naming))
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return ", ".join(names[:5]) + more


def _change(document: _Document, *, deleted: bool = False) -> Change:
    before, after = flat(document.before or {}), {} if deleted else flat(document.table)
    event: Literal["created", "changed", "deleted"] = "deleted" if deleted else "changed"
    return Change(
        file=document.path,
        kind=document.kind,
        name=document.name,
        event="created" if document.before is None else event,
        changes=differing(before, after),
    )


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    try:
        file = os.open(folder / LOCK, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o666)
    except OSError as error:
        raise _unwritable(folder, error) from error
    try:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
    finally:
        os.close(file)


def _write(path: Path, text: str | None, folder: Path) -> None:
    """Replace, make or remove a file; who may read the old one, or default.toml, may read the new one."""
    draft = path.with_name(f".{os.getpid()}.{os.urandom(4).hex()}")
    try:
        if text is None:
            path.unlink(missing_ok=True)
            return
        if not path.parent.exists():
            path.parent.mkdir(mode=folder.stat().st_mode & 0o777)
        like = (path if path.exists() else folder / f"{DEFAULT}{SUFFIX}").stat()
        with draft.open("xb") as file:
            os.fchmod(file.fileno(), like.st_mode & 0o777)
            with contextlib.suppress(PermissionError):
                os.fchown(file.fileno(), like.st_uid, like.st_gid)
            file.write(text.encode())
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise _unwritable(path, error) from error


def _unwritable(path: Path, error: OSError) -> ConfigError:
    return ConfigError(f"cannot write {path}: {error.strerror}", "Make the policy folder writable for you.")
