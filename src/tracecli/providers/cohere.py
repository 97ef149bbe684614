"""Cohere's chat, in both versions, its embeddings, and reranking, which others do in the same way.

https://docs.cohere.com/reference/chat  https://docs.cohere.com/reference/chat-stream
https://docs.cohere.com/v1/reference/chat  https://docs.cohere.com/reference/embed
https://docs.cohere.com/reference/rerank  https://docs.voyageai.com/reference/reranker-api

`tokens` are those that the model saw and made, with what Cohere put around the prompt; `billed_units` are charged.
"""

from __future__ import annotations

from typing import Any

from tracecli.exchange import Message, Usage
from tracecli.providers.openai_common import parts_of
from tracecli.providers.reader import Draft, Growing, Reader
from tracecli.providers.values import Json, count, first_count, obj, objects, parsed_or_text, text

_ROLES = {"USER": "user", "CHATBOT": "assistant", "SYSTEM": "system", "TOOL": "tool"}


class CohereChat(Reader):
    """Reads `/v2/chat` and `/v1/chat`."""

    def __init__(self, provider: str, path: str, keep: bool) -> None:
        super().__init__(provider, path, keep)
        self._usage: Usage | None = None
        self._finish_reason: str | None = None
        self._draft = Draft()
        self._call: Growing | None = None

    def request(self, body: Json) -> None:
        super().request(body)
        self.stream = body.get("stream") is True
        if self.keep:
            self.input_messages = _input(body)

    def answer(self, body: Json) -> bool:
        self.response_id = text(body.get("id")) or text(body.get("response_id")) or self.response_id
        self._end(body)
        if self.keep:
            self._message(obj(body.get("message")) or body)
        return "finish_reason" in body or "message" in body or "generation_id" in body

    def _message(self, message: Json) -> None:
        """The message of version 2, or an answer of version 1."""
        if plan := text(message.get("tool_plan")):
            self._draft.add({"type": "reasoning", "content": plan})
        for part in parts_of(message.get("content")) or parts_of(message.get("text")):
            self._draft.add(part)
        for call in objects(message.get("tool_calls")):
            self._draft.add(_call(call))

    def _end(self, body: Json) -> None:
        self._finish_reason = text(body.get("finish_reason")) or self._finish_reason
        self._usage = usage_of(obj(body.get("usage")) or obj(body.get("meta"))) or self._usage

    def event(self, event: str, body: Json) -> bool:
        name = text(body.get("type")) or text(body.get("event_type")) or event
        message = obj(obj(body.get("delta")).get("message"))
        match name:
            case "message-start" | "stream-start":
                self.response_id = text(body.get("id")) or text(body.get("generation_id"))
            case "content-start" | "content-delta":
                content = obj(message.get("content"))
                self._say("reasoning", content.get("thinking"))
                self._say("text", content.get("text"))
            case "tool-plan-delta":
                self._say("reasoning", message.get("tool_plan"))
            case "text-generation":
                self._say("text", body.get("text"))
            case "tool-call-start":
                self._begin_call(obj(message.get("tool_calls")))
            case "tool-call-delta":
                arguments = text(obj(obj(message.get("tool_calls")).get("function")).get("arguments"))
                if self._call and arguments:
                    self._call.pieces.append(arguments)
            case "tool-calls-generation":
                for call in objects(body.get("tool_calls")):
                    self._begin_call(call)
            case "message-end":
                self._end(obj(body.get("delta")))
                self.ended = True
            case "stream-end":
                self._end(obj(body.get("response")) | body)
                self.ended = True
            case _:
                if body.get("error") or name == "error":
                    self.fail(body)
                return name.startswith(("content-", "tool-", "citation", "search-")) or self.failed
        return True

    def _say(self, part_type: str, piece: object) -> None:
        if words := text(piece):
            self.started = True
            if self.keep:
                self._draft.say(part_type, words)

    def _begin_call(self, call: Json) -> None:
        self.started = True
        if self.keep:
            part = _call(call)
            self._call = self._draft.add(part)
            if isinstance(part["arguments"], str) and part["arguments"]:
                self._call.pieces.append(part["arguments"])

    def usage(self) -> Usage | None:
        return self._usage

    def finish_reasons(self) -> list[str]:
        return [self._finish_reason] if self._finish_reason else []

    def output_messages(self) -> list[Message]:
        parts = self._draft.parts()
        return [{"role": "assistant", "parts": parts, "finish_reason": self._finish_reason}] if parts else []


