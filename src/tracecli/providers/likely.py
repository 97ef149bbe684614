"""Which hosts look like those of AI providers, by their names alone. Pure.

It decides which of the hosts that passed unopened may be written down by name, so it errs to the side of no:

1. A known provider's host, or one below the domain of a company that does little else (`eu.foo.openai.com`), or one of
   `_OTHERS`: services that serve models and are not intercepted unless asked for.
2. Or a name with a word that hardly anything else has, as `llm`, `openai`, `inference`.
3. Or one with both a word of machines (`api`, `gateway`, ...) and one of AI (`ai`, `ml`, `models`, `vertex`, or the
   ending `.ai`). Neither alone is enough: `api.github.com` and `ai.example.com` have one each.

Whatever else speaks for it, a name with a word of websites, sign-in or telemetry (`www`, `docs`, `auth`, ...) is none,
and neither is an address or a company's bare domain, which is its website.
"""

from __future__ import annotations

import re
from typing import Literal

from tracecli.providers.hosts import COMPANIES, Hosts

type Likeness = Literal["provider", "service", "name"]
"""A host of a provider that is known; of a service that serves models; one with a name that looks so."""

_MAX_CHARS = 253
_NAME = re.compile(r"(?=.*[a-z])[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?)*")
_WORDS = re.compile(r"[a-z]+")

# Companies whose domains hold much besides models.
_GENERAL = {
    "aliyuncs.com", "cloudflare.com", "googleapis.com", "huggingface.co", "nebius.com", "nvidia.com", "pydantic.dev",
    "vercel.sh", "writer.com",
}  # fmt: skip
# `*.` is any labels in front. A vendor's own page on its API, or its client's source, names each.
_OTHERS = {
    "chatgpt.com",  # Codex with a ChatGPT account: https://github.com/openai/codex
    "claude.ai",
    "cloudcode-pa.googleapis.com",  # gemini-cli with a Google account: https://github.com/google-gemini/gemini-cli
    "copilot-proxy.githubusercontent.com",
    "*.cursor.sh",
    "server.codeium.com",
    "api.replicate.com",
    "api.stability.ai",
    "api.elevenlabs.io",
    "api.deepgram.com",
    "api.assemblyai.com",
    "api.runpod.ai",
    "*.modal.run",
    "*.endpoints.huggingface.cloud",  # https://huggingface.co/docs/inference-endpoints
    "*.ml.cloud.ibm.com",  # https://cloud.ibm.com/apidocs/watsonx-ai
    "ark.cn-beijing.volces.com",
    "hunyuan.tencentcloudapi.com",
    "qianfan.baidubce.com",
    "api.siliconflow.cn",
    "api.stepfun.com",
    "api.lingyiwanwu.com",
    "api.baichuan-ai.com",
}
# SageMaker's endpoints, and Bedrock's by private links; not what manages models and calls none (`bedrock.REGION`).
_AWS = re.compile(r"(runtime(-fips)?\.sagemaker|.*\bbedrock-[a-z-]*runtime)\..*\bamazonaws\.com(\.cn)?")

# Not what people and other firms are called too: claude, gemini, llama, mistral.
_SURE = {
    "aiplatform", "anthropic", "chatgpt", "deepseek", "embeddings", "genai", "generativeai", "generativelanguage",
    "gpt", "huggingface", "inference", "litellm", "llm", "llms", "ollama", "openai", "openrouter", "qwen", "vertexai",
    "vllm",
}  # fmt: skip
_MACHINE = {"api", "apis", "endpoint", "endpoints", "gateway", "router", "runtime", "serving"}
_AI = {"ai", "ml", "model", "models", "vertex", "foundry"}
_NO_CALLS = {
    "account", "accounts", "admin", "analytics", "assets", "auth", "billing", "blog", "cdn", "community",
    "console", "dashboard", "docs", "download", "downloads", "events", "featureassets", "files", "fonts", "forum",
    "help", "images", "img", "login", "mail", "metrics", "oauth", "platform", "registry", "sentry", "signin", "sso",
    "static", "statsig", "status", "statuspage", "store", "support", "telemetry", "tracking", "www",
}  # fmt: skip

_KNOWN = Hosts()
_COMPANIES = COMPANIES - _GENERAL


def likeness(host: str) -> Likeness | None:
    """Why a host looks like an AI provider's; None: it does not. Anything may be given, also what is no host name."""
    name = host.lower().removesuffix(".")
    if len(name) > _MAX_CHARS or not host.isascii() or not _NAME.fullmatch(name):
        return None
    if _KNOWN.provider_of(name, 443):
        return "provider"
    labels = name.split(".")
    words = {word for label in labels[:-1] or labels for word in _WORDS.findall(label)}
    if words & _NO_CALLS or name in COMPANIES:
        return None
    if name in _OTHERS or any(f"*.{'.'.join(labels[at:])}" in _OTHERS for at in range(1, len(labels))):
        return "service"
    if _AWS.fullmatch(name) or ".".join(labels[-2:]) in _COMPANIES:
        return "service"
    if words & _SURE:
        return "name"
    if words & _MACHINE and (words & _AI or labels[-1] == "ai"):
        return "name"
    return None
