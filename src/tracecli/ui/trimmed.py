"""An opened exchange with no more text than a screen can take. Pure."""

from __future__ import annotations

from typing import Any

import msgspec

from tracecli.exchange import Body, Message, Opened

MOST = 200_000
"""Characters of prompt and completion together, and bytes of a body."""
LEAST = 2_000
"""Of each text so many are shown, whatever was before it."""
_TEXTS = ("content", "arguments", "response", "result")


def trimmed(opened: Opened, most: int = MOST) -> Opened:
    """The same with long texts cut; each cut says how much is left out. What was said last has room first."""
    room = [most]
    completion = opened.completion and _cut(opened.completion, room)
    output = [_message(message, room) for message in reversed(opened.output_messages)][::-1]
    asked = [_message(message, room) for message in reversed(opened.input_messages)][::-1]
    return msgspec.structs.replace(
        opened,
        request=_body(opened.request, most),
        response=_body(opened.response, most),
        input_messages=asked,
        output_messages=output,
        completion=completion,
    )


def _message(message: Message, room: list[int]) -> Message:
    parts = message.get("parts")
    if not isinstance(parts, list):
        return message
    return {**message, "parts": [_part(part, room) for part in reversed(parts)][::-1]}


def _part(part: Any, room: list[int]) -> Any:
    if isinstance(part, str):
        return _cut(part, room)
    if not isinstance(part, dict):
        return part
    return {name: _cut(value, room) if isinstance(value, str) else value for name, value in part.items()}


def _cut(text: str, room: list[int]) -> str:
    shown = text[: max(LEAST, room[0])]
    room[0] = max(0, room[0] - len(shown))
    return shown if len(shown) == len(text) else f"{shown}\n… {len(text) - len(shown):,} more characters"


def _body(body: Body, most: int) -> Body:
    return body if len(body.body) <= most else msgspec.structs.replace(body, body=body.body[:most])
