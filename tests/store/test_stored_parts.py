"""Parts on the disk: each once, whatever holds it, and every body as it was."""

from __future__ import annotations

import base64
import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import duckdb
import pytest

from tests.support.exchanges import captured
from tests.support.upkeep import JSON, chat, load, new_home, queried, spooled, stored
from tracecli import browse
from tracecli.config import Home
from tracecli.errors import HomeError
from tracecli.exchange import Captured, new_id
from tracecli.store import bodies, connection, exchanges, parquet, part_files, pools
from tracecli.store.said_files import Known

IMAGE = base64.b64encode(random.Random(1).randbytes(750_000)).decode()


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    monkeypatch.setenv("TRACECLI_POLICIES", str(tmp_path / "policies"))
    return new_home(tmp_path)


def text(chance: random.Random, size: int) -> str:
    """Words of about so many characters that nobody else has."""
    return " ".join(f"{chance.getrandbits(20):x}" for _ in range(size // 6))


def asked(request: object, **changes: Any) -> Captured:
    """An exchange with this request."""
    return captured(json.dumps(request).encode(), b"{}", status=200, request_headers=JSON, **changes)


def kept(home: Home, *ones: Captured) -> None:
    """Bring bodies into the store, as a round of ingest does, without understanding them."""
    written = bodies.write(home, ones, {}, Known())
    assert written
    with connection.opened(home, write=True) as open_, connection.transaction(open_):
        bodies.add(open_, written)


def held(home: Home, ids: Sequence[str]) -> dict[str, tuple[bytes, bytes]]:
    """The stored bodies."""
    with connection.opened(home) as open_:
        places = bodies.candidates(open_, ids)
    return bodies.read(home, places, ids)


def assert_held(home: Home, *ones: Captured) -> None:
    """Every body is there, as it was."""
    found = held(home, [one.exchange.id for one in ones])
    assert found == {one.exchange.id: (one.request_body, one.response_body) for one in ones}


def on_disk(home: Home) -> int:
    """The bytes of all files of bodies and parts."""
    return sum(path.stat().st_size for folder in (home.bodies, home.parts) for path in folder.iterdir())


def test_an_image_in_ten_requests_is_stored_once(home: Home) -> None:
    """The same image, in one round or in several, among different messages, lies on the disk once."""
    ones = [asked({"n": n, "image": f"data:image/png;base64,{IMAGE}", "more": ["x"] * n}) for n in range(10)]
    for some in (ones[:4], ones[4:6], ones[6:]):
        stored(home, *some)
    assert on_disk(home) < len(IMAGE)
    assert queried(home, "SELECT count(*), sum(rows), sum(part_bytes) > 1e6 FROM part, part_file") == [(1, 1, True)]
    assert_held(home, *ones)
    assert browse.open_exchange(home, ones[7].exchange.id).request.body == ones[7].request_body


def test_a_session_of_an_agent_is_small(home: Home) -> None:
    """Fifty turns that send the whole history, 20 MB in all, take less than 1.5 MB."""
    chance = random.Random(2)
    tools = [
        {"name": f"tool_{n}", "description": text(chance, 700), "input_schema": {"type": "object"}} for n in range(9)
    ]
    said: list[dict[str, str]] = []
    turns = []
    for turn in range(50):
        for size in (300, 13_000, 200, 2500):
            said.append({"role": "user", "content": text(chance, size)})
        turns.append(asked({"model": "m", "tools": tools, "messages": said, "turn": turn}))
    assert sum(len(one.request_body) for one in turns) > 20_000_000
    for start in range(0, 50, 5):
        kept(home, *turns[start : start + 5])
    assert on_disk(home) < 1_500_000
    assert_held(home, *turns)


def test_an_answer_that_is_given_again_is_stored_once(home: Home) -> None:
    """An answer from the cache costs no room, be it a stream or compressed."""
    answers = [b"data: " + text(random.Random(3), 20_000).encode(), random.Random(4).randbytes(20_000)]
    ones = [captured(b"%d" % n, answer) for n in range(6) for answer in answers]
    kept(home, *ones)
    assert queried(home, "SELECT count(*) FROM part") == [(2,)]
    assert_held(home, *ones)


def test_large_parts_are_in_several_files(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of parts holds a bounded number of bytes, since to find one all of them are read."""
    monkeypatch.setattr(pools, "FILE_BYTES", 10_000)
    chance = random.Random(5)
    ones = [asked(text(chance, size)) for size in (3000, 3000, 3000, 3000, 30_000, 3000)]
    kept(home, *ones)
    found = queried(home, "SELECT rows, part_bytes FROM part_file")
    assert sum(rows for rows, _ in found) == len(ones) and any(rows > 1 for rows, _ in found)
    assert all(size <= 10_000 or rows == 1 for rows, size in found)
    assert_held(home, *ones)


def test_small_files_of_parts_are_merged(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """Many small files become one, within bounds, and every body is still found, also by who reads this moment."""
    monkeypatch.setattr(pools, "MERGE_FILES", 3)
    chance = random.Random(6)
    ones = [asked(text(chance, 3000)) for _ in range(4)]
    for one in ones:
        kept(home, one)
    assert bodies.merge_small(home) == 3
    assert queried(home, "SELECT rows, part_bytes > 8000 FROM part_file ORDER BY min_id") == [(3, True), (1, False)]
    assert len(list(home.parts.iterdir())) == 2
    assert_held(home, *ones)
    kept(home, ones[0])
    assert queried(home, "SELECT count(*) FROM part") == [(4,)]


def test_merged_files_of_parts_are_bounded(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """No more is merged into a file than it may hold."""
    monkeypatch.setattr(pools, "MERGE_FILES", 4)
    monkeypatch.setattr(pools, "FILE_BYTES", 10_000)
    monkeypatch.setattr(pools, "SMALL_BYTES", 4000)
    chance = random.Random(12)
    ones = [asked(text(chance, 3000)) for _ in range(5)]
    for one in ones:
        kept(home, one)
    assert bodies.merge_small(home) == 3
    assert bodies.merge_small(home) == 0
    assert queried(home, "SELECT rows FROM part_file ORDER BY min_id") == [(3,), (1,), (1,)]
    assert_held(home, *ones)


def test_files_merged_while_somebody_reads(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """If ingest merges between the bodies and their parts, the parts are found in the new file."""
    monkeypatch.setattr(pools, "MERGE_FILES", 2)
    monkeypatch.setattr(bodies, "MERGE_FILES", 2)
    chance = random.Random(7)
    ones = [chat(prompt=text(chance, 3000)) for _ in range(2)]
    for one in ones:
        stored(home, one)
    read = part_files.read

    def merged_first(*args: Any) -> dict[str, bytes]:
        bodies.merge_small(home)
        return read(*args)

    monkeypatch.setattr(part_files, "read", merged_first)
    for one in ones:
        assert browse.open_exchange(home, one.exchange.id).request.body == one.request_body


def test_killed_before_the_commit(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts that no transaction named are removed, and stored again with the round that is done again."""
    one = chat(prompt=text(random.Random(8), 3000))
    spooled(home, one)

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(exchanges, "append", killed)
        load(home)
    [orphan] = home.parts.iterdir()
    (home.scratch / f"{new_id()}.spill").mkdir()
    assert load(home).exchanges == 1
    assert not orphan.exists() and list(home.scratch.iterdir()) == []
    assert_held(home, one)


def test_a_round_that_fails_leaves_no_parts(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """If a file cannot be written or named, none of the round stays."""
    ones = [asked(text(random.Random(9), 3000))]
    write = parquet.write

    def full(home: Home, folder: Path, *args: Any) -> parquet.File:
        if folder == home.bodies:
            raise OSError(28, "No space left on device")
        return write(home, folder, *args)

    with monkeypatch.context() as patch, pytest.raises(OSError, match="No space"):
        patch.setattr(parquet, "write", full)
        bodies.write(home, ones, {}, Known())
    assert on_disk(home) == 0
    spooled(home, *ones)
    with monkeypatch.context() as patch, pytest.raises(HomeError, match="No space"):
        patch.setattr(part_files, "add", lambda *_: full(home, home.bodies))
        load(home)
    assert on_disk(home) == 0
    assert load(home).exchanges == 1
    assert_held(home, *ones)


def test_parts_outlive_a_database_that_was_moved_away(home: Home) -> None:
    """They are set aside with the bodies that need them, and the new database stores its own."""
    one = chat(prompt=text(random.Random(10), 3000))
    stored(home, one)
    home.database.rename(home.root / "old.duckdb")
    stored(home, one)
    assert sorted(path.name.partition("-")[0] for path in home.quarantine.iterdir()) == ["bodies", "parts", "said"]
    assert_held(home, one)


@pytest.mark.parametrize("version", [1, 2])
def test_files_of_older_versions(home: Home, monkeypatch: pytest.MonkeyPatch, version: int) -> None:
    """Bodies that are stored whole are read as before, alone and beside newer ones, merged with them, and forgotten."""
    monkeypatch.setattr(bodies, "MERGE_FILES", 2)
    chance = random.Random(11)
    old, older, new = (asked(text(chance, 3000)) for _ in range(3))
    with monkeypatch.context() as before:
        before.setattr(connection, "MIGRATIONS", connection.MIGRATIONS[:version])
        connection.make(home)
    with duckdb.connect(str(home.database)) as open_:
        for number, one in enumerate((old, older)):
            whole = [one.exchange.id, one.request_body, one.response_body]
            open_.execute(
                f"COPY (SELECT ?::UUID AS id, ?::BLOB AS request_body, ?::BLOB AS response_body)"
                f" TO '{home.bodies}/{number}.parquet' (COMPRESSION zstd)",
                whole,
            )
            open_.execute("INSERT INTO body_file VALUES (?, $2, $2, 1, 1000)", [f"{number}.parquet", one.exchange.id])
    assert_held(home, old, older)
    kept(home, new)
    assert_held(home, old, older, new)
    assert bodies.merge_small(home) == 2
    assert_held(home, old, older, new)
    assert bodies.merge_small(home) == 2
    assert_held(home, old, older, new)
    bodies.forget(home, [older.exchange.id])
    assert_held(home, old, new)
