"""The bytes of images, sound and files that were sent inside JSON: found by the hash that a part has. Pure."""

from __future__ import annotations

import binascii
import hashlib
import re
from collections.abc import Iterable, Iterator

# As JSON writes it, which may escape the slash; shorter ones are icons at most.
_BASE64 = re.compile(rb'"(?:data:[^,"]{0,200},)?((?:[A-Za-z0-9+=_-]|\\?/){16,})"')


def found(bodies: Iterable[bytes], wanted: Iterable[str]) -> Iterator[tuple[str, bytes]]:
    """Those of some SHA-256 whose bytes bodies hold as Base64, each once."""
    missing = set(wanted)
    for body in bodies:
        for match in _BASE64.finditer(body):
            if not missing:
                return
            try:
                data = binascii.a2b_base64(match[1].replace(b"\\/", b"/").translate(_URL_SAFE))
            except binascii.Error:
                continue
            name = hashlib.sha256(data).hexdigest()
            if name in missing:
                missing.remove(name)
                yield name, data


_URL_SAFE = bytes.maketrans(b"-_", b"+/")
