"""Which hosts look like AI providers', and that those of a person's other life do not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracecli.providers.likely import likeness


@pytest.mark.parametrize(
    ("host", "why"),
    [
        ("api.openai.com", "provider"),
        ("API.OpenAI.com.", "provider"),
        ("bedrock-runtime.eu-central-1.amazonaws.com", "provider"),
        ("europe-west4-aiplatform.googleapis.com", "provider"),
        ("resource.openai.azure.com", "provider"),
        ("eu.foo.openai.com", "service"),
        ("proxy.individual.githubcopilot.com", "service"),
        ("chatgpt.com", "service"),
        ("cloudcode-pa.googleapis.com", "service"),
        ("api2.cursor.sh", "service"),
        ("runtime.sagemaker.us-east-1.amazonaws.com", "service"),
        ("vpce-0a1.bedrock-runtime.us-east-1.vpce.amazonaws.com", "service"),
        ("us-south.ml.cloud.ibm.com", "service"),
        ("x1.eu-west-1.aws.endpoints.huggingface.cloud", "service"),
        ("inference.generativeai.us-chicago-1.oci.oraclecloud.com", "name"),
        ("llm.corp.example", "name"),
        ("my-vllm-0.internal", "name"),
        ("litellm", "name"),
        ("openai-proxy.example.com", "name"),
        ("api.newvendor.ai", "name"),
        ("api.openai.com.evil.net", "name"),  # no host of theirs, but one to be told of
        ("ai-gateway.example.com", "name"),
        ("vertex-api.example.com", "name"),
    ],
)
def test_what_looks_like_a_provider(host: str, why: str) -> None:
    """Hosts of providers, of services like theirs, and names that say it."""
    assert likeness(host) == why


@pytest.mark.parametrize(
    "host",
    [
        "mail.google.com",
        "www.google.com",
        "storage.googleapis.com",
        "api.github.com",
        "api.gemini.com",  # an exchange of crypto currencies
        "api.llama.fi",
        "claude-dupont.example.fr",
        "openai.com",
        "www.openai.com",
        "docs.anthropic.com",
        "console.anthropic.com",
        "telemetry.individual.githubcopilot.com",
        "logfire-api.pydantic.dev",
        "bedrock.us-east-1.amazonaws.com",
        "s3.us-east-1.amazonaws.com",
        "cdn-lfs.huggingface.co",
        "huggingface.co",
        "ai.example.com",
        "www.some-clinic.ai",
        "some-clinic.ai",
        "air-api.example.com",
        "mail.example.ai",
        "api.example.com",
        "maildomain.com",
        "repairs.example.com",
        "intranet",
        "\u212bpi.openai.com",
        "192.0.2.7",
        "2001:db8::1",
        "",
        ".",
        "..ai",
        "api..ai",
        "-api.openai.com",
        "api.x\x1b[31m.ai",
        "llm.example.com/path",
        "llm.example.com:443",
        "a" * 300 + ".openai.com",
    ],
)
def test_what_does_not(host: str) -> None:
    """Hosts of other things, one word alone, addresses, and what is no name."""
    assert likeness(host) is None


@given(st.text())
def test_anything_may_be_asked(host: str) -> None:
    """A name is hostile: whatever it is, it gets an answer, and one that looks like a provider's is a plain name."""
    if likeness(host):
        assert host.isascii()
        assert host.isprintable()
