"""Estimates of tokens that no provider reported: near, marked, never from the network, never of what has no answer."""

from __future__ import annotations

import base64
import json
import random
import socket
import sys
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.upkeep import LONG_AGO, chat, load, new_home, priced_at, queried, spooled, stored
from tracecli import browse, estimating
from tracecli.config import vocabulary_folder
from tracecli.estimating import Estimate, Estimator
from tracecli.exchange import Captured, Understanding, Usage
from tracecli.recorded import Recorded, record
from tracecli.reparse import reparse
from tracecli.reprice import reprice
from tracecli.when import moment

TEXT = "The quick brown fox jumps over the lazy dog. " * 4
TOKENS = {"o200k_base": 41, "cl100k_base": 41}


@pytest.fixture(scope="module")
def folder() -> Path:
    """tiktoken and its vocabularies; skips where there are none."""
    pytest.importorskip("tiktoken", reason="the extra tracecli[estimate] is not installed")
    found = vocabulary_folder()
    if found is None:
        pytest.skip("TIKTOKEN_CACHE_DIR names no folder of vocabularies")
    return found


@pytest.fixture(scope="module")
def estimator(folder: Path) -> Estimator:
    return Estimator(folder)


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[object]]:
    """A record of every attempt to open a connection, which fails."""
    tried: list[object] = []

    def refused(_: socket.socket, address: object) -> None:
        tried.append(address)
        raise OSError("no network in this test")

    monkeypatch.setattr(socket.socket, "connect", refused)
    monkeypatch.setattr(socket.socket, "connect_ex", refused)
    yield tried
    assert tried == []


def recorded(estimator: Estimator, **changes: Any) -> Recorded:
    return record(chat(**({"usage": None, "prompt": TEXT, "answer": TEXT} | changes)), estimator=estimator)


def test_an_estimate_is_marked(estimator: Estimator, no_network: list[object]) -> None:
    """Without usage, tokens and cost are counted and say so, in the row and in the detail."""
    found = recorded(estimator)
    row = found.row
    assert (row.usage_source, row.cost_source) == ("estimated", "estimated")
    assert (row.input_tokens, row.output_tokens) == (41 + 4 + 3, 41)
    assert row.cost_usd == (48 * Decimal("2.5") + 41 * 10) / 1_000_000
    assert row.cache_read_input_tokens is None
    assert found.cost_detail.endswith(
        "tokens estimated with tiktoken's o200k_base, tool definitions and media left out"
    )


def test_what_was_reported_is_never_touched(estimator: Estimator) -> None:
    """Usage that the provider reported stays, also where it is odd."""
    found = recorded(estimator, usage={"prompt_tokens": 1, "completion_tokens": 0})
    assert (found.row.usage_source, found.row.input_tokens, found.row.output_tokens) == ("reported", 1, 0)
    half = estimator.estimate(
        chat().exchange,
        Understanding(
            understood=True,
            usage=Usage(input_tokens=7, reasoning_output_tokens=3),
            completion="hi",
            input_messages=[{"role": "user", "parts": [{"type": "text", "content": TEXT}]}],
            output_messages=[{"role": "assistant", "parts": [{"type": "text", "content": "hi"}]}],
        ),
    )
    assert half.usage == Usage(input_tokens=7, output_tokens=1, reasoning_output_tokens=3)
    assert half.how
    embedding = Understanding(understood=True, usage=Usage(input_tokens=7))
    assert estimator.estimate(chat().exchange, embedding) == Estimate(embedding.usage)


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("gpt-4o", "o200k_base"),
        ("gpt-4.1-mini", "o200k_base"),
        ("gpt-5", "o200k_base"),
        ("o3", "o200k_base"),
        ("gpt-4", "cl100k_base"),
        ("gpt-4-0613", "cl100k_base"),
        ("gpt-4-turbo", "cl100k_base"),
        ("gpt-3.5-turbo", "cl100k_base"),
        ("openai/gpt-3.5-turbo", "cl100k_base"),
        ("gpt-35-turbo", "cl100k_base"),
        ("ft:gpt-4o:me", "o200k_base"),
        ("ft:gpt-3.5-turbo:me", "cl100k_base"),
        ("llama-3.3-70b", "o200k_base"),
    ],
)
def test_which_vocabulary(estimator: Estimator, model: str, name: str) -> None:
    """OpenAI's older models have theirs; everything else is nearest to the newest one."""
    import tiktoken

    assert f"tiktoken's {name}," in (recorded(estimator, model=model).basis or pytest.fail()).estimated  # type: ignore[operator]
    if model.startswith(("gpt", "ft:", "o3")):
        assert tiktoken.encoding_name_for_model(model) == name


