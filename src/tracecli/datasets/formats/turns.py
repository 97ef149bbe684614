"""A conversation taken apart for writing: turns with their text, media, tool calls and results. Pure.

What every format asks for is seen to here: each tool call has a name, an id and arguments that are an object, each
result has its call, and each call of an earlier answer its result, before anything else is said. What cannot be told
anywhere raises `Unfit`; what only some formats cannot tell is left to them.
"""

from __future__ import annotations

import dataclasses
import mimetypes
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple
from urllib.parse import urlsplit

from tracecli.datasets.example import ANSWER, Example, Pair, parts
from tracecli.datasets.formats.base import Media, Unfit, dumped
from tracecli.exchange import Message

type Role = Literal["system", "user", "assistant", "tool"]
GAP = "\n\n"
"""Between texts of one turn, and between turns that are made one."""


class Medium(NamedTuple):
    """An image, sound or a file, by its address."""

    url: str
    mime_type: str
    """`image/*` where neither the part nor its address says more."""
    recorded: bool
    """Its bytes are in the record: the address is of our making."""

    @property
    def is_image(self) -> bool:
        """Whether it is one, as far as can be told."""
        return self.mime_type.startswith("image/")

    @property
    def subtype(self) -> str:
        """`png` of `image/png`."""
        return self.mime_type.partition("/")[2]


type Piece = str | Medium


class Call(NamedTuple):
    """A call of a tool."""

    id: str
    name: str
    arguments: dict[str, Any]


class Result(NamedTuple):
    """What a tool answered."""

    call: Call
    pieces: list[Piece] | None
    """Texts and media; None: it is the JSON of `value`."""
    value: Any
    is_error: bool

    def text(self) -> str:
        """It as a text. Raises Unfit if it holds media."""
        if self.pieces is None:
            return dumped(self.value)
        if any(isinstance(piece, Medium) for piece in self.pieces):
            raise Unfit("an image or a file in a tool's result")
        return GAP.join(piece for piece in self.pieces if isinstance(piece, str))


@dataclass
class Turn:
    """What somebody said without a break."""

    role: Role
    pieces: list[Piece] = field(default_factory=list)
    """Texts and media, in their order."""
    name: str | None = None
    reasoning: str = ""
    refusal: str = ""
    """What of the text is marked as a refusal; it is not among the pieces."""
    calls: list[Call] = field(default_factory=list)
    results: list[Result] = field(default_factory=list)
    reasoning_is_first: bool = True

    @property
    def media(self) -> list[Medium]:
        """Its media."""
        return [piece for piece in self.pieces if isinstance(piece, Medium)]

    def text(self, *, refusal: bool = True) -> str:
        """Its texts as one; with the refusal, for formats that have no place of its own for it."""
        found = [piece for piece in self.pieces if isinstance(piece, str)]
        if refusal and self.refusal:
            found.append(self.refusal)
        return ("" if self.role == "assistant" else GAP).join(found)


class Conversation(NamedTuple):
    """The turns of an example."""

    turns: list[Turn]
    """Of a pair: those of the prompt."""

    def leading_system(self) -> tuple[list[str], list[Turn]]:
        """The system's texts, for formats that have them apart, and the other turns. Raises Unfit for a later one."""
        first = next((at for at, turn in enumerate(self.turns) if turn.role != "system"), len(self.turns))
        if any(turn.role == "system" for turn in self.turns[first:]):
            raise Unfit("a system message after the beginning")
        for turn in self.turns[:first]:
            if turn.media:
                raise Unfit("an image or a file in a system message")
        return [turn.text() for turn in self.turns[:first]], self.turns[first:]

    @property
    def media(self) -> list[Medium]:
        """Its media, without those in tools' results."""
        return [medium for turn in self.turns for medium in turn.media]


def of_example(example: Example, media: Media) -> Conversation:
    """The turns of an example; the last one is the answer. Raises Unfit."""
    turns = _turns(example.messages, media)
    if len(turns) < 2 or turns[-1].role != ANSWER:
        raise Unfit("no prompt, or no answer at the end")
    return Conversation(turns)


