"""Files of rules: what is wrong is told with its place, and read again they change what ingest flags."""

from __future__ import annotations

import datetime as dt
import logging
import os
from pathlib import Path

import pytest

from tests.support.upkeep import LONG_AGO, chat, load, new_home, policies, queried, spooled, stored
from tracecli import browse, finding, flag_files
from tracecli.config import Home
from tracecli.errors import ConfigError
from tracecli.exchange import Understanding
from tracecli.flag_files import Watched
from tracecli.flags import Rules
from tracecli.ingest import Ingest
from tracecli.query import syntax
from tracecli.reparse import reparse


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    monkeypatch.setenv("TRACECLI_POLICIES", str(tmp_path / "policies"))
    monkeypatch.delenv("TIKTOKEN_CACHE_DIR", raising=False)
    return new_home(tmp_path)


def written(folder: Path, name: str, text: str) -> Path:
    path = folder / "flags" / f"{name}.toml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")
    return path


def names(rules: Rules) -> list[str]:
    return [one.name for one in rules.rules]


def flags_of(home: Home) -> list[list[str]]:
    return [flags for (flags,) in queried(home, "SELECT flags FROM exchange ORDER BY id")]


SECRET = 'words = ["top secret"]'

# -- files


def test_without_a_folder_there_are_no_rules(tmp_path: Path) -> None:
    """A policy folder needs no flags/, and files of other kinds in it are none."""
    assert not flag_files.load(tmp_path)
    written(tmp_path, "a", SECRET)
    (tmp_path / "flags" / "notes.txt").write_text("not a rule")
    (tmp_path / "flags" / ".b.toml").write_text("not a rule")
    assert names(flag_files.load(tmp_path)) == ["a"]


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("leak", '# a rule\nwordz = ["a"]\n', "leak.toml:2: key `wordz`: is unknown (did you mean `words`?)"),
        ("leak", 'words = ["a"]\n\npatterns = [\n  "(a",\n]\n', "leak.toml:3: key `patterns`: '(a' is no regular"),
        ("leak", 'where = "user:"', "leak.toml:1: key `where`: 'user:' is no query"),
        ("leak", 'words = ["a"', "leak.toml:1: not valid TOML"),
        ("leak", "", "leak.toml: flags nothing"),
        ("Leak", SECRET, "Leak.toml: the name of a rule has small letters, digits and - alone, 40 at most"),
        ("redacted", SECRET, "redacted.toml: no rule can be called redacted"),
    ],
)
def test_what_is_wrong(tmp_path: Path, name: str, text: str, said: str) -> None:
    """File, line, key, what is wrong and what to do are told; the exit code is that of settings."""
    path = written(tmp_path, name, text)
    with pytest.raises(ConfigError) as wrong:
        flag_files.load(tmp_path)
    assert str(wrong.value).startswith(str(path.parent / said))
    assert wrong.value.remedy in (
        "Correct the file; a running ingest goes by what it said before until then.",
        "Rename the file.",
    )
    assert wrong.value.exit_code == 3


def test_no_text(tmp_path: Path) -> None:
    """What cannot be read as text, is no file or is too large is told, and costs no other rule."""
    written(tmp_path, "good", SECRET)
    written(tmp_path, "bytes", "").write_bytes(b"\xff\xfe")
    written(tmp_path, "large", "#" * (1 << 20) + "\n")
    (tmp_path / "flags" / "folder.toml").mkdir()
    (tmp_path / "flags" / "link.toml").symlink_to("nowhere")
    rules, wrong = flag_files.load_some(tmp_path)
    assert names(rules) == ["good"]
    assert len(wrong) == 4
    assert all(error.remedy for error in wrong)


# -- read again


def test_read_again_when_they_change(tmp_path: Path) -> None:
    """New, edited and removed files count from the next look on; unchanged ones are not read."""
    watched = Watched(tmp_path)
    assert not watched.current()
    path = written(tmp_path, "a", SECRET)
    first = watched.current()
    assert names(first) == ["a"]
    assert watched.current() is first
    written(tmp_path, "b", SECRET)
    second = watched.current()
    assert names(second) == ["a", "b"]
    assert second.rules[0] is first.rules[0]
    path.unlink()
    assert names(watched.current()) == ["b"]


