"""Costs: the provider's own figure first, list prices of the day, and no figure where something is missing."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any

import pytest

from tests.providers.recordings import Row, exchange, needs_recordings, operation, rows
from tracecli.exchange import Understanding, Usage
from tracecli.pricing import Price, price
from tracecli.understanding import understand

PROFILE = "arn:aws:bedrock:us-east-1:1:application-inference-profile/abc"
AT = dt.datetime(2025, 11, 22, 12, tzinfo=dt.UTC)


def priced(provider: str = "openai", host: str = "api.openai.com", at: dt.datetime = AT, **found: Any) -> Price:
    usage = found.pop("usage", Usage(input_tokens=1_000_000, output_tokens=1_000_000))
    return price(provider, host, Understanding(understood=True, usage=usage, **found), at)


def test_list_price() -> None:
    """Input and output at the day's rates; the detail names source, model, counts and rates."""
    usage = Usage(input_tokens=11, output_tokens=9, cache_read_input_tokens=4)
    found = priced(response_model="gpt-4o-mini-2024-07-18", usage=usage)
    assert found.cost_usd == (7 * Decimal("0.15") + 4 * Decimal("0.075") + 9 * Decimal("0.60")) / 1_000_000
    assert found.source == "computed"
    assert found.detail.startswith("genai-prices 0.")
    assert found.detail.endswith(
        ": gpt-4o-mini, 11 input at $0.15/M, of which 4 read from cache at $0.075/M, 9 output at $0.6/M"
    )


def test_prices_are_dated() -> None:
    """A call is priced as of its day."""
    before, after = (
        priced(response_model="o3", at=dt.datetime(2025, month, 1, tzinfo=dt.UTC)).cost_usd for month in (5, 7)
    )
    assert (before, after) == (Decimal(50), Decimal(10))


@pytest.mark.parametrize(
    ("tier", "cost"),
    [
        (None, "11.25"),
        ("default", "11.25"),
        ("auto", "11.25"),
        ("flex", "5.625"),
        ("priority", "22.5"),
        ("scale", None),
    ],
)
def test_service_tiers(tier: str | None, cost: str | None) -> None:
    """Tiers have prices of their own; one without a known price has none."""
    found = priced(response_model="gpt-5", service_tier=tier, at=dt.datetime(2026, 11, 22, tzinfo=dt.UTC))
    assert found.cost_usd == (None if cost is None else Decimal(cost))
    if cost is None:
        assert found.detail.endswith("knows no price of gpt-5 for the service tier scale on 2026-11-22")


def test_tiers_before_their_price_is_known() -> None:
    """The list tells what a tier costs since some day; before that it is unknown, not the standard price."""
    assert priced(response_model="gpt-5", service_tier="flex").cost_usd is None
    assert priced("azure.ai.openai", "x", response_model="gpt-5", service_tier="flex").cost_usd is None
    assert priced("groq", "x", response_model="llama-3.1-8b-instant", service_tier="on_demand").cost_usd is not None


def test_anthropic_cache_and_searches() -> None:
    """Cache writes cost by how long they last, searches by the piece."""
    usage = Usage(
        input_tokens=1_000_000,
        output_tokens=0,
        cache_read_input_tokens=100_000,
        cache_creation_input_tokens=300_000,
        cache_creation_1h_input_tokens=200_000,
        web_searches=3,
    )
    found = priced("anthropic", "api.anthropic.com", response_model="claude-haiku-4-5-20251001", usage=usage)
    millions = (
        Decimal("0.6") * 1 + Decimal("0.1") * Decimal("0.1") + Decimal("0.1") * Decimal("1.25") + Decimal("0.2") * 2
    )
    assert found.cost_usd == millions + 3 * Decimal("0.01")
    assert "3 web searches at $10/1000" in found.detail


def test_what_is_charged_for() -> None:
    """Cohere charges for fewer tokens than the model saw."""
    usage = Usage(
        input_tokens=9_000_000,
        output_tokens=9_000_000,
        cache_read_input_tokens=5_000_000,
        billed_input_tokens=1_000_000,
        billed_output_tokens=1_000_000,
    )
    found = priced("cohere", "api.cohere.com", request_model="command-r7b-12-2024", usage=usage)
    assert found.cost_usd == Decimal("0.0375") + Decimal("0.15")
    assert "1000000 input at $0.0375/M" in found.detail


def test_images() -> None:
    """Tokens of images have prices of their own, on the way in and on the way out."""
    usage = Usage(input_tokens=300, input_image_tokens=200, output_tokens=1000, output_image_tokens=900)
    at = dt.datetime(2026, 11, 22, tzinfo=dt.UTC)
    found = priced(response_model="gpt-image-1.5", usage=usage, at=at)
    assert found.cost_usd == Decimal(100 * 5 + 200 * 8 + 100 * 10 + 900 * 32) / 1_000_000
    assert "of which 900 images at $32/M" in found.detail


def test_the_providers_figure_wins() -> None:
    """What the provider says it cost is the cost, whatever a table says, zero included."""
    found = priced("openrouter", "openrouter.ai", response_model="openai/gpt-4o", reported_cost_usd=Decimal("0.5"))
    assert found == Price(Decimal("0.5"), "provider", "as reported by openrouter")
    assert priced("openrouter", reported_cost_usd=Decimal(0), usage=None).cost_usd == 0


