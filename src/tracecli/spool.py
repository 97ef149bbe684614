"""The spool: append-only files ("segments") that carry exchanges from the proxy to ingest.

One writer owns a segment, `<uuid7>.seg`, and holds a lock on it (flock) while it grows. Sealing it is bringing it to
the disk and letting the lock go; if the writer dies, the lock goes too. A segment whose lock is free is finished. Its
name never changes: a reader that lists the folder during a rename could miss it under both names.

A segment is a row of frames. A frame is a header of 24 bytes, little-endian, and three parts:

    marker 8 bytes | meta length u32 | request length u32 | response length u32 | CRC-32 u32 | meta | request | response

The marker is a hash of the segment's name, so recorded content cannot contain something that looks like a frame of its
own segment; after damage, reading goes on at the next marker. The CRC covers lengths and parts. Meta is an `Exchange`
as JSON; the other two are the bodies as they were on the wire. In an encrypted home the marker is another one, and the
three parts are one message (`encryption`), bound to marker and lengths, and longer than they are by `OVERHEAD`.

A segment may be read while it grows and after its writer was killed: a torn last frame is reported as damage, and is
merely not there yet if the writer lives.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import itertools
import os
import stat
import struct
import threading
import time
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec

from tracecli import files, keys
from tracecli.config import PRIVATE_FILE, Home
from tracecli.encryption import OVERHEAD, Keyring
from tracecli.exchange import RECORD_VERSION, Captured, Exchange, new_id

_HEADER = struct.Struct("<8sIIII")
_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Exchange)

SUFFIX = ".seg"


@dataclass(frozen=True)
class Damage:
    """Bytes of a segment that are no frame, or a frame of which the meta cannot be read."""

    offset: int
    length: int
    reason: str


def _marker(segment: str, *, encrypted: bool = False) -> bytes:
    """The frame marker of a segment, from its name without suffix."""
    person = b"tracecli-spool-e" if encrypted else b"tracecli-spool"
    return hashlib.blake2b(segment.encode(), digest_size=8, person=person).digest()


def _checksum(lengths: bytes, *parts: bytes) -> int:
    crc = zlib.crc32(lengths)
    for part in parts:
        crc = zlib.crc32(part, crc)
    return crc


_NO_MORE_FILES = (errno.EMFILE, errno.ENFILE)
_PROBE_BYTES = 1 << 20
_MEASURE_S = 1.0


class SpoolWriter:
    """Appends exchanges to segments of its own. `append` never raises: what cannot be written is counted.

    `append` is called from the proxy's event loop, `tick` and `close` from anywhere.
    """

    def __init__(
        self,
        folder: Path,
        *,
        seal_after_s: float = 1.0,
        seal_bytes: int = 8 << 20,
        max_bytes: int | None = None,
        ring: Keyring | None = None,
    ) -> None:
        """`max_bytes` is what may wait in the folder, of all writers; None is no limit."""
        self.folder = folder
        self.ring = ring
        """The keys of the home. Another one is for the next segment."""
        self.max_bytes = max_bytes
        self.crowded = False
        """More waits than `max_bytes`: what comes is to be without content."""
        self._full_up = False
        self._measured = -_MEASURE_S
        self.seal_after_s = seal_after_s
        self.seal_bytes = seal_bytes
        self.written = 0
        self.lost = 0
        self.last_error: str | None = None
        self.failing = False
        """The last write failed, and none would succeed as far as is known."""
        self._lock = threading.Lock()
        self._spare = _Spare()
        self._left_over = True
        self._segment: _Segment | None = None
        self._full: list[_Segment] = []

    def append(self, captured: Captured) -> bool:
        """Write one exchange; False, and counted in `lost`, if that failed."""
        with self._lock:
            if self._full_up:
                self.lost += 1
                self.last_error = "too much waits to be loaded"
                return False
            try:
                if self._segment is None:
                    self._segment = self._new_segment()
                self._segment.append(captured)
                if self._segment.size >= self.seal_bytes:
                    self._full.append(self._segment)
                    self._segment = None
            except (OSError, ValueError) as error:
                self._refuse(error)
                return False
            self.written += 1
            self.failing = False
            return True

    def _new_segment(self) -> _Segment:
        try:
            return _Segment(self.folder, self.ring)
        except OSError as error:
            if error.errno not in _NO_MORE_FILES or not self._spare.give_up():
                raise
            return _Segment(self.folder, self.ring)

    def _refuse(self, error: Exception) -> None:
        self.lost += 1
        self.failing = True
        self.last_error = f"{type(error).__name__}: {error}"
        if self._segment is not None and self._segment.broken:
            self._full.append(self._segment)
            self._segment = None

    def tick(self) -> None:
        """Bring what was written to the disk, and seal segments that are due. Call it a few times a second."""
        if self._left_over:
            self._left_over = False
            _bring_to_disk(self.folder)
        if self.failing:
            self.failing = not self._could_write()
        self._measure()
        with self._lock:
            segment = self._segment
            if segment is not None and time.monotonic() - segment.born >= self.seal_after_s:
                self._full.append(segment)
                self._segment = segment = None
            due, self._full = self._full, []
        if segment is not None:
            with contextlib.suppress(OSError, ValueError):  # sealed meanwhile: its sealing synchronises it
                segment.to_disk()
        for full in due:
            self._seal(full)
        with self._lock:
            self._spare.keep()

    def _measure(self) -> None:
        """See how much waits. What there is when nothing may be added any more leaves room for usage records."""
        if self.max_bytes is None:
            self.crowded = self._full_up = False
            return
        if time.monotonic() < self._measured + _MEASURE_S:
            return
        self._measured = time.monotonic()
        try:
            waiting = segments(self.folder)
        except OSError:  # then nothing can be written either, and that is told
            return
        size = 0
        for path in waiting:
            with contextlib.suppress(OSError):  # ingested this moment
                size += path.stat().st_size
        self.crowded = size > self.max_bytes
        self._full_up = size > self.max_bytes + self.max_bytes // 4

    def close(self) -> None:
        """Seal everything. Appending afterwards opens a new segment, which ingest takes once this process has ended."""
        with self._lock:
            due, self._full = self._full, []
            if self._segment is not None:
                due.append(self._segment)
                self._segment = None
        for segment in due:
            self._seal(segment)
        with self._lock:
            self._spare.close()

    def _could_write(self) -> bool:
        """Whether the folder takes a file of some size again."""
        probe = self.folder / f".{new_id()}"
        try:
            with probe.open("xb") as file:
                os.posix_fallocate(file.fileno(), 0, _PROBE_BYTES)
        except OSError:
            return False
        finally:
            with contextlib.suppress(OSError):
                probe.unlink()
        return True

    def _seal(self, segment: _Segment) -> None:
        try:
            segment.to_disk()
        except OSError as error:
            self.last_error = f"{type(error).__name__}: {error}"
        with self._lock:
            self._spare.close_or_take(segment.file)


class _Spare:
    """A file that is held back: where a process may open no more, it makes room for one."""

    def __init__(self) -> None:
        self._nothing: int | None = None
        """Open for nothing, and what the one that is held back is a copy of."""
        self._held: int | None = None

    def keep(self) -> None:
        """Hold one back, unless no more can be open."""
        with contextlib.suppress(OSError):
            if self._nothing is None:
                self._nothing = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
            if self._held is None:
                self._held = os.dup(self._nothing)

    def give_up(self) -> bool:
        """Make room for one; whether there was one."""
        if self._held is None:
            return False
        os.close(self._held)
        self._held = None
        return True

    def close_or_take(self, file: int) -> None:
        """Close a file. If none is held back, its number is, and never free in between for a connection to take."""
        if self._nothing is None or self._held is not None:
            with contextlib.suppress(OSError):
                os.close(file)
            return
        os.dup2(self._nothing, file, inheritable=False)
        self._held = file

    def close(self) -> None:
        """Hold nothing back any more."""
        self.give_up()
        if self._nothing is not None:
            os.close(self._nothing)
            self._nothing = None


def _bring_to_disk(folder: Path) -> None:
    """What killed writers left: else a power cut that comes a while later would take the last they wrote."""
    with contextlib.suppress(OSError):
        for path in segments(folder):
            with contextlib.suppress(FileNotFoundError):  # ingested this moment
                files.to_disk(path)
        files.to_disk(folder)


class _Segment:
    """An open segment file, locked for as long as it is open."""

    def __init__(self, folder: Path, ring: Keyring | None) -> None:
        name = new_id()
        self.ring = ring if ring and ring.newest else None
        self.marker = _marker(name, encrypted=self.ring is not None)
        self.born = time.monotonic()
        self.size = 0
        self.broken = False
        self._folder = folder
        self._named = False
        """Its name is on the disk: without one, its bytes would be lost in a power cut."""
        draft = folder / f".{name}"
        self.file = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, PRIVATE_FILE)
        try:
            # Locked before it has its name: a segment without a lock is taken for finished.
            fcntl.flock(self.file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            draft.rename(folder / (name + SUFFIX))
        except OSError:
            os.close(self.file)
            raise

    def append(self, captured: Captured) -> None:
        meta = _encoder.encode(captured.exchange)
        parts: tuple[bytes, ...] = (meta, captured.request_body, captured.response_body)
        lengths = struct.pack("<III", *map(len, parts))
        if self.ring is not None:
            parts = (self.ring.encrypt(b"".join(parts), self.marker + lengths),)
        frame = [self.marker + lengths + struct.pack("<I", _checksum(lengths, *parts)), *parts]
        total = _HEADER.size + sum(map(len, parts))
        try:
            done = os.writev(self.file, frame)
            if done < total:
                self._write_rest(b"".join(frame)[done:])
        except OSError:
            self._take_back()
            raise
        self.size += total

    def _write_rest(self, rest: bytes) -> None:
        view = memoryview(rest)
        while view:
            view = view[os.write(self.file, view) :]

    def _take_back(self) -> None:
        """Cut a half-written frame off. If even that fails, the segment is given up: its reader skips the damage."""
        try:
            os.ftruncate(self.file, self.size)
        except OSError:
            self.broken = True

    def to_disk(self) -> None:
        os.fdatasync(self.file)
        if not self._named:
            files.to_disk(self._folder)
            self._named = True


def segments(folder: Path) -> list[Path]:
    """All segments of a spool, oldest first, finished or not."""
    return _there(folder)[0]


def strange(folder: Path) -> list[Path]:
    """What has the name of a segment and is none, as a link, a pipe, a folder, a file of another user: left alone."""
    return _there(folder)[1]


def _there(folder: Path) -> tuple[list[Path], list[Path]]:
    """Segments, and what only looks like them."""
    try:
        trusted = {folder.stat().st_uid, os.geteuid(), 0}
        named = sorted(path for path in folder.iterdir() if path.suffix == SUFFIX and not path.name.startswith("."))
    except FileNotFoundError:
        return [], []
    found: tuple[list[Path], list[Path]] = [], []
    for path in named:
        with contextlib.suppress(FileNotFoundError):  # ingested this moment
            about = path.lstat()
            found[not stat.S_ISREG(about.st_mode) or about.st_uid not in trusted].append(path)
    return found


def _opened(segment: Path) -> int:
    """A segment, open for reading. Raises OSError; never waits, and follows no link."""
    return os.open(segment, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)


def content(segment: Path) -> bytes:
    """The bytes of a segment. Raises FileNotFoundError if it is gone."""
    with os.fdopen(_opened(segment), "rb") as file:
        return file.read()


def is_finished(segment: Path) -> bool:
    """Whether nobody writes to the segment any more."""
    try:
        file = _opened(segment)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return False
    else:
        return True
    finally:
        os.close(file)


def read(home: Home, segment: Path) -> Iterator[Captured | Damage]:
    """What a segment of a home holds, in order.

    Raises FileNotFoundError if it is gone: it was ingested; NoKey if it is encrypted, and its key is not to be had.
    """
    return frames(home, segment.stem, content(segment))


def frames(home: Home, name: str, data: bytes) -> Iterator[Captured | Damage]:
    """The frames in the bytes of the segment `name`; damaged stretches are reported and skipped. Raises NoKey."""
    reader = _Frames(home, name, data)
    at = 0
    while at < len(data):
        found = reader.at(at)
        if isinstance(found, str):
            next_at = reader.resumed(at + 1)
            yield Damage(at, next_at - at, found)
            at = next_at
            continue
        captured, end = found
        yield captured if captured is not None else Damage(at, end - at, "the meta part is no exchange of this version")
        at = end


class _Frames:
    """The bytes of a segment, of which each frame is encrypted or not."""

    def __init__(self, home: Home, name: str, data: bytes) -> None:
        self._home = home
        self._data = data
        self._plain = _marker(name)
        self._encrypted = _marker(name, encrypted=True)

    def resumed(self, at: int) -> int:
        """Where the next whole frame starts, or the end."""
        marker = self._encrypted if self._data.find(self._encrypted, at) != -1 else self._plain
        while (at := self._data.find(marker, at)) != -1:
            if not isinstance(self.at(at), str):
                return at
            at += 1
        return len(self._data)

    def at(self, at: int) -> tuple[Captured | None, int] | str:
        """The frame at `at` and its end; None for an unreadable exchange in a whole frame; or why there is none."""
        data = self._data
        if len(data) - at < _HEADER.size:
            return "torn header"
        marker, meta, request, response, crc = _HEADER.unpack_from(data, at)
        if marker not in (self._plain, self._encrypted):
            return "no frame"
        start = at + _HEADER.size
        content = start, start + meta, start + meta + request, start + meta + request + response
        end = content[-1] + (OVERHEAD if marker == self._encrypted else 0)
        if end > len(data):
            return "torn frame"
        about = data[at : at + 20]
        if _checksum(about[8:], data[start:end]) != crc:
            return "wrong checksum"
        parts = [data[a:b] for a, b in itertools.pairwise(content)]
        if marker == self._encrypted:
            try:
                plain = keys.revealed(self._home, data[start:end], about)
            except keys.Changed:
                return "it was changed"
            parts = [plain[a - start : b - start] for a, b in itertools.pairwise(content)]
        try:
            exchange = _decoder.decode(parts[0])
        except msgspec.DecodeError:
            return None, end
        if exchange.version > RECORD_VERSION:
            return None, end
        return Captured(exchange, parts[1], parts[2]), end
