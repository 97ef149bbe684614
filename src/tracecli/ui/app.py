"""The application: a list of requests with its filter, and screens that are opened from it.

Queries run in threads, and the newest one counts: what an older one finds is thrown away. A list holds the pages that
were scrolled to. Whatever a query raises is a line of text.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from rich.console import Group as Together
from rich.console import RenderableType
from rich.text import Text
from textual import work
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.events import Resize
from textual.screen import Screen
from textual.widgets import DataTable, Footer, Input, RichLog, Static
from textual.worker import WorkerFailed, get_current_worker

from tracecli import browse, comparing, conversations, finding, following
from tracecli.config import Home
from tracecli.errors import TracecliError
from tracecli.exchange import Row
from tracecli.finding import LATEST, Sort
from tracecli.query import syntax
from tracecli.query.errors import QueryError
from tracecli.query.syntax import EVERYTHING, Query
from tracecli.store.sessions import Session
from tracecli.tables import compared, listing, opened, sessions, statistics
from tracecli.tables.visible import line, lines
from tracecli.ui.trimmed import trimmed

PAGE = 200
_MOST = 1_000_000
_MOST_GROUPS = 200
_AHEAD = 50
"""The next page is read when the cursor is so near to the end."""
_PATIENCE_S = 0.2
"""After the last key, before a filter is looked up."""
_SORTS = (LATEST, Sort("cost"), Sort("duration"), Sort("tokens"), Sort("ttft"))
_GROUPS = ("model", "user", "day", "session", "status", "provider", "policy", "tag", "flag")
_SESSIONS = 200
_MARGIN = 2
"""Cells that a table leaves for its scroll bar."""

_NOTHING_YET = """Nothing is recorded yet.

Start the proxy in another terminal, with `tracecli proxy`, and give your client the two variables that it prints.
Requests appear here as they end: press f to follow them.

`tracecli demo` shows how that goes, without an API key."""

_OF_THE_LIST = frozenset(
    {
        *("filter", "open", "follow", "sort", "mark", "compare", "sessions", "sums", "copy", "again", "down", "up"),
        *("first", "last", "clear", "help", "quit"),
    }
)

HELP = (
    ("/", "filter: user:alice model:gpt-4* cost:>0.01 since:2h words"),
    ("enter", "open the request; in the filter: back to the list"),
    ("f", "follow: what ends appears at the top"),
    ("s", "sort by time, cost, duration, tokens, first token"),
    ("space", "mark a request, and a second one; d compares them"),
    ("e", "sessions; enter lists the requests of one"),
    ("b", "sums, by model, user, day, ...; b again for the next"),
    ("y", "copy the id"),
    ("r", "read again"),
    ("up down pgup pgdn home end j k g G", "move"),
    ("esc", "back, or clear the filter"),
    ("ctrl+p", "themes, light and dark"),
    ("q", "quit"),
)


@dataclass
class _List:
    """What is listed: the rows so far, and where more come from."""

    query: Query = EVERYTHING
    sort: Sort = LATEST
    rows: list[Row] = field(default_factory=list)
    pages: Iterator[list[Row]] | None = None
    ended: bool = False

    def more(self, home: Home, zone: dt.tzinfo | None) -> list[Row]:
        """The next page. Raises as `finding.rows` does."""
        if self.pages is None:
            now = dt.datetime.now(dt.UTC)
            self.pages = finding.pages(home, self.query, now, zone, sort=self.sort, limit=_MOST, size=PAGE)
        return next(self.pages, [])


class Pane(RichLog):
    """Text that scrolls, laid out again when its width changes."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("j", "scroll_down", show=False),
        Binding("k", "scroll_up", show=False),
        Binding("g", "scroll_home", show=False),
        Binding("G", "scroll_end", show=False),
        Binding("space", "page_down", show=False),
    ]

    def __init__(self) -> None:
        super().__init__(wrap=False, markup=False, highlight=False, auto_scroll=False)
        self._shown: list[RenderableType] = [Text("…", "dim")]

    def show(self, parts: Iterable[RenderableType]) -> None:
        """These, from the top."""
        self._shown = list(parts)
        self._lay_out()
        self.scroll_home(animate=False)

    def on_resize(self, event: Resize) -> None:
        """Another width."""
        self._lay_out()

    def _lay_out(self) -> None:
        width = self.scrollable_content_region.width
        if width > 0:
            self.clear()
            self.write(Together(*self._shown), width=width, scroll_end=False)


