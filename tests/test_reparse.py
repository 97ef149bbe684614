"""Understanding stored bytes again: as ingest would today, within bounded memory, and safe to kill."""

from __future__ import annotations

import datetime as dt
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import duckdb
import msgspec
import pytest

from tests.support.upkeep import LONG_AGO, chat, costs, load, new_home, policies, priced_at, queried, spooled, stored
from tracecli import browse, reparse, walking
from tracecli.config import Home
from tracecli.errors import ConfigError, HomeError
from tracecli.exchange import Captured, Understanding, Usage
from tracecli.flags import Rules, recorded_by
from tracecli.recorded import UNDERSTOOD, record
from tracecli.reprice import reprice
from tracecli.store import bodies, connection
from tracecli.store.said_files import Known

SINCE = dt.datetime.fromisoformat(LONG_AGO).replace(tzinfo=dt.UTC)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    monkeypatch.setenv("TRACECLI_POLICIES", str(tmp_path / "policies"))
    monkeypatch.delenv("TIKTOKEN_CACHE_DIR", raising=False)
    return new_home(tmp_path)


def forget(home: Home, settings: str) -> None:
    """Make the rows such as an older version might have written them."""
    with duckdb.connect(str(home.database)) as open_:
        open_.execute(f"UPDATE exchange SET {settings}")


LESS = """
    ttft_ms = 7, session = 'wrong', operation = NULL, stream = NULL, request_model = NULL, response_model = NULL,
    response_id = NULL, finish_reasons = NULL, input_tokens = NULL, output_tokens = 0, cache_read_input_tokens = 5,
    cache_creation_input_tokens = 5, reasoning_output_tokens = 5, usage_source = 'unknown', cost_usd = NULL,
    cost_source = 'unknown', cost_detail = 'no usage was reported', error = 'wrong', flags = ['not_understood'],
    cost_basis = '{}', captured = '{"session":"s-1","operation":"chat","error":null,"connection_model":"m"}'
"""


def test_as_ingest_would_today(home: Home) -> None:
    """Every field that depends on understanding becomes what ingest would write today; the others stay."""
    one = chat(session="s-1", connection_model="m")
    stored(home, one)
    before = browse.latest(home, 1)[0]
    everything = queried(home, "SELECT * EXCLUDE (started_at) FROM exchange")
    forget(home, LESS)
    assert browse.latest(home, 1)[0] != before
    found = reparse.reparse(home, SINCE)
    assert found.records == 1
    assert set(found.by_field) == set(UNDERSTOOD) - {"outcome"}
    assert browse.latest(home, 1)[0] == before == record(one).row
    assert queried(home, "SELECT * EXCLUDE (started_at) FROM exchange") == everything
    assert queried(home, "SELECT cause, old_cost_usd, old_cost_detail, new_cost_usd FROM cost_change") == [
        ("reparse", None, "no usage was reported", Decimal("0.0035"))
    ]


def test_again_changes_nothing(home: Home) -> None:
    """What is as it should be is left as it is, and no history is written; so a second run has nothing to do."""
    stored(home, chat(), chat(usage=None), chat("unheard-of"), chat(outcome="failed", status=None, error="gone"))
    before = queried(home, "SELECT * EXCLUDE (started_at) FROM exchange ORDER BY id")
    file = home.database.read_bytes()
    found = reparse.reparse(home, SINCE)
    assert (found.examined.exchanges, found.records, found.changed.exchanges) == (4, 0, 0)
    assert home.database.read_bytes() == file
    assert queried(home, "SELECT * EXCLUDE (started_at) FROM exchange ORDER BY id") == before


def test_a_dry_run_writes_nothing(home: Home) -> None:
    """The same is told, and nothing is written."""
    stored(home, chat())
    forget(home, LESS)
    file = home.database.read_bytes()
    found = reparse.reparse(home, SINCE, dry_run=True)
    assert (found.records, found.changed.exchanges, found.by_field["request_model"]) == (1, 1, 1)
    assert home.database.read_bytes() == file


