"""Content codings: what comes out, whatever the splits, and what is said about bodies that are not whole."""

from __future__ import annotations

import gzip
import itertools
import random
import tracemalloc
import zlib
from collections.abc import Callable, Iterable

import brotli  # type: ignore[import-untyped]
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from tracecli.wire.encodings import Decoder, decode

# Text that compresses somewhat, longer than a slice of the decoder in every coding.
PLAIN = b"".join(b'{"delta": "%d"}\n' % random.Random(1).randrange(10**9) for _ in range(400)) + random.Random(
    2
).randbytes(3000)


def raw_deflate(data: bytes) -> bytes:
    compressor = zlib.compressobj(wbits=-15)
    return compressor.compress(data) + compressor.flush()


def zstd(data: bytes) -> bytes:
    return zstandard.ZstdCompressor().compress(data)


def streamed_zstd(data: bytes) -> bytes:
    """As servers stream it: without the size in the frame's head."""
    compressor = zstandard.ZstdCompressor().compressobj()
    return compressor.compress(data) + compressor.flush()


ENCODED = {
    "none": (None, PLAIN),
    "empty header": ("", PLAIN),
    "identity": ("Identity", PLAIN),
    "gzip": ("gzip", gzip.compress(PLAIN)),
    "x-gzip": ("X-GZIP", gzip.compress(PLAIN)),
    "two gzip members": ("gzip", gzip.compress(PLAIN[:99]) + gzip.compress(PLAIN[99:])),
    "padded gzip members": ("gzip", gzip.compress(PLAIN[:99]) + b"\0\0" + gzip.compress(PLAIN[99:]) + b"\0\0"),
    "deflate": ("deflate", zlib.compress(PLAIN)),
    "raw deflate": ("deflate", raw_deflate(PLAIN)),
    "br": ("br", brotli.compress(PLAIN)),
    "zstd": ("zstd", zstd(PLAIN)),
    "streamed zstd": ("zstd", streamed_zstd(PLAIN)),
    "two zstd frames": ("zstd", zstd(PLAIN[:99]) + zstd(PLAIN[99:])),
    "stacked": ("gzip, br", brotli.compress(gzip.compress(PLAIN))),
    "three codings": ("zstd,identity, deflate , gzip", gzip.compress(zlib.compress(zstd(PLAIN)))),
}
cases = pytest.mark.parametrize(("encoding", "body"), ENCODED.values(), ids=ENCODED)


def in_pieces(encoding: str | None, pieces: list[bytes]) -> tuple[bytes, str | None]:
    decoder = Decoder(encoding)
    decoded = b"".join([decoder.feed(piece) for piece in pieces])
    return decoded + decoder.finish(), decoder.error


@cases
def test_whole(encoding: str | None, body: bytes) -> None:
    """A whole body decodes to what was encoded."""
    assert decode(encoding, body) == (PLAIN, None)


@cases
def test_byte_by_byte(encoding: str | None, body: bytes) -> None:
    """The same, a byte at a time."""
    assert in_pieces(encoding, [body[i : i + 1] for i in range(len(body))]) == (PLAIN, None)


@settings(deadline=None)
@given(case=st.sampled_from(sorted(ENCODED)), cuts=st.lists(st.integers(0, len(PLAIN)), max_size=8))
def test_split_anywhere(case: str, cuts: list[int]) -> None:
    """The same, split anywhere."""
    encoding, body = ENCODED[case]
    edges = [0, *sorted(cuts), len(body)]
    assert in_pieces(encoding, [body[a:b] for a, b in itertools.pairwise(edges)]) == (PLAIN, None)


def flushed(encoding: str, blocks: Iterable[bytes]) -> bytes:
    """A body as a server streams it: what it has is flushed after each block, so that it can be decoded."""
    encode: Callable[[bytes], bytes]
    flush: Callable[[], bytes]
    if encoding == "br":
        compressor = brotli.Compressor(quality=4)
        encode, flush, end = compressor.process, compressor.flush, compressor.finish
    elif encoding == "zstd":
        frame = zstandard.ZstdCompressor().compressobj()
        encode, flush, end = frame.compress, lambda: frame.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK), frame.flush
    else:
        deflate = zlib.compressobj(wbits={"gzip": 31, "deflate": 15}[encoding])
        encode, flush, end = deflate.compress, lambda: deflate.flush(zlib.Z_SYNC_FLUSH), deflate.flush
    return b"".join([encode(block) + flush() for block in blocks]) + bytes(end())


def streamed(encoding: str) -> bytes:
    return flushed(encoding, (PLAIN[start : start + 1000] for start in range(0, len(PLAIN), 1000)))


streams = pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd"])


