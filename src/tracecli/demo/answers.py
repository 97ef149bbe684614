"""What the stand-in answers, in the shapes of the providers whose clients are tried with it. Pure.

Sources: https://platform.openai.com/docs/api-reference (chat, responses),
https://developers.openai.com/api/reference/resources/responses/websocket-events, https://docs.anthropic.com/en/api/messages,
https://ai.google.dev/api/generate-content, https://docs.cohere.com/reference/chat-stream,
https://docs.ollama.com/api/chat, https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ConverseStream.html
and https://smithy.io/2.0/aws/amazon-eventstream.html
"""

from __future__ import annotations

import binascii
import datetime as dt
import json
import re
import secrets
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

type Json = dict[str, Any]


@dataclass(frozen=True)
class Answer:
    """What is answered, whatever the format."""

    model: str
    text: str
    tokens_in: int
    tokens_out: int


class Format(ABC):
    """A wire format: reads what is asked, and writes an answer."""

    content_type = "text/event-stream; charset=utf-8"
    """Of a streamed answer."""

    def model(self, asked: Json, path: re.Match[str]) -> str:
        """The model that is asked for."""
        return str(asked.get("model"))

    def streams(self, asked: Json, path: re.Match[str]) -> bool:
        """Whether the answer is to come piece by piece."""
        return asked.get("stream") is True

    def prompt(self, asked: Json) -> str:
        """What was said last."""
        return _text(asked["messages"][-1]["content"])

    def is_answered(self, asked: Json) -> bool:
        """Whether the model is to say something."""
        return True

    @abstractmethod
    def whole(self, answer: Answer) -> Json:
        """The body of a plain answer."""

    @abstractmethod
    def pieces(self, answer: Answer) -> Iterator[bytes]:
        """The pieces of a streamed answer."""


def _text(content: Any) -> str:
    """The text of a message: its content is a text, or parts that have one."""
    if isinstance(content, str):
        return content
    return "\n".join(part["text"] for part in content if isinstance(part.get("text"), str))


class _Chat(Format):
    def whole(self, answer: Answer) -> Json:
        message: Json = {"role": "assistant", "content": answer.text, "refusal": None, "annotations": []}
        return {
            **self._about("chat.completion", answer),
            "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}],
            "usage": self._usage(answer),
        }

    def pieces(self, answer: Answer) -> Iterator[bytes]:
        about = self._about("chat.completion.chunk", answer)
        deltas: list[Json] = [{"role": "assistant", "content": "", "refusal": None}]
        deltas += [{"content": word} for word in _words(answer.text)]
        for delta in deltas:
            yield _data({**about, "choices": [self._choice(delta, None)], "usage": None})
        yield _data({**about, "choices": [self._choice({}, "stop")], "usage": None})
        yield _data({**about, "choices": [], "usage": self._usage(answer)})
        yield b"data: [DONE]\n\n"

    def _about(self, kind: str, answer: Answer) -> Json:
        return {
            "id": f"chatcmpl-{secrets.token_hex(12)}",
            "object": kind,
            "created": int(time.time()),
            "model": answer.model,
            "service_tier": "default",
            "system_fingerprint": "fp_0000000000",
        }

    def _choice(self, delta: Json, finish_reason: str | None) -> Json:
        return {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}

    def _usage(self, answer: Answer) -> Json:
        return {
            "prompt_tokens": answer.tokens_in,
            "completion_tokens": answer.tokens_out,
            "total_tokens": answer.tokens_in + answer.tokens_out,
            "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
        }


class _Mistral(_Chat):
    """Its client refuses a chunk whose choices are none."""

    def pieces(self, answer: Answer) -> Iterator[bytes]:
        about = self._about("chat.completion.chunk", answer)
        for word in _words(answer.text):
            yield _data({**about, "choices": [self._choice({"role": "assistant", "content": word}, None)]})
        yield _data({**about, "choices": [self._choice({"content": ""}, "stop")], "usage": self._usage(answer)})
        yield b"data: [DONE]\n\n"


