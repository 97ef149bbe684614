"""The command line over made-up records: `python -m tests.support.fake_cli usage show`, for tests and for looking."""

from __future__ import annotations

import datetime as dt
import sys
import types
from collections.abc import Iterator
from typing import Any

import tracecli
from tests.support.rows import opened, rows
from tracecli.config import Home
from tracecli.errors import ExchangeNotFound
from tracecli.exchange import Opened, Row
from tracecli.finding import Sort as _Sort
from tracecli.query.syntax import Query


class FakeBrowse(types.ModuleType):
    """Stands in for `tracecli.browse` and `tracecli.finding`."""

    Sort: type[_Sort] = _Sort

    def __init__(self, found: list[Row] | None = None, **changes: Any) -> None:
        super().__init__("tracecli.browse")
        self.found = rows() if found is None else found
        self.changes = changes
        self.asked: list[tuple[Home, object]] = []
        self.queries: list[tuple[Query, dt.tzinfo | None, _Sort]] = []

    def rows(
        self, home: Home, query: Query, now: dt.datetime, zone: dt.tzinfo | None, *, sort: _Sort, limit: int
    ) -> list[Row]:
        """The first `limit` of the made-up rows, whatever is asked."""
        self.asked.append((home, limit))
        self.queries.append((query, zone, sort))
        return self.found[:limit]

    def pages(
        self, home: Home, query: Query, now: dt.datetime, zone: dt.tzinfo | None, *, sort: _Sort, limit: int
    ) -> Iterator[list[Row]]:
        """The same, in pages of ten."""
        found = self.rows(home, query, now, zone, sort=sort, limit=limit)
        yield from (found[place : place + 10] for place in range(0, len(found), 10))

    def open_exchange(self, home: Home, ref: str) -> Opened:
        """The one made-up exchange, by its id or `last`."""
        self.asked.append((home, ref))
        one = opened(**self.changes)
        if ref != "last" and not one.row.id.startswith(ref.lower()):
            raise ExchangeNotFound(
                f"no recorded exchange has an id that begins with {ref}", "See `tracecli usage show`."
            )
        return one


def install(fake: FakeBrowse) -> None:
    """Put the stand-in where the command line looks for it."""
    for name in ("browse", "finding"):
        sys.modules[f"tracecli.{name}"] = fake
        setattr(tracecli, name, fake)


if __name__ == "__main__":
    from tracecli.cli import progress
    from tracecli.cli.main import main

    progress.AFTER_S = 3600.0  # what is written does not depend on how fast the machine is
    install(FakeBrowse([*rows()] * 400))
    main()
