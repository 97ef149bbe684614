"""Transparent mode for the programs of one machine, and what becomes of its traffic when it goes wrong.

Two network namespaces: the machine, and a provider. Proxy and clients run as the same user.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.support import answers, namespaces
from tests.support.commands import ROOT
from tests.support.namespaces import FETCH, QUIC, SHOWN, Network
from tests.support.waiting import wait_until
from tracecli.transparent import system, unit

MACHINE, PROVIDER = "10.78.1.2", "10.78.1.1"
MACHINE6, PROVIDER6 = "fd78::2", "fd78::1"
HOST, OTHER_HOST = "api.openai.com", "other.example.test"
URL = f"https://{HOST}/v1/chat/completions"
NOBODY = "65534"


# Has a Python below /root where others can read it, for one command: `ip netns exec` gives it mounts of its own.
READABLE = """
mount --bind "$2" "$1"
mount -t tmpfs -o mode=755 none /root
mkdir -p "$2"
mount --bind "$1" "$2"
shift 2
exec "$@"
"""


@pytest.fixture(scope="module")
def network() -> Iterator[Network]:
    """A machine and a provider; nothing is intercepted. Other users of the machine reach the folder."""
    namespaces.require("nft", "iptables")
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder.chmod(0o755)
        network = Network(folder)
        stack.enter_context(namespaces.namespaces(network, "machine", "provider", hosts=(PROVIDER, PROVIDER6)))
        here, there = (f"{MACHINE}/24", f"{MACHINE6}/64"), (f"{PROVIDER}/24", f"{PROVIDER6}/64")
        namespaces.wire(network, ("machine", "eth0", here), ("provider", "eth0", there))
        stack.enter_context(namespaces.provider(network, "provider"))
        yield network


@pytest.fixture(scope="module")
def intercepting(network: Network) -> Iterator[Network]:
    """The same, with transparent mode up for root alone, by nft."""
    with up(network, "--user", "root", "--firewall", "nft"):
        yield network
    assert_nothing_left(network)


@contextlib.contextmanager
def up(network: Network, *options: str, before: Sequence[str] = ()) -> Iterator[subprocess.Popen[bytes]]:
    authority = f"ssl_verify_upstream_trusted_ca={network.provider_authority}"
    with network.up("machine", *options, "--", "--", "--set", authority, before=before) as process:
        yield process


def shown(network: Network, address: str = PROVIDER, host: str = HOST, uid: str = "0") -> str:
    """Whose certificate a client sees: the proxy's or the provider's."""
    return network.python("machine", SHOWN, host, address, uid).strip()


def assert_nothing_left(network: Network) -> None:
    assert "tracecli" not in network.do("machine", "nft", "list", "ruleset").lower()  # those of iptables too
    number = Path(f"/run/netns/{network.name}-machine").stat().st_ino
    assert not [path for path in Path("/run").glob("tracecli*") if str(number) in path.name]


@pytest.mark.parametrize(("local", "version"), [("0.0.0.0", "1"), ("::", "2")])
def test_a_call_of_the_proxys_own_user(intercepting: Network, user: str, local: str, version: str) -> None:
    """Clients that run as the same user as the proxy are recorded, and the proxy's own connections go out."""
    seen = json.loads(intercepting.python("machine", FETCH, URL, user, local, version))
    assert (seen["status"], seen["answer"]["choices"]) == (200, answers.chat()["choices"])
    row = intercepting.only_row(user)
    assert (row["host"], row["outcome"], row["output_tokens"]) == (HOST, "complete", 200)


@pytest.mark.parametrize("address", [PROVIDER, PROVIDER6])
def test_who_and_what_is_intercepted(intercepting: Network, address: str) -> None:
    """Provider hosts of that user are; another host and another user see the server itself; QUIC is refused."""
    assert shown(intercepting, address) == "proxy"
    assert shown(intercepting, address, OTHER_HOST) == "provider"
    assert shown(intercepting, address, uid=NOBODY) == "provider"
    # The kernel tells the sender itself that it may not.
    assert intercepting.python("machine", QUIC, address).strip() == "PermissionError"


def test_it_says_how_it_is(intercepting: Network) -> None:
    """`status` names rules, processes and port; a second `up` changes nothing, and says so."""
    status = intercepting.status("machine")
    assert (status["intercepting"], status["problem"], status["port"]) == (True, None, 8081)
    assert status["home"] == str(intercepting.home)
    assert any(f"(process {status['proxy']})" in who for who in status["listening"])
    assert any("redirect to :8081" in rule for rule in status["rules"])
    lines = intercepting.tracecli("machine", "transparent", "status").splitlines()
    assert lines[0].startswith(f"proxy {status['proxy']} on port 8081 since ")
    assert lines[0].endswith(f", records to {intercepting.home}")
    assert lines[1:3] == [f"rules of nft, renewed by {status['guard']}", "table inet tracecli {"]
    assert "up already" in intercepting.tracecli("machine", "transparent", "up", "--user", "root")
    said = intercepting.tracecli("machine", "transparent", "up", code=3)
    assert said == (
        f"tracecli: it is up already, with other options (process {status['guard']}). `tracecli transparent down` "
        "first.\n"
    )
    later = intercepting.status("machine")
    assert later["rules"].pop(4).strip().startswith("elements = { 443 timeout 5s expires ")
    assert later == status | {"rules": status["rules"][:4] + status["rules"][5:]}
    assert shown(intercepting) == "proxy"


