"""Messages as OpenAI's chat completions have them, in the dialects of those who took them over. Pure."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from tracecli.datasets.example import ANSWER, Example, Pair, Tool
from tracecli.datasets.formats import rules, turns
from tracecli.datasets.formats.base import Finding, Line, Media, Severity, Unfit, dumped
from tracecli.datasets.formats.rules import at, kind
from tracecli.datasets.formats.turns import Conversation, Medium, Result, Turn

_REASONING = ("reasoning_content", "reasoning")
ROLES = ("system", "user", "assistant", "tool")


@dataclass(frozen=True)
class Dialect:
    """What is written, and what is taken."""

    roles: tuple[str, ...] = ROLES
    images: Literal["address", "inline", "column"] | None = None
    """`address`: by an HTTP or a data URL; `inline`: by a data URL; `column`: beside the messages."""
    image_types: tuple[str, ...] = ()
    """As `png`; empty: any."""
    most_images: int | None = None
    most_image_bytes: int | None = None
    arguments: Literal["text", "object"] = "text"
    reasoning: bool = False
    """As `reasoning_content` of an answer; `reasoning` is taken as well."""
    names: bool = False
    refusals: bool = False
    weights: bool = False
    parallel: bool = False
    """`parallel_tool_calls` beside the tools."""
    alternating: bool = False
    """After the system, user and assistant take turns; results of tools may stand between."""
    system_first: bool = False
    tool_name: re.Pattern[str] = rules.TOOL_NAME
    most_tools: int | None = None
    content_beside_calls: bool = False
    """An answer that is a tool call alone has an empty content."""
    other_keys: Severity = "error"
    """What it is to have others; libraries leave them alone."""
    name_of_tool: bool = False
    """A tool's result names the tool."""

    # -- writing

    def conversation(self, example: Example, media: Media) -> Line:
        """A line of `messages`, `tools` and what goes with them. Raises Unfit."""
        return self.told(turns.of_example(example, media), example)

    def told(self, found: Conversation, example: Example) -> Line:
        """The same of the turns of an example. Raises Unfit."""
        line: Line = {"messages": self.messages(found, only_last=example.only_last)}
        return line | self.beside(example.tools, example.parallel_tool_calls)

    def preference(self, pair: Pair, media: Media) -> Line:
        """A line of `input`, `preferred_output` and `non_preferred_output`. Raises Unfit."""
        prompt, chosen, rejected = turns.of_pair(pair, media)
        given = {"messages": self.messages(prompt)} | self.beside(pair.tools, pair.parallel_tool_calls)
        return {
            "input": given,
            "preferred_output": [self.message(chosen)],
            "non_preferred_output": [self.message(rejected)],
        }

    def messages(self, found: Conversation, *, only_last: bool = False) -> list[dict[str, Any]]:
        """The messages of a conversation. Raises Unfit."""
        told = found.turns
        if self.system_first:
            system, told = found.leading_system()
            if system:
                told = [Turn("system", [turns.GAP.join(system)]), *told]
        if self.alternating:
            told = _alternating(told)
        self._images(found)
        parted = self.images == "column" and bool(found.media)
        messages = [message for turn in told for message in self._messages(turn, parted=parted)]
        if only_last and self.weights:
            for message in messages[:-1]:
                if message["role"] == ANSWER:
                    message["weight"] = 0
        return messages

    def message(self, turn: Turn) -> dict[str, Any]:
        """An answer, as one of a pair. Raises Unfit."""
        [message] = self._messages(turn, parted=False)
        return message

    def beside(self, tools: list[Tool], parallel: bool | None) -> Line:
        """What stands beside messages. Raises Unfit for a tool that the provider does not take."""
        line: Line = {}
        if tools:
            line["tools"] = [self._tool(tool) for tool in tools]
            if self.most_tools is not None and len(tools) > self.most_tools:
                raise Unfit("more tools than the provider takes")
            if self.parallel and parallel is not None:
                line["parallel_tool_calls"] = parallel
        return line

    def _tool(self, tool: Tool) -> dict[str, Any]:
        self._named(tool.name)
        function: dict[str, Any] = {"name": tool.name}
        if tool.description is not None:
            function["description"] = tool.description
        if tool.parameters is not None:
            dumped(tool.parameters)
            function["parameters"] = tool.parameters
        if tool.strict is not None:
            function["strict"] = tool.strict
        return {"type": "function", "function": function}

    def _named(self, name: str) -> str:
        if not self.tool_name.fullmatch(name):
            raise Unfit("a tool name that the provider does not take")
        return name

    def _images(self, found: Conversation) -> None:
        """Raises Unfit where the conversation's images are not to be told."""
        if found.media and self.images is None:
            raise Unfit("an image or a file")
        for medium in found.media:
            if not medium.is_image:
                raise Unfit("sound or a file that is no image")
            inline = rules.inline_bytes(medium.url)
            if self.images == "inline" and inline is None and not medium.recorded:
                raise Unfit("an image by its address")
            if self.images == "address" and inline is None and not medium.url.startswith(("http://", "https://")):
                raise Unfit("an image that is not on the web")
            subtype = inline[0].partition("/")[2] if inline else medium.subtype
            if self.image_types and subtype not in (*self.image_types, "*"):
                raise Unfit("an image of a kind that the provider does not take")
            if inline and self.most_image_bytes is not None and inline[1] > self.most_image_bytes:
                raise Unfit("an image that is too large")
        if self.most_images is not None and len(found.media) > self.most_images:
            raise Unfit("more images than the provider takes in an example")
        if any(turn.media for turn in found.turns if turn.role != "user"):
            raise Unfit("an image or a file that is not the user's")

    def _messages(self, turn: Turn, *, parted: bool) -> Iterator[dict[str, Any]]:
        if turn.role == "tool":
            for result in turn.results:
                yield self._result(result, parted=parted)
            return
        message: dict[str, Any] = {"role": turn.role}
        if turn.name:
            if not self.names:
                raise Unfit("a name of who speaks")
            message["name"] = turn.name
        refused = self.refusals and bool(turn.refusal)
        if turn.reasoning and self.reasoning:
            if not turn.reasoning_is_first:
                raise Unfit("reasoning between the parts of an answer")
            message["reasoning_content"] = turn.reasoning
        content = self._content(turn, parted=parted)
        if content or not (turn.calls or refused):
            message["content"] = content
        elif self.content_beside_calls:
            message["content"] = ""
        if refused:
            message["refusal"] = turn.refusal
        if turn.calls:
            message["tool_calls"] = [
                {
                    "id": call.id,
                    "type": "function",
                    "function": {
                        "name": self._named(call.name),
                        "arguments": dumped(call.arguments) if self.arguments == "text" else call.arguments,
                    },
                }
                for call in turn.calls
            ]
        yield message

    def _content(self, turn: Turn, *, parted: bool) -> Any:
        if not turn.media:
            text = turn.text(refusal=not self.refusals)
            return [{"type": "text", "text": text}] if parted and text else text
        return [self._part(piece) for piece in turn.pieces]

    def _part(self, piece: str | Medium) -> dict[str, Any]:
        if isinstance(piece, str):
            return {"type": "text", "text": piece}
        if self.images == "column":
            return {"type": "image"}
        return {"type": "image_url", "image_url": {"url": piece.url}}

    def _result(self, result: Result, *, parted: bool) -> dict[str, Any]:
        text = result.text()
        message: dict[str, Any] = {"role": "tool", "tool_call_id": result.call.id}
        if self.name_of_tool:
            message["name"] = result.call.name
        return message | {"content": [{"type": "text", "text": text}] if parted else text}

    # -- checking

    def check_conversation(self, line: Line, *, beside: tuple[str, ...] = ()) -> Iterator[Finding]:
        """What is wrong with a line of `messages`."""
        yield from rules.known(line, "", {"messages", *self._beside, *beside})
        yield from self.check_messages(line.get("messages"), "messages", answered=True)
        yield from self.check_beside(line, "")

    def check_preference(
        self, line: Line, *, outputs: tuple[str, ...] = (ANSWER,), most: int | None = 1
    ) -> Iterator[Finding]:
        """What is wrong with a line of `input` and two outputs of `most` messages."""
        yield from rules.known(line, "", {"input", "preferred_output", "non_preferred_output"})
        given = line.get("input")
        if not isinstance(given, dict):
            yield Finding("input", "is missing: it has to be an object" if given is None else f"is {kind(given)}")
        else:
            yield from rules.known(given, "input", {"messages", *self._beside})
            yield from self.check_messages(given.get("messages"), "input.messages", answered=False)
            yield from self.check_beside(given, "input")
        for name in ("preferred_output", "non_preferred_output"):
            found, wrong = rules.split(rules.objects(line.get(name), name))
            yield from wrong
            if most is not None and len(found) > most:
                yield Finding(name, "has to be one message of the assistant")
            for where, message in found:
                if message.get("role") not in outputs:
                    yield Finding(at(where, "role"), f"has to be {' or '.join(outputs)}")
                else:
                    yield from self._check_message(message, where)
            if found and not any(message.get("role") == ANSWER for _, message in found):
                yield Finding(name, "needs a message of the assistant")

    @property
    def _beside(self) -> tuple[str, ...]:
        return ("tools", "parallel_tool_calls") if self.parallel else ("tools",)

    def check_beside(self, value: dict[str, Any], where: str) -> Iterator[Finding]:
        """What is wrong with tools."""
        if "tools" in value:
            yield from rules.openai_tools(value["tools"], at(where, "tools"), self.tool_name, self.most_tools)
        parallel = value.get("parallel_tool_calls")
        if self.parallel and parallel is not None and not isinstance(parallel, bool):
            yield Finding(at(where, "parallel_tool_calls"), f"has to be true or false, and is {kind(parallel)}")

    def check_messages(self, value: Any, where: str, *, answered: bool) -> Iterator[Finding]:
        """What is wrong with messages; `answered`: the last one is the assistant's, else it is not."""
        found, wrong = rules.split(rules.objects(value, where))
        yield from wrong
        for place, message in found:
            yield from self._check_message(message, place)
        yield from self._check_order(found, where)
        yield from self._check_calls(found)
        if found:
            place, last = found[-1]
            if answered and last.get("role") != ANSWER:
                yield Finding(at(place, "role"), "the last message has to be the assistant's")
            elif answered and last.get("weight") == 0 and len(found) > 1:
                if all(one.get("weight") == 0 for _, one in found if one.get("role") == ANSWER):
                    yield Finding(where, "nothing is learned of it: each answer has the weight 0")
            elif not answered and last.get("role") == ANSWER:
                yield Finding(at(place, "role"), "the last message of a prompt is not the assistant's")
        if self.most_images is not None and images_in(value) > self.most_images:
            yield Finding(where, f"holds more than {self.most_images} images")

    def _check_message(self, message: dict[str, Any], where: str) -> Iterator[Finding]:
        role = message.get("role")
        yield from rules.one_of(role, at(where, "role"), self.roles)
        if role not in self.roles:
            return
        names = {"role", "content"}
        if self.names:
            names.add("name")
        if role == "tool":
            names |= {"tool_call_id", "name"} if self.name_of_tool else {"tool_call_id"}
        if role == ANSWER:
            names |= {"tool_calls"} | (set(_REASONING) if self.reasoning else set())
            names |= {"weight"} if self.weights else set()
            names |= {"refusal"} if self.refusals else set()
        yield from rules.known(message, where, names, self.other_keys)
        for name in ("name", "refusal", *_REASONING):
            if name in names:
                yield from rules.is_text(message, where, name, needed=False)
        if role == ANSWER and self.weights and "weight" in message:
            weight = message["weight"]
            if isinstance(weight, bool) or weight not in (0, 1):
                yield Finding(at(where, "weight"), "has to be 0 or 1")
        yield from self._check_content(message, where)
        if role == "tool" and not self.name_of_tool:
            yield from rules.is_text(message, where, "tool_call_id")
        if role == ANSWER and message.get("tool_calls") is not None:
            yield from self._check_tool_calls(message["tool_calls"], at(where, "tool_calls"))

    def _check_content(self, message: dict[str, Any], where: str) -> Iterator[Finding]:
        content, place = message.get("content"), at(where, "content")
        if content is None:
            if message.get("role") != ANSWER or not (message.get("tool_calls") or message.get("refusal")):
                yield Finding(place, "is missing")
        elif isinstance(content, list):
            found, wrong = rules.split(rules.objects(content, place))
            yield from wrong
            for spot, part in found:
                yield from self._check_part(part, spot, message.get("role"))
        elif not isinstance(content, str):
            yield Finding(place, f"has to be a text, and is {kind(content)}")

    def _check_part(self, part: dict[str, Any], where: str, role: Any) -> Iterator[Finding]:
        image = {"column": "image", None: None}.get(self.images, "image_url")
        yield from rules.one_of(part.get("type"), at(where, "type"), ("text", image) if image else ("text",))
        if part.get("type") == "text":
            yield from rules.known(part, where, {"type", "text"})
            yield from rules.is_text(part, where, "text")
        elif image and part.get("type") == image:
            if role != "user":
                yield Finding(where, "only a message of the user can hold an image")
            if image == "image":
                yield from rules.known(part, where, {"type", "image"})
                return
            yield from rules.known(part, where, {"type", "image_url"})
            yield from self._check_image(part.get("image_url"), at(where, "image_url"))

    def _check_image(self, value: Any, where: str) -> Iterator[Finding]:
        if not isinstance(value, dict):
            yield Finding(where, f"has to be an object with an `url`, and is {kind(value)}")
            return
        yield from rules.known(value, where, {"url", "detail"})
        if value.get("detail") is not None:
            yield from rules.one_of(value["detail"], at(where, "detail"), ("low", "high", "auto"))
        url = value.get("url")
        if not isinstance(url, str):
            yield from rules.is_text(value, where, "url")
            return
        inline = rules.inline_bytes(url)
        if inline is None:
            if self.images == "inline" or not url.startswith(("http://", "https://")):
                wanted = "a data URL" if self.images == "inline" else "an HTTP URL or a data URL"
                yield Finding(at(where, "url"), f"has to be {wanted}, as data:image/png;base64,AAAA")
            return
        if inline[0] not in {f"image/{one}" for one in self.image_types}:
            yield Finding(at(where, "url"), f"has to be an image of {', '.join(self.image_types)}")
        if self.most_image_bytes is not None and inline[1] > self.most_image_bytes:
            yield Finding(at(where, "url"), f"is larger than {self.most_image_bytes // 1_000_000} MB")

    def _check_tool_calls(self, value: Any, where: str) -> Iterator[Finding]:
        found, wrong = rules.split(rules.objects(value, where))
        yield from wrong
        for place, call in found:
            yield from rules.known(call, place, {"id", "type", "function"})
            if self.arguments == "text" or "id" in call:
                yield from rules.is_text(call, place, "id")
            yield from rules.one_of(call.get("type"), at(place, "type"), ("function",))
            function = call.get("function")
            if not isinstance(function, dict):
                yield Finding(at(place, "function"), f"has to be an object, and is {kind(function)}")
                continue
            spot = at(place, "function")
            yield from rules.known(function, spot, {"name", "arguments"})
            yield from rules.tool_name(function.get("name"), at(spot, "name"), self.tool_name)
            arguments = function.get("arguments")
            if self.arguments == "text":
                yield from rules.json_object(arguments, at(spot, "arguments"))
            elif not isinstance(arguments, dict):
                yield Finding(at(spot, "arguments"), f"has to be an object, and is {kind(arguments)}")

    def _check_order(self, found: list[tuple[str, dict[str, Any]]], where: str) -> Iterator[Finding]:
        if self.system_first:
            for place, message in found[1:]:
                if message.get("role") == "system":
                    yield Finding(at(place, "role"), "a system message has to be the first one")
        if not self.alternating:
            return
        said = [(place, one["role"]) for place, one in found if one.get("role") in ("user", ANSWER, "tool")]
        for (_, before), (place, role) in itertools.pairwise(said):
            if before == role and role != "tool":
                yield Finding(
                    at(place, "role"), "user and assistant have to take turns: make it one message with the last"
                )

    def _check_calls(self, found: list[tuple[str, dict[str, Any]]]) -> Iterator[Finding]:
        """Each call is answered before anything else is said, and each result has its call."""
        waiting: dict[Any, str] = {}
        for position, (place, message) in enumerate(found):
            if message.get("role") == "tool":
                yield from self._check_result(message, place, waiting)
                continue
            for spot in waiting.values():
                yield Finding(spot, "has no result: a message of the role tool has to follow it")
            waiting = {}
            calls = message.get("tool_calls")
            if message.get("role") != ANSWER or not isinstance(calls, list):
                continue
            for number, call in enumerate(calls):
                spot = f"{place}.tool_calls[{number}]"
                identifier = call.get("id") if isinstance(call, dict) else None
                key = identifier if isinstance(identifier, str) else (number,)
                if key in waiting:
                    yield Finding(at(spot, "id"), "is the id of another call of the message too")
                elif position < len(found) - 1:
                    waiting[key] = spot
        for spot in waiting.values():
            yield Finding(spot, "has no result: a message of the role tool has to follow it")

    def _check_result(self, message: dict[str, Any], place: str, waiting: dict[Any, str]) -> Iterator[Finding]:
        identifier = message.get("tool_call_id")
        if isinstance(identifier, str) and identifier in waiting:
            del waiting[identifier]
        elif self.name_of_tool and identifier is None and waiting:
            del waiting[next(iter(waiting))]
        elif identifier is None or isinstance(identifier, str):
            yield Finding(place, "is the result of no call that waits for one: its `tool_call_id` names it")


def _alternating(told: list[Turn]) -> list[Turn]:
    """What follows one another made one, with results of tools apart. Raises Unfit."""
    system = [turn for turn in told if turn.role == "system"]
    found: list[Turn] = []
    for turn in told[len(system) :]:
        if not found or found[-1].role != turn.role:
            found.append(turn)
        elif turn.role == ANSWER and (turn is told[-1] or found[-1].calls):
            raise Unfit("two answers that follow one another")
        elif turn.name != found[-1].name:
            raise Unfit("a name of who speaks")
        else:
            found[-1] = turns.joined(found[-1], turn)
    return system + found


def _parts(message: dict[str, Any]) -> list[Any]:
    content = message.get("content")
    return content if isinstance(content, list) else []


def _is_image(part: Any) -> bool:
    return isinstance(part, dict) and part.get("type") in ("image", "image_url")


def images_in(messages: Any) -> int:
    """How many images messages of any shape hold."""
    found, _ = rules.split(rules.objects(messages, ""))
    return sum(_is_image(part) for _, message in found for part in _parts(message))


def parsed(text: str) -> Any:
    """The value of a JSON text, or None."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None
