"""The clients that are known, and the environment variables that each reads for its proxy and its authorities.

`tracecli run` and `tracecli env` set the variables of all of them, and the page of clients lists them: a client that is
added here is served there. Pure data.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

type Kind = Literal["proxy", "no_proxy", "bundle", "switch"]

VARIABLES: dict[str, Kind] = {
    # Lower case too: some read only that, and libcurl reads HTTP_PROXY in no other way (https://curl.se/docs/manpage.html).
    **dict.fromkeys(("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"), "proxy"),
    **dict.fromkeys(("NO_PROXY", "no_proxy"), "no_proxy"),
    "SSL_CERT_FILE": "bundle",
    "REQUESTS_CA_BUNDLE": "bundle",
    "CURL_CA_BUNDLE": "bundle",
    "NODE_EXTRA_CA_CERTS": "bundle",
    "AWS_CA_BUNDLE": "bundle",
    "CODEX_CA_CERTIFICATE": "bundle",
    "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH": "bundle",
    "DENO_CERT": "bundle",
    "HTTPLIB2_CA_CERTS": "bundle",
    "CLOUDSDK_CORE_CUSTOM_CA_CERTS_FILE": "bundle",
    "WEBSOCKET_CLIENT_CA_BUNDLE": "bundle",
    "NIX_SSL_CERT_FILE": "bundle",
    "NODE_USE_ENV_PROXY": "switch",
}
"""What is set, and to what: the proxy's URL, hosts that go past it, a file of all authorities, or `1`."""

_PROXY = ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "NO_PROXY")
_HTTPS = ("HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY")
_LOWER = ("https_proxy", "http_proxy", "no_proxy")


@dataclass(frozen=True)
class Client:
    """A client, or a library that many of them are made with."""

    name: str
    kind: Literal["Python", "Node", "JavaScript", "command line", "native", "agent"]
    proxy: tuple[str, ...]
    """The variables that name its proxy, and the hosts that go past it."""
    authorities: tuple[str, ...]
    """The variables that name the authorities that it trusts; the first that is set counts."""
    needs: str = ""
    """What no variable does, or what else there is to know; a sentence."""
    source: str = ""
    """Where that is written."""
    agents: tuple[str, ...] = ()
    """Products of its User-Agent when it asks a proxy for a tunnel; many say nothing there."""


