"""Captured exchanges for tests."""

from __future__ import annotations

from tracecli.exchange import Captured, Exchange, new_id


def captured(request: bytes = b"question", response: bytes = b"answer", **changes: object) -> Captured:
    """An exchange with plausible values, some of them changed."""
    values: dict[str, object] = {
        "id": new_id(),
        "lane": "flows",
        "started_at_us": 1_700_000_000_000_000,
        "user": "alice",
        "user_source": "header",
        "policy": "default",
        "reason": "default",
        "traced": True,
        "provider": "openai",
        "operation": "chat",
        "method": "POST",
        "scheme": "https",
        "host": "api.openai.com",
        "port": 443,
        "path": "/v1/chat/completions",
        "http_version": "HTTP/1.1",
        "request_headers": [("Content-Type", "application/json"), ("Accept", "a"), ("Accept", "b")],
        "request_bytes": len(request),
        "response_bytes": len(response),
        "outcome": "complete",
        "duration_ms": 12.5,
        "chunks": [(3, 1.5), (6, 2.0)],
    }
    return Captured(Exchange(**(values | changes)), request, response)  # type: ignore[arg-type]