class Opening(Screen[None]):
    """Something that is read in a thread, and shown on a screen of its own."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,backspace", "app.pop_screen", "back"),
        Binding("y", "copy", "copy id"),
    ]

    def __init__(self, read: Callable[[], list[RenderableType]], identifier: str = "") -> None:
        super().__init__()
        self._read = read
        self._identifier = identifier

    def compose(self) -> ComposeResult:
        """The text and the keys."""
        yield Pane()
        yield Footer()

    def on_mount(self) -> None:
        """Begin."""
        self.query_one(Pane).focus()
        self._load()

    @work(thread=True, exclusive=True)
    def _load(self) -> None:
        parts = _told(self._read)
        if not get_current_worker().is_cancelled:
            self.app.call_from_thread(self.query_one(Pane).show, parts)

    def action_copy(self) -> None:
        """The id, for another program."""
        if self._identifier:
            self.app.copy_to_clipboard(self._identifier)
            self.notify(f"copied {self._identifier}")


class Sums(Opening):
    """Sums of what the list has, by one thing after the other."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("b", "next", "by the next")]

    def __init__(self, browser: Browser) -> None:
        super().__init__(self._sums)
        self._browser = browser
        self._place = 0

    def _sums(self) -> list[RenderableType]:
        by = _GROUPS[self._place % len(_GROUPS)]
        now = dt.datetime.now(dt.UTC)
        found, number = finding.first_statistics(
            self._browser.home,
            self._browser.listed.query,
            (by,),
            now,
            self._browser.zone,
            order="requests",
            limit=_MOST_GROUPS,
        )
        title = Text.assemble((f"by {by}", "bold"), ("   " + ", ".join(_GROUPS) + ": b\n", "dim"))
        if not found:
            return [title, Text("No recorded request fits.", "dim")]
        return [title, *statistics.statistics(found, (by,), left_out=number - len(found))]

    def action_next(self) -> None:
        """By the next thing."""
        self._place += 1
        self._load()


