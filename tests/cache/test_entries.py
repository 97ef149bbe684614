"""Stored answers: kept, shared, limited, purged to the last byte, and never in the proxy's way."""

from __future__ import annotations

import logging
import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.support.entries import entry
from tests.support.waiting import wait_until
from tracecli.cache.entries import VERSION, Entries, Entry
from tracecli.errors import HomeError

MUCH = 10**9
ENCODED = [("Content-Encoding", "br")]
"""Of bodies that are stored as they are."""


@pytest.fixture(autouse=True)
def closed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No test leaves a file open."""
    made: list[Entries] = []
    begin = Entries.__init__

    def noted(self: Entries, *args: Any, **more: Any) -> None:
        made.append(self)
        begin(self, *args, **more)

    monkeypatch.setattr(Entries, "__init__", noted)
    yield
    for one in made:
        one.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the cache is: alone in a folder."""
    folder = tmp_path / "home"
    folder.mkdir()
    return folder / "cache.db"


@pytest.fixture
def entries(path: Path) -> Iterator[Entries]:
    """An empty cache."""
    found = Entries(path, MUCH)
    yield found
    found.close()


def key(number: int) -> bytes:
    """The key of an entry, like no other."""
    return random.Random(number).randbytes(32)


def some(number: int, size: int = 1000, user: str = "alice", model: str = "m", stored_at: float = 0.0) -> Entry:
    """An entry whose body does not compress."""
    body = random.Random(number).randbytes(size)
    return entry(key(number), exchange_id=f"exchange-{number}", body=body, user=user, model=model, stored_at=stored_at)


def content(path: Path) -> bytes:
    """All that is in the files of the cache."""
    return b"".join(one.read_bytes() for one in path.parent.iterdir())


def held(entries: Entries, numbers: range) -> list[int]:
    """Which of the entries are there."""
    return [number for number in numbers if any(one.key == key(number) for one in entries.listed())]


@pytest.mark.parametrize("body", [b"", b"{}", b"data: x\n\n" * 100_000, random.Random(1).randbytes(5_000_000)])
@pytest.mark.parametrize("headers", [[], [("A", "b"), ("a", "é"), ("Content-Encoding", "gzip")]])
def test_an_entry_comes_back_as_it_was(entries: Entries, body: bytes, headers: list[tuple[str, str]]) -> None:
    """Every field, every header and every byte."""
    kept = entry(body=body, headers=headers, model=None, operation=None, stored_at=1_700_000_000.25)
    assert entries.put(kept)
    assert entries.get(kept.key) == kept
    assert entries.get(b"other") is None


def test_the_last_one_counts(entries: Entries) -> None:
    """A key has one entry, and what it replaced takes no room."""
    entries.put(some(1, size=50_000))
    entries.put(entry(key(1), body=b"new"))
    found = entries.get(key(1))
    assert found is not None and found.body == b"new"
    number, size = entries.held()
    assert number == 1 and size < 5_000


def test_it_survives_a_restart_and_is_private(path: Path) -> None:
    """Entries are there again, in files that only their owner may read."""
    first = Entries(path, MUCH)
    first.put(some(1))
    assert [oct(one.stat().st_mode & 0o777) for one in path.parent.iterdir()] == ["0o600"] * 3
    first.close()
    second = Entries(path, MUCH)
    assert second.get(key(1)) == some(1)
    second.close()


def test_what_was_used_longest_ago_goes_first(entries: Entries) -> None:
    """Entries go by their last use, and reading is a use."""
    for number in range(6):
        entries.put(some(number, size=10_000))
    for number in (3, 0, 3, 1, 0):
        entries.get(key(number))
    entries.tick()
    assert [one.exchange_id[-1] for one in entries.listed()] == ["0", "1", "3", "5", "4", "2"]
    entries.max_bytes = entries.held()[1]
    entries.put(some(6, size=15_000))
    assert held(entries, range(7)) == [0, 1, 3, 5, 6]


def test_it_keeps_within_its_bytes(entries: Entries, path: Path) -> None:
    """The file stays near the limit, whatever sizes come; what alone is too large is not kept."""
    entries.max_bytes = 2_000_000
    chance = random.Random(0)
    for number in range(1_500):
        assert entries.put(some(number, size=chance.choice([10, 500, 3_000, 20_000])))
        assert entries.held()[1] <= 2_000_000
    assert not entries.put(some(-1, size=2_000_000))
    entries.close()
    assert 1_600_000 < path.stat().st_size < 2_400_000


