"""Erasing on demand: asked for by whoever may write to the home, done by the one process that ingests.

An erasure is a file of its own in `erasures/`. Ingest first loads what was in the spool when it was asked for, so that
all of it is in the store; then it finds what fits, writes that down, erases it, and looks through all files. Killed
anywhere, the next one goes on with what was written down. Of a file that is done the receipt is left, without content.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import hashlib
import logging
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec

from tracecli import files, finding, ingest, keys, ledger, rewriting, spool, working
from tracecli.config import PRIVATE_FOLDER, Home
from tracecli.datasets.manifest import Touched
from tracecli.errors import StoreBusy, TracecliError
from tracecli.exchange import new_id
from tracecli.query.syntax import Query, parse, text_of
from tracecli.rewriting import Rules
from tracecli.store import erasure
from tracecli.store.erasure import Checked, Erased, Markers, There

log = logging.getLogger(__name__)

_SPOOL_PATIENCE_S = 30.0
_POLL_S = 0.1
_RECEIPTS_S = 86_400.0


class Receipt(msgspec.Struct, frozen=True, kw_only=True):
    """What was erased, where it was looked for afterwards, and what was found."""

    id: str
    asked_at: dt.datetime
    done_at: dt.datetime
    what: str
    """Whose, or how it was chosen; no content."""
    content_only: bool
    ids_sha256: str
    """Of the ids that were erased, in order, a line each."""
    erased: Erased
    on_hold: int
    """Exchanges that fit and stay, by a legal hold."""
    still_spooled: int
    """Segments of the spool that were not finished in time: what they hold is not erased."""
    checked: Checked
    datasets: list[Touched] = []
    """That held some of it, and what became of them."""
    sha256: str = ""
    """Of this receipt as JSON, with an empty text in this place."""

    @property
    def complete(self) -> bool:
        """Nothing that was to go is left."""
        return not (self.checked.found or self.still_spooled or any(one.failed for one in self.datasets))


class Erasure(msgspec.Struct, kw_only=True):
    """What was asked for, and how far it is."""

    id: str
    asked_at: dt.datetime
    what: str
    query: str
    users: list[str]
    """Whose everything goes: also what is of them elsewhere."""
    content_only: bool
    rules: Rules | None = None
    """Of what fits only this goes; None: all of it."""
    segments: list[str] = []
    """That were in the spool when it was asked for."""
    ids: list[str] | None = None
    """What is erased; None: it is to be found yet."""
    on_hold: int = 0
    still_spooled: int = 0
    markers: Markers | None = None
    there: There = There(0, 0)
    """What was found: counted before anything of it is erased."""
    erased: Erased | None = None
    """None: it is to be done yet."""
    datasets: list[Touched] | None = None
    """None: they are to be looked through yet."""
    receipt: Receipt | None = None
    error: str | None = None
    """Why the last try failed; it is tried again."""


def ask(
    home: Home, query: Query, what: str, users: Sequence[str], *, content_only: bool, rules: Rules | None = None
) -> str:
    """Ask for all that fits a query to be erased, or what rules find in it; returns an id for `carried_out`.

    Raises HomeError if the home cannot be used, OSError if nothing can be written.
    """
    home.prepare()
    home.erasures.mkdir(mode=PRIVATE_FOLDER, exist_ok=True)
    asked = Erasure(
        id=new_id(),
        asked_at=dt.datetime.now(dt.UTC),
        what=what,
        query=text_of(query),
        users=list(users),
        content_only=content_only,
        rules=rules,
        segments=[path.name for path in spool.segments(home.spool)],
    )
    _write(home, asked)
    return asked.id


def carried_out(home: Home, identifier: str, policies: Path) -> Receipt:
    """The receipt, once it is done: by the ingest that runs, else here.

    Raises StoreBusy, NewerDatabase or HomeError if it cannot be done now: then the next ingest does it.
    """
    eraser = Eraser(home)
    while True:
        with contextlib.suppress(StoreBusy):  # another process ingests, and does it
            ingest.run(home, once=True, ended=lambda: True, policies=policies, chores=[eraser])
        asked = _read(home, identifier)
        if asked.receipt is not None:
            (home.erasures / f"{identifier}.json").unlink(missing_ok=True)
            return asked.receipt
        if asked.error is not None:
            raise TracecliError(
                f"not erased yet: {asked.error}", "It is tried again as long as `tracecli ingest` runs."
            )
        time.sleep(_POLL_S)


class Eraser:
    """Does what was asked for, for the process that ingests."""

    def __init__(self, home: Home) -> None:
        self.home = home

    def step(self, now: dt.datetime) -> bool:
        """Do what is to be done, if anything; whether content may have been removed. Never raises."""
        worked = False
        for identifier in _waiting(self.home):
            try:
                asked = _read(self.home, identifier)
                if asked.receipt is None and self._is_loaded(asked, now):
                    worked = True
                    self._carry_out(asked)
                elif asked.receipt is not None and (now - asked.receipt.done_at).total_seconds() > _RECEIPTS_S:
                    (self.home.erasures / f"{identifier}.json").unlink(missing_ok=True)
            except FileNotFoundError:  # its receipt was taken this moment
                continue
            except (TracecliError, OSError) as error:
                log.warning("erasure %s failed and is tried again: %s", identifier, str(error).partition("\n")[0])
                self._note_failure(identifier, str(error).partition("\n")[0])
            except Exception as error:
                log.exception("erasure %s failed and is tried again", identifier)
                self._note_failure(identifier, f"{type(error).__name__}, which is a bug in tracecli")
        return worked

    def _is_loaded(self, asked: Erasure, now: dt.datetime) -> bool:
        """Whether what was in the spool when it was asked for is in the store, or takes too long."""
        left = sum((self.home.spool / name).exists() for name in asked.segments)
        if not left:
            return True
        if (now - asked.asked_at).total_seconds() < _SPOOL_PATIENCE_S:
            return False
        asked.still_spooled = left
        return True

    def _carry_out(self, asked: Erasure) -> None:
        home = self.home
        if asked.ids is None:
            found = _fitting(home, parse(asked.query), asked.asked_at)
            held = erasure.held(home, found)
            asked.on_hold = len(held)
            asked.ids = [identifier for identifier in found if identifier not in held]
            users = () if held else asked.users
            asked.markers = None if asked.rules else erasure.markers(home, asked.ids, users)
            asked.users = list(users)
            asked.there = erasure.there(home, asked.ids)
            _write(home, asked)
        if asked.rules is not None:
            number = rewriting.take_out(home, asked.ids, asked.rules)
            asked.erased = Erased(records=0, content=0, answers=0, quarantined=0, bytes=0, redacted=number)
            self._forget_in_datasets(asked)
            still = rewriting.left(home, asked.ids, asked.rules)
            found = [f"{still} exchanges still hold some of it"] if still else []
            self._finish(asked, asked.ids, Checked(files=0, bytes=0, markers=0, found=found))
            return
        sought = asked.markers or Markers([], [])
        working.told(1, 3, "erasing")
        if asked.erased is None:
            asked.erased = erasure.erase(
                home, asked.ids, asked.users, sought, before=asked.there, content_only=asked.content_only
            )
            _write(home, asked)
        self._forget_in_datasets(asked)
        working.told(2, 3, "looking through all files")
        checked = erasure.check(home, asked.ids, sought, self._elsewhere(asked), content_only=asked.content_only)
        self._finish(asked, asked.ids, checked)

    def _forget_in_datasets(self, asked: Erasure) -> None:
        if asked.datasets is None:
            from tracecli.datasets import forgetting  # what builds datasets is not needed to ingest

            gone = not asked.content_only and asked.rules is None
            asked.datasets = forgetting.forget(self.home, asked.ids or (), gone=gone)
            _write(self.home, asked)

    def _elsewhere(self, asked: Erasure) -> list[Path]:
        """The files that were built again outside of the home."""
        from tracecli.datasets import building

        folders = [Path(folder) for one in asked.datasets or () for folder in one.rebuilt]
        return [path for one in folders if self.home.root not in one.parents for path in building.files_of(one)]

    def _finish(self, asked: Erasure, ids: Sequence[str], checked: Checked) -> None:
        """Write the receipt, and forget what was asked for."""
        assert asked.erased is not None  # noqa: S101 - it was done just now
        home = self.home
        receipt = Receipt(
            id=asked.id,
            asked_at=asked.asked_at,
            done_at=dt.datetime.now(dt.UTC),
            what=asked.what,
            content_only=asked.content_only,
            ids_sha256=hashlib.sha256("".join(f"{one}\n" for one in ids).encode()).hexdigest(),
            erased=asked.erased,
            on_hold=asked.on_hold,
            still_spooled=asked.still_spooled,
            checked=checked,
            datasets=asked.datasets or [],
        )
        receipt = msgspec.structs.replace(receipt, sha256=hashlib.sha256(msgspec.json.encode(receipt)).hexdigest())
        ledger.note(
            home,
            "redact" if asked.rules else "erase",
            "redact apply" if asked.rules else "erase",
            ids,
            what=asked.what,
            content_only=asked.content_only,
            complete=receipt.complete,
            receipt=receipt.sha256,
        )
        # What it was found by, and what was looked for, goes with the rest.
        done = Erasure(
            id=asked.id,
            asked_at=asked.asked_at,
            what=asked.what,
            query="",
            users=[],
            content_only=asked.content_only,
            segments=[],
            receipt=receipt,
        )
        _write(home, done)
        log.info("erasure %s: %d exchanges", asked.id, len(ids))

    def _note_failure(self, identifier: str, error: str) -> None:
        with contextlib.suppress(OSError, msgspec.DecodeError):
            asked = _read(self.home, identifier)
            asked.error = error
            _write(self.home, asked)


def _fitting(home: Home, query: Query, now: dt.datetime) -> list[str]:
    with finding.selected(home, query, now) as (found, condition):
        return sorted(found.stored_ids(condition))


def _waiting(home: Home) -> list[str]:
    try:
        return sorted(path.stem for path in home.erasures.iterdir() if path.suffix == ".json" and path.name[0] != ".")
    except FileNotFoundError:
        return []


def _read(home: Home, identifier: str) -> Erasure:
    data = keys.revealed(home, (home.erasures / f"{identifier}.json").read_bytes())
    return msgspec.json.decode(data, type=Erasure)


def _write(home: Home, asked: Erasure) -> None:
    files.write_whole(home.erasures / f"{asked.id}.json", keys.protected(home, msgspec.json.encode(asked)))
