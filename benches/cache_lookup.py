"""What does it cost to decide about a request and to look it up? With many users and many stored answers.

    python3 -m uv run --group dev python -m benches.cache_lookup [--users 10000] [--entries 100000] [--rounds 20000]

A small chat request of a user who has a file of his own is decided about, its key is made, and its answer is found, as
the proxy's event loop does it; all of it random, so that SQLite has to go through its whole file. Printed are the
median and the 99th percentile of each step and of all together, and what storing an answer and noting its use take.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from tracecli.cache.entries import Entries, Entry
from tracecli.cache.key import Asked, material, scoped
from tracecli.cache.storable import request_control, why_not_asked
from tracecli.exchange import Headers, new_id
from tracecli.policy.rules import PolicySet

HEADERS: Headers = [
    ("Host", "api.openai.com"),
    ("Accept", "application/json"),
    ("Accept-Encoding", "gzip, deflate, br, zstd"),
    ("Connection", "keep-alive"),
    ("User-Agent", "OpenAI/Python 3.54.0"),
    ("Authorization", f"Bearer sk-proj-{'a' * 40}"),
    ("Content-Type", "application/json"),
    ("X-Stainless-Lang", "python"),
    ("X-Stainless-Package-Version", "3.54.0"),
    ("X-Stainless-OS", "Linux"),
    ("X-Stainless-Arch", "x64"),
    ("X-Stainless-Runtime", "CPython"),
    ("X-Stainless-Async", "false"),
    ("X-Stainless-Retry-Count", "0"),
]
ANSWERED: Headers = [
    ("Content-Type", "application/json"),
    *((f"X-Header-{number}", "value" * 4) for number in range(15)),
]
STEPS = ("policy", "key", "lookup", "policy + lookup", "together")


def policies(users: int) -> PolicySet:
    """A default, a policy that a header chooses, an assigned one, and a file for each user."""
    named: dict[str, dict[str, Any]] = {
        "default": {"cache": {"mode": "on"}},
        "evals": {"match": {"X-Team": "evals*"}, "cache": {"mode": "on", "scope": "policy"}},
        "assigned": {"extends": "default", "cache": {"ttl": "1h"}},
    }
    return PolicySet(named, {user(number): {"policy": "assigned", "sampling": 0.5} for number in range(users)})


def user(number: int) -> str:
    """A user's name."""
    return f"user-{number}@example.com"


def request(number: int, spaced: bool) -> Asked:
    """A small chat request, like no other; `spaced` as Python's json writes it by default."""
    messages = [
        {"role": "system", "content": "You are a helpful assistant."},
        {"role": "user", "content": f"{number}: what is the capital of this country? " + "Please think. " * 60},
    ]
    body = {"model": "gpt-4o-mini", "temperature": 0.2, "messages": messages, "stream": False}
    written = json.dumps(body, separators=None if spaced else (",", ":")).encode()
    return Asked("POST", "https", "api.openai.com", 443, "/v1/chat/completions", HEADERS, written)


def key_of(asked: Asked, name: str) -> bytes:
    """The key as the cache makes it: the request's own wishes, whether it may be looked up, what it asks."""
    request_control(asked.headers)
    of = material(asked)
    if why_not_asked("chat", asked.method, asked.headers, of.value, only_deterministic=False) is not None:
        raise SystemExit("the request is none for the cache")
    return scoped(of.hash(), "user", user=name, credential="key:0123456789abcdef", policy="assigned")


def stored(key: bytes, name: str, chance: random.Random) -> Entry:
    """An answer of some 1.5 KB."""
    text = " ".join(chance.choices(WORDS, k=200))
    answer = {"id": f"chatcmpl-{chance.getrandbits(64):x}", "choices": [{"message": {"content": text}}]}
    return Entry(
        key=key,
        asked_hash=key,
        exchange_id=new_id(),
        stored_at=time.time(),
        duration_ms=850.0,
        user=name,
        policy="assigned",
        provider="openai",
        host="api.openai.com",
        operation="chat",
        model="gpt-4o-mini",
        status=200,
        headers=ANSWERED,
        body=json.dumps(answer).encode(),
    )


WORDS = ["".join(random.Random(number).choices("abcdefghijklmnop", k=2 + number % 8)) for number in range(3_000)]


def timed(work: Callable[[], Any], found: list[float]) -> Any:
    """The result of one run; its time in microseconds goes to `found`."""
    begun = time.perf_counter()
    result = work()
    found.append((time.perf_counter() - begun) * 1e6)
    return result


def show(name: str, times: list[float]) -> None:
    """A line of figures."""
    p99 = statistics.quantiles(times, n=100)[98]
    print(f"  {name:16} median {statistics.median(times):7.1f} µs   p99 {p99:7.1f} µs")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, default=10_000)
    parser.add_argument("--entries", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=20_000)
    asked = parser.parse_args()
    chance = random.Random(0)
    rules = policies(asked.users)
    with tempfile.TemporaryDirectory() as folder:
        entries = Entries(Path(folder) / "cache.db", 10**10)
        puts: list[float] = []
        for number in range(asked.entries):
            name = user(number % asked.users)
            entry = stored(key_of(request(number, False), name), name, chance)
            timed(lambda entry=entry: entries.put(entry), puts)  # type: ignore[misc]
        number, size = entries.held()
        print(f"{asked.users:,} users, {number:,} entries of {size / 1e6:.0f} MB, {asked.rounds:,} requests")
        for spaced in (False, True):
            times = look(entries, rules, asked.users, asked.entries, asked.rounds, chance, spaced)
            print(f" bodies as {'Python writes them by default' if spaced else 'the SDKs write them'}")
            for step in STEPS:
                show(step, times[step])
        ticks: list[float] = []
        timed(entries.tick, ticks)
        print(" beside the event loop")
        show("store", puts)
        print(f"  writing down {2 * asked.rounds:,} uses took {ticks[0] / 1000:.0f} ms")
        entries.close()


def look(
    entries: Entries, rules: PolicySet, users: int, held: int, rounds: int, chance: random.Random, spaced: bool
) -> dict[str, list[float]]:
    """The times of each step."""
    times: dict[str, list[float]] = {step: [] for step in STEPS}
    for _ in range(rounds):
        number = chance.randrange(held)
        asked, name = request(number, spaced), user(number % users)
        timed(partial(rules.decide, name, asked.headers, 1_780_000_000.0), times["policy"])
        key = timed(partial(key_of, asked, name), times["key"])
        if timed(partial(entries.get, key), times["lookup"]) is None:
            raise SystemExit("an entry is not found")
        times["policy + lookup"].append(times["policy"][-1] + times["lookup"][-1])
        times["together"].append(times["policy + lookup"][-1] + times["key"][-1])
    return times


if __name__ == "__main__":
    main()
