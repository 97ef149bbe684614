"""What `tracecli coverage` makes of counts and records: what each means, what helps, and how much was seen."""

from __future__ import annotations

import csv
import datetime as dt
import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from tests.support.upkeep import STARTED_US, chat, new_home, spooled, stored
from tracecli.cli.main import run
from tracecli.clients.table import CLIENTS, client_of
from tracecli.config import Home
from tracecli.coverage import coverage
from tracecli.tables import coverage as tables
from tracecli.unseen import Counts, Keeper, Kind, Reason, Where

NOW = dt.datetime.fromtimestamp(STARTED_US / 1e6, dt.UTC) + dt.timedelta(hours=1)
SINCE = NOW - dt.timedelta(days=7)
HOSTILE = "\x1b[31mred\u202e"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    return new_home(tmp_path, monkeypatch)


class Counting:
    """Counts of a home, of a day."""

    def __init__(self, home: Home) -> None:
        self.home = home
        self.counts = Counts()

    def add(
        self,
        kind: Kind,
        host: str | None,
        *,
        client: str = "",
        where: Where = "here",
        reason: Reason = "",
        days_ago: int = 0,
        times: int = 1,
    ) -> None:
        for _ in range(times):
            at = NOW.timestamp() - days_ago * 86_400
            self.counts.count(kind, host, at, client=client, where=where, reason=reason)

    def keep(self) -> None:
        Keeper(self.home, self.counts, NOW.timestamp).close()


@pytest.fixture
def counting(home: Home) -> Counting:
    return Counting(home)


def advice(home: Home, matter: str) -> str:
    [one] = [one for one in coverage(home, SINCE, NOW).unseen if one.matter == matter]
    return f"{one.means} {one.remedy}"


@pytest.mark.parametrize(
    ("client", "where", "reason", "told", "not_told"),
    [
        ("curl", "here", "unknown_ca", ["does not know", "CURL_CA_BUNDLE", "tracecli run"], ["guess"]),
        ("curl", "network", "unknown_ca", ["on another machine", "a copy of"], ["tracecli run"]),
        ("", "here", "unknown_ca", ["Start it with `tracecli run`"], ["pinned"]),
        ("", "network", "bad_certificate", ["a guess is", "Have it trust a copy"], ["tracecli run"]),
        ("node", "here", "silent", ["Node does so", "NODE_EXTRA_CA_CERTS"], ["pinned"]),
        ("Go-http-client", "here", "bad_certificate", ["guess", "SSL_CERT_FILE", "tracecli ca install"], []),
        ("Java-http-client", "here", "certificate_unknown", ["trustStore"], ["set  to"]),
        ("Python aiohttp", "here", "closed", ["aiohttp: set SSL_CERT_FILE"], []),
        ("trusting", "here", "bad_certificate", ["guess is a pinned", "reverse:https://api.openai.com"], ["set "]),
        ("trusting", "here", "unknown_ca", ["does not know"], ["pinned"]),
        ("", "here", "other", ["could not agree on TLS"], ["pinned"]),
    ],
)  # fmt: skip
def test_a_client_that_refused(
    home: Home, counting: Counting, client: str, where: Where, reason: Reason, told: list[str], not_told: list[str]
) -> None:
    """Each alert says what can be told of it, and the remedy is that of the client."""
    counting.add("opened", "api.anthropic.com", client="trusting")
    counting.add("refused", "api.openai.com", client=client, where=where, reason=reason)
    counting.keep()
    text = advice(home, "refused")
    assert all(words in text for words in told), text
    assert not any(words in text for words in not_told), text


def test_every_agent_names_one_client() -> None:
    """No two clients claim the same product, and each is found by its own."""
    agents = [agent.lower() for client in CLIENTS for agent in client.agents]
    assert len(agents) == len(set(agents)) > 15
    assert all(client_of(agent) is client for client in CLIENTS for agent in client.agents)
    assert client_of("Python aiohttp") is client_of("aiohttp")
    assert client_of("") is client_of("nobody") is None


