"""Retention: what is over goes from every file, what is not stays, and readers never fail."""

from __future__ import annotations

import datetime as dt
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pytest

from tests.support.entries import entry
from tests.support.exchanges import captured
from tests.support.secrets_in_files import files_with
from tests.support.upkeep import queried
from tracecli import browse
from tracecli.cache.entries import Entries
from tracecli.config import Home
from tracecli.errors import HomeError
from tracecli.exchange import Captured, new_id
from tracecli.ingest import run
from tracecli.spool import SpoolWriter
from tracecli.store import expiry, holds, keeping, notes
from tracecli.store.connection import opened

START = 4_000_000_000_000_000  # ingest removes by the real clock, and finds nothing due
HOUR = 3_600_000_000


def at(hours: float) -> dt.datetime:
    """So many hours after the start."""
    return dt.datetime.fromtimestamp((START + hours * HOUR) / 1_000_000, dt.UTC)


def one(name: str, content_h: float | None = None, metadata_h: float | None = None, user: str = "") -> Captured:
    """An exchange that is kept for so many hours, marked in content and in its record."""
    request = json.dumps(
        {"model": "m", "messages": [{"role": "user", "content": f"content-{name} \\ é" * 200}]}
    ).encode()
    return captured(
        request,
        b'{"choices": []}',
        id=new_id(START // 1000),
        started_at_us=START,
        user=user or f"record-{name}",
        status=200,
        content_until_us=None if content_h is None else START + round(content_h * HOUR),
        metadata_until_us=None if metadata_h is None else START + round(metadata_h * HOUR),
    )


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path / "home")
    home.prepare()
    return home


def store(home: Home, *exchanges: Captured) -> None:
    spool = SpoolWriter(home.spool)
    for exchange in exchanges:
        assert spool.append(exchange)
    spool.close()
    run(home, once=True, ended=lambda: True)


def everywhere(home: Home, text: str) -> list[str]:
    """The files that hold a text, Parquet unpacked."""
    found = [str(path) for path in files_with(home.root, text)]
    for path in home.root.rglob("*.parquet"):
        columns = duckdb.execute("DESCRIBE SELECT * FROM read_parquet(?)", [str(path)]).fetchall()
        for column, kind, *_ in columns:
            if kind == "BLOB":
                rows = duckdb.execute(f"SELECT {column} FROM read_parquet(?)", [str(path)]).fetchall()
                found += [path.name for (value,) in rows if value and text.encode() in value]
    return found


def test_content_goes_and_the_record_stays(home: Home) -> None:
    """When its time is over, content is in no file; tokens, cost and who it was remain, and say so."""
    short, long = one("short", content_h=1), one("long", content_h=5)
    store(home, short, long, one("ever"))
    assert expiry.remove_due(home, at(0.9)).content == 0
    assert everywhere(home, "content-short")
    removed = expiry.remove_due(home, at(1))
    assert (removed.content, removed.records) == (1, 0)
    assert removed.bytes > 0
    assert everywhere(home, "content-short") == []
    rows = {row.user: row for row in browse.latest(home, 9)}
    assert rows["record-short"].flags == [*rows["record-long"].flags, "content_removed"]
    assert browse.open_exchange(home, short.exchange.id).input_messages == []
    assert browse.open_exchange(home, long.exchange.id).input_messages
    assert expiry.remove_due(home, at(2)).content == 0


def test_records_go_to_the_last_byte(home: Home) -> None:
    """When the record's own time is over, nothing of it is in any file, and the others are as they were."""
    gone, kept = one("gone", metadata_h=2), one("kept", metadata_h=50)
    store(home, gone, kept)
    removed = expiry.remove_due(home, at(2))
    assert (removed.content, removed.records) == (1, 1)
    for text in ("content-gone", "record-gone"):
        assert everywhere(home, text) == []
    assert [row.user for row in browse.latest(home, 9)] == ["record-kept"]
    assert browse.open_exchange(home, kept.exchange.id).input_messages
    store(home, one("after"))
    assert {row.user for row in browse.latest(home, 9)} == {"record-kept", "record-after"}


