"""Odd but legal HTTP, and HTTP meant to deceive: over both lanes, and over no proxy at all.

Known differences of mitmproxy's HTTP, so of the flows lane: it does not pass trailers nor interim answers (it ends the
connection, or takes the interim answer for the answer). Those are only sent over the fast lane.
"""

from __future__ import annotations

import base64
import ssl
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.proxies import Place, end_ingest, launch, mitmdump
from tests.support.raw import PLAN, Plan, RawProvider, Seen, Way, answers_in
from tests.support.waiting import wait_until

CHAT = "/v1/chat/completions"
# Headers that a proxy has for itself, or that h11 makes of several.
_OF_THE_WAY = {b"expect", b"connection", b"content-length", b"transfer-encoding", PLAN.encode()}


@dataclass
class Lanes:
    """The ways to a provider, and the place where what went over the proxies is recorded."""

    provider: RawProvider
    ways: dict[str, Way]
    places: dict[str, Place]


@pytest.fixture(scope="module")
def lanes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lanes]:
    """A raw provider and a proxy for each lane."""
    with RawProvider(tmp_path_factory.mktemp("raw")) as provider:
        trust = ssl.create_default_context(cafile=provider.authority)
        ways, places, processes = {"none": Way(provider.port, trust, provider.port, is_proxy=False)}, {}, []
        try:
            for lane in ("fast", "flows"):
                place = places[lane] = Place(tmp_path_factory.mktemp(lane))
                options = {
                    "tracecli_lane": lane,
                    "tracecli_hosts": f"localhost:{provider.port}=openai",
                    "ssl_verify_upstream_trusted_ca": str(provider.authority),
                }
                process, about = launch(place, mitmdump(place, options))
                processes.append(process)
                authority = place.home / "mitmproxy" / "mitmproxy-ca-cert.pem"
                trusted = ssl.create_default_context(cafile=authority)
                ways[lane] = Way(about["listen"][0][1], trusted, provider.port, is_proxy=True)
            yield Lanes(provider, ways, places)
            for process in processes:
                process.terminate()
            for place in places.values():
                assert_received(provider, place)
            assert [process.wait(20) for process in processes] == [0, 0]
            assert not any(sign in place.said() for place in places.values() for sign in ("Traceback", "has crashed"))
        finally:
            for process in processes:
                process.kill()
                process.wait()
            for place in places.values():
                end_ingest(place.home)


def assert_received(provider: RawProvider, place: Place) -> None:
    """Nothing is recorded of those who deceive that the provider did not receive."""
    for row in place.rows("deceiver"):
        one = place.opened(row["id"])
        marked = next(value for name, value in one["request"]["headers"] if name == PLAN)
        assert one["outcome"] != "complete" or one["request"]["body"].encode() in provider.plans[marked].raw


# Legal traffic


@dataclass(frozen=True)
class Turn:
    """A request and its answer, as bytes; `X-Plan` is filled in later."""

    method: str
    request: bytes
    body: bytes
    answer: bytes
    plain: bool
    """Without what mitmproxy's HTTP does not pass."""


NAMES = st.sampled_from(["X-A", "x-a", "X-Empty", "Accept", "x-Tracecli-Session", "Cookie", "X_Under.score~"])
VALUES = st.sampled_from(["", "1", "a, b", "  spaced  ", "\té", 'q="\\"', "x" * 300])
PIECES = st.lists(st.binary(min_size=1, max_size=40), max_size=4)


def chunked(pieces: list[bytes], extension: bytes, trailer: bytes) -> bytes:
    """A body in chunks."""
    lines = [b"%x%s\r\n%s\r\n" % (len(piece), extension, piece) for piece in pieces]
    return b"".join(lines) + b"0" + extension + b"\r\n" + trailer + b"\r\n"


