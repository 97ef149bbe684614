"""Anthropic's messages.

https://docs.claude.com/en/api/messages  https://docs.claude.com/en/docs/build-with-claude/streaming

Its input tokens leave cached ones out (https://docs.claude.com/en/docs/build-with-claude/prompt-caching); here they are
added, as everywhere in tracecli.
"""

from __future__ import annotations

import re
from typing import Any

from tracecli.exchange import Message, Usage
from tracecli.providers.reader import Growing, Reader
from tracecli.providers.values import Json, blob, count, obj, objects, parse, text, unknown_part

# Claude Code: user_<hash>_account_<uuid>_session_<uuid>, the account empty with an API key.
_CLAUDE_CODE_USER = re.compile(r"user_(?P<device>\w*?)_account_(?P<account>[\w-]*?)_session_(?P<session>[\w-]+)")
_DELTAS = {"text_delta": "text", "thinking_delta": "thinking", "input_json_delta": "partial_json"}


class AnthropicMessages(Reader):
    """Reads `/v1/messages`."""

    def __init__(self, provider: str, path: str, keep: bool) -> None:
        super().__init__(provider, path, keep)
        self._usage: Json = {}
        self._stop_reason: str | None = None
        self._blocks: dict[int, Growing] = {}

    def request(self, body: Json) -> None:
        super().request(body)
        self.stream = body.get("stream") is True
        self.claimed_user, self.session = claude_user(text(obj(body.get("metadata")).get("user_id")))
        if self.keep:
            system = _parts(body.get("system"))
            self.input_messages = [{"role": "system", "parts": system}] if system else []
            for message in objects(body.get("messages")):
                role = text(message.get("role")) or "user"
                self.input_messages.append({"role": role, "parts": _parts(message.get("content"))})

    def answer(self, body: Json) -> bool:
        self.response_id = text(body.get("id")) or self.response_id
        self.response_model = text(body.get("model")) or self.response_model
        self._stop_reason = text(body.get("stop_reason")) or self._stop_reason
        self._count(obj(body.get("usage")))
        if self.keep:
            for index, block in enumerate(objects(body.get("content"))):
                self._blocks[index] = Growing(_part(block))
        return isinstance(body.get("content"), list)

    def event(self, event: str, body: Json) -> bool:
        index = count(body.get("index")) or 0
        match text(body.get("type")) or event:
            case "message_start":
                return self._start(obj(body.get("message")))
            case "content_block_start":
                self._begin(index, obj(body.get("content_block")))
            case "content_block_delta":
                self._continue(index, obj(body.get("delta")))
            case "message_delta":
                self._stop_reason = text(obj(body.get("delta")).get("stop_reason")) or self._stop_reason
                self._count(obj(body.get("usage")))
            case "message_stop":
                self.ended = True
            case "error":
                self.fail(body)
            case "content_block_stop" | "ping":
                pass
            case _:
                return False
        return True

    def _start(self, message: Json) -> bool:
        """The first event counts the token it begins with; how many there were comes with the last, or never."""
        usage = {name: value for name, value in obj(message.get("usage")).items() if name != "output_tokens"}
        return self.answer(message | {"usage": usage})

    def _begin(self, index: int, block: Json) -> None:
        self.started = self.started or block.get("type") == "tool_use" or bool(text(block.get("text")))
        if self.keep:
            self._blocks[index] = Growing(_part(block))

    def _continue(self, index: int, delta: Json) -> None:
        piece = text(delta.get(_DELTAS.get(text(delta.get("type")) or "", "")))
        if piece is None:
            return  # a signature, a citation, or something new
        self.started = True
        if self.keep:
            self._blocks.setdefault(index, Growing({"type": "text"})).pieces.append(piece)

    def _count(self, usage: Json) -> None:
        """What a later event says about a count replaces what an earlier one said."""
        self._usage |= {name: value for name, value in usage.items() if value is not None}
        # https://docs.claude.com/en/docs/agents-and-tools/tool-use/advisor-tool: the sums leave its model's tokens out.
        if any(one.get("type") == "advisor_message" for one in objects(usage.get("iterations"))):
            self.flags = ["advisor_not_counted"]
        fast = usage.get("speed") == "fast"  # https://docs.claude.com/en/docs/build-with-claude/fast-mode
        self.service_tier = "fast" if fast else text(usage.get("service_tier")) or self.service_tier

    def usage(self) -> Usage | None:
        return usage_of(self._usage)

    def finish_reasons(self) -> list[str]:
        return [self._stop_reason] if self._stop_reason else []

    def output_messages(self) -> list[Message]:
        parts = [block.whole() for _, block in sorted(self._blocks.items())]
        return [{"role": "assistant", "parts": parts, "finish_reason": self._stop_reason}] if parts else []


