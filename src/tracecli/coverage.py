"""What was not seen: connections that passed unopened or were refused, exchanges that were not understood or broke off.

Two sources: what the proxy counted of connections (`unseen`), by days, and the store. Each finding has what it means,
which is a guess where it says so, and a remedy.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator, Mapping
from typing import Literal

import msgspec

from tracecli import finding, unseen
from tracecli.clients.table import client_of
from tracecli.config import Home
from tracecli.errors import HomeError
from tracecli.providers.hosts import Hosts
from tracecli.providers.likely import likeness
from tracecli.query import syntax
from tracecli.store.shortfalls import Shortfall
from tracecli.unseen import Count, Counted, What

type Matter = Literal["passed", "refused", "upstream", "not understood", "broken off"]
"""`passed` unopened; `refused` by the client; `upstream`, the handshake with the provider failed; and of exchanges."""

_HOSTS = Hosts()
_ORDER: tuple[Matter, ...] = ("refused", "passed", "upstream", "not understood", "broken off")


class Unseen(msgspec.Struct, frozen=True):
    """Something that was not seen, or not whole."""

    matter: Matter
    why: str
    """In a word: the alert of TLS, the flag, the outcome; of what passed, what its name looks like."""
    provider: str | None
    """None: the host is no known provider's."""
    host: str
    client: str | None
    """The products of its User-Agent; None: it told none."""
    times: int
    """Connections, or exchanges."""
    first_at: dt.datetime
    last_at: dt.datetime
    example: str | None
    """The id of the latest exchange."""
    means: str
    """A sentence."""
    remedy: str
    """Sentences."""


class Connections(msgspec.Struct, frozen=True):
    """Connections to hosts of AI providers, and to all others."""

    opened: int
    """Opened up: what was asked over them was seen."""
    refused: int
    """Whose client refused our certificate."""
    passed: int
    """Passed unopened, to hosts that look like AI providers."""
    passed_known: int
    """Those of them to hosts of known providers."""
    others: int
    """Passed unopened, to hosts whose names are not kept."""

    @property
    def share(self) -> float | None:
        """Of the connections to known providers, those that were opened; None: there were none."""
        known = self.opened + self.refused + self.passed_known
        return self.opened / known if known else None


class Coverage(msgspec.Struct, frozen=True):
    """What was seen, and what was not."""

    since: dt.datetime
    connections: Connections
    exchanges: int
    """That were recorded."""
    unseen: list[Unseen]


def coverage(home: Home, since: dt.datetime, now: dt.datetime) -> Coverage:
    """Look. Counts of connections are by days in UTC: the day of `since` counts whole.

    Raises StoreBusy, NewerDatabase or HomeError if the home or its database cannot be read.
    """
    try:
        counted = unseen.read(home)
    except OSError as error:
        raise HomeError(f"cannot read {home.coverage}: {error.strerror}", "Make it readable.") from error
    first_day = unseen.day_of(since)
    counted = {what: one for what, one in counted.items() if what.day >= first_day}
    query = syntax.term("since", since.isoformat())
    recorded = sum(group.requests for group in finding.statistics(home, query, [], now))
    found = [*_of_connections(home, counted), *_of_exchanges(finding.shortfalls(home, query, now))]
    found.sort(key=lambda one: (_ORDER.index(one.matter), -one.times, one.host, one.client or ""))
    return Coverage(since, _connections(counted), recorded, found)


def _connections(counted: Counted) -> Connections:
    def times(kind: unseen.Kind, *, named: bool | None = None, known: bool = False) -> int:
        return sum(
            one.times
            for what, one in counted.items()
            if what.kind == kind
            and (named is None or named == (what.host is not None))
            and (not known or likeness(what.host or "") == "provider")
        )

    return Connections(
        opened=times("opened"),
        refused=times("refused"),
        passed=times("passed", named=True),
        passed_known=times("passed", known=True),
        others=times("passed", named=False),
    )


def _of_connections(home: Home, counted: Counted) -> Iterator[Unseen]:
    trusting = {what.client for what in counted if what.kind == "opened" and what.client}
    for (kind, host, client, where, reason), one in _by_all_but_days(counted).items():
        if kind == "opened" or (kind == "passed" and host is None):
            continue
        name = host or "(names of more hosts than are kept)"
        match kind:
            case "passed":
                why, means, remedy = _passed(name)
            case "refused":
                why, (means, remedy) = reason, _refused(home, name, client, where, reason, trusts=client in trusting)
            case _:
                why, (means, remedy) = reason, _upstream(name, reason)
        yield Unseen(
            kind,
            why,
            _HOSTS.provider_of(host or "", 443),
            name,
            client or None,
            one.times,
            _moment(one.first_at),
            _moment(one.last_at),
            None,
            means,
            remedy,
        )


type _AllButDay = tuple[unseen.Kind, str | None, str, unseen.Where, unseen.Reason]


def _by_all_but_days(counted: Counted) -> Mapping[_AllButDay, Count]:
    found: dict[_AllButDay, Count] = {}
    for what, one in counted.items():
        key = _without_day(what)
        if key in found:
            found[key].add(one)
        else:
            found[key] = Count(one.times, one.first_at, one.last_at)
    return found


def _without_day(what: What) -> _AllButDay:
    return what.kind, what.host, what.client, what.where, what.reason


def _passed(host: str) -> tuple[str, str, str]:
    why = likeness(host) or "name"
    if why == "provider":
        means = "Connections to a known provider passed unopened."
        return why, means, "Take the host out of mitmproxy's `ignore_hosts`, or into its `allow_hosts`."
    looks = "It serves AI models, or its company does" if why == "service" else "By its name it may serve AI models"
    remedy = (
        f"If programs call models there, `tracecli proxy --host {host}` opens it, and TRACECLI_HOSTS={host} in every "
        f"proxy; `{host}=anthropic` says whose API it speaks, if it is not OpenAI's."
    )
    return why, f"{looks}; it passed unopened.", remedy


