"""`tracecli policy`: what people type and get."""

from __future__ import annotations

import datetime as dt
import json
import re
import shlex
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.policy.folders import folder
from tests.support.commands import tracecli
from tests.support.exchanges import captured
from tests.support.looks import rendered
from tests.support.upkeep import spooled
from tracecli.cli import policy as command
from tracecli.cli.main import run
from tracecli.config import Home
from tracecli.policy import look
from tracecli.policy.checks import Finding
from tracecli.policy.files import load
from tracecli.policy.history import entries
from tracecli.tables import policies as tables

NOW = dt.datetime(2026, 11, 23, 12, tzinfo=dt.UTC)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TRACECLI_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("TRACECLI_POLICIES", str(tmp_path / "policies"))
    return folder(
        tmp_path / "policies",
        strict='description = "usage alone"\ntracing = false',
        red='extends = "strict"\nsampling = 0.5\n[match]\nX-Team = "red"',
    )


type Said = Callable[..., tuple[str, str]]


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str]) -> Said:
    """Runs a command and returns what it wrote to standard output and standard error."""

    def of(*args: str, code: int = 0) -> tuple[str, str]:
        got = run(["policy", *args])
        out, err = capsys.readouterr()
        assert got == code, err
        return out, err

    return of


def table(place: Path, name: str) -> dict[str, Any]:
    return tomllib.loads((place / f"{name}.toml").read_text())


def test_listing(place: Path, said: Said) -> None:
    """Each policy with what it switches, who has it and what it matches."""
    folder(place, users__a='policy = "strict"')
    told = json.loads(said("list", "--json")[0])
    assert [one["name"] for one in told] == ["default", "red", "strict"]
    assert (told[1]["extends"], told[1]["match"], told[2]["users"]) == ("strict", {"X-Team": "red"}, 1)
    assert told[2]["extended_by"] == ["red"]
    lines = said("list")[0].splitlines()
    assert lines[0].split() == [
        "name",
        "tracing",
        "metering",
        "cache",
        "content",
        "metadata",
        "users",
        "extends",
        "match",
    ]
    assert lines[2].split()[:4] == ["red", "false", "true", "off"]
    shown = rendered(tables.policies(look.policies(load(place))), 80)
    assert "X-Team: red" in shown and "usage alone" in shown


def test_showing_one(place: Path, said: Said) -> None:
    """Each setting with its value, and which file says it."""
    told = {one["key"]: one for one in json.loads(said("show", "red", "--json")[0])["settings"]}
    assert told["tracing"] == {"key": "tracing", "value": False, "source": "strict"}
    assert told["sampling"]["source"] == "red"
    assert told["cache.mode"] == {"key": "cache.mode", "value": "off", "source": "built in"}
    assert re.search(r"^tracing +false +strict$", said("show", "red")[0], re.MULTILINE)
    shown = rendered(tables.policy(look.policies(load(place))[1]), 80)
    assert "X-Team: red" in shown and "built in" in shown
    assert "Name one of: default, red, strict" in said("show", "gone", code=3)[1]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("tracing=false", {"tracing": False}),
        ("tracing=off", {"tracing": False}),
        ("sampling=1", {"sampling": 1}),
        ("retention.content=30d", {"retention": {"content": "30d"}}),
        ('retention.content="30d"', {"retention": {"content": "30d"}}),
        ("cache.mode = on", {"cache": {"mode": "on"}}),
        ("description=42", {"description": "42"}),
        ("description=", {"description": ""}),
        ("description=a = b", {"description": "a = b"}),
        ('models=["a*", "b"]', {"models": ["a*", "b"]}),
        ("match.X-Team=red*", {"match": {"X-Team": "red*"}}),
        (r"redaction.patterns.id=E-\d{6}", {"redaction": {"patterns": {"id": r"E-\d{6}"}}}),
        (r"""redaction.patterns."two words"='[0-9]+'""", {"redaction": {"patterns": {"two words": "[0-9]+"}}}),
        ("description=x\ntracing = false", {"description": "x\ntracing = false"}),
        ("max_body_bytes=1_000", {"max_body_bytes": 1000}),
    ],
)
def test_values_as_people_type_them(place: Path, said: Said, text: str, expected: dict[str, Any]) -> None:
    """A value is TOML where that is what the key takes, and else the text as it was typed."""
    said("set", "default", text)
    assert table(place, "default") == expected


