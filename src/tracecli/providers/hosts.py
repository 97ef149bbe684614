"""Which hosts belong to which AI provider: the only ones whose connections are intercepted.

Provider names are OpenTelemetry's `gen_ai.provider.name` where it has one
(https://opentelemetry.io/docs/specs/semconv/registry/attributes/gen-ai/), else the same style.
"""

from __future__ import annotations

import difflib
import ipaddress
import re
from collections.abc import Sequence

OPENAI_COMPATIBLE = "openai_compatible"
"""The provider of hosts that a user added without naming one."""

# Names are matched exactly. A host is here if it serves model calls; consoles and websites are not.
_EXACT = {
    # https://platform.openai.com/docs/guides/your-data#data-residency-controls: a region's own host
    **{f"{region}api.openai.com": "openai" for region in ("", *(f"{r}." for r in
       ("ae", "au", "ca", "eu", "gb", "in", "jp", "kr", "sg", "us")))},
    "api.anthropic.com": "anthropic",
    "generativelanguage.googleapis.com": "gcp.gemini",
    "aiplatform.googleapis.com": "gcp.vertex_ai",
    "api.mistral.ai": "mistral_ai",
    "codestral.mistral.ai": "mistral_ai",
    "api.cohere.com": "cohere",
    "api.cohere.ai": "cohere",
    "api.groq.com": "groq",
    "api.deepseek.com": "deepseek",
    "api.x.ai": "x_ai",
    "us-east-1.api.x.ai": "x_ai",
    "eu-west-1.api.x.ai": "x_ai",
    "openrouter.ai": "openrouter",
    "api.together.ai": "together_ai",
    "api.together.xyz": "together_ai",
    "api.fireworks.ai": "fireworks_ai",
    "api.perplexity.ai": "perplexity",
    "api.cerebras.ai": "cerebras",
    "ollama.com": "ollama",
    "router.huggingface.co": "huggingface",
    "api-inference.huggingface.co": "huggingface",
    "api.voyageai.com": "voyage_ai",
    "api.jina.ai": "jina_ai",
    "api.z.ai": "z_ai",
    "open.bigmodel.cn": "z_ai",
    "api.moonshot.ai": "moonshot_ai",
    "api.moonshot.cn": "moonshot_ai",
    "api.minimax.io": "minimax",
    "api.minimaxi.com": "minimax",
    "dashscope.aliyuncs.com": "alibaba_cloud",
    "dashscope-intl.aliyuncs.com": "alibaba_cloud",
    "dashscope-us.aliyuncs.com": "alibaba_cloud",
    "api.ai21.com": "ai21",
    "api.sambanova.ai": "sambanova",
    "api.deepinfra.com": "deepinfra",
    "api.novita.ai": "novita_ai",
    "api.hyperbolic.xyz": "hyperbolic",
    "api.studio.nebius.com": "nebius",
    "api.tokenfactory.nebius.com": "nebius",
    "integrate.api.nvidia.com": "nvidia",
    "inference.baseten.co": "baseten",
    "api.inference.net": "inference_net",
    "api.writer.com": "writer",
    "api.githubcopilot.com": "github_copilot",
    "api.individual.githubcopilot.com": "github_copilot",
    "api.business.githubcopilot.com": "github_copilot",
    "api.enterprise.githubcopilot.com": "github_copilot",
    "models.github.ai": "github_models",
    "api.portkey.ai": "portkey",
    "ai-gateway.vercel.sh": "vercel",
    "gateway.ai.cloudflare.com": "cloudflare",
    "gateway.pydantic.dev": "pydantic",
}  # fmt: skip

# `*` is one or more labels in front; a pattern, where given, is what those labels have to be.
_SUFFIXES: dict[str, list[tuple[str | None, str]]] = {
    # https://learn.microsoft.com/azure/ai-foundry/foundry-models/concepts/endpoints
    "openai.azure.com": [(None, "azure.ai.openai")],
    "cognitiveservices.azure.com": [(None, "azure.ai.openai")],
    "services.ai.azure.com": [(None, "azure.ai.inference")],
    "models.ai.azure.com": [(None, "azure.ai.inference")],
    "inference.ml.azure.com": [(None, "azure.ai.inference")],
    # https://cloud.google.com/vertex-ai/docs/reference/rest: us-central1-aiplatform, and aiplatform.us.rep for regions
    "googleapis.com": [(r"[a-z0-9-]+-aiplatform", "gcp.vertex_ai")],
    "rep.googleapis.com": [(r"aiplatform\.[a-z0-9-]+", "gcp.vertex_ai")],
    # https://docs.aws.amazon.com/general/latest/gr/bedrock.html
    "amazonaws.com": [(r"bedrock-(agent-)?runtime(-fips)?\.[a-z0-9-]+", "aws.bedrock")],
    "amazonaws.com.cn": [(r"bedrock-runtime\.[a-z0-9-]+", "aws.bedrock")],
    "api.aws": [(r"bedrock-(runtime|runtime-fips|mantle)\.[a-z0-9-]+", "aws.bedrock")],
    # https://devcenter.heroku.com/articles/heroku-inference-quick-start
    "inference.heroku.com": [(None, "heroku")],
}

