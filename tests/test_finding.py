"""Finding exchanges: in the store, in the spool, by metadata and by what was said."""

from __future__ import annotations

import datetime as dt
import gzip
import json
from pathlib import Path

import pytest

from tests.support.chats import START, answered, asked, call, store
from tracecli import finding
from tracecli.config import Home
from tracecli.exchange import Captured
from tracecli.finding import Sort
from tracecli.query.orders import SORTS
from tracecli.query.syntax import parse
from tracecli.spool import SpoolWriter

NOW = dt.datetime.fromtimestamp(START / 1e6 + 3600, dt.UTC)
_TYPE = ("Content-Type", "application/json")
_STREAM = ("Content-Type", "text/event-stream")


def _streamed(*pieces: str) -> bytes:
    events = [{"choices": [{"index": 0, "delta": {"content": piece}}]} for piece in pieces]
    return b"".join(b"data: " + json.dumps(event).encode() + b"\n\n" for event in events) + b"data: [DONE]\n\n"


def _tool_call(name: str) -> bytes:
    function = {"name": name, "arguments": '{"query": "élan"}'}
    message = {"role": "assistant", "tool_calls": [{"id": "1", "type": "function", "function": function}]}
    return json.dumps({"model": "gpt-4o", "choices": [{"index": 0, "message": message}]}).encode()


EXCHANGES = [
    call(0, asked("Where is Paris?"), answered("In France."), user="alice", request_headers=[_TYPE]),
    call(1, asked("Où?\nLà-bas"), answered("x", "gpt-4o"), user="bob", request_headers=[_TYPE], status=500),
    call(2, asked("Tell me", stream=True), _streamed("In Ger", "many."), user="alice", response_headers=[_STREAM]),
    call(
        3,
        asked("zip"),
        gzip.compress(answered("Zipped France")),
        response_headers=[_TYPE, ("Content-Encoding", "gzip")],
        request_headers=[_TYPE],
    ),
    call(4, asked("call it"), _tool_call("search"), user="carol", request_headers=[_TYPE]),
    call(5, b"", b"", user="dave", traced=False),
]


def store_unestimated(home: Home, *exchanges: Captured) -> None:
    """Store exchanges; tokens that were not reported stay unknown, as they are in the spool."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("TIKTOKEN_CACHE_DIR", raising=False)
        store(home, *exchanges)


def _spool(home: Home, *exchanges: Captured) -> None:
    writer = SpoolWriter(home.spool)
    for one in exchanges:
        assert writer.append(one)
    writer.close()


@pytest.fixture(params=["bodies", "texts"])
def looked_at(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Words are looked for in the bodies of a few, or in the stored texts of many."""
    monkeypatch.setattr(finding, "_FEW_BYTES", 1 << 40 if request.param == "bodies" else 0)


