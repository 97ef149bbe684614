"""The cache key: what makes requests the same, and what makes them differ."""

from __future__ import annotations

import gzip
import json
import random
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.support.core import KEY, Spool, head, recorder_into
from tracecli.cache.key import KEY_VERSION, Asked, material, scoped
from tracecli.capture import RequestHead
from tracecli.policy.rules import Scope

ASKED = Asked("POST", "https", "api.openai.com", 443, "/v1/chat/completions", [("Accept", "application/json")], b"{}")

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=4),
)
FEW = st.recursive(
    st.sampled_from([None, True, False, 0, 1, 1.0, 0.5, "", "a", "1"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("ab"), inner, max_size=2),
    max_leaves=4,
)


def asked(body: Any = b"{}", **changes: Any) -> Asked:
    """A request, some of it changed; a body that is no bytes is written as JSON."""
    plain = body if isinstance(body, bytes) else json.dumps(body).encode()
    return msgspec.structs.replace(ASKED, body=plain, **changes)


def what(body: Any = b"{}", **changes: Any) -> bytes:
    """The hash of what is asked."""
    return material(asked(body, **changes)).hash()


def written(value: Any, chance: random.Random) -> str:
    """A JSON text for a value: keys in any order, any whitespace, any escapes."""
    gaps = [chance.choice(["", " ", "\n", "\t \r\n"]) for _ in range(2)]
    match value:
        case dict():
            pairs = list(value.items())
            chance.shuffle(pairs)
            inner = [f"{written(name, chance)}:{written(one, chance)}" for name, one in pairs]
            text = f"{{{','.join(inner)}{gaps[0]}}}"
        case list():
            text = f"[{','.join(written(one, chance) for one in value)}{gaps[0]}]"
        case _:
            text = json.dumps(value, ensure_ascii=chance.random() < 0.5)
    return gaps[0] + text + gaps[1]


@given(VALUES, st.randoms(use_true_random=False))
def test_how_json_is_written_does_not_matter(value: Any, chance: random.Random) -> None:
    """Order of keys, whitespace and escapes make no difference."""
    one, other = (material(asked(written({"v": value}, chance).encode())) for _ in range(2))
    assert one.how == other.how == "json"
    assert one.hash() == other.hash()
    assert one.value == {"v": value}


@given(FEW, FEW)
def test_any_other_change_matters(one: Any, other: Any) -> None:
    """Two values have one key only if they are the same JSON: 1, 1.0, true and "1" are four."""
    same = json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)
    assert (what({"v": one}) == what({"v": other})) is same


@given(st.binary() | st.text().map(str.encode), st.sampled_from(["", "gzip", "br", "zstd", "deflate, gzip", "x"]))
@example(b"[" * 100_000, "")
@example(b'{"a":' * 3_000 + b"1" + b"}" * 3_000, "")
@example(b"1" * 10_000, "")
@example(b"1." + b"1" * 10_000, "")
@example(b'{"properties":{' + b'"a":{"properties":{' * 500, "")
@example('{"a": "\ud800"}'.encode("utf-16", "surrogatepass"), "")
def test_every_body_has_a_key(body: bytes, encoding: str) -> None:
    """Nothing raises, whatever the bytes."""
    assert len(what(body, headers=[("Content-Encoding", encoding)])) == 32


@given(st.text(), st.text(), st.lists(st.tuples(st.text(), st.text())))
def test_every_head_has_a_key(method: str, path: str, headers: list[tuple[str, str]]) -> None:
    """Nothing raises, whatever a head holds that HTTP allows or not."""
    valid = [text.encode("utf-8", "replace").decode() for text in (method, path)]
    assert len(what(method=valid[0], path=valid[1], headers=headers)) == 32


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (b'{"a":1,"a":2}', b'{"a":2}'),  # a key twice: servers take the first or the last
        (b'{"a":2,"a":1}', b'{"a":1,"a":2}'),
        (b'{"m":[{"a":1,"b":1,"a":1}]}', b'{"m":[{"a":1,"b":1}]}'),
        (b'{"a":-0}', b'{"a":0}'),
        (b'{"a":-0.0}', b'{"a":0.0}'),
        (b'{"a":0.1000000000000000055511151231257827}', b'{"a":0.1}'),  # more than a double holds
        (b'{"a":9007199254740993.0}', b'{"a":9007199254740992.0}'),
        (b'{"a":1e-400}', b'{"a":0.0}'),
        (b'{"a":1e400}', b'{"a":2e400}'),
        (b'{"a":18446744073709551616}', b'{"a":18446744073709551617}'),
        (b'{"a":NaN}', b'{"a": NaN}'),
        (b'{"a":"\\ud800"}', b'{"a":"\\ud801"}'),
        (b'{"a":"\xff"}', b'{"a":"\xfe"}'),
        (b"\xef\xbb\xbf{}", b"{}"),
        (b"{}", b""),
        (b"{}", b"[]"),
    ],
)
def test_what_has_no_canonical_form_counts_byte_for_byte(one: bytes, other: bytes) -> None:
    """Where a parser would lose something, or there is no JSON, every byte counts."""
    assert what(one) != what(other)
    assert what(one) == what(one)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (b'{"a":1e5}', b'{"a":100000.0}'),
        (b'{"a":0.10}', b'{"a":0.1}'),
        (b'{"a":"\\u00e9\\/"}', '{"a":"é/"}'.encode()),
        (b'{"a":"on 2026-09-01, -0"}', b'{ "a":"on 2026-09-01, -0"}'),
        (b'{"a":-0.5,"b":1}', b'{"b":1,"a":-0.50}'),
    ],
)
def test_the_same_value_written_otherwise(one: bytes, other: bytes) -> None:
    """Two ways to write one value are one."""
    assert what(one) == what(other)


