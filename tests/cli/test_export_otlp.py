"""`tracecli export otlp`: a real collector's side of it."""

from __future__ import annotations

import datetime as dt
import json
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTracePartialSuccess,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from tests.support.chats import START, answered, asked, call, store
from tests.support.collector import Answer, Collector, attributes, running
from tracecli import collector, finding
from tracecli.cli.main import run
from tracecli.config import Home
from tracecli.query.syntax import EVERYTHING
from tracecli.spool import SpoolWriter

HOSTILE = "</script>\x1b[31m\ud83d"
SECRET = "otlp-secret-0123456789"
_EXCHANGES = [
    call(0, asked("first"), answered("one"), session="s1", user="alice"),
    call(1, asked(HOSTILE, stream=True), answered("two"), session="s1", user="bob", tags=["a", "b"]),
    call(2, b"", b'{"error": {"message": "too many"}}', status=429, user="carol"),
]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    """Two exchanges of a session, stored; and one that failed, still in the spool."""
    home = Home(tmp_path / "home")
    home.prepare()
    monkeypatch.setenv("TRACECLI_HOME", str(home.root))
    store(home, *_EXCHANGES[:2])
    spool = SpoolWriter(home.spool)
    assert spool.append(_EXCHANGES[2])
    spool.close()
    return home


