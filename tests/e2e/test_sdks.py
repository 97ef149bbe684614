"""The official clients work unchanged through the proxy, and what they did is recorded as the provider counts it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import anthropic
import openai
import pytest

from tests.support import answers
from tests.support.commands import JsonRow
from tests.support.proxies import Proxy
from tests.support.standin import answers_json
from tests.support.waiting import wait_until

PROMPT = "What is the capital of France?"
KEY = "sk-standin-0123456789abcdef"
OPENAI_TOOL: Any = {"type": "function", "function": {"name": answers.TOOL, "parameters": {"type": "object"}}}
ANTHROPIC_TOOL: Any = {"name": answers.TOOL, "input_schema": {"type": "object"}}
MESSAGES: Any = [{"role": "user", "content": PROMPT}]
THINKING: Any = {"type": "enabled", "budget_tokens": 1024}

# 476 fresh tokens at $0.15, 1,024 cached at $0.075, 200 out at $0.60 per million: https://openai.com/api/pricing
GPT_4O_MINI = "0.0002682"
# 400 fresh at $1, 100 written at $1.25, 1,000 read at $0.10, 200 out at $5: https://www.anthropic.com/pricing
HAIKU_4_5 = "0.001625"


@pytest.fixture
def proxy(proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> Proxy:
    """The shared proxy, made known to clients by the two variables that the README names, and nothing else."""
    wait_until(proxy.bundle.exists, "the bundle of certificate authorities")
    monkeypatch.setenv("HTTPS_PROXY", proxy.url)
    monkeypatch.setenv("SSL_CERT_FILE", str(proxy.bundle))
    return proxy


def named(user: str) -> dict[str, Any]:
    return {"api_key": KEY, "max_retries": 0, "default_headers": {"X-Tracecli-User": user}}


def assert_recorded(row: JsonRow, **wanted: object) -> None:
    """The row says `wanted`, and what every complete exchange says."""
    wanted = {
        "status": 200,
        "outcome": "complete",
        "error": None,
        "user_source": "header",
        "policy": "default",
        "traced": True,
        "input_tokens": 1500,
        "output_tokens": 200,
        "usage_source": "reported",
        "cost_source": "computed",
        "flags": [],
        **wanted,
    }
    assert {name: row[name] for name in wanted} == wanted
    assert 0 < row["ttfb_ms"] <= row["duration_ms"]
    assert row["request_bytes"] > 0
    assert row["response_bytes"] > 0
    if row["stream"]:
        assert row["ttfb_ms"] <= row["ttft_ms"] <= row["duration_ms"]


OPENAI = {
    "provider": "openai",
    "host": "api.openai.com",
    "method": "POST",
    "operation": "chat",
    "request_model": "gpt-4o-mini",
    "response_model": answers.OPENAI_MODEL,
    "cache_read_input_tokens": 1024,
    "reasoning_output_tokens": 64,
    "cost_usd": GPT_4O_MINI,
}
ANTHROPIC = {
    "provider": "anthropic",
    "host": "api.anthropic.com",
    "method": "POST",
    "path": "/v1/messages",
    "operation": "chat",
    "request_model": "claude-haiku-4-5",
    "response_model": answers.ANTHROPIC_MODEL,
    "response_id": "msg_standin1",
    "cache_read_input_tokens": 1000,
    "cache_creation_input_tokens": 100,
    "cost_usd": HAIKU_4_5,
}


# OpenAI


def chat(user: str) -> str:
    with openai.OpenAI(**named(user)) as client:
        found = client.chat.completions.create(model="gpt-4o-mini", messages=MESSAGES)
    return found.choices[0].message.content or ""


def chat_streamed(user: str) -> str:
    with openai.OpenAI(**named(user)) as client:
        chunks = list(
            client.chat.completions.create(
                model="gpt-4o-mini", messages=MESSAGES, stream=True, stream_options={"include_usage": True}
            )
        )
    assert chunks[-1].usage is not None
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)


def chat_async(user: str) -> str:
    async def ask() -> str:
        async with openai.AsyncOpenAI(**named(user)) as client:
            found = await client.chat.completions.create(model="gpt-4o-mini", messages=MESSAGES)
        return found.choices[0].message.content or ""

    return asyncio.run(ask())


def chat_streamed_async(user: str) -> str:
    async def ask() -> str:
        text = ""
        async with openai.AsyncOpenAI(**named(user)) as client:
            stream = await client.chat.completions.create(
                model="gpt-4o-mini", messages=MESSAGES, stream=True, stream_options={"include_usage": True}
            )
            async for chunk in stream:
                text += (chunk.choices[0].delta.content or "") if chunk.choices else ""
        return text

    return asyncio.run(ask())


def responses(user: str) -> str:
    with openai.OpenAI(**named(user)) as client:
        return client.responses.create(model="gpt-4o-mini", input=PROMPT).output_text


def responses_streamed(user: str) -> str:
    with openai.OpenAI(**named(user)) as client, client.responses.stream(model="gpt-4o-mini", input=PROMPT) as stream:
        return stream.get_final_response().output_text


@pytest.mark.parametrize(
    ("ask", "path", "stream"),
    [
        (chat, "/v1/chat/completions", False),
        (chat_async, "/v1/chat/completions", False),
        (chat_streamed, "/v1/chat/completions", True),
        (chat_streamed_async, "/v1/chat/completions", True),
        (responses, "/v1/responses", False),
        (responses_streamed, "/v1/responses", True),
    ],
)
def test_openai_client(proxy: Proxy, user: str, ask: Callable[[str], str], path: str, stream: bool) -> None:
    """The openai client gets its answer, and the record says what was asked, answered, used and paid."""
    assert ask(user) == answers.TEXT
    one = proxy.only_opened(user)
    chat_id = "resp_standin1" if path == "/v1/responses" else "chatcmpl-standin1"
    assert_recorded(one, **OPENAI, path=path, stream=stream, response_id=chat_id)
    assert one["completion"] == answers.TEXT
    assert one["url"] == f"https://api.openai.com{path}"
    assert PROMPT in str(one["input_messages"])
    assert PROMPT in one["request"]["body"]


@pytest.mark.parametrize("stream", [False, True])
def test_openai_tool_call(proxy: Proxy, user: str, stream: bool) -> None:
    """A tool call of OpenAI reaches the client, and is recorded with its name and arguments."""
    with openai.OpenAI(**named(user)) as client:
        asked: Any = {"model": "gpt-4o-mini", "messages": MESSAGES, "tools": [OPENAI_TOOL]}
        if stream:
            with client.chat.completions.stream(**asked) as events:
                message = events.get_final_completion().choices[0].message
        else:
            message = client.chat.completions.create(**asked).choices[0].message
    assert message.tool_calls is not None
    assert message.tool_calls[0].function.name == answers.TOOL
    one = proxy.only_opened(user)
    assert one["finish_reasons"] == ["tool_calls"]
    assert_tool_call(one, "call_standin1")


def assert_tool_call(one: JsonRow, identifier: str) -> None:
    parts = [part for message in one["output_messages"] for part in message["parts"]]
    (call,) = [part for part in parts if part["type"] == "tool_call"]
    assert (call["id"], call["name"], call["arguments"]) == (identifier, answers.TOOL, answers.TOOL_ARGUMENTS)


def test_openai_stream_without_usage(proxy: Proxy, user: str) -> None:
    """A stream that was not asked to report its tokens is recorded with unknown ones, never with zero."""
    with openai.OpenAI(**named(user)) as client:
        chunks = list(client.chat.completions.create(model="gpt-4o-mini", messages=MESSAGES, stream=True))
    assert chunks[-1].usage is None
    row = proxy.only_row(user)
    assert (row["outcome"], row["stream"], row["flags"]) == ("complete", True, [])
    if row["usage_source"] == "unknown":
        assert (row["input_tokens"], row["output_tokens"], row["cost_usd"]) == (None, None, None)
    else:
        assert row["usage_source"] == "estimated"
        assert row["input_tokens"] and row["output_tokens"]


# Anthropic


def message(user: str) -> str:
    with anthropic.Anthropic(**named(user)) as client:
        found = client.messages.create(model="claude-haiku-4-5", max_tokens=100, messages=MESSAGES)
    return "".join(block.text for block in found.content if block.type == "text")


def message_async(user: str) -> str:
    async def ask() -> str:
        async with anthropic.AsyncAnthropic(**named(user)) as client:
            found = await client.messages.create(model="claude-haiku-4-5", max_tokens=100, messages=MESSAGES)
        return "".join(block.text for block in found.content if block.type == "text")

    return asyncio.run(ask())


def message_streamed(user: str) -> str:
    with (
        anthropic.Anthropic(**named(user)) as client,
        client.messages.stream(model="claude-haiku-4-5", max_tokens=100, messages=MESSAGES) as stream,
    ):
        return "".join(stream.text_stream)


def message_streamed_async(user: str) -> str:
    async def ask() -> str:
        async with (
            anthropic.AsyncAnthropic(**named(user)) as client,
            client.messages.stream(model="claude-haiku-4-5", max_tokens=100, messages=MESSAGES) as stream,
        ):
            return "".join([text async for text in stream.text_stream])

    return asyncio.run(ask())


@pytest.mark.parametrize(
    ("ask", "stream"),
    [(message, False), (message_async, False), (message_streamed, True), (message_streamed_async, True)],
)
def test_anthropic_client(proxy: Proxy, user: str, ask: Callable[[str], str], stream: bool) -> None:
    """The anthropic client gets its answer; cached tokens, which Anthropic counts apart, are part of the input."""
    assert ask(user) == answers.TEXT
    one = proxy.only_opened(user)
    assert_recorded(one, **ANTHROPIC, stream=stream, finish_reasons=["end_turn"])
    assert one["completion"] == answers.TEXT
    assert PROMPT in str(one["input_messages"])


@pytest.mark.parametrize("stream", [False, True])
def test_anthropic_tool_use_and_thinking(proxy: Proxy, user: str, stream: bool) -> None:
    """Thinking and tool use of Anthropic reach the client, and are recorded apart from the answer's text."""
    asked: Any = {
        "model": "claude-haiku-4-5",
        "max_tokens": 2000,
        "messages": MESSAGES,
        "tools": [ANTHROPIC_TOOL],
        "thinking": THINKING,
    }
    with anthropic.Anthropic(**named(user)) as client:
        if stream:
            with client.messages.stream(**asked) as events:
                kinds = [block.type for block in events.get_final_message().content]
        else:
            kinds = [block.type for block in client.messages.create(**asked).content]
    assert kinds == ["thinking", "text", "tool_use"]
    one = proxy.only_opened(user)
    assert_recorded(one, **ANTHROPIC, stream=stream, finish_reasons=["tool_use"])
    assert_tool_call(one, "toolu_standin1")
    parts = [part for message in one["output_messages"] for part in message["parts"]]
    assert [part["content"] for part in parts if part["type"] == "reasoning"] == [answers.THOUGHT]
    assert one["completion"] == answers.TEXT


def test_the_error_a_client_raises_is_the_providers(proxy: Proxy, user: str) -> None:
    """A 429 reaches the client as it was sent, and its message is in the record."""
    error = {"error": {"message": "Rate limit reached for gpt-4o-mini", "type": "requests", "code": "rate_limit"}}
    script = proxy.standin.script(answers_json(error, 429))
    with (
        openai.OpenAI(**named(user)) as client,
        pytest.raises(openai.RateLimitError, match="Rate limit reached") as raised,
    ):
        client.chat.completions.create(model="gpt-4o-mini", messages=MESSAGES, extra_headers=script.headers)
    assert raised.value.code == "rate_limit"
    row = proxy.only_row(user)
    assert (row["status"], row["outcome"]) == (429, "complete")
    assert "Rate limit reached" in row["error"]
    assert (row["input_tokens"], row["cost_usd"], row["usage_source"]) == (None, None, "unknown")
