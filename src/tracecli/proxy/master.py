"""mitmdump as `tracecli proxy` runs it: with less work at each event.

All that mitmdump can do is there: its addons with their options and commands, scripts, `-w`. Changed is:

* Addons that leave traffic alone as long as an option is unset are asked about it only once that is set.
* Of the log, what nobody would see is not made.
* mitmproxy's checks of its own objects, which `python -O` leaves out, are left out.
* The garbage collector passes over all that was there when the proxy began to listen.
* uvloop drives the sockets.

What each is worth is in `docs/speed.md`. They change what is not mitmproxy's public interface, so they are for one
version of it; `tracecli proxy --stock` does without.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from importlib.util import find_spec
from typing import Any

from mitmproxy import hooks, http, options, version
from mitmproxy.proxy.mode_specs import ProxyMode, ReverseMode
from mitmproxy.tools import cmdline, main
from mitmproxy.tools.dump import DumpMaster

from tracecli.errors import ConfigError
from tracecli.lanes.dispatch import MADE_FOR
from tracecli.proxy import leaving

IDLE_WITHOUT = {
    "anticache": "anticache",
    "anticomp": "anticomp",
    "blocklist": "block_list",
    "dumper": "flow_detail",
    "maplocal": "map_local",
    "mapremote": "map_remote",
    "modifybody": "modify_body",
    "modifyheaders": "modify_headers",
    "proxyauth": "proxyauth",
    "save": "save_stream_file",
    "savehar": "hardump",
    "stickyauth": "stickyauth",
    "stickycookie": "stickycookie",
    "upstreamauth": "upstream_auth",
}
"""mitmproxy's addons that leave traffic alone as long as an option is unset, and that option."""

_LIFECYCLE = ("load", "configure", "running", "done")
_TCP_SCHEMES = ("http", "https", "tcp", "tls")


def run(arguments: Sequence[str], modes: Iterable[ProxyMode], *, until_eof: bool = False) -> None:
    """Run mitmdump with these arguments, which name the modes too, until a signal ends it.

    `until_eof`: it ends as a worker does (`leaving.py`), and with its standard input too.

    Raises ConfigError if mitmproxy is another one than this was made for.
    """
    if version.VERSION != MADE_FOR:
        raise ConfigError(
            f"`tracecli proxy` was made for mitmproxy {MADE_FOR}, and this is {version.VERSION}",
            "Run `tracecli proxy --stock`, which takes mitmproxy as it is.",
        )
    http.MessageData.__post_init__ = _unchecked  # type: ignore[method-assign]
    if find_spec("uvloop") and all(map(suits_uvloop, modes)):
        import uvloop

        asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
    main.run(_LeavingMaster if until_eof else SlimMaster, cmdline.mitmdump, arguments, _filters)


class SlimMaster(DumpMaster):
    """mitmdump's master, that asks no idle addon about traffic."""

    def __init__(self, opts: options.Options) -> None:
        super().__init__(opts)
        self._idle = {id(self.addons.get(name)): option for name, option in IDLE_WITHOUT.items()}
        self._all_hooks: Callable[..., Iterator[Any]] = self.addons._iter_hooks
        self.addons._iter_hooks = self._needed_hooks  # type: ignore[method-assign]
        opts.changed.connect(self._options_changed)

    async def running(self) -> None:
        """All is loaded: this is how it stays."""
        await super().running()
        self._log_what_is_seen()
        gc.freeze()  # hardly any of it is garbage, and looking for that would take 40 ms

    def _needed_hooks(self, addon: object, event: hooks.Hook) -> Iterator[Any]:
        option = self._idle.get(id(addon))
        if option and event.name not in _LIFECYCLE and not getattr(self.options, option):
            return iter(())
        return self._all_hooks(addon, event)

    def _options_changed(self, updated: set[str]) -> None:
        if not updated.isdisjoint(IDLE_WITHOUT.values()):
            self.addons.add()  # adds nothing, but has `lanes/dispatch.py` look for handlers again
        if not updated.isdisjoint(("scripts", "termlog_verbosity")):
            self._log_what_is_seen()

    def _log_what_is_seen(self) -> None:
        """Another script than ours may want to see all of the log: then all of it is made."""
        log = logging.getLogger()
        if len(self.options.scripts) > 1:
            self._legacy_log_events.install()
            log.setLevel(logging.DEBUG)
        else:
            self._legacy_log_events.uninstall()
            log.setLevel(min(handler.level for handler in log.handlers))


class _LeavingMaster(SlimMaster):
    """One that lets what has begun come to its end."""

    async def running(self) -> None:
        await super().running()
        leaving.when_told()


def suits_uvloop(mode: ProxyMode) -> bool:
    """Whether a mode has sockets of the event loop alone; mitmproxy_rs, which has the others, is made for asyncio's."""
    if isinstance(mode, ReverseMode):
        return mode.scheme in _TCP_SCHEMES
    return mode.type_name in ("regular", "transparent", "socks5", "upstream")


def _unchecked(_: http.MessageData) -> None:
    """In the place of a check of types."""


def _filters(args: argparse.Namespace) -> dict[str, str]:
    """What mitmdump makes of the words that are no options: a filter."""
    if not args.filter_args:
        return {}
    words = " ".join(args.filter_args)
    return {"save_stream_filter": words, "readfile_filter": words, "dumper_filter": words}
