"""What is damaged is set aside and counted; the rest is read, and the traffic goes on."""

from __future__ import annotations

import json
import shutil
import uuid
from pathlib import Path
from typing import Any

from tests.support.commands import rows, tracecli
from tests.support.load import load
from tests.support.proxies import Place, running_proxy
from tests.support.standin import Standin
from tests.support.waiting import wait_until

CHAT = "https://api.openai.com/v1/chat/completions"
ASKED: dict[str, Any] = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Still there?"}]}


def test_damaged_segments(standin: Standin, tmp_path: Path, user: str) -> None:
    """Flipped bytes, a torn tail and a file of garbage cost what they hit, and nothing else."""
    place = Place(tmp_path)
    with running_proxy(place, standin, options={"tracecli_ingest": "false"}) as proxy:
        with load(proxy, "load", per_second=60) as sent:
            wait_until(lambda: len(_sealed(place)) >= 4, "four segments")
        whole = {row["user"] for row in rows(place.home)}
        assert whole == set(sent.ended)

        first, second, third, *_ = _sealed(place)
        _flip(first, 0.5)
        _flip(second, 0.01)
        third.write_bytes(third.read_bytes()[:-40])
        nonsense = place.home / "spool" / f"{uuid.UUID(int=uuid.uuid4().int >> 8)}.seg"
        nonsense.write_bytes(b"\x00\xff not a segment at all\n" * 999)
        (place.home / "spool" / "notes.txt").write_text("somebody put this here")
        (place.home / "spool" / f"{uuid.uuid4()}.seg").touch()

        spooled = {row["user"] for row in rows(place.home)}
        assert spooled < whole
        assert len(whole - spooled) in (3, 4)  # four if flipped bytes belong to two exchanges
        with proxy.client(user) as client:
            assert client.post(CHAT, json=ASKED).status_code == 200
        assert proxy.only_row(user)["outcome"] == "complete"
        assert proxy.stop() == 0

    done = tracecli(place.home, "ingest", "--once")
    assert "quarantined" in done.stderr
    found = [row["user"] for row in rows(place.home)]
    assert sorted(found) == sorted(spooled | {user})
    assert _sealed(place) == []
    aside = list(place.home.glob("quarantine/*"))
    assert len(aside) >= 4
    kept = b"".join(path.read_bytes() for path in aside)
    assert b"not a segment at all" in kept
    assert json.loads((place.home / "ingest.json").read_bytes())["quarantined"] == len(aside)

    tracecli(place.home, "ingest", "--once")
    assert sorted(row["user"] for row in rows(place.home)) == sorted(found)
    assert list(place.home.glob("quarantine/*")) == aside


def _sealed(place: Place) -> list[Path]:
    return sorted(place.home.glob("spool/*.seg"))


def _flip(segment: Path, where: float) -> None:
    data = bytearray(segment.read_bytes())
    at = int(len(data) * where)
    data[at] ^= 0xFF
    data[at + 1] ^= 0x55
    segment.write_bytes(data)


def test_a_spool_that_cannot_be_written(standin: Standin, tmp_path: Path, user: str) -> None:
    """When the spool is gone, calls go on unrecorded, the log says so, and recording resumes when it is back."""
    with running_proxy(tmp_path, standin) as proxy, proxy.client(user) as client:
        spool = proxy.home / "spool"
        shutil.rmtree(spool)
        spool.write_text("in the way")

        def lost() -> bool:
            assert client.post(CHAT, json=ASKED).status_code == 200
            return "could not be recorded" in proxy.said()

        wait_until(lost, "a word about lost exchanges")
        spool.unlink()
        spool.mkdir()

        def recorded() -> bool:
            assert client.post(CHAT, json=ASKED).status_code == 200
            return bool(proxy.rows(user))

        wait_until(recorded, "a record")


def test_a_database_that_cannot_be_opened(standin: Standin, tmp_path: Path, user: str) -> None:
    """With a database that is none, calls go on and their records wait in the spool for it to be moved away."""
    place = Place(tmp_path)
    with running_proxy(place, standin) as proxy, proxy.client(user) as client:
        client.post(CHAT, json=ASKED)
        proxy.stored_row(user)
        kept = tmp_path / "kept.duckdb"
        database = place.home / "traces.duckdb"
        database.rename(kept)
        database.write_bytes(b"this is no database" * 1000)
        assert client.post(CHAT, json=ASKED).status_code == 200
        done = tracecli(place.home, "usage", "show", code=5)
        assert str(database) in done.stderr
        kept.replace(database)
        wait_until(lambda: len(proxy.rows(user)) == 2, "both records")
