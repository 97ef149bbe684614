"""The keys of an encrypted home.

Content is encrypted with data keys. They are in `keys.json` in the home, each wrapped (RFC 3394) with one key that is
the user's and is elsewhere: in a file, in an environment variable, or what a command prints. A new key of the user's
wraps them anew; a new data key is for what comes, and ingest writes what is stored anew with it.

A home without `keys.json` is not encrypted. Nothing here prints a key, or puts one into a message.
"""

from __future__ import annotations

import base64
import binascii
import datetime as dt
import io
import logging
import os
import re
import shlex
import subprocess
import threading
from functools import partial
from pathlib import Path
from typing import IO, cast

import msgspec

from tracecli import access, config, files
from tracecli.config import Home, KeySource
from tracecli.encryption import FILE, KEY_BYTES, MESSAGE, DataKey, Keyring, Undecryptable, UnknownKey, new_key
from tracecli.errors import HomeError, NoKey, NotYours

log = logging.getLogger(__name__)

_PATIENCE_S = 60.0
_LONGEST = 4096
_FORM = "A key is 32 random bytes, in hexadecimal or Base64: `tracecli encryption key` makes one."


class Wrapped(msgspec.Struct, frozen=True, kw_only=True):
    """A data key as it is stored."""

    id: str
    """In hexadecimal."""
    made_at: dt.datetime
    wrapped: bytes


class Stored(msgspec.Struct, frozen=True, kw_only=True):
    """What `keys.json` holds."""

    format: int = 1
    on: bool
    """New content is encrypted, with the last of the keys."""
    source: KeySource
    keys: list[Wrapped]


class Changed(HomeError):
    """What was encrypted was changed since."""


_kept: dict[Path, tuple[tuple[int, int, int], Keyring]] = {}
_keeping = threading.Lock()


def ring(home: Home) -> Keyring | None:
    """The data keys of a home; None: it is not encrypted and never was.

    A process that has them keeps them where the file of keys changed and their new key is not to be had.
    Raises NoKey, or HomeError if the file of keys cannot be read.
    """
    try:
        about = home.keys.stat()
    except FileNotFoundError:
        return None
    identity = about.st_ino, about.st_mtime_ns, about.st_size
    with _keeping:
        kept = _kept.get(home.keys)
        if kept and kept[0] == identity:
            return kept[1]
        try:
            found = _unwrapped(home, stored(home))
        except NoKey as error:
            if kept is None:
                raise
            log.warning("the keys of %s were changed: %s The keys before are used on", home.root, error)
            found = kept[1]
        _kept[home.keys] = identity, found
        return found


def in_use(home: Home) -> bool:
    """Whether the home has data keys, also for who may not read content, and them. Raises as `ring` does."""
    try:
        return ring(home) is not None
    except NotYours:
        return True


def stored(home: Home) -> Stored:
    """What the file of keys says. Raises FileNotFoundError, or HomeError if it cannot be read."""
    try:
        found = msgspec.json.decode(home.keys.read_bytes(), type=Stored)
    except FileNotFoundError:
        raise
    except OSError as error:
        if home.foreign and isinstance(error, PermissionError):
            raise access.no_content(home) from error
        raise HomeError(f"cannot read {home.keys}: {error.strerror}", "Make it readable for you alone.") from error
    except msgspec.DecodeError as error:
        raise HomeError(
            f"{home.keys} is damaged: {error}", "Bring it back from a backup (`tracecli db backup`)."
        ) from error
    if found.format != 1 or not found.keys:
        raise HomeError(f"{home.keys} is of a newer tracecli, or damaged", "Upgrade tracecli.")
    return found


def source(home: Home) -> KeySource:
    """Where the key is to be had, by the environment, or by the file of keys. Raises FileNotFoundError or HomeError."""
    return config.key_source() or stored(home).source


def add(home: Home, source: KeySource) -> None:
    """Turn encryption on with a new data key, wrapped with the key of this source; the older ones are wrapped anew.

    Raises NoKey or HomeError.
    """
    home.refuse_changes()
    user_key = fetched(source)
    before: list[tuple[Wrapped, DataKey]] = []
    try:
        old = stored(home)
        before = list(zip(old.keys, _keys(home, old), strict=True))
    except FileNotFoundError:
        home.prepare()
    fresh = new_key()
    now = dt.datetime.now(dt.UTC).replace(microsecond=0)
    keys = [_wrapped(user_key, key, one.made_at) for one, key in before]
    _write(home, Stored(on=True, source=source, keys=[*keys, _wrapped(user_key, fresh, now)]))


def turn_off(home: Home) -> None:
    """Encrypt nothing any more. The keys stay, for what is not decrypted yet. Raises FileNotFoundError or HomeError."""
    home.refuse_changes()
    ring(home)  # whoever has not the key turns nothing off
    _write(home, msgspec.structs.replace(stored(home), on=False))


def missing(home: Home) -> NoKey:
    """What to raise where something is encrypted with a data key that the home has not."""
    return NoKey(
        f"something in {home.root} is encrypted, and its key is not in {home.keys}",
        "Bring that file back from a backup (`tracecli db backup`).",
    )


def protected(home: Home, data: bytes) -> bytes:
    """What to write to a small file of the home: encrypted if the home is. Raises NoKey."""
    keys = ring(home)
    return keys.encrypt(data) if keys and keys.newest else data


