"""Ollama's own API: https://docs.ollama.com/api

A stream, which is the default, is one answer a line, each with the next piece.
"""

from __future__ import annotations

from tracecli.exchange import Message, Usage
from tracecli.providers.reader import Draft, Reader
from tracecli.providers.values import Json, array, blob, count, obj, objects, text


class Ollama(Reader):
    """Reads `/api/chat`, `/api/generate`, `/api/embed` and `/api/embeddings`."""

    def __init__(self, provider: str, path: str, keep: bool) -> None:
        super().__init__(provider, path, keep)
        self._counts: Json = {}
        self._done_reason: str | None = None
        self._draft = Draft()
        self._embeds = "/embed" in path

    def request(self, body: Json) -> None:
        super().request(body)
        self.stream = body.get("stream") is not False and not self._embeds
        if not self.keep:
            return
        if system := text(body.get("system")):
            self.input_messages.append({"role": "system", "parts": [{"type": "text", "content": system}]})
        for message in objects(body.get("messages")):
            self.input_messages.append(_message(message))
        given = body.get("prompt", body.get("input"))
        prompt = [{"type": "text", "content": one} for one in ([given] if isinstance(given, str) else array(given))]
        if prompt or body.get("images"):
            self.input_messages.append({"role": "user", "parts": prompt + _images(body)})

    def answer(self, body: Json) -> bool:
        self.response_model = text(body.get("model")) or self.response_model
        message = obj(body.get("message"))
        for part_type, piece in (
            ("reasoning", text(message.get("thinking")) or text(body.get("thinking"))),
            ("text", text(message.get("content")) or text(body.get("response"))),
        ):
            if piece:
                self.started = True
                if self.keep:
                    self._draft.say(part_type, piece)
        for call in objects(message.get("tool_calls")):
            self.started = True
            if self.keep:
                self._draft.add(_call(call))
        if "prompt_eval_count" in body or "eval_count" in body:
            self._counts = body
        if body.get("done") is True:
            self.ended = True
            self._done_reason = text(body.get("done_reason"))
        return any(name in body for name in ("message", "response", "embeddings", "embedding"))

    def event(self, event: str, body: Json) -> bool:
        if body.get("error"):
            self.fail(body)
        return self.answer(body) or self.failed

    def usage(self) -> Usage | None:
        """The prompt's count is left out where all of it was in the cache of the process."""
        given, made = count(self._counts.get("prompt_eval_count")), count(self._counts.get("eval_count"))
        return None if given is None and made is None else Usage(input_tokens=given, output_tokens=made)

    def finish_reasons(self) -> list[str]:
        return [self._done_reason] if self._done_reason else []

    def output_messages(self) -> list[Message]:
        parts = self._draft.parts()
        return [{"role": "assistant", "parts": parts, "finish_reason": self._done_reason}] if parts else []


def _message(message: Json) -> Message:
    role = text(message.get("role")) or "user"
    content = text(message.get("content"))
    if role == "tool":
        name = text(message.get("tool_name"))
        return {"role": role, "parts": [{"type": "tool_call_response", "id": name, "response": content}]}
    parts: list[Json] = []
    if thinking := text(message.get("thinking")):
        parts.append({"type": "reasoning", "content": thinking})
    if content:
        parts.append({"type": "text", "content": content})
    parts += _images(message)
    return {"role": role, "parts": parts + [_call(call) for call in objects(message.get("tool_calls"))]}


def _images(body: Json) -> list[Json]:
    return [blob(image, "image/*") for image in array(body.get("images")) if isinstance(image, str)]


def _call(call: Json) -> Json:
    function = obj(call.get("function"))
    name, arguments = text(function.get("name")), function.get("arguments")
    return {"type": "tool_call", "id": text(call.get("id")), "name": name, "arguments": arguments}
