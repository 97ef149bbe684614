"""`prices.toml`: which entry applies, what it makes a call cost, and what a wrong file says."""

from __future__ import annotations

import datetime as dt
import logging
import os
import tomllib
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.providers.recordings import needs_recordings, rows
from tracecli import price_file
from tracecli.errors import ConfigError
from tracecli.exchange import Understanding, Usage
from tracecli.price_file import Watched, load, load_or_say
from tracecli.price_list import RATES, PriceList, parse
from tracecli.pricing import Price, price
from tracecli.providers.hosts import Hosts

AT = dt.datetime(2026, 11, 22, 12, tzinfo=dt.UTC)
MILLION = Usage(input_tokens=1_000_000, output_tokens=1_000_000)


def entry(**keys: object) -> str:
    """A [[price]] with some of its keys changed; None takes one out."""
    values = {"provider": '"openai"', "model": '"gpt-4o"', "input": 1} | keys
    lines = [f"{key} = {value}" for key, value in values.items() if value is not None]
    return "\n".join(["[[price]]", *lines, ""])


def listed(*entries: str) -> PriceList:
    return parse(tomllib.loads("\n".join(entries), parse_float=Decimal))


def priced(prices: PriceList, provider: str = "openai", at: dt.datetime = AT, **found: Any) -> Price:
    values: dict[str, Any] = {"usage": MILLION, "response_model": "gpt-4o"} | found
    return price(provider, "api.openai.com", Understanding(understood=True, **values), at, prices)


def test_an_own_price_goes_before_the_list() -> None:
    """The entry's rates are the price, exact to the last digit, and the detail names the entry."""
    prices = listed(entry(input="0.1", output="0.0000003"), entry(model='"other"'))
    found = priced(prices)
    assert found.cost_usd == Decimal("0.1000003")
    assert found.source == "computed"
    assert found.detail == "prices.toml, price 1: gpt-4o, 1000000 input at $0.1/M, 1000000 output at $0.0000003/M"
    assert priced(prices, response_model="gpt-4o-mini").detail.startswith("genai-prices ")
    assert priced(prices, provider="azure.ai.openai").detail.startswith("genai-prices ")


def test_models_that_no_list_knows() -> None:
    """A provider or a model without a list price gets one; zero is a price."""
    prices = listed(entry(provider='"ollama"', model='"*"', input=0, output=0))
    assert priced(prices, "ollama", response_model="llama3").cost_usd == 0
    assert priced(PriceList(), "ollama", response_model="llama3").cost_usd is None


def test_every_rate() -> None:
    """Cached, written, audio and searches cost what the entry says, each token once."""
    usage = Usage(
        input_tokens=1000,
        cache_read_input_tokens=100,
        cache_creation_input_tokens=50,
        cache_creation_1h_input_tokens=20,
        output_tokens=500,
        output_audio_tokens=300,
        output_image_tokens=100,
        web_searches=4,
    )
    rates = dict(zip(RATES, range(1, 12), strict=True))
    assert list(rates) == [
        "input", "output", "cache_read", "cache_write", "cache_write_1h", "input_audio", "cache_read_audio",
        "output_audio", "input_image", "output_image", "web_searches",
    ]  # fmt: skip
    prices = listed(entry(**rates))
    answer = 100 * 2 + 300 * 8 + 100 * 10
    cost = (1000 - 150) * 1 + 100 * 3 + 30 * 4 + 20 * 5 + answer
    assert priced(prices, usage=usage).cost_usd == Decimal(cost) / 1_000_000 + Decimal(4 * 11) / 1000
    media = Usage(
        input_tokens=1000,
        cache_read_input_tokens=100,
        input_audio_tokens=200,
        cache_read_audio_tokens=10,
        input_image_tokens=0,
        output_tokens=0,
    )
    cost = (1000 - 90 - 190 - 10) * 1 + 90 * 3 + 190 * 6 + 10 * 7
    assert priced(prices, usage=media).cost_usd == Decimal(cost) / 1_000_000
    assert (
        priced(prices, usage=Usage(input_tokens=9, input_image_tokens=4, output_tokens=0)).cost_usd
        == Decimal(5 * 1 + 4 * 9) / 1_000_000
    )


