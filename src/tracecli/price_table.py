"""The prices in use, as a table: those of one's own, then those bundled with genai-prices. Pure."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator
from decimal import Decimal
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from tracecli.exchange import plain_decimal
from tracecli.price_list import FILE, Entry, PriceList
from tracecli.pricing import OWN_RATES, PROVIDER_IDS, own_rates

if TYPE_CHECKING:
    from genai_prices.types import ModelInfo, ModelPrice, Provider

LIST = "genai-prices"

type Status = Literal["in force", "later", "replaced"]
"""Of an entry of `prices.toml`: its day may be still to come, or that of a later one for the same model be there."""


class Rate(msgspec.Struct, frozen=True):
    """A rate in US dollars; `steps` are the rates above a length of the input in tokens, for all of its tokens."""

    usd: Decimal
    steps: tuple[tuple[int, Decimal], ...] = ()


class ListedPrice(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the table."""

    provider: str
    model: str
    service_tier: str | None = None
    """In the price list's words; None: the standard one."""
    from_: dt.date | None = None
    """Of an entry of `prices.toml`: from when it holds."""
    entry: int | None = None
    """The number of that entry, from 1; None: a list price."""
    note: str = ""
    status: Status = "in force"
    rates: dict[str, Rate]
    """By the keys of `prices.toml`: per million tokens, and per thousand searches."""
    other: dict[str, Rate] = {}
    """Rates for what has no key there, by the price list's names."""

    def as_json(self) -> dict[str, Any]:
        """The line as JSON values: money as plain decimal text."""
        every = self.rates | self.other
        return {
            "provider": self.provider,
            "model": self.model,
            "service_tier": self.service_tier,
            "source": LIST if self.entry is None else FILE,
            "entry": self.entry,
            "from": self.from_ and self.from_.isoformat(),
            "status": self.status,
            "note": self.note,
            "rates": {name: plain_decimal(self.rates[name].usd) if name in self.rates else None for name in OWN_RATES},
            "other_rates": {name: plain_decimal(rate.usd) for name, rate in self.other.items()},
            "above_input_tokens": {
                name: [{"tokens": above, "rate": plain_decimal(usd)} for above, usd in rate.steps]
                for name, rate in every.items()
                if rate.steps
            },
        }


def version() -> str:
    """The version of the price list."""
    from genai_prices import __version__

    return __version__


def providers(prices: PriceList) -> list[str]:
    """The providers that have prices; where the price list covers one that we have no name for, its name there."""
    return sorted({*_list_providers(), *(entry.provider for entry in prices.entries)})


def table(
    prices: PriceList, at: dt.datetime, model: str | None = None, provider: str | None = None
) -> list[ListedPrice]:
    """The prices that hold at `at`, one's own first; of the models that `model` names, and of one provider.

    A name means the price that a call of that model gets, else every model whose name holds it; with `*` or `?` it is
    a pattern.
    """
    names = [name for name in _list_providers() if provider in (None, name)]
    own = [line for line in _own(prices, at) if provider in (None, line.provider)]
    if model is None:
        return own + [line for name in names for line in _listed(prices, at, name, lambda _: True)]
    if not any(sign in model for sign in "*?["):
        found = [line for line in own if line.model == model or fnmatchcase(model, line.model)]
        found += [line for name in names for line in _called(prices, at, name, model)]
        if found:
            return found
        model = f"*{model}*"
    pattern = model.lower()
    found = [line for line in own if fnmatchcase(line.model.lower(), pattern)]
    return found + [
        line for name in names for line in _listed(prices, at, name, lambda one: fnmatchcase(one.lower(), pattern))
    ]


def _list_providers() -> dict[str, Provider]:
    """Our names, and the price list's own for those that we have none for."""
    from genai_prices.data_snapshot import get_snapshot

    by_id = {provider.id: provider for provider in get_snapshot().providers}
    ours = {name: by_id[identifier] for name, identifier in PROVIDER_IDS.items() if identifier in by_id}
    covered = {provider.id for provider in ours.values()}
    return ours | {identifier: provider for identifier, provider in by_id.items() if identifier not in covered}


def _own(prices: PriceList, at: dt.datetime) -> Iterator[ListedPrice]:
    for number, entry in enumerate(prices.entries, 1):
        same = [
            other.from_ or dt.date.min
            for other in prices.entries
            if other.holds_at(at)
            and (other.provider, other.model, other.service_tier) == (entry.provider, entry.model, entry.service_tier)
        ]
        status: Status = "in force"
        if not entry.holds_at(at):
            status = "later"
        elif (entry.from_ or dt.date.min) < max(same):
            status = "replaced"
        yield _of_entry(number, entry, entry.provider, entry.model, status)


def _of_entry(number: int, entry: Entry, provider: str, model: str, status: Status = "in force") -> ListedPrice:
    rates = own_rates(entry)
    return ListedPrice(
        provider=provider,
        model=model,
        service_tier=entry.service_tier,
        from_=entry.from_,
        entry=number,
        note=entry.note,
        status=status,
        rates={ours: Rate(rate) for ours, key in OWN_RATES.items() if (rate := getattr(rates, key)) is not None},
    )


def _listed(prices: PriceList, at: dt.datetime, name: str, wanted: Callable[[str], bool]) -> Iterator[ListedPrice]:
    """The models of a provider in the price list, at the prices that hold for them."""
    for model in _list_providers()[name].models:
        if wanted(model.id):
            yield from _lines(prices, at, name, model.id, model)


def _called(prices: PriceList, at: dt.datetime, name: str, model: str) -> Iterator[ListedPrice]:
    """What a call of a model costs at a provider."""
    from genai_prices.data_snapshot import get_snapshot

    identifier = _list_providers()[name].id
    try:
        _, found = get_snapshot().find_provider_model(model, None, identifier, None)
    except LookupError:
        return
    yield from _lines(prices, at, name, model, found)


def _lines(prices: PriceList, at: dt.datetime, provider: str, name: str, model: ModelInfo) -> Iterator[ListedPrice]:
    """The standard price of a model and those of its service tiers; what an exact entry replaces is left out."""
    standard = model.get_prices(at)
    tiers: dict[str | None, ModelPrice] = {None: standard}
    for variant in model.price_variants or ():
        [(kind, tier), *more] = variant.when.items()
        if kind in _TIERS and not more and (variant.constraint is None or variant.constraint.active(at)):
            special = model.get_prices(at, variant.when)
            if special != standard:
                tiers[tier] = special
    for service_tier, listed in tiers.items():
        own = prices.find(provider, [name], service_tier, at)
        if own is None:
            rates = {key: _rate(value) for key, value in vars(listed).items() if value is not None}
            yield ListedPrice(
                provider=provider,
                model=model.id,
                service_tier=service_tier,
                rates={ours: rates.pop(key) for ours, key in OWN_RATES.items() if key in rates},
                other=rates,
            )
        elif own[1].is_pattern:
            yield _of_entry(*own, provider, model.id)


_TIERS = ("service_tier", "processing", "speed")
"""What a price of the list may depend on that is a service tier to us; others, as a route, we do not see."""


def _rate(value: Any) -> Rate:
    if isinstance(value, Decimal):
        return Rate(value)
    return Rate(value.base, tuple((tier.start, tier.price) for tier in value.tiers))