@pytest.mark.parametrize(
    ("text", "code", "says"),
    [
        ("tracing", 2, "is not KEY=VALUE"),
        ("=1", 2, "is no key"),
        ("a b=1", 2, "is no key"),
        ("a=1\nb=2", 3, "key `a`: is unknown"),
        ("tracng=1", 3, "did you mean `tracing`?"),
        ("sampling=2", 3, "must be between 0 and 1"),
        ("cache.ttl=7", 3, "is no duration"),
        ("tracing=maybe", 3, "Expected `bool`"),
        ("policy=x", 2, "see `tracecli policy user set --help`"),
    ],
)
def test_values_that_are_wrong(place: Path, said: Said, text: str, code: int, says: str) -> None:
    """What cannot be meant is one sentence with the key, and nothing is changed."""
    assert says in said("set", "default", text, code=code)[1]
    assert table(place, "default") == {}


def test_editing_says_what_and_when(place: Path, said: Said) -> None:
    """The keys with their old and new values go to standard output, from when it holds to standard error."""
    out, err = said("set", "default", "sampling=0.5", "--cache")
    assert out == "policy default: sampling: not set -> 0.5\npolicy default: cache.mode: not set -> on\n"
    assert err == "This holds for new requests, within a second.\n"
    assert said("set", "default", "sampling=0.5") == ("", "Nothing changed: it was so already.\n")
    told = json.loads(said("set", "default", "--unset", "sampling", "--no-tracing", "--json")[0])
    assert told["changes"][0]["changes"] == {
        "sampling": [0.5, None],
        "cache.mode": ["on", "off"],
        "tracing": [None, False],
    }
    assert told["hints"] == ["the cache is off too: it needs tracing"]
    assert told["holds"] == "for new requests, within a second"


@pytest.mark.parametrize(
    "args",
    [
        ["set", "strict", "--cache", "cache.ttl=1d", "match.X-A=a b"],
        ["set", "red", "cache.mode=on", "--no-tracing", "--unset", "sampling"],
        ["create", "new", "--from", "strict", "cache.mode=on"],
        ["user", "set", "a b", "--policy", "strict", "--cache", "--expires", "7d", "--set", "sampling=0.5"],
    ],
)
def test_the_cache_without_tracing(place: Path, said: Said, args: list[str]) -> None:
    """It is refused with the very command that would do it, which does it."""
    before = load(place)
    again = re.search(r"`tracecli policy (.+)`", said(*args, code=3)[1])
    assert again
    assert load(place).policies == before.policies
    said(*shlex.split(again[1]))
    after = load(place)
    decided = [one.settings for one in after.policies.values()] + [after.decide("a b", [], NOW.timestamp()).settings]
    cached = [one for one in decided if one.cache.mode == "on"]
    assert cached and all(one.tracing for one in cached)


def test_making_renaming_and_deleting(place: Path, said: Said) -> None:
    """The life of a policy, and its history."""
    said("create", "new", "--from", "strict")
    said("user", "set", "alice", "--policy", "new")
    said("rename", "new", "newer")
    assert "is used by user 'alice'" in said("delete", "newer", code=3)[1]
    assert said("delete", "newer", "--reassign", "x", "--force", code=2)[1]
    said("delete", "newer", "--reassign", "strict")
    assert table(place, "users/alice") == {"policy": "strict"}
    told = json.loads(said("history", "alice", "--json")[0])
    assert [one["changes"]["policy"] for one in told] == [["newer", "strict"], ["new", "newer"], [None, "new"]]
    out, _ = said("history")
    assert out.splitlines()[0].split() == ["at", "by", "kind", "name", "event", "key", "from", "to"]
    assert len(json.loads(said("history", "--limit", "2", "--json")[0])) == 2
    found = list(entries(Home(place.parent / "home"), place))
    assert "created, description = usage alone, tracing = false" in rendered(tables.history(found, NOW), 100)
    assert "No change of 'nobody'" in said("history", "nobody")[1]


