"""Exchanges that fit a query: store and spool as one, words in contents included.

Conditions on metadata are the database's work. Words are looked for in the texts that ingest has stored beside the
bodies. Where these are few, or the texts are not stored, the bodies are read: first the bytes, where words must be if
they are in a text that was sent as JSON, then the texts as they are understood.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import heapq
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from tracecli import browse, ledger, walking, working
from tracecli.config import Home
from tracecli.contents import Looked, Match, expression, look, matches
from tracecli.exchange import Captured, Opened, Row
from tracecli.query import sql
from tracecli.query.syntax import EVERYTHING, Is, Query, Term
from tracecli.recorded import Recorded
from tracecli.store.hearing import Sought, heard
from tracecli.store.selection import Condition, Selection, selection
from tracecli.store.shortfalls import Shortfall
from tracecli.store.shortfalls import shortfalls as _shortfalls
from tracecli.store.statistics import Group, Groups, Order, first_groups, grouped

_FEW_BYTES = 4_000_000
"""So many bytes of bodies are looked at sooner than texts of others are passed over."""
PAGE = 5000
"""Rows that are read at once, where there are more."""
_AT_ONCE = 50
"""Of those that hold the words so many are opened together: the first ones are shown soon."""


_BYTES_AT_ONCE = 16 << 20
"""Of those that are noted together their bodies have so many bytes, or little more."""


@dataclass(frozen=True)
class Sort:
    """By what, and which end first."""

    by: str = "time"
    descending: bool = True


LATEST = Sort()


def rows(
    home: Home, query: Query, now: dt.datetime, zone: dt.tzinfo | None = None, *, sort: Sort = LATEST, limit: int
) -> list[Row]:
    """The first exchanges that fit, in this order.

    `now` and `zone` are what `since:2h` and `since:2026-11-01` mean; None is the system's zone. Raises StoreBusy,
    NewerDatabase or HomeError if the home or its database cannot be read.
    """
    return next(pages(home, query, now, zone, sort=sort, limit=limit, size=limit), [])


def pages(
    home: Home,
    query: Query,
    now: dt.datetime,
    zone: dt.tzinfo | None = None,
    *,
    sort: Sort = LATEST,
    limit: int,
    size: int = PAGE,
) -> Iterator[list[Row]]:
    """The first exchanges that fit, in this order, page by page, each read in a moment: of what there is at the first.

    Raises as `rows` does.
    """
    ids: list[str] | None = None
    with selected(home, query, now, zone, newest=limit if sort == LATEST else None) as (found, condition):
        waiting, fits = found.waiting, condition
        page = found.page(condition, sort.by, descending=sort.descending, limit=min(limit, size))
        if len(page.rows) == size < limit and sql.contents(query):  # found once, not for each page
            ids, fits = found.ids(condition), ("true", [])
    read = 0
    while page.rows:
        yield page.rows
        read += len(page.rows)
        working.told(read, None, "requests")
        limit -= len(page.rows)
        if limit <= 0 or len(page.rows) < size:
            return
        with selection(home, waiting) as found:
            if ids is not None:
                found.only(ids)
            page = found.page(fits, sort.by, descending=sort.descending, limit=min(limit, size), after=page.last)


@contextlib.contextmanager
def selected(
    home: Home, query: Query, now: dt.datetime, zone: dt.tzinfo | None = None, *, newest: int | None = None
) -> Iterator[tuple[Selection, Condition]]:
    """All exchanges, and the condition of the query. Others wait for the database until it ends.

    `newest`: the latest that fit will do, so many of them.
    """
    terms = sql.contents(query)
    waiting, matched = _waiting(home, terms, newest if query == EVERYTHING else None)
    if not terms:
        with selection(home, waiting) as found:
            yield found, sql.condition(query, now, zone)
        return
    open_condition = sql.condition(query, now, zone)
    looked_at = None
    if not sql.are_required(query):
        with selection(home, waiting) as found:
            looked_at = found.ids(open_condition)
    enough = newest if sql.are_required(query) else None
    for one in _looked(home, open_condition, terms):
        _note(matched, one)
        if enough is not None and len(one.matched) == len(terms):
            enough -= 1
            if enough == 0:
                break
    numbers = {term: number for number, term in enumerate(terms)}
    with selection(home, waiting) as found:
        found.note((numbers[term], ids) for term, ids in matched.items())
        if looked_at is not None:  # what was stored since then was not looked at
            found.only(looked_at)
        yield found, sql.condition(query, now, zone, found=numbers)


@dataclass(frozen=True)
class Found:
    """An exchange, and where in it the words are."""

    row: Row
    matches: list[Match]


def search(
    home: Home,
    words: Term,
    query: Query,
    now: dt.datetime,
    zone: dt.tzinfo | None = None,
    *,
    limit: int | None = None,
) -> Iterator[Found]:
    """Exchanges that fit a query and hold words, newest first, soon after each was found.

    The query is of metadata alone. That they are read is noted in the ledger. Raises as `rows` does.
    """
    found = (one for one in _search(home, words, query, now, zone))
    yield from noted(home, found, limit)


def noted(home: Home, found: Iterator[Found | None], limit: int | None = None) -> Iterator[Found]:
    """What was found, noted in the ledger before it is shown: the first ones soon, the later ones more at a time.

    None: one was looked at, and nothing was found in it. `limit`: no more than so many. Raises HomeError if they cannot
    be noted.
    """
    some: list[Found] = []
    shown = looked_at = size = 0
    most = _AT_ONCE
    for one in found:
        looked_at += 1
        if one is not None:
            some.append(one)
            size += one.row.request_bytes + one.row.response_bytes
        full = limit is not None and shown + len(some) == limit
        if full or looked_at >= most or size >= _BYTES_AT_ONCE:
            yield from _shown(home, some)
            if full:
                return
            shown += len(some)
            some, looked_at, size = [], 0, 0
            most = min(2 * most, ledger.LISTED)
    yield from _shown(home, some)


def _shown(home: Home, found: Sequence[Found]) -> Iterator[Found]:
    ledger.reading(home, (one.row.id for one in found))
    yield from found


def _search(home: Home, words: Term, query: Query, now: dt.datetime, zone: dt.tzinfo | None) -> Iterator[Found | None]:
    """None for each that was looked at in vain."""
    where = sql.condition(query, now, zone)
    record = browse.recorder(home)
    waiting = {
        captured.exchange.id: (record(captured), places)
        for captured in browse.spooled(home)
        if (places := matches(captured, words))
    }
    with selection(home, [recorded for recorded, _ in waiting.values()]) as found:
        spooled = found.waiting_ids(where)
    for identifier in sorted(spooled, reverse=True):
        recorded, places = waiting[identifier]
        yield Found(recorded.row, places)
    for known, some in _groups(home, where, [words]):
        sizes = ((one.id, one.size) for one in some)
        for batch in walking.batches(home, sizes, most=_AT_ONCE if known else walking.BATCH):
            for stored, captured in reversed(batch):
                places = matches(captured, words) if captured is not None else []
                yield Found(stored.row, places) if places else None


def opened(
    home: Home, query: Query, now: dt.datetime, zone: dt.tzinfo | None = None, *, limit: int
) -> Iterator[Opened]:
    """The latest exchanges that fit, with their content, oldest first. Raises as `rows` does."""
    found = rows(home, query, now, zone, limit=limit)[::-1]
    yield from working.counted(with_content(home, found), len(found), "exchanges")


def with_content(home: Home, found: Sequence[Row]) -> Iterator[Opened]:
    """These exchanges, oldest first, with their content; without those that were removed meanwhile.

    That they are read is noted in the ledger.

    Raises as `rows` does.
    """
    waiting = {one.exchange.id: one for one in browse.spooled(home)}
    record = browse.recorder(home)
    sizes = [(row.id, row.request_bytes + row.response_bytes) for row in found if row.id not in waiting]
    stored = walking.each(home, sizes)
    following = next(stored, None)
    for place, row in enumerate(found):
        if place % ledger.LISTED == 0:
            ledger.reading(home, (one.id for one in found[place : place + ledger.LISTED] if one.traced))
        if captured := waiting.get(row.id):
            yield browse.opened_of(record(captured), captured)
        elif following and following[0].row.id == row.id:
            recorded, held = following
            yield browse.opened_of(recorded, held or Captured(recorded.exchange, b"", b""))
            following = next(stored, None)


type _Matched = dict[Term, list[str]]


def _waiting(home: Home, terms: Sequence[Term], newest: int | None) -> tuple[list[Recorded], _Matched]:
    """What is still in the spool, understood and priced as ingest will; and which of it holds the terms."""
    captured = browse.spooled(home)
    if newest is not None:
        captured = iter(heapq.nlargest(newest, captured, key=lambda one: one.exchange.id))
    record = browse.recorder(home)
    found: list[Recorded] = []
    matched: _Matched = {term: [] for term in terms}
    for one in captured:
        found.append(record(one))
        if terms:
            _note(matched, look(one, terms))
    return found, matched


def _note(matched: _Matched, looked: Looked) -> None:
    for term in looked.matched:
        matched[term].append(looked.id)


def _looked(home: Home, condition: Condition, terms: Sequence[Term]) -> Iterator[Looked]:
    """Newest first."""
    for known, some in _groups(home, condition, terms):
        if known:
            yield from (Looked(one.id, tuple(terms[place] for place in one.holds or ())) for one in some)
            continue
        for batch in walking.batches(home, ((one.id, one.size) for one in some)):
            for _, captured in reversed(batch):
                if captured is not None:
                    yield look(captured, terms)


def _groups(home: Home, condition: Condition, terms: Sequence[Term]) -> Iterator[tuple[bool, Iterator[_Candidate]]]:
    """Candidates one after the other, those together of which it is known what they hold, or of which it is not."""
    return itertools.groupby(_candidates(home, condition, terms), key=lambda one: one.holds is not None)


class _Candidate(NamedTuple):
    id: str
    size: int
    """Of its bodies, in bytes."""
    holds: tuple[int, ...] | None
    """The places of those terms that it holds; None: its bodies have to be looked at."""


def _candidates(home: Home, condition: Condition, terms: Sequence[Term]) -> Iterator[_Candidate]:
    """The stored exchanges that fit a condition of metadata and may hold a term, newest first."""
    with selection(home, []) as found:
        extent = found.extent(condition)
        few = found.sizes(condition) if extent and extent.bytes <= _FEW_BYTES else []
    yield from (_Candidate(identifier, size, None) for identifier, size in few)
    if few or extent is None:
        return
    for some in heard(home, [_sought(term) for term in terms], extent.first, extent.last):
        holds = {one.id: one.holds for one in some}
        with selection(home, []) as found:
            sizes = found.sizes(condition, among=list(holds))
        yield from (_Candidate(identifier, size, holds[identifier]) for identifier, size in sizes)


def _sought(term: Term) -> Sought:
    expressions = tuple(expression(choice.value) for choice in term.choices if isinstance(choice, Is))
    return Sought(expressions, term.name != "completion", term.name != "prompt")


def ids(
    home: Home, query: Query, now: dt.datetime, zone: dt.tzinfo | None = None, *, sessions: bool = False
) -> list[str]:
    """All that fit, in no order; `sessions`: with all others of their sessions. Raises as `rows` does."""
    with selected(home, query, now, zone) as (found, condition):
        return found.session_ids(condition) if sessions else found.ids(condition)


def statistics(
    home: Home, query: Query, by: Sequence[str], now: dt.datetime, zone: dt.tzinfo | None = None
) -> list[Group]:
    """Sums over what fits, as `store.statistics.grouped` makes them. Raises as `rows` does."""
    with selected(home, query, now, zone) as (found, condition):
        return grouped(found, condition, by, zone)


def first_statistics(
    home: Home,
    query: Query,
    by: Sequence[str],
    now: dt.datetime,
    zone: dt.tzinfo | None = None,
    *,
    order: Order,
    limit: int,
) -> Groups:
    """The first groups of `statistics` in an order. Raises as `rows` does."""
    with selected(home, query, now, zone) as (found, condition):
        return first_groups(found, condition, by, zone, order=order, limit=limit)


def shortfalls(home: Home, query: Query, now: dt.datetime) -> list[Shortfall]:
    """Of what fits: what was not understood, or broke off. Raises as `rows` does."""
    with selected(home, query, now) as (found, condition):
        return _shortfalls(found, condition)
