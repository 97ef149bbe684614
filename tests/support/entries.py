"""Stored answers for tests."""

from __future__ import annotations

from tracecli.cache.entries import Entry
from tracecli.exchange import new_id


def entry(key: bytes = b"k" * 32, **changes: object) -> Entry:
    """A stored answer with plausible values, some of them changed."""
    values: dict[str, object] = {
        "key": key,
        "asked_hash": b"a" * 32,
        "exchange_id": new_id(),
        "stored_at": 1_000.0,
        "duration_ms": 850.0,
        "user": "alice",
        "policy": "default",
        "provider": "openai",
        "host": "api.openai.com",
        "operation": "chat",
        "model": "gpt-4o-mini",
        "status": 200,
        "headers": [("Content-Type", "application/json")],
        "body": b'{"answer": 42}',
    }
    return Entry(**(values | changes))  # type: ignore[arg-type]
