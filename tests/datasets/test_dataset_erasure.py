"""Erasure and datasets: what is erased is in none, and what is built again is as if it had never been there."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.support.chats import answered, call, store
from tests.support.corpus import WORDS
from tests.support.datasets import built, digests, dropped, examples, lines, made
from tests.support.upkeep import new_home
from tracecli.cli.main import run
from tracecli.config import Home
from tracecli.datasets import building, folder, forgetting
from tracecli.errors import DatasetError


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    return new_home(tmp_path, monkeypatch)


def said(number: int) -> str:
    """A text like no other one."""
    return " ".join(WORDS[(number * 7919 + place * (number % 89 + 3)) % len(WORDS)] for place in range(30))


def traffic(home: Home, different: int = 30) -> list[str]:
    """Thirty chats of three users, so many of them different."""
    return store(
        home,
        *(
            call(
                number,
                json.dumps(
                    {"model": "m", "messages": [{"role": "user", "content": said(number % different)}]}
                ).encode(),
                answered(said(100 + number % different)),
                user=("alice", "bob", "eve")[number % 3],
            )
            for number in range(30)
        ),
    )


def erased(capsys: pytest.CaptureFixture[str], *args: str, code: int = 0) -> dict[str, Any]:
    """The receipt."""
    capsys.readouterr()
    assert run(["erase", *args, "--yes", "--json"]) == code
    told: dict[str, Any] = json.loads(capsys.readouterr().out)
    return told


def test_what_is_erased_is_built_no_more(home: Home, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In the home and elsewhere; the same bytes as a dataset that never knew the user."""
    ids = traffic(home)
    version = built(home)
    elsewhere = tmp_path / "elsewhere"
    assert run(["dataset", "build", "all", "--output", str(elsewhere), "--format", "huggingface", "--allow-few"]) == 0
    (elsewhere / "mine.txt").write_text("stays")
    other = built(home, "others", where="user:eve")
    before = digests(other.folder)

    receipt = erased(capsys, "--user", "alice")

    assert receipt["complete"] is True
    [touched] = receipt["datasets"]
    assert touched["dataset"] == "all@1" and touched["exchanges"] == 10
    assert touched["rebuilt"] == [str(version.folder), str(elsewhere)]
    texts = "".join(
        path.read_text("utf-8") for place in (version.folder, elsewhere) for path in place.rglob("*") if path.is_file()
    )
    mine = [number for number in range(30) if number % 3 == 0]
    assert not any(ids[number] in texts for number in mine)
    assert said(3) not in texts and said(103) not in texts
    assert set(examples(version)) == {ids[number] for number in range(30) if number % 3}
    assert dropped(version) == {}
    assert (elsewhere / "mine.txt").exists()
    assert digests(other.folder) == before

    fresh = built(home, "fresh")
    files = {name: digest for name, digest in digests(version.folder).items() if name.startswith("openai/")}
    assert files == {name: digest for name, digest in digests(fresh.folder).items() if name.startswith("openai/")}


def test_the_second_of_two_that_were_the_same_comes_back(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    """It had gone as a duplicate of what is erased."""
    ids = traffic(home, 29)
    version = built(home)
    assert dropped(version) == {ids[29]: "duplicates"} and ids[0] in examples(version)
    erased(capsys, "--id", ids[0], code=7)  # what it said is said by another one, too
    assert ids[29] in examples(version) and dropped(version) == {}


def test_content_alone_and_redaction_change_datasets_too(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    """With --content-only the record stays chosen, and is no example any more; what is redacted is redacted there."""
    ids = traffic(home)
    version = built(home)
    erased(capsys, "--id", ids[4], "--content-only")
    assert dropped(version)[ids[4]] == "checked" and version.count() == 30
    word = said(5).split()[3]
    assert any(word in json.dumps(one) for one in examples(version).values())
    assert run(["redact", "apply", "--where", "user:*", "--pattern", f"it={word}", "--yes"]) == 0
    assert not any(word in json.dumps(one) for one in examples(version).values())


def test_where_no_example_is_left_what_was_built_is_removed(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    """The definition stays, with nothing chosen."""
    traffic(home)
    version = built(home, where="user:alice")
    receipt = erased(capsys, "--user", "alice")
    assert receipt["datasets"][0]["removed"] == [str(version.folder)]
    assert sorted(path.name for path in version.folder.iterdir()) == ["chosen.txt", "dataset.toml", "notes.md"]
    assert version.count() == 0


def test_a_folder_that_cannot_be_written_is_told(
    home: Home, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The receipt is not complete then; a folder that is gone holds nothing."""
    traffic(home)
    built(home)
    gone, broken = tmp_path / "gone", tmp_path / "broken"
    for place in (gone, broken):
        assert run(["dataset", "build", "all", "--output", str(place), "--allow-few"]) == 0
    shutil.rmtree(gone)
    shutil.rmtree(broken / "openai")
    (broken / "openai").write_text("in the way")
    receipt = erased(capsys, "--user", "alice", code=7)
    [touched] = receipt["datasets"]
    assert receipt["complete"] is False and str(broken) in touched["failed"][0] and str(gone) not in str(touched)
    assert run(["erase", "--user", "bob", "--yes"]) == 7
    assert "not built again, and it still holds them" in capsys.readouterr().out


def test_killed_on_the_way_the_next_one_does_the_rest(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    """Between what is chosen and what is built there is a mark."""
    ids = traffic(home)
    version = built(home)
    (version.folder / "rebuilding").touch()
    version.choose(name for some in list(version.chosen()) for name in some if name != ids[7])
    assert ids[7] in examples(version)
    erased(capsys, "--id", ids[8])
    assert not {ids[7], ids[8]} & set(examples(version)) and not (version.folder / "rebuilding").exists()


def test_others_are_left_alone(home: Home) -> None:
    """A dataset that chose none of it is not touched."""
    traffic(home)
    version = built(home, where="user:eve")
    before = {path: path.stat().st_ino for path in version.folder.rglob("*")}
    assert forgetting.forget(home, ["01a1ee56-0000-7000-8000-000000000001"], gone=True) == []
    assert {path: path.stat().st_ino for path in version.folder.rglob("*")} == before
    assert folder.names(home) == ["all"] and lines(version)


def test_a_build_that_had_begun_does_not_bring_it_back(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it read is erased before its files are in their place: it fails, and they are not."""
    ids = traffic(home)
    version = made(home)
    write_dropped = building._Making.write_dropped

    def erased_meanwhile(making: building._Making, path: Path) -> None:
        write_dropped(making, path)
        forgetting.forget(home, [ids[4]], gone=True)

    monkeypatch.setattr(building._Making, "write_dropped", erased_meanwhile)
    with pytest.raises(DatasetError, match="erased from all@1 meanwhile"):
        building.build(home, version, version.folder, allow_few=True)
    monkeypatch.undo()
    assert building.places(version) == [] and not list(version.folder.glob(".building*"))
    building.build(home, version, version.folder, allow_few=True)
    assert ids[4] not in examples(version) and ids[5] in examples(version)