def test_a_lower_limit_frees_the_disk(entries: Entries, path: Path) -> None:
    """Within some ticks the file is as small as it has to be."""
    for number in range(400):
        entries.put(some(number, size=10_000))
    entries.max_bytes = 500_000
    for _ in range(5):
        entries.tick()
    assert held(entries, range(400)) == list(range(400 - entries.held()[0], 400))
    assert entries.held()[1] <= 500_000
    entries.close()
    assert path.stat().st_size < 700_000


def test_closing_keeps_what_is_there(entries: Entries, path: Path) -> None:
    """Whoever only looks, with another limit in mind, throws nothing out."""
    entries.put(some(1))
    other = Entries(path, 10)
    assert other.get(key(1)) is not None
    other.close()
    assert entries.get(key(1)) is not None


# Purging


@pytest.mark.parametrize("seed", range(4))
def test_purged_bytes_are_in_no_file(entries: Entries, path: Path, seed: int) -> None:
    """After a purge neither the file nor its log holds a byte of it, also where SQLite moved it about; others stay."""
    chance = random.Random(seed)
    marks: dict[str, list[bytes]] = {"alice": [], "bob": []}
    for number in range(500):
        user = chance.choice(["alice", "bob"])
        mark = f"<{chance.getrandbits(64):016x}>"
        body = mark.encode() * chance.choice([1, 3, 20, 100, 400])
        kept = entry(chance.randbytes(32), exchange_id=mark, user=user, headers=ENCODED, body=body)
        entries.put(kept)
        marks[user] += [mark.encode(), kept.key]
        if number % 3 == 0:
            entries.get(kept.key)
            entries.tick()
    before, size = entries.held()
    went = entries.purge(users=["alice"])
    assert (before - went[0], size - went[1]) == entries.held() == (len(marks["bob"]) / 2, entries.held()[1])
    left = content(path)
    assert not [mark for mark in [b"alice", *marks["alice"]] if mark in left]
    assert all(mark in left for mark in marks["bob"])


def test_purge_finishes_what_was_evicted_or_replaced(entries: Entries, path: Path) -> None:
    """Bytes of entries that went before are gone, too, though there is no such entry any more."""
    for number in range(300):
        mark = f"<mark {number:04}>".encode()
        entries.put(entry(key(number % 40), exchange_id=str(number), headers=ENCODED, body=mark * 30))
    assert entries.purge(exchange_ids=["1"]) == (0, 0)
    left = content(path)
    assert [number for number in range(300) if f"<mark {number:04}>".encode() in left] == list(range(260, 300))


