"""Edits by commands: what they change, what they refuse, and that comments and other edits survive them."""

from __future__ import annotations

import datetime as dt
import multiprocessing
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.policy.folders import folder
from tracecli.config import Home
from tracecli.errors import ConfigError
from tracecli.policy import edit, history
from tracecli.policy.edit import CacheNeedsTracing, clear_user, create_policy, delete_policy, rename_policy
from tracecli.policy.edit import set_policy as set_
from tracecli.policy.edit import set_user as user
from tracecli.policy.files import load
from tracecli.policy.history import flat

SOON = dt.datetime.now(dt.UTC).replace(microsecond=0) + dt.timedelta(hours=2)
COMMENTED = """\
# Ours.
tracing = true  # always

description = 'of "us"'

[retention]  # see the contract
# a month
content = "30d"

[cache]
mode = "on"
"""
MODE, TTL = ("cache", "mode"), ("cache", "ttl")


@pytest.fixture
def home(tmp_path: Path) -> Home:
    made = Home(tmp_path / "home")
    made.prepare()
    return made


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return folder(tmp_path / "policies")


def text(place: Path, name: str) -> str:
    return (place / f"{name}.toml").read_text("utf-8")


def table(place: Path, name: str) -> dict[str, Any]:
    return tomllib.loads(text(place, name))


def contents(place: Path) -> dict[str, str]:
    return {str(path.relative_to(place)): path.read_text() for path in place.rglob("*.toml")}


def test_comments_and_order_survive(home: Home, place: Path) -> None:
    """An edit changes its keys, and no other character."""
    folder(place, ours=COMMENTED)
    set_(home, place, "ours", {("retention", "content"): "7d", ("description",): None})
    assert text(place, "ours") == COMMENTED.replace("30d", "7d").replace("description = 'of \"us\"'\n", "")
    set_(home, place, "ours", {TTL: "1h", ("redaction", "patterns", "a b"): r"\d+", ("sampling",): 0.5})
    assert table(place, "ours") == {
        "tracing": True,
        "sampling": 0.5,
        "retention": {"content": "7d"},
        "cache": {"mode": "on", "ttl": "1h"},
        "redaction": {"patterns": {"a b": r"\d+"}},
    }
    for comment in ("# Ours.", "# always", "# see the contract", "# a month"):
        assert comment in text(place, "ours")


def test_files_keep_who_may_read_them(home: Home, place: Path) -> None:
    """A file that is replaced keeps its mode, and a new one has that of default.toml."""
    (place / "default.toml").chmod(0o640)
    create_policy(home, place, "new", None, {})
    assert (place / "new.toml").stat().st_mode & 0o777 == 0o640
    (place / "new.toml").chmod(0o604)
    set_(home, place, "new", {("sampling",): 0.5})
    assert (place / "new.toml").stat().st_mode & 0o777 == 0o604
    assert {path.name for path in place.iterdir()} == {"default.toml", "new.toml", "users", ".lock"}


def test_the_cache_is_refused_without_tracing(home: Home, place: Path) -> None:
    """It cannot be turned on where tracing is off, wherever that is said; the error has the command."""
    folder(place, off="tracing = false", above='extends = "off"', users__a='policy = "off"', users__b="tracing = false")
    before = contents(place)
    refused: list[Callable[[], object]] = [
        lambda: set_(home, place, "off", {MODE: "on"}, "tracecli it"),
        lambda: set_(home, place, "above", {MODE: "read-only"}, "tracecli it"),
        lambda: set_(home, place, "default", {MODE: "on", ("tracing",): False}, "tracecli it"),
        lambda: create_policy(home, place, "new", "off", {MODE: "on"}, "tracecli it"),
        lambda: user(home, place, "a", values={MODE: "on"}, retry="tracecli it"),
        lambda: user(home, place, "b", values={MODE: "write-only"}, retry="tracecli it"),
        lambda: user(home, place, "c", policy="off", values={MODE: "on"}, retry="tracecli it"),
        lambda: user(home, place, "c", policy="off", values={MODE: "on"}, expires_at=SOON, retry="tracecli it"),
    ]
    for change in refused:
        with pytest.raises(CacheNeedsTracing, match="`tracecli it`"):
            change()
    assert contents(place) == before
    set_(home, place, "off", {MODE: "on", ("tracing",): True})
    assert load(place).decide("a", [], 0).settings.cache.mode == "on"


