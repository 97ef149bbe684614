"""Working out stored costs again: right, kept as they were, and safe to kill."""

from __future__ import annotations

import datetime as dt
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import pytest

from tests.support.upkeep import (
    LONG_AGO,
    STARTED_US,
    chat,
    costs,
    load,
    new_home,
    policies,
    priced_at,
    queried,
    spooled,
    stored,
)
from tracecli import browse, recorded, reprice
from tracecli.config import Home
from tracecli.errors import ConfigError, HomeError
from tracecli.exchange import Understanding, Usage
from tracecli.store import costs as store_costs

SINCE = dt.datetime.fromisoformat(LONG_AGO).replace(tzinfo=dt.UTC)
LISTED = Decimal("0.0035")
"""1,000 tokens in at 2.50 and 100 out at 10 a million."""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    monkeypatch.setenv("TRACECLI_POLICIES", str(tmp_path / "policies"))
    monkeypatch.delenv("TIKTOKEN_CACHE_DIR", raising=False)
    return new_home(tmp_path)


def test_new_prices_and_what_they_were(home: Home) -> None:
    """The cost is what the present prices make it, and one row tells what it was, with both explanations."""
    stored(home, chat(), chat("gpt-4o-mini"))
    priced_at(home, 20)
    found = reprice.reprice(home, SINCE)
    assert (found.examined.exchanges, found.changed.exchanges) == (2, 1)
    assert (found.changed.old_usd, found.changed.new_usd) == (LISTED, Decimal("0.022"))
    assert sorted(costs(home)) == [Decimal("0.00021"), Decimal("0.022")]
    [(cause, *change)] = queried(
        home,
        "SELECT cause, old_cost_usd, old_cost_source, old_cost_detail, new_cost_usd, new_cost_source, new_cost_detail"
        " FROM cost_change JOIN exchange ON exchange.id = exchange_id AND request_model = 'gpt-4o'",
    )
    assert cause == "reprice"
    assert change[0] == LISTED and change[3] == Decimal("0.022")
    assert (change[1], change[4]) == ("computed", "computed")
    assert change[2].startswith("genai-prices ")
    assert change[5].startswith("prices.toml, price 1: gpt-4o, 1000 input at $20/M")
    opened = browse.open_exchange(home, "last")
    assert opened.completion == "hi"


def test_again_changes_nothing(home: Home) -> None:
    """Without a new price there is nothing to write; with another one, the history goes on."""
    stored(home, chat())
    for dollars, changed in ((20, 1), (20, 0), (30, 1)):
        priced_at(home, dollars)
        assert reprice.reprice(home, SINCE).changed.exchanges == changed
    (policies(home) / "prices.toml").unlink()
    assert reprice.reprice(home, SINCE).changed.exchanges == 1
    assert costs(home) == [LISTED]
    history = queried(home, "SELECT old_cost_usd, new_cost_usd FROM cost_change ORDER BY changed_at")
    assert history == [
        (LISTED, Decimal("0.022")), (Decimal("0.022"), Decimal("0.033")), (Decimal("0.033"), LISTED),
    ]  # fmt: skip


def test_a_dry_run_writes_nothing(home: Home) -> None:
    """The same is told, and nothing is written."""
    stored(home, chat())
    priced_at(home, 20)
    before = home.database.read_bytes()
    assert reprice.reprice(home, SINCE, dry_run=True).changed.as_json() == {
        "exchanges": 1, "old_cost_usd": "0.0035", "new_cost_usd": "0.022", "old_unknown": 0, "new_unknown": 0,
    }  # fmt: skip
    assert home.database.read_bytes() == before