@streams
def test_flushed_pieces_come_at_once(encoding: str) -> None:
    """What the server flushed is decoded when it arrives: the time to first token hangs on it."""
    body = streamed(encoding)
    assert decode(encoding, body) == (PLAIN, None)
    decoder = Decoder(encoding)
    sizes = [len(decoder.feed(body[start : start + 100])) for start in range(0, len(body), 100)]
    assert sum(sizes[: len(sizes) // 2]) > len(PLAIN) // 3


@streams
def test_truncated(encoding: str) -> None:
    """A body that ends early gives all that it held and says so; nothing at all is a whole body."""
    body = streamed(encoding)
    longest = b""
    for end in range(1, len(body), 37):
        decoded, error = decode(encoding, body[:end])
        assert PLAIN.startswith(decoded) and error == "truncated"
        longest = max(longest, decoded, key=len)
    assert len(longest) > len(PLAIN) - 1100
    assert decode(encoding, b"") == (b"", None)


@streams
def test_corrupt(encoding: str) -> None:
    """Bytes that do not decode end the body there; what came before is kept."""
    body = streamed(encoding)
    half = len(body) // 2
    decoded, error = decode(encoding, body[:half] + b"\xff" * 600 + body[half:])
    assert error == "corrupt"
    assert decoded[:2000] == PLAIN[:2000]
    assert decode(encoding, b"\xff" * 600)[1] == "corrupt"
    decoder = Decoder(encoding)
    decoder.feed(b"\xff" * 600)
    assert (decoder.feed(body), decoder.finish(), decoder.error) == (b"", b"", "corrupt")


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "zstd"])
def test_what_follows_the_end_is_corrupt(encoding: str) -> None:
    """Bytes after the last member are no part of the body, and said to be there."""
    assert decode(encoding, ENCODED[encoding][1] + b"garbage") == (PLAIN, "corrupt")


def test_unknown_encoding() -> None:
    """An unknown coding is named and the bytes are handed on: some servers name a character set there."""
    assert decode("UTF-8", b"{}") == (b"{}", "unknown encoding utf-8")
    assert decode("gzip, compress", b"{}") == (b"{}", "unknown encoding compress")


def test_the_limit() -> None:
    """Exactly the limit passes; one byte more is cut there."""
    assert decode("gzip", gzip.compress(b"x" * 1000), 1000) == (b"x" * 1000, None)
    assert decode("gzip", gzip.compress(b"x" * 1001), 1000) == (b"x" * 1000, "too large")
    assert decode(None, b"x" * 1001, 1000) == (b"x" * 1000, "too large")


@pytest.mark.parametrize(
    ("encoding", "compress"),
    [
        ("gzip", gzip.compress),
        ("deflate", zlib.compress),
        ("br", lambda data: brotli.compress(data, quality=1)),
        ("zstd", zstd),
        ("gzip, gzip", lambda data: gzip.compress(gzip.compress(data))),
    ],
)
def test_bombs_are_not_blown_up(encoding: str, compress: Callable[[bytes], bytes]) -> None:
    """A small body that decodes to much is cut at the limit, without the rest ever being in memory."""
    bomb = compress(bytes(200 << 20))
    tracemalloc.start()
    decoded, error = decode(encoding, bomb, 1 << 20)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (len(decoded), error) == (1 << 20, "too large")
    assert peak < 32 << 20


@streams
def test_what_no_body_decodes_to_is_cut(encoding: str) -> None:
    """Under a limit that leaves room, a body of nothing but repetition is cut all the same, at a share of its size."""
    bomb = flushed(encoding, [bytes(1 << 20)] * 100)
    sizes: list[int] = []
    decoder = Decoder(encoding, 1 << 30)
    for start in range(0, len(bomb), 1000):
        sizes += map(len, decoder.pieces(bomb[start : start + 1000]))
    decoder.finish()
    assert decoder.error == "too large"
    assert 8 << 20 <= sum(sizes) <= (8 << 20) + 200 * len(bomb)
    assert max(sizes) <= 16 << 20


@streams
def test_the_most_even_stream_is_no_bomb(encoding: str) -> None:
    """A model that repeats one token to the end, in events that are all alike, is read to the end."""
    event = b"data: " + b'{"choices": [{"index": 0, "delta": {"content": " a"}}]}'.ljust(800) + b"\n\n"
    decoded, error = decode(encoding, flushed(encoding, [event] * 20_000))
    assert (len(decoded), error) == (20_000 * len(event), None)


@settings(deadline=None)
@given(
    encoding=st.lists(st.sampled_from(["gzip", "deflate", "br", "zstd"]), min_size=1, max_size=3),
    pieces=st.lists(st.binary(max_size=64), max_size=8),
)
def test_arbitrary_bytes(encoding: list[str], pieces: list[bytes]) -> None:
    """No bytes raise anything; that they are no such encoding is said, but for no bytes at all."""
    _, error = in_pieces(", ".join(encoding), pieces)
    assert error in (None, "corrupt", "truncated", "too large")
    assert any(pieces) or error is None
