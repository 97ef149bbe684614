"""The card of a dataset as a page with charts: the same as in Markdown, to look at. Pure.

What is recorded is hostile, as on the page of usage: names pass `charts.name`, texts `visible`, all values are escaped.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tracecli.datasets import card
from tracecli.datasets.manifest import Manifest
from tracecli.datasets.training_prices import EPOCHS, Estimate, estimates, price_list, unpriced
from tracecli.report import charts, templates
from tracecli.tables import values
from tracecli.tables.visible import lines


def page(manifest: Manifest, notes: str) -> str:
    """The card of a built dataset, with the notes that a person keeps of it."""
    return templates.rendered(
        "dataset.html.j2",
        dataset=charts.name(card.reference(manifest)),
        kind="pairs of a better and a worse answer" if card.is_preference(manifest) else "conversations",
        period=card.period(manifest) or "",
        tiles=_tiles(manifest),
        tokens=charts.powers(dict(manifest.token_histogram)),
        spreads=[
            {"name": name} | {of: values.count(number) for of, number in spread._asdict().items()}
            for name, spread in (("tokens", manifest.tokens), ("answers", manifest.turns))
        ],
        splits=_splits(manifest),
        steps=_steps(manifest),
        counts=[
            {"title": title, "rows": _bars(counted), "more": _more(counted)}
            for title, counted in (
                ("Models", manifest.models),
                ("Providers", manifest.providers),
                ("Policies", manifest.policies),
                ("Languages of the answers", manifest.languages),
                ("Users, as pseudonyms", manifest.users),
            )
            if counted
        ],
        files=[
            {
                "path": charts.name(one.path),
                "examples": values.count(one.examples),
                "size": values.size(one.bytes),
                "sha256": charts.name(one.sha256),
            }
            for one in manifest.files
            if one.path
        ],
        left_out=[
            {"where": charts.name(f"{one.format}, {one.split}"), "number": f"{number:,}", "why": charts.name(why)}
            for one in manifest.files
            for why, number in one.left_out.items()
        ],
        cost=_cost(manifest),
        chosen={"number": values.count(manifest.chosen), "sha256": charts.name(manifest.ids_sha256)},
        definition=lines(manifest.definition).rstrip("\n"),
        limits=card.LIMITS,
        erasing=card.ERASING,
        notes=lines(notes).strip("\n"),
        version=charts.name(manifest.tracecli),
    )


def _tiles(manifest: Manifest) -> list[tuple[str, str, str]]:
    """Name, figure, and what to know of it."""
    learned = f"{values.short_count(manifest.answer_tokens)} to be learned"
    tiles = [
        ("Examples", values.count(manifest.examples), f"of {manifest.chosen:,} requests"),
        ("Tokens", values.short_count(manifest.tokens.total), learned),
        ("Half have", values.short_count(manifest.tokens.median), "tokens at most"),
        ("With tools", values.count(manifest.with_tools), "examples with calls"),
    ]
    if found := min(estimates(manifest), key=lambda one: one.usd, default=None):
        tiles.append(("Training from", values.money(found.usd, 4), f"{EPOCHS} epochs of {found.price.model}"))
    return tiles


def _splits(manifest: Manifest) -> list[dict[str, Any]]:
    widths = charts.shares(one.examples for one in manifest.splits)
    return [
        {
            "name": charts.name(one.name),
            "width": width,
            "examples": values.count(one.examples),
            "conversations": values.count(one.conversations),
            "tokens": values.count(one.tokens.total),
        }
        for one, width in zip(manifest.splits, widths, strict=True)
    ]


def _steps(manifest: Manifest) -> list[dict[str, Any]]:
    widths = charts.shares(one.dropped for one in manifest.steps)
    return [
        {
            "name": charts.name(one.name),
            "setting": charts.name(one.setting),
            "width": width,
            "dropped": f"{one.dropped:,}" if one.dropped else "",
            "changed": f"{one.changed:,}" if one.changed else "",
            "reasons": [f"{number:,} {charts.name(why)}" for why, number in one.reasons.items()],
        }
        for one, width in zip(manifest.steps, widths, strict=True)
    ]


def _bars(counted: Mapping[str, int]) -> list[dict[str, Any]]:
    shown, _, _ = card.first_of(counted)
    widths = charts.shares(number for _, number in shown)
    return [
        {"name": charts.name(name or None), "width": width, "number": f"{number:,}"}
        for (name, number), width in zip(shown, widths, strict=True)
    ]


def _more(counted: Mapping[str, int]) -> str:
    _, more, examples = card.first_of(counted)
    return f"and {more:,} more, with {examples:,} examples" if more else ""


def _cost(manifest: Manifest) -> dict[str, Any]:
    every = estimates(manifest)
    widths = charts.shares(one.usd for one in every)
    return {
        "epochs": EPOCHS,
        "rows": [_priced(one) | {"width": width} for one, width in zip(every, widths, strict=True)],
        "lists": [
            f"{one.provider}: list prices of {one.seen}, {one.url}"
            for one in dict.fromkeys(one.listed for one in every)
        ],
        "remarks": card.cost_remarks(manifest),
        "unpriced": [
            (charts.name(name), f"{card.NO_PRICE} {found.url}" if (found := price_list(name)) else card.OWN_HARDWARE)
            for name in unpriced(manifest)
        ],
    }


def _priced(one: Estimate) -> dict[str, str]:
    return {
        "model": one.price.model,
        "provider": one.listed.provider,
        "format": charts.name(one.format),
        "million": values.money(one.usd_per_million),
        "tokens": values.count(one.tokens),
        "epoch": values.money(one.usd_epoch, 4),
        "usd": values.money(one.usd, 4),
    }