def test_a_user_for_a_while(place: Path, said: Said) -> None:
    """A temporary policy ends in time, is listed as expiring, and is cleared."""
    said("user", "set", "a/b", "--policy", "strict", "--expires", "2h")
    said("user", "set", "later", "--policy", "strict", "--expires", "2099-01-01")
    (one,) = json.loads(said("user", "list", "--expiring", "24h", "--json")[0])
    assert (one["user"], one["temporary_policy"], one["expired"]) == ("a/b", "strict", False)
    ends = dt.datetime.fromisoformat(one["expires_at"]).timestamp()
    assert abs(ends - dt.datetime.now(dt.UTC).timestamp() - 7200) < 60
    assert len(json.loads(said("user", "list", "--json")[0])) == 2
    assert table(place, "users/later")["expires_at"] == dt.datetime(2099, 1, 1, tzinfo=dt.UTC)
    told = json.loads(said("user", "show", "a/b", "--json")[0])
    assert (told["applies"]["policy"], told["applies"]["then"]) == ("strict", "default")
    assert re.search(r"^a/b +default +strict ", said("user", "list")[0], re.MULTILINE)
    shown = rendered(tables.users(look.users(load(place), NOW)), 80)
    assert "for now" in shown and "bound to" not in shown
    said("user", "set", "a/b", "--expires", "never", "--no-tracing")
    assert table(place, "users/a%2Fb") == {"tracing": False}
    said("user", "clear", "a/b")
    assert said("user", "list", "--expiring", "1h")[1] == "Of nobody anything ends by then.\n"
    assert "none: what everybody has" in rendered(
        tables.user(look.user(load(place), "x", NOW), look.explained(load(place), "x", [], NOW)), 80
    )


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["--expires", "yesterday"], "is no moment; write 2h"),
        (["--expires", "2020-01-01"], "is over already"),
        (["--expires", "0s"], "is over already"),
        (["--expires", "999999999d"], "is"),
        (["--expires", "2026-13-45"], "is no moment"),
        ([], "Nothing to change"),
    ],
)
def test_times_that_are_none(place: Path, said: Said, args: list[str], says: str) -> None:
    """A time that is over, impossible or unheard of is a usage error in one sentence."""
    err = said("user", "set", "a", *args, code=2)[1]
    assert says in err and err.count("\n") == 1


def test_explaining(place: Path, said: Said) -> None:
    """The decision, the rule that won, those that it beat, and when it will change."""
    folder(
        place,
        users__a='policy = "strict"\ntemporary_policy = "default"\nsampling = 0.5\nexpires_at = 2099-01-01T00:00:00Z',
    )
    told = json.loads(said("explain", "a", "--header", "x-team: red", "--json")[0])
    assert (told["policy"], told["changes_at"], told["then"]) == ("default", "2099-01-01T00:00:00Z", "red")
    assert [(one["rule"], one["fits"], one["holds"]) for one in told["rules"]] == [
        ("temporary", True, True),
        ("match", True, False),
        ("assigned", True, False),
        ("default", True, False),
        ("own settings", True, True),
    ]
    assert told["settings"]["sampling"] == 0.5 and told["recorded"] is None
    out = said("explain", "a")[0]
    assert re.search(r"^match +red +no +a header it asks for does not fit: x-team$", out, re.MULTILINE)
    shown = rendered(tables.explained(look.explained(load(place), "a", [], NOW), None), 100)
    assert re.search("assigned.*strict.*beaten", shown) and "at 2099-01-01T00:00:00Z, to strict" in shown
    assert said("explain")[0].startswith("field")
    for wrong in (["a", "--id", "last"], ["--header", "nothing"], ["--header", ": x"]):
        assert said("explain", *wrong, code=2)[1]


def test_explaining_what_is_recorded(place: Path, said: Said) -> None:
    """A recorded request shows what was decided then beside what would be decided now."""
    home = Home(place.parent / "home")
    home.prepare()
    one = captured(b"{}", b"{}", user="bob", policy="old", reason="users/bob: assigned old",
                   request_headers=[("X-Team", "red")])  # fmt: skip
    spooled(home, one)
    told = json.loads(said("explain", "--id", "last", "--json")[0])
    assert told["recorded"] == {"id": one.exchange.id, "policy": "old", "reason": "users/bob: assigned old"}
    assert (told["user"], told["policy"]) == ("bob", "red")
    assert "recorded_policy" in said("explain", "--id", one.exchange.id)[0]
    found = look.explained(load(place), "bob", [], NOW)
    assert "old (users/bob: assigned old)" in rendered(tables.explained(found, told["recorded"]), 100)
    assert said("explain", "--id", "ffff", code=4)[1]


