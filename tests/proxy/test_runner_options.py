"""`tracecli proxy` as people run it: its options, what follows `--`, and `tracecli proxy status`."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.commands import tracecli
from tests.support.proxies import Place, end_ingest, launch
from tests.support.waiting import wait_until
from tracecli.cli.main import run
from tracecli.cli.proxy import NOT_RUNNING
from tracecli.config import Home
from tracecli.proxy import runner
from tracecli.proxy.runner import Inherited, Listen, ProxySettings, parse_listen

# Writes down what ran the proxy, when it ends.
LOOK = """
import asyncio, gc, json, pathlib
from mitmproxy import ctx
def done():
    told = {
        "loop": type(asyncio.get_running_loop()).__module__,
        "master": type(ctx.master).__name__,
        "frozen": gc.get_freeze_count() > 0,
        "lane": ctx.options.tracecli_lane,
        "ingest": ctx.options.tracecli_ingest,
    }
    pathlib.Path("told.json").write_text(json.dumps(told))
"""
WORDS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=12)
PATHS = WORDS.filter(bool).map(lambda name: Path("/") / name.replace("/", "-"))


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """An installation."""
    return Place(tmp_path)


def test_what_a_proxy_of_another_process_cannot_be(place: Place) -> None:
    """A proxy that ends with another process is a single one; a login that is none is refused, and not shown."""
    words = ["proxy", "--listen", "127.0.0.1:0"]
    assert "Leave out --workers" in tracecli(place.home, *words, "--until-eof", "--workers", "2", code=3).stderr
    done = tracecli(place.home, *words, code=3, TRACECLI_UPSTREAM_AUTH="s3cret")
    assert done.stderr == "tracecli: TRACECLI_UPSTREAM_AUTH is not `user:password`. Correct it, or unset it.\n"


@contextlib.contextmanager
def proxy(place: Place, *words: str) -> Iterator[tuple[subprocess.Popen[bytes], dict[str, Any]]]:
    """A running `tracecli proxy`, and its ready file; it has to end well."""
    command = [sys.executable, "-m", "tracecli", "proxy", "--listen", "127.0.0.1:0", *words]
    process, about = launch(place, command)
    try:
        yield process, about
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            assert process.wait(20) == 0, place.said()
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        end_ingest(place.home)
    assert "Traceback" not in place.said(), place.said()


def asked_for(monkeypatch: pytest.MonkeyPatch, words: list[str]) -> tuple[ProxySettings, int]:
    """What `tracecli proxy WORDS` would run."""
    asked: list[tuple[ProxySettings, int]] = []
    with monkeypatch.context() as patch:
        patch.setattr(runner, "run", lambda settings, workers: asked.append((settings, workers)))
        assert run(["proxy", *words]) == 0
    return asked[0]


@given(
    settings=st.builds(
        ProxySettings,
        home=PATHS.map(Home),
        policies=PATHS,
        listen=st.builds(Listen, st.sampled_from(["127.0.0.1", "::1", "localhost", "0.0.0.0"]), st.integers(0, 65535)),
        modes=st.lists(WORDS, min_size=1, max_size=2).map(tuple),
        hosts=st.lists(WORDS, max_size=2).map(tuple),
        user_headers=st.lists(WORDS, min_size=1, max_size=2).map(tuple),
        lane=st.sampled_from(["auto", "fast", "flows"]),
        stock=st.booleans(),
        ingest=st.booleans(),
        inherited=st.none() | st.builds(Inherited, st.integers(0, 100), st.integers(0, 100), st.integers(0, 100)),
        mitmproxy_args=st.lists(WORDS | st.just("--"), max_size=3).map(tuple),
    )
)
def test_settings_are_words_and_back(settings: ProxySettings) -> None:
    """The command line that settings make asks for the same settings."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        assert asked_for(monkeypatch, settings.arguments()) == (settings, 1)