class Responses(Format):
    """Its answers come over a WebSocket, too: there each event is a message."""

    def prompt(self, asked: Json) -> str:
        given = asked.get("input", "")
        return given if isinstance(given, str) else _text(given[-1].get("content", ""))

    def is_answered(self, asked: Json) -> bool:
        return asked.get("generate", True) is True  # else what follows on it is got ready, as Codex does at its start

    def whole(self, answer: Answer) -> Json:
        return self._response(answer, f"resp_{secrets.token_hex(12)}", done=True)

    def pieces(self, answer: Answer) -> Iterator[bytes]:
        return map(_named, self.events(answer))

    def events(self, answer: Answer) -> Iterator[Json]:
        """The events of an answer."""
        identifier = f"resp_{secrets.token_hex(12)}"
        begun = self._response(answer, identifier, done=False)
        place: Json = {"item_id": self._item("", "")["id"], "output_index": 0, "content_index": 0}
        events: list[Json] = [
            {"type": "response.created", "response": begun},
            {"type": "response.in_progress", "response": begun},
        ]
        if answer.text:
            events += [
                {"type": "response.output_item.added", "output_index": 0, "item": self._item("in_progress", None)},
                {"type": "response.content_part.added", **place, "part": self._part("")},
            ]
            events += [
                {"type": "response.output_text.delta", **place, "delta": word, "logprobs": []}
                for word in _words(answer.text)
            ]
            events += [
                {"type": "response.output_text.done", **place, "text": answer.text, "logprobs": []},
                {"type": "response.content_part.done", **place, "part": self._part(answer.text)},
                {"type": "response.output_item.done", "output_index": 0, "item": self._item("completed", answer.text)},
            ]
        events.append({"type": "response.completed", "response": self._response(answer, identifier, done=True)})
        for number, event in enumerate(events):
            yield event | {"sequence_number": number}

    def _part(self, text: str) -> Json:
        return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}

    def _item(self, status: str, text: str | None) -> Json:
        content = [] if text is None else [self._part(text)]
        return {"id": "msg_0", "type": "message", "status": status, "role": "assistant", "content": content}

    def _response(self, answer: Answer, identifier: str, *, done: bool) -> Json:
        usage = {
            "input_tokens": answer.tokens_in,
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": answer.tokens_out,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": answer.tokens_in + answer.tokens_out,
        }
        return {
            "id": identifier,
            "object": "response",
            "created_at": int(time.time()),
            "status": "completed" if done else "in_progress",
            "error": None,
            "incomplete_details": None,
            "instructions": None,
            "metadata": {},
            "model": answer.model,
            "output": [self._item("completed", answer.text)] if done and answer.text else [],
            "parallel_tool_calls": True,
            "temperature": 1.0,
            "text": {"format": {"type": "text"}},
            "tool_choice": "auto",
            "tools": [],
            "top_p": 1.0,
            "usage": usage if done else None,
        }


class _Messages(Format):
    def whole(self, answer: Answer) -> Json:
        return self._message(answer, answer.tokens_out) | {
            "content": [{"type": "text", "text": answer.text}],
            "stop_reason": "end_turn",
        }

    def pieces(self, answer: Answer) -> Iterator[bytes]:
        yield _named({"type": "message_start", "message": self._message(answer, 1)})
        yield _named({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}})
        yield _named({"type": "ping"})
        for word in _words(answer.text):
            delta = {"type": "text_delta", "text": word}
            yield _named({"type": "content_block_delta", "index": 0, "delta": delta})
        yield _named({"type": "content_block_stop", "index": 0})
        ending = {"stop_reason": "end_turn", "stop_sequence": None}
        yield _named({"type": "message_delta", "delta": ending, "usage": {"output_tokens": answer.tokens_out}})
        yield _named({"type": "message_stop"})

    def _message(self, answer: Answer, tokens_out: int) -> Json:
        return {
            "id": f"msg_{secrets.token_hex(12)}",
            "type": "message",
            "role": "assistant",
            "model": answer.model,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": {
                "input_tokens": answer.tokens_in,
                "cache_creation_input_tokens": 0,
                "cache_read_input_tokens": 0,
                "output_tokens": tokens_out,
                "service_tier": "standard",
            },
        }


class _Gemini(Format):
    def model(self, asked: Json, path: re.Match[str]) -> str:
        return path["model"]

    def streams(self, asked: Json, path: re.Match[str]) -> bool:
        return path["method"] == "streamGenerateContent"

    def prompt(self, asked: Json) -> str:
        return _text(asked["contents"][-1]["parts"])

    def whole(self, answer: Answer) -> Json:
        return self._part(answer, answer.text, "STOP")

    def pieces(self, answer: Answer) -> Iterator[bytes]:
        *others, last = _words(answer.text)
        for word in others:
            yield _data(self._part(answer, word, None))
        yield _data(self._part(answer, last, "STOP"))

    def _part(self, answer: Answer, text: str, finish_reason: str | None) -> Json:
        candidate: Json = {"content": {"parts": [{"text": text}], "role": "model"}, "index": 0}
        usage = {"promptTokenCount": answer.tokens_in, "totalTokenCount": answer.tokens_in}
        if finish_reason is not None:
            candidate["finishReason"] = finish_reason
            usage |= {"candidatesTokenCount": answer.tokens_out}
            usage["totalTokenCount"] += answer.tokens_out
        return {
            "candidates": [candidate],
            "usageMetadata": usage,
            "modelVersion": answer.model,
            "responseId": "stand-in",
        }


