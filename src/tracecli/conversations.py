"""Sessions: by the id that the client sent, or by shared messages where it sent none.

Clients send their whole history with every call. So a request continues another if all messages of that one are the
first of its own; the same request asked again continues nothing.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal

from tracecli import access, browse, finding, walking
from tracecli.config import Home
from tracecli.errors import ExchangeNotFound
from tracecli.exchange import Captured, Message, Row
from tracecli.query import syntax
from tracecli.query.syntax import Query
from tracecli.store.sessions import Session, named
from tracecli.understanding import understand

MARK = "~"
"""Before the id of its first exchange, this is the name of a session without one."""
LOOKED_AT = 2000
"""So many of the latest exchanges without a session are compared; each has to be read."""
_LONGEST = 10_000


def sessions(
    home: Home, query: Query, now: dt.datetime, zone: dt.tzinfo | None, limit: int, *, infer: bool = True
) -> list[Session]:
    """The sessions of what fits a query, the one that went on last first; raises as `finding.rows` does.

    Those without an id of the client's are found for who may read what was said.
    """
    with finding.selected(home, query, now, zone) as (found, condition):
        told = named(found, condition, limit)
    if infer and access.sees_content(home):
        without = syntax.all_of([query, syntax.parse("session:none traced:yes")])
        rows = finding.rows(home, without, now, zone, limit=LOOKED_AT)
        told += [_of_rows(chain) for chain in _chains(home, rows) if len(chain) > 1]
    return sorted(told, key=lambda one: one.last_at, reverse=True)[:limit]


def session(home: Home, name: str, now: dt.datetime) -> list[Row]:
    """The exchanges of a session, oldest first: by its id, by an exchange of it, or `~` and the first of its exchanges.

    Raises ExchangeNotFound if there is none, and what `finding.rows` raises.
    """
    oldest = finding.Sort("time", descending=False)
    if not name.startswith(MARK):
        if rows := finding.rows(home, syntax.named("session", name), now, sort=oldest, limit=_LONGEST):
            return rows
        recorded, _ = browse.find(home, name)
        if recorded.row.session is not None:
            wanted = syntax.named("session", recorded.row.session)
            return finding.rows(home, wanted, now, sort=oldest, limit=_LONGEST)
    else:
        recorded, _ = browse.find(home, name.removeprefix(MARK))
    row = recorded.row
    day = dt.timedelta(days=1)
    near = [
        syntax.parse("session:none traced:yes"),
        syntax.named("user", row.user),
        syntax.named("host", row.host),
        syntax.term("since", (row.started_at - day).isoformat()),
        syntax.term("until", (row.started_at + day).isoformat()),
    ]
    rows = finding.rows(home, syntax.all_of(near), now, limit=LOOKED_AT)
    chain = next((one for one in _chains(home, rows) if row.id in {each.id for each in one}), [])
    if not chain:
        raise ExchangeNotFound(f"{row.id} is of no session", "It was recorded without content, or stands alone.")
    return chain


def chains(asked: Iterable[tuple[str, Sequence[Message]]]) -> list[list[str]]:
    """Ids that continue each other, of exchanges in time order with their messages. Pure."""
    ends: dict[bytes, list[str]] = {}
    found: list[list[str]] = []
    for identifier, messages in asked:
        prefixes = list(_prefixes(messages))
        if not prefixes:
            continue
        chain = next((ends[one] for one in reversed(prefixes[:-1]) if one in ends), None)
        if chain is None:
            chain = []
            found.append(chain)
        chain.append(identifier)
        ends[prefixes[-1]] = chain
    return found


def _prefixes(messages: Sequence[Message]) -> Iterator[bytes]:
    """A hash of the first message, of the first two, and so on."""
    digest = hashlib.sha256()
    for message in messages:
        try:
            digest.update(hashlib.sha256(json.dumps(message, sort_keys=True, default=str).encode()).digest())
        except (ValueError, TypeError, RecursionError):  # a thousand lists in each other
            return
        yield digest.copy().digest()


def _chains(home: Home, rows: Sequence[Row]) -> list[list[Row]]:
    """Rows that continue each other, oldest first."""
    by_id = {row.id: row for row in rows}
    asked = {one.exchange.id: _messages(one) for one in browse.spooled(home) if one.exchange.id in by_id}
    stored = [(row.id, row.request_bytes + row.response_bytes) for row in rows if row.id not in asked]
    for recorded, captured in walking.each(home, stored):
        if captured is not None:
            asked[recorded.row.id] = _messages(captured)
    return [[by_id[identifier] for identifier in chain] for chain in chains(sorted(asked.items()))]


def _messages(captured: Captured) -> list[Message]:
    found, _ = understand(captured.exchange, captured.request_body, b"")
    return found.input_messages


def _of_rows(rows: Sequence[Row]) -> Session:
    """A session without a name of its own."""
    costs = [row.cost_usd for row in rows if row.cost_usd is not None]
    return Session(
        name=MARK + rows[0].id,
        users=sorted({row.user for row in rows}),
        models=sorted({name for row in rows if (name := row.request_model or row.response_model)}),
        first_at=rows[0].started_at,
        last_at=max(row.started_at + dt.timedelta(milliseconds=row.duration_ms) for row in rows),
        requests=len(rows),
        errors=sum((row.status or 0) >= 400 or row.outcome != "complete" or row.error is not None for row in rows),
        input_tokens=sum(row.input_tokens or 0 for row in rows),
        output_tokens=sum(row.output_tokens or 0 for row in rows),
        cost_usd=sum(costs, Decimal(0)),
        cost_unknown=len(rows) - len(costs),
    )
