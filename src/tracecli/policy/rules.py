"""What a policy says and which one applies. Pure.

The files, each a TOML table:

    default.toml       applies to whoever has nothing else: the keys of `PolicyFile`
    NAME.toml          a named policy, for assigning: the keys of `PolicyFile`
    users/USER.toml    one user: the keys of `UserFile`; the file name is the user, percent-encoded where needed

Precedence: single settings of the user's own file, then the policy assigned to the user, then default.
"""

from __future__ import annotations

import difflib
from typing import Any

import msgspec

DEFAULT = "default"
MAX_BODY_BYTES = 20_000_000


class PolicyFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The keys of a policy file."""

    description: str = ""
    """For people; not used."""
    tracing: bool = True
    """Record requests and answers with their content. Off: a usage record without content is kept."""
    metering: bool = True
    """With tracing off: keep a usage record (who, model, tokens, cost, times). Off: record nothing."""
    max_body_bytes: int = MAX_BODY_BYTES
    """Of a larger body only the beginning is recorded, and marked; it passes whole."""


class UserFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The keys of a user file: an assigned policy, and settings that override it."""

    description: str = ""
    """For people; not used."""
    policy: str = DEFAULT
    """The name of the policy that is assigned to the user."""
    tracing: bool | None = None
    """Overrides `tracing` of the policy."""
    metering: bool | None = None
    """Overrides `metering` of the policy."""
    max_body_bytes: int | None = None
    """Overrides `max_body_bytes` of the policy."""


class Decision(msgspec.Struct, frozen=True):
    """What applies to one request; `reason` names the rule that won."""

    policy: str
    reason: str
    tracing: bool
    metering: bool
    max_body_bytes: int


class PolicySet:
    """All policies of one moment. Decisions are made once per user and remembered: the set never changes."""

    def __init__(self, policies: dict[str, PolicyFile], users: dict[str, UserFile]) -> None:
        self.policies = policies
        self.users = users
        self._default = self._decide(DEFAULT, UserFile(), "default: no rule for this user")
        self._decided = {
            user: self._decide(file.policy, file, f"users/{user}: assigned {file.policy}{_overrides(file)}")
            for user, file in users.items()
        }

    def decide(self, user: str) -> Decision:
        """What applies to a new request of `user`."""
        return self._decided.get(user, self._default)

    def _decide(self, name: str, own: UserFile, reason: str) -> Decision:
        policy = self.policies[name]
        return Decision(
            policy=name,
            reason=reason,
            tracing=policy.tracing if own.tracing is None else own.tracing,
            metering=policy.metering if own.metering is None else own.metering,
            max_body_bytes=policy.max_body_bytes if own.max_body_bytes is None else own.max_body_bytes,
        )


def _overrides(file: UserFile) -> str:
    own = [
        f"{key} = {value}"
        for key in ("tracing", "metering", "max_body_bytes")
        if (value := getattr(file, key)) is not None
    ]
    return f" with {', '.join(own).lower()}" if own else ""


def parse[T: (PolicyFile, UserFile)](values: dict[str, Any], kind: type[T]) -> T:
    """The TOML values of one file as `kind`.

    Raises ValueError with the key and what it should be.
    """
    known = kind.__struct_fields__
    for key in values:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            meant = f"did you mean `{near[0]}`?" if near else f"the keys are: {', '.join(known)}"
            raise ValueError(f"key `{key}` is unknown: {meant}")
    for key, value in values.items():
        try:
            msgspec.convert({key: value}, kind)
        except msgspec.ValidationError as error:
            raise ValueError(f"key `{key}`: {str(error).partition(' - at ')[0]}") from error
    parsed = msgspec.convert(values, kind)
    if parsed.max_body_bytes is not None and parsed.max_body_bytes < 0:
        raise ValueError("key `max_body_bytes`: must be 0 or more")
    return parsed
