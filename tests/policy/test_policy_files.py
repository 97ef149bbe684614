"""Policy files: how they are named and read, what a wrong one says, and that a change is noticed."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.policy.folders import folder
from tests.support.waiting import wait_until
from tracecli.errors import ConfigError
from tracecli.policy import files
from tracecli.policy.files import FileError, Watch, line_of, load, stamp, user_file

ROOT = Path(__file__).parents[2]


def test_file_names_are_percent_decoded(tmp_path: Path) -> None:
    """A user may have any name: the file name carries it encoded, or the file says it."""
    policies = load(
        folder(tmp_path, **{"users__a%2Fb%40corp": "tracing = false", "users__some": 'user = "x/y"\nsampling = 0.5'})
    )
    assert not policies.decide("a/b@corp", [], 0).tracing
    assert policies.decide("x/y", [], 0).settings.sampling == 0.5
    assert policies.decide("some", [], 0).settings.sampling == 1.0


@given(user=st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=300))
@example("..")
@example(".")
@example("../../etc/passwd")
@example("a/b\\c\0\n")
@example("x" * 300)
@example("\u00fc" * 200)
@example("~")
@example("prices")
def test_every_user_has_a_file_in_the_folder(tmp_path_factory: pytest.TempPathFactory, user: str) -> None:
    """Whatever a user is called: the file is in the folder, is read, and is that user's."""
    place = tmp_path_factory.getbasetemp() / "any-user"
    name = user_file(user)
    assert len(name) <= 255 and "/" not in name and not name.startswith(".") and name.isascii() and name.isprintable()
    text = "" if "~" not in name else f'user = "{"".join(f"\\U{ord(letter):08x}" for letter in user)}"\n'
    folder(place)
    path = place / "users" / name
    path.write_text(text + "sampling = 0.25\n")
    try:
        policies = load(place)
        assert path.parent == place / "users"
        assert set(policies.users) == {user}
        assert policies.decide(user, [], 0).settings.sampling == 0.25
    finally:
        path.unlink()


def test_users_have_different_files() -> None:
    """Long names that differ at their end, or only in what is encoded, are different files."""
    users = ["a" * 250 + end for end in "xyz"] + ["a%2Fb", "a/b", "A", "a", "~a", "%7Ea"]
    assert len({user_file(user) for user in users}) == len(users)
    for wrong in ("", "\udc80"):
        with pytest.raises(ValueError):
            user_file(wrong)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("tracng = true", ":1: key `tracng`: is unknown (did you mean `tracing`?). Correct the file"),
        ("\n\n[cache]\nmode = 'x'", ":4: key `cache.mode`: Invalid enum value 'x'"),
        ("tracing = \nx = 1", ":1: not valid TOML: Invalid value (at line 1"),
        ('a = "', ":1: not valid TOML"),
        ("a = 1\na = 2", ":2: not valid TOML"),
        ("expires = 2026-13-45T00:00:00Z", ":1: not valid TOML"),
        ("\x00", "not valid TOML"),
        ("a = " + "9" * 5000, "not valid TOML"),
        ("a = " + "[" * 5000, "not valid TOML"),
        ("#" * 10_000_000, "is larger than 1048576 bytes"),
    ],
)
def test_wrong_files_are_refused_whole(tmp_path: Path, text: str, says: str) -> None:
    """The error names the whole path of the file, the line, the key, and the remedy."""
    with pytest.raises(ConfigError) as caught:
        load(folder(tmp_path, other=text))
    assert str(caught.value).startswith(str(tmp_path / "other.toml"))
    assert says in str(caught.value)
    assert caught.value.exit_code == 3


def test_what_is_no_policy_file(tmp_path: Path) -> None:
    """A folder, a pipe, a link to nowhere, bytes that are no text, and an unreadable file each say what they are."""
    place = folder(tmp_path)
    path = place / "x.toml"

    def says(problem: str) -> None:
        with pytest.raises(FileError, match=problem) as caught:
            load(place)
        assert caught.value.path == str(path)

    path.mkdir()
    says("is a folder")
    path.rmdir()
    os.mkfifo(path)
    says("is no regular file")
    path.unlink()
    path.symlink_to(place / "gone")
    says("is a link that leads nowhere")
    path.unlink()
    path.symlink_to(path)
    says("is a link that leads nowhere")
    path.unlink()
    path.write_bytes(b"\xff\xfe")
    says("not valid TOML")
    if os.geteuid() != 0:
        path.chmod(0)
        says("cannot be read: Permission denied")
    path.unlink()
    (place / "elsewhere").write_text("tracing = false")
    path.symlink_to(place / "elsewhere")
    assert not load(place).policies["x"].settings.tracing


