"""`tracecli proxy --mode local:NAME`: the kernel (eBPF) hands over the connections of programs of that name.

mitmproxy hooks into the control group that is mounted at /sys/fs/cgroup, which is usually that of the whole machine.
The test has a group of its own there, in namespaces of its own: nobody else's connections are looked at.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support import namespaces
from tests.support.namespaces import FETCH, SHOWN, Network
from tests.support.proxies import end_ingest, launch
from tests.support.waiting import wait_until

MACHINE, PROVIDER = "10.80.1.2", "10.80.1.1"
HOST, OTHER_HOST = "api.openai.com", "other.example.test"
# mitmproxy starts its helper with sudo, as root too.
SUDO = '#!/bin/sh\nwhile [ "${1#-}" != "$1" ]; do shift; done\nexec "$@"\n'
NAMED = "import ctypes\nctypes.CDLL(None).prctl(15, b'{name}')\n"


@dataclass
class Grouped(Network):
    """A network whose commands run in a control group that is the root of all that they see."""

    group: Path = Path()

    def within(self, place: str) -> list[str]:
        mounted = 'mount -t cgroup2 none /sys/fs/cgroup && exec "$@"'
        joined = f'echo $$ > {self.group}/cgroup.procs && exec "$@"'
        return ["sh", "-c", joined, "sh", *super().within(place), "unshare", "--cgroup", "sh", "-c", mounted, "sh"]


@pytest.fixture
def network(tmp_path: Path) -> Iterator[Grouped]:
    """A machine and a provider, and a control group."""
    namespaces.require("unshare")
    mounts = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    groups = [Path(mount[1]) for mount in mounts if mount[2] == "cgroup2"]
    if not groups:
        pytest.skip("there are no control groups of version 2")
    group = groups[0] / f"tracecli-{secrets.token_hex(4)}"
    try:
        group.mkdir()
    except OSError as error:
        pytest.skip(f"no control group can be made: {error}")
    network = Grouped(tmp_path, group=group)
    try:
        with namespaces.namespaces(network, "machine", "provider", hosts=(PROVIDER,)):
            here, there = ("machine", "eth0", (f"{MACHINE}/24",)), ("provider", "eth0", (f"{PROVIDER}/24",))
            namespaces.wire(network, here, there)
            with namespaces.provider(network, "provider"):
                yield network
    finally:
        wait_until(lambda: _removed(group), "the end of the control group")


def _removed(group: Path) -> bool:
    """End what is left in it, mitmproxy's helper for one, and take it away."""
    for pid in (group / "cgroup.procs").read_text().split():
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(pid), signal.SIGKILL)
    with contextlib.suppress(OSError):
        group.rmdir()
    return not group.exists()


def test_a_program_by_its_name(network: Grouped, user: str) -> None:
    """Its calls are recorded, and another host passes; a program of another name goes its own way."""
    name = f"tl{secrets.token_hex(4)}"
    tools = network.folder / "tools"
    tools.mkdir()
    (tools / "sudo").write_text(SUDO)
    (tools / "sudo").chmod(0o755)
    named = NAMED.format(name=name)
    with _proxy(network, f"local:{name}", tools):
        wait_until(lambda: shown(network, named) == "proxy" or _why_not(network), "the program to be intercepted")
        if reason := _why_not(network):
            pytest.skip(f"this kernel does not let mitmproxy: {reason}")
        seen = json.loads(network.python("machine", named + FETCH, f"https://{HOST}/v1/chat/completions", user))
        assert seen["status"] == 200
        assert shown(network, named, OTHER_HOST) == "provider"
        assert shown(network, "") == "provider"
        row = network.only_row(user)
        assert (row["host"], row["outcome"], row["output_tokens"]) == (HOST, "complete", 200)


def shown(network: Grouped, named: str, host: str = HOST) -> str:
    return network.python("machine", named + SHOWN, host, PROVIDER).strip()


def _why_not(network: Grouped) -> str | None:
    found = re.search(r"\[linux-redirector\] exited.*", network.said())
    return found[0] if found else None


@contextlib.contextmanager
def _proxy(network: Grouped, mode: str, tools: Path) -> Iterator[None]:
    """mitmproxy crashes at the end of this mode as often as not: how it ends says nothing."""
    command = [*network.within("machine"), sys.executable, "-m", "tracecli", "proxy", "--mode", mode, "--"]
    command += ["--set", f"ssl_verify_upstream_trusted_ca={network.provider_authority}"]
    command += ["--set", "termlog_verbosity=info"]
    process, _ = launch(network, command, PATH=f"{tools}:{os.environ['PATH']}")
    try:
        yield
    finally:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(20)
        process.kill()
        process.wait()
        end_ingest(network.home)
