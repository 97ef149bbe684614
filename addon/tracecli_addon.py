"""The mitmproxy addon of tracecli: `mitmdump -s addon/tracecli_addon.py`.

Options and lifecycle; the traffic goes to the lane, every decision is made in the package.
"""

from __future__ import annotations

import asyncio
import difflib
import logging
from collections.abc import Sequence
from pathlib import Path

from mitmproxy import ctx, exceptions
from mitmproxy.addonmanager import Loader
from mitmproxy.log import ALERT

from tracecli import config
from tracecli.errors import TracecliError
from tracecli.identity import DEFAULT_USER_HEADERS
from tracecli.lanes import dispatch
from tracecli.lanes.choice import who_wants_flows
from tracecli.lanes.flows import AfterMitmproxy, FlowsLane
from tracecli.lanes.resumption import Resumption
from tracecli.runtime import Runtime

log = logging.getLogger(__name__)

_OPTIONS = {
    "tracecli_home",
    "tracecli_policies",
    "tracecli_hosts",
    "tracecli_user_headers",
    "tracecli_ingest",
    "tracecli_lane",
}
LANES = ("auto", "fast", "flows")
# mitmproxy 12.3 can sign certificates with an authority whose key is public. Nobody may turn that on beside us.
_COMPROMISED = ("emudhra", "emudhra_old")
# Options of mitmproxy that are set here unless the user set them.
_DEFAULTS = {
    "tcp_timeout": 3600,  # a model may think for longer than ten minutes without sending a byte
    "connection_strategy": "lazy",  # an unreachable provider becomes a failed exchange, not a refused CONNECT
}


class Tracecli:
    """Records the traffic of AI providers."""

    def __init__(self) -> None:
        self.lane = FlowsLane()
        self.addons = [self.lane]
        self.runtime: Runtime | None = None

    def load(self, loader: Loader) -> None:
        """Declare the options."""
        loader.add_option("tracecli_home", str, "", "The folder of all state (default: TRACECLI_HOME or ~/.tracecli).")
        loader.add_option(
            "tracecli_policies",
            str,
            "",
            "The policy folder (default: TRACECLI_POLICIES, policies/ of the checkout, or policies/ in the home).",
        )
        loader.add_option(
            "tracecli_hosts",
            Sequence[str],
            [],
            "More hosts to intercept, besides the known AI providers: HOST[:PORT][=PROVIDER], HOST may begin with *.",
        )
        loader.add_option(
            "tracecli_user_headers",
            Sequence[str],
            list(DEFAULT_USER_HEADERS),
            "Request headers that name the user, first match wins; they are removed upstream.",
        )
        loader.add_option("tracecli_ingest", bool, True, "Start the ingest process beside the proxy.")
        loader.add_option(
            "tracecli_lane",
            str,
            "auto",
            "fast: our own HTTP/1.1 layer; flows: mitmproxy's, which other addons see; auto: fast where nobody needs "
            "flows.",
            choices=LANES,
        )

    def configure(self, updated: set[str]) -> None:
        """Take over changed options, all or none."""
        if any(name in ctx.options and getattr(ctx.options, name) for name in _COMPROMISED):
            raise exceptions.OptionsError("tracecli: refusing to sign with a compromised authority: unset emudhra")
        if not updated & _OPTIONS:
            return
        if unknown := [name for name in ctx.options.deferred if name.startswith("tracecli_")]:
            meant = difflib.get_close_matches(unknown[0], _OPTIONS, n=1, cutoff=0)[0]
            log.error("tracecli: there is no option %s. Did you mean %s?", unknown[0], meant)
            return
        home = config.home(ctx.options.tracecli_home)
        try:
            runtime = Runtime(
                home,
                config.policy_folder(home, ctx.options.tracecli_policies),
                hosts=[*config.extra_hosts(), *ctx.options.tracecli_hosts],
                user_headers=ctx.options.tracecli_user_headers,
                ingest=ctx.options.tracecli_ingest,
            )
        except TracecliError as error:
            if self.runtime is not None:
                raise exceptions.OptionsError(str(error)) from error
            # At start-up this ends mitmdump, with one sentence; an exception would add its traceback.
            log.error("tracecli: %s", error)
            return
        replaced, self.runtime = self.runtime, runtime
        self.lane.recorder, self.lane.proxy_users = runtime.recorder, runtime.proxy_users
        self.lane.passing.counts = runtime.unseen
        if replaced is not None:
            replaced.stop()
            self.running()

    def running(self) -> None:
        """The proxy listens: start what runs beside it."""
        if self.runtime is None:
            return
        ctx.options.update(**{name: value for name, value in _DEFAULTS.items() if not ctx.options.has_changed(name)})
        if "aftermitmproxy" not in ctx.master.addons.lookup:
            ctx.master.addons.add(AfterMitmproxy(lambda: ctx.master.addons.get("tracecli").lane), Resumption())
        if not dispatch.install(ctx.master.addons):
            log.info("tracecli: this mitmproxy is not %s; its events are dispatched as it does it", dispatch.MADE_FOR)
        listening = ctx.master.addons.get("proxyserver").listen_addrs()
        authority = Path(ctx.options.confdir).expanduser() / "mitmproxy-ca-cert.pem"
        post = asyncio.get_running_loop().call_soon_threadsafe
        lane = ctx.options.tracecli_lane
        flows_because = who_wants_flows(self.lane) if lane == "auto" else None
        self.runtime.start(listening, authority, post, lane=lane, modes=ctx.options.mode, flows_because=flows_because)
        if flows_because:
            log.log(ALERT, "tracecli: everything goes over mitmproxy's flows, for %s", flows_because)
        named = any(mode.startswith(("regular", "upstream")) for mode in ctx.options.mode)
        log.log(ALERT, "%s", self.runtime.welcome(listening, named=named))

    def done(self) -> None:
        """The proxy ends, or the addon is loaded anew."""
        if self.runtime is not None:
            self.runtime.stop()


addons = [Tracecli()]
