"""A recorded request as a call that can be made again: with curl, or with Python. Pure.

The secret is not part of it, as it is not part of the record: an environment variable stands where it was.
"""

from __future__ import annotations

import json
import pprint
import re
import shlex
from collections.abc import Iterator

import msgspec

from tracecli.credentials import REDACTED
from tracecli.exchange import Body, Headers, Opened

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
"""A header's name or a method (RFC 9110, 5.6.2); curl would take another beginning for a file."""
_OURS_TO_MAKE = frozenset(
    {
        *("host", "content-length", "connection", "keep-alive", "transfer-encoding", "te", "trailer", "upgrade"),
        *("expect", "accept-encoding", "content-encoding", "proxy-connection", "proxy-authorization"),
    }
)
_SIGNED = frozenset(("authorization", "x-amz-date", "x-amz-security-token", "x-amz-content-sha256"))
_AWS_REGION = re.compile(r"\.([a-z0-9-]+)\.amazonaws\.com")
_VARIABLES = {
    "azure.ai.openai": "AZURE_OPENAI_API_KEY",
    "azure.ai.inference": "AZURE_INFERENCE_API_KEY",
    "gcp.gemini": "GEMINI_API_KEY",
    "gcp.vertex_ai": "GOOGLE_ACCESS_TOKEN",
    "mistral_ai": "MISTRAL_API_KEY",
    "x_ai": "XAI_API_KEY",
}
_LONGEST = 100_000
"""Bytes of one word of a command line; Linux takes 131,071."""
_WIDTH = 110


def curl(opened: Opened) -> str:
    """A command line for bash and curl. A body that is no text, or too long for a word, comes from the record.

    Raises ValueError, one sentence, if the record does not hold the whole request.
    """
    request = _whole(opened)
    aws = opened.row.provider == "aws.bedrock"
    variable = variable_of(opened.row.provider)
    parts = [f"curl {_with_variable(opened.url, variable)}", "--globoff", "--no-buffer"]
    if opened.row.method != ("POST" if request.body else "GET"):
        parts.append(f"--request {_shell(opened.row.method)}")
    if aws:
        region = _AWS_REGION.search(opened.row.host)
        parts.append(f"--aws-sigv4 {_shell(f'aws:amz:{region[1] if region else "us-east-1"}:bedrock')}")
        parts.append('--user "$AWS_ACCESS_KEY_ID:$AWS_SECRET_ACCESS_KEY"')
    for name, value in _headers(request.headers, aws=aws):
        shown = f"{name}: {value}" if value else f"{name};"  # curl leaves out a header that ends in a colon
        parts.append(f"--header {_with_variable(shown, variable)}")
    before = ""
    if request.body:
        text = _word(request.body)
        before = f"tracecli usage show {opened.row.id} --part request | " if text is None else ""
        parts.append("--data-binary @-" if text is None else f"--data-raw {_shell(text)}")
    return before + " \\\n  ".join(parts) + "\n"


def python(opened: Opened) -> str:
    """A program of Python's standard library. Raises ValueError as `curl` does, and where the call is signed."""
    request = _whole(opened)
    if opened.row.provider == "aws.bedrock":
        raise ValueError("AWS signs each request; make it again with --curl, which can sign")
    variable = variable_of(opened.row.provider)
    headers = [(name, _expression(value, variable)) for name, value in _headers(request.headers, aws=False)]
    lines = ["import json", "import os", "import urllib.request", ""]
    body = "None"
    if request.body:
        value = _same_json(request.body)
        if value is None:
            lines += [f"body = {request.body!r}"]
            body = "body"
            lines.remove("import json")
        else:
            lines += [f"body = {pprint.pformat(value, width=_WIDTH, sort_dicts=False)}"]
            body = "json.dumps(body).encode()"
    else:
        lines.remove("import json")
    url = _expression(opened.url, variable)
    lines += [f"request = urllib.request.Request({url}, data={body}, method={opened.row.method!r})"]
    lines += [f"request.add_header({name!r}, {value})" for name, value in headers]
    lines += ["with urllib.request.urlopen(request) as response:", "    for line in response:"]
    lines += ['        print(line.decode("utf-8", "replace"), end="")', ""]
    if not any("os.environ" in line for line in lines):
        lines.remove("import os")
    return "\n".join(lines)


def variable_of(provider: str) -> str:
    """The environment variable that people keep the provider's key in."""
    return _VARIABLES.get(provider) or re.sub(r"[^A-Z0-9]+", "_", provider.upper()).strip("_") + "_API_KEY"


def _whole(opened: Opened) -> Body:
    if not opened.row.traced:
        raise ValueError("it was recorded without content")
    if opened.request.cut:
        raise ValueError("only the beginning of its body was recorded")
    return opened.request


def _headers(headers: Headers, *, aws: bool) -> Iterator[tuple[str, str]]:
    for name, value in headers:
        made = name.lower() in _OURS_TO_MAKE or (aws and name.lower() in _SIGNED)
        if not made and _TOKEN.fullmatch(name) and not name.lower().startswith("x-tracecli-"):
            yield name, value.replace("\r", " ").replace("\n", " ")


def _with_variable(text: str, variable: str) -> str:
    """The text as one word of a shell, with the variable where the secret was."""
    return f'"${variable}"'.join(_shell(part) if part else "" for part in text.split(REDACTED))


def _shell(text: str) -> str:
    """One word of a shell. What would act on the terminal, or reorder what it shows, is escaped as bash does."""
    if all(char.isprintable() or char in "\n\t" for char in text):
        return shlex.quote(text)
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return "$'" + "".join(char if char.isprintable() else _escaped(char) for char in escaped) + "'"


def _escaped(char: str) -> str:
    return "".join(f"\\x{byte:02x}" for byte in char.encode("utf-8", "surrogateescape"))


def _word(body: bytes) -> str | None:
    """The body as text that one word of a command line can hold; or None."""
    if len(body) > _LONGEST or b"\0" in body:
        return None
    try:
        return body.decode()
    except UnicodeDecodeError:
        return None


def _expression(text: str, variable: str) -> str:
    """A text as Python, with the variable where the secret was."""
    parts = text.split(REDACTED)
    if len(parts) == 1:
        return repr(text)
    pieces = [piece for part in parts for piece in (repr(part) if part else "", f'os.environ["{variable}"]')][:-1]
    return " + ".join(piece for piece in pieces if piece)


def _same_json(body: bytes) -> object:
    """The body as a value, if that says all that the bytes do; else None."""
    try:
        value = msgspec.json.decode(body)
        plain = msgspec.json.format(body, indent=-1)
        again = [json.dumps(value, separators=(",", ":"), ensure_ascii=ascii).encode() for ascii in (True, False)]
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None
    return value if plain in again else None
