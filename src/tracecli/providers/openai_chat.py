"""Chat completions, as OpenAI defined them and many others speak them.

https://platform.openai.com/docs/api-reference/chat and, for what others add:
https://openrouter.ai/docs/api-reference/overview  https://console.groq.com/docs/api-reference
https://docs.mistral.ai/api  https://api-docs.deepseek.com/api/create-chat-completion
https://docs.perplexity.ai/api-reference  https://docs.x.ai/docs/api-reference  https://docs.together.ai/reference

A whole answer is folded as if it were a stream of one chunk, with `message` in the place of `delta`.
"""

from __future__ import annotations

from typing import Any

from tracecli.exchange import Message, Usage
from tracecli.providers.openai_common import claimed_user, part_of, parts_of, reported_cost, session, usage_of
from tracecli.providers.reader import Draft, Growing, Reader
from tracecli.providers.text_completion import prompts
from tracecli.providers.values import Json, blob, count, obj, objects, parsed_or_text, text


class OpenAIChat(Reader):
    """Reads `/chat/completions`."""

    def __init__(self, provider: str, path: str, keep: bool) -> None:
        super().__init__(provider, path, keep)
        self._usage: Json = {}
        self._choices: dict[int, _Choice] = {}

    def request(self, body: Json) -> None:
        super().request(body)
        self.stream = body.get("stream") is True
        self.claimed_user = claimed_user(body)
        self.session = session(body)
        if self.keep:
            self.input_messages = [_message(message) for message in objects(body.get("messages"))]

    def answer(self, body: Json) -> bool:
        return self._chunk(body)

    def event(self, event: str, body: Json) -> bool:
        if body.get("error"):
            self.fail(body)
        return self._chunk(body) or self.failed

    def _chunk(self, body: Json) -> bool:
        # Azure's first chunk names neither id nor model; OpenRouter's later ones may name another model.
        self.response_id = self.response_id or text(body.get("id"))
        self.response_model = self.response_model or text(body.get("model"))
        self.service_tier = text(body.get("service_tier")) or self.service_tier
        # Groq puts the usage of a stream under its own name; Mistral and others on a chunk that has choices too.
        usage = obj(body.get("usage")) or ("x_groq" in body and obj(obj(body["x_groq"]).get("usage")))
        if usage:
            self._usage = usage
            self.reported_cost_usd = reported_cost(self.provider, usage)
        choices = body.get("choices")
        for position, choice in enumerate(objects(choices)):
            index = count(choice.get("index"))
            self._choice(position if index is None else index, choice)
        return isinstance(choices, list)

    def _choice(self, index: int, body: Json) -> None:
        choice = self._choices.get(index)
        if choice is None:
            choice = self._choices[index] = _Choice()
        choice.finish_reason = text(body.get("finish_reason")) or choice.finish_reason
        if body.get("error"):
            self.fail(body)
        delta = body.get("delta")
        # Perplexity sends the message so far beside each delta.
        message = delta if isinstance(delta, dict) else obj(body.get("message"))
        if "text" in body:
            message = {"content": body["text"]}
        self.started = self.started or any(message.get(name) for name in _GENERATED)
        if self.keep:
            choice.fold(message)

    def usage(self) -> Usage | None:
        return usage_of(self._usage)

    def finish_reasons(self) -> list[str]:
        return [choice.finish_reason for _, choice in sorted(self._choices.items()) if choice.finish_reason]

    def output_messages(self) -> list[Message]:
        return [choice.message() for _, choice in sorted(self._choices.items())] if self.keep else []


class OpenAICompletions(OpenAIChat):
    """Reads `/completions`, the older text in, text out: https://platform.openai.com/docs/api-reference/completions"""

    def request(self, body: Json) -> None:
        super().request(body)
        if self.keep:
            self.input_messages = prompts(body.get("prompt"))


_GENERATED = (
    "content", "reasoning_content", "reasoning", "reasoning_details", "refusal", "tool_calls", "function_call", "audio",
    "images",
)  # fmt: skip
_TEXT = {"role", "content"}


