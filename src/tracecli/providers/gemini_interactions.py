"""Gemini's interactions, which take the place of generateContent: https://ai.google.dev/api/interactions-api

An answer is a list of steps: thoughts, calls, what the model says. An agent's work goes on in the background.
"""

from __future__ import annotations

from typing import Any

from tracecli.exchange import Message, Usage
from tracecli.providers.reader import Draft, Growing, Reader
from tracecli.providers.values import Json, blob, count, obj, objects, text, unknown_part

_TURNS = ("model_output", "user_input")
_UNFINISHED = ("in_progress", "requires_action", "queued")


class GeminiInteractions(Reader):
    """Reads `/interactions`."""

    def __init__(self, provider: str, path: str, keep: bool) -> None:
        super().__init__(provider, path, keep)
        self._usage: Json = {}
        self._status: str | None = None
        self._draft = Draft()
        self._call: Growing | None = None

    def request(self, body: Json) -> None:
        super().request(body)
        self.stream = body.get("stream") is True
        if self.keep:
            self.input_messages = _input(body)

    def answer(self, body: Json) -> bool:
        self.response_id = text(body.get("id")) or self.response_id
        self.response_model = text(body.get("model")) or self.response_model
        self.service_tier = text(body.get("service_tier")) or self.service_tier
        status = text(body.get("status"))
        self._status = status if status not in _UNFINISHED else None
        self._usage = obj(body.get("usage")) or self._usage
        if self.keep:
            for step in (*objects(body.get("steps")), *objects(body.get("outputs"))):
                for part in _parts(step):
                    self._draft.add(part)
        return "status" in body

    def event(self, event: str, body: Json) -> bool:
        name = text(body.get("event_type")) or event
        if name == "error" or body.get("error"):
            self.fail(body)
        elif "interaction" in body:
            self.answer(obj(body["interaction"]))
            self.ended = self.ended or name == "interaction.completed"
        elif name == "step.start":
            self._begin(obj(body.get("step")))
        elif name in ("step.delta", "content.delta"):
            self._continue(obj(body.get("delta")))
        return name.startswith(("interaction.", "step.", "content.")) or self.failed

    def _begin(self, step: Json) -> None:
        self._call = None
        if text(step.get("type")) == "function_call":
            self.started = True
        if self.keep:
            for part in _parts(step):
                growing = self._draft.add(part)
                self._call = growing if part["type"] == "tool_call" else None

    def _continue(self, delta: Json) -> None:
        kind = "reasoning" if delta.get("type") in ("thought", "thought_summary") else "text"
        words = text(delta.get("text")) or text(obj(delta.get("content")).get("text"))
        arguments = text(delta.get("arguments"))
        self.started = self.started or bool(words or arguments)
        if not self.keep:
            return
        if words:
            self._draft.say(kind, words)
        elif arguments and self._call:
            self._call.pieces.append(arguments)

    def usage(self) -> Usage | None:
        """Tools' results count as input and thoughts as output, as they are charged."""
        raw = self._usage
        given, made = count(raw.get("total_input_tokens")), count(raw.get("total_output_tokens"))
        if given is None and made is None:
            return None
        thoughts, tools = count(raw.get("total_thought_tokens")), count(raw.get("total_tool_use_tokens"))
        return Usage(
            input_tokens=None if given is None else given + (tools or 0),
            output_tokens=None if made is None else made + (thoughts or 0),
            cache_read_input_tokens=count(raw.get("total_cached_tokens")),
            reasoning_output_tokens=thoughts,
            input_audio_tokens=next(
                (
                    count(one.get("tokens"))
                    for one in objects(raw.get("input_tokens_by_modality"))
                    if one.get("modality") == "audio"
                ),
                None,
            ),
        )

    def finish_reasons(self) -> list[str]:
        return [self._status] if self._status else []

    def output_messages(self) -> list[Message]:
        parts = self._draft.parts()
        return [{"role": "assistant", "parts": parts, "finish_reason": self._status}] if parts else []


def _input(body: Json) -> list[Message]:
    """The instruction and the input: a text, parts, or steps of turns."""
    messages: list[Message] = []
    if system := text(body.get("system_instruction")):
        messages.append({"role": "system", "parts": [{"type": "text", "content": system}]})
    given = body.get("input")
    if isinstance(given, str):
        return [*messages, {"role": "user", "parts": [{"type": "text", "content": given}]}]
    for item in objects(given) or [obj(given)]:
        role = text(item.get("role")) or ("assistant" if item.get("type") in ("model_output", "thought") else "user")
        if parts := _parts(item):
            messages.append({"role": "assistant" if role == "model" else role, "parts": parts})
    return messages


def _parts(step: Json) -> list[Json]:
    """The parts of a step, or of one content."""
    kind = text(step.get("type"))
    content = step.get("content", step.get("summary"))
    if kind == "thought":
        return [{"type": "reasoning", "content": words} for one in objects(content) if (words := text(one.get("text")))]
    if kind == "function_call":
        name = text(step.get("name"))
        return [{"type": "tool_call", "id": text(step.get("id")), "name": name, "arguments": step.get("arguments")}]
    if kind == "function_result":
        return [{"type": "tool_call_response", "id": text(step.get("call_id")), "response": step.get("result")}]
    return _contents([step] if content is None and kind not in _TURNS else content)


def _contents(content: Any) -> list[Json]:
    if isinstance(content, str):
        return [{"type": "text", "content": content}]
    parts: list[Json] = []
    for one in objects(content):
        mime_type = text(one.get("mime_type"))
        if isinstance(one.get("text"), str):
            parts.append({"type": "text", "content": one["text"]})
        elif data := text(one.get("data")):
            parts.append(blob(data, mime_type))
        elif uri := text(one.get("uri")):
            parts.append({"type": "uri", "uri": uri, "mime_type": mime_type})
        else:
            parts.append(unknown_part({"type": one.get("type")}))
    return parts
