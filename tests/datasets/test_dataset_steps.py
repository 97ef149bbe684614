"""The steps that compare examples: conversations, repeats, pairs, samples. By building datasets of a real store."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.support.chats import answered, call, store
from tests.support.corpus import WORDS
from tests.support.datasets import built, digests, dropped, examples, made
from tests.support.encrypting import encrypt
from tests.support.upkeep import new_home, spooled, stored
from tracecli.config import Home
from tracecli.datasets import folder
from tracecli.datasets.building import TooFew, build, places
from tracecli.datasets.forgetting import forget
from tracecli.exchange import Captured
from tracecli.store import backup, notes


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return new_home(tmp_path)


def said(number: int, words: int = 40) -> str:
    """A text like no other one."""
    return " ".join(WORDS[(number * 7919 + place * (number % 89 + 3)) % len(WORDS)] for place in range(words))


def chat(second: float, prompt: str, answer: str, **changes: Any) -> Captured:
    """One turn."""
    return talk(second, [{"role": "user", "content": prompt}], answer, **changes)


def talk(second: float, messages: list[dict[str, Any]], answer: str, **changes: Any) -> Captured:
    """More of them."""
    model = changes.pop("model", "gpt-4o-mini")
    asked = json.dumps({"model": model, "messages": messages}).encode()
    return call(second, asked, answered(answer, model), **changes)


def test_each_turn_is_an_example_or_the_last_has_all(home: Home) -> None:
    """`each`: every answer once, only the last of each to be learned. `last`: the whole conversation."""
    hello, more = {"role": "user", "content": said(1)}, {"role": "user", "content": said(2)}
    ids = store(
        home, talk(1, [hello], said(3)), talk(2, [hello, {"role": "assistant", "content": said(3)}, more], said(4))
    )
    last = built(home)
    assert examples(last).keys() == {ids[1]} and dropped(last) == {ids[0]: "turns"}
    each = built(home, turns="each")
    assert examples(each).keys() == set(ids)


def test_a_conversation_that_another_user_repeats_is_not_gone_on_with(home: Home) -> None:
    """Nor is one that began alike, and got another answer."""
    hello, more = {"role": "user", "content": said(1)}, {"role": "user", "content": said(2)}
    following = [hello, {"role": "assistant", "content": said(3)}, more]
    ids = store(
        home,
        talk(1, [hello], said(3), user="bob"),
        talk(2, [hello], said(5)),
        talk(3, following, said(4)),
    )
    assert examples(built(home)).keys() == set(ids)


def test_of_the_answers_of_one_origin_one_stays(home: Home) -> None:
    """Also where the origin itself is not among them."""
    first, *_ = ids = store(
        home,
        chat(1, said(1), said(2)),
        chat(2, said(1), said(2), cache_status="hit", cache_origin="01a1ee56-0000-7000-8000-000000000001"),
        chat(3, said(1), said(2), cache_status="hit", cache_origin="01a1ee56-0000-7000-8000-000000000001"),
    )
    version = built(home, duplicates="keep", near_duplicates=0.0)
    assert examples(version).keys() == set(ids[:2]) and dropped(version) == {ids[2]: "cache_hits"}
    assert first in examples(version)


def test_near_duplicates_go_with_those_they_are_like(home: Home) -> None:
    """The first of a chain stays; another threshold keeps them."""
    words = said(9, 100).split()
    texts = [" ".join(f"new{place}" if at < place * 4 else word for at, word in enumerate(words)) for place in range(3)]
    ids = store(home, *(chat(place, text, text) for place, text in enumerate(texts)))
    assert examples(built(home)).keys() == {ids[0]}
    assert examples(built(home, near_duplicates=0.99)).keys() == set(ids)


def test_pairs_by_rating(home: Home) -> None:
    """Of the answers to one prompt the best rated is preferred to the worst rated; what is not rated is no pair."""
    ids = store(home, *(chat(place, said(1), said(10 + place)) for place in range(4)), chat(9, said(2), said(20)))
    for place, score in ((0, 2.0), (1, 5.0), (2, 3.0)):
        notes.rate(home, [ids[place]], score, None)
    version = built(home, kind="preference")
    [(name, pair)] = examples(version, "openai-preference").items()
    assert name == ids[1]
    assert said(11) in json.dumps(pair["preferred_output"]) and said(10) in json.dumps(pair["non_preferred_output"])
    assert dropped(version) == {ids[2]: "prefer", ids[3]: "prefer", ids[4]: "prefer"}


def test_pairs_by_repeat(home: Home) -> None:
    """Who asked the same again was not content with the first answer."""
    ids = store(home, chat(1, said(1), said(2)), chat(2, said(3), said(4)), chat(3, said(1), said(5)))
    version = built(home, kind="preference", prefer="repeat")
    [(name, pair)] = examples(version, "openai-preference").items()
    assert name == ids[2] and said(5) in json.dumps(pair["preferred_output"])
    assert dropped(version) == {ids[1]: "prefer"}


def test_at_most_so_many_of_each(home: Home) -> None:
    """Of users, of templates, of all; drawn, and the same each time."""
    store(
        home,
        *(chat(place, f"Translate {place}: {said(place)}", said(100 + place), user="ann") for place in range(9)),
        *(chat(20 + place, said(200 + place), said(300 + place), user="bob") for place in range(4)),
    )
    users = Counter(_users(home, built(home, per_user=3)))
    assert users == {"ann": 3, "bob": 3}
    short = built(home, name="short", where="user:ann", per_template=2)
    assert len(examples(short)) == 9  # the words after the number count, too
    one, other = (examples(built(home, sample=5)).keys() for _ in range(2))
    assert len(one) == 5 and one == other != examples(built(home, sample=5, seed=1)).keys()


def test_balanced_samples_have_as_many_of_each(home: Home) -> None:
    """As the rarest, or as evenly as a number allows."""
    store(
        home,
        *(chat(place, said(place), said(100 + place), user="ann") for place in range(9)),
        *(chat(20 + place, said(200 + place), said(300 + place), user="bob") for place in range(4)),
        chat(40, said(400), said(401), user="eve"),
    )
    assert Counter(_users(home, built(home, balance="user"))) == {"ann": 1, "bob": 1, "eve": 1}
    assert Counter(_users(home, built(home, balance="user", sample=9))) == {"ann": 4, "bob": 4, "eve": 1}


def _users(home: Home, version: Any) -> list[str]:
    from tracecli import browse

    users = {row.id: row.user for row in browse.latest(home, 1000)}
    return [users[name] for name in examples(version)]


def test_whole_sessions_are_chosen(home: Home) -> None:
    """With one that fits, all others of its session."""
    ids = store(
        home,
        chat(1, said(1), said(2), session="run-1", tags=["good"]),
        chat(2, said(3), said(4), session="run-1"),
        chat(3, said(5), said(6), session="run-2"),
    )
    assert examples(built(home, where="tag:good", sessions=True)).keys() == set(ids[:2])
    assert examples(built(home, where="tag:good")).keys() == {ids[0]}


def test_what_waits_in_the_spool_is_chosen_too(home: Home) -> None:
    """Store and spool are one, here as everywhere."""
    [first] = store(home, chat(1, said(1), said(2)))
    waiting = chat(2, said(3), said(4))
    spooled(home, waiting)
    assert examples(built(home)).keys() == {first, waiting.exchange.id}


def test_splits_by_user_and_order_by_chance(home: Home) -> None:
    """All of a user are in one file; shuffled is the same each time."""
    store(home, *(chat(place, said(place), said(100 + place), user=f"user-{place % 12}") for place in range(48)))
    version = built(home, split_by="user", train=0.5, validation=0.5, test=0.0)
    users = dict(zip(examples(version), _users(home, version), strict=True))
    train = {users[one["id"]] for one in _sources(version, "train")}
    validation = {users[one["id"]] for one in _sources(version, "validation")}
    assert train and validation and not train & validation
    assert not (version.folder / "openai" / "test.jsonl").exists()
    shuffled = [[one["id"] for one in _sources(built(home, order="shuffled"), "train")] for _ in range(2)]
    assert shuffled[0] == shuffled[1] != sorted(shuffled[0])


def _sources(version: Any, split: str) -> list[dict[str, Any]]:
    path = version.folder / "openai" / f"{split}.provenance.jsonl"
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def test_too_few_leave_what_there_was(home: Home) -> None:
    """A build that fails replaces nothing, and says what each step dropped."""
    store(home, *(chat(place, said(place), said(100 + place)) for place in range(12)))
    version = made(home, train=1.0, validation=0.0, test=0.0)
    build(home, version, version.folder)
    before = (version.folder / "openai" / "train.jsonl").read_bytes()
    version.file.write_text('where = "user:*"\nsample = 9\ntrain = 1.0\nvalidation = 0.0\ntest = 0.0\n')
    with pytest.raises(TooFew, match="9 examples to train on, and openai asks for 10") as failed:
        build(home, version, version.folder)
    assert {one.name: one.dropped for one in failed.value.steps if one.dropped} == {"balance": 3}
    assert (version.folder / "openai" / "train.jsonl").read_bytes() == before
    assert places(version) == [version.folder]
    build(home, version, version.folder, allow_few=True)
    assert (version.folder / "openai" / "train.jsonl").read_bytes().count(b"\n") == 9


def test_what_another_build_left_goes(home: Home) -> None:
    """Files of formats and splits that are no more; what is not of the build stays."""
    store(home, *(chat(place, said(place), said(100 + place)) for place in range(30)))
    version = built(home, formats=["openai", "huggingface"])
    (version.folder / "notes.txt").write_text("mine")
    assert (version.folder / "huggingface" / "train.jsonl").exists()
    version.file.write_text('where = "user:*"\ntrain = 1.0\nvalidation = 0.0\ntest = 0.0\n')
    build(home, version, version.folder)
    assert sorted(path.name for path in (version.folder / "openai").iterdir()) == [
        "train.jsonl",
        "train.provenance.jsonl",
    ]
    assert not (version.folder / "huggingface").exists() and (version.folder / "notes.txt").exists()


def test_provenance_is_separable(home: Home) -> None:
    """In a file of its own with the same lines, in the example, or nowhere."""
    store(home, *(chat(place, said(place), said(100 + place)) for place in range(3)))
    whole: dict[str, Any] = {"train": 1.0, "validation": 0.0, "test": 0.0}
    beside = built(home, **whole)
    assert [set(one) for one in _sources(beside, "train")] == [{"id", "model", "started_at", "policy"}] * 3
    [inline, *_] = examples_of(built(home, provenance="inline", **whole))
    assert set(inline["metadata"]) == {"id", "model", "started_at", "policy"}
    none = built(home, provenance="none", **whole)
    assert [path.name for path in (none.folder / "openai").iterdir()] == ["train.jsonl"]
    assert "metadata" not in examples_of(none)[0]


def examples_of(version: Any) -> list[dict[str, Any]]:
    """The lines to train on."""
    return [json.loads(line) for line in (version.folder / "openai" / "train.jsonl").read_text("utf-8").splitlines()]


def test_what_a_killed_build_left_is_removed(home: Home) -> None:
    """It holds what was said: the next build takes it away, and so does an erasure."""
    store(home, chat(1, said(1), said(2)))
    version = made(home)
    for left in (version.folder / ".building-999999999", home.scratch / "999999999-x.spill"):
        left.mkdir(mode=0o700)
        (left / "train.jsonl").write_text("what was said")
    build(home, version, version.folder, allow_few=True)
    assert not (version.folder / ".building-999999999").exists()
    (version.folder / ".building-999999999").mkdir()
    forget(home, ["01a1ee56-0000-7000-8000-000000000001"], gone=True)
    assert not (version.folder / ".building-999999999").exists()
    store(home, chat(2, said(3), said(4)))  # ingest looks through what is scratched
    assert not list(home.scratch.iterdir())


def test_an_encrypted_home_has_datasets_too(tmp_path: Path) -> None:
    """Their files can be read without a key; nothing of the home's own can."""
    home = new_home(tmp_path)
    encrypt(home)
    chats = [chat(place, said(place), said(100 + place)) for place in range(3)]
    stored(home, *chats)
    version = built(home)
    assert set(examples(version)) == {one.exchange.id for one in chats}
    assert not any(said(1).encode() in path.read_bytes() for path in home.bodies.iterdir())


def test_backups_have_definitions_and_what_was_chosen(home: Home, tmp_path: Path) -> None:
    """Not what was built: that can be built again, to the same bytes."""
    store(home, *(chat(place, said(place), said(100 + place)) for place in range(3)))
    version = built(home)
    before = digests(version.folder)
    backup.make(home, tmp_path / "backup")
    names = [path.name for path in (tmp_path / "backup" / "datasets").rglob("*") if path.is_file()]
    assert sorted(names) == ["chosen.txt", "dataset.toml", "notes.md"]
    other = Home(tmp_path / "other" / "home")
    other.root.parent.mkdir()
    backup.restore(other, tmp_path / "backup")
    [again] = folder.versions(other, "all")
    build(other, again, again.folder, allow_few=True)
    assert digests(again.folder) == before
