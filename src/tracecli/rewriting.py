"""Taking things out of what is stored, by rules that did not hold when it was recorded.

For the one process that ingests, between two rounds. Bodies, their texts and their rows change in one moment, some at a
time. Killed anywhere, doing it again does the rest: what is taken out leaves a marker that no rule finds.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from tracecli import walking, working
from tracecli.config import Home
from tracecli.contents import Piece, pieces
from tracecli.exchange import Captured
from tracecli.recorded import Recorded, read
from tracecli.redacting import text_without, without
from tracecli.store import bodies, costs, expiry


class Rules(msgspec.Struct, frozen=True):
    """What to take out, beside secrets."""

    kinds: list[str]
    patterns: dict[str, str]


def take_out(home: Home, ids: Sequence[str], by: Rules) -> int:
    """Take what the rules name out of stored exchanges; how many had some of it.

    Raises StoreBusy, NewerDatabase or HomeError if that cannot be done now.
    """
    changed = done = 0
    for place in range(0, len(ids), walking.BATCH):
        batch = walking.some(home, ids[place : place + walking.BATCH])
        new = [
            (stored, other)
            for stored, captured in batch
            if captured is not None and (other := without(captured, by.kinds, by.patterns)) is not captured
        ]
        if new:
            _replace(home, new, by)
            changed += len(new)
        done += len(batch)
        working.told(done, len(ids), "exchanges")
    # Also if nothing changed: one that was killed may have left this to do.
    expiry.forget_answers(home, ids)
    bodies.forget(home, [])
    expiry.write_anew(home)
    return changed


def left(home: Home, ids: Sequence[str], by: Rules) -> int:
    """In how many of the exchanges the rules still find something."""
    number = 0
    for place in range(0, len(ids), walking.BATCH):
        for _, captured in walking.some(home, ids[place : place + walking.BATCH]):
            number += captured is not None and without(captured, by.kinds, by.patterns) is not captured
    return number


def _replace(home: Home, new: Sequence[tuple[Recorded, Captured]], by: Rules) -> None:
    records, said = [], dict[str, Sequence[Piece]]()
    for stored, captured in new:
        said[stored.row.id] = list(pieces(captured, read(captured)[0]))
        marks = [mark for mark in captured.exchange.marks if mark not in stored.row.flags]
        comment, error = (
            text and text_without(text, by.kinds, by.patterns) for text in (stored.row.comment, stored.row.error)
        )
        row = msgspec.structs.replace(stored.row, flags=[*stored.row.flags, *marks], error=error, comment=comment)
        records.append(msgspec.structs.replace(stored, exchange=captured.exchange, row=row))
    with costs.redacted(home, records) as rows:
        bodies.replace(home, [captured for _, captured in new], said, rows)
