"""A killed process loses nothing that had ended, and what takes over duplicates nothing."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.support import answers
from tests.support.commands import environment, rows, tracecli
from tests.support.load import Load, load
from tests.support.proxies import Place, Proxy, ingest_processes, running_proxy
from tests.support.standin import Standin, gated
from tests.support.waiting import Gate, wait_until

CHAT = "https://api.openai.com/v1/chat/completions"
STREAMED: dict[str, Any] = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Go on."}], "stream": True}
ROUNDS = 3


def assert_all_once(home: Path, ended: set[str]) -> list[str]:
    """Each of the users has one record, and nobody has two."""
    recorded = [row["user"] for row in rows(home)]
    assert len(recorded) == len(set(recorded)), "an exchange is recorded twice"
    assert not ended - set(recorded), f"{len(ended - set(recorded))} of {len(ended)} exchanges are lost"
    return recorded


@pytest.mark.parametrize("also_ingest", [False, True], ids=["proxy", "proxy and ingest"])
def test_a_killed_proxy(standin: Standin, tmp_path: Path, also_ingest: bool) -> None:
    """kill -9 of the proxy under load, again and again, loses no exchange whose end a client saw."""
    place = Place(tmp_path)
    ended: set[str] = set()
    for number in range(ROUNDS):
        with running_proxy(place, standin) as proxy, load(proxy, f"round{number}") as sent:
            wait_until(lambda: len(sent.ended) > 150, "some load")
            if also_ingest:
                for pid in ingest_processes(place.home):
                    os.kill(pid, signal.SIGKILL)
            proxy.kill()
            ended |= set(sent.ended)
            # The dead proxy's ingest is still at work, or dead too; a reader does not care.
            assert_all_once(place.home, ended)
    with running_proxy(place, standin) as proxy:
        assert_all_once(place.home, ended)
        assert proxy.stop() == 0
    assert list(place.home.glob("spool/*")) == []
    assert list(place.home.glob("quarantine/*")) == []
    assert_all_once(place.home, ended)
    assert len(ended) > 50 * ROUNDS / 2


@pytest.mark.parametrize("stream", [False, True], ids=["answer", "stream"])
def test_what_a_client_saw_the_end_of(proxy: Proxy, user: str, stream: bool) -> None:
    """An exchange is recorded before its client sees its end: whatever becomes of the proxy in that moment."""
    with proxy.client(user) as client:
        for number in range(8):
            assert client.post(CHAT, json={**STREAMED, "stream": stream}).status_code == 200
            os.kill(proxy.process.pid, signal.SIGSTOP)
            try:
                found = rows(proxy.home, user)
            finally:
                os.kill(proxy.process.pid, signal.SIGCONT)
            assert len(found) == number + 1


def test_a_killed_ingest(standin: Standin, tmp_path: Path) -> None:
    """kill -9 of ingest at any moment loses and duplicates nothing."""
    place = Place(tmp_path)
    chance = random.Random(7)
    log = (tmp_path / "ingest.log").open("wb")
    with log, running_proxy(place, standin, options={"tracecli_ingest": "false"}) as proxy:
        with load(proxy, "load", per_second=150) as sent:
            for number in range(8):
                ingest = subprocess.Popen(
                    [sys.executable, "-m", "tracecli", "ingest"],
                    cwd=tmp_path,
                    env=environment(place.home),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                )
                # Somewhere in the start, in a round, or between two.
                time.sleep(chance.uniform(0.25, 1.0))
                ingest.kill()
                ingest.wait()
                if number % 3 == 2:
                    assert_all_once(place.home, sent.ended_before(time.monotonic()))
        assert proxy.stop() == 0
    assert sent.failures == 0
    tracecli(place.home, "ingest", "--once")
    assert list(place.home.glob("spool/*")) == []
    recorded = assert_all_once(place.home, set(sent.ended))
    assert set(recorded) == set(sent.ended)
    bodies = len(list(place.home.glob("bodies/*")))
    tracecli(place.home, "ingest", "--once")
    assert len(list(place.home.glob("bodies/*"))) == bodies
    assert list(place.home.glob("tmp/*")) == [], "unfinished files of a killed ingest hold content"


def test_the_proxy_watches_its_ingest(standin: Standin, tmp_path: Path, user: str) -> None:
    """An ingest process that dies is started again, and takes up where it was."""
    with running_proxy(tmp_path, standin) as proxy:
        for number in range(2):
            (first,) = wait_until(lambda: ingest_processes(proxy.home), "ingest")
            os.kill(first, signal.SIGKILL)
            with proxy.client(f"{user}-{number}") as client:
                client.post(CHAT, json=STREAMED)
            assert proxy.only_row(f"{user}-{number}")["outcome"] == "complete"
            wait_until(lambda: set(ingest_processes(proxy.home)) - {first}, "a new ingest")  # noqa: B023 - called at once
        wait_until(lambda: not list(proxy.home.glob("spool/*")), "an empty spool")
        assert "ingest" in proxy.said()


def test_a_stream_under_way_when_the_proxy_stops(standin: Standin, tmp_path: Path, user: str) -> None:
    """A stream that the end of the proxy breaks off is recorded, with what had arrived."""
    events = answers.chat_sse(answers.chat_stream())
    gates = [Gate() for _ in range(4)]
    for gate in gates[:3]:
        gate.open()
    script = standin.script(gated(events, gates))
    had = b""
    with running_proxy(tmp_path, standin) as proxy:
        with (
            proxy.client(user) as client,
            client.stream("POST", CHAT, json=STREAMED, headers=script.headers) as answer,
        ):
            for piece in answer.iter_raw():
                had += piece
                if had == b"".join(events[:3]):
                    break
            assert proxy.stop() == 0
        gates[3].open()
        # Nobody but a reader is left: the last record may wait in the spool for the next ingest.
        one = proxy.only_opened(user)
    assert one["outcome"] in ("aborted", "failed")
    assert one["response"]["body"].encode() == had


def test_a_second_proxy_beside_the_first(standin: Standin, tmp_path: Path) -> None:
    """Two proxies of one home record side by side, each exchange once."""
    place = Place(tmp_path)
    with running_proxy(place, standin) as one, running_proxy(place, standin) as other:
        with load(one, "one", per_second=40) as first, load(other, "other", per_second=40) as second:
            wait_until(lambda: min(len(first.ended), len(second.ended)) > 60, "some load")
        assert one.stop_alone() == 0
        with load(other, "later", per_second=40) as third:
            wait_until(lambda: len(third.ended) > 30, "some load")
        assert_all_once(place.home, _all(first, second, third))
    assert list(place.home.glob("spool/*")) == []


def _all(*loads: Load) -> set[str]:
    return {user for one in loads for user in one.ended}
