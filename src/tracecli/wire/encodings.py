"""Content codings (RFC 9110, 8.4) taken off bodies as they pass: gzip, deflate, br, zstd, stacked as listed.

Bytes may be split anywhere. Nothing raises: what could be decoded is returned, and `error` says what was wrong with the
rest. A body that decodes to far more than any real one does is a bomb and is cut: see `_MAX_RATIO`. No call allocates
much more than the limit, whatever the bytes, and `pieces` much less: see `_SLICE`.

mitmproxy's own decoder is not used: it returns part of a truncated gzip without a word and reads one of many members.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from typing import Any, Protocol

DEFAULT_LIMIT = 64 << 20

# Input goes to a decoder in slices. It bounds what one step can allocate (deflate: 1,032 times the slice; zstd: a block
# of at most 128 KiB takes 4 bytes, so 16 MiB; brotli has no such bound and takes a limit), and where a body turns out
# to be corrupt, only what the last slice held is lost.
_SLICE = 512
_BROTLI_PIECE = 256 << 10
# What a body may decode to: this much in any case, and beyond that so many times its own size. A stream of which each
# event is flushed, all of them alike, comes to 70 times at most (gzip, br and zstd, events of 800 bytes).
_FREE_BYTES = 8 << 20
_MAX_RATIO = 200
# A decoder must accept windows up to this size, and need not accept larger ones (RFC 9659).
_ZSTD_WINDOW = 8 << 20


class Decoder:
    """Takes the codings of one body off, in the reverse of the order in which the header lists them.

    `error` is None or one of "truncated", "corrupt", "too large", "unknown encoding X". The body of an unknown coding
    is handed on as it is: servers have been seen that name a character set there.
    """

    def __init__(self, content_encoding: str | None, limit: int = DEFAULT_LIMIT) -> None:
        self.error: str | None = None
        self._room = limit
        self._credit = _FREE_BYTES
        self._stopped = False
        self._codings: list[_Coding] = []
        for part in reversed((content_encoding or "").split(",")):
            name = part.strip().lower()
            if name in _CODINGS:
                self._codings.append(_CODINGS[name]())
            elif name not in ("", "identity"):
                self.error = f"unknown encoding {name[:40]}"
                self._codings = []
                break

    def feed(self, data: bytes) -> bytes:
        """The decoded bytes that are available now."""
        decoded = list(self.pieces(data))
        return decoded[0] if len(decoded) == 1 else b"".join(decoded)

    def pieces(self, data: bytes) -> Iterator[bytes]:
        """The same one after the other, to be taken all: what was encoded comes in pieces of at most 16 MiB."""
        self._credit += len(data) * _MAX_RATIO
        try:
            for piece in self._through(0, data) if not self._stopped else ():
                room = min(self._room, self._credit)
                self._room -= len(piece)
                self._credit -= len(piece)
                if len(piece) > room:
                    self.error, self._stopped = "too large", True
                    yield piece[:room]
                    return
                yield piece
        except _Corrupt:
            self.error, self._stopped = "corrupt", True

    def finish(self) -> bytes:
        """Say that the body has ended; sets `error` if it ended early. Nothing is ever held back."""
        if self.error is None and any(coding.unfinished for coding in self._codings):
            self.error = "truncated"
        self._stopped = True
        return b""

    def _through(self, stage: int, data: bytes) -> Iterator[bytes]:
        """`data` through the codings from `stage` on, a piece at a time."""
        if stage == len(self._codings):
            yield data
            return
        for start in range(0, len(data), _SLICE):
            for piece in self._codings[stage].feed(data[start : start + _SLICE]):
                yield from self._through(stage + 1, piece)


def decode(content_encoding: str | None, data: bytes, limit: int = DEFAULT_LIMIT) -> tuple[bytes, str | None]:
    """A whole body without its codings, and what was wrong with it; see `Decoder`."""
    decoder = Decoder(content_encoding, limit)
    decoded = decoder.feed(data)
    decoder.finish()
    return decoded, decoder.error


class _Corrupt(Exception):
    pass


class _Coding(Protocol):
    @property
    def unfinished(self) -> bool:
        """Whether more bytes had to come. Nothing at all is a whole body: answers to HEAD have none."""

    def feed(self, data: bytes) -> Iterator[bytes]:
        """What `data` decodes to; raises `_Corrupt`."""


class _Gzip:
    """Members one after the other (RFC 1952, 2.2), zero bytes between them skipped as gzip(1) does."""

    def __init__(self) -> None:
        self._member: zlib._Decompress | None = None
        self._members = 0

    @property
    def unfinished(self) -> bool:
        return self._member is not None

    def feed(self, data: bytes) -> Iterator[bytes]:
        while data:
            if self._member is None:
                data = data.lstrip(b"\0") if self._members else data
                if not data:
                    return
                self._member = zlib.decompressobj(wbits=31)
                self._members += 1
            yield _inflated(self._member, data)
            if not self._member.eof:
                return
            data = self._member.unused_data
            self._member = None


class _Deflate:
    """A zlib stream as RFC 9110 asks for, or the bare deflate that some servers send under the same name."""

    def __init__(self) -> None:
        self._start = b""
        self._inflate: zlib._Decompress | None = None

    @property
    def unfinished(self) -> bool:
        return bool(self._start) if self._inflate is None else not self._inflate.eof

    def feed(self, data: bytes) -> Iterator[bytes]:
        if self._inflate is None:
            data = self._start + data
            if len(data) < 2:
                self._start = data
                return
            is_zlib = data[0] & 0x0F == 8 and (data[0] << 8 | data[1]) % 31 == 0  # RFC 1950, 2.2
            self._inflate = zlib.decompressobj(wbits=15 if is_zlib else -15)
        elif self._inflate.eof:
            raise _Corrupt
        yield _inflated(self._inflate, data)
        if self._inflate.unused_data:
            raise _Corrupt


def _inflated(inflate: zlib._Decompress, data: bytes) -> bytes:
    try:
        return inflate.decompress(data)
    except zlib.error:
        raise _Corrupt from None


class _Brotli:
    """RFC 7932."""

    def __init__(self) -> None:
        import brotli  # type: ignore[import-untyped]

        self._error: type[Exception] = brotli.error
        self._decompressor: Any = brotli.Decompressor()
        self._begun = False

    @property
    def unfinished(self) -> bool:
        return self._begun and not self._decompressor.is_finished()

    def feed(self, data: bytes) -> Iterator[bytes]:
        self._begun = True
        try:
            yield self._decompressor.process(data, output_buffer_limit=_BROTLI_PIECE)
            while not self._decompressor.can_accept_more_data():
                yield self._decompressor.process(b"", output_buffer_limit=_BROTLI_PIECE)
        except self._error:
            raise _Corrupt from None


class _Zstd:
    """Frames one after the other (RFC 8878, 3.1)."""

    def __init__(self) -> None:
        import zstandard

        self._error: type[Exception] = zstandard.ZstdError
        self._decompressor = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW)
        self._frame: Any = None

    @property
    def unfinished(self) -> bool:
        return self._frame is not None

    def feed(self, data: bytes) -> Iterator[bytes]:
        while data:
            if self._frame is None:
                self._frame = self._decompressor.decompressobj()
            try:
                yield self._frame.decompress(data)
            except self._error:
                raise _Corrupt from None
            if not self._frame.eof:
                return
            data = self._frame.unused_data
            self._frame = None


_CODINGS: dict[str, Callable[[], _Coding]] = {
    "gzip": _Gzip,
    "x-gzip": _Gzip,
    "deflate": _Deflate,
    "br": _Brotli,
    "zstd": _Zstd,
}