class Sessions(Screen[Session | None]):
    """Agent runs and conversations; one of them can be chosen."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,backspace", "dismiss", "back"),
        Binding("j", "down", show=False),
        Binding("k", "up", show=False),
    ]

    def __init__(self, browser: Browser) -> None:
        super().__init__()
        self._browser = browser
        self._found: list[Session] = []

    def compose(self) -> ComposeResult:
        """The list and the keys."""
        yield DataTable(cursor_type="row", zebra_stripes=False)
        yield Static(id="status")
        yield Footer()

    def on_mount(self) -> None:
        """Begin."""
        self.query_one("#status", Static).update(Text("reading …", "dim"))
        self._load()

    @work(thread=True, exclusive=True)
    def _load(self) -> None:
        browser = self._browser
        now = dt.datetime.now(dt.UTC)
        try:
            found = conversations.sessions(browser.home, browser.listed.query, now, browser.zone, _SESSIONS)
            said = "" if found else "No session fits."
        except TracecliError as error:
            found, said = [], str(error)
        if not get_current_worker().is_cancelled:
            self.app.call_from_thread(self._show, found, said)

    def _show(self, found: list[Session], said: str) -> None:
        self._found = found
        table = self.query_one(DataTable)
        grid = sessions.sessions(found, dt.datetime.now(dt.UTC), self._browser.zone)
        _fill(table, grid.fitted(self.size.width - _MARGIN), [str(number) for number in range(len(found))])
        table.focus()
        said = said or f"{len(found):,} {'session' if len(found) == 1 else 'sessions'}"
        self.query_one("#status", Static).update(Text(line(said), "dim"))

    def on_data_table_row_selected(self, event: DataTable.RowSelected) -> None:
        """Chosen."""
        self.dismiss(self._found[event.cursor_row])

    def action_down(self) -> None:
        """The next one."""
        self.query_one(DataTable).action_cursor_down()

    def action_up(self) -> None:
        """The one before."""
        self.query_one(DataTable).action_cursor_up()


class Browser(App[None]):
    """The list of requests."""

    TITLE = "tracecli"
    CSS = """
    #filter { border: none; height: 1; padding: 0 1; background: $surface; }
    #filter:focus { background: $boost; }
    #wrong { height: auto; padding: 0 1; color: $error; display: none; }
    #wrong.shown { display: block; }
    #status { height: 1; padding: 0 1; color: $text-muted; }
    #empty { padding: 1 2; display: none; height: 1fr; }
    #empty.shown { display: block; }
    DataTable { height: 1fr; background: $background; }
    DataTable.hidden { display: none; }
    Pane { padding: 0 1; background: $background; height: 1fr; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("slash", "filter", "filter", key_display="/"),
        Binding("enter", "open", "open", show=True),
        Binding("f", "follow", "follow"),
        Binding("s", "sort", "sort"),
        Binding("space", "mark", "mark"),
        Binding("d", "compare", "compare"),
        Binding("e", "sessions", "sessions"),
        Binding("b", "sums", "sums"),
        Binding("y", "copy", "copy id", show=False),
        Binding("r", "again", "read again", show=False),
        Binding("j", "down", show=False),
        Binding("k", "up", show=False),
        Binding("g", "first", show=False),
        Binding("G", "last", show=False),
        Binding("escape", "clear", show=False),
        Binding("question_mark", "help", "help", key_display="?"),
        Binding("q", "quit", "quit"),
    ]

    def __init__(self, home: Home, query: Query = EVERYTHING, zone: dt.tzinfo | None = None) -> None:
        super().__init__()
        self.home, self.zone = home, zone
        self.listed = _List(query)
        self._typed: Any = None
        self._round = 0
        self._loading = False
        self._marked: list[str] = []
        self._watch: following.Watch | None = None
        self._following = False
        self._polling = False
        self._said = ""
        self.bug: BaseException | None = None
        """What ended it, if nobody wanted it to end."""

    def _handle_exception(self, error: Exception) -> None:
        """A bug ends it, and who started it says so: Textual would print values of variables, which hold content."""
        self._return_code = 1
        if self._exception is None:
            self._exception = error
            self._exception_event.set()
        self.bug = self.bug or (error.error if isinstance(error, WorkerFailed) else error)
        self._close_messages_no_wait()

    def compose(self) -> ComposeResult:
        """Filter, list, status and keys."""
        about = "/  filter, as  user:alice cost:>0.01 since:2h words"
        self._filter = Input(syntax.text_of(self.listed.query), placeholder=about, id="filter")
        self._wrong = Static(id="wrong")
        self._table: DataTable[Text] = DataTable(cursor_type="row", zebra_stripes=False)
        self._empty = Static(Text(_NOTHING_YET), id="empty")
        self._status = Static(id="status")
        yield self._filter
        yield self._wrong
        yield self._table
        yield self._empty
        yield self._status
        yield Footer()

    def on_mount(self) -> None:
        """Begin."""
        self._table.focus()
        self.set_interval(following.POLL_S, self._poll)
        self._begin()

    # What is listed

    def _begin(self) -> None:
        """List anew."""
        self._round += 1
        self.listed = _List(self.listed.query, self.listed.sort)
        self._loading = True
        self._load(self.listed, self._round)

    @work(thread=True, group="list")
    def _load(self, listed: _List, number: int) -> None:
        try:
            page, said = listed.more(self.home, self.zone), ""
        except TracecliError as error:
            page, said = [], str(error)
        if not get_current_worker().is_cancelled:
            self.call_from_thread(self._loaded, listed, number, page, said)

    def _loaded(self, listed: _List, number: int, page: list[Row], said: str) -> None:
        if number != self._round:  # a newer query runs, or has come
            return
        first = not listed.rows
        listed.rows += page
        listed.ended = len(page) < PAGE
        self._loading = False
        self._said = said
        self._draw(keep=not first)

    def _draw(self, *, keep: bool) -> None:
        """The table of the rows that there are."""
        table, rows = self._table, self.listed.rows
        place, chosen, offset = table.cursor_row, self._chosen() if keep else None, table.scroll_offset
        fitted = listing.Listing(rows, dt.datetime.now(dt.UTC), self.zone).fitted(self.size.width - _MARGIN)
        _fill(table, fitted, [row.id for row in rows], self._marked)
        if keep and rows:
            at = next((number for number, row in enumerate(rows) if row.id == chosen), place)
            table.move_cursor(row=at, animate=False, scroll=False)
            table.scroll_to(y=offset.y + (at - place), animate=False)
        self._empty.set_class(not rows and not self._said and self.listed.query == EVERYTHING, "shown")
        table.set_class(not rows, "hidden")
        self._tell()

    def _tell(self) -> None:
        """The line below."""
        listed = self.listed
        if self._said:
            told = Text(line(self._said), "bold red")
        elif not listed.rows and listed.query != EVERYTHING:
            told = Text("No recorded request fits.")
        else:
            told = listing.totals(listed.rows, max(20, self.size.width - 30), more=not listed.ended)
        states = [f"by {listed.sort.by}"] if listed.sort != LATEST else []
        states += ["following"] if self._following else []
        states += [f"{len(self._marked)} marked"] if self._marked else []
        told = told.copy()
        if states:
            told.append(f"  [{' · '.join(states)}]", "bold")
        self._status.update(told)

    def on_resize(self, event: Resize) -> None:
        """Other columns may fit."""
        if self.listed.rows:
            self.call_after_refresh(self._draw, keep=True)

    def on_data_table_row_highlighted(self, event: DataTable.RowHighlighted) -> None:
        """Near the end, the next page is read."""
        listed = self.listed
        at_rest = event.data_table is self._table and not (self._loading or listed.ended or self._said)
        if at_rest and event.cursor_row >= len(listed.rows) - _AHEAD:
            self._loading = True
            self._load(listed, self._round)

    # The filter

    def on_input_changed(self, event: Input.Changed) -> None:
        """Look it up when the keys rest."""
        if self._typed is not None:
            self._typed.stop()
        self._typed = self.set_timer(_PATIENCE_S, self._look_up)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Back to the list."""
        self._table.focus()

    def _look_up(self) -> None:
        try:
            query = syntax.parse(self._filter.value)
        except QueryError as error:
            self._wrong.update(Text(lines(str(error))))
            self._wrong.add_class("shown")
            return
        self._wrong.remove_class("shown")
        if query != self.listed.query:
            self.listed.query = query
            self._watch = None
            self._begin()

    # Following

    def _poll(self) -> None:
        if self._following and not self._polling:
            self._polling = True
            self._look(self._round, self._watch, self.listed.query)

    @work(thread=True, group="follow")
    def _look(self, number: int, watch: following.Watch | None, query: Query) -> None:
        new: list[Row] = []
        said = ""
        try:
            watch = watch or following.Watch(self.home, query, self.zone, 0)
            new = watch.new()
        except TracecliError as error:
            said = str(error)
        if not get_current_worker().is_cancelled:
            self.call_from_thread(self._followed, number, watch, new, said)

    def _followed(self, number: int, watch: following.Watch | None, new: list[Row], said: str) -> None:
        self._polling = False
        if number != self._round or not self._following:
            return
        self._watch = watch
        known = {row.id for row in self.listed.rows}
        fresh = [row for row in new if row.id not in known]
        if said != self._said or fresh:
            self._said = said
            self.listed.rows = fresh[::-1] + self.listed.rows
            self._draw(keep=self._table.cursor_row > 0)

    # Keys

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """The keys of the list are for the list: other screens have their own."""
        return len(self.screen_stack) < 2 or action not in _OF_THE_LIST

    def _chosen(self) -> str | None:
        table = self._table
        if not table.row_count or not table.is_valid_row_index(table.cursor_row):
            return None
        return table.coordinate_to_cell_key(table.cursor_coordinate).row_key.value

    def on_data_table_row_selected(self, event: DataTable.RowSelected) -> None:
        """Enter, or a click on the chosen one."""
        if event.data_table is self._table:
            self.action_open()

    def action_filter(self) -> None:
        """Type a filter."""
        self._filter.focus()

    def action_clear(self) -> None:
        """From the filter to the list; there, take the filter away."""
        if self._filter.has_focus:
            self._table.focus()
        elif self._filter.value:
            self._filter.value = ""

    def action_open(self) -> None:
        """Prompt, completion and the rest of one request."""
        if chosen := self._chosen():
            home, zone = self.home, self.zone
            self.push_screen(
                Opening(lambda: list(opened.opened(trimmed(browse.open_exchange(home, chosen)), zone)), chosen)
            )

    def action_mark(self) -> None:
        """Mark the chosen one, or take its mark away; of three the oldest mark goes."""
        if chosen := self._chosen():
            if chosen in self._marked:
                self._marked.remove(chosen)
            else:
                self._marked = [*self._marked[-1:], chosen]
            self._draw(keep=True)
            self._table.action_cursor_down()

    def action_compare(self) -> None:
        """The two marked ones; with one mark, it and the chosen one."""
        pair = [*self._marked, *([chosen] if (chosen := self._chosen()) and chosen not in self._marked else [])][:2]
        if len(pair) < 2:
            self.notify("Mark two requests with space, and compare them with d.")
            return
        home = self.home
        self.push_screen(
            Opening(lambda: list(compared.compared(comparing.compare(*browse.open_exchanges(home, sorted(pair))))))
        )

    def action_sessions(self) -> None:
        """Choose a session."""

        def chosen(session: Session | None) -> None:
            if session is None:
                return
            if session.name.startswith(conversations.MARK):
                home, zone, name = self.home, self.zone, session.name
                now = dt.datetime.now(dt.UTC)
                self.push_screen(
                    Opening(lambda: list(sessions.timeline(conversations.session(home, name, now), now, zone)))
                )
            else:
                self._filter.value = syntax.text_of(syntax.named("session", session.name))

        self.push_screen(Sessions(self), chosen)

    def action_sums(self) -> None:
        """Requests, tokens and cost by one thing."""
        self.push_screen(Sums(self))

    def action_sort(self) -> None:
        """By the next thing."""
        place = _SORTS.index(self.listed.sort)
        self.listed.sort = _SORTS[(place + 1) % len(_SORTS)]
        self._stop_following()
        self._begin()

    def action_follow(self) -> None:
        """Show what ends, or no more."""
        if self._following:
            self._stop_following()
            self._tell()
            return
        self._following = True
        self._watch = None
        self.listed.sort = LATEST
        self._begin()

    def _stop_following(self) -> None:
        self._following, self._watch = False, None

    def action_again(self) -> None:
        """Read the list again."""
        self._begin()

    def action_copy(self) -> None:
        """The id of the chosen one."""
        if chosen := self._chosen():
            self.copy_to_clipboard(chosen)
            self.notify(f"copied {chosen}")

    def action_help(self) -> None:
        """The keys."""
        wide = max(len(keys) for keys, _ in HELP) + 2
        told = [Text("Keys\n", "bold"), *(Text.assemble((keys.ljust(wide), "bold"), what) for keys, what in HELP)]
        self.push_screen(Opening(lambda: list(told)))

    def action_down(self) -> None:
        """The next one."""
        self._table.action_cursor_down()

    def action_up(self) -> None:
        """The one before."""
        self._table.action_cursor_up()

    def action_first(self) -> None:
        """The first one."""
        self._table.move_cursor(row=0)

    def action_last(self) -> None:
        """The last one that was read."""
        self._table.move_cursor(row=max(0, self._table.row_count - 1))


def _fill(table: DataTable[Text], fitted: listing.Fitted, keys: Sequence[str], marked: Sequence[str] = ()) -> None:
    """Put rows into a table in place of those that it has; each cell is as wide as its column."""
    table.clear(columns=True)
    table.cell_padding = 0
    ends = len(fitted.columns) - 1
    for number, (header, right, wide) in enumerate(fitted.columns):
        label = Text(header.rjust(wide) if right else header, "dim")
        table.add_column(label, width=wide + (0 if number == ends else fitted.gap))
    for key, cells in zip(keys, fitted.rows, strict=True):
        shown = []
        for text, (_, right, wide) in zip(cells, fitted.columns, strict=True):
            cell = text.copy()
            cell.truncate(wide, overflow="ellipsis")
            if right:
                cell.pad_left(max(0, wide - cell.cell_len))
            shown.append(cell)
        if key in marked:
            shown[0].stylize("reverse")
        table.add_row(*shown, key=key)


def _told(read: Callable[[], list[RenderableType]]) -> list[RenderableType]:
    """What was read, or why it cannot be."""
    try:
        return read()
    except TracecliError as error:
        return [Text(lines(str(error)), "bold red")]
