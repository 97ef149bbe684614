"""`tracecli export`: what other tools read is what was recorded."""

from __future__ import annotations

import base64
import json
import stat
from pathlib import Path
from typing import Any

import pytest

from tests.support.chats import answered, asked, call, store
from tracecli.cli.main import run
from tracecli.config import Home
from tracecli.spool import SpoolWriter

PICTURE = b"\x89PNG\xff\xfe"
HOSTILE = "</script>\x1b[31m\u202e"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    """Four exchanges: text, bytes and one without content, stored; and one that failed, still in the spool."""
    home = Home(tmp_path / "home")
    home.prepare()
    monkeypatch.setenv("TRACECLI_HOME", str(home.root))
    store(
        home,
        call(
            0,
            asked(HOSTILE),
            answered("Paris"),
            user="alice",
            ttfb_ms=400.0,
            connect_ms=150.0,
            path="/v1/chat/completions?a=1&b=",
        ),
        call(1, asked("x"), PICTURE, user="alice", response_headers=[("Content-Type", "image/png")]),
        call(2, b"", b"", user="bob", traced=False, request_bytes=10, response_bytes=20),
    )
    spool = SpoolWriter(home.spool)
    failed: dict[str, Any] = {"status": None, "outcome": "failed", "error": "no route to host", "response_headers": []}
    assert spool.append(call(3, asked("x"), b"", user="carol", **failed))
    spool.close()
    return home


@pytest.mark.usefixtures("home")
def test_an_archive(capsys: pytest.CaptureFixture[str]) -> None:
    """Every exchange that fits is an entry with all that HAR 1.2 asks for, oldest first."""
    assert run(["export", "har"]) == 0
    out = capsys.readouterr().out
    assert out.isascii()
    log = json.loads(out)["log"]
    assert (log["version"], log["creator"]["name"]) == ("1.2", "tracecli")
    text, picture, without, failed = log["entries"]
    for one in log["entries"]:
        assert {"startedDateTime", "time", "request", "response", "cache", "timings"} <= one.keys()
        asked_for = {"method", "url", "httpVersion", "cookies", "headers", "queryString", "headersSize", "bodySize"}
        assert asked_for <= one["request"].keys()
        told = {"status", "statusText", "httpVersion", "cookies", "headers", "content", "redirectURL"}
        assert told | {"headersSize", "bodySize"} <= one["response"].keys()
        assert {"size", "mimeType"} <= one["response"]["content"].keys()
        assert sum(value for value in one["timings"].values() if value > 0) == one["time"]
    assert text["request"]["queryString"] == [{"name": "a", "value": "1"}, {"name": "b", "value": ""}]
    assert json.loads(text["request"]["postData"]["text"])["messages"][0]["content"] == HOSTILE
    assert json.loads(text["response"]["content"]["text"])["choices"][0]["message"]["content"] == "Paris"
    assert [text["timings"][name] for name in ("connect", "wait", "receive")] == [150.0, 250.0, 500.0]
    assert (text["_tracecli"]["user"], text["_tracecli"]["cost_usd"]) == ("alice", "0.00021")
    content = picture["response"]["content"]
    assert (base64.b64decode(content["text"]), content["encoding"]) == (PICTURE, "base64")
    assert without["request"]["comment"] == without["response"]["content"]["comment"] == "recorded without content"
    assert (failed["response"]["status"], failed["response"]["comment"]) == (0, "no route to host")


@pytest.mark.usefixtures("home")
def test_some_of_them_to_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A query and a limit choose; the file is private, and takes the place of the one before."""
    file = tmp_path / "x.har"
    file.write_text("before")
    assert run(["export", "har", "user:alice", "--limit", "1", "--output", str(file)]) == 0
    assert capsys.readouterr().out == ""
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    [entry] = json.loads(file.read_text())["log"]["entries"]
    assert entry["response"]["content"]["mimeType"] == "image/png"
    assert run(["export", "har", "user:nobody"]) == 0
    assert json.loads(capsys.readouterr().out)["log"]["entries"] == []
    assert run(["export", "har", "--output", "/nowhere/x.har"]) == 1
    assert "/nowhere/x.har" in capsys.readouterr().err


@pytest.mark.filterwarnings("ignore:.*deprecated")  # of what mitmproxy imports
def test_mitmproxy_reads_it(home: Home, tmp_path: Path) -> None:
    """Another reader of HAR finds the same requests and answers in it."""
    from mitmproxy.io.har import request_to_flow

    file = tmp_path / "x.har"
    assert home.database.exists()
    assert run(["export", "har", "--user", "alice", "--output", str(file)]) == 0
    flows = [request_to_flow(entry) for entry in json.loads(file.read_text())["log"]["entries"]]
    assert [flow.request.path for flow in flows] == ["/v1/chat/completions?a=1&b=", "/v1/chat/completions"]
    assert json.loads(flows[0].request.content or b"")["messages"][0]["content"] == HOSTILE
    assert [flow.response and flow.response.status_code for flow in flows] == [200, 200]
    assert flows[1].response
    assert flows[1].response.content == PICTURE
