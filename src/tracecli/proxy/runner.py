"""`mitmdump` with our addon and the right defaults, in this process."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mitmproxy.proxy.mode_specs import ProxyMode

from tracecli import config
from tracecli.config import Home
from tracecli.errors import ConfigError, ProxyError
from tracecli.runtime import Runtime

# The modes that listen where --listen says, unless they name a place of their own.
_ON_THE_PORT = ("regular", "transparent", "reverse", "upstream", "socks5")
_LISTEN = re.compile(r"(?:\[(?P<ipv6>[^\]]+)\]|(?P<host>[^:]*)):(?P<port>\d{1,5})")


@dataclass(frozen=True)
class Listen:
    """Where the proxy listens."""

    host: str
    port: int


def parse_listen(text: str) -> Listen:
    """`HOST:PORT`, an IPv6 address in brackets; port 0 takes any free one.

    Raises ConfigError if it is something else.
    """
    match = _LISTEN.fullmatch(text)
    if match is None or int(match["port"]) > 65535:
        raise ConfigError(f"--listen {text!r} is not HOST:PORT", "Give an address and a port, as 127.0.0.1:8080.")
    return Listen(match["ipv6"] or match["host"] or "0.0.0.0", int(match["port"]))  # noqa: S104 - asked for by `:8080`


def run(
    home: Home,
    policies: Path,
    listen: Listen,
    modes: Sequence[str],
    hosts: Sequence[str],
    user_headers: Sequence[str],
    mitmproxy_args: Sequence[str],
) -> None:
    """Run the proxy until a signal ends it.

    Raises ConfigError or HomeError for what is wrong with options, policies or home, ProxyError if the port is taken;
    what mitmproxy itself finds wrong ends the process with its own message and exit code.
    """
    Runtime(home, policies, hosts=[*config.extra_hosts(), *hosts], user_headers=user_headers, ingest=False)
    parsed = [_parse_mode(mode) for mode in modes]
    if any(mode.custom_listen_port is None and mode.type_name in _ON_THE_PORT for mode in parsed):
        _check_free(listen)
    os.umask(0o077)
    from mitmproxy.tools.main import mitmdump

    settings = {
        "confdir": str(home.mitmproxy),
        "flow_detail": "0",
        "termlog_verbosity": "alert",
        "tracecli_home": str(home.root),
        "tracecli_policies": str(policies),
    }
    arguments = ["--scripts", str(config.shipped("tracecli_addon.py"))]
    arguments += ["--listen-host", listen.host, "--listen-port", str(listen.port)]
    for mode in modes:
        arguments += ["--mode", mode]
    for name, value in settings.items():
        # mitmproxy refuses an option that is given twice; the user's own wins.
        if not any(argument.startswith(f"{name}=") for argument in mitmproxy_args):
            arguments += ["--set", f"{name}={value}"]
    for entry in hosts:
        arguments += ["--set", f"tracecli_hosts={entry}"]
    for name in user_headers:
        arguments += ["--set", f"tracecli_user_headers={name}"]
    mitmdump([*arguments, *mitmproxy_args])


def _parse_mode(mode: str) -> ProxyMode:
    try:
        return ProxyMode.parse(mode)
    except ValueError as error:
        raise ConfigError(
            f"--mode {mode!r}: {error}", "Give a mode of mitmproxy, as regular or transparent."
        ) from error


def _check_free(listen: Listen) -> None:
    family = socket.AF_INET6 if ":" in listen.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((listen.host, listen.port))
        except OSError as error:
            raise ProxyError(
                f"cannot listen on {listen.host}:{listen.port}: {error.strerror}",
                "Stop what listens there, or choose another port with --listen 127.0.0.1:PORT (0 takes a free one).",
            ) from error
