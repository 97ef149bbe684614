"""The keys of a home: from where they are had, and what is said where they are not."""

from __future__ import annotations

import base64
import secrets
import shlex
from pathlib import Path

import pytest

from tests.support.encrypting import encrypt, key_file
from tracecli import keys
from tracecli.config import Home, KeySource
from tracecli.errors import HomeError, NoKey

RAW = bytes(range(100, 132))


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


@pytest.mark.parametrize(
    "content",
    [
        RAW,
        RAW.hex().encode(),
        RAW.hex().upper().encode() + b"\n",
        base64.b64encode(RAW) + b"\r\n",
        base64.urlsafe_b64encode(RAW).rstrip(b"="),
    ],
)
def test_forms_of_a_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    """A key is the same in any form, from a file, a command or the environment."""
    path = key_file(tmp_path)
    path.write_bytes(content)
    assert keys.fetched(KeySource(file=str(path))) == RAW
    assert keys.fetched(KeySource(command=f"cat {shlex.quote(str(path))}")) == RAW
    if content != RAW:
        monkeypatch.setenv("OF_MINE", content.decode())
        assert keys.fetched(KeySource(variable="OF_MINE")) == RAW


@pytest.mark.parametrize("content", [b"", b"hunter2-hunter2", b"ab" * 31, RAW[:31], b"\xff" * 33, b"g" * 64])
def test_what_is_no_key(tmp_path: Path, content: bytes) -> None:
    """Is refused, and not repeated."""
    path = key_file(tmp_path)
    path.write_bytes(content)
    with pytest.raises(NoKey, match="is no key") as raised:
        keys.fetched(KeySource(file=str(path)))
    assert not content or content.decode("latin-1") not in str(raised.value)


def test_where_no_key_is(tmp_path: Path) -> None:
    """Each source says what is wrong with it, in one sentence with a remedy."""
    readable = key_file(tmp_path)
    readable.chmod(0o640)
    for source, told in (
        (KeySource(file=str(tmp_path / "gone")), "No such file"),
        (KeySource(file=str(readable)), "others may read the key"),
        (KeySource(variable="TRACECLI_NONE"), "is not set"),
        (KeySource(command="false"), "ended with code 1"),
        (KeySource(command="no-such-command x"), "No such file"),
        (KeySource(command="echo 'unbalanced"), "cannot be understood"),
        (KeySource(command=""), "it is empty"),
    ):
        with pytest.raises(NoKey, match=told) as raised:
            keys.fetched(source)
        assert raised.value.remedy


def test_on_and_off(home: Home) -> None:
    """A home has no ring until it is encrypted; off, it encrypts nothing and still reads what was."""
    assert keys.ring(home) is None
    assert keys.protected(home, b"x") == b"x"
    encrypt(home)
    assert home.keys.stat().st_mode & 0o077 == 0
    message = keys.protected(home, b"the lighthouse")
    assert b"lighthouse" not in message
    assert keys.revealed(home, message) == b"the lighthouse"
    keys.turn_off(home)
    assert keys.protected(home, b"x") == b"x"
    assert keys.revealed(home, message) == b"the lighthouse"


def test_rotation(home: Home, tmp_path: Path) -> None:
    """A new key of the user's opens all data keys, and the old one none; a new data key is for what comes."""
    old = encrypt(home)
    before = keys.protected(home, b"before")
    new = key_file(tmp_path, "new.key")
    keys.add(home, KeySource(file=str(new)))
    after = keys.protected(home, b"after")
    old.unlink()
    fresh = Home(home.root)
    assert (keys.revealed(fresh, before), keys.revealed(fresh, after)) == (b"before", b"after")
    assert len(keys.stored(home).keys) == 2
    assert keys.stored(home).source == KeySource(file=str(new))


def test_the_environment_goes_first(home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the environment says of the key goes before what the home says."""
    path = encrypt(home)
    moved = path.rename(tmp_path / "moved.key")
    with pytest.raises(NoKey, match="cannot read the key"):
        keys.ring(home)
    monkeypatch.setenv("TRACECLI_KEY_FILE", str(moved))
    assert keys.ring(home)
    home.keys.touch()  # as if it were changed: read anew
    monkeypatch.delenv("TRACECLI_KEY_FILE")
    monkeypatch.setenv("TRACECLI_KEY", moved.read_text())
    assert keys.ring(home)


def test_another_key(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """The key of something else is refused, and neither it nor ours is told."""
    encrypt(home)
    wrong = secrets.token_hex(32)
    monkeypatch.setenv("TRACECLI_KEY", wrong)
    with pytest.raises(NoKey, match="another key than that of the environment variable TRACECLI_KEY") as raised:
        keys.ring(home)
    assert wrong not in str(raised.value)


def test_a_process_keeps_its_keys(home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whose key was changed under it works on with those that it has: what it writes can be read."""
    encrypt(home)
    ring = keys.ring(home)
    new = key_file(tmp_path, "new.key")
    keys.add(home, KeySource(file=str(new)))
    new.unlink()
    assert keys.ring(home) is ring
    assert ring is not None
    assert keys.revealed(home, ring.encrypt(b"x")) == b"x"


@pytest.mark.parametrize("content", [b"", b"{}", b'{"format":9,"on":true,"source":{},"keys":[]}', bytes(50)])
def test_a_damaged_file_of_keys(home: Home, content: bytes) -> None:
    """Says so, and how to get it back."""
    encrypt(home)
    home.keys.write_bytes(content)
    with pytest.raises(HomeError, match=r"keys\.json"):
        keys.stored(home)
