"""What a check of `tracecli doctor` finds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

import msgspec

from tracecli.config import Home


class Found(msgspec.Struct, frozen=True):
    """One thing that is broken, or may become so."""

    check: str
    severity: Literal["error", "warning"]
    problem: str
    remedy: str


class Well(msgspec.Struct, frozen=True):
    """One thing that was looked at and is as it has to be."""

    check: str
    about: str


type Check = Callable[[Home, Path], Iterator[Found | Well]]
"""Given the home and the policy folder; what yields nothing has found nothing wrong."""
