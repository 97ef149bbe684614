"""`tracecli usage show` with a query: options and arguments, columns, order, zone, formats, the pager."""

from __future__ import annotations

import csv
import datetime as dt
import io
import json
import re
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from tests.cli.test_usage_show import browse, on_a_terminal  # noqa: F401 - a fixture
from tests.support.fake_cli import FakeBrowse
from tests.support.rows import row, rows
from tracecli.cli.main import run
from tracecli.query.syntax import parse, text_of


def _asked(browse: FakeBrowse, *args: str) -> str:  # noqa: F811
    assert run(["usage", "show", *args]) == 0
    return text_of(browse.queries[-1][0])


@pytest.mark.parametrize(
    ("args", "query"),
    [
        ([], ""),
        (["user:alice", "-status:200", "since:2h"], "user:alice -status:200 since:2h"),
        (["user:alice -status:200", "--limit", "3"], "user:alice -status:200"),
        (["-status:200", "--json", "-(user:a OR user:b)", "-rude"], "-status:200 -(user:a OR user:b) -rude"),
        (["--", "--limit"[2:], "-x"], "limit -x"),
        (["cafe"], "cafe"),
        (["no-such-id"], "text:no-such-id"),
        (["--user", "a,b", "--user", "c d"[:1]], "user:a,b OR user:c"),
        (["--model", "gpt-4*", "x"], "x model:gpt-4*"),
        (["--status", "4xx", "--errors", "--no-traced", "--streamed"], "status:4xx errors:yes streamed:yes traced:no"),
        (["--min-cost", "$0.01", "--min-duration", "2s"], "cost:>=$0.01 duration:>=2s"),
        (["--since", "2h", "--until", "2026-11-01"], "since:2h until:2026-11-01"),
        (["--flag", "a", "--tool", "search", "--cache", "hit"], "cache:hit tool:search flag:a"),
        (
            ["--provider", "openai", "--operation", "chat", "--policy", "red"],
            "provider:openai operation:chat policy:red",
        ),
        (["--session", "none", "--outcome", "failed", "--host", "*.com"], "outcome:failed session:none host:*.com"),
        (["-status:200", "--sort", "cost"], "-status:200"),
    ],
)
def test_options_and_arguments_are_one_query(browse: FakeBrowse, args: list[str], query: str) -> None:  # noqa: F811
    """Each way to say it means the same, in whatever order it is said."""
    assert parse(_asked(browse, *args)) == parse(query)


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["modle:x"], ["Did you mean `model`?", "\n  modle:x\n  ^^^^^\n"]),
        (["user:a", "cost:many"], ["\n  user:a cost:many\n              ^^^^\n"]),
        (["--status", "2x"], ["--status: ", "\n  2x\n  ^^\n"]),
        (["--min-duration", "2"], ["--min-duration: ", "write 2ms or 2s"]),
        (["--since", "soon"], ["--since: ", "2026-11-01"]),
        (["--sort", "cots"], ["--sort", "Did you mean `cost`?"]),
        (["--sort", "cost:up"], ["--sort", ":asc or :desc"]),
        (["--columns", "id,usr"], ["--columns", "'usr'", "Did you mean `user`?"]),
        (["--zone", "Mars/Base"], ["--zone", "Europe/Berlin"]),
        (["--zone", "../etc/passwd"], ["--zone"]),
        (["--json", "--csv"], ["--json", "--csv"]),
        (["last", "--user", "a"], ["--user", "leave one of them out"]),
        (["last", "--csv"], ["--csv", "leave one of them out"]),
        (["user:\x1b[31mred", "modle:\x1b[31m"], ["no field `modle`"]),
        (["*"], ["fits everything"]),
    ],
)
def test_a_mistake_is_said_with_its_place(
    browse: FakeBrowse,  # noqa: F811
    args: list[str],
    said: list[str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    """What cannot be understood is exit code 2, a sentence, and carets under what is wrong."""
    assert run(["usage", "show", *args]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("tracecli: ")
    assert all(text in err for text in said), err
    assert "\x1b" not in err
    assert not browse.queries


def test_order_and_zone_reach_the_search(browse: FakeBrowse) -> None:  # noqa: F811
    """--sort and --zone say in which order and where; figures begin with the largest, names with the first."""
    for args, by, descending in (
        ([], "time", True),
        (["--sort", "cost"], "cost", True),
        (["--sort", "cost:asc"], "cost", False),
        (["--sort", "user"], "user", False),
    ):
        _asked(browse, *args)
        _, zone, sort = browse.queries[-1]
        assert (zone, sort.by, sort.descending) == (None, by, descending)
    _asked(browse, "--zone", "Asia/Tokyo")
    assert browse.queries[-1][1] == ZoneInfo("Asia/Tokyo")
    _asked(browse, "--utc")
    assert browse.queries[-1][1] == dt.UTC


def test_times_are_of_the_zone(browse: FakeBrowse, capsys: pytest.CaptureFixture[str]) -> None:  # noqa: F811
    """Times show as where the reader wants to be; an opened request's too."""
    assert run(["usage", "show", "--zone", "Asia/Tokyo", "--limit", "1"]) == 0
    assert "2026-11-22T22:04:57+09:00" in capsys.readouterr().out
    assert run(["usage", "show", "last", "--utc"]) == 0
    assert " 13:04:47.000 +00:00" in capsys.readouterr().out


def test_columns_in_every_format(browse: FakeBrowse, capsys: pytest.CaptureFixture[str]) -> None:  # noqa: F811
    """--columns chooses and orders what is shown, by short names or those of the JSON."""
    args = ["usage", "show", "--columns", "ID,cost, latency,finish_reasons", "--limit", "2"]
    first, second = rows()[:2]
    names = ["id", "cost_usd", "duration_ms", "finish_reasons"]
    assert run(args) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["id", first.id, second.id]
    assert lines[0].split() == names
    assert run([*args, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == [
        {name: one.as_json()[name] for name in names} for one in (first, second)
    ]
    assert run([*args, "--csv"]) == 0
    assert next(csv.reader(io.StringIO(capsys.readouterr().out))) == names


def test_csv_holds_what_the_json_does(browse: FakeBrowse, capsys: pytest.CaptureFixture[str]) -> None:  # noqa: F811
    """CSV has every field, exactly; a formula is no formula, and a line break or a quote stays in its cell."""
    browse.found = [row(user="=cmd|'/c calc'!A1\n\"x\",", session="@SUM(1)", flags=["a", "b"], cost_usd=None)]
    assert run(["usage", "show", "--csv"]) == 0
    header, values = csv.reader(io.StringIO(capsys.readouterr().out, newline=""))
    told = dict(zip(header, values, strict=True))
    as_json = browse.found[0].as_json()
    assert list(told) == list(as_json)
    assert told["user"] == "'=cmd|'/c calc'!A1\n\"x\","
    assert told["session"] == "'@SUM(1)"
    assert (told["cost_usd"], told["stream"], told["flags"]) == ("", "true", '["a", "b"]')
    assert told["started_at"] == as_json["started_at"]


def test_nothing_fits_is_no_error(browse: FakeBrowse, capsys: pytest.CaptureFixture[str]) -> None:  # noqa: F811
    """A query without results says so on standard error; its JSON is an empty list."""
    browse.found = []
    assert run(["usage", "show", "user:nobody"]) == 0
    assert capsys.readouterr() == ("", "No recorded request fits.\n")
    assert run(["usage", "show", "user:nobody", "--json"]) == 0
    assert capsys.readouterr() == ("[]\n", "")


def _unstyled(text: str) -> str:
    return re.sub(r"\x1b\[[\d;]*m", "", text)


def test_a_chosen_width_and_columns_on_a_terminal() -> None:
    """--width lays the table out for so many cells; columns that do not fit are left out, the last one first."""
    text = _unstyled(on_a_terminal(80, "usage", "show", "--limit", "3", "--width", "60"))
    assert max(map(len, text.splitlines())) <= 60
    columns = "id,user,cost,latency,host,path,response_id"
    text = _unstyled(on_a_terminal(80, "usage", "show", "--limit", "3", "--columns", columns))
    lines = text.splitlines()
    assert lines[0].split()[:4] == ["id", "user", "cost", "latency"]
    assert max(map(len, lines)) <= 80


def test_long_lists_are_paged_and_short_ones_not(tmp_path: Path) -> None:
    """What is longer than the screen goes through $PAGER, whole; the rest, and all without one, is written as it is."""
    told = tmp_path / "paged"
    pager = f"tee {told}"
    short = on_a_terminal(120, "usage", "show", "--limit", "5", PAGER=pager)
    assert not told.exists()
    long = on_a_terminal(120, "usage", "show", "--limit", "200", PAGER=pager)
    assert told.read_text("utf-8") == long
    assert len(long.splitlines()) > 200
    assert len(short.splitlines()) < 20
    told.unlink()
    for args, more in ((["--no-pager"], pager), ([], "no-such-program"), ([], "")):
        assert on_a_terminal(120, "usage", "show", "--limit", "200", *args, PAGER=more) == long
    assert not told.exists()


def test_a_pager_that_is_left_ends_the_command() -> None:
    """Who has read enough ends the pager, and with it the command, in silence."""
    text = on_a_terminal(120, "usage", "show", "--limit", "4000", PAGER="head -n 3")
    assert len(text.splitlines()) == 3
