"""A disk that is read-only, and processes that may open no more files: traffic goes on, and recording by itself.

What could not be recorded is counted and told, and nothing that was recorded before is lost.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
from collections.abc import Iterator

import httpx2
import pytest

from tests.support.commands import rows, tracecli
from tests.support.disk import NoDisk, read_only
from tests.support.load import body_of
from tests.support.open_files import as_many_clients_as_it_takes, no_more_files
from tests.support.proxies import Proxy, ingest_processes, running_proxy
from tests.support.standin import Standin
from tests.support.waiting import wait_until

URL = "https://api.openai.com/v1/chat/completions"
CALLS = 5

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="it takes limits and mounts of Linux")


@pytest.fixture(scope="module")
def own_proxy(lane: str, standin: Standin, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    """A proxy of this module's own, in each lane."""
    folder, options = tmp_path_factory.mktemp("nowhere"), {"tracecli_lane": lane}
    with running_proxy(folder, standin, via="tracecli", options=options) as own:
        yield own


@pytest.fixture
def client(own_proxy: Proxy, user: str) -> Iterator[httpx2.Client]:
    """A client whose connection through the proxy is there, and stays; what it has called is stored."""
    with own_proxy.client() as made:
        call(made, f"{user}-before")
        loaded(own_proxy)
        yield made


def call(client: httpx2.Client, user: str) -> None:
    """The client sees nothing of what is the matter."""
    answer = client.post(URL, content=body_of(user), headers={"X-Tracecli-User": user})
    assert (answer.status_code, answer.json()["object"]) == (200, "chat.completion")


def loaded(proxy: Proxy) -> None:
    wait_until(lambda: not list(proxy.home.glob("spool/*")), "ingest to take everything")


def lost(proxy: Proxy) -> int:
    """How many exchanges the proxy says that it has lost."""
    found: dict[str, int] = json.loads((proxy.home / f"proxy-{proxy.process.pid}.json").read_bytes())
    return found["lost"]


def recorded(proxy: Proxy, user: str) -> list[str]:
    """Which calls of a test are recorded, each once."""
    return sorted(row["user"].removeprefix(f"{user}-") for row in rows(proxy.home) if row["user"].startswith(user))


def test_a_read_only_disk(own_proxy: Proxy, client: httpx2.Client, user: str) -> None:
    """What was recorded can be read meanwhile; commands say what is the matter; then all goes on as before."""
    home, before, said = own_proxy.home, lost(own_proxy), len(own_proxy.said())
    [ingest] = ingest_processes(home)
    try:
        with read_only(home):
            with own_proxy.client(verify=own_proxy.trust(own_proxy.standin.authority)) as other:
                other.get("https://other.example.test/")  # what passes unopened is counted in files of its own
            for number in range(CALLS):
                call(client, f"{user}-{number}")
            refused = "exchanges could not be recorded so far (OSError: [Errno 30] Read-only file system"
            wait_until(lambda: refused in own_proxy.said()[said:], "the losses to be told")
            os.kill(ingest, signal.SIGKILL)
            cannot = "ingest cannot be started, and that is tried again in"
            wait_until(lambda: cannot in own_proxy.said()[said:], "that ingest cannot be started")
            wait_until(lambda: "keep_unseen failed, and is tried" in own_proxy.said()[said:], "that nothing is counted")
            assert recorded(own_proxy, user) == ["before"]
            assert f"the disk of {home} is read-only" in tracecli(home, "proxy", "status").stderr
            assert f"cannot write to {home}: Read-only file system" in tracecli(home, "doctor", code=7).stdout
            for words in (("db", "check"), ("ingest", "--once")):
                told = tracecli(home, *words, code=5).stderr
                assert "Read-only file system" in told and "Make it writable, or name another" in told, told
    except NoDisk as error:
        pytest.skip(str(error))
    call(client, f"{user}-after")
    wait_until(lambda: lost(own_proxy) == before + CALLS, "the losses to be told")
    assert f"{before + CALLS} lost" in tracecli(home, "proxy", "status").stdout
    loaded(own_proxy)
    assert recorded(own_proxy, user) == ["after", "before"]


def test_a_proxy_that_may_open_no_more_files(own_proxy: Proxy, client: httpx2.Client, user: str) -> None:
    """Connections that are there go on and are recorded, in one segment after the other: room for one is held back."""
    before = lost(own_proxy)
    with as_many_clients_as_it_takes(own_proxy.process.pid, own_proxy.port):
        call(client, f"{user}-first")
        loaded(own_proxy)
        with pytest.raises(httpx2.TransportError), own_proxy.client() as another:
            call(another, f"{user}-another")
        told = tracecli(own_proxy.home, "doctor", code=7).stdout
        assert " takes no more calls: it has " in told and "Raise that (`ulimit -n`" in told
        call(client, f"{user}-second")
    with own_proxy.client() as another:
        call(another, f"{user}-after")
    loaded(own_proxy)
    assert recorded(own_proxy, user) == ["after", "before", "first", "second"]
    assert lost(own_proxy) == before


def test_an_ingest_that_may_open_no_more_files(own_proxy: Proxy, client: httpx2.Client, user: str) -> None:
    """It fails, says so, and takes nothing for unreadable; records are seen all the same, and stored then."""
    [ingest] = ingest_processes(own_proxy.home)
    log = own_proxy.home / "ingest.log"
    said = log.stat().st_size
    with no_more_files(ingest):
        call(client, f"{user}-during")
        wait_until(lambda: "Too many open files" in log.read_text()[said:], "a round that fails")
        assert own_proxy.rows() and recorded(own_proxy, user) == ["before", "during"]
    call(client, f"{user}-after")
    loaded(own_proxy)
    assert recorded(own_proxy, user) == ["after", "before", "during"]
    assert ingest_processes(own_proxy.home) == [ingest]
    status = json.loads((own_proxy.home / "ingest.json").read_bytes())
    assert (status["quarantined"], status["last_error"]) == (0, None)


def test_the_limit_of_open_files_is_raised(standin: Standin, tmp_path_factory: pytest.TempPathFactory) -> None:
    """As far as it may be: the one that shells set is soon used up."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, 1024), hard))
    try:
        with running_proxy(tmp_path_factory.mktemp("limit"), standin, via="tracecli") as proxy:
            assert resource.prlimit(proxy.process.pid, resource.RLIMIT_NOFILE) == (min(hard, 65_536), hard)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
