"""`tracecli run` and `tracecli env`: programs as they are, recorded without any other change."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import os
import pty
import re
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from tests.support.commands import environment, tracecli
from tests.support.proxies import Place, Proxy, end_ingest, ingest_processes, running_proxy
from tests.support.standin import Standin
from tests.support.tunnels import Tunnels
from tests.support.waiting import PATIENCE_S, wait_until

CHAT = "https://api.openai.com/v1/chat/completions"
ASKED = '{"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Hello."}]}'
REDIRECT = Path(__file__).parents[1] / "support" / "redirect.py"
CURL = ["curl", "-sS", "--fail", "-o", "/dev/null", "-H", "Content-Type: application/json", "-d", ASKED, CHAT]
OPENAI = """
import sys, openai
client = openai.OpenAI(api_key="sk-made-up")
asked = dict(model="gpt-4o-mini", messages=[{"role": "user", "content": "Hello."}])
client.chat.completions.create(**asked)
for _ in client.chat.completions.create(**asked, stream=True, stream_options={"include_usage": True}):
    pass
sys.exit(7)
"""
ANTHROPIC = """
import anthropic
client = anthropic.Anthropic(api_key="sk-ant-made-up")
asked = dict(model="claude-haiku-4-5", max_tokens=100, messages=[{"role": "user", "content": "Hello."}])
client.messages.create(**asked)
with client.messages.stream(**asked) as answer:
    answer.get_final_message()
"""
URLLIB = f"""
import urllib.request
asked = urllib.request.Request({CHAT!r}, {ASKED.encode()!r}, {{"Content-Type": "application/json"}})
urllib.request.urlopen(asked).read()
"""
HTTPX = f"""
import httpx2
httpx2.post({CHAT!r}, content={ASKED!r}, headers={{"Content-Type": "application/json"}}).raise_for_status()
"""
FETCH = f"""
const asked = {{method: "POST", headers: {{"Content-Type": "application/json"}}, body: {json.dumps(ASKED)}}};
(await fetch({CHAT!r}, asked)).json().then((answer) => process.exit(answer.model ? 0 : 1));
"""
NODE_HTTPS = f"""
const asked = {{method: "POST", headers: {{"Content-Type": "application/json"}}}};
const asking = require("node:https").request({CHAT!r}, asked, (answer) => {{
  answer.resume().on("end", () => process.exit(answer.statusCode === 200 ? 0 : 1));
}});
asking.end({json.dumps(ASKED)});
"""


@pytest.fixture(scope="module")
def installed(standin: Standin, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    """A proxy of a home, for those runs that find one."""
    policies = {"metered": "tracing = false\n"}
    with running_proxy(tmp_path_factory.mktemp("run"), standin, via="tracecli", policies=policies) as proxy:
        yield proxy


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    """A home where nothing runs."""
    yield Place(tmp_path)
    end_ingest(tmp_path / "home")


def own_proxy(standin: Standin, more: str = "") -> list[str]:
    """Options that have `tracecli run` start a proxy, which goes to the stand-in."""
    return ["--proxy-args", f"{more} -- -s {REDIRECT} --set ssl_verify_upstream_trusted_ca={standin.authority}"]


def run(place: Place, *words: str, code: int = 0, **more: str) -> subprocess.CompletedProcess[str]:
    """`tracecli run WORDS` to its end."""
    ports = {"STANDIN_PORTS": json.dumps({"": place.standin.port})} if isinstance(place, Proxy) else {}
    return tracecli(place.home, "run", *words, code=code, **ports, **more)


def session_of(done: subprocess.CompletedProcess[str]) -> str:
    """The session that the last line names."""
    last = done.stderr.splitlines()[-1]
    return re.fullmatch(r"tracecli: .*See them: tracecli usage session (\S+)", last)[1]  # type: ignore[index]


def test_a_python_program(installed: Proxy, user: str, tmp_path: Path) -> None:
    """An SDK's calls, plain and streamed, are recorded with user, model and tokens; its exit code is the run's."""
    report = ["--report", str(tmp_path / "r.json")]
    done = run(installed, "--user", user, *report, "--", sys.executable, "-c", OPENAI, code=7)
    rows = installed.rows(user)
    assert [(row["stream"], row["user_source"], row["request_model"]) for row in rows] == [
        (True, "proxy", "gpt-4o-mini"),
        (False, "proxy", "gpt-4o-mini"),
    ]
    assert {row["session"] for row in rows} == {session_of(done)}
    tokens = [sum(row[name] for row in rows) for name in ("input_tokens", "output_tokens")]
    assert f"2 calls, {tokens[0]:,} tokens in, {tokens[1]:,} out, $" in done.stderr
    assert done.stdout == ""
    told = json.loads((tmp_path / "r.json").read_text())
    assert (told["requests"], told["errors"], told["exit_code"]) == (2, 0, 7)
    assert (told["session"], told["input_tokens"], told["output_tokens"]) == (session_of(done), *tokens)


def test_another_sdk(installed: Proxy, user: str) -> None:
    """Anthropic's, plain and streamed: user, model and tokens are in the record."""
    run(installed, "-q", "--user", user, "--", sys.executable, "-c", ANTHROPIC)
    keys = ("stream", "request_model", "input_tokens", "output_tokens", "outcome")
    assert [tuple(row[key] for key in keys) for row in installed.rows(user)] == [
        (True, "claude-haiku-4-5", 1500, 200, "complete"),
        (False, "claude-haiku-4-5", 1500, 200, "complete"),
    ]