# Model servers and gateways of one's own, on the port that each listens on by default.
# https://docs.ollama.com/faq  https://lmstudio.ai/docs/developer/core/server
# https://docs.litellm.ai/docs/proxy/quick_start  https://github.com/Portkey-AI/gateway
_LOCAL_PORTS = {11434: "ollama", 1234: OPENAI_COMPATIBLE, 4000: OPENAI_COMPATIBLE, 8787: OPENAI_COMPATIBLE}
_LOCAL: dict[tuple[str, int | None], str] = {
    (host, port): provider
    for host in ("localhost", "127.0.0.1", "::1", "0.0.0.0")  # noqa: S104 nothing listens here
    for port, provider in _LOCAL_PORTS.items()
}

KNOWN_PROVIDERS = frozenset(
    {OPENAI_COMPATIBLE, "ibm.watsonx.ai", "snowflake", "databricks"}
    | set(_EXACT.values())
    | {provider for rules in _SUFFIXES.values() for _, provider in rules}
    | set(_LOCAL.values())
)
"""Every provider name that a host can be given."""

COMPANIES = frozenset(".".join(host.split(".")[-2:]) for host in _EXACT)
"""The domains that providers' hosts are in, as `openai.com`."""

_FORM = "HOST[:PORT][=PROVIDER], where HOST may begin with `*.`"
_LABELS = re.compile(r"(?!-)[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*", re.ASCII)


class Hosts:
    """The known hosts, and those that a user added as `HOST[:PORT][=PROVIDER]`.

    Raises ValueError, one sentence, for an entry that is not of that form or names an unknown provider.
    """

    def __init__(self, extra: Sequence[str] = ()) -> None:
        self._exact = _LOCAL | {(host, None): provider for host, provider in _EXACT.items()}
        self._suffixes: dict[str, list[tuple[re.Pattern[str] | None, int | None, str]]] = {
            suffix: [(re.compile(labels) if labels else None, None, provider) for labels, provider in rules]
            for suffix, rules in _SUFFIXES.items()
        }
        for entry in extra:
            self._add(entry)

    def _add(self, entry: str) -> None:
        host, port, provider = _parsed(entry)
        if provider is None:
            name = host.removeprefix("*.")
            known = self.provider_of(f"any.{name}" if host != name else name, port or 443)
            provider = known or OPENAI_COMPATIBLE
        if host.startswith("*."):
            self._suffixes.setdefault(host[2:], []).insert(0, (None, port, provider))
        else:
            self._exact[host, port] = provider

    def provider_of(self, host: str, port: int) -> str | None:
        """The provider behind a host name or address, or None if it is no host of ours."""
        name = host.lower().removesuffix(".")
        found = self._exact.get((name, port)) or self._exact.get((name, None))
        if found:
            return found
        dot = name.find(".")
        while dot != -1:
            rules = self._suffixes.get(name[dot + 1 :])
            if rules:
                for labels, only_port, provider in rules:
                    if only_port in (None, port) and dot and (labels is None or labels.fullmatch(name[:dot])):
                        return provider
            dot = name.find(".", dot + 1)
        return None

    def any_within(self, domain: str) -> bool:
        """Whether a host of a provider is this one or has it as its suffix; those of this machine do not count.

        An empty domain holds them all.
        """
        here = {name for name, _ in _LOCAL}
        names = [name for name, _ in self._exact if name not in here]
        within = any(f".{name}".endswith(f".{domain}") for name in [*names, *self._suffixes])
        return not domain or within or self.provider_of(domain, 443) is not None


def _parsed(entry: str) -> tuple[str, int | None, str | None]:
    """Host, port and provider of an entry; raises ValueError."""
    place, equals, provider = entry.partition("=")
    if "/" in place:
        raise ValueError(f"the host entry {entry!r} holds a `/`, but it takes a host and no URL; expected {_FORM}")
    match = re.fullmatch(r"(?P<host>\[[^\[\]]*\]|[^\[\]:]*)(:(?P<port>[^:]*))?", place)
    if match is None:
        raise ValueError(f"the host entry {entry!r} is not {_FORM}, an IPv6 address in brackets")
    host = _checked_host(entry, match["host"])
    port = None if match["port"] is None else _checked_port(entry, match["port"])
    return host, port, _checked_provider(entry, provider) if equals else None


def _checked_host(entry: str, host: str) -> str:
    if host.startswith("["):
        try:
            return str(ipaddress.IPv6Address(host[1:-1]))
        except ValueError:
            raise ValueError(f"the host entry {entry!r} holds no IPv6 address in its brackets") from None
    name = host.lower().removesuffix(".")
    bare = name.removeprefix("*.")
    if bare in ("", "*"):
        raise ValueError(f"the host entry {entry!r} names no host; expected {_FORM}")
    if "*" in bare:
        raise ValueError(f"the host entry {entry!r} has a `*` elsewhere than in front; expected {_FORM}")
    if not _LABELS.fullmatch(bare):
        raise ValueError(f"the host entry {entry!r} names no valid host; expected {_FORM}")
    return name


def _checked_port(entry: str, port: str) -> int:
    if not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        raise ValueError(f"the host entry {entry!r} has the port {port!r}, which is no number from 1 to 65535")
    return int(port)


def _checked_provider(entry: str, provider: str) -> str:
    if provider in KNOWN_PROVIDERS:
        return provider
    near = difflib.get_close_matches(provider.lower(), KNOWN_PROVIDERS, 1)
    hint = f"did you mean {near[0]}?" if near else f"known ones are {', '.join(sorted(KNOWN_PROVIDERS))}"
    raise ValueError(f"the host entry {entry!r} names the unknown provider {provider!r}; {hint}")