@pytest.mark.parametrize(
    ("keys", "cost"),
    [
        ({"output": 2}, 100 + 2 * 10),
        ({"output": 2, "cache_write_1h": 5}, 80 + 5 * 20 + 2 * 10),
        ({"output": 2, "cache_read_audio": 5}, 95 + 5 * 5 + 2 * 10),
        ({"output": 2, "cache_read": 0, "input_audio": 10}, 100 - 55 - 25 + 10 * 30 + 2 * 10),
        ({"output": 2, "output_audio": 7}, 100 + 2 * 6 + 7 * 4),
    ],
)
def test_what_has_no_rate_is_charged_as_what_it_is_part_of(keys: dict[str, object], cost: int) -> None:
    """Cached tokens without a rate cost as input, cached audio as audio, audio as text; nothing is free by omission."""
    usage = Usage(
        input_tokens=100,
        cache_read_input_tokens=55,
        cache_creation_input_tokens=20,
        cache_creation_1h_input_tokens=20,
        input_audio_tokens=30,
        cache_read_audio_tokens=5,
        output_tokens=10,
        output_audio_tokens=4,
    )
    assert priced(listed(entry(**keys)), usage=usage).cost_usd == Decimal(cost) / 1_000_000


def test_dates() -> None:
    """A dated price holds from its day in UTC; what came before keeps its price, or the list's."""
    prices = listed(entry(output=1, **{"from": "2026-07-01"}), entry(output=2, input=2, **{"from": "2026-09-01"}))
    days = {
        dt.datetime(2026, 6, 30, 23, 59, 59, tzinfo=dt.UTC): Decimal("12.5"),
        dt.datetime(2026, 7, 1, tzinfo=dt.UTC): Decimal(2),
        dt.datetime(2026, 8, 31, 23, 59, 59, tzinfo=dt.UTC): Decimal(2),
        dt.datetime(2026, 9, 1, 1, tzinfo=dt.timezone(dt.timedelta(hours=2))): Decimal(2),
        dt.datetime(2026, 9, 1, tzinfo=dt.UTC): Decimal(4),
    }
    assert {day: priced(prices, at=day).cost_usd for day in days} == days
    assert "gpt-4o from 2026-09-01" in priced(prices).detail


def test_which_entry() -> None:
    """Exact before pattern, longer pattern before shorter, and never by the order in the file."""
    names = ["*", "gpt-4*", "gpt-4o*", "gpt-4o", "gpt-4o-2024-??-??"]
    texts = [entry(model=f'"{name}"', input=place, output=0) for place, name in enumerate(names)]
    for prices in (listed(*texts), listed(*reversed(texts))):
        costs = [
            priced(prices, response_model=answered, request_model=asked).cost_usd
            for answered, asked in (
                ("gpt-4o-2024-08-06", "gpt-4o"),
                ("gpt-4o-2024-08-06", None),
                ("gpt-4o-mini", "gpt-4o-mini"),
                ("gpt-4.1", None),
                (None, "o3"),
            )
        ]
        assert costs == [3, 4, 2, 1, 0]


def test_bedrock_is_priced_as_asked() -> None:
    """With two exact entries, the one for the model that was asked decides at Bedrock, elsewhere the answered one."""
    prices = listed(
        *(
            entry(provider=f'"{provider}"', model=f'"{model}"', input=rate, output=0)
            for provider in ("aws.bedrock", "openai")
            for model, rate in (("eu.x", 1), ("x", 2))
        )
    )
    assert priced(prices, "aws.bedrock", request_model="eu.x", response_model="x").cost_usd == 1
    assert priced(prices, "openai", request_model="eu.x", response_model="x").cost_usd == 2


def test_service_tiers() -> None:
    """An entry is for the standard tiers unless it names one; another tier keeps the list's price, or has none."""
    prices = listed(entry(output=0), entry(input=3, output=0, service_tier='"priority"'))
    assert [priced(prices, service_tier=tier).cost_usd for tier in (None, "default", "priority", "batch", "scale")] == [
        1, 1, 3, Decimal("6.25"), None,
    ]  # fmt: skip
    assert "gpt-4o (priority)" in priced(prices, service_tier="priority").detail


def test_the_providers_figure_wins() -> None:
    """What the provider says it cost stays, whatever the file says."""
    assert priced(listed(entry()), reported_cost_usd=Decimal("0.5")).source == "provider"


def test_what_is_missing_is_told() -> None:
    """An entry without a rate for the answer prices none, rather than too low."""
    found = priced(listed(entry()))
    assert (found.cost_usd, found.detail) == (None, "prices.toml, price 1 knows no price per output token of gpt-4o")
    assert priced(listed(entry()), usage=Usage(input_tokens=5, output_tokens=0)).cost_usd == Decimal("0.000005")


def test_a_cost_that_cannot_be_true() -> None:
    """A figure that no call costs, and that the store could not hold, is unknown; others are kept to 15 decimals."""
    found = priced(listed(entry(input=1_000_000, output=0)), usage=Usage(input_tokens=1 << 53, output_tokens=0))
    assert found.cost_usd is None and "cannot be true" in found.detail
    assert priced(PriceList(), reported_cost_usd=Decimal("1e30")).cost_usd is None
    assert priced(PriceList(), reported_cost_usd=Decimal("0.1234567890123456789")).cost_usd == Decimal(
        "0.123456789012346"
    )


