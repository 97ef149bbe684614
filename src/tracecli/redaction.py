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
from functools import lru_cache
from typing import Any, Protocol

import re2  # type: ignore[import-untyped]

from tracecli.wire.encodings import decode

MAX_TEXT = 64 << 20
MAX_PATHS = 100
ALWAYS = "secrets"
"""The kind that is taken out whatever a policy says."""

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
    "ip_address": r"\b(?:(?:25[0-5]|2[0-4][0-9]|1?[0-9]?[0-9])\.){3}(?:25[0-5]|2[0-4][0-9]|1?[0-9]?[0-9])\b"
    # RFC 4291, with at least three groups
    r"|\b(?:[0-9A-Fa-f]{1,4}:){7}[0-9A-Fa-f]{1,4}\b|\b(?:[0-9A-Fa-f]{1,4}:){2,6}(?::[0-9A-Fa-f]{1,4}){1,5}\b",
    # https://www.ssa.gov/employer/randomization.html; of the UK (national insurance), Spain (DNI, NIE), France (NIR),
    # Italy (codice fiscale) and Brazil (CPF), with their check digits where they have any
    "national_id": r"\b[0-8][0-9]{2}-[0-9]{2}-[0-9]{4}\b|\b[A-CEGHJ-PR-TW-Z]{2} ?[0-9]{2} ?[0-9]{2} ?[0-9]{2} ?[A-D]\b"
    r"|\b[0-9XYZ][0-9]{7}-?[A-HJ-NP-TV-Z]\b"
    r"|\b[12] ?[0-9]{2} ?[01][0-9] ?(?:[0-9]{2}|2[AB]) ?[0-9]{3} ?[0-9]{3} ?[0-9]{2}\b"
    r"|\b[A-Z]{6}[0-9]{2}[A-EHLMPRST][0-9]{2}[A-Z][0-9]{3}[A-Z]\b|\b[0-9]{3}\.[0-9]{3}\.[0-9]{3}-[0-9]{2}\b",
    # Keys as their providers write them; tokens of JSON (RFC 7519); private keys (RFC 7468); passwords in URLs
    "secrets": r"\bsk-(?:proj-|ant-|or-v1-|svcacct-)?[A-Za-z0-9_-]{20,200}|\bAIza[A-Za-z0-9_-]{35}"
    r"|\b(?:AKIA|ASIA)[A-Z0-9]{16}\b|\bgsk_[A-Za-z0-9]{40,80}|\bxai-[A-Za-z0-9]{40,120}|\bhf_[A-Za-z0-9]{30,60}"
    r"|\bgh[pousr]_[A-Za-z0-9]{36,255}|\bgithub_pat_[A-Za-z0-9_]{40,255}|\bxox[abeoprs]-[A-Za-z0-9-]{10,250}"
    r"|\b[rs]k_live_[A-Za-z0-9]{20,120}|\bpplx-[A-Za-z0-9]{40,60}|\br8_[A-Za-z0-9]{30,50}|\bfw_[A-Za-z0-9]{20,50}"
    r"|\bnpm_[A-Za-z0-9]{36}\b|\bglpat-[A-Za-z0-9_-]{20,60}|\bya29\.[A-Za-z0-9_-]{20,500}|\bdapi[a-f0-9]{32}\b"
    r"|\bSG\.[A-Za-z0-9_-]{16,32}\.[A-Za-z0-9_-]{16,64}|\bnvapi-[A-Za-z0-9_-]{40,100}|\bsk-lf-[a-f0-9-]{36}"
    # Keys without a form of their own: what is assigned to a name that says so, as in .env
    r"|\b[A-Z][A-Z0-9_]{0,60}(?:KEY|TOKEN|SECRET|PASSWORD)[\"']? ?[=:] ?[\"']?[A-Za-z0-9_+/.-]{16,200}"
    r"|\b[Bb]earer [A-Za-z0-9_.+/=-]{20,1000}"
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
    paths: list[str] = field(default_factory=list)
    """Where, as `messages[0].content: email`; of plain text only what. The first hundred."""


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
    paths: list[str] = []
    changed = _json(text, by, found, paths) if _STARTS.match(text) else _whole(text, by, found)
    if not found:
        return Redacted(body)
    return Redacted(changed.encode("utf-8", "surrogatepass"), True, found, paths[:MAX_PATHS] or sorted(found))


