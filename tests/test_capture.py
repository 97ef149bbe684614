"""The core: what is recorded of what passes, and that no failure of ours reaches the lane."""

from __future__ import annotations

import gzip
import json
from typing import Any

import pytest

from tests.support.core import KEY, Spool, begun, head, recorder_into
from tracecli.capture import MAX_TIMED_CHUNKS, Recorder, RequestHead

CHAT = json.dumps(
    {"model": "gpt-4o-mini", "stream": True, "messages": [{"role": "user", "content": "MARKER"}]}
).encode()


@pytest.fixture
def spool() -> Spool:
    return Spool()


@pytest.fixture
def recorder(spool: Spool) -> Recorder:
    return recorder_into(spool)


def test_a_whole_exchange(recorder: Recorder, spool: Spool) -> None:
    """Head, bodies, times and ending are recorded once, our headers and the credential are not."""
    verdict = recorder.begin(head(X_Tracecli_User="alice", X_Tracecli_Session="s1", Accept=KEY), 100.0, "flows")
    assert verdict.remove == {"x-tracecli-user", "x-tracecli-session"}
    capture = verdict.capture
    assert capture is not None
    assert capture.decide(None) is None
    capture.request_data(CHAT[:10])
    capture.request_data(CHAT[10:])
    capture.response_head(200, [("Set-Cookie", "a=b"), ("X-Echo", f"you sent {KEY}")], 100.1)
    capture.response_data(b"data: one\n\n", 100.2)
    capture.response_data(f"data: {KEY}\n\n".encode(), 100.3)
    capture.complete(100.4)
    capture.failed("late", 100.5)
    [(exchange, request, response)] = [(one.exchange, one.request_body, one.response_body) for one in spool]
    assert (exchange.user, exchange.user_source, exchange.session) == ("alice", "header", "s1")
    assert (exchange.outcome, exchange.error, exchange.status, exchange.traced) == ("complete", None, 200, True)
    assert (exchange.ttfb_ms, exchange.duration_ms) == (100.0, 400.0)
    assert [ms for _, ms in exchange.chunks] == [200.0, 300.0]
    assert request == CHAT
    assert response == b"data: one\n\ndata: [redacted]\n\n"
    assert exchange.request_headers == [("Authorization", "Bearer [redacted]"), ("Accept", "[redacted]")]
    assert exchange.response_headers == [("Set-Cookie", "[redacted]"), ("X-Echo", "you sent [redacted]")]
    assert KEY not in repr(spool)


@pytest.mark.parametrize("ending", ["aborted", "failed"])
def test_other_endings(recorder: Recorder, spool: Spool, ending: str) -> None:
    """What had arrived is kept, and the reason."""
    capture = begun(recorder, head())
    capture.request_data(CHAT)
    getattr(capture, ending)("why", 101.0)
    [one] = spool
    assert (one.exchange.outcome, one.exchange.error, one.exchange.status, one.request_body) == (
        ending,
        "why",
        None,
        CHAT,
    )


def test_large_bodies_are_cut_in_the_record(recorder: Recorder, spool: Spool) -> None:
    """The beginning up to the limit is kept, the whole is counted, the cut is marked; exactly the limit is no cut."""
    for size in (10, 11):
        capture = begun(recorder, head(X_Tracecli_User="small"))
        capture.request_data(b"x" * 6)
        capture.request_data(b"y" * (size - 6))
        capture.response_head(200, [], 100.1)
        capture.response_data(b"z" * size, 100.1)
        capture.complete(100.2)
    for one, size in zip(spool, (10, 11), strict=True):
        assert one.request_body == b"x" * 6 + b"y" * 4
        assert one.response_body == b"z" * 10
        assert (one.exchange.request_bytes, one.exchange.response_bytes) == (size, size)
        assert one.exchange.request_cut is one.exchange.response_cut is (size > 10)