def test_claude_is_counted_higher(estimator: Estimator) -> None:
    """Its own tokens are smaller: 15 % more of them."""
    row = recorded(estimator, model="anthropic/claude-sonnet-4", provider="openrouter").row
    assert (row.input_tokens, row.output_tokens) == (round(48 * 1.15), round(41 * 1.15))


def test_tool_calls_and_reasoning_count(estimator: Estimator) -> None:
    """What was generated besides text counts; media do not."""
    parts: list[dict[str, Any]] = [
        {"type": "text", "content": "hi"},
        {"type": "reasoning", "content": TEXT},
        {"type": "tool_call", "id": "1", "name": "weather", "arguments": {"city": "Paris"}},
        {"type": "tool_call_response", "id": "1", "response": [TEXT]},
        {"type": "blob", "content": "A" * 10_000},
        {"type": "text", "content": None},
        {"type": None},
    ]
    found = Understanding(
        understood=True,
        completion="hi",
        input_messages=[{"role": "user", "parts": parts}, {"role": "user"}],
        output_messages=[{"role": "assistant", "parts": parts}],
    )
    usage = estimator.estimate(chat().exchange, found).usage
    assert usage and usage.output_tokens and usage.input_tokens
    assert 1 + 41 + 1 + 5 + 41 <= usage.output_tokens <= 1 + 41 + 1 + 6 + 45
    assert usage.input_tokens == usage.output_tokens + 2 * 4 + 3


def test_a_bare_prompt_has_no_frame(estimator: Estimator) -> None:
    """Where there are no messages, nothing is added for them."""
    assert recorded(estimator, operation="text_completion").row.input_tokens == 41


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"answer": ""}, "the answer holds no text"),
        ({"answer": None}, "the answer holds no text"),
        ({"response_cut": True}, "only the beginning of it was kept"),
        ({"request_cut": True}, "only the beginning of it was kept"),
    ],
)
def test_what_cannot_be_estimated(estimator: Estimator, changes: dict[str, Any], why: str) -> None:
    """Without a whole text there is no estimate, and the reason is told with the cost."""
    found = recorded(estimator, **changes)
    assert (found.row.usage_source, found.row.cost_usd, found.row.input_tokens) == ("unknown", None, None)
    assert found.cost_detail == f"no usage was reported, and not estimated: {why}"


def test_metered_only_is_not_estimated(estimator: Estimator) -> None:
    """With tracing off no text is kept that could be counted."""
    found = Understanding(understood=True, request_model="gpt-4o", completion="x")
    one = Captured(chat(traced=False, metered=found).exchange, b"", b"")
    detail = record(one, estimator=estimator).cost_detail
    assert detail == "no usage was reported, and not estimated: without its content there is nothing to count"


@pytest.mark.parametrize(
    "changes",
    [{"outcome": "failed"}, {"status": 429}, {"status": 500}, {"status": None}, {"outcome": "failed", "status": None}],
)
def test_errors_are_not_estimated(estimator: Estimator, changes: dict[str, Any]) -> None:
    """What failed cost nothing that could be counted: unknown, without a word of an estimate."""
    found = recorded(estimator, **changes)
    assert (found.row.usage_source, found.row.cost_usd) == ("unknown", None)
    assert found.cost_detail == "no usage was reported"


def test_an_aborted_stream_is_estimated_as_far_as_it_came(estimator: Estimator) -> None:
    """A client that leaves pays for what had come."""
    chunk = {"id": "c", "object": "chat.completion.chunk", "model": "gpt-4o"}
    pieces = [{**chunk, "choices": [{"index": 0, "delta": {"content": text}}]} for text in ("The quick", " brown fox")]
    body = "".join(f"data: {json.dumps(piece)}\n\n" for piece in pieces).encode()
    one = chat(outcome="aborted", response_headers=[("Content-Type", "text/event-stream")], prompt=TEXT)
    row = record(Captured(one.exchange, one.request_body, body), estimator=estimator).row
    assert (row.usage_source, row.output_tokens, row.outcome) == ("estimated", 4, "aborted")
    assert "no_end_event" in row.flags


def test_without_tiktoken(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without the extra the cost stays unknown, and the detail names what to install."""
    monkeypatch.setitem(sys.modules, "tiktoken", None)
    detail = recorded(Estimator(tmp_path)).cost_detail
    assert detail == (
        "no usage was reported, and not estimated: tiktoken is not installed (the extra tracecli[estimate])"
    )


def test_without_a_vocabulary(tmp_path: Path, no_network: list[object], monkeypatch: pytest.MonkeyPatch) -> None:
    """Without its files, or with other files in their place, nothing is fetched: the cost stays unknown."""
    pytest.importorskip("tiktoken")
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path))
    assert "TIKTOKEN_CACHE_DIR names no folder" in recorded(Estimator(None)).cost_detail
    assert f"the vocabulary o200k_base is not in {tmp_path}" in recorded(Estimator(tmp_path)).cost_detail
    path = tmp_path / estimating._VOCABULARIES["o200k_base"].file_name
    path.write_bytes(base64.b64encode(b"a") + b" 0\n")
    assert f"{path} is not the vocabulary o200k_base" in recorded(Estimator(tmp_path)).cost_detail
    path.unlink()
    path.mkdir()
    assert "is not in" in recorded(Estimator(tmp_path)).cost_detail
    assert list(tmp_path.iterdir()) == [path]


def test_the_folder_is_tiktokens(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Where the vocabularies are is what the variable says, and nowhere without it."""
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path))
    assert vocabulary_folder() == tmp_path
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", "")
    assert vocabulary_folder() is None


