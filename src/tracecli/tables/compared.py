"""Two requests side by side."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import groupby

from rich import box
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from tracecli.comparing import Compared, Pair
from tracecli.tables import values
from tracecli.tables.visible import line, lines

_CONTEXT = 80
"""Characters before the first difference that are shown."""
_SHOWN = 2000
"""Characters behind it."""
_MARK = "first difference"


def compared(found: Compared) -> Iterator[RenderableType]:
    """For a terminal: fields that differ, then the messages, with the first difference marked."""
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, border_style="dim", expand=True)
    table.add_column("")
    for identifier in (found.a, found.b):
        table.add_column(Text(line(identifier), "cyan"), ratio=1, overflow="fold")
    for field in found.fields:
        table.add_row(Text(line(field.name), "dim"), Text(_value(field.a)), Text(_value(field.b)))
    first = found.first_difference
    for (side, kind), group in groupby(enumerate(found.pairs), lambda one: (one[1].side, one[1].kind)):
        pairs = list(group)
        if kind == "same":
            text = Text(f"{len(pairs)} the same", "dim")
            table.add_row(Text(side, "dim"), text, text)
            continue
        for number, pair in pairs:
            label = Text(line(pair.role) or side, "bold")
            if number == first:
                label.append(f"\n{_MARK}", "bold yellow")
            table.add_row(label, _text(pair, pair.a), _text(pair, pair.b))
    yield table
    yield Text()
    if first is None:
        yield Text("Nothing that was said differs.", "dim")


def plain(found: Compared) -> Iterator[str]:
    """For a pipe: what differs, `-` of the first and `+` of the second, as a diff."""
    yield f"--- {found.a}"
    yield f"+++ {found.b}"
    for field in found.fields:
        yield f"@ {line(field.name)}"
        yield f"-{_value(field.a)}"
        yield f"+{_value(field.b)}"
    first = found.first_difference
    for number, pair in enumerate(found.pairs):
        if pair.kind == "same":
            continue
        yield f"@ {pair.side} {number + 1} {line(pair.role)}{f' ({_MARK})' if number == first else ''}"
        for mark, text in (("-", pair.a), ("+", pair.b)):
            if text is not None:
                yield from (f"{mark}{part}" for part in lines(text).split("\n"))


def _value(value: object) -> str:
    if value is None:
        return values.UNKNOWN
    return line(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))[:_SHOWN]


def _text(pair: Pair, text: str | None) -> Text:
    if text is None:
        return Text(values.UNKNOWN, "dim")
    if pair.first is None:
        return _cut(text, 0)
    begin = max(0, pair.first - _CONTEXT)
    same = ("…" if begin else "") + lines(text[begin : pair.first])
    return Text.assemble((same, "dim"), _cut(text, pair.first))


def _cut(text: str, begin: int) -> Text:
    more = len(text) - begin - _SHOWN
    shown = Text(lines(text[begin : begin + _SHOWN]), "bold")
    return shown.append(f"… {more:,} more characters", "dim") if more > 0 else shown
