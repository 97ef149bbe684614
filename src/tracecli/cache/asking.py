"""One request and the response cache: what the cache answers, and what becomes of an answer from upstream.

`ResponseCache.ask` and all of `Asking` but `keep` run in the proxy's event loop; `keep` runs in a thread beside it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import NamedTuple

import msgspec

from tracecli.cache import replay, storable
from tracecli.cache.entries import Entries, Entry
from tracecli.cache.flights import Flight, Flights, Waiting
from tracecli.cache.key import Asked, material, scoped
from tracecli.cache.replay import Answer
from tracecli.cache.storable import Control
from tracecli.exchange import CacheStatus, Exchange
from tracecli.policy.rules import Cache

_MAX_MET = 4096
_MAX_MET_BYTES = 256 << 10
_PACK = msgspec.msgpack.Encoder()


class Who(NamedTuple):
    """Whose request it is, for the scope."""

    user: str
    credential: str | None
    policy: str


class ResponseCache:
    """The cache as one proxy process uses it. `clock` gives Unix seconds."""

    def __init__(self, entries: Entries, clock: Callable[[], float]) -> None:
        self.entries = entries
        self.clock = clock
        self.flights = Flights()
        self._met: dict[bytes, tuple[bytes, str | None]] = {}

    def ask(self, asked: Asked, rules: Cache, operation: str | None, who: Who, *, may_store: bool) -> Asking:
        """Look for an answer to a request whose body is whole; without `may_store` its own will not be kept."""
        control = storable.request_control(asked.headers)
        if control.no_store:
            return Asking(self, rules, asked, control, bypass="no-store")
        asked_hash, why = self._look_at(asked, operation, only_deterministic=rules.only_deterministic)
        if why is not None:
            return Asking(self, rules, asked, control, bypass=why)
        key = scoped(asked_hash, rules.scope, user=who.user, credential=who.credential, policy=who.policy)
        asking = Asking(self, rules, asked, control, key=key, asked_hash=asked_hash, may_store=may_store)
        asking.look()
        return asking

    def _look_at(self, asked: Asked, operation: str | None, *, only_deterministic: bool) -> tuple[bytes, str | None]:
        """The hash of what is asked, and why the cache has nothing to do with it.

        For a request that came before in the very same bytes, the answer is remembered: it takes an eighth of the time.
        """
        if len(asked.body) > _MAX_MET_BYTES:
            return self._look_closely(asked, operation, only_deterministic=only_deterministic)
        about = (asked.method, asked.scheme, asked.host, asked.port, asked.path, asked.headers, only_deterministic)
        try:
            bytes_hash = hashlib.sha256(_PACK.encode(about) + asked.body).digest()
        except UnicodeEncodeError:  # bytes that are no UTF-8, in a header
            return self._look_closely(asked, operation, only_deterministic=only_deterministic)
        met = self._met.get(bytes_hash)
        if met is None:
            if len(self._met) >= _MAX_MET:
                self._met.clear()
            met = self._look_closely(asked, operation, only_deterministic=only_deterministic)
            self._met[bytes_hash] = met
        return met

    @staticmethod
    def _look_closely(asked: Asked, operation: str | None, *, only_deterministic: bool) -> tuple[bytes, str | None]:
        of = material(asked)
        why = storable.why_not_asked(
            operation, asked.method, asked.headers, of.value, only_deterministic=only_deterministic
        )
        return (of.hash() if why is None else b""), why


class Asking:
    """A request that the cache was asked about.

    At most one of `answer` (give this, ask nobody) and `waiting` (for the answer of a request in flight) is set; with
    neither, the request goes upstream.
    """

    def __init__(
        self,
        cache: ResponseCache,
        rules: Cache,
        asked: Asked,
        control: Control,
        *,
        key: bytes = b"",
        asked_hash: bytes = b"",
        may_store: bool = False,
        bypass: str | None = None,
    ) -> None:
        self.status: CacheStatus = "bypass" if bypass else "miss"
        self.detail = bypass
        self.answer: Answer | None = None
        self.waiting: Waiting | None = None
        self.origin: Entry | None = None
        """What the answer was made of."""
        self.stores = may_store and rules.writes and not bypass
        """Whether the answer from upstream may be kept."""
        self._cache = cache
        self._rules = rules
        self._asked = asked
        self._control = control
        self._key = key
        self._asked_hash = asked_hash
        self._flight: Flight | None = None
        if bypass and control.only_if_cached:
            self.answer = replay.only_if_cached_failed()

    def look(self) -> None:
        """Find an answer, or somebody to wait for, or lead."""
        if not self._rules.reads:
            self.detail = self._rules.mode
        elif self._control.no_cache:
            self.status, self.detail = "bypass", "no-cache"
        elif entry := self._cache.entries.get(self._key):
            now = self._cache.clock()
            age = max(0.0, now - entry.stored_at)
            if age < self._fresh_for():
                self._give(entry, "hit", now)
                return
            self.status, self.detail = "stale", "max-age" if age < self._rules.ttl_s else "ttl"
        only_if_cached = self._control.only_if_cached
        if self._may_share and (found := self._cache.flights.join(self._key, answered=only_if_cached)):
            self.waiting = found
        elif only_if_cached:
            self.answer = replay.only_if_cached_failed()
        elif self.stores:
            self._flight = self._cache.flights.lead(self._key)

    @property
    def _may_share(self) -> bool:
        """Whether the answer of a request in flight would do: it will be new, but not as new as an own one."""
        return self._rules.reads and not self._control.no_cache and self._control.max_age != 0

    def _fresh_for(self) -> float:
        """Seconds; the client may ask for less than the policy allows, never for more."""
        asked = self._control.max_age
        return self._rules.ttl_s if asked is None else min(self._rules.ttl_s, asked)

    def _give(self, entry: Entry, status: CacheStatus, now: float) -> None:
        self.status, self.detail, self.origin, self.stores = status, None, entry, False
        self.answer = replay.answer(entry, self._asked.headers, now, self._rules.ttl_s, collapsed=status == "collapsed")

    def resume(self) -> None:
        """The wait is over: there is an answer, or the request goes upstream."""
        if self.waiting is None:
            return
        self.waiting.give_up()
        outcome, flight, late = self.waiting.outcome, self.waiting.flight, self.waiting.late
        self.waiting = None
        if isinstance(outcome, Entry):
            self._give(outcome, "hit" if late else "collapsed", self._cache.clock())
        elif outcome == "lead":
            if self.stores:
                self._flight = flight
            else:
                flight.dispersed()

    def header(self) -> str:
        """`Cache-Status` for an answer from upstream."""
        return replay.cache_status(self.status, self.detail)

    def not_kept(self, why: str) -> None:
        """The answer from upstream will not be kept: it is an error, or too large."""
        if self.stores:
            self.stores, self.detail = False, why
        if self._flight is not None:
            self._flight.dispersed()
            self._flight = None

    def answered(self) -> None:
        """The answer has passed; whether it is kept is being decided."""
        if self._flight is not None:
            self._flight.answered = True

    def left(self) -> None:
        """The client is gone."""
        if self.waiting is not None:
            self.resume()
        if self._flight is not None:
            self._flight.left()
            self._flight = None

    @property
    def max_entry_bytes(self) -> int:
        """A larger answer is not kept."""
        return self._rules.max_entry_bytes

    def keep(self, exchange: Exchange, body: bytes, model: str | None) -> tuple[CacheStatus, str | None, Entry | None]:
        """Keep a whole answer, if it is one; what to record of that, and the entry for `landed`."""
        why = storable.why_not_answered(exchange, body, self._rules.max_entry_bytes)
        if why is not None or exchange.status is None:
            return self.status, why, None
        entry = Entry(
            key=self._key,
            asked_hash=self._asked_hash,
            exchange_id=exchange.id,
            stored_at=self._cache.clock(),
            duration_ms=exchange.duration_ms,
            user=exchange.user,
            policy=exchange.policy,
            provider=exchange.provider,
            host=exchange.host,
            operation=exchange.operation,
            model=model,
            status=exchange.status,
            headers=replay.stored_headers(exchange.response_headers),
            body=body,
        )
        self._cache.entries.put(entry)
        return "stored", self.detail, entry

    def landed(self, entry: Entry | None) -> None:
        """After `keep`, in the event loop: tell those who wait."""
        if self._flight is not None:
            if entry is None:
                self._flight.dispersed()
            else:
                self._flight.landed(entry)
            self._flight = None