@pytest.fixture(scope="module", params=["stored", "spooled", "both"])
def home(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Home:
    """The same exchanges, in the store, still in the spool, or some in each, one of them in both."""
    home = Home(tmp_path_factory.mktemp("finding") / "home")
    home.prepare()
    split = {"stored": 6, "spooled": 0, "both": 3}[request.param]
    if split:
        store_unestimated(home, *EXCHANGES[:split])
    _spool(home, *EXCHANGES[max(0, split - 1) :] if request.param == "both" else EXCHANGES[split:])
    return home


def _found(home: Home, text: str, sort: Sort = finding.LATEST, limit: int = 100) -> str:
    """The digits of what fits, in its order."""
    numbers = {one.exchange.id: str(number) for number, one in enumerate(EXCHANGES)}
    rows = finding.rows(home, parse(text), NOW, dt.UTC, sort=sort, limit=limit)
    return "".join(numbers[row.id] for row in rows)


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ("", "543210"),
        ("user:alice", "320"),
        ("-user:alice", "541"),
        ("errors:yes", "1"),
        ("tool:search", "4"),
        ("tool:none", "53210"),
        ("traced:no", "5"),
        ("since:2h", "543210"),
        ("cost:none", "5421"),
        ("paris", "0"),
        ("PARIS user:alice", "0"),
        ("paris user:bob", ""),
        ("france", "30"),
        ("germany", "2"),
        ('"in germany."', "2"),
        ('"in  germany"', ""),
        ("là-bas", "1"),
        ('"Où?\nlà"', "1"),
        ("prompt:france", ""),
        ("completion:france", "30"),
        ("completion:france,germany", "320"),
        ("élan", "4"),
        ("fr*ce", "30"),
        (r"text:/\bIn (France|Germany)\b/", "20"),
        ("text:/FRANCE/", ""),
        ("text:/(?i)FRANCE/", "30"),
        ("-france", "5421"),
        ("-france user:alice", "2"),
        ("france OR user:bob", "310"),
        ("(france OR germany) -status:500", "320"),
        ("nothing-like-it", ""),
        ("%", ""),
        ("'; DROP TABLE exchange", ""),
    ],
)
@pytest.mark.usefixtures("looked_at")
def test_what_fits(home: Home, text: str, ids: str) -> None:
    """Store and spool are one: each exchange is found once, by what it is and by what was said."""
    assert _found(home, text) == ids


@pytest.mark.usefixtures("looked_at")
def test_order_and_limit(home: Home) -> None:
    """The first of an order are listed; what has no such value comes last."""
    assert _found(home, "", limit=2) == "54"
    assert _found(home, "", Sort("time", descending=False), limit=2) == "01"
    assert _found(home, "france", limit=1) == "3"
    assert _found(home, "france", Sort("time", descending=False), limit=1) == "0"
    assert _found(home, "", Sort("user", descending=False))[-1] == "5"
    assert _found(home, "", Sort("cost")) == "305421"


@pytest.mark.parametrize("sort", SORTS)
def test_every_order_works(home: Home, sort: str) -> None:
    """All that can be sorted by is a column of both."""
    for descending in (True, False):
        assert sorted(_found(home, "", Sort(sort, descending=descending))) == list("012345")


@pytest.mark.parametrize("sort", SORTS)
@pytest.mark.parametrize(("descending", "text"), [(True, ""), (False, "user:alice OR france")])
def test_pages_are_the_list(home: Home, sort: str, descending: bool, text: str) -> None:
    """Page by page comes what comes at once: of equal rows and of those without a value too."""
    order = Sort(sort, descending)
    whole = finding.rows(home, parse(text), NOW, sort=order, limit=10)
    assert whole
    for size in (1, 4):
        pages = list(finding.pages(home, parse(text), NOW, sort=order, limit=10, size=size))
        assert [len(page) for page in pages[:-1]] == [size] * (len(pages) - 1)
        assert [row for page in pages for row in page] == whole
    some = finding.pages(home, parse(text), NOW, sort=order, limit=2, size=1)
    assert [row for page in some for row in page] == whole[:2]


def test_pages_are_of_what_was_there(home: Home, tmp_path: Path) -> None:
    """What comes while somebody turns the pages moves nothing, and what was in the spool may be stored meanwhile."""
    own = Home(tmp_path / "home")
    own.prepare()
    _spool(own, *EXCHANGES[:4])
    pages = finding.pages(own, parse(""), NOW, limit=100, size=3)
    first = next(pages)
    store_unestimated(own, EXCHANGES[5])
    assert [row.user for row in first] + [row.user for page in pages for row in page] == [
        one.exchange.user for one in EXCHANGES[3::-1]
    ]


def test_an_empty_home_has_nothing(tmp_path: Path) -> None:
    """Nothing recorded is an empty list, whatever is asked."""
    home = Home(tmp_path / "home")
    for text in ("", "user:alice", "paris", "-paris"):
        assert finding.rows(home, parse(text), NOW, limit=5) == []
