"""Redaction: what a policy names is in no stored byte, everything else is as it was."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.exchanges import captured
from tests.support.secrets_in_files import files_with
from tracecli import browse
from tracecli.config import Home
from tracecli.ingest import run
from tracecli.policy.rules import Redaction
from tracecli.redaction import Rules, may_hold_secret, redact, rules
from tracecli.spool import SpoolWriter

ALL = ["email", "phone", "payment_card", "iban", "ip_address", "national_id", "secrets"]
PLANTED = {
    "email": ["bob.smith+x@mail.example.co.uk", "A_b@example.org"],
    "phone": ["+49 30 1234567", "+1 (415) 555-2671", "(415) 555-2671", "415-555-2671"],
    "payment_card": ["4111 1111 1111 1111", "5500005555555559", "3782-822463-10005"],
    "iban": ["DE89 3704 0044 0532 0130 00", "GB82WEST12345698765432"],
    "ip_address": ["192.168.100.7", "8.8.8.8"],
    "national_id": ["078-05-1120"],
    "secrets": [
        "sk-proj-" + "a1B2" * 10,
        "sk-ant-api03-" + "Zz9_" * 10,
        "AIza" + "x" * 35,
        "AKIAIOSFODNN7EXAMPLE",
        "ghp_" + "a" * 36,
        "xoxb-1234567890-abcdef",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.abcdefghijklmnop",
        "postgres://bob:hunter2@db.example.org",
        "-----BEGIN RSA PRIVATE KEY-----\nMIIEow\n-----END RSA PRIVATE KEY-----",
    ],
}
EVERY = [(kind, value) for kind, values in PLANTED.items() for value in values]
# Looks like something and is nothing.
INNOCENT = [
    "sha-256 04:1E:12:42:28:96:D7:56:D4:FA:AE:C7:18:A9:16:79",
    "what is 64-6+1.02255 of it",
    "chatcmpl-9Xk2jH7sKd83hfKs02kd", "2026-11-23T14:30:00.123Z", "1234 5678 9012 3456", "version 1.2.3",
    "0.00000012345678901234", "call_abc123", "a@b", "018f3c2e-7d4b-7c1a-9e2f-1a2b3c4d5e6f", "999.999.999.999",
    "sk-short", "https://example.com/path?x=1:2", "gpt-4o-mini-2024-07-18", "DE00 0000 0000 0000 0000 01",
]  # fmt: skip


@pytest.fixture(scope="module")
def every() -> Rules:
    return rules(ALL, {"project": r"PRJ-[0-9]{4}"})


def chat(text: str) -> bytes:
    return json.dumps({"model": "m", "max_tokens": 100, "messages": [{"role": "user", "content": text}]}).encode()


def stream(pieces: list[str]) -> bytes:
    events = [json.dumps({"id": "c", "choices": [{"index": 0, "delta": {"content": piece}}]}) for piece in pieces]
    return "".join(f"data: {event}\n\n" for event in [*events, "[DONE]"]).encode()


def said(body: bytes) -> str:
    """What the pieces of a stream say together."""
    events = [json.loads(line[6:]) for line in body.decode().split("\n\n") if line.startswith("data: {")]
    return "".join(event["choices"][0]["delta"]["content"] for event in events)


@pytest.mark.parametrize(("kind", "value"), EVERY)
def test_what_is_planted_is_found(every: Rules, kind: str, value: str) -> None:
    """In a prompt, in plain text, escaped, and compressed: it is gone, and a marker says what it was."""
    text = f"Please write to {value} today."
    body = chat(text)
    found = redact(body, None, every)
    assert found.body == chat(f"Please write to [REDACTED:{kind}] today.")
    assert found.found == {kind: 1}
    escaped = body.replace(b"@", b"\\u0040").replace(b"-", b"\\u002d")
    assert b"REDACTED" in (redact(escaped, None, every).body or b"")
    assert redact(text.encode(), None, every).body == f"Please write to [REDACTED:{kind}] today.".encode()
    assert redact(gzip.compress(body, mtime=0), "gzip", every).body == found.body


@pytest.mark.parametrize(("kind", "value"), EVERY)
@given(data=st.data())
def test_however_a_stream_cuts_it(every: Rules, kind: str, value: str, data: st.DataObject) -> None:
    """A value that arrives in pieces is found; the stream stays a stream of the same events."""
    text = f"It is {value}, yes."
    cuts = sorted(data.draw(st.sets(st.integers(1, len(text) - 1), max_size=6)))
    pieces = [text[start:end] for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    body = redact(stream(pieces), None, every).body
    assert body is not None
    assert said(body) == f"It is [REDACTED:{kind}], yes."
    assert body.count(b"\n\n") == len(pieces) + 1


@pytest.mark.parametrize("text", INNOCENT)
def test_what_is_innocent_stays(every: Rules, text: str) -> None:
    """Ids, dates, versions and numbers with wrong check digits are left alone, and the bytes are the very same."""
    body = chat(f"See {text} there")
    assert redact(body, None, every).body is body


def test_only_texts_are_touched(every: Rules) -> None:
    """Keys, numbers, media and the form of the JSON stay byte for byte."""
    image = "data:image/png;base64," + "iVBOR+4930123456789" * 100
    body = (
        b'{ "bob@example.org" : 4111111111111111,\n "image": "%s", "n": 1.50e3, "text":"to a@example.org"}'
        % image.encode()
    )
    found = redact(body, None, every)
    assert found.body == body.replace(b"to a@example.org", b"to [REDACTED:email]")


def test_what_cannot_be_looked_into_is_withheld(every: Rules) -> None:
    """Broken encodings and binary bodies do not get through unseen."""
    assert redact(b"no gzip", "gzip", every).body is None
    assert redact(b"\xff\x00binary", None, every).body is None
    assert redact(b"\xff\x00binary", None, rules([], {})).body == b"\xff\x00binary"


@given(st.one_of(st.binary(max_size=300), st.text(max_size=300).map(str.encode)))
def test_any_bytes(every: Rules, body: bytes) -> None:
    """Whatever a body holds: no exception, and doing it twice changes nothing more."""
    once = redact(body, None, every)
    if once.body is not None:
        assert redact(once.body, None, every).body == once.body


@pytest.mark.parametrize(("kinds", "patterns"), [(["e-mail"], {}), (["email"], {"x": "("}), ([], {"x": "(?=a)"})])
def test_wrong_rules(kinds: list[str], patterns: dict[str, str]) -> None:
    """An unknown kind and a pattern that cannot run in linear time are refused with a sentence."""
    with pytest.raises(ValueError, match=r"kind|pattern"):
        rules(kinds, patterns)


def test_nothing_reaches_the_store(tmp_path: Path) -> None:
    """Ingested under a policy that redacts, a value is in no file; the record says that something was taken out."""
    home = Home(tmp_path / "home")
    home.prepare()
    about: dict[str, Any] = {"status": 200, "redact_kinds": ["email"], "chunks": []}
    spool = SpoolWriter(home.spool)
    spool.append(captured(chat("I am bob@example.org"), stream(["bo", "b@exam", "ple.org"]), **about))
    [row] = browse.latest(home, 9)
    assert "bob@example.org" not in json.dumps(browse.open_exchange(home, row.id).as_json())
    spool.close()
    run(home, once=True, ended=lambda: True)
    [row] = browse.latest(home, 9)
    assert "redacted" in row.flags
    opened = browse.open_exchange(home, row.id)
    assert b"[REDACTED:email]" in opened.request.body
    assert "[REDACTED:email]" in said(opened.response.body)
    assert files_with(home.root, "bob@example.org") == []


SECRETS = [value for kind, value in EVERY if kind == "secrets"] + [
    "MISTRAL_API_KEY=" + "a1B2c3D4" * 4,
    'AZURE_OPENAI_KEY: "0123456789abcdef0123456789abcdef"',
    "Authorization: Bearer " + "q9W8" * 8,
    "glpat-" + "x1Y2" * 6,
    "npm_" + "aB3d" * 9,
    "dapi" + "0123456789abcdef" * 2,
]
IDS = {
    "national_id": [
        "AB 12 34 56 C",
        "12345678Z",
        "X1234567L",
        "1 85 05 78 006 084 91",
        "RSSMRA85T10A562S",
        "529.982.247-25",
    ],
    "ip_address": ["2001:db8::ff00:42:8329", "fe80:0:0:0:202:b3ff:fe1e:8329"],
}  # fmt: skip
_PARTS = [*SECRETS, *INNOCENT, " ", "\n", '"', "KEY", "=", "é", "://", "sk-", "x" * 30]


@pytest.mark.parametrize("value", SECRETS)
def test_secrets_are_seen_at_a_glance(value: str) -> None:
    """In JSON, escaped, compressed, and in the pieces of a stream: else nobody would look."""
    body = chat(f"See {value} here")
    assert may_hold_secret(body)
    assert may_hold_secret(gzip.compress(body), "gzip")
    assert may_hold_secret(body.replace(b"-", b"\\u002d").replace(b"_", b"\\u005F"))
    pieces = [f"See {value} here"[place : place + 3] for place in range(0, len(value) + 9, 3)]
    assert may_hold_secret(stream(pieces))
    assert b"REDACTED:secrets" in (redact(body, None, rules(["secrets"], {})).body or b"")


@given(
    st.lists(
        st.sampled_from([*SECRETS, *INNOCENT, " ", "\n", '"', "KEY", "=", "é", "://", "sk-", "x" * 30]), max_size=6
    )
)
def test_no_glance_misses_what_a_look_finds(parts: list[str]) -> None:
    body = chat("".join(parts))
    found = redact(body, None, rules(["secrets"], {}))
    assert may_hold_secret(body) or not found.changed


def test_what_only_looks_like_a_secret() -> None:
    """Names of environment variables, counts, ids, prose: left alone."""
    for text in (
        "input_tokens: 1234567890123456", "MAX_TOKEN=10000000000000000", "CACHE_KEY=user_profile_v2_abcdefg",
        "set OPENAI_API_KEY first", "a bearer of good news, everybody", "https://user@example.org/path",
        "risk-free-and-more", *INNOCENT,
    ):  # fmt: skip
        body = chat(f"See {text} there")
        assert redact(body, None, rules(["secrets"], {})).body is body, text


@pytest.mark.parametrize(("kind", "value"), [(kind, value) for kind, values in IDS.items() for value in values])
def test_ids_of_several_countries(every: Rules, kind: str, value: str) -> None:
    assert redact(chat(f"It is {value}."), None, every).found == {kind: 1}


@pytest.mark.parametrize("wrong", ["12345678A", "1 85 05 78 006 084 92", "529.982.247-26", "12:34:56", "a::b::c"])
def test_wrong_check_digits(every: Rules, wrong: str) -> None:
    body = chat(f"It is {wrong}.")
    assert redact(body, None, every).body is body


def test_words() -> None:
    """Whole words, in any case, also where they begin or end with other letters than those of ASCII."""
    by = rules([], Redaction(words=["Anna-Lena Müller", "Élodie", "x.y (z)", "Ann"]).expressions)
    text = "ANNA-LENA MÜLLER met élodie, x.y (z) and Ann in Annecy."
    assert redact(chat(text), None, by).body == chat(
        "[REDACTED:name] met [REDACTED:name], [REDACTED:name] and [REDACTED:name] in Annecy."
    )


def test_where_something_was(every: Rules) -> None:
    """The places of what was taken out are told, as people write them."""
    body = json.dumps({"messages": [{"content": "x"}, {"content": [{"text": "a@example.org and 8.8.8.8"}]}]}).encode()
    paths = ["messages[1].content[0].text: email", "messages[1].content[0].text: ip_address"]
    assert redact(body, None, every).paths == paths
    assert redact(b"mail a@example.org", None, every).paths == ["email"]
    assert redact(stream(["a@exam", "ple.org"]), None, every).paths == ["choices[0].delta.content: email"]


def test_secrets_go_whatever_the_policy_says(tmp_path: Path) -> None:
    """No policy names them: in no file, in no list; what has none is byte for byte what it was."""
    home = Home(tmp_path / "home")
    home.prepare()
    key = "sk-proj-" + "a1B2" * 10
    spool = SpoolWriter(home.spool)
    about: dict[str, Any] = {"status": 200, "chunks": []}
    spool.append(captured(chat(f"my key is {key}"), stream([key[:9], key[9:20], key[20:]]), **about))
    plain = captured(chat("no key, but bob@example.org"), stream(["none"]), **about)
    spool.append(plain)
    spool.close()
    run(home, once=True, ended=lambda: True)
    assert files_with(home.root, key) == []
    assert browse.find(home, plain.exchange.id)[1].request_body == plain.request_body
    [row] = [row for row in browse.latest(home, 9) if row.id != plain.exchange.id]
    assert "redacted" in row.flags
    recorded, _ = browse.find(home, row.id)
    assert recorded.exchange.redactions == [
        "request messages[0].content: secrets",
        "response choices[0].delta.content: secrets",
    ]
