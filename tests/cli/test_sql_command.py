"""`tracecli sql`: all that was recorded can be asked, and nothing else reached."""

from __future__ import annotations

import csv
import datetime as dt
import io
import json
import stat
from pathlib import Path
from typing import Any

import duckdb
import pytest

from tests.support.chats import answered, asked, call, store
from tracecli import asking
from tracecli.cli.main import run
from tracecli.config import Home
from tracecli.query.syntax import EVERYTHING
from tracecli.spool import SpoolWriter
from tracecli.store.views import all_views

TOOLS = {"id": "call_1", "type": "function", "function": {"name": "search", "arguments": '{"q": "Paris"}'}}
HOSTILE = "=cmd|' /C calc'!A0 <script>`x`|\n\x1b[31m"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    """Three exchanges: two stored, of alice and of bob without content, and one of carol still in the spool."""
    home = Home(tmp_path / "home")
    home.prepare()
    monkeypatch.setenv("TRACECLI_HOME", str(home.root))
    called = json.loads(answered("x"))
    called["choices"][0]["message"] = {"role": "assistant", "content": None, "tool_calls": [TOOLS]}
    store(
        home,
        call(0, asked("Where is Paris?"), json.dumps(called).encode(), user="alice"),
        call(86_400, b"", b"", user="bob", traced=False, status=429),
    )
    spool = SpoolWriter(home.spool)
    assert spool.append(call(2 * 86_400, asked("Hi"), answered(HOSTILE), user="carol"))
    spool.close()
    return home


def _rows(statement: str) -> list[Any]:
    """By DuckDB itself."""
    with duckdb.connect() as connection:
        return connection.execute(statement).fetchall()


def ask(capsys: pytest.CaptureFixture[str], *args: str) -> list[Any]:
    """What it prints as JSON."""
    assert run(["sql", *args, "--json"]) == 0
    found: list[Any] = json.loads(capsys.readouterr().out)
    return found


@pytest.mark.usefixtures("home")
def test_store_and_spool_are_one(capsys: pytest.CaptureFixture[str]) -> None:
    """Exchanges are there as soon as they have ended, with their own values."""
    found = ask(capsys, 'SELECT "user", status, traced, cost_usd, started_at FROM exchanges ORDER BY started_at')
    assert [(row["user"], row["status"], row["traced"]) for row in found] == [
        ("alice", 200, True),
        ("bob", 429, False),
        ("carol", 200, True),
    ]
    assert (found[0]["cost_usd"], found[1]["cost_usd"]) == ("0.00021", None)
    assert found[0]["started_at"] == "2026-11-18T11:06:40.000000Z"


@pytest.mark.usefixtures("home")
def test_what_was_said(capsys: pytest.CaptureFixture[str]) -> None:
    """Messages are told part by part, with the tools that were called; what has no content has none."""
    found = ask(capsys, "SELECT * EXCLUDE id FROM messages ORDER BY id, side DESC, message, part")
    assert [(row["side"], row["role"], row["type"], row["name"], row["call_id"], row["text"]) for row in found] == [
        ("prompt", "user", "text", None, None, "Where is Paris?"),
        ("completion", "assistant", "tool_call", "search", "call_1", '{"q": "Paris"}'),
        ("prompt", "user", "text", None, None, "Hi"),
        ("completion", "assistant", "text", None, None, HOSTILE),
    ]
    sizes = "SELECT side, content_type, cut, text = decode(body) AS same FROM bodies JOIN exchanges USING (id)"
    found = ask(capsys, f"{sizes} WHERE \"user\" = 'carol' ORDER BY side")
    assert [(row["side"], row["cut"], row["same"]) for row in found] == [
        ("request", False, True),
        ("response", False, True),
    ]


@pytest.mark.usefixtures("home")
def test_a_query_leaves_out_the_others(capsys: pytest.CaptureFixture[str]) -> None:
    """All views have the exchanges that fit, and only those."""
    counts = "SELECT (SELECT count(*) FROM exchanges) AS e, (SELECT count(*) FROM messages) AS m"
    assert ask(capsys, counts, "user:carol") == [{"e": 1, "m": 2}]
    assert ask(capsys, counts, "--user", "bob") == [{"e": 1, "m": 0}]
    assert ask(capsys, counts, "user:nobody") == [{"e": 0, "m": 0}]
    assert ask(capsys, counts, "paris") == [{"e": 1, "m": 2}]