@st.composite
def turns(draw: st.DrawFn, last: bool) -> Turn:
    """A request, and how the provider answers it."""
    method = draw(st.sampled_from(["POST", "POST", "POST", "GET", "HEAD", "PUT", "DELETE", "M-SEARCH"]))
    colon = draw(st.sampled_from([":", ": ", ":  "]))
    lines = [
        f"{method} {draw(st.sampled_from([CHAT, CHAT + '?a=%20&b', '/other', '//x']))} HTTP/1.1",
        "Host: localhost",
    ]
    lines += [f"{name}{colon}{value}" for name, value in draw(st.lists(st.tuples(NAMES, VALUES), max_size=3))]
    lines.append(f"{PLAN}: @")
    plain, body, wire = True, b"", b""
    how = draw(st.sampled_from(["none", "length", "chunks"])) if method in ("POST", "PUT") else "none"
    if how != "none" and draw(st.booleans()):
        lines.append("Expect: 100-continue")
    if how == "length":
        body = wire = b"".join(draw(PIECES))
        lines.append(f"Content-Length: {len(body)}")
    elif how == "chunks":
        pieces = draw(PIECES)
        trailer = draw(st.sampled_from([b"", b"", b"X-Trailer: 1\r\n"]))
        plain, body = not trailer, b"".join(pieces)
        wire = chunked(pieces, draw(st.sampled_from([b"", b";x=1", b' ; y="z"'.strip()])), trailer)
        lines.append("Transfer-Encoding: chunked")
    if last:
        lines.append("Connection: close")
    head = "\r\n".join([*lines, "", ""]).encode()
    answer, plain_answer = draw(answers_of(last, method))
    return Turn(method, head + wire, body, answer, plain and plain_answer)


@st.composite
def answers_of(draw: st.DrawFn, last: bool, method: str) -> tuple[bytes, bool]:
    """An answer, and whether mitmproxy's HTTP passes all of it."""
    plain = True
    interim = b""
    if draw(st.integers(0, 5)) == 0:
        interim, plain = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n", False
    status = draw(
        st.sampled_from(["200 OK", "200", "201 Made", "204 No Content", "304 Not Modified", "404 No", "500 é"])
    )
    lines = [f"HTTP/1.1 {status}"]
    lines += [f"{name}: {value}" for name, value in draw(st.lists(st.tuples(NAMES, VALUES), max_size=2))]
    wire, pieces = b"", draw(PIECES)
    if not status.startswith(("204", "304")):
        how = draw(st.sampled_from(["length", "chunks", *["close"] * last]))
        if how == "length":
            wire = b"".join(pieces)
            lines.append(f"Content-Length: {len(wire)}")
        elif how == "chunks":
            trailer = draw(st.sampled_from([b"", b"", b"X-Trailer: 1\r\n"]))
            plain = plain and not trailer
            wire = chunked(pieces, draw(st.sampled_from([b"", b";x=1"])), trailer)
            lines.append("Transfer-Encoding: chunked")
        else:
            wire = b"".join(pieces)
    return interim + "\r\n".join([*lines, "", ""]).encode() + (wire if method != "HEAD" else b""), plain


@st.composite
def conversations(draw: st.DrawFn) -> list[Turn]:
    """Exchanges on one connection; the last closes it."""
    return [draw(turns(last=False)) for _ in range(draw(st.integers(0, 2)))] + [draw(turns(last=True))]


def as_client(data: bytes, turns_: list[Turn]) -> list[Seen]:
    """What the client saw, less what belongs to the way."""
    found = answers_in(data, [turn.method for turn in turns_])
    for one in found:
        one.headers = [pair for pair in one.headers if pair[0] not in _OF_THE_WAY]
        one.interim = [status for status in one.interim if status != 100]
    return found


def as_provider(seen: list[Seen]) -> list[Seen]:
    """What the provider saw, less what belongs to the way, and to us."""
    for one in seen:
        one.headers = [
            pair for pair in one.headers if pair[0] not in _OF_THE_WAY and not pair[0].startswith(b"x-tracecli-")
        ]
    return seen