def test_columns_of_others_stay(home: Home) -> None:
    """What is no matter of understanding is not touched: the cache's columns, the user, the policy."""
    stored(home, chat())
    own = "cache_status = 'hit', saved_usd = 1.5, saved_ms = 3, \"user\" = 'bob', policy = 'p'"
    forget(home, own + ", request_model = NULL")
    reparse.reparse(home, SINCE)
    assert queried(home, 'SELECT cache_status, saved_usd, saved_ms, "user", policy, request_model FROM exchange') == [
        ("hit", Decimal("1.5"), 3.0, "bob", "p", "gpt-4o")
    ]


def test_metered_only_records_are_left_alone_and_counted(home: Home) -> None:
    """Where tracing was off there is nothing to read, and the record stays."""
    understood = Understanding(understood=True, request_model="gpt-4o", usage=Usage(input_tokens=9, output_tokens=1))
    metered = Captured(chat(traced=False, metered=understood).exchange, b"", b"")
    stored(home, metered, chat())
    forget(home, "request_model = 'x'")
    found = reparse.reparse(home, SINCE)
    assert found.left_alone == {"tracing was off: there are no bytes to read": 1}
    assert found.examined.exchanges == 1
    assert queried(home, "SELECT request_model FROM exchange ORDER BY id") == [("x",), ("gpt-4o",)]


def test_bodies_that_are_gone(home: Home) -> None:
    """A record whose bodies no file holds is left alone and counted; a file that should be there is an error."""
    stored(home, chat())
    stored(home, chat())
    [(name,), _] = queried(home, "SELECT name FROM body_file ORDER BY min_id")
    forget(home, "request_model = 'x'")
    with duckdb.connect(str(home.database)) as open_:
        open_.execute("DELETE FROM body_file WHERE name = ?", [name])
    found = reparse.reparse(home, SINCE)
    assert found.left_alone == {"its bodies are not there any more": 1}
    assert queried(home, "SELECT request_model FROM exchange ORDER BY id") == [("x",), ("gpt-4o",)]
    for path in home.bodies.iterdir():
        path.unlink()
    with pytest.raises(HomeError, match="that the database names is gone"):
        reparse.reparse(home, SINCE)