class CohereEmbed(Reader):
    """Reads `/v1/embed` and `/v2/embed`; the vectors are not kept."""

    def __init__(self, provider: str, path: str, keep: bool) -> None:
        super().__init__(provider, path, keep)
        self._usage: Usage | None = None

    def request(self, body: Json) -> None:
        super().request(body)
        if self.keep:
            parts = (
                [part for one in body.get("texts") or () for part in parts_of(one)]
                if isinstance(body.get("texts"), list)
                else []
            )
            for one in objects(body.get("inputs")):
                parts += parts_of(one.get("content"))
            self.input_messages = [{"role": "user", "parts": parts}] if parts else []

    def answer(self, body: Json) -> bool:
        self.response_id = text(body.get("id"))
        self._usage = usage_of(obj(body.get("meta")))
        return "embeddings" in body

    def usage(self) -> Usage | None:
        return self._usage


class Rerank(Reader):
    """Reads `/rerank` of Cohere, Voyage, Jina and others."""

    def __init__(self, provider: str, path: str, keep: bool) -> None:
        super().__init__(provider, path, keep)
        self._usage: Usage | None = None

    def request(self, body: Json) -> None:
        super().request(body)
        if self.keep:
            self.input_messages = [{"role": "user", "parts": parts_of(body.get("query"))}]

    def answer(self, body: Json) -> bool:
        self.response_id = text(body.get("id"))
        self.response_model = text(body.get("model"))
        total = count(obj(body.get("usage")).get("total_tokens"))
        self._usage = usage_of(obj(body.get("meta"))) or (None if total is None else Usage(input_tokens=total))
        return isinstance(body.get("results"), list) or isinstance(body.get("data"), list)

    def usage(self) -> Usage | None:
        return self._usage


def usage_of(raw: Json) -> Usage | None:
    """Token counts, and those that are charged. https://docs.cohere.com/docs/how-does-cohere-pricing-work"""
    tokens, billed = obj(raw.get("tokens")), obj(raw.get("billed_units"))
    input_tokens = first_count(tokens.get("input_tokens"), billed.get("input_tokens"))
    output_tokens = first_count(tokens.get("output_tokens"), billed.get("output_tokens"))
    if input_tokens is None and output_tokens is None:
        return None
    return Usage(
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        cache_read_input_tokens=count(raw.get("cached_tokens")),
        billed_input_tokens=count(billed.get("input_tokens")),
        billed_output_tokens=count(billed.get("output_tokens")),
    )


def _call(call: Json) -> Json:
    function = obj(call.get("function"))
    arguments = parsed_or_text(function.get("arguments")) if function else call.get("parameters")
    name = text(function.get("name")) or text(call.get("name"))
    return {"type": "tool_call", "id": text(call.get("id")), "name": name, "arguments": arguments}


def _input(body: Json) -> list[Message]:
    """The messages of version 2; or preamble, history and message of version 1."""
    messages: list[Message] = []
    if preamble := text(body.get("preamble")):
        messages.append({"role": "system", "parts": parts_of(preamble)})
    for message in (*objects(body.get("chat_history")), *objects(body.get("messages"))):
        messages.append(_message(message))
    if said := text(body.get("message")):
        messages.append({"role": "user", "parts": parts_of(said)})
    return messages


def _message(message: Json) -> Message:
    role = text(message.get("role")) or "user"
    parts = parts_of(message.get("content")) or parts_of(message.get("message"))
    if role == "tool":
        answer = _response(message.get("content"))
        return {
            "role": role,
            "parts": [{"type": "tool_call_response", "id": text(message.get("tool_call_id")), "response": answer}],
        }
    if plan := text(message.get("tool_plan")):
        parts.insert(0, {"type": "reasoning", "content": plan})
    parts += [_call(call) for call in objects(message.get("tool_calls"))]
    return {"role": _ROLES.get(role, role), "parts": parts}


def _response(content: Any) -> Any:
    return content if isinstance(content, str) else parts_of(content)
