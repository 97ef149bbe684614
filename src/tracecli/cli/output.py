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
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tracecli.cli import progress
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
    _write(json_text(value))


def json_line(value: Any) -> None:
    """Write `value` as JSON on one line."""
    _write(json_text(value, indent=None))


def json_text(value: Any, *, indent: int | None = 2) -> str:
    """`value` as JSON in ASCII, with a line end."""
    try:
        text = json_module.dumps(value, indent=indent, allow_nan=False)
    except ValueError:
        text = json_module.dumps(_finite(value), indent=indent)
    except RecursionError:  # Python 3.12 lays out in Python, and stops at a thousand lists in each other
        text = json_module.dumps(value)
    return text.replace("\x7f", "\\u007f") + "\n"


@dataclass
class _Layout:
    """How tables look."""

    width: int | None = None
    """Cells; None: those of the terminal."""
    zone: dt.tzinfo | None = None
    """None: the system's."""


_layout = _Layout()


@contextmanager
def layout(
    *, width: int | None = None, zone: dt.tzinfo | None = None, pager: list[str] | None = None
) -> Iterator[None]:
    """What is written meanwhile has this width and zone; on a terminal, what it cannot hold goes through the pager."""
    global _layout, _pages  # noqa: PLW0603 - there is one standard output
    _layout = _Layout(width, zone)
    if pager and sys.stdout is not None and sys.stdout.isatty() and sys.stdin is not None and sys.stdin.isatty():
        _pages = _Pages(pager)
    try:
        yield
    finally:
        pages, _pages, _layout = _pages, None, _Layout()
        if pages is not None:
            pages.close()


def rows(
    found: Sequence[Row], columns: Sequence[tuple[str, str]] | None = None, *, more: bool, latest: bool = True
) -> None:
    """Write requests as a table, or in a pipe as one line each.

    `columns` are headers and the fields below them. `more`: there may be others; `latest`: they are older ones.
    """
    from tracecli.tables import columns as chosen
    from tracecli.tables.listing import Listing, plain

    console = _console()
    if not console.is_terminal:
        lines = (
            chosen.plain(found, [name for _, name in columns], _layout.zone) if columns else plain(found, _layout.zone)
        )
        _write("".join(f"{line}\n" for line in lines))
        return
    now = dt.datetime.now(dt.UTC)
    if columns:
        _show(console, chosen.people(found, columns, now, _layout.zone, more=more and latest))
    else:
        _show(console, [Listing(found, now, _layout.zone, more=more and latest)])


def data_lines(lines: Iterable[str]) -> None:
    """Write lines of data; what would act on a terminal is escaped only if it is one that reads it."""
    for line in lines:
        _write(visible.lines(line) if sys.stdout is not None and sys.stdout.isatty() else line)


def opened(exchange: Opened) -> None:
    """Write one request with its content."""
    from tracecli.tables.opened import opened as parts

    _show(_console(), parts(exchange, _layout.zone))


def gap() -> None:
    """Write an empty line with a rule where the reader has a terminal."""
    from rich.rule import Rule

    console = _console()
    _show(console, ["", Rule(style="dim"), ""] if console.is_terminal else ["", ""])


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


def people(parts: Iterable[RenderableType]) -> None:
    """Write something for people, in a pipe too, where every line stays whole."""
    _show(_console(), parts)


def listing(people: Iterable[RenderableType], lines: Iterable[str]) -> None:
    """Write something for people, or in a pipe as lines; what is not needed is not asked for."""
    console = _console()
    if console.is_terminal:
        _show(console, people)
    else:
        _write("".join(f"{line}\n" for line in lines))


def data(value: bytes) -> None:
    """Write bytes as they are; on a terminal, what would act on it is escaped.

    Raises TracecliError if they are no text and there is a terminal.
    """
    if sys.stdout is not None and sys.stdout.isatty():
        try:
            _write(visible.lines(value.decode()))
        except UnicodeDecodeError:
            raise TracecliError("this is no text", "Send it to a file or a pipe.") from None
    elif sys.stdout is not None:
        _written(lambda: sys.stdout.buffer.write(value))


def say(text: str) -> None:
    """Tell the user something on standard error; the text may hold recorded or typed values."""
    if sys.stderr is not None:
        progress.hide()
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

    return Console(file=_Page(), width=_layout.width, markup=False, emoji=False, highlight=False, legacy_windows=False)


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
    if _pages is not None:
        _pages.write(text)
        return
    _written(lambda: sys.stdout.write(text))


def _written(write: Callable[[], object]) -> None:
    progress.hide()
    try:
        write()
        sys.stdout.flush()
    except BrokenPipeError:
        _abandon()
        raise SystemExit(_READER_LEFT) from None
    except OSError as error:
        _abandon()
        raise TracecliError(
            f"cannot write the output: {error.strerror}", "Free some space, or send it elsewhere."
        ) from error


class _Pages:
    """Text on its way to a pager, which starts when there is more of it than the screen holds."""

    def __init__(self, command: list[str]) -> None:
        self.command = command
        self.room = shutil.get_terminal_size().lines - 1
        self.held: list[str] = []
        self.process: subprocess.Popen[bytes] | None = None

    def write(self, text: str) -> None:
        if self.process is None:
            self.held.append(text)
            self.room -= text.count("\n")
            if self.room >= 0:
                return
            progress.end()  # the pager has the screen
            try:
                self.process = subprocess.Popen(self.command, stdin=subprocess.PIPE)  # noqa: S603 - the reader's own
            except OSError:
                return  # there is no such program: written as it is in the end
            text = "".join(self.held)
            self.held = []
        try:
            assert self.process.stdin is not None  # noqa: S101 - a pipe, see above
            self.process.stdin.write(text.encode("utf-8", "backslashreplace"))
        except BrokenPipeError:  # read enough
            raise SystemExit(0) from None

    def close(self) -> None:
        if self.process is None:
            _write("".join(self.held))
            return
        with suppress(BrokenPipeError):
            self.process.communicate()
        while self.process.poll() is None:  # it has the terminal, and Ctrl-C is its own
            with suppress(KeyboardInterrupt):
                self.process.wait()


_pages: _Pages | None = None


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
