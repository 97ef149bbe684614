"""`tracecli db`: what it prints, its exit codes, and whom it waits for."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.support.looks import rendered
from tests.support.upkeep import chat, new_home, stored
from tests.support.waiting import wait_until
from tracecli.cli.main import run
from tracecli.config import Home
from tracecli.proxy import running
from tracecli.store.checking import Checked, Finding
from tracecli.store.upkeep import Info
from tracecli.tables import db as tables


@pytest.fixture
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    return new_home(tmp_path, monkeypatch)


@pytest.fixture
def home(empty: Home) -> Home:
    stored(empty, chat(prompt="long " * 500), chat(prompt="long " * 500))
    return empty


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str]) -> Any:
    """Runs a command, and returns what it wrote to standard output and standard error."""

    def of(*args: object, code: int = 0) -> tuple[str, str]:
        assert run(["db", *map(str, args)]) == code
        out, err = capsys.readouterr()
        return out, err

    return of


def test_info(home: Home, said: Any) -> None:
    """The same figures in each format."""
    told = json.loads(said("info", "--json")[0])
    assert (told["exchanges"], told["deduplication"], told["bodies_files"]) == (2, 2.0, 1)
    [row] = csv.DictReader(io.StringIO(said("info", "--csv")[0]))
    assert row["exchanges"] == "2"
    lines = dict(line.split(None, 1) for line in said("info")[0].splitlines())
    assert lines["exchanges"] == "2" and lines["path"] == str(home.root)


def test_without_a_database(empty: Home, said: Any, tmp_path: Path) -> None:
    """Each says that there is none, and makes none."""
    assert json.loads(said("info", "--json")[0])["database"] is False
    assert "no database" in said("check")[1]
    assert "no database" in said("migrate")[1]
    assert "no database" in said("compact")[1]
    assert "nothing is recorded" in said("backup", tmp_path / "backup", code=5)[1]
    assert not empty.database.exists()


def test_check(home: Home, said: Any) -> None:
    """A whole store is exit code 0 and a sentence; a broken one is 7, and says where and what to do."""
    out, err = said("check")
    assert out == "" and err.startswith("Everything is well: 2 requests, 3 files")
    assert json.loads(said("check", "--json")[0])["healthy"] is True
    next(home.parts.iterdir()).unlink()
    told = json.loads(said("check", "--json", code=7)[0])
    assert told["healthy"] is False
    assert {one["area"] for one in told["found"]} == {"parts"}
    out, err = said("check", code=7)
    assert len(out.splitlines()) == 1 + len(told["found"])
    assert "tracecli db restore" in out
    assert said("check", "--csv", code=7)[0].startswith("area,severity,problem,remedy")


def test_migrate(home: Home, said: Any) -> None:
    """A database that is up to date needs nothing."""
    told = json.loads(said("migrate", "--dry-run", "--json")[0])
    assert told["before"] == told["after"] and told["steps"] == []
    assert said("migrate")[0].splitlines()[1].split()[-1] == "-"


def test_backup_and_restore(home: Home, said: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Refused where something is; replaced when asked for, and said where the former is."""
    target = tmp_path / "backup"
    assert json.loads(said("backup", target, "--json")[0])["path"] == str(target)
    assert "already" in said("backup", target, code=5)[1]
    assert "--replace" in said("restore", target, code=5)[1]
    told = json.loads(said("restore", target, "--replace", "--json")[0])
    assert told["healthy"] is True and Path(told["aside"]).is_dir()
    monkeypatch.setenv("TRACECLI_HOME", str(tmp_path / "other"))
    out, err = said("restore", target)
    assert "path" in out and err.startswith("Everything is well")


def test_what_is_no_backup(empty: Home, said: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One sentence, and not even a home is made."""
    monkeypatch.setenv("TRACECLI_HOME", str(tmp_path / "other"))
    assert "is no backup" in said("restore", tmp_path, code=5)[1]
    assert "is no backup" in said("restore", tmp_path / "nowhere", code=5)[1]
    assert not (tmp_path / "other").exists()


@pytest.fixture
def ingesting(home: Home) -> Iterator[None]:
    """An ingest that runs for the home."""
    command = [sys.executable, "-m", "tracecli", "ingest", "--until-eof", "--home", str(home.root)]
    home.status.unlink()
    with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        wait_until(home.status.exists, "ingest")
        yield
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(30) == 0


def test_while_another_ingests(home: Home, ingesting: None, said: Any, tmp_path: Path) -> None:
    """Restoring and compacting are refused, and change nothing; all the rest works."""
    said("backup", tmp_path / "backup")
    said("check")
    said("info")
    before = sorted(home.root.rglob("*.parquet"))
    for args in (("restore", tmp_path / "backup", "--replace"), ("compact",)):
        assert "another process ingests" in said(*args, code=5)[1]
    assert sorted(home.root.rglob("*.parquet")) == before


def test_while_a_proxy_records(home: Home, said: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy that has no ingest of its own keeps a backup from being restored, too."""
    said("backup", tmp_path / "backup")
    monkeypatch.setattr(running, "status", lambda _: SimpleNamespace(proxies=[object()]))
    assert "a proxy is running" in said("restore", tmp_path / "backup", "--replace", code=5)[1]


def test_compact(home: Home, said: Any) -> None:
    """It says what there was and what there is."""
    stored(home, chat(prompt="other " * 500))
    told = json.loads(said("compact", "--json")[0])
    assert (told["files_before"], told["files"]) == (6, 3)
    assert said("compact")[0].splitlines()[1].split()[-1] == "3"


HOSTILE = "\x1b]52;c;aGk=\x07\u202e"


def test_hostile_names_are_harmless() -> None:
    """What files are called does nothing to a terminal."""
    found = Checked(database=True, found=[Finding("bodies", "error", f"{HOSTILE} is not there", HOSTILE)])
    for look in (rendered(tables.checked(found)), "\n".join(tables.checked_plain(found))):
        assert "\x1b]" not in look and "\u202e" not in look and "\\x1b]52" in look


def test_looks() -> None:
    """For people: versions, what is there, and how it became less."""
    about: dict[str, Any] = {"path": "/home/x", "tracecli": "1", "duckdb": "2"}
    look = rendered(tables.info(Info(database=False, **about)), terminal=False)
    assert "There is no database yet" in look and "Nothing is recorded" in look
    full = Info(
        database=True, schema_version=7, exchanges=1234, with_content=1000, passed_bytes=24_000_000,
        content_bytes=600_000, ratio=40.0, referred_bytes=20_000_000, part_bytes=2_000_000, deduplication=10.0,
        compression=4.0, waiting_segments=2, newest_schema_version=8, **about,
    )  # fmt: skip
    look = rendered(tables.info(full), terminal=False)
    assert "Schema version 7, this tracecli knows 8: `tracecli db migrate`" in look
    assert "Of 24.0 MB that passed with content, 600.0 KB are stored: 40.0 to 1." in look
    assert "2 segments" in look
