"""HTTP/1.1 as bytes: what is read as plain means to mitmproxy's parsers exactly what it means to us."""

from __future__ import annotations

import h11
import pytest
from h11._readers import ChunkedReader
from h11._receivebuffer import ReceiveBuffer
from hypothesis import given, settings
from hypothesis import strategies as st
from mitmproxy import http
from mitmproxy.net.http import http1 as mitm_http1
from mitmproxy.net.http.validate import validate_headers

from tracecli.lanes import http1
from tracecli.lanes.http1 import CHUNKED, UNTIL_CLOSE, Chunks, Counted, NotPlainError

NAMES = st.sampled_from(
    [
        "Content-Length",
        "content-length",
        "Transfer-Encoding",
        "Connection",
        "Expect",
        "Host",
        "X-A",
        "Upgrade",
        "x y",
        "",
    ]
)
VALUES = st.one_of(
    st.sampled_from(
        [
            "",
            "0",
            "5",
            "005",
            "+5",
            "5, 5",
            "-1",
            "chunked",
            "Chunked",
            "gzip, chunked",
            "identity",
            "close",
            "keep-alive",
        ]
    ),
    st.text("ab \t:,;\x00\x0b\x0c\x7fé\r\n", max_size=6),
)
ENDS = st.sampled_from(["\r\n", "\r\n", "\r\n", "\r\n", "\n", "\r", "\r\n "])
LINES = st.sampled_from(
    [
        "POST /v1 HTTP/1.1",
        "HEAD /é HTTP/1.1",
        "POST  /v1 HTTP/1.1",
        "get / HTTP/1.1",
        "POST / HTTP/1.0",
        "POST * HTTP/1.1",
    ]
)
STATUSES = st.sampled_from(
    ["HTTP/1.1 200 OK", "HTTP/1.1 204 ", "HTTP/1.1 103 Early", "HTTP/1.0 200", "HTTP/1.1 2000 OK", "HTTP/1.1 200 \x00"]
)


@st.composite
def heads(draw: st.DrawFn, first: st.SearchStrategy[str]) -> bytes:
    """The head of a message, plain or odd."""
    fields = draw(st.lists(st.tuples(NAMES, st.sampled_from([":", ": ", " :", ":\t", ""]), VALUES, ENDS), max_size=5))
    text = draw(first) + draw(ENDS) + "".join("".join(field) for field in fields) + "\r\n"
    return text.encode("utf-8", "surrogateescape")


def lines_of(head: bytes) -> list[bytes]:
    """As h11 cuts a head for mitmproxy."""
    buffer = ReceiveBuffer()
    buffer += head
    lines = buffer.maybe_extract_lines()
    assert lines
    assert not buffer
    return [bytes(line) for line in lines]


@settings(max_examples=400)
@given(heads(LINES))
def test_a_plain_request_is_what_mitmproxy_reads(head: bytes) -> None:
    """What we read as a plain request, mitmproxy accepts, with the same target, headers and length."""
    try:
        request = http1.read_request(head)
    except NotPlainError:
        return
    theirs = mitm_http1.read_request_head(lines_of(head))
    validate_headers(theirs)
    size = mitm_http1.expected_http_body_size(theirs)
    assert (request.method, request.target) == (theirs.method, theirs.path)
    assert request.headers == [
        tuple(part.decode("utf-8", "surrogateescape") for part in pair) for pair in theirs.headers.fields
    ]
    assert request.length == (CHUNKED if size is None else size)
    assert not theirs.headers.get("upgrade")
    assert mitm_http1.connection_close("HTTP/1.1", theirs.headers) <= request.last
    assert request.without(frozenset()) == head


@settings(max_examples=400)
@given(heads(STATUSES), st.sampled_from(["POST", "HEAD"]))
def test_a_plain_answer_is_what_mitmproxy_reads(head: bytes, method: str) -> None:
    """What we read as a plain answer, mitmproxy accepts, with the same status, headers and length."""
    try:
        status = http1.read_response(head, method)
    except NotPlainError:
        return
    theirs = mitm_http1.read_response_head(lines_of(head))
    validate_headers(theirs)
    size = mitm_http1.expected_http_body_size(http.Request.make(method, "https://host/"), theirs)
    assert status.status == theirs.status_code
    assert status.headers == [
        tuple(part.decode("utf-8", "surrogateescape") for part in pair) for pair in theirs.headers.fields
    ]
    assert status.length == {None: CHUNKED, -1: UNTIL_CLOSE}.get(size, size)
    assert (mitm_http1.connection_close(theirs.http_version, theirs.headers) or size == -1) <= status.last
    assert status.with_headers([("A", "b")]) == head[:-2] + b"A: b\r\n\r\n"


@given(st.binary(max_size=60), st.integers(0, 60))
def test_the_end_of_a_head_is_found_wherever_it_is_cut(rest: bytes, cut: int) -> None:
    """Looking again after more has come finds the same end as looking once."""
    data = b"A\r\nb\r\n" + rest + b"\n\r\n"
    first = http1.head_end(data[:cut])
    again = first if first >= 0 else http1.head_end(data, len(data[:cut]))
    assert again == http1.head_end(data) > 0


