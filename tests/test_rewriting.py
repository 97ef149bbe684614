"""Taking something out of what is recorded: it is in no file any more, and all the rest is as it was."""

from __future__ import annotations

import gzip
import json

import pytest

from tests.support.chats import answered, asked, call
from tests.support.deadly import die_at
from tests.support.secrets_in_files import files_with
from tests.support.upkeep import stored
from tests.test_erasing import home
from tracecli import browse, erasing, finding, ledger
from tracecli.cli.main import run
from tracecli.config import Home
from tracecli.query import syntax
from tracecli.query.syntax import EVERYTHING, parse
from tracecli.rewriting import Rules
from tracecli.store import holds

__all__ = ["home"]
_GZIP = [("Content-Type", "application/json"), ("Content-Encoding", "gzip")]
_JSON = [("Content-Type", "application/json")]


def applied(capsys: pytest.CaptureFixture[str], *args: str, code: int = 0) -> dict[str, object]:
    """The receipt."""
    assert run(["redact", "apply", *args, "--yes", "--json"]) == code
    told: dict[str, object] = json.loads(capsys.readouterr().out)
    return told


def test_the_past_is_rewritten(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    """Bodies, compressed too, search texts, comments; who it was and what it cost stays, others are untouched."""
    shared = "a long text that everybody sends " * 100
    one = call(
        0,
        asked(f"{shared} bob@example.org asks"),
        gzip.compress(answered(f"bob@example.org, {shared}")),
        user="alice",
        request_headers=_JSON,
        response_headers=_GZIP,
    )
    other = call(1, asked(f"{shared} eve@example.org"), answered("x"), user="eve", request_headers=_JSON)
    plain = call(2, asked("nothing of it"), answered("x"), user="alice", request_headers=_JSON)
    stored(home, one, other, plain)
    run(["usage", "rate", one.exchange.id, "--score", "4", "--comment", "told bob@example.org"])
    before = {row.id: row for row in browse.latest(home, 9)}
    receipt = applied(capsys, "--where", "user:alice", "--kind", "email")
    assert receipt["complete"] is True
    assert receipt["erased"]["redacted"] == 1  # type: ignore[index]
    assert files_with(home.root, "bob@example.org") == []
    assert files_with(home.root, "eve@example.org") != []
    found = browse.open_exchange(home, one.exchange.id)
    assert b"[REDACTED:email] asks" in found.request.body
    assert json.loads(found.response.body)["choices"][0]["message"]["content"].startswith("[REDACTED:email], a long")
    assert found.row.comment == "told [REDACTED:email]"
    assert "redacted" in found.row.flags
    old = before[one.exchange.id]
    for name in ("user", "started_at", "cost_usd", "input_tokens", "request_bytes", "score"):
        assert getattr(found.row, name) == getattr(old, name)
    for same in (other, plain):
        assert browse.find(home, same.exchange.id)[1].request_body == same.request_body
        assert browse.open_exchange(home, same.exchange.id).row == before[same.exchange.id]
    words = syntax.words("[REDACTED:email] asks")
    assert [one_.row.id for one_ in finding.search(home, words, EVERYTHING, old.started_at)] == [one.exchange.id]
    assert [entry.event for entry in ledger.entries(home)].count("redact") == 1
    assert applied(capsys, "--where", "user:alice", "--kind", "email")["erased"]["redacted"] == 0  # type: ignore[index]


def test_by_a_policy_and_words(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    (home.root.parent / "policies" / "default.toml").write_text("")
    (home.root.parent / "policies" / "strict.toml").write_text('[redaction]\nwords = ["Ann"]')
    stored(home, call(0, asked("Ann was here"), answered("Hello Ann"), request_headers=_JSON))
    assert applied(capsys, "--where", "user:*", "--policy", "strict")["what"] == "redaction of name"
    assert files_with(home.root, "Ann was") == []
    assert run(["redact", "apply", "--where", "user:*", "--word", "here", "--yes"]) == 0
    assert capsys.readouterr().out.startswith("taken out\tredaction of name\nrequests\t1\nleft\tnothing\n")


def test_a_hold_keeps_it_as_it_is(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    one = call(0, asked("a@example.org"), answered("x"), user="alice", request_headers=_JSON)
    stored(home, one)
    holds.place(home, "user", "alice", "", browse.latest(home, 1)[0].started_at)
    assert applied(capsys, "--where", "user:alice", "--kind", "email")["on_hold"] == 1
    assert browse.find(home, one.exchange.id)[1].request_body == one.request_body


@pytest.mark.parametrize("step", range(7))
def test_killed_anywhere(home: Home, step: int) -> None:
    """The next ingest does the rest; what was stored is there all the time."""
    ones = [call(n, asked(f"a{n}@example.org asks " * 50), answered("x"), request_headers=_JSON) for n in range(3)]
    stored(home, *ones)
    rules = Rules(["email"], {})
    identifier = erasing.ask(home, parse("user:*"), "x", [], content_only=False, rules=rules)
    die_at(home, step, *_STEPS)
    for one in ones:
        assert browse.open_exchange(home, one.exchange.id).request.body
    assert erasing.carried_out(home, identifier, home.root.parent / "policies").complete
    assert files_with(home.root, "@example.org") == []
    assert all(b"[REDACTED:email] asks" in browse.open_exchange(home, one.exchange.id).request.body for one in ones)


_STEPS = (
    "tracecli.erasing:_write",
    "tracecli.rewriting:_replace",
    "tracecli.store.bodies:write",
    "tracecli.store.bodies:add",
    "tracecli.store.bodies:forget",
    "tracecli.store.expiry:write_anew",
    "tracecli.store.parquet:without",
)


@pytest.mark.parametrize("args", [[], ["--kind", "email", "--policy", "x"], ["--kind", "mail"], ["--pattern", "a=("]])
def test_bad_command_lines(home: Home, args: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["redact", "apply", "--where", "user:a", *args, "--yes"]) in (2, 3)
    assert capsys.readouterr().err.count("tracecli:") == 1
