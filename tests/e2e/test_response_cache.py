"""The response cache through a real proxy: who gets whose answer, what is never kept, and what a hit costs."""

from __future__ import annotations

import asyncio
import gzip
import json
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.support import answers
from tests.support.proxies import Proxy, running_proxy
from tests.support.standin import Received, Reply, Script, Standin, answers_json, gated
from tests.support.waiting import Gate, wait_until

LISTENER = Path(__file__).parents[1] / "support" / "listener.py"
CHAT = "https://api.openai.com/v1/chat/completions"
SCOPES = ("user", "credential", "policy", "shared")
KEYS = ("sk-proj-aaaaaaaaaaaaaaaaaaaaaaaa", "sk-proj-bbbbbbbbbbbbbbbbbbbbbbbb")


def _policy(scope: str, *more: str) -> str:
    return "\n".join(["[match]", f'X-Scope = "{scope}"', "[cache]", 'mode = "on"', f'scope = "{scope}"', *more])


POLICIES = {
    "default": "tracing = true\n",
    **{scope: _policy(scope) for scope in SCOPES},
    "small": _policy("small").replace('scope = "small"', "max_entry_bytes = 100"),
    "reading": _policy("user").replace('"on"', '"read-only"').replace('X-Scope = "user"', 'X-Scope = "reading"'),
    "writing": _policy("user").replace('"on"', '"write-only"').replace('X-Scope = "user"', 'X-Scope = "writing"'),
    "strict": _policy("user", "only_deterministic = true").replace('X-Scope = "user"', 'X-Scope = "strict"'),
}


@pytest.fixture(scope="module", params=["fast", "flows"])
def caching(
    request: pytest.FixtureRequest, standin: Standin, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Proxy]:
    """A proxy with a policy for each scope, chosen by the header `X-Scope`.

    Calls go over the fast lane, or, because another addon listens to mitmproxy's hooks, over flows.
    """
    listening = ["-s", str(LISTENER)] if request.param == "flows" else []
    folder = tmp_path_factory.mktemp("caching")
    with running_proxy(folder, standin, policies=POLICIES, mitm_args=listening) as proxy:
        yield proxy


def asked(text: str, **more: Any) -> dict[str, Any]:
    """A chat that no other test asks for."""
    return {"model": "gpt-4o-mini", "temperature": 0.5, "messages": [{"role": "user", "content": text}], **more}


class Caller:
    """Sends requests of one test through the proxy to a script of its own."""

    def __init__(self, proxy: Proxy, client: httpx2.Client, scope: str = "user", script: Script | None = None) -> None:
        self.client = client
        self.scope = scope
        self.script = script or proxy.standin.script()

    def __call__(self, user: str, body: dict[str, Any] | bytes, key: str = KEYS[0], **headers: str) -> httpx2.Response:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        own = {"X-Tracecli-User": user, "X-Scope": self.scope, "Authorization": f"Bearer {key}"}
        own["Content-Type"] = "application/json"
        return self.client.post(CHAT, content=content, headers={**own, **self.script.headers, **named})

    @property
    def upstream(self) -> int:
        """How often the provider was asked."""
        return len(self.script.received)


@pytest.fixture
def client(caching: Proxy) -> Iterator[httpx2.Client]:
    """A client that says nothing of its own about users."""
    with caching.client() as client:
        yield client


@pytest.fixture
def caller(caching: Proxy, client: httpx2.Client) -> Caller:
    """A caller under the policy of scope `user`."""
    return Caller(caching, client)


def told(answer: httpx2.Response) -> str:
    """What the cache said: `hit`, `fwd=miss`, ..."""
    assert answer.headers["cache-status"].startswith("tracecli; ")
    return str(answer.headers["cache-status"]).removeprefix("tracecli; ").partition(";")[0]


def until_kept(caller: Caller, user: str, body: dict[str, Any] | bytes, **headers: str) -> httpx2.Response:
    """Ask once; an answer is kept before the next request of the same kind is decided."""
    answer = caller(user, body, **headers)
    assert answer.status_code == 200
    return answer


