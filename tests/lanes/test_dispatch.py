"""The table of handlers does what mitmproxy's own walk over the addons does."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable
from types import SimpleNamespace
from typing import Any

import pytest
from mitmproxy import addonmanager, connection, exceptions, options
from mitmproxy.addonmanager import Loader
from mitmproxy.proxy.server_hooks import ClientConnectedHook

from tracecli.lanes import dispatch

CLIENT = connection.Client(peername=("127.0.0.1", 1), sockname=("127.0.0.1", 2), timestamp_start=0)


class Addon:
    """Notes its calls in a list that several share."""

    def __init__(self, name: str, calls: list[str], *children: object, does: object = None) -> None:
        self.name = name
        self.addons = list(children)
        self._calls = calls
        self._does = does

    def load(self, loader: Loader) -> None:
        """Nothing to declare."""

    def client_connected(self, client: object) -> Awaitable[None] | None:
        """The event under test."""
        self._calls.append(self.name)
        if isinstance(self._does, Exception):
            raise self._does
        return self._later() if self._does == "wait" else None

    async def _later(self) -> None:
        await asyncio.sleep(0)
        self._calls.append(f"{self.name} later")


def manager_of_its_own() -> addonmanager.AddonManager:
    """An addon manager with no more of a master than it needs."""
    commands = SimpleNamespace(collect_commands=lambda addon: None)
    return addonmanager.AddonManager(SimpleNamespace(options=options.Options(), commands=commands))


def calls_of(table: bool, *changes: Any) -> list[str]:
    """The calls of one event after another, with a change of the addons before each."""
    calls: list[str] = []

    async def run() -> None:
        manager = manager_of_its_own()
        if table:
            assert dispatch.install(manager)
        for change in changes:
            change(manager, calls)
            await manager.trigger_event(ClientConnectedHook(CLIENT))
            calls.append("|")

    asyncio.run(run())
    return calls


def add(*names: str, **about: Any) -> Any:
    """A change: add an addon, with children of its own."""

    def change(manager: addonmanager.AddonManager, calls: list[str]) -> None:
        first, *rest = names
        manager.add(Addon(first, calls, *(Addon(name, calls) for name in rest), **about))

    return change


def remove(name: str) -> Any:
    """A change: remove an addon."""
    return lambda manager, _: manager.remove(manager.get(name))


@pytest.mark.parametrize(
    "changes",
    [
        (add("a"), add("b", "child", "second child"), add("c", does="wait"), remove("b"), add("d")),
        (add("a"), add("b", "child", does=ValueError("broken")), add("c")),
        (add("a"), add("b", does=exceptions.AddonHalt()), add("c")),
        (add("a"), lambda manager, _: manager.clear(), add("b")),
    ],
    ids=["order", "exception", "halt", "clear"],
)
def test_as_mitmproxy_does_it(changes: tuple[Any, ...], caplog: pytest.LogCaptureFixture) -> None:
    """The same handlers in the same order, through changes, exceptions and waits; and the same words in the log."""
    caplog.set_level(logging.ERROR)
    stock = calls_of(False, *changes)
    said = [record.message for record in caplog.records]
    caplog.clear()
    assert calls_of(True, *changes) == stock
    assert [record.message for record in caplog.records] == said
    assert len(stock) > len(changes)


def test_options_errors_reach_the_caller() -> None:
    """An error about options is raised, as mitmproxy has it."""
    for table in (False, True):
        with pytest.raises(exceptions.OptionsError):
            calls_of(table, add("a", does=exceptions.OptionsError("no")))


def test_another_mitmproxy_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the code that is replaced is not the known one, nothing is replaced."""
    manager = manager_of_its_own()
    monkeypatch.setattr(dispatch, "_DIGEST", "another")
    assert dispatch.install(manager) is False
    assert "trigger_event" not in vars(manager)
