"""The master of `tracecli proxy` does what mitmdump does, with less work."""

from __future__ import annotations

import asyncio
import gc
import logging
import warnings
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from mitmproxy import exceptions, http, options, version
from mitmproxy.hooks import ConfigureHook, Hook
from mitmproxy.proxy.layers.http._hooks import (
    HttpConnectHook,
    HttpConnectUpstreamHook,
    HttpErrorHook,
    HttpRequestHeadersHook,
    HttpRequestHook,
    HttpResponseHeadersHook,
    HttpResponseHook,
)
from mitmproxy.proxy.mode_specs import ProxyMode
from mitmproxy.test import tflow

from tracecli.errors import ConfigError
from tracecli.lanes import dispatch

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # of pyparsing, by mitmproxy's use of it
    from mitmproxy.tools import main
    from mitmproxy.tools.dump import DumpMaster

    from tracecli.proxy import master
    from tracecli.proxy.master import IDLE_WITHOUT, SlimMaster

HTTP_HOOKS: tuple[Callable[[http.HTTPFlow], Hook], ...] = (
    HttpConnectHook,
    HttpConnectUpstreamHook,
    HttpRequestHeadersHook,
    HttpRequestHook,
    HttpResponseHeadersHook,
    HttpResponseHook,
    HttpErrorHook,
)
ADDS_A_HEADER = {"modify_headers": ["/~q/x-added/yes"]}


pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of pyparsing, by mitmproxy's use of it


def within[M: DumpMaster](kind: type[M], job: Callable[[M], Awaitable[None]]) -> None:
    """Do something with a running master that listens nowhere. Log and garbage collector are its own as long."""
    log = logging.getLogger()
    handlers, level = list(log.handlers), log.level
    log.handlers[:] = []

    async def run() -> None:
        made = kind(options.Options())
        made.options.update(server=False, flow_detail=0)
        await made.running()
        try:
            await job(made)
        finally:
            await made.done()

    try:
        asyncio.run(run())
    finally:
        log.handlers[:] = handlers
        log.setLevel(level)
        gc.unfreeze()


def handlers_of(running: DumpMaster, event: Hook) -> set[str]:
    """The addons of mitmproxy that would be told of an event."""
    found = [addon for top in running.addons.chain for addon, _ in running.addons._iter_hooks(top, event)]
    return {name for name, addon in running.addons.lookup.items() if addon in found}


def test_idle_addons_do_nothing_to_traffic() -> None:
    """mitmproxy's own version of each idle addon leaves flows as they are while its option is unset."""

    async def look(stock: DumpMaster) -> None:
        for name, option in IDLE_WITHOUT.items():
            addon = stock.addons.get(name)
            assert addon is not None
            assert not getattr(stock.options, option)
            for event in HTTP_HOOKS:
                for flow in (tflow.tflow(resp=True), tflow.tflow(resp=True, err=True), tflow.twebsocketflow()):
                    before = flow.get_state()
                    await stock.addons.invoke_addon(addon, event(flow))
                    assert flow.get_state() == before, (name, event)

    within(DumpMaster, look)


def test_only_idle_addons_are_not_asked() -> None:
    """Every other addon of mitmproxy is asked about traffic as ever, and all of them about their life."""
    asked: dict[type[DumpMaster], list[set[str]]] = {}

    async def look(running: DumpMaster) -> None:
        events = [kind(tflow.tflow()) for kind in HTTP_HOOKS]
        asked[type(running)] = [handlers_of(running, event) for event in (*events, ConfigureHook({"mode"}))]

    within(DumpMaster, look)
    within(SlimMaster, look)
    *traffic, life = asked[DumpMaster]
    assert asked[SlimMaster] == [*(names - set(IDLE_WITHOUT) for names in traffic), life]


@pytest.mark.parametrize("table", [False, True], ids=["mitmproxy's walk", "our table"])
def test_an_addon_wakes_with_its_option(table: bool) -> None:
    """An option that is set while the proxy runs takes effect at the next event, and none once it is unset."""

    async def change(slim: SlimMaster) -> None:
        if table:
            assert dispatch.install(slim.addons)
        seen = []
        changes: tuple[dict[str, Any], ...] = ({}, ADDS_A_HEADER, {"modify_headers": []}, ADDS_A_HEADER)
        for settings in changes:
            slim.options.update(**settings)
            flow = tflow.tflow()
            flow.live = True
            await slim.addons.trigger_event(HttpRequestHeadersHook(flow))
            seen.append("x-added" in flow.request.headers)
        assert seen == [False, True, False, True]

    within(SlimMaster, change)


def test_idle_addons_check_their_options() -> None:
    """A wrong value is refused by an addon that was idle, and the old one holds."""

    async def change(slim: SlimMaster) -> None:
        with pytest.raises(exceptions.OptionsError):
            slim.options.update(map_remote=["/too-few"])
        assert slim.options.map_remote == []

    within(SlimMaster, change)


def test_the_log_that_nobody_sees_is_not_made(tmp_path: Path) -> None:
    """What is below the terminal's level is not made, until the level falls or a script beside ours comes."""
    scripts = [tmp_path / "ours.py", tmp_path / "another.py"]
    for script in scripts:
        script.write_text("")

    async def look(slim: SlimMaster) -> None:
        log = logging.getLogger("mitmproxy.proxy.server")
        for settings, made in (
            ({"termlog_verbosity": "alert", "scripts": [str(scripts[0])]}, False),
            ({"termlog_verbosity": "info"}, True),
            ({"termlog_verbosity": "warn"}, False),
            ({"scripts": [str(script) for script in scripts]}, True),
            ({"scripts": []}, False),
        ):
            slim.options.update(**settings)
            await asyncio.sleep(0)
            assert log.isEnabledFor(logging.INFO) == made, settings
            assert log.isEnabledFor(logging.ERROR)

    within(SlimMaster, look)


def test_what_is_there_at_the_start_is_frozen() -> None:
    """The garbage collector passes over what was there when the proxy began to listen."""

    async def look(slim: SlimMaster) -> None:
        assert gc.get_freeze_count() > 1000

    within(SlimMaster, look)


@pytest.mark.parametrize(
    ("mode", "suits"),
    [
        ("regular", True),
        ("regular@127.0.0.1:0", True),
        ("transparent", True),
        ("socks5", True),
        ("upstream:http://proxy.test:3128", True),
        ("reverse:https://api.openai.com", True),
        ("reverse:tcp://host.test:1", True),
        ("reverse:http3://api.openai.com", False),
        ("reverse:dns://host.test", False),
        ("reverse:udp://host.test:1", False),
        ("dns", False),
        ("local", False),
        ("wireguard", False),
    ],
)
def test_modes_of_uvloop(mode: str, suits: bool) -> None:
    """uvloop drives the modes whose sockets are the event loop's, and no other."""
    assert master.suits_uvloop(ProxyMode.parse(mode)) == suits


def test_another_mitmproxy_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another version of mitmproxy is refused in a sentence that names both and the way out."""

    def never(*_: Any) -> None:
        raise AssertionError

    monkeypatch.setattr(version, "VERSION", "99.0.0")
    monkeypatch.setattr(main, "run", never)
    with pytest.raises(ConfigError) as refused:
        master.run([], [])
    for word in ("99.0.0", dispatch.MADE_FOR, "--stock"):
        assert word in str(refused.value)