def test_rules_that_somebody_takes_out(intercepting: Network) -> None:
    """Who loads another firewall and flushes all rules does not end it."""
    intercepting.do("machine", "nft", "flush", "ruleset")
    wait_until(lambda: "taken the rules out, and they are set again" in intercepting.said(), "that to be said")
    assert shown(intercepting) == "proxy"


def test_the_proxy_is_killed(network: Network, intercepting_is_over: None) -> None:
    """Traffic goes directly at once, the command ends with a sentence, and `status` says what to do."""
    with up(network, "--firewall", "nft") as guard:
        assert shown(network) == shown(network, uid=NOBODY) == "proxy"
        proxy = network.status("machine")["proxy"]
        os.kill(proxy, signal.SIGKILL)
        assert guard.wait(20) == 6
        assert shown(network) == shown(network, PROVIDER6) == "provider"
        assert network.do("machine", "nft", "list", "tables") == ""
        killed = f"the proxy (process {proxy}) was killed by signal 9"
        why = f"{killed}; the rules are taken out, and all traffic goes directly"
        assert f"tracecli: {why}. " in network.said()
        status = network.status("machine", code=8)
        assert (status["problem"], status["remedy"]) == (why, "`tracecli transparent up` starts it again.")
    network.tracecli("machine", "transparent", "down")
    assert_nothing_left(network)


@pytest.fixture
def intercepting_is_over(network: Network) -> None:
    """For tests of their own `up`."""
    network.tracecli("machine", "transparent", "down")


def test_the_proxy_hangs(network: Network, intercepting_is_over: None) -> None:
    """One that lives and does not answer holds up nothing new after some seconds; it is back as soon as it answers."""
    with up(network, "--firewall", "nft") as guard:
        status = network.status("machine")
        said = len(network.said())
        os.kill(status["proxy"], signal.SIGSTOP)
        try:
            wait_until(lambda: "does not answer" in network.said()[said:], "the guard to notice")
            for address in (PROVIDER, PROVIDER6):
                assert shown(network, address) == shown(network, address, OTHER_HOST) == "provider"
                assert network.python("machine", QUIC, address).strip() == "ConnectionRefusedError"  # by the provider
            hangs = network.status("machine", code=7)
            assert (hangs["intercepting"], hangs["answering"]) == (False, False)
            assert (hangs["proxy"], hangs["guard"]) == (status["proxy"], guard.pid)
            assert hangs["problem"].startswith(f"the proxy ({status['proxy']}) does not answer: new connections go")
            assert "`tracecli transparent down` ends it" in hangs["remedy"]
        finally:
            os.kill(status["proxy"], signal.SIGCONT)
        wait_until(lambda: "answers again" in network.said()[said:], "the guard to notice")
        assert shown(network) == shown(network, PROVIDER6) == "proxy"
        assert network.status("machine")["intercepting"]
    assert_nothing_left(network)


@pytest.mark.parametrize(("firewall", "and_the_proxy"), [("nft", False), ("iptables", True)])
def test_the_guard_is_killed(network: Network, intercepting_is_over: None, firewall: str, and_the_proxy: bool) -> None:
    """Even then traffic goes directly, as soon as the rules have run out; `down` clears away what is left."""
    with up(network, "--firewall", firewall) as guard:
        for address in (PROVIDER, PROVIDER6):
            assert shown(network, address) == shown(network, address, uid=NOBODY) == "proxy"
            assert shown(network, address, OTHER_HOST) == "provider"
            assert network.python("machine", QUIC, address).strip() == "PermissionError"
        status = network.status("machine")
        assert (status["firewall"], status["guard"]) == (firewall, guard.pid)
        guard.kill()
        if and_the_proxy:
            os.kill(status["proxy"], signal.SIGKILL)
        guard.wait(20)
        wait_until(
            lambda: directly(network, PROVIDER) and directly(network, PROVIDER6), "traffic to go directly", every_s=0.5
        )
    left = network.status("machine", code=7)
    assert left["rules"]
    assert (left["intercepting"], left["guard"]) == (False, None)
    assert left["proxy"] == (None if and_the_proxy else status["proxy"])
    assert left["problem"].startswith(f"the process that renewed the rules ({guard.pid}) was killed")
    assert "`tracecli transparent down` clears it away" in left["remedy"]
    assert "It is down" in network.tracecli("machine", "transparent", "down")
    assert "It was not up" in network.tracecli("machine", "transparent", "down")
    assert network.status("machine", code=8)["problem"] is None
    assert system.started(status["proxy"]) is None
    assert_nothing_left(network)


