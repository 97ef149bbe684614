"""A stand-in provider for the race, fast enough not to be what is measured.

It listens with TLS on a free port of 127.0.0.1 and writes that port to FOLDER/port, its authority to FOLDER/ca.pem.
What a request wants stands in its header: `x-want: ID SIZE CHUNKS GAP_MS`. Without chunks the answer is a chat
completion of SIZE bytes; with them, a stream of so many events, each with its number and the moment it was sent, GAP_MS
apart.
"""

from __future__ import annotations

import asyncio
import re
import ssl
import sys
import time
from pathlib import Path
from typing import Any

import trustme
import uvloop

_WANT = re.compile(rb"\r\nx-want: (\S+) (\d+) (\d+) ([\d.]+)\r\n")
_LENGTH = re.compile(rb"\r\ncontent-length: (\d+)\r\n", re.IGNORECASE)
_BEGIN = (
    b'{"id":"%s","object":"chat.completion","model":"gpt-4o-mini-2024-07-18","usage":{"prompt_tokens":9,'
    b'"completion_tokens":5,"total_tokens":14},"choices":[{"index":0,"finish_reason":"stop","message":'
    b'{"role":"assistant","content":"'
)
_END = b'"}}]}'
_EVENT = (
    b'data: {"id":"%s","object":"chat.completion.chunk","model":"gpt-4o-mini-2024-07-18","choices":'
    b'[{"index":0,"delta":{"content":"<%d:%d>"},"finish_reason":%s}]}\n\n'
)
DONE = b"data: [DONE]\n\n"


def plain(identity: bytes, size: int) -> bytes:
    """A chat completion of so many bytes."""
    begin = _BEGIN % identity
    return begin + b"x" * (size - len(begin) - len(_END)) + _END


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


class Provider(asyncio.Protocol):
    """One connection."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It begins."""
        self._transport: Any = transport
        self._buffer = b""

    def data_received(self, data: bytes) -> None:
        """A request, or a part of one."""
        self._buffer += data
        end = self._buffer.find(b"\r\n\r\n") + 4
        if end < 4:
            return
        head = self._buffer[:end]
        length = _LENGTH.search(head)
        whole = end + (int(length[1]) if length else 0)
        if len(self._buffer) < whole:
            return
        self._buffer = self._buffer[whole:]
        want = _WANT.search(head)
        if want is None:
            self._send(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n")
            return
        identity, size, chunks, gap = want[1], int(want[2]), int(want[3]), float(want[4])
        if not chunks:
            answer = plain(identity, size)
            head = (
                b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nx-request-id: %s\r\ncontent-length: %d\r\n\r\n"
            )
            self._send(head % (identity, len(answer)) + answer)
            return
        self._send(
            b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nx-request-id: %s\r\n"
            b"transfer-encoding: chunked\r\n\r\n" % identity
        )
        self._stream(identity, 0, chunks, gap / 1000)

    def _stream(self, identity: bytes, number: int, chunks: int, gap_s: float) -> None:
        last = number + 1 == chunks
        event = _EVENT % (identity, number, time.monotonic_ns(), b'"stop"' if last else b"null")
        self._send(_chunk(event) + (_chunk(DONE) + b"0\r\n\r\n" if last else b""))
        if not last:
            asyncio.get_running_loop().call_later(gap_s, self._stream, identity, number + 1, chunks, gap_s)

    def _send(self, data: bytes) -> None:
        if not self._transport.is_closing():
            self._transport.write(data)


async def main(folder: Path) -> None:
    """Serve until the process is ended."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "ca.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_alpn_protocols(["http/1.1"])
    authority.issue_cert("localhost").configure_cert(context)
    server = await asyncio.get_running_loop().create_server(Provider, "127.0.0.1", 0, ssl=context, backlog=512)
    (folder / "port.tmp").write_text(str(server.sockets[0].getsockname()[1]))
    (folder / "port.tmp").rename(folder / "port")
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(Path(sys.argv[1])))
