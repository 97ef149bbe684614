"""One request opened: who asked what, what came back, how long it took and what it cost.

The order is that of the exchange, so that a long one ends on the screen with its figures. Headings stand at the
margin and everything recorded is indented: no content can pass for a heading, also where there are no colours.
"""

from __future__ import annotations

import codecs
import datetime as dt
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import msgspec
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.segment import Segment
from rich.text import Span, Text

from tracecli.exchange import Body, Message, Opened, Row, plain_decimal
from tracecli.tables import values, visible
from tracecli.tables.listing import OUTCOME_STYLE, status_style

_COLOURED_CHARACTERS = 100_000
"""JSON longer than this stays without colours, which take Rich some 2 s a megabyte."""

_IN = "  "
_ROLE_STYLE = {"system": "magenta", "developer": "magenta", "user": "cyan", "assistant": "green"}


def opened(exchange: Opened, zone: dt.tzinfo | None = None) -> Iterator[RenderableType]:
    """The parts of an opened exchange from top to bottom; times in `zone` (None: the system's)."""
    row = exchange.row
    yield from _fields(_summary(exchange, zone))

    yield _Heading("Request")
    url = (f"{visible.line(row.method)} {visible.line(exchange.url)}", "bold")
    yield _Block(Text.assemble(url, (f"  {visible.line(exchange.http_version)}", "dim")))
    yield from _headers(exchange.request)
    if row.traced:
        yield from _side("Prompt", exchange.input_messages, None, exchange.request, row.request_bytes)
        yield from _side(
            "Completion", exchange.output_messages, exchange.completion, exchange.response, row.response_bytes
        )
    else:
        yield _Heading("Content")
        yield _Block(Text("Not kept: tracing was off for this request by its policy."))

    if exchange.response.headers:
        yield _Heading("Response headers")
        yield from _headers(exchange.response)
    if row.error:
        yield _Heading("Error")
        yield _Block(Text(visible.lines(row.error), "bold red"))
    yield _Heading("Timings")
    yield _Waterfall(row, exchange.connect_ms)
    yield _Heading("Tokens")
    yield from _tokens(row)
    yield _Heading("Cost")
    yield from _cost(exchange)


def _summary(exchange: Opened, zone: dt.tzinfo | None) -> Iterator[tuple[str, Text]]:
    row = exchange.row
    yield "id", Text(visible.line(row.id), "bold")
    yield "time", Text(values.full_moment(row.started_at, zone))
    yield "user", Text.assemble(visible.line(row.user), (f" ({visible.line(row.user_source)})", "dim"))
    yield "policy", Text.assemble(visible.line(row.policy), (f" ({visible.line(exchange.reason)})", "dim"))
    yield "provider", Text(" · ".join(visible.line(part) for part in (row.provider, row.operation) if part))
    asked, answered = row.request_model, row.response_model
    other = f" answered by {visible.line(answered)}" if asked and answered and answered != asked else ""
    yield "model", Text.assemble((visible.line(asked or answered or values.UNKNOWN), "bold"), (other, "dim"))
    facts = [{True: "streamed", False: "not streamed", None: None}[row.stream], *(row.finish_reasons or [])]
    yield (
        "outcome",
        Text.assemble(
            (values.UNKNOWN if row.status is None else str(row.status), status_style(row)),
            " · ",
            (row.outcome, OUTCOME_STYLE[row.outcome]),
            *(f" · {visible.line(fact)}" for fact in facts if fact),
        ),
    )
    ids = (("session", row.session), ("response id", row.response_id), ("request id", exchange.request_id))
    for name, value in (*ids, ("cache", row.cache_status)):
        if value:
            yield name, Text(visible.line(value))
    if row.flags:
        yield "flags", Text(visible.line(", ".join(row.flags)))
    if row.tags:
        yield "tags", Text(visible.line(", ".join(row.tags)))
    if row.score is not None or row.comment:
        said = values.UNKNOWN if row.score is None else f"{row.score:g} of 5"
        yield "score", Text.assemble(said, (f"  {visible.line(row.comment)}" if row.comment else "", "dim"))


