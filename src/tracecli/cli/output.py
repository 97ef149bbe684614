"""The one place that writes to standard output and standard error.

Standard output is data and nothing else, in UTF-8 whatever the locale says. Hints and errors go to standard error.
Whether the reader has a terminal decides how a table looks: colours and a fit to its width, or whole values. Rich's
own variables are honoured: NO_COLOR, FORCE_COLOR (colours in a pipe, for `less -R`), COLUMNS.
"""

from __future__ import annotations

import datetime as dt
import io
import json as json_module
import os
import sys
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from tracecli.errors import TracecliError
from tracecli.tables import visible

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from tracecli.exchange import Opened, Row
    from tracecli.price_table import ListedPrice
    from tracecli.reprice import Changes

_READER_LEFT = 141
"""What a shell reports for a program that SIGPIPE ended; `| head` is no error and says nothing."""


def use_utf8() -> None:
    """Make both streams UTF-8. What cannot be encoded, a lone surrogate, is escaped instead of raised."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")


def json(value: Any) -> None:
    """Write `value` as JSON in ASCII: what would act on a terminal is escaped, and a number is never NaN."""
    try:
        text = json_module.dumps(value, indent=2, allow_nan=False)
    except ValueError:
        text = json_module.dumps(_finite(value), indent=2)
    except RecursionError:  # Python 3.12 lays out in Python, and stops at a thousand lists in each other
        text = json_module.dumps(value)
    _write(text.replace("\x7f", "\\u007f") + "\n")


def rows(found: Sequence[Row], *, more: bool) -> None:
    """Write requests as a table, or in a pipe as one line each. `more`: there may be older ones."""
    from tracecli.tables.listing import Listing, plain

    console = _console()
    if console.is_terminal:
        _show(console, [Listing(found, dt.datetime.now(dt.UTC), more=more)])
    else:
        _write("".join(f"{line}\n" for line in plain(found)))


def opened(exchange: Opened) -> None:
    """Write one request with its content."""
    from tracecli.tables.opened import opened as parts

    _show(_console(), parts(exchange))


def prices(found: Sequence[ListedPrice], source: str) -> None:
    """Write prices as a table, or in a pipe as one line each. `source` says where they are from."""
    from tracecli.tables.prices import listing, plain

    console = _console()
    if console.is_terminal:
        _show(console, listing(found, source))
    else:
        _write("".join(f"{line}\n" for line in plain(found)))


def changes(found: Changes) -> None:
    """Write what was priced or understood again."""
    from tracecli.tables.changes import changes as parts
    from tracecli.tables.changes import plain

    console = _console()
    if console.is_terminal:
        _show(console, parts(found))
    else:
        _write("".join(f"{line}\n" for line in plain(found)))


def listing(people: Iterable[RenderableType], lines: Iterable[str]) -> None:
    """Write something for people, or in a pipe as lines; what is not needed is not asked for."""
    console = _console()
    if console.is_terminal:
        _show(console, people)
    else:
        _write("".join(f"{line}\n" for line in lines))


def say(text: str) -> None:
    """Tell the user something on standard error; the text may hold recorded or typed values."""
    if sys.stderr is not None:
        with suppress(OSError):  # nobody left to tell
            sys.stderr.write(visible.lines(text) + "\n")
            sys.stderr.flush()


class _Page(io.StringIO):
    """What Rich writes to: it asks whether this is a terminal, and the answer is that of standard output."""

    def isatty(self) -> bool:
        return sys.stdout is not None and sys.stdout.isatty()

    def take(self) -> str:
        text = self.getvalue()
        self.seek(0)
        self.truncate()
        return text


def _console() -> Console:
    from rich.console import Console

    return Console(file=_Page(), markup=False, emoji=False, highlight=False, legacy_windows=False)


def _show(console: Console, renderables: Iterable[RenderableType]) -> None:
    assert isinstance(console.file, _Page)  # noqa: S101 - made so above
    for renderable in renderables:
        console.print(renderable, soft_wrap=not console.is_terminal)
        _write(console.file.take())


def _write(text: str) -> None:
    """Write to standard output, at once.

    Raises SystemExit if its reader has gone, TracecliError if it cannot be written.
    """
    if sys.stdout is None:  # closed by whoever started us
        return
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        _abandon()
        raise SystemExit(_READER_LEFT) from None
    except OSError as error:
        _abandon()
        raise TracecliError(
            f"cannot write the output: {error.strerror}", "Free some space, or send it elsewhere."
        ) from error


def _abandon() -> None:
    """Send what is still buffered nowhere, or Python complains about it when it exits."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _finite(value: Any) -> Any:
    match value:
        case dict():
            return {name: _finite(inner) for name, inner in value.items()}
        case list() | tuple():
            return [_finite(inner) for inner in value]
        case float() if value != value or value in (float("inf"), float("-inf")):
            return None
    return value
