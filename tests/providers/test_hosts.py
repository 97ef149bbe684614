"""Which hosts are ours: the known ones and no others, and what a user adds."""

from __future__ import annotations

import contextlib
from urllib.parse import urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.providers.recordings import flavor, needs_recordings, rows
from tracecli.providers.hosts import KNOWN_PROVIDERS, Hosts

HOSTS = Hosts()


@pytest.mark.parametrize(
    ("host", "provider"),
    [
        ("api.openai.com", "openai"),
        ("API.OpenAI.com.", "openai"),
        ("eu.api.openai.com", "openai"),
        ("test-azure.openai.azure.com", "azure.ai.openai"),
        ("resource.cognitiveservices.azure.com", "azure.ai.openai"),
        ("resource.services.ai.azure.com", "azure.ai.inference"),
        ("api.anthropic.com", "anthropic"),
        ("generativelanguage.googleapis.com", "gcp.gemini"),
        ("aiplatform.googleapis.com", "gcp.vertex_ai"),
        ("europe-west4-aiplatform.googleapis.com", "gcp.vertex_ai"),
        ("aiplatform.eu.rep.googleapis.com", "gcp.vertex_ai"),
        ("bedrock-runtime.us-east-1.amazonaws.com", "aws.bedrock"),
        ("bedrock-runtime-fips.us-gov-west-1.amazonaws.com", "aws.bedrock"),
        ("bedrock-runtime.cn-north-1.amazonaws.com.cn", "aws.bedrock"),
        ("bedrock-mantle.us-east-1.api.aws", "aws.bedrock"),
        ("bedrock-agent-runtime.us-east-1.amazonaws.com", "aws.bedrock"),
        ("api.together.ai", "together_ai"),
        ("api.together.xyz", "together_ai"),
        ("openrouter.ai", "openrouter"),
        ("us.inference.heroku.com", "heroku"),
    ],
)
def test_known_hosts(host: str, provider: str) -> None:
    """Names are found in any case, with the root's dot, on any port."""
    assert HOSTS.provider_of(host, 443) == HOSTS.provider_of(host, 8443) == provider


@pytest.mark.parametrize(
    "host",
    [
        "api.openai.com.evil.net",
        "evilapi.openai.com",
        "xapi.openai.com",
        "x.api.openai.com",
        "openai.com",
        "platform.openai.com",
        "cdn.openai.com",
        "openai.azure.com",
        "openai.azure.com.evil.net",
        "evilopenai.azure.com",
        ".openai.azure.com",
        "storage.googleapis.com",
        "play.googleapis.com",
        "evil.aiplatform.googleapis.com",
        "us-aiplatform.googleapis.com.evil.net",
        "s3.us-east-1.amazonaws.com",
        "bedrock.us-east-1.amazonaws.com",
        "evil.bedrock-runtime.us-east-1.amazonaws.com",
        "bedrock-runtime.us-east-1.evil.amazonaws.com",
        "bedrock-runtime.amazonaws.com",
        "huggingface.co",
        "github.com",
        "localhost",
        "127.0.0.1",
        "::1",
        "",
        ".",
        "com",
    ],
)
def test_other_hosts(host: str) -> None:
    """Neighbours, consoles, look-alikes and everything else are left alone."""
    assert HOSTS.provider_of(host, 443) is None


def test_servers_at_home() -> None:
    """Loopback is a model server or a gateway on the ports that those listen on, and nobody on others."""
    for host in ("localhost", "127.0.0.1", "::1", "0.0.0.0"):
        assert HOSTS.provider_of(host, 11434) == "ollama"
        assert {HOSTS.provider_of(host, port) for port in (1234, 4000, 8787)} == {"openai_compatible"}
        assert {HOSTS.provider_of(host, port) for port in (80, 443, 8000, 8080)} == {None}


