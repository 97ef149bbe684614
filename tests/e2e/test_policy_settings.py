"""What each setting of a policy does to real traffic, and who a request belongs to."""

from __future__ import annotations

import base64
import json
import random
import threading
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.support import answers
from tests.support.commands import tracecli
from tests.support.proxies import Place, Proxy, running_proxy
from tests.support.standin import Standin
from tests.support.waiting import wait_until
from tracecli.credentials import fingerprint

CHAT = "https://api.openai.com/v1/chat/completions"
EMBEDDINGS = "https://api.openai.com/v1/embeddings"
MESSAGES = "https://api.anthropic.com/v1/messages"
KEY = "sk-proj-cccccccccccccccccccccccc"

POLICIES = {
    "default": "tracing = true\n",
    "notice": "notice_header = true\n[match]\nX-Team = 'notice*'\n",
    "quiet": "notice_header = true\ntracing = false\n[match]\nX-Team = 'quiet'\n",
    "polite": "client_may_opt_out = true\n[match]\nX-Team = 'polite'\n",
    "none": "sampling = 0.0\n[match]\nX-Team = 'none'\n",
    "half": "sampling = 0.5\n[match]\nX-Team = 'half'\n",
    "embeds": "operations = ['embeddings']\n[match]\nX-Team = 'embeds'\n",
    "big": "models = ['gpt-4o', 'claude-*']\n[match]\nX-Team = 'big'\n",
    "kept": "[match]\nX-Team = 'kept'\n[retention]\ncontent = '1d'\nmetadata = '30d'\n",
    "both": "[match]\nX-Team = '*'\nX-Site = 'berlin'\n",
}


