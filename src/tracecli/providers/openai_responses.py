"""OpenAI's responses: a list of items in, a list of items out.

https://platform.openai.com/docs/api-reference/responses  https://platform.openai.com/docs/api-reference/responses-streaming

In a stream, what is said last about an item counts: the deltas, then the finished item, then the finished response.
"""

from __future__ import annotations

from typing import Any

from tracecli.exchange import Message, Usage
from tracecli.providers.openai_common import claimed_user, parts_of, reported_cost, session, usage_of
from tracecli.providers.reader import Draft, Growing, Reader
from tracecli.providers.values import Json, blob, count, obj, objects, parsed_or_text, text, unknown_part

_DELTAS = {
    "response.output_text.delta": "text",
    "response.refusal.delta": "refusal",
    "response.reasoning_text.delta": "reasoning",
    "response.reasoning_summary_text.delta": "reasoning",
}
_CALL_DELTAS = {
    "response.function_call_arguments.delta",
    "response.custom_tool_call_input.delta",
    "response.mcp_call_arguments.delta",
}
_ENDS = {"response.completed", "response.incomplete", "response.failed", "response.cancelled"}
_UNFINISHED = ("queued", "in_progress")
# What the client runs and answers with an item `..._output`; any other `..._call` the provider runs itself.
_CLIENT_CALLS = {
    "function_call", "custom_tool_call", "computer_call", "local_shell_call", "shell_call", "apply_patch_call",
}  # fmt: skip


class OpenAIResponses(Reader):
    """Reads `/responses`."""

    def __init__(self, provider: str, path: str, keep: bool) -> None:
        super().__init__(provider, path, keep)
        self._usage: Json = {}
        self._status: str | None = None
        self._output: list[Json] = []
        self._items: dict[int, Json] = {}
        self._drafts: dict[int, Draft] = {}
        self._calls: dict[int, Growing] = {}

    def request(self, body: Json) -> None:
        super().request(body)
        self.stream = body.get("stream") is True
        self.claimed_user = claimed_user(body)
        conversation = body.get("conversation")
        self.session = text(conversation) or text(obj(conversation).get("id")) or session(body)
        if self.keep:
            self.input_messages = _input(body)

    def message(self, body: Json) -> None:
        if body.get("type") == "response.create":
            self.request(obj(body.get("response")) or body)
            self.stream = True

    def answer(self, body: Json) -> bool:
        self.response_id = text(body.get("id")) or self.response_id
        self.response_model = text(body.get("model")) or self.response_model
        self.service_tier = text(body.get("service_tier")) or self.service_tier
        status = text(body.get("status"))
        self._status = status if status not in _UNFINISHED else None
        usage = obj(body.get("usage"))
        if usage:
            self._usage = usage
            self.reported_cost_usd = reported_cost(self.provider, usage)
        if body.get("error"):
            self.fail(body)
        if self.keep:
            self._output = objects(body.get("output")) or self._output
        return isinstance(body.get("output"), list)

    def event(self, event: str, body: Json) -> bool:
        name = text(body.get("type")) or event
        if name == "error" or (body.get("error") and not name.startswith("response.")):
            self.fail(body)
        elif "response" in body:
            self.answer(obj(body["response"]))
            self.ended = self.ended or name in _ENDS
            self.failed = self.failed or name == "response.failed"
        else:
            self._item(name, count(body.get("output_index")) or 0, body)
        return name == "error" or name.startswith("response.")

    def _item(self, name: str, index: int, body: Json) -> None:
        """What a stream says about one item of the output."""
        item = obj(body.get("item"))
        self.started = (
            self.started or name in _DELTAS or name in _CALL_DELTAS or text(item.get("type")) in _CLIENT_CALLS
        )
        if not self.keep:
            return
        delta = text(body.get("delta")) or ""
        if name == "response.output_item.done":
            self._items[index] = item
        elif name == "response.output_item.added":
            draft = self._drafts[index] = Draft()
            if text(item.get("type")) not in ("message", "reasoning", None):
                for part in _parts(item):
                    self._calls[index] = draft.add(part)
        elif name in _DELTAS:
            self._drafts.setdefault(index, Draft()).say(_DELTAS[name], delta)
        elif name in _CALL_DELTAS and index in self._calls:
            self._calls[index].pieces.append(delta)

    def usage(self) -> Usage | None:
        return usage_of(self._usage)

    def finish_reasons(self) -> list[str]:
        return [self._status] if self._status else []

    def output_messages(self) -> list[Message]:
        said = [
            item for item in self._output if item.get("role", "assistant") == "assistant"
        ]  # compaction repeats input
        parts = [part for item in said for part in _parts(item)] or self._streamed()
        return [{"role": "assistant", "parts": parts, "finish_reason": self._status}] if parts else []

    def _streamed(self) -> list[Json]:
        """The parts that the stream told of, item by item: the finished ones whole, the others as far as they came."""
        parts: list[Json] = []
        for index in sorted(self._items.keys() | self._drafts.keys()):
            parts += _parts(self._items[index]) if index in self._items else self._drafts[index].parts()
        return parts


