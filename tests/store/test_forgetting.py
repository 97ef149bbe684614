"""Forgetting: the bodies of some exchanges are gone from the disk, and nothing else is."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.exchanges import captured
from tests.support.secrets_in_files import files_with
from tests.support.upkeep import JSON, new_home, queried, stored
from tracecli import browse
from tracecli.config import Home
from tracecli.errors import HomeError
from tracecli.exchange import Captured, new_id
from tracecli.store import bodies, connection, part_files, pools


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    monkeypatch.setenv("TRACECLI_POLICIES", str(tmp_path / "policies"))
    return new_home(tmp_path)


def words(name: str, size: int = 2000) -> str:
    """Text that holds a name all over."""
    chance = random.Random(name)
    return " ".join(f"{name}-{chance.getrandbits(20):x}" for _ in range(size // (len(name) + 7)))


def asked(*texts: str, **changes: Any) -> Captured:
    """An exchange that sends some texts, and is answered with a short one of its own."""
    messages = [{"role": "user", "content": text} for text in texts]
    answer = json.dumps({"content": f"short: {texts[0][:9]}"}).encode()
    request = json.dumps({"model": "m", "messages": messages}).encode()
    return captured(request, answer, status=200, request_headers=JSON, response_headers=JSON, **changes)


def assert_held(home: Home, *ones: Captured) -> None:
    """These bodies are there, as they were."""
    for one in ones:
        opened = browse.open_exchange(home, one.exchange.id)
        assert (opened.request.body, opened.response.body) == (one.request_body, one.response_body)


def assert_gone(home: Home, *ones: Captured) -> None:
    """The exchanges have no bodies any more, and are there otherwise."""
    for one in ones:
        opened = browse.open_exchange(home, one.exchange.id)
        assert (opened.request.body, opened.response.body) == (b"", b"")
        assert opened.row.request_bytes == len(one.request_body)


def on_disk(home: Home) -> int:
    """The bytes of all files of bodies, of parts and of what was said."""
    return sum(path.stat().st_size for folder in (home.bodies, home.parts, home.said) for path in folder.iterdir())


def test_the_bytes_are_gone(home: Home) -> None:
    """No file holds what is forgotten, long or short; what others sent too stays, and the freed bytes are told."""
    shared = words("shared")
    secret = asked("secretly", shared, words("secret"))
    beside, later = asked("beside", shared, words("beside")), asked("later", words("later"))
    stored(home, secret, beside)
    stored(home, later)
    before = on_disk(home)
    assert files_with(home.root, "secret")
    freed = bodies.forget(home, [secret.exchange.id])
    assert files_with(home.root, "secret") == []
    assert freed == before - on_disk(home) > 0
    assert_gone(home, secret)
    assert_held(home, beside, later)

    bodies.forget(home, [beside.exchange.id])
    assert files_with(home.root, "shared") == []
    assert_held(home, later)


def test_all_of_them(home: Home) -> None:
    """If nothing is left there are no files; what comes after is stored again."""
    one = asked(words("one"))
    stored(home, one)
    bodies.forget(home, [one.exchange.id])
    assert not any(list(folder.iterdir()) for folder in (home.bodies, home.parts, home.said))
    assert queried(home, "SELECT (SELECT count(*) FROM part), (SELECT count(*) FROM body_file)") == [(0, 0)]
    again = asked(words("one"))
    stored(home, again)
    assert_held(home, again)


def test_across_files(home: Home) -> None:
    """Exchanges of several files are forgotten at once; a file that holds none of them is not touched."""
    ones = [asked(words(f"name{number}"), id=new_id(1_700_000_000_000 + number)) for number in range(9)]
    for start in range(0, 9, 3):
        stored(home, *ones[start : start + 3])
    untouched = queried(home, "SELECT name FROM body_file ORDER BY min_id")[1]
    bodies.forget(home, [ones[place].exchange.id for place in (0, 2, 6)])
    assert untouched in queried(home, "SELECT name FROM body_file")
    for place in (0, 2, 6):
        assert files_with(home.root, f"name{place}") == []
    assert_gone(home, ones[0], ones[2], ones[6])
    assert_held(home, *(ones[place] for place in (1, 3, 4, 5, 7, 8)))


def test_nothing_to_forget(home: Home) -> None:
    """Ids that hold nothing, no ids, and an empty home are no error."""
    assert bodies.forget(home, [new_id()]) == 0
    one = asked(words("one"))
    stored(home, one)
    assert bodies.forget(home, [new_id()]) == bodies.forget(home, []) == 0
    assert_held(home, one)


def test_a_file_that_is_gone(home: Home) -> None:
    """Where a file is missing that says what is used, nothing is swept, and one sentence says so."""
    one, other = (asked(words(name), id=new_id(1_700_000_000_000 + len(name))) for name in ("one", "other"))
    stored(home, one)
    stored(home, other)
    [(name,), _] = queried(home, "SELECT name FROM body_file ORDER BY min_id")
    (home.bodies / name).rename(home.root / name)
    with pytest.raises(HomeError, match="a file that the database names is gone"):
        bodies.forget(home, [other.exchange.id])
    (home.root / name).rename(home.bodies / name)
    assert_held(home, one)


def test_forgotten_while_somebody_reads(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """If it is forgotten between its body and its parts, there is none; others are read as they are."""
    one, other = asked(words("one")), asked(words("other"))
    stored(home, one, other)
    read = part_files.read

    def forgotten_first(*args: Any) -> dict[str, bytes]:
        bodies.forget(home, [one.exchange.id])
        return read(*args)

    monkeypatch.setattr(part_files, "read", forgotten_first)
    assert_gone(home, one)
    assert_held(home, other)


class Killed(BaseException):
    """The process is no more."""


def dying(patch: pytest.MonkeyPatch, steps: int) -> None:
    """After so many steps of writing, committing and removing, nothing can be done any more."""
    left = iter(range(steps))

    def step(done: Callable[..., Any]) -> Callable[..., Any]:
        def stepped(*args: Any, **kwargs: Any) -> Any:
            if next(left, None) is None:
                raise Killed
            return done(*args, **kwargs)

        return stepped

    patch.setattr(Path, "unlink", step(Path.unlink))
    patch.setattr(Path, "rename", step(Path.rename))
    for module in (bodies, pools):
        patch.setattr(module, "transaction", step(connection.transaction))


def test_killed_anywhere(home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed after any step, what was not to be forgotten is held, and forgetting again leaves no byte of the rest."""
    shared = words("shared")
    secret, other = asked(shared, words("secret")), asked(shared, words("other"))
    stored(home, secret, other)
    for steps in range(100):
        copy = Home(tmp_path / f"copy{steps}")
        shutil.copytree(home.root, copy.root)
        with monkeypatch.context() as patch:
            dying(patch, steps)
            try:
                bodies.forget(copy, [secret.exchange.id])
            except Killed:
                pass
            else:
                break
        assert_held(copy, other)
        assert browse.open_exchange(copy, secret.exchange.id).request.body in (b"", secret.request_body)
        bodies.forget(copy, [secret.exchange.id])
        assert files_with(copy.root, "secret") == []
        assert_held(copy, other)
    assert steps == 9
    assert_gone(copy, secret)
