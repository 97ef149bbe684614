"""What a training example is, whatever the format it is written in. Pure.

The messages are those of `Understanding`, in OpenTelemetry's parts (`exchange.Message`), after cleaning: text,
reasoning, tool_call (id, name, arguments), tool_call_response (id, response), uri, blob and file. A conversation ends
with the answer that is to be learned; a pair has two answers to one prompt.
"""

from __future__ import annotations

import datetime as dt
import mimetypes
from collections.abc import Iterator
from typing import Any

import msgspec

from tracecli.exchange import Message

ANSWER = "assistant"


class Tool(msgspec.Struct, frozen=True, omit_defaults=True):
    """A tool that the model could call."""

    name: str
    description: str | None = None
    parameters: dict[str, Any] | None = None
    """A JSON schema; None: the request gave none."""
    strict: bool | None = None


class Source(msgspec.Struct, frozen=True):
    """Where an example is from."""

    id: str
    """Of the exchange."""
    model: str | None
    """That answered."""
    started_at: dt.datetime
    policy: str

    def as_json(self) -> dict[str, Any]:
        """As JSON values: the instant as ISO 8601, UTC."""
        at = self.started_at.astimezone(dt.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        return {"id": self.id, "model": self.model, "started_at": at, "policy": self.policy}


class Example(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A conversation that ends with the answer to be learned."""

    messages: list[Message]
    """At least a prompt and the answer, which is the last and of the role `assistant`."""
    tools: list[Tool] = []
    parallel_tool_calls: bool | None = None
    source: Source
    only_last: bool = False
    """Earlier answers in it are examples of their own, and not to be learned here again."""


class Pair(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A prompt with an answer that is preferred to another."""

    prompt: list[Message]
    tools: list[Tool] = []
    parallel_tool_calls: bool | None = None
    chosen: Message
    rejected: Message
    source: Source
    """Of the chosen one."""
    rejected_source: Source


def parts(message: Message) -> list[dict[str, Any]]:
    """The parts of a message."""
    found = message.get("parts")
    return [part for part in found if isinstance(part, dict)] if isinstance(found, list) else []


def text_of(message: Message) -> str:
    """The texts of a message, joined; without reasoning."""
    return "".join(str(part.get("content") or "") for part in parts(message) if part.get("type") == "text")


def all_parts(message: Message) -> Iterator[dict[str, Any]]:
    """The parts of a message, and those of tools' results in it."""
    for part in parts(message):
        yield part
        if isinstance(part.get("response"), list):
            yield from (one for one in part["response"] if isinstance(one, dict))


def media_of(messages: list[Message]) -> Iterator[dict[str, Any]]:
    """The parts whose bytes the record holds: images, sound and files that were sent inside the JSON."""
    return (part for one in messages for part in all_parts(one) if part.get("type") == "blob")


def media_name(part: dict[str, Any]) -> str:
    """The file name of such a part, by its content: `SHA256.png`."""
    suffix = mimetypes.guess_extension(str(part.get("mime_type") or "")) or ".bin"
    return f"{part['sha256']}{suffix}"
