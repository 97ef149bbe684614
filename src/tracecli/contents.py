"""Words in what was said: the texts of prompts and completions, and where in them a term fits. Pure.

A text is what a message says: its words, reasoning, the name and arguments of a tool call, a tool's result. What is
not understood is one text, if it is text at all. Words fit whatever their case.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from typing import Any, Literal, NamedTuple

from tracecli.exchange import Captured, Headers, Message, Understanding
from tracecli.query.syntax import Is, Term, Value
from tracecli.understanding import understand
from tracecli.wire.encodings import decode

type Side = Literal["prompt", "completion"]


class Text(NamedTuple):
    """Something that was said: on which side, by whom, and what."""

    side: Side
    role: str
    text: str


class Match(NamedTuple):
    """Where a term fits: in which text, from where to where."""

    text: Text
    start: int
    end: int


class Piece(NamedTuple):
    """A part of a message, or a side that was not understood, as one text."""

    side: Side
    message: int | None
    """The message's place on its side; None: it is not understood."""
    role: str
    type: str | None
    name: str | None
    """Of a tool call: the tool."""
    call_id: str | None
    text: str
    """What `said_in` says of it; of media nothing."""


@dataclass(frozen=True)
class Looked:
    """Which terms an exchange holds."""

    id: str
    matched: tuple[Term, ...]


def look(captured: Captured, terms: Sequence[Term]) -> Looked:
    """Which of the terms of contents an exchange holds."""
    identifier = captured.exchange.id
    open_terms = [term for term in terms if _may_hold(captured, term)]
    if not open_terms:
        return Looked(identifier, ())
    said = list(texts(captured))
    return Looked(identifier, tuple(term for term in open_terms if next(_matches(said, term), None) is not None))


def matches(captured: Captured, term: Term) -> list[Match]:
    """Every place where a term fits, in the order in which it was said."""
    return list(_matches(list(texts(captured)), term)) if _may_hold(captured, term) else []


def texts(captured: Captured) -> Iterator[Text]:
    """Everything that was said."""
    understood, _ = understand(captured.exchange, captured.request_body, captured.response_body)
    return (Text(one.side, one.role, one.text) for one in pieces(captured, understood) if one.text)


def pieces(captured: Captured, understood: Understanding) -> Iterator[Piece]:
    """Everything that was said, message by message; `understood` is what its bytes say."""
    exchange = captured.exchange
    sides: list[tuple[Side, list[Message], Headers, bytes]] = [
        ("prompt", understood.input_messages, exchange.request_headers, captured.request_body),
        ("completion", understood.output_messages, exchange.response_headers, captured.response_body),
    ]
    for side, messages, headers, body in sides:
        for number, message in enumerate(messages):
            yield from _pieces(side, number, message)
        if messages:
            continue
        text = understood.completion if side == "completion" else None
        if text := text or _plain(headers, body):
            yield Piece(side, None, "", None, None, None, text)


def _pieces(side: Side, number: int, message: Message) -> Iterator[Piece]:
    role, parts = _text(message.get("role")), message.get("parts")
    for part in parts if isinstance(parts, list) else [parts]:
        named = part if isinstance(part, dict) else {}
        kind, name, call = (_str(named.get(key)) for key in ("type", "name", "id"))
        yield Piece(side, number, role, kind, name, call, "".join(said_in({"parts": [part]})))


def arguments(piece: Piece) -> str:
    """The text of a piece, of a tool call without the tool's name."""
    return piece.text.removeprefix(piece.name or "").lstrip() if piece.type == "tool_call" else piece.text


