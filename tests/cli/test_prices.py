"""`tracecli prices`, `reprice` and `reparse`, and the reason that `usage show` gives for a cost that is unknown."""

from __future__ import annotations

import datetime as dt
import json
import re
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests.support.looks import rendered
from tests.support.upkeep import chat, costs, new_home, policies, priced_at, queried, spooled, stored
from tracecli import price_table
from tracecli.cli.main import run
from tracecli.config import Home
from tracecli.exchange import Captured, Understanding, Usage
from tracecli.price_list import PriceList, parse
from tracecli.pricing import Price
from tracecli.reparse import Reparsed
from tracecli.reprice import Changes
from tracecli.tables import grid, values
from tracecli.tables.changes import changes
from tracecli.tables.prices import listing, plain

AT = dt.datetime(2026, 11, 22, tzinfo=dt.UTC)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    monkeypatch.delenv("TIKTOKEN_CACHE_DIR", raising=False)
    return new_home(tmp_path, monkeypatch)


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str]) -> Any:
    """Runs a command that succeeds, and returns what it wrote to standard output."""

    def of(*args: str, code: int = 0) -> str:
        assert run(args) == code
        out, err = capsys.readouterr()
        assert not (out and code)
        return out or err

    return of


OWN = parse(
    {
        "price": [
            {"provider": "openai", "model": "gpt-4o", "input": Decimal("1.1"), "output": Decimal(4), "note": "mine"},
            {"provider": "openai", "model": "gpt-4o", "input": 2, "output": 4, "from": dt.date(2026, 11, 1)},
            {"provider": "openai", "model": "gpt-4o", "input": 3, "output": 4, "from": dt.date(2027, 1, 1)},
            {"provider": "openai", "model": "o3*", "input": 1, "output": 1},
            {"provider": "ollama", "model": "*", "input": 0, "output": 0},
        ]
    }
)


def line_of(model: str, provider: str = "openai", prices: PriceList = OWN) -> list[dict[str, Any]]:
    return [one.as_json() for one in price_table.table(prices, AT, model, provider)]


def test_the_table_is_what_calls_are_priced_by(home: Home, said: Any) -> None:
    """JSON names the source and version, and every rate; a model by any of its names shows the price a call gets."""
    told = json.loads(said("prices", "gpt-4o-2024-08-06", "--provider", "openai", "--json"))
    assert re.fullmatch(r"\d+\.\d+\.\d+", told["genai_prices"])
    assert told["prices_toml"] is None
    standard = told["prices"][0]
    assert (standard["model"], standard["source"], standard["service_tier"]) == ("gpt-4o", "genai-prices", None)
    assert standard["rates"] == dict.fromkeys(standard["rates"]) | {
        "input": "2.5", "cache_read": "1.25", "output": "10", "web_searches": "10",
    }  # fmt: skip
    assert {one["service_tier"] for one in told["prices"]} >= {None, "priority", "batch"}


def test_every_price(home: Home, said: Any) -> None:
    """Without a model all are shown, each with its provider; in a pipe a line each, with the names of the JSON."""
    told = json.loads(said("prices", "--json"))["prices"]
    assert len(told) > 2300
    assert {"openai", "azure.ai.openai", "gcp.vertex_ai", "aws.bedrock", "anthropic"} <= {
        one["provider"] for one in told
    }
    lines = said("prices").splitlines()
    assert len(lines) == len(told) + 1
    assert lines[0].split()[:6] == ["provider", "model", "service_tier", "source", "from", "status"]
    assert all(re.split(r" {2,}", text) for text in lines)


def test_rates_that_depend_on_the_length() -> None:
    """A rate that rises with the input says from where."""
    [one] = [line for line in line_of("gemini-2.5-pro", "gcp.gemini") if line["service_tier"] is None]
    assert one["rates"]["input"] == "1.25"
    assert one["above_input_tokens"]["input"] == [{"tokens": 200_000, "rate": "2.5"}]


def test_ones_own_prices_are_marked(home: Home, said: Any) -> None:
    """Entries show where they are from, whether they hold, and take the place of what they replace."""
    own = line_of("gpt-4o")
    assert [(one["source"], one["entry"], one["status"]) for one in own[:3]] == [
        ("prices.toml", 1, "replaced"), ("prices.toml", 2, "in force"), ("prices.toml", 3, "later"),
    ]  # fmt: skip
    assert own[0]["note"] == "mine"
    assert [one for one in own if one["source"] == "genai-prices" and one["service_tier"] is None] == []
    assert {one["service_tier"] for one in own[3:]} >= {"batch"}
    pattern, covered, *_ = line_of("o3-mini")
    assert (pattern["model"], covered["model"], covered["entry"]) == ("o3*", "o3-mini", 4)
    assert [one["rates"]["input"] for one in line_of("llama3", "ollama")] == ["0"]
    priced_at(home, 7)
    told = json.loads(said("prices", "gpt-4o", "--json"))
    assert told["prices_toml"] == str(policies(home) / "prices.toml")
    assert told["prices"][0]["rates"]["input"] == "7"


