"""Rules through a real proxy and its ingest: what passes is flagged, and an edit counts for what comes after it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.commands import tracecli
from tests.support.proxies import Proxy, running_proxy
from tests.support.standin import Standin
from tests.support.waiting import wait_until

CHAT = "https://api.openai.com/v1/chat/completions"
FILES = {
    "default": '[redaction]\nkinds = ["email"]\n',
    "flags/leak": 'words = ["project falcon"]\n',
    "flags/mail": 'detectors = ["email"]\nside = "prompt"\n',
    "flags/mini": 'where = "model:*mini -user:*nobody*"\n',
}


@pytest.fixture(scope="module")
def ruled(standin: Standin, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    """A proxy with rules, and with redaction before them."""
    with running_proxy(tmp_path_factory.mktemp("flags"), standin, policies=FILES) as proxy:
        yield proxy


def ask(proxy: Proxy, user: str, text: str, **more: Any) -> None:
    messages = [
        {"role": "user", "content": "What is project falcon?"},
        {"role": "assistant", "content": "I do not know."},
        {"role": "user", "content": text},
    ]
    with proxy.client(user) as client:
        assert client.post(CHAT, json={"model": "gpt-4o-mini", "messages": messages, **more}).status_code == 200


def test_what_passes_is_flagged(ruled: Proxy, user: str) -> None:
    """By words of the last turn, by what redaction took out, by metadata; and the flags can be asked for."""
    ask(ruled, user, "Nothing of that kind", stream=True)
    ask(ruled, user, "Tell bob@example.com about Project\nFalcon", stream=True)

    def flags() -> list[list[str]]:
        return [row["flags"] for row in ruled.rows(user)]

    assert wait_until(lambda: len(found := flags()) == 2 and found, "both to be recorded") == [
        ["redacted", "leak", "mail", "mini"],
        ["mini"],
    ]
    wait_until(lambda: not list((ruled.home / "spool").glob("*")), "ingest to load them")
    assert flags() == [["redacted", "leak", "mail", "mini"], ["mini"]]
    shown = tracecli(ruled.home, "usage", "stats", "--by", "flag", f"user:{user}", "--format", "jsonl").stdout
    assert shown.count('"requests": 1') == 3


def test_a_rule_edited_meanwhile(ruled: Proxy, user: str) -> None:
    """A new rule counts from its next round on, a broken edit changes nothing and is said in the log of ingest."""
    path = ruled.policies / "flags" / "new.toml"
    path.write_text('words = ["lighthouse"]\n')
    ask(ruled, user, "A lighthouse")
    wait_until(lambda: ruled.rows(user) and not list((ruled.home / "spool").glob("*")), "ingest to load it")
    path.write_text('wordz = ["lighthouse"]\n')
    ask(ruled, user, "Another lighthouse")
    wait_until(lambda: "new stays as it was" in (ruled.home / "ingest.log").read_text(), "ingest to say so")
    wait_until(lambda: not list((ruled.home / "spool").glob("*")), "ingest to load it")
    assert [row["flags"] for row in ruled.rows(user)] == [["mini", "new"], ["mini", "new"]]
    path.unlink()
