"""`tracecli ui`, by Textual's pilot: keys in, what the screen shows out."""

from __future__ import annotations

import asyncio
import datetime as dt
import os
import pty
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from textual.pilot import Pilot
from textual.widgets import DataTable, Input, Static
from textual.worker import WorkerFailed

from tests.support.chats import answered, asked, call, store
from tracecli import finding, ledger
from tracecli.cli.main import run
from tracecli.config import Home
from tracecli.errors import StoreBusy
from tracecli.query.syntax import EVERYTHING, parse
from tracecli.spool import SpoolWriter
from tracecli.ui import app
from tracecli.ui.app import Browser, Opening, Pane, Sessions, Sums

HOSTILE = "\x1b]52;c;x\x07[bold red]evil[/]\u202e"
PATIENCE_S = 20.0

_EXCHANGES = [
    call(0, asked("Where is Paris?"), answered("In France."), user="alice", session="s1"),
    call(1, asked("Where is Rome?"), answered("In Italy."), user="bob", session="s1", duration_ms=5000.0),
    call(2, asked(HOSTILE), answered(HOSTILE), user=HOSTILE),
]
IDS = [one.exchange.id for one in _EXCHANGES]


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """Three exchanges, two of a session."""
    home = Home(tmp_path / "home")
    home.prepare()
    store(home, *_EXCHANGES)
    return home


def driven(browser: Browser, play: Callable[[Pilot[None]], Awaitable[None]], size: tuple[int, int] = (100, 30)) -> None:
    """Run the application, and a play with it; nothing of it is left."""

    async def whole() -> None:
        async with browser.run_test(size=size, notifications=True) as pilot:
            await play(pilot)

    before = threading.active_count()
    asyncio.run(whole())
    assert threading.active_count() <= before


async def until(pilot: Pilot[None], is_so: Callable[[], bool], what: str) -> None:
    """Wait for something that the screen will show."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + PATIENCE_S
    while not is_so():
        if loop.time() > deadline:
            raise AssertionError(f"no {what}: {screen(pilot)}")
        await pilot.pause(0.02)


def screen(pilot: Pilot[None]) -> str:
    """What there is to see, line by line."""
    strips = pilot.app.screen._compositor.render_strips()
    return "\n".join("".join(segment.text for segment in strip) for strip in strips)


def shown(pilot: Pilot[None]) -> list[str]:
    """The ids of the list, from the top."""
    table = pilot.app.screen_stack[0].query_one(DataTable)
    return [str(key.value) for key in table.rows]


async def listed(pilot: Pilot[None], number: int) -> None:
    """The list has so many."""
    await until(pilot, lambda: len(shown(pilot)) == number, f"list of {number}")


def test_the_list(home: Home) -> None:
    """The latest are listed, newest first, with their sum; and hostile names are harmless."""

    async def play(pilot: Pilot[None]) -> None:
        await listed(pilot, 3)
        assert shown(pilot) == IDS[::-1]
        await until(pilot, lambda: "3 requests" in screen(pilot) and "gpt-4o-mini" in screen(pilot), "sum")
        seen = screen(pilot)
        assert "alice" in seen and "$0.0002" in seen
        assert "[bold red]" in seen and not {"\x1b", "\x07", "\u202e"} & set(seen)

    driven(Browser(home), play, size=(200, 30))


def test_filtering_as_one_types(home: Home) -> None:
    """The list follows the filter; a mistake is pointed at, and the list stays."""

    async def play(pilot: Pilot[None]) -> None:
        await listed(pilot, 3)
        await pilot.press("slash", *"user:alice")
        await listed(pilot, 1)
        await pilot.press("space", "n", "o", "p", "e", "colon", "x")
        await until(pilot, lambda: "there is no field `nope`" in screen(pilot), "mistake")
        assert "^^^^" in screen(pilot)
        assert shown(pilot) == [IDS[0]]
        for _ in range(7):
            await pilot.press("backspace")
        await until(pilot, lambda: "no field" not in screen(pilot), "end of the mistake")
        await pilot.press("enter", "escape")
        await listed(pilot, 3)
        await pilot.press("slash", *"rome")
        await listed(pilot, 1)
        assert shown(pilot) == [IDS[1]]
        await pilot.press(*"xyz")
        await until(pilot, lambda: "No recorded request fits." in screen(pilot), "nothing")

    driven(Browser(home), play)


def test_opening(home: Home) -> None:
    """Enter opens the chosen one; escape goes back to where one was."""

    async def play(pilot: Pilot[None]) -> None:
        await listed(pilot, 3)
        await pilot.press("j", "enter")
        await until(pilot, lambda: "Where is Rome?" in screen(pilot), "prompt")
        assert "In Italy." in screen(pilot)
        await pilot.press("G")
        await until(pilot, lambda: "Cost" in screen(pilot), "end")
        await pilot.press("escape")
        await until(pilot, lambda: len(pilot.app.screen_stack) == 1, "list")
        assert pilot.app.query_one(DataTable).cursor_row == 1
        await pilot.press("k", "enter")
        await until(pilot, lambda: "evil" in screen(pilot), "hostile prompt")
        assert not {"\x1b", "\x07", "\u202e"} & set(screen(pilot))

    driven(Browser(home), play, size=(100, 60))


def test_what_is_opened_is_noted(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the ledger, one line for each that is opened and one for two that are compared; the list notes nothing."""
    monkeypatch.setattr(ledger.Running, "name", lambda: "ui")

    async def play(pilot: Pilot[None]) -> None:
        await listed(pilot, 3)
        assert list(ledger.entries(home)) == []
        await pilot.press("j", "enter")
        await until(pilot, lambda: "Where is Rome?" in screen(pilot), "prompt")
        await pilot.press("escape")
        await until(pilot, lambda: len(pilot.app.screen_stack) == 1, "list")
        await pilot.press("space", "space", "d")
        await until(pilot, lambda: "first difference" in screen(pilot), "comparison")

    driven(Browser(home), play, size=(100, 60))
    assert [(one.command, one.ids) for one in ledger.entries(home)] == [("ui", [IDS[1]]), ("ui", IDS[:2])]


