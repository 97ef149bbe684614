"""A stream arrives piece by piece, and however it ends, it is one exchange."""

from __future__ import annotations

import json
from typing import Any

import httpx2
import openai
import pytest

from tests.support import answers
from tests.support.http2 import http2
from tests.support.proxies import Proxy
from tests.support.standin import Received, Reply, answers_with, gated
from tests.support.waiting import Gate, wait_until

CHAT = "https://api.openai.com/v1/chat/completions"
STREAMED: dict[str, Any] = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Go on."}], "stream": True}
EVENTS = answers.chat_sse(answers.chat_stream(count=6))


def assert_no_other(proxy: Proxy, user: str) -> None:
    """The user has one record, also after another exchange has come all the way."""
    with proxy.client(f"{user}-after") as client:
        client.post(CHAT, json=STREAMED)
    proxy.only_row(f"{user}-after")
    assert len(proxy.rows(user)) == 1


def test_a_stream_arrives_piece_by_piece(proxy: Proxy, user: str) -> None:
    """The provider sends the next event only when the client has the one before: the proxy holds nothing back."""
    gates = [Gate() for _ in EVENTS]
    script = proxy.standin.script(gated(EVENTS, gates))
    gates[0].open()
    with proxy.client(user) as client, client.stream("POST", CHAT, json=STREAMED, headers=script.headers) as answer:
        pieces = answer.iter_raw()
        for number, event in enumerate(EVENTS):
            arrived = b""
            while len(arrived) < len(event):
                arrived += next(pieces)
            assert arrived == event
            if number + 1 < len(gates):
                gates[number + 1].open()
        assert next(pieces, None) is None
    row = proxy.only_row(user)
    assert (row["outcome"], row["stream"]) == ("complete", True)
    assert row["response_bytes"] == sum(map(len, EVENTS))


def test_a_client_that_leaves(proxy: Proxy, user: str) -> None:
    """A client that goes away in the middle of a stream makes one aborted exchange, with what had arrived."""
    more = Gate()
    gates = [Gate() for _ in range(3)]
    for gate in gates:
        gate.open()
    script = proxy.standin.script(gated(EVENTS, [*gates, more]))
    with openai.OpenAI(
        api_key="sk-standin-0123456789abcdef",
        max_retries=0,
        http_client=proxy.client(user, headers={"X-Tracecli-User": user, **script.headers}),
    ) as client:
        stream = client.chat.completions.create(**STREAMED)
        had = "".join(next(stream).choices[0].delta.content or "" for _ in range(3))
        stream.close()
    one = proxy.only_opened(user)
    more.open()
    assert (one["outcome"], one["status"], one["stream"]) == ("aborted", 200, True)
    assert one["error"]
    assert had and one["completion"] == had
    assert one["response"]["body"].encode() == b"".join(EVENTS[:3])
    assert_no_other(proxy, user)


def test_a_client_that_leaves_before_the_answer(proxy: Proxy, user: str) -> None:
    """A client that gives up waiting makes one aborted exchange without an answer."""
    script = proxy.standin.script(_never)
    with proxy.client(user, timeout=httpx2.Timeout(20, read=0.3)) as client, pytest.raises(httpx2.ReadTimeout):
        client.post(CHAT, json=STREAMED, headers=script.headers)
    one = proxy.only_opened(user)
    assert (one["outcome"], one["status"], one["ttfb_ms"], one["completion"]) == ("aborted", None, None, None)
    assert "Go on." in one["request"]["body"]
    assert_no_other(proxy, user)


async def _never(_: Received, reply: Reply) -> None:
    await Gate().passed()


def test_a_provider_that_breaks_off(proxy: Proxy, user: str) -> None:
    """A connection that the provider breaks makes the client fail too, and one failed exchange with what had come."""
    cut = Gate()
    gates = [Gate() for _ in range(3)]
    for gate in gates:
        gate.open()
    script = proxy.standin.script(gated(EVENTS[:3], [*gates, cut], cut=True))
    had = b""
    with proxy.client(user) as client, pytest.raises(httpx2.HTTPError):  # noqa: SIM117 - the stream is what fails
        with client.stream("POST", CHAT, json=STREAMED, headers=script.headers) as answer:
            for piece in answer.iter_raw():
                had += piece
                if had == b"".join(EVENTS[:3]):
                    cut.open()
    assert had == b"".join(EVENTS[:3])
    one = proxy.only_opened(user)
    assert (one["outcome"], one["status"], one["stream"]) == ("failed", 200, True)
    assert one["error"]
    assert one["response"]["body"].encode() == had
    assert one["completion"] == answers.TEXT[: len(one["completion"])] != ""
    assert_no_other(proxy, user)


