"""Reading what was recorded: the store and what is still in the spool, as one.

The spool is read first and the database after it: so nothing is missed while ingest is between the two, and what is
seen in both counts once.
"""

from __future__ import annotations

import contextlib
import heapq
import re
from collections.abc import Callable, Iterator, Sequence
from functools import cache

from tracecli import access, config, flag_files, ledger, price_file, spool
from tracecli.config import Home
from tracecli.errors import AmbiguousId, ExchangeNotFound, HomeError
from tracecli.exchange import Body, Captured, Headers, Message, Opened, Row
from tracecli.flags import Rules, recorded_by
from tracecli.price_list import PriceList
from tracecli.providers.about import rate_limits, request_id
from tracecli.recorded import Recorded
from tracecli.redacting import redacted
from tracecli.spool import Damage
from tracecli.store import bodies, exchanges
from tracecli.store.connection import opened
from tracecli.understanding import understand
from tracecli.wire.encodings import decode

LAST = "last"
_PREFIX = re.compile(r"[0-9a-f-]{1,36}")
_TRIES = 5


def latest(home: Home, limit: int) -> list[Row]:
    """The newest exchanges, newest first.

    Raises StoreBusy, NewerDatabase or HomeError if the home or its database cannot be read.
    """
    waiting = {one.exchange.id: one for one in heapq.nlargest(limit, spooled(home), key=lambda one: one.exchange.id)}
    try:
        with opened(home) as connection:
            stored = exchanges.latest(connection, limit)
            known = exchanges.known(connection, list(waiting))
    except FileNotFoundError:
        stored, known = [], set()
    newest = sorted(waiting.keys() - known, reverse=True)
    record = recorder(home)
    rows = stored + [record(waiting[identifier]).row for identifier in newest]
    return sorted(rows, key=lambda row: row.id, reverse=True)[:limit]


def open_exchange(home: Home, reference: str) -> Opened:
    """One exchange with its content; `reference` is an id, a prefix that fits only one, or `last`.

    That it is read is noted in the ledger. Raises ExchangeNotFound or AmbiguousId if it does not name one, HomeError if
    it cannot be noted, and what `latest` raises.
    """
    return open_exchanges(home, [reference])[0]


def open_exchanges(home: Home, references: Sequence[str]) -> list[Opened]:
    """Some exchanges with their content, noted together. Raises as `open_exchange` does."""
    found = [find(home, reference) for reference in references]
    _note(home, [captured for _, captured in found])
    return [opened_of(*one) for one in found]


def captured(home: Home, reference: str) -> Captured:
    """One exchange as it was captured, to be shown; it is noted. Raises as `open_exchange` does."""
    _, one = find(home, reference)
    _note(home, [one])
    return one


def _note(home: Home, found: Sequence[Captured]) -> None:
    """Note that what these hold is shown, those without content left out."""
    held = (one.exchange.id for one in found if one.request_body or one.response_body)
    ledger.reading(home, dict.fromkeys(held))


def identified(home: Home, reference: str) -> str:
    """The id of one exchange. Raises as `open_exchange` does."""
    prefix = _prefix(home, reference.strip().lower())
    waiting = {one.exchange.id for one in spooled(home) if one.exchange.id.startswith(prefix)}
    return _only(prefix, waiting | _stored_ids(home, prefix))


def find(home: Home, reference: str) -> tuple[Recorded, Captured]:
    """One exchange as it was captured, and as it was understood; not noted: what it holds is not to be shown.

    Raises ExchangeNotFound or AmbiguousId if `reference` does not name one, and what `latest` raises.
    """
    prefix = _prefix(home, reference.strip().lower())
    waiting = {one.exchange.id: one for one in spooled(home) if one.exchange.id.startswith(prefix)}
    identifier = _only(prefix, waiting.keys() | _stored_ids(home, prefix))
    for _ in range(_TRIES):
        try:
            with opened(home) as connection:
                stored = exchanges.one(connection, identifier)
                places = bodies.candidates(connection, [identifier])
        except FileNotFoundError:
            stored, places = None, []
        if stored is None:
            return recorder(home)(waiting[identifier]), waiting[identifier]
        try:
            found = bodies.read(home, places, [identifier]) if stored.exchange.traced else {}
        except FileNotFoundError:
            continue  # merged into another file this moment
        return stored, Captured(stored.exchange, *found.get(identifier, (b"", b"")))
    raise ExchangeNotFound(
        f"the bodies of {identifier} are named in the database, and their file is gone",
        "Its usage record is still in `tracecli usage show --json`.",
    )