def test_patterns_and_parts_of_names() -> None:
    """A pattern fits whole names; what is no model's name is looked for inside of names, in any case."""
    assert {one["model"] for one in line_of("GPT-4O*")} > {"gpt-4o", "gpt-4o-mini"}
    assert {one["model"] for one in line_of("4o-mini")} > {"gpt-4o-mini"}
    assert line_of("no such model") == []


def test_a_table_fits_the_terminal() -> None:
    """At any width no line is wider, and at 80 columns model, source, input and output are there."""
    found = price_table.table(OWN, AT, "gpt-4o*") + price_table.table(OWN, AT, "claude-sonnet-4-5")
    found += price_table.table(OWN, AT, "gpt-realtime")
    for width in (40, 60, 80, 100, 160, 200):
        lines = re.sub(r"\x1b\[[\d;]*m", "", rendered(listing(found, "genai-prices 1.2.3"), width)).splitlines()
        assert max(map(len, lines)) <= width
        if width == 80:
            assert {"provider", "model", "source", "input", "output"} <= set(lines[0].split())
            assert "prices.toml 2" in "".join(lines) and "3.00+" in "".join(lines)
    assert "\x1b" not in "".join(plain(found))


def test_nothing_found(home: Home, said: Any) -> None:
    """A model without a price is told on standard error, with the sources; as JSON it is an empty list."""
    assert "recorded with the cost unknown" in said("prices", "no such model")
    assert json.loads(said("prices", "no such model", "--json"))["prices"] == []


def test_a_wrong_provider(home: Home, said: Any) -> None:
    """A provider without prices is exit code 2 and a suggestion."""
    assert "did you mean openai?" in said("prices", "--provider", "opnai", code=2)
    assert "those with prices are anthropic, " in said("prices", "--provider", "qqqqqq", code=2)


@pytest.mark.parametrize("args", [["prices"], ["reprice", "--since", "7d"], ["reparse", "--since", "7d"]])
def test_a_wrong_file(home: Home, said: Any, args: list[str]) -> None:
    """A wrong price file is exit code 3 and one sentence with file, key and remedy."""
    (policies(home) / "prices.toml").write_text("[[price]]\ninptu = 1")
    text = said(*args, code=3)
    assert str(policies(home) / "prices.toml") in text
    assert "[[price]] 1: key `inptu` is unknown: did you mean `input`?" in text
    assert text.count("\n") == 1


@pytest.mark.parametrize("command", ["reprice", "reparse"])
def test_since_is_needed_and_checked(home: Home, said: Any, command: str) -> None:
    """Without --since, or with one that is no moment, nothing is touched."""
    assert "--since" in said(command, code=2)
    assert "write 30m, 2h, 7d" in said(command, "--since", "soon", code=2)


@pytest.mark.parametrize("command", ["reprice", "reparse"])
def test_a_run(home: Home, said: Any, command: str) -> None:
    """A dry run tells what a run then does; a pipe gets lines, --json an object."""
    stored(home, chat(), chat("gpt-4o-mini"))
    priced_at(home, 20)
    dry = json.loads(said(command, "--since", "2026-01-01", "--dry-run", "--json"))
    assert dry["dry_run"] is True
    assert Decimal("0.0035") in costs(home)
    lines = said(command, "--since", "2026-01-01").splitlines()
    assert [line.split()[-6:] for line in lines[-3:]] == [
        ["gpt-4o", "1", "0.0035", "0.022", "0", "0"],
        ["-", "1", "0.0035", "0.022", "0", "0"],
        ["-", "2", "0.00371", "0.02221", "0", "0"],
    ]
    assert sorted(costs(home)) == [Decimal("0.00021"), Decimal("0.022")]
    again = json.loads(said(command, "--since", "2026-01-01", "--json"))
    assert again["changed"]["exchanges"] == 0
    assert {**dry, **dict.fromkeys(["dry_run", "changed", "examined", "by_model", "by_field", "records_changed"])} == {
        **again, **dict.fromkeys(["dry_run", "changed", "examined", "by_model", "by_field", "records_changed"])
    }  # fmt: skip
    assert queried(home, "SELECT DISTINCT cause FROM cost_change") == [(command,)]


