"""The environment of a program that is run: what is set, what stays, and what is said."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

import pytest

from tracecli.clients import variables
from tracecli.clients.table import CLIENTS, VARIABLES
from tracecli.clients.variables import Upstream
from tracecli.errors import ConfigError
from tracecli.providers.hosts import Hosts

URL = "http://run:secret@127.0.0.1:4321"


def test_the_table_is_whole() -> None:
    """What a client reads is set, what is set some client reads, and each client's source is named."""
    read = {name for client in CLIENTS for name in (*client.proxy, *client.authorities)}
    assert read - {"all_proxy"} == set(VARIABLES) - {"all_proxy"}
    for client in CLIENTS:
        assert urlsplit(client.source).scheme == "https", client.name
        assert all(VARIABLES[name] != "bundle" for name in client.proxy)
        assert all(VARIABLES[name] == "bundle" for name in client.authorities)
        assert client.needs == "" or re.search(r"[.!`]$", client.needs), client.name


def test_everything_is_set() -> None:
    """Proxy and authorities for every client, and this machine goes past the proxy unless it is asked for."""
    made = variables.made({}, URL, "/b.pem")
    assert made["HTTPS_PROXY"] == made["http_proxy"] == made["ALL_PROXY"] == URL
    assert made["SSL_CERT_FILE"] == made["CODEX_CA_CERTIFICATE"] == "/b.pem"
    assert made["NODE_USE_ENV_PROXY"] == "1"
    assert made["NO_PROXY"] == made["no_proxy"] == "localhost,127.0.0.1,::1"
    assert variables.made({}, URL, "/b.pem", loopback_too=True)["NO_PROXY"] == ""


def test_what_is_exempt_stays_exempt() -> None:
    """Entries of NO_PROXY stay, in their order, each once; lower case counts first."""
    made = variables.made({"NO_PROXY": "x", "no_proxy": "a.test, .b.test localhost"}, URL, "/b.pem")
    assert made["NO_PROXY"] == "a.test,.b.test,localhost,127.0.0.1,::1"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("localhost,10.0.0.0/8,.internal.test", []),
        ("api.openai.com", ["api.openai.com"]),
        (".openai.com,*.anthropic.com:443,com.evil", [".openai.com", "*.anthropic.com:443"]),
        ("*", ["*"]),
        ("azure.com", ["azure.com"]),
        ("my.openai.azure.com", ["my.openai.azure.com"]),
        ("notopenai.com,ai.com", []),
        ("llm.corp.test", ["llm.corp.test"]),
        ("::1,[::1]", []),
    ],
)
def test_exempted_providers_are_named(text: str, said: list[str]) -> None:
    """An entry that lets calls to a provider go past the proxy is found, and no other."""
    assert variables.exempted_providers({"NO_PROXY": text}, Hosts(["llm.corp.test"])) == said


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ({}, None),
        ({"HTTPS_PROXY": ""}, None),
        ({"HTTP_PROXY": "http://only-http:1"}, None),
        ({"HTTPS_PROXY": "http://corp.test:3128"}, ("upstream:http://corp.test:3128", None)),
        ({"https_proxy": "corp.test:3128", "HTTPS_PROXY": "http://x"}, ("upstream:http://corp.test:3128", None)),
        ({"ALL_PROXY": "https://u%40d:p%3Aw@[fd00::1]/"}, ("upstream:https://[fd00::1]:443", "u@d:p:w")),
        ({"HTTPS_PROXY": "http://run:t@localhost:8080"}, None),
        ({"HTTPS_PROXY": "http://localhost:8082"}, None),
        ({"HTTPS_PROXY": "http://localhost:8083"}, ("upstream:http://localhost:8083", None)),
        ({"HTTPS_PROXY": "http://127.0.0.1:8081"}, ("upstream:http://127.0.0.1:8081", None)),
    ],
)
def test_the_proxy_before_ours(given: dict[str, str], wanted: tuple[str, str | None] | None) -> None:
    """What HTTPS goes through already is found, unless it is a proxy of ours."""
    found = variables.named(given)
    ours = found is not None and variables.is_one_of(found, {("127.0.0.1", 8080), ("::1", 8082), ("192.0.2.1", 8083)})
    assert (found and not ours and (found.mode, found.auth)) == (wanted or (False if ours else None))


@pytest.mark.parametrize("url", ["socks5://u:s3cret@h:1", "http://u:s3cret@h:port", "http://", "http://[::1"])
def test_a_proxy_that_cannot_be_used(url: str) -> None:
    """The sentence names the variable and no secret."""
    with pytest.raises(ConfigError, match="HTTPS_PROXY") as raised:
        variables.named({"HTTPS_PROXY": url})
    assert "s3cret" not in str(raised.value)


def test_a_password_is_not_shown() -> None:
    """A proxy that is printed by mistake keeps its password."""
    assert "s3cret" not in repr(Upstream("http", "h", 1, "u:s3cret"))


def test_node_options_stay() -> None:
    """What NODE_OPTIONS say stays; the script is added once, quoted as Node wants it."""
    once = variables.with_node({"NODE_OPTIONS": "--max-old-space-size=100"}, "/a b/x.cjs")
    assert once == '--max-old-space-size=100 --require "/a b/x.cjs"'
    assert variables.with_node({"NODE_OPTIONS": once}, "/a b/x.cjs") == once
    assert variables.with_node({}, "/x.cjs") == "--require /x.cjs"


def test_a_program_does_not_run_in_our_own_environment() -> None:
    """What `uv run` has put before the user's own folders is taken out, and nothing where it has put nothing."""
    given = {"PATH": "/t/.venv/bin:/usr/bin", "VIRTUAL_ENV": "/t/.venv", "UV_RUN_RECURSION_DEPTH": "1"}
    assert "VIRTUAL_ENV" not in variables.without_uv(given, "/t/.venv")
    assert variables.without_uv(given, "/t/.venv")["PATH"] == "/usr/bin"
    assert variables.without_uv(given, "/other") == given
    activated = {name: value for name, value in given.items() if name != "UV_RUN_RECURSION_DEPTH"}
    assert variables.without_uv(activated, "/t/.venv") == activated
