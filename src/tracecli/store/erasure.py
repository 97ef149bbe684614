"""Erasing exchanges for good, and looking whether anything of them is left.

Only for the one process that ingests, between two rounds: everything that holds content is written anew without it.
Killed anywhere, doing it again does the rest.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import mmap
import os
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any
from uuid import UUID

import msgspec
import re2  # type: ignore[import-untyped]

from tracecli import keys, spool
from tracecli.cache.entries import Entries
from tracecli.config import Home
from tracecli.contents import pieces
from tracecli.exchange import Captured
from tracecli.store import bodies, exchanges, expiry, parquet
from tracecli.store.bodies import BODIES
from tracecli.store.connection import opened, transaction
from tracecli.store.engine import ENCRYPTED, scratchpad
from tracecli.store.holds import ON_HOLD
from tracecli.understanding import understand

ERASED = "content_erased"
"""The flag of a record whose content somebody had erased."""
_SAMPLED = 400
"""Of so many exchanges the ids and texts are looked for as bytes; in tables and Parquet files all ids are."""
_TEXTS_EACH = 3
_TEXT = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ,.;:_-]{22,46}[A-Za-z0-9]")
"""What stands in JSON, in SSE and in a file as it is."""
_LONGEST = 300
_BLOCK = 1 << 20
_PACKED = frozenset((".parquet", ".duckdb"))
_FEW = 30
"""So many markers are looked for in packed files: all of them at once take a second for 2 MB that look random."""


class Erased(msgspec.Struct, frozen=True, kw_only=True):
    """What was erased."""

    records: int
    """Exchanges of which nothing is left."""
    content: int
    """Exchanges that had content, which is gone."""
    answers: int
    """Of the cache."""
    quarantined: int
    """Files of what could not be read."""
    redacted: int | None = None
    """Exchanges of which something was taken out, and the rest stays; None: they were erased."""
    bytes: int
    """That the files of content are smaller."""


class Checked(msgspec.Struct, frozen=True, kw_only=True):
    """Where it was looked for, and what was found."""

    files: int
    bytes: int
    markers: int
    """Ids, names and pieces of text that were looked for as bytes in all files."""
    found: list[str]
    """What is left, and where: sentences without content."""


def held(home: Home, ids: Sequence[str]) -> set[str]:
    """Those of the exchanges that a hold keeps."""
    try:
        with opened(home) as connection:
            found = connection.execute(
                f"SELECT id::VARCHAR FROM exchange WHERE id IN ({_IDS}) AND {ON_HOLD}",  # noqa: S608 - text of ours only
                [parquet.as_list(ids)],
            ).fetchall()
    except FileNotFoundError:
        return set()
    return {identifier for (identifier,) in found}


_IDS = """SELECT unnest(from_json($1, '["UUID"]'))"""


class There(msgspec.Struct, frozen=True):
    """What there is to erase: counted before, for who was killed on the way counts less afterwards."""

    records: int
    content: int


def there(home: Home, ids: Sequence[str]) -> There:
    """How many of these exchanges are stored, and how many of them with content."""
    try:
        with opened(home) as connection:
            [counts] = connection.execute(
                f"SELECT count(*), count(*) FILTER ({exchanges.HELD})"  # noqa: S608 - text of ours only
                f" FROM exchange WHERE id IN ({_IDS})",
                [parquet.as_list(ids)],
            ).fetchall()
    except FileNotFoundError:
        return There(0, 0)
    return There(*counts)


def erase(
    home: Home, ids: Sequence[str], users: Sequence[str], sought: Markers, *, before: There, content_only: bool
) -> Erased:
    """Erase exchanges, or with `content_only` what was said in them; and what else is of them and of `users`.

    `before` is what there was. Raises StoreBusy, NewerDatabase or HomeError if that cannot be done now.
    """
    quarantined = forget_quarantined(home, sought)
    answers = expiry.forget_answers(home, ids, users)
    freed = 0
    if ids and home.database.exists():
        freed = bodies.forget(home, ids)
        if content_only:
            _empty(home, ids)
        expiry.write_anew(home, () if content_only else ids)
    return Erased(
        records=0 if content_only else before.records,
        content=before.content,
        answers=answers,
        quarantined=quarantined,
        bytes=freed,
    )


def _empty(home: Home, ids: Sequence[str]) -> None:
    """Take out of records what was said."""
    with opened(home, write=True) as connection, transaction(connection):
        # What a provider says of an error quotes what it was sent, and people quote it in comments.
        connection.execute(
            "UPDATE exchange SET error = NULL, comment = NULL, captured = NULL,"  # noqa: S608 - text of ours only
            " content_removed_at = coalesce(content_removed_at, now()),"
            f" flags = list_append(list_filter(flags, lambda flag: flag <> '{ERASED}'), '{ERASED}')"
            f" WHERE id IN ({_IDS})",
            [parquet.as_list(ids)],
        )


class Markers(msgspec.Struct, frozen=True):
    """What is looked for as bytes: taken before it is erased."""

    ids: list[bytes]
    """Of records, and whose they are."""
    texts: list[bytes]


def forget_quarantined(home: Home, sought: Markers) -> int:
    """Remove what ingest had set aside and holds a marker; returns how many files went."""
    pattern = _pattern([*sought.ids, *sought.texts])
    gone = [path for path in home.quarantine.rglob("*") if path.is_file() and _all(home, path, pattern)]
    for path in gone:
        path.unlink()
    return len(gone)


def markers(home: Home, ids: Sequence[str], users: Sequence[str]) -> Markers:
    """Ids of some of the exchanges in all their forms, the users, and pieces of what was said last in them."""
    step = max(1, len(ids) // _SAMPLED)
    some = sorted(ids)[::step][:_SAMPLED]
    return Markers(
        [
            *(b'"user":' + msgspec.json.encode(user) for user in users),
            *(form for identifier in some for form in _forms(identifier)),
        ],
        sorted({text for captured in _captured(home, some) for text in _last_texts(captured)}),
    )


def _forms(identifier: str) -> Iterator[bytes]:
    """An id as text, in the order of the network, and as DuckDB has it: little-endian, the first bit turned."""
    plain = UUID(identifier).bytes
    yield from (identifier.encode(), plain, bytes([plain[0] ^ 0x80, *plain[1:]])[::-1])


def _captured(home: Home, ids: Sequence[str]) -> Iterator[Captured]:
    try:
        for place in range(0, len(ids), 50):
            some = ids[place : place + 50]
            with opened(home) as connection:
                stored = exchanges.some(connection, some)
                places = bodies.candidates(connection, some)
            there = bodies.read(home, places, some)
            yield from (Captured(one.exchange, *there[one.row.id]) for one in stored if one.row.id in there)
    except FileNotFoundError:
        return


def _last_texts(captured: Captured) -> list[bytes]:
    """Of what was said last: what came before may be said in other exchanges, too."""
    understood, _ = understand(captured.exchange, captured.request_body, captured.response_body)
    said = list(pieces(captured, understood))
    found: list[bytes] = []
    for side in ("prompt", "completion"):
        last = next((piece.text for piece in reversed(said) if piece.side == side and piece.text), "")
        texts = _TEXT.findall(last)
        found += [text.encode() for text in (texts[:1] + texts[1:][-(_TEXTS_EACH - 1) :])]
    return found


def check(
    home: Home, ids: Sequence[str], sought: Markers, elsewhere: Sequence[Path] = (), *, content_only: bool
) -> Checked:
    """Look whether anything is left: of all ids in tables and Parquet files, of the markers in all bytes of all files
    of the home, and of those elsewhere.

    An id may stay where only the content was to go. For a process without another thread that has the database open.
    """
    found = list(_left(home, ids, content_only=content_only))
    wanted = [*sought.texts, *(() if content_only else sought.ids)]
    texts = _pattern(sought.texts)
    pattern, few = _pattern(wanted), wanted[:: max(1, len(wanted) // _FEW)]
    files = size = 0
    here = (path for path in home.root.rglob("*") if path.is_file() and not path.is_symlink())
    for path in [*sorted(here), *elsewhere]:
        if home.erasures in path.parents:
            continue  # what is under way names what it erases, to its end
        try:
            looked_for = texts if path == home.ledger else pattern  # who read what stays there, with the ids
            packed = not _PACKED.isdisjoint(path.suffixes)
            hits = _hits(home, path, few) if packed else _all(home, path, looked_for)
            size += path.stat().st_size
        except FileNotFoundError:  # it went, and with it what it held
            continue
        files += 1
        if hits:
            place = path.relative_to(home.root) if home.root in path.parents else path
            found.append(f"{hits} of the markers are in {place}")
    return Checked(files=files, bytes=size, markers=len(wanted), found=found)


def _hits(home: Home, path: Path, wanted: Sequence[bytes]) -> int:
    """How many of the markers a file holds."""
    if path.suffix == ENCRYPTED:
        with keys.opened(home, path) as file:
            plain = file.read()
        return sum(plain.find(marker) != -1 for marker in wanted)
    with path.open("rb") as file:
        if not os.fstat(file.fileno()).st_size:
            return 0
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            return sum(content.find(marker) != -1 for marker in wanted)


def _all(home: Home, path: Path, pattern: Any) -> int:
    """How many of the markers a file of text holds: all of them are looked for at once."""
    hits: set[bytes] = set()
    with _segment(home, path) if path.suffix == spool.SUFFIX else keys.opened(home, path) as file:
        kept = b""
        while pattern is not None and (block := file.read(_BLOCK)):
            hits.update(match.group() for match in pattern.finditer(kept + block))
            kept = (kept + block)[-_LONGEST:]
    return len(hits)


def _segment(home: Home, path: Path) -> IO[bytes]:
    """A segment as it is, and what is encrypted in it."""
    data = path.read_bytes()
    plain = [] if keys.ring(home) is None else list(spool.frames(home, path.stem, data))
    found = [one for one in plain if isinstance(one, Captured)]
    exchanges = [(msgspec.json.encode(one.exchange), one.request_body, one.response_body) for one in found]
    return io.BytesIO(b"\n".join([data, *itertools.chain.from_iterable(exchanges)]))


def _pattern(wanted: Sequence[bytes]) -> Any:
    if not wanted:
        return None
    options = re2.Options()
    options.encoding = re2.Options.Encoding.LATIN1
    options.log_errors = False
    options.max_mem = 256 << 20
    return re2.compile(b"|".join(b"".join(b"\\x%02x" % byte for byte in marker) for marker in wanted), options)


def _left(home: Home, ids: Sequence[str], *, content_only: bool) -> Iterator[str]:
    if not ids:
        return
    given = [parquet.as_list(ids)]
    names: list[str] = []
    try:
        with opened(home) as connection:
            for table, column in () if content_only else (("exchange", "id"), ("cost_change", "exchange_id")):
                query = f"SELECT count(*) FROM {table} WHERE {column} IN ({_IDS})"  # noqa: S608 - text of ours only
                [(number,)] = connection.execute(query, given).fetchall()
                if number:
                    yield f"{number} rows are in the table {table}"
            names = [name for (name,) in connection.execute("SELECT name FROM body_file").fetchall()]
    except FileNotFoundError:
        return
    if paths := parquet.paths(home.bodies, names):
        with scratchpad(home) as pad:
            query = f"SELECT count(*) FROM {BODIES} WHERE id IN ({_IDS.replace('$1', '$2')})"  # noqa: S608 - ours
            [(number,)] = parquet.fetched(pad, query, [paths, *given])
        if number:
            yield f"the bodies of {number} exchanges are in {home.bodies.name}"
    if home.cache.exists():
        gone = set(ids)
        with contextlib.closing(Entries(home.cache, sys.maxsize, keys.ring(home))) as entries:
            if number := sum(one.exchange_id in gone for one in entries.listed()):
                yield f"{number} answers are in the cache"
