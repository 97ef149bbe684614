"""From what was captured to what is recorded: understood and priced. Pure, but for the price tables it reads."""

from __future__ import annotations

import datetime as dt

import msgspec

from tracecli.exchange import Captured, Exchange, Row, Understanding, Usage
from tracecli.pricing import price
from tracecli.understanding import understand


class Recorded(msgspec.Struct, frozen=True):
    """An exchange as the store keeps it, without its bodies."""

    exchange: Exchange
    row: Row
    cost_detail: str


def record(captured: Captured) -> Recorded:
    """Understand and price one captured exchange."""
    exchange = captured.exchange
    if exchange.metered is not None:
        found, ttft_ms = exchange.metered, exchange.ttft_ms
    else:
        found, ttft_ms = understand(exchange, captured.request_body, captured.response_body)
    started_at = dt.datetime.fromtimestamp(exchange.started_at_us / 1_000_000, dt.UTC)
    cost = price(exchange.provider, exchange.host, found, started_at)
    usage = found.usage or Usage()
    row = Row(
        id=exchange.id,
        started_at=started_at,
        duration_ms=exchange.duration_ms,
        ttfb_ms=exchange.ttfb_ms,
        ttft_ms=ttft_ms,
        user=exchange.user,
        user_source=exchange.user_source,
        policy=exchange.policy,
        session=exchange.session or found.session,
        provider=exchange.provider,
        host=exchange.host,
        operation=exchange.operation,
        method=exchange.method,
        path=exchange.path,
        status=exchange.status,
        stream=found.stream,
        request_model=found.request_model,
        response_model=found.response_model,
        response_id=found.response_id,
        finish_reasons=found.finish_reasons,
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        cache_read_input_tokens=usage.cache_read_input_tokens,
        cache_creation_input_tokens=usage.cache_creation_input_tokens,
        reasoning_output_tokens=usage.reasoning_output_tokens,
        usage_source="unknown" if found.usage is None else "reported",
        cost_usd=cost.cost_usd,
        cost_source=cost.source,
        cache_status=None,
        cache_origin=None,
        saved_usd=None,
        saved_ms=None,
        outcome=exchange.outcome,
        error=_error(exchange, found),
        request_bytes=exchange.request_bytes,
        response_bytes=exchange.response_bytes,
        traced=exchange.traced,
        flags=_flags(exchange, found),
    )
    return Recorded(exchange, row, cost.detail)


def _error(exchange: Exchange, found: Understanding) -> str | None:
    """What went wrong: the provider's own words say more than the connection's."""
    return found.error or exchange.error


def _flags(exchange: Exchange, found: Understanding) -> list[str]:
    cut = [
        name
        for name, is_cut in (("request_cut", exchange.request_cut), ("response_cut", exchange.response_cut))
        if is_cut
    ]
    return cut + [flag for flag in found.flags if flag not in cut]
