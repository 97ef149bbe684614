"""The page: figures in, HTML out. Pure.

Everything recorded is hostile. Names pass `charts.name`, the template escapes all values, and the page's own policy
forbids scripts and whatever is not in the file.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from tracecli import __version__
from tracecli.exchange import Row
from tracecli.report import charts, templates
from tracecli.report.figures import Figures
from tracecli.store.statistics import Group
from tracecli.tables import values
from tracecli.tables.statistics import rate
from tracecli.tables.visible import line

_LISTED = 10
_ERROR = 160


def page(figures: Figures | None, query: str, now: dt.datetime, zone: dt.tzinfo | None = None) -> str:
    """A report of the figures, or that there are none; `query` as it was asked."""
    about: dict[str, Any] = {
        "query": charts.name(query) if query else "",
        "made": f"{now.astimezone(zone):%Y-%m-%d %H:%M %:z}",
        "version": __version__,
    }
    told = None if figures is None else _told(figures, zone)
    return templates.rendered("page.html.j2", about=about, report=told)


def _told(figures: Figures, zone: dt.tzinfo | None) -> dict[str, Any]:
    by_cost = bool(figures.total.cost_usd)
    first, last = (at.astimezone(zone) for at in (figures.extent.first_at, figures.extent.last_at))
    return {
        "period": _period(first, last),
        "tiles": _tiles(figures),
        "by_cost": by_cost,
        "bucket": figures.bucket,
        "over_time": charts.over_time(figures.spent, figures.bucket, by_cost=by_cost),
        "models": _groups(figures.models, by_cost),
        "models_left": max(0, len(figures.models) - _LISTED),
        "users": _groups(figures.users, by_cost),
        "users_left": max(0, len(figures.users) - _LISTED),
        "spreads": [
            {"title": title, "chart": charts.spread(steps), "percentiles": _percentiles(found)}
            for title, steps, found in (
                ("Duration", figures.duration, figures.total.duration),
                ("Time to first token", figures.ttft, figures.total.ttft),
            )
        ],
        "cache": _cache(figures),
        "failures": [
            {
                "what": "no answer" if one.status is None else str(one.status),
                "outcome": "" if one.outcome == "complete" else one.outcome,
                "error": _short(one.error or "", _ERROR),
                "requests": f"{one.requests:,}",
                "width": width,
            }
            for one, width in zip(
                figures.failures, charts.shares(one.requests for one in figures.failures), strict=True
            )
        ],
        "sessions": [
            {
                "name": charts.name(one.name),
                "model": charts.name(one.model),
                "requests": f"{one.requests:,}",
                "errors": f"{one.errors:,}" if one.errors else "",
                "took": values.duration((one.last_at - one.first_at) / dt.timedelta(milliseconds=1)),
                "cost": values.money(one.cost_usd, 6),
            }
            for one in figures.sessions
        ],
        "slowest": _requests(figures.slowest, zone),
        "dearest": _requests(figures.dearest, zone),
    }


def _period(first: dt.datetime, last: dt.datetime) -> str:
    if first.date() == last.date():
        return f"{first:%B} {first.day}, {first:%Y}, {first:%H:%M} to {last:%H:%M}"
    begin = f"{first:%B} {first.day}" + (f", {first:%Y}" if first.year != last.year else "")
    return f"{begin} to {last:%B} {last.day}, {last:%Y}"


def _tiles(figures: Figures) -> list[tuple[str, str, str]]:
    """Name, figure, and what to know of it."""
    total = figures.total
    unknown = f"{total.cost_unknown:,} of unknown cost" if total.cost_unknown else ""
    tokens = (total.input_tokens or 0) + (total.output_tokens or 0)
    split = f"{values.short_count(total.input_tokens)} in, {values.short_count(total.output_tokens)} out"
    known = total.input_tokens is not None or total.output_tokens is not None
    errors = f"{total.errors:,} of {total.requests:,}"
    users = figures.extent.users
    tiles = [
        ("Spent", _round_money(total.cost_usd), unknown),
        ("Requests", values.count(total.requests), f"by about {users:,} {'user' if users == 1 else 'users'}"),
        ("Tokens", values.short_count(tokens) if known else values.UNKNOWN, split if known else ""),
        ("Errors", rate(total.errors, total.requests), errors),
        ("Half take", values.duration(total.duration.p50 if total.duration else None), "at most, to the last byte"),
        ("95 of 100 take", values.duration(total.duration.p95 if total.duration else None), "at most"),
    ]
    if total.score is not None:
        tiles.append(("Score", f"{total.score:.1f}", "the mean, of 5"))
    return tiles


def _round_money(usd: Decimal | None) -> str:
    """Without cents where they are less than a thousandth."""
    return f"${usd:,.0f}" if usd is not None and usd >= 1000 else values.money(usd, 6)


def _groups(groups: Sequence[Group], by_cost: bool) -> list[dict[str, Any]]:
    shown = groups[:_LISTED]
    widths = charts.shares(group.cost_usd if by_cost else group.requests for group in shown)
    return [
        {
            "name": charts.name(group.key[0]),
            "width": width,
            "cost": values.money(group.cost_usd, 6),
            "requests": values.count(group.requests),
            "tokens": f"{values.short_count(group.input_tokens)} → {values.short_count(group.output_tokens)}",
            "errors": rate(group.errors, group.requests) if group.errors else "",
            "p50": values.duration(group.duration.p50 if group.duration else None),
            "p95": values.duration(group.duration.p95 if group.duration else None),
        }
        for group, width in zip(shown, widths, strict=True)
    ]


def _percentiles(found: Any) -> list[tuple[str, str]]:
    if found is None:
        return []
    return [(name, values.duration(value)) for name, value in zip(("p50", "p95", "p99"), found, strict=True)]


def _cache(figures: Figures) -> dict[str, Any] | None:
    total = figures.total
    if not total.cached:
        return None
    return {
        "rate": rate(total.hits, total.cached),
        "share": round(100 * total.hits / total.cached, 1),
        "hits": f"{total.hits:,}",
        "cached": f"{total.cached:,}",
        "saved": values.money(total.saved_usd, 6),
        "time": values.duration(figures.extent.saved_ms),
    }


def _requests(rows: Sequence[Row], zone: dt.tzinfo | None) -> list[dict[str, str]]:
    return [
        {
            "id": row.id,
            "at": f"{row.started_at.astimezone(zone):%Y-%m-%d %H:%M}",
            "user": charts.name(row.user),
            "model": charts.name(row.request_model or row.response_model),
            "tokens": f"{values.short_count(row.input_tokens)} → {values.short_count(row.output_tokens)}",
            "took": values.duration(row.duration_ms),
            "cost": values.money(row.cost_usd, 6),
        }
        for row in rows
    ]


def _short(text: str, longest: int) -> str:
    shown = line(text[: longest * 4])
    return shown if len(shown) <= longest else f"{shown[: longest - 1]}…"
