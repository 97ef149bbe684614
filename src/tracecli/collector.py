"""Sending spans to an OpenTelemetry collector: OTLP over HTTP, in batches, gzip, again where it says so.

Which answers are worth another try, and how long to wait, is of the protocol's specification:
https://opentelemetry.io/docs/specs/otlp/#otlphttp-response
"""

from __future__ import annotations

import gzip
import random
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit, urlunsplit

import httpx2
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tracecli import __version__
from tracecli.errors import CollectorError, ConfigError
from tracecli.exporting import spans

_MOST_SPANS = 500
_MOST_BYTES = 3_000_000
"""Of a batch before compression; collectors take 4 MB and more. A span of its own may be larger."""
_AGAIN = frozenset({429, 502, 503, 504})
_TRIES = 6
_FIRST_WAIT_S = 0.5
_LONGEST_WAIT_S = 30.0
_TIMEOUT_S = 30.0
_TOLD = 300
"""Characters of what a collector says."""


@dataclass
class Sent:
    """What became of spans."""

    spans: int = 0
    refused: int = 0
    """Those that the collector did not take, though it took their batch."""
    why: str = ""
    """What it said of them."""


def address(endpoint: str) -> str:
    """The URL for traces: a collector's own has `/v1/traces` added. Raises ConfigError if it is none."""
    try:
        parts = urlsplit(endpoint)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1)
    except ValueError:
        usable = False
    if not usable:
        raise ConfigError("the collector's endpoint is no URL", "Give it as http://localhost:4318.")
    return urlunsplit(parts._replace(path="/v1/traces")) if parts.path in ("", "/") else endpoint


def send(
    every: Iterable[Span],
    endpoint: str,
    headers: Mapping[str, str],
    service: str,
    *,
    sent: Callable[[Sent], None],
    wait: Callable[[float], None] = time.sleep,
) -> Sent:
    """Send spans in their order; `sent` hears after each batch how it stands.

    Raises CollectorError if the collector cannot be reached or refuses a batch; what was sent before stays sent.
    """
    done = Sent()
    about = {
        **headers,
        "content-type": "application/x-protobuf",
        "content-encoding": "gzip",
        "user-agent": f"tracecli/{__version__}",
    }
    with httpx2.Client(headers=about, timeout=_TIMEOUT_S, follow_redirects=False) as client:
        for batch in _batches(every):
            body = gzip.compress(spans.request(batch, service), 6, mtime=0)
            answer = _post(client, endpoint, body, wait)
            refused, why = _partly(answer)
            done.spans += len(batch) - refused
            done.refused += refused
            done.why = why or done.why
            sent(done)
    return done


def _batches(every: Iterable[Span]) -> Iterator[list[Span]]:
    batch: list[Span] = []
    room = _MOST_BYTES
    for span in every:
        size = span.ByteSize()
        if batch and (len(batch) == _MOST_SPANS or size > room):
            yield batch
            batch, room = [], _MOST_BYTES
        batch.append(span)
        room -= size
    if batch:
        yield batch


def _post(client: httpx2.Client, endpoint: str, body: bytes, wait: Callable[[float], None]) -> httpx2.Response:
    """Until it is taken. Of an error nothing is told that may hold a header's value."""
    where = urlsplit(endpoint)
    place = f"{where.scheme}://{where.hostname}{f':{where.port}' if where.port else ''}"
    for number in range(1, _TRIES + 1):
        try:
            answer = client.post(endpoint, content=body)
        except httpx2.HTTPError as error:
            if number == _TRIES:
                raise CollectorError(
                    f"the collector at {place} cannot be reached: {type(error).__name__}",
                    "See that it runs, and name it with --endpoint.",
                ) from None
            wait(_back_off(number))
            continue
        if answer.status_code in _AGAIN and number < _TRIES:
            wait(_asked_wait(answer) or _back_off(number))
            continue
        if 200 <= answer.status_code < 300:
            return answer
        remedy = "Give its key with --header." if answer.status_code in (401, 403) else "See its log."
        said = _said(answer)
        raise CollectorError(
            f"the collector at {place} answered {answer.status_code}{f': {said}' if said else ''}", remedy
        )
    raise AssertionError


def _back_off(number: int) -> float:
    wait: float = min(_LONGEST_WAIT_S, _FIRST_WAIT_S * 2 ** (number - 1))
    return wait * random.uniform(0.8, 1.2)  # noqa: S311 - no secret


def _asked_wait(answer: httpx2.Response) -> float | None:
    """What `Retry-After` says in seconds; a date there is passed over."""
    try:
        return min(_LONGEST_WAIT_S, max(0.0, float(answer.headers.get("retry-after", ""))))
    except ValueError:
        return None


def _said(answer: httpx2.Response) -> str:
    """What a refusal says, if it is text."""
    text = answer.text if answer.headers.get("content-type", "").startswith(("text/plain", "application/json")) else ""
    return " ".join(text.split())[:_TOLD]


def _partly(answer: httpx2.Response) -> tuple[int, str]:
    """How many spans a collector did not take, and why."""
    if not answer.headers.get("content-type", "").startswith("application/x-protobuf"):
        return 0, ""
    try:
        told = ExportTraceServiceResponse.FromString(answer.content).partial_success
    except DecodeError:
        return 0, ""
    return max(0, told.rejected_spans), " ".join(told.error_message.split())[:_TOLD]