def test_its_answer_leaves_the_cache(home: Home) -> None:
    """A stored answer goes with the content of its exchange."""
    short = one("short", content_h=1)
    store(home, short, one("ever"))
    entries = Entries(home.cache, 10**9)
    entries.put(entry(b"a" * 32, exchange_id=short.exchange.id, body=b"content-short"))
    entries.put(entry(b"b" * 32, body=b"another"))
    expiry.remove_due(home, at(1))
    assert [one_.key for one_ in entries.listed()] == [b"b" * 32]
    entries.close()


def test_in_bounded_steps(home: Home) -> None:
    """One step removes no more than it may; the next ones do the rest."""
    store(home, *(one(f"n{number}", content_h=1) for number in range(5)))
    assert [expiry.remove_due(home, at(1), 2).content for _ in range(4)] == [2, 2, 1, 0]


def test_an_empty_home(home: Home) -> None:
    """Where nothing is, nothing is removed."""
    assert expiry.remove_due(home, at(1)) == expiry.Removed()


def test_of_the_rest_nothing_changes(home: Home) -> None:
    """Rows keep their order and their values, costs that changed go with their exchange, nobody else may read it."""
    ones = [one(f"n{number}", metadata_h=1 if number % 2 else None) for number in range(6)]
    store(home, *ones)
    with opened(home, write=True) as connection:
        for exchange in ones:
            connection.execute(
                "INSERT INTO cost_change (exchange_id, cause) VALUES ($1, $2)", [exchange.exchange.id, "x"]
            )
    before = browse.latest(home, 9)
    tables = "SELECT table_name, column_name, data_type FROM duckdb_columns() ORDER BY ALL"
    versions = "SELECT version, epoch_us(applied_at) FROM schema_version ORDER BY version"
    schema = queried(home, tables), queried(home, versions)
    expiry.remove_due(home, at(1))
    assert browse.latest(home, 9) == [row for row in before if row.id in {ones[n].exchange.id for n in (0, 2, 4)}]
    assert queried(home, "SELECT exchange_id::VARCHAR FROM cost_change") == [(ones[n].exchange.id,) for n in (0, 2, 4)]
    assert queried(home, "SELECT id::VARCHAR FROM exchange") == [(ones[n].exchange.id,) for n in (0, 2, 4)]
    assert (queried(home, tables), queried(home, versions)) == schema
    assert home.database.stat().st_mode & 0o777 == 0o600
    assert list(home.scratch.iterdir()) == []


def test_a_record_waits_for_its_content(home: Home) -> None:
    """As long as not all content that is due is gone, its records stay: they alone say where it is."""
    store(home, *(one(f"n{number}", metadata_h=1) for number in range(3)))
    assert [(step.content, step.records) for step in (expiry.remove_due(home, at(1), 2) for _ in range(3))] == [
        (2, 0), (1, 3), (0, 0),
    ]  # fmt: skip


KILLED = """
import datetime as dt, os, pathlib, shutil, signal, sys
from tracecli import files
from tracecli.config import Home
from tracecli.store import bodies, expiry

def dying(steps):
    left = iter(range(steps))
    def step(done):
        def stepped(*args, **kwargs):
            if next(left, None) is None:
                os.kill(os.getpid(), signal.SIGKILL)
            return done(*args, **kwargs)
        return stepped
    for name in ("rename", "chmod"):
        setattr(pathlib.Path, name, step(getattr(pathlib.Path, name)))
    expiry.transaction, expiry._copy = step(expiry.transaction), step(expiry._copy)
    files.to_disk, expiry._attach_old = step(files.to_disk), step(expiry._attach_old)
    bodies.forget, expiry.forget_answers = step(bodies.forget), step(expiry.forget_answers)
    expiry.shutil.rmtree = step(shutil.rmtree)

home, now = pathlib.Path(sys.argv[1]), dt.datetime.fromisoformat(sys.argv[2])
for steps in range(100):
    copy = home.with_name(f"copy{steps}")
    shutil.copytree(home, copy)
    child = os.fork()  # nothing of DuckDB runs here yet
    if child == 0:
        dying(2 * steps)  # every second one: it takes its time
        expiry.remove_due(Home(copy), now)
        os._exit(0)
    if os.waitpid(child, 0)[1] == 0:
        break
print(steps)
"""