def test_python_libraries(installed: Proxy, user: str) -> None:
    """They take proxy, password and authorities from the environment; runs of one session belong together."""
    run(installed, "-q", "--user", user, "--session", f"of {user}", sys.executable, "-c", URLLIB + HTTPX)
    rows = installed.rows(user)
    assert [(row["session"], row["outcome"]) for row in rows] == [(f"of {user}", "complete")] * 2


@pytest.mark.skipif(not shutil.which("curl"), reason="there is no curl")
def test_curl(installed: Proxy, user: str) -> None:
    """Options after the command are the command's."""
    run(installed, "-q", "--user", user, *CURL)
    assert installed.only_row(user)["outcome"] == "complete"


@pytest.mark.skipif(not shutil.which("node"), reason="there is no node")
@pytest.mark.parametrize("words", [["--input-type=module", "-e", FETCH], ["-e", NODE_HTTPS]], ids=["fetch", "https"])
def test_node(installed: Proxy, user: str, words: list[str]) -> None:
    """Node's calls come through the proxy, of a Node too that knows no variable for it."""
    run(installed, "-q", "--user", user, "--", "node", *words)
    assert installed.only_row(user)["outcome"] == "complete"


def test_a_policy(installed: Proxy, user: str) -> None:
    """The policy that a run names goes before others, and its name has to be one."""
    run(installed, "-q", "--user", user, "--policy", "metered", "--", sys.executable, "-c", URLLIB)
    one = installed.only_opened(user)
    assert (one["policy"], one["traced"]) == ("metered", False)
    assert "asked for by tracecli run" in one["reason"]
    done = run(installed, "--policy", "metred", "--", sys.executable, "-c", URLLIB, code=3)
    assert "there is no policy 'metred'. Name one of: default, metered." in done.stderr


def test_without_a_user(installed: Proxy, user: str) -> None:
    """Without --user what else says whose a call is counts; a session that the call names counts before the run's."""
    named = URLLIB.replace(
        '{"Content-Type"', f'{{"X-Tracecli-Session": "own-{user}", "X-Tracecli-User": "{user}", "Content-Type"'
    )
    done = run(installed, "--", sys.executable, "-c", named)
    row = installed.only_row(user)
    assert (row["user_source"], row["session"]) == ("header", f"own-{user}")
    assert "no call to a provider came through" in done.stderr.splitlines()[-1]


