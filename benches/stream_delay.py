"""How much later does each piece of a streamed answer arrive? tracecli against plain mitmdump, in one run.

    python3 -m uv run --group dev python -m benches.stream_delay [--rounds 5] [--streams 1] [--chunks 20] [--gap-ms 50]

A stand-in provider sends `chunks` pieces `gap-ms` apart and writes into each when it was sent; a client reads through
a proxy and notes when each arrived (one clock: all are on this machine). Rounds alternate between no proxy, plain
mitmdump with streaming on, and tracecli recording everything. Printed: the median and the 99th percentile over all
pieces, and what tracecli adds to plain mitmdump.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import trustme

from benches.processes import ADDON, BIN, HOST, free_port, running, wait_for, wait_for_port


async def serve(folder: Path, chunks: int, gap_s: float) -> None:
    """A provider that streams; it writes its port to `folder`/port."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "ca.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(HOST).configure_cert(context)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = next(int(h[15:]) for h in head.lower().split(b"\r\n") if h.startswith(b"content-length:"))
                await reader.readexactly(length)
                writer.write(
                    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
                )
                for number in range(chunks):
                    piece = {"object": "chat.completion.chunk", "model": "m", "sent": time.monotonic_ns()}
                    piece["choices"] = [{"index": 0, "delta": {"content": f"token {number} "}, "finish_reason": None}]
                    data = b"data: " + json.dumps(piece).encode() + b"\n\n"
                    writer.write(b"%x\r\n%s\r\n" % (len(data), data))
                    await writer.drain()
                    await asyncio.sleep(gap_s)
                writer.write(b"0\r\n\r\n")
                await writer.drain()

    server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context)
    (folder / "port.tmp").write_text(str(server.sockets[0].getsockname()[1]))
    (folder / "port.tmp").rename(folder / "port")
    await server.serve_forever()


async def stream(port: int, proxy: int | None, trusted: Path) -> list[float]:
    """One streamed call; the delay of each piece, in milliseconds."""
    context = ssl.create_default_context(cafile=str(trusted))
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy or port)
    if proxy:
        writer.write(f"CONNECT {HOST}:{port} HTTP/1.1\r\nhost: {HOST}:{port}\r\n\r\n".encode())
        await reader.readuntil(b"\r\n\r\n")
    await writer.start_tls(context, server_hostname=HOST)
    body = b'{"model": "m", "stream": true, "messages": [{"role": "user", "content": "hi"}]}'
    writer.write(
        f"POST /v1/chat/completions HTTP/1.1\r\nhost: {HOST}:{port}\r\ncontent-type: application/json\r\n".encode()
        + b"authorization: Bearer sk-bench\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body)
    )
    await reader.readuntil(b"\r\n\r\n")
    delays = []
    while True:
        size = int((await reader.readuntil(b"\r\n")).split(b";")[0], 16)
        data = await reader.readexactly(size + 2)
        now = time.monotonic_ns()
        if not size:
            break
        delays += [
            (now - json.loads(line[6:])["sent"]) / 1e6 for line in data.split(b"\n\n") if line.startswith(b"data")
        ]
    writer.close()
    return delays


async def measure(port: int, proxy: int | None, trusted: Path, streams: int) -> list[float]:
    """All delays of `streams` calls at once."""
    return [
        delay for one in await asyncio.gather(*(stream(port, proxy, trusted) for _ in range(streams))) for delay in one
    ]


def main() -> None:
    """Run the rounds and print the comparison."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--streams", type=int, default=1)
    parser.add_argument("--chunks", type=int, default=20)
    parser.add_argument("--gap-ms", type=float, default=50)
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.serve:
        asyncio.run(serve(asked.serve, asked.chunks, asked.gap_ms / 1000))
        return
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        sizes = ["--chunks", str(asked.chunks), "--gap-ms", str(asked.gap_ms)]
        stack.enter_context(running(sys.executable, "-m", "benches.stream_delay", "--serve", folder, *sizes))
        wait_for(folder / "port")
        port = int((folder / "port").read_text())
        plain, ours = free_port(), free_port()
        trust = ["--set", f"ssl_verify_upstream_trusted_ca={folder / 'ca.pem'}", "--set", f"confdir={folder / 'mitm'}"]
        quiet = ["-q", "--listen-host", "127.0.0.1"]
        stack.enter_context(
            running(BIN / "mitmdump", *quiet, "-p", str(plain), *trust, "--set", "stream_large_bodies=1")
        )
        wait_for_port(plain)
        hosts = f"tracecli_hosts={HOST}:{port}=openai"
        stack.enter_context(
            running(
                BIN / "mitmdump",
                *[*quiet, "-p", str(ours), *trust, "-s", str(ADDON), "--set", hosts],
                TRACECLI_HOME=str(folder / "home"),
            )
        )
        wait_for_port(ours)
        wait_for(folder / "home" / "ca-bundle.pem")
        authority = folder / "mitm" / "mitmproxy-ca-cert.pem"
        ways: dict[str, tuple[int | None, Path]] = {
            "no proxy": (None, folder / "ca.pem"),
            "mitmdump": (plain, authority),
            "tracecli": (ours, authority),
        }
        delays: dict[str, list[float]] = {name: [] for name in ways}
        for number in range(asked.rounds + 1):
            for name, (proxy, trusted) in ways.items():
                found = asyncio.run(measure(port, proxy, trusted, asked.streams))
                if number:  # the first round makes certificates
                    delays[name] += found
        recorded = json.loads(
            subprocess.run(
                [BIN / "tracecli", "usage", "show", "--json", "--limit", "100000"],
                env={**os.environ, "TRACECLI_HOME": str(folder / "home")},
                capture_output=True,
                check=True,
            ).stdout
        )
    expected = (asked.rounds + 1) * asked.streams
    print(f"{asked.streams} streams of {asked.chunks} pieces {asked.gap_ms:g} ms apart, {asked.rounds} rounds; in ms")
    for name, values in delays.items():
        cuts = statistics.quantiles(values, n=100)
        print(f"  {name:10} median {statistics.median(values):7.3f}   p99 {cuts[98]:7.3f}   pieces {len(values)}")
    added = statistics.median(delays["tracecli"]) - statistics.median(delays["mitmdump"])
    print(f"  tracecli adds {added:+.3f} ms at the median to plain mitmdump; {len(recorded)} of {expected} recorded")


if __name__ == "__main__":
    main()