def test_legal_traffic_is_the_same_over_all_ways(lanes: Lanes) -> None:
    """Client and provider see the same of each other over either lane as without a proxy, and so does the record."""
    asked: dict[str, dict[str, list[bytes]]] = {"fast": {}, "flows": {}}

    @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
    @given(conversations(), st.lists(st.integers(1, 900), max_size=4))
    def differ(turns_: list[Turn], cuts: list[int]) -> None:
        plain = all(turn.plain for turn in turns_)
        outcomes = {}
        for name in ("none", "fast", *["flows"] * plain):
            plan = Plan([turn.answer for turn in turns_], close=True)
            marked = lanes.provider.plan(plan)
            data = b"".join(turn.request for turn in turns_).replace(
                f"{PLAN}: @".encode(), f"{PLAN}: {marked}".encode()
            )
            got, end = lanes.ways[name].talk(data, cuts)
            assert end == "closed"
            outcomes[name] = as_client(got, turns_), as_provider(plan.seen)
            if name != "none":
                asked[name][marked] = [turn.body for turn in turns_ if turn.method == "POST" and CHAT in _target(turn)]
        for name, outcome in outcomes.items():
            assert outcome == outcomes["none"], name

    differ()
    for name, expected in asked.items():
        recorded = recorded_bodies(lanes.places[name], name, sum(map(len, expected.values())))
        assert recorded == {marked: bodies for marked, bodies in expected.items() if bodies}


def _target(turn: Turn) -> str:
    return turn.request.split(b" ")[1].decode()


def recorded_bodies(place: Place, lane: str, count: int) -> dict[str, list[bytes]]:
    """The request bodies that a proxy recorded, by plan, in their order."""
    rows = wait_until(lambda: found if len(found := place.rows()) >= count else None, f"{count} records")
    bodies: dict[str, list[bytes]] = {}
    for row in sorted(rows, key=lambda one: one["started_at"]):
        one = place.opened(row["id"])
        assert (one["lane"], one["outcome"]) == (lane, "complete"), one
        marked = next(value for name, value in one["request"]["headers"] if name == PLAN)
        body = one["request"]["body"]
        encoded = one["request"]["body_encoding"] == "base64"
        bodies.setdefault(marked, []).append(base64.b64decode(body) if encoded else body.encode())
    return bodies


# Traffic that is meant to deceive


def _request(*lines: str, body: bytes = b"") -> bytes:
    return (
        "\r\n".join([f"POST {CHAT} HTTP/1.1", "Host: localhost", f"{PLAN}: @", DECEIVER, *lines, "", ""]).encode()
        + body
    )


def _said(line: str, *lines: str, body: bytes = b"") -> bytes:
    return "\r\n".join([line, "Host: localhost", f"{PLAN}: @", *lines, "", ""]).encode() + body


