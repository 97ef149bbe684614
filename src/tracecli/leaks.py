"""Looking through everything that a home holds for the credentials that passed.

Of a credential only its keyed fingerprint is kept, so nothing here knows any: whatever looks like one in a file is
fingerprinted, and compared. Files are looked at as bytes, and unpacked: bodies as they were recorded and without their
content encoding, and all tables of the database.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterator
from pathlib import Path

import msgspec

from tracecli import browse, keys, walking, working
from tracecli.config import Home
from tracecli.credentials import fingerprint_of
from tracecli.errors import HomeError
from tracecli.exchange import Captured, Headers
from tracecli.store import texts
from tracecli.wire.encodings import decode

_TOKEN = re.compile(rb"[A-Za-z0-9_.~+/=%:-]{16,512}")
_BETWEEN = re.compile(rb"[=:/%+.]+")
"""What may stand beside a credential, or in it: looked at with and without."""
_BLOCK = 4 << 20
_LONGEST = 512
_REMEMBERED = 200_000
_EVER = dt.datetime(1970, 1, 2, tzinfo=dt.UTC)


class Leak(msgspec.Struct, frozen=True):
    """A credential that is where none should be."""

    place: str
    """A file, or an exchange, or a table."""
    credential: str
    """Its fingerprint."""


class Looked(msgspec.Struct, kw_only=True):
    """What was looked at, and found."""

    credentials: int
    """So many were known by their fingerprints."""
    files: int = 0
    bytes: int = 0
    exchanges: int = 0
    found: list[Leak] = []


def look(home: Home) -> Looked:
    """Look through everything.

    Raises StoreBusy, NewerDatabase or HomeError if the home cannot be read.
    """
    known = texts.fingerprints(home) | {
        one.exchange.credential for one in browse.spooled(home) if one.exchange.credential is not None
    }
    done = Looked(credentials=len(known), found=[])
    if not known:
        return done
    try:
        secret = home.secret.read_bytes()
    except OSError as error:
        raise HomeError(
            f"cannot read {home.secret}: {error.strerror}", "Without it no credential can be recognised."
        ) from error
    search = _Search(known, secret)
    found: dict[Leak, None] = {}
    for path in sorted(path for path in home.root.rglob("*") if path.is_file() and not path.is_symlink()):
        if path == home.secret:
            continue
        for content in _content(home, path):
            done.bytes += len(content)
            found |= {Leak(str(path.relative_to(home.root)), one): None for one in search.within(content, loose=True)}
        done.files += 1
        working.told(done.files, None, "files")
    for name, rows in texts.tables(home):
        found |= {Leak(f"table {name}", one): None for one in search.within(rows.encode("utf-8", "replace"))}
    for captured in _captured(home):
        done.exchanges += 1
        exchange = captured.exchange
        for headers, body in (
            (exchange.request_headers, captured.request_body),
            (exchange.response_headers, captured.response_body),
        ):
            found |= {Leak(f"exchange {exchange.id}", one): None for one in search.within(_plain(headers, body))}
    done.found = list(found)
    return done


class _Search:
    def __init__(self, known: set[str], secret: bytes) -> None:
        self._known = known
        self._secret = secret
        self._none: set[bytes] = set()
        """What was looked at and is none; much comes again and again."""

    def within(self, content: bytes, *, loose: bool = False) -> Iterator[str]:
        """The fingerprints of the credentials in it; `loose`: a byte or two beside one may happen to be letters."""
        for token in set(_TOKEN.findall(content)):
            pieces = {token, *(piece for piece in _BETWEEN.split(token) if len(piece) >= 16)}
            pieces |= {token.rstrip(b"=:/.+"), token.lstrip(b"=:/.+")}
            if b"=" in token:
                pieces |= {token.partition(b"=")[2], token.rpartition(b"=")[2]}
            if loose:
                pieces |= {token[first : len(token) - last] for first in range(3) for last in range(3)}
            for piece in pieces:
                if len(piece) < 16 or piece in self._none:
                    continue
                found = fingerprint_of(piece.decode("ascii"), self._secret)
                if found in self._known:
                    yield found
                elif len(self._none) < _REMEMBERED:
                    self._none.add(piece)


def _content(home: Home, path: Path) -> Iterator[bytes]:
    """A file block by block, each with the end of the one before. What a file that goes held is in another."""
    try:
        with keys.opened(home, path) as file:
            kept = b""
            while block := file.read(_BLOCK):
                yield kept + block
                kept = block[-_LONGEST:]
    except FileNotFoundError:
        return


def _captured(home: Home) -> Iterator[Captured]:
    for batch in walking.walk(home, _EVER):
        yield from (captured for _, captured in batch if captured is not None)
    yield from (one for one in browse.spooled(home) if one.exchange.traced)


def _plain(headers: Headers, body: bytes) -> bytes:
    encoding = next((value for name, value in headers if name.lower() == "content-encoding"), None)
    plain, error = decode(encoding, body)
    return body if error else plain