@pytest.fixture
def there(home: Home, monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    """A collector, and nobody who waits."""
    monkeypatch.setattr(collector.send, "__kwdefaults__", {"wait": lambda _: None})
    with running() as one:
        yield one


def otlp(there: Collector, *args: str) -> int:
    """The command."""
    return run(["export", "otlp", "--endpoint", there.url, *args])


def test_spans(there: Collector, capsys: pytest.CaptureFixture[str]) -> None:
    """Each exchange is one span with the conventions' attributes; those of a session are one trace."""
    assert otlp(there, "--header", f"api-key={SECRET}") == 0
    assert capsys.readouterr() == ("", "Sent 3 spans.\n")
    assert there.paths == ["/v1/traces"]
    assert there.headers[0]["api-key"] == SECRET
    third, second, first = there.spans
    assert first.trace_id == second.trace_id != third.trace_id
    assert len({span.span_id for span in there.spans}) == 3
    assert (first.name, first.kind) == ("chat gpt-4o-mini", Span.SPAN_KIND_CLIENT)
    assert first.start_time_unix_nano == START * 1000
    assert first.end_time_unix_nano - first.start_time_unix_nano == 900_000_000
    told = attributes(first)
    assert told["gen_ai.provider.name"] == "openai"
    assert told["gen_ai.operation.name"] == "chat"
    assert told["gen_ai.usage.input_tokens"] == 1000
    assert told["gen_ai.response.finish_reasons"] == ["stop"]
    assert told["gen_ai.conversation.id"] == "s1"
    assert (told["user.id"], told["server.address"]) == ("alice", "api.openai.com")
    assert told["gen_ai.usage.cost"] == pytest.approx(0.00021)
    assert "gen_ai.request.stream" not in told or told["gen_ai.request.stream"] is False
    assert attributes(second)["tracecli.tags"] == ["a", "b"]
    assert first.status == Status()
    assert third.status == Status(code=Status.STATUS_CODE_ERROR, message="too many")
    assert attributes(third)["error.type"] == "429"
    resource = {pair.key: pair.value.string_value for pair in there.requests[0].resource_spans[0].resource.attributes}
    assert resource["service.name"] == "tracecli"


def test_what_was_said_only_if_asked_for(there: Collector) -> None:
    """Without --content no word of it is sent; with it, messages as the conventions have them."""
    assert otlp(there) == 0
    assert "first" not in str(there.requests[0])
    assert otlp(there, "--content", "--session", "s1") == 0
    second, first = sorted(there.spans[3:], key=lambda span: -span.start_time_unix_nano)
    messages = json.loads(attributes(first)["gen_ai.input.messages"])
    assert messages == [{"role": "user", "parts": [{"type": "text", "content": "first"}]}]
    assert json.loads(attributes(first)["gen_ai.output.messages"])[0]["parts"][0]["content"] == "one"
    assert "\x1b[31m\ufffd" in json.loads(attributes(second)["gen_ai.input.messages"])[0]["parts"][0]["content"]


def test_sent_twice(there: Collector) -> None:
    """Who sends an exchange again sends the same span."""
    assert otlp(there) == otlp(there) == 0
    half = len(there.spans) // 2
    assert there.spans[:half] == there.spans[half:]


def test_pages_and_batches(there: Collector, monkeypatch: pytest.MonkeyPatch) -> None:
    """However it is cut, each that fits is sent once; --limit takes the latest."""
    monkeypatch.setattr(finding, "pages", partial(finding.pages, size=1))
    monkeypatch.setattr(collector, "_MOST_SPANS", 2)
    assert otlp(there, "user:alice,bob,carol") == 0
    assert [len(request.resource_spans[0].scope_spans[0].spans) for request in there.requests] == [2, 1]
    assert [attributes(span)["user.id"] for span in there.spans] == ["carol", "bob", "alice"]
    monkeypatch.setattr(collector, "_MOST_BYTES", 1)
    assert otlp(there, "--limit", "2", "--content") == 0
    assert sorted(attributes(span)["user.id"] for span in there.spans[3:]) == ["bob", "carol"]
    assert len(there.requests) == 4


def test_again_where_it_says_so(there: Collector, monkeypatch: pytest.MonkeyPatch) -> None:
    """Answers that are worth another try get one, after as long as they say."""
    waited: list[float] = []
    monkeypatch.setattr(collector.send, "__kwdefaults__", {"wait": waited.append})
    there.answers = [Answer(503), Answer(429, {"Retry-After": "7"}), Answer(502, {"Retry-After": "soon"})]
    assert otlp(there) == 0
    assert len(there.spans) == 3
    assert 0.3 < waited[0] < 0.7
    assert waited[1] == 7
    assert 1.5 < waited[2] < 2.5


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (
            Answer(401, {"content-type": "text/plain"}, b"no  such\x1b key"),
            r"answered 401: no such.* key. Give its key",
        ),
        (Answer(400, {"content-type": "text/html"}, b"<html>"), "answered 400. See its log."),
        (Answer(307, {"location": "http://127.0.0.1:1/"}), "answered 307"),
    ],
)
def test_a_refusal(there: Collector, answer: Answer, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A collector that refuses is quoted, with the remedy; no header's value is."""
    there.answers = [answer]
    assert otlp(there, "--header", f"api-key={SECRET}") == 9
    told = capsys.readouterr().err
    assert re.search(said, told)
    assert SECRET not in told and "\x1b" not in told


def test_never_there(home: Home, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A collector that stays away is an error that names it, without what its URL may hold beside."""
    monkeypatch.setattr(collector.send, "__kwdefaults__", {"wait": lambda _: None})
    url = f"http://someone:{SECRET}@127.0.0.1:9/v1/traces?key={SECRET}"
    assert run(["export", "otlp", "--endpoint", url]) == 9
    told = capsys.readouterr().err
    assert "the collector at http://127.0.0.1:9 cannot be reached: ConnectError" in told
    assert SECRET not in told


def test_what_it_did_not_take(there: Collector, capsys: pytest.CaptureFixture[str]) -> None:
    """Spans that a collector leaves out are counted, with its reason."""
    partly = ExportTracePartialSuccess(rejected_spans=1, error_message="too  old")
    body = ExportTraceServiceResponse(partial_success=partly).SerializeToString()
    there.answers = [Answer(200, {"content-type": "application/x-protobuf"}, body)]
    assert otlp(there) == 0
    assert capsys.readouterr().err == "Sent 2 spans.\nThe collector did not take 1: too old.\n"


def test_as_the_environment_says(there: Collector, monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenTelemetry's own variables say where, as whom and with what."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"{there.url}/base/")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "api-key=a%20b,other=c")
    monkeypatch.setenv("OTEL_SERVICE_NAME", "proxy-1")
    assert run(["export", "otlp"]) == 0
    assert there.paths == ["/base/v1/traces"]
    assert (there.headers[0]["api-key"], there.headers[0]["other"]) == ("a b", "c")
    assert "proxy-1" in str(there.requests[0].resource_spans[0].resource)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", f"{there.url}/own")
    assert run(["export", "otlp"]) == 0
    assert there.paths[1] == "/own"


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize(
    ("args", "code", "said"),
    [
        ([], 2, "--endpoint http://localhost:4318"),
        (["--endpoint", "localhost:4318"], 3, "is no URL"),
        (["--endpoint", "http://[::1"], 3, "is no URL"),
        (["--endpoint", "http://localhost:1", "--header", SECRET], 3, "header 1 is no NAME=VALUE"),
        (["--endpoint", "http://localhost:1", "--header", f"key={SECRET}\x01x"], 3, "the value of the header key"),
    ],
)
def test_mistakes(args: list[str], code: int, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Each mistake is a sentence that holds no secret."""
    assert run(["export", "otlp", *args]) == code
    told = capsys.readouterr().err
    assert said in told
    assert SECRET not in told


def test_following(there: Collector, home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """--follow sends what ends from now on, and ends with Ctrl-C."""
    late = call(3, asked("late"), answered("x"), user="dave")

    def one_more(*_: object) -> Iterator[object]:
        spool = SpoolWriter(home.spool)
        assert spool.append(late)
        spool.close()
        yield finding.rows(home, EVERYTHING, dt.datetime.now(dt.UTC), limit=1)[0]
        raise KeyboardInterrupt

    monkeypatch.setattr("tracecli.following.follow", one_more)
    assert otlp(there, "--follow", "--content") == 130
    [span] = there.spans
    assert attributes(span)["user.id"] == "dave"