DECEIVER = "X-Tracecli-User: deceiver"
HIDDEN = b"GET /hidden HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n"
_IN_CHUNKS = "Transfer-Encoding: chunked"
DECEIVING = {
    "both lengths": _request("Content-Length: 5", _IN_CHUNKS, body=b"0\r\n\r\n" + HIDDEN),
    "both lengths, the other way round": _request(_IN_CHUNKS, "Content-Length: 5", body=b"0\r\n\r\n" + HIDDEN),
    "two lengths": _request("Content-Length: 5", "Content-Length: 0", body=b"hello" + HIDDEN),
    "the same length twice": _request("Content-Length: 5", "Content-Length: 5", body=b"hello"),
    "a list of lengths": _request("Content-Length: 5, 5", body=b"hello"),
    "a length with a plus": _request("Content-Length: +5", body=b"hello"),
    "a negative length": _request("Content-Length: -5", body=b"hello"),
    "a hexadecimal length": _request("Content-Length: 0x5", body=b"hello"),
    "a length with a zero": _request("Content-Length: 05", body=b"hello"),
    "a length with an underscore": _request("Content-Length: 1_0", body=b"hellohello"),
    "an empty length": _request("Content-Length: ", body=HIDDEN),
    "a length in other digits": _request("Content-Length: \u0665", body=b"hello"),
    "a space before the colon": _request("Content-Length : 5", body=b"hello" + HIDDEN),
    "a tab before the colon": _request("Transfer-Encoding\t: chunked", body=b"0\r\n\r\n" + HIDDEN),
    "a leading space": _request(" Content-Length: 5", body=b"hello" + HIDDEN),
    "folding": _request("X-A: a", "\tTransfer-Encoding: chunked", body=b"0\r\n\r\n" + HIDDEN),
    "a bare LF": _request("X-A: a\nContent-Length: 5", body=b"hello" + HIDDEN),
    "a bare CR": _request("X-A: a\rContent-Length: 5", body=b"hello" + HIDDEN),
    "a NUL": _request("X-A: \x00", body=HIDDEN),
    "a form feed": _request("Transfer-Encoding: \x0cchunked", body=b"0\r\n\r\n" + HIDDEN),
    "a vertical tab": _request("Transfer-Encoding:\x0bchunked", body=b"0\r\n\r\n" + HIDDEN),
    "no name": _request(": chunked", body=HIDDEN),
    "no colon": _request("Transfer-Encoding chunked", body=HIDDEN),
    "an odd name": _request("Transfer Encoding: chunked", body=b"0\r\n\r\n" + HIDDEN),
    "a name in other letters": _request("Transfer-Encod\u0131ng: chunked", body=b"0\r\n\r\n" + HIDDEN),
    "another coding": _request("Transfer-Encoding: xchunked", body=b"0\r\n\r\n" + HIDDEN),
    "chunked twice": _request("Transfer-Encoding: chunked, chunked", body=b"0\r\n\r\n" + HIDDEN),
    "chunked in two headers": _request(_IN_CHUNKS, _IN_CHUNKS, body=b"0\r\n\r\n" + HIDDEN),
    "chunked and not": _request(_IN_CHUNKS, "Transfer-Encoding: identity", body=b"0\r\n\r\n" + HIDDEN),
    "identity": _request("Transfer-Encoding: identity", body=HIDDEN),
    "a quoted coding": _request('Transfer-Encoding: "chunked"', body=b"0\r\n\r\n" + HIDDEN),
    "capital letters": _request("TRANSFER-ENCODING: CHUNKED", body=b"5\r\nhello\r\n0\r\n\r\n"),
    "a size with 0x": _request(_IN_CHUNKS, body=b"0x5\r\nhello\r\n0\r\n\r\n"),
    "a negative size": _request(_IN_CHUNKS, body=b"-5\r\nhello\r\n0\r\n\r\n"),
    "a size with a plus": _request(_IN_CHUNKS, body=b"+5\r\nhello\r\n0\r\n\r\n"),
    "a size with an underscore": _request(_IN_CHUNKS, body=b"0_5\r\nhello\r\n0\r\n\r\n"),
    "a size after a space": _request(_IN_CHUNKS, body=b" 5\r\nhello\r\n0\r\n\r\n"),
    "a size before a space": _request(_IN_CHUNKS, body=b"5 \r\nhello\r\n0\r\n\r\n"),
    "no size": _request(_IN_CHUNKS, body=b"\r\nhello\r\n0\r\n\r\n"),
    "a size with many zeros": _request(_IN_CHUNKS, body=b"0" * 19 + b"5\r\nhello\r\n0\r\n\r\n"),
    "an extension": _request(_IN_CHUNKS, body=b'5;a="b;c"\r\nhello\r\n0;x\r\n\r\n'),
    "an extension with an LF": _request(_IN_CHUNKS, body=b"5;a\nb\r\nhello\r\n0\r\n\r\n"),
    "a size that ends in LF": _request(_IN_CHUNKS, body=b"5\nhello\r\n0\r\n\r\n"),
    "a chunk without an end": _request(_IN_CHUNKS, body=b"5\r\nhello0\r\n\r\n" + HIDDEN),
    "a chunk that is longer": _request(_IN_CHUNKS, body=b"5\r\nhello!\r\n0\r\n\r\n"),
    "HTTP/1.0 and chunked": _said(f"POST {CHAT} HTTP/1.0", _IN_CHUNKS, body=b"0\r\n\r\n"),
    "HTTP/1.0": _said(f"POST {CHAT} HTTP/1.0", "Content-Length: 5", body=b"hello"),
    "HTTP/1.2": _said(f"POST {CHAT} HTTP/1.2", "Content-Length: 5", body=b"hello"),
    "HTTP/11": _said(f"POST {CHAT} HTTP/11", "Content-Length: 5", body=b"hello"),
    "http/1.1": _said(f"POST {CHAT} http/1.1", "Content-Length: 5", body=b"hello"),
    "HTTP/0.9": b"GET /\r\n\r\n",
    "a spaced target": _said("GET /a b HTTP/1.1"),
    "two spaces": _said("GET  / HTTP/1.1"),
    "an absolute target": _said("GET https://localhost/x HTTP/1.1"),
    "another host's target": _said("GET https://elsewhere.example/x HTTP/1.1"),
    "an authority for a target": _said("CONNECT localhost:443 HTTP/1.1"),
    "no target": _said("GET HTTP/1.1"),
    "an odd method": _said("G=T / HTTP/1.1"),
    "a method in small letters": _said("post / HTTP/1.1", "Content-Length: 5", body=b"hello"),
    "an empty line first": b"\r\n" + _request("Content-Length: 5", body=b"hello"),
    "no HTTP at all": b"\x16\x03\x01\x00\xff nothing of that kind\r\n\r\n",
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00",
}
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"


