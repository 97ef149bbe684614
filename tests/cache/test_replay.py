"""Giving an answer again: the bytes, and what the headers say."""

from __future__ import annotations

import gzip

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support import answers
from tests.support.entries import entry
from tracecli.cache.replay import accepts, answer, cache_status, only_if_cached_failed, stored_headers
from tracecli.exchange import CacheStatus, Headers

BODY = b"data: x\n\n" * 50


def given_again(accepting: str | None, coding: str = "", now: float = 1_000.0) -> tuple[Headers, bytes]:
    """Headers and body for a client that takes these encodings."""
    body = BODY
    for one in coding.split(", ") if coding else ():
        body = answers.encode(one, body)
    headers: Headers = [("Content-Type", "text/event-stream")]
    stored = entry(headers=[*headers, ("Content-Encoding", coding)] if coding else headers, body=body)
    found = answer(stored, [("Accept-Encoding", accepting)] if accepting is not None else [], now, 60)
    assert found.status == 200
    assert [value for name, value in found.headers if name == "Content-Length"] == [str(len(found.body))]
    return found.headers, found.body


def named(headers: Headers, name: str) -> list[str]:
    """The values of a header."""
    return [value for one, value in headers if one.lower() == name]


def test_headers_that_last() -> None:
    """What belongs to one connection, one client or one moment is not kept; the rest is, in its order."""
    kept: Headers = [
        ("Content-Type", "application/json"),
        ("content-encoding", "br"),
        ("X-Request-Id", "req_1"),
        ("openai-model", "m"),
        ("Warning", "one"),
        ("warning", "two"),
    ]
    dropped: Headers = [
        *((name, "1") for name in ("Connection", "Keep-Alive", "Transfer-Encoding", "Trailer", "Upgrade", "TE")),
        ("connection", "close, X-Named"),
        ("X-Named", "1"),
        ("Set-Cookie", "[redacted]"),
        ("Content-Length", "5"),
        ("Age", "5"),
        ("Cache-Status", "elsewhere; hit"),
        ("X-Tracecli-Recorded", "content"),
        ("X-Some-Token", "[redacted]"),
        *(
            (name, "1")
            for name in (
                "x-ratelimit-remaining-tokens",
                "anthropic-ratelimit-requests-reset",
                "RateLimit",
                "ratelimitbysize-limit",
                "x-trial-endpoint-call-remaining",
                "Retry-After",
                "retry-after-ms",
            )
        ),
    ]
    mixed = [pair for two in zip(dropped, kept * 4, strict=False) for pair in two][: 2 * len(kept)] + dropped
    assert stored_headers(mixed) == kept


@pytest.mark.parametrize("accepting", ["gzip", "br, GZIP;q=0.5", "*", "x, *;q=0.1"])
def test_who_takes_the_encoding_gets_the_very_bytes(accepting: str) -> None:
    """The answer is as it was, its encoding included."""
    headers, body = given_again(accepting, "gzip")
    assert body == answers.encode("gzip", BODY)
    assert named(headers, "content-encoding") == ["gzip"]


@pytest.mark.parametrize("accepting", [None, "", "identity", "br", "gzip;q=0", "*, gzip;q=0.0", "gzip;q=x"])
def test_who_does_not_gets_it_decoded(accepting: str | None) -> None:
    """Nobody gets bytes that he did not ask for."""
    headers, body = given_again(accepting, "gzip")
    assert body == BODY
    assert named(headers, "content-encoding") == []
    assert named(headers, "content-type") == ["text/event-stream"]


def test_stacked_encodings() -> None:
    """All of them have to be taken."""
    assert given_again("br, gzip", "br, gzip")[1] != BODY
    assert given_again("gzip", "br, gzip")[1] == BODY
    assert given_again(None)[1] == given_again("br")[1] == BODY


def test_an_encoding_that_nobody_knows_stays() -> None:
    """What cannot be decoded is given as it was."""
    stored = entry(headers=[("Content-Encoding", "new")], body=b"\x00")
    found = answer(stored, [], 1_000.0, 60)
    assert (found.body, named(found.headers, "content-encoding")) == (b"\x00", ["new"])


@given(st.lists(st.tuples(st.sampled_from(["Accept-Encoding", "accept-encoding"]), st.text())), st.text())
def test_any_accept_encoding_has_an_answer(headers: Headers, encoding: str) -> None:
    """Nothing raises, whatever a client sends."""
    assert accepts(headers, encoding) in (True, False)


@pytest.mark.parametrize(
    ("now", "age", "ttl"),
    [(1_000.0, 0, 60), (1_000.9, 0, 59), (1_059.5, 59, 0), (900.0, 0, 60), (5_000.0, 4_000, 0)],
)
def test_age(now: float, age: int, ttl: int) -> None:
    """In whole seconds, and never negative, also where the clock has jumped."""
    headers, _ = given_again(None, now=now)
    assert named(headers, "age") == [str(age)]
    assert named(headers, "cache-status") == [f'tracecli; hit; ttl={ttl}; key="{(b"k" * 8).hex()}"']


def test_collapsed() -> None:
    """An answer that was asked for together with another request says so."""
    found = answer(entry(), [], 1_000.0, 60, collapsed=True)
    assert named(found.headers, "cache-status")[0].startswith("tracecli; fwd=miss; collapsed; key=")


@pytest.mark.parametrize(
    ("status", "detail", "told"),
    [
        ("miss", None, "fwd=miss"),
        ("miss", "write-only", "fwd=miss; detail=write-only"),
        ("stored", None, "fwd=miss"),
        ("stale", "ttl", "fwd=stale; detail=ttl"),
        ("bypass", "no-cache", "fwd=request; detail=no-cache"),
        ("bypass", "no-store", "fwd=bypass; detail=no-store"),
        ("bypass", "provider_tool", "fwd=bypass; detail=provider_tool"),
        ("miss", "no token\r\nX: y", "fwd=miss; detail=other"),
    ],
)
def test_why_the_cache_did_not_answer(status: CacheStatus, detail: str | None, told: str) -> None:
    """In the words of RFC 9211, and nothing that could end the header."""
    assert cache_status(status, detail) == f"tracecli; {told}"


def test_only_if_cached() -> None:
    """Who wants a stored answer or none gets status 504 and is told why."""
    found = only_if_cached_failed()
    assert found.status == 504
    assert named(found.headers, "content-length") == [str(len(found.body))]
    assert b"only-if-cached" in found.body


def test_a_stored_answer_is_not_changed_by_giving_it() -> None:
    """The entry stays as it is for the next one, who may take the encoding."""
    packed = gzip.compress(BODY)
    stored = entry(headers=[("Content-Encoding", "gzip")], body=packed)
    answer(stored, [], 1_000.0, 60)
    assert (stored.headers, stored.body) == ([("Content-Encoding", "gzip")], packed)
