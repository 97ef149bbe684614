"""Everything is killed at random under load: nothing that had ended is lost, nothing is doubled, no byte is another."""

from __future__ import annotations

from pathlib import Path

from tests.support.chaos import chaos
from tests.support.proxies import Place
from tests.support.standin import Standin


def test_chaos(standin: Standin, tmp_path: Path) -> None:
    """The short form; `benches/chaos.py` goes on for as long as one likes."""
    done = chaos(Place(tmp_path), standin, kills=8, per_second=60, seed=11)
    assert sum(done.kills.values()) == 8
    assert len(done.ended) > 50