@pytest.mark.parametrize("name", list(estimating._VOCABULARIES))
def test_counts_as_tiktoken_does(folder: Path, name: str, no_network: list[object]) -> None:
    """Our reading of a vocabulary file counts exactly as tiktoken's own, on text of every kind."""
    import tiktoken

    ours, theirs = Estimator(folder)._encoding(name), tiktoken.get_encoding(name)
    chance = random.Random(7)
    alphabet = "aZé 中\n\t'1!🦊\u0301\x00ßǅ"
    texts = [
        TEXT,
        "I'll we've THEY'RE 12345 \r\n\r\n  x",
        *("".join(chance.choices(alphabet, k=300)) for _ in range(200)),
    ]
    assert [ours.encode_ordinary(text) for text in texts] == [theirs.encode_ordinary(text) for text in texts]


@pytest.mark.parametrize("unit", [" ", "a", "\n", "!", "中", "\udc80", "ab1! "])
def test_hostile_lengths(estimator: Estimator, unit: str) -> None:
    """A million of anything is counted, in seconds: tiktoken itself panics at a million blanks."""
    found = Understanding(
        understood=True,
        completion="hi",
        input_messages=[{"role": "user", "parts": [{"type": "text", "content": unit * 1_000_000}]}],
        output_messages=[{"role": "assistant", "parts": [{"type": "text", "content": "hi"}]}],
    )
    for model in ("gpt-4o", "gpt-4"):
        usage = estimator.estimate(chat(model).exchange, found).usage
        assert usage and usage.input_tokens and usage.input_tokens > 1000


KEYS = st.sampled_from(["type", "content", "parts", "name", "arguments", "response", "text", "tool_call"])
ODD = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4),
)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(part=ODD)
def test_odd_messages(estimator: Estimator, part: Any) -> None:
    """Whatever a part holds: an estimate or a reason, never an exception."""
    odd = [{"type": "text", "content": part}, {"type": "tool_call", "arguments": part}]
    found = Understanding(
        understood=True,
        completion="hi",
        input_messages=[{"role": "user", "parts": odd}],
        output_messages=[{"role": "assistant", "parts": [part]}],
    )
    result = estimator.estimate(chat().exchange, found)
    assert bool(result.how) != bool(result.why_not)


def test_from_ingest_to_repricing(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_network: list[object]
) -> None:
    """Ingest estimates, what waits in the spool is unknown until then, and the mark outlives pricing it again."""
    home = new_home(tmp_path)
    monkeypatch.setenv("TRACECLI_POLICIES", str(tmp_path / "policies"))
    spooled(home, chat(usage=None, prompt=TEXT, answer=TEXT))
    assert browse.latest(home, 1)[0].usage_source == "unknown"
    load(home)
    row = browse.latest(home, 1)[0]
    assert (row.usage_source, row.cost_source, row.input_tokens) == ("estimated", "estimated", 48)
    since = moment(LONG_AGO, row.started_at)
    assert reprice(home, since).changed.exchanges == 0
    assert reparse(home, since).records == 0
    priced_at(home, 1)
    assert reprice(home, since).changed.exchanges == 1
    assert queried(home, "SELECT cost_usd, cost_source FROM exchange") == [(Decimal("0.000089"), "estimated")]
    assert "tokens estimated with" in (browse.open_exchange(home, "last").cost_detail or "")


def test_read_again_once_the_extra_is_there(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What could not be estimated when it came in is, by `reparse`, when the vocabulary is there."""
    home = new_home(tmp_path)
    monkeypatch.setenv("TRACECLI_POLICIES", str(tmp_path / "policies"))
    monkeypatch.delenv("TIKTOKEN_CACHE_DIR")
    stored(home, chat(usage=None, prompt=TEXT, answer=TEXT))
    row = browse.latest(home, 1)[0]
    since = moment(LONG_AGO, row.started_at)
    assert row.cost_usd is None
    assert reprice(home, since).changed.exchanges == 0
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(folder))
    assert reparse(home, since).records == 1
    assert browse.latest(home, 1)[0].usage_source == "estimated"
