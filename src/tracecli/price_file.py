"""The file `prices.toml` in the policy folder: read whole, checked whole, or refused whole."""

from __future__ import annotations

import logging
import tomllib
from decimal import Decimal
from pathlib import Path

from tracecli import price_list
from tracecli.errors import ConfigError
from tracecli.price_list import FILE, PriceList

log = logging.getLogger(__name__)

MAX_FILE_BYTES = 1 << 20
_REMEDY = "Correct the file; a running ingest keeps the prices it has until then."

type Stamp = tuple[int, int, int] | None
"""Time of change, size and inode; None: there is no file."""


def load(folder: Path) -> PriceList:
    """The prices in `folder`; none if there is no file.

    Raises ConfigError, naming the file, the key or line, and the remedy, if it cannot be read or is wrong.
    """
    path = folder / FILE
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise ConfigError(f"{path} is larger than {MAX_FILE_BYTES} bytes", "No price list is: " + _REMEDY)
        return price_list.parse(tomllib.loads(path.read_text("utf-8"), parse_float=Decimal))
    except (FileNotFoundError, NotADirectoryError):
        return PriceList()
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}", "Make it readable.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, ArithmeticError, RecursionError) as error:
        raise ConfigError(f"{path}: not valid TOML: {error or type(error).__name__}", _REMEDY) from error
    except ValueError as error:
        raise ConfigError(f"{path}: {error}", _REMEDY) from error


def load_or_say(folder: Path) -> PriceList:
    """The prices in `folder`; if they are wrong, a list that says so wherever a cost would have been computed."""
    try:
        return load(folder)
    except ConfigError as error:
        return PriceList(problem=f"{error.problem}; correct it, then `tracecli reprice`")


class Watched:
    """The prices in a folder, read again when the file changes. A broken edit changes nothing, and is logged once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._stamp = self._now()
        self._prices = load_or_say(folder)
        if self._prices.problem:
            log.warning("costs are recorded as unknown: %s", self._prices.problem)

    def current(self) -> PriceList:
        """The prices that hold now."""
        now = self._now()
        if now != self._stamp:
            self._stamp = now
            try:
                self._prices = load(self._folder)
                log.info("%s read again", FILE)
            except ConfigError as error:
                log.warning("the prices stay as they were: %s", error)
        return self._prices

    def _now(self) -> Stamp:
        try:
            about = (self._folder / FILE).stat()
        except OSError:
            return None
        return about.st_mtime_ns, about.st_size, about.st_ino
