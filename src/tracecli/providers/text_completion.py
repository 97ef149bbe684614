"""Texts that go on with a prompt: what came before chat, in the many shapes it has, and vectors of texts.

Anthropic: https://docs.claude.com/en/api/complete
On Bedrock: https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters.html, for Titan, Llama, Mistral,
Cohere's Command and Embed, AI21's Jurassic
Cohere: https://docs.cohere.com/v1/reference/generate

A stream is a sequence of answers, each with the next piece.
"""

from __future__ import annotations

from typing import Any

from tracecli.exchange import Message, Usage
from tracecli.providers.reader import Draft, Reader
from tracecli.providers.values import Json, count, first_count, obj, objects, text

_LISTS = ("results", "generations", "completions", "outputs")
_TEXTS = ("outputText", "generation", "completion", "text")
_REASONS = ("completionReason", "stop_reason", "finish_reason")
_VECTORS = ("embedding", "embeddings", "embeddingsByType")


class TextCompletion(Reader):
    """Reads the older models' text in, text out."""

    def __init__(self, provider: str, path: str, keep: bool) -> None:
        super().__init__(provider, path, keep)
        self._input_tokens: int | None = None
        self._output_tokens: int | None = None
        self._texts: dict[int, _Text] = {}

    def request(self, body: Json) -> None:
        super().request(body)
        self.stream = body.get("stream") is True
        self.claimed_user = text(obj(body.get("metadata")).get("user_id"))
        if self.keep:
            given = next((body[name] for name in ("prompt", "inputText", "texts") if name in body), None)
            self.input_messages = prompts(given)

    def answer(self, body: Json) -> bool:
        self.response_model = text(body.get("model")) or self.response_model
        self.response_id = text(body.get("id")) or text(body.get("log_id")) or self.response_id
        items = _items(body)
        for position, item in enumerate(items):
            index = count(item.get("index"))
            self._text(position if index is None else index, item)
        self._count(body, items)
        self.ended = self.ended or any(one.finish_reason for one in self._texts.values())
        return any(name in body for name in (*_LISTS, *_TEXTS, *_REASONS, *_VECTORS))

    def event(self, event: str, body: Json) -> bool:
        if event == "error" or body.get("error"):
            self.fail(body)
            return True
        return self.answer(body) or event == "ping"

    def _text(self, index: int, item: Json) -> None:
        piece = next((value for name in _TEXTS if (value := text(item.get(name)))), None)
        piece = piece or text(obj(item.get("data")).get("text"))  # AI21
        reason = next((value for name in _REASONS if (value := text(item.get(name)))), None)
        reason = reason or text(obj(item.get("finishReason")).get("reason"))
        if piece is None and reason is None:
            return
        told = self._texts.setdefault(index, _Text())
        told.finish_reason = reason or told.finish_reason
        self.started = self.started or piece is not None
        if self.keep and piece:
            told.draft.say("text", piece)

    def _count(self, body: Json, items: list[Json]) -> None:
        """Titan and Llama count; the others leave it to headers, or to nobody."""
        given = first_count(body.get("inputTextTokenCount"), body.get("prompt_token_count"))
        self._input_tokens = self._input_tokens if given is None else given
        made = first_count(body.get("totalOutputTextTokenCount"), body.get("generation_token_count"))
        counts = [found for item in items if (found := count(item.get("tokenCount"))) is not None]
        made = sum(counts) if made is None and counts else made
        self._output_tokens = self._output_tokens if made is None else made

    def usage(self) -> Usage | None:
        if self._input_tokens is None and self._output_tokens is None:
            return None
        return Usage(input_tokens=self._input_tokens, output_tokens=self._output_tokens)

    def finish_reasons(self) -> list[str]:
        return [told.finish_reason for _, told in sorted(self._texts.items()) if told.finish_reason]

    def output_messages(self) -> list[Message]:
        if not self.keep:
            return []
        return [
            {"role": "assistant", "parts": told.draft.parts(), "finish_reason": told.finish_reason}
            for _, told in sorted(self._texts.items())
        ]


class _Text:
    def __init__(self) -> None:
        self.draft = Draft()
        self.finish_reason: str | None = None


def prompts(given: Any) -> list[Message]:
    """A prompt, or several, as messages of the user; lists of token numbers say nothing."""
    many = given if isinstance(given, list) else [given]
    return [
        {"role": "user", "parts": [{"type": "text", "content": one}]} for one in many if isinstance(one, str) and one
    ]


def _items(body: Json) -> list[Json]:
    for name in _LISTS:
        if isinstance(body.get(name), list):
            return objects(body[name])
    return [body]