def test_a_user_who_is_bound_to_the_proxy(installed: Proxy, user: str) -> None:
    """With registered users and a policy that believes the proxy alone, a run is believed, and a forged one refused."""
    tracecli(installed.home, "user", "add", "somebody")
    wait_until(lambda: "407" in _tunnel(installed, "run:made.up"), "the proxy to know its users")
    installed.policy(f"users/{user}", 'credentials = ["proxy"]\n')
    tracecli(installed.home, "policy", "explain", user)
    run(installed, "-q", "--user", user, "--", sys.executable, "-c", URLLIB)
    assert installed.only_row(user)["user_source"] == "proxy"
    tracecli(installed.home, "user", "remove", "somebody")


def _tunnel(proxy: Proxy, login: str) -> str:
    words = [
        "curl",
        "-sS",
        "-o",
        "/dev/null",
        "-x",
        f"http://{login}@127.0.0.1:{proxy.port}",
        "https://api.openai.com/",
    ]
    return subprocess.run(words, capture_output=True, text=True, check=False).stderr


def test_a_run_in_a_run(installed: Proxy, user: str) -> None:
    """It uses the same proxy, for the same user, with a session of its own; also behind a registered user's URL."""
    inner = [sys.executable, "-m", "tracecli", "run", "--", sys.executable, "-c", URLLIB]
    done = run(installed, "--user", user, "--policy", "metered", "--", *inner)
    row = installed.only_row(user)
    assert row["policy"] == "metered"
    assert row["session"] in done.stderr.splitlines()[0]
    assert "no call to a provider came through" in done.stderr.splitlines()[1]
    url = json.loads(tracecli(installed.home, "user", "add", f"r-{user}", "--json").stdout)["proxy_url"]
    run(installed, *inner[4:], HTTPS_PROXY=url)
    assert installed.only_row(f"r-{user}")["user_source"] == "proxy"
    tracecli(installed.home, "user", "remove", f"r-{user}")


def test_a_program_without_its_environment(installed: Proxy) -> None:
    """A program that clears its environment is not recorded, and that is said."""
    done = run(installed, "--", "env", "-i", "true")
    assert done.stderr == (
        "tracecli: no call to a provider came through the proxy; docs/clients.md says what each client needs.\n"
    )
    assert run(installed, "-q", "--", "true").stderr == ""


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["no-such-command"], 127, "there is no command 'no-such-command'"),
        (["./no-such-file"], 127, "there is no file ./no-such-file"),
        (["./plain.txt"], 126, "./plain.txt is not executable. `chmod +x ./plain.txt`"),
        (["./folder"], 126, "./folder is a folder"),
        (["./no-program"], 126, "Exec format error"),
        (["--user", " x", "true"], 3, "--user ' x' cannot be recorded as it is"),
        (["--proxy-args", "'", "true"], 3, "--proxy-args"),
        ([], 2, "Missing argument"),
    ],
)
def test_what_cannot_be_run(installed: Proxy, words: list[str], code: int, said: str) -> None:
    """One sentence, and the exit code that shells give."""
    beside = installed.home.parent
    (beside / "plain.txt").write_text("text")
    (beside / "folder").mkdir(exist_ok=True)
    (beside / "no-program").write_text("text")
    (beside / "no-program").chmod(0o755)
    done = run(installed, *words, code=code)
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1


# A proxy of its own