# What a second request differs in, and the scopes in which it gets the first one's answer.
ALL: tuple[str, ...] = SCOPES
DIFFERENCES: dict[str, Sequence[str]] = {
    "same": ALL,
    "other user": ("credential", "policy", "shared"),
    "other credential": ("policy", "shared"),
    "other model": (),
    "other temperature": (),
    "other tools": (),
    "keys in another order": ALL,
    "unknown field": (),
    "other whitespace": ALL,
    "other user field": ALL,
}


def changed(difference: str, body: dict[str, Any]) -> bytes:
    """The body of the second request."""
    match difference:
        case "other model":
            body = {**body, "model": "gpt-4o"}
        case "other temperature":
            body = {**body, "temperature": 0.6}
        case "other tools":
            body = {**body, "tools": [{"type": "function", "function": {"name": "other"}}]}
        case "keys in another order":
            body = dict(reversed(body.items()))
        case "unknown field":
            body = {**body, "brand_new": None}
        case "other user field":
            body = {**body, "user": "somebody"}
    return json.dumps(body, indent=3 if difference == "other whitespace" else None).encode()


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize("difference", DIFFERENCES)
def test_exactly_the_right_requests_hit(
    caching: Proxy, client: httpx2.Client, user: str, difference: str, scope: str, stream: bool
) -> None:
    """A request is answered from the cache if and only if its scope and all that changes an answer are the same."""
    caller = Caller(caching, client, scope)
    body = asked(f"{user}?", stream=stream, user="me", tools=[{"type": "function", "function": {"name": "one"}}])
    first = until_kept(caller, user, body)
    assert told(first) == "fwd=miss"
    second = caller(
        f"{user}-other" if difference == "other user" else user,
        changed(difference, body),
        KEYS[1] if difference == "other credential" else KEYS[0],
    )
    if scope in DIFFERENCES[difference]:
        assert (told(second), caller.upstream) == ("hit", 1)
        assert second.content == first.content
        assert second.headers["content-type"] == first.headers["content-type"]
        assert 0 <= int(second.headers["age"]) < 60
    else:
        assert (told(second), caller.upstream) == ("fwd=miss", 2)


def test_plain_and_streamed_never_share(caller: Caller, user: str) -> None:
    """An answer in one piece is not given to who asked for a stream, nor the other way round."""
    until_kept(caller, user, asked(user))
    streamed = until_kept(caller, user, asked(user, stream=True))
    assert (told(streamed), caller.upstream) == ("fwd=miss", 2)
    assert told(caller(user, asked(user, stream=True))) == "hit"


def test_a_hit_is_an_exchange_of_its_own(
    caching: Proxy, caller: Caller, user: str, request: pytest.FixtureRequest
) -> None:
    """It costs nothing, names where it came from, and says what was saved, and which way it took."""
    first = until_kept(caller, user, asked(user))
    wait_until(lambda: caching.rows(user), "the record of the answer that is kept")
    second = caller(user, asked(user))
    wait_until(lambda: len(caching.rows(user)) == 2, "both records")
    hit, origin = caching.rows(user)
    assert (origin["cache_status"], hit["cache_status"], hit["cache_origin"]) == ("stored", "hit", origin["id"])
    assert (hit["cost_usd"], hit["saved_usd"]) == ("0", origin["cost_usd"])
    assert Decimal(hit["saved_usd"]) > 0
    assert 0 <= hit["saved_ms"] <= origin["duration_ms"]
    assert (origin["saved_usd"], origin["saved_ms"], origin["cache_origin"]) == (None, None, None)
    assert (hit["status"], hit["traced"], hit["outcome"], hit["user"]) == (200, True, "complete", user)
    assert (hit["input_tokens"], hit["finish_reasons"]) == (origin["input_tokens"], origin["finish_reasons"])
    assert first.content == second.content
    lanes = [caching.opened(row["id"])["lane"] for row in (origin, hit)]
    assert lanes == [request.node.callspec.params["caching"]] * 2


@pytest.mark.parametrize("mode", ["reading", "writing"])
def test_one_way_only(caching: Proxy, client: httpx2.Client, user: str, mode: str) -> None:
    """`read-only` keeps nothing; `write-only` asks the provider all the same, and others find what it kept."""
    caller = Caller(caching, client, mode)
    assert [told(caller(user, asked(user))) for _ in range(2)] == ["fwd=miss", "fwd=miss"]
    assert caller.upstream == 2
    other = Caller(caching, client, "user")
    assert told(other(user, asked(user))) == ("hit" if mode == "writing" else "fwd=miss")


