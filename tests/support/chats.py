"""Recorded chats, made up: asked and answered once or again, some seconds apart, stored by ingest."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path
from typing import Any

from tests.support.exchanges import captured
from tracecli.config import Home
from tracecli.exchange import Captured, new_id
from tracecli.ingest import run
from tracecli.spool import SpoolWriter

START = 1_795_000_000_000_000
"""Unix microseconds."""
EVER = dt.datetime.fromtimestamp(0, dt.UTC)
_USAGE = {"prompt_tokens": 1000, "completion_tokens": 100, "total_tokens": 1100}
COST = "0.00021"
"""What one of them costs, in US dollars."""


def home_with_cache(root: Path) -> Home:
    """An empty home; its policies, beside it, cache for everybody."""
    home = Home(root / "home")
    home.prepare()
    policies = root / "policies"
    policies.mkdir()
    (policies / "default.toml").write_text('[cache]\nmode = "on"\n')
    return home


def asked(text: str, **more: Any) -> bytes:
    """A chat."""
    return json.dumps({"model": "gpt-4o-mini", "messages": [{"role": "user", "content": text}], **more}).encode()


def answered(text: str, model: str = "gpt-4o-mini") -> bytes:
    """Its answer, with an id of its own."""
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    told = {"id": new_id(), "object": "chat.completion", "model": model, "choices": [choice], "usage": _USAGE}
    return json.dumps(told).encode()


def call(second: float, request: bytes, response: bytes | None = None, **changes: Any) -> Captured:
    """An exchange of 900 ms, so many seconds after the start."""
    at = START + int(second * 1_000_000)
    about = {"started_at_us": at, "id": new_id(at // 1000), "status": 200, "duration_ms": 900.0, "credential": "key:1"}
    about |= {"response_headers": [("Content-Type", "application/json")], "chunks": []}
    return captured(request, answered("x") if response is None else response, **(about | changes))


def store(home: Home, *exchanges: Captured) -> list[str]:
    """Ingest exchanges; returns their ids."""
    spool = SpoolWriter(home.spool)
    for one in exchanges:
        assert spool.append(one)
    spool.close()
    run(home, once=True, ended=lambda: True, policies=home.root.parent / "policies")
    return [one.exchange.id for one in exchanges]
