"""The demo's stage: a throw-away home, the stand-in provider, the real proxy as a process, and calls through it.

Whatever ends the demo, its end or a signal, the processes end and the folder goes.
"""

from __future__ import annotations

import contextlib
import shutil
import signal
import ssl
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, Literal

import httpx2

from tracecli import browse
from tracecli.config import Home
from tracecli.demo.standin import StandIn
from tracecli.errors import TracecliError
from tracecli.exchange import Outcome, Row
from tracecli.launching import launch

_POLL_S = 0.03
_RECORD_S = 5.0
_LEAVES_AFTER_EVENTS = 12


@dataclass(frozen=True)
class Call:
    """One call of the demo. Each has a user of its own, so that its record is found again."""

    user: str
    provider: Literal["openai", "anthropic"]
    what: str
    """The call in a few words."""
    prompt: str
    answer: str
    stream: bool
    leaves: bool = False
    """Whether the client goes away in the middle of the answer."""

    @property
    def outcome(self) -> Outcome:
        """How its record has to end."""
        return "aborted" if self.leaves else "complete"


CALLS = (
    Call(
        "alice",
        "openai",
        "a plain call",
        "What does a proxy do? One sentence, please.",
        "It stands between a client and a server, passes on what each says to the other, and can take notes.",
        stream=False,
    ),
    Call(
        "bob",
        "openai",
        "a streamed call",
        "Write a haiku about a stream of tokens.",
        "One word, then one more;\nthe river hands me pebbles\nuntil it says: stop.",
        stream=True,
    ),
    Call(
        "carol",
        "anthropic",
        "a streamed call in another format",
        "Why does a model answer piece by piece?",
        "Because it writes that way: each token is chosen after the one before it, and waiting helps nobody.",
        stream=True,
    ),
    Call(
        "dave",
        "openai",
        "a streamed call that the client leaves",
        "Tell me a very long story.",
        "Once upon a time there was a packet that wanted to see the world. " * 20,
        stream=True,
        leaves=True,
    ),
)
OPENED = CALLS[1]
"""The call that the demo opens."""


class Stage:
    """The running demo."""

    def __init__(self, home: Home, provider: StandIn, proxy_port: int) -> None:
        self.home = home
        self._provider = provider
        self._proxy_port = proxy_port

    def make(self, call: Call) -> None:
        """Make a call through the proxy, as any client would.

        Raises TracecliError if it fails.
        """
        trusted = ssl.create_default_context(cafile=self.home.mitmproxy / "mitmproxy-ca-cert.pem")
        proxy = f"http://127.0.0.1:{self._proxy_port}"
        address = f"https://localhost:{self._provider.port(call.provider)}"
        try:
            with httpx2.Client(proxy=proxy, verify=trusted, trust_env=False, base_url=address) as client:
                _send(client, call)
        except httpx2.HTTPError as error:
            raise TracecliError(f"{call.what} of the demo failed: {error}", _REPORT) from error

    def recorded(self) -> list[Row]:
        """The records of the calls, newest first, once all are there.

        Raises TracecliError if one is missing or not as it has to be.
        """
        deadline = time.monotonic() + _RECORD_S
        while len(rows := browse.latest(self.home, 2 * len(CALLS))) < len(CALLS) and time.monotonic() < deadline:
            time.sleep(_POLL_S)
        wrong = [
            problem for call in CALLS if (problem := _problem(call, [row for row in rows if row.user == call.user]))
        ]
        if wrong:
            raise TracecliError(f"the demo was not recorded as it should be: {'; '.join(wrong)}", _REPORT)
        return rows


@contextlib.contextmanager
def stage() -> Iterator[Stage]:
    """Set everything up, and take everything down.

    Raises ProxyError if the proxy does not start.
    """
    with contextlib.ExitStack() as stack:
        signals = Signals()
        stack.enter_context(signals.heard())
        with signals.held():
            folder = Path(tempfile.mkdtemp(prefix="tracecli-demo-"))
            stack.callback(shutil.rmtree, folder, ignore_errors=True)
        answers = {call.prompt: call.answer for call in CALLS}
        provider = stack.enter_context(StandIn(folder, answers, "I am a stand-in and know little."))
        home = Home(folder / "home")
        port = stack.enter_context(_proxy(home, provider, signals))
        stack.callback(signals.ignore)
        yield Stage(home, provider, port)


