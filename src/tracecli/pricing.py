"""What an exchange cost: the provider's own figure, else list prices as of the day of the call, else unknown.

List prices are those bundled with genai-prices (https://github.com/pydantic/genai-prices); it is never asked to fetch
newer ones. Nothing is guessed: without usage, model or price the cost is None, and `detail` says what was missing.
"""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Literal

import msgspec

from tracecli.exchange import Understanding, Usage, plain_decimal

if TYPE_CHECKING:
    from genai_prices.types import ModelInfo, ModelPrice, Provider

# The provider names of genai-prices; hosts of others are looked up by name there.
_PROVIDER_IDS = {
    "openai": "openai",
    "azure.ai.openai": "azure",
    "azure.ai.inference": "azure",
    "anthropic": "anthropic",
    "gcp.gemini": "google",
    "gcp.vertex_ai": "google",
    "aws.bedrock": "aws",
    "mistral_ai": "mistral",
    "cohere": "cohere",
    "groq": "groq",
    "deepseek": "deepseek",
    "x_ai": "x-ai",
    "openrouter": "openrouter",
    "together_ai": "together",
    "fireworks_ai": "fireworks",
    "perplexity": "perplexity",
    "cerebras": "cerebras",
    "voyage_ai": "voyageai",
    "z_ai": "zai",
    "moonshot_ai": "moonshotai",
    "minimax": "minimax",
    "novita_ai": "novita",
    "baseten": "baseten",
}

# Service tiers at list price, in the words of OpenAI, Anthropic, Groq and Google.
# https://console.groq.com/docs/service-tiers: flex costs the same as on demand there
_STANDARD_TIERS = {None, "auto", "default", "standard", "standard_only", "on_demand"}
_STANDARD_TIERS_OF = {"groq": {"flex"}}

# Which of our counts is which of the library's, with the key of its price and the word for it.
_COUNTS = (
    ("input_tokens", "input_tokens", "input_mtok", "input"),
    ("cache_read_input_tokens", "cache_read_tokens", "cache_read_mtok", "read from cache"),
    ("cache_creation_input_tokens", "cache_write_tokens", "cache_write_mtok", "written to cache"),
    ("cache_creation_1h_input_tokens", "cache_write_1h_tokens", "cache_write_1h_mtok", "written for an hour"),
    ("input_audio_tokens", "input_audio_tokens", "input_audio_mtok", "audio"),
    ("cache_read_audio_tokens", "cache_audio_read_tokens", "cache_audio_read_mtok", "audio read from cache"),
    ("output_tokens", "output_tokens", "output_mtok", "output"),
    ("output_audio_tokens", "output_audio_tokens", "output_audio_mtok", "audio"),
    ("reasoning_output_tokens", "output_reasoning_tokens", "output_reasoning_mtok", "reasoning"),
)


class Price(msgspec.Struct, frozen=True):
    """What an exchange cost."""

    cost_usd: Decimal | None
    source: Literal["provider", "computed", "estimated", "unknown"]
    detail: str
    """How it was worked out, or why it is unknown; one sentence."""


class _Unknown(Exception):
    """Why there is no price."""


def price(provider: str, host: str, understanding: Understanding, at: datetime) -> Price:
    """What an exchange cost at the list prices of `at`, or what the provider says it cost. Raises nothing."""
    reported = understanding.reported_cost_usd
    if reported is not None:
        return Price(reported, "provider", f"as reported by {provider}")
    try:
        return _computed(provider, host, understanding, at)
    except _Unknown as why:
        return Price(None, "unknown", str(why))
    except Exception as error:  # the library's own checks of counts, and whatever else a new version may raise
        return Price(None, "unknown", f"genai-prices could not price it: {error}")


def _computed(provider: str, host: str, understanding: Understanding, at: datetime) -> Price:
    from genai_prices import __version__

    usage = understanding.usage
    if usage is None:
        raise _Unknown("no usage was reported")
    if usage.input_tokens is None:
        raise _Unknown("the number of input tokens was not reported")
    owner, model = _model(provider, host, understanding)
    context = _context(provider, owner, model, understanding.service_tier)
    rates = model.get_prices(at, context)
    _check(model, rates, usage)
    priced = _priced(usage, rates)
    cost = model.calc_price(priced, owner, genai_request_timestamp=at, price_context=context).total_price
    tier = f" ({', '.join(context.values())})" if context else ""
    return Price(cost, "computed", f"genai-prices {__version__}: {model.id}{tier}, {_how(usage, rates)}")