def _side(
    title: str, messages: list[Message], text: str | None, side: Body, passed_bytes: int
) -> Iterator[RenderableType]:
    """A prompt or a completion: as messages if it was understood, else the body as it was."""
    if messages:
        yield _Heading(title)
        for number, message in enumerate(messages, 1):
            choice = f"choice {number} of {len(messages)}" if title == "Completion" and len(messages) > 1 else None
            if number > 1:
                yield Text()
            yield from _message(message, choice)
    elif text:
        yield _Heading(title)
        yield _Block(_content(text))
    elif side.body:
        yield _Heading({"Prompt": "Request body", "Completion": "Response body"}[title])
        yield _Block(_raw(side))
    if side.cut:
        note = f"Cut here: {values.size(passed_bytes)} passed, the record holds the beginning."
        yield _Block(Text(note, "bold magenta"))


def conversation(messages: Sequence[Message]) -> Iterator[RenderableType]:
    """Messages, one after the other, for a terminal or a pipe."""
    for message in messages:
        yield from _message(message, None)


def _message(message: Message, choice: str | None) -> Iterator[RenderableType]:
    role = visible.line(_as_text(message.get("role"))) or values.UNKNOWN
    heading = Text.assemble((role, f"bold {_ROLE_STYLE.get(role, '')}"))
    for note in (message.get("name"), choice, message.get("finish_reason")):
        heading.append(f"  {visible.line(_as_text(note))}" if note else "", "dim")
    yield _Block(heading)
    parts = message.get("parts")
    for part in parts if isinstance(parts, list) else [parts]:
        yield from _part(part if isinstance(part, dict) else {"type": "text", "content": part})


def _part(part: dict[str, Any]) -> Iterator[RenderableType]:
    match part.get("type"):
        case "text":
            yield _Block(_content(part.get("content")), _IN * 2)
        case "reasoning":
            yield _Block(Text("reasoning", "dim bold"), _IN * 2)
            yield _Block(Text(visible.lines(_as_text(part.get("content"))), "dim italic"), _IN * 3)
        case "tool_call":
            yield _Block(_named("tool call", part.get("name"), part.get("id")), _IN * 2)
            if (arguments := part.get("arguments")) not in (None, ""):
                yield _Block(_content(arguments), _IN * 3)
        case "tool_call_response":
            yield _Block(_named("tool result", part.get("name"), part.get("id")), _IN * 2)
            yield _Block(_content(part.get("response", part.get("result"))), _IN * 3)
        case "blob" | "uri" | "file":
            yield _Block(_medium(part), _IN * 2)
        case other:
            yield _Block(_named(_as_text(other) or "part", None, None), _IN * 2)
            yield _Block(_content({name: value for name, value in part.items() if name != "type"}), _IN * 3)


def _named(what: str, name: object, identifier: object) -> Text:
    return Text.assemble(
        (visible.line(what), "bold"),
        (f" {visible.line(_as_text(name))}" if name else "", "bold cyan"),
        (f"  {visible.line(_as_text(identifier))}" if identifier else "", "dim"),
    )