def test_only_what_is_deterministic(caching: Proxy, client: httpx2.Client, user: str) -> None:
    """With `only_deterministic`, temperature 0 or a seed is asked for; the record says why others were not kept."""
    caller = Caller(caching, client, "strict")
    for more, hits in (({}, False), ({"temperature": 0}, True), ({"seed": 7}, True)):
        for _ in range(2):
            last = caller(user, asked(user, **more))
        assert (told(last) == "hit") is hits
    assert caching.rows(user)[-1]["cache_status"] == "bypass"


@pytest.mark.parametrize(
    ("control", "first", "second"),
    [
        ("no-store", "fwd=bypass", "fwd=bypass"),
        ("no-cache", "fwd=request", "fwd=request"),
        ("max-age=3600", "fwd=miss", "hit"),
        ("nonsense=, =, max-age=x", "fwd=miss", "hit"),
    ],
)
def test_the_client_may_ask_for_less(caller: Caller, user: str, control: str, first: str, second: str) -> None:
    """`Cache-Control` of a request is honoured, and never widens what the policy allows."""
    answered = [told(caller(user, asked(user), Cache_Control=control)) for _ in range(2)]
    assert answered == [first, second]
    assert told(caller(user, asked(user))) == ("fwd=miss" if control == "no-store" else "hit")


def test_a_client_that_wants_nothing_old(caller: Caller, user: str) -> None:
    """`max-age=0` asks the provider each time."""
    for _ in range(2):
        assert told(caller(user, asked(user), Cache_Control="max-age=0")).startswith("fwd=")
    assert caller.upstream == 2


def test_only_if_cached(caller: Caller, user: str) -> None:
    """`only-if-cached` never reaches the provider: an answer, or status 504."""
    assert caller(user, asked(user), Cache_Control="only-if-cached").status_code == 504
    assert caller.upstream == 0
    until_kept(caller, user, asked(user))
    assert caller(user, asked(user), Cache_Control="only-if-cached").status_code == 200
    assert caller.upstream == 1


def test_stateful_calls_are_never_kept(caching: Proxy, client: httpx2.Client, user: str) -> None:
    """What leans on earlier calls goes upstream each time, and the record says why."""
    script = caching.standin.script()
    headers = {"X-Tracecli-User": user, "X-Scope": "user", **script.headers}
    body = {"model": "gpt-4o-mini", "input": "go on", "previous_response_id": "resp_1"}
    for _ in range(2):
        answer = client.post("https://api.openai.com/v1/responses", json=body, headers=headers)
        assert told(answer) == "fwd=bypass"
    assert len(script.received) == 2
    assert caching.rows(user)[0]["cache_status"] == "bypass"


@pytest.mark.parametrize("status", [400, 429, 500])
def test_errors_are_not_kept(caching: Proxy, client: httpx2.Client, user: str, status: int) -> None:
    """An error is never given again."""
    error = {"error": {"message": "no", "type": "some_error"}}
    caller = Caller(caching, client, script=caching.standin.script(answers_json(error, status)))
    assert [caller(user, asked(user)).status_code for _ in range(2)] == [status, status]
    assert caller.upstream == 2


def test_an_error_inside_a_stream_is_not_kept(caching: Proxy, client: httpx2.Client, user: str) -> None:
    """Status 200 does not make an answer of an error."""
    events = answers.chat_sse(answers.chat_stream())[:2]
    events.append(b'data: {"error": {"message": "overloaded", "type": "server_error"}}\n\n')
    script = caching.standin.script(gated(events, [_opened() for _ in events]))
    caller = Caller(caching, client, script=script)
    for _ in range(2):
        assert b"overloaded" in caller(user, asked(user, stream=True)).content
    assert caller.upstream == 2


def _opened() -> Gate:
    gate = Gate()
    gate.open()
    return gate


