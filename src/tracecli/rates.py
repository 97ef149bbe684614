"""What token counts cost at the rates of a model: as genai-prices works it out, to the last digit, and much faster.

The library takes a third of a millisecond for a price. Between two steps of the rates, the cost is a sum of counts,
each times a factor; so the library is asked once for the factors, and again only for what such a sum does not cover:
media, searches, and counts that contradict each other.
"""

from __future__ import annotations

from bisect import bisect_left
from decimal import Decimal
from typing import TYPE_CHECKING, NamedTuple

from tracecli.exchange import Usage, plain_decimal

if TYPE_CHECKING:
    from genai_prices.types import ModelPrice, TieredPrices

# Which of our counts is which of the library's, with the key of its price and the word for it.
_COUNTS = (
    ("input_tokens", "input_tokens", "input_mtok", "input"),
    ("cache_read_input_tokens", "cache_read_tokens", "cache_read_mtok", "read from cache"),
    ("cache_creation_input_tokens", "cache_write_tokens", "cache_write_mtok", "written to cache"),
    ("cache_creation_1h_input_tokens", "cache_write_1h_tokens", "cache_write_1h_mtok", "written for an hour"),
    ("input_audio_tokens", "input_audio_tokens", "input_audio_mtok", "audio"),
    ("cache_read_audio_tokens", "cache_audio_read_tokens", "cache_audio_read_mtok", "audio read from cache"),
    ("input_image_tokens", "input_image_tokens", "input_image_mtok", "images"),
    ("output_tokens", "output_tokens", "output_mtok", "output"),
    ("output_audio_tokens", "output_audio_tokens", "output_audio_mtok", "audio"),
    ("output_image_tokens", "output_image_tokens", "output_image_mtok", "images"),
    ("reasoning_output_tokens", "output_reasoning_tokens", "output_reasoning_mtok", "reasoning"),
)

# Input that is both cached and of a medium. The library wants to know how much, also where one of the two is zero.
OVERLAPS = [
    (medium, use, count)
    for medium in ("audio", "image")
    for use, count in (
        ("read", "cache_read_input_tokens"),
        ("write", "cache_creation_input_tokens"),
        ("write_1h", "cache_creation_1h_input_tokens"),
    )
]


class Rates:
    """The rates of a model; none of them in steps."""

    def __init__(self, prices: ModelPrice) -> None:
        self.prices = prices
        self.has_input = prices.input_mtok is not None
        self.has_output = prices.output_mtok is not None
        self.charges_output = bool(prices.output_mtok)
        self._words = [
            (ours, "" if word in ("input", "output") else "of which ", f"{word} at ${_text(rate)}/M")
            for ours, _, key, word in _COUNTS
            if (rate := getattr(prices, key)) is not None
        ]
        self._factors = self._asked()

    def cost(self, usage: Usage) -> Decimal:
        """What the counts cost. Raises ValueError, as the library, if they contradict each other."""
        if self._factors is None or not _is_text(usage):
            return self._at_the_library(usage)
        read, write = usage.cache_read_input_tokens or 0, usage.cache_creation_input_tokens or 0
        write_1h, reasoning = usage.cache_creation_1h_input_tokens or 0, usage.reasoning_output_tokens or 0
        asked, answered = usage.input_tokens or 0, usage.output_tokens or 0
        if read + write > asked or write_1h > write or reasoning > answered:
            return self._at_the_library(usage)
        counts = (asked, read, write, write_1h, answered, reasoning)
        return sum((factor * count for factor, count in zip(self._factors, counts, strict=True) if count), Decimal(0))

    def told(self, usage: Usage) -> str:
        """The counts and their rates, in words."""
        told = [
            f"{part_of}{value} {at}"
            for ours, part_of, at in self._words
            if (value := getattr(usage, ours)) or ours == "input_tokens"
        ]
        if usage.web_searches:
            rate = self.prices.web_searches_kcount
            at = "not priced" if rate is None else f"at ${_text(rate)}/1000"
            told.append(f"{usage.web_searches} web searches {at}")
        return ", ".join(told) or "nothing to charge"

    def _at_the_library(self, usage: Usage) -> Decimal:
        cost: Decimal = self.prices.calc_price(_priced(usage, self.prices))["total_price"]
        return cost

    def _asked(self) -> tuple[Decimal, ...] | None:
        """What a token of each count adds to the cost, in the order of `cost`; None if there is more to it."""

        def of(input_tokens: int = 0, **counts: int) -> Decimal:
            return self._at_the_library(Usage(input_tokens=input_tokens, **counts))

        try:
            if of(output_tokens=0):  # the call itself has a price
                return None
            asked, answered = of(1, output_tokens=0), of(output_tokens=1)
            read = of(1, output_tokens=0, cache_read_input_tokens=1)
            written = of(1, output_tokens=0, cache_creation_input_tokens=1)
            written_1h = of(1, output_tokens=0, cache_creation_input_tokens=1, cache_creation_1h_input_tokens=1)
            reasoned = of(output_tokens=1, reasoning_output_tokens=1)
        except ValueError:
            return None
        return asked, read - asked, written - asked, written_1h - written, answered, reasoned - answered


