"""Taking personal data and secrets out of bodies before they are stored, by policy. Pure.

In bodies of JSON, streams of it included, only texts are looked at: keys, numbers and the framing stay byte for byte. A
value that a stream brought in pieces is found too: the texts at one place in successive events are read as one. Other
texts are looked at as a whole. What is found leaves a marker, as `[REDACTED:email]`.

What cannot be looked into (binary frames, broken encodings) is not let through: `Redacted.body` is None.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import re2  # type: ignore[import-untyped]

from tracecli.wire.encodings import decode

MAX_TEXT = 64 << 20

# Each is matched in linear time: bounded repeats, no two that can take the same text.
KINDS = {
    # https://www.rfc-editor.org/rfc/rfc5321 (64 octets before the @), without quoted forms
    "email": r"\b[A-Za-z0-9._%+-]{1,64}@(?:[A-Za-z0-9-]{1,63}\.){1,8}[A-Za-z]{2,24}\b",
    # International, or North American with separators
    "phone": r"(?:\+[1-9][0-9]{0,2}[ .-]?(?:\([0-9]{1,4}\)[ .-]?)?[0-9]{2,4}(?:[ .-]?[0-9]{2,4}){1,4}"
    r"|\(?\b[2-9][0-9]{2}\)?[ .-][2-9][0-9]{2}[ .-][0-9]{4})\b",
    # https://www.iso.org/standard/70484.html: 12 to 19 digits with a check digit
    "payment_card": r"\b[3-6][0-9]{3}(?:[ -]?[0-9]{2,6}){2,4}\b",
    # https://www.swift.com/resource/iban-registry-pdf
    "iban": r"\b[A-Z]{2}[0-9]{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?\b",
    "ip_address": r"\b(?:(?:25[0-5]|2[0-4][0-9]|1?[0-9]?[0-9])\.){3}(?:25[0-5]|2[0-4][0-9]|1?[0-9]?[0-9])\b",
    # https://www.ssa.gov/employer/randomization.html
    "national_id": r"\b[0-8][0-9]{2}-[0-9]{2}-[0-9]{4}\b",
    # Keys as their providers write them; tokens of JSON (RFC 7519); private keys (RFC 7468); passwords in URLs
    "secrets": r"\bsk-(?:proj-|ant-|or-v1-|svcacct-)?[A-Za-z0-9_-]{20,200}|\bAIza[A-Za-z0-9_-]{35}"
    r"|\b(?:AKIA|ASIA)[A-Z0-9]{16}\b|\bgsk_[A-Za-z0-9]{40,80}|\bxai-[A-Za-z0-9]{40,120}|\bhf_[A-Za-z0-9]{30,60}"
    r"|\bgh[pousr]_[A-Za-z0-9]{36,255}|\bgithub_pat_[A-Za-z0-9_]{40,255}|\bxox[abeoprs]-[A-Za-z0-9-]{10,250}"
    r"|\b[rs]k_live_[A-Za-z0-9]{20,120}|\bpplx-[A-Za-z0-9]{40,60}"
    r"|\beyJ[A-Za-z0-9_-]{10,1000}\.eyJ[A-Za-z0-9_-]{10,1000}\.[A-Za-z0-9_-]{10,1000}"
    r"|-----BEGIN [A-Z ]{0,30}PRIVATE KEY-----[A-Za-z0-9+/=\s]{1,1000}(?:-----END [A-Z ]{0,30}PRIVATE KEY-----)?"
    r"|\b[a-z][a-z0-9+.-]{1,20}://[^\s:/@\"]{1,100}:[^\s/@\"]{1,200}@[A-Za-z0-9.-]{1,253}",
}
"""What is recognised, and the expression of RE2 that finds what may be it."""
# Media and what providers encrypt: no text, however it looks.
_BLOB = re.compile(r"(?:data:[a-z0-9/+.;=-]{1,100},)?[A-Za-z0-9+/=_-]{512}")


class _Found(Protocol):
    """A match of either engine."""

    def start(self) -> int: ...
    def end(self) -> int: ...
    def group(self) -> str: ...


class _Pattern(Protocol):
    def finditer(self, text: str) -> Iterator[_Found]: ...


@dataclass(frozen=True)
class Rules:
    """What to take out: names, and the patterns they stand for."""

    patterns: tuple[tuple[str, _Pattern], ...]


@dataclass
class Redacted:
    """A body that may be stored. `body` is None where it could not be looked into; where nothing was found it is the
    very one that was given, and `changed` is false. A changed one has no content encoding any more."""

    body: bytes | None
    changed: bool = False
    found: Counter[str] = field(default_factory=Counter)


def rules(kinds: Sequence[str], patterns: Mapping[str, str]) -> Rules:
    """The rules of a policy. Raises ValueError, one sentence, for an unknown kind or a pattern that cannot be used."""
    made: list[tuple[str, _Pattern]] = []
    for kind in kinds:
        if kind not in KINDS:
            raise ValueError(f"there is no kind {kind!r}; name one of: {', '.join(KINDS)}")
        made.append((kind, _compiled(KINDS[kind])))
    for name, pattern in patterns.items():
        try:
            made.append((name, _compiled(pattern)))
        except re2.error as error:
            raise ValueError(f"the pattern {name!r} cannot be used: {error}") from error
    return Rules(tuple(made))


def _compiled(pattern: str) -> _Pattern:
    options = re2.Options()
    options.log_errors = False
    compiled: _Pattern = re2.compile(pattern, options)
    return compiled


def redact(body: bytes, content_encoding: str | None, by: Rules) -> Redacted:
    """A body without what the rules name. Never raises."""
    if not body or not by.patterns:
        return Redacted(body)
    plain = body
    if content_encoding:
        plain, error = decode(content_encoding, body, MAX_TEXT)
        if error:
            return Redacted(None)
    try:
        text = plain.decode("utf-8")
    except UnicodeDecodeError:
        return Redacted(None)
    found: Counter[str] = Counter()
    changed = _json(text, by, found) if _STARTS.match(text) else _whole(text, by, found)
    if not found:
        return Redacted(body)
    return Redacted(changed.encode("utf-8", "surrogatepass"), True, found)


# What JSON, server-sent events and JSON text sequences begin with.
_STARTS = re.compile(r"[\s\ufeff\x1e]*(?:[\[{\"]|(?:data|event|id|retry)?:)")


def _whole(text: str, by: Rules, found: Counter[str]) -> str:
    for start, end, name in reversed(spans(text, by)):
        found[name] += 1
        text = f"{text[:start]}[REDACTED:{name}]{text[end:]}"
    return text


def spans(text: str, by: Rules) -> list[tuple[int, int, str]]:
    """Where something was found, in order and apart from each other; of two that overlap the first, then the longer."""
    found = []
    for name, pattern in by.patterns:
        check = _CHECKS.get(name)
        for match in pattern.finditer(text):
            if match.end() > match.start() and (check is None or check(match.group())):
                found.append((match.start(), match.end(), name))
    found.sort(key=lambda span: (span[0], -span[1]))
    apart: list[tuple[int, int, str]] = []
    for span in found:
        if not apart or span[0] >= apart[-1][1]:
            apart.append(span)
    return apart


def _luhn(text: str) -> bool:
    digits = [int(letter) for letter in text if letter.isdigit()]
    doubled = [sum(divmod(digit * 2, 10)) for digit in digits[-2::-2]]
    return 13 <= len(digits) <= 19 and (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0


def _mod_97(text: str) -> bool:
    """https://www.iso.org/standard/81090.html"""
    bare = text.replace(" ", "")
    if not 15 <= len(bare) <= 34:
        return False
    return int("".join(str(int(letter, 36)) for letter in bare[4:] + bare[:4])) % 97 == 1


