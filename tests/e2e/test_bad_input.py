"""What is wrong is said in one sentence with its remedy, and an exit code that scripts can rely on."""

from __future__ import annotations

import json
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest

from tests.support.commands import BIN, ROOT, environment, tracecli
from tests.support.encrypting import encrypt
from tests.support.proxies import Place, Proxy, end_ingest, running_proxy
from tests.support.standin import Standin
from tests.support.waiting import wait_until
from tracecli.config import Home

CHAT = "https://api.openai.com/v1/chat/completions"
ASKED: dict[str, Any] = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Hello?"}]}
ADDON = ROOT / "addon" / "tracecli_addon.py"


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """An installation where nothing runs yet."""
    return Place(tmp_path)


def assert_said(text: str, *words: str) -> None:
    """The message has all the words, says what it is about, and is no traceback."""
    assert "Traceback" not in text, text
    assert "this is a bug" not in text, text
    for word in words:
        assert word in text, text


def refused(place: Place, code: int, *args: str) -> str:
    """What `tracecli ARGS` says when it ends with `code`: one line on standard error, nothing on standard output."""
    done = tracecli(place.home, *args, code=code)
    assert done.stdout == ""
    assert done.stderr.startswith("tracecli: ")
    assert_said(done.stderr)
    return done.stderr


def mitmdump(place: Place, *settings: str) -> str:
    """What mitmdump with the addon says when it does not start, as it must not."""
    command = [str(BIN / "mitmdump"), "-s", str(ADDON), "--listen-host", "127.0.0.1", "-p", "0"]
    command += [argument for setting in (f"confdir={place.folder}", *settings) for argument in ("--set", setting)]
    log = place.folder / "mitmdump.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd=place.folder,
            env=environment(place.home),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    try:
        assert process.wait(10) != 0
    except subprocess.TimeoutExpired as error:
        raise AssertionError(f"mitmdump runs, and says: {log.read_text()}") from error
    finally:
        process.kill()
        process.wait()
        end_ingest(place.home)
    return log.read_text()


# Starting


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("default", "tracing = yes\n", ["default.toml", "line 1"]),
        ("default", "tracign = true\n", ["default.toml", "tracign", "tracing"]),
        ("default", 'tracing = "on"\n', ["default.toml", "tracing"]),
        ("users/alice", 'policy = "nobody-wrote-this"\n', ["alice.toml", "nobody-wrote-this"]),
    ],
)
def test_a_broken_policy_at_the_start(place: Place, name: str, text: str, words: list[str]) -> None:
    """A policy file that is wrong keeps the proxy from starting, and is named with what is wrong in it."""
    place.policy(name, text)
    assert_said(refused(place, 3, "proxy", "--listen", "127.0.0.1:0"), *words)
    assert_said(mitmdump(place), *words)


def test_a_missing_policy_folder(place: Place) -> None:
    """A policy folder that has no default policy is named, with what to put there."""
    (place.policies / "default.toml").unlink()
    assert_said(refused(place, 3, "proxy", "--listen", "127.0.0.1:0"), str(place.policies), "an empty file will do")


@pytest.mark.parametrize("workers", [(), ("--workers", "2")])
def test_an_encrypted_home_without_its_key(place: Place, workers: tuple[str, ...]) -> None:
    """Where the key should be is named, and nothing is recorded in the clear instead."""
    path = encrypt(Home(place.home))
    path.unlink()
    assert_said(refused(place, 5, "proxy", "--listen", "127.0.0.1:0", *workers), str(path))
    assert_said(mitmdump(place), str(path))
    assert list(place.home.glob("spool/*")) == []


