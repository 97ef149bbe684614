"""Homes whose content is encrypted."""

from __future__ import annotations

import secrets
from pathlib import Path

from tracecli import keys
from tracecli.config import Home, KeySource


def key_file(folder: Path, name: str = "user.key") -> Path:
    """A new key of a user, in a private file."""
    path = folder / name
    path.touch(mode=0o600)
    path.write_text(secrets.token_hex(32) + "\n")
    return path


def encrypt(home: Home) -> Path:
    """Turn encryption on in a home without content; returns the file with the user's key, which is beside the home."""
    path = key_file(home.root.parent, f"{home.root.name}.key")
    keys.add(home, KeySource(file=str(path)))
    return path
