"""OpenAI's realtime API, over a WebSocket; also Azure's, its Voice Live, and xAI's.

https://platform.openai.com/docs/api-reference/realtime-client-events
https://platform.openai.com/docs/api-reference/realtime-server-events

An exchange is one response. Sound is counted, not kept apart: the recorded body has it; what was said is text where
either side transcribed it.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs, urlsplit

from tracecli.exchange import Message, Usage
from tracecli.providers.reader import Draft, Growing, Reader
from tracecli.providers.values import Json, count, media, obj, objects, parsed_or_text, text

_TEXT_DELTAS = {
    "response.text.delta", "response.output_text.delta",
    "response.audio_transcript.delta", "response.output_audio_transcript.delta",
}  # fmt: skip
_CALL_DELTA = "response.function_call_arguments.delta"
_HEARD = "conversation.item.input_audio_transcription.completed"


class OpenAIRealtime(Reader):
    """Reads the messages of one response."""

    def __init__(self, provider: str, path: str, keep: bool) -> None:
        super().__init__(provider, path, keep)
        query = parse_qs(urlsplit(path).query)
        asked = query.get("model") or query.get("deployment")
        self.request_model = asked[0] if asked else None
        self.stream = True
        self._usage: Json = {}
        self._status: str | None = None
        self._output: list[Json] = []
        self._drafts: dict[str, Draft] = {}
        self._calls: dict[str, Growing] = {}
        self._sound_bytes = 0

    def message(self, body: Json) -> None:
        kind = text(body.get("type"))
        session = obj(body.get("session"))
        if kind == "input_audio_buffer.append":
            self._sound_bytes += len(text(body.get("audio")) or "") * 3 // 4
        elif kind == "session.update":
            self.request_model = text(session.get("model")) or self.request_model
            self._instructed(session)
        elif kind == "response.create":
            response = obj(body.get("response"))
            self._instructed(response)
            for item in objects(response.get("input")):
                self._said(item)
        elif kind == "conversation.item.create":
            self._said(obj(body.get("item")))

    def _instructed(self, settings: Json) -> None:
        if self.keep and (instructions := text(settings.get("instructions"))):
            self.input_messages.append({"role": "system", "parts": [{"type": "text", "content": instructions}]})

    def _said(self, item: Json) -> None:
        if self.keep and (parts := _parts(item)):
            self.input_messages.append({"role": _role(item), "parts": parts})

    def event(self, event: str, body: Json) -> bool:
        kind = text(body.get("type")) or event
        if kind == "error":
            self.fail(body)
        elif kind in ("session.created", "session.updated"):
            self.response_model = text(obj(body.get("session")).get("model")) or self.response_model
        elif kind == _HEARD:
            self._heard(text(body.get("transcript")))
        elif kind in ("response.created", "response.done"):
            self._response(obj(body.get("response")), kind == "response.done")
        else:
            self._delta(kind, body)
        return "type" in body

    def _heard(self, transcript: str | None) -> None:
        if self.keep and transcript:
            self.input_messages.append({"role": "user", "parts": [{"type": "text", "content": transcript}]})

    def _response(self, response: Json, done: bool) -> None:
        self.response_id = text(response.get("id")) or self.response_id
        self.response_model = text(response.get("model")) or self.response_model
        self._usage = obj(response.get("usage")) or self._usage
        if done:
            self.ended = True
            self._status = text(response.get("status"))
            if self.keep:
                self._output = objects(response.get("output"))
            if error := obj(obj(response.get("status_details")).get("error")):
                self.fail({"error": error})

    def _delta(self, kind: str, body: Json) -> None:
        item = obj(body.get("item"))
        place = text(body.get("item_id")) or text(item.get("id")) or ""
        is_call = item.get("type") == "function_call"
        self.started = self.started or kind in _TEXT_DELTAS or kind == _CALL_DELTA or kind.endswith("audio.delta")
        if not self.keep:
            return
        if kind == "response.output_item.added" and is_call:
            self._calls[place] = self._drafts.setdefault(place, Draft()).add(_call(item))
        elif kind in _TEXT_DELTAS:
            self._drafts.setdefault(place, Draft()).say("text", text(body.get("delta")) or "")
        elif kind == _CALL_DELTA and place in self._calls:
            self._calls[place].pieces.append(text(body.get("delta")) or "")

    def usage(self) -> Usage | None:
        return usage_of(self._usage)

    def finish_reasons(self) -> list[str]:
        return [self._status] if self._status else []

    def said(self) -> None:
        if self.keep and self._sound_bytes:
            sound = {"type": "blob", "mime_type": "audio/*", "size_bytes": self._sound_bytes}
            self.input_messages.append({"role": "user", "parts": [sound]})
            self._sound_bytes = 0

    def output_messages(self) -> list[Message]:
        parts = [part for item in self._output for part in _parts(item)]
        parts = parts or [part for draft in self._drafts.values() for part in draft.parts()]
        return [{"role": "assistant", "parts": parts, "finish_reason": self._status}] if parts else []


def usage_of(raw: Json) -> Usage | None:
    """https://platform.openai.com/docs/api-reference/realtime-server-events/response/done (usage)"""
    input_tokens, output_tokens = count(raw.get("input_tokens")), count(raw.get("output_tokens"))
    if input_tokens is None and output_tokens is None:
        return None
    into, out = obj(raw.get("input_token_details")), obj(raw.get("output_token_details"))
    return Usage(
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        cache_read_input_tokens=count(into.get("cached_tokens")),
        reasoning_output_tokens=count(out.get("reasoning_tokens")),
        input_audio_tokens=count(into.get("audio_tokens")),
        output_audio_tokens=count(out.get("audio_tokens")),
        cache_read_audio_tokens=count(obj(into.get("cached_tokens_details")).get("audio_tokens")),
    )


def _role(item: Json) -> str:
    kind = text(item.get("type")) or "message"
    if kind == "function_call_output":
        return "tool"
    return text(item.get("role")) or ("assistant" if kind == "function_call" else "user")


def _parts(item: Json) -> list[Json]:
    match text(item.get("type")) or "message":
        case "function_call":
            return [_call(item)]
        case "function_call_output":
            answer = parsed_or_text(item.get("output"))
            return [{"type": "tool_call_response", "id": text(item.get("call_id")), "response": answer}]
    return [found for part in objects(item.get("content")) if (found := _part(part)) is not None]


def _call(item: Json) -> Json:
    arguments: Any = parsed_or_text(text(item.get("arguments")))
    name = text(item.get("name"))
    return {"type": "tool_call", "id": text(item.get("call_id")), "name": name, "arguments": arguments}


def _part(part: Json) -> Json | None:
    if content := text(part.get("text")) or text(part.get("transcript")):
        return {"type": "text", "content": content}
    if sound := text(part.get("audio")):
        return {"type": "blob", "mime_type": "audio/*", "size_bytes": len(sound) * 3 // 4}
    if image := text(part.get("image_url")):
        return media(image)
    return None
