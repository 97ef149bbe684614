"""What is encrypted, in sentences."""

from __future__ import annotations

from collections.abc import Iterator

from tracecli.store.reencryption import State
from tracecli.tables import values
from tracecli.tables.visible import line


def state(found: State, answers: int | None = None) -> Iterator[str]:
    """How it is, and what is not as it should be; `answers` of the cache were forgotten for it."""
    if found.on and found.newest_made_at:
        yield line(f"What is recorded in {found.path} is encrypted.")
        yield line(f"Your key: {found.key}")
        made = found.newest_made_at.astimezone()
        yield f"Keys of content: {found.data_keys}, the newest of {made:%Y-%m-%d %H:%M}"
    else:
        yield line(f"What is recorded in {found.path} is not encrypted.")
    yield f"Files of content: {values.count(found.files)}"
    if answers:
        yield f"{values.count(answers)} answers of the cache were forgotten; `tracecli cache rebuild` makes them again."
    if found.files_left:
        how = "not encrypted with the newest key yet" if found.on else "still encrypted"
        yield f"{values.count(found.files_left)} files are {how}; `tracecli ingest --once` goes on with it."
    for process in found.proxies_behind:
        what = "does not encrypt what it writes with the newest key" if found.on else "still encrypts what it writes"
        yield f"The proxy {process} {what}: start it again, with the key to be had."
