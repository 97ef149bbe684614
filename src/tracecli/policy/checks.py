"""Everything that is wrong with a folder of policies, or may be meant otherwise than it is written."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import msgspec

from tracecli.errors import ConfigError
from tracecli.identity import clean
from tracecli.policy import rules
from tracecli.policy.files import (
    FLAGS,
    SUFFIX,
    USERS,
    File,
    FileError,
    Files,
    Loaded,
    line_of,
    parsed,
    placed,
    read,
    text_of,
)
from tracecli.policy.rules import PolicyFile, UserFile, without_cache


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One thing in one file."""

    severity: Literal["error", "warning"]
    file: str
    """Its path."""
    name: str
    """The file as people call it: `policy metered`, `user 'alice'`."""
    line: int | None
    key: str
    """Empty: the file as a whole."""
    problem: str
    remedy: str


def validate(path: Path, now: dt.datetime) -> list[Finding]:
    """What is to be said of the policies in a folder, or in one file, which is seen among the others of its folder.

    Raises ConfigError if there is nothing, or it cannot be read.
    """
    if path.is_dir():
        return _of_folder(path, now)
    if not path.exists():
        raise ConfigError(f"{path} does not exist", "Give a policy file or the folder of policies.")
    folder = path.parent.parent if path.parent.name == USERS else path.parent
    if path.name.endswith(SUFFIX) and (folder / f"{rules.DEFAULT}{SUFFIX}").exists():
        return [one for one in _of_folder(folder, now) if Path(one.file) == path]
    return _of_file(path)


def _of_folder(folder: Path, now: dt.datetime) -> list[Finding]:
    errors: list[FileError] = []
    files = read(folder, errors.append, {})
    policies = {Path(error.path).stem: File(error.path, None, {}) for error in errors} | files.policies
    tables = {name: file.table for name, file in policies.items()}
    users = {name: file.table for name, file in files.users.items()}
    errors += [placed(folder, files, error) for error in rules.problems(tables, users)]
    if errors:
        return [found(error) for error in errors]
    return [
        msgspec.structs.replace(one, line=line_of(text_of(one.file), one.key)) if one.key else one
        for one in warnings(Loaded(files, None), now)
    ]


def _of_file(path: Path) -> list[Finding]:
    """A file that is in no folder of policies: what it names is not looked for."""
    try:
        file = File(str(path), None, parsed(str(path), text_of(str(path))))
    except FileError as error:
        return [found(error)]
    if path.parent.name == USERS:
        errors = list(rules.wrong_keys(f"{USERS}/{path.stem}{SUFFIX}", file.table, UserFile))
        files = Files({}, {path.stem: file})
    else:
        errors = list(rules.wrong_keys(f"{path.stem}{SUFFIX}", file.table, PolicyFile))
        files = Files({path.stem: file}, {})
    return [found(placed(path.parent, files, error)) for error in errors]


def warnings(policies: Loaded, now: dt.datetime) -> Iterator[Finding]:
    """What is right and probably not meant; without the lines, as files need not be written yet."""
    yield from _of_policies(policies)
    yield from _never_matching(policies)
    for user, own in policies.users.items():
        name, path = f"user {user!r}", policies.files.users[user].path
        if user != clean(user):
            problem = f"no request has this user: it would be {clean(user)!r}"
            yield _warning(path, name, "", problem, "Rename the file, or correct its key `user`.")
        if own.expires_at is not None and own.expires_at <= now.timestamp():
            what = [key for key in ("temporary_policy",) if own.about.temporary_policy] + list(own.values)
            if what:
                ended = f"{', '.join(f'`{key}`' for key in what)} ended at {rules.shown(own.expires_at)}"
                yield _warning(path, name, "expires_at", ended, "Take it out, or give it a new time.")
        elif own.values.get("cache", {}).get("mode", "off") != "off" and (
            why := policies.decide(user, [], now.timestamp()).no_cache
        ):
            yield _warning(path, name, "cache.mode", f"the cache stays off: {why}", 'Set `mode = "off"`.')


def _of_policies(policies: Loaded) -> Iterator[Finding]:
    for name, policy in policies.policies.items():
        if policy.settings.cache.mode != "off" and (why := without_cache(policy.settings)):
            problem = f"the cache stays off: {why}"
            yield _warning(policies.files.policies[name].path, f"policy {name}", "cache.mode", problem, "")


def _never_matching(policies: Loaded) -> Iterator[Finding]:
    order = policies.matching
    for place, (name, wanted) in enumerate(order):
        for first, others in order[:place]:
            if others.keys() == wanted.keys() and all(_covers(others[key], wanted[key]) for key in wanted):
                path = policies.files.policies[name].path
                problem = f"never applies: {first} matches whatever it does, and goes first"
                yield _warning(path, f"policy {name}", "match", problem, "Match other values, or one more header.")
                break


def _covers(wide: str, narrow: str) -> bool:
    """Whether a pattern fits all that another one does; in doubt it does not."""
    if wide.lower() == narrow.lower():
        return True
    return not set("?[") & set(wide + narrow) and rules.names_one_of(narrow, [wide])


def found(error: FileError) -> Finding:
    """What is wrong with a file of policies, users or rules."""
    path = Path(error.path)
    kind = {USERS: "user", FLAGS: "rule"}.get(path.parent.name, "policy")
    return Finding(
        severity="error",
        file=error.path,
        name=f"{kind} {path.stem}",
        line=error.line,
        key=error.key,
        problem=error.what,
        remedy=error.remedy,
    )


def _warning(path: str, name: str, key: str, problem: str, remedy: str) -> Finding:
    return Finding(severity="warning", file=path, name=name, line=None, key=key, problem=problem, remedy=remedy)
