"""A corpus with known answers: what is planted is found, and nothing else goes."""

from __future__ import annotations

import pytest

from tests.support.chats import store
from tests.support.corpus import MAIL, SECRET, SYSTEM, Planted, planted
from tests.support.datasets import built, digests, dropped, examples, lines
from tests.support.upkeep import new_home
from tracecli.config import Home
from tracecli.datasets import workers
from tracecli.datasets.building import build
from tracecli.datasets.folder import read_manifest


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> tuple[Home, list[Planted]]:
    """A home with it."""
    folder = tmp_path_factory.mktemp("corpus")
    home = new_home(folder)
    every = list(planted(120))
    store(home, *(one.captured for one in every))
    return home, every


def test_what_is_planted_is_found_and_nothing_else_goes(corpus: tuple[Home, list[Planted]]) -> None:
    """Each exchange goes by the step that is to find it, or stays."""
    home, every = corpus
    version = built(home)
    expected = {one.captured.exchange.id: one.step for one in every}
    gone = dropped(version)
    assert {name: gone.get(name) for name in expected} == expected
    assert examples(version).keys() == {name for name, step in expected.items() if step is None}
    assert {step for step in expected.values() if step} == {
        *("errors", "truncated", "refusals", "empty", "cache_hits", "turns", "duplicates", "near_duplicates")
    }


def test_the_report_counts_what_went(corpus: tuple[Home, list[Planted]]) -> None:
    """The manifest says of each step how many it dropped or changed."""
    home, every = corpus
    built_ = built(home).manifest()
    assert built_ is not None
    for step in built_.steps:
        assert step.dropped == sum(one.step == step.name for one in every), step
        assert sum(step.reasons.values()) == step.dropped
    changed = {one.name: one.changed for one in built_.steps if one.changed}
    assert changed == {"personal_data": sum(one.changed == "personal_data" for one in every)}
    assert built_.chosen == len(every) == built_.examples + sum(one.dropped for one in built_.steps)
    assert built_.examples == sum(one.examples for one in built_.splits) == sum(one.examples for one in built_.files)
    assert built_.with_tools == sum(one.captured.request_body.count(b"tool_call_id") for one in every)


def test_secrets_and_personal_data_are_in_no_file(corpus: tuple[Home, list[Planted]]) -> None:
    """Markers stand in their place."""
    home, _ = corpus
    text = "".join(path.read_text("utf-8") for path in (built(home).folder / "openai").iterdir())
    assert SECRET not in text and MAIL not in text
    assert "[REDACTED:secrets]" in text and "[REDACTED:email]" in text


def test_the_same_makes_the_same_bytes(corpus: tuple[Home, list[Planted]], monkeypatch: pytest.MonkeyPatch) -> None:
    """Also with several processes, and in another order of work."""
    home, _ = corpus
    version = built(home)
    one = digests(version.folder)
    monkeypatch.setattr(workers, "_FEW", 0)
    monkeypatch.setattr(workers, "AT_ONCE", 32)
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    build(home, version, version.folder)
    other = digests(version.folder)
    assert one == other and len(one) > 6


def test_files_are_private_and_nothing_is_left_beside(corpus: tuple[Home, list[Planted]]) -> None:
    """The owner alone reads them; drafts are gone."""
    home, _ = corpus
    version = built(home)
    for path in [version.folder, *version.folder.rglob("*")]:
        assert path.stat().st_mode & 0o077 == 0, path
        assert not path.name.startswith("."), path
    assert not list(home.scratch.iterdir())


def test_conversations_stay_in_one_split(corpus: tuple[Home, list[Planted]]) -> None:
    """With an example for each turn, all of a conversation are in one file, and stay there when data is added."""
    home, every = corpus
    version = built(home, turns="each", near_duplicates=0.0)
    runs = {one.captured.exchange.id: one.captured.exchange.session for one in every}
    where: dict[str, set[str]] = {}
    place: dict[str, str] = {}
    for split in ("train", "validation", "test"):
        for source in lines(version, f"openai/{split}.provenance.jsonl"):
            place[source["id"]] = split
            if run := runs[source["id"]]:
                where.setdefault(run, set()).add(split)
    assert len(where) > 5 and all(len(splits) == 1 for splits in where.values())
    assert len(set(place.values())) == 3

    part = built(home, where="policy:support", turns="each", near_duplicates=0.0)
    splits = {place.get(one["id"]) for one in lines(part, "openai/train.provenance.jsonl")}
    assert splits - {None} == {"train"}  # of two that are the same another one may have been chosen


def test_manifest_and_files_agree(corpus: tuple[Home, list[Planted]]) -> None:
    """Hashes, sizes and numbers of lines are those of the files; users are pseudonyms."""
    home, _ = corpus
    version = built(home)
    manifest = read_manifest(version.folder)
    assert manifest is not None
    hashes = digests(version.folder)
    for one in manifest.files:
        assert hashes[one.path] == one.sha256
        data = (version.folder / one.path).read_bytes()
        assert (len(data), data.count(b"\n")) == (one.bytes, one.examples)
    assert sum(manifest.users.values()) == manifest.examples
    assert not any(name.startswith("user-1") and len(name) < 8 for name in manifest.users)
    assert SYSTEM not in (version.folder / "manifest.json").read_text("utf-8")