def revealed(home: Home, data: bytes, about: bytes = b"") -> bytes:
    """What is in a message, and what is none as it is. Raises NoKey, or Changed."""
    if not data.startswith(MESSAGE):
        return data
    found = ring(home)
    try:
        if found is None:
            raise UnknownKey
        return found.decrypt(data, about)
    except UnknownKey:
        raise missing(home) from None
    except Undecryptable as error:
        raise Changed(f"something in {home.root} was changed", "Bring it back from a backup.") from error


def opened(home: Home, path: Path) -> IO[bytes]:
    """A file of a home to read what is in it, whether it is encrypted or not.

    Raises FileNotFoundError, NoKey or Changed. Reading of a file that was changed raises `Undecryptable`.
    """
    file = path.open("rb")
    begin = file.read(len(MESSAGE))
    if begin == MESSAGE:
        with file:
            return io.BytesIO(revealed(home, begin + file.read()))
    if begin != FILE:
        file.seek(0)
        return file
    file.close()
    try:
        found = ring(home)
        if found is None:
            raise UnknownKey
        return cast("IO[bytes]", found.decrypt_file(path))
    except UnknownKey:
        raise missing(home) from None
    except Undecryptable as error:
        raise Changed(f"{path} was changed", "Bring it back from a backup.") from error


def fetched(source: KeySource) -> bytes:
    """The key of the user's from where it is to be had. Raises NoKey."""
    if source.variable:
        text = config.secret_variable(source.variable)
        if text is None:
            raise NoKey(f"the environment variable {source.variable} is not set", "Set it to the key of this home.")
        return _parsed(text.encode("utf-8", "surrogateescape"), f"the environment variable {source.variable}")
    if source.file:
        return _parsed(_read(Path(source.file).expanduser()), source.file)
    return _parsed(_printed(source.command or ""), f"what `{source.command}` prints")


def described(source: KeySource) -> str:
    """Where the key is to be had, in words."""
    if source.variable:
        return f"environment variable {source.variable}"
    return f"file {source.file}" if source.file else f"command {source.command}"


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            if os.fstat(file.fileno()).st_mode & 0o077:
                raise NoKey(
                    f"others may read the key in {path}",
                    f"Take that right from them: chmod 600 {shlex.quote(str(path))}",
                )
            return file.read(_LONGEST)
    except OSError as error:
        raise NoKey(
            f"cannot read the key in {path}: {error.strerror}", "Bring it back; nothing can be read without it."
        ) from error


def _printed(command: str) -> bytes:
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise NoKey(f"the command for the key cannot be understood: {error}", "Correct it.") from error
    try:
        done = subprocess.run(  # noqa: S603 - the user's own command
            words, stdin=subprocess.DEVNULL, capture_output=True, timeout=_PATIENCE_S, check=False
        )
    except (OSError, IndexError) as error:
        problem = getattr(error, "strerror", None) or "it is empty"
        raise NoKey(f"cannot run the command for the key, `{command}`: {problem}", "Correct it.") from error
    except subprocess.TimeoutExpired as error:
        raise NoKey(
            f"`{command}`, which should print the key, took longer than {_PATIENCE_S:g} s", "Mend it."
        ) from error
    if done.returncode:
        raise NoKey(
            f"`{command}`, which should print the key, ended with code {done.returncode}", "Run it by hand to see why."
        )
    return done.stdout


def _parsed(given: bytes, where: str) -> bytes:
    text = given.strip()
    if len(given) == KEY_BYTES and not re.fullmatch(rb"[\s0-9A-Za-z+/=_-]+", given):
        return given
    if re.fullmatch(rb"[0-9A-Fa-f]{64}", text):
        return bytes.fromhex(text.decode())
    try:
        found = base64.b64decode(text.replace(b"-", b"+").replace(b"_", b"/") + b"=" * (-len(text) % 4), validate=True)
    except binascii.Error:
        found = b""
    if len(found) != KEY_BYTES:
        raise NoKey(f"{where} is no key", _FORM)
    return found


def _unwrapped(home: Home, found: Stored) -> Keyring:
    keys = _keys(home, found)
    return Keyring(keys, keys[-1] if found.on else None)


def _keys(home: Home, found: Stored) -> list[DataKey]:
    from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap

    source = config.key_source() or found.source
    others = home.root.stat().st_uid != os.geteuid()
    if config.key_source() is None and (home.foreign or (others and source.command)):
        # What its owner wrote there is not run with the rights of another.
        raise NoKey(
            f"what was recorded in {home.root} is encrypted, and {home.owner} keeps the key",
            "Name a copy of yours with TRACECLI_KEY_FILE, TRACECLI_KEY or TRACECLI_KEY_COMMAND.",
        )
    user_key = fetched(source)
    try:
        return [DataKey(bytes.fromhex(one.id), aes_key_unwrap(user_key, one.wrapped)) for one in found.keys]
    except (InvalidUnwrap, ValueError) as error:
        raise NoKey(
            f"what was recorded in {home.root} is encrypted with another key than that of the {described(source)}",
            "Name the right one with TRACECLI_KEY_FILE, TRACECLI_KEY or TRACECLI_KEY_COMMAND.",
        ) from error


def _wrapped(user_key: bytes, key: DataKey, made_at: dt.datetime) -> Wrapped:
    from cryptography.hazmat.primitives.keywrap import aes_key_wrap

    return Wrapped(id=key.id.hex(), made_at=made_at, wrapped=aes_key_wrap(user_key, key.secret))


def _write(home: Home, what: Stored) -> None:
    content = msgspec.json.format(msgspec.json.encode(what), indent=1) + b"\n"
    files.write_whole(home.keys, content, partial(access.share, home, "content"))
    files.to_disk(home.root)  # what is encrypted with a new key must not be older than the key
