"""The environment that has a program's calls come through the proxy: made of the one that it would have had. Pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

from tracecli.clients.table import VARIABLES
from tracecli.errors import ConfigError
from tracecli.providers.hosts import Hosts

LOOPBACK = ("localhost", "127.0.0.1", "::1")
_HTTPS = ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY")
"""What names the proxy of HTTPS; the first that says something counts."""
_NO_PROXY = ("no_proxy", "NO_PROXY")
_PORTS = {"http": 80, "https": 443}


def made(given: Mapping[str, str], proxy_url: str, bundle: str, *, loopback_too: bool = False) -> dict[str, str]:
    """The variables to set. What `given` exempts from its proxy stays exempt; so is this machine, unless asked for."""
    exempt = exempted(given) + ([] if loopback_too else [name for name in LOOPBACK if name not in exempted(given)])
    values = {"proxy": proxy_url, "no_proxy": ",".join(exempt), "bundle": bundle, "switch": "1"}
    return {name: values[kind] for name, kind in VARIABLES.items()}


def exempted(given: Mapping[str, str]) -> list[str]:
    """The entries of NO_PROXY."""
    text = next((value for name in _NO_PROXY if (value := given.get(name))), "")
    return [entry for entry in text.replace(",", " ").split() if entry]


def exempted_providers(given: Mapping[str, str], hosts: Hosts) -> list[str]:
    """The entries of NO_PROXY that let calls to a provider go past the proxy. Those for this machine are none."""
    return [entry for entry in exempted(given) if hosts.any_within(_domain(entry))]


def _domain(entry: str) -> str:
    """The name of an entry such as `.example.com`, `*.example.com:443`, `*`; empty: all names."""
    name = entry.strip().lower().rpartition("://")[2]
    name = name if name.count(":") > 1 else name.partition(":")[0]
    return name.removeprefix("*").removeprefix(".")


@dataclass(frozen=True)
class Upstream:
    """The proxy that the user's programs go through."""

    scheme: str
    host: str
    port: int
    auth: str | None = field(default=None, repr=False)
    """`user:password`."""
    variable: str = ""
    """What named it."""

    @property
    def mode(self) -> str:
        """As mitmproxy's `--mode` takes it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"upstream:{self.scheme}://{host}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        """Whether it is on this machine."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host.lower() == "localhost"


def named(given: Mapping[str, str]) -> Upstream | None:
    """The proxy that HTTPS goes through already.

    Raises ConfigError, without what may be a password, if it cannot be used.
    """
    variable = next((name for name in _HTTPS if given.get(name)), None)
    if variable is None:
        return None
    text = given[variable]
    try:
        parts = urlsplit(text if "://" in text else f"http://{text}")
        host, port = parts.hostname or "", parts.port
    except ValueError:
        host, port = "", None
    if not host:
        raise ConfigError(f"{variable} holds no URL of a proxy", "Correct it, or unset it.")
    if parts.scheme not in _PORTS:
        raise ConfigError(
            f"{variable} names a proxy of the kind {parts.scheme}, and tracecli goes out through http and https alone",
            f"Name another proxy in {variable}, or unset it.",
        )
    auth = None
    if parts.username:
        auth = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    return Upstream(parts.scheme, host, port or _PORTS[parts.scheme], auth, variable)


def is_one_of(found: Upstream, own: Collection[tuple[str, int]]) -> bool:
    """Whether a proxy listens at one of these addresses of this machine."""
    return any(_same(found, address) for address in own)


def _same(found: Upstream, address: tuple[str, int]) -> bool:
    host, port = address
    return found.port == port and (found.host == host or (found.is_loopback and _means_loopback(host)))


def _means_loopback(host: str) -> bool:
    return host in (*LOOPBACK, "0.0.0.0", "::")  # noqa: S104 - compared, not bound


def bundles(given: Mapping[str, str]) -> list[str]:
    """The files of authorities that `given` names, each once."""
    named = (value for name, kind in VARIABLES.items() if kind == "bundle" and (value := given.get(name)))
    return list(dict.fromkeys(named))


def with_node(given: Mapping[str, str], script: str) -> str:
    """NODE_OPTIONS that has Node load a script first, after what they say already."""
    word = f'--require "{_node_escaped(script)}"' if any(char in script for char in ' "\\') else f"--require {script}"
    before = given.get("NODE_OPTIONS", "").strip()
    if word in before:
        return before
    return f"{before} {word}".strip()


def _node_escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')


def without_uv(given: Mapping[str, str], prefix: str) -> dict[str, str]:
    """The environment as it was before `uv run` put the virtual environment at `prefix` into it, if it did.

    It is tracecli's own, and a program that is run has its packages elsewhere.
    """
    if "UV_RUN_RECURSION_DEPTH" not in given or given.get("VIRTUAL_ENV") != prefix:
        return dict(given)
    rest = {name: value for name, value in given.items() if name != "VIRTUAL_ENV"}
    folders = given.get("PATH", "").split(":")
    return rest | {"PATH": ":".join(folder for folder in folders if folder != f"{prefix}/bin")}