def test_a_proxy_for_the_run(place: Place, standin: Standin, user: str) -> None:
    """Without a proxy one is started; it ends with the run, what was recorded is stored, and nothing else is left.

    A process that goes on behind the program loses the proxy, and that is said.
    """
    scratch = place.home / "tmp"
    scratch.mkdir(parents=True)
    (scratch / f"run-{2**22 + 1}.pem").write_text("of a run that was killed")
    program = place.folder / "program.py"
    program.write_text(URLLIB)
    script = f"{sys.executable} {program}; sleep 60 >/dev/null 2>&1 & echo $!"
    done = run(
        place,
        *("--user", user, *own_proxy(standin), "--", "sh", "-c", script),
        STANDIN_PORTS=json.dumps({"": standin.port}),
        NODE_EXTRA_CA_CERTS=str(standin.authority),
    )
    left = int(done.stdout)
    os.kill(left, signal.SIGKILL)
    assert f"a process that the command started ({left}) lost the proxy" in done.stderr
    assert "1 call, " in done.stderr
    assert place.only_row(user)["user_source"] == "proxy"
    assert not list(place.home.glob("proxy-*.json")) + list((place.home / "spool").iterdir()) + list(scratch.iterdir())
    assert not ingest_processes(place.home) and not _processes(str(place.home))


def test_two_first_runs_at_once(place: Place, standin: Standin, user: str) -> None:
    """They make one authority, and a run that is killed takes its proxy with it."""
    ports = json.dumps({"": standin.port})
    words = [
        sys.executable,
        "-m",
        "tracecli",
        "run",
        "--user",
        user,
        *own_proxy(standin, "--no-ingest"),
        "--",
        sys.executable,
        "-c",
    ]
    waits = URLLIB + "print('there', flush=True); import time; time.sleep(60)"
    given = environment(place.home, STANDIN_PORTS=ports)
    process = subprocess.Popen([*words, waits], env=given, stdout=subprocess.PIPE, start_new_session=True)
    with process:
        try:
            run(place, *words[4:], URLLIB, STANDIN_PORTS=ports)
            assert process.stdout is not None and process.stdout.readline() == b"there\n"
            process.kill()
            process.wait()
            wait_until(lambda: not _processes(str(place.home)), "the end of the proxy")
            assert not list(place.home.glob("proxy-*.json"))
            assert [row["outcome"] for row in place.rows(user)] == ["complete"] * 2
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def test_a_port_that_is_taken(place: Place, standin: Standin) -> None:
    """What the proxy says when it cannot start is said, and the program is not run."""
    done = run(place, "--proxy-args", f"--listen 127.0.0.1:{standin.port}", "--", "echo", "ran", code=6)
    assert f"cannot listen on 127.0.0.1:{standin.port}" in done.stderr
    assert done.stdout == ""


def test_an_authority_that_no_client_would_trust(place: Place) -> None:
    """One that is over, or another one than signs: said before anything starts."""
    now = dt.datetime.now(dt.UTC)
    files = [place.home / "mitmproxy" / name for name in ("mitmproxy-ca.pem", "mitmproxy-ca-cert.pem")]
    files[0].parent.mkdir(parents=True)
    for file in files:
        file.write_bytes(_certificate(dt.datetime(2020, 1, 1, tzinfo=dt.UTC)))
    assert "expired at 2020-01-01. Move " in run(place, "true", code=3).stderr
    files[1].write_bytes(_certificate(now + dt.timedelta(days=9)))
    assert "mitmproxy-ca-cert.pem is not the certificate of" in run(place, "true", code=3).stderr
    files[0].write_text("no certificate")
    assert "mitmproxy-ca.pem holds no certificate" in run(place, "true", code=3).stderr


def _certificate(ends_at: dt.datetime) -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "mitmproxy")])
    made = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(1)
    made = made.not_valid_before(ends_at - dt.timedelta(days=90)).not_valid_after(ends_at)
    return made.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)


# The user's own proxy


