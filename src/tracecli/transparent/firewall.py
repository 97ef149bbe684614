"""Has nft or iptables apply the rules of `rules.py`, in the network namespace of this process."""

from __future__ import annotations

import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Protocol

from tracecli.errors import FirewallError
from tracecli.transparent import rules, system
from tracecli.transparent.rules import Interception, Version

NAMES = ("nft", "iptables")
_PATIENCE_S = 30.0
_RECENT = Path("/proc/net/xt_recent")


class Firewall(Protocol):
    """One way to set rules. Every method raises FirewallError if it is refused."""

    name: str

    def load(self, what: Interception) -> None:
        """Set the rules in place of whatever rules of ours there are. They do not act before `renew`."""

    def renew(self, what: Interception) -> None:
        """Have the rules act for LIVE_S more seconds. FirewallError: they are not there any more."""

    def remove(self) -> None:
        """Take out all rules of ours; where there are none, this does nothing."""

    def listed(self) -> list[str]:
        """All rules of ours, as the tool lists them."""

    def script(self, what: Interception) -> tuple[str, str, str]:
        """For a shell: what `load`, `renew` and `remove` do."""


def choose(name: str | None = None) -> Firewall:
    """The named one, or nft, or iptables where there is no nft. Raises FirewallError if it is not installed."""
    if name == "nft" or (name is None and _found("nft")):
        _require("nft", "nftables")
        return _Nft()
    if name == "iptables" or _found("iptables"):
        for tool in ("iptables", "iptables-save", "iptables-restore"):
            _require(tool, "iptables")
        return _IpTables()
    raise FirewallError(
        "there is neither nft nor iptables", "Install nftables: `apt install nftables`, or `dnf install nftables`."
    )


def installed() -> list[Firewall]:
    """All that may have rules of ours."""
    return [choose(name) for name in NAMES if _found(name)]


def _found(tool: str) -> str | None:
    # Users who are not root have these folders in no PATH.
    return shutil.which(tool) or shutil.which(tool, path="/usr/sbin:/sbin")


def _require(tool: str, package: str) -> None:
    if _found(tool) is None:
        raise FirewallError(f"{tool} is not installed", f"Install the package {package}.")


def _run(tool: str, *args: str, given: str = "") -> str:
    command = [_found(tool) or tool, *args]
    try:
        done = subprocess.run(  # noqa: S603 - the system's own tools
            command, input=given, capture_output=True, text=True, check=False, timeout=_PATIENCE_S
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise FirewallError(f"{tool} cannot be run: {error}", "Look after it.") from error
    if done.returncode:
        said = next((line.strip() for line in done.stderr.splitlines() if line.strip()), f"code {done.returncode}")
        other = NAMES[1 - NAMES.index("nft" if tool == "nft" else "iptables")]
        said = said.rpartition("Error: ")[2].rstrip(".")
        raise FirewallError(f"{tool} refuses: {said}", f"`--firewall {other}` does it in another way.")
    return done.stdout


def _as_shell(command: str, script: str) -> str:
    return f"{command} <<'END'\n{script}END\n"


class _Nft:
    name = "nft"

    def load(self, what: Interception) -> None:
        _run("nft", "-f", "-", given=rules.nft_load(what))

    def renew(self, what: Interception) -> None:
        _run("nft", "-f", "-", given=rules.nft_renew(what))

    def remove(self) -> None:
        _run("nft", "-f", "-", given=rules.NFT_REMOVE)

    def listed(self) -> list[str]:
        tables = _run("nft", "list", "tables", "inet").splitlines()
        return _run("nft", "list", "table", "inet", "tracecli").splitlines() if "table inet tracecli" in tables else []

    def script(self, what: Interception) -> tuple[str, str, str]:
        return (
            _as_shell("nft -f -", rules.nft_load(what)),
            _as_shell("nft -f -", rules.nft_renew(what)),
            "nft delete table inet tracecli\n",
        )


class _IpTables:
    name = "iptables"

    def __init__(self) -> None:
        self._versions: list[tuple[Version, str]] = [(4, "iptables")]
        if system.has_ipv6():
            _require("ip6tables-restore", "iptables")
            self._versions.append((6, "ip6tables"))

    def load(self, what: Interception) -> None:
        self.remove()
        for version, tool in self._versions:
            _run(f"{tool}-restore", "--wait", "--noflush", given=rules.iptables_load(what, version))

    def renew(self, what: Interception) -> None:
        for version, _ in self._versions:
            entry = _entry(version)
            try:
                (_RECENT / f"{rules.RECENT}{version}").write_text(entry)
            except OSError as error:
                raise FirewallError(f"the rules of iptables are gone: {error.strerror}", "Set them again.") from error

    def remove(self) -> None:
        for _, tool in self._versions:
            if script := rules.iptables_remove(_run(f"{tool}-save")):
                _run(f"{tool}-restore", "--wait", "--noflush", given=script)

    def listed(self) -> list[str]:
        return [f"{tool} {rule}" for _, tool in self._versions for rule in rules.iptables_ours(_run(f"{tool}-save"))]

    def script(self, what: Interception) -> tuple[str, str, str]:
        load = "".join(
            _as_shell(f"{tool}-restore --noflush", rules.iptables_load(what, version))
            for version, tool in self._versions
        )
        renew = "".join(
            f"echo {shlex.quote(_entry(version))} > {_RECENT}/{rules.RECENT}{version}\n"
            for version, _ in self._versions
        )
        remove = "".join(f"{tool}-save -c | grep -v TRACECLI- | {tool}-restore -c\n" for _, tool in self._versions)
        return load, renew, remove


def _entry(version: Version) -> str:
    return f"+{rules.unspecified(version)}"
