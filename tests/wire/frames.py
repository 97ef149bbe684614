"""Frames of Amazon's event stream, for tests."""

from __future__ import annotations

import json
import struct
import zlib
from typing import Any


def frame(name: str, payload: Any, *, kind: str = "event", more: bytes = b"") -> bytes:
    """One frame; `more` are headers of other types, encoded."""
    headers = {":message-type": kind, f":{kind}-type": name, ":content-type": "application/json"}
    encoded = more + b"".join(_header(key, value) for key, value in headers.items())
    body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    prelude = struct.pack(">II", 16 + len(encoded) + len(body), len(encoded))
    message = prelude + struct.pack(">I", zlib.crc32(prelude)) + encoded + body
    return message + struct.pack(">I", zlib.crc32(message))


def _header(name: str, value: str) -> bytes:
    return struct.pack(">B", len(name)) + name.encode() + b"\x07" + struct.pack(">H", len(value)) + value.encode()