@pytest.mark.usefixtures("home")
def test_days_are_those_of_the_zone(capsys: pytest.CaptureFixture[str]) -> None:
    """Sums by day add up, and a day begins where the reader is."""
    days = 'SELECT day, "user", requests, errors, input_tokens, cost_unknown FROM daily_usage ORDER BY day'
    found = ask(capsys, days, "--zone", "Pacific/Kiritimati")
    assert [tuple(row.values()) for row in found] == [
        ("2026-11-19", "alice", 1, 0, 1000, 0),
        ("2026-11-20", "bob", 1, 1, None, 1),
        ("2026-11-21", "carol", 1, 0, 1000, 0),
    ]


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT * FROM read_csv('/etc/passwd')",
        "SELECT * FROM read_text('/etc/passwd')",
        "SELECT * FROM read_blob('{home}/fingerprint.key')",
        "SELECT * FROM '/etc/passwd'",
        "SELECT * FROM glob('/etc/*')",
        "SELECT * FROM read_parquet('{home}/bodies/*.parquet')",
        "SELECT * FROM sqlite_scan('{home}/cache.db', 'entry')",
        "SELECT * FROM query('COPY (SELECT 1) TO ''/tmp/x''')",
        "SELECT * FROM query('SELECT 1')",
        "SELECT * FROM query_table('exchange')",
        "SELECT * FROM enable_logging(storage = 'stdout')",
        "SELECT * FROM enable_logging(storage = 'file', storage_path = '{home}')",
        "SELECT * FROM enable_profiling()",
        "SELECT write_log('x')",
        "WITH a AS (SELECT * FROM enable_logging()) SELECT * FROM a",
        "SELECT (SELECT write_log('x'))",
        "SELECT length(repeat('x', 3000000000))",
        "SELECT * FROM traces.exchange",
        "SELECT * FROM exchange",
        "SELECT * FROM duckdb_settings()",
        "SELECT $1",
        "SELECT getenv('HOME')",
        "SELECT * FROM duckdb_secrets()",
        "COPY exchanges TO '{home}/x.csv'",
        "ATTACH '{home}/x.duckdb'",
        "ATTACH '{home}/traces.duckdb' AS again",
        "DETACH traces",
        "INSTALL httpfs",
        "LOAD httpfs",
        "SET memory_limit = '100GB'",
        "RESET lock_configuration",
        "PRAGMA enable_external_access",
        "CREATE TABLE x AS SELECT 1",
        "INSERT INTO traces.exchange SELECT * FROM traces.exchange",
        "DELETE FROM traces.exchange",
        "UPDATE exchange SET cost_usd = 0",
        "DROP VIEW exchanges",
        "EXPORT DATABASE '{home}/x'",
        "CALL pragma_version()",
        "CHECKPOINT",
        "SELECT 1; SELECT 2",
        "SELECT 1; DROP VIEW exchanges",
        "FROM home",
        "SELECT typo FROM exchanges",
        "SELEKT 1",
    ],
)
def test_nothing_else_is_reached(home: Home, capsys: pytest.CaptureFixture[str], statement: str) -> None:
    """No statement reads a file, writes, attaches, or changes a setting: one sentence, and all is as it was."""
    before = sorted(path.name for path in home.root.iterdir())
    assert run(["sql", statement.format(home=home.root)]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("tracecli: ")
    assert "bug" not in err
    assert sorted(path.name for path in home.root.iterdir()) == before
    assert [row["n"] for row in ask(capsys, "SELECT count(*) AS n FROM exchanges")] == [3]


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize(
    ("statement", "number"),
    [
        ("WITH mine AS (FROM exchanges) SELECT * FROM mine", 3),
        ("SELECT * FROM exchanges AS e JOIN messages AS m USING (id)", 4),
        ("SELECT * FROM exchanges WHERE id IN (SELECT id FROM messages)", 2),
        ("FROM range(3)", 3),
        ("SELECT unnest(['a', 'b'])", 2),
        ("SELECT name FROM (DESCRIBE messages) AS d(name, kind, a, b, c, e) WHERE kind = 'INTEGER'", 2),
        ("WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t WHERE n < 5) SELECT n FROM t", 5),
        ("VALUES (1), (2); -- two", 2),
    ],
)
def test_what_can_be_asked(statement: str, number: int, capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever only reads the views runs."""
    assert len(ask(capsys, statement)) == number


@pytest.mark.usefixtures("home")
def test_a_mistake_is_pointed_at(capsys: pytest.CaptureFixture[str]) -> None:
    """The place in the statement is shown below the sentence, without anything of ours in it."""
    assert run(["sql", "SELECT typo FROM exchanges"]) == 2
    sentence, shown, carets = capsys.readouterr().err.rstrip("\n").split("\n")
    assert "typo" in sentence
    assert shown == "  LINE 1: SELECT typo FROM exchanges"
    assert carets.index("^") == shown.index("typo")


@pytest.mark.usefixtures("home")
def test_what_takes_too_long(capsys: pytest.CaptureFixture[str]) -> None:
    """A statement without end is stopped when its time is over."""
    endless = "SELECT count(*) FROM range(1000000) a, range(1000000) b WHERE a.range * b.range % 7 = 3"
    assert run(["sql", endless, "--timeout", "0.2"]) == 2
    assert "longer than 0.2 s" in capsys.readouterr().err


def test_nobody_waits_for_a_slow_reader(home: Home) -> None:
    """While rows are being read, more is stored; they are those of the moment of the question."""
    now = dt.datetime.now(dt.UTC)
    with asking.answer(home, 'SELECT "user" FROM exchanges ORDER BY 1', EVERYTHING, now) as answer:
        first = next(answer.rows)
        store(home, call(4 * 86_400, asked("Hi"), user="zoe"))
        assert [first, *answer.rows] == [("alice",), ("bob",), ("carol",)]


def test_an_empty_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Where nothing was recorded, the views are empty, and nothing is made."""
    monkeypatch.setenv("TRACECLI_HOME", str(tmp_path / "none"))
    for view in all_views():
        assert ask(capsys, f"SELECT count(*) AS n FROM {view.name}") == [{"n": 0}]
    assert not (tmp_path / "none").exists()


@pytest.mark.usefixtures("home")
def test_the_schema_is_what_is_there(capsys: pytest.CaptureFixture[str]) -> None:
    """Each column that `--schema` lists is in its view, in that order and of that type, and says what it is."""
    assert run(["sql", "--schema", "--format", "jsonl"]) == 0
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert all(column["comment"] for column in told)
    for view in all_views():
        described = ask(capsys, f"SELECT column_name, column_type FROM (DESCRIBE {view.name})")
        kinds = {"TIMESTAMP WITH TIME ZONE": "TIMESTAMPTZ", 'STRUCT("name" VARCHAR, "value" VARCHAR)[]': "STRUCT"}
        assert [(row["column_name"], kinds.get(row["column_type"], row["column_type"])) for row in described] == [
            (one["column"], "STRUCT" if one["type"].startswith("STRUCT") else one["type"])
            for one in told
            if one["view"] == view.name
        ]


@pytest.mark.usefixtures("home")
def test_hostile_content_in_every_format(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A completion is no formula in CSV, no markup in Markdown, no escape sequence in JSON, and whole in Parquet."""
    statement = "SELECT text FROM messages WHERE side = 'completion' AND text LIKE '=%'"
    assert run(["sql", statement, "--csv"]) == 0
    assert list(csv.reader(io.StringIO(capsys.readouterr().out, newline=""))) == [["text"], [f"'{HOSTILE}"]]
    assert run(["sql", statement, "--format", "markdown"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[2] == "| =cmd\\|' /C calc'\\!A0 &lt;script&gt;\\`x\\`\\| \\\\x1b\\[31m |"
    assert len(lines) == 3
    assert run(["sql", statement, "--json"]) == 0
    assert "\x1b" not in capsys.readouterr().out
    file = tmp_path / "x.parquet"
    assert run(["sql", statement, "--output", str(file)]) == 0
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert _rows(f"SELECT text FROM '{file}'") == [(HOSTILE,)]


@pytest.mark.usefixtures("home")
def test_listings_in_every_format(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A listing says the same in each format, to standard output or to a private file."""
    assert run(["usage", "show", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    for name in ("a.json", "a.jsonl", "a.csv", "a.md", "a.parquet"):
        file = tmp_path / name
        assert run(["usage", "show", "--output", str(file)]) == 0
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert capsys.readouterr().out == ""
    assert json.loads((tmp_path / "a.json").read_text()) == rows
    assert [json.loads(line) for line in (tmp_path / "a.jsonl").read_text().splitlines()] == rows
    with (tmp_path / "a.csv").open(newline="") as file_:
        assert [row["id"] for row in csv.DictReader(file_)] == [row["id"] for row in rows]
    assert len((tmp_path / "a.md").read_text().splitlines()) == 2 + len(rows)
    stored = _rows(f"SELECT \"user\", cost_usd, typeof(cost_usd), ttft_ms, flags FROM '{tmp_path}/a.parquet'")
    assert {(row[0], row[2]) for row in stored} == {(row["user"], "DECIMAL(28,15)") for row in rows}


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize(
    "listing",
    [
        *(["usage", name] for name in ("show", "stats", "sessions", "repeats")),
        *(["usage", "find", "Paris"], ["usage", "me", "--user", "alice"], ["flags", "list"]),
        *(["cache", "stats"], ["cache", "list"], ["prices", "gpt-4o*"], ["retention", "show"], ["user", "list"]),
        *(["policy", "list"], ["policy", "history"], ["policy", "user", "list"]),
    ],
)
def test_every_listing_has_formats(listing: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """JSON Lines, CSV and Markdown have as many rows as each other."""
    counts = set()
    for name, heads in (("jsonl", 0), ("csv", 1), ("markdown", 2)):
        assert run([*listing, "--format", name]) == 0
        out = capsys.readouterr().out
        rows = list(csv.reader(io.StringIO(out, newline=""))) if name == "csv" else out.splitlines()
        counts.add(max(0, len(rows) - heads))
    assert len(counts) == 1


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["--format", "parquet"], "--output"),
        (["--output", "x.what"], "names no format"),
        (["--json", "--format", "csv"], "--format csv and --json"),
        (["--output", "/nowhere/x.csv"], "/nowhere/x.csv"),
        (["--output", "/nowhere/x.parquet"], "/nowhere/x.parquet"),
    ],
)
def test_a_format_that_cannot_be(args: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    """One sentence that names the option or the file."""
    assert run(["usage", "show", *args]) in (1, 2)
    out, err = capsys.readouterr()
    assert (out, said in err, "bug" in err) == ("", True, False)
