"""Who a request belongs to, and that credentials do not get through."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracecli.credentials import REDACTED, fingerprint, redact_headers, redact_path, secrets_of
from tracecli.identity import BY_PROXY, MAX_USER_LENGTH, Identity, identify, own_names

SECRET = b"s" * 32
NAMES = ("x-tracecli-user", "helicone-user-id")
KEY = "sk-proj-0123456789abcdef"


def test_header_wins_in_the_order_of_the_option() -> None:
    """The first configured header that has a value names the user."""
    headers = [("Helicone-User-Id", "bob"), ("X-Tracecli-User", "alice"), ("Authorization", f"Bearer {KEY}")]
    assert identify(headers, "/", NAMES, SECRET)[:2] == ("alice", "header")
    assert identify(headers[:1], "/", NAMES, SECRET)[:2] == ("bob", "header")


def test_the_order_of_claims() -> None:
    """Header, then the proxy's user, then the API's field, then the credential."""
    header, key = ("X-Tracecli-User", "alice"), ("x-api-key", KEY)

    def who(*headers: tuple[str, str], proxy: str | None = None, api: str | None = None) -> tuple[str, str]:
        return identify(list(headers), "/", NAMES, SECRET, proxy_user=proxy, api_user=lambda: api)[:2]

    assert who(header, key, proxy="bob", api="carol") == ("alice", "header")
    assert who(key, proxy="bob", api="carol") == ("bob", "proxy")
    assert who(key, api=" car\x00ol ") == ("carol", "api")
    assert who(key, api="\x01 ")[1] == "credential"
    assert who() == ("anonymous", "anonymous")


def test_a_bound_user_needs_its_credential() -> None:
    """A claim without the credential that its user is bound to is passed over, and told."""
    fingerprint_of_key = fingerprint([("x-api-key", KEY)], "/", SECRET) or ""
    bound = {"alice": [fingerprint_of_key], "bob": [BY_PROXY]}

    def who(name: str, key: str, proxy: str | None = None) -> Identity:
        headers = [("X-Tracecli-User", name), ("x-api-key", key)]
        return identify(headers, "/", NAMES, SECRET, proxy_user=proxy, bound_to=lambda user: bound.get(user, []))

    assert who("alice", KEY) == ("alice", "header", fingerprint_of_key, None)
    refused = who("alice", KEY + "2")
    assert (refused.source, refused.refused) == ("credential", "alice")
    assert who("alice", KEY + "2", proxy="carol")[:2] == ("carol", "proxy")
    assert who("bob", KEY, proxy="bob")[:2] == ("bob", "header")
    assert who("bob", KEY).refused == "bob"


@pytest.mark.parametrize(
    ("values", "user"),
    [
        (["", "  ", "carol"], "carol"),
        (["first", "second"], "first"),
        (["\x1b[31mred\x00"], "[31mred"),
        (["J\udcc3\udcbcrgen"], "Jürgen"),
        (["\udcff"], "\ufffd"),
        (["x" * 1000], "x" * MAX_USER_LENGTH),
    ],
)
def test_odd_user_headers(values: list[str], user: str) -> None:
    """Repeated, empty, hostile and over-long values have a defined answer."""
    assert identify([("X-Tracecli-User", value) for value in values], "/", NAMES, SECRET).user == user


def test_credential_stands_in_for_a_name() -> None:
    """Without a header, the same key gives the same user, whichever way it was sent; another key another one."""
    ways = [
        ([("Authorization", f"Bearer {KEY}")], "/"),
        ([("x-api-key", KEY)], "/"),
        ([("api-key", KEY)], "/"),
        ([("X-Goog-Api-Key", KEY)], "/"),
        ([], f"/v1beta/models?key={KEY}"),
    ]
    users = {identify(headers, path, NAMES, SECRET) for headers, path in ways}
    [(user, source, credential, refused)] = users
    assert (credential, refused) == (user, None)
    assert source == "credential"
    assert KEY not in user
    assert identify([("x-api-key", KEY + "2")], "/", NAMES, SECRET).user != user
    assert identify([("x-api-key", KEY)], "/", NAMES, b"t" * 32).user != user


def test_aws_signatures_count_by_access_key() -> None:
    """Signatures change with each request; the access key id does not."""
    value = "AWS4-HMAC-SHA256 Credential=AKIAEXAMPLE/20261123/us-east-1/bedrock/aws4_request, Signature="
    first, second = ([("Authorization", value + signature)] for signature in ("aa", "bb"))
    assert fingerprint(first, "/", SECRET) == fingerprint(second, "/", SECRET)


def test_nobody() -> None:
    """A request without name and credential is anonymous."""
    assert identify([("Accept", "*/*"), ("Authorization", " ")], "/?key=", NAMES, SECRET)[:2] == (
        "anonymous",
        "anonymous",
    )


def test_own_headers() -> None:
    """Ours are those of the prefix and the configured ones, in any case."""
    headers = [(name, "a") for name in ("X-TraceCLI-Anything", "X-User", "HELICONE-USER-ID")]
    assert own_names(headers, NAMES) == {"x-tracecli-anything", "helicone-user-id"}


@pytest.mark.parametrize(
    "name",
    [
        "Authorization", "proxy-authorization", "x-api-key", "api-key", "X-Goog-Api-Key", "Cookie", "Set-Cookie",
        "X-Amz-Security-Token", "Ocp-Apim-Subscription-Key", "x-portkey-virtual-key", "X-Auth-Token", "x-client-secret",
    ],
)  # fmt: skip
def test_credential_headers_are_redacted(name: str) -> None:
    """No value of a credential header stays; a scheme does."""
    assert redact_headers([(name, f"Bearer {KEY}"), (name, KEY)]) == [(name, f"Bearer {REDACTED}"), (name, REDACTED)]


@pytest.mark.parametrize(
    "name",
    [
        "x-ratelimit-limit-tokens",
        "x-amzn-bedrock-input-token-count",
        "openai-organization",
        "x-request-id",
        "anthropic-beta",
    ],
)
def test_other_headers_stay(name: str) -> None:
    """Names that count tokens, and other names, are no credentials."""
    assert redact_headers([(name, "17")]) == [(name, "17")]


def test_a_key_in_a_subprotocol_is_redacted() -> None:
    """A browser's key travels in sec-websocket-protocol."""
    [(_, value)] = redact_headers([("Sec-WebSocket-Protocol", f"realtime, openai-insecure-api-key.{KEY}, beta")])
    assert value == f"realtime, openai-insecure-api-key.{REDACTED}, beta"


def test_query() -> None:
    """Credentials in a query are replaced, the rest stays as it was, byte for byte."""
    path = f"/v1/x?alt=sse&key={KEY}&X-Amz-Signature=ab&max_tokens=5&a=%20b&b&access_token={KEY}&API_KEY=z"
    assert redact_path(path) == (
        f"/v1/x?alt=sse&key={REDACTED}&X-Amz-Signature={REDACTED}&max_tokens=5&a=%20b&b&access_token={REDACTED}&API_KEY={REDACTED}"
    )
    assert redact_path("/plain") == "/plain"


@given(st.text(alphabet="abcdef0123456789", min_size=16, max_size=60))
def test_secrets_are_found_bare(key: str) -> None:
    """The bare value is known wherever it was sent, to be taken out of places where it is repeated."""
    assert secrets_of([("Authorization", f"Bearer {key}")], "/") == [key]
    assert secrets_of([("x-api-key", key)], f"/?key={key}") == [key]
