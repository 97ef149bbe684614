"""What an exchange cost: the provider's own figure, else the price of the day of the call, else unknown.

Prices are those of one's own (`price_list`), then list prices, which are bundled with genai-prices
(https://github.com/pydantic/genai-prices); it is never asked to fetch newer ones. Nothing is guessed: without usage,
model or price the cost is None, and `detail` says what was missing.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal, localcontext
from functools import lru_cache
from typing import TYPE_CHECKING, Literal

import msgspec

from tracecli.exchange import Understanding, Usage
from tracecli.price_list import FILE, Entry, PriceList
from tracecli.rates import OVERLAPS, Rates, rates_of

if TYPE_CHECKING:
    from genai_prices.types import ModelInfo, ModelPrice, Provider

NO_PRICES_OF_OUR_OWN = PriceList()

# The provider names of genai-prices; hosts of others are looked up by name there.
PROVIDER_IDS = {
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

# The library's key for each rate of `prices.toml`.
OWN_RATES = {
    "input": "input_mtok",
    "output": "output_mtok",
    "cache_read": "cache_read_mtok",
    "cache_write": "cache_write_mtok",
    "cache_write_1h": "cache_write_1h_mtok",
    "input_audio": "input_audio_mtok",
    "cache_read_audio": "cache_audio_read_mtok",
    "output_audio": "output_audio_mtok",
    "input_image": "input_image_mtok",
    "output_image": "output_image_mtok",
    "web_searches": "web_searches_kcount",
}

# Claude at a regional or multi-region endpoint of Vertex AI; the list has the prices of the global one. Models before
# 4.5, by the library's names, cost the same everywhere. https://platform.claude.com/docs/en/about-claude/pricing
# Bedrock's regions are in the names of its models, and in the list.
_VERTEX_GLOBAL = "aiplatform.googleapis.com"
_VERTEX_REGIONAL = Decimal("1.1")
_SAME_EVERYWHERE = ("claude-3", "claude-4-")

# What the store can hold: DECIMAL(28, 15). More than this, a call cannot have cost.
_SMALLEST_USD = Decimal(1).scaleb(-15)
_LARGEST_USD = Decimal(1_000_000_000)


class Price(msgspec.Struct, frozen=True):
    """What an exchange cost."""

    cost_usd: Decimal | None
    source: Literal["provider", "computed", "estimated", "unknown"]
    detail: str
    """How it was worked out, or why it is unknown; one sentence."""

    def differs(self, other: Price) -> bool:
        """Whether it is another cost, or unknown for another reason. How a cost was worked out names versions too."""
        if self.cost_usd is None and other.cost_usd is None:
            return (self.source, self.detail) != (other.source, other.detail)
        return (self.cost_usd, self.source) != (other.cost_usd, other.source)


class _Unknown(Exception):
    """Why there is no price."""


def price(
    provider: str,
    host: str,
    understanding: Understanding,
    at: datetime,
    prices: PriceList = NO_PRICES_OF_OUR_OWN,
) -> Price:
    """What an exchange cost at the prices of `at`, or what the provider says it cost. Raises nothing."""
    reported = understanding.reported_cost_usd
    if reported is not None:
        return _storable(Price(reported, "provider", f"as reported by {provider}"))
    try:
        return _storable(_computed(provider, host, understanding, at, prices))
    except _Unknown as why:
        return Price(None, "unknown", str(why))
    except Exception as error:  # the library's own checks of counts, and whatever else a new version may raise
        return Price(None, "unknown", f"genai-prices could not price it: {error}")


def _storable(found: Price) -> Price:
    """The same to the last digit that is stored; unknown if the figure cannot be true."""
    cost = found.cost_usd
    if cost is None or not cost.is_finite() or not 0 <= cost <= _LARGEST_USD:
        return Price(None, "unknown", f"a cost of {cost} USD cannot be true ({found.detail})")
    with localcontext(prec=40):
        return Price(cost.quantize(_SMALLEST_USD), found.source, found.detail)


def _computed(provider: str, host: str, understanding: Understanding, at: datetime, prices: PriceList) -> Price:
    usage = understanding.usage
    if usage is None:
        raise _Unknown("no usage was reported")
    if usage.input_tokens is None:
        raise _Unknown("the number of input tokens was not reported")
    usage = _charged(usage)
    understanding = msgspec.structs.replace(understanding, usage=usage)
    names = _names(provider, understanding)
    if prices.problem:
        raise _Unknown(prices.problem)
    tier = None if _is_standard(provider, understanding.service_tier) else understanding.service_tier
    own = prices.find(provider, names, tier, at)
    return _at_list_price(provider, host, understanding, names, at) if own is None else _at_own_price(*own, usage)


def _charged(usage: Usage) -> Usage:
    """The counts that are charged for, where a provider says that they are others."""
    if usage.billed_input_tokens is None:
        return usage
    return Usage(input_tokens=usage.billed_input_tokens, output_tokens=usage.billed_output_tokens)


def _at_own_price(number: int, entry: Entry, usage: Usage) -> Price:
    name = f"{FILE}, price {number}"
    rates = rates_of(own_rates(entry), usage.input_tokens or 0)
    _check(name, entry.model, rates, usage)
    return Price(rates.cost(usage), "computed", f"{name}: {_about(entry)}, {rates.told(usage)}")


def _about(entry: Entry) -> str:
    tier = f" ({entry.service_tier})" if entry.service_tier else ""
    return entry.model + tier + (f" from {entry.from_}" if entry.from_ else "")


@lru_cache(maxsize=1000)
def own_rates(entry: Entry) -> ModelPrice:
    """The rates of an entry; where the library wants one that it does not name, that of what it is part of."""
    from genai_prices.types import ModelPrice

    rates = {theirs: rate for ours, theirs in OWN_RATES.items() if (rate := getattr(entry, ours)) is not None}
    if "cache_write_1h_mtok" in rates:
        rates.setdefault("cache_write_mtok", entry.input)
    if "cache_audio_read_mtok" in rates:
        rates.setdefault("cache_read_mtok", entry.input)
        rates.setdefault("input_audio_mtok", entry.input)
    for medium, use, _ in OVERLAPS:
        if f"input_{medium}_mtok" in rates and f"cache_{use}_mtok" in rates:
            rates.setdefault(f"cache_{medium}_{use}_mtok", rates[f"input_{medium}_mtok"])
    return ModelPrice(**rates)


def _at_list_price(provider: str, host: str, understanding: Understanding, names: Sequence[str], at: datetime) -> Price:
    from genai_prices import __version__

    usage = understanding.usage or Usage()
    found = _model(provider, host, tuple(names))
    if isinstance(found, str):
        raise _Unknown(found)
    owner, model = found
    context = _context(provider, owner, model, understanding.service_tier, at)
    rates = rates_of(model.get_prices(at, context), usage.input_tokens or 0)
    _check("genai-prices", model.id, rates, usage)
    cost = rates.cost(usage)
    tier = f" ({', '.join(context.values())})" if context else ""
    detail = f"genai-prices {__version__}: {model.id}{tier}, {rates.told(usage)}"
    if _is_regional(provider, host, model):
        return Price(cost * _VERTEX_REGIONAL, "computed", f"{detail}, times {_VERTEX_REGIONAL} at a regional endpoint")
    return Price(cost, "computed", detail)


def _is_regional(provider: str, host: str, model: ModelInfo) -> bool:
    """Whether a region that the list does not know of has its own price."""
    if provider != "gcp.vertex_ai" or host == _VERTEX_GLOBAL or not host.endswith(".googleapis.com"):
        return False
    return model.id.startswith("claude-") and not model.id.startswith(_SAME_EVERYWHERE)


def _names(provider: str, understanding: Understanding) -> list[str]:
    """The model that answered, then the one that was asked for."""
    names = [understanding.response_model, understanding.request_model]
    if provider == "aws.bedrock":
        # Answers leave out the region's prefix, on which the price depends.
        names.reverse()
    plain = [_plain(name) for name in names if name]
    if not plain:
        raise _Unknown("neither request nor answer names a model")
    return list(dict.fromkeys(plain))


@lru_cache(maxsize=1000)
def _model(provider: str, host: str, names: tuple[str, ...]) -> tuple[Provider, ModelInfo] | str:
    """The first of the models that the list knows, or why there is none."""
    from genai_prices.data_snapshot import get_snapshot

    snapshot = get_snapshot()
    identifier = PROVIDER_IDS.get(provider)
    url = None if identifier else f"https://{host}/"
    try:
        snapshot.find_provider(None, identifier, url)
    except LookupError:
        return f"genai-prices knows no prices of {provider} at {host}"
    for name in names:
        try:
            return snapshot.find_provider_model(name, None, identifier, url)
        except LookupError:
            continue
    return f"genai-prices knows no model {' or '.join(names)} of {provider}"


def _plain(name: str) -> str:
    """Without Gemini's `models/`, and the model of an ARN at Bedrock; profiles of one's own stay what they are."""
    if name.startswith("arn:") and "application-inference-profile" not in name:
        return name.rpartition("/")[2]
    return name.removeprefix("models/")


def _context(provider: str, owner: Provider, model: ModelInfo, tier: str | None, at: datetime) -> dict[str, str] | None:
    """The library's words for a service tier, if it has a price for it as of that day."""
    if tier == "fast" and provider == "anthropic":
        context = {"speed": "fast"}
    elif tier == "batch":
        context = {"processing": "batch"}
    elif tier:
        context = {"service_tier": tier}
    else:
        return None
    # Variants of a model that the provider only resells are not looked at by the library.
    variants = model.price_variants or ()
    for variant in variants if variants and any(model is own for own in owner.models) else ():
        if variant.when == context and (variant.constraint is None or variant.constraint.active(at)):
            return context
    if _is_standard(provider, tier):
        return None
    raise _Unknown(f"genai-prices knows no price of {model.id} for the service tier {tier} on {at:%Y-%m-%d}")


def _is_standard(provider: str, tier: str | None) -> bool:
    return tier in _STANDARD_TIERS or tier in _STANDARD_TIERS_OF.get(provider, ())


def _check(source: str, model: str, rates: Rates, usage: Usage) -> None:
    """The library counts what has no price as nothing; we say that it is unknown."""
    if not rates.has_input and usage.input_tokens:
        raise _Unknown(f"{source} knows no price per input token of {model}")
    if not rates.has_output and usage.output_tokens:
        raise _Unknown(f"{source} knows no price per output token of {model}")
    if rates.charges_output and usage.output_tokens is None:
        raise _Unknown("the number of output tokens was not reported")