def of_pair(pair: Pair, media: Media) -> tuple[Conversation, Turn, Turn]:
    """The turns of a prompt, and the two answers. Raises Unfit."""
    answers: list[list[Turn]] = []
    for answer in (pair.chosen, pair.rejected):
        turns = _turns([*pair.prompt, answer], media)
        if len(turns) < 2 or turns[-1].role != ANSWER:
            raise Unfit("no prompt, or no answer at the end")
        if turns[-2].role == ANSWER:
            raise Unfit("two answers that follow one another")
        answers.append(turns)
    return Conversation(answers[0][:-1]), answers[0][-1], answers[1][-1]


def merged(turns: Iterable[Turn]) -> list[Turn]:
    """Turns of the user and of the assistant in turns, where a format demands that: what follows one another is made
    one turn, as the providers' own APIs do it; results of tools are the user's.

    Raises Unfit where an answer would become a part of the one to be learned, or the user does not begin.
    """
    found: list[Turn] = []
    turns = list(turns)
    for at, turn in enumerate(turns):
        role: Role = "user" if turn.role == "tool" else turn.role
        if found and found[-1].role == role:
            if role == ANSWER and at == len(turns) - 1:
                raise Unfit("two answers that follow one another")
            found[-1] = joined(found[-1], turn)
        else:
            found.append(dataclasses.replace(turn, role=role))
    if not found or found[0].role != "user":
        raise Unfit("a conversation that the user does not begin")
    return found


def joined(first: Turn, second: Turn) -> Turn:
    """Two turns of one role as one. The texts of two answers stay apart."""
    pieces = [*first.pieces, *second.pieces]
    if first.role == ANSWER and first.pieces and second.pieces:
        pieces = [first.text(refusal=False) + GAP + second.text(refusal=False)]
    return Turn(
        first.role,
        pieces,
        first.name,
        GAP.join(filter(None, [first.reasoning, second.reasoning])),
        first.refusal + second.refusal,
        [*first.calls, *second.calls],
        [*first.results, *second.results],
        first.reasoning_is_first and not second.reasoning,
    )


def _turns(messages: Iterable[Message], media: Media) -> list[Turn]:
    found: list[Turn] = []
    for message in messages:
        found += _split(message, media)
    _linked(found)
    for turn in found:
        if turn.role == ANSWER and not (turn.pieces or turn.calls or turn.refusal):
            raise Unfit("an answer without text or tool call")
    return [turn for turn in found if turn.pieces or turn.calls or turn.results or turn.refusal]


def _split(message: Message, media: Media) -> list[Turn]:
    """The turns of a message: some providers put the results of tools and what the user says into one."""
    given = message.get("role")
    roles: dict[Any, Role] = {"developer": "system", "system": "system", "user": "user", "tool": "tool"}
    role: Role | None = "assistant" if given == ANSWER else roles.get(given)
    if role is None:
        raise Unfit("a message of an unknown role")
    name = message.get("name")
    turns: list[Turn] = []
    for part in parts(message):
        kind = part.get("type")
        of: Role = "tool" if kind == "tool_call_response" else "user" if role == "tool" else role
        if kind != "tool_call_response" and role == "tool":
            raise Unfit("a message of a tool that is no result")
        if not turns or turns[-1].role != of:
            turns.append(Turn(of, name=name if isinstance(name, str) and name and of != "tool" else None))
        _add(turns[-1], part, media)
    return turns or [Turn(role)] * (role == ANSWER)