def test_a_cut_answer_is_not_kept(caching: Proxy, client: httpx2.Client, user: str) -> None:
    """An answer that breaks off, or whose client leaves, is never given to anybody."""
    events = answers.chat_sse(answers.chat_stream())

    async def cut(_: Received, reply: Reply) -> None:
        await reply.head(200, [("Content-Type", "text/event-stream")])
        await reply.send(events[0])
        await reply.cut()

    broken = Caller(caching, client, script=caching.standin.script(cut))
    with pytest.raises(httpx2.HTTPError):
        broken(user, asked(user, stream=True))
    assert told(Caller(caching, client)(user, asked(user, stream=True))) == "fwd=miss"

    gates = [Gate() for _ in events]
    gates[0].open()
    script = caching.standin.script(gated(events, gates))
    headers = {"X-Tracecli-User": user, "X-Scope": "user", "Authorization": f"Bearer {KEYS[0]}", **script.headers}
    left = asked(f"{user} leaves", stream=True)
    with caching.client() as leaving, leaving.stream("POST", CHAT, json=left, headers=headers) as answer:
        next(answer.iter_raw())
    wait_until(lambda: caching.rows(user)[0]["outcome"] == "aborted", "the record of the client that left")
    for gate in gates:
        gate.open()
    caller = Caller(caching, client)
    assert told(caller(user, left)) == "fwd=miss"
    assert told(caller(user, left)) == "hit"


def test_a_client_that_has_all_of_a_stream_may_leave(caching: Proxy, client: httpx2.Client, user: str) -> None:
    """Clients hang up after the event that ends a stream: the answer was whole, and is kept."""
    events = answers.chat_sse(answers.chat_stream())
    gates = [_opened() for _ in events] + [Gate()]
    script = caching.standin.script(gated([*events, b": never\n\n"], gates))
    body = asked(user, stream=True)
    headers = {"X-Tracecli-User": user, "X-Scope": "user", "Authorization": f"Bearer {KEYS[0]}", **script.headers}
    with caching.client() as leaving, leaving.stream("POST", CHAT, json=body, headers=headers) as answer:
        had = b""
        for piece in answer.iter_raw():
            had += piece
            if had.endswith(b"[DONE]\n\n"):
                break
    wait_until(lambda: caching.rows(user), "the record")
    gates[-1].open()
    caller = Caller(caching, client)
    second = caller(user, body)
    assert (told(second), second.content) == ("hit", had)


def test_large_answers_are_not_kept(caching: Proxy, client: httpx2.Client, user: str) -> None:
    """An answer above `max_entry_bytes` passes, and is not stored."""
    caller = Caller(caching, client, "small")
    assert [told(caller(user, asked(user))) for _ in range(2)] == ["fwd=miss", "fwd=miss"]
    assert caching.rows(user)[0]["cache_status"] == "miss"


def test_a_client_gets_an_encoding_that_it_takes(caching: Proxy, client: httpx2.Client, user: str) -> None:
    """A compressed answer is given again as it was, or decoded to who does not take it."""
    packed = gzip.compress(json.dumps(answers.chat()).encode(), mtime=0)

    async def compressed(_: Received, reply: Reply) -> None:
        headers = [("Content-Type", "application/json"), ("Content-Encoding", "gzip"), ("Set-Cookie", "a=b")]
        await reply.head(200, [*headers, ("x-ratelimit-remaining-tokens", "5")], length=len(packed))
        await reply.send(packed)
        await reply.end()

    caller = Caller(caching, client, script=caching.standin.script(compressed))
    first = caller(user, asked(user), Accept_Encoding="gzip")
    assert first.headers["x-ratelimit-remaining-tokens"] == "5"
    for accepts, encoding in (("gzip, br", "gzip"), ("identity", None), ("br", None), ("gzip;q=0", None)):
        again = caller(user, asked(user), Accept_Encoding=accepts)
        assert (told(again), again.json(), again.headers.get("content-encoding")) == ("hit", first.json(), encoding)
        assert not {"set-cookie", "x-ratelimit-remaining-tokens"} & set(again.headers)
    assert caller.upstream == 1