@pytest.mark.parametrize("field", ["user", "metadata", "safety_identifier"])
def test_who_asks_is_not_what_is_asked(field: str) -> None:
    """The top-level fields that name the user do not count; deeper ones do."""
    assert what({"model": "m", field: {"a": 1}}) == what({"model": "m", field: None}) == what({"model": "m"})
    assert what({"model": "m", "input": {field: 1}}) != what({"model": "m", "input": {}})
    assert what([{field: 1}]) != what([{}])


def test_the_order_of_properties_in_schemas_matters() -> None:
    """Models write structured answers in the order of the schema; elsewhere, no order counts."""

    def request(names: list[str], *, reverse: bool = False) -> dict[str, Any]:
        schema = {"type": "object", "properties": {name: {"type": "string"} for name in names}}
        given = {"model": "m", "response_format": {"type": "json_schema", "json_schema": {"schema": schema}}}
        return dict(reversed(given.items())) if reverse else given

    assert what(request(["why", "answer"])) != what(request(["answer", "why"]))
    assert what(request(["why", "answer"])) == what(request(["why", "answer"], reverse=True))
    said = [{"messages": [{"properties": dict(pairs)}]} for pairs in ([("a", 1), ("b", 2)], [("b", 2), ("a", 1)])]
    assert what(said[0]) == what(said[1])


@pytest.mark.parametrize(
    "changes",
    [
        {"method": "PUT"},
        {"scheme": "http", "port": 80},
        {"host": "eu.api.openai.com"},
        {"port": 8443},
        {"path": "/v1/responses"},
        {"path": "/v1/chat/completions?api-version=1"},
        {"headers": [("Accept", "text/event-stream")]},
        {"headers": []},
        *(
            {"headers": [*ASKED.headers, (name, "1")]}
            for name in (
                "anthropic-version",
                "Anthropic-Beta",
                "OpenAI-Beta",
                "OpenAI-Organization",
                "OpenAI-Project",
                "X-Goog-User-Project",
                "X-Amzn-Bedrock-GuardrailIdentifier",
                "x-portkey-config",
            )
        ),
    ],
    ids=str,
)
def test_all_that_changes_an_answer_counts(changes: dict[str, Any]) -> None:
    """Another endpoint, account, version or form of answer is another request."""
    assert what(**changes) != what()


@pytest.mark.parametrize(
    "changes",
    [
        {"host": "API.OpenAI.com."},
        {"scheme": "HTTPS"},
        {"headers": [("accept", " application/json ")]},
        *(
            {"headers": [*ASKED.headers, pair]}
            for pair in (
                ("Accept-Encoding", "br"),
                ("Authorization", "Bearer sk-0123456789abcdef"),
                ("User-Agent", "other"),
                ("X-Stainless-Retry-Count", "1"),
                ("Idempotency-Key", "1"),
                ("Content-Type", "application/json; charset=utf-8"),
                ("Content-Length", "2"),
            )
        ),
    ],
    ids=str,
)
def test_what_cannot_change_an_answer_does_not_count(changes: dict[str, Any]) -> None:
    """Who asks, with what, and how it travels makes no difference."""
    assert what(**changes) == what()


def test_the_order_of_the_query_matters_within_a_name() -> None:
    """Query keys may come in any order; a repeated key keeps its own. Credentials do not count."""
    path = "/v1beta/models/g:streamGenerateContent"
    assert what(path=f"{path}?alt=sse&b=1") == what(path=f"{path}?b=1&alt=sse")
    assert what(path=f"{path}?b=1&b=2") != what(path=f"{path}?b=2&b=1")
    assert what(path=f"{path}?key=AIza1&alt=sse") == what(path=f"{path}?alt=sse&api_key=other")
    assert what(path=f"{path}?alt=sse") != what(path=path)


def test_a_content_encoding_is_taken_off() -> None:
    """A compressed body is the body; one that does not decode counts as it is, with its encoding."""
    body = {"model": "m", "n": 1.5}
    packed = gzip.compress(json.dumps(body, indent=1).encode())
    headers = [*ASKED.headers, ("Content-Encoding", "gzip")]
    assert what(packed, headers=headers) == what(body)
    broken = material(asked(packed[:-3], headers=headers))
    assert (broken.how, broken.value) == ("bytes", None)
    assert broken.hash() != what(packed[:-3])