def _add(turn: Turn, part: dict[str, Any], media: Media) -> None:
    content = part.get("content")
    match part.get("type"):
        case "text":
            if isinstance(content, str) and content:
                if turn.calls:
                    raise Unfit("text after a tool call in one message")
                if part.get("refusal") is True and turn.role == ANSWER:
                    turn.refusal += content
                else:
                    turn.pieces.append(content)
        case "reasoning":
            if isinstance(content, str) and content:
                turn.reasoning_is_first &= not (turn.pieces or turn.calls or turn.refusal)
                turn.reasoning = GAP.join(filter(None, [turn.reasoning, content]))
        case "uri" | "blob":
            if turn.role == ANSWER:
                raise Unfit("an image or a file in an answer")
            turn.pieces.append(_medium(part, media))
        case "tool_call":
            turn.calls.append(_call(turn, part))
        case "tool_call_response":
            response = part.get("response")
            pieces = _pieces(response, media)
            unlinked = Call(str(part.get("id") or ""), "", {})
            turn.results.append(Result(unlinked, pieces, response, part.get("is_error") is True))
        case "file":
            raise Unfit("a file that only its provider holds")
        case "server_tool_call" | "server_tool_call_response":
            raise Unfit("a tool that the provider ran itself")
        case _:
            raise Unfit("a part of an unknown kind")


def _call(turn: Turn, part: dict[str, Any]) -> Call:
    name, arguments = part.get("name"), part.get("arguments")
    if turn.role != ANSWER:
        raise Unfit("a tool call that is not the assistant's")
    if not isinstance(name, str) or not name:
        raise Unfit("a tool call without a name")
    if not isinstance(arguments if arguments is not None else {}, dict):
        raise Unfit("tool arguments that are no JSON object")
    arguments = arguments or {}
    dumped(arguments)
    return Call(str(part.get("id") or ""), name, arguments)


def _pieces(response: Any, media: Media) -> list[Piece] | None:
    """The texts and media of a tool's result; None: it is any other JSON."""
    if isinstance(response, str):
        return [response] if response else []
    if not isinstance(response, list) or not response or not all(_is_part(one) for one in response):
        return None
    return [one["content"] if one["type"] == "text" else _medium(one, media) for one in response]


def _is_part(value: Any) -> bool:
    if not isinstance(value, dict):
        return False
    match value.get("type"):
        case "text":
            return isinstance(value.get("content"), str)
        case "uri":
            return isinstance(value.get("uri"), str)
        case "blob":
            return isinstance(value.get("sha256"), str)
    return False


def _medium(part: dict[str, Any], media: Media) -> Medium:
    recorded = part.get("type") == "blob"
    url = media(part) if recorded else part.get("uri")
    if not isinstance(url, str) or not url:
        raise Unfit("an image or a file without an address")
    told = part.get("mime_type")
    if not isinstance(told, str) or not told:
        try:
            path = urlsplit(url).path
        except ValueError:
            path = ""
        told = mimetypes.guess_type(path)[0]
    return Medium(url, told or "image/*", recorded)


def _linked(turns: list[Turn]) -> None:
    """Give ids to calls that have none, and each result its call.

    Some providers give no ids, and name the tool in a result: then the first call of that name that waits is meant, or
    the first that waits.
    """
    taken = {call.id for turn in turns for call in turn.calls}
    waiting: list[Call] = []
    number = 0
    for turn in turns:
        if turn.role == "tool":
            for at, result in enumerate(turn.results):
                call = _answered(result.call.id, waiting)
                waiting.remove(call)
                turn.results[at] = result._replace(call=call)
            continue
        if waiting:
            raise Unfit("a tool call without its result")
        for at, call in enumerate(turn.calls):
            if not call.id:
                number += 1
                while f"call_{number}" in taken:
                    number += 1
                turn.calls[at] = call._replace(id=f"call_{number}")
        waiting = list(turn.calls)
        if len({call.id for call in waiting}) < len(waiting):
            raise Unfit("tool calls of one id")
    if waiting and turns[-1].role != ANSWER:
        raise Unfit("a tool call without its result")


def _answered(name: str, waiting: list[Call]) -> Call:
    for fits in (lambda call: call.id == name, lambda call: call.name == name, lambda call: not name):
        for call in waiting:
            if fits(call):
                return call
    raise Unfit("a tool's result without its call")