def test_how_much_was_seen(home: Home, counting: Counting) -> None:
    """Days add up, days before --since do not count, and what has no name is in the sum alone."""
    counting.add("opened", "api.openai.com", times=6)
    counting.add("opened", "api.openai.com", days_ago=10, times=9)
    counting.add("refused", "api.openai.com", reason="unknown_ca", times=2)
    counting.add("passed", "api.anthropic.com", days_ago=6)
    counting.add("passed", "llm.example.com", days_ago=3, times=2)
    counting.add("passed", "llm.example.com")
    counting.add("passed", None, times=40)
    counting.keep()
    found = coverage(home, SINCE, NOW)
    there = found.connections
    assert (there.opened, there.refused, there.passed, there.passed_known, there.others) == (6, 2, 4, 1, 40)
    assert there.share == 6 / 9
    assert [(one.matter, one.host, one.times, one.provider) for one in found.unseen] == [
        ("refused", "api.openai.com", 2, "openai"),
        ("passed", "llm.example.com", 3, None),
        ("passed", "api.anthropic.com", 1, "anthropic"),
    ]
    span = found.unseen[1].last_at - found.unseen[1].first_at
    assert span == dt.timedelta(days=3)
    assert "--host llm.example.com" in found.unseen[1].remedy
    assert "ignore_hosts" in found.unseen[2].remedy


def test_exchanges_that_lack_something(home: Home) -> None:
    """Each is told once, by what went wrong first, with its latest example; versions of a client are one client."""
    agents = [[("User-Agent", f"openai-python/{version}"), ("Content-Type", "application/json")] for version in (1, 2)]
    fine = chat()
    odd = [chat(path="/v1/inventions", operation=None, request_headers=agent) for agent in agents]
    left = chat(outcome="aborted")
    broke = chat(outcome="failed", error="server closed connection")
    stored(home, fine, *odd, left)
    spooled(home, broke)
    found = coverage(home, SINCE, NOW)
    assert found.exchanges == 5
    by_why = {one.why: one for one in found.unseen}
    assert (by_why["not_understood"].times, by_why["not_understood"].client) == (2, "openai-python")
    assert by_why["not_understood"].example == odd[1].exchange.id
    assert odd[1].exchange.id in by_why["not_understood"].remedy
    assert by_why["broken_off"].example == broke.exchange.id
    assert coverage(home, NOW, NOW).unseen == []


def test_a_home_of_nothing(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing passed: that is said, and --strict is content."""
    assert run(["coverage", "--strict", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["unseen"], told["exchanges"], told["connections"]["share"]) == ([], 0, None)
    found = coverage(home, SINCE, NOW)
    assert "No connection to an AI provider" in "\n".join(tables.summary(found))


def test_forms_and_exit_codes(home: Home, counting: Counting, capsys: pytest.CaptureFixture[str]) -> None:
    """The same findings in each form; 7 is for --strict alone; a wrong moment is said."""
    counting.add("passed", "llm.example.com")
    counting.keep()
    since = SINCE.isoformat()
    assert run(["coverage", "--since", since]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[:4] == ["what", "why", "provider", "host"]
    assert lines[1].split()[:4] == ["passed", "name", "-", "llm.example.com"]
    assert run(["coverage", "--since", since, "--csv", "--strict"]) == 7
    [row] = csv.DictReader(io.StringIO(capsys.readouterr().out))
    assert (row["matter"], row["host"], row["times"]) == ("passed", "llm.example.com", "1")
    assert run(["coverage", "--since", since, "--format", "jsonl"]) == 0
    assert json.loads(capsys.readouterr().out)["host"] == "llm.example.com"
    assert run(["coverage", "--since", "yesterdayish"]) == 2


def test_names_are_hostile(home: Home, counting: Counting) -> None:
    """Whatever stands in the files, nothing of it acts on a terminal."""
    counting.add("refused", f"{HOSTILE}.openai.azure.com", client=HOSTILE, reason="unknown_ca")
    counting.keep()
    found = coverage(home, SINCE, NOW)
    for width in (60, 100, 250):
        console = Console(file=io.StringIO(), width=width, force_terminal=True, color_system=None)
        for part in tables.coverage(found, NOW):
            console.print(part)
        assert isinstance(console.file, io.StringIO)
        shown = console.file.getvalue() + "\n".join(tables.plain(found))
        assert "\x1b[31m" not in shown
        assert "\u202e" not in shown
        assert "\\x1b" in shown
        assert ".openai.azure.com: A client does not know" in " ".join(shown.split())
