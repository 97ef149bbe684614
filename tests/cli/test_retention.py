"""`tracecli retention`: what is kept, what goes, and a change of policy for what is recorded."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.looks import rendered
from tests.support.rows import NOW, ZONE
from tests.support.secrets_in_files import files_with
from tests.support.upkeep import STARTED_US, chat, new_home, policies, queried, stored
from tracecli import ingest
from tracecli.cli.main import run
from tracecli.config import Home
from tracecli.exchange import Captured
from tracecli.store.expiry import Removed
from tracecli.store.keeping import Applied, Due, DueOf
from tracecli.tables import retention as tables
from tracecli.tables.values import UNKNOWN

DAY_US = 86_400_000_000
FAR = 36_500  # days after the requests: nothing is over by the real clock


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    made = new_home(tmp_path, monkeypatch)
    (policies(made) / "default.toml").write_text("[retention]\ncontent = '30d'\n")
    return made


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[str, str]]:
    """Runs a command, and returns what it wrote to standard output and standard error."""

    def of(*args: str, code: int = 0) -> tuple[str, str]:
        assert run(["retention", *args]) == code
        out, err = capsys.readouterr()
        return out, err

    return of


def kept(content: int | None = None, record: int | None = None, **changes: Any) -> Captured:
    """A request that is kept for so many days."""
    content_us, record_us = (None if days is None else STARTED_US + days * DAY_US for days in (content, record))
    return chat(content_until_us=content_us, metadata_until_us=record_us, **changes)


def over(home: Home, column: str, user: str) -> None:
    """Let the time of a user's requests be over. Ingest, which had loaded them, did not know."""
    from tracecli.store.connection import opened

    with opened(home, write=True) as connection:
        connection.execute(f'UPDATE exchange SET {column} = started_at WHERE "user" = $1', [user])


def test_show(home: Home, said: Any) -> None:
    """Each policy with what it keeps and what is recorded, also a policy without records and one that is no more."""
    (policies(home) / "red.toml").write_text("[retention]\nmetadata = '1w'\n")
    stored(home, kept(FAR), kept(policy="former"))
    told = {one["policy"]: one for one in json.loads(said("show", "--json")[0])}
    assert list(told) == ["default", "former", "red"]
    assert (told["default"]["content"], told["default"]["metadata"]) == ("30d", "forever")
    assert told["default"]["recorded"]["next_content"] == "2126-08-28T14:13:20Z"
    assert (told["former"]["content"], told["former"]["recorded"]["content_for_ever"]) == (None, 1)
    assert (told["red"]["metadata"], told["red"]["recorded"]) == ("1w", None)
    lines = said("show")[0].splitlines()
    assert [line.split()[:4] for line in lines[1:]] == [
        ["default", "30d", "forever", "1"], ["former", "-", "-", "1"], ["red", "forever", "1w", "-"],
    ]  # fmt: skip


def test_plan(home: Home, said: Any) -> None:
    """What is over by now or by then, by policy, and nothing is removed; nothing is said where there is nothing."""
    assert said("plan") == ("", "Nothing is over.\n")
    one = kept(FAR, FAR + 1)
    stored(home, one, kept())
    assert said("plan", "--in", "1d") == ("", "Nothing is over by then.\n")
    size = len(one.request_body) + len(one.response_body)
    told = json.loads(said("plan", "--in", "40000d", "--json")[0])
    assert told["policies"] == [{"policy": "default", "content": 1, "content_bytes": size, "records": 1}]
    assert said("plan", "--in", "40000d")[0].splitlines()[1].split() == ["default", "1", str(size), "1"]
    assert queried(home, "SELECT count(*) FROM exchange WHERE content_removed_at IS NULL") == [(2,)]


@pytest.mark.parametrize("wrong", ["soon", "-1d", "999999999w", "9999999d"])
def test_a_wrong_time(home: Home, said: Any, wrong: str) -> None:
    """What is no time to come is exit code 2 and one sentence."""
    out, err = said("plan", f"--in={wrong}", code=2)
    assert out == "" and "--in" in err and err.count("\n") == 1


def test_run(home: Home, said: Any) -> None:
    """What is over is gone from every file, the rest is as it was; then there is nothing left to do."""
    stored(
        home,
        kept(user="content-goes", prompt="first secret " * 99),
        kept(user="record-goes", prompt="second secret " * 99),
        kept(user="stays", prompt="third secret " * 99),
    )
    over(home, "content_until", "content-goes")
    over(home, "metadata_until", "record-goes")
    assert json.loads(said("plan", "--json")[0])["policies"][0]["records"] == 1
    told = json.loads(said("run", "--json")[0])
    assert told["records"] == 1 and told["content"] >= 1 and told["bytes"] > 0
    for gone in ("first secret", "second secret", "record-goes"):
        assert files_with(home.root, gone) == []
    assert files_with(home.root, "third secret")
    assert queried(home, 'SELECT "user", content_removed_at IS NOT NULL FROM exchange ORDER BY 1') == [
        ("content-goes", True), ("stays", False),
    ]  # fmt: skip
    assert said("plan") == ("", "Nothing is over.\n")
    assert said("run")[0].splitlines()[1].split() == ["0", "0", "0"]


