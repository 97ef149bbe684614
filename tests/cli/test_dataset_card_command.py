"""`tracecli dataset card`, of a dataset that is built of recorded requests."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from tests.support.chats import asked, call, home_with_cache, store
from tracecli.cli.main import run
from tracecli.config import Home
from tracecli.datasets import card, folder, notes
from tracecli.datasets.building import build
from tracecli.datasets.definition import Definition
from tracecli.datasets.folder import Version

USERS = ("alice", "robert", "yusuf")
HOSTILE = "<b>team</b>`|\x1b[31m"


@pytest.fixture
def version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Version:
    """A dataset of twelve requests, not built."""
    home = home_with_cache(tmp_path)
    monkeypatch.setenv("TRACECLI_HOME", str(home.root))
    words = ("spade rake hoe", "moon sun star", "red green blue", "tea milk cup", "north south", "bread salt")
    ids = store(
        home,
        *(
            call(number, asked(f"{words[number % 6]} {number} of them?" * 3), user=USERS[number % 3], policy=HOSTILE)
            for number in range(12)
        ),
    )
    return folder.make(home, "garden", Definition(where="user:*", near_duplicates=0), sorted(ids))


def built(version: Version, place: Path | None = None) -> None:
    """Build it, however few examples there are."""
    build(Home(version.folder.parents[2]), version, place or version.folder, allow_few=True)


def test_of_what_is_built(version: Version, capsys: pytest.CaptureFixture[str]) -> None:
    """Each format is that of the manifest, on standard output; pseudonyms stand for users."""
    built(version)
    manifest = version.manifest()
    assert manifest is not None
    capsys.readouterr()
    assert run(["dataset", "card", "garden"]) == 0
    shown = capsys.readouterr().out
    assert shown == card.markdown(manifest, notes.FORM)
    assert "# `garden@1`" in shown and manifest.files[0].sha256 in shown
    assert len(manifest.users) == 3 and not any(user in shown for user in USERS)
    assert run(["dataset", "card", "garden@1", "--format", "json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["chosen"], told["policies"]) == (12, {HOSTILE: manifest.examples})
    assert run(["dataset", "card", "garden", "--format", "html"]) == 0
    page = capsys.readouterr().out
    assert page.startswith("<!DOCTYPE html>") and "<b>team" not in page and "\x1b" not in page


@pytest.mark.parametrize(
    ("name", "begin"), [("c.md", "---\nlicense:"), ("c.json", "{"), ("c.HTML", "<!DOCTYPE"), ("README.markdown", "---")]
)
def test_to_a_file(version: Version, tmp_path: Path, name: str, begin: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The suffix says the format, and only the owner can read the file."""
    built(version)
    assert run(["dataset", "card", "garden", "--output", str(tmp_path / name)]) == 0
    assert (tmp_path / name).read_text("utf-8").startswith(begin)
    assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600
    assert f"Wrote {tmp_path / name}" in capsys.readouterr().err


def test_a_format_over_the_suffix(version: Version, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A name that says no format needs one, and a format that is given goes before the name."""
    built(version)
    file = tmp_path / "card.txt"
    assert run(["dataset", "card", "garden", "--output", str(file)]) == 2
    assert "names no format" in capsys.readouterr().err
    assert run(["dataset", "card", "garden", "--output", str(file), "--format", "json"]) == 0
    assert json.loads(file.read_text())["name"] == "garden"
    assert run(["dataset", "card", "garden", "--output", str(tmp_path / "no" / "card.md")]) == 1
    assert "cannot write" in capsys.readouterr().err


def test_not_built(version: Version, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without a build there is nothing to tell, and the remedy is named; one in another folder counts."""
    assert run(["dataset", "card", "garden"]) == 11
    assert "tracecli dataset build garden@1" in capsys.readouterr().err
    assert run(["dataset", "card", "lawn"]) == 11
    assert run(["dataset", "card", "garden@7"]) == 11
    capsys.readouterr()
    built(version, tmp_path / "elsewhere")
    version.note_copy(tmp_path / "elsewhere")
    assert run(["dataset", "card", "garden"]) == 0
    assert "# `garden@1`" in capsys.readouterr().out


def test_notes(version: Version, capsys: pytest.CaptureFixture[str]) -> None:
    """What a person wrote is in every card, also after another build; notes that cannot be read are named."""
    built(version)
    notes.lay_out(version.folder)
    path = version.folder / notes.NAME
    path.write_text("License: mit\n\nEverybody agreed.\n")
    built(version)
    notes.lay_out(version.folder)
    capsys.readouterr()
    for form, said in (("markdown", "license: mit\n"), ("json", '"license": "mit"'), ("html", "License: mit")):
        assert run(["dataset", "card", "garden", "--format", form]) == 0
        shown = capsys.readouterr().out
        assert said in shown and "Everybody agreed." in shown
    path.unlink()
    path.mkdir()
    assert run(["dataset", "card", "garden"]) == 5
    assert str(path) in capsys.readouterr().err