def test_a_broken_edit_changes_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The rule goes on as it was, others are edited meanwhile, and the log says it once."""
    path = written(tmp_path, "a", SECRET)
    watched = Watched(tmp_path)
    path.write_text('wordz = ["x"]')
    written(tmp_path, "b", SECRET)
    with caplog.at_level(logging.WARNING):
        assert names(watched.current()) == ["a", "b"]
        assert names(watched.current()) == ["a", "b"]
    assert [record.getMessage() for record in caplog.records] == [
        f"the rule a stays as it was: {path}:1: key `wordz`: is unknown (did you mean `words`?)."
        " Correct the file; a running ingest goes by what it said before until then."
    ]
    path.write_text('words = ["y"]')
    assert watched.current().rules[0].about.words == ["y"]


def test_broken_from_the_beginning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A rule that was never right is left out, and the others hold."""
    written(tmp_path, "a", "x")
    written(tmp_path, "b", SECRET)
    with caplog.at_level(logging.WARNING):
        assert names(Watched(tmp_path).current()) == ["b"]
    assert "the rule a is left out" in caplog.text


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_folder_that_cannot_be_read(tmp_path: Path) -> None:
    """The rules stay as they were."""
    folder = written(tmp_path, "a", SECRET).parent
    watched = Watched(tmp_path)
    folder.chmod(0)
    try:
        assert names(watched.current()) == ["a"]
    finally:
        folder.chmod(0o700)


# -- from the spool to the store


def test_ingest_flags(home: Home) -> None:
    """What ingest stores is flagged by what was said, by metadata, and after redaction; readers of the spool see it."""
    written(policies(home), "secret", SECRET)
    written(policies(home), "mini", 'where = "model:*mini"')
    written(policies(home), "mail", 'detectors = ["email"]')
    spooled(
        home,
        chat(prompt="a Top Secret plan"),
        chat(prompt="write to bob@example.com", redact_kinds=["email"]),
        chat("gpt-4o-mini", traced=False, metered=Understanding(understood=True, request_model="gpt-4o-mini")),
        chat(),
    )
    expected = [["secret"], ["redacted", "mail"], ["mini"], []]
    assert [row.flags for row in browse.latest(home, 9)[::-1]] == expected
    asked = finding.rows(home, syntax.parse("flag:mini OR flag:secret"), dt.datetime.now(dt.UTC), limit=9)
    assert [row.flags for row in asked] == [["mini"], ["secret"]]
    load(home)
    assert flags_of(home) == expected
    assert [row.flags for row in browse.latest(home, 9)[::-1]] == expected


def test_edits_count_for_what_comes_after(home: Home) -> None:
    """A running ingest goes by new rules, and by old ones while their file is broken; what is on the record stays."""
    ingest = Ingest(home, policies(home))
    ingest.clean_up()
    spooled(home, chat(prompt="top secret"))
    ingest.round()
    path = written(policies(home), "leak", SECRET)
    spooled(home, chat(prompt="top secret"))
    ingest.round()
    path.write_text("words = 3")
    spooled(home, chat(prompt="top secret"))
    ingest.round()
    path.unlink()
    spooled(home, chat(prompt="top secret"))
    ingest.round()
    assert flags_of(home) == [[], ["leak"], ["leak"], []]


def test_a_broken_rule_stops_nothing(home: Home) -> None:
    """Exchanges are loaded all the same."""
    written(policies(home), "broken", "words = 3")
    stored(home, chat(prompt="top secret"))
    assert flags_of(home) == [[]]


def test_reparse(home: Home) -> None:
    """Flags become those that ingest would write today, of content that is there; nothing is lost to a broken rule."""
    written(policies(home), "old", SECRET)
    stored(home, chat(prompt="top secret", request_cut=True), chat())
    since = dt.datetime.fromisoformat(LONG_AGO).replace(tzinfo=dt.UTC)
    broken = written(policies(home), "broken", "words = 3")
    with pytest.raises(ConfigError):
        reparse(home, since)
    broken.unlink()
    assert reparse(home, since).records == 0
    (policies(home) / "flags" / "old.toml").rename(policies(home) / "flags" / "new.toml")
    found = reparse(home, since)
    assert (found.records, found.by_field) == (1, {"flags": 1})
    assert flags_of(home) == [["request_cut", "new"], []]
