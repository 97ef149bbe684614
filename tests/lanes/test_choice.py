"""Who needs mitmproxy's own flows is asked before the fast lane serves anything."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from mitmproxy import ctx, http, options

from tracecli.lanes.choice import who_wants_flows

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of pyparsing, by mitmproxy's use of it


class Listens:
    """An addon that looks at answers."""

    def response(self, flow: http.HTTPFlow) -> None:
        """Look."""


class Quiet:
    """An addon that listens to nothing of HTTP."""

    def client_connected(self, client: Any) -> None:
        """Look at connections only."""


class Parent:
    """An addon whose child looks at answers."""

    def __init__(self) -> None:
        self.addons = [Listens()]


def asked(addons: list[Any], settings: dict[str, Any], ours: Any = None) -> str | None:
    """Start mitmdump's master with these addons and options, and ask."""
    from mitmproxy.tools.dump import DumpMaster

    async def ask() -> str | None:
        running = DumpMaster(options.Options(), with_termlog=False)
        running.addons.add(*addons)
        ctx.options.update(**settings)
        try:
            return who_wants_flows(ours)
        finally:
            await running.done()

    return asyncio.run(ask())


def test_nobody_does_of_its_own_accord() -> None:
    """mitmdump as it comes, with addons that do not look at HTTP, leaves the way free."""
    assert asked([Quiet()], {}) is None


def test_our_own_addon_does_not_count() -> None:
    """The addon that is told everything anyway needs no flows."""
    ours = Listens()
    assert asked([ours], {}, ours=ours) is None
    assert asked([ours], {}) == "the addon Listens"


@pytest.mark.parametrize("addon", [Listens(), Parent()])
def test_another_addon_that_listens(addon: Any) -> None:
    """It sees flows, also where it is the child of another."""
    assert asked([addon], {}) == "the addon Listens"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("anticache", True),
        ("anticomp", True),
        ("block_list", [":~d example.com:404"]),
        ("body_size_limit", "1m"),
        ("dumper_filter", "~d example.com"),
        ("flow_detail", 2),
        ("hardump", "flows.har"),
        ("map_local", ["|example.com|."]),
        ("map_remote", ["|example.com|example.org"]),
        ("modify_body", ["/a/b"]),
        ("modify_headers", ["/a/b"]),
        ("save_stream_file", "flows"),
        ("stickyauth", ".*"),
        ("stickycookie", ".*"),
        ("store_streamed_bodies", True),
        ("validate_inbound_headers", False),
    ],
)
def test_an_option_that_wants_flows(name: str, value: Any, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """What keeps, shows or changes flows gets them, and the answer names the option."""
    monkeypatch.chdir(tmp_path)
    assert asked([], {name: value}) == f"the option {name}"


@pytest.mark.parametrize(("name", "value"), [("flow_detail", 0), ("anticache", False), ("connection_strategy", "lazy")])
def test_an_option_that_does_not(name: str, value: Any) -> None:
    """Options that ask for nothing of that kind leave the way free."""
    assert asked([], {name: value}) is None


def test_a_display_of_flows(monkeypatch: pytest.MonkeyPatch) -> None:
    """A master that is not mitmdump's shows flows to somebody."""
    monkeypatch.setattr(ctx, "master", object(), raising=False)
    monkeypatch.setattr(ctx, "options", object(), raising=False)
    assert who_wants_flows(None) == "mitmproxy's own display"
