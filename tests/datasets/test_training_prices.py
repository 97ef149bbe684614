"""What training would cost, against sums by hand."""

from __future__ import annotations

import re
from decimal import Decimal

import pytest

from tests.support.cards import file, usual
from tracecli.datasets.formats.registry import FORMATS
from tracecli.datasets.training_prices import EPOCHS, PRICES, estimates, price_list, unpriced


def costs(*formats: str) -> dict[str, tuple[Decimal, Decimal]]:
    """Of one epoch and of three, by the model."""
    return {one.price.model: (one.usd_epoch, one.usd) for one in estimates(usual(*formats))}


def test_a_million_tokens() -> None:
    """A million tokens cost what the list says, and three epochs three times that."""
    assert EPOCHS == 3
    assert costs("openai")["gpt-4.1-mini"] == (Decimal(5), Decimal(15))
    assert costs("together")["models of 17B to 69B, LoRA"] == (Decimal("1.5"), Decimal("4.5"))
    assert costs("together-preference")["models of 17B to 69B, LoRA"] == (Decimal("3.75"), Decimal("11.25"))
    assert costs("vertex")["gemini-2.5-flash"] == (Decimal(5), Decimal(15))
    assert costs("openai-preference") == costs("openai")


def test_exact() -> None:
    """Sums are exact, however odd the numbers are: 123,457 tokens at 0.48 are 0.05925936."""
    train = usual().splits[0]
    odd = train.tokens._replace(total=123_457)
    manifest = usual("together", splits=[type(train)(name="train", examples=800, conversations=1, tokens=odd)])
    assert (estimates(manifest)[0].usd_epoch, estimates(manifest)[0].usd) == (
        Decimal("0.05925936"),
        Decimal("0.17777808"),
    )


def test_examples_that_a_format_cannot_tell() -> None:
    """They are not trained on: a file with half of the examples has half of the tokens."""
    [first, *_] = estimates(usual(files=[file("openai", "train", 400), file("openai", "test", 100)]))
    assert first.tokens == 500_000


def test_what_has_no_price() -> None:
    """Of formats of nobody, and of lists without a price, there is no estimate; without a file there is nothing."""
    assert costs("huggingface", "prompt-completion", "bedrock-claude", "vertex-preference") == {}
    assert unpriced(usual("huggingface", "openai", "vertex-preference")) == ["huggingface", "vertex-preference"]
    assert unpriced(usual(files=[file("openai", "test", 1), file("huggingface", "train", 0, path="")])) == []
    assert estimates(usual(splits=[])) == []


@pytest.mark.parametrize("name", sorted(FORMATS))
def test_kinds(name: str) -> None:
    """The names of formats say their kind, by which the price is chosen."""
    assert name.endswith("-preference") == (FORMATS[name].kind == "preference")


@pytest.mark.parametrize("family", sorted(PRICES))
def test_sources(family: str) -> None:
    """Each list has its address, and each price the month in which it was seen."""
    listed = PRICES[family]
    assert listed.url.startswith("https://")
    assert price_list(f"{family}-preference") is listed
    assert not listed.prices or re.fullmatch(r"20\d\d-(0[1-9]|1[0-2])", listed.seen)
    assert all(usd is None or usd > 0 for one in listed.prices for usd in (one.chat, one.preference))
