"""OpenTelemetry spans of exchanges, after the semantic conventions for GenAI clients (1.37 and later, in development:
https://opentelemetry.io/docs/specs/semconv/gen-ai/gen-ai-spans/), as messages of OTLP.

A span is one exchange, a trace one session; what belongs to no session is a trace of its own. Their ids are made from
what is recorded: whoever sends an exchange again sends the same span. What the conventions have no name for is under
`tracecli.`.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import uuid
from collections.abc import Iterator, Sequence
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, InstrumentationScope, KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span, Status

from tracecli import __version__
from tracecli.exchange import Message, Opened, Row

_MAX_ERROR = 1000
_EPOCH = dt.datetime.fromtimestamp(0, dt.UTC)


def span(row: Row, content: Opened | None = None) -> Span:
    """The span of an exchange, with what was said if its content is given."""
    start = (row.started_at - _EPOCH) // dt.timedelta(microseconds=1) * 1000
    model = row.request_model or row.response_model
    failed = _error(row)
    return Span(
        trace_id=_digest("session", row.session, 16) if row.session else uuid.UUID(row.id).bytes,
        span_id=_digest("exchange", row.id, 8),
        name=" ".join(_clean(part) for part in (row.operation or row.method, model) if part),
        kind=Span.SPAN_KIND_CLIENT,
        start_time_unix_nano=start,
        end_time_unix_nano=start + max(0, round(row.duration_ms * 1_000_000)),
        attributes=[*_pairs(_of_row(row, failed)), *(_pairs(_of_content(content)) if content else ())],
        status=Status(code=Status.STATUS_CODE_ERROR, message=_clean((row.error or failed)[:_MAX_ERROR]))
        if failed
        else Status(),
    )


def request(spans: Sequence[Span], service: str) -> bytes:
    """What a collector is sent."""
    about = Resource(attributes=_pairs({"service.name": service, "service.version": __version__}))
    scope = InstrumentationScope(name="tracecli", version=__version__)
    resource_spans = ResourceSpans(resource=about, scope_spans=[ScopeSpans(scope=scope, spans=spans)])
    return ExportTraceServiceRequest(resource_spans=[resource_spans]).SerializeToString()


def _error(row: Row) -> str | None:
    """What `error.type` says; None: it went well."""
    if row.status is not None and row.status >= 400:
        return str(row.status)
    if row.outcome != "complete":
        return row.outcome
    return "_OTHER" if row.error else None


def _of_row(row: Row, failed: str | None) -> dict[str, Any]:
    return {
        "gen_ai.operation.name": row.operation,
        "gen_ai.provider.name": row.provider,
        "gen_ai.request.model": row.request_model,
        "gen_ai.request.stream": row.stream,
        "gen_ai.response.model": row.response_model,
        "gen_ai.response.id": row.response_id,
        "gen_ai.response.finish_reasons": row.finish_reasons,
        "gen_ai.response.time_to_first_chunk": None if row.ttft_ms is None else row.ttft_ms / 1000,
        "gen_ai.conversation.id": row.session,
        "gen_ai.usage.input_tokens": row.input_tokens,
        "gen_ai.usage.output_tokens": row.output_tokens,
        "gen_ai.usage.cache_read.input_tokens": row.cache_read_input_tokens,
        "gen_ai.usage.cache_creation.input_tokens": row.cache_creation_input_tokens,
        "gen_ai.usage.reasoning.output_tokens": row.reasoning_output_tokens,
        "gen_ai.usage.cost": None if row.cost_usd is None else float(row.cost_usd),
        "server.address": row.host,
        "http.request.method": row.method,
        "http.response.status_code": row.status,
        "error.type": failed,
        "user.id": row.user,
        "tracecli.id": row.id,
        "tracecli.policy": row.policy,
        "tracecli.outcome": row.outcome,
        "tracecli.cost_source": row.cost_source,
        "tracecli.cache_status": row.cache_status,
        "tracecli.cache_origin": row.cache_origin,
        "tracecli.saved_usd": None if row.saved_usd is None else float(row.saved_usd),
        "tracecli.flags": row.flags or None,
        "tracecli.tags": row.tags or None,
        "tracecli.score": row.score,
    }


_INSTRUCTING = ("system", "developer")


def _of_content(content: Opened) -> dict[str, Any]:
    """Messages as the conventions have them: JSON, with roles and parts; what only instructs is apart."""
    instructions = [message for message in content.input_messages if message.get("role") in _INSTRUCTING]
    others = [message for message in content.input_messages if message.get("role") not in _INSTRUCTING]
    parts = [part for message in instructions for part in message.get("parts") or ()]
    return {
        "gen_ai.system_instructions": _json(parts) if parts else None,
        "gen_ai.input.messages": _json(others) if others else None,
        "gen_ai.output.messages": _json(content.output_messages) if content.output_messages else None,
    }


def _json(value: list[Message] | list[Any]) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)


def _pairs(values: dict[str, Any]) -> Iterator[KeyValue]:
    """Attributes; what is unknown is left out."""
    return (KeyValue(key=name, value=_any(value)) for name, value in values.items() if value is not None)


def _any(value: Any) -> AnyValue:
    match value:
        case bool():
            return AnyValue(bool_value=value)
        case int() if -(1 << 63) <= value < 1 << 63:
            return AnyValue(int_value=value)
        case int() | float():
            return AnyValue(double_value=value)
        case list():
            return AnyValue(array_value=ArrayValue(values=map(_any, value)))
    return AnyValue(string_value=_clean(str(value)))


def _clean(text: str) -> str:
    """Protocol buffers take no halves of characters."""
    return text.encode("utf-8", "replace").decode()


def _digest(what: str, name: str, size: int) -> bytes:
    """An id, which must not be all zeros."""
    return hashlib.blake2b(name.encode("utf-8", "replace"), digest_size=size, person=what.encode()).digest()
