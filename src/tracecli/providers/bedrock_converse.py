"""Bedrock's Converse, whole and streamed; Amazon's Nova models speak the same when they are invoked directly.

https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html
https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ConverseStream.html

Its input tokens leave cached ones out; here they are added, as everywhere in tracecli. Answers do not name a model.
"""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import unquote

from tracecli.exchange import Message, Usage
from tracecli.providers.reader import Growing, Reader
from tracecli.providers.values import Json, blob, count, first_count, obj, objects, text, unknown_part

_MODEL = re.compile(r"/model/(?P<model>[^?]+)/(?P<verb>[a-z-]+)(\?|$)")
_MEDIA = {"image": "image", "video": "video", "audio": "audio", "document": "application"}


def asked_model(path: str) -> str | None:
    """The model id, or the ARN of a model or profile, in the path of any call to a model."""
    match = _MODEL.search(path)
    return unquote(match["model"]) if match else None


def asked_for_stream(path: str) -> bool:
    """Whether the path asks for a stream."""
    match = _MODEL.search(path)
    return match is not None and match["verb"] in ("converse-stream", "invoke-with-response-stream")


class BedrockConverse(Reader):
    """Reads `/model/{id}/converse` and `/model/{id}/converse-stream`."""

    def __init__(self, provider: str, path: str, keep: bool) -> None:
        super().__init__(provider, path, keep)
        self.request_model = asked_model(path)
        self.stream = asked_for_stream(path)
        self._usage: Json = {}
        self._stop_reason: str | None = None
        self._blocks: dict[int, Growing] = {}

    def request(self, body: Json) -> None:
        if self.keep:
            system = _parts(body.get("system"))
            self.input_messages = [{"role": "system", "parts": system}] if system else []
            for message in objects(body.get("messages")):
                role = text(message.get("role")) or "user"
                self.input_messages.append({"role": role, "parts": _parts(message.get("content"))})

    def answer(self, body: Json) -> bool:
        message = obj(obj(body.get("output")).get("message"))
        if self.keep:
            self._blocks = {index: Growing(part) for index, part in enumerate(_parts(message.get("content")))}
        self._stop_reason = text(body.get("stopReason")) or self._stop_reason
        self._metadata(body)
        return "stopReason" in body or bool(message)

    def event(self, event: str, body: Json) -> bool:
        index = count(body.get("contentBlockIndex")) or 0
        match event:
            case "contentBlockStart":
                self._begin(index, obj(body.get("start")))
            case "contentBlockDelta":
                self._continue(index, obj(body.get("delta")))
            case "messageStop":
                self._stop_reason = text(body.get("stopReason")) or self._stop_reason
            case "metadata":
                self._metadata(body)
                self.ended = True
            case "messageStart" | "contentBlockStop":
                pass
            case _:
                return False
        return True

    def _metadata(self, body: Json) -> None:
        self._usage = obj(body.get("usage")) or self._usage
        self.service_tier = text(obj(body.get("serviceTier")).get("type")) or self.service_tier

    def _begin(self, index: int, start: Json) -> None:
        self.started = self.started or "toolUse" in start
        if self.keep:
            for part in _parts([start]):
                self._blocks[index] = Growing(part)

    def _continue(self, index: int, delta: Json) -> None:
        for kind, value in (
            ("text", delta.get("text")),
            ("reasoning", obj(delta.get("reasoningContent")).get("text")),
            ("tool_call", obj(delta.get("toolUse")).get("input")),
        ):
            if piece := text(value):
                self.started = True
                if self.keep:
                    part = {"type": kind} | ({"id": None, "name": None} if kind == "tool_call" else {})
                    self._blocks.setdefault(index, Growing(part)).pieces.append(piece)

    def usage(self) -> Usage | None:
        return usage_of(self._usage)

    def finish_reasons(self) -> list[str]:
        return [self._stop_reason] if self._stop_reason else []

    def output_messages(self) -> list[Message]:
        parts = [block.whole() for _, block in sorted(self._blocks.items())]
        return [{"role": "assistant", "parts": parts, "finish_reason": self._stop_reason}] if parts else []


def usage_of(raw: Json) -> Usage | None:
    """Token counts. https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_TokenUsage.html"""
    fresh, output = count(raw.get("inputTokens")), count(raw.get("outputTokens"))
    if fresh is None and output is None:
        return None
    read = first_count(raw.get("cacheReadInputTokens"), raw.get("cacheReadInputTokenCount"))
    written = first_count(raw.get("cacheWriteInputTokens"), raw.get("cacheWriteInputTokenCount"))
    for_an_hour = [
        count(detail.get("inputTokens")) or 0
        for detail in objects(raw.get("cacheDetails"))
        if detail.get("ttl") == "1h"
    ]
    return Usage(
        input_tokens=None if fresh is None else fresh + (read or 0) + (written or 0),
        output_tokens=output,
        cache_read_input_tokens=read,
        cache_creation_input_tokens=written,
        cache_creation_1h_input_tokens=sum(for_an_hour) if for_an_hour else None,
    )


def _parts(content: Any) -> list[Json]:
    """The parts for content blocks; cache points are none.

    https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ContentBlock.html
    """
    return [part for block in objects(content) if (part := _part(block)) is not None]


def _part(block: Json) -> Json | None:
    if "text" in block:
        return {"type": "text", "content": text(block["text"]) or ""}
    if call := obj(block.get("toolUse")):
        part_type = "server_tool_call" if call.get("type") == "server_tool_use" else "tool_call"
        name, arguments = text(call.get("name")), call.get("input")
        return {"type": part_type, "id": text(call.get("toolUseId")), "name": name, "arguments": arguments}
    if answer := obj(block.get("toolResult")):
        response = [_result(item) for item in objects(answer.get("content"))]
        part = {"type": "tool_call_response", "id": text(answer.get("toolUseId")), "response": response}
        return part | ({"is_error": True} if answer.get("status") == "error" else {})
    if reasoning := obj(block.get("reasoningContent")):
        thought = text(obj(reasoning.get("reasoningText")).get("text"))
        redacted = {"redacted": True} if "redactedContent" in reasoning else {}
        return {"type": "reasoning", "content": thought or ""} | redacted
    for kind in _MEDIA:
        if media := obj(block.get(kind)):
            return _source(kind, media)
    if guarded := obj(obj(block.get("guardContent")).get("text")):
        return {"type": "text", "content": text(guarded.get("text")) or ""}
    if cited := obj(block.get("citationsContent")):
        return {
            "type": "text",
            "content": "".join(text(one.get("text")) or "" for one in objects(cited.get("content"))),
        }
    kind = next(iter(block), "unknown")
    return None if kind == "cachePoint" else unknown_part({"type": kind})


def _result(item: Json) -> Any:
    """One item of a tool's answer: JSON as it is, else a part."""
    return item["json"] if "json" in item else _part(item)


def _source(kind: str, media: Json) -> Json:
    source = obj(media.get("source"))
    mime_type = f"{_MEDIA[kind]}/{text(media.get('format')) or '*'}"
    if data := text(source.get("bytes")):
        return blob(data, mime_type)
    return {"type": "uri", "uri": text(obj(source.get("s3Location")).get("uri")), "mime_type": mime_type}