def spooled(home: Home) -> Iterator[Captured]:
    """What is in the spool, some of it perhaps stored too; read it before the store. Raises HomeError.

    It is not redacted there, so it is the owner's alone: who else may read sees it when it is stored.
    """
    if home.foreign:
        access.enter(home)
        return
    try:
        for segment in spool.segments(home.spool):
            try:
                found = list(spool.read(home, segment))
            except FileNotFoundError:  # ingested this moment: the database, which is read next, has it
                continue
            yield from (redacted(one) for one in found if not isinstance(one, Damage))
    except OSError as error:
        raise HomeError(
            f"cannot read the spool {home.spool}: {error.strerror}",
            "Make it readable, or name another home with TRACECLI_HOME.",
        ) from error


def recorder(home: Home) -> Callable[[Captured], Recorded]:
    """What understands, prices and flags an exchange of the spool, by the prices and rules that ingest will go by."""
    folder = config.policy_folder(home)

    @cache
    def held() -> tuple[Rules, PriceList]:
        return flag_files.load_some(folder)[0], price_file.load_or_say(folder)

    def recorded(captured: Captured) -> Recorded:
        rules, prices = held()
        return recorded_by(rules, captured, prices)

    return recorded


def _prefix(home: Home, reference: str) -> str:
    if reference == LAST:
        newest = max((one.exchange.id for one in spooled(home)), default="")
        with contextlib.suppress(FileNotFoundError), opened(home) as connection:
            newest = max(newest, exchanges.newest(connection) or "")
        if not newest:
            raise ExchangeNotFound("nothing is recorded yet", "Send a request through the proxy first.")
        return newest
    if not _PREFIX.fullmatch(reference):
        raise ExchangeNotFound(f"{reference!r} is not an id", "Give an id, the beginning of one, or `last`.")
    return reference


def _stored_ids(home: Home, prefix: str) -> set[str]:
    try:
        with opened(home) as connection:
            found = exchanges.between(connection, *_bounds(prefix))
    except FileNotFoundError:
        return set()
    return {identifier for identifier in found if identifier.startswith(prefix)}


def _only(prefix: str, matches: set[str]) -> str:
    if not matches:
        raise ExchangeNotFound(
            f"no recorded exchange has an id that begins with {prefix}", "See `tracecli usage show`."
        )
    if len(matches) > 1:
        some = ", ".join(sorted(matches, reverse=True)[:3])
        raise AmbiguousId(f"more than one id begins with {prefix}: {some}, ...", "Give more of the id.")
    return matches.pop()


def _bounds(prefix: str) -> tuple[str, str]:
    """The smallest and the largest UUID that begins with `prefix`."""
    digits = prefix.replace("-", "")[:32]
    return digits.ljust(32, "0"), digits.ljust(32, "f")


def opened_of(recorded: Recorded, captured: Captured) -> Opened:
    """An exchange with its content, as it is shown."""
    exchange = recorded.exchange
    input_messages: list[Message] = []
    output_messages: list[Message] = []
    completion = None
    if exchange.traced:
        understanding, _ = understand(exchange, captured.request_body, captured.response_body)
        input_messages, output_messages = understanding.input_messages, understanding.output_messages
        completion = understanding.completion
    default = {"https": 443, "http": 80}.get(exchange.scheme)
    port = "" if exchange.port == default else f":{exchange.port}"
    return Opened(
        row=recorded.row,
        url=f"{exchange.scheme}://{exchange.host}{port}{exchange.path}",
        http_version=exchange.http_version,
        lane=exchange.lane,
        reason=exchange.reason,
        cost_detail=recorded.cost_detail,
        request=_body(exchange.request_headers, captured.request_body, exchange.request_cut),
        response=_body(exchange.response_headers, captured.response_body, exchange.response_cut),
        input_messages=input_messages,
        output_messages=output_messages,
        completion=completion,
        cache_detail=exchange.cache_detail,
        connect_ms=exchange.connect_ms,
        request_id=request_id(exchange.response_headers),
        rate_limits=rate_limits(exchange.response_headers),
    )


def _body(headers: Headers, raw: bytes, cut: bool) -> Body:
    """A body for reading: its content encoding taken off, as far as that goes."""
    encoding = next((value for name, value in headers if name.lower() == "content-encoding"), None)
    plain, error = decode(encoding, raw)
    return Body(headers, raw if error and not plain else plain, cut)
