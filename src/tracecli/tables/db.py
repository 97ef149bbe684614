"""The state of the store, what is broken in it, and what was done to it: for a terminal, and as lines for a pipe."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator

import msgspec
from rich.console import RenderableType
from rich.text import Text

from tracecli.store.backup import Backup, Restored
from tracecli.store.checking import Checked
from tracecli.store.upkeep import Compacted, Info, Migrated
from tracecli.tables import grid, values
from tracecli.tables.grid import Column, Grid
from tracecli.tables.visible import line


def info(found: Info, zone: dt.tzinfo | None = None) -> Iterator[RenderableType]:
    """What the store is, and a line for each place on the disk."""
    yield Text(line(found.path), "bold")
    yield Text(_versions(found))
    yield Text(_requests(found, zone))
    yield Text()
    yield Grid(
        [Column("on the disk"), Column("bytes", right=True), Column("files", right=True)],
        [
            [Text(name), Text(values.size(size)), Text(values.count(files), "dim")]
            for name, size, files in (
                ("database", found.database_bytes, int(found.database)),
                ("bodies", found.bodies_bytes, found.bodies_files),
                ("parts", found.parts_bytes, found.parts_files),
                ("said", found.said_bytes, found.said_files),
                ("spool", found.spool_bytes, found.spool_files),
                ("cache", found.cache_bytes, int(found.cache_bytes > 0)),
                ("quarantine", found.quarantine_bytes, found.quarantine_files),
            )
        ],
    )
    if found.passed_bytes and found.ratio:
        yield Text()
        passed, packed = values.size(found.passed_bytes), values.size(found.content_bytes)
        yield Text(f"Of {passed} that passed with content, {packed} are stored: {_to_one(found.ratio)}.")
        if found.deduplication and found.referred_bytes and found.part_bytes:
            referred, once = values.size(found.referred_bytes), values.size(found.part_bytes)
            yield Text(
                f"Parts of {referred} are stored once, as {once} ({_to_one(found.deduplication)}), and compressed"
                f" ({_to_one(found.compression or 1)}).",
                "dim",
            )
    if found.waiting_segments:
        yield Text()
        yield Text(f"{values.count(found.waiting_segments)} segments of the spool wait to be loaded.")


def _versions(found: Info) -> str:
    about = f"tracecli {found.tracecli}, DuckDB {found.duckdb}"
    if found.schema_version is None:
        return f"There is no database yet. {about}"
    if found.schema_version == found.newest_schema_version:
        return f"Schema version {found.schema_version}, which is the newest. {about}"
    older = found.schema_version < found.newest_schema_version
    what = "`tracecli db migrate` brings it up to date" if older else "a newer tracecli made it"
    return f"Schema version {found.schema_version}, this tracecli knows {found.newest_schema_version}: {what}. {about}"


def _requests(found: Info, zone: dt.tzinfo | None) -> str:
    if not found.exchanges or not found.oldest or not found.newest:
        return "Nothing is recorded." if found.exchanges == 0 or not found.database else "Its requests are not counted."
    first, last = values.full_moment(found.oldest, zone), values.full_moment(found.newest, zone)
    return f"{found.exchanges:,} requests, {found.with_content or 0:,} with content, from {first} to {last}"


def _to_one(ratio: float) -> str:
    return f"{ratio:,.1f} to 1"


def info_plain(found: Info) -> Iterator[str]:
    """A line for each figure, with the names of the JSON."""
    return grid.plain(["name", "value"], [[name, value] for name, value in _values(found)])


def checked(found: Checked) -> Iterator[RenderableType]:
    """A line or two for each finding, what is broken first."""
    for one in sorted(found.found, key=lambda one: one.severity != "error"):
        yield Text.assemble(
            (f"{one.severity}: ", "bold red" if one.severity == "error" else "yellow"),
            f"{one.area}: {line(one.problem)}. ",
            (line(one.remedy), "dim"),
        )


def checked_plain(found: Checked) -> Iterator[str]:
    """The same for a pipe."""
    rows = [[one.area, one.severity, one.problem, one.remedy] for one in found.found]
    return grid.plain(["area", "severity", "problem", "remedy"], rows)


def healthy(found: Checked) -> str:
    """That nothing was found, and what was looked at."""
    return (
        f"Everything is well: {found.exchanges:,} requests, {found.files:,} files ({values.size(found.bytes)}),"
        f" {found.parts:,} parts, {found.columns:,} columns of the database and {found.segments:,} segments."
    )


def migrated(found: Migrated) -> Iterator[RenderableType]:
    """From which to which version."""
    if not found.steps:
        yield Text(f"The database is of version {found.after}, which is the newest.")
    else:
        what = "would be brought" if found.dry_run else "was brought"
        yield Text(f"The database {what} from version {found.before} to {found.after}: {', '.join(found.steps)}.")


def migrated_plain(found: Migrated) -> Iterator[str]:
    """The same for a pipe."""
    steps = ",".join(found.steps)
    return grid.plain(["before", "after", "steps"], [[str(found.before), str(found.after), steps]])


def backed_up(found: Backup) -> Iterator[RenderableType]:
    """Where it is."""
    yield Text(f"Backed up to {line(found.path)}: {found.files:,} files, {values.size(found.bytes)}.")


def restored(found: Restored) -> Iterator[RenderableType]:
    """What was restored, and where the former is."""
    yield Text(
        f"Restored to {line(found.path)} what was backed up at {values.full_moment(found.made_at)}:"
        f" {found.files:,} files, {values.size(found.bytes)}."
    )
    if found.aside:
        yield Text(f"What was there before is in {line(found.aside)}.")


def compacted(found: Compacted) -> Iterator[RenderableType]:
    """Before and after."""
    yield Text(
        f"The database takes {values.size(found.database_bytes)} (before {values.size(found.database_bytes_before)}),"
        f" content {values.size(found.content_bytes)} in {found.files:,} files (before"
        f" {values.size(found.content_bytes_before)} in {found.files_before:,})."
    )


def plain(found: msgspec.Struct) -> Iterator[str]:
    """One line for a pipe, with the names of the JSON."""
    told = list(_values(found))
    return grid.plain([name for name, _ in told], [[value for _, value in told]])


def _values(found: msgspec.Struct) -> Iterator[tuple[str, str | None]]:
    for name, value in msgspec.to_builtins(found).items():
        yield name, None if value is None else str(value).lower() if isinstance(value, bool) else str(value)