CLIENTS = (
    Client(
        "openai, anthropic, google-genai, mistralai",
        "Python",
        _PROXY,
        ("SSL_CERT_FILE",),
        source="https://www.python-httpx.org/environment_variables/",
        agents=("python-httpx",),
    ),
    Client(
        "cohere, groq, ollama, litellm, llm, aider, LangChain, LlamaIndex; httpx",
        "Python",
        _PROXY,
        ("SSL_CERT_FILE",),
        source="https://docs.litellm.ai/docs/guides/security_settings",
    ),
    Client(
        "requests",
        "Python",
        _PROXY,
        ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"),
        source="https://requests.readthedocs.io/en/latest/user/advanced/#ssl-cert-verification",
        agents=("python-requests",),
    ),
    Client(
        "urllib",
        "Python",
        _LOWER,
        ("SSL_CERT_FILE",),
        source="https://docs.python.org/3/library/urllib.request.html#urllib.request.getproxies",
        agents=("Python-urllib",),
    ),
    Client(
        "urllib3",
        "Python",
        (),
        ("SSL_CERT_FILE",),
        "It reads no variable for a proxy, and no password from a proxy's URL: with `url = urllib3.util.parse_url("
        "os.environ['HTTPS_PROXY'])`, make a `urllib3.ProxyManager(url.url, proxy_headers=urllib3.make_headers("
        "proxy_basic_auth=url.auth))`.",
        "https://urllib3.readthedocs.io/en/stable/advanced-usage.html#http-and-https-proxies",
        agents=("python-urllib3",),
    ),
    Client(
        "aiohttp",
        "Python",
        _HTTPS,
        ("SSL_CERT_FILE",),
        "Only with `aiohttp.ClientSession(trust_env=True)`.",
        "https://docs.aiohttp.org/en/stable/client_advanced.html#proxy-support",
        agents=("aiohttp",),
    ),
    Client(
        "boto3 (Bedrock)",
        "Python",
        _HTTPS,
        ("AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE"),
        source="https://docs.aws.amazon.com/boto3/latest/guide/configuration.html#using-environment-variables",
        agents=("Boto3", "Botocore"),
    ),
    Client(
        "websockets (OpenAI Realtime)",
        "Python",
        _PROXY,
        ("SSL_CERT_FILE",),
        source="https://websockets.readthedocs.io/en/stable/topics/proxies.html",
    ),
    Client(
        "websocket-client",
        "Python",
        _LOWER,
        ("WEBSOCKET_CLIENT_CA_BUNDLE", "SSL_CERT_FILE"),
        source="https://websocket-client.readthedocs.io/en/latest/faq.html",
    ),
    Client(
        "gRPC (Vertex AI)",
        "native",
        _LOWER,
        ("GRPC_DEFAULT_SSL_ROOTS_FILE_PATH",),
        source="https://github.com/grpc/grpc/blob/master/doc/environment_variables.md",
        agents=("grpc-c", "grpc-python", "grpc-node-js"),
    ),
    Client(
        "google-api-python-client; httplib2",
        "Python",
        _LOWER,
        ("HTTPLIB2_CA_CERTS",),
        source="https://github.com/httplib2/httplib2/blob/master/python3/httplib2/certs.py",
    ),
    Client(
        "gcloud",
        "command line",
        _HTTPS,
        ("CLOUDSDK_CORE_CUSTOM_CA_CERTS_FILE",),
        source="https://cloud.google.com/sdk/docs/proxy-settings",
    ),
    Client(
        "openai, @anthropic-ai/sdk, @google/genai, @mistralai/mistralai, cohere-ai, groq-sdk, ollama, LangChain, ai; "
        "fetch, http, https",
        "Node",
        ("NODE_USE_ENV_PROXY", *_HTTPS),
        ("NODE_EXTRA_CA_CERTS",),
        "From Node 22.21 and 24.5 on. Older ones go past every proxy without a word: `tracecli run` adds to "
        "NODE_OPTIONS what takes them through.",
        "https://nodejs.org/en/learn/http/enterprise-network-configuration",
        agents=("node", "undici"),
    ),
    Client(
        "Deno",
        "JavaScript",
        _HTTPS,
        ("DENO_CERT", "NODE_EXTRA_CA_CERTS"),
        "With --allow-env nothing more is needed: the runtime reads them itself.",
        "https://docs.deno.com/runtime/reference/env_variables/",
        agents=("Deno",),
    ),
    Client(
        "Bun",
        "JavaScript",
        _HTTPS,
        ("NODE_EXTRA_CA_CERTS",),
        source="https://bun.sh/guides/http/proxy",
        agents=("Bun",),
    ),
    Client(
        "Claude Code",
        "agent",
        _HTTPS,
        ("NODE_EXTRA_CA_CERTS", "SSL_CERT_FILE"),
        source="https://code.claude.com/docs/en/network-config",
        agents=("claude-cli", "claude-code"),
    ),
    Client(
        "Codex",
        "agent",
        _PROXY,
        ("CODEX_CA_CERTIFICATE", "SSL_CERT_FILE"),
        "It clears the environment of the MCP servers that it starts.",
        "https://github.com/openai/codex/pull/14239",
        agents=("codex_cli_rs", "codex_exec"),
    ),
    Client(
        "gemini-cli",
        "agent",
        _HTTPS,
        ("NODE_EXTRA_CA_CERTS",),
        source="https://geminicli.com/docs/resources/troubleshooting",
        agents=("GeminiCLI",),
    ),
    Client(
        "curl",
        "command line",
        ("https_proxy", "HTTPS_PROXY", "http_proxy", "ALL_PROXY", "NO_PROXY"),
        ("CURL_CA_BUNDLE", "SSL_CERT_FILE"),
        source="https://curl.se/docs/manpage.html#ENVIRONMENT",
        agents=("curl",),
    ),
    Client(
        "Go (net/http)",
        "native",
        _HTTPS,
        ("SSL_CERT_FILE",),
        "On macOS and Windows it trusts the system's store alone: `tracecli ca install`.",
        "https://pkg.go.dev/crypto/x509#SystemCertPool",
        agents=("Go-http-client",),
    ),
    Client(
        "Rust (reqwest; rustls-native-certs, native-tls)",
        "native",
        _PROXY,
        ("SSL_CERT_FILE",),
        "Programs with roots built in (webpki-roots) trust nothing else.",
        "https://docs.rs/rustls-native-certs/latest/rustls_native_certs/",
        agents=("reqwest",),
    ),
    Client(
        "Ruby (net/http)",
        "native",
        _LOWER,
        ("SSL_CERT_FILE",),
        source="https://docs.ruby-lang.org/en/master/Net/HTTP.html#class-Net::HTTP-label-Proxy+Server",
        agents=("Ruby",),
    ),
    Client(
        "PHP (curl, Guzzle)",
        "native",
        ("https_proxy", "HTTPS_PROXY", "http_proxy", "NO_PROXY"),
        ("SSL_CERT_FILE",),
        "With `curl.cainfo` set in php.ini, that file counts: `tracecli ca install`.",
        "https://www.php.net/manual/en/curl.configuration.php",
        agents=("GuzzleHttp",),
    ),
    Client(
        "programs built with Nix",
        "native",
        _PROXY,
        ("NIX_SSL_CERT_FILE", "SSL_CERT_FILE"),
        source="https://nixos.org/manual/nix/stable/command-ref/env-common",
    ),
    Client(
        "Java (java.net.http, OkHttp, Apache HttpClient)",
        "native",
        (),
        (),
        "It reads none of these. `-Dhttps.proxyHost=127.0.0.1 -Dhttps.proxyPort=PORT -Djavax.net.ssl.trustStore=FILE`, "
        "where `keytool -importcert` made FILE of what `tracecli ca path` names. JAVA_TOOL_OPTIONS is left alone: each "
        "Java program would say on standard error that it read it.",
        "https://docs.oracle.com/en/java/javase/21/core/java-networking.html",
        agents=("Java-http-client", "Java", "okhttp", "Apache-HttpClient"),
    ),
)


def client_of(products: str) -> Client | None:
    """The client that calls itself so, as `Python aiohttp`; None: it says nothing, or nobody knows it.

    What comes later in a User-Agent is the program more often than not, so the last one that is known counts.
    """
    by_agent = {agent.lower(): client for client in CLIENTS for agent in client.agents}
    return next((by_agent[word] for word in reversed(products.lower().split()) if word in by_agent), None)