_REPORT = "Please report it, with what `tracecli --debug demo` says."


def _send(client: httpx2.Client, call: Call) -> None:
    message = {"role": "user", "content": call.prompt}
    headers = {"X-Tracecli-User": call.user}
    body: dict[str, Any]
    if call.provider == "openai":
        path = "/v1/chat/completions"
        headers["Authorization"] = "Bearer sk-a-made-up-key"
        body = {"model": "gpt-4o-mini", "messages": [message], "stream": call.stream}
        if call.stream:
            body["stream_options"] = {"include_usage": True}
    else:
        path = "/v1/messages"
        headers |= {"x-api-key": "sk-ant-a-made-up-key", "anthropic-version": "2023-06-01"}
        body = {"model": "claude-haiku-4-5", "max_tokens": 1024, "messages": [message], "stream": call.stream}
    with client.stream("POST", path, json=body, headers=headers) as answer:
        answer.raise_for_status()
        for number, _ in enumerate(answer.iter_lines()):
            if call.leaves and number > 2 * _LEAVES_AFTER_EVENTS:
                return


def _problem(call: Call, rows: list[Row]) -> str | None:
    """What is wrong with the record of a call, if anything."""
    if len(rows) != 1:
        return f"{call.what} has {len(rows)} records"
    row = rows[0]
    if row.outcome != call.outcome:
        return f"{call.what} is recorded as {row.outcome}, not {call.outcome}"
    if row.stream != call.stream or row.status != 200 or row.provider != call.provider:
        return f"{call.what} is recorded with stream {row.stream}, status {row.status}, provider {row.provider}"
    if not call.leaves and (row.output_tokens is None or row.cost_usd is None):
        return f"{call.what} has no tokens or no cost"
    return None


@contextlib.contextmanager
def _proxy(home: Home, provider: StandIn, signals: Signals) -> Iterator[int]:
    """The port of `tracecli proxy`, running as a process of its own."""
    words = ["--listen", "127.0.0.1:0", "--home", str(home.root), "--policies", str(home.root / "policies")]
    for name in ("openai", "anthropic"):
        words += ["--host", f"localhost:{provider.port(name)}={name}"]
    words += ["--", "--set", f"ssl_verify_upstream_trusted_ca={provider.authority}"]
    with contextlib.ExitStack() as stack:
        with signals.held():
            proxy = launch(home, words)
            stack.callback(proxy.end, kill_ingest=True)
        yield proxy.ready()["listen"][0][1]


class Signals:
    """Makes SIGTERM and SIGHUP unwind the stack as Ctrl-C does, and the first of them the only one.

    Clearing up takes a moment, and must not stop half-way; nor must the start of a process, between its beginning and
    our knowing of it.
    """

    def __init__(self) -> None:
        self._deaf = False
        self._held: int | None = None
        self._holding = False

    @contextlib.contextmanager
    def heard(self) -> Iterator[None]:
        """Take the signals over, and give them back at the end."""
        signals = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        before = {number: signal.signal(number, self._receive) for number in signals}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Hold a signal back until the end of the block."""
        self._holding = True
        try:
            yield
        finally:
            self._holding = False
        if self._held is not None:
            self._end(self._held)

    def ignore(self) -> None:
        """From now on nothing interrupts."""
        self._deaf = True

    def _receive(self, number: int, _: FrameType | None) -> None:
        if self._holding:
            self._held = number
        elif not self._deaf:
            self._end(number)

    def _end(self, number: int) -> None:
        self._deaf = True
        raise KeyboardInterrupt if number == signal.SIGINT else SystemExit(128 + number)