@pytest.mark.parametrize(
    ("body", "value"),
    [
        (b'{"a":NaN,"background":true}', {"background": True}),
        (b'{"background":true,"background":false}', {"background": True}),
        (b'{"background":false,"background":true}', {"background": True}),
        ('{"background":true}'.encode("utf-16"), {"background": True}),
        (b"\xef\xbb\xbf" + b'{"background":true}', {"background": True}),
        (b"nothing", None),
    ],
)
def test_what_counts_byte_for_byte_is_read_all_the_same(body: bytes, value: dict[str, Any] | None) -> None:
    """Whatever a tolerant server reads in a body is seen, so that no stateful call looks like another."""
    found = material(asked(body))
    assert found.how == "bytes"
    assert found.value == value if value is None else found.value.items() >= value.items()


@pytest.mark.parametrize(
    ("request_head", "body"),
    [
        (head(), b'{"model":"m","user":"me"}'),
        (head(), b'{"model":"m","messages":"my key is %s"}' % KEY.encode()),
        (head(path=f"/v1/{KEY}/chat/completions?key={KEY}&b=2&a={KEY}"), b"{}"),
        (head(OpenAI_Organization=f"org {KEY}", Accept="\udcff\udce9"), b"no json \xff"),
        (head(X_Tracecli_User="alice", Content_Encoding="gzip"), gzip.compress(b'{"a": 1}')),
    ],
    ids=["plain", "key in body", "key in path", "key in header", "encoded"],
)
def test_a_recorded_request_has_the_key_of_the_live_one(request_head: RequestHead, body: bytes) -> None:
    """What is taken out of a record is no part of the key."""
    spool = Spool()
    recorder = recorder_into(spool)
    capture = recorder.begin(request_head, 1.0, "flows").capture
    assert capture is not None
    capture.decide(body)
    capture.failed("gone", 2.0)
    kept, of = spool[0].exchange, request_head
    live = Asked(of.method, of.scheme, of.host, of.port, of.path, of.headers, body)
    recorded = Asked(
        kept.method, kept.scheme, kept.host, kept.port, kept.path, kept.request_headers, spool[0].request_body
    )
    assert material(recorded).hash() == material(live).hash()
    assert KEY.encode() not in b"".join(value for _, value in material(live).parts)


WHO: list[dict[str, Any]] = [
    {"user": user, "credential": credential, "policy": policy}
    for user in ("a", "b")
    for credential in ("key:1", "key:2", None)
    for policy in ("p", "q")
]


@pytest.mark.parametrize(("scope", "sharing"), [("user", 6), ("credential", 4), ("policy", 2), ("shared", 1)])
def test_scopes(scope: Scope, sharing: int) -> None:
    """Each scope tells apart exactly whom it says; without a credential, users share no answers by it."""
    keys = {scoped(what(), scope, **who) for who in WHO}
    assert len(keys) == sharing
    assert len({scoped(what(), each, **WHO[0]) for each in ("user", "credential", "policy", "shared")}) == 4
    assert scoped(what([1]), scope, **WHO[0]) not in keys


def test_users_and_credentials_do_not_run_together() -> None:
    """No choice of names makes two scopes one."""
    one = scoped(what(), "user", user="a", credential="bc", policy="p")
    assert one != scoped(what(), "user", user="ab", credential="c", policy="p")


GOLDEN = {
    "plain": (
        asked({"model": "gpt-4o", "messages": [{"role": "user", "content": "é\n"}], "temperature": 0.5, "n": 1}),
        "3268460208ae239ac6cafc7ef3127384d3fa7b3d7d14ad841d6801af085e54d8",
    ),
    "bytes": (
        asked(b'{"a":1,"a":2}', headers=[("Content-Type", "application/json")]),
        "5ef44a138ee87bb12ebf4adeb5485c2777b99188071875bf773f2c9cfc24d5a9",
    ),
    "schema": (
        asked(
            {"tools": [{"input_schema": {"properties": {"b": {}, "a": {}}}}], "user": "me", "big": 10**30, "f": 1e22},
            path="/v1/messages?b=1&a=2&key=secret",
            headers=[("anthropic-version", "2023-06-01"), ("X-Api-Key", "sk-ant-0123456789abcdef")],
            host="gateway.example",
            port=8443,
        ),
        "e9a36dbb13518ba4e5456edb2b541bccd4a1a422bc9a60719b5aede347a92268",
    ),
}


@pytest.mark.parametrize("name", GOLDEN)
def test_golden(name: str) -> None:
    """The key of version 1 never changes: whoever changes it gives it another KEY_VERSION."""
    request, golden = GOLDEN[name]
    assert KEY_VERSION == 1
    assert scoped(material(request).hash(), "user", user="alice", credential="key:1", policy="default").hex() == golden
