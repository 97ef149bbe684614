"""Recorded requests as calls that can be made again."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.rows import opened
from tracecli.calls import curl, python, variable_of
from tracecli.exchange import Body, Headers, Opened

HEADERS = [("Host", "x"), ("Authorization", "Bearer [redacted]"), ("Content-Type", "application/json")]
needs_bash = pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")


def _asked(body: bytes, headers: Headers = HEADERS, **changes: Any) -> Opened:
    return opened(request=Body(headers, body, False), provider="openai", url="https://api.openai.com/v1/x", **changes)


def _words(script: str) -> list[bytes]:
    """What curl would be given, with the secret in its variable."""
    shell = 'curl() { printf "%s\\0" "$@"; }; OPENAI_API_KEY=sk-1; AWS_ACCESS_KEY_ID=a AWS_SECRET_ACCESS_KEY=b\n'
    done = subprocess.run(["bash", "-c", shell + script], capture_output=True, check=True, timeout=60)
    return done.stdout.split(b"\0")[:-1]


@needs_bash
def test_a_call_of_curl() -> None:
    """URL, method, headers and body are those of the request; the secret comes from the environment."""
    assert _words(curl(_asked(b'{"a": "it\'s"}', [*HEADERS, ("X-Empty", ""), ("Accept-Encoding", "br")]))) == [
        b"https://api.openai.com/v1/x",
        b"--globoff",
        b"--no-buffer",
        b"--header",
        b"Authorization: Bearer sk-1",
        b"--header",
        b"Content-Type: application/json",
        b"--header",
        b"X-Empty;",
        b"--data-raw",
        b'{"a": "it\'s"}',
    ]


@needs_bash
@settings(deadline=None, max_examples=25)
@given(st.lists(st.sampled_from(["'", '"', "$(id)", "`id`", "\\", "\n", "!", "\x1b[2J", "é", "\u202e", "@f", "x"])))
def test_nothing_recorded_runs(pieces: list[str]) -> None:
    """Whatever a header and a body hold is one word each, byte for byte, and nothing that acts on a terminal."""
    text = "".join(pieces)
    script = curl(_asked(text.encode() or b"x", [("X-A", text)]))
    words = _words(script)
    assert words[4] == f"X-A: {text}".replace("\n", " ").encode() if text else b"X-A;"
    assert words[-1] == (text.encode() or b"x")
    assert all(char.isprintable() or char == "\n" for char in script)


@needs_bash
def test_what_is_no_word_comes_from_the_record() -> None:
    """A body that is binary or very long is not put on the command line."""
    for body in (b"\xff\xfe", b"a\0b", b"x" * 200_000):
        one = _asked(body)
        first = curl(one).splitlines()[0]
        assert first.startswith(f"tracecli usage show {one.row.id} --part request | curl ")
        assert curl(one).endswith("--data-binary @-\n")


@needs_bash
def test_aws_signs_anew() -> None:
    """The recorded signature is left out, and curl makes one for the same region."""
    headers = [("Authorization", "AWS4-HMAC-SHA256 [redacted]"), ("X-Amz-Date", "x"), ("Content-Type", "y")]
    one = opened(
        request=Body(headers, b"{}", False), provider="aws.bedrock", host="bedrock-runtime.eu-west-1.amazonaws.com"
    )
    words = _words(curl(one))
    assert words[words.index(b"--aws-sigv4") + 1] == b"aws:amz:eu-west-1:bedrock"
    assert words[words.index(b"--user") + 1] == b"a:b"
    assert words.count(b"--header") == 1
    with pytest.raises(ValueError, match="--curl"):
        python(one)


def _run(program: str) -> Any:
    """The request that a program would send."""
    script = (
        "import json, sys, urllib.request as u, io\n"
        "class Answer(io.BytesIO): pass\n"
        "def catch(r):\n"
        "    print(json.dumps([r.full_url, r.method, dict(r.header_items()), r.data and r.data.decode('latin1')]))\n"
        "    return Answer(b'')\n"
        "u.urlopen = catch\n" + program
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, check=True, timeout=60, env={"OPENAI_API_KEY": "sk-1"}
    )
    return json.loads(done.stdout)


def test_a_program() -> None:
    """It sends what was sent; a JSON body is a value that people can read, unless that would change it."""
    url, method, headers, data = _run(python(_asked(b'{"model": "gpt-4o", "n": [1, null, true, "\\u00e9"]}')))
    assert (url, method) == ("https://api.openai.com/v1/x", "POST")
    assert headers == {"Authorization": "Bearer sk-1", "Content-type": "application/json"}
    assert json.loads(data) == {"model": "gpt-4o", "n": [1, None, True, "é"]}
    for body in (b'{"a": 1, "a": 2}', b"\xff\x00'\"\\", b"\x1b]52;c;x\x07"):
        program = python(_asked(body))
        assert program.isascii()
        assert "\x1b" not in program
        assert _run(program)[3].encode("latin1") == body


def test_keys_in_the_url_are_variables() -> None:
    """A key that was part of the URL comes from the environment too."""
    one = opened(
        request=Body([], b"", False), provider="gcp.gemini", url="https://x/v1?key=[redacted]&alt=sse", method="GET"
    )
    assert "curl 'https://x/v1?key='\"$GEMINI_API_KEY\"'&alt=sse'" in curl(one)
    assert "os.environ[\"GEMINI_API_KEY\"] + '&alt=sse'" in python(one)
    assert variable_of("perplexity") == "PERPLEXITY_API_KEY"


def test_half_a_request_is_none() -> None:
    """What was not recorded whole is not made up."""
    for one in (_asked(b"x", traced=False), opened(request=Body([], b"x", True))):
        for make in (curl, python):
            with pytest.raises(ValueError, match="recorded"):
                make(one)
