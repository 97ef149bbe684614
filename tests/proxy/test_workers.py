"""`tracecli proxy --workers 2`: one port, several processes; what happens when one of them ends."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import answers, proxies
from tests.support.commands import tracecli
from tests.support.load import load
from tests.support.proxies import Place, Proxy, end_ingest, ingest_processes, launch
from tests.support.standin import Standin, gated
from tests.support.waiting import Gate, wait_until
from tracecli.config import Home
from tracecli.errors import ConfigError, ProxyError
from tracecli.proxy import listening
from tracecli.proxy.runner import Inherited, Listen, ProxySettings, parse_inherited
from tracecli.proxy.workers import supervise

CHAT = "https://api.openai.com/v1/chat/completions"
ASKED: dict[str, Any] = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Go on."}]}
EVENTS = answers.chat_sse(answers.chat_stream(count=6))


def words(*more: str) -> list[str]:
    """The command line of a proxy with two workers."""
    return [sys.executable, "-m", "tracecli", "proxy", "--listen", "127.0.0.1:0", "--workers", "2", *more]


@contextlib.contextmanager
def running(place: Place, standin: Standin, lane: str = "auto") -> Iterator[Proxy]:
    """A proxy with two workers that serve; whatever the test made of it, nothing of it is left."""
    redirect = Path(proxies.__file__).with_name("redirect.py")
    authority = f"ssl_verify_upstream_trusted_ca={standin.authority}"
    ports = json.dumps({"": standin.port})
    process, about = launch(
        place, words("--lane", lane, "--", "--set", authority, "-s", str(redirect)), STANDIN_PORTS=ports
    )
    proxy = Proxy(place.folder, standin, process, about)
    try:
        wait_until(lambda: len(workers(proxy)) == 2, "two workers")
        yield proxy
        if process.poll() is None:
            assert proxy.stop_alone() == 0, proxy.said()
    finally:
        if process.poll() is None:
            proxy.kill()
        wait_until(lambda: not alive(proxy.home), "the end of all")
        end_ingest(proxy.home)
    assert "Traceback" not in proxy.said(), proxy.said()


@pytest.fixture(scope="module")
def proxy(standin: Standin, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    """A proxy that tests share; they may replace its workers."""
    with running(Place(tmp_path_factory.mktemp("workers")), standin) as shared:
        yield shared


def workers(proxy: Proxy) -> list[int]:
    """The processes that serve."""
    with contextlib.suppress(FileNotFoundError):
        found: list[int] = json.loads((proxy.home / f"proxy-{proxy.process.pid}.json").read_bytes())["workers"]
        return found
    return []


def alive(home: Path) -> list[int]:
    """The proxy processes that work on a home, started by us or by each other."""
    found = []
    for about in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            said = (about / "cmdline").read_bytes().split(b"\0")
            if b"proxy" in said and f"--home={home}".encode() in said:
                found.append(int(about.name))
    return found


def served(proxy: Proxy) -> dict[int, int]:
    """How many exchanges each worker has recorded."""
    return {
        pid: sum(json.loads((proxy.home / f"proxy-{pid}.json").read_bytes())["recorded"].values())
        for pid in workers(proxy)
    }


def test_both_work(proxy: Proxy, user: str) -> None:
    """Connections to the one port reach both workers; what either records is in one store, by one ingest."""
    asked = 0

    def both() -> bool:
        nonlocal asked
        with contextlib.ExitStack() as stack:  # so many connections at once
            for client in [stack.enter_context(proxy.client(user)) for _ in range(4)]:
                assert client.post(CHAT, json=ASKED).status_code == 200
                asked += 1
        return all(served(proxy).values())

    wait_until(both, "work for both", every_s=1)
    wait_until(lambda: len(proxy.rows(user)) == asked, "all records")
    assert len(ingest_processes(proxy.home)) == 1
    (one,) = json.loads(tracecli(proxy.home, "proxy", "status", "--json").stdout)["proxies"]
    assert (one["pid"], sorted(one["workers"])) == (proxy.process.pid, sorted(workers(proxy)))
    assert sum(one["recorded"].values()) >= 2


def test_connections_are_shared_evenly(standin: Standin, tmp_path: Path) -> None:
    """Connections that are opened one after the other, while nobody is busy, spread over all workers."""
    with running(Place(tmp_path), standin) as proxy, contextlib.ExitStack() as stack:
        for client in [stack.enter_context(proxy.client("alice")) for _ in range(12)]:
            assert client.post(CHAT, json=ASKED).status_code == 200
        wait_until(lambda: sum(served(proxy).values()) == 12, "all records")
        assert all(4 <= count <= 8 for count in served(proxy).values())


def test_one_that_is_killed(proxy: Proxy, user: str) -> None:
    """A worker that dies costs what was on its way through it; the other goes on, and a new one takes its place."""
    with load(proxy, user) as current:
        wait_until(lambda: len(current.ended) > 20, "load")
        killed = workers(proxy)[0]
        os.kill(killed, signal.SIGKILL)
        moment = time.monotonic()
        wait_until(lambda: len(current.ended_before(time.monotonic())) > len(current.ended_before(moment)) + 20, "more")
        wait_until(lambda: len(there := workers(proxy)) == 2 and killed not in there, "another worker")
    assert current.failures <= 4  # one for each connection of the load
    assert not (proxy.home / f"proxy-{killed}.json").exists()
    assert "a worker ended with code -9; another starts in" in proxy.said()


def test_all_are_replaced(proxy: Proxy, user: str) -> None:
    """SIGHUP under load: new workers serve, the old ones end, no request fails, and a stream goes on to its end."""
    before = set(workers(proxy))
    last = Gate()
    gates = [Gate() for _ in EVENTS[:-1]]
    for gate in gates:
        gate.open()
    script = proxy.standin.script(gated(EVENTS, [*gates, last]))
    with load(proxy, f"load-{user}") as current:
        with (
            proxy.client(user) as client,
            client.stream("POST", CHAT, json=ASKED | {"stream": True}, headers=script.headers) as answer,
        ):
            pieces = answer.iter_raw()
            had = next(pieces)
            wait_until(lambda: len(current.ended) > 20, "load")
            proxy.process.send_signal(signal.SIGHUP)
            wait_until(lambda: len(set(workers(proxy)) - before) == 2, "new workers")
            wait_until(lambda: len(before & set(workers(proxy))) == 1, "the end of the worker without the stream")
            last.open()
            assert had + b"".join(pieces) == b"".join(EVENTS)
        wait_until(lambda: not before & set(workers(proxy)), "the end of the other")
        assert len(workers(proxy)) == 2
    assert current.failures == 0
    assert proxy.only_row(user)["outcome"] == "complete"


def test_the_end(standin: Standin, tmp_path: Path) -> None:
    """SIGTERM: nothing is accepted any more, a stream goes on to its end, and of all processes none is left."""
    last = Gate()
    gates = [Gate() for _ in EVENTS[:-1]]
    for gate in gates:
        gate.open()
    script = standin.script(gated(EVENTS, [*gates, last]))
    with running(Place(tmp_path), standin, lane="flows") as proxy:
        with proxy.client("alice") as client, proxy.client() as idle:
            assert idle.post(CHAT, json=ASKED).status_code == 200
            with client.stream("POST", CHAT, json=ASKED | {"stream": True}, headers=script.headers) as answer:
                pieces = answer.iter_raw()
                had = next(pieces)
                proxy.process.send_signal(signal.SIGTERM)
                wait_until(lambda: len(workers(proxy)) == 1, "the end of the worker without the stream")
                with pytest.raises(ConnectionRefusedError):
                    socket.create_connection(("127.0.0.1", proxy.port))
                last.open()
                assert had + b"".join(pieces) == b"".join(EVENTS)
        assert proxy.process.wait(20) == 0
        wait_until(lambda: not ingest_processes(proxy.home), "the end of ingest")
        assert not alive(proxy.home)
        assert not list(proxy.home.glob("proxy-[0-9]*.json"))
        assert proxy.said().count("SSL_CERT_FILE=") == 1
        assert proxy.only_row("alice")["outcome"] == "complete"


def test_the_first_process_is_killed(standin: Standin, tmp_path: Path) -> None:
    """The workers and ingest end with the process that started them, however it ends."""
    with running(Place(tmp_path), standin) as proxy:
        assert len(alive(proxy.home)) == 2
        proxy.kill()
        wait_until(lambda: not alive(proxy.home), "the end of the workers")
        wait_until(lambda: not ingest_processes(proxy.home), "the end of ingest")


def test_a_terminal_that_is_closed(tmp_path: Path) -> None:
    """The SIGHUP of a terminal that is gone ends the proxy that was started in it."""
    place = Place(tmp_path)
    ours, its = os.openpty()
    in_terminal = "import os, sys; os.setsid(); os.open(sys.argv[1], os.O_RDWR); os.execv(sys.argv[2], sys.argv[2:])"
    process, _ = launch(place, [sys.executable, "-c", in_terminal, os.ttyname(its), *words()])
    os.close(its)
    os.close(ours)
    try:
        assert process.wait(20) == 0, place.said()
    finally:
        process.kill()
        process.wait()
        wait_until(lambda: not alive(place.home), "the end of the workers")
        end_ingest(place.home)


def test_a_wrong_policy(tmp_path: Path) -> None:
    """What is wrong with a policy is said once, and is the exit code."""
    place = Place(tmp_path)
    place.policy("default", "tracing = 7\n")
    done = tracecli(place.home, "proxy", "--workers", "2", "--listen", "127.0.0.1:0", code=3)
    assert done.stderr.count("default.toml") == 1
    assert not alive(place.home) and not ingest_processes(place.home)


def test_a_file_for_one_process(tmp_path: Path) -> None:
    """Workers do not write one file of flows: mitmproxy's option is refused by name, once."""
    place = Place(tmp_path)
    done = tracecli(place.home, "proxy", "--workers", "2", "--listen", "127.0.0.1:0", "--", "-w", "file", code=1)
    assert (done.stdout + done.stderr).count("save_stream_file") == 1
    assert not alive(place.home) and not ingest_processes(place.home)