def test_a_port_in_use(place: Place) -> None:
    """A port that another program has is named, with how to take another."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert_said(refused(place, 6, "proxy", "--listen", f"127.0.0.1:{port}"), str(port), "--listen")


@pytest.mark.parametrize("args", [("proxy", "--listen", "127.0.0.1:0"), ("ingest", "--once"), ("usage", "show")])
def test_a_home_that_is_a_file(place: Place, args: tuple[str, ...]) -> None:
    """A home that cannot be used, here because a file is in its place, is named with the way out."""
    place.home.write_text("not a folder")
    assert_said(refused(place, 5, *args), str(place.home), "TRACECLI_HOME")


def test_a_home_that_cannot_be_made(place: Place) -> None:
    """A home where no folder can be made is refused, also for mitmdump."""
    done = tracecli(place.home, "proxy", "--listen", "127.0.0.1:0", code=5, TRACECLI_HOME="/proc/no/home")
    assert_said(done.stderr, "/proc/no/home", "TRACECLI_HOME")
    assert_said(mitmdump(place, "tracecli_home=/proc/no/home"), "/proc/no/home")


@pytest.mark.parametrize(
    ("code", "args", "words"),
    [
        (2, ["proxy", "--lisen", "127.0.0.1:0"], ["--lisen", "--listen"]),
        (2, ["usage", "show", "--limit", "0"], ["--limit"]),
        (2, ["usage", "sohw"], ["sohw"]),
        (2, ["nonsense"], ["nonsense"]),
        (3, ["proxy", "--listen", "nonsense"], ["nonsense", "HOST:PORT"]),
        (3, ["proxy", "--listen", "127.0.0.1:99999"], ["99999"]),
        (3, ["proxy", "--listen", "127.0.0.1:0", "--host", "two words"], ["two words"]),
        (3, ["proxy", "--listen", "127.0.0.1:0", "--host", "x.test=opnai"], ["opnai", "openai"]),
        (3, ["proxy", "--listen", "127.0.0.1:0", "--user-header", "X User"], ["X User"]),
        (3, ["proxy", "--listen", "127.0.0.1:0", "--mode", "nonsense"], ["nonsense", "--mode"]),
    ],
    ids=lambda value: " ".join(value[:8]) if isinstance(value, list) else str(value),
)
def test_options_that_are_wrong(place: Place, code: int, args: list[str], words: list[str]) -> None:
    """A wrong option is named, with what it should be."""
    assert_said(refused(place, code, *args), *words)


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("tracecli_hosts=two words", ["two words"]),
        ("tracecli_user_headers=X User", ["X User"]),
        ("tracecli_hsots=x.test", ["tracecli_hsots", "tracecli_hosts"]),
    ],
)
def test_options_of_the_addon_that_are_wrong(place: Place, setting: str, words: list[str]) -> None:
    """mitmdump does not start with a wrong option of the addon, and says which it is."""
    assert_said(mitmdump(place, setting), *words)


def test_options_of_mitmproxy_win(standin: Standin, place: Place) -> None:
    """What follows `--` is stronger than what `tracecli proxy` would set by itself."""
    with running_proxy(place, standin, via="tracecli", options={"flow_detail": "1", "confdir": f"{place.folder}/ca"}):
        assert (place.folder / "ca" / "mitmproxy-ca-cert.pem").exists()


# Reading


@pytest.fixture(scope="module")
def read(standin: Standin, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    """A home in which several exchanges are recorded."""
    with running_proxy(tmp_path_factory.mktemp("read"), standin) as proxy:
        with proxy.client("reader") as client:
            for _ in range(3):
                client.post(CHAT, json=ASKED)
        wait_until(lambda: len(proxy.rows()) == 3, "three records")
        yield proxy


def test_opening_by_id_prefix_and_last(read: Proxy) -> None:
    """An exchange is opened by its id, by a prefix that only it has, and as the last one."""
    newest, *_ = read.rows()
    others = [row["id"] for row in read.rows()[1:]]
    prefix = next(newest["id"][:n] for n in range(1, 37) if not any(o.startswith(newest["id"][:n]) for o in others))
    for reference in (newest["id"], prefix, newest["id"].upper(), "last"):
        done = tracecli(read.home, "usage", "show", reference, "--json")
        assert json.loads(done.stdout)["id"] == newest["id"]


@pytest.mark.parametrize("reference", ["ffffffff", "00000000-0000-7000-8000-000000000000", "7", ""])
def test_an_id_that_does_not_exist(read: Proxy, reference: str) -> None:
    """An id that no exchange has is refused with exit code 4."""
    for more in ([], ["--json"]):
        assert_said(refused(read, 4, "usage", "show", reference, *more))


def test_an_ambiguous_prefix(read: Proxy) -> None:
    """A prefix that several ids have is refused with exit code 4, and names some of them."""
    ids = [row["id"] for row in read.rows()]
    assert_said(refused(read, 4, "usage", "show", "0"), ids[0])
    assert_said(refused(read, 4, "usage", "show", ids[0][:8]), ids[0])


def test_nothing_recorded_yet(place: Place) -> None:
    """An empty home is no error: the list is empty and says how to fill it; there is just no last exchange."""
    done = tracecli(place.home, "usage", "show")
    assert done.stdout == ""
    assert_said(done.stderr, "tracecli demo")
    assert json.loads(tracecli(place.home, "usage", "show", "--json").stdout) == []
    refused(place, 4, "usage", "show", "last")


@pytest.mark.parametrize("running", [False, True], ids=["at rest", "running"])
def test_a_database_of_a_newer_version(standin: Standin, place: Place, user: str, running: bool) -> None:
    """A database that a newer tracecli made is left alone and named; a proxy that is running goes on."""
    with running_proxy(place, standin) as proxy, proxy.client(user) as client:
        client.post(CHAT, json=ASKED)
        proxy.stored_row(user)
        if running:
            _make_newer(place)
            assert client.post(CHAT, json=ASKED).status_code == 200
            assert_said(refused(place, 5, "usage", "show"), "traces.duckdb", "Upgrade tracecli")
            wait_until(lambda: list(place.home.glob("spool/*")), "a segment that waits")
            assert client.post(CHAT, json=ASKED).status_code == 200
    if not running:
        _make_newer(place)
        for args in (["usage", "show"], ["usage", "show", "last"], ["usage", "show", "--json"]):
            assert_said(refused(place, 5, *args), "traces.duckdb", "Upgrade tracecli")
        (place.home / "spool" / "01a20849-ec07-7db8-b652-fb3d37c32820.seg").write_bytes(b"more to do")
        done = tracecli(place.home, "ingest", "--once", code=5)
        assert_said(done.stderr, "traces.duckdb", "Upgrade tracecli")


def _make_newer(place: Place) -> None:
    def try_to() -> bool:
        try:
            with duckdb.connect(str(place.home / "traces.duckdb")) as connection:
                connection.execute("INSERT INTO schema_version VALUES (999, now(), '99.0')")
        except duckdb.IOException:  # ingest has it at the moment
            return False
        return True

    wait_until(try_to, "the database to be free")


def test_the_reader_of_a_pipe_may_leave(read: Proxy) -> None:
    """`usage show | head` ends without a word of complaint."""
    command = f"'{BIN}/tracecli' usage show --json --limit 1000 | head -c 1"
    done = subprocess.run(
        ["bash", "-c", command], env=environment(read.home), capture_output=True, text=True, check=False, timeout=30
    )
    assert (done.stdout, done.stderr) == ("[", "")