def _refused(
    home: Home, host: str, client: str, where: unseen.Where, reason: unseen.Reason, *, trusts: bool
) -> tuple[str, str]:
    place = " on another machine" if where == "network" else ""
    if reason == "other":
        means = (
            f"A client{place} and the proxy could not agree on TLS, or it refused the certificate in a way of its own."
        )
        return means, "The proxy's log has the words; an old client may need `tls_version_client_min` of mitmproxy."
    if trusts and reason != "unknown_ca":
        means = f"A client{place} that trusts the proxy elsewhere refused it here: a guess is a pinned certificate."
        remedy = (
            "A client that has pinned a provider's certificate takes no other, whatever it is told to trust. If its "
            f"base URL can be set, `tracecli proxy --mode reverse:https://{host}` records it without a certificate."
        )
        return means, remedy
    told = {
        "unknown_ca": "does not know the proxy's authority",
        "closed": "left during the handshake without a word; a guess is that it does not trust the proxy's authority",
        "silent": "left right after the handshake, before it asked for anything; Node does so when it does not trust "
        "the proxy's authority, and others with connections that they open ahead",
    }.get(reason, "refused the proxy's certificate; a guess is that it does not know the authority, or has pinned one")
    return f"A client{place} {told}.", _trust(home, client, where)


def _trust(home: Home, client: str, where: unseen.Where) -> str:
    known = client_of(client)
    bundle = f"a copy of {home.ca_bundle}" if where == "network" else str(home.ca_bundle)
    if known is None:
        start = "Have" if where == "network" else "Start it with `tracecli run`, or have"
        return f"{start} it trust {bundle}; docs/clients.md tells how each client is told."
    if not known.authorities:
        return f"{known.name}: {known.needs}"
    variables = " or ".join(known.authorities)
    start = "" if where == "network" else ", or start it with `tracecli run`"
    return f"{known.name}: set {variables} to {bundle}{start}. {known.needs}".strip()


def _upstream(host: str, reason: unseen.Reason) -> tuple[str, str]:
    if reason == "untrusted":
        means = f"The certificate that {host} showed is one that nobody vouches for; nothing was sent there."
        remedy = (
            "If a proxy of your network shows it, give mitmproxy that one's authority: "
            "`tracecli proxy -- --set ssl_verify_upstream_trusted_ca=FILE`. Never leave the verification out."
        )
        return means, remedy
    return (
        f"The handshake of TLS with {host} failed.",
        "The error of the recorded exchange has the words: outcome:failed.",
    )


_EXCHANGES: dict[str, tuple[Matter, str, str]] = {
    "aborted": (
        "broken off",
        "The client left before the answer was whole; what had come is recorded.",
        "If nobody stopped it, look at its timeout: `tracecli usage show {id}` tells after how long it left.",
    ),
    "broken_off": (
        "broken off",
        "The provider broke the answer off; what had come is recorded.",
        "`tracecli usage show {id}` has the error. Clients do well to ask again.",
    ),
    "failed": (
        "broken off",
        "The provider could not be reached, or gave no answer.",
        "`tracecli usage show {id}` has the error.",
    ),
    "no_end_event": (
        "broken off",
        "A stream ended without the event that says so: something may be missing at its end.",
        "`tracecli usage show {id}` shows what came; a proxy or gateway before the provider may cut long answers.",
    ),
    "not_understood": (
        "not understood",
        "No module reads this format yet, or the answer is not of it; tokens and cost may be unknown.",
        "`tracecli usage show {id}` shows it as it came. Is it another provider's API, name that: HOST=PROVIDER for "
        "`--host`. After an update, `tracecli reparse` reads it again.",
    ),
    "request_not_understood": (
        "not understood",
        "The request's body is not what the format asks for, or was cut; prompt and model may be missing.",
        "`tracecli usage show {id}` shows it. The policy's max_body_bytes says from where on bodies are cut.",
    ),
    "bad_encoding": (
        "not understood",
        "A content encoding is unknown, or does not decode.",
        "`tracecli usage show {id}` shows the headers; the bytes are kept as they came.",
    ),
    "bad_event": (
        "not understood",
        "Events of a stream were no JSON, or too large, and were left out.",
        "`tracecli usage show {id}` shows the rest; the bytes are kept as they came.",
    ),
    "truncated": (
        "not understood",
        "A body ends inside its encoding or its JSON.",
        "`tracecli usage show {id}` shows how far it came.",
    ),
    "too_large": (
        "not understood",
        "A body is larger than is read; its beginning was.",
        "`tracecli usage show {id}` shows that.",
    ),
}


def _of_exchanges(found: Iterable[Shortfall]) -> Iterator[Unseen]:
    merged: dict[tuple[str, str, str, str], Shortfall] = {}
    for one in found:
        key = one.why, one.provider, one.host, unseen.products(one.agent or "")
        if before := merged.get(key):
            merged[key] = before._replace(
                times=before.times + one.times,
                first_at=min(before.first_at, one.first_at),
                last_at=max(before.last_at, one.last_at),
                example=max(before.example, one.example),
            )
        else:
            merged[key] = one
    for (why, provider, host, client), one in merged.items():
        matter, means, remedy = _EXCHANGES[why]
        yield Unseen(
            matter,
            why,
            provider,
            host,
            client or None,
            one.times,
            one.first_at,
            one.last_at,
            one.example,
            means,
            remedy.format(id=one.example),
        )


def _moment(seconds: float) -> dt.datetime:
    return dt.datetime.fromtimestamp(seconds, dt.UTC)
