"""Two versions of datasets side by side: what chose them, what they chose, what came of it. Without content."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

import msgspec

from tracecli.datasets.definition import settings_of, value_text
from tracecli.datasets.folder import Version
from tracecli.datasets.manifest import Manifest

_LISTED = 1000


class Change(msgspec.Struct, frozen=True):
    """Something that is not the same in both, as text; None: it is not there."""

    what: str
    before: str | None
    after: str | None


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """What is not the same in two versions."""

    before: str
    after: str
    settings: list[Change]
    """Of the definitions."""
    added: int
    removed: int
    common: int
    """Exchanges that the after one, the before one, and both chose."""
    added_ids: list[str]
    removed_ids: list[str]
    """The first thousand of each."""
    results: list[Change]
    """Of what was built; empty if one of them is not."""
    built: bool
    """Whether both are."""


def difference(before: Version, after: Version) -> Difference:
    """What is not the same. Raises FileError if a definition is broken."""
    settings = list(_changes(_texts(settings_of(before.definition())), _texts(settings_of(after.definition()))))
    one, other = before.manifest(), after.manifest()
    results = list(_changes(_figures(one), _figures(other))) if one and other else []
    counts = {"added": 0, "removed": 0, "common": 0}
    listed: dict[str, list[str]] = {"added": [], "removed": [], "common": []}
    for identifier, which in _merged(before, after):
        counts[which] += 1
        if which != "common" and len(listed[which]) < _LISTED:
            listed[which].append(identifier)
    return Difference(
        before=before.reference,
        after=after.reference,
        settings=settings,
        **counts,
        added_ids=listed["added"],
        removed_ids=listed["removed"],
        results=results,
        built=bool(one and other),
    )


def _merged(before: Version, after: Version) -> Iterator[tuple[str, str]]:
    """The ids of both, which are in order."""
    olds, news = chain.from_iterable(before.chosen()), chain.from_iterable(after.chosen())
    old, new = next(olds, None), next(news, None)
    while old is not None or new is not None:
        if new is None or (old is not None and old < new):
            assert old is not None  # noqa: S101 - one of them is there
            yield old, "removed"
            old = next(olds, None)
        elif old is None or new < old:
            yield new, "added"
            new = next(news, None)
        else:
            yield old, "common"
            old, new = next(olds, None), next(news, None)


def _texts(settings: dict[str, object]) -> dict[str, str]:
    return {name: value_text(value) for name, value in settings.items()}


def _figures(manifest: Manifest | None) -> dict[str, str]:
    """What can be compared of what was built."""
    if manifest is None:
        return {}
    told = {"examples": f"{manifest.examples:,}", "tokens": f"{manifest.tokens.total:,}"}
    told |= {f"split {one.name}": f"{one.examples:,}" for one in manifest.splits}
    told |= {f"step {one.name}": f"{one.dropped:,} dropped, {one.changed:,} changed" for one in manifest.steps}
    told |= {f"file {one.path}": f"SHA-256 {one.sha256[:12]}" for one in manifest.files if one.path}
    return told


def _changes(before: dict[str, str], after: dict[str, str]) -> Iterator[Change]:
    for name in dict.fromkeys([*before, *after]):
        if before.get(name) != after.get(name):
            yield Change(name, before.get(name), after.get(name))