def test_tracing_off_turns_the_cache_off(home: Home, place: Path) -> None:
    """Turning tracing off turns the cache off in the same file, and says so; elsewhere it says whose stays off."""
    folder(place, ours=COMMENTED, users__a='policy = "ours"\n[cache]\nmode = "on"', users__b='policy = "ours"')
    done = set_(home, place, "ours", {("tracing",): False})
    assert table(place, "ours")["cache"]["mode"] == "off"
    assert done.hints[0] == "the cache is off too: it needs tracing"
    assert "user 'a': the cache stays off: tracing is off" in done.hints[1]
    assert len(done.hints) == 2
    done = user(home, place, "a", values={("tracing",): False})
    assert table(place, "users/a")["cache"]["mode"] == "off"
    assert done.hints == ["the cache is off too: it needs tracing"]


def test_what_would_not_load_is_not_written(home: Home, place: Path) -> None:
    """A value that is wrong, and a folder that is wrong already, change nothing."""
    folder(place, ours=COMMENTED)
    before = contents(place)
    values: list[dict[edit.Key, Any]] = [
        {("sampling",): 2.0},
        {("tracng",): True},
        {("cache", "max_bytes"): 1},
        {("extends",): "ours"},
        {("tracing", "inner"): 1},
    ]
    for wrong in values:
        with pytest.raises(ConfigError, match=r"ours\.toml: key .* Nothing was changed"):
            set_(home, place, "ours", wrong)
    with pytest.raises(ConfigError, match=r"there is no policy 'gone'\. Name one of: default, ours"):
        set_(home, place, "gone", {})
    with pytest.raises(ConfigError, match="there is no policy 'gone'"):
        user(home, place, "a", policy="gone", values={})
    folder(place, other="wrong")
    with pytest.raises(ConfigError, match=r"other\.toml:1"):
        set_(home, place, "ours", {("sampling",): 0.5})
    assert contents(place) == before | {"other.toml": "wrong"}


@pytest.mark.parametrize("name", ["", ".", "..", "../x", "a/b", "a\0", ".x", "prices", "\u00fc", "x" * 101, "-x"])
def test_names_that_no_policy_can_have(home: Home, place: Path, name: str) -> None:
    """A policy is made with a plain name or not at all."""
    with pytest.raises(ConfigError, match="cannot be the name of a policy"):
        create_policy(home, place, name, None, {})


def test_creating(home: Home, place: Path) -> None:
    """A new policy is empty or a copy with its comments, but not with the headers that the other matches."""
    folder(place, ours=COMMENTED + '[match]\nX-Team = "a"\n')
    done = create_policy(home, place, "copy", "ours", {("sampling",): 0.5})
    assert "# a month" in text(place, "copy") and "match" not in table(place, "copy")
    assert "the headers that ours matches were left out" in done.hints
    assert [(one.event, one.name) for one in done.changes] == [("created", "copy")]
    with pytest.raises(ConfigError, match="already"):
        create_policy(home, place, "copy", None, {})
    create_policy(home, place, "empty", None, {})
    assert text(place, "empty") == ""


def test_a_match_that_never_wins_is_told(home: Home, place: Path) -> None:
    """An edit that does what is probably not meant does it, and says so."""
    folder(place, a='[match]\nX-Team = "r*"')
    done = create_policy(home, place, "b", None, {("match", "x-team"): "red"})
    assert "policy b: never applies: a matches whatever it does" in done.hints[0]


def test_renaming(home: Home, place: Path) -> None:
    """Users and policies that name a policy follow it, comments and all; default cannot be renamed."""
    later = SOON.isoformat()
    folder(
        place,
        old=COMMENTED,
        above='extends = "old" # why',
        users__a='# a\npolicy = "old"',
        users__b=f'temporary_policy = "old"\nexpires_at = {later}',
        users__c='policy = "above"',
    )
    done = rename_policy(home, place, "old", "new")
    assert text(place, "new") == COMMENTED
    assert text(place, "above") == 'extends = "new" # why'
    assert text(place, "users/a") == '# a\npolicy = "new"'
    assert table(place, "users/b")["temporary_policy"] == "new"
    assert not (place / "old.toml").exists()
    assert [(one.event, one.name) for one in done.changes] == [
        ("created", "new"),
        ("changed", "above"),
        ("changed", "a"),
        ("changed", "b"),
        ("deleted", "old"),
    ]
    for wrong in (("default", "x"), ("new", "default"), ("new", "above"), ("gone", "x"), ("new", "new")):
        with pytest.raises(ConfigError):
            rename_policy(home, place, *wrong)


