"""`tracecli access`: who may read is said, shown and taken back."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest

from tests.support.upkeep import chat, new_home
from tracecli import access, ingest
from tracecli.cli.main import run
from tracecli.config import Home
from tracecli.spool import SpoolWriter


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    made = new_home(tmp_path)
    monkeypatch.setenv("TRACECLI_HOME", str(made.root))
    return made


def stored(home: Home) -> None:
    writer = SpoolWriter(home.spool)
    writer.append(chat())
    writer.close()
    ingest.run(home, once=True, ended=lambda: True)


def modes(home: Home) -> dict[str, str]:
    names = {"": home.root} | {path.name: path for path in home.root.iterdir()}
    names |= {f"{path.parent.name}/": path for path in (*home.bodies.iterdir(), *home.said.iterdir())}
    return {name: f"{stat.S_IMODE(path.stat().st_mode):o}" for name, path in names.items()}


def test_set_show_and_off(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    """What is there is opened and closed at once, and what comes is as what is there."""
    group = os.getegid()
    stored(home)
    before = modes(home)
    assert set(before.values()) == {"600", "700"}
    assert run(["access", "set", "--metadata-group", str(group), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["metadata_group"], told["content_group"]) == ({"name": access.group_name(group), "gid": group}, None)
    assert {name: mode for name, mode in modes(home).items() if mode not in ("600", "700")} == {
        "": "750",
        "traces.duckdb": "640",
        "ingest.json": "640",
        "access.json": "640",
    }
    assert run(["access", "set", "--metadata-group", str(group), "--content-group", str(group)]) == 0
    stored(home)
    opened = {name: mode for name, mode in modes(home).items() if mode not in ("600", "700")}
    assert {opened.pop("ledger.jsonl")} == {"660"}
    assert {name for name, mode in opened.items() if mode == "750"} == {"", "bodies", "parts", "said"}
    assert {name for name, mode in opened.items() if mode == "640"} == {
        "traces.duckdb",
        "ingest.json",
        "access.json",
        "bodies/",
        "said/",
    }
    assert run(["access", "off"]) == 0
    assert "What was said: the owner alone" in capsys.readouterr().out
    assert modes(home) == before | {"ledger.jsonl": "600"}
    assert not home.access.exists()


def test_a_group_that_is_not_there(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    """It is named, and nothing is changed."""
    assert run(["access", "set", "--metadata-group", "no-such-group"]) == 3
    assert "there is no group 'no-such-group'" in capsys.readouterr().err
    assert not home.access.exists()


def test_a_file_of_a_newer_version(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    """It is refused, and lets nobody in."""
    home.access.write_text('{"format":2,"metadata":0}')
    assert run(["access", "show"]) == 5
    assert "newer tracecli" in capsys.readouterr().err
    assert access.groups(home) == access.NOBODY