def _parts(item: Json) -> list[Json]:
    """The parts of an output item, or of the same item given back as input.

    https://platform.openai.com/docs/api-reference/responses/object#responses/object-output
    """
    kind = text(item.get("type")) or "message"
    identifier = text(item.get("call_id")) or text(item.get("id"))
    if kind == "message":
        return parts_of(item.get("content"))
    if kind == "reasoning":
        return _reasoning(item)
    if kind == "image_generation_call" and (image := text(item.get("result"))):
        return [blob(image, f"image/{text(item.get('output_format')) or '*'}")]
    if kind.endswith("_output"):
        return [{"type": "tool_call_response", "id": identifier, "response": _response(item.get("output"))}]
    if kind.endswith("_call"):
        part_type = "tool_call" if kind in _CLIENT_CALLS else "server_tool_call"
        name = text(item.get("name")) or kind.removesuffix("_call")
        part = {"type": part_type, "id": identifier, "name": name, "arguments": _arguments(item)}
        answer = {"type": "server_tool_call_response", "id": identifier, "response": item.get("output")}
        return [part, answer] if part_type == "server_tool_call" and item.get("output") else [part]
    return [unknown_part({"type": kind, "id": identifier})]


def _reasoning(item: Json) -> list[Json]:
    """The summary and the text of a reasoning item, one part each; encrypted reasoning says nothing."""
    pieces = [*objects(item.get("summary")), *objects(item.get("content"))]
    return [{"type": "reasoning", "content": piece} for one in pieces if (piece := text(one.get("text")))]


def _arguments(item: Json) -> Any:
    for name in ("arguments", "input", "action", "code", "operation", "queries"):
        if item.get(name):
            return parsed_or_text(item[name])
    return None


def _response(output: Any) -> Any:
    return parts_of(output) if isinstance(output, list) else output


def _input(body: Json) -> list[Message]:
    """The instructions and the input. Items that one answer gave in a row are one message again."""
    messages: list[Message] = []
    if instructions := text(body.get("instructions")):
        messages.append({"role": "system", "parts": parts_of(instructions)})
    given = body.get("input")
    if isinstance(given, str):
        return [*messages, {"role": "user", "parts": parts_of(given)}]
    for item in objects(given):
        role, parts = _role(item), _parts(item)
        if role == "assistant" and messages and messages[-1]["role"] == role:
            messages[-1]["parts"] += parts
        elif parts:
            messages.append({"role": role, "parts": parts})
    return messages


def _role(item: Json) -> str:
    kind = text(item.get("type")) or "message"
    if kind == "message":
        return text(item.get("role")) or "user"
    return "tool" if kind.endswith("_output") else "assistant"