def test_a_body_file_merged_meanwhile(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """If ingest merges the files between looking and reading, the bodies are found in the new one."""
    monkeypatch.setattr(bodies, "MERGE_FILES", 2)
    for _ in range(2):
        stored(home, chat())
    forget(home, "request_model = 'x'")
    read = bodies.read

    def merged_first(*args: object) -> dict[str, tuple[bytes, bytes]]:
        bodies.merge_small(home)
        return read(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(bodies, "read", merged_first)
    assert reparse.reparse(home, SINCE).records == 2


def test_batches_are_bounded_by_bytes_and_number(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """No more bodies are held than the limits allow, but always at least one; every record is read once."""
    monkeypatch.setattr(walking, "BATCH", 4)
    monkeypatch.setattr(walking, "BATCH_BYTES", 25_000)
    sizes = [100, 9_000, 100, 100, 30_000, 100, 12_000, 12_000, 12_000, 100, 100, 100, 100, 100]
    exchanges = [chat(prompt="x" * size) for size in sizes]
    exchanges = [Captured(msgspec.structs.replace(one.exchange, traced=place != 2), one.request_body, one.response_body)
                 for place, one in enumerate(exchanges)]  # fmt: skip
    stored(home, *exchanges)
    forget(home, "request_model = 'x'")
    batches: list[list[int]] = []
    read = bodies.read

    def noted(*args: object) -> dict[str, tuple[bytes, bytes]]:
        found = read(*args)  # type: ignore[arg-type]
        batches.append([len(request) for request, _ in found.values()])
        return found

    monkeypatch.setattr(bodies, "read", noted)
    found = reparse.reparse(home, SINCE)
    assert found.records == sum(map(len, batches)) == 13
    assert found.left_alone == {"tracing was off: there are no bytes to read": 1}
    assert all(len(batch) <= 4 and (sum(batch) <= 25_000 or len(batch) == 1) for batch in batches)


def test_one_that_cannot_be_understood_costs_no_other(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """If understanding one fails, the others are done; the one is counted."""
    stored(home, chat(), chat("gpt-4o-mini"))
    forget(home, "request_model = 'x'")

    def failing(rules: Rules, captured: Captured, *args: object) -> object:
        if b"mini" in captured.request_body:
            raise RuntimeError("content")
        return recorded_by(rules, captured, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(reparse, "recorded_by", failing)
    found = reparse.reparse(home, SINCE)
    assert (found.records, found.left_alone) == (1, {"RuntimeError while understanding it": 1})


def test_priced_anew(home: Home) -> None:
    """What is read again is priced with the prices that hold now, and the old cost kept."""
    stored(home, chat())
    priced_at(home, 20)
    assert reparse.reparse(home, SINCE).by_field == {"cost_usd": 1}
    assert costs(home) == [Decimal("0.022")]
    assert queried(home, "SELECT cause, old_cost_usd FROM cost_change") == [("reparse", Decimal("0.0035"))]


def test_wrong_prices_and_an_empty_home(home: Home, tmp_path: Path) -> None:
    """A wrong price file is refused before anything is read; nothing recorded is no error."""
    assert reparse.reparse(home, SINCE).examined.exchanges == 0
    assert reparse.reparse(Home(tmp_path / "never made"), SINCE).examined.exchanges == 0
    (policies(home) / "prices.toml").write_text("x")
    with pytest.raises(ConfigError, match="not valid TOML"):
        reparse.reparse(home, SINCE)


KILLED = """
import datetime as dt, os, signal, sys
from pathlib import Path
from tracecli import reparse, walking
from tracecli.config import Home
from tracecli.store import costs
walking.BATCH = 4
calls, keep = [], costs._keep
def keep_and_die(*args):
    keep(*args)
    calls.append(args)
    if len(calls) == 2:
        os.kill(os.getpid(), signal.SIGKILL)
costs._keep = keep_and_die
reparse.reparse(Home(Path(sys.argv[1])), dt.datetime(2026, 1, 1, tzinfo=dt.UTC))
"""


def test_killed_in_a_transaction(home: Home) -> None:
    """Killed in the middle, a batch is whole or not there; the next run does the rest, and no body is lost."""
    stored(home, *(chat() for _ in range(10)))
    forget(home, "request_model = 'x', cost_usd = NULL")
    assert subprocess.run([sys.executable, "-c", KILLED, home.root], check=False, timeout=60).returncode == -9
    done = "SELECT count(*) FROM exchange WHERE request_model = 'gpt-4o' AND cost_usd IS NOT NULL"
    assert queried(home, done) == queried(home, "SELECT count(*) FROM cost_change") == [(4,)]
    assert reparse.reparse(home, SINCE).records == 6
    assert queried(home, done) == queried(home, "SELECT count(*) FROM cost_change") == [(10,)]
    assert browse.open_exchange(home, "last").completion == "hi"


def test_beside_a_running_ingest(home: Home) -> None:
    """While ingest loads, records are read again: all are there in the end, and all are right."""
    stored(home, *(chat() for _ in range(20)))
    forget(home, "request_model = 'x'")
    loader = subprocess.Popen(
        [sys.executable, "-m", "tracecli", "ingest", "--home", home.root, "--until-eof"],
        stdin=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    with loader:
        for _ in range(4):
            spooled(home, *(chat() for _ in range(20)))
            reparse.reparse(home, SINCE)
    assert queried(home, "SELECT count(*) FROM exchange WHERE request_model = 'gpt-4o'") == [(100,)]


# The first schema, with one exchange of each kind in it.
OLD = """
    INSERT INTO exchange (id, started_at, duration_ms, "user", user_source, policy, reason, provider, host, operation,
        method, scheme, port, path, http_version, lane, status, stream, request_model, response_model, session, error,
        input_tokens, output_tokens, usage_source, cost_usd, cost_source, cost_detail, outcome, request_bytes,
        response_bytes, request_cut, response_cut, traced, flags, request_headers, response_headers, chunks,
        record_version)
    VALUES ($1, to_timestamp(1790000000), 12.5, 'alice', 'header', 'default', 'default', 'openai', 'api.openai.com',
        'chat', 'POST', 'https', 443, '/v1/chat/completions', 'HTTP/1.1', 'flows', 200, NULL, NULL, NULL, 's-1', NULL,
        9, 1, 'reported', 0.25, 'computed', 'by an older version', 'complete', 10, 10, false, false, $2, [],
        [{'name': 'Content-Type', 'value': 'application/json'}],
        [{'name': 'Content-Type', 'value': 'application/json'}], [], 1)
"""


def test_from_the_first_schema(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """A database of the first version is brought up to date with its data in it, by whoever comes first.

    Its costs cannot be worked out again from what it holds, and are left alone; its bytes can be read again.
    """
    traced, metered = chat(), chat()
    with monkeypatch.context() as before:
        before.setattr(connection, "MIGRATIONS", connection.MIGRATIONS[:1])
        file = bodies.write(home, [traced], {}, Known())
        assert file
        with connection.opened(home, write=True) as open_:
            for one, is_traced in ((traced, True), (metered, False)):
                open_.execute(OLD, [one.exchange.id, is_traced])
            about = file.bodies
            open_.execute(
                "INSERT INTO body_file VALUES (?, ?, ?, ?, ?)",
                [about.name, about.min_id, about.max_id, about.rows, about.bytes],
            )
    assert queried(home, "SELECT version FROM schema_version") == [(1,)]

    assert [row.cost_usd for row in browse.latest(home, 9)] == [Decimal("0.25")] * 2
    versions = queried(home, "SELECT version FROM schema_version ORDER BY version")
    assert versions == [(number,) for number in range(1, len(connection.MIGRATIONS) + 1)]
    assert browse.open_exchange(home, traced.exchange.id).completion == "hi"

    found = reprice(home, SINCE)
    assert found.left_alone == {
        "recorded by a version that did not keep what the cost was worked out from (`tracecli reparse` may help)": 2
    }
    assert costs(home) == [Decimal("0.25")] * 2

    assert reparse.reparse(home, SINCE).records == 1
    assert costs(home) == [Decimal("0.0035"), Decimal("0.25")]
    row = browse.open_exchange(home, traced.exchange.id).row
    assert (row.request_model, row.session, row.input_tokens) == ("gpt-4o", "s-1", 1000)
    assert queried(home, "SELECT old_cost_usd, old_cost_detail FROM cost_change") == [
        (Decimal("0.25"), "by an older version")
    ]
    priced_at(home, 20)
    assert reprice(home, SINCE).changed.exchanges == 1
    assert load(home).exchanges == 0


def test_a_migration_is_whole_or_not_there(home: Home, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """If a migration fails, the database is as it was, and works."""
    stored(home, chat())
    broken = tmp_path / "003.sql"
    broken.write_text("CREATE TABLE more (a INTEGER); ALTER TABLE exchange ADD COLUMN id UUID;")
    with monkeypatch.context() as later:
        later.setattr(connection, "MIGRATIONS", (*connection.MIGRATIONS, broken))
        with pytest.raises(duckdb.Error):
            browse.latest(home, 1)
    assert browse.latest(home, 1)[0].request_model == "gpt-4o"
    assert queried(home, "SELECT count(*) FROM duckdb_tables() WHERE table_name = 'more'") == [(0,)]