def test_killed_anywhere(home: Home) -> None:
    """Killed at any step, the store is readable, what stays is whole, and the next step leaves no byte of the rest."""
    gone, short, ever = one("gone", metadata_h=1), one("gone", content_h=1, user="short"), one("ever")
    store(home, gone, short, ever)
    arguments = [sys.executable, "-c", KILLED, str(home.root), at(1).isoformat()]
    done = subprocess.run(arguments, check=True, timeout=120, stdout=subprocess.PIPE)
    steps = int(done.stdout)
    assert steps > 5
    for number in range(steps + 1):
        copy = Home(home.root.with_name(f"copy{number}"))
        assert {row.user for row in browse.latest(copy, 9)} >= {"short", "record-ever"}
        if number < steps:
            expiry.remove_due(copy, at(1))
        assert {row.user for row in browse.latest(copy, 9)} == {"short", "record-ever"}
        assert browse.open_exchange(copy, ever.exchange.id).request.body == ever.request_body
        assert files_with(copy.root, "-gone") == []


def test_a_disk_that_is_full(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the new database cannot be written, the old one is as it was, and one sentence says why."""
    store(home, one("gone", metadata_h=1), one("ever"))

    def full(*_: object) -> None:
        raise duckdb.IOException("IO Error: No space left on device\nmore")

    with monkeypatch.context() as patch:
        patch.setattr(expiry, "_copy", full)
        with pytest.raises(HomeError, match=r"anew: IO Error: No space left on device\. It is as it was"):
            expiry.remove_due(home, at(1))
    assert len(browse.latest(home, 9)) == 2
    assert list(home.scratch.iterdir()) == []


LEFT_IN_THE_LOG = """
import os, signal, sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from tracecli.config import Home
from tracecli.store.connection import opened
with opened(Home(Path(sys.argv[1])), write=True) as connection:
    connection.execute("INSERT INTO loaded_segment (name) VALUES ('acknowledged')")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_log_that_was_left_behind(home: Home) -> None:
    """What a killed process had committed is in the new database, and its log does not come upon it again."""
    store(home, one("gone", metadata_h=1), one("ever"))
    subprocess.run([sys.executable, "-c", LEFT_IN_THE_LOG, home.root], check=False, timeout=60)
    log = home.database.with_name("traces.duckdb.wal")
    assert log.exists()
    assert expiry.remove_due(home, at(1)).records == 1
    assert not log.exists()
    assert queried(home, "SELECT count(*) FROM loaded_segment WHERE name = 'acknowledged'") == [(1,)]


MEANWHILE = """
import sys, time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from tracecli import browse
from tracecli.config import Home
from tracecli.store.connection import opened
home, wanted, rounds = Home(Path(sys.argv[1])), sys.argv[2], 0
while not (home.root / "stop").exists():
    if sys.argv[3] == "read":
        assert any(row.id == wanted for row in browse.latest(home, 9))
        assert browse.open_exchange(home, wanted).request.body.count(b"content-ever") == 200
    else:
        with opened(home, write=True) as connection:
            connection.execute("INSERT INTO loaded_segment (name) VALUES ($1)", [f"written-{rounds}"])
    time.sleep(0.02)
    rounds += 1
    if rounds == 1:
        print("begun", flush=True)
print(rounds)
"""


def test_readers_and_writers_meanwhile(home: Home) -> None:
    """Who reads while content and records go finds the rest each time; nothing that somebody writes is lost."""
    ever = one("ever")
    store(home, *(one(f"n{number}", number - 0.5, number) for number in range(1, 5)), ever)
    others = [
        subprocess.Popen(
            [sys.executable, "-c", MEANWHILE, home.root, ever.exchange.id, does], stdout=subprocess.PIPE, text=True
        )
        for does in ("read", "write")
    ]
    for other in others:
        assert other.stdout is not None and other.stdout.readline() == "begun\n"
    for number in range(1, 5):
        assert expiry.remove_due(home, at(number - 0.5)).content == 1
        assert expiry.remove_due(home, at(number)).records == 1
    (home.root / "stop").touch()
    said = [other.communicate(timeout=60)[0] for other in others]
    assert [other.returncode for other in others] == [0, 0]
    written = queried(home, "SELECT count(DISTINCT name) FROM loaded_segment WHERE name LIKE 'written-%'")
    assert written == [(int(said[1]),)]


class Clock:
    """Seconds that pass when they are told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def kept(home: Home) -> tuple[Clock, expiry.Keeper]:
    clock = Clock()
    return clock, expiry.Keeper(home, clock=clock)


def left(home: Home) -> tuple[int, int]:
    """How many exchanges have content, and how many there are."""
    [counts] = queried(home, "SELECT count(*) FILTER (content_removed_at IS NULL), count(*) FROM exchange")
    return counts[0], counts[1]


def test_it_goes_by_itself(home: Home, kept: tuple[Clock, expiry.Keeper], monkeypatch: pytest.MonkeyPatch) -> None:
    """Content within a minute, step by step; records with it at first, and then every ten minutes."""
    monkeypatch.setattr(expiry, "STEP", 2)
    store(home, *(one(f"n{number}", 1, 2) for number in range(3)), one("late", 3, 3), one("ever"))
    clock, keeper = kept
    keeper.step(at(0))
    keeper.step(at(2))
    assert left(home) == (5, 5)
    clock.now += 60
    keeper.step(at(2))
    assert left(home) == (3, 5)
    keeper.step(at(2))
    assert left(home) == (2, 2)
    clock.now += 60
    keeper.step(at(3))
    assert left(home) == (1, 2)
    clock.now += 540
    keeper.step(at(3))
    assert left(home) == (1, 1)


def test_a_failure_is_told_and_tried_again(
    home: Home, kept: tuple[Clock, expiry.Keeper], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever fails, ingest goes on, and a minute later it is tried again."""
    clock, keeper = kept
    for error in (HomeError("cannot", "Do."), OSError("disk"), duckdb.IOException("IO\nmore"), ValueError("bug")):
        with monkeypatch.context() as patch:
            patch.setattr(expiry, "remove_content", failing(error))
            caplog.clear()
            keeper.step(at(1))
            keeper.step(at(1))
        assert [record.message.startswith("retention failed") for record in caplog.records] == [True]
        clock.now += 60
    store(home, one("gone", 1))
    keeper.step(at(1))
    assert left(home) == (0, 1)


def failing(error: Exception) -> Callable[..., Any]:
    def fail(*_: object) -> Any:
        raise error

    return fail


def test_a_hold_keeps_what_is_over(home: Home) -> None:
    """By user or by tag, content and record stay until the hold is lifted; the plan says the same."""
    stored_ = [one("a", 1, 2, user="alice"), one("b", 1, 2, user="bob"), one("c", 1, 2, user="carol")]
    store(home, *stored_)
    noted = stored_[1].exchange.id
    assert notes.tag(home, [noted], ["case"], [], 32)
    assert holds.place(home, "user", "alice", "a lawsuit", at(0))
    assert holds.place(home, "tag", "case", "", at(0))
    assert not holds.place(home, "tag", "case", "again", at(0))
    assert [(one_.kind, one_.value, one_.exchanges) for one_ in holds.standing(home)] == [
        ("tag", "case", 1),
        ("user", "alice", 1),
    ]
    assert keeping.due(home, at(3)).content == 1
    assert keeping.due(home, at(3)).records == 1
    while expiry.remove_due(home, at(3)) != expiry.Removed():
        pass
    assert sorted(row.user for row in browse.latest(home, 9)) == ["alice", "bob"]
    assert b"content-a" in browse.open_exchange(home, stored_[0].exchange.id).request.body
    assert holds.lift(home, "user", "alice")
    assert not holds.lift(home, "user", "alice")
    while expiry.remove_due(home, at(3)) != expiry.Removed():
        pass
    assert [row.user for row in browse.latest(home, 9)] == ["bob"]