def _str(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def said_in(message: Message) -> Iterator[str]:
    """The texts of one message."""
    parts = message.get("parts")
    for part in parts if isinstance(parts, list) else [parts]:
        if not isinstance(part, dict):
            yield _text(part)
            continue
        match part.get("type"):
            case "text" | "reasoning":
                yield _text(part.get("content"))
            case "tool_call":
                yield f"{_text(part.get('name'))} {_text(part.get('arguments'))}".strip()
            case "tool_call_response":
                yield _text(part.get("response", part.get("result")))
            case "blob":
                pass
            case _:
                yield _text({name: value for name, value in part.items() if name != "type"})


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    try:
        return json.dumps(value, ensure_ascii=False, default=str)
    except (ValueError, RecursionError):
        return ""


def _plain(headers: Headers, body: bytes) -> str:
    encoding = next((value for name, value in headers if name.lower() == "content-encoding"), None)
    plain, _ = decode(encoding, body)
    return "" if b"\0" in plain[:1024] else plain.decode("utf-8", "replace")


def _matches(said: Sequence[Text], term: Term) -> Iterator[Match]:
    for one in said:
        if term.name in ("text", one.side):
            for choice in term.choices:
                assert isinstance(choice, Is)  # noqa: S101 - contents have no order
                for found in _pattern(choice.value).finditer(one.text):
                    if found.start() < found.end():
                        yield Match(one, found.start(), found.end())


def expression(value: Value) -> tuple[str, bool]:
    """What fits in a text, as an expression of RE2, and whether case counts."""
    import re2  # type: ignore[import-untyped]  # 20 ms that only who looks for words pays

    if value.form == "pattern":
        return value.text, True
    words = [value.text] if value.form == "quoted" else value.text.strip("*").split("*")
    return r"\S*".join(map(re2.escape, words)), False


@lru_cache(maxsize=64)
def _pattern(value: Value) -> Any:
    """RE2, so that no text takes long."""
    import re2

    written, case_counts = expression(value)
    options = re2.Options()
    options.log_errors = False
    options.case_sensitive = case_counts
    return re2.compile(written, options)


def _may_hold(captured: Captured, term: Term) -> bool:
    """Whether the bytes can hold a term: false only if they are of a form whose texts are easily found, and do not."""
    sides = [
        (captured.request_body, captured.exchange.request_headers),
        (captured.response_body, captured.exchange.response_headers),
    ]
    if term.name != "text":
        sides = sides[:1] if term.name == "prompt" else sides[1:]
    patterns = [_raw_pattern(choice.value) for choice in term.choices if isinstance(choice, Is)]
    if None in patterns:
        return True
    for body, headers in sides:
        texts = _raw_texts(headers, body)
        if texts is None or any(pattern.search(text) for text in texts for pattern in patterns):
            return True
    return False


def _raw_texts(headers: Headers, body: bytes) -> list[bytes] | None:
    """Bytes in which all texts of a body are, with the escapes of JSON; None: nobody knows."""
    if not body:
        return []
    named = {name.lower(): value.lower() for name, value in headers}
    plain, error = decode(named.get("content-encoding"), body)
    if error:
        return None
    match named.get("content-type", "").partition(";")[0].strip():
        case "application/json":
            return [plain]
        case "text/event-stream" | "application/x-ndjson" | "application/jsonl":
            return _of_stream(plain)
    return None


# Members of objects whose values are strings; what only names things is passed over.
_MEMBER = re.compile(
    rb'"(?!(?:id|object|model|role|type|event_id|item_id|response_id|system_fingerprint|service_tier|obfuscation)")'
    rb'(\w{1,40}+)"\s*+:\s*+"((?:[^"\\]++|\\.)*+)"',
    re.DOTALL,
)
_LOOKED_AT = 40
"""Members at the beginning of a stream."""
_SEVERAL = re.compile(rb'"index"\s*:\s*[1-9]')


def _of_stream(body: bytes) -> list[bytes] | None:
    """The pieces of a stream put together, those of each name by themselves.

    None if several answers take turns, or if there is none: what is not understood is one text as it is.
    """
    between = _between_pieces(body)
    joined = body.replace(between, b"") if between else body
    several = _SEVERAL.search(between) or _SEVERAL.search(joined)
    if several and b'"content_block' not in joined:  # Anthropic numbers blocks, which come one after the other
        return None
    pieces: dict[bytes, list[bytes]] = {}
    for name, value in _MEMBER.findall(joined):
        pieces.setdefault(name, []).append(value)
    return [b"".join(values) for values in pieces.values()] or None


def _between_pieces(body: bytes) -> bytes:
    """What is between two pieces of the stream: mostly the same bytes all along, so that one call takes them out.

    From a quote that ends a string to one that begins another: no string holds that.
    """
    last: dict[bytes, list[re.Match[bytes]]] = {}
    for found in islice(_MEMBER.finditer(body), _LOOKED_AT):
        places = last.setdefault(found[1], [])
        places.append(found)
        if len(places) == 3:
            return body[places[1].end() - 1 : places[2].start(2)]
    return b""


@lru_cache(maxsize=64)
def _raw_pattern(value: Value) -> Any:
    """What bytes of JSON hold if a text of theirs fits; None: nothing can be said.

    Letters of ASCII, digits and spaces stand for themselves; all else may be escaped, in JSON within JSON again.
    """
    if value.form == "pattern" or not re.search(r"[A-Za-z0-9]{2}", value.text):
        return None
    import re2

    options = re2.Options()
    options.log_errors = False
    options.case_sensitive = False
    options.encoding = re2.Options.Encoding.LATIN1
    runs = re.findall(r"[A-Za-z0-9]+(?: +[A-Za-z0-9]+)*", value.text)
    return re2.compile(re2.escape(max(runs, key=len)).encode(), options)