def test_deleting(home: Home, place: Path) -> None:
    """A policy in use says who uses it; they get another one, or what applies without it."""
    later = SOON.isoformat()

    def again() -> None:
        folder(
            place,
            old="",
            other="",
            above='extends = "old"',
            users__a='policy = "old"',
            users__b=f'temporary_policy = "old"\nexpires_at = {later}',
        )

    again()
    with pytest.raises(
        ConfigError, match=r"is used by policy 'above', user 'a', user 'b'\. .*--reassign default.*--force"
    ):
        delete_policy(home, place, "old")
    delete_policy(home, place, "old", reassign="other")
    assert table(place, "above") == {"extends": "other"}
    assert table(place, "users/a") == {"policy": "other"}
    assert table(place, "users/b")["temporary_policy"] == "other"
    again()
    delete_policy(home, place, "old", force=True)
    assert (table(place, "above"), table(place, "users/a"), table(place, "users/b")) == ({}, {}, {})
    assert not (place / "old.toml").exists()
    delete_policy(home, place, "other")
    again()
    for name, reassign in (("default", None), ("gone", None), ("old", "old"), ("old", "gone"), ("old", "above")):
        with pytest.raises(ConfigError):
            delete_policy(home, place, name, reassign=reassign)


def test_a_users_policy_and_time(home: Home, place: Path) -> None:
    """With a time the policy is the temporary one; without, the assigned one; never makes it stay."""
    folder(place, a="", b="")
    user(home, place, "u", policy="a", values={})
    user(home, place, "u", policy="b", values={("sampling",): 0.5}, expires_at=SOON)
    assert table(place, "users/u") == {"policy": "a", "temporary_policy": "b", "sampling": 0.5, "expires_at": SOON}
    done = user(home, place, "u", policy="default", values={("metering",): True})
    assert table(place, "users/u")["policy"] == "default"
    assert any("the temporary policy b goes before it until" in hint for hint in done.hints)
    user(home, place, "u", values={}, expires_at="never")
    assert table(place, "users/u") == {"policy": "default", "sampling": 0.5, "metering": True}
    with pytest.raises(ConfigError, match="nothing of user 'v' would expire"):
        user(home, place, "v", values={}, expires_at=SOON)
    user(home, place, "w", values={("sampling",): 0.5}, expires_at=SOON)
    user(home, place, "w", values={("sampling",): None})
    assert table(place, "users/w") == {}


def test_what_expired_does_not_come_back(home: Home, place: Path) -> None:
    """A new setting clears what has ended: a new time would bring it back."""
    folder(
        place,
        quiet="",
        users__u='policy = "quiet"\ntemporary_policy = "quiet"\nsampling = 0.1\nexpires_at = 2020-01-01T00:00:00Z\n',
    )
    done = user(home, place, "u", values={("metering",): False}, expires_at=SOON)
    assert table(place, "users/u") == {"policy": "quiet", "metering": False, "expires_at": SOON}
    assert "what had expired was cleared" in done.hints


def test_clearing_a_user(home: Home, place: Path) -> None:
    """A user's file goes; with credentials in it, they stay, for they say who may claim the name."""
    bound = 'credentials = ["proxy"]'
    folder(place, users__a="tracing = false", users__b=f'# me\n{bound}\npolicy = "default"\ntracing = false\n')
    clear_user(home, place, "a")
    assert not (place / "users" / "a.toml").exists()
    done = clear_user(home, place, "b")
    assert text(place, "users/b") == f"# me\n{bound}\n"
    assert "credentials" in done.hints[0]
    with pytest.raises(ConfigError, match="nothing of a user 'gone'"):
        clear_user(home, place, "gone")


