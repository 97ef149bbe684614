"""`tracecli proxy`: mitmdump with our addon and the right defaults, in this process."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import sys
from dataclasses import dataclass
from pathlib import Path

from mitmproxy.proxy.mode_specs import ProxyMode

from tracecli import config
from tracecli.config import Home
from tracecli.errors import ConfigError, ProxyError
from tracecli.runtime import Runtime

# The modes that listen where --listen says, unless they name a place of their own.
_ON_THE_PORT = ("regular", "transparent", "reverse", "upstream", "socks5")
_OPEN_FILES = 65_536
_LISTEN = re.compile(r"(?:\[(?P<ipv6>[^\]]+)\]|(?P<host>[^:]*)):(?P<port>\d{1,5})")


@dataclass(frozen=True)
class Listen:
    """Where the proxy listens."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True)
class Inherited:
    """What a worker has from the process that started it: descriptors, and its slot of the counts (`listening.py`)."""

    socket_fd: int
    counts_fd: int
    slot: int

    def __str__(self) -> str:
        return f"{self.socket_fd}:{self.counts_fd}:{self.slot}"


@dataclass(frozen=True)
class ProxySettings:
    """What `tracecli proxy` was asked for."""

    home: Home
    policies: Path
    listen: Listen
    modes: tuple[str, ...]
    hosts: tuple[str, ...]
    user_headers: tuple[str, ...]
    lane: str = "auto"
    stock: bool = False
    """Run mitmdump as it is."""
    ingest: bool = True
    """Start the ingest process too."""
    inherited: Inherited | None = None
    """A socket that listens already; None: make one."""
    until_eof: bool = False
    """End with what began, when standard input ends."""
    mitmproxy_args: tuple[str, ...] = ()

    def arguments(self) -> list[str]:
        """The words of a command line that asks for the same, after `tracecli proxy`."""
        words = [f"--home={self.home.root}", f"--policies={self.policies}"]
        words += [f"--listen={self.listen}", f"--lane={self.lane}"]
        words += [f"--mode={mode}" for mode in self.modes]
        words += [f"--host={host}" for host in self.hosts]
        words += [f"--user-header={name}" for name in self.user_headers]
        words += ["--stock"] if self.stock else []
        words += [] if self.ingest else ["--no-ingest"]
        words += [] if self.inherited is None else [f"--inherited={self.inherited}"]
        return [*words, "--", *self.mitmproxy_args]


def parse_listen(text: str) -> Listen:
    """`HOST:PORT`, an IPv6 address in brackets; port 0 takes any free one.

    Raises ConfigError if it is something else.
    """
    match = _LISTEN.fullmatch(text)
    if match is None or int(match["port"]) > 65535:
        raise ConfigError(f"--listen {text!r} is not HOST:PORT", "Give an address and a port, as 127.0.0.1:8080.")
    return Listen(match["ipv6"] or match["host"] or "0.0.0.0", int(match["port"]))  # noqa: S104 - asked for by `:8080`


def parse_inherited(text: str) -> Inherited:
    """As `Inherited` writes itself. Raises ConfigError if it is something else."""
    try:
        socket_fd, counts_fd, slot = map(int, text.split(":"))
    except ValueError as error:
        raise ConfigError(f"--inherited {text!r} is no socket, counts and slot", "Leave it to --workers.") from error
    return Inherited(socket_fd, counts_fd, slot)


def run(settings: ProxySettings, workers: int = 1) -> int | None:
    """Run the proxy until a signal ends it; returns the exit code of several workers.

    Raises ConfigError or HomeError for what is wrong with options, policies or home, ProxyError if the port is taken;
    what mitmproxy itself finds wrong ends the process with its own message and exit code.
    """
    Runtime(
        settings.home,
        settings.policies,
        hosts=[*config.extra_hosts(), *settings.hosts],
        user_headers=settings.user_headers,
        ingest=False,
    )
    modes = [_parse_mode(mode) for mode in settings.modes]
    on_the_port = any(mode.custom_listen_port is None and mode.type_name in _ON_THE_PORT for mode in modes)
    if on_the_port and settings.inherited is None:
        _check_free(settings.listen)
    os.umask(0o077)
    _raise_file_limit()
    auth = config.upstream_auth()
    if auth is not None and not re.fullmatch(r"[^:]+:.*", auth):  # mitmproxy would show it in its message
        raise ConfigError(f"{config.UPSTREAM_AUTH} is not `user:password`", "Correct it, or unset it.")
    if settings.until_eof and (workers > 1 or settings.stock):
        raise ConfigError("a proxy that ends with another process is a single one", "Leave out --workers and --stock.")
    if workers > 1:
        from tracecli.proxy.workers import supervise

        return supervise(settings, workers)
    if settings.inherited is not None:
        from tracecli.proxy.listening import use_socket

        use_socket(settings.inherited)
    if settings.stock:
        from mitmproxy.tools.main import mitmdump

        mitmdump(_for_mitmdump(settings))
    else:
        from tracecli.proxy import master

        master.run(_for_mitmdump(settings), modes, until_eof=settings.until_eof)
    return None


def _raise_file_limit() -> None:
    """A call takes two connections, and what shells and systemd allow by default is soon used up."""
    if sys.platform == "win32":
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, _OPEN_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(OSError, ValueError):  # macOS has a limit besides
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _for_mitmdump(settings: ProxySettings) -> list[str]:
    """The words of mitmdump's command line."""
    own = {
        "confdir": str(settings.home.mitmproxy),
        "flow_detail": "0",
        "termlog_verbosity": "alert",
        "tracecli_home": str(settings.home.root),
        "tracecli_policies": str(settings.policies),
        "tracecli_lane": settings.lane,
    }
    if not settings.ingest:
        own["tracecli_ingest"] = "false"
    if auth := config.upstream_auth():
        own["upstream_auth"] = auth  # in this list, which no other process sees
    words = ["--scripts", str(config.shipped("tracecli_addon.py"))]
    words += ["--listen-host", settings.listen.host, "--listen-port", str(settings.listen.port)]
    for mode in settings.modes:
        words += ["--mode", mode]
    for name, value in own.items():
        # mitmproxy refuses an option that is given twice; the user's own wins.
        if not any(word.startswith(f"{name}=") for word in settings.mitmproxy_args):
            words += ["--set", f"{name}={value}"]
    for entry in settings.hosts:
        words += ["--set", f"tracecli_hosts={entry}"]
    for name in settings.user_headers:
        words += ["--set", f"tracecli_user_headers={name}"]
    return [*words, *settings.mitmproxy_args]


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
                f"cannot listen on {listen}: {error.strerror}",
                "Stop what listens there, or choose another port with --listen 127.0.0.1:PORT (0 takes a free one).",
            ) from error
