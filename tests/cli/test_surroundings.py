"""`tracecli doctor`: what is around a home, each thing broken in turn."""

from __future__ import annotations

import json
import os
import platform
import shutil
import socket
import sys
import time
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.policy.folders import folder
from tests.support.exchanges import captured
from tests.support.upkeep import spooled
from tracecli.cli import surroundings
from tracecli.cli.found import Found, Well
from tracecli.cli.main import run
from tracecli.config import Home
from tracecli.demo.standin import StandIn
from tracecli.demo.trial import trial
from tracecli.proxy.running import RunningProxy
from tracecli.store import connection
from tracecli.transparent import looking, state
from tracecli.transparent.rules import Interception, Setting

POLICIES = Path("policies")


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """A home with nothing in it."""
    made = Home(tmp_path / "home")
    made.prepare()
    connection.make(made)
    return made


def only(found: list[Found | Well]) -> Found:
    """The one thing that is wrong."""
    [one] = [one for one in found if isinstance(one, Found)]
    assert one.remedy
    return one


def test_versions(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package of another version than tracecli takes is named with what it takes; a missing one as well."""
    there = metadata.version

    def version(name: str) -> str:
        if name == "rich":
            raise metadata.PackageNotFoundError(name)
        return "11.0.0" if name == "mitmproxy" else there(name)

    monkeypatch.setattr(metadata, "version", version)
    monkeypatch.setattr(platform, "python_version", lambda: "3.99.0")
    found = [one for one in surroundings.versions(home, POLICIES) if isinstance(one, Found)]
    assert [one.problem for one in found] == [
        "this is Python 3.99.0, and tracecli takes <3.15,>=3.12",
        "mitmproxy 11.0.0 is installed, and tracecli takes ==12.2.3",
        "the package rich is missing",
    ]


@pytest.mark.parametrize(
    ("free", "severity", "said"),
    [
        (200 * 10**6, "error", "200.0 MB are free where"),
        (6 * 10**9, "warning", "the spool may grow to 10.0 GB"),
    ],
)
def test_little_room(home: Home, monkeypatch: pytest.MonkeyPatch, free: int, severity: str, said: str) -> None:
    """Without room nothing is recorded; less than the spool may take is a warning."""
    folder(home.root.parent / "policies")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=free))
    found = only(list(surroundings.disk(home, home.root.parent / "policies")))
    assert found.severity == severity and said in found.problem


def test_room_with_a_small_spool(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """A spool that may not grow is no warning, a disk that is nearly full is one."""
    policies = home.root.parent / "policies"
    folder(policies, default="[retention]\nmax_spool_bytes = 1000000")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=6 * 10**9))
    assert list(surroundings.disk(home, policies)) == [Well("disk", "6.0 GB are free")]
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=10**9))
    assert only(list(surroundings.disk(home, policies))).severity == "warning"


def test_a_clock_that_went_back(home: Home) -> None:
    """A record of the future says that the clock is, or was, wrong."""
    spooled(home, captured(started_at_us=time.time_ns() // 1000 + 7_200_000_000))
    assert "the newest record is of" in only(list(surroundings.clock(home, POLICIES))).problem


def test_the_clock_of_a_disk(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that dates what is written now otherwise is told."""
    monkeypatch.setattr(time, "time", lambda: 1.0)
    assert "s later" in only(list(surroundings.clock(home, POLICIES))).problem


def test_a_port_that_is_taken(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody else on the port of the proxy is told while no proxy runs."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        monkeypatch.setattr(surroundings, "DEFAULT", other.getsockname())
        assert "cannot be had" in only(list(surroundings.proxies(home, POLICIES))).problem


def test_a_proxy_that_does_not_answer(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy whose port takes connections and no calls is broken; so is one that lost records, or is not of now."""
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        listen = [("127.0.0.1", deaf.getsockname()[1])]
        monkeypatch.setattr("tracecli.proxy.using._ASKING_S", 0.1)
        one = RunningProxy(os.getpid(), listen, ["regular"], lost=2, version="0.0.1")
        monkeypatch.setattr("tracecli.proxy.running.proxies", lambda _: [one])
        found = [one.problem for one in surroundings.proxies(home, POLICIES) if isinstance(one, Found)]
        where = f"the proxy {os.getpid()}"
        assert found == [
            f"{where} on 127.0.0.1:{listen[0][1]} does not take calls",
            f"{where} could not record 2 exchanges",
            f"{where} is of tracecli 0.0.1",
        ]
        one.modes, one.lost, one.version = ["reverse:https://api.openai.com"], 0, None
        assert [type(one) for one in surroundings.proxies(home, POLICIES)] == [Well]
    assert "cannot be reached" in only(list(surroundings.proxies(home, POLICIES))).problem


def test_a_proxy_that_runs() -> None:
    """One that runs takes a call that goes nowhere."""
    with trial() as stage:
        [found] = surroundings.proxies(stage.home, POLICIES)
    assert isinstance(found, Well) and "takes calls" in found.about


@pytest.mark.skipif(sys.platform != "linux", reason="transparent mode is Linux's")
def test_transparent_mode(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is wrong with it is told as `transparent status` does, and a setting that somebody took back, too."""
    status = looking.Status(intercepting=False, problem="the rules are gone", remedy="Look again.")
    monkeypatch.setattr(looking, "look", lambda: status)
    said = state.State(Interception(port=8081), "nft", str(home.root), 1)
    monkeypatch.setattr(state, "seen", lambda: (said, True))
    assert only(list(surroundings.transparent(home, POLICIES))).problem == "the rules are gone"
    status.problem, status.intercepting, status.port, status.firewall = None, True, 8081, "nft"
    assert list(surroundings.transparent(home, POLICIES)) == [
        Well("transparent", "connections go to port 8081, by nft")
    ]
    said.settings = (Setting("kernel/ostype", "Plan 9", "Linux"),)
    found = only(list(surroundings.transparent(home, POLICIES)))
    assert found.problem.startswith("the kernel's kernel/ostype is Linux, and has to be Plan 9")


def test_providers_through_the_proxy(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever a provider answers, it is reached; one with a certificate that nobody trusts is not: that is said."""
    folder(tmp_path / "policies")
    with StandIn(tmp_path, {}, "Hello.", pace=0) as provider:
        monkeypatch.setenv("TRACECLI_HOME", str(home.root))
        monkeypatch.setenv("TRACECLI_POLICIES", str(tmp_path / "policies"))
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{provider.port('proxy')}")
        monkeypatch.setenv("SSL_CERT_FILE", str(provider.authority))
        run(["doctor", "--online", "--json"])
        told = json.loads(capsys.readouterr().out)
        well = [one["about"] for one in told["well"] if one["check"] == "online"]
        assert well == [
            f"{host} answers, with status 404"
            for host in ("api.openai.com", "api.anthropic.com", "generativelanguage.googleapis.com")
        ]
        monkeypatch.delenv("SSL_CERT_FILE")
        assert run(["doctor", "--online", "--json"]) == 7
        told = json.loads(capsys.readouterr().out)
    found = [one for one in told["found"] if one["check"] == "online"]
    assert len(found) == 3
    assert all("does not trust who answers for" in one["problem"] and "SSL_CERT_FILE" in one["remedy"] for one in found)
    assert not list(home.spool.iterdir()) and not list(home.root.glob("proxy-*"))


def test_options_before_a_command(capsys: pytest.CaptureFixture[str]) -> None:
    """They would say nothing, and are refused."""
    assert run(["doctor", "--online", "secrets"]) == 2
    assert "takes its options after its name" in capsys.readouterr().err
