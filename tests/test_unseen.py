"""Counts of what passed unrecorded: bounded, kept for so long, and each counted once, whatever dies when."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from tracecli import unseen
from tracecli.config import Home
from tracecli.unseen import KEPT_DAYS, MAX_NAMES, Counts, Keeper, What, products

NOW = 1_790_000_000.0
DAY = int(NOW // 86_400)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    made = Home(tmp_path / "home")
    made.prepare()
    return made


def times(home: Home) -> dict[What, int]:
    return {what: one.times for what, one in unseen.read(home).items()}


@pytest.mark.parametrize(
    ("agent", "names"),
    [
        ("curl/8.14.1", "curl"),
        ("Python/3.12 aiohttp/3.9.1", "Python aiohttp"),
        ("Go-http-client/1.1", "Go-http-client"),
        ("claude-cli/2.0.1 (external, cli)", "claude-cli"),
        ("Mozilla/5.0 (X11; Alice's) AppleWebKit/537.36 (KHTML) Chrome/1 Safari/5", "Mozilla AppleWebKit Chrome"),
        ("node", "node"),
        ("", ""),
        ("(only a comment", ""),
        ("\x1b[31mred/1 fine/2", "fine"),
        ("a" * 600, ""),
        ("curl/8 sk-secret-0123", "curl"),
    ],
)  # fmt: skip
def test_names_of_a_client(agent: str, names: str) -> None:
    """Products stay; versions, comments, and what is none do not."""
    assert products(agent) == names


def test_what_a_process_counted(home: Home) -> None:
    """Counts are there while it runs, when it has ended, and once."""
    counts = Counts()
    keeper = Keeper(home, counts, lambda: NOW)
    assert times(home) == {}
    counts.count("passed", "llm.example.com", NOW)
    counts.count("passed", "llm.example.com", NOW + 5)
    counts.count("passed", None, NOW)
    keeper.tick()
    expected = {What(DAY, "passed", "llm.example.com"): 2, What(DAY, "passed"): 1}
    assert times(home) == expected
    [held] = [one for what, one in unseen.read(home).items() if what.host]
    assert (held.first_at, held.last_at) == (NOW, NOW + 5)
    unseen.gather(home.coverage, NOW)  # another one starts: this one still runs
    assert times(home) == expected
    keeper.close()
    assert times(home) == expected
    assert [path.name for path in home.coverage.iterdir()] == ["kept.json"]
    assert stat.S_IMODE((home.coverage / "kept.json").stat().st_mode) == 0o600


def test_one_that_counted_nothing(home: Home) -> None:
    """Leaves nothing behind."""
    keeper = Keeper(home, Counts())
    keeper.tick()
    keeper.close()
    assert not home.coverage.exists()


def test_no_count_is_added_twice(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who is killed between adding counts and removing their file leaves a file that counts no more."""
    counts = Counts()
    keeper = Keeper(home, counts, lambda: NOW)
    counts.count("passed", "llm.example.com", NOW)
    with monkeypatch.context() as patched:
        patched.setattr(Path, "unlink", lambda *_, **__: None)
        keeper.close()
    assert len(list(home.coverage.glob("*.json"))) == 2
    assert times(home) == {What(DAY, "passed", "llm.example.com"): 1}
    unseen.gather(home.coverage, NOW)
    assert [path.name for path in home.coverage.iterdir()] == ["kept.json"]
    assert times(home) == {What(DAY, "passed", "llm.example.com"): 1}


def test_names_are_bounded(home: Home) -> None:
    """However many names a client makes up, so many are held of a day, by one process and by all; all are counted."""
    number = MAX_NAMES + 50
    for start in (0, number):
        counts = Counts()
        for place in range(number):
            counts.count("passed", f"llm-{start + place}.example.com", NOW)
        assert len(counts.copied()) == MAX_NAMES + 1
        counts.count("passed", "llm-often.example.com", NOW)
        keeper = Keeper(home, counts, lambda: NOW)
        keeper.close()
    found = times(home)
    assert sum(found.values()) == 2 * number + 2
    assert sum(what.host is not None for what in found) == MAX_NAMES


def test_old_days_go(home: Home) -> None:
    """Counts are kept for so many days, in memory as on the disk."""
    counts = Counts()
    counts.count("passed", "llm.example.com", NOW)
    counts.count("passed", "llm.example.com", NOW + 86_400)
    assert len(counts.copied()) == 2
    Keeper(home, counts, lambda: NOW + KEPT_DAYS * 86_400).close()
    assert [what.day for what in times(home)] == [DAY + 1]
    counts.count("passed", None, NOW + KEPT_DAYS * 86_400)
    assert {what.day for what in counts.copied()} == {DAY + 1, DAY + KEPT_DAYS}


def test_a_damaged_file(home: Home, caplog: pytest.LogCaptureFixture) -> None:
    """What cannot be read is named and left out; it stands in nobody's way, and is not thrown away."""
    home.coverage.mkdir()
    (home.coverage / "kept.json").write_text("{")
    assert times(home) == {}
    assert "kept.json is damaged" in caplog.text
    counts = Counts()
    counts.count("refused", "api.openai.com", NOW, client="curl", where="here", reason="unknown_ca")
    Keeper(home, counts, lambda: NOW).close()
    assert times(home) == {What(DAY, "refused", "api.openai.com", "curl", "here", "unknown_ca"): 1}
    assert (home.coverage / "kept.json.damaged").read_text() == "{"


def test_a_folder_that_cannot_be_read(home: Home) -> None:
    """That is an OSError, for whoever asks to make words of."""
    home.coverage.write_text("a file")
    counts = Counts()
    counts.count("passed", None, NOW)
    with pytest.raises(OSError):
        Keeper(home, counts, lambda: NOW).tick()
