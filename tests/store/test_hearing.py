"""What was said, stored as text, and looking for words in it."""

from __future__ import annotations

import datetime as dt
import json
import shutil
from itertools import islice
from pathlib import Path
from typing import Any

import duckdb
import pytest

from tests.support.chats import START, answered, asked, call, store
from tests.support.upkeep import queried
from tracecli import contents, finding
from tracecli.config import Home
from tracecli.errors import HomeError
from tracecli.exchange import Captured
from tracecli.ingest import Ingest
from tracecli.query import syntax
from tracecli.query.syntax import EVERYTHING
from tracecli.spool import SpoolWriter
from tracecli.store import bodies, hearing, parquet, pools, said_files
from tracecli.store.hearing import Sought, heard

NOW = dt.datetime.fromtimestamp(START / 1e6 + 3600, dt.UTC)
FIRST, LAST = "00000000-0000-0000-0000-000000000000", "ffffffff-ffff-ffff-ffff-ffffffffffff"
JSON = [("Content-Type", "application/json")]


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """An empty one."""
    home = Home(tmp_path / "home")
    home.prepare()
    return home


def said(second: float, prompt: str, completion: str = "x") -> Captured:
    """A chat."""
    return call(second, asked(prompt), answered(completion), request_headers=JSON)


def history(second: float, *texts: str) -> Captured:
    """A chat with what was said before."""
    roles = ["user", "assistant"] * len(texts)
    messages = [{"role": role, "content": text} for role, text in zip(roles, texts, strict=False)]
    request = json.dumps({"model": "gpt-4o-mini", "messages": messages}).encode()
    return call(second, request, answered("x"), request_headers=JSON)


def sought(*words: str, prompt: bool = True, completion: bool = True) -> Sought:
    """Any of these words, whatever their case."""
    return Sought(tuple((word, False) for word in words), prompt, completion)


def holding(home: Home, *wanted: Sought, first: str = FIRST, last: str = LAST) -> list[tuple[str, Any]]:
    """What is found, in its order."""
    return [(one.id, one.holds) for some in heard(home, wanted, first, last) for one in some]


def stored_texts(home: Home) -> list[str]:
    """All texts there are, as often as they are stored."""
    files = f"{home.said}/*.parquet"
    with duckdb.connect() as connection:
        return [text for (text,) in connection.execute(f"SELECT text FROM '{files}' ORDER BY text").fetchall()]


def test_each_term_and_side(home: Home) -> None:
    """Each exchange says which of several terms it holds, on the sides that are asked for; newest first."""
    ones = [said(0, "Paris and Rome", "France"), said(1, "paris", "ROME"), said(2, "none", "of them")]
    store(home, *ones)
    first, second, _ = (one.exchange.id for one in ones)
    assert holding(home, sought("rome"), sought("paris")) == [(second, (0, 1)), (first, (0, 1))]
    assert holding(home, sought("rome", completion=False)) == [(first, (0,))]
    assert holding(home, sought("rome", prompt=False), sought("paris")) == [(second, (0, 1)), (first, (1,))]
    assert holding(home, sought("france", "none")) == [(ones[2].exchange.id, (0,)), (first, (0,))]
    assert holding(home, sought("rome"), last=first) == [(first, (0,))]
    assert holding(home, sought("rome"), first=second) == [(second, (0,))]
    assert holding(home, Sought((("Rome", True),), True, True)) == [(first, (0,))]


def test_a_history_is_stored_once(home: Home) -> None:
    """What a later exchange sends again is not stored again, also by a later round; it is found in all of them."""
    ingest = Ingest(home, home.root)
    ingest.clean_up()
    ones = [history(place, *[f"turn {turn}" for turn in range(place + 1)]) for place in range(4)]
    for some in (ones[:2], ones[2:]):
        spool = SpoolWriter(home.spool)
        for one in some:
            assert spool.append(one)
        spool.close()
        while ingest.round():
            pass
    assert stored_texts(home) == ["turn 0", "turn 1", "turn 2", "turn 3", "x"]
    assert [identifier for identifier, _ in holding(home, sought("turn 1"))] == [
        one.exchange.id for one in reversed(ones[1:])
    ]
    bodies.forget(home, [one.exchange.id for one in ones])
    ingest.something_is_gone()
    store(home, again := history(9, "turn 0"))
    assert holding(home, sought("turn 0")) == [(again.exchange.id, (0,))]


@pytest.mark.parametrize(
    "text", ["nul \0 here", "half \ud83d here", "é \U0001f600 here", "a\u2028b here", "x" * 3_000_000]
)
def test_any_text(home: Home, text: str) -> None:
    """Whatever JSON can hold is stored as text, and found."""
    store(home, one := said(0, text, "y"))
    [stored] = [found for found in stored_texts(home) if found != "y"]
    assert stored == text.replace("\ud83d", "\ufffd")
    assert holding(home, sought("here" if "here" in text else "xxx")) == [(one.exchange.id, (0,))]


def test_what_is_not_understood(home: Home) -> None:
    """A body that is no message is one text, and belongs to no message."""
    store(home, one := call(0, b"plainly something", b"\x00\x01", response_headers=[]))
    assert holding(home, sought("plainly")) == [(one.exchange.id, (0,))]
    [file] = home.bodies.iterdir()
    with duckdb.connect() as connection:
        assert connection.execute(f"SELECT prompt_message FROM '{file}'").fetchall() == [([-1],)]


