"""The rules of transparent mode, as texts for nft and for iptables-restore. Pure.

All of them stand in a table of their own (nft) or in chains of their own (iptables), so that they can be taken out to
the last. They act only while the proxy answers: what is intercepted is a set of ports whose elements expire after
LIVE_S seconds (nft), or a list of the match `recent` whose one entry gets that old (iptables). The guard renews it as
long as the proxy answers. If it does not, or both are gone, the kernel forgets by itself, and connections go where they
would without us.

Who is intercepted:

* this machine's own connections, of all users or of some. The proxy's own have to be left out. Its user id cannot tell
  them, for clients of the same user are to be intercepted; so the proxy runs with a group of its own, GROUP.
* what comes in at an interface, where this machine is the router of others.

Rules for QUIC reject what UDP carries to the same ports: mitmproxy cannot take that over transparently, and clients
that are refused fall back to TCP. What is under way before is left alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Literal

import msgspec

GROUP = 65521
"""The group of the proxy's process. Neither systemd nor Debian give this number to anybody, and there need be no entry
of it in /etc/group; it also exists where a container maps only the first 65,536."""
LIVE_S = 5
"""For so long rules act after they were last renewed."""

type Version = Literal[4, 6]


class Interception(msgspec.Struct, frozen=True):
    """Which connections go to the proxy."""

    port: int
    """Where the proxy listens."""
    ports: tuple[int, ...] = (443,)
    """Where the connections were meant to go."""
    own: bool = True
    """Those of this machine's own programs."""
    users: tuple[int, ...] = ()
    """Only of these user ids; empty: of all."""
    interfaces: tuple[str, ...] = ()
    """Those of others that come in here."""
    group: int = GROUP


NFT_REMOVE = "table inet tracecli\ndelete table inet tracecli\n"
"""The first line makes the table where there is none: removing twice is no error."""


def nft_load(what: Interception) -> str:
    """A script for `nft -f` that replaces whatever rules of ours there are, in one step. They do not act yet."""
    return NFT_REMOVE + nft_table(what)


def nft_renew(what: Interception) -> str:
    """A script that has the rules act for LIVE_S more seconds."""
    ports = ", ".join(f"{port} timeout {LIVE_S}s" for port in what.ports)
    return f"flush set inet tracecli live\nadd element inet tracecli live {{ {ports} }}\n"


def nft_table(what: Interception) -> str:
    """The table."""
    lines = ["table inet tracecli {", "\tset live {", "\t\ttype inet_service", "\t\tflags timeout", "\t}"]
    for name, hook, chain_rules in _nft_chains(what):
        lines += ["", f"\tchain {name} {{", f"\t\ttype {hook}; policy accept;"]
        lines += [f"\t\t{rule}" for rule in chain_rules]
        lines += ["\t}"]
    return "\n".join([*lines, "}", ""])


def _nft_chains(what: Interception) -> Iterator[tuple[str, str, list[str]]]:
    redirect, reject = f"tcp dport @live redirect to :{what.port}", "udp dport @live ct state new reject"
    if what.own:
        spared = ['oifname "lo" accept', f"meta skgid {what.group} accept"]
        users = f"meta skuid {{ {', '.join(map(str, what.users))} }} " if what.users else ""
        yield "own", "nat hook output priority -100", [*spared, users + redirect]
        yield "own_quic", "filter hook output priority 0", [*spared, users + reject]
    if what.interfaces:
        at = f"iifname {{ {', '.join(f'"{name}"' for name in what.interfaces)} }} "
        to_this_machine = f"{at}fib daddr type local accept"
        yield "others", "nat hook prerouting priority -100", [to_this_machine, at + redirect]
        yield "others_quic", "filter hook forward priority 0", [at + reject]
        port = f"tcp dport {what.port}"
        not_redirected = [f"{port} ct status dnat accept", f'iifname != "lo" {port} reject with tcp reset']
        yield "port", "filter hook input priority 0", not_redirected


RECENT = "tracecli"
"""The match `recent` keeps its lists under this name, followed by the version of IP, in /proc/net/xt_recent."""


def iptables_load(what: Interception, version: Version) -> str:
    """A script for `iptables-restore --noflush`, or ip6tables-restore. The rules do not act yet."""
    chains = list(_iptables_chains(what, version))
    lines = []
    for table in ("nat", "filter"):
        here = [(name, jump, chain_rules) for at, name, jump, chain_rules in chains if at == table]
        if here:
            lines += [f"*{table}", *(f":{name} - [0:0]" for name, _, _ in here)]
            lines += [f"-A {name} {rule}" for name, _, chain_rules in here for rule in chain_rules]
            lines += [f"-I {jump} -j {name}" for name, jump, _ in here]
            lines += ["COMMIT"]
    return "\n".join([*lines, ""])


