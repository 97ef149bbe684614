"""The unit of systemd, and command lines that cannot be."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.commands import tracecli
from tracecli.cli import main
from tracecli.errors import FirewallError
from tracecli.transparent import firewall, unit

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="transparent mode is Linux's")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


def test_the_unit_is_one(home: Path, tmp_path: Path) -> None:
    """systemd finds nothing wrong with it, and it runs the options that were given."""
    _require("nft")
    said = tracecli(home, "transparent", "unit", "--user", "root", "--port", "9000", "--", "--host", "x.test").stdout
    command = f"{sys.executable} -m tracecli transparent"
    options = f"--user=root --port=9000 --intercept=443 --run-as=root --home={home} -- --host x.test"
    assert f"\nExecStart={command} up {options}\nExecStopPost={command} down\n" in said
    file = tmp_path / "tracecli-transparent.service"
    file.write_text(said)
    if analyze := shutil.which("systemd-analyze"):
        done = subprocess.run([analyze, "verify", file], capture_output=True, text=True, check=False, timeout=60)
        assert (done.returncode, done.stderr) == (0, "")


def test_words_that_systemd_would_read_otherwise() -> None:
    """Blanks, quotes, specifiers and variables reach the command as they are."""
    said = unit.text(["/opt/my tools/python", 'a"b', "50%", "$HOME", "back\\slash", ""], ["down"])
    assert 'ExecStart="/opt/my tools/python" "a\\"b" 50%% $$HOME back\\\\slash ""\n' in said


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--user", "no-such-user"], "there is no user 'no-such-user' on this machine. "),
        (["--run-as", "99999999999999999999"], "there is no user '99999999999999999999' on this machine. "),
        (["--router", "nowhere0"], "there is no network interface 'nowhere0'. There are "),
        (["--router", 'lo" accept #'], "there is no network interface 'lo\" accept #'. There are "),
        (["--port", "443"], "--port and --intercept are both 443. "),
    ],
)
def test_what_cannot_be_is_said(capsys: pytest.CaptureFixture[str], options: list[str], said: str) -> None:
    """One sentence, before anything is set."""
    for command in (["up", "--dry-run"], ["unit"]):
        assert main.run(["transparent", *command, *options]) == 3
        out, err = capsys.readouterr()
        assert (out, err.startswith(f"tracecli: {said}")) == ("", True), err


@pytest.mark.parametrize("command", ["up", "down", "status", "unit"])
def test_another_system(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, command: str) -> None:
    """It is said that this is for Linux, and what there is elsewhere."""
    monkeypatch.setattr(sys, "platform", "darwin")
    assert main.run(["transparent", command]) == 10
    assert capsys.readouterr().err == (
        "tracecli: `tracecli transparent` sets the firewall of Linux, and this is another system. "
        "Use `tracecli proxy --mode local`, or give clients the proxy's address.\n"
    )


def test_who_is_not_root(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The command that would be allowed is said whole: sudo knows neither our PATH nor our Python."""
    _require("nft")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert main.run(["transparent", "up", "--user", "root", "--home", "/a b", "--", "--host", "x.test"]) == 10
    options = "--user=root --port=8081 --intercept=443 '--home=/a b' -- --host x.test"
    words = f"{sys.executable} -m tracecli transparent up {options}"
    assert capsys.readouterr().err == f"tracecli: only root may set the firewall. `sudo {words}`\n"


def test_a_machine_without_a_firewall(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is said which package is missing; iptables takes the place of nft."""
    there: set[str] = set()
    monkeypatch.setattr(shutil, "which", lambda tool, path=None: f"/usr/sbin/{tool}" if tool in there else None)
    with pytest.raises(FirewallError, match=r"neither nft nor iptables\. Install nftables: `apt install nftables`"):
        firewall.choose()
    with pytest.raises(FirewallError, match=r"nft is not installed\. Install the package nftables"):
        firewall.choose("nft")
    with pytest.raises(FirewallError, match=r"iptables is not installed\. Install the package iptables"):
        firewall.choose("iptables")
    there |= {f"{version}{tool}" for version in ("iptables", "ip6tables") for tool in ("", "-save", "-restore")}
    assert firewall.choose().name == "iptables"
    there.add("nft")
    assert firewall.choose().name == "nft"


def _require(tool: str) -> None:
    if shutil.which(tool) is None and shutil.which(tool, path="/usr/sbin:/sbin") is None:
        pytest.skip(f"not installed: {tool}")