def _medium(part: dict[str, Any]) -> Text:
    """An image, a sound or a file by name and size; never its bytes."""
    kind = _as_text(part.get("modality")) or ("file" if part["type"] == "file" else "content")
    facts = [_as_text(part.get("mime_type"))]
    uri = _as_text(part.get("uri"))
    if uri.startswith("data:"):
        head, _, data = uri.partition(",")
        facts = [facts[0] or head[5:].split(";")[0], values.size(len(data) * 3 // 4)]
    elif uri:
        facts.append(uri)
    elif isinstance(size := part.get("size_bytes"), int):
        facts.append(values.size(size))
    elif part["type"] == "blob":
        facts.append(values.size(len(_as_text(part.get("content"))) * 3 // 4))
    facts += [_as_text(part.get("file_id")), _as_text(part.get("filename"))]
    return Text(visible.line(f"[{kind}: {', '.join(fact for fact in facts if fact)}]"), "magenta")


def _headers(side: Body) -> Iterator[RenderableType]:
    for name, value in side.headers:
        yield _Block(Text.assemble((f"{visible.line(name)}: ", "dim"), visible.line(value)), rest=_IN * 2)


def _fields(pairs: Iterable[tuple[str, Text]]) -> Iterator[RenderableType]:
    for name, value in pairs:
        yield _Block(value, first=Text(f"{name:13}", "dim"))


def _tokens(row: Row) -> Iterator[RenderableType]:
    cached = (("read from cache", row.cache_read_input_tokens), ("written to cache", row.cache_creation_input_tokens))
    reasoning = (("reasoning", row.reasoning_output_tokens),)
    wide = max(len(values.count(total)) for total in (row.input_tokens, row.output_tokens))
    for name, total, parts in (("input", row.input_tokens, cached), ("output", row.output_tokens, reasoning)):
        known = ", ".join(f"{values.count(number)} {part}" for part, number in parts if number)
        figure = (values.count(total).rjust(wide), "dim" if total is None else "bold")
        yield _Block(Text.assemble((f"{name:8}", "dim"), figure, f"  of which {known}" if known else ""))
    yield _Block(Text(_USAGE_SOURCE[row.usage_source], "dim"))


_USAGE_SOURCE = {
    "reported": "as the provider reported them",
    "estimated": "estimated, as the provider reported none",
    "unknown": "the provider reported none",
}
_COST_SOURCE = {
    "provider": "as the provider reported it",
    "computed": "computed",
    "estimated": "estimated",
    "unknown": "unknown",
}


def _cost(exchange: Opened) -> Iterator[RenderableType]:
    row = exchange.row
    amount = (values.UNKNOWN, "dim") if row.cost_usd is None else (f"${plain_decimal(row.cost_usd)}", "bold green")
    yield _Block(Text.assemble(amount, f"  {_COST_SOURCE[row.cost_source]}"))
    if exchange.cost_detail:
        yield _Block(Text(visible.line(exchange.cost_detail), "dim"))
    if row.saved_usd is not None:
        yield _Block(Text(f"saved {values.money(row.saved_usd)} and {values.duration(row.saved_ms)}", "dim"))


def _content(value: object) -> Text:
    """Recorded text, or JSON laid out over lines and coloured."""
    text = _as_text(value)
    laid_out = _laid_out(text)
    if laid_out is None:
        return _with_code(visible.lines(text).rstrip("\n"))
    shown = Text(visible.lines(laid_out))
    if len(shown) <= _COLOURED_CHARACTERS:
        shown.highlight_regex(_JSON_PIECES)
    return shown


def _with_code(text: str) -> Text:
    """Text with its fenced code coloured (https://spec.commonmark.org/0.31.2/#fenced-code-blocks)."""
    shown = Text(text)
    if len(text) > _COLOURED_CHARACTERS or "```" not in text:
        return shown
    from rich.syntax import Syntax  # brings in Pygments

    for fence in _FENCED.finditer(text):
        highlighted = Syntax("", fence["language"], theme="ansi_dark", background_color="default").highlight(
            fence["code"]
        )
        if highlighted.plain.rstrip("\n") == fence["code"].rstrip("\n"):
            begin = fence.start("code")
            shown.spans += [Span(begin + one.start, begin + one.end, one.style) for one in highlighted.spans]
    return shown


_FENCED = re.compile(
    r"^ {0,3}```(?P<language>[\w+#.-]{1,30})[^`\n]*\n(?P<code>.*?)^ {0,3}```", re.DOTALL | re.MULTILINE
)
_JSON_PIECES = re.compile(
    r'^ *(?:(?P<cyan>"(?:[^"\\]|\\.)*+"): )?(?P<magenta>-?\d[\d.eE+-]*|true|false|null)?', re.MULTILINE
)
"""Of laid out JSON, line by line; the groups are named for their style."""
_NUMBERS = re.compile(r"\[\n *(-?\d[\d.eE+-]*(?:,\n *-?\d[\d.eE+-]*)+)\n *\]")


def _laid_out(text: str) -> str | None:
    """A JSON object or list over several lines, its values untouched; None if the text is no such thing."""
    if text.lstrip()[:1] not in ("{", "["):
        return None
    try:
        laid_out = msgspec.json.format(text, indent=2)
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        return None
    if len(laid_out) > 20 * len(text) + 1000:  # thousands of brackets in each other: the indents would be megabytes
        return None
    return _NUMBERS.sub(lambda match: f"[{re.sub(r',\n *', ', ', match[1])}]", laid_out)  # a vector is one line


def _as_text(value: object) -> str:
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    try:
        return json.dumps(value, ensure_ascii=False, default=str)
    except (ValueError, RecursionError):
        return f"({type(value).__name__} that cannot be shown)"


def _raw(side: Body) -> Text:
    """A body as text if it is text, or its size. A broken-off answer may end inside of a character."""
    try:
        text = codecs.getincrementaldecoder("utf-8")().decode(side.body)
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        kind = next((value for name, value in side.headers if name.lower() == "content-type"), "")
        return Text(visible.line(f"{values.size(len(side.body))}, not text {kind and f'({kind})'}"), "magenta")
    return _content(text)


class _Heading:
    """The title of a section, with a rule where the reader has a terminal."""

    def __init__(self, title: str) -> None:
        self.title = title

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        rule = "─" * (options.max_width - len(self.title) - 1) if console.is_terminal else ""
        yield Text()
        yield Text.assemble((self.title, "bold"), (f" {rule}" if rule else "", "dim"))


class _Block:
    """Indented text. A terminal gets it wrapped between words; elsewhere every line stays whole.

    `first` stands before the first line, and `rest`, or an indent of the same width, before the others.
    """

    def __init__(self, text: Text, first: Text | str = _IN, rest: str | None = None) -> None:
        self.text, self.first = text, first
        self.rest = " " * len(first) if rest is None else rest

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        room = max(options.max_width - max(len(self.first), len(self.rest)), 10)
        style = console.get_style(self.text.style)
        before = self.first
        for line in self._lines():
            plain = line if isinstance(line, str) else line.plain
            if console.is_terminal and cell_len(plain) > room:
                for piece in (Text(line, style) if isinstance(line, str) else line).wrap(console, room):
                    yield Text.assemble(before, piece)
                    before = self.rest
            elif isinstance(line, str):
                yield Segment(f"{before}{line}".rstrip() + "\n", style)
            else:
                yield Text.assemble(before, line) if line else line
            before = self.rest

    def _lines(self) -> Iterable[Text | str]:
        """Lines without styles of their own as plain strings: a long body shows 10 times as fast."""
        if self.text.spans or isinstance(self.first, Text):
            return self.text.split("\n", allow_blank=True)
        return self.text.plain.split("\n")


class _Waterfall:
    """When each phase of the request ended, since it was sent; its bar begins where the one before it ends."""

    _PHASES = (("connect", "yellow"), ("first byte", "magenta"), ("first token", "cyan"), ("end", "green"))

    def __init__(self, row: Row, connect_ms: float | None) -> None:
        self.row = row
        self.connect_ms = connect_ms

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        times = (self.connect_ms, self.row.ttfb_ms, self.row.ttft_ms, self.row.duration_ms)
        shown = ["" if at is None else f"{at:,.0f} ms" if at >= 10 else f"{at:.1f} ms" for at in times]
        wide = max(map(len, shown))
        room = options.max_width - len("  first token  ") - wide - len("  ")
        begun = 0
        for (name, style), at, text in zip(self._PHASES, times, shown, strict=True):
            if at is None:
                continue
            bar = ""
            if console.is_terminal and room >= 10:
                share = at / self.row.duration_ms if self.row.duration_ms > 0 else 1.0
                end = max(begun + 1, min(room, round(room * share)))
                bar = "  " + " " * begun + "━" * (end - begun)
                begun = min(end, room - 1)
            yield Text.assemble("  ", (f"{name:13}", "dim"), text.rjust(wide), (bar, style))
