"""What a policy says, and which one applies to a request. Pure: the clock is passed in.

The files, each a TOML table:

    default.toml       applies to whoever has nothing else: the keys of `PolicyFile` and of `Settings`
    NAME.toml          a named policy, for assigning, or for requests whose headers match: the same keys
    users/USER.toml    one user: the keys of `UserFile` and of `Settings`; the file name is the user, percent-encoded,
                       unless the file says `user` itself

Which policy: the user's temporary one while it lasts, then one whose `match` fits the request's headers, then the one
assigned to the user, then default. On top of it, while they last, the settings in the user's own file.
"""

from __future__ import annotations

import datetime as dt
import difflib
import fnmatch
import re
import typing
from collections.abc import Generator, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, Literal

import msgspec

from tracecli.exchange import Headers
from tracecli.when import duration

DEFAULT = "default"
MAX_BODY_BYTES = 20_000_000
_LONGEST = dt.timedelta(days=365_000)
"""Added to now, it is a date still."""

_PATTERN_NAME = re.compile(r"[A-Za-z0-9_ -]{1,40}")

type Values = Mapping[str, Any]
"""A TOML table."""
type Kind = Literal["email", "phone", "payment_card", "iban", "ip_address", "national_id", "secrets"]
type Scope = Literal["user", "credential", "policy", "shared"]


