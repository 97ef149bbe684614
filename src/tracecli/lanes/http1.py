"""HTTP/1.1 messages as bytes: heads of a strict grammar, and bodies by their three framings.

A head that is "plain" means the same to every reader: single CRLFs, no folding, no control characters, at most one
way to tell the length. Only plain requests are read here; every other one is mitmproxy's to refuse or to repair. So
this file needs no rules for what is ambiguous. Sources: RFC 9112, and mitmproxy's `net.http.http1` and `validate`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import lru_cache
from http import HTTPStatus

from tracecli.exchange import Headers

MAX_HEAD_BYTES = 1 << 20
_MAX_MET_BYTES = 4096
_MAX_LINE_BYTES = 64 << 10
_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]++"
_FIELDS = rb"((?:" + _TOKEN + rb":[^\x00-\x08\x0a-\x1f\x7f]*+\r\n)*+)\r\n"
_REQUEST = re.compile(rb"([A-Z-]{1,32}+) (/[!-~\x80-\xff]*+) HTTP/1\.1\r\n" + _FIELDS)
_RESPONSE = re.compile(rb"HTTP/1\.([01]) ([1-9]\d\d)(?: [^\x00-\x08\x0a-\x1f\x7f]*+)?\r\n" + _FIELDS)
_FIELD = re.compile(_TOKEN + rb":[^\x00-\x08\x0a-\x1f\x7f]*+")
# What mitmproxy takes for the end of a head, so that we wait no longer than it does.
_END = re.compile(rb"\n\r?\n")
_LENGTH = re.compile("0|[1-9][0-9]{0,17}")
_CHUNK = re.compile(rb"([0-9A-Fa-f]{1,20})(?:;[^\n]*)?[ \t]*")
# The headers that say how a message is to be handled.
_MEANT = frozenset(
    {
        "connection",
        "content-length",
        "content-type",
        "expect",
        "http2-settings",
        "proxy-connection",
        "transfer-encoding",
        "upgrade",
    }
)
# Not allowed as trailers (RFC 9110, 6.5.1): they say where a message goes and how long it is.
_NO_TRAILERS = frozenset({b"connection", b"content-length", b"host", b"te", b"transfer-encoding", b"upgrade"})

CHUNKED = -1
"""As a length: the body comes in chunks."""
UNTIL_CLOSE = -2
"""As a length: the body ends with the connection."""


class NotPlainError(Exception):
    """A head that is not of the strict grammar."""


class _BrokenError(Exception):
    pass


@dataclass(slots=True, frozen=True)
class RequestLine:
    """A plain request's head."""

    method: str
    target: str
    headers: Headers
    length: int
    """Of the body in bytes, or CHUNKED."""
    expects: bool
    """The client waits for `100 Continue`."""
    last: bool
    """The connection ends with this exchange."""
    multipart: bool
    """The body is an upload of parts."""
    drop: frozenset[str]
    """Lower-case names of headers that are for the proxy alone."""
    wire: bytes
    """The head as it came."""

    def without(self, remove: frozenset[str]) -> bytes:
        """The head as bytes, without the named headers (in lower case)."""
        lines = self.wire.split(b"\r\n")
        kept = [line for line in lines[1:-2] if line.partition(b":")[0].decode().lower() not in remove]
        return b"\r\n".join([lines[0], *kept, b"", b""])


@dataclass(slots=True)
class StatusLine:
    """An answer's head."""

    status: int
    headers: Headers
    length: int
    """Of the body in bytes, or CHUNKED, or UNTIL_CLOSE."""
    last: bool
    """The connection ends with this answer."""
    wire: bytes

    def with_headers(self, added: Headers) -> bytes:
        """The head as bytes, with headers at its end."""
        if not added:
            return self.wire
        return self.wire[:-2] + b"".join(f"{name}: {value}\r\n".encode() for name, value in added) + b"\r\n"

    def as_last(self) -> StatusLine:
        """The same answer, but the connection ends with it, and its head says so."""
        first, *fields = self.wire.split(b"\r\n")[:-2]
        kept = [line for line in fields if line.partition(b":")[0].lower() != b"connection"]
        return replace(self, last=True, wire=b"\r\n".join([first, *kept, b"Connection: close", b"", b""]))


