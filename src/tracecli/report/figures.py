"""What a report tells: read in one moment, so that all figures are of the same exchanges."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

from tracecli import finding
from tracecli.config import Home
from tracecli.exchange import Row
from tracecli.query.syntax import Query
from tracecli.store import reporting
from tracecli.store.reporting import Bucket, Extent, Failed, Spent, TopSession
from tracecli.store.statistics import Group, grouped

_TOP = 10
_MOST_BUCKETS = 62
_LONG: tuple[tuple[Bucket, dt.timedelta], ...] = (
    ("hour", dt.timedelta(hours=1)),
    ("day", dt.timedelta(days=1)),
    ("week", dt.timedelta(days=7)),
)


@dataclass(frozen=True)
class Figures:
    """Of all that fits a query; there is at least one exchange."""

    extent: Extent
    total: Group
    bucket: Bucket
    spent: list[Spent]
    models: list[Group]
    """Those that cost most first, and so below."""
    users: list[Group]
    duration: dict[int, int]
    """As `reporting.spread` gives it."""
    ttft: dict[int, int]
    failures: list[Failed]
    sessions: list[TopSession]
    slowest: list[Row]
    dearest: list[Row]


def gather(home: Home, query: Query, now: dt.datetime, zone: dt.tzinfo | None = None) -> Figures | None:
    """The figures; None if nothing fits. Raises as `finding.rows` does."""
    with finding.selected(home, query, now, zone) as (found, condition):
        extent = reporting.extent(found, condition)
        if extent is None:
            return None
        [total] = grouped(found, condition, (), zone)
        bucket = bucket_of(extent)
        return Figures(
            extent,
            total,
            bucket,
            reporting.over_time(found, condition, bucket, zone),
            _dearest_first(grouped(found, condition, ("model",), zone)),
            _dearest_first(grouped(found, condition, ("user",), zone)),
            reporting.spread(found, condition, "duration_ms"),
            reporting.spread(found, condition, "ttft_ms"),
            reporting.failures(found, condition, _TOP),
            reporting.top_sessions(found, condition, _TOP),
            found.page(condition, "duration", descending=True, limit=_TOP).rows,
            [row for row in found.page(condition, "cost", descending=True, limit=_TOP).rows if row.cost_usd],
        )


def bucket_of(extent: Extent) -> Bucket:
    """The shortest one of which there are not too many."""
    long = extent.last_at - extent.first_at
    return next((bucket for bucket, size in _LONG if long <= size * _MOST_BUCKETS), "month")


def _dearest_first(groups: list[Group]) -> list[Group]:
    return sorted(groups, key=lambda group: (group.cost_usd or 0, group.requests), reverse=True)