@pytest.mark.parametrize("name", DECEIVING)
@pytest.mark.parametrize("first", [False, True], ids=["", "after another"])
def test_what_deceives_is_treated_as_mitmproxy_does(lanes: Lanes, name: str, first: bool) -> None:
    """Both lanes refuse the same, and where they pass it, the provider reads the same."""
    seen = {}
    for lane in ("flows", "fast"):
        plan = Plan([OK[: -len("Connection: close\r\n\r\nok")] + b"\r\nok", OK] if first else [OK], close=True)
        marked = lanes.provider.plan(plan)
        data = (_request("Content-Length: 2", body=b"{}") if first else b"") + DECEIVING[name]
        got, end = lanes.ways[lane].talk(data.replace(b"@", marked.encode()), patience_s=0.4)
        statuses = [one.start for one in answers_in(got, ["POST", "POST"])]
        seen[lane] = statuses, end, [(one.start, one.body) for one in as_provider(plan.seen) if one.whole]
        assert HIDDEN.split(b"\r\n")[0] not in plan.raw or b"/hidden" in b"".join(
            target for (_, target), *_ in seen[lane][2]
        )
    assert seen["fast"] == seen["flows"]


ANSWERS = {
    "both lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok!",
    "an odd length": b"HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nok",
    "a space before the colon": b"HTTP/1.1 200 OK\r\nContent-Length : 2\r\n\r\nok",
    "folding": b"HTTP/1.1 200 OK\r\nX-A: a\r\n b\r\nContent-Length: 2\r\n\r\nok",
    "bare LFs": b"HTTP/1.1 200 OK\nContent-Length: 2\n\nok",
    "a NUL": b"HTTP/1.1 200 OK\r\nX-A: \0\r\nContent-Length: 2\r\n\r\nok",
    "another coding": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "chunked after another": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    "an odd size": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0x2\r\nok\r\n0\r\n\r\n",
    "a chunk without an end": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nokay\r\n0\r\n\r\n",
    "an odd status": b"HTTP/1.1 20x OK\r\nContent-Length: 2\r\n\r\nok",
    "no HTTP": b"nothing of that kind\r\n\r\n",
    "more than one answer": OK.replace(b"Connection: close\r\n", b"")
    + b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nmore",
    "HTTP/1.0": b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
    "a cut body": b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nok",
    "nothing": b"",
}


@pytest.mark.parametrize("name", ANSWERS)
def test_an_answer_that_deceives_is_treated_as_mitmproxy_does(lanes: Lanes, name: str) -> None:
    """Both lanes give the client the same, and record the same outcome and body."""
    seen = {}
    for lane in ("flows", "fast"):
        marked = lanes.provider.plan(Plan([ANSWERS[name]], close=True))
        data = _request("Content-Length: 2", "Connection: close", body=b"{}")
        data = data.replace(DECEIVER.encode(), f"X-Tracecli-User: {marked}".encode())
        got, end = lanes.ways[lane].talk(data.replace(b"@", marked.encode()))
        client = [(one.start, one.body, one.whole) for one in answers_in(got, ["POST"])]
        one = lanes.places[lane].only_opened(marked)
        seen[lane] = client, end, one["outcome"], one["response"]["body"]
    assert seen["fast"] == seen["flows"]
