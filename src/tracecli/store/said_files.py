"""What was said, in Parquet files: columns id UUID, role, type, name, call_id, text, sorted by id, zstd.

Bodies hold it too, as they came: in JSON, in thousands of events, encoded. Here it is as text, so that the database
engine looks for words, which takes a hundredth of the time. A row of a body file names its pieces: `prompt_said` and
`completion_said` UUID[], and beside them the place of each one's message, -1 where nothing was understood.

Agents send their history with every call. A piece that one of the last exchanges had is not stored again, as `Known`
remembers. No table of the database says which are stored: pieces are many and small, and it would outgrow them.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

import duckdb
import msgspec

from tracecli.config import Home
from tracecli.contents import Piece
from tracecli.store import parquet, pools

SAID = pools.Pool(lambda home: home.said, "said_file", "text_bytes", size="strlen(text)")
NOT_UNDERSTOOD = -1

_GIVEN = """
    SELECT unnest(from_json($1, '["UUID"]')) AS id,
        unnest(from_json($2, '["VARCHAR"]')) AS role,
        unnest(from_json($3, '["VARCHAR"]')) AS type,
        unnest(from_json($4, '["VARCHAR"]')) AS name,
        unnest(from_json($5, '["VARCHAR"]')) AS call_id,
        unnest($6::VARCHAR[]) AS text
"""


class Known:
    """Which of the latest pieces are stored, by their hash, and as what. For the one process that ingests."""

    MOST = 100_000

    def __init__(self) -> None:
        self._ids: OrderedDict[bytes, str] = OrderedDict()

    def get(self, name: bytes) -> str | None:
        """Its id, if it is one of the latest."""
        found = self._ids.get(name)
        if found is not None:
            self._ids.move_to_end(name)
        return found

    def add(self, ids: dict[bytes, str]) -> None:
        """These are stored."""
        self._ids.update(ids)
        while len(self._ids) > self.MOST:
            self._ids.popitem(last=False)

    def forget(self) -> None:
        """Some of them may not be there any more."""
        self._ids.clear()


@dataclass(frozen=True)
class Written:
    """The ids of the pieces of each exchange, and the files with those that were not known."""

    ids: list[list[str]]
    fresh: dict[bytes, str]
    files: list[pools.PoolFile]


def write(home: Home, connection: duckdb.DuckDBPyConnection, said: Sequence[Sequence[Piece]], known: Known) -> Written:
    """Write those pieces that are not known to new files; `connection` is a scratchpad."""
    fresh: dict[bytes, str] = {}
    rows: list[tuple[str, Piece, int]] = []
    new_ids = pools.new_ids()
    named: list[list[str]] = []
    for exchange in said:
        ids: list[str] = []
        for piece in map(_as_text, exchange):
            text = piece.text.encode()
            about = msgspec.json.encode((piece.role, piece.type, piece.name, piece.call_id, len(text)))
            name = hashlib.sha256(about + text).digest()[:16]
            identifier = fresh.get(name) or known.get(name)
            if identifier is None:
                identifier = fresh[name] = next(new_ids)
                rows.append((identifier, piece, len(text)))
            ids.append(identifier)
        named.append(ids)
    files: list[pools.PoolFile] = []
    try:
        for batch in pools.in_batches(rows, lambda row: row[2]):
            files.append(_write(home, connection, batch))
    except BaseException:
        pools.discard(home, SAID, files)
        raise
    return Written(named, fresh, files)


def _write(home: Home, connection: duckdb.DuckDBPyConnection, rows: Sequence[tuple[str, Piece, int]]) -> pools.PoolFile:
    ids = [identifier for identifier, _, _ in rows]
    pieces = [piece for _, piece, _ in rows]
    columns = [[getattr(piece, name) for piece in pieces] for name in ("role", "type", "name", "call_id")]
    given = [*map(parquet.as_list, [ids, *columns]), [piece.text for piece in pieces]]
    holds = (ids[0], ids[-1], len(ids))
    return pools.write(home, SAID, connection, _GIVEN, given, holds, sum(size for _, _, size in rows))


def _as_text(piece: Piece) -> Piece:
    """JSON may hold halves of characters, which are no text."""
    texts = (piece.role, piece.type, piece.name, piece.call_id, piece.text)
    if all(text is None or text.isascii() for text in texts):
        return piece
    role, kind, name, call, text = (text and text.encode("utf-8", "replace").decode() for text in texts)
    return piece._replace(role=role or "", type=kind, name=name, call_id=call, text=text or "")
