"""What a recorded exchange asked, as the cache sees it."""

from __future__ import annotations

from tracecli.cache.key import Asked, Material, material
from tracecli.exchange import Captured


def material_of(captured: Captured) -> Material:
    """What the key of a recorded request is made of."""
    exchange = captured.exchange
    where = exchange.method, exchange.scheme, exchange.host, exchange.port, exchange.path
    return material(Asked(*where, exchange.request_headers, captured.request_body))
