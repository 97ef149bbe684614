"""Exchanges as they come, where the clock is set."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import time_machine

from tests.support.chats import answered, asked, call
from tracecli.config import Home
from tracecli.exchange import new_id
from tracecli.following import Watch
from tracecli.query import syntax
from tracecli.spool import SpoolWriter

NOON = dt.datetime(2026, 11, 2, 12, tzinfo=dt.UTC)


def test_a_clock_that_is_set_back(tmp_path: Path) -> None:
    """What ends after the clock went back by hours is shown, once, as is what ends after it went forward again."""
    home = Home(tmp_path / "home")
    home.prepare()
    writer = SpoolWriter(home.spool)

    def ended(user: str) -> None:
        at = int(dt.datetime.now(dt.UTC).timestamp() * 1_000_000) - 1_000_000
        assert writer.append(call(0, asked("x"), answered("x"), started_at_us=at, id=new_id(at // 1000), user=user))

    with time_machine.travel(NOON, tick=False) as clock:
        watch = Watch(home, syntax.EVERYTHING, dt.UTC, latest=10)
        for number, hours in enumerate((0, -3, 5, -1)):
            clock.shift(dt.timedelta(hours=hours))
            ended(f"user{number}")
            assert [row.user for row in watch.new()] == [f"user{number}"]
        assert watch.new() == []
    writer.close()
