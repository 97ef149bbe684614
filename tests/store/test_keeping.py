"""Until when records are kept: what is over by policy, and a change of policy for what is recorded."""

from __future__ import annotations

import datetime as dt
import time
from pathlib import Path
from typing import Any

import pytest

from tests.support.upkeep import STARTED_US, chat, new_home, queried, stored
from tracecli.config import Home
from tracecli.exchange import Captured
from tracecli.store import keeping
from tracecli.store.connection import opened
from tracecli.store.keeping import DueOf, Terms

DAY = 86_400
BEGIN = dt.datetime.fromtimestamp(STARTED_US // 1_000_000, dt.UTC)
LONG = 10_000.0 * DAY
EVER = Terms(None, None)


def after(days: float) -> dt.datetime:
    """So many days after all requests of these tests."""
    return BEGIN + dt.timedelta(days=days)


def kept(content: int | None = None, record: int | None = None, **changes: Any) -> Captured:
    """A request that is kept for so many days."""
    content_us, record_us = (
        None if days is None else STARTED_US + days * DAY * 1_000_000 for days in (content, record)
    )
    return chat(content_until_us=content_us, metadata_until_us=record_us, **changes)


def size(*ones: Captured) -> int:
    return sum(len(one.request_body) + len(one.response_body) for one in ones)


def untils(home: Home) -> list[tuple[float | None, float | None]]:
    """For how many days content and record of each request are kept, in their order."""
    rows = queried(
        home,
        "SELECT epoch_us(content_until) - epoch_us(started_at), epoch_us(metadata_until) - epoch_us(started_at)"
        " FROM exchange ORDER BY id",
    )
    days = [[None if us is None else us / 1_000_000 / DAY for us in row] for row in rows]
    return [(content, record) for content, record in days]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    monkeypatch.setenv("TRACECLI_POLICIES", str(tmp_path / "policies"))
    return new_home(tmp_path)


def test_what_is_over(home: Home) -> None:
    """By policy, to the microsecond; a record that goes takes its content along, metered ones have none to lose."""
    brief, both = kept(20_000, policy="brief"), kept(None, 20_000, policy="both")
    metered = kept(20_000, 20_001, policy="both", traced=False)
    stored(home, brief, kept(20_002, policy="brief"), both, Captured(metered.exchange, b"", b""), kept())
    assert keeping.due(home, after(20_000) - dt.timedelta(microseconds=1)).policies == []
    found = keeping.due(home, after(20_000))
    assert found.policies == [
        DueOf(policy="both", content=1, content_bytes=size(both), records=1),
        DueOf(policy="brief", content=1, content_bytes=size(brief), records=0),
    ]
    assert (found.content, found.content_bytes, found.records) == (2, size(brief, both), 1)
    assert keeping.due(home, after(20_001)).records == 2


def test_what_is_recorded(home: Home) -> None:
    """By policy: how much, how much of it for ever, and what goes next; content that went is counted apart."""
    ones = [kept(20_000, 30_000), kept(None, 25_000), kept()]
    stored(home, *ones, kept(policy="other", traced=False))
    with opened(home, write=True) as connection:
        connection.execute("UPDATE exchange SET content_removed_at = now() WHERE id = $1::UUID", [ones[0].exchange.id])
    default, other = keeping.holdings(home)
    assert (default.policy, default.exchanges, default.content, default.content_removed) == ("default", 3, 2, 1)
    assert default.content_bytes == size(*ones[1:])
    assert (default.content_for_ever, default.next_content) == (1, after(25_000))
    assert (default.records_for_ever, default.next_record) == (1, after(25_000))
    assert (other.policy, other.content, other.next_content, other.next_record) == ("other", 0, None, None)


def test_a_home_without_records(home: Home) -> None:
    """Nothing is over, recorded or changed where there is no database, and none is made."""
    assert (keeping.due(home, BEGIN).policies, keeping.holdings(home)) == ([], [])
    assert keeping.apply(home, BEGIN, "default", EVER, {}, dry_run=False).exchanges == 0
    assert not home.database.exists()


def test_applying_a_policy(home: Home) -> None:
    """Its records alone are kept for as long as it says now, those of some users as theirs say; a dry run tells it."""
    stored(home, kept(), kept(9000), kept(20_000, 20_000), kept(user="bob"), kept(policy="other"))
    own = {"bob": Terms(LONG, None), "nobody": EVER}
    terms = Terms(30.0 * DAY, 365.0 * DAY)
    before = untils(home)
    dry = keeping.apply(home, after(40), "default", terms, own, dry_run=True)
    assert untils(home) == before
    assert (dry.exchanges, dry.sooner, dry.later) == (4, 4, 0)
    assert (dry.due_content, dry.due_records) == (3, 0)
    done = keeping.apply(home, after(40), "default", terms, own, dry_run=False)
    assert untils(home) == [(30, 365)] * 3 + [(10_000, None), (None, None)]
    assert [(getattr(done, name), name) for name in done.__struct_fields__ if name != "dry_run"] == [
        (getattr(dry, name), name) for name in dry.__struct_fields__ if name != "dry_run"
    ]
    assert keeping.due(home, after(40)).content == done.due_content
    assert keeping.due(home, after(40)).content_bytes == done.due_content_bytes
    again = keeping.apply(home, after(40), "default", EVER, own, dry_run=False)
    assert (again.sooner, again.later, again.due_content) == (0, 3, 0)
    assert untils(home)[:3] == [(None, None)] * 3


def test_content_that_went_stays_gone(home: Home) -> None:
    """Whatever a policy says now, what was removed is no content that is kept; its record follows the policy."""
    stored(home, kept(20_000))
    with opened(home, write=True) as connection:
        connection.execute("UPDATE exchange SET content_removed_at = content_until")
    keeping.apply(home, BEGIN, "default", Terms(LONG, LONG), {}, dry_run=False)
    assert untils(home) == [(20_000, 10_000)]
    assert keeping.holdings(home)[0].content == 0


@pytest.mark.parametrize("batch", [1, 2, 3, 6, 7, 8])
def test_batches(home: Home, monkeypatch: pytest.MonkeyPatch, batch: int) -> None:
    """However many go at once, all are changed."""
    stored(home, *(kept() for _ in range(7)))
    monkeypatch.setattr(keeping, "_BATCH", batch)
    monkeypatch.setattr(keeping, "_PAUSE_S", 0)
    keeping.apply(home, BEGIN, "default", Terms(LONG, None), {}, dry_run=False)
    assert untils(home) == [(10_000, None)] * 7


def test_killed_between_batches(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kill between two batches leaves what is done, and applying again does the rest."""
    stored(home, *(kept() for _ in range(5)))
    monkeypatch.setattr(keeping, "_BATCH", 2)

    def killed(_: float) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(time, "sleep", killed)
        with pytest.raises(KeyboardInterrupt):
            keeping.apply(home, BEGIN, "default", Terms(LONG, None), {}, dry_run=False)
    assert {content for content, _ in untils(home)} == {10_000, None}
    keeping.apply(home, BEGIN, "default", Terms(LONG, None), {}, dry_run=False)
    assert untils(home) == [(10_000, None)] * 5
