"""Gemini's live API, over a WebSocket. https://ai.google.dev/api/live

An exchange is one turn of the model, tool calls included. Names come in camelCase and in snake_case. Sound is counted,
not kept apart; what was said is text where the provider transcribed it.
"""

from __future__ import annotations

from typing import Any

from tracecli.exchange import Message, Usage
from tracecli.providers.gemini import parts_of, role_of, usage_of
from tracecli.providers.reader import Draft, Reader
from tracecli.providers.values import Json, array, obj, objects, text


class GeminiLive(Reader):
    """Reads the messages of one turn."""

    def __init__(self, provider: str, path: str, keep: bool) -> None:
        super().__init__(provider, path, keep)
        self.stream = True
        self._usage: Json = {}
        self._draft = Draft()
        self._sound_bytes = 0
        self._interrupted = False

    def message(self, body: Json) -> None:
        setup = obj(body.get("setup"))
        self.request_model = text(setup.get("model")) or self.request_model
        if not self.keep:
            return
        self._say("system", parts_of(_either(setup, "systemInstruction", "system_instruction")))
        for turn in objects(obj(_either(body, "clientContent", "client_content")).get("turns")):
            self._say(role_of(turn), parts_of(turn))
        self._hear(obj(_either(body, "realtimeInput", "realtime_input")))
        answers = obj(_either(body, "toolResponse", "tool_response"))
        for answer in objects(_either(answers, "functionResponses", "function_responses")):
            identifier = text(answer.get("id")) or text(answer.get("name"))
            part = {"type": "tool_call_response", "id": identifier, "response": answer.get("response")}
            self._say("tool", [part])

    def _say(self, role: str, parts: list[Json]) -> None:
        if parts:
            self.input_messages.append({"role": role, "parts": parts})

    def _hear(self, given: Json) -> None:
        chunks = [*array(_either(given, "mediaChunks", "media_chunks")), given.get("audio"), given.get("video")]
        self._sound_bytes += sum(len(text(obj(chunk).get("data")) or "") * 3 // 4 for chunk in chunks)
        if said := text(given.get("text")):
            self._say("user", [{"type": "text", "content": said}])

    def event(self, event: str, body: Json) -> bool:
        self._usage = obj(_either(body, "usageMetadata", "usage_metadata")) or self._usage
        content = obj(_either(body, "serverContent", "server_content"))
        for call in objects(obj(_either(body, "toolCall", "tool_call")).get("functionCalls")):
            self._add({"type": "tool_call", "id": text(call.get("id")), "name": text(call.get("name")),
                       "arguments": call.get("args")})  # fmt: skip
        for part in parts_of(content.get("modelTurn")):
            self._add(part)
        self._transcribed(content)
        self._interrupted = self._interrupted or content.get("interrupted") is True
        self.ended = self.ended or content.get("turnComplete") is True
        if body.get("error"):
            self.fail(body)
        return bool(body)

    def _transcribed(self, content: Json) -> None:
        if said := text(obj(content.get("outputTranscription")).get("text")):
            self._add({"type": "text", "content": said})
        if self.keep and (heard := text(obj(content.get("inputTranscription")).get("text"))):
            self._say("user", [{"type": "text", "content": heard}])

    def _add(self, part: Json) -> None:
        self.started = True
        if not self.keep or part["type"] == "blob":
            return
        if part["type"] in ("text", "reasoning"):
            self._draft.say(part["type"], part["content"])
        else:
            self._draft.add(part)

    def usage(self) -> Usage | None:
        answered = self._usage.get("candidatesTokenCount", self._usage.get("responseTokenCount"))
        details = self._usage.get("candidatesTokensDetails", self._usage.get("responseTokensDetails"))
        return usage_of(self._usage | {"candidatesTokenCount": answered, "candidatesTokensDetails": details})

    def finish_reasons(self) -> list[str]:
        return ["interrupted" if self._interrupted else "turn_complete"] if self.ended else []

    def said(self) -> None:
        if self.keep and self._sound_bytes:
            self._say("user", [{"type": "blob", "mime_type": "audio/*", "size_bytes": self._sound_bytes}])
            self._sound_bytes = 0

    def output_messages(self) -> list[Message]:
        parts = self._draft.parts()
        reason = next(iter(self.finish_reasons()), None)
        return [{"role": "assistant", "parts": parts, "finish_reason": reason}] if parts else []


def _either(body: Json, name: str, other: str) -> Any:
    return body.get(name, body.get(other))