def prompt(text: str = "hello", **more: Any) -> dict[str, Any]:
    return {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": text}], **more}


@pytest.fixture(scope="module")
def ruled(standin: Standin, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    """A proxy with a policy for each setting, chosen by the header `X-Team`."""
    with running_proxy(tmp_path_factory.mktemp("settings"), standin, policies=POLICIES) as proxy:
        yield proxy


def ask(
    proxy: Proxy, user: str | None, url: str = CHAT, body: dict[str, Any] | None = None, **headers: str
) -> httpx2.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    with proxy.client(user) as client:
        answer = client.post(url, json=body or prompt(), headers=named)
        assert answer.status_code == 200, answer.text
        return answer


def test_a_header_chooses_a_policy(ruled: Proxy, user: str) -> None:
    """A policy whose headers fit applies, the one that asks for more headers first, and the record says so."""
    ask(ruled, user, X_Team="Notice-2")
    ask(ruled, user, X_Team="notice", X_Site="berlin")
    ask(ruled, user, X_Team="nothing-like-it")
    assert [row["policy"] for row in ruled.rows(user)] == ["default", "both", "notice"]


def test_the_client_is_told(ruled: Proxy, user: str) -> None:
    """With `notice_header`, each answer says what of it is recorded, under which id; without, nothing is added."""
    told = ask(ruled, user, X_Team="notice").headers["x-tracecli-recorded"]
    assert told == f"content; id={ruled.rows(user)[0]['id']}; policy=notice"
    told = ask(ruled, user, X_Team="quiet").headers["x-tracecli-recorded"]
    assert told == f"usage; id={ruled.rows(user)[0]['id']}; policy=quiet"
    assert "x-tracecli-recorded" not in ask(ruled, user).headers


def test_a_client_may_opt_out_where_the_policy_lets_it(ruled: Proxy, user: str) -> None:
    """`X-Tracecli-Trace: off` leaves a usage record without content; elsewhere it does nothing."""
    ask(ruled, user, X_Team="polite", X_Tracecli_Trace="off")
    ask(ruled, user, X_Team="polite")
    ask(ruled, user, X_Tracecli_Trace="off")
    assert [row["traced"] for row in ruled.rows(user)] == [True, True, False]
    assert "opted out" in ruled.opened(ruled.rows(user)[-1]["id"])["reason"]


def test_sampling_keeps_the_usage_of_all(ruled: Proxy, user: str) -> None:
    """Outside the sample a request is metered; a session is in it as a whole, or not at all."""
    ask(ruled, user, X_Team="none")
    assert ruled.only_row(user)["traced"] is False
    assert ruled.only_row(user)["input_tokens"] == 1500
    for session in range(12):
        for _ in range(2):
            ask(ruled, f"{user}-half", X_Team="half", X_Tracecli_Session=f"session {session}")
    wait_until(lambda: len(ruled.rows(f"{user}-half")) == 24, "all records")
    sampled: dict[str, set[bool]] = {}
    for row in ruled.rows(f"{user}-half"):
        sampled.setdefault(row["session"], set()).add(row["traced"])
    assert all(len(traced) == 1 for traced in sampled.values())
    assert {next(iter(traced)) for traced in sampled.values()} == {True, False}


def test_only_some_operations(ruled: Proxy, user: str) -> None:
    """Operations that a policy does not name are metered."""
    ask(ruled, user, X_Team="embeds")
    ask(ruled, user, EMBEDDINGS, {"model": "text-embedding-3-small", "input": "x"}, X_Team="embeds")
    assert [(row["operation"], row["traced"]) for row in ruled.rows(user)] == [("embeddings", True), ("chat", False)]


def test_only_some_models(ruled: Proxy, user: str) -> None:
    """Models that a policy does not name are metered, also in requests too large to be read before they go on."""
    ask(ruled, user, X_Team="big")
    ask(ruled, user, body=prompt(model="GPT-4o"), X_Team="big")
    ask(ruled, user, MESSAGES, prompt(model="claude-haiku-4-5", max_tokens=5), X_Team="big")
    ask(ruled, user, body=prompt("x" * 5_000_000), X_Team="big")
    ask(ruled, user, body=prompt("x" * 5_000_000, model="gpt-4o"), X_Team="big")
    assert [row["traced"] for row in ruled.rows(user)] == [True, False, True, True, False]
    assert all(row["input_tokens"] for row in ruled.rows(user))


# Who it is


def api_key(proxy: Proxy, key: str = KEY) -> str:
    """The fingerprint of a key at this proxy."""
    found = fingerprint([("Authorization", f"Bearer {key}")], "/", (proxy.home / "fingerprint.key").read_bytes())
    assert found is not None
    return found


def test_the_api_says_who(ruled: Proxy, user: str) -> None:
    """Without a user header, the API's own user field names the user; Claude Code's session is no part of the name."""
    ask(ruled, None, body=prompt(user=user))
    ask(ruled, None, body=prompt(safety_identifier=f"{user}-s", user=""))
    account, session = uuid.uuid4(), uuid.uuid4()
    ask(ruled, None, MESSAGES, prompt(metadata={"user_id": f"user_{'ab' * 32}_account_{account}_session_{session}"}))
    assert ruled.only_row(str(account))["session"] == str(session)
    assert ruled.only_row(user)["user_source"] == "api"
    assert ruled.only_row(f"{user}-s")["user_source"] == "api"
    ask(ruled, f"{user}-header", body=prompt(user=f"{user}-field"))
    assert ruled.only_row(f"{user}-header")["user_source"] == "header"
    assert ruled.rows(f"{user}-field") == []


def test_a_bound_user_needs_the_credential(ruled: Proxy, user: str) -> None:
    """Who only claims to be a bound user is taken for the credential, and the record says so."""
    bound = f"{user}-bound"
    ruled.policy(f"users/{bound}", f"max_body_bytes = 10\ncredentials = ['{api_key(ruled)}']\n")

    def applies() -> bool:
        ask(ruled, bound, Authorization="Bearer sk-proj-wrong-wrong-wrong-wrong")
        return bool(ruled.rows(api_key(ruled, "sk-proj-wrong-wrong-wrong-wrong")))

    wait_until(applies, "the binding to apply")
    before = len(ruled.rows(bound))
    ask(ruled, bound, Authorization=f"Bearer {KEY}")
    assert len(ruled.rows(bound)) == before + 1
    ask(ruled, None, body=prompt(user=bound), Authorization="Bearer sk-proj-other-other-other-other")
    other = ruled.only_row(api_key(ruled, "sk-proj-other-other-other-other"))
    assert other["user_source"] == "credential"
    assert f"claimed to be {bound}" in ruled.opened(other["id"])["reason"]
    assert len(ruled.rows(bound)) == before + 1


@pytest.mark.parametrize(
    ("values", "user_is"),
    [(["", "second"], "second"), (["first", "second"], "first"), (["", ""], None), (["\u00e4\u00f6"], "äö")],
)
def test_odd_user_headers_have_a_defined_answer(
    ruled: Proxy, user: str, values: list[str], user_is: str | None
) -> None:
    """The first value that is not empty counts; without one it is the credential."""
    key = f"sk-{user}-0123456789"
    pairs = [(b"X-Tracecli-User", (f"{user}{value}" if value else "").encode()) for value in values]
    with ruled.client() as client:
        client.post(CHAT, json=prompt(), headers=[*pairs, (b"Authorization", f"Bearer {key}".encode())])
    assert ruled.only_row(f"{user}{user_is}" if user_is else api_key(ruled, key))


def test_the_proxy_knows_its_users(standin: Standin, tmp_path_factory: pytest.TempPathFactory, user: str) -> None:
    """The user and secret of the proxy's URL say who it is; a wrong secret is refused, and neither is ever written."""
    place = Place(tmp_path_factory.mktemp("users"))
    added = tracecli(place.home, "user", "add", "alice", "--json")
    secret = json.loads(added.stdout)["secret"]
    with running_proxy(place, standin) as proxy:

        def through(name: str, word: str, url: str = CHAT, **headers: str) -> httpx2.Response:
            settings: dict[str, Any] = {"verify": proxy.trust(), "trust_env": False, "headers": headers}
            at = f"http://{name}:{word}@127.0.0.1:{proxy.port}"
            with httpx2.Client(proxy=at, **settings) as client:
                return client.post(url, json=prompt())

        assert through("alice", secret).status_code == 200
        assert proxy.only_row("alice")["user_source"] == "proxy"
        assert through("alice", secret, "http://localhost:11434/v1/chat/completions").status_code == 200
        assert through("alice", secret, **{"X-Tracecli-User": "bob"}).status_code == 200
        assert proxy.only_row("bob")["user_source"] == "header"
        with pytest.raises(httpx2.ProxyError, match="407"):
            through("alice", "wrong-wrong-wrong")
        assert through("alice", "wrong", "http://localhost:11434/v1/chat/completions").status_code == 407
        wait_until(lambda: len(proxy.rows("alice")) == 2, "both records")
        assert not any("roxy-" in name for name, _ in standin.received["/v1/chat/completions"][-1].headers)
    basic = base64.b64encode(f"alice:{secret}".encode()).decode()
    for file in place.folder.rglob("*"):
        if file.is_file():
            data = file.read_bytes()
            assert secret.encode() not in data and basic.encode() not in data, file


# Time


@pytest.fixture
def moving(standin: Standin, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Place, Clock]]:
    """A place whose proxies have a clock that the test moves."""
    place = Place(tmp_path_factory.mktemp("moving"))
    yield place, Clock(place.folder / "clock")


class Clock:
    """Seconds that a proxy's clock is ahead."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.ahead = 0.0
        self.set_to(0.0)

    def set_to(self, ahead: float) -> None:
        """Move it, forwards or back."""
        self.ahead = ahead
        draft = self.file.with_suffix(".draft")
        draft.write_text(str(ahead))
        draft.replace(self.file)


def test_a_temporary_policy_ends_to_the_second(standin: Standin, moving: tuple[Place, Clock], user: str) -> None:
    """Own settings end at `expires_at`, fall back to the assigned policy, over a restart and a clock that jumps."""
    place, clock = moving
    ends = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=2)
    place.policy("quiet", "tracing = false\n")
    place.policy(f"users/{user}", f"policy = 'quiet'\ntracing = true\nexpires_at = {ends.isoformat()}\n")
    script = str(Path(__file__).parents[1] / "support" / "clock.py")

    def traced_at(proxy: Proxy, moment: datetime) -> bool:
        clock.set_to((moment - datetime.now(UTC)).total_seconds())
        count = len(proxy.rows(user))
        ask(proxy, user)
        wait_until(lambda: len(proxy.rows(user)) > count, "the record")
        return bool(proxy.rows(user)[0]["traced"])

    for _ in range(2):
        with running_proxy(place, standin, mitm_args=["-s", script]) as proxy:
            assert traced_at(proxy, ends - timedelta(seconds=10))
            assert not traced_at(proxy, ends)
            assert not traced_at(proxy, ends + timedelta(days=400))
            assert traced_at(proxy, ends - timedelta(days=1))
            row = proxy.rows(user)[0]
            assert row["policy"] == "quiet"


def test_an_answer_is_given_for_its_time_to_live(standin: Standin, moving: tuple[Place, Clock], user: str) -> None:
    """A cached answer is a hit until its `ttl` is over, over a restart; a clock set back makes it no older than new."""
    place, clock = moving
    place.policy("default", "[cache]\nmode = 'on'\nttl = '1h'\n")
    script = str(Path(__file__).parents[1] / "support" / "clock.py")

    def told(proxy: Proxy, ahead: float) -> tuple[str, int]:
        clock.set_to(ahead)
        with proxy.client(user) as client:
            answer = client.post(CHAT, json=prompt(user), headers={"Cache-Control": "only-if-cached"})
        return answer.headers["cache-status"].split("; ")[1], int(answer.headers.get("age", -1))

    with running_proxy(place, standin, mitm_args=["-s", script]) as proxy:
        started = time.time()
        ask(proxy, user, body=prompt(user))
        assert proxy.only_row(user)["cache_status"] == "stored"
        status, age = told(proxy, 3500)
        assert status == "hit"
        assert 3500 <= age <= 3500 + time.time() - started + 1
        assert told(proxy, 3600)[0] != "hit"
    with running_proxy(place, standin, mitm_args=["-s", script]) as proxy:
        assert told(proxy, 3600)[0] != "hit"
        assert told(proxy, -86400) == ("hit", 0)
        assert told(proxy, 3000)[0] == "hit"


def test_edits_while_clients_send(standin: Standin, tmp_path_factory: pytest.TempPathFactory) -> None:
    """A thousand random edits under load: no request fails, and each decision is of one version of the policy."""
    place = Place(tmp_path_factory.mktemp("edits"))
    texts = [
        "tracing = true\nnotice_header = true\n",
        "tracing = false\nnotice_header = false\n",
        "tracing = true\nnotice_header = true\nmax_body_bytes = 100\n",
        "tracing = tru",  # broken: the last good one stays
    ]
    place.policy("default", texts[0])
    chosen = random.Random(20261123)
    stop = threading.Event()
    with running_proxy(place, standin) as proxy:
        context = proxy.trust()

        def send(number: int) -> dict[str, bool]:
            told: dict[str, bool] = {}
            with proxy.client(f"load-{number}", verify=context) as client:
                while not stop.is_set():
                    session = f"{number}-{len(told)}"
                    answer = client.post(CHAT, json=prompt(session), headers={"X-Tracecli-Session": session})
                    assert answer.status_code == 200
                    assert answer.json()["id"] == answers.chat()["id"]
                    told[session] = "x-tracecli-recorded" in answer.headers
            return told

        with ThreadPoolExecutor(20) as pool:
            sending = [pool.submit(send, number) for number in range(20)]
            for _ in range(1000):
                proxy.policy("default", chosen.choice(texts))
                time.sleep(0.004)
            stop.set()
            told = {session: notice for future in sending for session, notice in future.result(30).items()}
        wait_until(lambda: len(proxy.rows()) == len(told), "all records", deadline_s=60)
        rows = proxy.rows()
    assert {row["session"]: row["traced"] for row in rows} == told
    assert set(told.values()) == {True, False}


def test_refuse_what_cannot_be_recorded(standin: Standin, tmp_path_factory: pytest.TempPathFactory, user: str) -> None:
    """Where a policy says so, requests are refused while nothing can be recorded, others pass; then all goes on."""
    place = Place(tmp_path_factory.mktemp("refuse"))
    place.policy(f"users/{user}", "on_record_failure = 'refuse'\n")
    with running_proxy(place, standin) as proxy, proxy.client() as client:

        def status(name: str) -> int:
            return int(client.post(CHAT, json=prompt(), headers={"X-Tracecli-User": name}).status_code)

        assert status(user) == 200
        wait_until(lambda: not list(proxy.home.glob("spool/*")), "ingest to take everything")
        spool, aside = proxy.home / "spool", proxy.home / "aside"
        spool.rename(aside)
        spool.write_bytes(b"")  # so that nobody makes the folder again
        try:
            wait_until(lambda: status("other") == 200 and status(user) == 503, "a refusal")
            answer = client.post(CHAT, json=prompt(), headers={"X-Tracecli-User": user})
            assert answer.json()["error"]["type"] == "recording_unavailable"
            assert status("other") == 200
        finally:
            spool.unlink()
            aside.rename(spool)
        wait_until(lambda: status(user) == 200, "recording to resume")
