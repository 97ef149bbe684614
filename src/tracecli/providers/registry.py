"""Which requests are model calls, and in which wire format: by provider, method and path.

A path's ending decides: gateways and self-hosted servers put their own prefixes before the same endings. What has no
known ending is looked at once more by its content, unless it plainly manages something (files, batches, keys, ...).
"""

from __future__ import annotations

import re
from functools import lru_cache
from urllib.parse import unquote

import msgspec

_MAX_MET_CHARS = 200


class Operation(msgspec.Struct, frozen=True):
    """What a request asks for."""

    name: str | None
    """An OpenTelemetry GenAI operation (`chat`, `embeddings`, ...) or, where it names none, one in its style."""
    format: str | None
    """The key of the wire format's module in `formats`; None if no module reads it yet."""
    unsure: bool = False
    """The path says too little: it is a model call only if the body is a JSON object with a text `model`."""


_CHAT = Operation("chat", "openai.chat")
_RESPONSES = Operation("chat", "openai.responses")
_MESSAGES = Operation("chat", "anthropic.messages")
_COMPLETION = Operation("text_completion", "openai.completions")
_EMBEDDINGS = Operation("embeddings", "openai.embeddings")
_GOOGLE_EMBEDDINGS = Operation("embeddings", "gemini.embeddings")
_IMAGES = Operation("image_generation", "openai.images")
_RERANK = Operation("rerank", "rerank")
_OTHER_COMPLETION = Operation("text_completion", None)
_OTHER_IMAGES = Operation("image_generation", None)
_OTHER_CHAT = Operation("chat", None)
_REALTIME = Operation("realtime", "openai.realtime")
_UNSURE = Operation(None, None, unsure=True)

# Endings of POST paths, for every provider.
# https://platform.openai.com/docs/api-reference  https://docs.claude.com/en/api/messages
# https://learn.microsoft.com/azure/ai-services/openai/reference  https://docs.mistral.ai/api
# https://docs.cohere.com/reference/about  https://docs.voyageai.com/reference  https://api.jina.ai/redoc
_ENDINGS = {
    "chat/completions": _CHAT,
    "agents/completions": _CHAT,
    "fim/completions": Operation("text_completion", "openai.chat"),
    "completions": _COMPLETION,
    "responses": _RESPONSES,
    "responses/compact": Operation("compaction", "openai.responses"),
    "v1/messages": _MESSAGES,
    "v1/complete": Operation("text_completion", "text_completion"),
    "embeddings": _EMBEDDINGS,
    "multimodalembeddings": _EMBEDDINGS,
    "contextualizedembeddings": _EMBEDDINGS,
    "images/generations": _IMAGES,
    "images/edits": _IMAGES,
    "images/variations": _IMAGES,
    "audio/transcriptions": Operation("transcription", "openai.transcription"),
    "audio/translations": Operation("translation", "openai.transcription"),
    "audio/speech": Operation("speech", "openai.speech"),
    "videos": Operation("video_generation", None),
    "moderations": Operation("moderation", "openai.moderation"),
    "rerank": _RERANK,
    "ocr": Operation("ocr", None),
}

# Endings that mean a model call with one provider and anything at all elsewhere.
_ENDINGS_OF = {
    # https://docs.cohere.com/reference
    "cohere": {
        "v1/chat": Operation("chat", "cohere.chat"),
        "v2/chat": Operation("chat", "cohere.chat"),
        "v1/generate": Operation("text_completion", "text_completion"),
        "v1/summarize": _OTHER_COMPLETION,
        "v1/classify": Operation("classification", None),
        "v1/embed": Operation("embeddings", "cohere.embed"),
        "v2/embed": Operation("embeddings", "cohere.embed"),
    },
    # https://docs.ollama.com/api
    "ollama": {
        "api/chat": Operation("chat", "ollama"),
        "api/generate": Operation("text_completion", "ollama"),
        "api/embed": Operation("embeddings", "ollama"),
        "api/embeddings": Operation("embeddings", "ollama"),
    },
    # https://docs.mistral.ai/agents/agents_and_conversations
    "mistral_ai": {"v1/conversations": _OTHER_CHAT},
    # https://docs.aws.amazon.com/bedrock/latest/APIReference/API_Operations_Agents_for_Amazon_Bedrock_Runtime.html
    "aws.bedrock": {"retrieveAndGenerate": _OTHER_CHAT, "retrieveAndGenerateStream": _OTHER_CHAT},
    # https://ai.google.dev/api/interactions-api
    "gcp.gemini": {"interactions": Operation("chat", "gemini.interactions")},
}
_ENDINGS_OF["openai_compatible"] = _ENDINGS_OF["ollama"]

# Google's custom methods, after the colon of the last segment. https://ai.google.dev/api
# https://cloud.google.com/vertex-ai/docs/reference/rest/v1/projects.locations.publishers.models
_METHODS = {
    "generateContent": Operation("generate_content", "gemini.generate_content"),
    "streamGenerateContent": Operation("generate_content", "gemini.generate_content"),
    "generateAnswer": Operation("generate_content", None),
    "generateMessage": _OTHER_CHAT,
    "generateText": _OTHER_COMPLETION,
    "embedContent": _GOOGLE_EMBEDDINGS,
    "batchEmbedContents": _GOOGLE_EMBEDDINGS,
}
# Methods whose meaning depends on the model, or on its publisher.
_PREDICT = {"predict", "predictLongRunning", "serverStreamingPredict"}
_RAW_PREDICT = {"rawPredict", "streamRawPredict"}

