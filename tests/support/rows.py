"""Rows and opened exchanges for tests of what people look at: one awkward set, always the same."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import msgspec

from tracecli.exchange import Body, Opened, Row

ZONE = ZoneInfo("Europe/Berlin")
NOW = dt.datetime(2026, 11, 22, 14, 5, tzinfo=ZONE)
ARN = "arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.anthropic.claude-sonnet-4-5-20250929-v1:0"


def row(ago_s: float = 3, **changes: Any) -> Row:
    """A plausible row from `ago_s` seconds before NOW, some of its values changed."""
    started_at = NOW.astimezone(dt.UTC) - dt.timedelta(seconds=ago_s)
    ms = f"{round(started_at.timestamp() * 1000):012x}"
    values: dict[str, Any] = {
        "id": f"{ms[:8]}-{ms[8:]}-7c00-8000-00000000abcd",
        "started_at": started_at,
        "duration_ms": 2412.3,
        "ttfb_ms": 412.0,
        "ttft_ms": 431.0,
        "user": "alice",
        "user_source": "header",
        "policy": "default",
        "session": None,
        "provider": "openai",
        "host": "api.openai.com",
        "operation": "chat",
        "method": "POST",
        "path": "/v1/chat/completions",
        "status": 200,
        "stream": True,
        "request_model": "gpt-4o-mini",
        "response_model": "gpt-4o-mini-2024-07-18",
        "response_id": "chatcmpl-1",
        "finish_reasons": ["stop"],
        "input_tokens": 1234,
        "output_tokens": 345,
        "cache_read_input_tokens": 1024,
        "cache_creation_input_tokens": None,
        "reasoning_output_tokens": 0,
        "usage_source": "reported",
        "cost_usd": Decimal("0.000301"),
        "cost_source": "computed",
        "cache_status": None,
        "cache_origin": None,
        "saved_usd": None,
        "saved_ms": None,
        "outcome": "complete",
        "error": None,
        "request_bytes": 2345,
        "response_bytes": 8123,
        "traced": True,
        "flags": [],
        "tags": [],
        "score": None,
        "comment": None,
    }
    return Row(**(values | changes))


NOTHING_KNOWN: dict[str, Any] = {
    "input_tokens": None,
    "output_tokens": None,
    "cache_read_input_tokens": None,
    "cache_creation_input_tokens": None,
    "reasoning_output_tokens": None,
    "usage_source": "unknown",
    "cost_usd": None,
    "cost_source": "unknown",
    "finish_reasons": None,
    "response_id": None,
}


def rows() -> list[Row]:
    """Every kind of request that a table has to bear, newest first."""
    return [
        row(3),
        row(
            13,
            request_model="claude-sonnet-4-5-20250929",
            provider="anthropic",
            input_tokens=48210,
            output_tokens=1822,
            cache_read_input_tokens=45100,
            cost_usd=Decimal("0.0501"),
            duration_ms=31240.0,
        ),
        row(14.2, **NOTHING_KNOWN, status=429, duration_ms=98.0, stream=False, error="Rate limit reached"),
        row(
            20,
            request_model="text-embedding-3-small",
            operation="embeddings",
            stream=False,
            user="ingest-bot@example.com",
            input_tokens=9,
            output_tokens=None,
            cache_read_input_tokens=None,
            cost_usd=Decimal("0.00000018"),
            duration_ms=212.0,
        ),
        row(
            33,
            request_model="claude-opus-4-5",
            provider="anthropic",
            outcome="aborted",
            output_tokens=212,
            usage_source="estimated",
            cost_source="estimated",
            cost_usd=Decimal("0.0123"),
            duration_ms=640.0,
        ),
        row(
            45,
            request_model=ARN,
            provider="aws.bedrock",
            cost_usd=None,
            cost_source="unknown",
            cache_read_input_tokens=0,
        ),
        row(
            61,
            user="山田太郎",
            request_model="gemini-2.5-pro",
            provider="gcp.gemini",
            input_tokens=1_234_567,
            output_tokens=65_536,
            cache_read_input_tokens=1_000_000,
            cost_usd=Decimal("12.3456"),
            duration_ms=190_000.0,
        ),
        row(
            62,
            **NOTHING_KNOWN,
            user="🦊 foxy",
            request_model="deepseek/deepseek-r1",
            provider="openrouter",
            outcome="failed",
            status=None,
            stream=None,
            duration_ms=10012.0,
            ttfb_ms=None,
            ttft_ms=None,
        ),
        row(
            100,
            **NOTHING_KNOWN,
            user="key:3fa9c1e2b7d0",
            request_model=None,
            response_model=None,
            provider="azure.ai.openai",
            operation=None,
            status=500,
            stream=None,
            duration_ms=33.0,
        ),
        row(4000, request_model="gpt-5.2", input_tokens=812, output_tokens=2210, cost_usd=Decimal("0.0324")),
        row(
            90_000,
            request_model="llama3.2:3b",
            provider="ollama",
            host="localhost",
            cache_read_input_tokens=None,
            cost_usd=Decimal(0),
            duration_ms=8431.0,
        ),
        row(400 * 86_400, request_model="mistral-large-latest", provider="mistral_ai", user="bob", duration_ms=3900.0),
    ]


def opened(**changes: Any) -> Opened:
    """An opened exchange with every kind of part; changes to names of a row go to its row."""
    values: dict[str, Any] = {
        "row": row(
            13,
            request_model="claude-sonnet-4-5",
            response_model="claude-sonnet-4-5-20250929",
            provider="anthropic",
            host="api.anthropic.com",
            path="/v1/messages?beta=true",
            session="sess_01",
            response_id="msg_01",
            input_tokens=48210,
            output_tokens=1822,
            cache_read_input_tokens=45100,
            cache_creation_input_tokens=2100,
            reasoning_output_tokens=512,
            cost_usd=Decimal("0.0501375"),
            duration_ms=31240.0,
            ttfb_ms=1212.0,
            ttft_ms=4100.0,
        ),
        "url": "https://api.anthropic.com/v1/messages?beta=true",
        "http_version": "HTTP/2.0",
        "lane": "flows",
        "reason": "no other policy applies",
        "cost_detail": "1,010 tokens in at $3, 45,100 cached at $0.30, 2,100 cached anew at $3.75, 1,822 out at $15 "
        "per million (genai-prices)",
        "request": Body(
            [
                ("host", "api.anthropic.com"),
                ("x-api-key", "[redacted]"),
                (
                    "user-agent",
                    "Anthropic/Python 2.12.0 (a long one, that goes on and on; linux; x86_64; cpython 3.13)",
                ),
                ("content-type", "application/json"),
            ],
            b'{"model":"claude-sonnet-4-5"}',
            False,
        ),
        "response": Body([("content-type", "text/event-stream"), ("request-id", "req_01")], b"event: ping\n\n", False),
        "input_messages": [
            {"role": "system", "parts": [{"type": "text", "content": "You are a weather assistant. Answer briefly."}]},
            {
                "role": "user",
                "parts": [
                    {"type": "text", "content": "What is on this picture, and how is the weather?\n\nIn JSON."},
                    {"type": "blob", "modality": "image", "mime_type": "image/png", "content": "A" * 40_000},
                    {"type": "uri", "modality": "image", "uri": "https://example.com/a.png"},
                    {"type": "file", "modality": "document", "file_id": "file-1"},
                ],
            },
            {
                "role": "assistant",
                "parts": [
                    {
                        "type": "reasoning",
                        "content": "The picture shows the Eiffel tower, so this is Paris. I call get_weather for it.",
                    },
                    {
                        "type": "tool_call",
                        "id": "toolu_01",
                        "name": "get_weather",
                        "arguments": {"city": "Paris", "days": 2, "exact": True, "at": None},
                    },
                ],
            },
            {
                "role": "tool",
                "parts": [{"type": "tool_call_response", "id": "toolu_01", "response": '{"celsius": [21.5, 19.0]}'}],
            },
        ],
        "output_messages": [
            {
                "role": "assistant",
                "parts": [
                    {"type": "reasoning", "content": "Now I can answer."},
                    {"type": "text", "content": '{"place":"Paris","celsius":21.5}'},
                ],
                "finish_reason": "stop",
            }
        ],
        "completion": '{"place":"Paris","celsius":21.5}',
    }
    of_row = {name: changes.pop(name) for name in list(changes) if name in Row.__struct_fields__}
    values["row"] = msgspec.structs.replace(changes.pop("row", values["row"]), **of_row)
    return Opened(**(values | changes))
