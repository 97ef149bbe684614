"""The comparison of one worker with two."""

from __future__ import annotations

from benches.workers import table


def test_the_table() -> None:
    """It says how many times the answers two give, of medians."""
    shown = table({"2 KB": {1: [900.0, 1000.0, 5000.0], 2: [1850.0, 100.0, 9000.0]}}, 3, 0.5)
    assert "| 2 KB | 1,000 | 1,850 | 1.85 |" in shown
    assert "Each worker has 0.5 of a core." in shown
