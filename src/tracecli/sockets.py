"""A WebSocket carries many model calls; each becomes an exchange of its own. Part of the core: it knows no mitmproxy.

A call is what passes until the provider says that the answer is over. Its two bodies are the messages of the client and
of the provider as a JSON text sequence (RFC 7464): a record separator before each message and a newline after it.
It begins when the client last said something before the answer began; what came before that (settings, sound) is part
of its request, and no part of its duration. All calls of a socket share a session.

The messages that begin and end an answer:
OpenAI realtime, https://platform.openai.com/docs/api-reference/realtime-server-events;
OpenAI responses, https://platform.openai.com/docs/api-reference/responses-streaming;
Gemini live, https://ai.google.dev/api/live.
"""

from __future__ import annotations

import logging
import re

import msgspec

from tracecli.capture import Capture
from tracecli.exchange import new_id
from tracecli.wire import json_seq

log = logging.getLogger(__name__)

# Inside of a JSON text these quotes would be escaped: no recorded content can look like the beginning or the end.
_BEGINS = re.compile(rb'"type"\s*:\s*"response\.created"|"(?:serverContent|toolCall)"\s*:')
_ENDS = re.compile(
    rb'"type"\s*:\s*"response\.(?:done|completed|incomplete|failed|cancelled)"|"turnComplete"\s*:\s*true'
)
# What a client of OpenAI says during an answer is for the next one; Gemini's answers wait for the results of tools.
_FOR_THE_NEXT = re.compile(
    rb'"type"\s*:\s*"(?:conversation\.item\.create|response\.create|input_audio_buffer\.(?:append|commit))"'
)
_SETS_UP = re.compile(rb'"type"\s*:\s*"session\.(?:created|updated?)"|"setup"\s*:|"type"\s*:\s*"response\.create"')


class _Model(msgspec.Struct):
    model: str | None = None


class _SetUp(msgspec.Struct):
    """Where a message names the model of the connection, or of the calls from then on."""

    session: _Model | None = None
    setup: _Model | None = None
    response: _Model | None = None
    model: str | None = None


class Socket:
    """The calls on one WebSocket. `opening` is the capture of the request that opened it. Nothing here raises."""

    def __init__(self, opening: Capture) -> None:
        opening.session = opening.session or new_id()
        self._opening = opening
        self._call: Capture | None = None
        self._calls = 0
        self._asked: float | None = None
        self._answering = False
        self._held: list[tuple[bytes, float]] = []

    def message(self, from_client: bool, content: bytes, now: float) -> None:
        """A message passed, at this monotonic time."""
        try:
            self._message(from_client, content, now)
        except Exception:  # the message has passed, or will: only the record suffers
            log.warning("tracecli could not record a message; it passes", exc_info=True)

    def _message(self, from_client: bool, content: bytes, now: float) -> None:
        call = self._call = self._call or self._opening.another(now)
        if _SETS_UP.search(content):
            self._opening.connection_model = _model_in(content) or self._opening.connection_model
        framed = json_seq.framed(content)
        if from_client:
            if self._answering and _FOR_THE_NEXT.search(content):
                self._held.append((content, now))
                return
            call.request_data(framed)
            if not self._answering:
                self._asked = now
            return
        if not self._answering and _BEGINS.search(content):
            self._answering = True
            call.begins(now if self._asked is None else self._asked, now)
        call.response_data(framed, now)
        if _ENDS.search(content):
            call.complete(now)
            self._next()

    def _next(self) -> None:
        self._call, self._asked, self._answering = None, None, False
        self._calls += 1
        held, self._held = self._held, []
        for content, said in held:
            self._message(True, content, said)

    def closed(self, by_client: bool, why: str, now: float) -> None:
        """The socket closed. What was said since the last call is recorded too, if the client said anything."""
        if self._call is not None and self._answering:
            (self._call.aborted if by_client else self._call.failed)(why, now)
            self._next()
        call = self._call
        if call is not None and (self._asked is not None or not self._calls):
            call.complete(now)
        elif call is None and not self._calls:
            self._opening.complete(now)


def _model_in(content: bytes) -> str | None:
    try:
        found = msgspec.json.decode(content, type=_SetUp)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    places = (found.session, found.setup, found.response)
    return next((place.model for place in places if place and place.model), found.model)
