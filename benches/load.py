"""The load of the race: requests over a number of connections, every answer checked.

`python -m benches.load '{"case": ..., "port": ..., "proxy": ..., "ca": ..., "user": ...}'` opens the connections, warms
them up, prints `ready`, waits for a line, sends for `seconds`, and prints what it measured as JSON.
"""

from __future__ import annotations

import asyncio
import gc
import json
import re
import socket
import ssl
import statistics
import sys
import time
from typing import Any

import msgspec
import uvloop

from benches.provider import DONE, plain

_MARK = re.compile(rb"<(\d+):(\d+)>")


class Case(msgspec.Struct, frozen=True):
    """What is asked for."""

    connections: int = 1
    size: int = 2048
    chunks: int = 0
    gap_ms: float = 0.0
    upload: int = 1024
    fresh: bool = False
    """A new connection for each request."""
    distinct: int = 0
    """So many requests, again and again; 0: each is another."""
    seconds: float = 1.5
    count: int = 1_000_000
    """No more requests than this."""
    stagger_s: float = 0.0
    """The connections' first requests are spread over this time."""


class Wanted(msgspec.Struct, frozen=True):
    """The case, and where it goes."""

    case: Case
    port: int
    proxy: int | None
    ca: str
    user: str


class Wrong(Exception):
    """An answer that is not what was asked for."""


class Connection(asyncio.Protocol):
    """One connection: the next request follows the last answer."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._done.set_result(None)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It is open."""
        self.transport: Any = transport

    def connection_lost(self, error: Exception | None) -> None:
        """It must not be, before the answer is whole."""
        if not self._done.done():
            self._done.set_exception(Wrong(f"the connection was lost: {error}"))

    async def ask(self, number: int) -> None:
        """One request and its answer."""
        self._identity, request = self._run.request(number)
        self._buffer, self._number, self._first = b"", 0, 0
        self._done = asyncio.get_running_loop().create_future()
        self._began = time.monotonic_ns()
        self.transport.write(request)
        await self._done
        self._run.latencies.append((time.monotonic_ns() - self._began) / 1e6)

    def data_received(self, data: bytes) -> None:
        """A piece of an answer."""
        now = time.monotonic_ns()
        self._buffer += data
        try:
            self._stream(data, now) if self._run.case.chunks else self._plain()
        except Exception as error:
            if not self._done.done():
                self._done.set_exception(error)

    def _plain(self) -> None:
        head, found, body = self._buffer.partition(b"\r\n\r\n")
        if not found or len(body) < self._run.case.size:
            return
        if not head.startswith(b"HTTP/1.1 200 ") or body != plain(self._identity, self._run.case.size):
            raise Wrong(self._buffer[:300].decode("latin-1"))
        self._done.set_result(None)

    def _stream(self, data: bytes, now: int) -> None:
        if not self._buffer.startswith(b"HTTP/1.1 200 "[: len(self._buffer)]):
            raise Wrong(self._buffer[:300].decode("latin-1"))
        for mark in _MARK.finditer(self._buffer):
            if int(mark[1]) != self._number:
                raise Wrong(f"event {mark[1]!r} in the place of {self._number}")
            delay = (now - int(mark[2])) / 1e6
            (self._run.delays if self._number else self._run.firsts).append(delay)
            self._number += 1
        whole = self._number == self._run.case.chunks and self._buffer.endswith(DONE + b"\r\n0\r\n\r\n")
        self._buffer = b"HTTP/1.1 200 " + self._buffer[-len(DONE) - 160 :].rpartition(b">")[2]
        if whole:
            self._done.set_result(None)


class Run:
    """All connections of a case."""

    def __init__(self, wanted: Wanted) -> None:
        self.case = wanted.case
        self._wanted = wanted
        self._trust = ssl.create_default_context(cafile=wanted.ca)
        self._trust.set_alpn_protocols(["http/1.1"])
        self._numbers = 0
        self._until = 0.0
        self.latencies: list[float] = []
        self.firsts: list[float] = []
        self.delays: list[float] = []

    def request(self, number: int) -> tuple[bytes, bytes]:
        """The id that the answer has to have, and the bytes to send."""
        case = self.case
        if case.distinct:
            number %= case.distinct
        identity = b"bench-%012d" % number
        fields = {
            "model": "gpt-4o-mini",
            "messages": [{"role": "user", "content": f"{number:012d}" + "y" * case.upload}],
        }
        body = json.dumps(fields | ({"stream": True} if case.chunks else {})).encode()
        lines = [
            "POST /v1/chat/completions HTTP/1.1",
            f"host: localhost:{self._wanted.port}",
            "accept: application/json",
            "user-agent: OpenAI/Python 3.0",
            "content-type: application/json",
            "authorization: Bearer sk-bench-0123456",
            f"x-tracecli-user: {self._wanted.user}",
            f"x-want: {identity.decode()} {case.size} {case.chunks} {case.gap_ms}",
            f"content-length: {len(body)}",
        ]
        head = "\r\n".join([*lines, "", ""])
        return identity, head.encode() + body

    async def connect(self) -> Connection:
        """Open a connection, through the proxy if there is one."""
        loop, wanted = asyncio.get_running_loop(), self._wanted
        raw = socket.socket()
        raw.setblocking(False)
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await loop.sock_connect(raw, ("127.0.0.1", wanted.proxy or wanted.port))
        if wanted.proxy:
            await loop.sock_sendall(raw, b"CONNECT localhost:%d HTTP/1.1\r\n\r\n" % wanted.port)
            answer = b""
            while b"\r\n\r\n" not in answer:
                answer += await loop.sock_recv(raw, 4096)
        _, made = await loop.create_connection(
            lambda: Connection(self), sock=raw, ssl=self._trust, server_hostname="localhost"
        )
        return made

    async def measure(self) -> dict[str, Any]:
        """Warm up, wait for the word, and go."""
        made = [await self.connect() for _ in range(self.case.connections)]
        self._until = time.monotonic() + 20
        warm_up = 1 if self.case.chunks else 3 * max(1, self.case.distinct)
        await asyncio.gather(*(self._send(one, warm_up) for one in made))
        self.latencies.clear()
        self.firsts.clear()
        self.delays.clear()
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        gc.disable()
        started = time.monotonic()
        self._until = started + self.case.seconds
        share = -(-self.case.count // len(made))
        gap_s = self.case.stagger_s / len(made)
        await asyncio.gather(*(self._send(one, share, number * gap_s) for number, one in enumerate(made)))
        took = time.monotonic() - started
        print("done", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        return {
            "answers": len(self.latencies),
            "per_s": len(self.latencies) / took,
            "p50_ms": _at(self.latencies, 50),
            "p99_ms": _at(self.latencies, 99),
            "first_ms": _at(self.firsts, 50),
            "delay_ms": _at(self.delays, 50),
        }

    async def _send(self, connection: Connection, count: int, after_s: float = 0.0) -> None:
        await asyncio.sleep(after_s)
        for _ in range(count):
            if time.monotonic() >= self._until:
                return
            self._numbers += 1
            if self.case.fresh:
                connection.transport.close()
                connection = await self.connect()
            await connection.ask(self._numbers)


def _at(values: list[float], percent: int) -> float | None:
    return statistics.quantiles(values, n=100)[percent - 1] if len(values) > 1 else None


def main() -> None:
    """Do what the argument says."""
    print(json.dumps(uvloop.run(Run(msgspec.json.decode(sys.argv[1], type=Wanted)).measure())), flush=True)


if __name__ == "__main__":
    main()
