"""What the readers of all wire formats have in common.

A reader is made for one exchange, told the request's JSON, and then either the whole answer or the events of a stream,
one by one. Its attributes say what was found so far; None is "not said". Whatever a reader does not know, it passes
over: new fields, events and block types must not cost what is known.
"""

from __future__ import annotations

import re
from decimal import Decimal
from urllib.parse import unquote

from tracecli.exchange import Headers, Message, Usage
from tracecli.providers.values import Json, error_text, parsed_or_text, text

CALLS = ("tool_call", "server_tool_call")
"""Part types with a name and arguments: the client runs the tool, or the provider does."""

_DEPLOYMENT = re.compile(r"/deployments/([^/?]+)")


class Reader:
    """Reads an exchange of an unknown format: what nearly all requests have in common, and no answer.

    A format's module overrides `request`, `answer`, `event` and, as it needs, the three that tell of the output.
    """

    array_streams = False
    """Whether a stream of this format may be one JSON array."""
    binary = False
    """Whether a whole answer may be media, told piece by piece by `data`."""

    def __init__(self, provider: str, path: str, keep: bool) -> None:
        self.provider = provider
        self.path = path
        self.keep = keep
        """Whether content may be kept; without it, messages and texts are not built at all."""
        self.stream: bool | None = None
        self.request_model: str | None = None
        self.claimed_user: str | None = None
        self.session: str | None = None
        self.input_messages: list[Message] = []
        self.response_model: str | None = None
        self.response_id: str | None = None
        self.service_tier: str | None = None
        self.reported_cost_usd: Decimal | None = None
        self.error: str | None = None
        self.started = False
        """Whether something generated has come: text, reasoning or a tool call."""
        self.ended = False
        """Whether the stream said that it is over."""
        self.failed = False
        """Whether an error came inside the stream."""
        self.flags: list[str] = []
        """Marks for what the attributes cannot tell; see `understanding`."""

    def request(self, body: Json) -> None:
        """The request's JSON object."""
        self.request_model = text(body.get("model")) or self.deployment()
        stream = body.get("stream")
        self.stream = stream if isinstance(stream, bool) else None

    def message(self, body: Json) -> None:
        """A message of the client on a WebSocket."""
        return

    def said(self) -> None:
        """That was the client's last message of this call."""
        return

    def head(self, headers: Headers) -> None:
        """The answer's headers, where a format needs some."""
        return

    def answer(self, body: Json) -> bool:
        """A whole answer's JSON object; false if it is not of this format."""
        self.response_model = text(body.get("model"))
        return False

    def text_answer(self, body: str) -> bool:
        """A whole answer that is no JSON; false if the format knows none."""
        return False

    def data(self, data: bytes) -> None:
        """Bytes of a whole answer that is media."""
        return

    def event(self, event: str, body: Json) -> bool:
        """One event of a stream; false if it is not of this format."""
        return False

    def done(self) -> None:
        """The stream's `[DONE]`, which is no JSON."""
        self.ended = True

    def usage(self) -> Usage | None:
        """The token counts; None if none were reported."""
        return None

    def finish_reasons(self) -> list[str]:
        """Why each choice ended, in the provider's words."""
        return []

    def output_messages(self) -> list[Message]:
        """The answer's messages, one for each choice."""
        return []

    def fail(self, body: Json) -> None:
        """An error inside a stream."""
        self.failed = True
        self.error = self.error or error_text(body, self.keep)

    def deployment(self) -> str | None:
        """Azure's deployment in the path, which stands for the model.

        https://learn.microsoft.com/azure/ai-services/openai/reference
        """
        match = _DEPLOYMENT.search(self.path)
        return unquote(match[1]) if match else None


class Growing:
    """A part that comes in pieces: text, reasoning, a refusal, or a tool call, whose pieces are its arguments."""

    def __init__(self, part: Json) -> None:
        self.part = part
        begun = part["type"] in ("text", "reasoning") and part.get("content")
        self.pieces: list[str] = [begun] if begun else []

    def whole(self) -> Json:
        """The part as far as it has come."""
        joined = "".join(self.pieces)
        if self.part["type"] in CALLS:
            arguments = parsed_or_text(joined) if self.pieces else self.part.get("arguments")
            return self.part | {"arguments": arguments}
        if self.part["type"] == "refusal":
            return {"type": "text", "content": joined, "refusal": True}
        return self.part | {"content": joined} if self.pieces else self.part


class Draft:
    """The parts of an output message in the making, in the order in which each began."""

    def __init__(self) -> None:
        self._parts: list[Growing] = []

    def say(self, part_type: str, piece: str) -> None:
        """A piece of text, reasoning or refusal: it goes on with the last part if that is of the same type."""
        if not self._parts or self._parts[-1].part["type"] != part_type:
            self._parts.append(Growing({"type": part_type}))
        self._parts[-1].pieces.append(piece)

    def add(self, part: Json) -> Growing:
        """A new part, whole or to be grown."""
        growing = Growing(part)
        self._parts.append(growing)
        return growing

    def parts(self) -> list[Json]:
        """The parts so far."""
        return [growing.whole() for growing in self._parts]


def completion(messages: list[Message]) -> str | None:
    """The text of the answer, all choices joined; None if there is none."""
    texts = [part["content"] for message in messages for part in message["parts"] if part["type"] == "text"]
    return "".join(texts) if texts else None
