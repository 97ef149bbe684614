"""Each request belongs to somebody, and nobody's credential reaches a file."""

from __future__ import annotations

import contextlib
import json
import secrets
import time
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from tests.support import answers
from tests.support.proxies import Proxy, running_proxy
from tests.support.secrets_in_files import files_with
from tests.support.standin import Pairs, Standin, answers_json, answers_with, gated
from tests.support.waiting import Gate, wait_until
from tracecli.tickets import PROXY_USER, Ticket, issue

CHAT = "https://api.openai.com/v1/chat/completions"
ASKED: dict[str, Any] = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Who am I?"}]}


@pytest.fixture(scope="module")
def vault(standin: Standin, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    """A proxy with a home that only these tests fill, so that all of it can be searched."""
    with running_proxy(tmp_path_factory.mktemp("vault"), standin, via="tracecli") as proxy:
        yield proxy


@pytest.fixture
def key() -> str:
    """A credential that nobody else has."""
    return f"sk-proj-{secrets.token_urlsafe(32)}"


def newest_with(proxy: Proxy, marker: str) -> dict[str, Any]:
    """The one record whose session is `marker`: for requests that name no user."""

    def find() -> dict[str, Any] | None:
        found = [row for row in proxy.rows() if row["session"] == marker]
        assert len(found) <= 1, found
        return found[0] if found else None

    return wait_until(find, f"a record of session {marker}")


def ask(proxy: Proxy, headers: Pairs, session: str, url: str = CHAT) -> httpx2.Response:
    with proxy.client() as client:
        return client.post(url, json=ASKED, headers=[*headers, ("X-Tracecli-Session", session)])


def test_our_headers_stay_here(vault: Proxy, user: str) -> None:
    """The user is recorded, and none of our headers reaches the provider; the others do, as they were."""
    script = vault.standin.script()
    others = [("X-Stainless-Lang", "python"), ("OpenAI-Beta", "one"), ("openai-beta", "two"), *script.headers.items()]
    ours = [("X-Tracecli-User", user), ("x-tracecli-session", "s1"), ("X-TRACECLI-Anything", "else")]
    ours.append(("X-Tracecli-Tags", "nightly, agent 7,"))
    with vault.client() as client:
        client.post(CHAT, json=ASKED, headers=[*ours, *others])
    (received,) = script.received
    assert [name for name, _ in received.headers if "tracecli" in name.lower()] == []
    assert [(name, value) for name, value in received.headers if (name, value) in others] == others
    one = vault.only_opened(user)
    assert (one["user_source"], one["session"]) == ("header", "s1")
    assert one["tags"] == ["nightly", "agent 7"]
    assert "tracecli" not in json.dumps(one["request"]["headers"]).lower()


def test_tags_of_a_client(proxy: Proxy, user: str) -> None:
    """A client's tags are recorded on either lane, and do not reach the provider."""
    script = proxy.standin.script()
    with proxy.client(user) as client:
        key = f"sk-proj-{secrets.token_urlsafe(32)}"
        ours = [("X-Tracecli-Tags", "nightly, agent 7,nightly"), ("x-tracecli-tags", f"k {key},{'x' * 60}, {'y' * 60}")]
        about = [("Authorization", f"Bearer {key}"), *script.headers.items()]
        client.post(CHAT, json=ASKED, headers=[*ours, ("X-Tracecli-Session", f"s {key}"), *about])
    (received,) = script.received
    assert not any("tracecli" in name.lower() for name, _ in received.headers)
    row = proxy.only_row(user)
    assert row["tags"][:2] + row["tags"][3:] == ["nightly", "agent 7", "x" * 60, "y" * 60]
    assert key not in json.dumps(row)


@pytest.mark.parametrize(
    ("values", "wanted"),
    [
        (["{user}", "somebody-else"], "{user}"),
        (["", "{user}"], "{user}"),
        (["{user}", ""], "{user}"),
    ],
)
def test_a_repeated_or_empty_user_header(vault: Proxy, user: str, values: list[str], wanted: str) -> None:
    """Of a repeated header the first that says something counts, and all of them are taken out."""
    script = vault.standin.script()
    headers = [("X-Tracecli-User", value.format(user=user)) for value in values]
    with vault.client() as client:
        client.post(CHAT, json=ASKED, headers=[*headers, *script.headers.items()])
    assert vault.only_row(wanted.format(user=user))["user_source"] == "header"
    assert script.received[0].header("x-tracecli-user") is None


def test_a_name_beyond_ascii(vault: Proxy, user: str) -> None:
    """A name in UTF-8 is recorded as it is."""
    name = f"Zoë-山田-{user}"
    with vault.client() as client:
        client.post(CHAT, json=ASKED, headers=[(b"X-Tracecli-User", name.encode())])
    assert vault.only_row(name)["user_source"] == "header"


@pytest.mark.parametrize("values", [[], [""], ["", ""]])
def test_without_a_user_the_credential_stands_for_one(vault: Proxy, user: str, key: str, values: list[str]) -> None:
    """Without a user header, or with an empty one, requests with the same key belong together, with another not."""
    headers = [("X-Tracecli-User", value) for value in values]
    for number, bearer in enumerate([key, key, key[::-1]]):
        ask(vault, [*headers, ("Authorization", f"Bearer {bearer}")], f"{user}-{number}")
    first, second, other = (newest_with(vault, f"{user}-{number}") for number in range(3))
    assert first["user_source"] == "credential"
    assert first["user"] == second["user"] != other["user"]
    assert first["user"].startswith("key:")
    assert key[:12] not in first["user"]


def test_a_key_is_the_same_wherever_it_stands(vault: Proxy, user: str, key: str) -> None:
    """A key has one fingerprint, in whichever header or query it comes."""
    ways: list[tuple[Pairs, str]] = [
        ([("Authorization", f"Bearer {key}")], CHAT),
        ([("x-api-key", key)], "https://api.anthropic.com/v1/messages"),
        ([], f"{CHAT}?key={key}"),
    ]
    for number, (headers, url) in enumerate(ways):
        ask(vault, headers, f"{user}-{number}", url)
    found = {newest_with(vault, f"{user}-{number}")["user"] for number in range(len(ways))}
    assert len(found) == 1


def test_nobody(vault: Proxy, user: str) -> None:
    """A request without header and credential is anonymous."""
    ask(vault, [], user)
    row = newest_with(vault, user)
    assert (row["user"], row["user_source"]) == ("anonymous", "anonymous")


@pytest.mark.parametrize(
    ("headers", "query"),
    [
        ([("Authorization", "Bearer {key}")], ""),
        ([("Authorization", "{key}")], ""),
        ([("x-api-key", "{key}")], ""),
        ([("api-key", "{key}")], ""),
        ([("X-Goog-Api-Key", "{key}")], ""),
        ([("Cookie", "session={key}; other=1")], ""),
        ([("Proxy-Authorization", "Basic {key}")], ""),
        ([("X-Amz-Security-Token", "{key}")], ""),
        ([], "?key={key}"),
        ([], "?alt=sse&api_key={key}"),
    ],
    ids=lambda value: str(value).replace("{key}", "").strip("[]()?") or "none",
)
def test_a_credential_is_in_no_file(vault: Proxy, user: str, key: str, headers: Pairs, query: str) -> None:
    """A credential reaches the provider, and no file: while the answer streams, after ingest, compressed or not."""
    events = answers.chat_sse(answers.chat_stream())
    gates = [Gate(), Gate()]
    script = vault.standin.script(gated(events, gates))
    sent = [(name, value.format(key=key)) for name, value in headers]
    sent += [("X-Tracecli-User", user), *script.headers.items()]
    with (
        vault.client() as client,
        client.stream("POST", CHAT + query.format(key=key), json=ASKED | {"stream": True}, headers=sent) as answer,
    ):
        pieces = answer.iter_raw()
        gates[0].open()
        next(pieces)
        assert files_with(vault.folder, key) == []
        gates[1].open()
        for _ in pieces:
            pass
    (received,) = script.received
    assert key in received.path + str(received.headers)
    assert vault.only_row(user)["outcome"] == "complete"
    assert files_with(vault.folder, key) == []
    assert key not in json.dumps(vault.only_opened(user))
    vault.stored_row(user)
    assert files_with(vault.folder, key) == []


def test_the_search_finds_what_is_there(vault: Proxy, user: str) -> None:
    """What these tests look with does find recorded text, in the spool and in what ingest makes of it."""
    with vault.client(user) as client:
        client.post(CHAT, json=ASKED | {"messages": [{"role": "user", "content": f"find {user}-content"}]})
    vault.only_row(user)
    assert files_with(vault.home, f"{user}-content")
    vault.stored_row(user)
    found = files_with(vault.home, f"{user}-content")
    assert found and all(name.endswith(".parquet") for name in found)
    assert files_with(vault.home, user)


def test_secrets_in_answers(vault: Proxy, user: str, key: str) -> None:
    """A cookie that the provider sets reaches the client, and no file."""
    headers = [("Content-Type", "application/json"), ("Set-Cookie", f"__cf_bm={key}; path=/; HttpOnly")]
    script = vault.standin.script(answers_with(json.dumps(answers.chat()).encode(), headers))
    with vault.client(user) as client:
        answer = client.post(CHAT, json=ASKED, headers=script.headers)
    assert key in answer.headers["set-cookie"]
    names = [name.lower() for name, _ in vault.only_opened(user)["response"]["headers"]]
    assert "set-cookie" in names
    assert files_with(vault.folder, key) == []


def test_an_error_that_repeats_the_key(vault: Proxy, user: str, key: str) -> None:
    """A provider that repeats a wrong key in its error message tells the client, and no file."""
    error = {"error": {"message": f"Incorrect API key provided: {key}.", "type": "invalid_request_error"}}
    script = vault.standin.script(answers_json(error, 401))
    with vault.client(user) as client:
        answer = client.post(CHAT, json=ASKED, headers={"Authorization": f"Bearer {key}", **script.headers})
    assert key in answer.text
    row = vault.only_row(user)
    assert "Incorrect API key" in row["error"]
    assert files_with(vault.folder, key) == []


def test_a_credential_of_a_failed_call(vault: Proxy, user: str, key: str) -> None:
    """A call that never reaches its provider leaves no credential either."""
    with vault.client(user) as client:
        answer = client.post(
            f"https://api.groq.com/openai/v1/chat/completions?key={key}",
            json=ASKED,
            headers={"Authorization": f"Bearer {key}"},
        )
    assert answer.status_code == 502
    assert vault.only_row(user)["outcome"] == "failed"
    assert files_with(vault.folder, key) == []


def test_the_home_is_private(vault: Proxy, user: str) -> None:
    """Nobody else on the machine can read what is recorded: files are 0600, folders 0700."""
    ask(vault, [("X-Tracecli-User", user)], user)
    vault.stored_row(user)
    modes = {}
    for path in [vault.home, *vault.home.rglob("*")]:
        with contextlib.suppress(FileNotFoundError):  # drafts and segments come and go
            modes[str(path.relative_to(vault.home))] = path.stat().st_mode
    assert {"traces.duckdb", "bodies", "spool"} <= modes.keys()
    assert {name: oct(mode) for name, mode in modes.items() if mode & 0o077} == {}


@pytest.mark.parametrize("url", [CHAT, "http://localhost:11434/v1/chat/completions"], ids=["tunnel", "plain"])
def test_a_ticket(proxy: Proxy, user: str, url: str) -> None:
    """A ticket in place of the proxy's password says user and session, and stays here. A forged one proves nothing."""
    script = proxy.standin.script()
    told = Ticket(user, f"s-{user}", "no such policy", time.time() + 60)
    good = issue((proxy.home / "fingerprint.key").read_bytes(), told)
    forged = issue(b"x" * 32, told)
    for ticket in (good, forged):
        through = f"http://{PROXY_USER}:{ticket}@127.0.0.1:{proxy.port}"
        with httpx2.Client(proxy=through, verify=proxy.trust(), trust_env=False) as client:
            headers = {"Authorization": f"Bearer sk-{user}", **script.headers}
            assert client.post(url, json=ASKED, headers=headers).status_code == 200
    row = proxy.only_row(user)
    assert (row["user_source"], row["session"], row["policy"]) == ("proxy", f"s-{user}", "default")
    assert [received.header("proxy-authorization") for received in script.received] == [None, None]
    assert files_with(proxy.home, good.partition(".")[2]) == []
