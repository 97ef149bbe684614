"""Limits of size: the oldest content and the oldest records go, of whom and of what it is too much, and no more."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path

import pytest

from tests.support.chats import answered, asked, call, store
from tests.support.secrets_in_files import files_with
from tracecli import browse
from tracecli.cli.main import run
from tracecli.config import Home
from tracecli.errors import ConfigError
from tracecli.exchange import Captured
from tracecli.policy.files import load
from tracecli.store import expiry, holds, limits

NOW = dt.datetime.now(dt.UTC)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    home = Home(tmp_path / "home")
    home.prepare()
    (tmp_path / "policies" / "users").mkdir(parents=True)
    monkeypatch.setenv("TRACECLI_HOME", str(home.root))
    monkeypatch.setenv("TRACECLI_POLICIES", str(tmp_path / "policies"))
    return home


def policies(home: Home, **files: str) -> Path:
    folder = home.root.parent / "policies"
    for name, text in {"default": "", **files}.items():
        (folder / f"{name.replace('__', '/')}.toml").write_text(text)
    return folder


def said(second: int, user: str = "alice", policy: str = "default") -> Captured:
    return call(second, asked(f"content-{user}-{second} " * 100), answered("y"), user=user, policy=policy)


SIZE = len(said(0).request_body) + len(said(0).response_body)


def left(home: Home) -> dict[str, list[int]]:
    """Of each user the seconds of those with content, and minus those without."""
    found: dict[str, list[int]] = {}
    for row in browse.latest(home, 100)[::-1]:
        opened = browse.open_exchange(home, row.id)
        found.setdefault(row.user, []).append(1 if opened.request.body else 0)
    return found


def test_the_oldest_content_goes(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    """As much as is too much; the records stay. The plan says so before."""
    store(home, *(said(n) for n in range(6)))
    policies(home, default=f"[retention]\nmax_content_bytes = {SIZE * 2 + 10}")
    assert run(["retention", "plan", "--json"]) == 0
    [plan] = json.loads(capsys.readouterr().out)["too_much"]
    assert plan == {"kind": "policy", "name": "default", "content": 4, "content_bytes": SIZE * 4, "records": 0}
    assert left(home) == {"alice": [1] * 6}
    assert run(["retention", "run"]) == 0
    assert left(home) == {"alice": [0, 0, 0, 0, 1, 1]}
    assert files_with(home.root, "content-alice-3") == []
    assert files_with(home.root, "content-alice-4") != []
    assert limits.beyond(home, limits.of(load(policies(home, default="")), NOW)) == []


def test_the_oldest_records_go(home: Home) -> None:
    store(home, *(said(n) for n in range(5)))
    policies(home, default="[retention]\nmax_records = 2")
    assert run(["retention", "run"]) == 0
    assert left(home) == {"alice": [1, 1]}


def test_a_user_has_a_limit_of_his_own(home: Home) -> None:
    """He does not count for his policy, other policies have nothing to do with it, and a hold keeps what it names."""
    store(
        home,
        *(said(n, user) for n in range(4) for user in ("alice", "bob")),
        *(said(n, "carol", "other") for n in range(4)),
        *(said(n, "dave") for n in range(2)),
    )
    holds.place(home, "user", "dave", "", NOW)
    policies(
        home,
        default=f"[retention]\nmax_content_bytes = {SIZE * 3 + 10}",
        other="",
        users__bob=f"[retention]\nmax_content_bytes = {SIZE + 10}",
    )
    assert run(["retention", "run"]) == 0
    assert left(home)["bob"] == [0, 0, 0, 1]
    assert left(home)["carol"] == [1] * 4
    assert left(home)["dave"] == [1, 1]
    assert sum(left(home)["alice"]) < 4


@pytest.mark.parametrize("line", ["max_content_bytes = -1", "max_records = -5", "max_records = '3'"])
def test_wrong_limits(home: Home, line: str) -> None:
    """The file and the key are named."""
    with pytest.raises(ConfigError, match=r"default.toml.*retention.max_"):
        load(policies(home, default=f"[retention]\n{line}"))


def test_ingest_keeps_to_them_and_to_times_without_them(home: Home) -> None:
    """What is too much goes by itself; where policies cannot be read, what is over goes all the same."""
    store(home, *(said(n) for n in range(3)), call(9, asked("over"), answered("y"), user="bob", content_until_us=1))
    folder = policies(home, default="max_body_bytes = 'x'")
    expiry.Keeper(home, folder).step(NOW)
    assert left(home) == {"alice": [1, 1, 1], "bob": [0]}
    policies(home, default=f"[retention]\nmax_content_bytes = {SIZE + 10}")
    expiry.Keeper(home, folder).step(NOW)
    assert left(home)["alice"] == [0, 0, 1]


def test_an_empty_home(home: Home) -> None:
    assert limits.beyond(home, [limits.Limit(kind="policy", name="default", content_bytes=1, records=1)]) == []