def test_bodies_of_older_versions(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exchanges without stored texts are told as unknown, in order among the others, and found by their bodies."""
    monkeypatch.setattr(finding, "_FEW_BYTES", 0)
    old, new = [said(second, "in Paris") for second in (0, 2)], said(1, "to Paris")
    store(home, *old)
    for file in home.bodies.iterdir():
        older = file.with_suffix(".older")
        with duckdb.connect() as connection:
            columns = "id, request_body, request_parts, request_at, response_body, response_parts, response_at"
            connection.execute(f"COPY (SELECT {columns} FROM '{file}') TO '{older}' (FORMAT parquet)")
        older.rename(file)
    store(home, new)
    earlier, later = (one.exchange.id for one in old)
    assert holding(home, sought("paris")) == [(later, None), (new.exchange.id, (0,)), (earlier, None)]
    found = finding.search(home, syntax.words("PARIS"), EVERYTHING, NOW)
    assert [one.row.id for one in found] == [later, new.exchange.id, earlier]
    assert list(finding.search(home, syntax.words("Rome"), EVERYTHING, NOW)) == []


def test_newest_first_over_many_files(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rounds that overlap in time are told in the order of time, and who wants the first few reads a few."""
    monkeypatch.setattr(hearing, "_FIRST_ROWS", 1)
    monkeypatch.setattr(bodies, "MERGE_FILES", 1000)
    rounds = [(0, 3), (1, 2), (4, 9), (5, 6), (7, 8)]
    for some in rounds:
        store(home, *(said(second, f"word {second}") for second in some))
    order = [
        identifier for (identifier,) in queried(home, "SELECT id::VARCHAR FROM exchange ORDER BY exchange.id DESC")
    ]
    assert [identifier for identifier, _ in holding(home, sought("word"))] == order
    opened: list[int] = []
    read = parquet.paths

    def counted(folder: Path, names: Any) -> list[str]:
        opened.append(len(names))
        return read(folder, names)

    monkeypatch.setattr(parquet, "paths", counted)
    first = next(iter(heard(home, [sought("word")], FIRST, LAST)))
    assert [one.id for one in first] == order[: len(first)]
    assert sum(opened) < 2 * len(rounds)


@pytest.mark.parametrize("moment", ["bodies", "said"])
def test_merged_while_it_is_read(home: Home, monkeypatch: pytest.MonkeyPatch, moment: str) -> None:
    """Files that are merged between two reads cost nothing, and nothing is told twice."""
    monkeypatch.setattr(hearing, "_FIRST_ROWS", 1)
    for second in range(6):
        store(home, said(second, f"word {second}"))
    monkeypatch.setattr(bodies, "MERGE_FILES", 4 if moment == "bodies" else 1000)
    monkeypatch.setattr(pools, "MERGE_FILES", 4 if moment == "said" else 1000)
    order = [
        identifier for (identifier,) in queried(home, "SELECT id::VARCHAR FROM exchange ORDER BY exchange.id DESC")
    ]
    search = heard(home, [sought("word")], FIRST, LAST)
    begun = [one.id for some in islice(search, 1) for one in some]
    assert bodies.merge_small(home)
    assert begun + [one.id for some in search for one in some] == order


def test_a_clock_that_went_back(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the ids of text files overlap, no text is passed over."""
    ones = [said(second, f"word {second}") for second in range(3)]
    ids = iter(f"00000000-0000-7000-8000-{number:012x}" for number in (5, 9, 1, 2, 7, 8))
    monkeypatch.setattr(pools, "new_ids", lambda: ids)
    for one in ones:
        store(home, one)
    assert [identifier for identifier, _ in holding(home, sought("word"))] == [
        one.exchange.id for one in reversed(ones)
    ]


def test_a_file_that_is_gone(home: Home) -> None:
    """A file that the database names and nobody has is an error that says so."""
    store(home, said(0, "word"))
    shutil.rmtree(home.said)
    home.prepare()
    with pytest.raises(HomeError, match="is gone"):
        holding(home, sought("word"))


def test_how_much_is_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    """The latest pieces are known, and those asked for last stay longest."""
    monkeypatch.setattr(said_files.Known, "MOST", 2)
    known = said_files.Known()
    known.add({b"1": "a", b"2": "b"})
    assert known.get(b"1") == "a"
    known.add({b"3": "c"})
    assert [known.get(name) for name in (b"1", b"2", b"3")] == ["a", None, "c"]


def test_pieces_and_texts_are_the_same(home: Home) -> None:
    """Stored are the texts that are looked through where there are none stored."""
    tool = {"id": "call_1", "type": "function", "function": {"name": "search", "arguments": '{"q": "élan"}'}}
    message = {"role": "assistant", "content": None, "tool_calls": [tool]}
    response = json.dumps({"model": "gpt-4o", "choices": [{"index": 0, "message": message}]}).encode()
    one = call(0, asked("find it"), response, request_headers=JSON)
    store(home, one)
    assert stored_texts(home) == sorted(text.text for text in contents.texts(one))