def settings(tmp_path: Path, *modes: str, listen: str = "127.0.0.1") -> ProxySettings:
    """Of a proxy that does not start."""
    return ProxySettings(Home(tmp_path), tmp_path, Listen(listen, 0), modes, (), ())


@pytest.mark.parametrize(
    ("modes", "why"),
    [
        (["local"], "--mode local cannot be shared by several workers"),
        (["wireguard"], "--mode wireguard cannot"),
        (["dns"], "--mode dns cannot"),
        (["reverse:quic://example.com"], "--mode reverse:quic://example.com cannot"),
        (["regular@8081"], "--mode regular@8081 names a place of its own"),
        (["regular", "socks5@8081"], "--mode regular and --mode socks5@8081 are two"),
    ],
)
def test_modes_that_cannot_be_shared(tmp_path: Path, modes: list[str], why: str) -> None:
    """A mode that does not listen on the one port is refused by name."""
    with pytest.raises(ConfigError, match=why.replace(":", r"\:")):
        supervise(settings(tmp_path, *modes), 2)


def test_an_address_that_is_not_ours(tmp_path: Path) -> None:
    """A place where nobody can listen is named."""
    with pytest.raises(ProxyError, match=r"cannot listen on 192\.0\.2\.1:0"):
        supervise(settings(tmp_path, "regular", listen="192.0.2.1"), 2)


def test_another_mitmproxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """A mitmproxy that listens in another way is refused, with its version."""
    monkeypatch.setattr(listening, "fingerprint", lambda: "another")
    with pytest.raises(ConfigError, match="--workers was made for mitmproxy"):
        listening.use_socket(Inherited(0, 0, 0))


def test_a_descriptor_that_is_no_socket(tmp_path: Path) -> None:
    """A number that is no socket's is refused, and so is a text of another form."""
    with (tmp_path / "file").open("w") as file, pytest.raises(ConfigError, match="cannot be used"):
        listening.use_socket(Inherited(file.fileno(), file.fileno(), 0))
    with pytest.raises(ConfigError, match="is no socket, counts and slot"):
        parse_inherited("7")
