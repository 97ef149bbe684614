"""Costs worked out here are those of genai-prices, for every model of its list."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal

from genai_prices import Usage as PricedUsage
from genai_prices.data_snapshot import get_snapshot
from genai_prices.types import ModelInfo, ModelPrice
from hypothesis import given, settings
from hypothesis import strategies as st

from tracecli.exchange import Usage
from tracecli.rates import rates_of

AT = dt.datetime(2026, 11, 22, 12, tzinfo=dt.UTC)
MODELS = [model for provider in get_snapshot().providers for model in provider.models]
THEIRS = {
    "input_tokens": "input",
    "cache_read_input_tokens": "cache_read",
    "cache_creation_input_tokens": "cache_write",
    "cache_creation_1h_input_tokens": "cache_write_1h",
    "output_tokens": "output",
    "reasoning_output_tokens": "output_reasoning",
}
COUNTS = st.none() | st.integers(0, 2_000_000)
USAGES = st.builds(
    Usage,
    input_tokens=st.integers(0, 2_000_000),
    **{name: COUNTS for name in THEIRS if name != "input_tokens"},
)


def of_the_library(prices: ModelPrice, usage: Usage) -> Decimal | str:
    counts = {
        f"{theirs}_tokens": value
        for ours, theirs in THEIRS.items()
        if (value := getattr(usage, ours)) is not None and getattr(prices, f"{theirs}_mtok") is not None
    }
    media = {
        f"cache_{medium}_{use}_tokens": 0 for medium in ("audio", "image") for use in ("read", "write", "write_1h")
    }
    try:
        cost: Decimal = prices.calc_price(PricedUsage(**counts, **media))["total_price"]
    except ValueError as error:
        return str(error)
    return cost


def ours(prices: ModelPrice, usage: Usage) -> Decimal | str:
    try:
        return rates_of(prices, usage.input_tokens or 0).cost(usage)
    except ValueError as error:
        return str(error)


@settings(deadline=None)
@given(st.sampled_from(MODELS), USAGES)
def test_as_the_library(model: ModelInfo, usage: Usage) -> None:
    """Whatever the counts, also where they contradict each other and where rates rise with their number."""
    prices = model.get_prices(AT)
    assert ours(prices, usage) == of_the_library(prices, usage)


def test_every_model() -> None:
    """Plausible counts, of each model in the list, below and above every step of its rates."""
    for model in MODELS:
        prices = model.get_prices(AT)
        for asked in (1_000, 150_000, 300_000, 1_500_000):
            usage = Usage(
                input_tokens=asked,
                output_tokens=977,
                cache_read_input_tokens=asked // 3,
                cache_creation_input_tokens=asked // 5,
                cache_creation_1h_input_tokens=asked // 7,
                reasoning_output_tokens=311,
            )
            assert ours(prices, usage) == of_the_library(prices, usage), model.id
