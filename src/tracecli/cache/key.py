"""What makes two requests the same request, version 1. Pure.

The material of a key is all that can change an answer: method, scheme, host, path, query, some headers and the whole
body. Not in it are credentials (the scope says whose answers are shared), `accept-encoding` (an answer is decoded for
who does not take it), and the body's top-level fields in `NOT_IN_THE_KEY`. Streamed and plain answers never share: what
asks for a stream is in the body, the path or `accept`.

A JSON body counts in canonical form: order of keys, whitespace and escapes do not matter, but for the order of the
properties in JSON schemas, in which models write structured answers
(https://platform.openai.com/docs/guides/structured-outputs). Numbers count as written, 1 is not 1.0. Byte for byte
counts what has no such form: a body that is no strict JSON, has a key twice, or has a number that a double cannot hold.

A recorded request, from which credentials were taken out, has the key of the live one.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from decimal import Decimal
from functools import lru_cache
from typing import Any, Literal, NamedTuple

import msgspec

from tracecli.credentials import REDACTED, is_credential_header, is_credential_query, secrets_of
from tracecli.exchange import Headers
from tracecli.policy.rules import Scope
from tracecli.wire.encodings import decode

KEY_VERSION = 1
"""Any change of what a request's key is needs another one, and a golden value in the tests."""

NOT_IN_THE_KEY = frozenset({"user", "metadata", "safety_identifier"})
"""Top-level fields of a JSON body that cannot change the answer: they say who asks."""

_MAX_DECODED = 32 << 20
_DEFAULT_PORTS = {"https": 443, "http": 80}

# Headers that choose the model, its version or settings, the account that is used, or the form of the answer.
_HEADERS = frozenset({
    "accept", "api-version", "x-api-version",
    # https://docs.claude.com/en/api/versioning  https://docs.claude.com/en/api/beta-headers
    "anthropic-version", "anthropic-beta", "x-anthropic-beta",
    # https://platform.openai.com/docs/api-reference/authentication; Codex names a ChatGPT account
    "openai-beta", "openai-organization", "openai-project", "chatgpt-account-id",
    # https://learn.microsoft.com/azure/ai-foundry/openai: deployment, content filter, unknown parameters
    "azureml-model-deployment", "x-policy-id", "extra-parameters", "x-ms-oai-assistants-testenv",
    # https://cloud.google.com/apis/docs/system-parameters; Vertex AI: dedicated or shared throughput
    "x-goog-user-project", "x-vertex-ai-llm-request-type", "x-vertex-ai-llm-shared-request-type",
    # https://console.groq.com/docs  https://huggingface.co/docs/inference-providers
    "groq-beta", "groq-model-version", "x-hf-bill-to",
    # GitHub Copilot
    "copilot-integration-id", "copilot-vision-request", "openai-intent",
    # Gateways: where to, and what they do on the way.
    # https://docs.helicone.ai/helicone-headers/header-directory  https://portkey.ai/docs/api-reference
    "helicone-target-url", "helicone-target-provider", "helicone-fallbacks", "helicone-prompt-id",
    "helicone-moderations-enabled", "helicone-llm-security-enabled", "x-portkey-config", "x-portkey-provider",
    "x-portkey-custom-host", "x-portkey-strict-open-ai-compliance",
})  # fmt: skip
# What says how to read the body: of no matter once it was read.
_FORM = ("content-type", "content-encoding")
# https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_InvokeModel.html: guardrail, latency, tier, accept
_PREFIX = "x-amzn-bedrock-"
# Where a body holds what people and models said; schemas are elsewhere.
_SAID = frozenset({"messages", "input", "inputs", "contents", "prompt", "system", "instructions", "chat_history"})


_PACK = msgspec.msgpack.Encoder()


class Asked(msgspec.Struct, frozen=True):
    """A request: live and without headers of our own, or recorded."""

    method: str
    scheme: str
    host: str
    port: int
    path: str
    """With the query."""
    headers: Headers
    body: bytes
    """With its content encoding, as on the wire."""


class Material(NamedTuple):
    """What a key is made of."""

    parts: list[tuple[str, bytes]]
    """Name and value of each part that the request has: `method`, `scheme`, `host`, `path`, `query` for each pair,
    `header NAME`, `property order`, and `json` or `body`."""
    value: Any
    """The body's JSON value, also where the bytes count; None if it is no JSON. Of a key that is there twice, the value
    that says more."""
    how: Literal["json", "bytes"]
    """How the body counts: in canonical form, or byte for byte."""

    def hash(self) -> bytes:
        """SHA-256 of what was asked, whoever asked."""
        return _digest("tracecli", KEY_VERSION, self.how, self.parts)


def material(asked: Asked) -> Material:
    """What the key of a request is made of. Nothing raises, whatever the bytes."""
    secrets = secrets_of(asked.headers, asked.path)
    path, _, query = _without(secrets, asked.path).partition("?")
    parts = [
        ("method", _text(asked.method).encode()),
        ("scheme", asked.scheme.lower().encode()),
        ("host", _host(asked).encode("utf-8", "replace")),
        ("path", path.encode()),
    ]
    if query:
        pairs = [pair for pair in query.split("&") if pair and not is_credential_query(_name_of(pair))]
        parts += [("query", pair.encode()) for pair in sorted(pairs, key=_name_of)]
    headers: dict[str, list[str]] = {}
    for name, given in asked.headers:
        if kept := _kept(name):
            headers.setdefault(kept, []).append(given.strip())
    form = {name: ", ".join(headers.pop(name, ())) for name in _FORM}
    parts += [(f"header {name}", _without(secrets, ", ".join(headers[name])).encode()) for name in sorted(headers)]
    body = asked.body
    error: str | None = None
    for secret in secrets:  # the record does not hold it either
        body = body.replace(secret.encode("utf-8", "surrogateescape"), REDACTED.encode())
    if form["content-encoding"]:
        plain, error = decode(form["content-encoding"], body, _MAX_DECODED)
        body = body if error else plain
    value, canonical = (None, None) if error else _canonical(body)
    if canonical is None:
        told = [name for name in _FORM if form[name] and (error or name == "content-type")]
        parts += [(f"header {name}", _without(secrets, form[name]).encode()) for name in told]
        return Material([*parts, ("body", body)], value, "bytes")
    if b'"properties":{' in canonical and (order := _property_order(value)):
        parts.append(("property order", order))
    return Material([*parts, ("json", canonical)], value, "json")


