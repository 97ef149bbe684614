"""What has just happened can be read at once, while traffic goes on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.support.commands import opened, tracecli
from tests.support.load import load
from tests.support.proxies import running_proxy
from tests.support.standin import Standin

CHAT = "https://api.openai.com/v1/chat/completions"
ASKED: dict[str, Any] = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Seen yet?"}]}


def test_reading_under_load(standin: Standin, tmp_path: Path, user: str) -> None:
    """During 100 requests a second, every read works, and has the exchange that ended just before it."""
    with running_proxy(tmp_path, standin) as proxy:
        with load(proxy, "load", per_second=100) as sent, proxy.client() as client:
            for number in range(20):
                client.post(CHAT, json=ASKED, headers={"X-Tracecli-User": f"{user}-{number}"})
                printed = tracecli(proxy.home, "usage", "show", "--json", "--limit", "500").stdout
                found = [row for row in json.loads(printed) if row["user"] == f"{user}-{number}"]
                assert len(found) == 1, f"read {number} does not have the exchange that ended before it began"
                if number % 5 == 0:
                    assert opened(proxy.home, found[0]["id"])["request"]["body"]
        assert len(sent.ended) > 100, "there was no load"
        assert sent.failures == 0
        recorded = [row["user"] for row in proxy.rows()]
    assert len(recorded) == len(set(recorded))
    assert set(recorded) == set(sent.ended) | {f"{user}-{number}" for number in range(20)}
