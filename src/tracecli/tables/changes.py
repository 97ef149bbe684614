"""What `reprice` and `reparse` changed: by model and by field."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import RenderableType
from rich.text import Text

from tracecli.exchange import plain_decimal
from tracecli.reparse import Reparsed
from tracecli.reprice import Changes, Totals
from tracecli.tables import grid, values
from tracecli.tables.grid import Column, Grid
from tracecli.tables.visible import line

_MODELS = [
    Column("provider", floor=9, rank=1),
    Column("model", floor=16),
    Column("changed", right=True),
    Column("cost before", right=True),
    Column("now", right=True),
]


def changes(found: Changes) -> Iterator[RenderableType]:
    """The summary of a run, for a terminal."""
    if isinstance(found, Reparsed) and found.by_field:
        names = found.by_field.most_common()
        yield Grid(
            [Column("field"), Column("changed", right=True)], [[Text(name), Text(f"{n:,}")] for name, n in names]
        )
        yield Text()
    models = found.models()
    if models:
        before = grid.aligned([_cost(sums, "old") for *_, sums in models])
        now = grid.aligned([_cost(sums, "new") for *_, sums in models])
        yield Grid(
            _MODELS,
            [
                [
                    Text(line(provider), "dim"),
                    Text(line(model or values.UNKNOWN), "bold"),
                    Text(f"{sums.exchanges:,}"),
                    Text(old),
                    Text(new),
                ]
                for (provider, model, sums), old, new in zip(models, before, now, strict=True)
            ],
        )
        yield Text()
    for text in _sentences(found):
        yield Text(text)


def plain(found: Changes) -> Iterator[str]:
    """The same for a pipe: a line for each model, or `-`, and then the sums."""
    if isinstance(found, Reparsed):
        yield from grid.plain(["field", "changed"], [[name, str(n)] for name, n in found.by_field.most_common()])
        yield ""
    names = ["provider", "model", *Totals().as_json()]
    rows = [[provider, model, *map(str, sums.as_json().values())] for provider, model, sums in found.models()]
    sums = [["all that changed", None, *map(str, found.changed.as_json().values())]]
    sums.append(["all", None, *map(str, found.examined.as_json().values())])
    yield from grid.plain(names, rows + sums)


def _cost(sums: Totals, when: str) -> str:
    """What is known, and how many costs are not."""
    usd, unknown = getattr(sums, f"{when}_usd"), getattr(sums, f"{when}_unknown")
    return values.UNKNOWN if unknown == sums.exchanges else f"${plain_decimal(usd)}"


def _unknown(sums: Totals) -> str:
    if not sums.old_unknown and not sums.new_unknown:
        return ""
    return f"; {sums.old_unknown:,} unknown before, {sums.new_unknown:,} now"


def _sentences(found: Changes) -> Iterator[str]:
    changed, examined = found.changed, found.examined
    would = "would change" if found.dry_run else "changed"
    if isinstance(found, Reparsed):
        yield f"{found.records:,} of {examined.exchanges:,} records {would}."
    yield f"{changed.exchanges:,} of {examined.exchanges:,} costs {would}."
    for totals, name in ((changed, "Those that changed"), (examined, "All")):
        if changed.exchanges:
            before, now = values.money(totals.old_usd), values.money(totals.new_usd)
            yield f"{name}: {before} before, {now} now{_unknown(totals)}."
    for why, number in found.left_alone.items():
        yield f"{number:,} left alone: {why}."
    if found.dry_run:
        yield "Nothing was written (--dry-run)."
