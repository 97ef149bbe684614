"""What does ingest cost? CPU per exchange of the real process, over a spool of exchanges that are all different.

    python3 -m uv run --group dev python -m benches.ingest [--count 20000] [--kind small large stream] [--rounds 3]
        [--src FOLDER ...] [--rules 0] [--profile]

A spool is written as the proxy writes it: plain chats with answers of 2 KB (`small`) and of 50 KB (`large`), and
streams of 100 chunks (`stream`). Then `tracecli ingest --once` loads it into a new home. Printed is the median of the
rounds: CPU (user and system, of all threads) and wall time per exchange, without what a process takes to start and to
load its first one, which is measured beside it, and the largest memory that the process had. Texts are of random words
and every id is new, so that no part is stored already. `--src` names the source folders of other states of tracecli,
to be measured in turns with each other. `--rules` has so many rules look at all that was said: of twenty words each, of
patterns, detectors and metadata in turns, of which few fit. `--profile` runs ingest in this process under cProfile
instead.
"""

from __future__ import annotations

import argparse
import cProfile
import json
import os
import pstats
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from tracecli import ingest
from tracecli.config import Home
from tracecli.exchange import Captured, Exchange, new_id
from tracecli.spool import SpoolWriter

COUNTS = {"small": 20_000, "large": 4_000, "stream": 4_000}
_HERE = Path(__file__).parents[1] / "src"
_WORDS = [word.strip(".,:;()`\"'") for word in (Path(__file__).parents[1] / "docs" / "design.md").read_text().split()]

# As OpenAI's client sends and its API answers.
_ASKED = [
    ("Host", "api.openai.com"),
    ("Accept-Encoding", "gzip, deflate"),
    ("Connection", "keep-alive"),
    ("Accept", "application/json"),
    ("Content-Type", "application/json"),
    ("User-Agent", "OpenAI/Python 2.8.1"),
    ("X-Stainless-Lang", "python"),
    ("X-Stainless-Package-Version", "2.8.1"),
    ("X-Stainless-OS", "Linux"),
    ("X-Stainless-Runtime", "CPython"),
    ("Authorization", "Bearer [redacted]"),
    ("X-Stainless-Retry-Count", "0"),
]


def exchanges(kind: str, count: int) -> Iterator[Captured]:
    """So many exchanges of a kind; the same for every run but for their ids."""
    chance = random.Random(5)
    for number in range(count):
        question = {"role": "user", "content": _text(chance, 300)}
        system = {"role": "system", "content": _text(chance, 100)}
        asked: dict[str, Any] = {"model": "gpt-4o-mini", "messages": [system, question]}
        chunks: list[tuple[int, float]] = [(0, 1.0)]
        if kind == "stream":
            asked |= {"stream": True, "stream_options": {"include_usage": True}}
            events = list(_events(chance))
            answer, chunks = b"".join(events), []
            for event in events:
                size = chunks[-1][0] if chunks else 0
                chunks.append((size + len(event), round(200 + 20 * len(chunks) + chance.random(), 3)))
        else:
            answer = _answer(chance, 2048 if kind == "small" else 50 << 10)
            chunks = [(len(answer), round(400 + 100 * chance.random(), 3))]
        yield _captured(number, kind, json.dumps(asked, separators=(",", ":")).encode(), answer, chunks)


