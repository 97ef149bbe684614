"""Encryption of what was recorded: AES-256-GCM, with a key of its own for each message and each file.

A message is

    magic 4 bytes | id of the data key 8 | salt 16 | ciphertext | tag 16

and a file the same with many chunks of `CHUNK` bytes, each with its tag, so that it can be read from anywhere. A chunk
is bound to its place and to whether it is the last one, by its nonce: a file that was cut, or in which chunks changed
places, cannot be read (the STREAM construction, https://eprint.iacr.org/2015/189). The key of a message or file is
BLAKE2b of its salt, keyed with the data key: no nonce can come twice under one key.
"""

from __future__ import annotations

import hashlib
import io
import os
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

KEY_BYTES = 32
CHUNK = 1 << 16
MESSAGE = b"\x00tcm"
FILE = b"\x00tcf"
"""What a message and a file begin with."""

_ID_BYTES = 8
_SALT_BYTES = 16
_HEADER_BYTES = 4 + _ID_BYTES + _SALT_BYTES
_TAG_BYTES = 16
OVERHEAD = _HEADER_BYTES + _TAG_BYTES
"""So many bytes a message is longer than what is in it."""
_NONCE = struct.Struct(">Q?3x")


class Undecryptable(Exception):
    """It was changed, or cut, or is none of ours."""


class UnknownKey(Exception):
    """It was encrypted with a data key that is not on the ring."""


class DataKey(NamedTuple):
    """What content is encrypted with."""

    id: bytes
    secret: bytes


def new_key() -> DataKey:
    """One that nobody has."""
    return DataKey(os.urandom(_ID_BYTES), os.urandom(KEY_BYTES))


class Keyring:
    """The data keys of a home."""

    def __init__(self, keys: Sequence[DataKey], newest: DataKey | None) -> None:
        """`newest` is what new content is encrypted with; None: with nothing."""
        self._keys = {key.id: key for key in keys}
        self.newest = newest

    def encrypt(self, data: bytes, about: bytes = b"") -> bytes:
        """A message, bound to what it is about: it can be decrypted with the same `about` only."""
        header, cipher = self._begun(MESSAGE)
        return header + cipher.encrypt(_NONCE.pack(0, True), data, about)

    def decrypt(self, message: bytes, about: bytes = b"") -> bytes:
        """What is in a message. Raises Undecryptable or UnknownKey."""
        return _plain(self.opened(message, MESSAGE), 0, True, message[_HEADER_BYTES:], about)

    def encrypt_file(self, path: Path) -> Writer:
        """A new file to write to. Raises FileExistsError, or OSError."""
        begun = self._begun(FILE)
        return Writer(open(path, "xb", opener=_private), *begun)

    def decrypt_file(self, path: Path) -> Reader:
        """A file to read from. Raises FileNotFoundError, Undecryptable or UnknownKey."""
        return Reader(path.open("rb"), self)

    def _begun(self, magic: bytes) -> tuple[bytes, AESGCM]:
        if self.newest is None:
            raise ValueError("encryption is off")
        salt = os.urandom(_SALT_BYTES)
        return magic + self.newest.id + salt, _cipher(self.newest, salt)

    def opened(self, header: bytes, magic: bytes) -> AESGCM:
        """The cipher of a message or file that begins like this. Raises Undecryptable or UnknownKey."""
        if len(header) < OVERHEAD or not header.startswith(magic):
            raise Undecryptable("it is too short, or no encrypted content")
        identifier = key_of(header)
        if identifier not in self._keys:
            raise UnknownKey(identifier.hex())
        return _cipher(self._keys[identifier], header[_HEADER_BYTES - _SALT_BYTES : _HEADER_BYTES])


def key_of(header: bytes) -> bytes:
    """The id of the data key of a message or file that begins like this."""
    return header[4 : 4 + _ID_BYTES]


def _cipher(key: DataKey, salt: bytes) -> AESGCM:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # most homes do without, and start faster

    return AESGCM(hashlib.blake2b(salt, key=key.secret, digest_size=KEY_BYTES, person=b"tracecli-content").digest())


def _plain(cipher: AESGCM, number: int, last: bool, stored: bytes, about: bytes = b"") -> bytes:
    """A chunk. Raises Undecryptable."""
    from cryptography.exceptions import InvalidTag

    try:
        return cipher.decrypt(_NONCE.pack(number, last), stored, about)
    except InvalidTag as error:
        raise Undecryptable("it was changed, or cut") from error


class Writer(io.RawIOBase):
    """An encrypted file that is written from its beginning to its end. It is whole once it is closed."""

    def __init__(self, file: BinaryIO, header: bytes, cipher: AESGCM) -> None:
        self._file = file
        self._cipher = cipher
        self._number = 0
        self._rest = bytearray()
        self._length = 0
        self._file.write(header)

    def writable(self) -> bool:
        return True

    def write(self, data: object) -> int:
        """Add bytes; returns how many."""
        view = memoryview(data).cast("B")  # type: ignore[arg-type]
        self._rest += view
        self._length += len(view)
        while len(self._rest) > CHUNK:
            self._chunk(bytes(self._rest[:CHUNK]), last=False)
            del self._rest[:CHUNK]
        return len(view)

    def tell(self) -> int:
        return self._length

    def close(self) -> None:
        """Write the last chunk. Idempotent."""
        if self.closed:
            return
        try:
            self._chunk(bytes(self._rest), last=True)
        finally:
            self._file.close()
            super().close()

    def _chunk(self, plain: bytes, *, last: bool) -> None:
        self._file.write(self._cipher.encrypt(_NONCE.pack(self._number, last), plain, b""))
        self._number += 1


class Reader(io.RawIOBase):
    """An encrypted file as what is in it, to be read from anywhere."""

    def __init__(self, file: BinaryIO, ring: Keyring) -> None:
        self._file = file
        try:
            self._cipher = ring.opened(self._file.read(OVERHEAD), FILE)
            stored = os.fstat(self._file.fileno()).st_size - _HEADER_BYTES
            self._chunks = -(-stored // (CHUNK + _TAG_BYTES))
            self.size = stored - self._chunks * _TAG_BYTES
            """Bytes of what is in it."""
            self._at = 0
            self._last: tuple[int, bytes] = (-1, b"")
            self._chunk(self._chunks - 1)  # that it is the last one shows that none was cut off
        except BaseException:
            self._file.close()
            raise

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self.size}[whence]
        self._at = max(0, start + offset)
        return self._at

    def read(self, size: int | None = -1) -> bytes:
        """The next bytes, as many as there are up to `size`. Raises Undecryptable."""
        end = self.size if size is None or size < 0 else min(self.size, self._at + size)
        pieces: list[bytes] = []
        while self._at < end:
            number, place = divmod(self._at, CHUNK)
            piece = self._chunk(number)[place : place + end - self._at]
            pieces.append(piece)
            self._at += len(piece)
        return b"".join(pieces)

    def close(self) -> None:
        self._file.close()
        super().close()

    def _chunk(self, number: int) -> bytes:
        if self._last[0] != number:
            place = _HEADER_BYTES + number * (CHUNK + _TAG_BYTES)
            stored = os.pread(self._file.fileno(), CHUNK + _TAG_BYTES, place)
            plain = _plain(self._cipher, number, number == self._chunks - 1, stored)
            self._last = number, plain
        return self._last[1]


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CLOEXEC, 0o600)
