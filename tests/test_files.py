"""Files that are whole or not there."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tracecli import files


def test_a_status_is_told_where_there_is_no_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no other file can be written, what is there is written over; what cannot be, is an error."""
    status = tmp_path / "status.json"
    files.write_status(status, json.dumps({"lost": 0, "about": "x" * 100}).encode())

    def full(path: Path, content: bytes) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files, "write_whole", full)
    for lost in (7, 70_000):
        files.write_status(status, json.dumps({"lost": lost}).encode())
        assert json.loads(status.read_bytes()) == {"lost": lost}
    with pytest.raises(FileNotFoundError):
        files.write_status(tmp_path / "other.json", b"{}")
