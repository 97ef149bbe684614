"""A mitmproxy script that listens to requests, as another addon beside ours does."""

from __future__ import annotations

from mitmproxy import http


def request(flow: http.HTTPFlow) -> None:
    """Only listen."""
