"""Datasets, what their steps did, and how two differ: for a terminal, and as lines for a pipe."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
from rich.console import RenderableType
from rich.text import Text

from tracecli.datasets import definition as definitions
from tracecli.datasets.comparing import Difference
from tracecli.datasets.definition import Definition
from tracecli.datasets.folder import Version
from tracecli.datasets.manifest import Manifest, Step
from tracecli.tables import grid, values
from tracecli.tables.grid import Column, Grid
from tracecli.tables.visible import line, lines

type Listed = tuple[Version, Definition | None, int, Manifest | None]
"""A version, its definition (None: somebody broke it), how many exchanges it chose, and what was built."""

_LONGEST = 300


def as_json(version: Version, one: Definition | None, chosen: int, built: Manifest | None) -> dict[str, Any]:
    """A version of a dataset."""
    return {
        "name": version.name,
        "version": version.number,
        "folder": str(version.folder),
        "copies": [str(path) for path in version.copies()],
        "definition": one and msgspec.to_builtins(one),
        "chosen": chosen,
        "built": built and msgspec.to_builtins(built),
    }


def listed(found: Sequence[Listed]) -> Iterator[RenderableType]:
    """A line for each dataset."""
    columns = [
        Column("dataset", floor=12),
        Column("chosen", right=True),
        Column("examples", right=True),
        Column("tokens", right=True, rank=2),
        Column("formats", floor=10, rank=1),
        Column("where", floor=12),
    ]
    rows = []
    for version, one, chosen, built in found:
        rows.append(
            [
                Text(version.reference, "bold"),
                Text(values.count(chosen)),
                Text(values.count(built.examples) if built else "not built", "" if built else "dim"),
                Text(values.short_count(built.tokens.total) if built else values.UNKNOWN),
                Text(", ".join(definitions.formats(one)) if one else values.UNKNOWN),
                Text(line(one.where)[:_LONGEST] if one else "its file is broken", "" if one else "red"),
            ]
        )
    yield Grid(columns, rows)


def listed_plain(found: Sequence[Listed]) -> Iterator[str]:
    """The same for a pipe."""
    return grid.plain(
        ["dataset", "chosen", "examples", "where"],
        [
            [version.reference, str(chosen), str(built.examples) if built else None, one.where if one else None]
            for version, one, chosen, built in found
        ],
    )


def shown(version: Version, one: Definition, chosen: int, built: Manifest | None) -> Iterator[RenderableType]:
    """One dataset: its definition, and what was built."""
    yield Text.assemble((version.reference, "bold"), (f"  {line(str(version.folder))}", "dim"))
    yield Text()
    yield Text(lines(definitions.text_of(one)).rstrip("\n"))
    yield Text()
    if built is None:
        yield Text(f"{chosen:,} exchanges chosen. Not built yet.")
        return
    yield from result(built)


def shown_plain(version: Version, one: Definition, chosen: int, built: Manifest | None) -> Iterator[str]:
    """The same for a pipe."""
    yield version.reference
    yield from lines(definitions.text_of(one)).splitlines()
    yield f"chosen  {chosen}"
    if built is not None:
        yield from result_plain(built)


def result(built: Manifest) -> Iterator[RenderableType]:
    """What was built."""
    yield Text(f"{built.chosen:,} exchanges chosen, {built.examples:,} examples of {built.tokens.total:,} tokens.")
    yield Text()
    yield from steps(built.steps)
    yield Text()
    yield Grid(
        [
            Column("split"),
            Column("examples", right=True),
            Column("conversations", right=True),
            Column("tokens", right=True),
        ],
        [
            [
                Text(one.name, "bold"),
                *(Text(values.count(n)) for n in (one.examples, one.conversations, one.tokens.total)),
            ]
            for one in built.splits
        ],
    )
    yield Text()
    yield Grid(
        [
            Column("file", floor=16),
            Column("examples", right=True),
            Column("size", right=True),
            Column("left out", floor=10),
        ],
        [
            [
                Text(one.path or f"{one.format}, {one.split}: none", "bold" if one.path else "dim"),
                Text(values.count(one.examples)),
                Text(values.size(one.bytes)),
                Text(_reasons(one.left_out), "magenta"),
            ]
            for one in built.files
        ],
    )


def result_plain(built: Manifest) -> Iterator[str]:
    """The same for a pipe."""
    yield from steps_plain(built.steps)
    yield from grid.plain(
        ["split", "examples", "conversations", "tokens"],
        [[one.name, str(one.examples), str(one.conversations), str(one.tokens.total)] for one in built.splits],
    )
    yield from grid.plain(
        ["file", "examples", "bytes", "sha256", "left_out"],
        [[one.path, str(one.examples), str(one.bytes), one.sha256, _reasons(one.left_out)] for one in built.files],
    )


def steps(found: Sequence[Step]) -> Iterator[RenderableType]:
    """What each step did, those that did nothing in one line."""
    did = [one for one in found if one.dropped or one.changed]
    if did:
        yield Grid(
            [
                Column("step"),
                Column("set to", floor=6, rank=1),
                Column("dropped", right=True),
                Column("changed", right=True),
                Column("why", floor=12),
            ],
            [
                [
                    Text(one.name, "bold"),
                    Text(line(one.setting)[:_LONGEST], "dim"),
                    Text(values.count(one.dropped) if one.dropped else ""),
                    Text(values.count(one.changed) if one.changed else ""),
                    Text(_reasons(one.reasons)),
                ]
                for one in did
            ],
        )
    if idle := [one.name for one in found if one not in did]:
        yield Text(f"Nothing to do for {', '.join(idle)}.", "dim")


def steps_plain(found: Sequence[Step]) -> Iterator[str]:
    """The same for a pipe: all steps."""
    return grid.plain(
        ["step", "set_to", "dropped", "changed", "why"],
        [[one.name, one.setting, str(one.dropped), str(one.changed), _reasons(one.reasons)] for one in found],
    )


def _reasons(reasons: dict[str, int]) -> str:
    return ", ".join(f"{line(why)} {number:,}" for why, number in reasons.items())


def difference(found: Difference) -> Iterator[RenderableType]:
    """How two versions differ."""
    yield Text.assemble((found.before, "bold"), " and ", (found.after, "bold"))
    yield Text(
        f"{found.common:,} exchanges are in both, {found.removed:,} in the first alone, {found.added:,} in the second."
    )
    changes = [*found.settings, *found.results]
    if changes:
        yield Text()
        yield Grid(
            [Column("", floor=12), Column(found.before, floor=12), Column(found.after, floor=12)],
            [
                [
                    Text(line(one.what), "bold"),
                    *(Text(line(text or values.UNKNOWN)[:_LONGEST]) for text in (one.before, one.after)),
                ]
                for one in changes
            ],
        )
    if not found.built:
        yield Text("What came of them can be compared when both are built.", "dim")


def difference_plain(found: Difference) -> Iterator[str]:
    """The same for a pipe."""
    yield from grid.plain(
        ["what", "before", "after"],
        [[one.what, one.before, one.after] for one in (*found.settings, *found.results)],
    )
    yield from (f"- {one}" for one in found.removed_ids)
    yield from (f"+ {one}" for one in found.added_ids)
