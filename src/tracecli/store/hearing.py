"""Looking for words in what was said (`said_files`): which exchanges hold them, newest first.

The database is open only to learn of files. They are read newest first, more at a time the longer it takes, so that who
wants the latest few does not wait for all; and each text is looked at once, however many exchanges hold it.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import duckdb

from tracecli import working
from tracecli.config import Home
from tracecli.errors import HomeError
from tracecli.store import parquet
from tracecli.store.bodies import BODIES
from tracecli.store.connection import opened
from tracecli.store.engine import scratchpad

_FIRST_ROWS = 2_000
_MOST_ROWS = 200_000
"""Exchanges at a time, in the beginning and at most."""
_TRIES = 5


class Sought(NamedTuple):
    """What a text has to hold: any of some expressions of RE2, each with whether case counts; and on which sides."""

    expressions: tuple[tuple[str, bool], ...]
    prompt: bool
    completion: bool


class Heard(NamedTuple):
    """An exchange, and the places of those that it holds; None: what it says is not stored as text."""

    id: str
    holds: tuple[int, ...] | None


class _File(NamedTuple):
    name: str
    min_id: str
    max_id: str
    rows: int


def heard(home: Home, sought: Sequence[Sought], first: str, last: str) -> Iterator[list[Heard]]:
    """The stored exchanges from id `first` to `last` that hold something sought, newest first, some at a time.

    Raises HomeError if a file that the database names is gone, and what `opened` raises.
    """
    with scratchpad(home) as connection:
        search = _Search(home, connection, sought)
        told: str | None = None
        tries = _TRIES
        while tries:
            try:
                for some in search.run(first, told or last):
                    if new := [one for one in some if told is None or one.id < told]:
                        told, tries = new[-1].id, _TRIES
                        yield new
                return
            except FileNotFoundError:  # merged or forgotten this moment
                tries -= 1
    raise HomeError(
        f"a file in {home.bodies} or {home.said} that the database names is gone",
        "Bring it back from a backup, if there is one.",
    )


class _Search:
    def __init__(self, home: Home, connection: duckdb.DuckDBPyConnection, sought: Sequence[Sought]) -> None:
        self._home = home
        self._connection = connection
        self._columns = [f"holds_{place}" for place in range(len(sought))]
        self._parameters: list[str] = []
        self._tests = [self._test(one) for one in sought]
        # Of a text with two sides, each counts by itself.
        self._sides = [
            f"bool_or({name}{'' if one.prompt and one.completion else f' AND prompt = {one.prompt}'})"
            for name, one in zip(self._columns, sought, strict=True)
        ]
        columns = ", ".join(f"{name} BOOLEAN" for name in self._columns)
        connection.execute(f"CREATE TEMP TABLE holding (said UUID, {columns})")
        self._scanned: set[str] = set()

    def _test(self, sought: Sought) -> str:
        tests = []
        for written, case_counts in sought.expressions:
            self._parameters.append(written)
            tests.append(f"regexp_matches(text, ${len(self._parameters) + 1}, '{'c' if case_counts else 'i'}')")
        return f"({' OR '.join(tests)})"

    def run(self, first: str, last: str) -> Iterator[list[Heard]]:
        """What is found, newest first. Raises FileNotFoundError if a file is gone."""
        files, texts = self._files(first, last)
        rows = _FIRST_ROWS
        ready: list[Heard] = []
        total = sum(file.rows for file in files)
        while files:
            working.told(total - sum(file.rows for file in files), total, "exchanges looked at")
            some: list[_File] = []
            while files and (not some or sum(file.rows for file in some) + files[0].rows <= rows):
                some.append(files.pop(0))
            rows = min(rows * 4, _MOST_ROWS)
            ready = sorted([*ready, *self._in(some, texts, first, last)], reverse=True, key=lambda one: one.id)
            # Files overlap: what the next ones may hold newer ones than has to wait for them.
            border = files[0].max_id if files else ""
            now = [one for one in ready if one.id > border]
            ready = ready[len(now) :]
            if now:
                yield now

    def _files(self, first: str, last: str) -> tuple[list[_File], list[_File]]:
        try:
            with opened(self._home) as database:
                found = [
                    [
                        _File(*row)
                        for row in database.execute(
                            f"SELECT name, min_id::VARCHAR, max_id::VARCHAR, rows FROM {table}{condition}",  # noqa: S608 - ours
                            parameters,
                        ).fetchall()
                    ]
                    for table, condition, parameters in (
                        ("body_file", " WHERE max_id >= $1::UUID AND min_id <= $2::UUID", [first, last]),
                        ("said_file", "", []),
                    )
                ]
        except FileNotFoundError:
            return [], []
        bodies, texts = found
        bodies.sort(key=lambda file: file.max_id, reverse=True)
        texts.sort(key=lambda file: file.min_id)
        return bodies, texts

    def _in(self, files: Sequence[_File], texts: Sequence[_File], first: str, last: str) -> list[Heard]:
        """What some files of bodies hold."""
        paths = parquet.paths(self._home.bodies, [file.name for file in files])
        self._fetched(
            "CREATE OR REPLACE TEMP TABLE spoken AS "  # noqa: S608 - text of ours only
            f"WITH found AS MATERIALIZED (SELECT id, prompt_said, completion_said FROM {BODIES}"
            " WHERE id BETWEEN $2::UUID AND $3::UUID)"
            " SELECT id, true AS prompt, unnest(coalesce(prompt_said, [NULL])) AS said FROM found"
            " UNION ALL SELECT id, false, unnest(completion_said) FROM found",
            [paths, first, last],
        )
        needed = [name for name in self._needed(texts) if name not in self._scanned]
        if needed:
            self._fetched(
                f"INSERT INTO holding SELECT * FROM (SELECT id, {', '.join(self._tests)} FROM read_parquet($1))"  # noqa: S608
                f" AS tested(said, {', '.join(self._columns)}) WHERE {' OR '.join(self._columns)}",
                [parquet.paths(self._home.said, needed), *self._parameters],
            )
            self._scanned.update(needed)
        found = self._fetched(
            f"SELECT id::VARCHAR, {', '.join(self._sides)} FROM spoken JOIN holding USING (said) GROUP BY id",  # noqa: S608
            [],
        )
        unknown = self._fetched("SELECT id::VARCHAR FROM spoken WHERE said IS NULL", [])
        holding = [
            Heard(identifier, tuple(place for place, held in enumerate(holds) if held)) for identifier, *holds in found
        ]
        return [one for one in holding if one.holds] + [Heard(identifier, None) for (identifier,) in unknown]

    def _needed(self, texts: Sequence[_File]) -> list[str]:
        """The files with the texts of `spoken`."""
        disjoint = all(one.max_id < other.min_id for one, other in itertools.pairwise(texts))
        if not texts or not disjoint:  # the clock went back: nobody knows
            return [file.name for file in texts]
        self._connection.execute(
            "CREATE OR REPLACE TEMP TABLE texts AS SELECT unnest($1::UUID[]) AS min_id, unnest($2::VARCHAR[]) AS name",
            [[file.min_id for file in texts], [file.name for file in texts]],
        )
        found = self._connection.execute(
            "SELECT DISTINCT name FROM (SELECT DISTINCT said FROM spoken) ASOF JOIN texts ON said >= min_id"
        )
        return [name for (name,) in found.fetchall()]

    def _fetched(self, query: str, parameters: Sequence[Any]) -> list[tuple[Any, ...]]:
        return parquet.fetched(self._connection, query, parameters)