def test_names_that_are_none(tmp_path: Path) -> None:
    """Two files of one user, and names that are no text, are refused with the file."""
    with pytest.raises(FileError, match=r"is the second file of 'a', beside .*/users/%61\.toml"):
        load(folder(tmp_path / "1", **{"users__%61": "", "users__a": ""}))
    with pytest.raises(FileError, match="no user, percent-encoded"):
        load(folder(tmp_path / "2", **{"users__%FF": ""}))
    with pytest.raises(FileError, match="without control characters"):
        load(folder(tmp_path / "3", **{"a\nb": ""}))


def test_missing_default_and_unknown_policy(tmp_path: Path) -> None:
    """A folder without default.toml, and a user with a policy that is not there, are refused with what to do."""
    with pytest.raises(ConfigError, match=r"default\.toml: does not exist\. Make one"):
        load(tmp_path)
    with pytest.raises(ConfigError, match=r"alice\.toml:2: key `policy`: there is no policy 'gone'; name one of: def"):
        load(folder(tmp_path, users__alice='#\npolicy = "gone"'))


@pytest.mark.parametrize(
    ("text", "key", "line"),
    [
        ("a = 1\nb = 2", "b", 2),
        ("[cache]\n  mode='on' # x", "cache.mode", 2),
        ("cache.mode = 'on'", "cache.mode", 1),
        ("cache = {mode = 'on'}", "cache.mode", 1),
        ("[ cache ]\n\n[redaction . patterns]\n'a b' = 'x'\nmode = 1", "redaction.patterns.a b", 4),
        ("[match]\n\"X-A\" = '1'\nx-a = '2'", "match.x-a", 3),
        ("description = '''\ntracing = 1\n'''\ntracing = 2", "tracing", 4),
        ("mode = 1\n[retention]\nmode = 2", "cache.mode", None),
        ("", "tracing", None),
    ],
)
def test_lines_of_keys(text: str, key: str, line: int | None) -> None:
    """A key is found on its line: in its table, dotted, quoted, inline, and not in a text of several lines."""
    assert line_of(text, key) == line


@given(text=st.text(max_size=200), key=st.text(max_size=20))
def test_lines_of_anything(text: str, key: str) -> None:
    """Whatever the text is, looking for a key in it ends with a line of it or None."""
    found = line_of(text, key)
    assert found is None or 1 <= found <= len(text.splitlines())


def test_only_changed_files_are_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After an edit of one file, that one is read, and the others are taken from before."""
    place = folder(tmp_path, strict="tracing = false", **{f"users__u{n}": 'policy = "strict"' for n in range(20)})
    first = load(place)
    read: list[str] = []
    real = files.text_of

    def text_of(path: str) -> str:
        read.append(Path(path).name)
        return real(path)

    monkeypatch.setattr(files, "text_of", text_of)
    assert load(place, first).decide("u7", [], 0).policy == "strict"
    assert read == []
    (place / "users" / "u7.toml").write_text("sampling = 0.5")
    second = load(place, first)
    assert (read, second.decide("u7", [], 0).policy) == (["u7.toml"], "default")
    assert second.decide("u8", [], 0).policy == "strict"


def test_prices_are_no_policy(tmp_path: Path) -> None:
    """The price file in the policy folder is nobody's policy, right or wrong; a user may be called prices."""
    before = stamp(folder(tmp_path, users__prices="tracing = false"))
    (tmp_path / "prices.toml").write_text("[[price]]\nwrong = 1")
    policies = load(tmp_path)
    assert set(policies.policies) == {"default"}
    assert not policies.decide("prices", [], 0).tracing
    assert stamp(tmp_path) == before


def test_shipped_policies_are_right() -> None:
    """The policies of the repository load, and default records."""
    policies = load(ROOT / "policies")
    assert policies.decide("anyone", [], 0).tracing
    assert set(policies.policies) == {"default", "metered", "cached-evals", "confidential"}
    assert not policies.policies["metered"].settings.tracing
    assert policies.policies["cached-evals"].settings.cache.mode == "on"


def test_what_default_comments_out_is_what_holds(tmp_path: Path) -> None:
    """Each setting that default.toml shows as a comment is known, and is the one that holds without it."""
    shipped = (ROOT / "policies" / "default.toml").read_text()
    lines = [line.removeprefix("# ") for line in shipped.splitlines()]
    keys = [line for line in lines if line.startswith("[") or (" = " in line and line[0].islower() and "`" not in line)]
    policies = load(folder(tmp_path, default="\n".join(keys)))
    examples = {"operations", "models", "redaction"}
    settings, built_in = (
        policies.policies["default"].settings,
        load(folder(tmp_path / "b")).policies["default"].settings,
    )
    for name in settings.__struct_fields__:
        assert (getattr(settings, name) == getattr(built_in, name)) is (name not in examples), name