def test_since(home: Home) -> None:
    """Only what began then or later is looked at, to the microsecond."""
    stored(home, *(chat(started_at_us=STARTED_US + ago) for ago in (-1, 0, 1)))
    priced_at(home, 20)
    since = dt.datetime.fromtimestamp(STARTED_US // 1_000_000, dt.UTC)
    assert reprice.reprice(home, since).examined.exchanges == 2
    assert sorted(costs(home)) == [LISTED, Decimal("0.022"), Decimal("0.022")]
    assert reprice.reprice(home, dt.datetime(2100, 1, 1, tzinfo=dt.UTC)).examined.exchanges == 0


def test_a_dated_price_changes_no_call_from_before(home: Home) -> None:
    """Each call is priced as of its day, however late that is done."""
    day = 86_400_000_000
    stored(home, chat(started_at_us=STARTED_US - day), chat(started_at_us=STARTED_US + day))
    noon = dt.datetime.fromtimestamp(STARTED_US / 1_000_000, dt.UTC)
    priced_at(home, 20, more=f"from = {noon.date()}\n")
    reprice.reprice(home, SINCE)
    assert costs(home) == [LISTED, Decimal("0.022")]


def test_metered_only_records_too(home: Home) -> None:
    """Without content everything that the price depends on is kept: hour-long cache writes, tier, searches, audio."""
    usage = Usage(
        input_tokens=1_000_000,
        output_tokens=0,
        cache_creation_input_tokens=500_000,
        cache_creation_1h_input_tokens=200_000,
        web_searches=3,
    )
    understood = Understanding(
        understood=True, request_model="claude-haiku-4-5", response_model="claude-haiku-4-5-20251001", usage=usage
    )
    one = chat(provider="anthropic", host="api.anthropic.com", traced=False, metered=understood)
    tiered = Understanding(understood=True, request_model="gpt-5", usage=usage, service_tier="priority")
    priority = chat(traced=False, metered=tiered)
    stored(home, *(type(each)(each.exchange, b"", b"") for each in (one, priority)))
    before = costs(home)
    assert before[0] == Decimal("0.5") + Decimal("0.3") * Decimal("1.25") + Decimal("0.2") * 2 + Decimal("0.03")
    assert reprice.reprice(home, SINCE).changed.exchanges == 0
    assert costs(home) == before
    rates = 'provider = "anthropic"\nmodel = "claude*"\ninput = 1\noutput = 1\ncache_write = 2\ncache_write_1h = 4'
    (policies(home) / "prices.toml").write_text(f"[[price]]\n{rates}\nweb_searches = 100\n")
    reprice.reprice(home, SINCE)
    assert costs(home)[0] == Decimal("0.5") + Decimal("0.3") * 2 + Decimal("0.2") * 4 + Decimal("0.3")
    assert costs(home)[1] == before[1]


def test_what_the_provider_said_stays(home: Home) -> None:
    """A cost that the provider reported is not computed."""
    found = Understanding(
        understood=True, request_model="gpt-4o", usage=Usage(input_tokens=5, output_tokens=5),
        reported_cost_usd=Decimal("0.123"),
    )  # fmt: skip
    one = chat(traced=False, metered=found)
    stored(home, type(one)(one.exchange, b"", b""))
    priced_at(home, 20)
    assert reprice.reprice(home, SINCE).changed.exchanges == 0
    assert queried(home, "SELECT cost_usd, cost_source FROM exchange") == [(Decimal("0.123"), "provider")]


def test_unknown_becomes_known_and_back(home: Home) -> None:
    """A model without a price gets one from the file; without the file it is unknown again, with the reason."""
    stored(home, chat("house-model"))
    assert costs(home) == [None]
    priced_at(home, 10, "house-model")
    found = reprice.reprice(home, SINCE)
    assert (found.changed.old_unknown, found.changed.new_unknown) == (1, 0)
    assert costs(home) == [Decimal("0.011")]
    priced_at(home, 10, "another")
    reprice.reprice(home, SINCE)
    assert costs(home) == [None]
    assert browse.open_exchange(home, "last").cost_detail == "genai-prices knows no model house-model of openai"


def test_another_reason_is_a_change(home: Home) -> None:
    """A cost that stays unknown for another reason says the new one."""
    stored(home, chat("house-model"))
    (policies(home) / "prices.toml").write_text('[[price]]\nprovider = "openai"\nmodel = "house-model"\ninput = 1\n')
    found = reprice.reprice(home, SINCE)
    assert (found.changed.exchanges, found.changed.new_unknown) == (1, 1)
    detail = browse.open_exchange(home, "last").cost_detail
    assert detail == "prices.toml, price 1 knows no price per output token of house-model"


def test_another_version_of_the_list_is_none(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """A newer price list with the same price writes no history, though its name would read otherwise."""
    stored(home, chat())
    monkeypatch.setattr("genai_prices.__version__", "99.0")
    assert reprice.reprice(home, SINCE).changed.exchanges == 0
    assert queried(home, "SELECT count(*) FROM cost_change") == [(0,)]


def test_in_batches(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches neither leave one out nor take one twice, also where many began in the same moment."""
    monkeypatch.setattr(reprice, "BATCH", 3)
    stored(home, *(chat() for _ in range(10)))
    priced_at(home, 20)
    found = reprice.reprice(home, SINCE)
    assert (found.examined.exchanges, found.changed.exchanges) == (10, 10)
    assert costs(home) == [Decimal("0.022")] * 10
    assert queried(home, "SELECT count(*), count(DISTINCT exchange_id) FROM cost_change") == [(10, 10)]


def test_what_ingest_adds_meanwhile_is_left_to_it(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run ends though exchanges keep coming in."""
    monkeypatch.setattr(reprice, "BATCH", 1)
    stored(home, chat(), chat())
    write = store_costs.reprice

    def and_more_comes(*args: object) -> None:
        write(*args)  # type: ignore[arg-type]
        stored(home, chat())

    monkeypatch.setattr(store_costs, "reprice", and_more_comes)
    assert reprice.reprice(home, SINCE).examined.exchanges == 2


def test_by_model(home: Home) -> None:
    """The summary tells of each model that changed, the greatest change first."""
    stored(home, chat("gpt-4o"), chat("gpt-4o-mini"), chat("gpt-4o-mini"), chat("o3"))
    priced_at(home, 20, "gpt-4o*")
    told = reprice.reprice(home, SINCE).as_json()
    assert [(one["model"], one["exchanges"], one["new_cost_usd"]) for one in told["by_model"]] == [
        ("gpt-4o-mini", 2, "0.044"),
        ("gpt-4o", 1, "0.022"),
    ]
    assert told["examined"]["exchanges"] == 4
    assert told["since"] == "2026-01-01T00:00:00.000Z"


def test_nothing_there(home: Home, tmp_path: Path) -> None:
    """An empty home, or none at all, is no error, and none is made."""
    assert reprice.reprice(home, SINCE).examined.exchanges == 0
    gone = Home(tmp_path / "never made")
    assert reprice.reprice(gone, SINCE).examined.exchanges == 0
    assert not gone.root.exists()


def test_wrong_prices_change_nothing(home: Home) -> None:
    """A wrong file is refused before anything is touched."""
    stored(home, chat())
    (policies(home) / "prices.toml").write_text("x")
    with pytest.raises(ConfigError, match=r"prices\.toml: not valid TOML"):
        reprice.reprice(home, SINCE)
    assert costs(home) == [LISTED]


def test_a_damaged_database_is_named(home: Home) -> None:
    """A file that is no database is one sentence with the remedy."""
    home.database.write_bytes(b"not a database" * 1000)
    with pytest.raises(HomeError, match="cannot open the database"):
        reprice.reprice(home, SINCE)


KILLED = """
import datetime as dt, os, signal, sys
from pathlib import Path
from tracecli import reprice
from tracecli.config import Home
from tracecli.store import costs
reprice.BATCH = 4
calls, keep = [], costs._keep
def keep_and_die(*args):
    keep(*args)
    calls.append(args)
    if len(calls) == 2:
        os.kill(os.getpid(), signal.SIGKILL)
costs._keep = keep_and_die
reprice.reprice(Home(Path(sys.argv[1])), dt.datetime(2026, 1, 1, tzinfo=dt.UTC))
"""


def test_killed_in_a_transaction(home: Home) -> None:
    """Killed between history and update, a batch is whole or not there; the next run does the rest, once."""
    stored(home, *(chat() for _ in range(10)))
    priced_at(home, 20)
    killed = subprocess.run([sys.executable, "-c", KILLED, home.root], check=False, timeout=60)
    assert killed.returncode == -9
    assert sorted(costs(home)) == [LISTED] * 6 + [Decimal("0.022")] * 4
    assert queried(home, "SELECT count(*) FROM cost_change") == [(4,)]
    assert reprice.reprice(home, SINCE).changed.exchanges == 6
    assert costs(home) == [Decimal("0.022")] * 10
    assert queried(home, "SELECT count(*), count(DISTINCT exchange_id) FROM cost_change") == [(10, 10)]


def test_beside_a_running_ingest(home: Home) -> None:
    """While ingest loads, costs are worked out again and again: nothing is lost, and every change is in the history."""
    stored(home, *(chat() for _ in range(20)))
    loader = subprocess.Popen(
        [sys.executable, "-m", "tracecli", "ingest", "--home", home.root, "--until-eof"],
        stdin=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    dollars = 20
    with loader:
        for _ in range(5):
            spooled(home, *(chat() for _ in range(20)))
            priced_at(home, dollars := dollars + 1)
            reprice.reprice(home, SINCE)
    assert loader.returncode == 0
    reprice.reprice(home, SINCE)
    assert costs(home) == [Decimal(dollars) * 1100 / 1_000_000] * 120
    broken = """
        SELECT count(*) FROM (
            SELECT old_cost_usd, lag(new_cost_usd) OVER (PARTITION BY exchange_id ORDER BY changed_at) AS before
            FROM cost_change
        ) WHERE before IS NOT NULL AND before <> old_cost_usd
    """
    assert queried(home, broken) == [(0,)]


def test_ingest_prices_by_the_file(home: Home) -> None:
    """Ingest prices by the file as it is then, and `browse` what still waits in the spool in the same way."""
    priced_at(home, 20)
    spooled(home, chat())
    [row] = browse.latest(home, 1)
    assert row.cost_usd == Decimal("0.022")
    assert (browse.open_exchange(home, "last").cost_detail or "").startswith("prices.toml, price 1: gpt-4o")
    load(home)
    [row] = browse.latest(home, 1)
    assert row.cost_usd == Decimal("0.022")
    (policies(home) / "prices.toml").write_text("x")
    stored(home, chat())
    found = browse.open_exchange(home, "last")
    assert found.row.cost_usd is None
    assert "not valid TOML" in (found.cost_detail or "")
    priced_at(home, 30)
    assert reprice.reprice(home, SINCE).changed.exchanges == 2
    assert costs(home) == [Decimal("0.033")] * 2


def test_what_a_cost_depends_on_survives_the_store(home: Home) -> None:
    """Of any exchange, what was kept prices it as it was priced when it came in."""
    one = chat(usage={"prompt_tokens": 9, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": 3}})
    stored(home, one)
    fresh = recorded.record(one)
    assert fresh.basis is not None and fresh.basis.usage is not None
    assert fresh.basis.usage.cache_read_input_tokens == 3
    [(basis,)] = queried(home, "SELECT cost_basis FROM exchange")
    assert basis == '{"usage":{"input_tokens":9,"output_tokens":5,"cache_read_input_tokens":3}}'