class _Known(NamedTuple):
    prices: ModelPrice
    """Held, so that the ids under which it is known stay its own."""
    steps: list[int]
    """Where a rate changes: with more input tokens than these."""
    rates: dict[int, Rates]
    """By how many steps are below."""


_known: dict[tuple[object, ...], _Known] = {}
_MOST_KNOWN = 1000


def rates_of(prices: ModelPrice, input_tokens: int) -> Rates:
    """The rates for a call with so many input tokens: some rise with their number, for all of them."""
    rates = vars(prices)
    # The library makes new prices for each call at a service tier, always of the same values.
    key = (*rates, *map(id, rates.values()))
    known = _known.get(key)
    if known is None:
        if len(_known) >= _MOST_KNOWN:
            _known.clear()
        known = _known[key] = _Known(prices, _steps(prices), {})
    step = bisect_left(known.steps, input_tokens)
    if step not in known.rates:
        known.rates[step] = Rates(_flat(prices, input_tokens))
    return known.rates[step]


def _steps(prices: ModelPrice) -> list[int]:
    from genai_prices.types import TieredPrices

    rates = [rate for rate in vars(prices).values() if isinstance(rate, TieredPrices)]
    return sorted({tier.start for rate in rates for tier in rate.tiers})


def _flat(prices: ModelPrice, input_tokens: int) -> ModelPrice:
    """The prices for so many input tokens, without steps."""
    from genai_prices.types import ModelPrice, TieredPrices

    def flat(rate: Decimal | TieredPrices | None) -> Decimal | None:
        if not isinstance(rate, TieredPrices):
            return rate
        return next((tier.price for tier in reversed(rate.tiers) if input_tokens > tier.start), rate.base)

    return ModelPrice(**{key: flat(rate) for key, rate in vars(prices).items()})


def _is_text(usage: Usage) -> bool:
    return not (
        usage.input_audio_tokens
        or usage.output_audio_tokens
        or usage.cache_read_audio_tokens
        or usage.input_image_tokens
        or usage.output_image_tokens
        or usage.web_searches
    )


def _priced(usage: Usage, rates: ModelPrice) -> object:
    """The counts that have a price of their own; the library takes the rest at the price of what they are part of."""
    from genai_prices import Usage as PricedUsage

    counts = {
        theirs: value
        for ours, theirs, key, _ in _COUNTS
        if (value := getattr(usage, ours)) is not None and getattr(rates, key) is not None
    }
    for medium, use, cached in OVERLAPS:
        if not (getattr(usage, f"input_{medium}_tokens") and getattr(usage, cached)):
            counts.setdefault(f"cache_{medium}_{use}_tokens", 0)
    if usage.web_searches:
        counts["web_searches"] = usage.web_searches
    return PricedUsage(**counts)


def _text(rate: object) -> str:
    return plain_decimal(rate) if isinstance(rate, Decimal) else str(rate)