def scoped(asked_hash: bytes, scope: Scope, *, user: str, credential: str | None, policy: str) -> bytes:
    """The key of an entry: what was asked, and who shares the answer.

    A request without a credential shares with its user alone under the scope `credential`, too.
    """
    who: list[str] = []
    match scope:
        case "user":
            who = [user, credential or ""]
        case "credential":
            who = [credential] if credential else ["", user]
        case "policy":
            who = [policy]
        case "shared":
            pass
    return _digest(scope, asked_hash, *(one.encode("utf-8", "surrogatepass") for one in who))


def _digest(*values: Any) -> bytes:
    """SHA-256 of the values in MessagePack, in which each has its kind and length before it."""
    return hashlib.sha256(_PACK.encode(values)).digest()


def _host(asked: Asked) -> str:
    host = asked.host.lower().removesuffix(".")
    return host if asked.port == _DEFAULT_PORTS.get(asked.scheme.lower()) else f"{host}:{asked.port}"


def _name_of(pair: str) -> str:
    return pair.partition("=")[0]


@lru_cache(maxsize=1024)
def _kept(name: str) -> str | None:
    """The lower-case name of a header that counts; None for any other."""
    name = name.lower()
    counts = name in _HEADERS or name in _FORM or name.startswith(_PREFIX)
    return _text(name) if counts and not is_credential_header(name) else None


def _without(secrets: list[str], text: str) -> str:
    for secret in secrets:
        text = text.replace(secret, REDACTED)
    return _text(text)


def _text(value: str) -> str:
    """Valid Unicode, as the record has it."""
    return value.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


# The body

_ENCODE = msgspec.json.Encoder()
_ENCODE_SORTED = msgspec.json.Encoder(order="sorted")
_DECODE = msgspec.json.Decoder()
# Also within texts: it only says where to look closely.
_MINUS_ZERO = re.compile(rb"-0(?![.\deE])")
# A double has 17 significant digits; more than these are not worth a look.
_MAX_FLOAT_CHARS = 40


class _NoForm(ValueError):
    """The JSON has no canonical form."""


def _canonical(body: bytes) -> tuple[Any, bytes | None]:
    """The JSON value of a body and its canonical form; None for what there is not."""
    try:
        value = _DECODE.decode(body)
        if _ENCODE.encode(value) != body:  # else no key is there twice, and every number is as it was written
            _check(body)
        if isinstance(value, dict) and not NOT_IN_THE_KEY.isdisjoint(value):
            counting = {name: one for name, one in value.items() if name not in NOT_IN_THE_KEY}
            return value, _ENCODE_SORTED.encode(counting)
        return value, _ENCODE_SORTED.encode(value)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return _read_leniently(body), None


def _check(body: bytes) -> None:
    """Raises ValueError if a JSON text says more than its value."""
    (_CHECK_ALL_NUMBERS if _MINUS_ZERO.search(body) else _CHECK).decode(body.decode())


def _once(pairs: list[tuple[str, Any]]) -> None:
    if len({name for name, _ in pairs}) != len(pairs):
        raise _NoForm


def _held(text: str) -> None:
    if len(text) > _MAX_FLOAT_CHARS or Decimal(text) != Decimal(repr(float(text))):
        raise _NoForm


def _no_minus_zero(text: str) -> None:
    if text == "-0":
        raise _NoForm


_CHECK = json.JSONDecoder(object_pairs_hook=_once, parse_float=_held)
_CHECK_ALL_NUMBERS = json.JSONDecoder(object_pairs_hook=_once, parse_float=_held, parse_int=_no_minus_zero)


def _read_leniently(body: bytes) -> Any:
    """As the more tolerant servers read it: NaN, lone surrogates, UTF-16, a byte order mark."""
    for text in (body, body.decode("utf-8", "replace")):
        try:
            return json.loads(text, object_pairs_hook=_says_more)
        except (ValueError, RecursionError):
            continue
    return None


def _says_more(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Of a key that is there twice, servers take the first or the last: assume what keeps out of the cache."""
    found: dict[str, Any] = {}
    for name, value in pairs:
        if value or name not in found:
            found[name] = value
    return found


def _property_order(value: Any) -> bytes | None:
    """The names of the properties of each schema, in their order; None if there are none to order."""
    if not isinstance(value, dict):
        return None
    orders = list(_orders({name: one for name, one in value.items() if name not in _SAID}))
    return _ENCODE.encode(orders) if orders else None


def _orders(value: Any) -> Iterator[list[str]]:
    if isinstance(value, dict):
        for name, below in sorted(value.items()):
            if name == "properties" and isinstance(below, dict) and len(below) > 1:
                yield list(below)
            if isinstance(below, dict | list):
                yield from _orders(below)
    elif isinstance(value, list):
        for one in value:
            if isinstance(one, dict | list):
                yield from _orders(one)
