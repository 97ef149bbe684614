"""The journal of edits: by whom, once, and never in the way."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import pytest

from tests.policy.folders import folder
from tracecli.config import Home
from tracecli.errors import HomeError
from tracecli.policy import history
from tracecli.policy.edit import delete_policy, set_policy
from tracecli.policy.history import BY_HAND, entries, note


@pytest.fixture
def home(tmp_path: Path) -> Home:
    made = Home(tmp_path / "home")
    made.prepare()
    return made


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return folder(tmp_path / "policies")


def noted(home: Home, place: Path) -> list[tuple[str, str, str, dict[str, tuple[Any, Any]]]]:
    return [(entry.by, entry.name, entry.event, entry.changes) for entry in entries(home, place)]


def test_edits_by_hand(home: Home, place: Path) -> None:
    """What was created, changed and deleted since the last look is noted with old and new values; the first look notes
    nothing, and a comment is no change."""
    note(home, place)
    (place / "new.toml").write_text('sampling = 0.5\n[redaction.patterns]\n"a.b" = "x"')
    note(home, place)
    (place / "new.toml").write_text("# more\nsampling = 0.25")
    (place / "users" / "a%20b.toml").write_text("expires_at = 2026-12-01T00:00:00Z")
    note(home, place)
    (place / "new.toml").write_text("# less\nsampling = 0.25")
    note(home, place)
    (place / "new.toml").unlink()
    note(home, place)
    assert noted(home, place) == [
        (BY_HAND, "new", "created", {"sampling": (None, 0.5), 'redaction.patterns."a.b"': (None, "x")}),
        (BY_HAND, "new", "changed", {"sampling": (0.5, 0.25), 'redaction.patterns."a.b"': ("x", None)}),
        (BY_HAND, "a b", "created", {"expires_at": (None, "2026-12-01T00:00:00Z")}),
        (BY_HAND, "new", "deleted", {"sampling": (0.25, None)}),
    ]
    assert home.policy_history.stat().st_mode & 0o777 == 0o600


def test_a_command_and_what_was_edited_before_it(home: Home, place: Path) -> None:
    """A command's edit is its user's, and what was edited by hand before it is not."""
    note(home, place)
    (place / "default.toml").write_text("sampling = 0.5")
    set_policy(home, place, "default", {("metering",): False})
    note(home, place)
    assert noted(home, place) == [
        (BY_HAND, "default", "changed", {"sampling": (None, 0.5)}),
        (history._me(), "default", "changed", {"metering": (None, False)}),
    ]


def test_looking_at_once(home: Home, place: Path) -> None:
    """Many who look at the same change note it once."""
    note(home, place)
    for number in range(5):
        (place / "default.toml").write_text(f"max_body_bytes = {number}")
        threads = [threading.Thread(target=note, args=(home, place)) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
    assert [change["max_body_bytes"][1] for *_, change in noted(home, place)] == list(range(5))


def test_nothing_changed_writes_nothing(home: Home, place: Path) -> None:
    """Looking at what is as it was touches no file."""
    note(home, place)
    before = {path.name: path.stat().st_mtime_ns for path in home.root.iterdir()}
    note(home, place)
    assert {path.name: path.stat().st_mtime_ns for path in home.root.iterdir()} == before


def test_folders_have_histories_of_their_own(home: Home, place: Path, tmp_path: Path) -> None:
    """Two policy folders of one home are not mixed up."""
    other = folder(tmp_path / "other")
    for one in (place, other, place):
        note(home, one)
    (other / "default.toml").write_text("sampling = 0.5")
    note(home, place)
    note(home, other)
    assert noted(home, place) == []
    assert len(noted(home, other)) == 1


def test_a_broken_file_is_not_a_deleted_one(home: Home, place: Path) -> None:
    """A file that cannot be read is noted when it can be again."""
    folder(place, a="sampling = 0.5")
    note(home, place)
    (place / "a.toml").write_text("sampling = ")
    note(home, place)
    assert noted(home, place) == []
    (place / "a.toml").write_text("sampling = 1.0")
    note(home, place)
    assert noted(home, place) == [(BY_HAND, "a", "changed", {"sampling": (0.5, 1.0)})]


def test_damage(home: Home, place: Path) -> None:
    """A torn line is left out and the next one whole; a damaged state begins anew; no home is an error."""
    folder(place, a="")
    note(home, place)
    home.policy_history.write_text('{"at": "20')
    delete_policy(home, place, "a")
    assert [event for *_, event, _ in noted(home, place)] == ["deleted"]
    assert [json.loads(line)["name"] for line in home.policy_history.read_text().splitlines()[1:]] == ["a"]
    (home.root / "policy-history.seen.json").write_text("x")
    note(home, place)
    assert len(noted(home, place)) == 1
    with pytest.raises(HomeError):
        note(Home(home.root / "gone"), place)
    assert list(entries(Home(home.root / "gone"), place)) == []