def _model(provider: str, host: str, understanding: Understanding) -> tuple[Provider, ModelInfo]:
    """The model that answered, else the one that was asked for."""
    from genai_prices.data_snapshot import get_snapshot

    names = [understanding.response_model, understanding.request_model]
    if provider == "aws.bedrock":
        # Answers leave out the region's prefix, on which the price depends.
        names.reverse()
    candidates = [_plain(name) for name in names if name]
    if not candidates:
        raise _Unknown("neither request nor answer names a model")
    snapshot = get_snapshot()
    identifier = _PROVIDER_IDS.get(provider)
    url = None if identifier else f"https://{host}/"
    try:
        snapshot.find_provider(None, identifier, url)
    except LookupError:
        raise _Unknown(f"genai-prices knows no prices of {provider} at {host}") from None
    for candidate in candidates:
        try:
            return snapshot.find_provider_model(candidate, None, identifier, url)
        except LookupError:
            continue
    raise _Unknown(f"genai-prices knows no model {' or '.join(dict.fromkeys(candidates))} of {provider}")


def _plain(name: str) -> str:
    """Without Gemini's `models/`, and the model of an ARN at Bedrock; profiles of one's own stay what they are."""
    if name.startswith("arn:") and "application-inference-profile" not in name:
        return name.rpartition("/")[2]
    return name.removeprefix("models/")


def _context(provider: str, owner: Provider, model: ModelInfo, tier: str | None) -> dict[str, str] | None:
    """The library's words for a service tier, if it has a price for it."""
    if tier == "fast" and provider == "anthropic":
        context = {"speed": "fast"}
    elif tier == "batch":
        context = {"processing": "batch"}
    elif tier:
        context = {"service_tier": tier}
    else:
        return None
    has_price = any(variant.when == context for variant in model.price_variants or ())
    if has_price and any(model is one for one in owner.models):
        return context
    if tier in _STANDARD_TIERS or tier in _STANDARD_TIERS_OF.get(provider, ()):
        return None
    raise _Unknown(f"genai-prices knows no price of {model.id} for the service tier {tier}")


def _check(model: ModelInfo, rates: ModelPrice, usage: Usage) -> None:
    """The library counts what has no price as nothing; we say that it is unknown."""
    if rates.input_mtok is None and usage.input_tokens:
        raise _Unknown(f"genai-prices knows no price per input token of {model.id}")
    if rates.output_mtok is None and usage.output_tokens:
        raise _Unknown(f"genai-prices knows no price per output token of {model.id}")
    if rates.output_mtok and usage.output_tokens is None:
        raise _Unknown("the number of output tokens was not reported")


def _priced(usage: Usage, rates: ModelPrice) -> object:
    """The counts that have a price of their own; the library takes the rest at the price of what they are part of."""
    from genai_prices import Usage as PricedUsage

    counts = {
        theirs: value
        for ours, theirs, key, _ in _COUNTS
        if (value := getattr(usage, ours)) is not None and getattr(rates, key) is not None
    }
    if usage.web_searches:
        counts["web_searches"] = usage.web_searches
    return PricedUsage(**counts)


def _how(usage: Usage, rates: ModelPrice) -> str:
    """The counts and their rates, in words."""
    told = []
    for ours, _, key, word in _COUNTS:
        value, rate = getattr(usage, ours), getattr(rates, key)
        if rate is not None and (value or word == "input"):
            part_of = "" if word in ("input", "output") else "of which "
            told.append(f"{part_of}{value} {word} at ${_rate(rate, usage.input_tokens or 0)}/M")
    if usage.web_searches:
        rate = rates.web_searches_kcount
        at = "not priced" if rate is None else f"at ${_rate(rate, usage.input_tokens or 0)}/1000"
        told.append(f"{usage.web_searches} web searches {at}")
    return ", ".join(told) or "nothing to charge"


def _rate(rate: object, input_tokens: int) -> str:
    """The rate that applies: some rise with the length of the input, for all of it."""
    from genai_prices.types import TieredPrices

    if isinstance(rate, TieredPrices):
        tiers = [tier.price for tier in rate.tiers if input_tokens > tier.start]
        rate = tiers[-1] if tiers else rate.base
    return plain_decimal(rate) if isinstance(rate, Decimal) else str(rate)
