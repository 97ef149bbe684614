"""From the spool to the store, exactly once, and readable all the time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import duckdb
import msgspec
import pytest

from tests.support.exchanges import captured
from tests.support.open_files import no_more_files
from tests.support.synced import Synced
from tests.support.waiting import wait_until
from tracecli import browse, files, ingest, spool
from tracecli.cli.doctor import examine
from tracecli.config import Home
from tracecli.errors import AmbiguousId, ExchangeNotFound, HomeError, NewerDatabase, StoreBusy
from tracecli.exchange import Captured, Understanding, Usage, new_id
from tracecli.spool import SpoolWriter
from tracecli.store import bodies, exchanges
from tracecli.store.connection import MIGRATIONS, opened

CHAT = json.dumps({"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Say hi"}]}).encode()
ANSWER = json.dumps(
    {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "model": "gpt-4o-mini-2024-07-18",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 9, "completion_tokens": 1, "total_tokens": 10},
    }
).encode()


@pytest.fixture
def home(tmp_path: Path) -> Home:
    made = Home(tmp_path / "home")
    made.prepare()
    return made


def chat(**changes: object) -> Captured:
    headers = [("Content-Type", "application/json")]
    return captured(CHAT, ANSWER, status=200, request_headers=headers, response_headers=headers, **changes)


def spooled(home: Home, *exchanges_: Captured) -> None:
    writer = SpoolWriter(home.spool)
    for exchange in exchanges_:
        assert writer.append(exchange)
    writer.close()


def load(home: Home) -> ingest.Status:
    return ingest.run(home, once=True, ended=lambda: False)


def test_what_is_no_segment_stops_nothing(home: Home) -> None:
    """A pipe, a link and a folder with the name of a segment are passed over, and what they lead to is not read."""
    pipe, link, folder = (home.spool / f"{new_id()}.seg" for _ in range(3))
    os.mkfifo(pipe)
    link.symlink_to("/etc/passwd")
    folder.mkdir()
    spooled(home, chat())
    assert load(home).exchanges == 1
    assert sorted(home.spool.iterdir()) == sorted([pipe, link, folder])
    assert list(home.quarantine.iterdir()) == []
    assert len(browse.latest(home, 10)) == 1
    told = [one for one in examine(home, home.root / "policies") if one.check == "spool"]
    assert [
        (one.severity, str(path) in one.problem) for one, path in zip(told, sorted([pipe, link, folder]), strict=True)
    ] == [("warning", True)] * 3


def test_reads_the_same_before_and_after_ingest(home: Home) -> None:
    """A row and an opened exchange say the same from the spool and from the store."""
    one = chat(user="alice", session="s-1", error=None)
    spooled(home, one, chat())
    before = browse.latest(home, 10), browse.open_exchange(home, one.exchange.id)
    assert load(home).exchanges == 2
    assert spool.segments(home.spool) == []
    after = browse.latest(home, 10), browse.open_exchange(home, one.exchange.id)
    assert [row.as_json() for row in after[0]] == [row.as_json() for row in before[0]]
    assert after[1].as_json() == before[1].as_json()
    row = after[1].row
    assert (row.user, row.session, row.request_model, row.input_tokens, row.output_tokens) == (
        "alice",
        "s-1",
        "gpt-4o-mini",
        9,
        1,
    )
    assert row.cost_usd is not None and row.cost_source == "computed"
    assert after[1].completion == "hi"
    assert after[1].request.body == CHAT


def test_newest_first_and_limited(home: Home) -> None:
    """The table is in order of time, across store and spool."""
    exchanges_ = [chat(id=new_id(1_700_000_000_000 + number)) for number in range(6)]
    spooled(home, *exchanges_[::2])
    load(home)
    spooled(home, *exchanges_[1::2])
    expected = [one.exchange.id for one in reversed(exchanges_)]
    assert [row.id for row in browse.latest(home, 10)] == expected
    assert [row.id for row in browse.latest(home, 4)] == expected[:4]


def test_a_segment_that_was_loaded_is_not_loaded_again(home: Home) -> None:
    """Killed between commit and unlink, ingest finds the segment again, and loads nothing twice."""
    spooled(home, chat())
    [segment] = spool.segments(home.spool)
    content = segment.read_bytes()
    load(home)
    segment.write_bytes(content)
    assert len(browse.latest(home, 10)) == 1
    assert load(home).exchanges == 0
    assert not segment.exists()
    assert len(browse.latest(home, 10)) == 1


def test_a_body_file_without_its_rows_is_removed(home: Home) -> None:
    """Killed between the body file and the commit, nothing of the round stays but the spool."""
    spooled(home, chat())
    load(home)
    orphan = home.bodies / f"{new_id()}.parquet"
    orphan.write_bytes(b"content that nobody owns")
    draft = home.scratch / f"{new_id()}.parquet"
    draft.write_bytes(b"half")
    load(home)
    assert not orphan.exists() and not draft.exists()
    assert browse.open_exchange(home, "last").completion == "hi"


def test_bodies_outlive_a_database_that_was_moved_away(home: Home) -> None:
    """Following our own advice to move a damaged database away costs no bodies."""
    spooled(home, chat())
    load(home)
    home.database.rename(home.root / "old.duckdb")
    load(home)
    aside = sorted(home.quarantine.iterdir())
    assert [folder.name.partition("-")[0] for folder in aside] == ["bodies", "said"]
    assert all([path.suffix for path in folder.iterdir()] == [".parquet"] for folder in aside)


def test_killed_in_the_very_first_round(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed before anything was ever committed, the body file it left is no remnant of another database."""
    spooled(home, chat())

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(exchanges, "append", killed)
        patch.setattr(Path, "unlink", killed)
        load(home)
    assert len(list(home.bodies.iterdir())) == 1
    assert load(home).exchanges == 1
    assert len(list(home.bodies.iterdir())) == 1
    assert list(home.quarantine.iterdir()) == []