@pytest.mark.parametrize(
    ("entry", "host", "port", "provider"),
    [
        ("llm.example", "llm.example", 443, "openai_compatible"),
        ("LLM.Example.", "llm.example", 8000, "openai_compatible"),
        ("llm.example=anthropic", "llm.example", 80, "anthropic"),
        ("llm.example:8000=openai", "llm.example", 8000, "openai"),
        ("llm.example:8000=openai", "llm.example", 8001, None),
        ("*.llm.example", "a.b.llm.example", 443, "openai_compatible"),
        ("*.llm.example", "llm.example", 443, None),
        ("*.llm.example:81", "a.llm.example", 443, None),
        ("localhost:8000", "localhost", 8000, "openai_compatible"),
        ("[::1]:8000=openai", "::1", 8000, "openai"),
        ("[0:0::1]", "::1", 1, "openai_compatible"),
        ("10.0.0.7:4000", "10.0.0.7", 4000, "openai_compatible"),
        ("api.anthropic.com", "api.anthropic.com", 443, "anthropic"),
        ("api.anthropic.com=openai_compatible", "api.anthropic.com", 443, "openai_compatible"),
        ("*.openai.azure.com", "x.openai.azure.com", 443, "azure.ai.openai"),
        ("*.openai.azure.com:8443=openai", "x.openai.azure.com", 8443, "openai"),
        ("*.openai.azure.com:8443=openai", "x.openai.azure.com", 443, "azure.ai.openai"),
        ("localhost:11434", "localhost", 11434, "ollama"),
        ("my_host=ollama", "my_host", 11434, "ollama"),
    ],
)
def test_added_hosts(entry: str, host: str, port: int, provider: str | None) -> None:
    """An added host is found as it was written; without a provider it keeps the known one, if there is one."""
    assert Hosts([entry]).provider_of(host, port) == provider


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ("", "names no host"),
        ("=openai", "names no host"),
        (":443", "names no host"),
        ("*.", "names no host"),
        ("a b", "names no valid host"),
        (" llm.example", "names no valid host"),
        ("llm.example\n", "names no valid host"),
        ("https://llm.example", "holds a `/`"),
        ("llm.example/v1", "holds a `/`"),
        ("llm..example", "names no valid host"),
        ("llm.*.example", "elsewhere than in front"),
        ("*llm.example", "elsewhere than in front"),
        ("llm.example:", "number from 1 to 65535"),
        ("llm.example:0", "number from 1 to 65535"),
        ("llm.example:65536", "number from 1 to 65535"),
        ("llm.example:http", "number from 1 to 65535"),
        ("::1", "address in brackets"),
        ("[::g]", "no IPv6 address"),
        ("[::1", "address in brackets"),
        ("llm.example=", "unknown provider ''"),
        ("llm.example=anthropc", "did you mean anthropic?"),
        ("llm.example=OpenAI", "did you mean openai?"),
        ("llm.example=qqqqqqqq", "known ones are"),
    ],
)
def test_bad_entries(entry: str, said: str) -> None:
    """A wrong entry is named, with what is wrong about it."""
    with pytest.raises(ValueError, match="the host entry") as raised:
        Hosts([entry])
    assert said in str(raised.value)
    assert repr(entry) in str(raised.value)


@settings(deadline=None)
@given(st.text(max_size=40), st.integers(0, 70000))
def test_any_text(text: str, port: int) -> None:
    """No name raises; an entry is taken or refused with ValueError."""
    HOSTS.provider_of(text, port)
    with contextlib.suppress(ValueError):
        Hosts([text])


def test_providers_are_listed() -> None:
    """Every provider that a host can have may be named by the user."""
    assert {"openai", "anthropic", "aws.bedrock", "gcp.gemini", "ollama", "openai_compatible"} <= KNOWN_PROVIDERS


@needs_recordings
def test_recorded_hosts() -> None:
    """Every recorded model call went to a known host, but for gateways that only their users can know."""
    unknown = set()
    for row in rows("exchanges.jsonl"):
        url = urlsplit(row["url"])
        if flavor(row) != "other" and HOSTS.provider_of(url.hostname or "", url.port or 443) is None:
            unknown.add(url.netloc)
    assert unknown == {
        "bedrock.us-east-1.amazonaws.com",
        "cdn.openai.com",
        "demo-endpoints.pydantic.workers.dev",
        "huggingface.co",
        "myorg-myaccount.snowflakecomputing.com",
    }
