"""The short cut of a cache hit: answered between TLS and mitmproxy's HTTP layer, which never hears of it.

mitmproxy's HTTP layer and its hooks take several times as long as finding and sending a stored answer. So a layer of
ours sits above it on intercepted connections. It looks at each request that is small and plain, and asks the core. If
there is an answer of ours, it sends that; anything else goes on to mitmproxy's layer byte for byte, with what the core
decided, so that nothing is decided twice. What it is not sure about, now or for the rest of a connection, it passes.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING

import httptools
from mitmproxy import ctx
from mitmproxy.proxy import commands, context, events, layer

from tracecli.cache.flights import Waiting
from tracecli.cache.replay import Answer
from tracecli.capture import Capture, RequestHead, Verdict
from tracecli.exchange import Headers

if TYPE_CHECKING:
    from tracecli.lanes.flows import FlowsLane

log = logging.getLogger(__name__)

_MAX_HEAD_BYTES = 64 << 10
_HOOKS = ("requestheaders", "request", "responseheaders", "response", "error")
# Options of mitmproxy that want to see, keep or change flows.
_FLOW_OPTIONS = (
    "anticache",
    "block_list",
    "hardump",
    "map_local",
    "map_remote",
    "modify_body",
    "modify_headers",
    "save_stream_file",
    "server_replay",
    "stickyauth",
    "stickycookie",
)


def nobody_wants_flows(ours: object) -> bool:
    """Whether hits may go past mitmproxy's hooks: no other addon listens to them, and no option asks for flows."""
    if not any(kind.__name__ == "DumpMaster" for kind in type(ctx.master).__mro__):
        return False  # mitmproxy and mitmweb show flows
    if any(getattr(ctx.options, name, None) for name in _FLOW_OPTIONS):
        return False
    pending = list(ctx.master.addons.chain)
    while pending:
        addon = pending.pop()
        pending += getattr(addon, "addons", [])
        if addon is ours or type(addon).__module__.startswith("mitmproxy."):
            continue
        if any(callable(getattr(addon, hook, None)) for hook in _HOOKS):
            return False
    return True


@dataclass(frozen=True)
class Decided:
    """What the core said of a request before mitmproxy's HTTP layer has seen it."""

    verdict: Verdict
    path: str
    action: Answer | Waiting | None


class Shortcut(layer.Layer):
    """Above `inner`, mitmproxy's HTTP layer of one client connection."""

    def __init__(self, above: context.Context, inner: layer.Layer, lane: FlowsLane, maximum: int) -> None:
        super().__init__(above)
        self.context.layers.remove(self)  # to everybody else, the connection has the layers that mitmproxy gave it
        self.free = True
        """mitmproxy's layer owes the client no answer."""
        self._inner = inner
        self._lane = lane
        self._maximum = maximum
        self._request = _Request()
        self._held = b""
        self._passing = False
        self._off = False

    def _handle_event(self, event: events.Event) -> layer.CommandGenerator[None]:
        if self._off:
            yield from self._inner.handle_event(event)
        elif isinstance(event, events.DataReceived) and event.connection is self.context.client:
            yield from self._received(event.data)
        else:
            if isinstance(event, events.ConnectionClosed) and event.connection is self.context.client:
                yield from self._pass_for_good()
            yield from self._inner.handle_event(event)

    def _received(self, data: bytes) -> layer.CommandGenerator[None]:
        if self._passing and self._request.complete:
            if not self.free:  # the next request before the answer to the last one
                yield from self._pass_for_good(data)
                return
            self._request, self._passing = _Request(), False
        if not self._request.feed(data):
            yield from self._pass_for_good(data)
        elif self._passing:
            yield from self._to_inner(data)
        else:
            self._held += data
            yield from self._look()

    def _look(self) -> layer.CommandGenerator[None]:
        request = self._request
        if request.complete and request.is_plain(self._maximum):
            decided = self._decide(request)
            if decided is not None and isinstance(decided.action, Answer):
                yield from self._answer(decided.verdict.capture, decided.action)
                return
            if decided is not None:
                self._lane.hand_over(self.context.client.id, decided)
        elif not request.complete and (request.is_plain(self._maximum) if request.head_complete else self._may_grow):
            return  # hold it until it is whole
        self._passing, self.free = True, False
        held, self._held = self._held, b""
        yield from self._to_inner(held)

    @property
    def _may_grow(self) -> bool:
        return len(self._held) <= _MAX_HEAD_BYTES

    def _decide(self, request: _Request) -> Decided | None:
        recorder = self._lane.recorder
        client, server = self.context.client, self.context.server
        if recorder is None or not client.sni or not server.address:
            return None
        head = request.head("https", client.sni, server.address[1], self._lane.user_of(client.id))
        verdict = recorder.begin(head, time.monotonic())
        if verdict.capture is None:
            return None
        return Decided(verdict, head.path, verdict.capture.decide(request.body))

    def _answer(self, capture: Capture | None, answer: Answer) -> layer.CommandGenerator[None]:
        """Send an answer of ours; the record comes after it."""
        headers = list(answer.headers)
        if capture is not None:
            capture.lane = "fast"
            headers += capture.response_head(answer.status, answer.headers, time.monotonic())
        yield commands.SendData(self.context.client, _head(answer.status, headers) + answer.body)
        self._request, self._held = _Request(), b""
        if capture is not None:
            capture.response_data(answer.body, time.monotonic())
            capture.complete(time.monotonic())

    def _pass_for_good(self, data: bytes = b"") -> layer.CommandGenerator[None]:
        """From now on, mitmproxy's layer has this connection to itself."""
        self._off = True
        held, self._held = self._held + data, b""
        if held:
            yield from self._to_inner(held)

    def _to_inner(self, data: bytes) -> layer.CommandGenerator[None]:
        yield from self._inner.handle_event(events.DataReceived(self.context.client, data))


