"""What a provider says about an answer in its headers: the request's id, and how much of a limit is left. Pure.

https://platform.openai.com/docs/api-reference/debugging-requests  https://docs.claude.com/en/api/rate-limits
https://docs.aws.amazon.com/bedrock/latest/APIReference/CommonErrors.html
"""

from __future__ import annotations

from tracecli.exchange import Headers

# In the order of asking: the provider's own before that of a gateway in front of it.
_REQUEST_IDS = (
    "x-request-id",
    "request-id",
    "x-amzn-requestid",
    "apim-request-id",
    "x-ms-request-id",
    "x-goog-request-id",
    "x-groq-id",
    "x-generation-id",
    "cf-ray",
)


def request_id(headers: Headers) -> str | None:
    """The id to name when asking the provider about a request; None if the answer has none."""
    named = {name.lower(): value for name, value in reversed(headers)}
    return next((named[name] for name in _REQUEST_IDS if named.get(name)), None)


def rate_limits(headers: Headers) -> dict[str, str]:
    """The headers that tell of limits, by lower-case name: what is allowed, left, and when it is renewed."""
    return {
        name.lower(): value
        for name, value in headers
        if "ratelimit" in name.lower().replace("-", "") or name.lower() == "retry-after"
    }
