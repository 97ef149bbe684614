"""How many connections workers have."""

from __future__ import annotations

import tempfile

import pytest

from tracecli.proxy.counts import Counts


def test_who_has_the_fewest() -> None:
    """What one process says another sees; who accepts no more does not count."""
    with tempfile.TemporaryFile() as file:
        ours = Counts.make(file.fileno())
        theirs = Counts(file.fileno())
        assert ours.fewest() == 0
        ours.say(0, 7)
        theirs.say(255, 3)
        assert (ours.fewest(), theirs.fewest()) == (3, 3)
        theirs.close(255)
        assert ours.fewest() == 7


def test_a_file_that_is_none_of_ours() -> None:
    """A file that is too short is refused."""
    with tempfile.TemporaryFile() as file, pytest.raises(ValueError):
        Counts(file.fileno())
