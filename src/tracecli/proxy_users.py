"""Who may call himself what at the proxy: names, and hashes of their secrets, in `proxy-users.json` of the home.

Secrets are made here, 192 random bits each. One hash with SHA-256 keeps them safe: a slow one would protect guessable
passwords, and would cost each new connection its time.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import hmac
import json
import os
import re
import secrets
from collections.abc import Iterator
from pathlib import Path

from tracecli import files
from tracecli.config import PRIVATE_FILE
from tracecli.errors import ConfigError, HomeError

_HASH = re.compile(r"[0-9a-f]{64}")


class ProxyUsers:
    """The users in the file, as it was when `refresh` was called last. Reading it never raises."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._hashes: dict[str, str] = {}
        self._stamp: tuple[int, int, int] | None = None
        self.refresh()

    @property
    def any(self) -> bool:
        """Whether there are any."""
        return bool(self._hashes)

    @property
    def names(self) -> list[str]:
        """Who they are."""
        return sorted(self._hashes)

    def check(self, name: str, secret: str) -> bool:
        """Whether this is the secret of that user; takes the same time whatever is wrong."""
        return hmac.compare_digest(self._hashes.get(name, ""), _hash(secret))

    def refresh(self) -> None:
        """Read the file again if it changed; one that cannot be read leaves everything as it was."""
        try:
            about = self.path.stat()
        except FileNotFoundError:
            self._hashes, self._stamp = {}, None
            return
        except OSError:
            return
        stamp = about.st_mtime_ns, about.st_size, about.st_ino
        if stamp == self._stamp:
            return
        try:
            self._hashes = _read(self.path)
            self._stamp = stamp
        except (OSError, ConfigError):
            return

    def add(self, name: str) -> str:
        """Register a user, or give a registered one a new secret; returns the secret, which is kept nowhere.

        Raises ConfigError if the file is damaged, HomeError if it cannot be written.
        """
        secret = secrets.token_urlsafe(24)
        with self._editing() as users:
            users[name] = _hash(secret)
        return secret

    def remove(self, name: str) -> bool:
        """Take a user out; whether there was one. Raises as `add` does."""
        with self._editing() as users:
            return users.pop(name, None) is not None

    @contextlib.contextmanager
    def _editing(self) -> Iterator[dict[str, str]]:
        """The users in the file, which are written when this ends; others wait meanwhile."""
        try:
            lock = os.open(self.path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, PRIVATE_FILE)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX)
                users = _read(self.path)
                yield users
                files.write_whole(self.path, json.dumps({"version": 1, "users": users}, indent=1).encode())
            finally:
                os.close(lock)
        except OSError as error:
            raise HomeError(f"cannot write {self.path}: {error.strerror}", "Make the home folder writable.") from error
        self.refresh()


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).hexdigest()


def _read(path: Path) -> dict[str, str]:
    try:
        users: dict[str, str] = json.loads(path.read_bytes())["users"]
        if not all(_HASH.fullmatch(value) for value in users.values()):
            raise ValueError("no hash")
    except FileNotFoundError:
        return {}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ConfigError(f"{path} is damaged", "Remove it and add the users again.") from error
    return users
