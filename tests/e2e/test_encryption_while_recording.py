"""Encryption while a proxy records: it goes on with the newest key."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.support import answers
from tests.support.commands import opened, tracecli
from tests.support.encrypting import key_file
from tests.support.proxies import running_proxy
from tests.support.secrets_in_files import files_with
from tests.support.standin import Standin
from tests.support.waiting import wait_until

CHAT = "https://api.openai.com/v1/chat/completions"
CACHED = {"default": 'tracing = true\n[cache]\nmode = "on"\n'}


def asked(number: int) -> dict[str, Any]:
    text = f"the silver lighthouse {number}"
    return {"model": "gpt-4o-mini", "temperature": 0, "messages": [{"role": "user", "content": text}]}


def test_turned_on_while_clients_send(tmp_path: Path, standin: Standin) -> None:
    """No restart and no loss: what comes and what is there is encrypted, rotated and decrypted beneath the clients."""
    key, other = key_file(tmp_path), key_file(tmp_path, "other")
    with running_proxy(tmp_path, standin, policies=CACHED) as proxy, proxy.client("alice") as client:

        def said(number: int) -> bytes:
            answer = client.post(CHAT, json=asked(number))
            assert answer.status_code == 200
            return answer.content

        def state(*words: str) -> dict[str, Any]:
            found: dict[str, Any] = json.loads(tracecli(proxy.home, "encryption", *words, "--json").stdout)
            return found

        first = said(1)
        wait_until(lambda: files_with(proxy.home, "silver lighthouse 1"), "the first request in a file")
        assert state("on", "--key-file", str(key))["proxies_behind"] == []
        assert files_with(proxy.home, "silver lighthouse") == []
        assert said(1) == said(1)
        said(2)
        assert files_with(proxy.home, "silver lighthouse") == []
        assert state("rotate", "--key-file", str(other))["complete"]
        said(3)
        key.unlink()
        rows = wait_until(lambda: found if len(found := proxy.rows("alice")) == 5 else None, "five exchanges")
        assert [row["cache_status"] for row in rows[1:4]] == ["stored", "hit", "stored"]
        told = [opened(proxy.home, row["id"]) for row in rows]
        assert [answers.TEXT in one["completion"] for one in told] == [True] * 5
        assert opened(proxy.home, rows[-1]["id"])["response"]["body"].encode() == first
        assert files_with(proxy.home, "silver lighthouse") == []
        assert state("off")["complete"]
        assert files_with(proxy.home, "silver lighthouse 3")
