"""The secret of a home: fingerprints of credentials are made with it, and tickets signed."""

from __future__ import annotations

import contextlib
import secrets

from tracecli import files
from tracecli.config import Home
from tracecli.errors import HomeError


def read(home: Home) -> bytes:
    """The secret, made when it is asked for first. Raises HomeError if it cannot be used."""
    try:
        if not home.secret.exists():
            with contextlib.suppress(FileExistsError):
                files.write_new(home.secret, secrets.token_bytes(32))
        key = home.secret.read_bytes()
    except OSError as error:
        raise HomeError(f"cannot use {home.secret}: {error.strerror}", "Make it readable for you alone.") from error
    if len(key) < 16:
        raise HomeError(f"{home.secret} is damaged", "Remove it; users known by their credential get new names.")
    return key