def test_fifty_at_once_make_one_call(caching: Proxy, user: str) -> None:
    """Identical requests in flight share one call upstream, and each is recorded."""
    event, gate = answers.chat(), Gate()
    script = caching.standin.script(gated([json.dumps(event).encode()], [gate]))
    answered = _many(caching, script, user, 50, gate)
    assert len(script.received) == 1
    assert {answer.json()["id"] for answer in answered} == {event["id"]}
    wait_until(lambda: len(caching.rows(user)) == 50, "all records")
    statuses = [row["cache_status"] for row in caching.rows(user)]
    assert statuses.count("stored") == 1
    assert set(statuses) == {"stored", "collapsed"} or set(statuses) == {"stored", "collapsed", "hit"}


def _many(
    proxy: Proxy, script: Script, user: str, count: int, gate: Gate, waiting_for: int = 1
) -> list[httpx2.Response]:
    """So many identical requests at once; the gate opens when all have come to the proxy."""
    context = proxy.trust()

    def one(_: int) -> httpx2.Response:
        with proxy.client(verify=context) as client:
            return Caller(proxy, client, script=script)(user, asked(user))

    with ThreadPoolExecutor(count) as pool:
        futures = [pool.submit(one, number) for number in range(count)]
        script.arrived.wait()
        opening = threading.Timer(1.0, gate.open)
        opening.start()
        found = [future.result(30) for future in futures]
        opening.join()
    return found


def test_if_the_shared_call_fails_the_others_ask_themselves(caching: Proxy, user: str) -> None:
    """An error of the one call is the answer of that one alone."""
    first = threading.Event()
    gate = Gate()

    async def fails_once(received: Received, reply: Reply) -> None:
        if not first.is_set():
            first.set()
            await gate.passed()
            await answers_json({"error": {"message": "no", "type": "x"}}, 500)(received, reply)
        else:
            await answers_json(answers.chat(), 200)(received, reply)

    script = caching.standin.script(fails_once)
    answered = _many(caching, script, user, 8, gate)
    assert sorted(answer.status_code for answer in answered) == [200] * 7 + [500]


def test_if_the_leader_leaves_another_leads(caching: Proxy, user: str) -> None:
    """A client that gives up does not take the others with it."""
    gate = Gate()
    script = caching.standin.script(gated([json.dumps(answers.chat()).encode()], [gate]))
    headers = {"X-Tracecli-User": user, "X-Scope": "user", "Authorization": f"Bearer {KEYS[0]}", **script.headers}

    async def leave() -> list[httpx2.Response]:
        settings: dict[str, Any] = {"proxy": caching.url, "verify": caching.trust(), "trust_env": False, "timeout": 30}
        async with httpx2.AsyncClient(**settings) as leader, httpx2.AsyncClient(**settings) as others:
            first = asyncio.create_task(leader.post(CHAT, json=asked(user), headers=headers))
            await asyncio.to_thread(script.arrived.wait)
            rest = [asyncio.create_task(others.post(CHAT, json=asked(user), headers=headers)) for _ in range(5)]
            await asyncio.sleep(0.5)
            first.cancel()
            await asyncio.gather(first, return_exceptions=True)
            await leader.aclose()
            await asyncio.to_thread(wait_until, lambda: len(script.received) == 2, "another leader")
            gate.open()
            return await asyncio.gather(*rest)

    answered = asyncio.run(leave())
    assert [answer.status_code for answer in answered] == [200] * 5
    assert len(script.received) == 2


def test_a_hit_needs_no_provider(standin: Standin, tmp_path_factory: pytest.TempPathFactory, user: str) -> None:
    """After a restart, with a provider that refuses every connection, what was answered before is answered."""
    place = tmp_path_factory.mktemp("down")
    policies = {"default": '[cache]\nmode = "on"\n'}
    with running_proxy(place, standin, policies=policies) as proxy, proxy.client(user) as client:
        first = client.post(CHAT, json=asked(user))
        assert told(first) == "fwd=miss"
    with running_proxy(place, _Down(standin), policies=policies) as proxy, proxy.client(user) as client:
        again = client.post(CHAT, json=asked(user))
        assert (told(again), again.content) == ("hit", first.content)
        assert client.post(CHAT, json=asked("another")).status_code == 502


class _Down(Standin):
    """A provider of whom only ports are left where nobody listens."""

    def __init__(self, standin: Standin) -> None:
        self.authority = standin.authority
        self.port = self.plain_port = self.refusing = standin.refusing