class _Request:
    """One request, read by llhttp as it arrives."""

    def __init__(self) -> None:
        self._parser = httptools.HttpRequestParser(self)
        self._begun = 0
        self._url = b""
        self._headers: list[tuple[bytes, bytes]] = []
        self._body: list[bytes] = []
        self.head_complete = False
        self.complete = False

    def feed(self, data: bytes) -> bool:
        """Read on; false if this is no HTTP, more than one request, or something else from here on."""
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            return False
        if self.head_complete and self._named(b"upgrade"):
            return False
        return self._begun <= 1

    # llhttp calls these.

    def on_message_begin(self) -> None:
        self._begun += 1

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        self.head_complete = True

    def on_body(self, data: bytes) -> None:
        if self.is_counted:
            self._body.append(data)

    def on_message_complete(self) -> None:
        self.complete = True

    @property
    def is_counted(self) -> bool:
        """Whether the length of the body is told, once."""
        return len(self._named(b"content-length")) == 1 and not self._named(b"transfer-encoding")

    def is_plain(self, maximum: int) -> bool:
        """Whether it is a POST of moderate, known size, with nothing to be negotiated."""
        if self._parser.get_method() != b"POST" or self._parser.get_http_version() != "1.1":
            return False
        if not self.is_counted or self._named(b"expect") or not self._url.startswith(b"/"):
            return False
        if any(b"close" in value.lower() for value in self._named(b"connection")):
            return False
        length = self._named(b"content-length")[0]
        return length.isdigit() and int(length) <= maximum

    def _named(self, wanted: bytes) -> list[bytes]:
        return [value for name, value in self._headers if name.lower() == wanted]

    @property
    def body(self) -> bytes:
        """As on the wire."""
        return b"".join(self._body)

    def head(self, scheme: str, host: str, port: int, proxy_user: str | None) -> RequestHead:
        """For the core."""
        headers = [(_text(name), _text(value)) for name, value in self._headers]
        return RequestHead("POST", scheme, host, port, _text(self._url), "HTTP/1.1", headers, proxy_user)


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def _head(status: int, headers: Headers) -> bytes:
    try:
        reason = HTTPStatus(status).phrase
    except ValueError:
        reason = ""
    lines = [f"HTTP/1.1 {status} {reason}", *(f"{name}: {value}" for name, value in headers), "", ""]
    return "\r\n".join(lines).encode("utf-8", "surrogateescape")