def head_end(data: bytes | bytearray, start: int = 0) -> int:
    """Where the head at the beginning of `data` ends; -1 if it is not whole. `start` is what has been looked at."""
    end = _END.search(data, max(0, start - 2))
    return end.end() if end else -1


def read_request(head: bytes) -> RequestLine:
    """Read a whole head; nobody may change what it returns. Raises NotPlainError for what mitmproxy has to see to."""
    # Clients often send the same head again: then it need not be read again.
    read = _read_request if len(head) <= _MAX_MET_BYTES else _read_request.__wrapped__
    return read(head)


@lru_cache(maxsize=256)
def _read_request(head: bytes) -> RequestLine:
    found = _REQUEST.fullmatch(head)
    if found is None:
        raise NotPlainError
    method, target, fields = found.groups()
    headers = _headers(fields)
    length, framings, expects, last, multipart = 0, 0, False, False, False
    drop: list[str] = []
    for name, value in headers:
        if (lower := name.lower()) not in _MEANT:
            continue
        match lower:
            case "content-length" | "transfer-encoding":
                framings += 1
                length = _told_length(lower, value)
            case "expect":
                if value.lower() != "100-continue" or expects:
                    raise NotPlainError
                expects = True
                drop.append("expect")
            case "connection":
                last = last or "close" in _tokens(value)
            case "content-type":
                multipart = multipart or value.startswith("multipart/")
            case "proxy-connection":
                drop.append("proxy-connection")
            case "upgrade" | "http2-settings":
                raise NotPlainError
    if framings > 1 or method == b"CONNECT":
        raise NotPlainError
    return RequestLine(method.decode(), _text(target), headers, length, expects, last, multipart, frozenset(drop), head)


def read_response(head: bytes, method: str) -> StatusLine:
    """Read the whole head of the answer to a request. Raises NotPlainError for what is not of the strict grammar."""
    found = _RESPONSE.fullmatch(head)
    if found is None:
        raise NotPlainError
    minor, code, fields = found.groups()
    status = int(code)
    headers = _headers(fields)
    length, framings = UNTIL_CLOSE, 0
    tokens: list[str] = []
    for name, value in headers:
        if (lower := name.lower()) not in _MEANT:
            continue
        match lower:
            case "content-length" | "transfer-encoding":
                framings += 1
                length = _told_length(lower, value)
            case "connection":
                tokens += _tokens(value)
    if framings > 1 or (length == CHUNKED and (minor == b"0" or status < 200 or status == 204)):
        raise NotPlainError
    if method == "HEAD" or status < 200 or status in (204, 304):
        length = 0
    last = length == UNTIL_CLOSE or "close" in tokens or (minor == b"0" and "keep-alive" not in tokens)
    return StatusLine(status, headers, length, last, head)


def _told_length(lower: str, value: str) -> int:
    if lower == "content-length" and _LENGTH.fullmatch(value):
        return int(value)
    if lower == "transfer-encoding" and value.lower() == "chunked":
        return CHUNKED
    raise NotPlainError


def head_of(status: int, headers: Headers) -> bytes:
    """The head of an answer of ours."""
    try:
        reason = HTTPStatus(status).phrase
    except ValueError:
        reason = ""
    lines = [f"HTTP/1.1 {status} {reason}", *(f"{name}: {value}" for name, value in headers), "", ""]
    return "\r\n".join(lines).encode("utf-8", "surrogateescape")


def _headers(fields: bytes) -> Headers:
    if not fields:
        return []
    lines = [line.partition(":") for line in _text(fields[:-2]).split("\r\n")]
    return [(name, value.strip(" \t")) for name, _, value in lines]


def _tokens(value: str) -> list[str]:
    return [token.strip() for token in value.lower().split(",")]


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


class Counted:
    """A body of known length."""

    broken = None

    def __init__(self, length: int) -> None:
        self._length = self._left = length

    @property
    def complete(self) -> bool:
        """Whether all of it has passed."""
        return self._left == 0

    def feed(self, data: bytes) -> tuple[bytes, bytes, bytes]:
        """Take what is this body's: its content, its bytes on the wire, and what is left of `data`."""
        if len(data) <= self._left:
            self._left -= len(data)
            return data, data, b""
        content, rest = data[: self._left], data[self._left :]
        self._left = 0
        return content, content, rest

    def closed(self) -> str | None:
        """The connection ended: what is wrong with that, in the words of mitmproxy's parser."""
        received = self._length - self._left
        return (
            "HTTP/1 protocol error: peer closed connection without sending complete message body "
            f"(received {received} bytes, expected {self._length})"
        )


