"""What has to be known of a request body before the request goes on: who and which model. Pure.

Called in the proxy's event loop: the rest of the body is skipped, not built.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec

from tracecli.exchange import Headers
from tracecli.providers.anthropic_messages import claude_user
from tracecli.providers.formats import FORMATS
from tracecli.providers.registry import Operation
from tracecli.wire.encodings import decode


class Peek(NamedTuple):
    """Each None where the request does not say."""

    user: str | None
    """The API's own field: `user`, `safety_identifier` or `metadata.user_id`, without a session that it carries."""
    model: str | None


class _Fields(msgspec.Struct):
    user: Any = None
    safety_identifier: Any = None
    metadata: Any = None
    model: Any = None


def peek(provider: str, operation: Operation, path: str, headers: Headers, body: bytes) -> Peek:
    """Look at a request body, as on the wire; the path names the model where the format has it there."""
    reader = FORMATS.get(operation.format or "")
    of_path = reader(provider, path, False).request_model if reader else None
    encoding = next((value for name, value in headers if name.lower() == "content-encoding"), None)
    plain, _ = decode(encoding, body) if encoding else (body, None)
    try:
        fields = msgspec.json.decode(plain, type=_Fields)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return Peek(None, of_path)
    claimed = fields.metadata.get("user_id") if isinstance(fields.metadata, dict) else None
    named = (_text(fields.user), _text(fields.safety_identifier), claude_user(_text(claimed))[0])
    return Peek(next((user for user in named if user), None), _text(fields.model) or of_path)


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None
