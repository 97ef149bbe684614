"""OpenAI's endpoints beside chat and responses, and those who speak like them: a request, an answer, hardly a stream.

https://platform.openai.com/docs/api-reference/embeddings  https://docs.voyageai.com/reference/embeddings-api
https://platform.openai.com/docs/api-reference/moderations
https://platform.openai.com/docs/api-reference/images
https://platform.openai.com/docs/api-reference/audio
"""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec

from tracecli.exchange import Headers, Message, Usage
from tracecli.providers.openai_common import claimed_user, part_of, usage_of
from tracecli.providers.reader import Reader
from tracecli.providers.values import Json, array, blob, count, media, obj, objects, text


class _OneAnswer(Reader):
    """What these have in common."""

    def __init__(self, provider: str, path: str, keep: bool) -> None:
        super().__init__(provider, path, keep)
        self._usage: Usage | None = None
        self._parts: list[Json] = []

    def request(self, body: Json) -> None:
        super().request(body)
        self.stream = body.get("stream") in (True, "true")  # forms hold texts
        self.claimed_user = claimed_user(body)
        if self.keep:
            parts = self._asked(body)
            self.input_messages = [{"role": "user", "parts": parts}] if parts else []

    def _asked(self, body: Json) -> list[Json]:
        return _texts(body.get("input"))

    def answer(self, body: Json) -> bool:
        self.response_id = text(body.get("id"))
        self.response_model = text(body.get("model"))
        self._usage = usage_of(obj(body.get("usage"))) or self._usage
        return True

    def usage(self) -> Usage | None:
        return self._usage

    def output_messages(self) -> list[Message]:
        return [{"role": "assistant", "parts": self._parts}] if self._parts else []


class OpenAIEmbeddings(_OneAnswer):
    """Reads `/embeddings`; the vectors are not kept."""

    def answer(self, body: Json) -> bool:
        super().answer(body)
        total = count(obj(body.get("usage")).get("total_tokens"))
        if self._usage is None and total is not None:
            self._usage = Usage(input_tokens=total)  # Voyage: all of it is input
        return isinstance(body.get("data"), list)


class OpenAIModeration(_OneAnswer):
    """Reads `/moderations`."""

    def answer(self, body: Json) -> bool:
        super().answer(body)
        return isinstance(body.get("results"), list)


class OpenAIImages(_OneAnswer):
    """Reads `/images/generations`, `/images/edits` and `/images/variations`."""

    def _asked(self, body: Json) -> list[Json]:
        prompt = text(body.get("prompt"))
        files = [value for value in body.values() if isinstance(value, dict) and value.get("type") == "blob"]
        return ([{"type": "text", "content": prompt}] if prompt else []) + files

    def answer(self, body: Json) -> bool:
        super().answer(body)
        self._images(objects(body.get("data")), body)
        return isinstance(body.get("data"), list)

    def usage(self) -> Usage | None:
        """Where the answer does not tell them apart, all that is made is images."""
        usage = self._usage
        if usage is None or usage.output_image_tokens is not None:
            return usage
        return msgspec.structs.replace(usage, output_image_tokens=usage.output_tokens)

    def event(self, event: str, body: Json) -> bool:
        name = text(body.get("type")) or event
        if name == "error" or body.get("error"):
            self.fail(body)
        elif name.endswith(".completed"):
            super().answer(body)
            self._images([body], body)
            self.ended = True
        self.started = True
        return name.startswith(("image_", "error")) or self.failed

    def _images(self, images: list[Json], body: Json) -> None:
        if not self.keep:
            return
        mime_type = f"image/{text(body.get('output_format')) or '*'}"
        for image in images:
            if data := text(image.get("b64_json")):
                self._parts.append(blob(data, mime_type))
            elif url := text(image.get("url")):
                self._parts.append(media(url))


class OpenAITranscription(_OneAnswer):
    """Reads `/audio/transcriptions` and `/audio/translations`: a form in; JSON, events or plain text out."""

    def _asked(self, body: Json) -> list[Json]:
        parts = [value for value in body.values() if isinstance(value, dict) and value.get("type") == "blob"]
        return parts + _texts(body.get("prompt"))

    def answer(self, body: Json) -> bool:
        super().answer(body)
        self._said(text(body.get("text")))
        return isinstance(body.get("text"), str)

    def text_answer(self, body: str) -> bool:
        self._said(body.strip())
        return True

    def event(self, event: str, body: Json) -> bool:
        name = text(body.get("type")) or event
        if name == "error" or body.get("error"):
            self.fail(body)
        elif name == "transcript.text.delta":
            self.started = True
        elif name == "transcript.text.done":
            self.answer(body)
            self.ended = True
        return name.startswith(("transcript.", "error")) or self.failed

    def _said(self, words: str | None) -> None:
        if self.keep and words:
            self._parts = [{"type": "text", "content": words}]


class OpenAISpeech(_OneAnswer):
    """Reads `/audio/speech`, whose answer is the sound itself: of which its size and its hash are told."""

    binary = True

    def __init__(self, provider: str, path: str, keep: bool) -> None:
        super().__init__(provider, path, keep)
        self._mime_type = ""
        self._size = 0
        self._hash = hashlib.sha256()

    def head(self, headers: Headers) -> None:
        self._mime_type = next((value for name, value in headers if name.lower() == "content-type"), "")

    def data(self, data: bytes) -> None:
        self._size += len(data)
        if self.keep:
            self._hash.update(data)

    def answer(self, body: Json) -> bool:
        return False

    def event(self, event: str, body: Json) -> bool:
        name = text(body.get("type")) or event
        self.started = self.started or name == "speech.audio.delta"
        if name == "speech.audio.done":
            super().answer(body)
            self.ended = True
        return name.startswith("speech.audio.")

    def output_messages(self) -> list[Message]:
        if not (self.keep and self._size):
            return []
        part = {
            "type": "blob",
            "mime_type": self._mime_type,
            "size_bytes": self._size,
            "sha256": self._hash.hexdigest(),
        }
        return [{"role": "assistant", "parts": [part]}]


def _texts(given: Any) -> list[Json]:
    """A text, texts or typed parts; lists of token numbers say nothing."""
    parts: list[Json] = []
    for one in [given] if isinstance(given, str | dict) else array(given):
        if isinstance(one, str) and one:
            parts.append({"type": "text", "content": one})
        elif isinstance(one, dict):
            parts.append(part_of(one))
    return parts
