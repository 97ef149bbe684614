"""Prices of one's own, which go before the list prices: what `prices.toml` says. Pure.

    [[price]]
    provider = "openai"          # as in `usage show`
    model = "gpt-5*"             # exact, or with * and ?
    from = 2026-07-01            # optional; without it, since ever
    input = 1.00                 # US dollars per million tokens
    cache_read = 0.10
    output = 8.00
    note = "contract 4711"

An entry is the whole price of its models: what it names no rate for is charged as what it is part of, cached and audio
tokens as input or output. A price is never overwritten: when it changes, another entry with a later `from` is added,
and calls from before keep theirs. Of several entries for a call, an exact model goes before a pattern, a longer
pattern before a shorter one, and then the latest `from` that is not after the call.
"""

from __future__ import annotations

import datetime as dt
import difflib
from collections.abc import Sequence
from decimal import Decimal
from fnmatch import fnmatchcase
from typing import Any

import msgspec

from tracecli.providers.hosts import KNOWN_PROVIDERS

FILE = "prices.toml"
MAX_RATE = 1_000_000


class Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The keys of a `[[price]]`."""

    provider: str
    """The provider, as `tracecli usage show` names it."""
    model: str
    """The model that was asked for or that answered; `*` and `?` stand for any characters and any one."""
    from_: dt.date | None = msgspec.field(default=None, name="from")
    """The day (in UTC) from which the price holds."""
    service_tier: str | None = None
    """The price of this tier, as `batch` or `priority`; without the key, of calls at the standard tier."""
    input: Decimal
    """Input tokens."""
    output: Decimal | None = None
    """Output tokens."""
    cache_read: Decimal | None = None
    """Input tokens read from the provider's cache."""
    cache_write: Decimal | None = None
    """Input tokens written to it."""
    cache_write_1h: Decimal | None = None
    """Those written to stay for an hour."""
    input_audio: Decimal | None = None
    """Input tokens of audio."""
    cache_read_audio: Decimal | None = None
    """Those read from the provider's cache."""
    output_audio: Decimal | None = None
    """Output tokens of audio."""
    input_image: Decimal | None = None
    """Input tokens of images."""
    output_image: Decimal | None = None
    """Output tokens of images."""
    web_searches: Decimal | None = None
    """A thousand searches of the web that the provider made."""
    note: str = ""
    """For people: where the price is from."""

    @property
    def is_pattern(self) -> bool:
        """Whether it may be for several models."""
        return any(sign in self.model for sign in "*?[")

    def holds_at(self, at: dt.datetime) -> bool:
        """Whether it has begun by then."""
        return self.from_ is None or at >= dt.datetime.combine(self.from_, dt.time(), dt.UTC)


RATES = tuple(name for name, kind in Entry.__annotations__.items() if "Decimal" in str(kind))
"""The keys that hold a rate."""

_KEYS = tuple(field.encode_name for field in msgspec.structs.fields(Entry))


class PriceList(msgspec.Struct, frozen=True):
    """The prices of one moment; it never changes."""

    entries: tuple[Entry, ...] = ()
    problem: str | None = None
    """Why they could not be read: no cost is computed then, as it might be a wrong one."""

    def find(self, provider: str, models: Sequence[str], tier: str | None, at: dt.datetime) -> tuple[int, Entry] | None:
        """The entry for a call and its number in the file, from 1; `models` are its names, the better one first.

        `tier` is None for every standard tier.
        """
        best: tuple[tuple[bool, int, int, dt.date], tuple[int, Entry]] | None = None
        for number, entry in enumerate(self.entries, 1):
            if entry.provider != provider or entry.service_tier != tier or not entry.holds_at(at):
                continue
            place = _place(entry, models)
            if place is None:
                continue
            rank = (not entry.is_pattern, len(entry.model), -place, entry.from_ or dt.date.min)
            if not entry.is_pattern:  # all fit: which name they fit decides, not how long they are
                rank = (True, 0, -place, entry.from_ or dt.date.min)
            if best is None or rank > best[0]:
                best = (rank, (number, entry))
        return best and best[1]


def _place(entry: Entry, models: Sequence[str]) -> int | None:
    """Which of the names the entry is for."""
    for place, name in enumerate(models):
        if fnmatchcase(name, entry.model) if entry.is_pattern else name == entry.model:
            return place
    return None


def parse(values: dict[str, Any]) -> PriceList:
    """The TOML values of a file; its floats are to be read as Decimal.

    Raises ValueError with the entry, the key and what it should be.
    """
    for key in values:
        if key != "price":
            raise ValueError(f"key `{key}` is unknown: a price begins with the line [[price]]")
    tables = values.get("price", [])
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise ValueError("key `price`: a price begins with the line [[price]], in two brackets")
    entries = []
    first: dict[tuple[object, ...], int] = {}
    for number, table in enumerate(tables, 1):
        try:
            entry = _entry(table)
            same = first.setdefault((entry.provider, entry.model, entry.service_tier, entry.from_), number)
            if same != number:
                raise ValueError(f"[[price]] {same} is for the same model and time: add a later `from`")
        except ValueError as error:
            raise ValueError(f"[[price]] {number}: {error}") from error
        entries.append(entry)
    return PriceList(tuple(entries))


def _entry(table: dict[str, Any]) -> Entry:
    for key in table:
        if key not in _KEYS:
            near = difflib.get_close_matches(key, _KEYS, n=1)
            meant = f"did you mean `{near[0]}`?" if near else f"the keys are: {', '.join(_KEYS)}"
            raise ValueError(f"key `{key}` is unknown: {meant}")
    for field in msgspec.structs.fields(Entry):
        key = field.encode_name
        if key not in table:
            if field.required:
                raise ValueError(f"key `{key}` is missing")
            continue
        if key == "from" and type(table[key]) is not dt.date:
            raise ValueError("key `from`: write a date without quotes, as 2026-07-01")
        try:
            msgspec.convert(table[key], field.type)
        except msgspec.ValidationError as error:
            raise ValueError(f"key `{key}`: {error}") from error
    entry = msgspec.convert(table, Entry)
    if entry.provider not in KNOWN_PROVIDERS:
        near = difflib.get_close_matches(entry.provider, KNOWN_PROVIDERS, n=1)
        meant = f"did you mean `{near[0]}`?" if near else f"the providers are: {', '.join(sorted(KNOWN_PROVIDERS))}"
        raise ValueError(f"key `provider`: {entry.provider!r} is unknown: {meant}")
    if not entry.model:
        raise ValueError("key `model`: must not be empty")
    for key in RATES:
        rate = getattr(entry, key)
        if rate is not None and not (rate.is_finite() and 0 <= rate <= MAX_RATE):
            raise ValueError(f"key `{key}`: must be a number from 0 to {MAX_RATE}, in US dollars")
    return entry