def test_what_is_asked_for_by_default(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without options: one process on 127.0.0.1:8080, our master, the lane by itself, with ingest."""
    monkeypatch.setenv("TRACECLI_HOME", str(tmp_path))
    settings, workers = asked_for(monkeypatch, [])
    assert (settings.home.root, settings.listen, settings.modes) == (tmp_path, Listen("127.0.0.1", 8080), ("regular",))
    assert (settings.lane, settings.stock, settings.ingest, settings.inherited) == ("auto", False, True, None)
    assert (settings.mitmproxy_args, workers) == ((), 1)
    named = asked_for(monkeypatch, ["--workers", "3", "--", "status", "-w", "file", "--", "x"])
    assert named == (replace(settings, mitmproxy_args=("status", "-w", "file", "--", "x")), 3)


@pytest.mark.parametrize("text", ["127.0.0.1:80", "[::1]:8080", "localhost:0"])
def test_listen_is_written_as_it_is_read(text: str) -> None:
    """An address that was read is written the same."""
    assert str(parse_listen(text)) == text


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], {"loop": "uvloop", "master": "SlimMaster", "frozen": True, "lane": "auto", "ingest": True}),
        (
            ["--stock", "--lane", "flows"],
            {"loop": "asyncio.unix_events", "master": "DumpMaster", "frozen": False, "lane": "flows", "ingest": True},
        ),
        (
            ["--mode", "regular", "--mode", "dns@127.0.0.2:0", "--no-ingest", "--lane", "fast"],
            {"loop": "asyncio.unix_events", "master": "SlimMaster", "frozen": True, "lane": "fast", "ingest": False},
        ),
    ],
    ids=["default", "stock", "with UDP"],
)
def test_what_runs(place: Place, words: list[str], told: dict[str, Any]) -> None:
    """The master, the event loop and the lane are those that the options and modes ask for."""
    (place.folder / "look.py").write_text(LOOK)
    with proxy(place, *words, "--", "-s", "look.py") as (_, about):
        assert about["lane"] == told["lane"]
        assert (about["ingest_pid"] is not None) == told["ingest"]
    assert json.loads((place.folder / "told.json").read_bytes()) == told


def test_options_of_mitmproxy_that_save_flows(place: Place) -> None:
    """`-w FILE` makes the file, though the addon that writes it is not asked otherwise."""
    with proxy(place, "--", "-w", "flows.mitm"):
        assert wait_until((place.folder / "flows.mitm").exists, "the file of flows")


def status(place: Place, code: int) -> dict[str, Any]:
    """`tracecli proxy status --json`."""
    found: dict[str, Any] = json.loads(tracecli(place.home, "proxy", "status", "--json", code=code).stdout)
    return found


def test_status_of_a_running_proxy(place: Place) -> None:
    """A proxy is listed with its port, lane and counts for as long as it runs, and not after it was killed."""
    assert status(place, NOT_RUNNING)["proxies"] == []
    with proxy(place, "--lane", "flows") as (process, about):
        (one,) = status(place, 0)["proxies"]
        assert (one["pid"], one["listen"], one["lane"]) == (process.pid, about["listen"], "flows")
        assert (one["recorded"], one["lost"]) == ({"fast": 0, "flows": 0}, 0)
        said = tracecli(place.home, "proxy", "status").stdout
        assert f"proxy {process.pid}: on 127.0.0.1:{about['listen'][0][1]} since " in said
        assert "lane flows, 0 recorded by fast, 0 recorded by flows" in said
        assert "spool: " in said
        process.kill()
        process.wait()
        assert list(place.home.glob("proxy-*.json"))
        assert status(place, NOT_RUNNING)["proxies"] == []
    done = tracecli(place.home, "proxy", "status", code=NOT_RUNNING)
    assert "No proxy is running" in done.stderr


@pytest.fixture
def alive() -> Iterator[list[int]]:
    """Three processes that look like proxies."""
    command = [sys.executable, "-c", "input()", "tracecli"]
    started = [subprocess.Popen(command, stdin=subprocess.PIPE) for _ in range(3)]
    yield [process.pid for process in started]
    for process in started:
        process.communicate()


def ready_file(home: Home, pid: int, **about: Any) -> None:
    """What a proxy says of itself."""
    (home.root / f"proxy-{pid}.json").write_text(json.dumps({"pid": pid, "listen": [["::1", 80]], **about}))


def test_status_adds_up_workers(place: Place, alive: list[int]) -> None:
    """Workers are counted with the process that started them; what a proxy does not say is unknown."""
    home = Home(place.home)
    home.prepare()
    parent, first, second = alive
    ready_file(home, first, recorded={"fast": 2, "flows": 1}, lost=1)
    ready_file(home, second, recorded={"fast": 3})
    ready_file(home, parent, lane="auto", workers=[first, second], flows_because="the option \x1b[31m")
    (home.root / "proxy-1.json").write_text("nonsense")
    (one,) = status(place, 0)["proxies"]
    assert (one["pid"], one["recorded"], one["lost"]) == (parent, {"fast": 5, "flows": 1}, 1)
    said = tracecli(place.home, "proxy", "status").stdout
    assert "[::1]:80" in said
    assert "lane auto, flows for the option \\x1b[31m" in said
    assert "1 lost, 2 workers" in said
    assert "\x1b" not in said


def test_status_tells_of_what_waits(place: Place, alive: list[int]) -> None:
    """What is recorded and not loaded is counted, with how long it has waited, and why ingest failed."""
    home = Home(place.home)
    home.prepare()
    ready_file(home, alive[0])
    assert "all is loaded" in tracecli(place.home, "proxy", "status").stdout
    segment = home.spool / "0.seg"
    segment.write_bytes(b"x" * 1500)
    os.utime(segment, (segment.stat().st_mtime - 90,) * 2)
    home.status.write_text(json.dumps({"pid": 1, "last_error": "no room"}))
    found = status(place, 0)
    assert (found["spool"]["segments"], found["spool"]["bytes"], found["ingest_error"]) == (1, 1500, "no room")
    assert found["spool"]["behind_s"] >= 90
    said = tracecli(place.home, "proxy", "status").stdout
    assert "1 segment of 1.5 KB not loaded yet, the oldest finished 1 m " in said
    assert "no room" in said


@pytest.mark.parametrize("words", [["--lane", "flows", "status"], ["sattus"], ["--workers", "0"], ["--lane", "fats"]])
def test_words_that_are_wrong(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """An unknown word, a wrong value, and options that `status` would not heed are refused in one sentence."""
    assert run(["proxy", *words]) == 2
    assert capsys.readouterr().err.count("\n") == 1