def test_no_segment_comes_back_after_a_power_cut(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """The name of a loaded segment is remembered until the disk knows that the segment is gone."""
    disk = Synced(monkeypatch)
    forgotten: list[set[str]] = []
    append = exchanges.append

    def noting(*args: Any, **named: Any) -> int:
        added = append(*args, **named)
        back = {Path(name).stem for name in disk.names(home.spool)} - {one.stem for one in spool.segments(home.spool)}
        forgotten.append(back - exchanges.loaded(home, sorted(back)))
        return added

    monkeypatch.setattr(exchanges, "append", noting)
    monkeypatch.setattr(ingest, "ROUND_EXCHANGES", 1)
    for _ in range(3):
        spooled(home, chat())
    assert load(home).exchanges == 3
    assert forgotten == [set()] * 3


def test_a_round_that_fails_is_told_and_tried_again(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk is said in the status, in a line, for as long as it is one; then everything is loaded."""
    spooled(home, chat())
    said = 'IO Error: Async write failed: {"exception_type":"IO","exception_message":"No space left on device"}\nmore'
    told: list[str | None] = []
    write, tell = bodies.write, ingest.Ingest.tell

    def full(*_: Any) -> None:
        monkeypatch.setattr(bodies, "write", write)
        raise duckdb.IOException(said)

    def telling(self: ingest.Ingest) -> None:
        tell(self)
        told.append(msgspec.json.decode(home.status.read_bytes(), type=ingest.Status).last_error)

    monkeypatch.setattr(bodies, "write", full)
    monkeypatch.setattr(ingest.Ingest, "tell", telling)
    status = ingest.run(home, once=False, ended=lambda: not spool.segments(home.spool))
    assert (status.exchanges, status.last_error) == (1, None)
    assert "No space left on device" in told
    assert told[-1] is None
    assert spool.segments(home.spool) == []

    spooled(home, chat())
    monkeypatch.setattr(bodies, "write", full)
    with pytest.raises(HomeError, match="cannot load: No space left on device"):
        load(home)
    assert load(home).exchanges == 1


def test_a_database_that_could_not_be_made(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """A database appears whole: what a full disk lets nobody finish is not left in its place."""
    spooled(home, chat())
    to_disk = files.to_disk

    def full(path: Path) -> None:
        if path.name == home.database.name:
            assert not home.database.exists()
            raise OSError(28, "No space left on device")
        to_disk(path)

    monkeypatch.setattr(files, "to_disk", full)
    with pytest.raises(HomeError, match=r"cannot make the database .*No space left"):
        load(home)
    assert not home.database.exists()
    assert list(home.scratch.iterdir()) == []
    monkeypatch.undo()
    assert load(home).exchanges == 1


def test_damage_is_quarantined_and_the_rest_loaded(home: Home) -> None:
    """A damaged frame goes to quarantine, byte for byte; the exchanges around it are loaded, and it is counted."""
    spooled(home, *(chat() for _ in range(3)))
    [segment] = spool.segments(home.spool)
    data = bytearray(segment.read_bytes())
    middle = len(data) // 2
    data[middle] ^= 0xFF
    segment.write_bytes(data)
    (home.spool / f"{new_id()}.seg").write_bytes(b"garbage")
    status = load(home)
    assert (status.exchanges, status.quarantined) == (2, 2)
    aside = sorted(path.read_bytes() for path in home.quarantine.iterdir())
    assert b"garbage" in aside
    assert any(part in bytes(data) and len(part) > 100 for part in aside)
    assert len(browse.latest(home, 10)) == 2


def test_metered_only_has_no_content(home: Home) -> None:
    """With tracing off there is a usage record, and no body file."""
    found = Understanding(
        understood=True, stream=False, request_model="gpt-4o-mini", usage=Usage(input_tokens=9, output_tokens=1)
    )
    spooled(home, captured(b"", b"", status=200, traced=False, metered=found, ttft_ms=3.5))
    load(home)
    assert list(home.bodies.iterdir()) == []
    opened = browse.open_exchange(home, "last")
    assert (opened.row.input_tokens, opened.row.ttft_ms, opened.row.traced) == (9, 3.5, False)
    assert opened.row.cost_usd is not None
    assert (opened.request.body, opened.input_messages, opened.completion) == (b"", [], None)


def test_small_body_files_are_merged(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """Many small files become one, and every body is still found."""
    monkeypatch.setattr(bodies, "MERGE_FILES", 3)
    ids = []
    for _ in range(4):
        one = chat()
        ids.append(one.exchange.id)
        spooled(home, one)
        load(home)
    assert bodies.merge_small(home) == 3
    assert len(list(home.bodies.iterdir())) == 2
    assert [browse.open_exchange(home, one).completion for one in ids] == ["hi"] * 4


def test_ids_by_prefix(home: Home) -> None:
    """A unique beginning opens an exchange; an ambiguous one names some; upper case and blanks do no harm."""
    first, second = (f"01a2080{digit}-6cca-7728-8f7b-ab929dc23f01" for digit in "89")
    spooled(home, chat(id=first))
    load(home)
    spooled(home, chat(id=second))
    assert browse.open_exchange(home, " 01A20808 ").row.id == first
    assert browse.open_exchange(home, "01a20809-6c").row.id == second
    assert browse.open_exchange(home, "last").row.id == second
    with pytest.raises(AmbiguousId, match="more than one id begins with 01a2080"):
        browse.open_exchange(home, "01a2080")
    for wrong in ("ffff", "nonsense", "", "%", "01a20808-6cca-7728-8f7b-ab929dc23f01-0"):
        with pytest.raises(ExchangeNotFound):
            browse.open_exchange(home, wrong)


def test_an_empty_home(home: Home) -> None:
    """Nothing recorded is an empty list, and `last` says what to do."""
    assert browse.latest(home, 10) == []
    assert browse.latest(Home(home.root / "never made"), 10) == []
    with pytest.raises(ExchangeNotFound, match="Send a request"):
        browse.open_exchange(home, "last")


def test_a_newer_database_is_refused(home: Home) -> None:
    """A database from the future is neither read nor written, both versions are named, and the spool is kept."""
    spooled(home, chat())
    load(home)
    with duckdb.connect(str(home.database)) as connection:
        connection.execute("INSERT INTO schema_version VALUES (99, now(), '9.9.9')")
    spooled(home, chat())
    for use in (lambda: browse.latest(home, 1), lambda: load(home)):
        with pytest.raises(NewerDatabase, match=rf"schema version 99.* versions up to {len(MIGRATIONS)}"):
            use()
    assert len(spool.segments(home.spool)) == 1


def test_a_damaged_database_is_named(home: Home) -> None:
    """A file that is no database gives one sentence with the remedy."""
    home.database.write_bytes(b"not a database" * 1000)
    with pytest.raises(HomeError, match=r"cannot open the database .*traces\.duckdb"):
        browse.latest(home, 1)


@pytest.mark.skipif(sys.platform != "linux", reason="it takes a limit of Linux")
def test_a_database_that_the_machine_refuses_to_open(home: Home) -> None:
    """Too many open files say nothing against the database: nobody is told to move it away."""
    spooled(home, chat())
    load(home)
    refused = pytest.raises(HomeError, match=r"cannot open the database .*: Too many open files\. Let a process have")
    with no_more_files(os.getpid()), refused, opened(home, write=True):
        pass
    with opened(home, write=True):
        pass


def test_readers_wait_for_the_writer(home: Home) -> None:
    """While another process holds the database, a reader waits for its turn and gets all rows."""
    spooled(home, chat())
    load(home)
    holder = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import duckdb,sys; c=duckdb.connect(sys.argv[1]); print(1,flush=True); input()",
            home.database,
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with holder:
        assert holder.stdout and holder.stdin
        holder.stdout.readline()
        reader = subprocess.Popen(
            [sys.executable, "-c", "import sys\nfrom pathlib import Path\nfrom tracecli import browse, config\n"
             "print(flush=True)\nprint(len(browse.latest(config.Home(Path(sys.argv[1])), 9)))", home.root],
            stdout=subprocess.PIPE,
            text=True,
        )  # fmt: skip
        with reader:
            assert reader.stdout
            reader.stdout.readline()
            holder.communicate("\n", timeout=30)
            assert reader.stdout.read().strip() == "1"


def test_everything_is_private(home: Home) -> None:
    """Folders and files of the home are for their owner alone."""
    spooled(home, chat())
    run = subprocess.run(
        [sys.executable, "-m", "tracecli", "ingest", "--once", "--home", home.root],
        capture_output=True,
        check=True,
        text=True,
    )
    assert "1 exchanges loaded" in run.stderr
    found = list(home.root.rglob("*"))
    assert {path.name for path in found} >= {"traces.duckdb", "bodies", "spool", "ingest.json"}
    assert [path.name for path in found if path.stat().st_mode & 0o077] == []
    assert home.root.stat().st_mode & 0o077 == 0


def test_two_ingests_take_turns(home: Home) -> None:
    """While one process ingests, a second waits, and ends when it is told to."""
    with ingest.alone(home, lambda: True) as first:
        assert first
        with ingest.alone(home, lambda: True) as second:
            assert not second
        with pytest.raises(StoreBusy, match="another process already ingests"):
            load(home)


def test_exchanges_of_one_round_are_all_or_nothing(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the transaction fails, the spool keeps the segment, and no body file stays."""
    spooled(home, chat())

    def broken(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(bodies, "add", broken)
    with pytest.raises(HomeError, match="No space"):
        load(home)
    monkeypatch.undo()
    assert list(home.bodies.iterdir()) == []
    assert len(spool.segments(home.spool)) == 1
    assert load(home).exchanges == 1


def test_a_deep_spool_is_worked_off_in_bounded_rounds(home: Home) -> None:
    """20,000 exchanges that wait are loaded in rounds; killed between and amid them, each is there exactly once."""
    one = chat()
    writer = SpoolWriter(home.spool, seal_bytes=1 << 20)
    ids = [new_id() for _ in range(20_000)]
    for identifier in ids:
        exchange = msgspec.structs.replace(one.exchange, id=identifier)
        assert writer.append(Captured(exchange, one.request_body, one.response_body))
    writer.close()
    largest = max(sum(1 for _ in spool.read(home, segment)) for segment in spool.segments(home.spool))
    for loaded in (1, 2 * ingest.ROUND_EXCHANGES):  # when to kill it
        process = subprocess.Popen([sys.executable, "-m", "tracecli", "ingest", "--once", "--home", home.root])
        wait_until(lambda loaded=loaded: _stored(home) >= loaded, f"{loaded} exchanges", 120)  # type: ignore[misc]
        process.kill()
        process.wait(20)
    load(home)
    with opened(home) as connection:
        assert connection.execute("SELECT count(*), count(DISTINCT id) FROM exchange").fetchone() == (20_000, 20_000)
        assert exchanges.known(connection, ids) == set(ids)
        files = connection.execute("SELECT name, rows FROM body_file").fetchall()
    assert max(rows for _, rows in files) < ingest.ROUND_EXCHANGES + largest
    assert {name for name, _ in files} == {path.name for path in home.bodies.iterdir()}
    assert spool.segments(home.spool) == [] and list(home.scratch.iterdir()) == []
    assert list(home.quarantine.iterdir()) == []


def _stored(home: Home) -> int:
    try:
        with opened(home) as connection:
            [(count,)] = connection.execute("SELECT count(*) FROM exchange").fetchall()
    except FileNotFoundError:
        return 0
    return int(count)


def test_a_home_that_cannot_be_used(tmp_path: Path) -> None:
    """A file in the place of the folder gives one sentence with the remedy."""
    (tmp_path / "file").write_text("")
    with pytest.raises(HomeError, match="TRACECLI_HOME"):
        Home(tmp_path / "file" / "home").prepare()
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
