"""Files that are whole or not there."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path

import pytest

from tracecli import files


def test_a_status_is_told_where_there_is_no_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no other file can be written, what is there is written over; what cannot be, is an error."""
    status = tmp_path / "status.json"
    files.write_status(status, json.dumps({"lost": 0, "about": "x" * 100}).encode())

    def full(path: Path, content: bytes, shared: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files, "write_whole", full)
    for lost in (7, 70_000):
        files.write_status(status, json.dumps({"lost": lost}).encode())
        assert json.loads(status.read_bytes()) == {"lost": lost}
    with pytest.raises(FileNotFoundError):
        files.write_status(tmp_path / "other.json", b"{}")


@pytest.mark.parametrize("drafted", [False, True])
def test_a_pipe_is_written_to(tmp_path: Path, drafted: bool) -> None:
    """What is no file, as /dev/null, stays what it is."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    read: list[bytes] = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_bytes()))
    reader.start()
    if drafted:
        with files.drafted(pipe) as draft:
            draft.write_bytes(b"content")
    else:
        files.write_whole(pipe, b"content")
    reader.join(20)
    assert read == [b"content"]
    assert pipe.is_fifo()
    assert list(tmp_path.iterdir()) == [pipe]