def test_behind_another_proxy(place: Place, standin: Standin, user: str) -> None:
    """Calls go out through the proxy that HTTPS_PROXY names, with its password, which nobody else gets to see."""
    tunnels = Tunnels(to=standin.port)
    password = "s3cret-of-the-company"
    look = (
        "import os, subprocess; print(subprocess.run(['ps', '-eo', 'args'], capture_output=True, text=True).stdout)\n"
    )
    done = run(
        place,
        *("--user", user, "--", sys.executable, "-c", look + URLLIB),
        HTTPS_PROXY=f"http://alice:{password}@127.0.0.1:{tunnels.port}",
        SSL_CERT_FILE=str(standin.authority),
    )
    tunnels.listening.close()
    assert place.only_row(user)["outcome"] == "complete"
    assert tunnels.asked == ["api.openai.com:443"]
    assert "Proxy-Authorization: Basic YWxpY2U6czNjcmV0LW9mLXRoZS1jb21wYW55" in tunnels.heads[0]
    assert "upstream:http://127.0.0.1" in done.stdout
    assert password not in done.stdout + done.stderr
    assert not [path for path in place.home.rglob("*") if path.is_file() and password.encode() in path.read_bytes()]


@pytest.mark.parametrize(
    ("url", "code", "said"),
    [
        ("socks5://u:s3cret@corp.test:1080", 3, "HTTPS_PROXY names a proxy of the kind socks5"),
        ("http://u:s3cret@127.0.0.1:{refusing}", 6, "names a proxy on port {refusing} of this machine, where nothing"),
    ],
)
def test_another_proxy_that_does_not_serve(place: Place, standin: Standin, url: str, code: int, said: str) -> None:
    """A sentence, without the password."""
    done = run(place, "true", code=code, HTTPS_PROXY=url.format(refusing=standin.refusing))
    assert said.format(refusing=standin.refusing) in done.stderr
    assert "s3cret" not in done.stderr


def test_exempted_hosts_are_named(installed: Proxy) -> None:
    """Hosts of providers in NO_PROXY stay there, and it is said."""
    done = run(installed, "sh", "-c", "echo $NO_PROXY", NO_PROXY="api.openai.com,.corp.test")
    assert done.stdout == "api.openai.com,.corp.test,localhost,127.0.0.1,::1\n"
    assert "NO_PROXY has calls to api.openai.com go past the proxy" in done.stderr


# Signals and the terminal


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_is_handed_on(installed: Proxy, number: signal.Signals) -> None:
    """What somebody sends to the run reaches the program, which ends as it likes; the run tells its exit code."""
    hear = f"""
import signal, sys, time
signal.signal({int(number)}, lambda *_: sys.exit(41))
print("there", flush=True)
time.sleep(60)
"""
    with _begun(installed, sys.executable, "-c", hear) as process:
        process.send_signal(number)
        assert process.wait(PATIENCE_S) == 41


def test_a_program_that_a_signal_ends(installed: Proxy) -> None:
    """The exit code is that of shells, and standard input and output are the program's."""
    assert run(installed, "-q", "sh", "-c", "kill -KILL $$", code=137).stderr == ""
    with _begun(installed, "sh", "-c", "echo there; cat") as process:
        out, _ = process.communicate("said\n", PATIENCE_S)
        assert out == "said\n"


