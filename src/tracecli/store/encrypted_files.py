"""Encrypted files for DuckDB: it reads and writes `encrypted://PATH` as if what is in it stood in the clear.

DuckDB's own encryption of Parquet writes only with an extension that it fetches from the network.
"""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

from fsspec import AbstractFileSystem  # type: ignore[import-untyped]

from tracecli import keys
from tracecli.config import Home
from tracecli.encryption import Reader, Writer

PROTOCOL = "encrypted"


class EncryptedFiles(AbstractFileSystem):  # type: ignore[misc]
    """The encrypted files of a home."""

    protocol = PROTOCOL
    cachable = False

    def __init__(self, home: Home) -> None:
        super().__init__()
        self._home = home

    def _open(self, path: str, mode: str = "rb", **_: Any) -> Reader | Writer:
        place = Path(self._strip_protocol(path))
        ring = keys.ring(self._home)
        if ring is None:
            raise keys.missing(self._home)
        return ring.decrypt_file(place) if mode == "rb" else ring.encrypt_file(place)

    def info(self, path: str, **_: Any) -> dict[str, Any]:
        """Its size, as DuckDB asks for it."""
        with self._open(path) as file:
            assert isinstance(file, Reader)  # noqa: S101 - it was opened to be read
            return {"name": path, "size": file.size, "type": "file"}

    def exists(self, path: str, **_: Any) -> bool:
        """Whether it is there."""
        return Path(self._strip_protocol(path)).exists()

    def glob(self, path: str, **_: Any) -> list[str]:
        """The one file of this name: no name of ours is a pattern."""
        return [path]

    def modified(self, path: str) -> dt.datetime:
        """When it was written."""
        return dt.datetime.fromtimestamp(Path(self._strip_protocol(path)).stat().st_mtime, dt.UTC)
