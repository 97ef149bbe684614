"""How fast is an answer from the cache? Against plain mitmdump passing the same call on, in one run.

    python3 -m uv run --group dev python -m benches.cache_hits [--rounds 5] [--requests 400] [--connections 1]

A provider answers at once, over TLS. Rounds alternate between no proxy, plain mitmdump without any addon, tracecli
passing requests on (recorded), and tracecli answering from its cache (recorded too). Each connection sends its next
request when the last answer is complete, and every answer is checked. Printed: median and 99th percentile of the
latency, requests a second, and the ratios that matter: a hit's median against mitmdump's, and its requests a second.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import json
import os
import ssl
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import trustme

from benches.processes import ADDON, BIN, HOST, free_port, running, wait_for, wait_for_port

USAGE = {"prompt_tokens": 9, "completion_tokens": 5, "total_tokens": 14}
ANSWER = json.dumps(
    {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "model": "gpt-4o-mini-2024-07-18",
        "choices": [
            {"index": 0, "message": {"role": "assistant", "content": "x" * 1600}, "finish_reason": "stop"},
        ],
        "usage": USAGE,
    }
).encode()


async def serve(folder: Path) -> None:
    """A provider that answers at once; it writes its port to `folder`/port."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "ca.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(HOST).configure_cert(context)
    head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(ANSWER)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                asked = await reader.readuntil(b"\r\n\r\n")
                length = next(int(h[15:]) for h in asked.lower().split(b"\r\n") if h.startswith(b"content-length:"))
                await reader.readexactly(length)
                writer.write(head + ANSWER)

    server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context)
    (folder / "port.tmp").write_text(str(server.sockets[0].getsockname()[1]))
    (folder / "port.tmp").rename(folder / "port")
    await server.serve_forever()


@dataclass
class Way:
    """One way to the provider, and what was measured of it."""

    proxy: int | None
    trusted: Path
    user: str
    prompts: Iterator[int]
    """What each request asks, so that it is a hit or is none."""
    told: bytes = b""
    """What must be in the head of each answer."""
    latencies: list[float] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)


async def connection(port: int, way: Way, requests: int) -> list[float]:
    """Send requests on one connection, one after the other; the latency of each in milliseconds."""
    reader, writer = await asyncio.open_connection("127.0.0.1", way.proxy or port)
    if way.proxy:
        writer.write(f"CONNECT {HOST}:{port} HTTP/1.1\r\nhost: {HOST}:{port}\r\n\r\n".encode())
        await reader.readuntil(b"\r\n\r\n")
    await writer.start_tls(ssl.create_default_context(cafile=str(way.trusted)), server_hostname=HOST)
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nhost: {HOST}:{port}\r\ncontent-type: application/json\r\n"
        f"authorization: Bearer sk-bench\r\nx-tracecli-user: {way.user}\r\n"
    )
    latencies = []
    for _ in range(requests):
        text = f"{next(way.prompts):08} " + "y" * 900
        body = json.dumps({"model": "gpt-4o-mini", "messages": [{"role": "user", "content": text}]}).encode()
        started = time.perf_counter()
        writer.write(head.encode() + b"content-length: %d\r\n\r\n%s" % (len(body), body))
        answered = await reader.readuntil(b"\r\n\r\n")
        if await reader.readexactly(len(ANSWER)) != ANSWER or way.told not in answered:
            raise SystemExit(f"a wrong answer: {answered!r}")
        latencies.append((time.perf_counter() - started) * 1000)
    writer.close()
    return latencies


async def measure(port: int, way: Way, connections: int, requests: int) -> None:
    """One round of one way."""
    await connection(port, way, 20)  # the connection's certificate, and the first request of everything
    started = time.perf_counter()
    found = await asyncio.gather(*(connection(port, way, requests // connections) for _ in range(connections)))
    way.rates.append(sum(map(len, found)) / (time.perf_counter() - started))
    way.latencies += itertools.chain.from_iterable(found)


def main() -> None:
    """Run the rounds and print the comparison."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--requests", type=int, default=400)
    parser.add_argument("--connections", type=int, default=1)
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.serve:
        asyncio.run(serve(asked.serve))
        return
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        stack.enter_context(running(sys.executable, "-m", "benches.cache_hits", "--serve", folder))
        wait_for(folder / "port")
        port = int((folder / "port").read_text())
        (folder / "policies" / "users").mkdir(parents=True)
        (folder / "policies" / "default.toml").write_text("tracing = true\n")
        (folder / "policies" / "users" / "hits.toml").write_text('[cache]\nmode = "on"\n')
        plain, ours = free_port(), free_port()
        trust = ["--set", f"ssl_verify_upstream_trusted_ca={folder / 'ca.pem'}", "--set", f"confdir={folder / 'mitm'}"]
        quiet = ["-q", "--listen-host", "127.0.0.1"]
        stack.enter_context(running(BIN / "mitmdump", *quiet, "-p", str(plain), *trust))
        wait_for_port(plain)
        hosts = f"tracecli_hosts={HOST}:{port}=openai"
        stack.enter_context(
            running(
                BIN / "mitmdump",
                *[*quiet, "-p", str(ours), *trust, "-s", str(ADDON), "--set", hosts],
                TRACECLI_HOME=str(folder / "home"),
                TRACECLI_POLICIES=str(folder / "policies"),
            )
        )
        wait_for_port(ours)
        wait_for(folder / "home" / "ca-bundle.pem")
        authority = folder / "mitm" / "mitmproxy-ca-cert.pem"
        ways = {
            "no proxy": Way(None, folder / "ca.pem", "direct", itertools.count()),
            "mitmdump": Way(plain, authority, "plain", itertools.count()),
            "tracecli": Way(ours, authority, "passed", itertools.count()),
            "hit": Way(ours, authority, "hits", itertools.repeat(1), b"tracecli; hit"),
        }
        filling = Way(ours, authority, "hits", itertools.repeat(1))
        asyncio.run(measure(port, filling, 1, 20))
        for _ in range(asked.rounds):
            for way in ways.values():
                asyncio.run(measure(port, way, asked.connections, asked.requests))
    print(
        f"{asked.rounds} rounds of {asked.requests} requests, {asked.connections} at a time, on {os.cpu_count()} cores"
    )
    for name, way in ways.items():
        p99 = statistics.quantiles(way.latencies, n=100)[98]
        median, rate = statistics.median(way.latencies), statistics.median(way.rates)
        print(f"  {name:9} median {median:7.3f} ms   p99 {p99:7.3f} ms   {rate:7.0f} requests/s")
    hit, base = ways["hit"], ways["mitmdump"]
    print(
        f"  a hit takes {statistics.median(hit.latencies) / statistics.median(base.latencies):.2f} of mitmdump's"
        f" pass-through, and {statistics.median(hit.rates) / statistics.median(base.rates):.2f} times its requests/s"
    )


if __name__ == "__main__":
    main()
