"""After the keys of a home were changed: waiting until all in it is encrypted with the newest, or nothing is."""

from __future__ import annotations

import contextlib
import sys
import time
from pathlib import Path

from tracecli import ingest, keys, spool
from tracecli.cache.entries import Entries
from tracecli.config import Home
from tracecli.errors import StoreBusy
from tracecli.store import reencryption

_PATIENCE_S = 60.0
_POLL_S = 0.1


def carried_out(home: Home, policies: Path) -> int:
    """Wait for the ingest that runs, as long as it gets on with it, or do it here; returns how many answers of the
    cache were forgotten, which can be made again from the records. Raises as `ingest.run` does.
    """
    before = {path.name for path in spool.segments(home.spool)}
    chore = reencryption.Reencrypter(home, whole=True)
    fewest, deadline = None, time.monotonic() + _PATIENCE_S
    while True:
        with contextlib.suppress(StoreBusy):  # another process ingests, and does it
            ingest.run(home, once=True, ended=lambda: True, policies=policies, chores=[chore])
        left = sum(1 for _ in reencryption.left(home))
        waiting = sum(path.name in before for path in spool.segments(home.spool))
        if fewest is None or (left, waiting) < fewest:
            fewest, deadline = (left, waiting), time.monotonic() + _PATIENCE_S
        if not (left or waiting) or time.monotonic() > deadline:
            return _forget_answers(home)
        time.sleep(_POLL_S)


def _forget_answers(home: Home) -> int:
    if not home.cache.exists():
        return 0
    with contextlib.closing(Entries(home.cache, sys.maxsize, keys.ring(home))) as entries:
        return entries.purge()[0]