@needs_recordings
def test_hand_checked_prices() -> None:
    """Rates read off the providers' price lists, put into a file, give the costs that were worked out by hand."""
    checked = 0
    for row in rows("prices.jsonl"):
        rates, usage = row["rates_usd_per_mtok"], row["usage"]
        provider = Hosts().provider_of(row["host"], 443) or "openai_compatible"
        names = {"input": "input", "output": "output", "cache_read": "cache_read"}
        names |= {"cache_write": "cache_write_5m", "cache_write_1h": "cache_write_1h"}
        keys = {ours: rates[theirs] for ours, theirs in names.items() if rates.get(theirs) is not None}
        text = entry(provider=f'"{provider}"', model=f'"{row["model"]}"', **keys)
        counts = Usage(
            input_tokens=usage["input"],
            output_tokens=usage.get("output", 0),
            cache_read_input_tokens=usage.get("cache_read"),
            cache_creation_input_tokens=usage.get("cache_write"),
            cache_creation_1h_input_tokens=usage.get("cache_write_1h"),
        )
        found = priced(listed(text), provider, usage=counts, response_model=row["model"])
        assert found.cost_usd == Decimal(row["expected_usd"]), (row["id"], found)
        checked += 1
    assert checked == 25


WRONG = [
    ("prices = 1", "key `prices` is unknown: a price begins with the line [[price]]"),
    ("price = 1", "key `price`: a price begins with the line [[price]], in two brackets"),
    ("[price]\ninput = 1", "in two brackets"),
    ("price = [1]", "in two brackets"),
    (entry(inptu=1), "[[price]] 1: key `inptu` is unknown: did you mean `input`?"),
    (entry(zzz=1), "[[price]] 1: key `zzz` is unknown: the keys are: provider, model, from, service_tier, input"),
    (entry() + entry(provider=None), "[[price]] 2: key `provider` is missing"),
    (entry(model=None), "key `model` is missing"),
    (entry(input=None), "key `input` is missing"),
    (entry(provider='"opnai"'), "key `provider`: 'opnai' is unknown: did you mean `openai`?"),
    (entry(provider='"qqqq"'), "key `provider`: 'qqqq' is unknown: the providers are: ai21, alibaba_cloud"),
    (entry(provider="3"), "key `provider`: Expected `str`, got `int`"),
    (entry(model='""'), "key `model`: must not be empty"),
    (entry(input="true"), "key `input`: Expected `decimal`, got `bool`"),
    (entry(input='"abc"'), "key `input`: "),
    (entry(input="[1]"), "key `input`: Expected `decimal`, got `array`"),
    (entry(input=-1), "key `input`: must be a number from 0 to 1000000, in US dollars"),
    (entry(output="nan"), "key `output`: must be a number from 0 to 1000000"),
    (entry(output="inf"), "key `output`: must be a number from 0 to 1000000"),
    (entry(output=1_000_001), "key `output`: must be a number from 0 to 1000000"),
    (entry(**{"from": '"2026-07-01"'}), "key `from`: write a date without quotes, as 2026-07-01"),
    (entry(**{"from": "2026-07-01T00:00:00Z"}), "key `from`: write a date without quotes"),
    (entry() + entry(), "[[price]] 2: [[price]] 1 is for the same model and time: add a later `from`"),
    ("[[price]", "not valid TOML"),
    ("\x00", "not valid TOML"),
    ("input = 1e99999999999999999999", "not valid TOML"),
    ("a = " + "[" * 100_000, "not valid TOML"),
    ("#" * 2_000_000, "larger than"),
]


@pytest.mark.parametrize(("text", "says"), WRONG, ids=range(len(WRONG)))
def test_wrong_files_are_refused_whole(tmp_path: Path, text: str, says: str) -> None:
    """The error names the file, the entry, the key and the remedy."""
    path = tmp_path / "prices.toml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load(tmp_path)
    assert str(path) in str(caught.value)
    assert says in str(caught.value)
    assert "Correct the file" in str(caught.value) or "No price list is" in str(caught.value)
    assert caught.value.exit_code == 3


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    """No file and no folder are no prices; a folder in its place, or bytes that are no text, are named."""
    assert load(tmp_path) == load(tmp_path / "gone") == PriceList()
    (tmp_path / "file").write_text("")
    assert load(tmp_path / "file") == PriceList()
    (tmp_path / "prices.toml").write_bytes(b"\xff")
    with pytest.raises(ConfigError, match="not valid TOML"):
        load(tmp_path)
    (tmp_path / "prices.toml").unlink()
    (tmp_path / "prices.toml").mkdir()
    with pytest.raises(ConfigError, match="cannot be read"):
        load(tmp_path)


