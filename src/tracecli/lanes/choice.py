"""Which connections the fast lane may serve, as far as the proxy's user decides it."""

from __future__ import annotations

from mitmproxy import ctx

_HOOKS = ("requestheaders", "request", "responseheaders", "response", "error")
# Options of mitmproxy that want to see, keep or change flows, when they are set to anything.
_WANTS_FLOWS = (
    "anticache",
    "anticomp",
    "block_list",
    "body_size_limit",
    "client_replay",
    "dumper_filter",
    "hardump",
    "map_local",
    "map_remote",
    "modify_body",
    "modify_headers",
    "save_stream_file",
    "server_replay",
    "stickyauth",
    "stickycookie",
    "store_streamed_bodies",
)


def who_wants_flows(ours: object) -> str | None:
    """Who needs mitmproxy's own flows of each exchange: the console, an option, another addon; None: nobody.

    `ours` is the addon that has been told everything anyway. What mitmdump prints of its own accord does not count;
    `flow_detail` set by the user does.
    """
    options = ctx.options
    if not any(kind.__name__ == "DumpMaster" for kind in type(ctx.master).__mro__):
        return "mitmproxy's own display"
    for name in _WANTS_FLOWS:
        if getattr(options, name, None):
            return f"the option {name}"
    if options.has_changed("flow_detail") and options.flow_detail:
        return "the option flow_detail"
    if not options.validate_inbound_headers:
        return "the option validate_inbound_headers"
    pending = list(ctx.master.addons.chain)
    while pending:
        addon = pending.pop()
        pending += getattr(addon, "addons", [])
        if addon is ours or type(addon).__module__.startswith("mitmproxy."):
            continue
        if any(callable(getattr(addon, hook, None)) for hook in _HOOKS):
            return f"the addon {type(addon).__name__}"
    return None