@given(name=st.text(st.characters(exclude_categories=["Cs"]), max_size=250))
@settings(max_examples=25, deadline=None)
def test_any_user_can_be_edited(tmp_path_factory: pytest.TempPathFactory, name: str) -> None:
    """A user of any name that a request can have gets a file of its own; another name is refused with a reason."""
    base = tmp_path_factory.mktemp("any")
    home, place = Home(base / "home"), folder(base / "policies")
    home.prepare()
    try:
        user(home, place, name, values={("sampling",): 0.5})
    except ConfigError as error:
        assert "cannot be a user" in str(error)
        assert contents(place) == {"default.toml": ""}
    else:
        user(home, place, name, values={("metering",): False})
        policies = load(place)
        assert set(policies.users) == {name}
        assert not policies.decide(name, [], 0).metering
        clear_user(home, place, name)
    assert {path.name for path in base.rglob("*.toml")} == {"default.toml"}


_VALUES = st.one_of(
    st.tuples(st.just(("tracing",)), st.none() | st.booleans()),
    st.tuples(st.just(("sampling",)), st.none() | st.floats(0, 1)),
    st.tuples(st.just(("description",)), st.none() | st.text(st.characters(exclude_categories=["Cs"]), max_size=20)),
    st.tuples(st.just(("models",)), st.none() | st.lists(st.sampled_from(["a", 'b"*', "c\nd"]), max_size=3)),
    st.tuples(st.just(("cache", "ttl")), st.none() | st.sampled_from(["1d", "2h"])),
    st.tuples(st.just(("retention", "content")), st.none() | st.just("1d")),
    st.tuples(
        st.tuples(st.just("redaction"), st.just("patterns"), st.text("ab .\"'\n", min_size=1, max_size=5)),
        st.none() | st.sampled_from(["x", "\\d"]),
    ),
    st.tuples(st.tuples(st.just("match"), st.sampled_from(["X-A", "b"])), st.none() | st.just("*")),
)
_FILES = ("", COMMENTED, "cache = {ttl = '1d'} # c\n[match]\n# m", "cache.ttl = '1d'\n[redaction]\nkinds = []\n[match]")


@given(start=st.sampled_from(_FILES), changes=st.lists(_VALUES, max_size=8))
@settings(deadline=None)
def test_a_file_says_what_was_edited(start: str, changes: list[tuple[edit.Key, Any]]) -> None:
    """After any row of edits the file says just what was set, and its comments are there."""
    document = edit._Document("x.toml", "policy", "x", start)
    for key, value in changes:
        document.set(key, value)
        assert flat(tomllib.loads(document.text())) == flat(document.table)
    for key, value in dict(changes).items():
        inner: Any = document.table
        for part in key:
            inner = inner.get(part, {}) if isinstance(inner, dict) else None
        assert inner == (value if value is not None else {})
    for comment in ("# Ours.", "# see the contract", "# m"):
        assert comment in document.text() or comment not in start


def _edit_many(root: Path, number: int) -> None:
    home, place = Home(root / "home"), root / "policies"
    for step in range(8):
        set_(home, place, "shared", {("match", f"X-{number}-{step}"): "1"})
        user(home, place, f"user {number}", values={("sampling",): step / 10})


def test_concurrent_edits_lose_nothing(tmp_path: Path) -> None:
    """Several processes edit the same file at once: all their edits are in it, and each is noted once."""
    home, place = Home(tmp_path / "home"), folder(tmp_path / "policies", shared="# keep\n")
    home.prepare()
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_edit_many, args=(tmp_path, number)) for number in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    assert table(place, "shared")["match"] == {f"X-{number}-{step}": "1" for number in range(3) for step in range(8)}
    assert text(place, "shared").startswith("# keep\n")
    noted = [key for entry in history.entries(home, place) for key in entry.changes]
    assert len([key for key in noted if key.startswith("match.")]) == 24
    assert len([key for key in noted if key == "sampling"]) == 24
    assert {entry.by for entry in history.entries(home, place)} == {history._me()}


def test_what_cannot_be_edited(home: Home, place: Path) -> None:
    """A link is left to its owner, and a folder that cannot be written is an error with a remedy."""
    (place.parent / "elsewhere").write_text("tracing = true")
    (place / "linked.toml").symlink_to(place.parent / "elsewhere")
    with pytest.raises(ConfigError, match=r"is a link\. Edit the file that it leads to: .*/elsewhere"):
        set_(home, place, "linked", {("tracing",): False})
    with pytest.raises(ConfigError, match=r"cannot write .*Make the policy folder writable"):
        set_(home, place / "gone", "default", {})
