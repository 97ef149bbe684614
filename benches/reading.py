"""How long do people wait for what was recorded? Lists, filters, statistics and words, over a store of any size.

    python3 -m uv run --group dev python -m benches.reading [--rows 1000000] [--megabytes 300] [--rounds 5] [--home DIR]

The store is made up: rows by SQL, with skewed users, models, costs and times; bodies of chats whose history grows turn
by turn, more than half of the answers streamed. Printed are medians of interleaved rounds: each query in this process
beside the same SQL in bare DuckDB, opening one exchange, words over the bodies, whole commands beside Python importing
what they need, and the most memory that a command had.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime as dt
import json
import os
import random
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import duckdb

from tests.support.chats import answered, call
from tracecli import browse, finding
from tracecli.config import Home
from tracecli.ingest import run
from tracecli.query import sql, syntax
from tracecli.query.syntax import EVERYTHING, parse
from tracecli.spool import SpoolWriter
from tracecli.store import exchanges
from tracecli.store.connection import make, opened

QUERIES = (
    "",
    "user:user-7",
    "user:user-7 model:gpt-4* cost:>0.01 -status:200",
    "model:*sonnet*",
    "status:4xx since:3650d",
    "duration:>5s tokens:>10k",
    "errors:yes",
    "-user:user-7 (provider:openai OR provider:anthropic)",
)
GROUPS = (("model",), ("user",), ("day",), ("user", "model"))
COMMANDS = (
    ("usage", "show"),
    ("usage", "show", "user:user-7 cost:>0.01"),
    ("usage", "show", "last"),
    ("usage", "stats", "--by", "model"),
    ("usage", "stats", "--by", "session"),
    ("usage", "sessions"),
    ("usage", "find", "zzz-nothing", "user:nobody"),
)
LARGE = (
    ("usage", "show", "--limit", "100000", "--format", "jsonl"),
    ("usage", "show", "--limit", "20000", "--format", "json", "--sort", "cost"),
    ("usage", "stats", "--by", "hour,session"),
    ("usage", "report", "--html", os.devnull),
)
"""Commands that may take longer, and no more memory."""
FLOOR = "import duckdb, rich.table, click"
_ROWS = """
INSERT INTO exchange BY NAME
SELECT (hex8[1:8] || '-' || hex8[9:12] || '-7' || printf('%03x', i % 4096) || '-8000-'
        || printf('%012x', (hash(i) >> 16)::BIGINT))::UUID AS id,
    make_timestamptz(ms * 1000) AS started_at,
    exp(5 + (hash(i * 3) % 1000) / 250.0) AS duration_ms,
    100.0 + hash(i) % 300 AS ttfb_ms,
    CASE WHEN i % 2 = 0 THEN 150.0 + hash(i) % 400 END AS ttft_ms,
    'user-' || floor(200 * pow((hash(i * 7) % 10000) / 10000.0, 2))::INTEGER AS "user", 'header' AS user_source,
    ['default', 'red', 'metered'][1 + (hash(i * 5) % 3)::INTEGER] AS policy, 'no other policy applies' AS reason,
    CASE WHEN hash(i * 11) % 3 = 0 THEN 'run-' || (i // 40) END AS session,
    ['openai', 'anthropic', 'gcp.gemini'][1 + (hash(i * 13) % 3)::INTEGER] AS provider,
    'api.' || provider || '.example' AS host, 'chat' AS operation, 'POST' AS method, 'https' AS scheme, 443 AS port,
    '/v1/chat/completions' AS path, 'HTTP/1.1' AS http_version, 'flows' AS lane,
    CASE hash(i * 17) % 50 WHEN 0 THEN 429 WHEN 1 THEN 500 ELSE 200 END AS status, i % 2 = 0 AS stream,
    ['gpt-4o-mini', 'gpt-4o', 'claude-sonnet-4-5', 'gemini-2.5-pro'][1 + (hash(i * 19) % 4)::INTEGER] AS request_model,
    request_model || '-2026-01-01' AS response_model, 'response-' || i AS response_id, ['stop'] AS finish_reasons,
    (hash(i * 23) % 20000)::BIGINT AS input_tokens, (hash(i * 29) % 2000)::BIGINT AS output_tokens,
    (hash(i * 31) % 10000)::BIGINT AS cache_read_input_tokens, 'reported' AS usage_source,
    ((hash(i * 37) % 1000000) / 10000000.0)::DECIMAL(28, 15) AS cost_usd, 'computed' AS cost_source,
    'so many tokens at so much' AS cost_detail, 'complete' AS outcome, (hash(i) % 50000)::BIGINT AS request_bytes,
    (hash(i * 2) % 9000)::BIGINT AS response_bytes, false AS request_cut, false AS response_cut, false AS traced,
    []::VARCHAR[] AS flags, []::VARCHAR[] AS tools,
    [{'name': 'content-type', 'value': 'application/json'}] AS request_headers,
    [{'name': 'x-request-id', 'value': 'req_' || hash(i)}] AS response_headers, [{'bytes': 100, 'ms': 12.5}] AS chunks,
    1 AS record_version, '{"usage":{"input_tokens":' || i || '}}' AS cost_basis
FROM (SELECT i, 1764000000000 + i * 3000 AS ms, printf('%012x', ms) AS hex8 FROM range($1) AS numbers(i))
"""


def fill(home: Home, rows: int, megabytes: int, users: int = 1, marked: tuple[str, str] = ("", "")) -> int:
    """Make the store; returns how many bytes of bodies there are.

    Each chat is of another of the users; those of the one who is marked hold the mark.
    """
    home.prepare()
    make(home)
    with opened(home, write=True) as connection:
        connection.execute(_ROWS, [rows])
    return _chats(home, megabytes * 1_000_000, users, *marked) if megabytes else 0


def _chats(home: Home, wanted: int, users: int, marked: str, mark: str) -> int:
    """Chats of twelve turns, of the words of Python's library."""
    words = "\n".join(
        path.read_text("utf-8", "replace") for path in sorted(Path(json.__file__).parents[1].glob("*.py"))
    )
    chance = random.Random(1)

    def said(longest: int) -> str:
        size = chance.randrange(200, longest)
        begin = chance.randrange(len(words) - size)
        return words[begin : begin + size]

    spool = SpoolWriter(home.spool)
    size = second = 0
    system = said(6000)
    while size < wanted:
        user = f"user-{second // 12 % users}"
        more = f" {mark}" if user == marked else ""
        messages = [{"role": "system", "content": system}]
        for _ in range(12):
            second += 1
            messages.append({"role": "user", "content": said(9000) + more})
            stream = chance.random() < 0.6
            answer = said(3000) + more
            request = json.dumps({"model": "gpt-4o-mini", "messages": messages, "stream": stream}).encode()
            response = _streamed(answer) if stream else answered(answer)
            kind = "text/event-stream" if stream else "application/json"
            headers = [("Content-Type", "application/json")]
            spool.append(
                call(
                    second,
                    request,
                    response,
                    user=user,
                    request_headers=headers,
                    response_headers=[("Content-Type", kind)],
                )
            )
            messages.append({"role": "assistant", "content": answer})
            size += len(request) + len(response)
    spool.close()
    run(home, once=True, ended=lambda: True, policies=home.root / "policies")
    return size


def _streamed(text: str) -> bytes:
    about = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "gpt-4o-mini"}
    events = [
        {**about, "choices": [{"index": 0, "delta": {"content": piece}, "finish_reason": None}]}
        for piece in re.findall(r"\s*\S+\s*", text)
    ]
    return b"".join(b"data: " + json.dumps(event).encode() + b"\n\n" for event in events) + b"data: [DONE]\n\n"