def test_wrong_prices_price_nothing(tmp_path: Path) -> None:
    """Where the file is wrong a cost is unknown with the reason, not the list's; what the provider says stays."""
    (tmp_path / "prices.toml").write_text("[[price]]\ninptu = 1")
    prices = load_or_say(tmp_path)
    found = priced(prices)
    assert found.cost_usd is None
    assert "did you mean `input`?" in found.detail and "`tracecli reprice`" in found.detail
    assert priced(prices, reported_cost_usd=Decimal(1)).cost_usd == 1
    assert priced(prices, usage=None).detail == "no usage was reported"


def test_an_edit_is_noticed_and_a_broken_one_changes_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The prices change with the file; a broken edit keeps the last good ones and is logged once."""
    caplog.set_level(logging.INFO)
    path = tmp_path / "prices.toml"
    watched = Watched(tmp_path)
    assert watched.current() == PriceList()
    path.write_text(entry(output=1))
    good = watched.current()
    assert len(good.entries) == 1 and watched.current() is good
    path.write_text("[[price]]\ninptu = 1")
    assert watched.current() is good and watched.current() is good
    assert [record.levelname for record in caplog.records] == ["INFO", "WARNING"]
    assert "the prices stay as they were" in caplog.text and str(path) in caplog.text
    path.write_text(entry(output=2) + entry(model='"x"'))
    assert len(watched.current().entries) == 2
    stamp = path.stat()
    path.write_text(entry(output=3) + entry(model='"x"'))
    os.utime(path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns + 1))
    assert watched.current().entries[0].output == 3
    path.unlink()
    assert watched.current() == PriceList()


def test_wrong_from_the_start(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A file that is wrong when ingest starts is logged, and its prices count once it is right."""
    (tmp_path / "prices.toml").write_text("x")
    watched = Watched(tmp_path)
    assert watched.current().problem
    assert "costs are recorded as unknown" in caplog.text
    (tmp_path / "prices.toml").write_text(entry())
    assert watched.current().problem is None


def test_nothing_is_fetched() -> None:
    """Reading prices opens no connection: the module knows no way to."""
    assert not {"httpx2", "socket", "urllib"} & set(vars(price_file))


toml_values = st.recursive(
    st.none().flatmap(lambda _: st.integers() | st.booleans() | st.text(max_size=5) | st.decimals() | st.dates())
    | st.datetimes(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
keys = st.sampled_from(["provider", "model", "from", "service_tier", "note", "x", *RATES])
tables = st.dictionaries(keys, toml_values, max_size=6) | st.fixed_dictionaries(
    {"provider": st.sampled_from(["openai", "anthropic"]), "model": st.sampled_from(["a", "a*"]), "input": toml_values},
    optional={"output": toml_values, "from": st.dates() | st.datetimes(), "note": toml_values},
)


@given(st.dictionaries(st.sampled_from(["price", "x"]), toml_values | st.lists(tables, max_size=4), max_size=2))
def test_whatever_a_file_holds(values: dict[str, Any]) -> None:
    """Any TOML gives a list of which every price can be used, or a ValueError of one line that names a key."""
    try:
        prices = parse(values)
    except ValueError as error:
        assert "`" in str(error)
        return
    for one in prices.entries:
        found = priced(prices, one.provider, response_model=one.model)
        assert found.cost_usd is None or found.cost_usd >= 0


@given(
    st.lists(st.tuples(st.sampled_from(["m", "m*", "*"]), st.none() | st.dates()), max_size=6, unique=True), st.dates()
)
def test_the_latest_price_that_has_begun(entries: list[tuple[str, dt.date | None]], day: dt.date) -> None:
    """Of all entries of the best kind, the last one that has begun applies, in any order of the file."""
    texts = [
        entry(model=f'"{model}"', input=place, output=0, **({"from": since.isoformat()} if since else {}))
        for place, (model, since) in enumerate(entries)
    ]
    at = dt.datetime.combine(day, dt.time(12), dt.UTC)
    found = listed(*texts).find("openai", ["m"], None, at)
    begun = [(model, since) for model, since in entries if since is None or since <= day]
    if not begun:
        assert found is None
        return
    best = max(begun, key=lambda one: (one[0] == "m", len(one[0]), one[1] or dt.date.min))
    assert found is not None
    assert (found[1].model, found[1].from_) == best