class _Choice:
    """One choice: its message, put together from deltas."""

    def __init__(self) -> None:
        self.finish_reason: str | None = None
        self._draft = Draft()
        self._calls: dict[int | str, Growing] = {}
        self._last_call: Growing | None = None
        self._audio: list[str] = []

    def fold(self, delta: Json) -> None:
        if delta.keys() <= _TEXT:  # nearly every delta
            self._content(delta.get("content"))
            return
        self._reasoning(delta)
        self._content(delta.get("content"))
        if refusal := text(delta.get("refusal")):
            self._draft.say("refusal", refusal)
        for call in objects(delta.get("tool_calls")):
            self._tool_call(call)
        if function := obj(delta.get("function_call")):
            self._tool_call({"index": 0, "function": function})
        self._speech(obj(delta.get("audio")))
        for image in objects(delta.get("images")):
            self._draft.add(part_of(image))

    def _reasoning(self, delta: Json) -> None:
        """vLLM and DeepSeek say `reasoning_content`, OpenRouter and Groq `reasoning`, some both with the same text."""
        piece = text(delta.get("reasoning_content")) or text(delta.get("reasoning"))
        if piece is None:
            details = objects(delta.get("reasoning_details"))
            piece = "".join(text(detail.get("text")) or text(detail.get("summary")) or "" for detail in details)
        if piece:
            self._draft.say("reasoning", piece)

    def _content(self, content: Any) -> None:
        if isinstance(content, str):
            if content:
                self._draft.say("text", content)
            return
        for part in parts_of(content):  # Mistral
            if part["type"] in ("text", "reasoning"):
                self._draft.say(part["type"], part["content"])
            else:
                self._draft.add(part)

    def _tool_call(self, body: Json) -> None:
        function = obj(body.get("function")) or obj(body.get("custom"))
        name, identifier = text(function.get("name")), text(body.get("id"))
        call = self._call(count(body.get("index")), identifier, name)
        call.part["name"] = call.part["name"] or name
        call.part["id"] = call.part["id"] or identifier
        arguments = function.get("arguments", function.get("input"))
        if isinstance(arguments, str):
            call.pieces.append(arguments)
        elif arguments is not None:
            call.part["arguments"] = arguments

    def _call(self, index: int | None, identifier: str | None, name: str | None) -> Growing:
        """The call that a piece goes on with, or a new one.

        OpenAI numbers the calls of a stream. Mistral and whole answers do not; Gemini's compatible endpoint numbers
        all of them 0: there the id tells them apart, and what names neither goes on with the last one.
        """
        key = identifier if index is None else index
        call = self._last_call if key is None and not name else self._calls.get(key) if key is not None else None
        if call is None or (identifier and call.part["id"] not in (None, identifier)):
            call = self._draft.add({"type": "tool_call", "id": identifier, "name": name})
            if key is not None:
                self._calls[key] = call
        self._last_call = call
        return call

    def _speech(self, audio: Json) -> None:
        if transcript := text(audio.get("transcript")):
            self._draft.say("text", transcript)
        if data := text(audio.get("data")):
            self._audio.append(data)

    def message(self) -> Message:
        parts = self._draft.parts()
        if self._audio:
            parts.append(blob("".join(self._audio), "audio/*"))
        return {"role": "assistant", "parts": parts, "finish_reason": self.finish_reason}


def _message(body: Json) -> Message:
    """An input message. A tool's answer is a part of its own; so are the calls of an earlier answer."""
    parts = parts_of(body.get("content"))
    if reasoning := text(body.get("reasoning_content")) or text(body.get("reasoning")):
        parts.insert(0, {"type": "reasoning", "content": reasoning})
    role = text(body.get("role")) or "user"
    if role in ("tool", "function"):
        content = body.get("content")
        response = content if isinstance(content, str) else parts
        return {"role": "tool", "parts": [{"type": "tool_call_response", "id": _id(body), "response": response}]}
    for call in objects(body.get("tool_calls")):
        parts.append(_past_call(text(call.get("id")), obj(call.get("function")) or obj(call.get("custom"))))
    if function := obj(body.get("function_call")):
        parts.append(_past_call(None, function))
    return {"role": role, "parts": parts} | ({"name": name} if (name := text(body.get("name"))) else {})


def _id(body: Json) -> str | None:
    return text(body.get("tool_call_id")) or text(body.get("name"))


def _past_call(identifier: str | None, function: Json) -> Json:
    arguments = parsed_or_text(function.get("arguments", function.get("input")))
    return {"type": "tool_call", "id": identifier, "name": text(function.get("name")), "arguments": arguments}