def test_the_summary_for_people() -> None:
    """Totals before and after, by model and by field; what is unknown is never shown as nothing."""
    found = Reparsed(AT, dry_run=True)
    unknown, old, new = (
        Price(None, "unknown", ""),
        Price(Decimal("1.5"), "computed", ""),
        Price(Decimal(2), "computed", ""),
    )
    for before, after in ((old, new), (unknown, unknown), (old, old)):
        found.count("openai", "gpt-4o", before, after)
    found.count("x", None, unknown, new)
    found.leave("tracing was off")
    found.by_field.update(["cost_usd"] * 2)
    found.records = 2
    text = re.sub(r"\x1b\[[\d;]*m", "", rendered(changes(found), 80))
    assert re.search(r"cost_usd +2\n", text)
    assert re.search(rf"x +{values.UNKNOWN} +1 +{values.UNKNOWN} +\$2\n", text)
    assert re.search(r"openai +gpt-4o +1 +\$1.5 +\$2\n", text)
    assert "2 of 4 costs would change." in text and "2 of 4 records would change." in text
    assert "All: $3.00 before, $5.50 now; 2 unknown before, 1 now." in text
    assert "1 left alone: tracing was off." in text and "Nothing was written" in text
    assert rendered(changes(Changes(AT, dry_run=False)), 80) == "0 of 0 costs changed.\n"


def test_aligned_figures() -> None:
    """Points come below each other, whatever has none."""
    assert grid.aligned(["1.5", "", "22", "0.125"]) == ["1.5  ", "", "22    ", "0.125"]


def metered(**found: Any) -> Captured:
    """A call of which this was understood."""
    understood = Understanding(understood=True, **found)
    return Captured(chat(traced=False, metered=understood).exchange, b"", b"")


NOT_KNOWN: dict[str, tuple[Captured, str]] = {
    "no usage": (chat(usage=None), "no usage was reported"),
    "no input": (chat(usage={"completion_tokens": 5}), "the number of input tokens was not reported"),
    "no output": (chat(usage={"prompt_tokens": 5}), "the number of output tokens was not reported"),
    "no model": (metered(usage=Usage(input_tokens=5, output_tokens=5)), "neither request nor answer names a model"),
    "unknown model": (chat("unheard-of"), "genai-prices knows no model unheard-of of openai"),
    "unknown provider": (chat(provider="ollama", host="localhost"), "knows no prices of ollama at localhost"),
    "unknown tier": (
        metered(request_model="gpt-5", service_tier="scale", usage=Usage(input_tokens=5, output_tokens=5)),
        "knows no price of gpt-5 for the service tier scale",
    ),
    "no price per token": (chat("dall-e-3"), "dall-e-3"),
    "counts that contradict": (
        metered(request_model="gpt-4o", usage=Usage(input_tokens=5, cache_read_input_tokens=50, output_tokens=5)),
        "genai-prices could not price it",
    ),
    "own price without output": (chat("half-priced"), "prices.toml, price 1 knows no price per output token"),
    "beyond belief": (
        metered(request_model="gpt-4o", reported_cost_usd=Decimal("1e15")),
        "a cost of 1E+15 USD cannot be true (as reported by openai)",
    ),
    "an error": (chat(status=429), "no usage was reported"),
    "no answer": (chat(outcome="failed", status=None, error="refused"), "no usage was reported"),
}


@pytest.mark.parametrize("name", NOT_KNOWN)
def test_an_unknown_cost_has_its_reason(home: Home, said: Any, name: str) -> None:
    """Whatever is missing: the cost is null, never zero or a guess, and `usage show ID` prints why, spool or store."""
    one, why = NOT_KNOWN[name]
    if name in ("an error", "no answer"):
        one = Captured(one.exchange, one.request_body, b"")
    (policies(home) / "prices.toml").write_text('[[price]]\nprovider = "openai"\nmodel = "half-priced"\ninput = 1\n')
    spooled(home, one)
    waiting = said("usage", "show", one.exchange.id)
    stored(home)
    for text in (waiting, said("usage", "show", one.exchange.id)):
        cost = text[text.index("\nCost\n") :]
        assert f"{values.UNKNOWN}  unknown" in cost
        assert why in cost.replace("\n", " ")
    told = json.loads(said("usage", "show", one.exchange.id, "--json"))
    assert (told["cost_usd"], told["cost_source"]) == (None, "unknown")
    assert why in told["cost_detail"]


def test_wrong_prices_are_the_reason(home: Home, said: Any) -> None:
    """While the price file is wrong, `usage show` still works, and says that it is."""
    (policies(home) / "prices.toml").write_text("x")
    one = chat()
    spooled(home, one)
    text = said("usage", "show", one.exchange.id)
    assert f"{values.UNKNOWN}  unknown" in text and "not valid TOML" in text
