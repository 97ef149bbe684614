"""Working out stored costs again, with the prices that hold now; what they were is kept.

Batch by batch, each read and written in moments, so that ingest and readers get their turn. Killed anywhere, what is
done is done, and the next run does the rest.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from tracecli import config, price_file, working
from tracecli.config import Home
from tracecli.exchange import plain_decimal
from tracecli.pricing import Price
from tracecli.recorded import cost_of
from tracecli.store import costs
from tracecli.store.connection import opened
from tracecli.store.costs import StoredCost

BATCH = 2000
_NO_BASIS = "recorded by a version that did not keep what the cost was worked out from (`tracecli reparse` may help)"


@dataclass
class Totals:
    """Costs before and after: of those that are known, and how many are not."""

    exchanges: int = 0
    old_usd: Decimal = Decimal(0)
    new_usd: Decimal = Decimal(0)
    old_unknown: int = 0
    new_unknown: int = 0

    def add(self, old: Price, new: Price) -> None:
        """Count one exchange."""
        self.exchanges += 1
        self.old_usd += old.cost_usd or 0
        self.new_usd += new.cost_usd or 0
        self.old_unknown += old.cost_usd is None
        self.new_unknown += new.cost_usd is None

    def as_json(self) -> dict[str, Any]:
        """Money as plain decimal text."""
        return {
            "exchanges": self.exchanges,
            "old_cost_usd": plain_decimal(self.old_usd),
            "new_cost_usd": plain_decimal(self.new_usd),
            "old_unknown": self.old_unknown,
            "new_unknown": self.new_unknown,
        }


@dataclass
class Changes:
    """What a run found, or with `dry_run` would have changed."""

    since: dt.datetime
    dry_run: bool
    examined: Totals = field(default_factory=Totals)
    changed: Totals = field(default_factory=Totals)
    by_model: dict[tuple[str, str | None], Totals] = field(default_factory=dict)
    """Of those that changed, by provider and by the model that was asked for, else that answered."""
    left_alone: dict[str, int] = field(default_factory=dict)
    """How many could not be looked at, by the reason."""

    def count(self, provider: str, model: str | None, old: Price, new: Price) -> bool:
        """Count one exchange; returns whether its cost changes."""
        self.examined.add(old, new)
        if not new.differs(old):
            return False
        self.changed.add(old, new)
        self.by_model.setdefault((provider, model), Totals()).add(old, new)
        return True

    def leave(self, why: str) -> None:
        """Count one that cannot be looked at."""
        self.left_alone[why] = self.left_alone.get(why, 0) + 1

    def models(self) -> list[tuple[str, str | None, Totals]]:
        """The changes by model, the greatest first."""
        sums = [(*names, totals) for names, totals in self.by_model.items()]
        return sorted(sums, key=lambda one: (-abs(one[2].new_usd - one[2].old_usd), one[0], one[1] or ""))

    def as_json(self) -> dict[str, Any]:
        """The summary as JSON values."""
        return {
            "since": self.since.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "dry_run": self.dry_run,
            "examined": self.examined.as_json(),
            "changed": self.changed.as_json(),
            "by_model": [
                {"provider": provider, "model": model} | totals.as_json() for provider, model, totals in self.models()
            ],
            "left_alone": self.left_alone,
        }


def reprice(home: Home, since: dt.datetime, *, dry_run: bool = False) -> Changes:
    """Work out the costs of stored exchanges from `since` on again, and write those that changed.

    Raises ConfigError if `prices.toml` is wrong, StoreBusy, NewerDatabase or HomeError if the database cannot be used.
    """
    prices = price_file.load(config.policy_folder(home))
    changes = Changes(since, dry_run)
    for batch in _batches(home, since):
        new_costs = []
        for stored in batch:
            if stored.basis is None:
                changes.leave(_NO_BASIS)
                continue
            names = stored.request_model, stored.response_model
            cost = cost_of(stored.provider, stored.host, *names, stored.started_at, stored.basis, prices)
            if changes.count(stored.provider, names[0] or names[1], stored.price, cost):
                new_costs.append((stored.id, cost))
        if not dry_run:
            costs.reprice(home, new_costs)
    return changes


def _batches(home: Home, since: dt.datetime) -> Iterator[list[StoredCost]]:
    """Those that were stored when it began; what ingest adds meanwhile, it prices as we do."""
    after, until = "00000000-0000-0000-0000-000000000000", None
    done = total = 0
    while True:
        try:
            with opened(home) as connection:
                if until is None:
                    until, total = costs.extent(connection, since)
                batch = costs.costs(connection, since, after, until, BATCH) if until else []
        except FileNotFoundError:
            return
        working.told(done, total, "exchanges")
        if not batch:
            return
        yield batch
        done += len(batch)
        after = batch[-1].id