_CHECKS = {"payment_card": _luhn, "iban": _mod_97}

# JSON

_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\]:,\n]', re.DOTALL)


@dataclass
class _Literal:
    """A text in a body: where its literal is, and what it says."""

    start: int
    end: int
    text: str
    pieces: list[tuple[int, int, str]] = field(default_factory=list)
    """Of its text, what is replaced by what."""


def _json(text: str, by: Rules, found: Counter[str]) -> str:
    """A body of JSON texts, one or many, whatever frames them."""
    places: dict[str, list[_Literal]] = {}
    for path, literal in _literals(text):
        places.setdefault(path, []).append(literal)
    changed: list[_Literal] = []
    for literals in places.values():
        joined = "".join(literal.text for literal in literals)
        there = spans(joined, by)
        if there:
            found.update(name for *_, name in there)
            changed += _cut(literals, there)
    for literal in sorted(changed, key=lambda one: one.start, reverse=True):
        said = literal.text
        for start, end, marker in reversed(literal.pieces):
            said = said[:start] + marker + said[end:]
        text = text[: literal.start] + json.dumps(said, ensure_ascii=False) + text[literal.end :]
    return text


def _cut(literals: list[_Literal], spans: list[tuple[int, int, str]]) -> list[_Literal]:
    """Spread what was found in joined texts over them: the marker goes where it begins."""
    touched: list[_Literal] = []
    offset = 0
    waiting = list(spans)
    for literal in literals:
        end = offset + len(literal.text)
        for start, stop, name in waiting:
            if start < end and stop > offset:
                marker = f"[REDACTED:{name}]" if start >= offset else ""
                literal.pieces.append((max(start, offset) - offset, min(stop, end) - offset, marker))
        waiting = [span for span in waiting if span[1] > end]
        if literal.pieces:
            touched.append(literal)
        offset = end
        if not waiting:
            break
    return touched


def _literals(text: str) -> Iterator[tuple[str, _Literal]]:
    """The texts of a body with their paths. Texts at one path are pieces of one, as a stream brings them."""
    stack: list[str] = []
    name = ""
    places: list[int] = []
    for token in _TOKEN.finditer(text):
        mark = token[0]
        if mark in "{[":
            stack.append(f"{mark}{name}" if mark == "{" else f"{mark}{name}#")
            places.append(0)
            name = ""
        elif mark in "}]":
            if stack:
                stack.pop()
                places.pop()
            name = ""
        elif mark == ",":
            name = ""
            if places:
                places[-1] += 1
        elif mark == "\n":
            if not stack:
                name = ""
        elif mark != ":":
            if stack and stack[-1][0] == "{" and text[token.end() : token.end() + 20].lstrip()[:1] == ":":
                name = mark
                continue
            inner = ".".join(part + str(place) * (part[0] == "[") for part, place in zip(stack, places, strict=True))
            try:
                said: Any = json.loads(mark)
            except ValueError:
                continue
            if not _BLOB.match(said):
                yield f"{inner}.{name}", _Literal(token.start(), token.end(), said)
            name = ""
