"""Whatever an answer is encoded with, its bytes reach the client and the record says what it says of the plain one."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from tests.support import answers
from tests.support.proxies import Proxy
from tests.support.standin import Handler, Received, Reply
from tests.support.waiting import wait_until


@dataclass(frozen=True)
class Call:
    """What is asked, and the plain answer to it."""

    url: str
    asked: dict[str, Any]
    content_type: str
    answer: bytes


MESSAGES = [{"role": "user", "content": "How is the weather in Paris?"}]
MESSAGES_API = "https://api.anthropic.com/v1/messages"
CHAT_API = "https://api.openai.com/v1/chat/completions"
CHAT_STREAM = Call(
    CHAT_API,
    {"model": "gpt-4o-mini", "stream": True, "messages": MESSAGES},
    "text/event-stream",
    b"".join(answers.chat_sse(answers.chat_stream())),
)
CALLS = {
    "chat": Call(
        CHAT_API,
        {"model": "gpt-4o-mini", "messages": MESSAGES},
        "application/json",
        json.dumps(answers.chat_tool()).encode(),
    ),
    "chat stream": CHAT_STREAM,
    "message stream": Call(
        MESSAGES_API,
        {"model": "claude-haiku-4-5", "max_tokens": 100, "stream": True, "messages": MESSAGES},
        "text/event-stream; charset=utf-8",
        b"".join(answers.named(answers.message_stream(tool=True, thinking=True))),
    ),
}


def raw_deflate(body: bytes) -> bytes:
    """Without the head that RFC 9110 asks for, as some servers send it."""
    compressor = zlib.compressobj(wbits=-15)
    return compressor.compress(body) + compressor.flush()


def in_two(encode: Callable[[bytes], bytes]) -> Callable[[bytes], bytes]:
    """The two halves of a body encoded one after the other."""
    return lambda body: encode(body[: len(body) // 2]) + encode(body[len(body) // 2 :])


def coded(coding: str) -> Callable[[bytes], bytes]:
    return lambda body: answers.encode(coding, body)


ENCODINGS: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "gzip": ("gzip", coded("gzip")),
    "deflate": ("deflate", coded("deflate")),
    "br": ("br", coded("br")),
    "zstd": ("zstd", coded("zstd")),
    "raw deflate": ("deflate", raw_deflate),
    "two gzip members": ("gzip", in_two(gzip.compress)),
    "two zstd frames": ("zstd", in_two(coded("zstd"))),
    "stacked": ("gzip, br", lambda body: answers.encode("br", gzip.compress(body))),
}
"""By what it is: the header, and how a body becomes so."""

# What is understood of an answer, as `usage show ID --json` tells it.
UNDERSTOOD = (
    "operation", "stream", "request_model", "response_model", "response_id", "finish_reasons", "input_tokens",
    "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens", "reasoning_output_tokens",
    "usage_source", "cost_usd", "cost_source", "outcome", "error", "flags", "completion", "output_messages",
)  # fmt: skip


def ask(call: Call, proxy: Proxy, user: str, encoding: str | None, body: bytes) -> None:
    """Ask, and get `body` to the byte as it was sent."""
    script = proxy.standin.script(in_pieces(call.content_type, encoding, body))
    with (
        proxy.client(user) as client,
        client.stream("POST", call.url, json=call.asked, headers=script.headers) as answer,
    ):
        assert b"".join(answer.iter_raw()) == body
        assert answer.headers.get("content-encoding") == encoding


def in_pieces(content_type: str, encoding: str | None, body: bytes) -> Handler:
    """A handler that sends a body in seven pieces, which mean nothing alone."""
    headers = [("Content-Type", content_type), *([("Content-Encoding", encoding)] if encoding else [])]
    step = len(body) // 7 + 1

    async def handler(_: Received, reply: Reply) -> None:
        await reply.head(200, headers)
        for start in range(0, len(body), step):
            await reply.send(body[start : start + step])
        await reply.end()

    return handler


@pytest.mark.parametrize("name", CALLS)
def test_the_record_does_not_know_the_encoding(proxy: Proxy, user: str, name: str) -> None:
    """Usage, cost, reasons, texts and calls are those of the plain answer, in each encoding; nothing is marked."""
    call = CALLS[name]
    ask(call, proxy, user, None, call.answer)
    for encoding, encode in ENCODINGS.values():
        ask(call, proxy, user, encoding, encode(call.answer))
    rows = wait_until(lambda: found if len(found := proxy.rows(user)) == 1 + len(ENCODINGS) else None, "all of them")
    plain, *encoded = [proxy.opened(row["id"]) for row in reversed(rows)]
    assert (plain["input_tokens"], plain["output_tokens"], plain["cost_source"]) == (1500, 200, "computed")
    for how, one in zip(ENCODINGS, encoded, strict=True):
        assert {key: one[key] for key in UNDERSTOOD} == {key: plain[key] for key in UNDERSTOOD}, how
        assert one["response"]["body"].encode() == call.answer


@pytest.mark.parametrize("how", ["gzip", "deflate", "br", "two zstd frames"])
def test_an_encoding_that_ends_early(proxy: Proxy, user: str, how: str) -> None:
    """A body that ends inside its encoding is marked, its beginning is read, and nothing is said to be reported."""
    encoding, encode = ENCODINGS[how]
    whole = encode(CHAT_STREAM.answer)
    ask(CHAT_STREAM, proxy, user, encoding, whole[: len(whole) * 4 // 5])
    one = proxy.only_opened(user)
    assert one["outcome"] == "complete"
    assert {"truncated", "no_end_event"} <= set(one["flags"])
    assert one["completion"] and answers.TEXT.startswith(one["completion"])
    assert (one["usage_source"] != "reported", one["cost_source"] != "computed") == (True, True)
    assert CHAT_STREAM.answer.startswith(one["response"]["body"].encode())
