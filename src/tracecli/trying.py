"""Trying a rule on the past: what it would have flagged."""

from __future__ import annotations

import datetime as dt
import heapq
from collections.abc import Iterator
from dataclasses import dataclass

from tracecli import browse, finding, walking
from tracecli.config import Home
from tracecli.contents import pieces
from tracecli.exchange import Captured, Row
from tracecli.finding import Found
from tracecli.flags import Rule, Rules
from tracecli.query.syntax import EVERYTHING, Query, all_of
from tracecli.recorded import read


@dataclass
class Trial:
    """How a rule has done so far."""

    looked_at: int = 0
    flagged: int = 0
    without_content: int = 0
    """Of those looked at: the rule would have looked at what they said, and that is not recorded."""

    def of(
        self,
        home: Home,
        one: Rule,
        query: Query,
        now: dt.datetime,
        zone: dt.tzinfo | None = None,
        *,
        limit: int,
    ) -> Iterator[Found]:
        """The exchanges that a rule flags among the latest that fit a query, newest first, each as soon as it is found.

        That those are read of which matches are shown is noted in the ledger. Raises as `finding.rows` does.
        """
        waiting = {captured.exchange.id: captured for captured in browse.spooled(home)} if one.listens else {}
        rows = finding.rows(home, query, now, zone, limit=limit)
        self.looked_at += len(rows)
        if one.where != EVERYTHING:
            fitting = finding.rows(home, all_of([query, one.where]), now, zone, limit=limit)
            fits = {row.id for row in fitting}
            rows = [row for row in rows if row.id in fits]
        if not one.listens:
            self.flagged += len(rows)
            yield from (Found(row, []) for row in rows)
            return
        rules = Rules([one])
        traced = [row for row in rows if row.traced]
        self.without_content += len(rows) - len(traced)
        for found in finding.noted(home, self._found(rules, one, _held(home, traced, waiting))):
            self.flagged += 1
            yield found

    def _found(self, rules: Rules, one: Rule, held: Iterator[tuple[Row, Captured | None]]) -> Iterator[Found | None]:
        """None for each that is not flagged."""
        for row, captured in held:
            if captured is None:
                self.without_content += 1
                yield None
            else:
                places = rules.matches(one, pieces(captured, read(captured)[0]))
                yield Found(row, places) if places else None


def _held(home: Home, rows: list[Row], waiting: dict[str, Captured]) -> Iterator[tuple[Row, Captured | None]]:
    """Exchanges with their content, in the same order; None: it is not there any more."""
    known = {row.id: row for row in rows}
    spooled = ((row.id, waiting[row.id]) for row in rows if row.id in waiting)
    sizes = ((row.id, row.request_bytes + row.response_bytes) for row in rows if row.id not in waiting)
    stored = ((one.row.id, held) for batch in walking.batches(home, sizes) for one, held in reversed(batch))
    for identifier, captured in heapq.merge(spooled, stored, key=lambda pair: pair[0], reverse=True):
        yield known[identifier], captured