def _iptables_chains(what: Interception, version: Version) -> Iterator[tuple[str, str, str, list[str]]]:
    """Table, name, where it is called from, rules."""
    live = f"-m recent --rcheck --seconds {LIVE_S} --name {RECENT}{version} --mask {unspecified(version)} --rsource"
    ports = f"-m multiport --dports {','.join(map(str, what.ports))} {live}"
    redirect = f"{ports} -j REDIRECT --to-ports {what.port}"
    reject = f"-m conntrack --ctstate NEW {ports} -j REJECT"
    if what.own:
        spared = ["-o lo -j RETURN", f"-m owner --gid-owner {what.group} -j RETURN"]
        users = [f"-m owner --uid-owner {user} " for user in what.users] or [""]
        yield "nat", "TRACECLI-OWN", "OUTPUT", [*spared, *(f"-p tcp {user}{redirect}" for user in users)]
        yield "filter", "TRACECLI-OWN-QUIC", "OUTPUT", [*spared, *(f"-p udp {user}{reject}" for user in users)]
    if what.interfaces:
        to_this_machine = "-m addrtype --dst-type LOCAL -j RETURN"
        redirects = [f"-i {name} -p tcp {redirect}" for name in what.interfaces]
        yield "nat", "TRACECLI-OTHERS", "PREROUTING", [to_this_machine, *redirects]
        yield (
            "filter",
            "TRACECLI-OTHERS-QUIC",
            "FORWARD",
            [f"-i {name} -p udp {reject}" for name in what.interfaces],
        )
        port = f"-p tcp --dport {what.port}"
        redirected, others = f"{port} -m conntrack --ctstate DNAT -j RETURN", f"! -i lo {port} -j REJECT --reject-with"
        yield "filter", "TRACECLI-PORT", "INPUT", [redirected, f"{others} tcp-reset"]


def iptables_remove(saved: str) -> str:
    """A script that takes out our rules, of what `iptables-save` says there is; empty: there are none."""
    lines = []
    for table, block in re.findall(r"^\*(\w+)$(.*?)^COMMIT$", saved, re.MULTILINE | re.DOTALL):
        rules = block.splitlines()
        jumps = [rule for rule in rules if rule.startswith("-A ") and _is_jump_to_ours(rule)]
        chains = [rule[1:].split()[0] for rule in rules if rule.startswith(":TRACECLI-")]
        if chains:
            lines += [f"*{table}", *(f"-D{jump.removeprefix('-A')}" for jump in jumps)]
            lines += [*(f"-F {name}" for name in chains), *(f"-X {name}" for name in chains), "COMMIT"]
    return "\n".join([*lines, ""]) if lines else ""


def iptables_ours(saved: str) -> list[str]:
    """Our rules, of what `iptables-save` says there is."""
    rules = (rule for rule in saved.splitlines() if rule.startswith("-A "))
    return [rule for rule in rules if rule.startswith("-A TRACECLI-") or _is_jump_to_ours(rule)]


def _is_jump_to_ours(rule: str) -> bool:
    return not rule.startswith("-A TRACECLI-") and " -j TRACECLI-" in rule


def unspecified(version: Version) -> str:
    """The address that stands for all: as a mask it makes of the list of addresses of `recent` one entry."""
    return "0.0.0.0" if version == 4 else "::"  # noqa: S104 - nobody binds it


class Setting(msgspec.Struct, frozen=True):
    """A setting of the kernel below /proc/sys, and what it was before."""

    name: str
    """As `net/ipv4/ip_forward`; `sysctl` takes it so."""
    value: str | None
    """What it has to be; None: it only has to be as before in the end, because another setting changes it."""
    before: str


def router_settings(now: dict[str, str], interfaces: tuple[str, ...], ipv6: bool) -> list[Setting]:
    """What has to be set on a router, in this order; restored, in the opposite order.

    `now` are the present values; `ipv6` says whether an interface of others has IPv6.
    """
    wanted: dict[str, str | None] = {}
    if now.get("net/ipv4/ip_forward") == "0":
        # This one sets the others of its kind too: accept_redirects among them.
        wanted |= {"net/ipv4/conf/all/accept_redirects": None, "net/ipv4/ip_forward": "1"}
    # A client that shares its network with the way out would be told to go around this machine.
    wanted |= {f"net/ipv4/conf/{name}/send_redirects": "0" for name in ("all", *interfaces)}
    if ipv6 and now.get("net/ipv6/conf/all/forwarding") == "0":
        # A router takes no advertisements of others unless it is told to: this machine would lose its own way out.
        accepting = [name for name, value in now.items() if name.endswith("/accept_ra") and value == "1"]
        wanted |= dict.fromkeys(sorted(accepting), "2")
        wanted |= {"net/ipv6/conf/all/forwarding": "1"}
    return [Setting(name, value, now[name]) for name, value in wanted.items() if name in now and now[name] != value]
