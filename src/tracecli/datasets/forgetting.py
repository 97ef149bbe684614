"""Datasets without what was erased: the ids go from what they chose, and what was built is built again.

Killed anywhere, the next one does the rest: a version that is being changed is marked until it is done.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path

from tracecli.config import Home
from tracecli.datasets import building, folder
from tracecli.datasets.definition import Definition, definition
from tracecli.datasets.folder import Version
from tracecli.datasets.manifest import Touched
from tracecli.errors import TracecliError
from tracecli.policy.files import parsed

_MARK = "rebuilding"


def forget(home: Home, ids: Sequence[str], *, gone: bool) -> list[Touched]:
    """Build datasets again of which some exchanges were erased or changed. `gone`: they are not recorded any more.

    Raises OSError if the home cannot be written.
    """
    erased = frozenset(ids)
    versions = [one for name in folder.names(home) for one in folder.versions(home, name)]
    return [touched for version in versions if (touched := _without(home, version, erased, gone=gone))]


def _without(home: Home, version: Version, erased: frozenset[str], *, gone: bool) -> Touched | None:
    for place in (version.folder, *version.copies()):
        building.remove_left_over(place)
    number = sum(identifier in erased for identifier in _chosen(version))
    mark = version.folder / _MARK
    if not number and not mark.exists():
        return None
    mark.touch(mode=0o600)
    with version.locked():  # who builds at this moment has read what is erased, and sees that the ids are written anew
        left = (identifier for identifier in _chosen(version) if not (gone and identifier in erased))
        version.choose(left)
    rebuilt, removed, failed = [], [], []
    for place in building.places(version):
        try:
            building.build(home, version, place, _as_built(place), allow_few=True, noted=False)
            rebuilt.append(str(place))
        except building.TooFew:
            building.unbuild(place)
            removed.append(str(place))
        except (TracecliError, OSError) as error:
            failed.append(f"{place}: {str(error).partition('\n')[0]}")
    if not failed:
        mark.unlink()
    return Touched(dataset=version.reference, exchanges=number, rebuilt=rebuilt, removed=removed, failed=failed)


def _chosen(version: Version) -> Iterator[str]:
    return chain.from_iterable(version.chosen())


def _as_built(place: Path) -> Definition | None:
    """By what it was built there."""
    built = folder.read_manifest(place)
    return (
        None if built is None else definition(folder.MANIFEST, parsed(str(place / folder.MANIFEST), built.definition))
    )