def timed(what: Callable[[], Any]) -> float:
    """Milliseconds."""
    begun = time.perf_counter()
    what()
    return (time.perf_counter() - begun) * 1000


def beside(name: str, rounds: int, ours: Callable[[], Any], floor: Callable[[], Any]) -> None:
    """Print the medians of two, and how many times the second the first is."""
    pairs = [(timed(ours), timed(floor)) for _ in range(rounds)]
    one, other = (statistics.median(values) for values in zip(*pairs, strict=True))
    print(f"{name:60} {one:8.0f} ms {other:8.0f} ms {one / other:6.1f}")


def bare(home: Home, query: str, now: dt.datetime) -> None:
    """The same rows with nothing but DuckDB."""
    condition = sql.condition(parse(query), now)
    with _connection(home) as connection:
        connection.execute(
            f"SELECT {exchanges.ROW} FROM exchange WHERE {condition.sql} ORDER BY exchange.id DESC LIMIT 50",
            condition.parameters,
        ).fetchall()


def bare_sums(home: Home, by: tuple[str, ...]) -> None:
    """Sums and percentiles with nothing but DuckDB."""
    keys = {"user": '"user"', "model": "request_model", "day": "date_trunc('day', started_at::TIMESTAMP)"}
    names = ", ".join(keys[name] for name in by)
    with _connection(home) as connection:
        connection.execute(
            f"SELECT {names}, count(*), sum(input_tokens), sum(output_tokens), sum(cost_usd),"
            " quantile_cont(duration_ms, [0.5, 0.95, 0.99]), quantile_cont(ttft_ms, [0.5, 0.95, 0.99])"
            " FROM exchange GROUP BY ALL ORDER BY 2 DESC"
        ).fetchall()


