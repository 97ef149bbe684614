"""What the kernel says: capabilities, settings, who listens where, which process is which. Linux only."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import sys
from collections.abc import Sequence
from pathlib import Path

from tracecli.errors import ConfigError, FirewallError
from tracecli.transparent.rules import Interception, Setting, router_settings

_SETTINGS = Path("/proc/sys")
_NEEDED = {"CAP_SETGID": 6, "CAP_SETUID": 7, "CAP_NET_ADMIN": 12}
"""Bits, by https://man7.org/linux/man-pages/man7/capabilities.7.html."""
_LISTENS = "0A"
_INTERFACE = re.compile(r"[A-Za-z0-9_.:@-]{1,15}")


def require_linux() -> None:
    """Raises FirewallError elsewhere."""
    if sys.platform != "linux":
        raise FirewallError(
            "`tracecli transparent` sets the firewall of Linux, and this is another system",
            "Use `tracecli proxy --mode local`, or give clients the proxy's address.",
        )


def require_privileges(command: str) -> None:
    """Raises FirewallError unless this process may set the firewall and start the proxy as somebody else."""
    match = re.search(r"^CapEff:\s*([0-9a-f]+)$", Path("/proc/self/status").read_text(), re.MULTILINE)
    effective = int(match[1], 16) if match else 0
    missing = [name for name, bit in _NEEDED.items() if not effective >> bit & 1]
    if missing or os.geteuid() != 0:
        raise FirewallError(
            f"only root may set the firewall{f', with {", ".join(missing)}' if os.geteuid() == 0 else ''}",
            f"`sudo {sys.executable} -m tracecli transparent {command}`"
            if os.geteuid() != 0
            else "Give the container or service these capabilities.",
        )


def require_interfaces(names: Sequence[str]) -> None:
    """Raises ConfigError for one that is not there."""
    there = [name for _, name in socket.if_nameindex()]
    for name in names:
        if _INTERFACE.fullmatch(name) is None or name not in there:
            raise ConfigError(f"there is no network interface {name!r}", f"There are {', '.join(sorted(there))}.")


def has_ipv6() -> bool:
    """Whether this machine has IPv6 at all."""
    return bool(_ipv6_addresses())


def _ipv6_addresses() -> list[tuple[str, str]]:
    """Interface and scope."""
    try:
        lines = Path("/proc/net/if_inet6").read_text().splitlines()
    except OSError:
        return []
    return [(line.split()[5], line.split()[3]) for line in lines]


def settings(what: Interception) -> list[Setting]:
    """What has to be set for this interception, with the present values."""
    if not what.interfaces:
        return []
    names = ["net/ipv4/ip_forward", "net/ipv4/conf/all/accept_redirects", "net/ipv6/conf/all/forwarding"]
    names += [f"net/ipv4/conf/{name}/send_redirects" for name in ("all", *what.interfaces)]
    names += [str(path.relative_to(_SETTINGS)) for path in _SETTINGS.glob("net/ipv6/conf/*/accept_ra")]
    now = {}
    for name in names:
        with contextlib.suppress(OSError):
            now[name] = (_SETTINGS / name).read_text().strip()
    link_local = "20"
    routed = any(name in what.interfaces and scope != link_local for name, scope in _ipv6_addresses())
    return router_settings(now, what.interfaces, routed)


def apply(wanted: Sequence[Setting]) -> None:
    """Set them. Raises FirewallError if that is not allowed."""
    for one in wanted:
        if one.value is not None:
            _write(one.name, one.value)


def restore(wanted: Sequence[Setting]) -> None:
    """Set them back. One that cannot be, because its interface has gone, needs nothing."""
    for one in reversed(wanted):
        if (_SETTINGS / one.name).exists():
            _write(one.name, one.before)


def _write(name: str, value: str) -> None:
    try:
        (_SETTINGS / name).write_text(value)
    except OSError as error:
        raise FirewallError(
            f"cannot set {name} to {value}: {error.strerror}", f"Set it beforehand: `sysctl -w {name}={value}`."
        ) from error


def listeners(port: int) -> list[str]:
    """Who listens on a TCP port of this network namespace, as `nginx (process 12)`; empty: nobody."""
    inodes = set()
    for table in ("tcp", "tcp6"):
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
                words = line.split()
                if words[3] == _LISTENS and int(words[1].rpartition(":")[2], 16) == port:
                    inodes.add(f"socket:[{words[9]}]")
    found = [_named(pid) for pid in _holders(inodes)] if inodes else []
    return found or ["a process that this one may not see"] * bool(inodes)


def _holders(inodes: set[str]) -> list[int]:
    found = set()
    for descriptor in Path("/proc").glob("[0-9]*/fd/*"):
        with contextlib.suppress(OSError):
            if str(descriptor.readlink()) in inodes:
                found.add(int(descriptor.parts[2]))
    return sorted(found)


def _named(pid: int) -> str:
    try:
        name = Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        name = "a process"
    return f"{name} (process {pid})"


def started(pid: int) -> int | None:
    """When a process was started, in ticks since the machine was; with its number that names it. None: it has ended."""
    try:
        about = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    state, *rest = about.rpartition(") ")[2].split()
    return None if state in "ZX" else int(rest[18])
