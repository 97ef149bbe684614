"""The process's own DuckDB: the database is attached for moments, and others get it then."""

import shutil
import subprocess
import sys
import threading
from pathlib import Path

import duckdb
import pytest

from tracecli.config import Home
from tracecli.errors import HomeError, StoreBusy
from tracecli.store import connection
from tracecli.store.connection import make, opened
from tracecli.store.engine import Engine, engine, left_over, scratchpad, sparing, spill_folder

_OTHER = "import duckdb, sys; duckdb.connect(sys.argv[1]).execute('SELECT count(*) FROM exchange')"


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path / "home")
    home.prepare()
    make(home)
    return home


def _another_process_can_write(home: Home) -> bool:
    return not subprocess.run(
        [sys.executable, "-c", _OTHER, str(home.database)], check=False, capture_output=True
    ).returncode


def test_the_lock_is_given_back(home: Home) -> None:
    """While one reads nobody writes; afterwards others can, and this process again after them."""
    with opened(home) as database:
        database.execute("SELECT 1 FROM exchange")
        assert not _another_process_can_write(home)
        with opened(home):
            pass
        assert not _another_process_can_write(home)
    assert _another_process_can_write(home)
    with opened(home, write=True):
        assert not _another_process_can_write(home)
    assert _another_process_can_write(home)
    assert not home.database.with_name(f"{home.database.name}.wal").exists()


def test_a_result_that_nobody_fetches_does_not_hold_the_lock(home: Home) -> None:
    with opened(home) as database:
        database.execute("SELECT * FROM range(100000)").fetchone()
    assert _another_process_can_write(home)


def test_an_error_of_a_statement_does_not_hold_the_lock(home: Home) -> None:
    with pytest.raises(duckdb.BinderException), opened(home, write=True) as database:
        database.execute("SELECT nothing FROM exchange")
    assert _another_process_can_write(home)


def test_one_engine_for_all_openings(home: Home) -> None:
    with opened(home):
        first = engine(home)
    with opened(home, write=True), scratchpad(home):
        assert engine(home) is first


def test_another_engine_after_an_error_that_broke_it(home: Home) -> None:
    first = engine(home)
    with pytest.raises(duckdb.FatalException), opened(home):
        raise duckdb.FatalException("the database has been invalidated")
    with opened(home) as database:
        assert database.execute("SELECT 1").fetchone() == (1,)
    assert engine(home) is not first
    assert _another_process_can_write(home)


def test_a_writer_waits_for_a_reader_of_the_same_process(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has its turn when the reader is done, and gives up as for others when that takes too long."""
    done: list[str] = []

    def write() -> None:
        with opened(home, write=True):
            done.append("written")

    with opened(home):
        thread = threading.Thread(target=write)
        thread.start()
        done.append("read")
    thread.join()
    assert done == ["read", "written"]
    monkeypatch.setattr(connection, "WRITE_PATIENCE_S", 0.05)
    with opened(home), pytest.raises(StoreBusy), opened(home, write=True):
        pass


def test_threads_read_at_once(home: Home) -> None:
    together = threading.Barrier(4, timeout=60)
    found: list[object] = []

    def read() -> None:
        with opened(home) as database:
            together.wait()
            found.append(database.execute("SELECT count(*) FROM exchange").fetchone())

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [(0,)] * 4
    assert _another_process_can_write(home)


def test_a_scratchpad_begins_empty(home: Home) -> None:
    for _ in range(2):
        with scratchpad(home) as pad:
            pad.execute("CREATE TEMP TABLE used AS SELECT 1 AS one")
            assert pad.execute("SELECT * FROM used").fetchall() == [(1,)]


def test_sparing_ends_with_its_block(home: Home) -> None:
    def settings() -> list[object]:
        with scratchpad(home) as pad:
            row = pad.execute("SELECT current_setting('threads'), current_setting('memory_limit')").fetchone()
            return list(row or ())

    before = settings()
    with scratchpad(home) as pad, sparing(pad, "100MB"):
        threads, memory = settings()
        assert threads == 1
        assert memory != before[1]
    assert settings() == before


def test_what_is_left_over(home: Home) -> None:
    """Only what no process of this machine spills to."""
    with subprocess.Popen([sys.executable, "-c", "pass"]) as gone:
        gone.wait()
    assert not left_over(spill_folder(home))
    assert left_over(home.scratch / f"{gone.pid}-x.spill")
    assert left_over(home.scratch / "rewrite.spill")
    assert not left_over(home.scratch / "rewrite.parquet")


def test_replaced_while_it_is_opened(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever opens the database in the moment in which another one takes its name gets that one."""
    attach = Engine._attach
    failures: list[bool] = []

    def attached(self: Engine, write: bool) -> None:
        """As when the log of another database lies beside the one that was opened."""
        if failures:
            if failures.pop():
                copy = home.scratch / "copy"
                shutil.copyfile(home.database, copy)
                copy.replace(home.database)
            raise duckdb.IOException("WAL does not match database file.")
        attach(self, write)

    monkeypatch.setattr(Engine, "_attach", attached)
    failures[:] = [True, True]
    with opened(home) as connection:
        assert connection.execute("SELECT count(*) FROM exchange").fetchall() == [(0,)]
    failures[:] = [False]
    with pytest.raises(HomeError, match="does not match"), opened(home):
        pass
