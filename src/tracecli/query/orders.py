"""What exchanges can be sorted and grouped by, and the SQL of it."""

from __future__ import annotations

SORTS = {
    "time": "exchange.id",
    "cost": "cost_usd",
    "duration": "duration_ms",
    "ttft": "ttft_ms",
    "ttfb": "ttfb_ms",
    "tokens": "coalesce(input_tokens::HUGEINT + output_tokens, input_tokens, output_tokens)",
    "in": "input_tokens",
    "out": "output_tokens",
    "user": '"user"',
    "model": "coalesce(request_model, response_model)",
    "provider": "provider",
    "status": "status",
    "score": "score",
}
"""What can be sorted by, and its SQL."""

GROUPS = {
    "user": '"user"',
    "model": "coalesce(request_model, response_model)",
    "provider": "provider",
    "operation": "operation",
    "host": "host",
    "policy": "policy",
    "session": "session",
    "status": "status::VARCHAR",
    "outcome": "outcome",
    "cache": "cache_status",
    "flag": "unnest(CASE WHEN len(flags) > 0 THEN flags ELSE [NULL] END)",
    "tag": "unnest(CASE WHEN len(tags) > 0 THEN tags ELSE [NULL] END)",
    "tool": "unnest(CASE WHEN len(tools) > 0 THEN tools ELSE [NULL] END)",
    "month": "date_trunc('month', started_at::TIMESTAMP)",
    "day": "date_trunc('day', started_at::TIMESTAMP)",
    "hour": "date_trunc('hour', started_at::TIMESTAMP)",
}
"""What to group by, and its SQL. An exchange with several flags, tags or tools counts for each of them."""
TIMES = {"month": "%Y-%m", "day": "%Y-%m-%d", "hour": "%Y-%m-%d %H:00"}
"""Those that are times, and how they are written."""