# -- noticing


def assert_noticed(watch: Watch) -> None:
    """A change is reported."""
    assert wait_until(watch.changed, "a change", deadline_s=10)


def assert_quiet(watch: Watch) -> None:
    """Nothing more to report, however often it is asked."""
    wait_until(lambda: not watch.changed(), "silence")
    for _ in range(5):
        time.sleep(0.03)
        assert not watch.changed()


@pytest.mark.parametrize("told", [True, False], ids=["told", "looking"])
def test_every_edit_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, told: bool) -> None:
    """Adding, editing, replacing and removing are each noticed, once, with notifications and without."""
    if not told:
        monkeypatch.setattr(files, "_POLL_S", 0.02)
        monkeypatch.setattr(Watch, "_notifications", lambda self: None)
    place = tmp_path / "policies"
    folder(place)
    watch = Watch(place)
    assert_quiet(watch)
    new = place / "new.toml"
    new.write_text("tracing = true")
    assert_noticed(watch)
    assert_quiet(watch)
    new.write_text("tracing = false")
    assert_noticed(watch)
    (place / ".draft").write_text("tracing = true ")
    (place / ".draft").rename(new)
    assert_noticed(watch)
    (place / "users" / "a.toml").write_text("")
    assert_noticed(watch)
    new.unlink()
    assert_noticed(watch)
    (place / "users" / "a.toml").unlink()
    (place / "users").rmdir()
    assert_noticed(watch)
    (place / "users").mkdir()
    (place / "users" / "b.toml").write_text("")
    assert_noticed(watch)
    (place / "prices.toml").write_text("")
    (place / ".lock").touch()
    assert_quiet(watch)


def test_a_folder_that_is_replaced(tmp_path: Path) -> None:
    """The name of the folder is followed: removed, made again, or another one in its place."""
    place = folder(tmp_path / "policies")
    watch = Watch(place)
    assert_quiet(watch)
    place.rename(tmp_path / "old")
    assert_noticed(watch)
    assert_quiet(watch)
    folder(place, other="")
    assert_noticed(watch)
    assert_quiet(watch)
    (place / "other.toml").write_text("tracing = false")
    assert_noticed(watch)


def test_links_are_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that is a link to one elsewhere is noticed too, though the system does not tell of it."""
    monkeypatch.setattr(files, "_POLL_S", 0.02)
    place = folder(tmp_path / "policies")
    (tmp_path / "elsewhere").write_text("tracing = true")
    (place / "linked.toml").symlink_to(tmp_path / "elsewhere")
    watch = Watch(place)
    assert_quiet(watch)
    (tmp_path / "elsewhere").write_text("tracing = false")
    assert_noticed(watch)


def test_watching_never_raises(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No folder, a file in its place, and notifications that fail are no errors."""
    nowhere = Watch(tmp_path / "gone" / "policies")
    assert not nowhere.changed()
    (tmp_path / "file").touch()
    assert not Watch(tmp_path / "file").changed()

    def broken(*_: object, **__: object) -> None:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr("watchfiles.watch", broken)
    monkeypatch.setattr(files, "_POLL_S", 0.02)
    watch = Watch(folder(tmp_path / "policies"))
    assert not watch.changed()
    (tmp_path / "policies" / "a.toml").touch()
    assert_noticed(watch)


def test_two_edits_in_one_moment(tmp_path: Path) -> None:
    """After the last of many quick edits of equal length, what was loaded is what the file says."""
    place = folder(tmp_path / "policies", default="max_body_bytes = 100")
    watch, policies = Watch(place), load(place)
    for number in range(101, 200):
        (place / "default.toml").write_text(f"max_body_bytes = {number}")
        if watch.changed():
            policies = load(place, policies)

    def settled() -> bool:
        nonlocal policies
        if watch.changed():
            policies = load(place, policies)
        return policies.decide("a", [], 0).max_body_bytes == 199

    assert wait_until(settled, "the last edit")


def test_a_file_that_is_removed_this_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that goes between being listed and being read is as if it had not been there."""
    place = folder(tmp_path, other="tracing = false")
    real = files.text_of

    def text_of(path: str) -> str:
        (place / "other.toml").unlink(missing_ok=True)
        return real(path)

    monkeypatch.setattr(files, "text_of", text_of)
    assert set(load(place).policies) == {"default"}