def redact_text(text: str, by: Rules) -> str:
    """A text without what the rules name."""
    return _whole(text, by, Counter())


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
        check, borders = _CHECKS.get(name), _BORDERS.get(name)
        for match in pattern.finditer(text):
            start, end = match.start(), match.end()
            if (
                end > start
                and (check is None or check(match.group()))
                and (borders is None or borders(text[max(0, start - 2) : start + 1], text[end : end + 2]))
            ):
                found.append((start, end, name))
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


_DNI = "TRWAGMYFPDXBNJZSQVHLCKE"


def _national(text: str) -> bool:
    """The check digits of those that have some."""
    bare = re.sub(r"[ .-]", "", text)
    if re.fullmatch(r"[0-9XYZ][0-9]{7}[A-Z]", bare):  # https://www.interior.gob.es: the number modulo 23
        return _DNI[int(bare[:8].translate(str.maketrans("XYZ", "012"))) % 23] == bare[8]
    if re.fullmatch(r"[12][0-9AB]{14}", bare):  # https://www.insee.fr: 97 less the number modulo 97
        number = int(bare[:13].replace("2A", "19").replace("2B", "18"))
        return 97 - number % 97 == int(bare[13:])
    if text[3:4] == ".":  # https://www.gov.br: both digits by weights, modulo 11
        digits = [int(digit) for digit in bare]
        return all(
            sum(digit * weight for digit, weight in zip(digits, range(end + 1, 1, -1), strict=False)) * 10 % 11 % 10
            == digits[end]
            for end in (9, 10)
        )
    return True


_ASSIGNED = re.compile(r"[A-Z][A-Z0-9_]*[\"']? ?[=:] ?[\"']?(.*)", re.DOTALL)


def _secret(text: str) -> bool:
    """What is assigned has a long stretch of both letters and digits, as no name and no number has."""
    assigned = _ASSIGNED.fullmatch(text)
    if assigned is None:
        return True
    stretches = re.findall(r"[A-Za-z0-9+/]{16,}", assigned[1])
    return any(re.search(r"[0-9]", one) and re.search(r"[A-Za-z]", one) for one in stretches)


_CHECKS = {"payment_card": _luhn, "iban": _mod_97, "national_id": _national, "secrets": _secret}


def _no_sum(begins: str, _: str) -> bool:
    """A plus after a digit or letter belongs to a sum."""
    return not re.search(r"[0-9A-Za-z]\+$", begins)


def _no_longer(begins: str, after: str) -> bool:
    """What has more such groups beside it is a fingerprint, of a certificate for instance."""
    return not (re.match(r"[0-9A-Fa-f]:[0-9A-Fa-f]", begins) or re.match(r":[0-9A-Fa-f]", after))


_BORDERS = {"phone": _no_sum, "ip_address": _no_longer}
"""Whether it is one, by the two characters before it with its first, and the two after it."""

# Secrets, always

