"""Everything is killed at random under load: nothing that had ended is lost, nothing is doubled, no byte is another.

The short forms; `benches/chaos.py` goes on for as long as one likes.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.chaos import Chaos
from tests.support.disk import Disk, NoDisk
from tests.support.proxies import Place, end_ingest
from tests.support.standin import Standin

UNSURE_S = 2.0
"""On a machine that many tests share; what is promised is half a second, and measured by `benches/chaos.py`."""


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    """A disk of one's own for the home."""
    home = Place(tmp_path).home
    try:
        made = Disk(home, megabytes=96)
    except NoDisk as error:
        pytest.skip(str(error))
    try:
        yield made
    finally:
        end_ingest(home)
        made.close()


def test_kills_and_a_clock_that_jumps(standin: Standin, tmp_path: Path) -> None:
    """kill -9 of proxies, ingests and readers, with wall clocks that go hours forward and back, costs nothing."""
    chaos = Chaos(Place(tmp_path), standin, per_second=60, seed=11)
    done = chaos.run({"proxy": 2, "ingest": 2, "reader": 2, "clock": 4})
    assert done.happened.total() == 10
    assert len(done.ended) > 50
    assert done.lost == 0


def test_a_full_disk_and_a_power_cut(standin: Standin, tmp_path: Path, disk: Disk) -> None:
    """What is lost while the disk is full is counted, and nothing else goes but the last moments before a power cut."""
    chaos = Chaos(Place(tmp_path), standin, per_second=60, seed=4, disk=disk, unsure_s=UNSURE_S)
    done = chaos.run({"full disk": 2, "power cut": 1, "ingest": 1})
    assert done.lost > 40
    assert len(done.ended) > done.lost
    assert len(done.ended.keys() & done.before_cut.keys() - done.while_full) > 20