def _captured(number: int, kind: str, asked: bytes, answer: bytes, chunks: list[tuple[int, float]]) -> Captured:
    content_type = "text/event-stream; charset=utf-8" if kind == "stream" else "application/json"
    exchange = Exchange(
        id=new_id(),
        lane="fast",
        started_at_us=time.time_ns() // 1000,
        user=f"user{number % 20}",
        user_source="header",
        policy="default",
        reason="no other policy applies",
        traced=True,
        provider="openai",
        operation="chat",
        method="POST",
        scheme="https",
        host="api.openai.com",
        port=443,
        path="/v1/chat/completions",
        http_version="HTTP/1.1",
        request_headers=[*_ASKED, ("Content-Length", str(len(asked)))],
        status=200,
        response_headers=[
            ("Date", "Mon, 23 Nov 2026 12:00:00 GMT"),
            ("Content-Type", content_type),
            ("Connection", "keep-alive"),
            ("openai-organization", "org-1"),
            ("openai-processing-ms", str(400 + number % 97)),
            ("openai-version", "2020-10-01"),
            ("x-ratelimit-limit-requests", "10000"),
            ("x-ratelimit-limit-tokens", "2000000"),
            ("x-ratelimit-remaining-requests", str(9999 - number % 500)),
            ("x-ratelimit-remaining-tokens", str(1_999_000 - number % 700)),
            ("x-request-id", f"req_{number:032x}"),
            ("Server", "cloudflare"),
            ("Content-Length", str(len(answer))),
        ],
        request_bytes=len(asked),
        response_bytes=len(answer),
        outcome="complete",
        ttfb_ms=chunks[0][1],
        duration_ms=chunks[-1][1],
        chunks=chunks,
        credential="key:0123456789abcdef",
    )
    return Captured(exchange, asked, answer)


