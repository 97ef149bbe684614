"""From what was captured to what is recorded: understood and priced. Pure, but for the price tables it reads."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal

import msgspec

from tracecli.cache.key import Asked, material
from tracecli.estimating import Estimate, Estimator
from tracecli.exchange import Captured, Exchange, Row, Understanding, Usage
from tracecli.price_list import PriceList
from tracecli.pricing import NO_PRICES_OF_OUR_OWN, Price, price
from tracecli.providers.registry import operation_of
from tracecli.understanding import understand


class CostBasis(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a cost was worked out from, beside provider, host, models and time: enough to do it again."""

    usage: Usage | None = None
    service_tier: str | None = None
    reported_cost_usd: Decimal | None = None
    estimated: str | None = None
    """How tokens that were not reported were estimated."""
    not_estimated: str | None = None
    """Why they were not."""
    from_cache: bool = False
    """The answer came from the response cache: nothing was paid."""


class Recorded(msgspec.Struct, frozen=True):
    """An exchange as the store keeps it, without its bodies."""

    exchange: Exchange
    row: Row
    cost_detail: str
    basis: CostBasis | None
    """None: recorded before it was kept."""
    asked_hash: bytes | None = None
    """Of what was asked, whoever asked; None: recorded without content."""
    tools: list[str] | None = None
    """The tools that the model called, each once; None: recorded without content."""


UNDERSTOOD = (
    "ttft_ms",
    "session",
    "operation",
    "stream",
    "request_model",
    "response_model",
    "response_id",
    "finish_reasons",
    "input_tokens",
    "output_tokens",
    "cache_read_input_tokens",
    "cache_creation_input_tokens",
    "reasoning_output_tokens",
    "usage_source",
    "cost_usd",
    "cost_source",
    "outcome",
    "error",
    "flags",
)
"""The fields of a row that depend on how the bytes are understood; the others are as they were captured."""


def read(captured: Captured) -> tuple[Understanding, float | None]:
    """What the bytes of an exchange say, and its time to first token in milliseconds."""
    exchange = captured.exchange
    if exchange.metered is not None:
        return exchange.metered, exchange.ttft_ms
    return understand(exchange, captured.request_body, captured.response_body)


def record(
    captured: Captured,
    prices: PriceList = NO_PRICES_OF_OUR_OWN,
    estimator: Estimator | None = None,
    reading: tuple[Understanding, float | None] | None = None,
) -> Recorded:
    """Understand and price one captured exchange; with an estimator, estimate the tokens that were not reported.

    `reading` is what `read` gives, for whoever has it already.
    """
    exchange = captured.exchange
    found, ttft_ms = reading or read(captured)
    started_at = dt.datetime.fromtimestamp(exchange.started_at_us / 1_000_000, dt.UTC)
    estimate = estimator.estimate(exchange, found) if estimator else Estimate(found.usage)
    basis = CostBasis(
        usage=estimate.usage,
        service_tier=found.service_tier,
        reported_cost_usd=found.reported_cost_usd,
        estimated=estimate.how,
        not_estimated=estimate.why_not,
        from_cache=exchange.cache_origin is not None,
    )
    request_model = found.request_model or exchange.connection_model
    names = request_model, found.response_model
    cost = cost_of(exchange.provider, exchange.host, *names, started_at, basis, prices)
    saved_usd = None
    if basis.from_cache:
        upstream = msgspec.structs.replace(basis, from_cache=False)
        saved_usd = cost_of(exchange.provider, exchange.host, *names, started_at, upstream, prices).cost_usd
    usage = estimate.usage or Usage()
    # Clients hang up when they have read the event that ends a stream, without waiting for the end of the body.
    outcome = "complete" if exchange.outcome == "aborted" and found.ended else exchange.outcome
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
        operation=exchange.operation or _operation(exchange),
        method=exchange.method,
        path=exchange.path,
        status=exchange.status,
        stream=found.stream,
        request_model=request_model,
        response_model=found.response_model,
        response_id=found.response_id,
        finish_reasons=found.finish_reasons,
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        cache_read_input_tokens=usage.cache_read_input_tokens,
        cache_creation_input_tokens=usage.cache_creation_input_tokens,
        reasoning_output_tokens=usage.reasoning_output_tokens,
        usage_source="estimated" if estimate.how else "unknown" if found.usage is None else "reported",
        cost_usd=cost.cost_usd,
        cost_source=cost.source,
        cache_status=exchange.cache_status,
        cache_origin=exchange.cache_origin,
        saved_usd=saved_usd,
        saved_ms=_saved_ms(exchange),
        outcome=outcome,
        error=found.error or (exchange.error if outcome != "complete" else None),
        request_bytes=exchange.request_bytes,
        response_bytes=exchange.response_bytes,
        traced=exchange.traced,
        flags=_flags(exchange, found),
        tags=exchange.tags,
        score=None,
        comment=None,
    )
    tools = None if exchange.metered is not None else _tools(found)
    return Recorded(exchange, row, cost.detail, basis, _asked_hash(captured), tools)


def _tools(found: Understanding) -> list[str]:
    parts = (part for message in found.output_messages for part in message.get("parts") or ())
    names = (part.get("name") for part in parts if isinstance(part, dict) and part.get("type") == "tool_call")
    return list(dict.fromkeys(name for name in names if isinstance(name, str)))


def _saved_ms(exchange: Exchange) -> float | None:
    took = exchange.cache_origin_ms
    return None if took is None else max(0.0, round(took - exchange.duration_ms, 3))


def _asked_hash(captured: Captured) -> bytes | None:
    exchange = captured.exchange
    if not exchange.traced or exchange.request_cut:
        return None
    asked = Asked(
        exchange.method,
        exchange.scheme,
        exchange.host,
        exchange.port,
        exchange.path,
        exchange.request_headers,
        captured.request_body,
    )
    return material(asked).hash()


def cost_of(
    provider: str,
    host: str,
    request_model: str | None,
    response_model: str | None,
    at: dt.datetime,
    basis: CostBasis,
    prices: PriceList,
) -> Price:
    """What an exchange cost: the same for ingest and for whoever works it out again from what is stored."""
    found = Understanding(
        understood=True,
        request_model=request_model,
        response_model=response_model,
        usage=basis.usage,
        service_tier=basis.service_tier,
        reported_cost_usd=basis.reported_cost_usd,
    )
    if basis.from_cache:
        return Price(Decimal(0), "computed", "answered from the response cache: nothing was paid")
    cost = price(provider, host, found, at, prices)
    if cost.source == "computed" and basis.estimated:
        return Price(cost.cost_usd, "estimated", f"{cost.detail}; tokens estimated with {basis.estimated}")
    if cost.source == "unknown" and basis.not_estimated:
        return Price(None, "unknown", f"{cost.detail}, and not estimated: {basis.not_estimated}")
    return cost


def _operation(exchange: Exchange) -> str | None:
    """What a path means that the version which captured it did not know."""
    known = operation_of(exchange.provider, exchange.method, exchange.path)
    return known.name if known else None


def _flags(exchange: Exchange, found: Understanding) -> list[str]:
    cut = [
        name
        for name, is_cut in (("request_cut", exchange.request_cut), ("response_cut", exchange.response_cut))
        if is_cut
    ]
    return cut + exchange.marks + [flag for flag in found.flags if flag not in cut]