def usage_of(raw: Json) -> Usage | None:
    """Token counts of a usage block."""
    fresh, output = count(raw.get("input_tokens")), count(raw.get("output_tokens"))
    if fresh is None and output is None:
        return None
    read, written = count(raw.get("cache_read_input_tokens")), count(raw.get("cache_creation_input_tokens"))
    return Usage(
        input_tokens=None if fresh is None else fresh + (read or 0) + (written or 0),
        output_tokens=output,
        cache_read_input_tokens=read,
        cache_creation_input_tokens=written,
        cache_creation_1h_input_tokens=count(obj(raw.get("cache_creation")).get("ephemeral_1h_input_tokens")),
        reasoning_output_tokens=count(obj(raw.get("output_tokens_details")).get("thinking_tokens")),
        web_searches=count(obj(raw.get("server_tool_use")).get("web_search_requests")),
    )


def claude_user(user_id: str | None) -> tuple[str | None, str | None]:
    """The user and the session in `metadata.user_id`: Claude Code puts both there, in one of two forms."""
    if user_id is None:
        return None, None
    if match := _CLAUDE_CODE_USER.fullmatch(user_id):
        return match["account"] or f"user_{match['device']}", match["session"]
    if user_id.startswith("{"):
        try:
            told = obj(parse(user_id))
        except ValueError:
            told = {}
        user = text(told.get("account_uuid")) or text(told.get("device_id"))
        return user or user_id, text(told.get("session_id"))
    return user_id, None


def _parts(content: Any) -> list[Json]:
    """The parts of a message's content: a text, or blocks."""
    if isinstance(content, str):
        return [{"type": "text", "content": content}] if content else []
    return [_part(block) for block in objects(content)]


def _part(block: Json) -> Json:
    """One content block. https://docs.claude.com/en/api/messages#body-messages-content"""
    kind = text(block.get("type")) or "unknown"
    if kind == "text":
        return {"type": "text", "content": text(block.get("text")) or ""}
    if kind == "thinking":
        return {"type": "reasoning", "content": text(block.get("thinking")) or ""}
    if kind == "redacted_thinking":
        return {"type": "reasoning", "content": "", "redacted": True}
    if kind in ("image", "document"):
        return _source(obj(block.get("source")))
    if kind in ("tool_use", "server_tool_use", "mcp_tool_use"):
        part_type = "tool_call" if kind == "tool_use" else "server_tool_call"
        name, arguments = text(block.get("name")), block.get("input")
        return {"type": part_type, "id": text(block.get("id")), "name": name, "arguments": arguments}
    if kind.endswith("tool_result"):
        part_type = "tool_call_response" if kind == "tool_result" else "server_tool_call_response"
        content = block.get("content")
        response = _parts(content) if isinstance(content, list) and kind == "tool_result" else content
        part = {"type": part_type, "id": text(block.get("tool_use_id")), "response": response}
        return part | ({"is_error": True} if block.get("is_error") is True else {})
    return unknown_part(block)


def _source(source: Json) -> Json:
    """Where an image or a document comes from."""
    mime_type = text(source.get("media_type"))
    if identifier := text(source.get("file_id")):
        return {"type": "file", "file_id": identifier}
    if url := text(source.get("url")):
        return {"type": "uri", "uri": url}
    data = source.get("data")
    if source.get("type") == "base64" and isinstance(data, str):
        return blob(data, mime_type)
    content = source.get("content", data)
    return {"type": "text", "content": content if isinstance(content, str) else ""}