class UntilClose:
    """A body that ends with the connection."""

    complete = False
    broken = None

    def feed(self, data: bytes) -> tuple[bytes, bytes, bytes]:
        """All of it is content."""
        return data, data, b""

    def closed(self) -> str | None:
        """That is its end."""
        return None


class Chunks:
    """A body in chunks, with trailers.

    On the wire it goes on as it came, but sizes are written plainly and chunk extensions left out: readers differ about
    those. What is not yet whole of a size, an end or a trailer is held.
    """

    def __init__(self) -> None:
        self.complete = False
        self.broken: str | None = None
        """What is wrong after what was taken last; then nothing more is."""
        self._left = 0
        self._ends = False
        """The CRLF after a chunk's data comes next."""
        self._trailer_bytes = -1
        """So much has been read after the last chunk; -1 before it."""
        self._held = b""

    def feed(self, data: bytes) -> tuple[bytes, bytes, bytes]:
        """Take what is this body's: its content, its bytes on the wire, and what is left of `data`."""
        if self._held:
            data, self._held = self._held + data, b""
        content: list[bytes] = []
        wire: list[bytes] = []
        sent = at = 0
        size = len(data)
        try:
            while at < size:
                if self._left:
                    piece = data[at : at + self._left]
                    content.append(piece)
                    at += len(piece)
                    self._left -= len(piece)
                    self._ends = not self._left
                    continue
                end = at if self._ends else data.find(b"\r\n", at)
                if end < 0 or (self._ends and data[at : at + 2] != b"\r\n"):
                    self._hold(data[at:])
                    break
                if self._ends:
                    self._ends = False
                elif self._trailer_bytes >= 0:
                    self._trailer(data[at:end])
                else:
                    line = data[at:end]
                    plain = self._size(line)
                    if plain != line:
                        wire += [data[sent:at], plain]
                        sent = end
                at = end + 2
                if self.complete:
                    break
        except _BrokenError as error:
            self.broken = str(error)
        body = content[0] if len(content) == 1 else b"".join(content)
        if wire:
            return body, b"".join([*wire, data[sent:at]]), data[at:] if self.complete else b""
        if at == size:
            return body, data, b""
        return body, data[:at], data[at:] if self.complete else b""

    def _hold(self, data: bytes) -> None:
        if self._ends and data != b"\r":
            raise _BrokenError(f"malformed chunk footer: {data[:2]!r}")
        if len(data) > _MAX_LINE_BYTES:
            raise _BrokenError("a line between chunks is too long")
        self._held = data

    def _size(self, line: bytes) -> bytes:
        found = _CHUNK.fullmatch(line)
        if found is None or len(digits := found[1].lstrip(b"0")) > 15:
            raise _BrokenError(f"illegal chunk header: {line[:40]!r}")
        self._left = int(digits or b"0", 16)
        if not self._left:
            self._trailer_bytes = 0
        return line if len(line) <= 15 and line == found[1] else digits or b"0"

    def _trailer(self, line: bytes) -> None:
        self._trailer_bytes += len(line)
        if not line:
            self.complete = True
        elif (
            not _FIELD.fullmatch(line)
            or self._trailer_bytes > _MAX_LINE_BYTES
            or line.partition(b":")[0].lower() in _NO_TRAILERS
        ):
            raise _BrokenError(f"illegal trailer: {line[:40]!r}")

    def closed(self) -> str | None:
        """The connection ended: what is wrong with that, in the words of mitmproxy's parser."""
        return (
            "HTTP/1 protocol error: peer closed connection without sending complete message body "
            "(incomplete chunked read)"
        )


type Body = Counted | Chunks | UntilClose


def body_of(length: int) -> Body:
    """What reads a body of this length."""
    if length == CHUNKED:
        return Chunks()
    return UntilClose() if length == UNTIL_CLOSE else Counted(length)