# None is nought: what follows the last chunk is read line by line here, and as a whole by h11.
SIZES = st.sampled_from(
    ["5", "05", "a", "A", "5;a=b", '5;a="\x00"', "5 ", "5 ;a", " 5", "", "0x5", "-1", "+5", "5_0", "g", "0" * 19 + "5"]
)


@st.composite
def chunked_bodies(draw: st.DrawFn) -> bytes:
    """A chunked body, right or wrong, and something after it."""
    body = b""
    for _ in range(draw(st.integers(0, 4))):
        size = draw(SIZES)
        data = draw(st.sampled_from([b"12345", b"1234567890", b"", b"1\r\n45"]))
        body += size.encode() + b"\r\n" + data + draw(st.sampled_from([b"\r\n", b"\r\n", b"\r\n", b"\n", b"", b"xx"]))
    return body + draw(
        st.sampled_from([b"0\r\n\r\n", b"0\r\nA: b\r\n\r\n", b"000;x\r\n\r\nnext", b"0\r\n\r\n\r\n", b""])
    )


def cut_up(data: bytes, cuts: list[int]) -> list[bytes]:
    """The data in pieces."""
    places = sorted({cut for cut in cuts if 0 < cut < len(data)})
    return [data[start:end] for start, end in zip([0, *places], [*places, len(data)], strict=True) if start < end]


def ours(pieces: list[bytes]) -> tuple[bytes, bytes, bytes, str]:
    """Content, wire, what is left, and how it ended, as our reader sees it."""
    body, content, wire, rest = Chunks(), b"", b"", b""
    for piece in pieces:
        if body.complete:
            rest += piece
            continue
        more, on_wire, rest = body.feed(piece)
        content += more
        wire += on_wire
        if body.broken:
            return content, wire, b"", "broken"
    return content, wire, rest, "complete" if body.complete else "open"


def theirs(data: bytes) -> tuple[bytes, bytes, str]:
    """Content, what is left, and how it ended, as h11 sees it."""
    reader, buffer, content = ChunkedReader(), ReceiveBuffer(), b""
    buffer += data
    while True:
        try:
            event = reader(buffer)
        except h11.ProtocolError:
            return content, b"", "broken"
        if event is None:
            return content, b"", "open"
        if isinstance(event, h11.EndOfMessage):
            return content, bytes(buffer), "complete"
        content += bytes(event.data)


@settings(max_examples=500)
@given(chunked_bodies(), st.lists(st.integers(1, 80), max_size=6))
def test_chunks_are_what_h11_reads_however_they_are_cut(data: bytes, cuts: list[int]) -> None:
    """Content, end and refusal are h11's; what goes on reads the same again, without extensions."""
    content, wire, rest, end = ours(cut_up(data, cuts))
    expected, left, how = theirs(data)
    assert (end, content) == (how, expected)
    if how != "broken":
        assert ours([wire])[0] == content
        assert wire.count(b";") == content.count(b";")
    if how == "complete":
        assert rest == left
        assert theirs(wire)[::2] == (content, "complete")


def test_trailers_pass() -> None:
    """Trailers stay as they are, and something odd among them is an error."""
    data = b"3\r\nabc\r\n0\r\nX-Sum: 1\r\nX-More: 2\r\n\r\n"
    assert Chunks().feed(data) == (b"abc", data, b"")
    for odd in (b"no colon", b"Content-Length: 5", b"Host: elsewhere", b"transfer-encoding: chunked"):
        assert "illegal trailer" in broken(b"0\r\n" + odd + b"\r\n\r\n")
    assert broken(b"0\r\n" + b"A: b\r\n" * 20_000)


def broken(*pieces: bytes) -> str:
    """What is wrong with a body in chunks."""
    body = Chunks()
    for piece in pieces:
        body.feed(piece)
    assert body.broken
    return body.broken


@pytest.mark.parametrize("size", ["1" + "0" * 15, "f" * 16, "f" * 21, "9" * 100])
def test_no_chunk_is_larger_than_could_be(size: str) -> None:
    """A size that another reader could take for a small one is refused."""
    assert "illegal chunk header" in broken(size.encode() + b"\r\n")


def test_an_endless_line_is_not_held() -> None:
    """A size that never ends is refused."""
    assert "too long" in broken(*[b"5;" + b"x" * 1000] * 100)


@given(st.binary(max_size=50), st.integers(0, 50), st.lists(st.integers(1, 50), max_size=4))
def test_a_counted_body_takes_no_more_than_its_own(data: bytes, length: int, cuts: list[int]) -> None:
    """It is complete after its length, and the rest is somebody else's."""
    body, content, rest = Counted(length), b"", b""
    for piece in cut_up(data, cuts):
        more, wire, left = body.feed(piece)
        assert more == wire
        content += more
        rest += left
    assert content + rest == data
    assert len(content) == min(length, len(data))
    assert body.complete == (len(data) >= length)


def test_headers_are_taken_out_and_put_in() -> None:
    """Only whole names count; everything else stays as it was, spaces and order included."""
    head = b"POST / HTTP/1.1\r\nX-Tracecli-User:  a\r\nx-tracecli-user-2: b\r\nHost:h\r\n\r\n"
    assert http1.read_request(head).without(frozenset({"x-tracecli-user"})) == (
        b"POST / HTTP/1.1\r\nx-tracecli-user-2: b\r\nHost:h\r\n\r\n"
    )
