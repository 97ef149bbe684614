"""Made-up traffic for datasets, of which it is known what each cleaning step has to find.

Every exchange is of words drawn by chance, so that none is like another one that is not meant to be.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any, NamedTuple

from tests.support.chats import call
from tracecli.exchange import Captured

SECRET = "sk-proj-" + "a1B2c3D4" * 5
MAIL = "jo.doe@example.org"
REFUSALS = (
    "I'm sorry, but I can't help with that request.",
    "I cannot provide instructions for that.",
    "Es tut mir leid, aber dabei kann ich Ihnen nicht helfen.",
    "Lo siento, pero no puedo ayudar con eso.",
)
SYSTEM = "You are the assistant of a shop for garden tools. Answer in short."
WORDS = ["".join(letters) for letters in product("bdfgklmnprst", "aeiou", "bdklmnrst", ("a", "en", "or", "il"))]


class Planted(NamedTuple):
    """An exchange, and what has to become of it."""

    captured: Captured
    step: str | None
    """The step that drops it; None: it stays."""
    changed: str | None = None
    """The step that changes it."""


def planted(conversations: int, seed: int = 1) -> Iterator[Planted]:
    """Conversations one after the other, each of one or of four requests, with what is planted among them."""
    chance = random.Random(seed)
    second = 0.0
    before: list[tuple[list[dict[str, Any]], str, Captured]] = []
    """Earlier requests of one turn that stay, to be repeated."""
    for number in range(conversations):
        second += 7
        about: dict[str, Any] = {"user": f"user-{number % 40}", "policy": ("support", "agents")[number % 2]}
        prompt, answer = _prompt(chance), _said(chance, 60, 200)
        kind = number % 20
        match kind:
            case 0 if number % 40 == 0:
                yield Planted(_chat(second, prompt, "", about | {"status": 429}, error=True), "errors")
            case 0:
                yield Planted(_chat(second, prompt, answer, about | {"outcome": "aborted"}), "truncated")
            case 1:
                yield Planted(_chat(second, prompt, answer, about, finish="length"), "truncated")
            case 2:
                refusal = REFUSALS[number // 20 % len(REFUSALS)]
                finish = "content_filter" if number % 60 == 2 else "stop"
                yield Planted(_chat(second, prompt, refusal if finish == "stop" else answer, about, finish), "refusals")
            case 3:
                yield Planted(_chat(second, prompt, " \n", about), "empty")
            case 4 if before:
                said, told, _ = chance.choice(before)
                again = [one | {"content": f" {one['content'].upper()}\n"} for one in said]
                yield Planted(_chat(second, again, told, about), "duplicates")
            case 5 if before:
                said, told, _ = chance.choice(before)
                yield Planted(_chat(second, _altered(chance, said), _other(chance, told), about), "near_duplicates")
            case 6 if before:
                said, told, origin = chance.choice(before)
                hit = {"cache_status": "hit", "cache_origin": origin.exchange.id, "user": origin.exchange.user}
                yield Planted(_chat(second, said, told, about | hit), "cache_hits")
            case 7:
                prompt[-1]["content"] += f" with {SECRET} in it"
                yield Planted(_chat(second, prompt, answer, about), None, "secrets")
            case 8:
                yield Planted(_chat(second, prompt, f"{answer} Write to {MAIL}.", about), None, "personal_data")
            case 9 | 10:
                yield from _conversation(chance, second, prompt, about | {"session": f"run-{number}"})
                second += 20
            case 11:
                yield from _agent(chance, second, prompt, about)
                second += 20
            case _:
                made = _chat(second, prompt, answer, about)
                if len(before) < 500:
                    before.append((prompt, answer, made))
                yield Planted(made, None)


def _conversation(
    chance: random.Random, second: float, prompt: list[dict[str, Any]], about: dict[str, Any]
) -> Iterator[Planted]:
    """Four requests, each with the whole history: the last one has all of it."""
    messages = list(prompt)
    for turn in range(4):
        answer = _said(chance, 40, 120)
        yield Planted(_chat(second + 4 * turn, messages, answer, about), "turns" if turn < 3 else None)
        following = {"role": "user", "content": _said(chance, 20, 60)}
        messages = [*messages, {"role": "assistant", "content": answer}, following]


def _agent(
    chance: random.Random, second: float, prompt: list[dict[str, Any]], about: dict[str, Any]
) -> Iterator[Planted]:
    """A tool call, and the answer with its result."""
    function = {"name": "stock", "arguments": json.dumps({"tool": _said(chance, 2, 4), "größe": "schön"})}
    calls = [{"id": "call_1", "type": "function", "function": function}]
    asks = {"role": "assistant", "content": None, "tool_calls": calls}
    yield Planted(_chat(second, prompt, None, about, "tool_calls", calls=calls), "turns")
    result = {"role": "tool", "tool_call_id": "call_1", "content": _said(chance, 10, 20)}
    yield Planted(_chat(second + 4, [*prompt, asks, result], _said(chance, 40, 120), about), None)


TOOL = {
    "type": "function",
    "function": {
        "name": "stock",
        "description": "How many there are.",
        "parameters": {"type": "object", "properties": {"tool": {"type": "string"}}, "required": ["tool"]},
    },
}


def _chat(
    second: float,
    messages: Sequence[dict[str, Any]],
    answer: str | None,
    about: dict[str, Any],
    finish: str = "stop",
    *,
    calls: list[dict[str, Any]] | None = None,
    error: bool = False,
) -> Captured:
    asked: dict[str, Any] = {"model": "gpt-4o-mini", "messages": messages}
    if calls or any(one["role"] == "tool" for one in messages):
        asked["tools"] = [TOOL]
    request = json.dumps(asked).encode()
    if error:
        told: dict[str, Any] = {"error": {"message": "Rate limit reached", "type": "requests"}}
    else:
        message = {"role": "assistant", "content": answer} | ({"tool_calls": calls} if calls else {})
        usage = {"prompt_tokens": len(request) // 5, "completion_tokens": 1 + len(answer or "") // 5}
        told = {
            "id": f"chatcmpl-{second}",
            "object": "chat.completion",
            "model": "gpt-4o-mini-2024-07-18",
            "choices": [{"index": 0, "message": message, "finish_reason": finish}],
            "usage": usage,
        }
    response = json.dumps(told, ensure_ascii=False).encode()
    sizes = {"request_bytes": len(request), "response_bytes": len(response)}
    return call(second, request, response, **(sizes | about))


def _prompt(chance: random.Random) -> list[dict[str, Any]]:
    return [{"role": "system", "content": SYSTEM}, {"role": "user", "content": _said(chance, 60, 240)}]


def _said(chance: random.Random, least: int, most: int) -> str:
    return " ".join(chance.choices(WORDS, k=chance.randrange(least, most)))


def _altered(chance: random.Random, messages: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The same with a word in twenty-five another one."""
    return [one | {"content": _other(chance, one["content"])} if one["role"] == "user" else one for one in messages]


def _other(chance: random.Random, text: str) -> str:
    words = text.split()
    for place in range(7, len(words), 25):
        words[place] = chance.choice(WORDS)
    return " ".join(words)
