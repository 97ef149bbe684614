"""Google's generateContent, at the Gemini API and at Vertex AI.

https://ai.google.dev/api/generate-content
https://cloud.google.com/vertex-ai/docs/reference/rest/v1/projects.locations.endpoints/generateContent

A stream is a sequence of answers, each with the next pieces; the last `usageMetadata` counts. Requests may be written
in camelCase or snake_case.
"""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import unquote

from tracecli.exchange import Message, Usage
from tracecli.providers.reader import Draft, Reader
from tracecli.providers.values import Json, blob, count, obj, objects, text

_MODEL = re.compile(r"/(?P<model>[^/:?]+):\w+")

# Older Vertex clients ask for enums as integers (`$alt=json;enum-encoding=int`).
# https://cloud.google.com/vertex-ai/generative-ai/docs/reference/rpc/google.cloud.aiplatform.v1#finishreason
_FINISH_REASONS = (
    "FINISH_REASON_UNSPECIFIED", "STOP", "MAX_TOKENS", "SAFETY", "RECITATION", "OTHER", "BLOCKLIST",
    "PROHIBITED_CONTENT", "SPII", "MALFORMED_FUNCTION_CALL",
)  # fmt: skip
_IMAGE = ("IMAGE", 2)
_AUDIO = ("AUDIO", 4)


def asked_model(path: str) -> str | None:
    """The model in the path of any call to a model."""
    match = _MODEL.search(path)
    return unquote(match["model"]) if match else None


class Gemini(Reader):
    """Reads `:generateContent` and `:streamGenerateContent`."""

    array_streams = True

    def __init__(self, provider: str, path: str, keep: bool) -> None:
        super().__init__(provider, path, keep)
        self._usage: Json = {}
        self._block_reason: str | None = None
        self._candidates: dict[int, _Candidate] = {}
        self._unfinished = 0
        self.request_model = asked_model(path)
        self.stream = ":stream" in path

    def request(self, body: Json) -> None:
        if self.keep:
            system = parts_of(_either(body, "systemInstruction", "system_instruction"))
            self.input_messages = [{"role": "system", "parts": system}] if system else []
            contents = body.get("contents")
            for content in objects(contents) or [obj(contents)]:
                if parts := parts_of(content):
                    self.input_messages.append({"role": role_of(content), "parts": parts})

    def answer(self, body: Json) -> bool:
        self.response_id = text(body.get("responseId")) or self.response_id
        self.response_model = text(body.get("modelVersion")) or self.response_model
        usage = obj(body.get("usageMetadata"))
        if usage:
            self._usage = usage
            self.service_tier = _tier(usage) or self.service_tier
        self._block_reason = text(obj(body.get("promptFeedback")).get("blockReason")) or self._block_reason
        for position, candidate in enumerate(objects(body.get("candidates"))):
            index = count(candidate.get("index"))
            self._candidate(position if index is None else index, candidate)
        self.ended = bool(self._block_reason or self._candidates) and not self._unfinished
        return "candidates" in body or "usageMetadata" in body or "promptFeedback" in body

    def event(self, event: str, body: Json) -> bool:
        if body.get("error"):
            self.fail(body)
        return self.answer(body) or self.failed

    def _candidate(self, index: int, body: Json) -> None:
        candidate = self._candidates.get(index)
        if candidate is None:
            candidate = self._candidates[index] = _Candidate()
            self._unfinished += 1
        if reason := _finish_reason(body.get("finishReason")):
            self._unfinished -= candidate.finish_reason is None
            candidate.finish_reason = reason
        for part in parts_of(body.get("content")):
            self.started = self.started or part["type"] not in ("text", "reasoning") or bool(part["content"])
            if self.keep:
                candidate.add(part)

    def usage(self) -> Usage | None:
        return usage_of(self._usage)

    def finish_reasons(self) -> list[str]:
        reasons = [candidate.finish_reason for _, candidate in sorted(self._candidates.items())]
        return [reason for reason in reasons or [self._block_reason] if reason]

    def output_messages(self) -> list[Message]:
        if not self.keep:
            return []
        return [
            {"role": "assistant", "parts": candidate.draft.parts(), "finish_reason": candidate.finish_reason}
            for _, candidate in sorted(self._candidates.items())
        ]


class GoogleEmbeddings(Reader):
    """Reads `:embedContent`, `:batchEmbedContents` and, at Vertex AI, `:predict` of embedding models.

    https://ai.google.dev/api/embeddings
    https://cloud.google.com/vertex-ai/generative-ai/docs/model-reference/text-embeddings-api
    """

    def __init__(self, provider: str, path: str, keep: bool) -> None:
        super().__init__(provider, path, keep)
        self.request_model = asked_model(path)
        self._usage: Usage | None = None

    def request(self, body: Json) -> None:
        if not self.keep:
            return
        contents = [request.get("content") for request in objects(body.get("requests"))] or [body.get("content")]
        contents += [instance.get("content") for instance in objects(body.get("instances"))]
        parts = [part for content in contents for part in parts_of(content)]
        self.input_messages = [{"role": "user", "parts": parts}] if parts else []

    def answer(self, body: Json) -> bool:
        self._usage = usage_of(obj(body.get("usageMetadata")))
        counts = [
            number
            for prediction in objects(body.get("predictions"))
            if (number := count(obj(obj(prediction.get("embeddings")).get("statistics")).get("token_count")))
            is not None
        ]
        if counts:
            self._usage = Usage(input_tokens=sum(counts))
        return any(name in body for name in ("embedding", "embeddings", "predictions"))

    def usage(self) -> Usage | None:
        return self._usage


