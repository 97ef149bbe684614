"""Saying something of recorded exchanges: which they are, and when it can be said."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence

from tracecli import browse
from tracecli.config import Home
from tracecli.errors import ConfigError, StoreBusy
from tracecli.store import notes
from tracecli.tags import MOST

_PATIENCE_S = 10.0
_POLL_S = 0.1


def named(home: Home, references: Iterable[str]) -> list[str]:
    """The ids that ids, beginnings of ids, or `last` name, each once. Raises as `browse.open_exchange` does."""
    return list(dict.fromkeys(browse.identified(home, reference) for reference in references))


def tag(home: Home, ids: Sequence[str], *, add: Sequence[str] = (), remove: Sequence[str] = ()) -> int:
    """Add and remove tags; returns of how many exchanges they changed.

    Raises StoreBusy if one is still in the spool and stays there, ConfigError if one would have too many tags, and what
    the store raises.
    """
    _wait_until_stored(home, ids)
    changed = notes.tag(home, ids, add, remove, MOST)
    if changed < 0:
        raise ConfigError(f"an exchange has at most {MOST} tags; nothing was changed", "Remove others with --remove.")
    return changed


def rate(home: Home, ids: Sequence[str], score: float | None, comment: str | None) -> int:
    """Set score and comment, or take them away; returns of how many. Raises as `tag` does."""
    _wait_until_stored(home, ids)
    return notes.rate(home, ids, score, comment)


def _wait_until_stored(home: Home, ids: Sequence[str]) -> None:
    deadline = time.monotonic() + _PATIENCE_S
    while notes.stored(home, ids) < len(ids):
        if time.monotonic() >= deadline:
            raise StoreBusy("a request is recorded, and not stored yet", "Run `tracecli ingest --once`, and try again.")
        time.sleep(_POLL_S)
