"""What OpenAI's chat completions and its responses have in common, and those who speak like them."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any

from tracecli.exchange import Usage
from tracecli.providers.values import (
    Json,
    array,
    blob,
    count,
    first_count,
    media,
    money,
    obj,
    objects,
    text,
    unknown_part,
)

# Chat's names, those of responses and images, those of transcriptions and realtime sessions.
_INPUT = ("prompt_tokens", "input_tokens", "input_token")
_OUTPUT = ("completion_tokens", "output_tokens", "output_token")
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)


def claimed_user(body: Json) -> str | None:
    """https://platform.openai.com/docs/guides/safety-best-practices: `safety_identifier` takes the place of `user`."""
    return text(body.get("user")) or text(body.get("safety_identifier"))


def session(body: Json) -> str | None:
    """A cache key that is a conversation's id: Codex and others put a UUID there, people put a name of a prompt."""
    key = text(body.get("prompt_cache_key"))
    return key if key and _UUID.fullmatch(key) else None


def usage_of(raw: Json) -> Usage | None:
    """Token counts of a usage block, under the names of either API.

    https://platform.openai.com/docs/api-reference/chat/object  https://platform.openai.com/docs/guides/prompt-caching
    """
    into, out = _details(raw, _INPUT), _details(raw, _OUTPUT)
    input_tokens = first_count(raw.get("prompt_tokens"), raw.get("input_tokens"))
    output_tokens = first_count(raw.get("completion_tokens"), raw.get("output_tokens"))
    if input_tokens is None and output_tokens is None:
        return None
    cache_read = first_count(
        into.get("cached_tokens"),
        raw.get("cached_tokens"),  # Together
        raw.get("prompt_cache_hit_tokens"),  # DeepSeek
        raw.get("num_cached_tokens"),  # Mistral
        raw.get("cache_read_input_tokens"),  # LiteLLM
    )
    reasoning = first_count(out.get("reasoning_tokens"), raw.get("reasoning_tokens"))  # the latter: Perplexity
    # xAI counts reasoning beside the completion (https://docs.x.ai/docs/guides/reasoning); the total tells.
    if reasoning and count(raw.get("total_tokens")) == (input_tokens or 0) + (output_tokens or 0) + reasoning:
        output_tokens = (output_tokens or 0) + reasoning
    # Grok at Azure counts cached tokens beside the prompt.
    if cache_read and input_tokens is not None and cache_read > input_tokens:
        input_tokens += cache_read
    return Usage(
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        cache_read_input_tokens=cache_read,
        cache_creation_input_tokens=first_count(
            into.get("cache_write_tokens"),
            raw.get("cache_creation_input_tokens"),  # OpenAI and OpenRouter; LiteLLM
        ),
        reasoning_output_tokens=reasoning,
        input_audio_tokens=count(into.get("audio_tokens")),
        output_audio_tokens=count(out.get("audio_tokens")),
        cache_read_audio_tokens=count(obj(into.get("cached_tokens_details")).get("audio_tokens")),
        input_image_tokens=count(into.get("image_tokens")),
        output_image_tokens=count(out.get("image_tokens")),
    )


def _details(raw: Json, names: tuple[str, ...]) -> Json:
    return next((found for name in names if (found := obj(raw.get(f"{name}_details")))), {})


def reported_cost(provider: str, raw: Json) -> Decimal | None:
    """What the provider says the call cost, in USD.

    OpenRouter, in credits of one dollar: https://openrouter.ai/docs/use-cases/usage-accounting
    Perplexity: https://docs.perplexity.ai/api-reference/chat-completions-post
    xAI, in ticks of 1e-10 dollars: https://docs.x.ai/docs/api-reference
    """
    cost = raw.get("cost")
    if provider == "openrouter":
        return money(cost)
    if provider == "perplexity":
        return money(obj(cost).get("total_cost"))
    ticks = count(raw.get("cost_in_usd_ticks"))
    return None if ticks is None else Decimal(ticks).scaleb(-10)


def parts_of(content: Any) -> list[Json]:
    """The parts of a message's content: a text, or a list of typed parts."""
    if isinstance(content, str):
        return [{"type": "text", "content": content}] if content else []
    if not isinstance(content, list):
        return []
    return [part_of(item) if isinstance(item, dict) else {"type": "text", "content": str(item)} for item in content]


def part_of(item: Json) -> Json:
    """One typed part, of either API.

    https://platform.openai.com/docs/api-reference/chat/create  https://docs.mistral.ai/capabilities/vision
    """
    match item.get("type"):
        case "text" | "input_text" | "output_text" | "summary_text" | "reasoning_text":
            return {"type": "text", "content": text(item.get("text")) or ""}
        case "refusal":
            return {"type": "text", "content": text(item.get("refusal")) or "", "refusal": True}
        case "thinking":  # Mistral
            return {"type": "reasoning", "content": _thought(item.get("thinking"))}
        case "image_url" | "video_url" | "audio_url" | "document_url" as kind:
            value = item.get(kind)
            return media(text(value) or text(obj(value).get("url")) or "")
        case "input_image":
            return _file(item) if text(item.get("file_id")) else media(text(item.get("image_url")) or "")
        case "input_audio":
            audio = obj(item.get("input_audio")) or item
            return blob(text(audio.get("data")) or "", f"audio/{text(audio.get('format')) or '*'}")
        case "file" | "input_file":
            return _file(obj(item.get("file")) or item)
    return unknown_part(item)


def _thought(thinking: Any) -> str:
    if isinstance(thinking, str):
        return thinking
    return "".join(text(piece.get("text")) or "" for piece in objects(array(thinking)))


def _file(file: Json) -> Json:
    if identifier := text(file.get("file_id")):
        return {"type": "file", "file_id": identifier}
    source = text(file.get("file_data")) or text(file.get("file_url")) or ""
    part = media(source) if source.startswith(("data:", "http")) else blob(source, None)
    return part | ({"filename": name} if (name := text(file.get("filename"))) else {})
