"""That a command is still at work, on standard error: after a second, on a terminal, gone before anything is written.

A command of `WATCHED` is watched from its start. How far it is says who does the work (`working.told`).
"""

from __future__ import annotations

import sys
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

from tracecli import working

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

AFTER_S = 1.0
WATCHED = frozenset({"usage", "sql", "export", "cache", "reprice", "reparse", "retention", "db", "flags", "dataset"})
"""Commands that end by themselves, and may take long."""


class _Watch:
    """From the start of a command to its end."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._timer: threading.Timer | None = None
        self._shown: tuple[Progress, TaskID] | None = None
        self._done: int | None = None
        self._total: int | None = None
        self._what = ""
        self._arm()
        working.listen(self.told)

    def told(self, done: int, total: int | None, what: str) -> None:
        """So far it is."""
        with self._lock:
            self._done, self._total, self._what = done, total, what
            self._update()

    def hide(self) -> None:
        """Something is about to be written; if there is nothing more for a second, it shows again."""
        with self._lock:
            self._stop()
            self._arm()

    def end(self) -> None:
        """For good."""
        with self._lock:
            self._stop()
            if self._timer:
                self._timer.cancel()
            working.listen(None)

    def _arm(self) -> None:
        if self._timer:
            self._timer.cancel()
        self._timer = threading.Timer(AFTER_S, self._show)
        self._timer.daemon = True
        self._timer.start()

    def _show(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

        with self._lock, suppress(OSError, ValueError):  # nobody is there any more
            if self._shown is not None or threading.current_thread() is not self._timer:
                return
            console = Console(stderr=True, markup=False, highlight=False)
            what = TextColumn("{task.description}", markup=False)
            columns = [SpinnerColumn(), what, BarColumn(), TimeElapsedColumn()]
            shown = Progress(*columns, console=console, transient=True)
            self._shown = shown, shown.add_task("working", total=self._total)
            self._update()
            shown.start()

    def _update(self) -> None:
        if self._shown is None:
            return
        shown, task = self._shown
        if self._done is not None:
            of = f" of {self._total:,}" if self._total else ""
            shown.update(task, completed=self._done, total=self._total, description=f"{self._done:,}{of} {self._what}")

    def _stop(self) -> None:
        if self._shown is not None:
            with suppress(OSError, ValueError):
                self._shown[0].stop()
            self._shown = None


_watch: _Watch | None = None


def begin(command: str) -> None:
    """A command begins."""
    global _watch  # noqa: PLW0603 - there is one terminal
    end()
    if command in WATCHED and sys.stderr is not None and sys.stderr.isatty():
        _watch = _Watch()


def hide() -> None:
    """Before anything is written."""
    if _watch is not None:
        _watch.hide()


def end() -> None:
    """The command has ended, or has no end."""
    global _watch  # noqa: PLW0603 - there is one terminal
    if _watch is not None:
        _watch.end()
        _watch = None
