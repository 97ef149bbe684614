"""SQL over what was recorded: the views of `store.views`, store and spool as one, read and never changed."""

from __future__ import annotations

import contextlib
import datetime as dt
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from tracecli import browse, files, finding, ledger, walking
from tracecli.config import Home
from tracecli.contents import arguments, pieces
from tracecli.exchange import Captured, Headers
from tracecli.query.syntax import EVERYTHING, Query
from tracecli.store import views
from tracecli.store.sandbox import Answer, Sandbox, sandbox
from tracecli.understanding import understand
from tracecli.wire.encodings import decode

TIMEOUT_S = 60.0


@contextlib.contextmanager
def answer(
    home: Home,
    statement: str,
    query: Query,
    now: dt.datetime,
    zone: dt.tzinfo | None = None,
    *,
    timeout_s: float = TIMEOUT_S,
    into: Path | None = None,
) -> Iterator[Answer]:
    """What a statement finds in the views of the exchanges that fit a query; `into` is a Parquet file to write it to.

    The bodies are read only if it asks for them, and that is noted in the ledger. Raises SqlError if it cannot be run,
    OSError if the file cannot be written, and what `finding.rows` raises.
    """
    with sandbox(home, zone) as box:
        wanted = box.asked_for(statement)
        content = [view for view in views.OF_CONTENT if view.name in wanted]
        record = browse.recorder(home)
        spooled = [(record(one), one) for one in browse.spooled(home)]
        only = None
        if content or query != EVERYTHING:
            with finding.selected(home, query, now, zone) as (found, condition):
                only = found.ids(condition) if query != EVERYTHING else None
                sizes = found.sizes(condition) if content else []
            stored = {identifier for identifier, _ in sizes}
            read: list[str] = []
            fits = set(only) if only is not None else None
            waiting = [one for _, one in spooled if one.exchange.id not in stored]
            read += _fill(box, content, [one for one in waiting if fits is None or one.exchange.id in fits])
            for batch in walking.batches(home, sizes):
                read += _fill(box, content, [captured for _, captured in batch if captured is not None])
            if read:  # in one line: of a statement it is not known which of them it shows
                ledger.note(home, ledger.READ, ledger.Running.name(), sorted(read))
        box.show([recorded for recorded, _ in spooled], only)
        with files.drafted(into) if into else contextlib.nullcontext() as draft:
            answer = box.ask(statement, timeout_s=timeout_s, into=draft)
        yield answer


def _fill(box: Sandbox, content: Sequence[views.View], captured: Iterable[Captured]) -> list[str]:
    """Add what some exchanges hold to the views of content that are asked for; returns their ids."""
    traced = [one for one in captured if one.exchange.traced]
    if not traced or not content:
        return []
    for view in content:
        rows = _messages(traced) if view is views.MESSAGES else _bodies(traced)
        box.fill(view, list(rows))
    return [one.exchange.id for one in traced]


def _messages(captured: Iterable[Captured]) -> Iterator[tuple[Any, ...]]:
    for one in captured:
        understood, _ = understand(one.exchange, one.request_body, one.response_body)
        said = (piece for piece in pieces(one, understood) if piece.message is not None)
        for (side, message), of_message in groupby(said, key=lambda piece: (piece.side, piece.message)):
            for place, piece in enumerate(of_message):
                text = arguments(piece)
                yield one.exchange.id, side, message, place, piece.role, piece.type, piece.name, piece.call_id, text


def _bodies(captured: Iterable[Captured]) -> Iterator[tuple[Any, ...]]:
    for one in captured:
        exchange = one.exchange
        yield exchange.id, "request", *_body(exchange.request_headers, exchange.request_cut, one.request_body)
        if exchange.status is not None:
            yield exchange.id, "response", *_body(exchange.response_headers, exchange.response_cut, one.response_body)


def _body(headers: Headers, cut: bool, raw: bytes) -> tuple[str | None, bool, str | None, bytes]:
    named = {name.lower(): value for name, value in headers}
    plain, error = decode(named.get("content-encoding"), raw)
    body = raw if error and not plain else plain
    try:
        text = body.decode()
    except UnicodeDecodeError:
        text = None
    return named.get("content-type"), cut, text, body
