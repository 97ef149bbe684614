"""`tracecli doctor client`: a client's own stack is tried, and what is wrong with it is said."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.support.commands import tracecli
from tests.support.rows import row
from tracecli.cli.doctor_client import Tried, judge, try_all
from tracecli.clients.calls import CALLERS
from tracecli.clients.table import CLIENTS
from tracecli.demo.standin import Served
from tracecli.demo.trial import Trial, trial
from tracecli.errors import CommandNotFound

CURL = CALLERS["curl"].calls[0]
SERVED = Served("api.openai.com", "gpt-4o-mini", False, 10, 6)
HERE = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}


@pytest.fixture(scope="module")
def stage() -> Iterator[Trial]:
    """The stand-in and a proxy, for all clients."""
    with trial() as made:
        yield made


def tried(stage: Trial, name: str, given: Mapping[str, str] = HERE) -> list[Tried]:
    """A client's test calls."""
    program = shutil.which(CALLERS[name].programs[0], path=given["PATH"])
    assert program
    return try_all(stage, CALLERS[name], program, given)[1]


def curl_that(folder: Path, does: str) -> dict[str, str]:
    """An environment whose curl does something else, too."""
    program = folder / "bin" / "curl"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\n{does}\n")
    program.chmod(0o755)
    return {"PATH": f"{program.parent}:{os.environ['PATH']}"}


def test_python(stage: Trial) -> None:
    """The standard library, and what is installed beside it."""
    found = tried(stage, "python")
    assert {(one.stack, one.kind) for one in found} >= {
        ("urllib", "plain"),
        ("urllib", "streamed"),
        ("openai", "plain"),
        ("openai", "streamed"),
        ("websockets", "streamed"),
    }
    for one in found:
        assert (one.problem, one.recorded, one.model) == (None, True, "gpt-4o-mini"), one
        assert (one.input_tokens, one.output_tokens) == (10, 6)
        assert one.version
    with pytest.raises(CommandNotFound, match=r"has no boto3\. `python3 -m pip install boto3`"):
        tried(stage, "boto3")


@pytest.mark.skipif(not shutil.which("node"), reason="there is no node")
def test_node(stage: Trial) -> None:
    """Node's fetch."""
    assert [(one.problem, one.recorded) for one in tried(stage, "node")] == [(None, True)] * 2


@pytest.mark.skipif(not shutil.which("curl"), reason="there is no curl")
def test_curl(stage: Trial, tmp_path: Path) -> None:
    """One that works; one that trusts others; one that goes past the proxy; one that ends badly."""
    assert [(one.problem, one.recorded) for one in tried(stage, "curl")] == [(None, True)] * 2
    curl = shutil.which("curl")
    other = stage.provider.authority
    for name, does, problem, remedy in (
        ("distrusts", f'exec {curl} "$@" --cacert {other}', "does not trust the proxy's authority", "CURL_CA_BUNDLE"),
        ("past", f"""exec {curl} "$@" --noproxy '*' --resolve '*:443:127.0.0.1'""", "did not come to", "https_proxy"),
        (
            "fails",
            f'{curl} "$@"; echo; echo "gave up"; exit 3',
            "and it ended with code 3; its last words: gave up",
            "",
        ),
    ):
        folder = tmp_path / name
        folder.mkdir()
        one = tried(stage, "curl", curl_that(folder, does))[0]
        assert problem in (one.problem or "") and remedy in (one.remedy or ""), one
        assert one.recorded is (name == "fails")


@pytest.mark.skipif(not shutil.which("curl"), reason="there is no curl")
def test_the_command(tmp_path: Path) -> None:
    """Exit codes and JSON; nothing of the user's is read or written, and nothing is left."""
    home = tmp_path / "home"
    given: dict[str, Any] = {
        "TMPDIR": str(tmp_path),
        "OPENAI_API_KEY": "sk-of-the-user",
        "HTTPS_PROXY": "http://127.0.0.1:9",
    }
    done = tracecli(home, "doctor", "client", "curl", "--json", **given)
    told: dict[str, Any] = json.loads(done.stdout)
    assert told["healthy"] and [one["kind"] for one in told["calls"]] == ["plain", "streamed"]
    assert not list(tmp_path.iterdir())
    done = tracecli(home, "doctor", "client", "curl", code=127, PATH=str(tmp_path))
    assert "there is no curl on PATH" in done.stderr
    assert "Invalid value for 'NAME'" in tracecli(home, "doctor", "client", "perl", code=2).stderr


def test_what_is_wrong_with_a_record() -> None:
    """A call that is recorded otherwise than it was is a bug, and told; so are a call that was not made, and a hang."""
    recorded = row(request_model="gpt-4o-mini", host="api.openai.com", stream=False, input_tokens=10, output_tokens=6)
    assert judge(CURL, 0, "", [SERVED], [recorded], "reached") == (None, None)
    wrong = row(request_model="gpt-4o-mini", host="api.openai.com", stream=False, input_tokens=11, output_tokens=6)
    problem, remedy = judge(CURL, 0, "", [SERVED], [wrong], "reached")
    assert problem and "gpt-4o-mini with 11 tokens in and 6 out" in problem and remedy == "Please report it."
    problem, _ = judge(CURL, 0, "", [SERVED], [], "reached")
    assert problem and problem.endswith("what is recorded is nothing")
    problem, _ = judge(CURL, None, "", [], [], "reached")
    assert problem == "it made no plain call to gpt-4o-mini, and did not end"


def test_every_client_is_in_the_table() -> None:
    """Remedies come from it."""
    names = {client.name for client in CLIENTS}
    assert {call.client for caller in CALLERS.values() for call in caller.calls} <= names
