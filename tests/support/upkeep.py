"""What tests of stored costs share: a home with chats, its prices, and a look into its tables."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import duckdb
import pytest

from tests.support.exchanges import captured
from tracecli import ingest, keys
from tracecli.config import Home
from tracecli.exchange import Captured, new_id
from tracecli.spool import SpoolWriter

JSON = [("Content-Type", "application/json")]
STARTED_US = 1_790_000_000_000_000  # September 2026
LONG_AGO = "2026-01-01"
_later = itertools.count()


def chat(model: str = "gpt-4o", **changes: Any) -> Captured:
    """A chat with 1,000 tokens in and 100 out, its id later than that of the one before.

    `usage` is the answer's, None for none; `prompt` and `answer` are the texts.
    """
    usage = changes.pop("usage", {"prompt_tokens": 1000, "completion_tokens": 100})
    answer = {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "model": model,
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": changes.pop("answer", "hi")},
                "finish_reason": "stop",
            }
        ],
    }
    request = {"model": model, "messages": [{"role": "user", "content": changes.pop("prompt", "Say hi")}]}
    values = {
        "id": new_id(STARTED_US // 1000 + next(_later)),
        "started_at_us": STARTED_US,
        "status": 200,
        "request_headers": JSON,
        "response_headers": JSON,
    } | changes
    body = answer | ({"usage": usage} if usage else {})
    return captured(json.dumps(request).encode(), json.dumps(body).encode(), **values)


def new_home(folder: Path, environment: pytest.MonkeyPatch | None = None) -> Home:
    """An empty home and an empty policy folder beside it, which `environment` is to name."""
    home = Home(folder / "home")
    home.prepare()
    policies(home).mkdir()
    if environment:
        environment.setenv("TRACECLI_HOME", str(home.root))
        environment.setenv("TRACECLI_POLICIES", str(policies(home)))
    return home


def spooled(home: Home, *exchanges: Captured) -> None:
    """Put exchanges into the spool."""
    writer = SpoolWriter(home.spool, ring=keys.ring(home))
    for exchange in exchanges:
        assert writer.append(exchange)
    writer.close()


def stored(home: Home, *exchanges: Captured) -> None:
    """Bring exchanges into the store, as ingest does."""
    spooled(home, *exchanges)
    load(home)


def load(home: Home) -> ingest.Status:
    """One run of ingest, with the policies beside the home."""
    return ingest.run(home, once=True, ended=lambda: False, policies=policies(home))


def policies(home: Home) -> Path:
    """The policy folder."""
    return home.root.parent / "policies"


def priced_at(home: Home, dollars: object, model: str = "gpt-4o", more: str = "") -> None:
    """Write prices.toml: so many dollars a million for input and output of a model."""
    (policies(home) / "prices.toml").write_text(
        f'[[price]]\nprovider = "openai"\nmodel = "{model}"\ninput = {dollars}\noutput = {dollars}\n{more}'
    )


def queried(home: Home, sql: str) -> list[tuple[Any, ...]]:
    """What the database answers, to a reader of its own."""
    with duckdb.connect(str(home.database), read_only=True) as connection:
        return connection.execute(sql).fetchall()


def costs(home: Home) -> list[Any]:
    """The stored costs, in the order of their ids."""
    return [cost for (cost,) in queried(home, "SELECT cost_usd FROM exchange ORDER BY id")]