def _answer(chance: random.Random, size: int) -> bytes:
    def of(text: str) -> bytes:
        answer = _head(chance, "chat.completion")
        message: dict[str, Any] = {"role": "assistant", "content": text, "refusal": None, "annotations": []}
        answer["choices"] = [{"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}]
        return json.dumps(answer | {"usage": _usage(size // 5)}).encode()

    return of(_text(chance, size - len(of(""))))


def _events(chance: random.Random) -> Iterator[bytes]:
    head = _head(chance, "chat.completion.chunk")
    deltas = [{"role": "assistant", "content": ""}, *({"content": " " + chance.choice(_WORDS)} for _ in range(97)), {}]
    for delta in deltas:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": None if delta else "stop"}
        yield b"data: " + json.dumps(head | {"choices": [choice], "usage": None}).encode() + b"\n\n"
    yield b"data: " + json.dumps(head | {"choices": [], "usage": _usage(97)}).encode() + b"\n\ndata: [DONE]\n\n"


def _head(chance: random.Random, kind: str) -> dict[str, object]:
    return {
        "id": f"chatcmpl-{chance.randbytes(14).hex()}",
        "object": kind,
        "created": 1_795_435_200,
        "model": "gpt-4o-mini-2024-07-18",
        "service_tier": "default",
        "system_fingerprint": "fp_0123456789",
    }


def _usage(output_tokens: int) -> dict[str, object]:
    return {
        "prompt_tokens": 100,
        "completion_tokens": output_tokens,
        "total_tokens": 100 + output_tokens,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
    }


def _text(chance: random.Random, size: int) -> str:
    """Words of so many characters, all ASCII."""
    words = " ".join(chance.choices(_WORDS, k=size // 3 + 1)).encode("ascii", "ignore").decode()
    return words[:size].ljust(size, "x")


def spooled(folder: Path, kind: str, count: int) -> Home:
    """A new home with a spool of exchanges."""
    home = Home(folder)
    home.prepare()
    writer = SpoolWriter(home.spool)
    for one in exchanges(kind, count):
        if not writer.append(one):
            raise SystemExit(f"cannot write the spool: {writer.last_error}")
    writer.close()
    return home


class Run(NamedTuple):
    """What a process took."""

    cpu_s: float
    wall_s: float
    peak_mb: float


def with_rules(folder: Path, count: int) -> Path:
    """A policy folder with so many rules."""
    chance = random.Random(7)
    (folder / "flags").mkdir(parents=True)
    for number in range(count):
        words = json.dumps([f"{chance.choice(_WORDS)} {number}x{word}" for word in range(20)])
        kinds = (
            f"words = {words}",
            f"patterns = ['(?i)acme-{number}[0-9]+', 'confidential: *{number}']",
            'detectors = ["email", "payment_card", "secrets"]',
            f'words = ["policy"]\nwhere = "user:user{number}"',
        )
        (folder / "flags" / f"rule-{number}.toml").write_text(f"only_latest = false\n{kinds[number % 4]}\n")
    return folder


def loaded(home: Home, src: Path, expected: int, policies: Path) -> Run:
    """Run ingest over a home until its spool is empty."""
    command = (sys.executable, "-m", "tracecli", "ingest", "--once", "--home", home.root, "--policies", policies)
    begun = time.monotonic()
    process = subprocess.Popen(
        command, env={**os.environ, "PYTHONPATH": str(src)}, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL
    )
    assert process.stderr is not None
    said = process.stderr.read().decode()
    _, status, used = os.wait4(process.pid, 0)
    wall = time.monotonic() - begun
    if status or f"{expected} exchanges loaded, 0 quarantined" not in said:
        raise SystemExit(f"ingest failed:\n{said}")
    return Run(used.ru_utime + used.ru_stime, wall, used.ru_maxrss / 1024)


def measured(kind: str, count: int, src: Path, rules: int) -> tuple[Run, Run]:
    """Ingest of one exchange, and of that and so many more."""
    with tempfile.TemporaryDirectory() as folder:
        policies = with_rules(Path(folder, "policies"), rules)
        start = loaded(spooled(Path(folder, "one"), kind, 1), src, 1, policies)
        return start, loaded(spooled(Path(folder, "home"), kind, count + 1), src, count + 1, policies)


def compare(kind: str, count: int, sources: list[Path], rounds: int, rules: int) -> None:
    """Measure each source in turns, and print."""
    runs: dict[Path, list[tuple[Run, Run]]] = {src: [] for src in sources}
    for _ in range(rounds):
        for src in sources:
            runs[src].append(measured(kind, count, src, rules))
    for src, found in runs.items():
        cpu = statistics.median((run.cpu_s - start.cpu_s) / count * 1e3 for start, run in found)
        wall = statistics.median((run.wall_s - start.wall_s) / count * 1e3 for start, run in found)
        peak = max(run.peak_mb for _, run in found)
        start_s = statistics.median(start.cpu_s for start, _ in found)
        print(
            f"{kind:7} {count:6}   CPU {cpu:6.3f} ms   wall {wall:6.3f} ms   {1e3 / wall:6.0f}/s   peak {peak:4.0f} MB"
            f"   start {start_s:.2f} s CPU   {src}",
            flush=True,
        )


def profile(kind: str, count: int, rules: int) -> None:
    """Ingest in this process, with the functions that took longest."""
    with tempfile.TemporaryDirectory() as folder:
        policies = with_rules(Path(folder, "policies"), rules)
        warm, home = spooled(Path(folder, "warm"), kind, 10), spooled(Path(folder, "home"), kind, count)
        ingest.run(warm, once=True, ended=lambda: True, policies=policies)
        profiler = cProfile.Profile()
        profiler.runcall(ingest.run, home, once=True, ended=lambda: True, policies=policies)
    pstats.Stats(profiler).sort_stats("tottime").print_stats(45)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, help="exchanges of a spool (default: by kind)")
    parser.add_argument("--kind", nargs="+", choices=COUNTS, default=list(COUNTS))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--src", nargs="+", type=Path, default=[_HERE], help="source folders to compare")
    parser.add_argument("--rules", type=int, default=0, help="rules that flag")
    parser.add_argument("--profile", action="store_true")
    options = parser.parse_args()
    for kind in options.kind:
        count = options.count or COUNTS[kind]
        if options.profile:
            profile(kind, count, options.rules)
        else:
            compare(kind, count, options.src, options.rounds, options.rules)


if __name__ == "__main__":
    main()
