"""The receipt of an erasure: for a terminal, and as lines for a pipe."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import RenderableType
from rich.text import Text

from tracecli.datasets.manifest import Touched
from tracecli.erasing import Receipt
from tracecli.tables import values
from tracecli.tables.visible import line


def receipt(found: Receipt) -> Iterator[RenderableType]:
    """A line for each thing it says."""
    wide = max(len(name) for name, _ in _lines(found))
    for name, told in _lines(found):
        yield Text.assemble((f"{name:{wide}}  ", "dim"), told)


def plain(found: Receipt) -> Iterator[str]:
    """The same for a pipe."""
    return (f"{name}\t{told}" for name, told in _lines(found))


def _lines(found: Receipt) -> list[tuple[str, str]]:
    erased, checked = found.erased, found.checked
    if erased.redacted is not None:
        told = [
            ("taken out", line(found.what)),
            ("requests", values.count(erased.redacted)),
            ("left", "nothing" if found.complete else "; ".join(map(line, checked.found)) or "see below"),
        ]
        return told + _ending(found)
    told = [
        ("erased", line(found.what) + (", what was said" if found.content_only else "")),
        ("records", values.count(erased.records)),
        ("with content", values.count(erased.content)),
        ("cached answers", values.count(erased.answers)),
        ("quarantined files", values.count(erased.quarantined)),
        ("files of content", f"{values.size(max(0, erased.bytes))} smaller"),
        ("checked", f"{checked.files:,} files, {values.size(checked.bytes)}, for {checked.markers:,} markers"),
        ("left", "nothing" if found.complete else "; ".join(map(line, checked.found)) or "see below"),
    ]
    return told + _ending(found)


def _ending(found: Receipt) -> list[tuple[str, str]]:
    told = [("dataset", line(_dataset(one))) for one in found.datasets]
    if found.on_hold:
        told.append(("on legal hold", f"{found.on_hold:,} requests, which stay"))
    if found.still_spooled:
        told.append(("still in the spool", f"{found.still_spooled} segments that somebody writes to: erase again"))
    told += [
        ("done at", found.done_at.isoformat(timespec="seconds")),
        ("ids", found.ids_sha256),
        ("receipt", found.sha256),
    ]
    return told


def _dataset(one: Touched) -> str:
    """What became of a dataset that held some of it."""
    done = f"{one.dataset} held {one.exchanges:,} of them"
    if one.rebuilt:
        done += f"; built again in {', '.join(one.rebuilt)}"
    if one.removed:
        done += f"; no example is left: removed from {', '.join(one.removed)}"
    if one.failed:
        done += f"; not built again, and it still holds them: {'; '.join(one.failed)}"
    return done