class Cache(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[cache]`: answering identical requests without asking the provider again. Needs `tracing`."""

    mode: Literal["off", "on", "read-only", "write-only"] = "off"
    """`on`, `read-only` (answer from the cache, store nothing), `write-only` (store, ask the provider all the same)."""
    ttl: str = "7d"
    """For how long an answer may be given again: `30s`, `15m`, `2h`, `7d`."""
    scope: Scope = "user"
    """Who shares answers: `user` (and the same credential), `credential`, `policy` (all under it), `shared` (all)."""
    max_entry_bytes: int = 5_000_000
    """A larger answer is not stored."""
    only_deterministic: bool = False
    """Only requests with temperature 0 or a seed."""
    max_bytes: int = 1_000_000_000
    """Of the whole cache of this machine; what was used longest ago goes first. In `default.toml` alone."""

    @property
    def reads(self) -> bool:
        """Whether an answer may come from the cache."""
        return self.mode in ("on", "read-only")

    @property
    def writes(self) -> bool:
        """Whether an answer may be stored."""
        return self.mode in ("on", "write-only")

    @property
    def ttl_s(self) -> float:
        """`ttl` in seconds."""
        return duration(self.ttl).total_seconds()


class Retention(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[retention]`: for how long a record is kept."""

    content: str = "forever"
    """Prompts, completions, bodies: `30d`, `12h`, or `forever`. Then the usage record remains."""
    metadata: str = "forever"
    """The usage record; what is left of the content goes with it."""
    max_content_bytes: int = 0
    """Of all bodies recorded under the policy, as they passed; the oldest content goes first. 0: no limit. In a user's
    file it is of that user's, who then does not count for the policy."""
    max_records: int = 0
    """Of all usage records in the same way."""
    max_spool_bytes: int = 10_000_000_000
    """Of what waits to be loaded, on this machine. Beyond it requests are recorded without content; beyond a quarter
    more not at all. In `default.toml` alone."""

    @property
    def content_s(self) -> float | None:
        """Seconds; None is for ever. Never longer than the metadata."""
        kept = [seconds for seconds in (_seconds(self.content), _seconds(self.metadata)) if seconds is not None]
        return min(kept, default=None)

    @property
    def metadata_s(self) -> float | None:
        """Seconds; None is for ever."""
        return _seconds(self.metadata)


def _whole(word: str) -> str:
    """A word by itself; RE2 knows borders of ASCII words alone."""
    before, after = (r"\b" if re.match(r"\w", end, re.ASCII) else "" for end in (word[0], word[-1]))
    return f"{before}{re.escape(word)}{after}"


class Redaction(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[redaction]`: what is taken out of bodies before they are stored; a marker such as `[REDACTED:email]` stays.

    Keys, tokens and passwords (`secrets`) go always.
    """

    kinds: list[Kind] = []
    """Any of `email`, `phone`, `payment_card`, `iban`, `ip_address`, `national_id`, `secrets` (keys, passwords)."""
    words: list[str] = []
    """Names, for instance, of people or projects: as whole words, in any case. Their marker is `[REDACTED:name]`."""
    patterns: dict[str, str] = {}
    """Your own: a name, which the marker shows, and a regular expression of RE2."""

    @property
    def expressions(self) -> dict[str, str]:
        """The patterns, with one for the words."""
        words = "|".join(map(_whole, sorted(self.words, key=lambda word: (-len(word), word))))
        return self.patterns | ({"name": f"(?i){words}"} if words else {})

    @property
    def anything(self) -> bool:
        """Whether it names anything beside secrets, which are always taken out."""
        return bool(self.kinds or self.words or self.patterns)


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a policy decides."""

    tracing: bool = True
    """Record requests and answers with their content. Off: a usage record without content is kept."""
    metering: bool = True
    """With tracing off: keep a usage record (who, model, tokens, cost, times). Off: record nothing."""
    sampling: float = 1.0
    """The share of requests recorded with content, 0 to 1; whole sessions where the client names them."""
    operations: list[str] = []
    """Trace these operations alone, as `chat`, `embeddings`; others are metered. Empty: all."""
    models: list[str] = []
    """Trace these models alone, with `*` and `?`, as `gpt-4*`; others are metered. Empty: all."""
    max_body_bytes: int = MAX_BODY_BYTES
    """Of a larger body only the beginning is recorded, and marked; it passes whole."""
    notice_header: bool = False
    """Tell the client in each answer that it is recorded: `X-Tracecli-Recorded`."""
    client_may_opt_out: bool = False
    """Whether a client may send `X-Tracecli-Trace: off` to keep a request's content out of the record."""
    on_record_failure: Literal["pass", "refuse"] = "pass"
    """When recording is impossible (disk full): let requests pass unrecorded, or refuse them with status 503."""
    cache: Cache = Cache()
    """See `[cache]`."""
    retention: Retention = Retention()
    """See `[retention]`."""
    redaction: Redaction = Redaction()
    """See `[redaction]`."""


class PolicyFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The keys of a policy file beside its settings."""

    description: str = ""
    """For people."""
    extends: str = ""
    """The policy whose settings hold where this one says nothing; else the values above do."""
    match: dict[str, str] = {}
    """`[match]`: header names and values, with `*` and `?`. The policy applies where all of them fit the request."""


class UserFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The keys of a user file beside settings of the user's own."""

    user: str = ""
    """Whose file this is, where the file's name does not say it."""
    description: str = ""
    """For people."""
    policy: str = DEFAULT
    """The name of the policy that is assigned to the user."""
    temporary_policy: str = ""
    """A policy that goes before all others until `expires_at`."""
    expires_at: dt.datetime | None = None
    """When the temporary policy and the settings in this file end, as `2026-12-01T12:00:00Z`."""
    credentials: list[str] = []
    """Whose requests these are: fingerprints (`key:...`) or `proxy` for the proxy's password. A user header is believed
    only beside one of them. Empty: always."""


class Decision(msgspec.Struct, frozen=True):
    """What applies to one request; `reason` names the rule that won."""

    policy: str
    reason: str
    settings: Settings
    changes_at: float | None = None
    """Unix time at which it will change by itself."""
    no_cache: str | None = None
    """Why the cache is off although it is asked for."""

    @property
    def tracing(self) -> bool:
        """Record with content."""
        return self.settings.tracing

    @property
    def metering(self) -> bool:
        """Keep a usage record."""
        return self.settings.metering

    @property
    def max_body_bytes(self) -> int:
        """Of each body."""
        return self.settings.max_body_bytes


class Rule(msgspec.Struct, frozen=True):
    """One rule that was looked at, for `policy explain`."""

    rule: str
    """`temporary`, `match`, `assigned`, `default`, or `own settings`."""
    policy: str | None
    fits: bool
    """It could apply; the first that fits wins, but own settings come on top."""
    holds: bool
    """It has its say."""
    why: str


class _Policy(msgspec.Struct, frozen=True):
    about: PolicyFile
    values: dict[str, Any]
    """Of its settings, those of the policies that it extends included."""
    settings: Settings


class _User(msgspec.Struct, frozen=True):
    table: Values
    about: UserFile
    values: dict[str, Any]
    """The settings of the user's own."""
    expires_at: float | None


class PolicySet:
    """All policies of one moment; it never changes."""

    def __init__(
        self, policies: Mapping[str, Values], users: Mapping[str, Values], previous: PolicySet | None = None
    ) -> None:
        """Raises PolicyError for a value that is wrong, and for a policy that is named and does not exist.

        A user's table that is the very object that `previous` was made of is not checked again.
        """
        read = {name: _read(f"{name}.toml", values, PolicyFile) for name, values in policies.items()}
        if DEFAULT not in read:
            raise PolicyError("default.toml", "", "does not exist")
        self.policies = {name: _resolve(name, read) for name in read}
        known: Mapping[str, _User] = previous.users if previous else {}
        self.users: dict[str, _User] = {
            user: _user(user, values, read, known.get(user)) for user, values in users.items()
        }
        matching = [(name, policy.about.match) for name, policy in self.policies.items() if policy.about.match]
        self.matching = [
            (name, {header.lower(): value for header, value in match.items()})
            for name, match in sorted(matching, key=lambda one: (-len(one[1]), one[0]))
        ]
        """Policies with the headers that they match, in the order in which they are asked."""
        self._matching = [
            (name, {header: _glob(value) for header, value in match.items()}) for name, match in self.matching
        ]
        self.uses_cache = any(policy.settings.cache.mode != "off" for policy in self.policies.values()) or any(
            own.values.get("cache", {}).get("mode", "off") != "off" for own in self.users.values()
        )
        """Whether anybody's requests may be answered from the cache, or stored there."""
        self._made: dict[tuple[str, str, str | None, bool], Decision] = {}

    def decide(self, user: str, headers: Headers, now: float, asked: str | None = None) -> Decision:
        """What applies to a new request of `user` at the Unix time `now`.

        `asked` is the policy that `tracecli run` was given for it; one that there is not, any more, has no say.
        """
        own = self.users.get(user)
        lasting = own is not None and (own.expires_at is None or now < own.expires_at)
        if asked in self.policies:
            base, rule = asked, "asked"
        else:
            base, rule = self._base(user, own, headers, lasting)
        key = base, rule, user if own else None, lasting
        made = self._made.get(key)
        if made is None:
            made = self._made[key] = self._decision(base, rule, user, own, lasting)
        return made

    def explain(self, user: str, headers: Headers, now: float) -> list[Rule]:
        """Every rule in the order of precedence, and whether it had its say."""
        own = self.users.get(user)
        lasting = own is not None and (own.expires_at is None or now < own.expires_at)
        _, winner = self._base(user, own, headers, lasting)
        return list(self._rules(user, own, headers, lasting, winner))

    def bound_to(self, user: str) -> list[str]:
        """The credentials that a user header naming this user must come with; empty: none."""
        own = self.users.get(user)
        return own.about.credentials if own else []

    def _base(self, user: str, own: _User | None, headers: Headers, lasting: bool) -> tuple[str, str]:
        if own and lasting and own.about.temporary_policy:
            return own.about.temporary_policy, "temporary"
        if self._matching and (fits := self._match(headers)):
            return fits, "match"
        if own and own.about.policy != DEFAULT:
            return own.about.policy, "assigned"
        return DEFAULT, "default"

    def _match(self, headers: Headers) -> str | None:
        return next(self._fitting(headers), None)

    def _fitting(self, headers: Headers) -> Iterator[str]:
        values: dict[str, list[str]] = {}
        for name, value in headers:
            values.setdefault(name.lower(), []).append(value.strip())
        for policy, wanted in self._matching:
            if all(any(glob.fullmatch(value) for value in values.get(name, ())) for name, glob in wanted.items()):
                yield policy

    def _decision(self, base: str, rule: str, user: str, own: _User | None, lasting: bool) -> Decision:
        policy = self.policies[base]
        reason = {
            "asked": f"{base}: asked for by tracecli run",
            "temporary": f"users/{user}: temporary {base}",
            "match": f"{base}: the request's headers match",
            "assigned": f"users/{user}: assigned {base}",
            "default": "default: no other rule for this request",
        }[rule]
        values, changes_at = policy.values, None
        if own and lasting:
            values = _merged(values, own.values)
            if own.values:
                reason += f" with {', '.join(_flat(own.values))} of users/{user}"
            if own.expires_at is not None and (own.values or rule == "temporary"):
                changes_at = own.expires_at
                reason += f" until {shown(own.expires_at)}"
        settings = msgspec.convert(values, Settings)
        conflict = without_cache(settings) if settings.cache.mode != "off" else None
        if conflict:
            settings = msgspec.structs.replace(settings, cache=msgspec.structs.replace(settings.cache, mode="off"))
            reason += f"; no cache: {conflict}"
        return Decision(base, reason, settings, changes_at, conflict)

    def _rules(self, user: str, own: _User | None, headers: Headers, lasting: bool, winner: str) -> Iterator[Rule]:
        ended = f"expired at {shown(own.expires_at)}" if own and own.expires_at is not None and not lasting else ""
        until = f", until {shown(own.expires_at)}" if own and own.expires_at is not None and lasting else ""
        if own and own.about.temporary_policy:
            why = ended or f"named in users/{user}{until}"
            yield Rule("temporary", own.about.temporary_policy, lasting, winner == "temporary", why)
        fitting = list(self._fitting(headers))
        for name, wanted in self._matching:
            fits, header = name in fitting, ", ".join(wanted)
            why = f"its headers fit: {header}" if fits else f"a header it asks for does not fit: {header}"
            yield Rule("match", name, fits, winner == "match" and name == fitting[0], why)
        if own and own.about.policy != DEFAULT:
            yield Rule("assigned", own.about.policy, True, winner == "assigned", f"assigned in users/{user}")
        yield Rule("default", DEFAULT, True, winner == "default", "applies to whoever has nothing else")
        if own and own.values:
            yield Rule("own settings", None, lasting, lasting, ended or f"{', '.join(_flat(own.values))}{until}")


class PolicyError(ValueError):
    """A policy file is wrong: `file` relative to the folder, dotted `key` (empty: the file), and what is wrong."""

    def __init__(self, file: str, key: str, problem: str) -> None:
        super().__init__(f"{file}: {f'key `{key}`: ' if key else ''}{problem}")
        self.file, self.key, self.problem = file, key, problem


def check[T: (PolicyFile, UserFile)](file: str, values: Values, kind: type[T]) -> None:
    """Raises PolicyError if the table of one file is wrong in itself, whatever the other files say."""
    _read(file, values, kind)


def problems(policies: Mapping[str, Values], users: Mapping[str, Values]) -> Iterator[PolicyError]:
    """Everything that is wrong, where `PolicySet` raises the first."""
    read: dict[str, tuple[PolicyFile, dict[str, Any]]] = {}
    for name, values in policies.items():
        good = yield from wrong_keys(f"{name}.toml", values, PolicyFile)
        read[name] = _read(f"{name}.toml", good, PolicyFile)
    if DEFAULT not in read:
        yield PolicyError("default.toml", "", "does not exist")
    for name in read:
        try:
            _resolve(name, read)
        except PolicyError as error:
            if error.file == f"{name}.toml":  # else it is said of that file
                yield error
    for user, values in users.items():
        good = yield from wrong_keys(f"users/{user}.toml", values, UserFile)
        for key in ("policy", "temporary_policy"):
            if named := good.get(key):
                try:
                    _named(user, key, named, read)
                except PolicyError as error:
                    yield error


def wrong_keys[T: (PolicyFile, UserFile)](
    file: str, values: Values, kind: type[T]
) -> Generator[PolicyError, None, Values]:
    """Everything that is wrong with one table in itself; returns it without that."""
    good = dict(values)
    while True:
        try:
            _read(file, good, kind)
        except PolicyError as error:
            yield error
            name, _, inner = (error.key, "", "") if error.key in good else error.key.partition(".")
            table = good.pop(name)
            if isinstance(table, Mapping) and inner in table:
                good[name] = {key: value for key, value in table.items() if key != inner}
        else:
            return good


def _read[T: (PolicyFile, UserFile)](file: str, values: Values, kind: type[T]) -> tuple[T, dict[str, Any]]:
    """The table of a file as what it says about itself, and its settings."""
    fields: tuple[str, ...] = kind.__struct_fields__
    about = {key: value for key, value in values.items() if key in fields}
    own = {key: value for key, value in values.items() if key not in about}
    known = (*fields, *Settings.__struct_fields__)
    check_table(file, about, kind, known)
    check_table(file, own, Settings, known)
    settings = msgspec.convert(own, Settings)
    parsed = msgspec.convert(about, kind)
    _check_values(file, own, settings)
    if isinstance(parsed, UserFile):
        _check_user(file, parsed)
    else:
        _check_match(file, parsed)
    if "tracing" in own and "mode" in own.get("cache", {}) and settings.cache.mode != "off" and not settings.tracing:
        raise PolicyError(
            file, "cache.mode", 'the cache needs tracing: set `tracing = true`, or `mode = "off"` under [cache]'
        )
    return parsed, own


def check_table(file: str, values: Values, kind: type[msgspec.Struct], known: Sequence[str], prefix: str = "") -> None:
    """Raises PolicyError for a key that is not among the known ones, or whose value is not of the type that it has."""
    for field in values:
        if field not in known:
            raise PolicyError(file, prefix + field, f"is unknown{meant(field, known, 'keys', prefix)}")
    for name, table in _tables(kind):
        if isinstance(inner := values.get(name), Mapping):
            check_table(file, inner, table, table.__struct_fields__, f"{prefix}{name}.")
    for field, value in values.items():
        try:
            msgspec.convert({field: value}, kind)
        except msgspec.ValidationError as error:
            said = str(error).partition(" - at ")[0].replace(" | null", "")
            raise PolicyError(file, prefix + field, said) from error


def meant(typed: str, known: Sequence[str], what: str, prefix: str = "") -> str:
    """What may have been meant, to stand behind what is wrong; where nothing is near, all there is."""
    near = difflib.get_close_matches(typed, known, n=1)
    return f" (did you mean `{prefix}{near[0]}`?)" if near else f"; the {what} are: {', '.join(known)}"


@lru_cache
def _tables(kind: type[msgspec.Struct]) -> list[tuple[str, type[msgspec.Struct]]]:
    """The keys that hold tables of their own."""
    hints = typing.get_type_hints(kind).items()
    return [(name, hint) for name, hint in hints if isinstance(hint, type) and issubclass(hint, msgspec.Struct)]


def _check_values(file: str, own: Values, settings: Settings) -> None:
    cache = settings.cache
    if file != "default.toml" and "max_bytes" in own.get("cache", {}):
        raise PolicyError(file, "cache.max_bytes", "the cache is one for all policies: set it in default.toml")
    if file != "default.toml" and "max_spool_bytes" in own.get("retention", {}):
        raise PolicyError(
            file, "retention.max_spool_bytes", "the spool is one for all policies: set it in default.toml"
        )
    if not 0 <= settings.sampling <= 1:
        raise PolicyError(file, "sampling", "must be between 0 and 1")
    for key, number in (
        ("max_body_bytes", settings.max_body_bytes),
        ("cache.max_entry_bytes", cache.max_entry_bytes),
        ("cache.max_bytes", cache.max_bytes),
    ):
        if not 0 <= number < 1 << 62:
            raise PolicyError(file, key, "must be 0 or more, and not enormous")
    for key, text in (
        ("cache.ttl", cache.ttl),
        ("retention.content", settings.retention.content),
        ("retention.metadata", settings.retention.metadata),
    ):
        if key != "cache.ttl" and text == "forever":
            continue
        try:
            length = duration(text)
        except ValueError as error:
            raise PolicyError(file, key, str(error)) from error
        if length <= dt.timedelta(0):
            raise PolicyError(file, key, "must be more than nothing")
        if length > _LONGEST:
            raise PolicyError(file, key, "must be less than a thousand years")
    for key in ("max_content_bytes", "max_records", "max_spool_bytes"):
        if getattr(settings.retention, key) < 0:
            raise PolicyError(file, f"retention.{key}", "must be 0, for no limit, or more")
    for name, pattern in settings.redaction.patterns.items():
        _check_pattern(file, name, pattern)
    if not all(word.strip() for word in settings.redaction.words):
        raise PolicyError(file, "redaction.words", "has an empty word")


def _check_pattern(file: str, name: str, pattern: str) -> None:
    key = f"redaction.patterns.{name}"
    if not _PATTERN_NAME.fullmatch(name):
        raise PolicyError(file, key, "its name may have letters, digits, spaces, _ and -")
    if problem := pattern_problem(pattern):
        raise PolicyError(file, key, f"is no regular expression of RE2: {problem}")


def pattern_problem(pattern: str) -> str | None:
    """Why RE2 does not take a regular expression; None: it does."""
    import re2  # type: ignore[import-untyped]  # 20 ms that only who has patterns pays

    options = re2.Options()
    options.log_errors = False
    try:
        re2.compile(pattern, options)
    except re2.error as error:
        told = error.args[0] if error.args else error
        return told.decode("utf-8", "replace") if isinstance(told, bytes) else str(told)
    return None


def _check_match(file: str, about: PolicyFile) -> None:
    seen: set[str] = set()
    for header in about.match:
        if header.lower() in seen:
            raise PolicyError(file, f"match.{header}", "is there twice: the case of a header's name means nothing")
        seen.add(header.lower())


def _check_user(file: str, about: UserFile) -> None:
    if about.expires_at is not None:
        if about.expires_at.tzinfo is None:
            raise PolicyError(file, "expires_at", "needs an offset or a Z at its end, as 2026-12-01T12:00:00Z")
        try:
            about.expires_at.astimezone(dt.UTC)
        except OverflowError as error:
            raise PolicyError(file, "expires_at", "is before the year 1 or after 9999") from error
    if about.temporary_policy and about.expires_at is None:
        raise PolicyError(file, "temporary_policy", "needs `expires_at`; a policy that stays is assigned with `policy`")
    for one in about.credentials:
        if one != "proxy" and not re.fullmatch(r"key:[0-9a-f]{16}", one):
            raise PolicyError(
                file, "credentials", f"{one!r} is neither a fingerprint (`key:` and 16 digits) nor `proxy`"
            )


def _resolve(name: str, read: Mapping[str, tuple[PolicyFile, dict[str, Any]]]) -> _Policy:
    about, values = read[name]
    chain = [name]
    while extends := read[chain[-1]][0].extends:
        if extends not in read:
            raise PolicyError(f"{chain[-1]}.toml", "extends", f"there is no policy {extends!r}{_choice(read)}")
        if extends in chain:
            raise PolicyError(f"{name}.toml", "extends", f"goes round in a circle: {' -> '.join([*chain, extends])}")
        values = _merged(read[extends][1], values)
        chain.append(extends)
    return _Policy(about, values, msgspec.convert(values, Settings))


def _user(user: str, values: Values, policies: Mapping[str, object], known: _User | None) -> _User:
    if known is None or known.table is not values:
        about, own = _read(f"users/{user}.toml", values, UserFile)
        known = _User(values, about, own, about.expires_at.timestamp() if about.expires_at else None)
    _named(user, "policy", known.about.policy, policies)
    if known.about.temporary_policy:
        _named(user, "temporary_policy", known.about.temporary_policy, policies)
    return known


def _named(user: str, key: str, name: str, policies: Mapping[str, object]) -> None:
    if name not in policies:
        raise PolicyError(f"users/{user}.toml", key, f"there is no policy {name!r}{_choice(policies)}")


def _choice(policies: Mapping[str, object]) -> str:
    return f"; name one of: {', '.join(sorted(policies))}"


def _merged(below: Values, above: Values) -> dict[str, Any]:
    """Two tables, what the second says going before; tables in them are merged, except `redaction.patterns`."""
    merged = dict(below)
    for key, value in above.items():
        inner = merged.get(key)
        both = isinstance(value, Mapping) and isinstance(inner, Mapping) and key != "patterns"
        merged[key] = _merged(inner, value) if both and inner is not None else value
    return merged


def without_cache(settings: Settings) -> str | None:
    """Why the cache stays off whatever its mode says."""
    if not settings.tracing:
        return "tracing is off"
    if settings.redaction.anything:
        return "redaction would have to change what the cache gives back"
    return None


def _flat(values: Values, prefix: str = "") -> list[str]:
    """Settings as people read them: `tracing = false`, `cache.mode = on`."""
    shown = []
    for key, value in values.items():
        if isinstance(value, Mapping):
            shown += _flat(value, f"{prefix}{key}.")
        else:
            shown.append(f"{prefix}{key} = {str(value).lower() if isinstance(value, bool) else value}")
    return shown


def shown(moment: float) -> str:
    """A Unix time as the files have it."""
    return dt.datetime.fromtimestamp(moment, dt.UTC).isoformat().replace("+00:00", "Z")


def _seconds(text: str) -> float | None:
    return None if text == "forever" else duration(text).total_seconds()


@lru_cache(maxsize=1024)
def _glob(pattern: str) -> re.Pattern[str]:
    return re.compile(fnmatch.translate(pattern), re.IGNORECASE)


def names_one_of(text: str, patterns: Sequence[str]) -> bool:
    """Whether a text fits one of the patterns, with `*` and `?`, whatever the case."""
    return any(_glob(pattern).fullmatch(text) for pattern in patterns)
