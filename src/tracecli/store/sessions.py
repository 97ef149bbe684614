"""Sessions that have a name: sums over their exchanges."""

from __future__ import annotations

import datetime as dt
from dataclasses import asdict, dataclass
from decimal import Decimal
from typing import Any

from tracecli.exchange import plain_decimal
from tracecli.query.fields import ERRORS
from tracecli.store.selection import Condition, Selection


@dataclass(frozen=True)
class Session:
    """Exchanges of one agent run or conversation."""

    name: str
    users: list[str]
    models: list[str]
    first_at: dt.datetime
    last_at: dt.datetime
    """When the last one ended."""
    requests: int
    errors: int
    input_tokens: int
    output_tokens: int
    cost_usd: Decimal
    cost_unknown: int
    """How many have no known cost."""

    def as_json(self) -> dict[str, Any]:
        """As JSON values."""
        told = asdict(self) | {"cost_usd": plain_decimal(self.cost_usd)}
        for name in ("first_at", "last_at"):
            told[name] = told[name].astimezone(dt.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        return told


def named(found: Selection, condition: Condition, limit: int) -> list[Session]:
    """The sessions of what fits, the one that went on last first."""
    where, parameters = condition
    # The sums of those that are listed alone: to hold users and models of all takes much memory.
    latest = (
        f"SELECT session FROM {found.table()} WHERE session IS NOT NULL AND {where}"  # noqa: S608 - text of ours only
        f" GROUP BY session ORDER BY max(started_at) DESC, session LIMIT {int(limit)}"
    )
    rows = found.connection.execute(
        'SELECT session, list(DISTINCT "user"), list(DISTINCT coalesce(request_model, response_model)),'  # noqa: S608
        " epoch_us(min(started_at)), max(epoch_us(started_at) + least(duration_ms, 1e12) * 1000)::BIGINT AS ended,"
        f" count(*), count(*) FILTER ({ERRORS}), coalesce(sum(input_tokens), 0)::VARCHAR,"
        " coalesce(sum(output_tokens), 0)::VARCHAR, coalesce(sum(cost_usd), 0), count(*) FILTER (cost_usd IS NULL)"
        f" FROM {found.table()} WHERE session IN ({latest}) AND {where}"
        " GROUP BY session ORDER BY ended DESC, session",
        parameters,
    )
    return [
        Session(
            name,
            sorted(users),
            sorted(model for model in models if model),
            _at(first),
            _at(last),
            requests,
            errors,
            int(tokens_in),
            int(tokens_out),
            Decimal(cost),
            unknown,
        )
        for name, users, models, first, last, requests, errors, tokens_in, tokens_out, cost, unknown in rows.fetchall()
    ]


def _at(us: int) -> dt.datetime:
    return dt.datetime.fromtimestamp(us / 1_000_000, dt.UTC)
