"""Which requests may be answered from the cache, and which answers may be kept. Pure.

Reasons are one word, for the record: `operation`, `stateful`, `background`, `not_deterministic`, `status_500`, ...
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from tracecli.exchange import Exchange, Headers, Understanding
from tracecli.providers.registry import Operation, operation_of
from tracecli.understanding import Reading
from tracecli.wire.encodings import decode

COMPUTES = frozenset(
    {"chat", "text_completion", "generate_content", "embeddings", "moderation", "rerank", "classification"}
)
"""Operations whose answer depends on the request alone. Never: files, batches, fine-tuning, agents, realtime; and
images, speech and video, which are asked for again to get another one."""

# A key at the top of a body that leans on something the provider keeps.
# https://platform.openai.com/docs/guides/conversation-state  https://docs.mistral.ai/agents/agents_and_conversations
# https://ai.google.dev/api/interactions-api
_STATEFUL = (
    "previous_response_id",
    "conversation",
    "conversation_id",
    "previous_interaction_id",
    "thread_id",
    "container",
    "session_id",
)
# A key at the top that has the provider do or look up something of its own accord. What a model looks up without being
# asked in the request (Perplexity's, "search" models) cannot be seen here; its answers live as long as the policy says.
# https://docs.claude.com/en/docs/agents-and-tools/mcp-connector  https://platform.openai.com/docs/guides/tools-web-search
# https://docs.x.ai/docs/guides/live-search  https://openrouter.ai/docs/features/web-search
# https://docs.cohere.com/v1/reference/chat  https://learn.microsoft.com/azure/ai-foundry/openai/concepts/use-your-data
# https://help.aliyun.com/zh/model-studio/web-search  https://ai.google.dev/api/interactions-api (agents)
_PROVIDER_RUNS = (
    "mcp_servers",
    "web_search_options",
    "search_parameters",
    "plugins",
    "connectors",
    "data_sources",
    "enable_search",
    "agent",
)
# Tools that the client runs, or that only choose among tools; the answer holds no more than the call. Any other tool
# is run by the provider: it acts (code, MCP), or its result changes (search, files), and new ones come every month.
# https://platform.openai.com/docs/guides/tools  https://docs.claude.com/en/docs/agents-and-tools/tool-use/overview
# https://ai.google.dev/gemini-api/docs/function-calling
_CLIENT_RUNS = frozenset({"function", "custom", "local_shell", "apply_patch", "tool_search"})
_CLIENT_RUNS_VERSIONS = ("bash_", "text_editor_", "computer", "memory_", "tool_search_tool_")
_DECLARES = frozenset(
    {"functionDeclarations", "function_declarations", "computerUse", "computer_use", "toolSpec", "cachePoint"}
)
# Where formats keep their sampling settings: at the top, or in one of these.
_SAMPLING = (
    "generationConfig",
    "generation_config",
    "inferenceConfig",
    "options",
    "textGenerationConfig",
    "parameters",
)
_DELTA = re.compile(r"[0-9]{1,10}")
_GENERATES = frozenset({"chat", "text_completion", "generate_content"})
# What ends an answer before its time (https://api-docs.deepseek.com, https://docs.cohere.com/reference/chat), or is no
# answer: Ollama's way to load and unload a model.
_UNFINISHED = frozenset({
    "queued", "in_progress", "cancelled", "failed", "error", "abort", "timeout", "insufficient_system_resource",
    "load", "unload",
})  # fmt: skip


class Control(NamedTuple):
    """What a request's `Cache-Control` asks for (RFC 9111, 5.2.1). What is odd or unknown there counts for nothing."""

    no_cache: bool = False
    no_store: bool = False
    max_age: float | None = None
    only_if_cached: bool = False


_NO_CONTROL = Control()


def request_control(headers: Headers) -> Control:
    """Of a repeated `max-age` the smallest counts. `Pragma: no-cache` counts where there is no `Cache-Control`."""
    asked = [(lower, value) for name, value in headers if (lower := name.lower()) in ("cache-control", "pragma")]
    if not asked:
        return _NO_CONTROL
    given = [value for name, value in asked if name == "cache-control"]
    if not given:
        return Control(no_cache=any("no-cache" in value.lower() for _, value in asked))
    names: set[str] = set()
    ages: list[float] = []
    for directive in ",".join(given).split(","):
        name, _, value = directive.strip().lower().partition("=")
        names.add(name)
        if name == "max-age" and _DELTA.fullmatch(value.strip('" ')):
            ages.append(float(value.strip('" ')))
    return Control("no-cache" in names, "no-store" in names, min(ages, default=None), "only-if-cached" in names)


