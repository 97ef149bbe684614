"""Users of the proxy: their secrets are right or wrong, and are kept nowhere."""

from __future__ import annotations

import multiprocessing
import subprocess
import sys
from pathlib import Path

import pytest

from tracecli.errors import ConfigError, HomeError
from tracecli.proxy_users import ProxyUsers


def test_a_secret_is_right_or_wrong(tmp_path: Path) -> None:
    """A user is who has the secret; a new one ends the old one; a removed user has none."""
    users = ProxyUsers(tmp_path / "users.json")
    assert not users.any and not users.check("a", "") and not users.check("", "")
    secret = users.add("a")
    other = users.add("\u00fc \x1b")
    assert len(secret) >= 32 and secret != other
    assert users.names == ["a", "\u00fc \x1b"]
    assert users.check("a", secret) and users.check("\u00fc \x1b", other)
    assert not any(users.check(*wrong) for wrong in (("a", other), ("a", ""), ("b", secret), ("a", "\udc80\u00fc")))
    again = users.add("a")
    assert users.check("a", again) and not users.check("a", secret)
    assert users.remove("a") and not users.remove("a")
    assert not users.check("a", again)


def test_the_file_is_private_and_holds_no_secret(tmp_path: Path) -> None:
    """The file is its owner's, and no secret is in it."""
    path = tmp_path / "users.json"
    secret = ProxyUsers(path).add("a")
    assert path.stat().st_mode & 0o777 == 0o600
    assert secret not in path.read_text()


def test_a_change_is_taken_over(tmp_path: Path) -> None:
    """Another process's change is there after `refresh`; a damaged file changes nothing, and cannot be edited."""
    path = tmp_path / "users.json"
    users = ProxyUsers(path)
    secret = ProxyUsers(path).add("a")
    assert not users.check("a", secret)
    users.refresh()
    assert users.check("a", secret)
    for damage in ("", "{", "[]", '{"users": 5}', '{"users": {"a": "\u00fc"}}', '{"users": {"a": 1}}', "[" * 100_000):
        path.write_text(damage)
        users.refresh()
        assert users.check("a", secret)
        with pytest.raises(ConfigError, match="is damaged"):
            ProxyUsers(path).add("b")
    path.unlink()
    users.refresh()
    assert not users.any
    with pytest.raises(HomeError):
        ProxyUsers(tmp_path / "gone" / "users.json").add("a")


def _add(path: Path, number: int) -> None:
    for step in range(10):
        ProxyUsers(path).add(f"{number}-{step}")


def test_edits_at_once_lose_nobody(tmp_path: Path) -> None:
    """Processes that add users at the same time add all of them."""
    path = tmp_path / "users.json"
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_add, args=(path, number)) for number in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert len(ProxyUsers(path).names) == 30


def test_policies_and_users_stay_light() -> None:
    """What the proxy loads of them brings in no TOML editor, and the watcher only when it watches."""
    heavy = {"tomlkit", "watchfiles", "duckdb", "rich", "click"}
    script = (
        "import sys, tracecli.policy.files, tracecli.policy.history, tracecli.proxy_users;"
        f"print(sorted({heavy!r} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"
