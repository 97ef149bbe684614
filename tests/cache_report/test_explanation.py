"""What makes a request what it is to the cache, and where two differ."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.chats import asked, call, home_with_cache, store
from tracecli.cache.key import Asked, Material, material
from tracecli.cache_report.explanation import Difference, difference, explain
from tracecli.config import Home
from tracecli.errors import ExchangeNotFound


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return home_with_cache(tmp_path)


def of(body: bytes, path: str = "/v1/x", host: str = "api.openai.com", **headers: str) -> Material:
    """The key material of a request."""
    return material(Asked("POST", "https", host, 443, path, list(headers.items()), body))


def of_json(value: Any) -> Material:
    return of(json.dumps(value).encode())


@pytest.mark.parametrize(
    ("one", "other", "where", "values"),
    [
        ({"a": 1}, {"a": 1.0}, "$.a", ("1", "1.0")),
        ({"a": {"b": [1, {"c": 2}]}}, {"a": {"b": [1, {"c": 3}]}}, "$.a.b[1].c", ("2", "3")),
        ({"a": 1}, {"a": 1, "b": None}, "$.b", (None, "null")),
        ({"a": [1, 2]}, {"a": [1]}, "$.a[1]", ("2", None)),
        ({"a": {}}, {"a": {"b": 1}}, "$.a.b", (None, "1")),
        ({"a": {}}, {"a": []}, "$.a", ("{}", "[]")),
        ({"x.y": 1}, {"x.y": 2}, '$["x.y"]', ("1", "2")),
        ({"z": 1, "b": 1}, {"z": 2, "b": 2}, "$.b", ("1", "2")),
        ([1], {"a": 1}, "$", ("[1]", '{"a":1}')),
        ({"user": "a", "n": 1}, {"user": "b", "n": 1}, None, None),
    ],
)
def test_the_first_place_that_differs(one: Any, other: Any, where: str | None, values: Any) -> None:
    """A difference in JSON is told by its path; fields that are not in the key make none."""
    found = difference(of_json(one), of_json(other))
    assert found == (None if where is None else Difference(where, *values))


def test_parts_beside_the_body() -> None:
    """Host, path, query and headers are told by name, before the body."""
    base = of(b"{}", "/v1/x?b=1&c=1&c=2", Accept="a")
    for other, where, values in (
        (of(b"[]", "/v1/x?b=1&c=1&c=2", "other.example", Accept="a"), "host", ("api.openai.com", "other.example")),
        (of(b"[]", "/v1/x?b=1&c=1&c=3", Accept="a"), "query c [2]", ("c=2", "c=3")),
        (of(b"[]", "/v1/x?c=1&c=2", Accept="a"), "query b", ("b=1", None)),
        (of(b"[]", "/v1/x?b=1&c=1&c=2"), "header accept", ("a", None)),
        (of(b"no json", "/v1/x?b=1&c=1&c=2", Accept="a"), "body", ("{}", "no json")),
    ):
        assert difference(base, other) == Difference(where, *values)


def test_the_order_of_properties_comes_after_the_body() -> None:
    """Schemas that differ in the order of their properties alone do differ; else the place in the body is told."""

    def schema(*names: str) -> Material:
        return of_json({"tools": [{"parameters": {"properties": dict.fromkeys(names, 1)}}]})

    found = difference(schema("a", "b"), schema("b", "a"))
    assert found is not None
    assert found.where == "property order"
    found = difference(schema("a", "b"), schema("a", "b", "c"))
    assert found is not None
    assert found.where == "$.tools[0].parameters.properties.c"


def test_long_values_are_shown_where_they_differ() -> None:
    """Of texts that begin alike the place where they part is shown, and how long they are."""
    found = difference(of_json({"a": "x" * 1000 + "left"}), of_json({"a": "x" * 1000 + "right" * 100}))
    assert found is not None
    assert found.one == '…xxxxxxxxxxxxxxxxxxxxleft"… (1,006 characters)'
    assert found.other is not None
    assert found.other.startswith("…xxxxxxxxxxxxxxxxxxxxrightright")
    assert len(found.other) < 200


def test_nesting_has_no_limit() -> None:
    """Bodies nested as deep as a key takes them are compared like others."""
    deep = b'{"a":' * 500 + b"%d" + b"}" * 500
    found = difference(of(deep % 1), of(deep % 2))
    assert found is not None
    assert (found.where, found.one) == ("$" + ".a" * 500, "1")


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(0, 3) | st.sampled_from(["", "a", "\x1b[31m"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "b.c", "properties"]), inner),
    max_leaves=6,
)
_BODIES = _JSON.map(lambda value: json.dumps(value).encode()) | st.binary(max_size=6)


@given(_BODIES, _BODIES)
def test_a_difference_is_told_exactly_where_keys_differ(one: bytes, other: bytes) -> None:
    """Whatever the bodies: the same key has no difference, another key has one, which is the same from both sides."""
    left, right = of(one), of(other)
    found, back = difference(left, right), difference(right, left)
    assert (found is None) == (left.hash() == right.hash())
    if found is not None:
        assert back == Difference(found.where, found.other, found.one)


def test_two_recorded_requests(home: Home) -> None:
    """Two requests are compared; where they ask the same, it is told in what who asks differs."""
    ids = store(
        home,
        call(0, asked("a", temperature=0.5), cache_status="stored"),
        call(1, asked("a", temperature=0.7)),
        call(2, asked("a", temperature=0.5), user="bob", credential="key:2", cache_status="miss", cache_detail="ttl"),
    )
    found = explain(home, ids[0], ids[1])
    assert found.difference == Difference("$.temperature", "0.5", "0.7")
    assert (found.id, found.other_id, found.scope_differs) == (ids[0], ids[1], [])
    found = explain(home, ids[2], ids[0])
    assert found.difference is None
    assert found.scope_differs == ["user", "credential"]
    assert (found.cache_status, found.cache_detail) == ("miss", "ttl")
    assert dict(found.parts)["method"] == "POST"
    assert explain(home, ids[0]).asked_hash == found.asked_hash


def test_the_nearest_neighbour(home: Home) -> None:
    """One request is compared with the earlier one that has most in common, whatever came later or is less like it."""
    long = "a long question about something"
    ids = store(
        home,
        call(0, asked(long, temperature=0.5, top_p=1)),
        call(1, asked("other")),
        call(2, asked(long, temperature=0.5, top_p=1), host="other.example"),
        call(3, asked(long, temperature=0.6, top_p=1)),
        call(4, asked(long, temperature=0.6, top_p=1)),
    )
    assert explain(home, ids[0]).other_id is None
    found = explain(home, ids[3])
    assert (found.other_id, found.difference) == (ids[0], Difference("$.temperature", "0.6", "0.5"))
    found = explain(home, ids[4])
    assert (found.other_id, found.difference) == (ids[3], None)


def test_why_no_cache_would_help(home: Home) -> None:
    """Of a request whose policy had no cache it is told whether another could have kept its answer."""
    ids = store(
        home,
        call(0, asked("a")),
        call(1, asked("a", background=True)),
        call(2, asked("a"), status=429),
        call(3, asked("a"), request_cut=True),
    )
    assert [explain(home, one).why_not for one in ids] == [None, "background", "status_429", "request_cut"]


def test_without_content_there_is_no_key(home: Home) -> None:
    """A request that was recorded without content is refused, as either of the two."""
    with_content, without = store(home, call(0, asked("a")), call(1, b"", b"", traced=False, request_bytes=100))
    for one in ((without,), (with_content, without)):
        with pytest.raises(ExchangeNotFound, match=f"{without} has no content"):
            explain(home, *one)
