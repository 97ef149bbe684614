"""JSON as providers really send it: taken apart without trusting it.

The accessors return the value if it is of the kind asked for, else nothing of that kind; so the modules that use them
can write a mapping down as the provider documents it, and no odd answer makes them raise.
"""

from __future__ import annotations

import binascii
import hashlib
import json
import re
from decimal import Decimal
from typing import Any

import msgspec

type Json = dict[str, Any]
"""A JSON object."""

PART_TYPES = frozenset(
    {
        "text",
        "reasoning",
        "tool_call",
        "tool_call_response",
        "server_tool_call",
        "server_tool_call_response",
        "blob",
        "uri",
        "file",
    }
)
"""The types of parts that messages are made of; anything else is of a provider's own making."""

_SURROGATE = re.compile("[\ud800-\udfff]")
_IDENTIFIER = re.compile(r"[\w.:/-]{1,80}", re.ASCII)
_DATA_URL = re.compile(r"data:(?P<mime>[^;,]*)(?P<parameters>[^,]*),")
_MAX_ERROR_CHARS = 4000


def parse(data: bytes | str) -> Any:
    """The value of a JSON text, however odd, with every text valid Unicode; raises ValueError if it is no JSON."""
    try:
        return parse_strictly(data)
    except ValueError:
        return mended(parse_leniently(data))


def parse_strictly(data: bytes | str) -> Any:
    """The value of a JSON text that keeps to RFC 8259; raises ValueError."""
    try:
        return msgspec.json.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(str(error)) from None


def parse_leniently(data: bytes | str) -> Any:
    """The same for JSON with lone surrogates, NaN, numbers out of range or bytes that are no UTF-8.

    Texts can hold surrogates then: see `mended`.
    """
    try:
        return json.loads(data if isinstance(data, str) else data.decode("utf-8", "replace"))
    except RecursionError as error:
        raise ValueError(str(error)) from None


def obj(value: object) -> Json:
    """A JSON object, else an empty one."""
    return value if isinstance(value, dict) else {}


def array(value: object) -> list[Any]:
    """A JSON array, else an empty one."""
    return value if isinstance(value, list) else []


def objects(value: object) -> list[Json]:
    """The objects of a JSON array."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def text(value: object) -> str | None:
    """A text that is not empty, else None."""
    return value if isinstance(value, str) and value else None


def count(value: object) -> int | None:
    """A whole number of things, else None; some providers write `12.0`."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1 << 53:
        return None
    return int(value) if value == int(value) else None


def first_count(*values: object) -> int | None:
    """The first of several that is a count."""
    return next((found for value in values if (found := count(value)) is not None), None)


def money(value: object) -> Decimal | None:
    """An amount as its shortest decimal text, else None."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1 << 53:
        return None
    return Decimal(repr(value))


def parsed_or_text(value: object) -> Any:
    """The arguments of a tool call: JSON where the text is JSON, else as they came."""
    if not isinstance(value, str):
        return value
    try:
        return parse(value)
    except ValueError:
        return value


def error_text(body: object, keep: bool) -> str | None:
    """What an error answer says, or None if it is no error answer.

    Providers write `{"error": {"message": ..., "type": ..., "code": ...}}`, the same without the wrapper, in an array,
    `{"error": "..."}`, or `{"detail": ...}`. Messages can quote the prompt: without `keep` only type and code are told.
    """
    body = obj(body[0] if isinstance(body, list) and body else body)
    wrapped = body.get("error") or obj(body.get("errors")) or next(iter(array(body.get("errors"))), None)
    error = obj(wrapped) or body
    kind = " ".join(
        dict.fromkeys(
            str(value)
            for value in (error.get("type"), error.get("status"), error.get("code"))
            if isinstance(value, str | int) and _IDENTIFIER.fullmatch(str(value))
        )
    )
    if not keep:
        return kind or None
    message = wrapped if isinstance(wrapped, str) else None
    for name in ("message", "Message", "msg", "detail", "error_message"):
        message = message or error.get(name)
    if message and not isinstance(message, str):
        message = msgspec.json.encode(message).decode()
    return (message or kind)[:_MAX_ERROR_CHARS] or None


def media(source: str, mime_type: str | None = None) -> Json:
    """The part for a data URL, or for any other URL."""
    match = _DATA_URL.match(source)
    if match is None:
        return {"type": "uri", "uri": source} | ({"mime_type": mime_type} if mime_type else {})
    return blob(source[match.end() :], match["mime"] or mime_type)


def blob(base64: str, mime_type: str | None) -> Json:
    """The part for media that came inside the JSON, as base64."""
    try:
        data = binascii.a2b_base64(base64)
    except (binascii.Error, ValueError):
        data = base64.encode("utf-8", "surrogatepass")
    return blob_of(data, mime_type)


def blob_of(data: bytes, mime_type: str | None) -> Json:
    """The part for media: what it is, not its bytes, which the body holds anyway."""
    digest = hashlib.sha256(data).hexdigest()
    return {"type": "blob", "mime_type": mime_type, "size_bytes": len(data), "sha256": digest}


def unknown_part(item: Json) -> Json:
    """The part for what no module knows: as it came, but never under a name of ours, whose fields it need not have."""
    kind = text(item.get("type"))
    return item if kind and kind not in PART_TYPES else item | {"type": "unknown"}


def mended(value: Any) -> Any:
    """The value with every text valid Unicode.

    Streams that are cut by UTF-16 units send one half of a character with each of two events: the halves are joined,
    single ones replaced.
    """
    if isinstance(value, str):
        if not _SURROGATE.search(value):
            return value
        return value.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    if isinstance(value, list):
        return [mended(item) for item in value]
    if isinstance(value, dict):
        return {mended(name): mended(item) for name, item in value.items()}
    return value