def directly(network: Network, address: str) -> bool:
    """Whether a client reaches the provider itself; until the rules have run out it is refused, or still recorded."""
    told = network.do("machine", sys.executable, "-c", SHOWN, HOST, address, code=None)
    assert told.strip() in ("provider", "proxy") or "ConnectionRefusedError" in told, told
    return told.strip() == "provider"


def test_the_proxy_is_another_users(network: Network, intercepting_is_over: None) -> None:
    """It has no right of root, records to that user's folder, and that user's clients are intercepted.

    `up` does with the capabilities that the unit of systemd leaves it.
    """
    home = network.folder / "nobody" / "home"
    home.parent.mkdir()
    os.chown(home.parent, int(NOBODY), int(NOBODY))
    options = ["--run-as", "nobody", "--user", "nobody", "--home", str(home)]
    if (base := Path(sys.base_prefix)).is_relative_to("/root"):
        if ROOT.is_relative_to("/root"):
            pytest.skip("nobody but root can read the tests")
        (network.folder / "interpreter").mkdir()
        readable = ["sh", "-ec", READABLE, "sh", str(network.folder / "interpreter"), str(base)]
    else:
        readable = []
    capabilities = re.findall(r"CAP_(\w+)", unit.text([], []))
    bounded = ["setpriv", "--no-new-privs", f"--bounding-set=-all,+{',+'.join(capabilities).lower()}"]
    with up(network, *options, before=[*readable, *bounded]):
        status = network.status("machine")
        about = dict(line.split(":", 1) for line in Path(f"/proc/{status['proxy']}/status").read_text().splitlines())
        assert (about["Uid"].split(), about["Gid"].split()) == ([NOBODY] * 4, ["65521"] * 4)
        assert int(about["CapEff"], 16) == int(about["CapPrm"], 16) == 0
        assert (status["home"], home.stat().st_uid, home.stat().st_mode & 0o777) == (str(home), int(NOBODY), 0o700)
        assert shown(network, uid=NOBODY) == "proxy"
        assert shown(network) == "provider"
    assert_nothing_left(network)


def test_a_port_that_is_taken(network: Network, intercepting_is_over: None) -> None:
    """One sentence names who has it; nothing is set."""
    listen = (
        "import socket, time; s = socket.create_server(('127.0.0.1', 8081)); print('ready', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([*network.within("machine"), sys.executable, "-c", listen], stdout=subprocess.PIPE) as other:
        try:
            assert other.stdout is not None
            assert other.stdout.readline() == b"ready\n"
            said = network.tracecli("machine", "transparent", "up", code=6)
        finally:
            other.kill()
    assert said.startswith("tracecli: port 8081 is taken by python")
    assert said.endswith(f" (process {other.pid}). End that, or choose another port with --port.\n")
    assert_nothing_left(network)


def test_no_permission(network: Network, intercepting_is_over: None) -> None:
    """Who may not set the firewall gets one sentence; nothing is set."""
    bounded = ["setpriv", "--bounding-set=-net_admin", "--inh-caps=-net_admin"]
    for command in ("up", "down", "status"):
        words = [*bounded, sys.executable, "-m", "tracecli", "transparent", command]
        said = network.do("machine", *words, code=10)
        assert said.startswith("tracecli: only root may set the firewall, with CAP_NET_ADMIN. "), said
    assert_nothing_left(network)


def test_what_a_proxy_says_that_cannot_start(network: Network, intercepting_is_over: None) -> None:
    """Its own sentence is shown, then ours; nothing is set."""
    said = network.tracecli("machine", "transparent", "up", "--", "--host", "a b", code=6)
    assert "option tracecli_hosts" in said
    assert said.splitlines()[-1].startswith("tracecli: the proxy ended with exit code 3 before it listened. ")
    network.tracecli("machine", "transparent", "down")
    assert_nothing_left(network)


def test_a_dry_run(network: Network, intercepting_is_over: None) -> None:
    """It prints what it would set and sets nothing, for anybody; what it prints is what a shell can run."""
    said = network.tracecli("machine", "transparent", "up", "--dry-run", "--router", "eth0", "--user", "root")
    assert_nothing_left(network)
    assert network.do("machine", "cat", "/proc/sys/net/ipv4/ip_forward").strip() == "0"
    assert "# net/ipv4/ip_forward is 0 now\nsysctl -w net/ipv4/ip_forward=1\n" in said
    without_proxy = "".join(line for line in said.splitlines(keepends=True) if not line.endswith("&\n"))
    network.do("machine", "sh", "-e", given=without_proxy)
    assert network.do("machine", "cat", "/proc/sys/net/ipv4/ip_forward").strip() == "1"
    set_by_hand = network.do("machine", "nft", "list", "ruleset")
    assert "redirect to :8081" in set_by_hand
    assert 'iifname "eth0"' in set_by_hand
    assert "elements = { 443 timeout 5s" in set_by_hand
    at_the_end = said.partition("# At the end:\n")[2].replace("# ", "")
    network.do("machine", "sh", "-e", given=at_the_end)
    assert network.do("machine", "cat", "/proc/sys/net/ipv4/ip_forward").strip() == "0"
    assert_nothing_left(network)