# https://docs.aws.amazon.com/bedrock/latest/APIReference/API_Operations_Amazon_Bedrock_Runtime.html
_BEDROCK = re.compile(
    r"/model/(?P<model>[^/]+(/[^/]+)?)"
    r"/(?P<verb>converse|converse-stream|invoke|invoke-with-response-stream|invoke-with-bidirectional-stream)$"
)

# The same, of an agent defined at AWS or in the request.
_BEDROCK_AGENT = re.compile(r"/agents/[^/]+(/agentAliases/[^/]+/sessions/[^/]+/text)?")

# GET: a WebSocket that carries model calls. https://platform.openai.com/docs/guides/realtime-websocket
# https://developers.openai.com/codex speaks the Responses API over one.
_SOCKETS = {"realtime": _REALTIME, "v1/responses": _RESPONSES, "codex/responses": _RESPONSES}
_GEMINI_LIVE = re.compile(r"BidiGenerateContent(Constrained)?$")

# A path with one of these segments manages something or reports something, whatever its body says.
_NO_CALL = {
    "agents", "api_keys", "assistants", "batches", "claude_code", "containers", "conversations", "count_tokens",
    "detokenize", "eval", "evals", "event_logging", "experimental", "files", "fine-tunes", "fine-tuning", "fine_tune",
    "fine_tuning", "fine_tuning_jobs", "ft", "input_tokens", "libraries", "mcp-registry", "mcp_servers", "metrics",
    "models", "oauth", "organization", "organizations", "otlp", "projects", "prompts", "realtime", "sessions", "skills",
    "telemetry", "threads", "tokenize", "traces", "uploads", "vector_stores", "workspaces",
}  # fmt: skip
# The website's own traffic on chatgpt.com, for who adds that host; what Codex sends there has a known ending.
_WEBSITE = {"backend-api", "backend-anon", "public-api", "ces", "sentinel"}
_VERSION = re.compile(r"v\d+(\.\d+)?((alpha|beta)\d*)?")


def operation_of(provider: str, method: str, path: str) -> Operation | None:
    """What a request asks for; None if it is no model call. `path` may carry a query."""
    path = path.partition("?")[0].partition("#")[0]
    look = _operation_of if len(path) <= _MAX_MET_CHARS else _operation_of.__wrapped__
    return look(provider, method, path)


@lru_cache(maxsize=1024)
def _operation_of(provider: str, method: str, path: str) -> Operation | None:
    segments = [segment for segment in path.split("/") if segment]
    if method == "GET":
        return _socket(segments)
    if method != "POST" or not segments:
        return None
    if segments[0] in _WEBSITE:
        return _RESPONSES if segments == ["backend-api", "codex", "responses"] else None
    if provider == "aws.bedrock" or "model" in segments:
        found = _bedrock("/" + "/".join(segments))
        if found:
            return found
    if ":" in segments[-1]:
        return _google(segments)
    return _by_ending(provider, segments) or _by_content(provider, segments)


def _socket(segments: list[str]) -> Operation | None:
    if segments and _GEMINI_LIVE.search(segments[-1]):
        return Operation("realtime", "gemini.live")
    return next((_SOCKETS[end] for end in _ends(segments) if end in _SOCKETS), None)


def _by_ending(provider: str, segments: list[str]) -> Operation | None:
    own = _ENDINGS_OF.get(provider, {})
    for end in _ends(segments):
        found = own.get(end) or _ENDINGS.get(end)
        if found:
            # A saved prompt run at a gateway answers as a chat does: https://portkey.ai/docs/api-reference
            return _CHAT if found is _COMPLETION and "prompts" in segments else found
    return None


def _ends(segments: list[str]) -> tuple[str, ...]:
    """The last two segments, then the last one."""
    return ("/".join(segments[-2:]), segments[-1]) if segments else ()


def _by_content(provider: str, segments: list[str]) -> Operation | None:
    """An endpoint that is not listed here. Telemetry and account paths of vendors carry no version of the API."""
    if not _NO_CALL.isdisjoint(segments):
        return None
    if provider == "openai_compatible" or any(_VERSION.fullmatch(segment) for segment in segments):
        return _UNSURE
    return None


def _google(segments: list[str]) -> Operation | None:
    model, _, method = segments[-1].rpartition(":")
    if method in _PREDICT:
        return _predict(model)
    if method in _RAW_PREDICT:
        publisher = segments[segments.index("publishers") + 1] if "publishers" in segments else ""
        return {"anthropic": _MESSAGES, "mistralai": _CHAT}.get(publisher, _OTHER_CHAT)
    return _METHODS.get(method)


def _predict(model: str) -> Operation:
    """https://cloud.google.com/vertex-ai/generative-ai/docs/model-reference/overview"""
    if "embedding" in model:
        return _GOOGLE_EMBEDDINGS
    if model.startswith("imag"):
        return _OTHER_IMAGES
    if model.startswith("veo"):
        return Operation("video_generation", None)
    return _OTHER_COMPLETION


def _bedrock(path: str) -> Operation | None:
    if _BEDROCK_AGENT.fullmatch(path):
        return Operation("invoke_agent", None)
    match = _BEDROCK.search(path)
    if match is None:
        return None
    if match["verb"].startswith("converse"):
        return Operation("chat", "bedrock.converse")
    model = unquote(match["model"])
    name = "chat"
    if "embed" in model:
        name = "embeddings"
    elif "rerank" in model:
        name = "rerank"
    elif "image" in model or "stability." in model or "canvas" in model:
        return _OTHER_IMAGES
    return Operation(name, "bedrock.invoke")
