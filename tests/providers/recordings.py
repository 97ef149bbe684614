"""Recorded traffic with independent answers, from the folder that TRACECLI_RECORDINGS names; never copied into here."""

from __future__ import annotations

import base64
import json
import os
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tracecli.exchange import Exchange
from tracecli.providers.hosts import Hosts
from tracecli.providers.registry import Operation, operation_of

type Row = dict[str, Any]

needs_recordings = pytest.mark.skipif("TRACECLI_RECORDINGS" not in os.environ, reason="TRACECLI_RECORDINGS is not set")

# Hosts of the recordings that no table can know, under the provider whose API was spoken there.
HOSTS = Hosts(
    [
        "*.snowflakecomputing.com=snowflake",
        "demo-endpoints.pydantic.workers.dev",
        "0.0.0.0:4000=openai",  # LiteLLM, for the price: it answered with OpenAI's models
    ]
)


@cache
def rows(file: str) -> list[Row]:
    """The rows of a file; none where there are no recordings, so that tests can be collected."""
    folder = os.environ.get("TRACECLI_RECORDINGS")
    if not folder:
        return []
    return [json.loads(line) for line in (Path(folder) / file).read_text().splitlines()]


@cache
def oracle() -> dict[str, Row]:
    """The expected reading of each exchange, by id."""
    return {row["id"]: row for row in rows("oracle.jsonl")}


def flavor(row: Row) -> str:
    """What the oracle calls the endpoint of a recording, also of a re-encoded one."""
    return str(oracle().get(row["id"].partition("~")[0], {}).get("flavor"))


def operation(row: Row) -> Operation | None:
    """What the registry makes of a recorded request."""
    url = urlsplit(row["url"])
    provider = HOSTS.provider_of(url.hostname or "", url.port or 443)
    return operation_of(provider, row["method"], _path(row)) if provider else None


def exchange(row: Row, **changes: Any) -> tuple[Exchange, bytes, bytes]:
    """A recording as an exchange with its two bodies."""
    url = urlsplit(row["url"])
    found = operation(row)
    values: dict[str, Any] = {
        "id": row["id"],
        "lane": "flows",
        "started_at_us": 1_763_800_000_000_000,
        "user": "alice",
        "user_source": "header",
        "policy": "default",
        "reason": "default",
        "traced": True,
        "provider": HOSTS.provider_of(url.hostname or "", url.port or 443) or "",
        "operation": found.name if found else None,
        "method": row["method"],
        "scheme": url.scheme,
        "host": url.hostname or "",
        "port": url.port or 443,
        "path": _path(row),
        "http_version": "HTTP/1.1",
        "request_headers": [(name, value) for name, value in row["request_headers"]],
        "status": row["status"],
        "response_headers": [(name, value) for name, value in row["response_headers"]],
        "outcome": "complete",
        "duration_ms": 1.0,
    }
    request, response = (base64.b64decode(row[name] or "") for name in ("request_body", "response_body"))
    return Exchange(**(values | changes)), request, response


def _path(row: Row) -> str:
    url = urlsplit(row["url"])
    return (url.path or "/") + (f"?{url.query}" if url.query else "")