@contextlib.contextmanager
def _connection(home: Home) -> Iterator[duckdb.DuckDBPyConnection]:
    with contextlib.closing(duckdb.connect(str(home.database), read_only=True)) as connection:
        yield connection


def command(home: Home, *arguments: str) -> None:
    """A whole command."""
    environment = {**os.environ, "TRACECLI_HOME": str(home.root)}
    subprocess.run(
        [sys.executable, *arguments], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True
    )


_WEIGH = """
import resource, subprocess, sys
subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""


def memory(home: Home, arguments: Sequence[str]) -> float:
    """The most memory of a whole command, in MB: below a small process, for a child begins with what its parent has."""
    environment = {**os.environ, "TRACECLI_HOME": str(home.root)}
    weigh = [sys.executable, "-c", _WEIGH, sys.executable, "-m", "tracecli", *arguments]
    return int(subprocess.check_output(weigh, env=environment)) * 1024 / 1e6


def main() -> None:
    """Make a store, or take the one there is, and read it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--megabytes", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--home", type=Path, help="where the store is made, and stays; it is used again")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        home = Home(options.home or Path(folder) / "home")
        size = 0
        if not home.database.exists():
            size = fill(home, options.rows, options.megabytes)
            print(f"{options.rows:,} rows and {size / 1e6:,.0f} MB of bodies\n")
        read(home, options.rounds)


def read(home: Home, rounds: int) -> None:
    """Print all figures."""
    now = dt.datetime.now(dt.UTC)
    print(f"{'in this process':60} {'ours':>11} {'DuckDB':>11} {'times':>6}")
    for query in QUERIES:
        wanted = parse(query)
        beside(
            f"list {query}",
            rounds,
            lambda wanted=wanted: finding.rows(home, wanted, now, limit=50),  # type: ignore[misc]
            lambda query=query: bare(home, query, now),  # type: ignore[misc]
        )
    for by in GROUPS:
        beside(
            f"stats --by {','.join(by)}",
            rounds,
            lambda by=by: finding.first_statistics(home, EVERYTHING, by, now, order="requests", limit=30),  # type: ignore[misc]
            lambda by=by: bare_sums(home, by),  # type: ignore[misc]
        )
    took = statistics.median(timed(lambda: browse.open_exchange(home, browse.LAST)) for _ in range(rounds))
    print(f"{'open the last one':60} {took:8.0f} ms")
    for text in ("zzznothing", "OrderedDict"):
        took = statistics.median(timed(lambda text=text: _first(home, text, now)) for _ in range(rounds))  # type: ignore[misc]
        print(f"{'find ' + text + ', the first 20':60} {took:8.0f} ms")
    print(f"\n{'whole commands':60} {'ours':>11} {'imports':>11} {'times':>6}")
    for arguments in COMMANDS:
        beside(
            " ".join(arguments),
            rounds,
            lambda arguments=arguments: command(home, "-m", "tracecli", *arguments),  # type: ignore[misc]
            lambda: command(home, "-c", FLOOR),
        )
    beside(
        "--help", rounds, lambda: command(home, "-m", "tracecli", "--help"), lambda: command(home, "-c", "import click")
    )
    print(f"\n{'memory of a whole command':60}")
    for some in (*COMMANDS, *LARGE):
        print(f"{' '.join(some):60} {memory(home, some):8.0f} MB")


def _first(home: Home, text: str, now: dt.datetime) -> None:
    for number, _ in enumerate(finding.search(home, syntax.words(text), EVERYTHING, now), 1):
        if number == 20:
            return


if __name__ == "__main__":
    main()
