"""`tracecli transparent status`: what is set in this network namespace, and what to do about it."""

from __future__ import annotations

import msgspec

from tracecli.transparent import rules, state, system
from tracecli.transparent.firewall import installed
from tracecli.transparent.knock import Knock

_ANSWERS_WITHIN_S = 2.0


class Status(msgspec.Struct):
    """What there is, and what is wrong with it."""

    intercepting: bool
    """Connections go to the proxy."""
    firewall: str | None = None
    rules: list[str] = []
    """As the tool lists them."""
    settings: list[str] = []
    """Settings of the kernel that are not as they were before, as `name=value, was value`."""
    port: int | None = None
    listening: list[str] = []
    """Who listens on it."""
    proxy: int | None = None
    """Its process, if it lives."""
    answering: bool = False
    """It lets a client go that leaves; else it hangs, and what is new goes directly."""
    guard: int | None = None
    """The process of `tracecli transparent up`, if it lives."""
    since: float | None = None
    """Unix time."""
    home: str | None = None
    problem: str | None = None
    remedy: str | None = None


def look() -> Status:
    """Look. Raises FirewallError if that is not allowed."""
    said, lives = state.seen()
    found = Status(intercepting=False)
    for firewall in installed():
        if listed := firewall.listed():
            found.firewall, found.rules = firewall.name, listed
            break
    if said is None or not said.set:
        if found.rules:
            found.problem = "there are rules of tracecli, and nobody who renews them: they do nothing"
            found.remedy = "`tracecli transparent down` takes them out."
        elif said is not None and said.ended:
            found.problem = said.ended
            found.remedy = "`tracecli transparent up` starts it again."
        return found
    found.port, found.since, found.home = said.interception.port, said.since, said.home
    found.listening = system.listeners(said.interception.port)
    found.settings = [f"{one.name}={one.value}, was {one.before}" for one in said.settings if one.value is not None]
    if said.proxy is not None and said.proxy_started == system.started(said.proxy):
        found.proxy = said.proxy
        found.answering = _answers(said.interception.port)
    if lives:
        found.guard = said.guard
    found.intercepting = bool(lives and found.answering and found.rules)
    found.problem, found.remedy = _problem(found, said.guard)
    return found


def _answers(port: int) -> bool:
    knock = Knock(port)
    try:
        return knock.answered(_ANSWERS_WITHIN_S)
    finally:
        knock.close()


def _problem(found: Status, guard: int) -> tuple[str | None, str | None]:
    again = "`tracecli transparent up` clears that away and starts again; `tracecli transparent down` clears it away."
    if not found.guard:
        return (
            f"the process that renewed the rules ({guard}) was killed: {rules.LIVE_S} s later they do nothing, and all "
            "traffic goes directly",
            again,
        )
    if not found.proxy:
        return "the proxy is not there: it starts this moment, or has ended", "Look again."
    if not found.rules:
        return "the rules are not there: they are set this moment, or somebody has taken them out", "Look again."
    if not found.listening:
        return f"nobody listens on port {found.port}", again
    if not found.answering:
        return (
            f"the proxy ({found.proxy}) does not answer: new connections go directly, {rules.LIVE_S} s after it last "
            "did, and those that it has wait for it",
            "They go to it again as soon as it answers. If it does not, `tracecli transparent down` ends it, and "
            "`tracecli transparent up` starts another.",
        )
    return None, None
