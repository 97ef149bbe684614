"""Sums over exchanges: `finding.statistics`, `tracecli usage stats` and `usage me`."""

from __future__ import annotations

import datetime as dt
import json
from decimal import Decimal
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from tests.support.chats import COST, START, answered, asked, call, store
from tests.test_finding import EXCHANGES, NOW, store_unestimated
from tracecli import finding
from tracecli.cli.main import run
from tracecli.config import Home
from tracecli.query.orders import GROUPS
from tracecli.query.syntax import EVERYTHING, parse
from tracecli.spool import SpoolWriter
from tracecli.store.statistics import Order
from tracecli.tables.statistics import bar


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """Half of the exchanges in the store, half in the spool."""
    home = Home(tmp_path_factory.mktemp("statistics") / "home")
    home.prepare()
    store_unestimated(home, *EXCHANGES[:3])
    writer = SpoolWriter(home.spool)
    assert all(writer.append(one) for one in EXCHANGES[3:])
    writer.close()
    return home


def test_sums_of_all(home: Home) -> None:
    """Without groups there is one of all; what is unknown is counted, not taken for zero."""
    [all_] = finding.statistics(home, EVERYTHING, [], NOW)
    assert (all_.key, all_.requests, all_.errors) == ((), 6, 1)
    assert (all_.input_tokens, all_.cost_usd, all_.cost_unknown) == (2000, 2 * Decimal(COST), 4)
    assert all_.duration is not None
    assert all_.duration.p50 == 900.0
    assert finding.statistics(home, parse("user:nobody"), [], NOW) == []


@pytest.mark.parametrize(
    ("by", "groups"),
    [
        (["user"], {("alice",): 3, ("bob",): 1, ("carol",): 1, ("dave",): 1}),
        (["status"], {("200",): 5, ("500",): 1}),
        (["tool"], {("search",): 1, (None,): 5}),
        (["user", "status"], {("alice", "200"): 3, ("bob", "500"): 1, ("carol", "200"): 1, ("dave", "200"): 1}),
    ],
)
def test_groups(home: Home, by: list[str], groups: dict[tuple[str | None, ...], int]) -> None:
    """Each exchange counts in its group, stored or spooled; those with most come first."""
    found = finding.statistics(home, EVERYTHING, by, NOW)
    assert {group.key: group.requests for group in found} == groups
    assert [group.requests for group in found] == sorted(groups.values(), reverse=True)


@pytest.mark.parametrize("by", GROUPS)
def test_every_group_adds_up(home: Home, by: str) -> None:
    """Whatever it is broken down by, the parts are the whole."""
    found = finding.statistics(home, EVERYTHING, [by], NOW)
    assert sum(group.requests for group in found) >= 6
    assert sum(group.input_tokens or 0 for group in found) >= 2000
    assert all((group.cost_usd is None) == (group.cost_unknown == group.requests) for group in found)


@pytest.mark.parametrize("by", [["user"], ["session"], ["tool", "user"], ["hour", "session"]])
@pytest.mark.parametrize("order", ["requests", "cost", "errors", "p95", "latest"])
def test_the_first_groups(home: Home, by: list[str], order: Order) -> None:
    """They are what they are among all, in the order that was asked for, and the others are counted."""
    every = {group.key: group for group in finding.statistics(home, EVERYTHING, by, NOW)}
    shown, number = finding.first_statistics(home, EVERYTHING, by, NOW, order=order, limit=2)
    assert (len(shown), number) == (min(2, len(every)), len(every))
    assert [every[group.key] for group in shown] == shown
    whole, _ = finding.first_statistics(home, EVERYTHING, by, NOW, order=order, limit=100)
    assert {group.key for group in whole} == every.keys()
    assert whole[:2] == shown
    figures: dict[str, list[float]] = {
        "requests": [group.requests for group in whole],
        "cost": [float(group.cost_usd or 0) for group in whole],
        "errors": [group.errors for group in whole],
        "p95": [group.duration.p95 if group.duration else 0.0 for group in whole],
    }
    if order in figures:
        assert figures[order] == sorted(figures[order], reverse=True)
    assert finding.first_statistics(home, parse("user:nobody"), by, NOW, order=order, limit=2) == ([], 0)


def test_days_are_the_readers(home: Home) -> None:
    """A day begins at midnight where the reader is."""
    at = dt.datetime.fromtimestamp(START / 1e6, dt.UTC)
    for zone in (dt.UTC, ZoneInfo("Asia/Tokyo"), ZoneInfo("America/Los_Angeles")):
        [day] = finding.statistics(home, EVERYTHING, ["day"], NOW, zone)
        [hour] = finding.statistics(home, EVERYTHING, ["hour"], NOW, zone)
        assert (day.key, hour.key) == (
            (f"{at.astimezone(zone):%Y-%m-%d}",),
            (f"{at.astimezone(zone):%Y-%m-%d %H:00}",),
        )


def test_sums_of_hostile_figures(tmp_path: Path) -> None:
    """The largest numbers that a provider can report do not stop the count."""
    home = Home(tmp_path / "home")
    home.prepare()
    usage = {"prompt_tokens": 2**53 - 1, "completion_tokens": 2**53 - 1}
    answer = json.loads(answered("x", "\x1b[31m'; DROP")) | {"usage": usage}
    store(home, *(call(n, asked("a"), json.dumps(answer).encode()) for n in range(3)))
    [group] = finding.statistics(home, parse("tokens:>1k"), ["model"], NOW)
    assert group.input_tokens == 3 * (2**53 - 1)


def test_the_command(home: Home, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """`usage stats` counts what a query says; in a pipe and as JSON with the same names."""
    monkeypatch.setenv("TRACECLI_HOME", str(home.root))
    assert run(["usage", "stats", "--by", "user", "-user:dave", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [(one["user"], one["requests"]) for one in told] == [("alice", 3), ("bob", 1), ("carol", 1)]
    assert told[0]["cost_usd"] == "0.00042"
    assert told[0]["duration_p95_ms"] == 900.0
    assert run(["usage", "stats", "--by", "user", "--limit", "1"]) == 0
    names, values = capsys.readouterr().out.splitlines()
    assert names.split() == list(told[0])
    assert values.split()[:2] == ["alice", "3"]
    assert run(["usage", "stats", "--by", "usr"]) == 2
    assert "Did you mean `user`?" in capsys.readouterr().err
    assert run(["usage", "stats", "--by", "user,model,day"]) == 2
    assert run(["usage", "stats", "user:nobody"]) == 0
    assert "fits" in capsys.readouterr().err


def test_what_one_user_did(home: Home, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """`usage me` adds up the last hours, days and months of one user; a name with a star is that name."""
    monkeypatch.setenv("TRACECLI_HOME", str(home.root))
    assert run(["usage", "me", "--user", "a*"]) == 0
    assert "Nothing was recorded of a*" in capsys.readouterr().err
    assert run(["usage", "me", "--user", "alice", "--json"]) == 0
    assert list(json.loads(capsys.readouterr().out)) == ["hours", "days", "months"]


def test_bars() -> None:
    """A bar is as long as its share; a little is not nothing."""
    assert [bar(share, 2) for share in (0, 0.0001, 0.5, 0.75, 1, 7)] == ["  ", "▏ ", "█ ", "█▌", "██", "██"]
