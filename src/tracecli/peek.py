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


_DECODER = msgspec.json.Decoder(_Fields)


def peek(provider: str, operation: Operation, path: str, headers: Headers, body: bytes) -> Peek:
    """Look at a request body, as on the wire; the path names the model where the format has it there."""
    encoding = next((value for name, value in headers if name.lower() == "content-encoding"), None)
    plain, _ = decode(encoding, body) if encoding else (body, None)
    try:
        fields = _DECODER.decode(plain)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        fields = _Fields()
    claimed = fields.metadata.get("user_id") if isinstance(fields.metadata, dict) else None
    user = (
        _text(fields.user) or _text(fields.safety_identifier) or (claude_user(_text(claimed))[0] if claimed else None)
    )
    return Peek(user, _text(fields.model) or _model_of_path(provider, operation, path))


def _model_of_path(provider: str, operation: Operation, path: str) -> str | None:
    reader = FORMATS.get(operation.format or "")
    return reader(provider, path, False).request_model if reader else None


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None