def why_not_asked(
    operation: str | None, method: str, headers: Headers, value: Any, *, only_deterministic: bool
) -> str | None:
    """Why the cache has nothing to do with a request; None if it has. `value` is the JSON value of its body."""
    if method != "POST" and any(name.lower() == "upgrade" for name, _ in headers):
        return "websocket"
    if method != "POST" or operation not in COMPUTES:
        return "operation"
    if not isinstance(value, dict):
        return "not_deterministic" if only_deterministic else None
    if value.get("background") or value.get("deferred"):
        return "background"
    if any(value.get(name) for name in _STATEFUL):
        return "stateful"
    if any(value.get(name) for name in _PROVIDER_RUNS) or any(_provider_runs(tool) for tool in _tools(value)):
        return "provider_tool"
    if only_deterministic and operation in _GENERATES and not _settled(value):
        return "not_deterministic"
    return None


def _tools(value: dict[str, Any]) -> list[Any]:
    """The tools of a request; Bedrock's are one level down."""
    config = value.get("toolConfig")
    tools = value.get("tools") or (config.get("tools") if isinstance(config, dict) else None)
    return tools if isinstance(tools, list) else []


def _provider_runs(tool: Any) -> bool:
    if not isinstance(tool, dict):
        return False
    kind = tool.get("type")
    if isinstance(kind, str):
        return kind not in _CLIENT_RUNS and not kind.startswith(_CLIENT_RUNS_VERSIONS)
    return "name" not in tool and not tool.keys() <= _DECLARES


def _settled(value: dict[str, Any]) -> bool:
    """Whether a request asks for the same answer each time: temperature 0, or a seed."""
    places = [value, *(inner for name in _SAMPLING if isinstance(inner := value.get(name), dict))]
    return any(
        place.get("temperature") == 0 or any(place.get(name) is not None for name in ("seed", "random_seed"))
        for place in places
    )


def why_not_answered(exchange: Exchange, response_body: bytes, max_entry_bytes: int) -> str | None:
    """Why an answer is not to be given again; None if it is.

    Only a complete 2xx answer is: not cut, readable, without an error inside, a stream up to the event that ends it. A
    client may have left once it had all of a stream.
    """
    status = exchange.status
    if exchange.outcome == "failed" or status is None:
        return "failed"
    if not 200 <= status < 300:
        return f"status_{status}"
    if exchange.response_cut or exchange.response_bytes > max_entry_bytes:
        return "too_large"
    if len(response_body) != exchange.response_bytes:
        return "truncated"
    operation = operation_of(exchange.provider, exchange.method, exchange.path)
    if operation is None or operation.format is None:
        return "format"
    from tracecli.redaction import may_hold_secret  # 20 ms that a proxy without a cache does not pay when it starts

    headers = {name.lower(): value for name, value in exchange.response_headers}
    if may_hold_secret(response_body, headers.get("content-encoding")):
        return "secret"
    generates = operation.name in _GENERATES
    # Without content an error under status 200 may say nothing; what is generated shows by its end.
    reading = Reading(exchange.provider, operation.format, exchange.path, content=not generates)
    reading.response_head(status, exchange.response_headers)
    reading.feed(response_body)
    found = reading.finish()
    for flag in found.flags:
        if flag not in ("request_not_understood", "advisor_not_counted"):  # the request is not looked at
            return flag
    if found.error is not None:
        return "error"
    if exchange.outcome == "aborted" and not (
        _says_its_end(operation, found) and _ends_an_event(exchange, response_body)
    ):
        return "aborted"
    reasons = {reason.lower() for reason in found.finish_reasons or ()}
    ended = found.ended and (found.response_model or found.response_id)  # and is not an end alone
    if generates and not (reasons or ended or found.usage):
        return "unfinished"
    return "unfinished" if reasons & _UNFINISHED else None


def _says_its_end(operation: Operation, found: Understanding) -> bool:
    """Whether a stream ended with an event of its own; elsewhere a finish reason may come before the last piece."""
    return found.ended and operation.name == "chat"


def _ends_an_event(exchange: Exchange, body: bytes) -> bool:
    """Whether the bytes that passed end where an event ends: at an empty line, or where a line is an event, at its."""
    headers = {name.lower(): value for name, value in exchange.response_headers}
    plain, error = decode(headers.get("content-encoding"), body)
    lines = "event-stream" not in headers.get("content-type", "").lower()
    return error is None and plain.endswith((b"\n",) if lines else (b"\n\n", b"\r\n\r\n", b"\r\r"))
