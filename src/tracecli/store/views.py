"""The views that `tracecli sql` asks: what they are, and each of their columns with its type and meaning."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache

from tracecli.store import exchanges
from tracecli.store.connection import MIGRATIONS


@dataclass(frozen=True)
class Column:
    """Of a view."""

    name: str
    kind: str
    """Its type, as DuckDB writes it."""
    help: str


@dataclass(frozen=True)
class View:
    """A table for readers."""

    name: str
    help: str
    columns: tuple[Column, ...]


MESSAGES = View(
    "messages",
    "One row for each part of a message: what was said, as it is understood. Not of exchanges without content.",
    (
        Column("id", "UUID", "the exchange"),
        Column("side", "VARCHAR", "prompt or completion"),
        Column("message", "INTEGER", "the message's place on its side, from 0"),
        Column("part", "INTEGER", "the part's place in its message, from 0"),
        Column("role", "VARCHAR", "system, user, assistant, tool, ..."),
        Column("type", "VARCHAR", "text, reasoning, tool_call, tool_call_response, blob, ..."),
        Column("name", "VARCHAR", "of a tool call: the tool"),
        Column("call_id", "VARCHAR", "of a tool call and of its response: which belong together"),
        Column("text", "VARCHAR", "what was said; of a tool call its arguments, of a response the result"),
    ),
)
BODIES = View(
    "bodies",
    "One row for each side of an exchange with content: its body, without its content encoding.",
    (
        Column("id", "UUID", "the exchange"),
        Column("side", "VARCHAR", "request or response"),
        Column("content_type", "VARCHAR", "from the headers"),
        Column("cut", "BOOLEAN", "only the beginning was kept"),
        Column("text", "VARCHAR", "NULL: it is no UTF-8"),
        Column("body", "BLOB", "the bytes"),
    ),
)
OF_CONTENT = (MESSAGES, BODIES)
"""The views that are filled from bodies, which takes time."""

_DAILY = (
    ("day", "DATE", "of the reader's zone", "date_trunc('day', started_at)::DATE"),
    ("user", "VARCHAR", "who it belongs to", '"user"'),
    ("provider", "VARCHAR", "OpenTelemetry name", "provider"),
    ("model", "VARCHAR", "asked for, or else answered by", "coalesce(request_model, response_model)"),
    ("policy", "VARCHAR", "the policy that applied", "policy"),
    ("requests", "BIGINT", "how many", "count(*)"),
    (
        "errors",
        "BIGINT",
        "those with a status from 400 on, a broken connection or an error in the answer",
        "count(*) FILTER (coalesce(status >= 400, false) OR outcome <> 'complete' OR error IS NOT NULL)",
    ),
    ("hits", "BIGINT", "those that the response cache answered", "count(*) FILTER (cache_origin IS NOT NULL)"),
    ("input_tokens", "HUGEINT", "cached ones included; NULL: unknown of all", "sum(input_tokens)"),
    ("output_tokens", "HUGEINT", "reasoning included; NULL: unknown of all", "sum(output_tokens)"),
    ("cache_read_input_tokens", "HUGEINT", "read from the provider's prompt cache", "sum(cache_read_input_tokens)"),
    ("cost_usd", "DECIMAL(38,15)", "of those whose cost is known; NULL: of none", "sum(cost_usd)"),
    ("cost_unknown", "BIGINT", "how many have no known cost", "count(*) FILTER (cost_usd IS NULL)"),
    ("saved_usd", "DECIMAL(38,15)", "by the response cache", "sum(saved_usd)"),
)
_MORE = (
    *("tools", "lane", "reason", "http_version", "cost_detail", "cache_detail"),
    *("request_headers", "response_headers"),
)


@cache
def meanings() -> dict[str, str]:
    """What the columns of the schema mean, by name, as the schema itself says; the first table has precedence."""
    schema = "\n".join(script.read_text("utf-8") for script in MIGRATIONS)
    told = re.findall(r'^(?:ALTER TABLE exchange ADD COLUMN|   ) "?(\w+)"? [^-\n]*?-- (.+)$', schema, re.MULTILINE)
    return {"tools": "those that the model called, each once"} | dict(reversed(told))


@cache
def exchanges_view() -> View:
    """The exchanges: the columns of `usage show --json`, and more."""
    names = (*exchanges.ROW_COLUMNS, *_MORE)
    return View(
        "exchanges",
        "One row for each exchange, stored or still in the spool.",
        tuple(Column(name, exchanges.kind_of(name).replace(", ", ","), meanings()[name]) for name in names),
    )


def daily_view() -> View:
    """Sums by day."""
    return View(
        "daily_usage",
        "One row for each day, user, provider, model and policy.",
        tuple(Column(*column[:3]) for column in _DAILY),
    )


def all_views() -> tuple[View, ...]:
    """What can be asked."""
    return (exchanges_view(), MESSAGES, BODIES, daily_view())


def exchanges_sql(source: str) -> str:
    """The exchanges of a table."""
    columns = ", ".join(f'"{column.name}"' for column in exchanges_view().columns)
    return f"SELECT {columns} FROM {source}"  # noqa: S608 - names of ours only


def daily_sql() -> str:
    """The sums, over the exchanges."""
    columns = ", ".join(f'{expression} AS "{name}"' for name, _, _, expression in _DAILY)
    return f"SELECT {columns} FROM exchanges GROUP BY 1, 2, 3, 4, 5"  # noqa: S608 - text of ours only
