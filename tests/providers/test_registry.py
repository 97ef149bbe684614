"""Which requests are model calls, and in which wire format."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.providers.recordings import flavor, needs_recordings, operation, rows
from tracecli.providers.formats import FORMATS
from tracecli.providers.registry import Operation, operation_of

CHAT, RESPONSES, MESSAGES = "openai.chat", "openai.responses", "anthropic.messages"


@pytest.mark.parametrize(
    ("provider", "path", "name", "wire_format"),
    [
        ("openai", "/v1/chat/completions", "chat", CHAT),
        ("openai", "/v1/responses", "chat", RESPONSES),
        ("openai", "/backend-api/codex/responses", "chat", RESPONSES),
        ("openai", "/v1/moderations", "moderation", ...),
        ("openai", "/v1/images/edits", "image_generation", ...),
        ("openai", "/v1/audio/transcriptions", "transcription", ...),
        ("openai", "/v1/audio/speech", "speech", ...),
        ("openai", "/v1/completions", "text_completion", ...),
        ("openai", "/v1/embeddings", "embeddings", ...),
        ("azure.ai.openai", "//openai/deployments/d/chat/completions?api-version=2024-10-21", "chat", CHAT),
        ("azure.ai.openai", "/openai/v1/responses?api-version=preview", "chat", RESPONSES),
        ("azure.ai.inference", "/models/chat/completions?api-version=1", "chat", CHAT),
        ("azure.ai.inference", "/anthropic/v1/messages", "chat", MESSAGES),
        ("anthropic", "/v1/messages?beta=true", "chat", MESSAGES),
        ("anthropic", "/v1/messages/", "chat", MESSAGES),
        ("gcp.gemini", "/v1beta/models/gemini-2.5-flash:generateContent", "generate_content", ...),
        ("gcp.gemini", "/v1beta/models/g:streamGenerateContent?alt=sse&key=x", "generate_content", ...),
        ("gcp.gemini", "/v1beta/models/e:batchEmbedContents", "embeddings", ...),
        ("gcp.gemini", "/v1beta/openai/chat/completions", "chat", CHAT),
        ("gcp.vertex_ai", "/v1/projects/p/publishers/google/models/g:generateContent", "generate_content", ...),
        ("gcp.vertex_ai", "/v1/projects/p/publishers/anthropic/models/c:streamRawPredict", "chat", MESSAGES),
        ("gcp.vertex_ai", "/v1/projects/p/publishers/mistralai/models/m:rawPredict", "chat", CHAT),
        ("gcp.vertex_ai", "/v1/projects/p/publishers/google/models/text-embedding-005:predict", "embeddings", ...),
        ("gcp.vertex_ai", "/v1/projects/p/publishers/google/models/imagen-4:predict", "image_generation", ...),
        ("gcp.vertex_ai", "/v1/projects/p/endpoints/openapi/chat/completions", "chat", CHAT),
        ("aws.bedrock", "/model/us.amazon.nova-lite-v1%3A0/converse", "chat", ...),
        ("aws.bedrock", "/model/us.amazon.nova-lite-v1:0/converse-stream", "chat", ...),
        ("aws.bedrock", "/model/cohere.embed-v4%3A0/invoke", "embeddings", ...),
        ("aws.bedrock", "/model/meta.llama3/invoke-with-response-stream", "chat", ...),
        ("aws.bedrock", "/model/arn%3Aaws%3Abedrock%3Aus-east-1%3A1%3Ainference-profile%2Fx/converse", "chat", ...),
        ("aws.bedrock", "/agents/a/agentAliases/b/sessions/c/text", "invoke_agent", None),
        ("aws.bedrock", "/retrieveAndGenerate", "chat", None),
        ("aws.bedrock", "/openai/v1/responses", "chat", RESPONSES),
        ("aws.bedrock", "/anthropic/v1/messages", "chat", MESSAGES),
        ("cohere", "/v2/chat", "chat", ...),
        ("cohere", "/v2/rerank", "rerank", ...),
        ("cohere", "/v2/embed", "embeddings", ...),
        ("ollama", "/api/chat", "chat", ...),
        ("ollama", "/api/generate", "text_completion", ...),
        ("ollama", "/v1/chat/completions", "chat", CHAT),
        ("groq", "/openai/v1/chat/completions", "chat", CHAT),
        ("openrouter", "/api/v1/chat/completions", "chat", CHAT),
        ("perplexity", "/chat/completions", "chat", CHAT),
        ("fireworks_ai", "/inference/v1/chat/completions", "chat", CHAT),
        ("huggingface", "/novita/v3/openai/chat/completions", "chat", CHAT),
        ("deepseek", "/chat/completions", "chat", CHAT),
        ("deepseek", "/anthropic/v1/messages", "chat", MESSAGES),
        ("z_ai", "/api/paas/v4/chat/completions", "chat", CHAT),
        ("mistral_ai", "/v1/agents/completions", "chat", CHAT),
        ("mistral_ai", "/v1/fim/completions", "text_completion", CHAT),
        ("portkey", "/v1/prompts/p/completions", "chat", CHAT),
        ("openai_compatible", "/my/prefix/v1/chat/completions", "chat", CHAT),
    ],
)
def test_model_calls(provider: str, path: str, name: str, wire_format: object) -> None:
    """Every provider's model calls are told by their path's ending, whatever stands before it."""
    found = operation_of(provider, "POST", path)
    assert found is not None and found.name == name and not found.unsure
    if wire_format is not ...:
        assert found.format == wire_format


@pytest.mark.parametrize(
    ("provider", "method", "path"),
    [
        ("openai", "GET", "/v1/models"),
        ("openai", "GET", "/v1/chat/completions"),
        ("openai", "DELETE", "/v1/responses/resp_1"),
        ("openai", "OPTIONS", "/v1/chat/completions"),
        ("openai", "GET", "/v1/responses/resp_1"),
        ("openai", "POST", "/v1/responses/input_tokens"),
        ("openai", "POST", "/v1/threads/t_1/messages"),
        ("openai", "POST", "/v1/threads/t_1/runs"),
        ("openai", "POST", "/v1/assistants"),
        ("openai", "POST", "/v1/files"),
        ("openai", "POST", "/v1/vector_stores/v/files"),
        ("openai", "POST", "/v1/batches"),
        ("openai", "POST", "/v1/fine_tuning/jobs"),
        ("openai", "POST", "/v1/conversations"),
        ("openai", "POST", "/v1/realtime/client_secrets"),
        ("openai", "POST", "/v1/organization/projects"),
        ("openai", "POST", "/backend-api/conversation"),
        ("openai", "POST", "/backend-api/codex/v1/other"),
        ("openai", "POST", "/ces/v1/t"),
        ("openai", "POST", "/"),
        ("openai", "POST", ""),
        ("anthropic", "POST", "/v1/messages/count_tokens"),
        ("anthropic", "POST", "/v1/messages/batches"),
        ("anthropic", "POST", "/v1/oauth/token"),
        ("anthropic", "POST", "/v1/files"),
        ("anthropic", "POST", "/api/event_logging/batch"),
        ("anthropic", "POST", "/api/claude_code/metrics"),
        ("anthropic", "POST", "/api/eval/sdk"),
        ("anthropic", "POST", "/mcp-registry/v0/servers"),
        ("gcp.gemini", "POST", "/v1beta/models/g:countTokens"),
        ("gcp.gemini", "POST", "/upload/v1beta/files"),
        ("gcp.gemini", "POST", "/upload/v1beta/fileSearchStores/s:uploadToFileSearchStore"),
        ("gcp.gemini", "POST", "/v1beta/models/g:batchGenerateContent"),
        ("aws.bedrock", "POST", "/model/m/count-tokens"),
        ("aws.bedrock", "POST", "/guardrail/g/version/1/apply"),
        ("aws.bedrock", "POST", "/knowledgebases/k/retrieve"),
        ("aws.bedrock", "GET", "/model/m/converse"),
        ("cohere", "POST", "/v1/tokenize"),
        ("ollama", "POST", "/api/pull"),
        ("openrouter", "POST", "/account/settings"),
    ],
)
def test_no_model_calls(provider: str, method: str, path: str) -> None:
    """Lists, files, batches, accounts, telemetry, token counting and websites are not recorded."""
    assert operation_of(provider, method, path) is None


@pytest.mark.parametrize(
    ("provider", "path"),
    [
        ("openai", "/v1/brand-new-endpoint"),
        ("gcp.gemini", "/v1beta/cachedContents"),
        ("groq", "/openai/v2/answers"),
        ("openai_compatible", "/answers"),
    ],
)
def test_new_endpoints(provider: str, path: str) -> None:
    """An endpoint that nobody listed is looked at by its content, so that new ones are not lost."""
    assert operation_of(provider, "POST", path) == Operation(None, None, unsure=True)


@pytest.mark.parametrize(
    ("provider", "path", "name"),
    [
        ("openai", "/v1/realtime?model=gpt-realtime", "realtime"),
        ("azure.ai.openai", "/openai/v1/realtime?model=d", "realtime"),
        ("openai", "/v1/responses", "chat"),
        ("openai", "/backend-api/codex/responses", "chat"),
        ("gcp.gemini", "/ws/google.ai.generativelanguage.v1beta.GenerativeService.BidiGenerateContent", "realtime"),
    ],
)
def test_sockets(provider: str, path: str, name: str) -> None:
    """WebSockets that carry model calls begin with a GET."""
    found = operation_of(provider, "GET", path)
    assert found is not None and found.name == name


@settings(deadline=None)
@given(st.sampled_from(["openai", "aws.bedrock", "gcp.vertex_ai"]), st.text(max_size=60))
def test_any_path(provider: str, path: str) -> None:
    """No path raises."""
    for method in ("GET", "POST"):
        operation_of(provider, method, path)
        operation_of(provider, method, f"/v1/publishers/{path}:rawPredict")


def test_formats_exist() -> None:
    """Every format that the registry names has its module."""
    from tracecli.providers import registry

    tables = [registry._ENDINGS, registry._METHODS, registry._SOCKETS, *registry._ENDINGS_OF.values()]
    named = {found.format for table in tables for found in table.values() if found.format}
    assert named <= FORMATS.keys()


@needs_recordings
def test_recorded_requests() -> None:
    """Of the recorded requests, model calls are recorded and nothing else."""
    sure: dict[str, set[bool]] = {}
    for row in rows("exchanges.jsonl"):
        found = operation(row)
        sure.setdefault(flavor(row), set()).add(found is not None and not found.unsure)
    no_calls = {name for name, found in sure.items() if found == {False}}
    assert no_calls == {
        "anthropic:count_tokens",
        "bedrock:apply",
        "bedrock:count-tokens",
        "bedrock:other",
        "cohere:v1/tokenize",
        "gemini:countTokens",
        "gemini:other",  # unsure: a cache is filled
        "gemini:uploadToFileSearchStore",
        "openai:conversations",
        "openai:files",
        "openai:models",
        "openai:realtime",
        "openai:responses-input_tokens",
        "openai:vector_stores",
        "other",
    }
    assert {name for name, found in sure.items() if len(found) == 2} == {
        "bedrock-agent",  # a search of a knowledge base without an answer
        "openai:audio",  # an audio file of the website
    }
