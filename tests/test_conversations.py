"""Sessions: those that clients name, and those that their messages tell."""

from __future__ import annotations

import datetime as dt
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.chats import START, answered, call, store
from tests.support.looks import rendered
from tests.support.rows import NOW as ROWS_NOW
from tests.support.rows import row
from tracecli import conversations
from tracecli.cli.main import run
from tracecli.config import Home
from tracecli.exchange import Captured
from tracecli.query.syntax import EVERYTHING, parse
from tracecli.spool import SpoolWriter
from tracecli.tables.sessions import timeline

NOW = dt.datetime.fromtimestamp(START / 1e6 + 3600, dt.UTC)


def _turn(second: float, *texts: str, user: str = "alice", session: str | None = None, status: int = 200) -> Captured:
    roles = ("system", "user", "assistant", "user", "assistant", "user")
    messages = [{"role": role, "content": text} for role, text in zip(roles, texts, strict=False)]
    body = json.dumps({"model": "gpt-4o-mini", "messages": messages}).encode()
    return call(second, body, answered("x"), user=user, session=session, status=status)


EXCHANGES = [
    _turn(0, "Be brief.", "a"),
    _turn(1, "Be brief.", "b"),
    _turn(2, "Be brief.", "a", "1", "aa"),
    _turn(3, "x", session="agent\x1b[31m", user="bob"),
    _turn(4, "Be brief.", "a", "1", "aa", "2", "aaa"),
    _turn(5, "y", session="agent\x1b[31m", user="carol", status=500),
    _turn(6, "Be brief.", "a"),
]
IDS = [one.exchange.id for one in EXCHANGES]


@pytest.fixture(scope="module", params=["stored", "spooled"])
def home(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Home:
    """The same exchanges, in the store or in the spool."""
    home = Home(tmp_path_factory.mktemp("conversations") / "home")
    home.prepare()
    if request.param == "stored":
        store(home, *EXCHANGES)
    else:
        writer = SpoolWriter(home.spool)
        assert all(writer.append(one) for one in EXCHANGES)
        writer.close()
    return home


def test_sessions_are_found(home: Home) -> None:
    """Those with an id and those without, with their sums; a request alone is no session."""
    agent, inferred = conversations.sessions(home, EVERYTHING, NOW, None, 10)
    assert (agent.name, agent.requests, agent.errors) == ("agent\x1b[31m", 2, 1)
    assert agent.users == ["bob", "carol"]
    assert (inferred.name, inferred.requests, inferred.errors) == (f"~{IDS[0]}", 3, 0)
    assert inferred.input_tokens == 3000
    assert (inferred.last_at - inferred.first_at).total_seconds() == 4.9
    assert conversations.sessions(home, EVERYTHING, NOW, None, 10, infer=False) == [agent]
    assert conversations.sessions(home, parse("user:alice"), NOW, None, 10) == [inferred]


def test_one_session(home: Home) -> None:
    """It is found by its id, by one of its exchanges, and by the name that it was given, oldest exchange first."""
    for name in (f"~{IDS[0]}", IDS[2], IDS[4]):
        assert [one.id for one in conversations.session(home, name, NOW)] == [IDS[0], IDS[2], IDS[4]]
    for name in ("agent\x1b[31m", IDS[3], IDS[5]):
        assert [one.id for one in conversations.session(home, name, NOW)] == [IDS[3], IDS[5]]
    assert [one.id for one in conversations.session(home, IDS[1], NOW)] == [IDS[1]]


def test_the_commands(home: Home, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """In a pipe a session and a request are a line each, as JSON they are objects; what is none is said."""
    monkeypatch.setenv("TRACECLI_HOME", str(home.root))
    assert run(["usage", "sessions"]) == 0
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert [line.split()[0] for line in out.splitlines()] == ["name", "agent\\x1b[31m", f"~{IDS[0]}"]
    assert run(["usage", "sessions", "--json", "user:alice"]) == 0
    [told] = json.loads(capsys.readouterr().out)
    assert (told["users"], told["requests"], told["cost_usd"]) == (["alice"], 3, "0.00063")
    assert run(["usage", "session", IDS[0]]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["id", IDS[0], IDS[2], IDS[4]]
    assert run(["usage", "session", IDS[0], "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)) == 3
    assert run(["usage", "session", "no-such"]) == 4
    assert run(["usage", "sessions", "user:nobody"]) == 0
    assert "No session fits." in capsys.readouterr().err


def test_a_timeline_fits_the_terminal() -> None:
    """Each request is a line of the width there is, with a bar where there is room."""
    rows = [row(100, duration_ms=20_000.0), row(60, outcome="aborted", user="x\x1b[2J"), row(0, duration_ms=1.0)]
    for width in (40, 80, 120):
        lines = rendered(timeline(rows, ROWS_NOW, dt.UTC), width, terminal=False).splitlines()
        assert len(lines) == 7
        assert ("━" in lines[2]) == (width == 120)
        assert all(line.rstrip().endswith("━") for line in lines[2:5]) == (width == 120)


@given(st.lists(st.lists(st.sampled_from("abc"), max_size=5)))
def test_each_exchange_is_in_one_chain_at_most(histories: list[list[str]]) -> None:
    """Whatever was said: no exchange is in two chains, and one with messages is in one."""
    asked = [(str(number), [{"role": text} for text in texts]) for number, texts in enumerate(histories)]
    found = [identifier for chain in conversations.chains(asked) for identifier in chain]
    assert sorted(found) == sorted(identifier for identifier, messages in asked if messages)
    assert all(chain == sorted(chain, key=int) for chain in conversations.chains(asked))