class _Cohere(Format):
    def whole(self, answer: Answer) -> Json:
        content = [{"type": "text", "text": answer.text}]
        message = {"role": "assistant", "content": content}
        return {"id": "stand-in", "finish_reason": "COMPLETE", "message": message, "usage": self._usage(answer)}

    def pieces(self, answer: Answer) -> Iterator[bytes]:
        begun = {"message": {"role": "assistant", "content": [], "tool_plan": "", "tool_calls": [], "citations": []}}
        yield _named({"type": "message-start", "id": "stand-in", "delta": begun})
        block = {"message": {"content": {"type": "text", "text": ""}}}
        yield _named({"type": "content-start", "index": 0, "delta": block})
        for word in _words(answer.text):
            delta = {"message": {"content": {"text": word}}}
            yield _named({"type": "content-delta", "index": 0, "delta": delta})
        yield _named({"type": "content-end", "index": 0})
        ended = {"finish_reason": "COMPLETE", "usage": self._usage(answer)}
        yield _named({"type": "message-end", "id": "stand-in", "delta": ended})

    def _usage(self, answer: Answer) -> Json:
        tokens = {"input_tokens": answer.tokens_in, "output_tokens": answer.tokens_out}
        return {"billed_units": tokens, "tokens": tokens}


class _Ollama(Format):
    content_type = "application/x-ndjson"

    def streams(self, asked: Json, path: re.Match[str]) -> bool:
        return asked.get("stream", True) is True

    def whole(self, answer: Answer) -> Json:
        return self._part(answer, answer.text) | {
            "done": True,
            "done_reason": "stop",
            "total_duration": 1_000_000,
            "load_duration": 1_000,
            "prompt_eval_count": answer.tokens_in,
            "prompt_eval_duration": 1_000,
            "eval_count": answer.tokens_out,
            "eval_duration": 1_000,
        }

    def pieces(self, answer: Answer) -> Iterator[bytes]:
        for word in _words(answer.text):
            yield _line(self._part(answer, word) | {"done": False})
        yield _line(self.whole(answer) | {"message": {"role": "assistant", "content": ""}})

    def _part(self, answer: Answer, text: str) -> Json:
        now = dt.datetime.now(dt.UTC).isoformat().replace("+00:00", "Z")
        return {"model": answer.model, "created_at": now, "message": {"role": "assistant", "content": text}}


class _Converse(Format):
    content_type = "application/vnd.amazon.eventstream"

    def model(self, asked: Json, path: re.Match[str]) -> str:
        return unquote(path["model"])

    def streams(self, asked: Json, path: re.Match[str]) -> bool:
        return path["method"] == "converse-stream"

    def whole(self, answer: Answer) -> Json:
        message = {"role": "assistant", "content": [{"text": answer.text}]}
        return {"output": {"message": message}, "stopReason": "end_turn", **self._ending(answer)}

    def pieces(self, answer: Answer) -> Iterator[bytes]:
        yield _frame("messageStart", {"role": "assistant"})
        for word in _words(answer.text):
            yield _frame("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": word}})
        yield _frame("contentBlockStop", {"contentBlockIndex": 0})
        yield _frame("messageStop", {"stopReason": "end_turn"})
        yield _frame("metadata", self._ending(answer))

    def _ending(self, answer: Answer) -> Json:
        total = answer.tokens_in + answer.tokens_out
        usage = {"inputTokens": answer.tokens_in, "outputTokens": answer.tokens_out, "totalTokens": total}
        return {"usage": usage, "metrics": {"latencyMs": 1}}


def _frame(kind: str, value: Json) -> bytes:
    """A message of an AWS event stream."""
    names = {":event-type": kind, ":content-type": "application/json", ":message-type": "event"}
    headers = b"".join(
        bytes([len(name)]) + name.encode() + b"\x07" + len(text).to_bytes(2) + text.encode()
        for name, text in names.items()
    )
    body = json.dumps(value).encode()
    prelude = (16 + len(headers) + len(body)).to_bytes(4) + len(headers).to_bytes(4)
    message = prelude + binascii.crc32(prelude).to_bytes(4) + headers + body
    return message + binascii.crc32(message).to_bytes(4)


FORMATS: tuple[tuple[re.Pattern[str], Format], ...] = (
    (re.compile(r"api\.mistral\.ai/v1/chat/completions"), _Mistral()),
    (re.compile(r"[^/]*(?:/openai)?/v1/chat/completions"), _Chat()),
    (re.compile(r"[^/]*/v1/responses|chatgpt\.com/backend-api/codex/responses"), Responses()),
    (re.compile(r"[^/]*/v1/messages"), _Messages()),
    (re.compile(r"[^/]*/v1(?:beta)?/models/(?P<model>[^/:]+):(?P<method>(?:g|streamG)enerateContent)"), _Gemini()),
    (re.compile(r"[^/]*/v2/chat"), _Cohere()),
    (re.compile(r"[^/]*/api/chat"), _Ollama()),
    (re.compile(r"[^/]*/model/(?P<model>[^/]+)/(?P<method>converse|converse-stream)"), _Converse()),
)
"""By host and path, without the query."""


def _line(value: Json) -> bytes:
    return json.dumps(value).encode() + b"\n"


def _data(value: Json) -> bytes:
    return b"data: " + _line(value) + b"\n"


def _named(value: Json) -> bytes:
    return f"event: {value['type']}\n".encode() + _data(value)


def _words(text: str) -> list[str]:
    """The text in pieces of a word, each with the space before it."""
    first, *rest = text.split(" ")
    return [first, *(f" {word}" for word in rest)]
