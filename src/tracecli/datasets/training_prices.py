"""What providers ask for training, as they list it, and what a dataset would cost to train on. Pure.

Prices are US dollars per million tokens of the training file, times the epochs. Who changes one changes the month with
it in which it was seen.
"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import NamedTuple

from tracecli.datasets.definition import TRAIN
from tracecli.datasets.manifest import File, Manifest

EPOCHS = 3
"""How often a training goes over the file, where nothing else is said. Providers choose 1 to 4 by themselves."""
_PREFERENCE = "-preference"
_MILLION = 1_000_000

_OPENAI = "https://developers.openai.com/api/docs/pricing"
_TOGETHER = "https://www.together.ai/pricing"
_FIREWORKS = "https://fireworks.ai/pricing"
_VERTEX = "https://cloud.google.com/vertex-ai/generative-ai/pricing"


class TrainingPrice(NamedTuple):
    """A price of a provider's list."""

    model: str
    """Or the size of models that it is for."""
    chat: Decimal | None
    preference: Decimal | None
    """US dollars per million tokens; None: not listed for this kind of training."""


class PriceList(NamedTuple):
    """The prices of a provider."""

    provider: str
    url: str
    seen: str
    """The month in which they were listed so, as `2026-09`."""
    prices: tuple[TrainingPrice, ...]
    remark: str = ""
    """What to know of it: a sentence."""


class Estimate(NamedTuple):
    """What training on the examples of a format would cost."""

    format: str
    listed: PriceList
    price: TrainingPrice
    usd_per_million: Decimal
    tokens: int
    """Of one epoch."""
    usd_epoch: Decimal
    usd: Decimal
    """Of `EPOCHS` epochs."""


def _both(model: str, usd: str) -> TrainingPrice:
    return TrainingPrice(model, Decimal(usd), Decimal(usd))


def _apart(model: str, chat: str, preference: str) -> TrainingPrice:
    return TrainingPrice(model, Decimal(chat), Decimal(preference))


def _chat(model: str, usd: str) -> TrainingPrice:
    return TrainingPrice(model, Decimal(usd), None)


PRICES: dict[str, PriceList] = {
    "openai": PriceList(
        "OpenAI",
        _OPENAI,
        "2026-07",
        (
            _both("gpt-4.1", "25"),
            _both("gpt-4.1-mini", "5"),
            _both("gpt-4o", "25"),
            _both("gpt-4o-mini", "3"),
        ),
        # https://developers.openai.com/api/docs/deprecations#update-to-openais-self-serve-fine-tuning
        "OpenAI takes new trainings only from organisations that have trained before, and none from 2027-01-06 on. "
        "Azure takes the same files, and has prices of its own by region and tier.",
    ),
    "together": PriceList(
        "Together AI",
        _TOGETHER,
        "2026-09",
        (
            _apart("models up to 16B, LoRA", "0.48", "1.20"),
            _apart("models of 17B to 69B, LoRA", "1.50", "3.75"),
            _apart("models of 70B to 100B, LoRA", "2.90", "7.25"),
        ),
    ),
    "fireworks": PriceList(
        "Fireworks AI",
        _FIREWORKS,
        "2026-06",
        (
            _apart("models up to 16B, LoRA", "0.50", "1.00"),
            _apart("models of 16.1B to 80B, LoRA", "3.00", "6.00"),
            _apart("models of 80B to 300B, LoRA", "6.00", "12.00"),
            _apart("models of more than 300B, LoRA", "10.00", "20.00"),
        ),
    ),
    "vertex": PriceList(
        "Google Vertex AI",
        _VERTEX,
        "2026-09",
        (
            _chat("gemini-2.5-pro", "25"),
            _chat("gemini-2.5-flash", "5"),
            _chat("gemini-3.5-flash", "10"),
            _chat("gemini-3.1-flash-lite", "3"),
        ),
    ),
    "bedrock": PriceList("Amazon Bedrock", "https://aws.amazon.com/bedrock/pricing/", "", ()),
}
"""By the first word of the names of the provider's formats; without prices: its list has them, and we have not."""


def estimates(manifest: Manifest) -> list[Estimate]:
    """What training on each format would cost, in the order of the files and of the lists."""
    return [
        Estimate(file.format, listed, price, usd, tokens, _cost(tokens, usd), _cost(tokens * EPOCHS, usd))
        for file, tokens in _trained(manifest)
        if (listed := price_list(file.format))
        for price in listed.prices
        if (usd := price.preference if file.format.endswith(_PREFERENCE) else price.chat) is not None
    ]


def unpriced(manifest: Manifest) -> list[str]:
    """The formats of which nothing can be said."""
    priced = {one.format for one in estimates(manifest)}
    return [file.format for file, _ in _trained(manifest) if file.format not in priced]


def price_list(name: str) -> PriceList | None:
    """The list of the provider that a format is for; None: it is for whoever trains on their own hardware."""
    return PRICES.get(name.partition("-")[0])


def _trained(manifest: Manifest) -> Iterator[tuple[File, int]]:
    """The files to train on, and about how many tokens they have."""
    part = next((one for one in manifest.splits if one.name == TRAIN), None)
    for file in manifest.files:
        if file.split == TRAIN and file.path and part is not None and part.examples:
            yield file, part.tokens.total * file.examples // part.examples


def _cost(tokens: int, usd_per_million: Decimal) -> Decimal:
    return tokens * usd_per_million / _MILLION