class _Candidate:
    def __init__(self) -> None:
        self.draft = Draft()
        self.finish_reason: str | None = None

    def add(self, part: Json) -> None:
        if part["type"] not in ("text", "reasoning"):
            self.draft.add(part)
        elif part["content"]:
            self.draft.say(part["type"], part["content"])


def usage_of(raw: Json) -> Usage | None:
    """Token counts: tools' results count as input and thoughts as output, as they are charged.

    https://ai.google.dev/api/generate-content#UsageMetadata
    """
    prompt, tool_use = count(raw.get("promptTokenCount")), count(raw.get("toolUsePromptTokenCount"))
    candidates, thoughts = count(raw.get("candidatesTokenCount")), count(raw.get("thoughtsTokenCount"))
    if prompt is None and candidates is None:
        return None
    input_tokens = None if prompt is None else prompt + (tool_use or 0)
    output_tokens = None if candidates is None and thoughts is None else (candidates or 0) + (thoughts or 0)
    if output_tokens is None and input_tokens and count(raw.get("totalTokenCount")) == input_tokens:
        output_tokens = 0  # a blocked answer
    return Usage(
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        cache_read_input_tokens=count(raw.get("cachedContentTokenCount")),
        reasoning_output_tokens=thoughts,
        input_audio_tokens=_of_modality(_AUDIO, raw.get("promptTokensDetails")),
        output_audio_tokens=_of_modality(_AUDIO, raw.get("candidatesTokensDetails")),
        cache_read_audio_tokens=_of_modality(_AUDIO, raw.get("cacheTokensDetails")),
        input_image_tokens=_of_modality(_IMAGE, raw.get("promptTokensDetails")),
        output_image_tokens=_of_modality(_IMAGE, raw.get("candidatesTokensDetails")),
    )


def _of_modality(names: tuple[str, int], details: Any) -> int | None:
    return next((count(one.get("tokenCount")) for one in objects(details) if one.get("modality") in names), None)


def _tier(usage: Json) -> str | None:
    """The Gemini API's tier; Vertex tells the same by the type of traffic.

    https://cloud.google.com/vertex-ai/generative-ai/docs/reference/rest/v1/GenerateContentResponse#TrafficType
    """
    traffic = text(usage.get("trafficType")) or ""
    return text(usage.get("serviceTier")) or traffic.lower().removeprefix("on_demand_") or None


def _finish_reason(value: Any) -> str | None:
    number = count(value)
    if number is None:
        return text(value)
    return _FINISH_REASONS[number] if number < len(_FINISH_REASONS) else str(number)


def _either(body: Json, name: str, other: str) -> Any:
    return body.get(name, body.get(other))


def role_of(content: Json) -> str:
    """The role of a turn, in OpenTelemetry's words."""
    role = text(content.get("role")) or "user"
    return {"model": "assistant", "function": "tool"}.get(role, role)


def parts_of(content: Any) -> list[Json]:
    """The parts of a turn, or of a plain text."""
    if isinstance(content, str):
        return [{"type": "text", "content": content}]
    return [_part(part) for part in objects(obj(content).get("parts"))]


def _part(part: Json) -> Json:
    """One part. https://ai.google.dev/api/caching#Part"""
    if call := obj(_either(part, "functionCall", "function_call")):
        name, arguments = text(call.get("name")), call.get("args")
        return {"type": "tool_call", "id": text(call.get("id")), "name": name, "arguments": arguments}
    if answer := obj(_either(part, "functionResponse", "function_response")):
        identifier = text(answer.get("id")) or text(answer.get("name"))
        return {"type": "tool_call_response", "id": identifier, "response": answer.get("response")}
    if data := obj(_either(part, "inlineData", "inline_data")):
        return blob(text(data.get("data")) or "", text(_either(data, "mimeType", "mime_type")))
    if file := obj(_either(part, "fileData", "file_data")):
        mime_type = text(_either(file, "mimeType", "mime_type"))
        return {"type": "uri", "uri": text(_either(file, "fileUri", "file_uri")), "mime_type": mime_type}
    if code := obj(_either(part, "executableCode", "executable_code")):
        arguments = {"language": code.get("language"), "code": code.get("code")}
        return _server_call(code, "code_execution", arguments)
    if result := obj(_either(part, "codeExecutionResult", "code_execution_result")):
        response = {"outcome": result.get("outcome"), "output": result.get("output")}
        return {"type": "server_tool_call_response", "id": text(result.get("id")), "response": response}
    if call := obj(_either(part, "toolCall", "tool_call")):
        return _server_call(call, text(_either(call, "toolType", "tool_type")), call.get("args"))
    if answer := obj(_either(part, "toolResponse", "tool_response")):
        identifier = text(answer.get("id"))
        return {"type": "server_tool_call_response", "id": identifier, "response": answer.get("response")}
    kind = "reasoning" if part.get("thought") is True else "text"
    return {"type": kind, "content": text(part.get("text")) or ""}


def _server_call(call: Json, name: str | None, arguments: Any) -> Json:
    return {"type": "server_tool_call", "id": text(call.get("id")), "name": name, "arguments": arguments}
