"""What does understanding cost? CPU per exchange over recorded traffic, and throughput on one large stream.

    TRACECLI_RECORDINGS=FOLDER python3 -m uv run --group dev python -m benches.understanding [--rounds 5]

Recorded exchanges (`exchanges.jsonl` in that folder) are understood and priced as ingest does it; printed are the
median and the 95th percentile of the CPU time of one, over all of them, the best of the rounds for each. Without the
folder, only the stream is measured: a chat answer of 20 MB in events of about 250 bytes, fed in pieces of 16 KB.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tracecli.exchange import Captured, Exchange, new_id
from tracecli.providers.hosts import Hosts
from tracecli.providers.registry import operation_of
from tracecli.recorded import record
from tracecli.understanding import Reading

STREAM_BYTES = 20_000_000


def captured(row: dict[str, Any], hosts: Hosts) -> Captured | None:
    """A recorded exchange as the spool would carry it, or None if it is no model call."""
    url = urlsplit(row["url"])
    port = url.port or {"https": 443, "http": 80}[url.scheme]
    path = url.path + (f"?{url.query}" if url.query else "")
    provider = hosts.provider_of(url.hostname or "", port)
    operation = provider and operation_of(provider, row["method"], path)
    if not provider or not operation:
        return None
    response = base64.b64decode(row["response_body"] or "")
    exchange = Exchange(
        id=new_id(),
        lane="flows",
        started_at_us=1_780_000_000_000_000,
        user="bench",
        user_source="header",
        policy="default",
        reason="bench",
        traced=True,
        provider=provider,
        operation=operation.name,
        method=row["method"],
        scheme=url.scheme,
        host=url.hostname or "",
        port=port,
        path=path,
        http_version="HTTP/1.1",
        request_headers=[(name, value) for name, value in row["request_headers"]],
        status=int(row["status"]),
        response_headers=[(name, value) for name, value in row["response_headers"]],
        outcome="complete",
        duration_ms=1.0,
        chunks=[(len(response), 1.0)],
    )
    return Captured(exchange, base64.b64decode(row["request_body"] or ""), response)


def cpu_ms(work: Callable[[], object]) -> float:
    """The CPU time of one run, in milliseconds."""
    begun = time.process_time_ns()
    work()
    return (time.process_time_ns() - begun) / 1e6


def of_recordings(folder: Path, rounds: int) -> None:
    """Understand every recorded exchange in each round."""
    hosts = Hosts()
    with (folder / "exchanges.jsonl").open() as lines:
        exchanges = [one for line in lines if (one := captured(json.loads(line), hosts)) is not None]
    record(exchanges[0])  # loads the price tables
    best = [min(cpu_ms(lambda one=one: record(one)) for _ in range(rounds)) for one in exchanges]  # type: ignore[misc]
    print(
        f"understood and priced, CPU ms an exchange: median {statistics.median(best):.3f}"
        f"   p95 {statistics.quantiles(best, n=20)[18]:.3f}   exchanges {len(best)}"
    )


def stream() -> bytes:
    """A large streamed chat answer."""
    events = []
    size = number = 0
    while size < STREAM_BYTES:
        delta = {"index": 0, "delta": {"content": f" token{number}"}, "logprobs": None, "finish_reason": None}
        piece = {
            "id": "chatcmpl-1",
            "object": "chat.completion.chunk",
            "created": 1_780_000_000,
            "model": "gpt-4o-mini",
        }
        event = f"data: {json.dumps(piece | {'system_fingerprint': 'fp_1', 'choices': [delta]})}\n\n".encode()
        events.append(event)
        size += len(event)
        number += 1
    return b"".join([*events, b"data: [DONE]\n\n"])


def of_stream(rounds: int, content: bool) -> None:
    """Feed the stream in pieces as they would arrive."""
    body = stream()
    pieces = [body[at : at + 16384] for at in range(0, len(body), 16384)]

    def read() -> None:
        reading = Reading("openai", "openai.chat", "/v1/chat/completions", content=content)
        reading.request([], b'{"model": "gpt-4o-mini", "stream": true, "messages": []}')
        reading.response_head(200, [("content-type", "text/event-stream")])
        for piece in pieces:
            reading.feed(piece)
        assert reading.finish().understood

    best = min(cpu_ms(read) for _ in range(rounds))
    kind = "with content" if content else "metering only"
    print(f"a stream of {len(body) / 1e6:.0f} MB, {kind}: {len(body) / 1e3 / best:.0f} MB/s")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    if folder := os.environ.get("TRACECLI_RECORDINGS"):
        of_recordings(Path(folder), rounds)
    for content in (True, False):
        of_stream(rounds, content)


if __name__ == "__main__":
    main()