def test_a_provider_that_ends_too_early(proxy: Proxy, user: str) -> None:
    """A body shorter than its announced length is a failed exchange, not a whole answer."""
    whole = json.dumps(answers.chat()).encode()

    async def too_short(_: Received, reply: Reply) -> None:
        await reply.head(200, [("Content-Type", "application/json")], length=len(whole))
        await reply.send(whole[:-100])
        # The connection is closed in good order: the announced length alone tells.

    script = proxy.standin.script(too_short)
    with proxy.client(user) as client, pytest.raises(httpx2.HTTPError):
        client.post(CHAT, json=STREAMED | {"stream": False}, headers=script.headers)
    one = proxy.only_opened(user)
    assert one["outcome"] == "failed"
    assert one["response"]["body"].encode() == whole[:-100]
    assert_no_other(proxy, user)


def test_a_provider_that_cannot_be_reached(proxy: Proxy, user: str) -> None:
    """A refused connection is one failed exchange, and the client hears of it at once."""
    with proxy.client(user) as client:
        answer = client.post("https://api.groq.com/openai/v1/chat/completions", json=STREAMED)
    assert answer.status_code == 502
    one = proxy.only_opened(user)
    assert (one["outcome"], one["status"], one["provider"]) == ("failed", None, "groq")
    assert one["error"]
    assert "Go on." in one["request"]["body"]
    assert_no_other(proxy, user)


def test_an_error_page_passes_as_it_is(proxy: Proxy, user: str) -> None:
    """A 500 with a web page instead of JSON reaches the client unchanged, and is recorded as not understood."""
    page = b"<html><body><h1>502 Bad Gateway</h1><hr>cloud-thing/1.2</body></html>"
    script = proxy.standin.script(answers_with(page, [("Content-Type", "text/html")], 500))
    with proxy.client(user) as client:
        answer = client.post(CHAT, json=STREAMED, headers=script.headers)
    assert (answer.status_code, answer.content) == (500, page)
    one = proxy.only_opened(user)
    assert (one["status"], one["outcome"]) == (500, "complete")
    assert "not_understood" in one["flags"]
    assert one["response"]["body"].encode() == page
    assert one["cost_usd"] is None


def test_several_exchanges_of_one_connection(proxy: Proxy, user: str) -> None:
    """A connection that is used again records each exchange apart."""
    with proxy.client(user) as client:
        for number in range(5):
            asked = STREAMED | {"stream": number % 2 == 1, "user": str(number)}
            assert client.post(CHAT, json=asked).status_code == 200
    rows = wait_until(lambda: found if len(found := proxy.rows(user)) == 5 else None, "five records")
    assert [row["stream"] for row in rows] == [False, True, False, True, False]
    assert len({row["id"] for row in rows}) == 5


@pytest.mark.parametrize("stream", [False, True])
def test_http2(proxy: Proxy, user: str, stream: bool) -> None:
    """A client that speaks nothing but HTTP/2 gets the same answer, and is recorded."""
    asked = json.dumps(STREAMED | {"stream": stream}).encode()
    with http2(proxy, "api.openai.com") as client:
        headers = [("Content-Type", "application/json"), ("X-Tracecli-User", user)]
        answer = client.answer(client.post("/v1/chat/completions", headers, asked))
    assert (answer.status, answer.ended) == (200, True)
    whole = b"".join(answers.chat_sse(answers.chat_stream(include_usage=False)))
    assert answer.body == (whole if stream else json.dumps(answers.chat()).encode())
    one = proxy.only_opened(user)
    assert (one["outcome"], one["http_version"], one["stream"]) == ("complete", "HTTP/2.0", stream)
    assert one["completion"] == answers.TEXT


def test_http2_streams_at_once(proxy: Proxy, user: str) -> None:
    """Streams of one HTTP/2 connection end each in its own way: one whole, one left, and neither disturbs the other."""
    gates = {name: [Gate() for _ in EVENTS] for name in ("whole", "left")}
    scripts = {name: proxy.standin.script(gated(EVENTS, gates[name])) for name in gates}
    with http2(proxy, "api.openai.com") as client:
        streams = {
            name: client.post(
                "/v1/chat/completions",
                [("X-Tracecli-User", f"{user}-{name}"), *scripts[name].headers.items()],
                json.dumps(STREAMED).encode(),
            )
            for name in gates
        }
        for name in gates:
            gates[name][0].open()
            client.answer(streams[name], least=len(EVENTS[0]))
        client.leave(streams["left"])
        assert proxy.only_row(f"{user}-left")["outcome"] == "aborted"
        for gate in gates["whole"]:
            gate.open()
        answer = client.answer(streams["whole"])
    assert (answer.ended, answer.body) == (True, b"".join(EVENTS))
    for gate in gates["left"]:
        gate.open()
    assert proxy.only_row(f"{user}-whole")["outcome"] == "complete"
