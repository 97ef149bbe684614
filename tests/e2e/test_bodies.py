"""Bodies pass as they are, whatever their coding or size; the record is readable and has its limit."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest

from tests.support import answers
from tests.support.proxies import Proxy
from tests.support.standin import Received, Reply, answers_with, gated, send_json

CHAT = "https://api.openai.com/v1/chat/completions"
ASKED: dict[str, Any] = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Encode it."}]}
PLAIN = json.dumps(answers.chat()).encode()
STREAM = b"".join(answers.chat_sse(answers.chat_stream()))
CODINGS = ["gzip", "deflate", "br", "zstd"]
LIMIT = 20_000_000


@pytest.mark.parametrize("coding", CODINGS)
def test_an_encoded_answer(proxy: Proxy, user: str, coding: str) -> None:
    """The client gets the encoded bytes exactly as they were sent, and the record shows the text."""
    sent = answers.encode(coding, PLAIN)
    headers = [("Content-Type", "application/json"), ("Content-Encoding", coding)]
    script = proxy.standin.script(answers_with(sent, headers))
    asking = {"Accept-Encoding": coding, **script.headers}
    with proxy.client(user) as client, client.stream("POST", CHAT, json=ASKED, headers=asking) as answer:
        assert b"".join(answer.iter_raw()) == sent
        assert answer.headers["content-encoding"] == coding
    assert script.received[0].header("accept-encoding") == coding
    one = proxy.only_opened(user)
    assert one["response"]["body"].encode() == PLAIN
    assert (one["completion"], one["input_tokens"], one["flags"]) == (answers.TEXT, 1500, [])
    assert one["response_bytes"] == len(sent)


@pytest.mark.parametrize("coding", CODINGS)
def test_an_encoded_stream(proxy: Proxy, user: str, coding: str) -> None:
    """A stream that is encoded as a whole, and arrives in pieces that mean nothing alone, is understood."""
    sent = answers.encode(coding, STREAM)
    step = len(sent) // 7 + 1

    async def in_pieces(_: Received, reply: Reply) -> None:
        await reply.head(200, [("Content-Type", "text/event-stream"), ("Content-Encoding", coding)])
        for start in range(0, len(sent), step):
            await reply.send(sent[start : start + step])
        await reply.end()

    script = proxy.standin.script(in_pieces)
    asked = ASKED | {"stream": True}
    with proxy.client(user) as client, client.stream("POST", CHAT, json=asked, headers=script.headers) as answer:
        assert b"".join(answer.iter_raw()) == sent
    one = proxy.only_opened(user)
    assert one["response"]["body"].encode() == STREAM
    assert (one["completion"], one["output_tokens"], one["flags"]) == (answers.TEXT, 200, [])


def test_an_answer_that_is_not_what_it_says(proxy: Proxy, user: str) -> None:
    """An answer that does not decode reaches the client all the same, and is recorded as it came, and marked."""
    sent = b"this is no gzip"
    headers = [("Content-Type", "application/json"), ("Content-Encoding", "gzip")]
    script = proxy.standin.script(answers_with(sent, headers))
    with proxy.client(user) as client, client.stream("POST", CHAT, json=ASKED, headers=script.headers) as answer:
        assert b"".join(answer.iter_raw()) == sent
    one = proxy.only_opened(user)
    assert one["outcome"] == "complete"
    assert "bad_encoding" in one["flags"]
    assert one["response"]["body"].encode() == sent


def test_an_encoded_request(proxy: Proxy, user: str) -> None:
    """A request that the client compressed reaches the provider as it is, and its prompt is readable."""
    sent = answers.encode("gzip", json.dumps(ASKED).encode())
    script = proxy.standin.script()
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip", **script.headers}
    with proxy.client(user) as client:
        assert client.post(CHAT, content=sent, headers=headers).status_code == 200
    assert script.received[0].body == sent
    one = proxy.only_opened(user)
    assert json.loads(one["request"]["body"]) == ASKED
    assert "Encode it." in str(one["input_messages"])


def test_an_answer_over_the_limit(proxy: Proxy, user: str) -> None:
    """An answer of more than 20 MB passes whole, and the record holds its beginning and says so."""
    body = json.dumps(answers.chat("x" * (LIMIT + 500_000))).encode()
    script = proxy.standin.script(answers_with(body, [("Content-Type", "application/json")]))
    with proxy.client(user) as client:
        answer = client.post(CHAT, json=ASKED, headers=script.headers)
    assert hashlib.sha256(answer.content).digest() == hashlib.sha256(body).digest()
    one = proxy.only_opened(user)
    assert (one["outcome"], one["status"], one["response_bytes"]) == ("complete", 200, len(body))
    assert "response_cut" in one["flags"]
    assert one["response"]["body"].encode() == body[:LIMIT]


def test_a_request_over_the_limit(proxy: Proxy, user: str) -> None:
    """A request of more than 20 MB passes whole, and the record holds its beginning and says so."""
    asked = ASKED | {"messages": [{"role": "user", "content": "y" * (LIMIT + 500_000)}]}
    body = json.dumps(asked).encode()
    script = proxy.standin.script(_digest)
    with proxy.client(user) as client:
        answer = client.post(CHAT, content=body, headers={"Content-Type": "application/json", **script.headers})
    assert answer.json()["id"] == hashlib.sha256(body).hexdigest()
    one = proxy.only_opened(user)
    assert (one["outcome"], one["status"], one["request_bytes"]) == ("complete", 200, len(body))
    assert "request_cut" in one["flags"]
    assert one["request"]["body"].encode() == body[:LIMIT]
    assert one["completion"] == answers.TEXT


async def _digest(received: Received, reply: Reply) -> None:
    await send_json(reply, answers.chat() | {"id": hashlib.sha256(received.body).hexdigest()})


def test_a_request_without_a_length(proxy: Proxy, user: str) -> None:
    """A request that is sent in chunks passes, and is recorded whole."""
    body = json.dumps(ASKED).encode()
    script = proxy.standin.script()
    with proxy.client(user) as client:
        answer = client.post(CHAT, content=iter([body[:20], body[20:]]), headers=script.headers)
    assert answer.status_code == 200
    assert script.received[0].body == body
    assert proxy.only_opened(user)["request"]["body"].encode() == body


def test_bytes_that_are_no_text(proxy: Proxy, user: str) -> None:
    """An answer that is no text, as speech, passes and is shown as base64."""
    import base64

    sound = bytes(range(256)) * 20
    script = proxy.standin.script(answers_with(sound, [("Content-Type", "audio/mpeg")]))
    with proxy.client(user) as client:
        answer = client.post(
            "https://api.openai.com/v1/audio/speech", json={"model": "tts-1", "input": "Hi"}, headers=script.headers
        )
    assert answer.content == sound
    one = proxy.only_opened(user)
    assert (one["operation"], one["outcome"]) == ("speech", "complete")
    assert one["response"]["body_encoding"] == "base64"
    assert base64.b64decode(one["response"]["body"]) == sound


def test_an_empty_answer(proxy: Proxy, user: str) -> None:
    """An answer without a body is a complete exchange."""
    script = proxy.standin.script(answers_with(b"", [], 204))
    with proxy.client(user) as client:
        assert client.post(CHAT, json=ASKED, headers=script.headers).status_code == 204
    one = proxy.only_opened(user)
    assert (one["status"], one["outcome"], one["response_bytes"], one["completion"]) == (204, "complete", 0, None)


def test_a_stream_that_says_nothing_at_its_end(proxy: Proxy, user: str) -> None:
    """A stream without its last event, though HTTP ended it well, is marked."""
    script = proxy.standin.script(gated(answers.chat_sse(answers.chat_stream())[:4], []))
    with proxy.client(user) as client:
        client.post(CHAT, json=ASKED | {"stream": True}, headers=script.headers)
    row = proxy.only_row(user)
    assert (row["outcome"], row["flags"]) == ("complete", ["no_end_event"])
