"""Reading stored bytes again, as ingest would today: for what an older version understood less.

Batch by batch within bounded memory, each read and written in moments, so that ingest and readers get their turn.
Killed anywhere, what is done is done, and the next run does the rest. Costs that change are kept as they were.
"""

from __future__ import annotations

import datetime as dt
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import msgspec

from tracecli import config, flag_files, price_file
from tracecli.config import Home
from tracecli.estimating import Estimator
from tracecli.flags import recorded_by
from tracecli.pricing import Price
from tracecli.recorded import UNDERSTOOD, Recorded
from tracecli.reprice import Changes
from tracecli.store import costs
from tracecli.walking import walk


@dataclass
class Reparsed(Changes):
    """What a run found, or with `dry_run` would have changed."""

    records: int = 0
    """How many differ in some field."""
    by_field: Counter[str] = field(default_factory=Counter)
    """How often a field of a row changed."""

    def as_json(self) -> dict[str, Any]:
        """The summary as JSON values."""
        return super().as_json() | {"records_changed": self.records, "by_field": dict(self.by_field)}


def reparse(home: Home, since: dt.datetime, *, dry_run: bool = False) -> Reparsed:
    """Understand stored exchanges from `since` on again, and write those that changed.

    Raises ConfigError if `prices.toml` or a rule is wrong, StoreBusy, NewerDatabase or HomeError if the database or the
    bodies cannot be used.
    """
    policies = config.policy_folder(home)
    prices, rules = price_file.load(policies), flag_files.load(policies)
    estimator = Estimator(config.vocabulary_folder())
    found = Reparsed(since, dry_run)
    for batch in walk(home, since, lambda: found.leave("tracing was off: there are no bytes to read")):
        changed = []
        for stored, captured in batch:
            if captured is None:
                found.leave("its bodies are not there any more")
                continue
            try:
                again = _kept(stored, recorded_by(rules, captured, prices, estimator))
            except Exception as error:  # ingest sets such a one aside; it is stored already
                found.leave(f"{type(error).__name__} while understanding it")
                continue
            if _count(found, stored, again):
                changed.append(again)
        if not dry_run:
            costs.reparse(home, changed)
    return found


def _kept(stored: Recorded, again: Recorded) -> Recorded:
    """`again`, with the former price if it is no other one: how it was worked out names versions that change often."""
    before, now = (Price(one.row.cost_usd, one.row.cost_source, one.cost_detail) for one in (stored, again))
    if now.differs(before) or stored.basis != again.basis:
        return again
    return msgspec.structs.replace(again, cost_detail=stored.cost_detail)


def _count(found: Reparsed, stored: Recorded, again: Recorded) -> bool:
    """Whether there is anything to write."""
    old, new = (Price(one.row.cost_usd, one.row.cost_source, one.cost_detail) for one in (stored, again))
    row = again.row
    found.count(row.provider, row.request_model or row.response_model, old, new)
    names = [name for name in UNDERSTOOD if getattr(stored.row, name) != getattr(row, name)]
    found.by_field.update(names)
    found.records += bool(names)
    return bool(names) or new != old or stored.basis != again.basis or stored.tools != again.tools