_ASSIGNS = rb"[\\\"']{0,3} ?[=:] ?[\\\"']{0,3}[A-Za-z0-9_+/.-]{16}"
_SIGNS: dict[bytes, bytes] = {
    b"sk-": rb"[A-Za-z0-9_-]{20}", b"AIza": rb"[A-Za-z0-9_-]{35}", b"xox": rb"[abeoprs]-",
    b"AKIA": rb"[A-Z0-9]{16}", b"ASIA": rb"[A-Z0-9]{16}",
    b"gsk_": rb"[A-Za-z0-9]{40}", b"xai-": rb"[A-Za-z0-9]{40}", b"hf_": rb"[A-Za-z0-9]{30}",
    **{b"gh%c_" % letter: rb"[A-Za-z0-9]{36}" for letter in b"pousr"}, b"github_pat_": rb"[A-Za-z0-9_]{40}",
    b"k_live_": rb"[A-Za-z0-9]{20}", b"pplx-": rb"[A-Za-z0-9]{40}", b"r8_": rb"[A-Za-z0-9]{30}",
    b"fw_": rb"[A-Za-z0-9]{20}", b"npm_": rb"[A-Za-z0-9]{36}", b"glpat-": rb"[A-Za-z0-9_-]{20}",
    b"ya29.": rb"[A-Za-z0-9_-]{20}", b"dapi": rb"[a-f0-9]{32}", b"SG.": rb"[A-Za-z0-9_-]{16}",
    b"nvapi-": rb"[A-Za-z0-9_-]{40}", b"eyJ": rb"[A-Za-z0-9_-]{10,1000}\.eyJ", b"PRIVATE KEY": rb"-----",
    b"earer ": rb"[A-Za-z0-9_.+/=-]{20}", b"://": rb"[^\s:/@\"\\]{1,100}:[^\s/@\"\\]{1,200}@",
    b"KEY": _ASSIGNS, b"TOKEN": _ASSIGNS, b"SECRET": _ASSIGNS, b"PASSWORD": _ASSIGNS,
    # Letters and digits, escaped for no reason.
    b"\\u00": rb"(?:2[dD]|5[fF]|3[0-9]|4[1-9a-fA-F]|5[0-9aA]|6[1-9a-fA-F]|7[0-9aA])",
}  # fmt: skip
"""What each secret of `KINDS` has in it as bytes, and what follows."""
_FOLLOWS = {sign: re.compile(follows) for sign, follows in _SIGNS.items()}
# The texts of a stream, by the names under which providers send them piece by piece.
_PIECE = re.compile(
    rb'"(?:content|text|delta|arguments|partial_json|thinking|reasoning|reasoning_content|refusal|output|transcript)":'
    rb'\s?"((?:[^"\\]|\\.)*)"'
)


def may_hold_secret(body: bytes, content_encoding: str | None = None) -> bool:
    """Whether there is reason to look for secrets in a body: a quick look that misses none that came in one piece, nor
    in the pieces of a text in a stream."""
    if content_encoding:
        plain, error = decode(content_encoding, body, MAX_TEXT)
        body = body if error else plain
    if _signs(body):
        return True
    pieces = _PIECE.findall(body) if _STREAM.match(body) else ()
    return len(pieces) > 1 and _signs(b"".join(pieces))


_STREAM = re.compile(rb"[\s\x1e]*(?:(?:data|event|id|retry)?:|\[|\{[^\n]*\}\r?\n\s*\{)")


@lru_cache(maxsize=1)
def _any_sign() -> Any:
    options = re2.Options()
    options.encoding = re2.Options.Encoding.LATIN1
    options.log_errors = False
    return re2.compile(b"|".join(re.escape(sign) for sign in _SIGNS), options)


def _signs(body: bytes) -> bool:
    return any(_FOLLOWS[found.group()].match(body, found.end()) for found in _any_sign().finditer(body))


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


def _json(text: str, by: Rules, found: Counter[str], paths: list[str]) -> str:
    """A body of JSON texts, one or many, whatever frames them."""
    places: dict[str, list[_Literal]] = {}
    for path, literal in _literals(text):
        places.setdefault(path, []).append(literal)
    changed: list[_Literal] = []
    for path, literals in places.items():
        joined = "".join(literal.text for literal in literals)
        there = spans(joined, by)
        if there:
            found.update(name for *_, name in there)
            paths += (f"{_readable(path)}: {name}" for *_, name in there)
            changed += _cut(literals, there)
    for literal in sorted(changed, key=lambda one: one.start, reverse=True):
        said = literal.text
        for start, end, marker in reversed(literal.pieces):
            said = said[:start] + marker + said[end:]
        text = text[: literal.start] + json.dumps(said, ensure_ascii=False) + text[literal.end :]
    return text


_STEP = re.compile(r'[{\[]("(?:[^"\\]|\\.)*"|)(?:#([0-9]+))?\.?')


def _readable(path: str) -> str:
    """A path of `_literals` as people write it."""
    steps: list[str] = []
    end = 0
    while match := _STEP.match(path, end):
        name, place = match.groups()
        steps += [f".{json.loads(name)}"] if name else []
        steps += [f"[{place}]"] if place else []
        end = match.end()
    last = path[end:]
    steps += [f".{json.loads(last)}"] if last else []
    return "".join(steps).lstrip(".") or "text"


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
