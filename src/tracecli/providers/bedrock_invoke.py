"""Bedrock's InvokeModel: each model in its maker's own format, the bytes of a stream wrapped in Amazon's event stream.

https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_InvokeModel.html
https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_InvokeModelWithResponseStream.html

Tokens that a model does not count itself, Bedrock counts: in headers, or at the end of a stream.
"""

from __future__ import annotations

import binascii

from tracecli.exchange import Headers, Message, Usage
from tracecli.providers.anthropic_messages import AnthropicMessages
from tracecli.providers.bedrock_converse import BedrockConverse, asked_for_stream, asked_model, usage_of
from tracecli.providers.openai_chat import OpenAIChat
from tracecli.providers.reader import Reader
from tracecli.providers.text_completion import TextCompletion
from tracecli.providers.values import Json, obj, parse, text

_COUNT_HEADERS = {
    "x-amzn-bedrock-input-token-count": "inputTokens",
    "x-amzn-bedrock-output-token-count": "outputTokens",
    "x-amzn-bedrock-cache-read-input-token-count": "cacheReadInputTokens",
    "x-amzn-bedrock-cache-write-input-token-count": "cacheWriteInputTokens",
}
_METRICS = "amazon-bedrock-invocationMetrics"


class BedrockInvoke(Reader):
    """Reads `/model/{id}/invoke` and `/model/{id}/invoke-with-response-stream` by the reader of the model's format."""

    def __init__(self, provider: str, path: str, keep: bool) -> None:
        super().__init__(provider, path, keep)
        self.request_model = asked_model(path)
        self.stream = asked_for_stream(path)
        self._counted: Json = {}
        self._model = self._reader({})

    def _reader(self, body: Json) -> Reader:
        """The reader for a model: by its name, and for models of one's own by what is asked of it."""
        name = self.request_model or ""
        made: type[Reader] = TextCompletion
        if "anthropic_version" in body or ("anthropic." in name and "prompt" not in body):
            made = AnthropicMessages
        elif "amazon.nova" in name and "embed" not in name:
            made = BedrockConverse
        elif "messages" in body:
            made = OpenAIChat
        return made(self.provider, self.path, self.keep)

    def request(self, body: Json) -> None:
        self._model = self._reader(body)
        self._model.request(body)
        self.input_messages = self._model.input_messages
        self.claimed_user, self.session = self._model.claimed_user, self._model.session

    def head(self, headers: Headers) -> None:
        for name, value in headers:
            key = _COUNT_HEADERS.get(name.lower())
            if key and value.isascii() and value.isdigit():
                self._counted[key] = int(value)

    def answer(self, body: Json) -> bool:
        return self._told(self._model.answer(body))

    def event(self, event: str, body: Json) -> bool:
        chunk = _unwrapped(body)
        metrics = obj(chunk.pop(_METRICS, None))
        if metrics:
            self._counted |= {name.replace("Count", "s"): value for name, value in metrics.items()}
        if isinstance(self._model, BedrockConverse):
            understood = [self._model.event(name, obj(value)) for name, value in chunk.items()]
            return self._told(any(understood))
        understood_one = self._model.event(text(chunk.get("type")) or "", chunk)
        self._model.ended = self._model.ended or bool(metrics)
        return self._told(understood_one)

    def _told(self, understood: bool) -> bool:
        model = self._model
        self.response_model, self.response_id = model.response_model, model.response_id
        self.service_tier = model.service_tier
        self.started, self.ended, self.failed = model.started, model.ended, self.failed or model.failed
        self.error = self.error or model.error
        return understood

    def usage(self) -> Usage | None:
        return self._model.usage() or usage_of(self._counted)

    def finish_reasons(self) -> list[str]:
        return self._model.finish_reasons()

    def output_messages(self) -> list[Message]:
        return self._model.output_messages()


def _unwrapped(body: Json) -> Json:
    """The model's own JSON in a chunk, which carries it as base64."""
    try:
        return obj(parse(binascii.a2b_base64(text(body.get("bytes")) or "")))
    except ValueError:  # binascii.Error is one too
        return {}
