"""Validation: everything that is wrong at once, and what is right and probably not meant."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest

from tests.policy.folders import folder
from tracecli.errors import ConfigError
from tracecli.policy.checks import validate

NOW = dt.datetime(2026, 11, 23, 12, tzinfo=dt.UTC)


def found(path: Path) -> list[tuple[str, str, int | None, str]]:
    return [(one.severity, Path(one.file).name, one.line, one.key) for one in validate(path, NOW)]


def test_every_error_is_found(tmp_path: Path) -> None:
    """All errors of all files, each with its line; a policy that is broken is not said to be missing too."""
    folder(
        tmp_path,
        a='tracng = true\nsampling = 7\n[cache]\nmode = "x"\nttl = "?"',
        b="x = ",
        c='extends = "gone"',
        users__u='policy = "b"\ntemporary_policy = "gone"',
        users__v='policy = "gone"\n[cache]\nmax_bytes = 1',
    )
    assert sorted(found(tmp_path)) == sorted(
        [
            ("error", "a.toml", 1, "tracng"),
            ("error", "a.toml", 2, "sampling"),
            ("error", "a.toml", 4, "cache.mode"),
            ("error", "a.toml", 5, "cache.ttl"),
            ("error", "b.toml", 1, ""),
            ("error", "c.toml", 1, "extends"),
            ("error", "u.toml", 2, "temporary_policy"),
            ("error", "v.toml", 1, "policy"),
            ("error", "v.toml", 3, "cache.max_bytes"),
        ]
    )
    assert all(one.remedy for one in validate(tmp_path, NOW))


def test_warnings(tmp_path: Path) -> None:
    """Expired settings, a cache that stays off, a match that never wins, a user that no request has."""
    folder(
        tmp_path,
        off="tracing = false",
        above='extends = "off"\n[cache]\nmode = "on"',
        m1='[match]\nX-Team = "r*"',
        m2='[match]\nx-team = "Red"',
        m3='[match]\nx-team = "r?d"\n',
        m4='[match]\nx-team = "red"\nx-site = "*"',
        users__old="tracing = false\nexpires_at = 2026-11-23T12:00:00Z",
        users__new="tracing = false\nexpires_at = 2026-11-23T12:00:01Z",
        users__off='policy = "off"\n[cache]\nmode = "on"',
        users__fine='policy = "above"\n',
        **{"users__%20x": ""},
    )
    assert sorted(found(tmp_path)) == sorted(
        [
            ("warning", "above.toml", 3, "cache.mode"),
            ("warning", "m2.toml", 1, "match"),
            ("warning", "old.toml", 2, "expires_at"),
            ("warning", "off.toml", 3, "cache.mode"),
            ("warning", "%20x.toml", None, ""),
        ]
    )


def test_one_file(tmp_path: Path) -> None:
    """A file of a folder is seen among the others; one that is alone, by itself."""
    folder(tmp_path / "p", a="x = 1", b="x = 1", users__u='policy = "gone"')
    assert found(tmp_path / "p" / "a.toml") == [("error", "a.toml", 1, "x")]
    assert found(tmp_path / "p" / "users" / "u.toml") == [("error", "u.toml", 1, "policy")]
    (tmp_path / "draft.toml").write_text('extends = "anything"\nsampling = 2')
    assert found(tmp_path / "draft.toml") == [("error", "draft.toml", 2, "sampling")]
    with pytest.raises(ConfigError, match="does not exist"):
        validate(tmp_path / "gone.toml", NOW)


def test_an_empty_folder(tmp_path: Path) -> None:
    """A folder without a default is an error."""
    assert found(tmp_path) == [("error", "default.toml", None, "")]