def test_a_long_line(home: Home) -> None:
    """20 MB in one line open as soon as others, cut, and say how much there is."""
    store(home, call(9, asked("x" * 20_000_000), answered("short"), user="long"))

    async def play(pilot: Pilot[None]) -> None:
        await listed(pilot, 1)
        await pilot.press("enter")
        pane = Opening
        await until(pilot, lambda: isinstance(pilot.app.screen, pane) and "xxxx" in screen(pilot), "prompt")
        lines = pilot.app.screen.query_one(Pane).lines
        assert any("19,8" in line.text and "more characters" in line.text for line in lines)

    driven(Browser(home, parse("user:long")), play)


def test_comparing(home: Home) -> None:
    """Two marked ones are compared side by side; without two, it says how."""

    async def play(pilot: Pilot[None]) -> None:
        await listed(pilot, 3)
        await pilot.press("d")
        await until(pilot, lambda: "Mark two requests" in screen(pilot), "hint")
        await pilot.press("j", "space")
        await until(pilot, lambda: "1 marked" in screen(pilot), "mark")
        await pilot.press("space", "d")
        await until(pilot, lambda: "first difference" in screen(pilot), "comparison")
        assert "Paris" in screen(pilot) and "Rome" in screen(pilot)

    driven(Browser(home), play)


def test_following(home: Home) -> None:
    """What ends while it runs appears at the top, and the chosen one stays chosen."""

    async def play(pilot: Pilot[None]) -> None:
        browser = pilot.app
        assert isinstance(browser, Browser)
        await listed(pilot, 3)
        await pilot.press("f")
        await until(pilot, lambda: browser._watch is not None, "watch")
        await pilot.press("j")
        at = dt.datetime.now(dt.UTC).timestamp() - 1_795_000_000
        late = [call(at + number, asked("late"), answered("x"), user="late") for number in range(2)]
        spool = SpoolWriter(home.spool)
        assert all(spool.append(one) for one in late)
        spool.close()
        await listed(pilot, 5)
        assert shown(pilot) == [one.exchange.id for one in reversed(late)] + IDS[::-1]
        assert browser._chosen() == IDS[1]
        assert "following" in screen(pilot)
        await pilot.press("f")
        await until(pilot, lambda: "following" not in screen(pilot), "end of following")

    driven(Browser(home), play)


def test_sorting(home: Home) -> None:
    """s lists by cost, then by duration, ..."""

    async def play(pilot: Pilot[None]) -> None:
        await listed(pilot, 3)
        await pilot.press("s")
        await until(pilot, lambda: "by cost" in screen(pilot), "order")
        await pilot.press("s")
        await until(pilot, lambda: "by duration" in screen(pilot) and shown(pilot)[:1] == [IDS[1]], "order")
        assert len(shown(pilot)) == 3

    driven(Browser(home), play)


def test_sessions_and_sums(home: Home) -> None:
    """A session that is chosen becomes the filter; sums go from one thing to the next."""

    async def play(pilot: Pilot[None]) -> None:
        await listed(pilot, 3)
        await pilot.press("e")
        await until(pilot, lambda: isinstance(pilot.app.screen, Sessions) and "s1" in screen(pilot), "sessions")
        await pilot.press("enter")
        await listed(pilot, 2)
        assert pilot.app.query_one(Input).value == 'session:"s1"'
        await pilot.press("b")
        await until(pilot, lambda: isinstance(pilot.app.screen, Sums) and "gpt-4o-mini" in screen(pilot), "sums")
        await pilot.press("b")
        await until(pilot, lambda: "alice" in screen(pilot) and "by user" in screen(pilot), "sums by user")
        await pilot.press("q", "question_mark")
        await until(pilot, lambda: "read again" in screen(pilot), "help")

    driven(Browser(home), play)