def test_metering_keeps_no_content(recorder: Recorder, spool: Spool) -> None:
    """With tracing off, tokens, model and times are recorded, and not a word."""
    capture = begun(recorder, head(X_Tracecli_User="metered"))
    capture.request_data(CHAT)
    capture.response_head(200, [("content-type", "text/event-stream")], 100.1)
    pieces: list[dict[str, Any]] = [
        {"choices": [{"index": 0, "delta": {"role": "assistant"}, "finish_reason": None}]},
        {"choices": [{"index": 0, "delta": {"content": "MARKER"}, "finish_reason": "stop"}]},
        {"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9}},
    ]
    for number, piece in enumerate(pieces):
        data = {"id": "c1", "object": "chat.completion.chunk", "model": "gpt-4o-mini-2024-07-18", **piece}
        capture.response_data(b"data: " + json.dumps(data).encode() + b"\n\n", 100.2 + number / 10)
    capture.response_data(b"data: [DONE]\n\n", 100.6)
    capture.complete(100.7)
    [one] = spool
    assert (one.request_body, one.response_body, one.exchange.chunks) == (b"", b"", [])
    assert not (one.exchange.request_cut or one.exchange.response_cut)
    metered = one.exchange.metered
    assert metered is not None and metered.usage is not None
    assert (metered.request_model, metered.response_model, metered.stream) == (
        "gpt-4o-mini",
        "gpt-4o-mini-2024-07-18",
        True,
    )
    assert (metered.usage.input_tokens, metered.usage.output_tokens) == (7, 2)
    assert one.exchange.ttft_ms == pytest.approx(300)
    assert "MARKER" not in repr(spool)


def test_nothing_is_recorded_where_nothing_may_be(recorder: Recorder) -> None:
    """Nothing on other hosts, and for what is no model call; our headers go all the same."""
    for request in (
        head("/v1/models", "GET", X_Tracecli_User="a"),
        RequestHead(
            "POST", "https", "example.com", 443, "/v1/chat/completions", "HTTP/1.1", [("x-tracecli-user", "a")]
        ),
    ):
        verdict = recorder.begin(request, 100.0, "flows")
        assert verdict.capture is None
        assert verdict.remove == {"x-tracecli-user"}


def test_nothing_is_recorded_without_metering(recorder: Recorder, spool: Spool) -> None:
    """Where tracing and metering are off, the lane is told to forget the request."""
    capture = recorder.begin(head(X_Tracecli_User="nothing"), 100.0, "flows").capture
    assert capture is not None
    assert capture.decide(CHAT) is None
    assert capture.ignored
    capture.complete(100.1)
    assert not spool


@pytest.mark.parametrize(
    ("body", "encoding", "recorded"),
    [
        (b'{"model": "new"}', None, True),
        (gzip.compress(b'{"model": "new"}', mtime=0), "gzip", True),
        (b'{"event": "click"}', None, False),
        (b'{"model": 5}', None, False),
        (b'["model"]', None, False),
        (b"\xff\xfe", None, False),
        (b"", None, False),
    ],
)
def test_unknown_paths_count_when_they_name_a_model(
    recorder: Recorder, spool: Spool, body: bytes, encoding: str | None, recorded: bool
) -> None:
    """A POST to an endpoint that nobody knows is a model call if it asks for a model."""
    headers = {"content_encoding": encoding} if encoding else {}
    capture = begun(recorder, head("/v1/brand-new-endpoint", **headers))
    capture.request_data(body)
    capture.response_head(200, [], 100.1)
    capture.complete(100.2)
    assert bool(spool) is recorded


def test_chunk_times_are_bounded(recorder: Recorder, spool: Spool) -> None:
    """A stream of any length keeps a bounded number of times."""
    capture = begun(recorder, head())
    capture.response_head(200, [], 100.1)
    for _ in range(MAX_TIMED_CHUNKS * 2):
        capture.response_data(b"x", 100.1)
    capture.complete(100.2)
    assert len(spool[0].exchange.chunks) == MAX_TIMED_CHUNKS


def test_a_failure_of_ours_is_not_the_lanes(recorder: Recorder, spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever breaks in deciding or writing is counted; the lane gets an answer and no exception."""
    with monkeypatch.context() as patch:
        patch.setattr(recorder.hosts, "provider_of", lambda *_: 1 / 0)
        assert recorder.begin(head(X_Tracecli_User="a"), 100.0, "flows").remove == {"x-tracecli-user"}
    capture = begun(recorder, head())
    monkeypatch.setattr("tracecli.capture.redact_path", lambda _: 1 / 0)
    capture.complete(100.2)
    assert recorder.errors == 2
    assert spool == []


def test_odd_header_bytes(recorder: Recorder, spool: Spool) -> None:
    """Header bytes that are no UTF-8 become a record all the same."""
    capture = begun(recorder, head(X_Odd="a\udcffb"))
    capture.complete(100.2)
    assert spool[0].exchange.request_headers[1] == ("X-Odd", "a\ufffdb")


def test_a_request_that_never_was_whole(recorder: Recorder, spool: Spool) -> None:
    """A client that leaves before its request is whole is recorded all the same, under what applies to it."""
    capture = recorder.begin(head(X_Tracecli_User="alice"), 100.0, "flows").capture
    assert capture is not None
    capture.aborted("the client left", 100.1)
    assert (spool[0].exchange.outcome, spool[0].exchange.user, spool[0].request_body) == ("aborted", "alice", b"")