def test_which_model() -> None:
    """The model that answered decides, else the one asked for; at Bedrock the one asked for, with its region."""
    assert priced(response_model="gpt-4o-mini", request_model="gpt-4o").detail.count("gpt-4o-mini") == 1
    assert "gpt-4o-mini" in priced(response_model="unheard-of", request_model="gpt-4o-mini").detail
    assert "gemini-2.5-pro" in priced("gcp.gemini", "x", response_model="models/gemini-2.5-pro").detail
    answered = "claude-haiku-4-5-20251001"
    regional, worldwide = (
        priced("aws.bedrock", "x", request_model=f"{region}.anthropic.{answered}-v1:0", response_model=answered)
        for region in ("eu", "global")
    )
    assert worldwide.cost_usd == 6
    assert regional.cost_usd == Decimal("6.6")
    arn = "arn:aws:bedrock:us-east-1::foundation-model/amazon.nova-micro-v1:0"
    assert priced("aws.bedrock", "x", request_model=arn).cost_usd == Decimal("0.175")


@pytest.mark.parametrize(
    ("host", "model", "cost"),
    [
        ("aiplatform.googleapis.com", "claude-haiku-4-5@20251001", "6"),
        ("us-east5-aiplatform.googleapis.com", "claude-haiku-4-5@20251001", "6.6"),
        ("aiplatform.eu.rep.googleapis.com", "claude-opus-4-5@20251101", "33"),
        ("gateway.example", "claude-haiku-4-5@20251001", "6"),
        ("us-east5-aiplatform.googleapis.com", "claude-3-5-haiku@20241022", "4.8"),
        ("us-east5-aiplatform.googleapis.com", "claude-opus-4-1@20250805", "90"),
        ("us-east5-aiplatform.googleapis.com", "gemini-2.5-flash", "2.8"),
    ],
)
def test_regions_of_vertex(host: str, model: str, cost: str) -> None:
    """Claude since 4.5 costs a tenth more at Vertex's regional endpoints, and the detail says so; all else does not."""
    found = priced("gcp.vertex_ai", host, request_model=model, at=dt.datetime(2026, 11, 22, tzinfo=dt.UTC))
    assert found.cost_usd == Decimal(cost)
    assert found.detail.endswith("times 1.1 at a regional endpoint") is (cost in ("6.6", "33"))


@pytest.mark.parametrize(
    ("found", "why"),
    [
        (priced(response_model="gpt-4o", usage=None), "no usage was reported"),
        (priced(response_model="gpt-4o", usage=Usage(output_tokens=5)), "the number of input tokens was not reported"),
        (priced(response_model="gpt-4o", usage=Usage(input_tokens=5)), "the number of output tokens was not reported"),
        (priced(), "neither request nor answer names a model"),
        (priced(response_model="unheard-of"), "genai-prices knows no model unheard-of of openai"),
        (priced("aws.bedrock", "x", request_model=PROFILE), "knows no model arn:"),
        (priced("ollama", "localhost", response_model="llama3"), "genai-prices knows no prices of ollama at localhost"),
        (
            priced("openai_compatible", "llm.example", response_model="gpt-4o"),
            "knows no prices of openai_compatible at",
        ),
        (priced(response_model="dall-e-3"), "dall-e-3"),
        (
            priced(response_model="gpt-4o", usage=Usage(input_tokens=5, cache_read_input_tokens=9, output_tokens=1)),
            "genai-prices could not price it: Invalid usage data",
        ),
    ],
)
def test_unknown(found: Price, why: str) -> None:
    """Where something is missing there is no figure, least of all zero, and the reason is told."""
    assert (found.cost_usd, found.source) == (None, "unknown")
    assert why in found.detail


def test_no_tokens_cost_nothing() -> None:
    """Zero is told where it was worked out: no tokens at a known price."""
    assert priced(response_model="gpt-4o", usage=Usage(input_tokens=0, output_tokens=0)).cost_usd == 0
    assert priced(response_model="omni-moderation-latest", usage=Usage(input_tokens=5)).cost_usd is None


# Where the list has another price than the table that was worked out by hand: our cost, and why.
DIFFERENT = {
    # The table is newer: it has the price of DeepSeek-V3.2, which `deepseek-chat` stood for from 2025-09-29 on, and
    # genai-prices 0.2.3 still that of V3, 0.27 and 1.10 a million in the daytime. The name has been retired since.
    # https://api-docs.deepseek.com/updates  https://api-docs.deepseek.com/quick_start/pricing-details-usd
    "5eba26b15ff0c7cb": "0.00001204",
    # The list is right. Asked for was `eu.anthropic.claude-haiku-4-5-20251001-v1:0`; the table priced the name in the
    # answer, which has lost its region. Since Claude Sonnet 4.5 (2025-09-29), "regional and multi-region endpoints
    # include a 10% premium over global endpoints" at Bedrock, for all tokens: 1.1 times the table's 0.0036191.
    # https://platform.claude.com/docs/en/about-claude/pricing
    # https://docs.aws.amazon.com/bedrock/latest/userguide/global-cross-region-inference.html
    "23b5fab2c7e9cf29": "0.00398101",
}


def with_expected_price() -> list[Any]:
    recorded = {row["id"]: row for row in rows("exchanges.jsonl")}
    return [
        pytest.param(recorded[row["id"]], row["expected_usd"], id=row["id"])
        for row in rows("prices.jsonl")
        if (found := operation(recorded[row["id"]])) is not None and found.format
    ] or [pytest.param({}, "", id="none")]


@needs_recordings
@pytest.mark.parametrize(("row", "expected_usd"), with_expected_price())
def test_recorded_prices(row: Row, expected_usd: str) -> None:
    """Recorded calls cost what was worked out by hand from price lists, but for two, of which it is known why."""
    recorded, request, response = exchange(row)
    found, _ = understand(recorded, request, response)
    cost = price(recorded.provider, recorded.host, found, dt.datetime(2026, 11, 22, 12, tzinfo=dt.UTC))
    assert cost.source == "computed"
    assert cost.cost_usd == Decimal(DIFFERENT.get(row["id"], expected_usd))
