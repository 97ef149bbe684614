"""What the policies say is done: recorded whole, without content, or not at all; edits act at once."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import answers
from tests.support.commands import tracecli
from tests.support.proxies import Proxy, running_proxy
from tests.support.secrets_in_files import files_with
from tests.support.standin import Standin, answers_json, gated
from tests.support.waiting import Gate, wait_until

CHAT = "https://api.openai.com/v1/chat/completions"
MESSAGES = "https://api.anthropic.com/v1/messages"
UNTRACED = {"untraced": "tracing = false\n", "nothing": "tracing = false\nmetering = false\n"}


def prompt(text: str, **more: Any) -> dict[str, Any]:
    return {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": text}], **more}


@pytest.fixture(scope="module")
def ruled(standin: Standin, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    """A proxy with policies that tests may assign and edit."""
    with running_proxy(tmp_path_factory.mktemp("ruled"), standin, policies=UNTRACED) as proxy:
        yield proxy


def ask(proxy: Proxy, user: str, **more: Any) -> None:
    with proxy.client(user) as client:
        assert client.post(CHAT, json=prompt("What may be kept?", **more)).status_code == 200


def until_requests_are(proxy: Proxy, user: str, wanted: Callable[[dict[str, Any]], bool]) -> None:
    """Send requests until one is recorded as wanted."""

    def next_one() -> bool:
        ask(proxy, user)
        row = proxy.rows(user)[0]
        return wanted(row)

    wait_until(next_one, "the policy to apply", deadline_s=10)


def test_an_edit_acts_on_the_next_requests(ruled: Proxy, user: str) -> None:
    """A policy that is assigned while the proxy runs applies within about a second, and so does taking it away."""
    ask(ruled, user)
    assert ruled.only_row(user)["traced"]
    ruled.policy(f"users/{user}", 'policy = "untraced"\n')
    until_requests_are(ruled, user, lambda row: row["traced"] is False)
    row = ruled.rows(user)[0]
    assert row["policy"] == "untraced"
    (ruled.policies / "users" / f"{user}.toml").unlink()
    until_requests_are(ruled, user, lambda row: row["traced"] is True)


def test_a_broken_edit_changes_nothing(ruled: Proxy, user: str) -> None:
    """A policy file that cannot be read keeps the last good policies and the traffic, and the log names the file."""
    ruled.policy(f"users/{user}", 'policy = "untraced"\n')
    until_requests_are(ruled, user, lambda row: row["traced"] is False)
    for broken in ('policy = "untraced', "tracign = true\n", 'policy = "no-such-policy"\n', "tracing = 1\n"):
        before = ruled.said().count(f"{user}.toml")
        ruled.policy(f"users/{user}", broken)
        wait_until(lambda: ruled.said().count(f"{user}.toml") > before, "a word about the broken file")  # noqa: B023 - called at once
        ask(ruled, user)
        assert ruled.rows(user)[0]["traced"] is False
    ruled.policy(f"users/{user}", "tracing = true\n")
    until_requests_are(ruled, user, lambda row: row["traced"] is True)


def test_a_request_keeps_the_policy_it_began_with(ruled: Proxy, user: str) -> None:
    """An edit in the middle of a stream does not touch that stream."""
    events = answers.chat_sse(answers.chat_stream())
    gates = [Gate(), Gate()]
    gates[0].open()
    script = ruled.standin.script(gated(events, gates))
    with (
        ruled.client(f"{user}-a") as client,
        client.stream("POST", CHAT, json=prompt("Go on.", stream=True), headers=script.headers) as answer,
    ):
        pieces = answer.iter_raw()
        next(pieces)
        ruled.policy(f"users/{user}-a", "tracing = false\n")
        ruled.policy(f"users/{user}-b", "tracing = false\n")
        until_requests_are(ruled, f"{user}-b", lambda row: row["traced"] is False)
        gates[1].open()
        for _ in pieces:
            pass
    one = ruled.only_opened(f"{user}-a")
    assert one["traced"] is True
    assert one["completion"] == answers.TEXT


def test_a_limit_of_ones_own(ruled: Proxy, user: str) -> None:
    """A smaller limit of a user cuts the record, not the answer."""
    ruled.policy(f"users/{user}", "max_body_bytes = 100\n")
    until_requests_are(ruled, user, lambda row: "response_cut" in row["flags"])
    one = ruled.rows(user)[0]
    assert one["response_bytes"] == len(json.dumps(answers.chat()))


def test_nothing_at_all(ruled: Proxy, user: str) -> None:
    """With tracing and metering off, a request passes and leaves no record."""
    ruled.policy(f"users/{user}", 'policy = "nothing"\n')
    ruled.policy(f"users/{user}-b", "tracing = false\n")
    until_requests_are(ruled, f"{user}-b", lambda row: row["traced"] is False)  # so the other applies too
    before = len(ruled.rows(user))
    ask(ruled, user)
    ask(ruled, f"{user}-after")
    ruled.only_row(f"{user}-after")
    assert len(ruled.rows(user)) == before


@pytest.fixture(scope="module")
def silent(standin: Standin, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    """A proxy that traces nobody, and whose ingest is not running."""
    with running_proxy(
        tmp_path_factory.mktemp("silent"),
        standin,
        policies={"default": "tracing = false\n"},
        options={"tracecli_ingest": "false"},
    ) as proxy:
        yield proxy


@pytest.fixture
def marker() -> str:
    """Text that is nowhere else."""
    return f"marker{secrets.token_hex(12)}"


def assert_nowhere(proxy: Proxy, *texts: str) -> None:
    """No file of the installation holds any of the texts: spool, database, bodies, logs."""
    for text in texts:
        assert files_with(proxy.folder, text) == []


def everything_ingested(home: Path) -> None:
    """Load what the proxy has sealed by now and later, until the spool is empty."""

    def empty() -> bool:
        tracecli(home, "ingest", "--once")
        return not list(home.glob("spool/*"))

    wait_until(empty, "an empty spool")


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("provider", ["openai", "anthropic"])
def test_tracing_off_keeps_no_content(silent: Proxy, user: str, marker: str, provider: str, stream: bool) -> None:
    """Without tracing there is a usage record, and prompt and answer are in no file at any time."""
    secret_answer = f"answer{marker}"
    if provider == "openai":
        url, body = CHAT, json.dumps(answers.chat(secret_answer)).encode()
        events = answers.chat_sse(answers.chat_stream(secret_answer, count=1))
    else:
        url, body = MESSAGES, json.dumps(answers.message(secret_answer)).encode()
        events = answers.named(answers.message_stream(secret_answer, count=1))
    pieces = events if stream else [body]
    gates = [Gate() for _ in pieces]
    script = silent.standin.script(gated(pieces, gates))
    asked = prompt(f"prompt{marker}", stream=stream, tools=[{"name": f"tool{marker}"}])
    asked["model"] = "gpt-4o-mini" if provider == "openai" else "claude-haiku-4-5"
    had = b""
    with silent.client(user) as client, client.stream("POST", url, json=asked, headers=script.headers) as answer:
        arriving = answer.iter_raw()
        for gate, piece in zip(gates, pieces, strict=True):
            gate.open()
            while not had.endswith(piece):
                had += next(arriving)
            assert_nowhere(silent, marker)
        for _ in arriving:
            pass
    assert secret_answer.encode() in had
    assert marker in script.received[0].body.decode()
    row = silent.only_row(user)
    assert_nowhere(silent, marker)
    assert (row["traced"], row["outcome"], row["status"]) == (False, "complete", 200)
    assert (row["input_tokens"], row["output_tokens"], row["usage_source"]) == (1500, 200, "reported")
    assert row["request_model"] == asked["model"]
    assert row["stream"] is stream
    assert (row["request_bytes"], row["response_bytes"]) == (len(script.received[0].body), len(b"".join(pieces)))
    everything_ingested(silent.home)
    assert_nowhere(silent, marker)
    one = silent.only_opened(user)
    assert (one["completion"], one["input_messages"], one["output_messages"]) == (None, [], [])
    assert (one["request"]["body"], one["response"]["body"]) == ("", "")


def test_tracing_off_counts_tokens(silent: Proxy, user: str) -> None:
    """A usage record without content has tokens, cost, finish reason and time to first token."""
    with silent.client(user) as client:
        client.post(CHAT, json=prompt("x", stream=True, stream_options={"include_usage": True}))
    row = silent.only_row(user)
    assert (row["input_tokens"], row["output_tokens"], row["reasoning_output_tokens"]) == (1500, 200, 64)
    assert (row["cost_usd"], row["cost_source"]) == ("0.0002682", "computed")
    assert (row["response_model"], row["finish_reasons"]) == (answers.OPENAI_MODEL, ["stop"])
    assert 0 < row["ttfb_ms"] <= row["ttft_ms"] <= row["duration_ms"]


def test_tracing_off_and_an_error(silent: Proxy, user: str, marker: str) -> None:
    """An error message may repeat the prompt: without tracing only its type is kept."""
    error = {"error": {"message": f"Cannot process {marker!r}", "type": "invalid_request_error", "param": None}}
    script = silent.standin.script(answers_json(error, 400))
    with silent.client(user) as client:
        assert client.post(CHAT, json=prompt(marker), headers=script.headers).status_code == 400
    row = silent.only_row(user)
    assert (row["status"], row["traced"]) == (400, False)
    everything_ingested(silent.home)
    assert_nowhere(silent, marker)


def test_tracing_off_and_a_client_that_leaves(silent: Proxy, user: str, marker: str) -> None:
    """A stream that is broken off without tracing is an aborted usage record without content."""
    events = answers.chat_sse(answers.chat_stream(marker, count=1))
    gates = [Gate() for _ in range(4)]
    for gate in gates[:3]:
        gate.open()
    script = silent.standin.script(gated(events, gates))
    asked = prompt(marker, stream=True)
    with silent.client(user) as client, client.stream("POST", CHAT, json=asked, headers=script.headers) as answer:
        had = b""
        for piece in answer.iter_raw():
            had += piece
            if marker.encode() in had:
                break
    row = silent.only_row(user)
    gates[3].open()
    assert (row["outcome"], row["traced"], row["status"]) == ("aborted", False, 200)
    everything_ingested(silent.home)
    assert_nowhere(silent, marker)