def test_what_is_purged(entries: Entries) -> None:
    """What fits all that is given goes: ids, users, models, age, keys; without anything given, everything."""

    def again() -> None:
        for number in range(8):
            user, model = "ab"[number % 2], "xy"[number // 2 % 2]
            entries.put(some(number, user=user, model=model, stored_at=float(number)))

    again()
    assert entries.purge(users=["a"], models=["x"])[0] == 2
    assert held(entries, range(8)) == [1, 2, 3, 5, 6, 7]
    again()
    assert entries.purge(stored_before=3.0)[0] == 3
    assert held(entries, range(8)) == [3, 4, 5, 6, 7]
    assert entries.purge(exchange_ids=["exchange-4", "exchange-0", "nothing"], stored_before=9.0)[0] == 1
    assert entries.purge(keys=[key(5), key(0)])[0] == 1
    assert entries.purge(exchange_ids=[]) == entries.purge(users=["'"]) == (0, 0)
    assert held(entries, range(8)) == [3, 6, 7]
    assert entries.purge(exchange_ids=[f"exchange-{number}" for number in range(100_000)])[0] == 3
    again()
    assert entries.purge()[0] == 8
    assert entries.held() == (0, 0)


def test_a_purge_that_cannot_finish_says_so(entries: Entries, path: Path) -> None:
    """While somebody reads on, the log keeps old bytes: that is told, and the next purge finishes it."""
    entries.put(some(1))
    entries.put(some(2))
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN")
    other.execute("SELECT * FROM entry").fetchall()
    entries._ready().execute("PRAGMA busy_timeout = 10")
    with pytest.raises(HomeError, match="in use"):
        entries.purge(exchange_ids=["exchange-1"])
    assert some(1).body[-500:] in content(path)
    other.close()
    assert entries.purge(exchange_ids=["exchange-1"]) == (0, 0)
    assert some(1).body[-500:] not in content(path)
    assert entries.get(key(2)) is not None


def test_the_lists(entries: Entries) -> None:
    """Entries by user and model, the last used first; one by the beginning of its key."""
    for number in range(4):
        entries.put(some(number, user="ab"[number % 2], model="xy"[number // 2]))
    assert [one.key for one in entries.listed(limit=2)] == [key(3), key(2)]
    assert [one.key for one in entries.listed(user="b")] == [key(3), key(1)]
    assert [one.key for one in entries.listed(user="b", model="x")] == [key(1)]
    assert [one.key for one in entries.with_prefix(key(2).hex()[:9])] == [key(2)]
    assert [one.key for one in entries.with_prefix(key(2).hex().upper())] == [key(2)]
    assert len(entries.with_prefix("")) == 2
    assert entries.with_prefix("%") == entries.with_prefix("0" * 70) == []


# Several processes and threads

WRITER = """
import itertools, sys
from pathlib import Path
from tests.cache.test_entries import MUCH, some
from tracecli.cache.entries import Entries
entries = Entries(Path(sys.argv[1]), MUCH)
for number in itertools.count():
    assert entries.put(some(number, size=20_000 if number % 5 else 500_000))
    print(number, flush=True)
"""


def writer(path: Path) -> subprocess.Popen[bytes]:
    """Another process that stores entries 0, 1, ... and says so of each."""
    return subprocess.Popen([sys.executable, "-c", WRITER, path], stdout=subprocess.PIPE, cwd=Path(__file__).parents[2])


@pytest.mark.parametrize("after", [0, 3, 17])
def test_killed_while_writing(path: Path, after: int) -> None:
    """Whatever was said to be stored is there, whole, the counts are right, and the next one can write."""
    with writer(path) as process:
        assert process.stdout is not None
        while int(process.stdout.readline()) < after:
            pass
        process.send_signal(signal.SIGKILL)
        said = after + len(process.stdout.read().splitlines())
    entries = Entries(path, MUCH)
    number, size = entries.held()
    assert number in (said + 1, said + 2)
    assert sum(one.bytes for one in entries.listed()) == size
    for one in range(number):
        found = entries.get(key(one))
        assert found is not None and found.body == some(one, size=20_000 if one % 5 else 500_000).body
    assert entries.put(some(-1))
    assert entries.failures == 0
    entries.close()


def test_processes_share_it(entries: Entries, path: Path) -> None:
    """What one process stores, another one finds, while both write; what one purges is gone for the other."""
    with writer(path) as process:
        assert process.stdout is not None
        for number in range(20):
            assert int(process.stdout.readline()) == number
            assert entries.get(key(number)) is not None
            assert entries.put(some(1000 + number))
            entries.tick()
        process.kill()
    other = Entries(path, MUCH)
    assert other.purge(exchange_ids=["exchange-1000"])[0] == 1
    other.close()
    assert entries.get(key(1000)) is None
    assert entries.failures == 0


def test_many_open_a_new_one_at_once(path: Path) -> None:
    """Processes that begin together make one cache."""
    script = (
        "import sys, pathlib; from tracecli.cache.entries import Entries; from tests.cache.test_entries import some\n"
    )
    script += "entries = Entries(pathlib.Path(sys.argv[1]), 10**9); entries.put(some(int(sys.argv[2])))\n"
    script += "assert entries.failures == 0"
    cwd = Path(__file__).parents[2]
    processes = [subprocess.Popen([sys.executable, "-c", script, path, str(number)], cwd=cwd) for number in range(6)]
    assert [process.wait(60) for process in processes] == [0] * 6
    entries = Entries(path, MUCH)
    assert held(entries, range(6)) == list(range(6))
    entries.close()


def test_threads_share_it(entries: Entries) -> None:
    """Reading in one thread while others write, tick and purge disturbs nobody."""
    stop = threading.Event()

    def write() -> None:
        for number in range(200):
            entries.put(some(number))
            if number % 50 == 0:
                entries.purge(exchange_ids=[f"exchange-{number}"])

    def tick() -> None:
        while not stop.is_set():
            entries.tick()

    def read() -> None:
        while not stop.is_set():
            for number in range(200):
                found = entries.get(key(number))
                assert found is None or found.body == some(number).body

    with ThreadPoolExecutor() as pool:
        others = [pool.submit(tick), pool.submit(read)]
        try:
            pool.submit(write).result()
        finally:
            stop.set()
        for one in others:
            one.result()
    assert entries.failures == 0
    assert entries.held()[0] == 196


# What goes wrong


@pytest.mark.parametrize(
    "damage", [b"no database at all" * 300, b"SQLite format 3\0" + b"\xff" * 5_000], ids=["garbage", "broken header"]
)
def test_a_damaged_file_begins_anew(path: Path, caplog: pytest.LogCaptureFixture, damage: bytes) -> None:
    """A file that is no database is replaced by an empty cache, with one warning."""
    path.write_bytes(damage)
    entries = Entries(path, MUCH)
    assert entries.put(some(1))
    assert entries.get(key(1)) == some(1)
    assert len([one for one in caplog.records if one.levelno >= logging.WARNING]) == 1
    assert damage not in content(path)
    entries.close()


@pytest.mark.parametrize("where", [0.02, 0.5, 0.99])
def test_damage_that_shows_later(path: Path, where: float) -> None:
    """Where reading meets damage there is no entry, and no error; the next tick mends."""
    entries = Entries(path, MUCH)
    for number in range(200):
        entries.put(some(number))
    entries.close()
    data = bytearray(path.read_bytes())
    start = int(len(data) * where) // 4096 * 4096
    data[start : start + 40_000] = os.urandom(40_000)
    path.write_bytes(data)
    entries = Entries(path, MUCH)
    found = [entries.get(key(number)) for number in range(200)]
    assert all(one is None or one == some(number) for number, one in enumerate(found))
    for number in range(200, 210):
        entries.put(some(number))
        entries.tick()
    entries.put(some(1000))
    assert entries.get(key(1000)) == some(1000)
    entries.close()


@pytest.mark.parametrize(
    "statement",
    [f"PRAGMA user_version = {VERSION + 1}", "CREATE TABLE of_somebody_else (x)"],
    ids=["newer", "of another program"],
)
def test_a_file_that_is_not_ours_stays_as_it_is(path: Path, caplog: pytest.LogCaptureFixture, statement: str) -> None:
    """A newer tracecli's cache is left alone: no entries, one warning, and an error for who asks."""
    connection = sqlite3.connect(path)
    connection.execute(statement)
    connection.commit()
    connection.close()
    before = path.read_bytes()
    entries = Entries(path, MUCH)
    assert entries.get(key(1)) is None
    assert not entries.put(some(1))
    entries.tick()
    assert len(caplog.records) == 1
    with pytest.raises(HomeError, match="version"):
        entries.held()
    entries.close()
    assert path.read_bytes() == before


def test_a_folder_that_is_not_there(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Without a file to write there are no entries, and nothing raises; once it can be made, there are."""
    entries = Entries(tmp_path / "no" / "cache.db", MUCH)
    assert entries.get(key(1)) is None
    assert not entries.put(some(1))
    entries.tick()
    assert len(caplog.records) == 1
    (tmp_path / "no").mkdir()
    entries.tick()
    assert entries.put(some(1))
    assert entries.get(key(1)) == some(1)
    entries.close()


def test_a_file_that_somebody_removed(entries: Entries, path: Path) -> None:
    """A new one is made at the next tick, and both processes use it."""
    entries.put(some(1))
    for one in path.parent.iterdir():
        one.unlink()
    entries.tick()
    other = Entries(path, MUCH)
    assert other.put(some(2))
    assert (entries.get(key(1)), entries.get(key(2))) == (None, some(2))
    other.close()


def test_a_value_that_cannot_be_stored_harms_nothing(entries: Entries) -> None:
    """An odd entry is not kept; the others stay."""
    entries.put(some(1))
    assert not entries.put(some(2, user="\ud800"))
    assert not entries.put(entry(key(3), headers=[("A", "\ud800")]))
    entries.tick()
    assert entries.get(key(1)) == some(1)
    assert held(entries, range(4)) == [1]


def test_a_writer_elsewhere_does_not_stop_readers(entries: Entries, path: Path) -> None:
    """While another process holds the file for writing, entries are read at once."""
    entries.put(some(1))
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    assert entries.get(key(1)) == some(1)
    thread = threading.Thread(target=entries.put, args=(some(2),))
    thread.start()
    assert entries.get(key(2)) is None
    other.execute("COMMIT")
    other.close()
    thread.join()
    wait_until(lambda: entries.get(key(2)), "the entry")