def test_validating(place: Path, said: Said) -> None:
    """Each error is a line with file, line, key and remedy, and the exit code is 3; without errors it is 0."""
    assert said("validate") == ("", "No errors, no warnings.\n")
    folder(place, wrong="\ntracng = 1", other="x = ")
    (place / "prices.toml").write_text("x")
    lines = said("validate", code=3)[0].splitlines()
    assert len(lines) == 3
    assert (
        f"{place}/wrong.toml:2: error: key `tracng`: is unknown (did you mean `tracing`?). Correct the file" in lines[1]
    )
    assert lines[2].startswith(f"{place}/prices.toml: error: not valid TOML")
    told = json.loads(said("validate", str(place), "--json", code=3)[0])
    assert not told["valid"]
    assert [(Path(one["file"]).name, one["line"]) for one in told["findings"]] == [
        ("other.toml", 1),
        ("wrong.toml", 2),
        ("prices.toml", None),
    ]
    assert len(said("validate", str(place / "wrong.toml"), code=3)[0].splitlines()) == 1
    assert "prices.toml" in said("validate", str(place / "prices.toml"), code=3)[0]
    assert said("validate", str(place / "strict.toml"))[0] == ""
    assert "does not exist" in said("validate", str(place / "gone"), code=3)[1]


def test_hostile_names_are_shown_as_text(place: Path, said: Said) -> None:
    """What files hold acts on no terminal: escapes and markup are text."""
    evil = r'description = "\u001b[2J[red]"'
    folder(place, strict=f'{evil}\n[match]\n"X-\\u001b[31m" = "[b]\\u202e"', **{"users__%1B%5B2J": evil})
    policies = load(place)
    looks = [
        tables.policies(look.policies(policies)),
        tables.policy(look.policies(policies)[-1]),
        tables.users(look.users(policies, NOW)),
        tables.user(look.user(policies, "\x1b[2J", NOW), look.explained(policies, "\x1b[2J", [], NOW)),
        tables.explained(look.explained(policies, "\x1b[2J", [], NOW), None),
    ]
    for shown in looks:
        text = re.sub(r"\x1b\[[\d;]*m", "", rendered(shown, 200))
        assert "\x1b" not in text and "\u202e" not in text
    assert "\\x1b[2J[red]" in rendered(tables.policy(look.policies(policies)[-1]), 200)
    said("user", "set", "a", "--no-tracing")
    for args in (["list"], ["user", "list"], ["show", "strict"], ["explain", "\x1b[2J"], ["history"], ["validate"]):
        out, err = said(*args)
        assert "\x1b" not in out + err
    finding = Finding(severity="error", file="\x1b", name="", line=1, key="\x1b", problem="\x1b", remedy="")
    assert "\x1b" not in "".join(tables.findings([finding]))


def test_a_new_home_has_a_default(tmp_path: Path) -> None:
    """Where the policies are the home's own, the first look at them makes the default; an edit works at once."""
    home = tmp_path / "home"
    where = str(home / "policies")
    assert "default" in tracecli(home, "policy", "list", TRACECLI_POLICIES=where).stdout
    done = tracecli(home, "policy", "set", "default", "--no-tracing", TRACECLI_POLICIES=where)
    assert done.stdout == "policy default: tracing: true -> false\n"
    assert "# The policy of everybody" in (home / "policies" / "default.toml").read_text()
    assert (home / "policies" / "default.toml").stat().st_mode & 0o777 == 0o600


def test_the_clock_of_expiry() -> None:
    """Durations count from now; dates are meant here; the offset of one that has it counts."""
    of = command._expiry
    assert of("2h", NOW) == NOW + dt.timedelta(hours=2)
    assert of("2026-12-01", NOW) == dt.datetime(2026, 12, 1, tzinfo=dt.UTC)
    assert of("2026-12-01T12:00:00+02:00", NOW) == dt.datetime(2026, 12, 1, 10, tzinfo=dt.UTC)
    assert of(" Never ", NOW) == "never"