@contextlib.contextmanager
def _begun(proxy: Proxy, *words: str) -> Iterator[subprocess.Popen[str]]:
    """A run whose program has said that it is there."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tracecli", "run", "-q", "--", *words],
        env=environment(proxy.home),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    with process:
        try:
            assert process.stdout is not None and process.stdout.readline() == "there\n"
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


class Terminal:
    """A shell with job control in a terminal of its own."""

    def __init__(self, given: dict[str, str], words: Sequence[str]) -> None:
        self.pid, self.terminal = pty.fork()
        if self.pid == 0:
            os.execvpe(words[0], list(words), given)
        self.said = ""

    def type(self, text: str) -> None:
        os.write(self.terminal, text.encode())

    def wait_for(self, text: str) -> None:
        """Until it was said, after what was waited for before."""
        deadline = time.monotonic() + PATIENCE_S
        while text not in self.said:
            assert time.monotonic() < deadline, (text, self.said)
            if select.select([self.terminal], [], [], 0.1)[0]:
                self.said += os.read(self.terminal, 4096).decode("utf-8", "replace")
        self.said = self.said.partition(text)[2]


def test_the_terminal_is_the_programs(installed: Proxy) -> None:
    """Ctrl-C reaches the program once and not the run; Ctrl-Z stops both, and `fg` takes both up again."""
    program = installed.home.parent / "heard.py"
    program.write_text(
        "import os, signal, sys\n"
        "count = 0\n"
        "def heard(*_):\n"
        "    global count\n"
        "    count += 1\n"
        "    os.write(1, b'heard %d\\n' % count)\n"
        "signal.signal(signal.SIGINT, heard)\n"
        "print('is a terminal:', sys.stdin.isatty(), flush=True)\n"
        "for line in sys.stdin:\n"
        "    print('read', line.strip(), 'after', count, flush=True)\n"
        "    if line == 'end\\n': sys.exit(9)\n"
    )
    shell = Terminal(environment(installed.home, PS1="$ ", TERM="dumb"), ["bash", "--norc", "--noprofile", "-i"])
    try:
        shell.type(f"{sys.executable} -m tracecli run -q -- {sys.executable} {program}\n")
        shell.wait_for("is a terminal: True")
        shell.type("\x03")
        shell.wait_for("heard 1")
        shell.type("\x1a")
        shell.wait_for("Stopped")
        shell.type("echo in the sh''ell\n")
        shell.wait_for("in the shell")
        shell.type("fg\n")
        shell.type("again\n")
        shell.wait_for("read again after 1")
        shell.type("end\n")
        shell.wait_for("read end after 1")
        shell.type("echo code $?.\n")
        shell.wait_for("code 9.")
    finally:
        os.kill(shell.pid, signal.SIGKILL)
        os.waitpid(shell.pid, 0)
        os.close(shell.terminal)


# tracecli env


def test_env_in_a_shell(installed: Proxy, user: str) -> None:
    """What is printed takes a shell's programs to the proxy, and --unset takes it back to what it was."""
    us = f"{sys.executable} -m tracecli"
    program = installed.folder / "program.py"
    program.write_text(URLLIB)
    script = f"""
eval "$({us} env --user {user} --session s-{user})"
eval "$({us} env --user {user} --session t-{user})"
{sys.executable} {program}
eval "$({us} env --unset)"
env
"""
    given = environment(installed.home, SHELL="/bin/bash", NO_PROXY="a.test", NODE_OPTIONS="--no-warnings")
    done = subprocess.run(["bash", "--norc"], input=script, env=given, capture_output=True, text=True, check=True)
    row = installed.only_row(user)
    assert (row["user_source"], row["session"]) == ("proxy", f"t-{user}")
    after = dict(line.partition("=")[::2] for line in done.stdout.splitlines())
    assert {name: after.get(name) for name in given} == given
    assert not [name for name in after if re.search("PROXY|CERT|BUNDLE|TRACECLI_ENV", name) and name != "NO_PROXY"]


def test_env_for_files(installed: Proxy) -> None:
    """For files there is no way back in it, and for docker a word about containers."""
    done = tracecli(installed.home, "env", "--shell", "docker")
    lines = dict(line.partition("=")[::2] for line in done.stdout.splitlines())
    assert lines["HTTPS_PROXY"].endswith(f"@127.0.0.1:{installed.port}")
    assert "TRACECLI_ENV_BEFORE" not in lines
    assert "--network host" in done.stderr
    assert "--unset is for shells" in tracecli(installed.home, "env", "--shell", "dotenv", "--unset", code=2).stderr
    assert "not set by `tracecli env`" in tracecli(installed.home, "env", "--unset", code=3).stderr


def test_env_without_a_proxy(place: Place) -> None:
    """It says what to start."""
    done = tracecli(place.home, "env", code=8)
    assert done.stderr == f"tracecli: no proxy is running for {place.home}. Start one: `tracecli proxy`.\n"
    assert done.stdout == ""


def _processes(word: str) -> list[str]:
    """Command lines with a word in them."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            words = path.read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
            if word in words:
                found.append(words)
    return found