def test_pages(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """A long list is read page by page, as one scrolls."""
    monkeypatch.setattr(app, "PAGE", 5)
    monkeypatch.setattr(app, "_AHEAD", 2)
    store(home, *(call(10 + number, b"", b"", traced=False, user="many") for number in range(18)))

    async def play(pilot: Pilot[None]) -> None:
        await listed(pilot, 5)
        assert "latest 5 requests" in screen(pilot)
        await pilot.press("G")
        await listed(pilot, 10)
        for number in (15, 20, 21):
            await pilot.press("G")
            await listed(pilot, number)
        await until(pilot, lambda: "latest" not in screen(pilot).splitlines()[-2], "end")
        assert len(set(shown(pilot))) == 21
        await pilot.press("s")
        await until(pilot, lambda: "by cost" in screen(pilot) and len(shown(pilot)) == 5, "order")
        await pilot.press("G")
        await listed(pilot, 10)

    driven(Browser(home), play)


@pytest.mark.parametrize("size", [(60, 20), (80, 24), (200, 50), (30, 10)])
def test_any_size(home: Home, size: tuple[int, int]) -> None:
    """Columns fit the width, also after it changed."""

    async def play(pilot: Pilot[None]) -> None:
        await listed(pilot, 3)
        for wide, high in (size, (120, 40), size):
            await pilot.resize_terminal(wide, high)
            await until(pilot, lambda wide=wide: pilot.app.size.width == wide, "size")  # type: ignore[misc]
            await until(pilot, lambda: pilot.app.query_one(DataTable).virtual_size.width <= pilot.app.size.width, "fit")
            assert len(shown(pilot)) == 3

    driven(Browser(home), play, size)


def test_nothing_recorded(tmp_path: Path) -> None:
    """An empty home says what to do."""

    async def play(pilot: Pilot[None]) -> None:
        await until(pilot, lambda: "tracecli proxy" in screen(pilot), "advice")
        await pilot.press("enter", "space", "d", "y", "j", "s", "escape")
        assert shown(pilot) == []

    driven(Browser(Home(tmp_path / "none")), play)


def test_what_cannot_be_read(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that is busy is a line of text; it can be tried again."""
    real = finding.pages

    def busy(*_: object, **__: object) -> None:
        raise StoreBusy("another process holds the database", "Try again.")

    monkeypatch.setattr(finding, "pages", busy)

    async def play(pilot: Pilot[None]) -> None:
        await until(pilot, lambda: "another process holds the database" in screen(pilot), "error")
        monkeypatch.setattr(finding, "pages", real)
        await pilot.press("r")
        await listed(pilot, 3)
        status = pilot.app.query_one("#status", Static)
        await until(pilot, lambda: "another process" not in str(status.render()), "recovery")
        assert shown(pilot) == IDS[::-1]

    driven(Browser(home, EVERYTHING), play)


def test_a_bug(home: Home, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A bug ends it without a word of what was recorded; who started it is told."""

    def broken(*_: object, **__: object) -> None:
        held = "recorded-words"
        raise LookupError(len(held))

    monkeypatch.setattr(finding, "pages", broken)
    browser = Browser(home)

    async def play(pilot: Pilot[None]) -> None:
        await until(pilot, lambda: browser.bug is not None, "end")

    with pytest.raises(WorkerFailed):
        driven(browser, play)
    assert isinstance(browser.bug, LookupError)
    assert "recorded-words" not in "".join(capsys.readouterr())


def test_without_a_terminal(home: Home, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """In a pipe it says what to take instead."""
    monkeypatch.setenv("TRACECLI_HOME", str(home.root))
    assert run(["ui"]) == 2
    assert "usage show" in capsys.readouterr().err


def test_in_a_terminal(home: Home) -> None:
    """The command starts in a real terminal, shows the list, and ends with q."""
    ours, its = pty.openpty()
    environment = {**os.environ, "TRACECLI_HOME": str(home.root), "TERM": "xterm-256color", "COLUMNS": "100"}
    environment["LINES"] = "30"
    process = subprocess.Popen(
        [sys.executable, "-m", "tracecli", "ui", "user:alice"], stdin=its, stdout=its, stderr=its, env=environment
    )
    os.close(its)
    seen = b""
    try:
        while b"1 request" not in seen:
            seen += os.read(ours, 65536)
        os.write(ours, b"q")
        while True:
            try:
                if not os.read(ours, 65536):
                    break
            except OSError:
                break
        assert process.wait(PATIENCE_S) == 0
    finally:
        process.kill()
        process.wait()
        os.close(ours)
