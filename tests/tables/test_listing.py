"""The table of requests."""

from __future__ import annotations

import re

import pytest

from tests.support.looks import rendered
from tests.support.rows import ARN, NOTHING_KNOWN, NOW, ZONE, row, rows
from tracecli.exchange import new_id
from tracecli.tables.listing import Listing, plain, short_ids


def table(width: int, *shown: object, more: bool = False) -> list[str]:
    text = rendered(Listing(shown or rows(), NOW, ZONE, more=more), width)  # type: ignore[arg-type]
    return re.sub(r"\x1b\[[\d;]*m", "", text).split("\n")


@pytest.mark.parametrize("width", range(20, 200, 7))
def test_every_request_is_one_line(width: int) -> None:
    """However narrow, a request is one line that begins with its id."""
    lines = table(width)
    assert [line.split()[0] for line in lines[2:14]] == [one.id[:13] for one in rows()]


def test_a_wide_terminal_has_all_columns() -> None:
    """At 160 columns nothing that the issue asks for is left out."""
    heading = table(160)[0]
    first = ["id", "time", "user", "provider", "model", "status", "outcome", "stream"]
    assert heading.split() == [*first, "tokens", "in", "→", "out", "cached", "cost", "duration"]


def test_eighty_columns_keep_what_matters() -> None:
    """At 80 columns there are still user, model, status, tokens, cost and duration."""
    heading = table(80)[0]
    assert heading.split() == ["id", "time", "user", "model", "status", "in→out", "cost", "took"]


@pytest.mark.parametrize("width", [80, 160])
def test_what_went_wrong_stands_out(width: int) -> None:
    """An error status, a failed and an aborted request are bold, also where a column has to be left out."""
    text = rendered(Listing(rows(), NOW, ZONE), width)
    for bold in ("\x1b[1;31m429", "\x1b[1;31m500", "\x1b[1;31mfailed", "\x1b[1;35maborted"):
        assert bold in text


def test_unknown_is_never_zero() -> None:
    """A request of which nothing is known shows dashes, and no zero and no dollar."""
    for width in (80, 160):
        line = table(width, row(100, **NOTHING_KNOWN, stream=None))[2]
        assert not re.search(r"\$| 0 ", line)
        assert line.count("–") >= 2  # noqa: RUF001
    piped = list(plain([row(100, **NOTHING_KNOWN, stream=None)], ZONE))[1]
    assert piped.split()[7:12] == ["-"] * 5


def test_estimates_are_marked() -> None:
    """Estimated tokens and costs carry a tilde."""
    line = table(80, row(usage_source="estimated", cost_source="estimated"))[2]
    assert "~1.2k→345" in line
    assert "~$0.0003" in line


def test_an_arn_shows_its_model() -> None:
    """Of an ARN the terminal shows the model, and the pipe all of it."""
    one = row(request_model=ARN)
    assert "claude-sonnet-4-5" in table(80, one)[2]
    assert "claude-sonnet-4-5" in table(160, one)[2]
    assert ARN in list(plain([one], ZONE))[1]


@pytest.mark.parametrize(
    ("name", "short"),
    [
        ("gpt-4o-mini-2024-07-18", "gpt-4o-mini"),
        ("claude-opus-4-1@20250805", "claude-opus-4-1"),
        ("anthropic/claude-3.5-sonnet", "claude-3.5-sonnet"),
        ("eu.amazon.nova-pro-v1:0", "nova-pro-v1:0"),
        ("gpt-5.2", "gpt-5.2"),
        ("llama3.2:3b", "llama3.2:3b"),
        ("models/", "models/"),
        ("2024-07-18", "2024-07-18"),
    ],
)
def test_a_model_loses_what_its_kin_share(name: str, short: str) -> None:
    """Path, region, vendor and date go where there is no room for them; nothing becomes empty."""
    assert table(80, row(request_model=name))[2].split()[3] == short


def test_short_ids_differ_and_open() -> None:
    """Shown ids are prefixes, 13 characters where those suffice, and two of one millisecond still differ."""
    ids = [new_id(1_763_000_000_000) for _ in range(50)] + [new_id(1_763_000_000_001), new_id(1_763_000_000_002)]
    shown = short_ids([row(id=one) for one in ids])
    assert all(one.startswith(short) and not short.endswith("-") for one, short in shown.items())
    assert all(sum(one.startswith(short) for one in ids) == 1 for short in shown.values())
    assert [len(shown[one]) for one in ids[-2:]] == [13, 13]


def test_totals_count_what_is_unknown() -> None:
    """The last line adds up what is known and says how many requests have no known cost."""
    assert table(160)[15] == (
        "12 requests · 1,289,768 → 71,160 tokens (1,049,196 cached) · $12.44 · 4 without a known cost"
    )
    assert table(160, row())[4] == "1 request · 1,234 → 345 tokens (1,024 cached) · $0.0003"
    assert table(160, row(**NOTHING_KNOWN))[4] == "1 request · cost unknown"
    assert table(160, row(), more=True)[4].startswith("latest 1 request ")


def test_a_pipe_gets_columns_that_split() -> None:
    """In a pipe each line splits at two or more spaces into the same columns, whatever the values hold."""
    awkward = row(2, user="a  b\tc\n d", request_model="", provider=" ")
    lines = list(plain([awkward, *rows()], ZONE))
    assert {len(re.split(" {2,}", line)) for line in lines} == {13}
    first = dict(zip(re.split(" {2,}", lines[0]), re.split(" {2,}", lines[1]), strict=True))
    assert first["user"] == "a b c d"
    assert first["request_model"] == "-"
    assert first["started_at"] == "2026-11-22T14:04:58+01:00"
    assert first["cost_usd"] == "0.000301"