def test_run_beside_ingest(home: Home, said: Any) -> None:
    """While ingest runs nobody else removes anything: exit code 5, and one sentence says who will."""
    with ingest.alone(home, lambda: False):
        out, err = said("run", code=5)
    assert out == "" and "removes by itself what is over" in err and err.count("\n") == 1


def test_apply(home: Home, said: Any) -> None:
    """Without --yes nothing is written; with it the policy holds for what is recorded, users' own settings first."""
    users = policies(home) / "users"
    users.mkdir()
    (users / "bob.toml").write_text("[retention]\ncontent = '36500d'\n")
    (users / "eve.toml").write_text("expires_at = 2020-01-01T00:00:00Z\n[retention]\ncontent = '1d'\n")
    stored(home, *(kept(FAR + 1, user=name) for name in ("alice", "bob", "eve")), kept(FAR, policy="other"))
    days = 'SELECT "user", epoch_us(content_until - started_at) // 86400000000 FROM exchange ORDER BY ALL'
    before = queried(home, days)
    out, err = said("apply", "--policy", "default")
    assert err == "Nothing was written: --yes does it.\n"
    assert out.splitlines()[1].split()[:5] == ["default", "true", "3", "3", "0"]
    assert queried(home, days) == before
    told = json.loads(said("apply", "--policy", "default", "--yes", "--json")[0])
    assert (told["dry_run"], told["sooner"]) == (False, 3)
    assert queried(home, days) == [("alice", 30), ("alice", FAR), ("bob", 36_500), ("eve", 30)]
    assert said("apply", "--policy", "default")[1] == ""


def test_apply_a_policy_that_is_none(home: Home, said: Any) -> None:
    """A name that no policy has is exit code 3 and the names there are."""
    out, err = said("apply", "--policy", "dfault", code=3)
    assert out == "" and "there is no policy 'dfault'. Name one of: default." in err
    assert "--policy" in said("apply", code=2)[1]


def test_a_wrong_policy_file(home: Home, said: Any) -> None:
    """A retention that is none is exit code 3, with file, line and key."""
    (policies(home) / "default.toml").write_text("[retention]\ncontent = '0d'\n")
    for command in (["show"], ["apply", "--policy", "default"]):
        assert "default.toml:2: key `retention.content`: must be more than nothing" in said(*command, code=3)[1]


def test_for_people(home: Home) -> None:
    """Tables fit the terminal; sums and consequences are told in words."""
    hostile = "\x1b[2J[red]" + "p" * 90
    found = Due(NOW, [DueOf(policy=hostile, content=1200, content_bytes=4_500_000, records=0)])
    for width in (40, 80, 120):
        text = re.sub(r"\x1b\[[\d;]*m", "", rendered(tables.due(found), width))
        table = text[: text.index("\n\n")]
        assert max(map(len, table.splitlines())) <= width
        assert "\x1b" not in text and "1,200" in table
    assert "The content of 1,200 requests (4.5 MB as they passed)" in text and "of 0 requests." in text
    assert rendered(tables.removed(Removed())) == "Nothing was over.\n"
    told = " ".join(rendered(tables.removed(Removed(1, 2, 12_345))).split())
    assert told == (
        "Removed the content of 1 request, and the record of 2 requests; files of bodies take 12.3 KB less."
    )
    changed = Applied(
        policy="red", dry_run=True, exchanges=7, sooner=5, later=2, due_content=1, due_content_bytes=900, due_records=0
    )
    text = " ".join(re.sub(r"\x1b\[[\d;]*m", "", rendered(tables.applied(changed))).split())
    assert "Of 7 recorded under red, 5 would go sooner than before, and 2 later." in text
    assert "Over by now: the content of 1 request (900 bytes as they passed)" in text


def test_the_table_of_policies(home: Home, said: Any) -> None:
    """Unknown is a dash, an instant is in the reader's zone, and what does not fit goes."""
    from tracecli.policy.rules import Retention
    from tracecli.store import keeping

    stored(home, kept(FAR, FAR + 1))
    [holding] = keeping.holdings(home)
    found: list[tables.Kept] = [("default", Retention("30d"), holding), ("former", None, None)]
    wide = re.sub(r"\x1b\[[\d;]*m", "", rendered(tables.kept(found, NOW, ZONE), 120))
    assert "2126-08-28" in wide and "forever" in wide and UNKNOWN in wide
    narrow = re.sub(r"\x1b\[[\d;]*m", "", rendered(tables.kept(found, NOW, ZONE), 50))
    assert max(map(len, narrow.splitlines())) <= 50 and "with content" in narrow
