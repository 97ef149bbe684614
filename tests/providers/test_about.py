"""What headers say about an answer."""

from __future__ import annotations

import pytest

from tracecli.exchange import Headers
from tracecli.providers.about import rate_limits, request_id


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ([("X-Request-Id", "req_1"), ("CF-Ray", "ray")], "req_1"),
        ([("request-id", "req_2")], "req_2"),
        ([("x-amzn-RequestId", "uuid")], "uuid"),
        ([("cf-ray", "ray")], "ray"),
        ([("x-request-id", "first"), ("x-request-id", "second")], "first"),
        ([("x-request-id", ""), ("apim-request-id", "azure")], "azure"),
        ([], None),
    ],
)
def test_request_id(headers: Headers, expected: str | None) -> None:
    """The provider's own id is found whatever it is called; a gateway's stands in."""
    assert request_id(headers) == expected


def test_rate_limits() -> None:
    """Limits are told as they came, under lower-case names; other headers are none."""
    headers = [
        ("x-ratelimit-remaining-tokens", "149984"),
        ("Anthropic-RateLimit-Requests-Reset", "2026-11-23T00:00:00Z"),
        ("RateLimit-Policy", "10;w=1"),
        ("x-rate-limit-limit", "5"),
        ("Retry-After", "3"),
        ("content-type", "text/plain"),
    ]
    assert rate_limits(headers) == {name.lower(): value for name, value in headers[:-1]}
