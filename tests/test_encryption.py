"""Encryption: what went in comes out, from anywhere; what was changed, cut or moved does not come out at all."""

from __future__ import annotations

import io
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tracecli.encryption import CHUNK, FILE, MESSAGE, OVERHEAD, Keyring, Undecryptable, UnknownKey, key_of, new_key

KEY = new_key()
RING = Keyring([KEY], KEY)
HEADER = OVERHEAD - 16
EDGES = [0, 1, 15, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 3 * CHUNK + 17]


def written(path: Path, content: bytes, step: int = 10_000) -> Path:
    with RING.encrypt_file(path) as file:
        for start in range(0, len(content), step):
            assert file.write(content[start : start + step]) == len(content[start : start + step])
    return path


@given(st.binary(max_size=300), st.binary(max_size=20))
def test_messages(data: bytes, about: bytes) -> None:
    """A message comes back, is no two times the same, and belongs to what it is about."""
    message = RING.encrypt(data, about)
    assert RING.decrypt(message, about) == data
    assert len(message) == len(data) + OVERHEAD
    assert message.startswith(MESSAGE)
    assert key_of(message) == KEY.id
    assert RING.encrypt(data, about) != message
    with pytest.raises(Undecryptable):
        RING.decrypt(message, about + b"x")


@given(st.data())
def test_a_changed_message(data: st.DataObject) -> None:
    """Whatever byte is changed or missing, nothing comes out."""
    message = RING.encrypt(b"the silver lighthouse")
    at = data.draw(st.integers(0, len(message) - 1))
    changed = message[:at] + bytes([message[at] ^ data.draw(st.integers(1, 255))]) + message[at + 1 :]
    for bad in (changed, message[:at]):
        with pytest.raises((Undecryptable, UnknownKey)):
            RING.decrypt(bad)


@pytest.mark.parametrize("size", EDGES)
def test_files(tmp_path: Path, size: int) -> None:
    """A file of any size comes back whole, and nothing of it is in the clear; it is private."""
    content = os.urandom(size)
    path = written(tmp_path / "file", content)
    assert path.read_bytes().startswith(FILE)
    assert size < 16 or content[:16] not in path.read_bytes()
    assert path.stat().st_mode & 0o077 == 0
    with RING.decrypt_file(path) as file:
        assert file.size == size
        assert file.read() == content
        assert file.read() == b""


@settings(max_examples=50)
@given(st.data())
def test_reading_from_anywhere(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """Seeking and reading give what they would give of the content itself."""
    content = os.urandom(data.draw(st.sampled_from(EDGES)))
    path = written(
        tmp_path_factory.mktemp("any") / "file", content, data.draw(st.sampled_from([7_000, CHUNK, 1 << 20]))
    )
    plain = io.BytesIO(content)
    with RING.decrypt_file(path) as file:
        for _ in range(8):
            place = data.draw(st.integers(0, len(content) + 10))
            count = data.draw(st.integers(0, 2 * CHUNK))
            assert file.seek(place) == plain.seek(place)
            assert file.read(count) == plain.read(count)
        assert file.seek(0, io.SEEK_END) == len(content) == file.tell()


@pytest.mark.parametrize("size", EDGES)
def test_a_file_that_was_cut(tmp_path: Path, size: int) -> None:
    """Without its last bytes or its last chunks, a file gives an error, and no shorter content."""
    path = written(tmp_path / "file", os.urandom(size))
    stored = path.read_bytes()
    ends = {len(stored) - 1, len(stored) - 16, HEADER + 16, HEADER + 1, HEADER, 3, 0}
    ends |= {HEADER + number * (CHUNK + 16) for number in range(4)}
    for end in sorted(end for end in ends if end < len(stored)):
        path.write_bytes(stored[:end])
        with pytest.raises(Undecryptable), RING.decrypt_file(path) as file:
            file.read()


def test_chunks_that_changed_places(tmp_path: Path) -> None:
    """A chunk belongs to its place, and to its file."""
    path = written(tmp_path / "file", os.urandom(3 * CHUNK))
    other = written(tmp_path / "other", os.urandom(3 * CHUNK))
    stored = path.read_bytes()
    first, second, rest = (stored[HEADER + n * (CHUNK + 16) :][: CHUNK + 16] for n in range(3))
    foreign = other.read_bytes()[HEADER : HEADER + CHUNK + 16]
    for chunks in ([second, first, rest], [foreign, second, rest], [first, first, rest], [first, second, second]):
        path.write_bytes(stored[:HEADER] + b"".join(chunks))
        with pytest.raises(Undecryptable), RING.decrypt_file(path) as file:
            file.read()


def test_other_keys(tmp_path: Path) -> None:
    """Old keys read, and the newest writes; an unknown one is said to be unknown, and no damage."""
    newer = new_key()
    both = Keyring([KEY, newer], newer)
    old, path = RING.encrypt(b"old"), written(tmp_path / "old", b"old file")
    assert both.decrypt(old) == b"old"
    with both.decrypt_file(path) as file:
        assert file.read() == b"old file"
    assert key_of(both.encrypt(b"new")) == newer.id
    with pytest.raises(UnknownKey):
        RING.decrypt(both.encrypt(b"new"))
    with pytest.raises(UnknownKey):
        Keyring([newer], newer).decrypt_file(path)
    with pytest.raises(ValueError, match="off"):
        Keyring([KEY], None).encrypt(b"x")
