"""A test call by each of the clients that `tracecli doctor client` knows, as its users make one. Pure data.

None of them needs a key: the stand-in (`demo/standin.py`) asks for none, and clients only want one to be there.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

SAID = "Say hello."
KEY = "sk-made-up-for-a-test-call"


@dataclass(frozen=True)
class Call:
    """One program that calls once."""

    stack: str
    """What calls: a library, or the program itself."""
    kind: Literal["plain", "streamed"]
    words: tuple[str, ...]
    """What follows the program's name."""
    model: str
    """That is asked for."""
    client: str
    """Its name in `table.CLIENTS`."""
    module: str | None = None
    """The distribution of Python that has to be installed for it."""

    @property
    def streams(self) -> bool:
        """Whether the record has to say so."""
        return self.kind == "streamed"


@dataclass(frozen=True)
class Caller:
    """A client."""

    name: str
    programs: tuple[str, ...]
    """Its names on PATH; the first that is there counts."""
    calls: tuple[Call, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    """What it needs besides."""
    at_least: tuple[int, ...] = ()
    """The version that it has to have."""
    get: str = ""
    """What installs it."""
    takes_s: float = 60.0
    """It is given up after that."""


def _chat(stream: bool) -> str:
    body = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": SAID}], "stream": stream}
    if stream:
        body["stream_options"] = {"include_usage": True}
    return json.dumps(body)


_NODE = (
    "openai, @anthropic-ai/sdk, @google/genai, @mistralai/mistralai, cohere-ai, groq-sdk, ollama, LangChain, ai; "
    "fetch, http, https"
)
_HTTPX_CLIENTS = "cohere, groq, ollama, litellm, llm, aider, LangChain, LlamaIndex; httpx"
_URL = "https://api.openai.com/v1/chat/completions"
_HEADERS = {"Content-Type": "application/json", "Authorization": f"Bearer {KEY}"}

_URLLIB = """
import urllib.request
asked = urllib.request.Request({url!r}, {body!r}.encode(), {headers!r})
for _ in urllib.request.urlopen(asked, timeout=20):
    pass
"""
_REQUESTS = """
import requests
with requests.post({url!r}, data={body!r}, headers={headers!r}, stream={stream}, timeout=20) as answer:
    answer.raise_for_status()
    for _ in answer.iter_lines():
        pass
"""
_HTTPX = """
import httpx
with httpx.stream("POST", {url!r}, content={body!r}, headers={headers!r}, timeout=20) as answer:
    answer.raise_for_status()
    for _ in answer.iter_lines():
        pass
"""
_WEBSOCKETS = """
import json
from websockets.sync.client import connect
headers = {{"Authorization": {headers!r}["Authorization"]}}
with connect("wss://api.openai.com/v1/responses", additional_headers=headers, open_timeout=20) as socket:
    socket.send(json.dumps({{"type": "response.create", "model": "gpt-4o-mini", "input": {said!r}}}))
    while json.loads(socket.recv(timeout=20))["type"] != "response.completed":
        pass
"""
_OPENAI = """
import openai
client = openai.OpenAI(timeout=20, max_retries=0)
asked = dict(model="gpt-4o-mini", messages=[{{"role": "user", "content": {said!r}}}])
if {stream}:
    for _ in client.chat.completions.create(**asked, stream=True, stream_options={{"include_usage": True}}):
        pass
else:
    client.chat.completions.create(**asked)
"""
_BOTO3 = """
import boto3
client = boto3.client("bedrock-runtime", region_name="us-east-1")
asked = dict(modelId="amazon.nova-lite-v1:0", messages=[{{"role": "user", "content": [{{"text": {said!r}}}]}}])
if {stream}:
    for _ in client.converse_stream(**asked)["stream"]:
        pass
else:
    client.converse(**asked)
"""
_FETCH = """
const answer = await fetch({url}, {{method: "POST", headers: {headers}, body: {body}}});
await answer.text();
if (!answer.ok) throw new Error("the answer has status " + answer.status);
"""


def _python(stack: str, source: str, client: str, model: str = "gpt-4o-mini") -> tuple[Call, Call]:
    def one(kind: Literal["plain", "streamed"]) -> Call:
        stream = kind == "streamed"
        text = source.format(url=_URL, body=_chat(stream), headers=_HEADERS, said=SAID, stream=stream)
        return Call(stack, kind, ("-c", text), model, client, None if stack == "urllib" else stack)

    return one("plain"), one("streamed")


def _node(kind: Literal["plain", "streamed"]) -> Call:
    url, body, headers = (json.dumps(value) for value in (_URL, _chat(kind == "streamed"), _HEADERS))
    text = _FETCH.format(url=url, body=body, headers=headers)
    return Call("fetch", kind, ("--input-type=module", "-e", text), "gpt-4o-mini", _NODE)


def _curl(kind: Literal["plain", "streamed"]) -> Call:
    words = ["-q", "-sS", "--fail", "--no-buffer", "--max-time", "20", "-d", _chat(kind == "streamed")]
    words += [word for name, value in _HEADERS.items() for word in ("-H", f"{name}: {value}")]
    return Call("curl", kind, (*words, _URL), "gpt-4o-mini", "curl")


def _aider(kind: Literal["plain", "streamed"]) -> Call:
    words = ("--model", "openai/gpt-4o-mini", "--chat-mode", "ask", "--message", SAID, "--yes-always", "--no-git")
    quiet = ("--no-check-update", "--no-show-release-notes", "--no-show-model-warnings", "--analytics-disable")
    how = "--stream" if kind == "streamed" else "--no-stream"
    return Call("aider", kind, (*words, *quiet, how), "gpt-4o-mini", _HTTPX_CLIENTS)


def _agent(name: str, model: str, client: str, *words: str) -> Call:
    return Call(name, "streamed", words, model, client)


_PYTHONS = ("python3", "python")

CALLERS: Mapping[str, Caller] = {
    one.name: one
    for one in (
        Caller(
            "python",
            _PYTHONS,
            (
                *_python("urllib", _URLLIB, "urllib"),
                *_python("requests", _REQUESTS, "requests"),
                *_python("httpx", _HTTPX, _HTTPX_CLIENTS),
                *_python("openai", _OPENAI, "openai, anthropic, google-genai, mistralai"),
                _python("websockets", _WEBSOCKETS, "websockets (OpenAI Realtime)")[1],  # they always stream
            ),
            {"OPENAI_API_KEY": KEY},
        ),
        Caller("node", ("node",), (_node("plain"), _node("streamed")), at_least=(18,)),
        Caller("curl", ("curl",), (_curl("plain"), _curl("streamed"))),
        Caller(
            "claude",
            ("claude",),
            (_agent("claude", "claude-haiku-4-5", "Claude Code", "-p", SAID, "--model", "claude-haiku-4-5"),),
            {"ANTHROPIC_API_KEY": KEY},
            get="npm install -g @anthropic-ai/claude-code",
        ),
        Caller(
            "codex",
            ("codex",),
            (_agent("codex", "gpt-5-codex", "Codex", "exec", "--skip-git-repo-check", "-m", "gpt-5-codex", SAID),),
            {"OPENAI_API_KEY": KEY, "CODEX_API_KEY": KEY},
            get="npm install -g @openai/codex",
        ),
        Caller(
            "gemini",
            ("gemini",),
            (_agent("gemini", "gemini-2.5-flash", "gemini-cli", "-m", "gemini-2.5-flash", "-p", SAID),),
            {"GEMINI_API_KEY": KEY, "GEMINI_CLI_TRUST_WORKSPACE": "true"},
            get="npm install -g @google/gemini-cli",
        ),
        Caller(
            "aider",
            ("aider",),
            (_aider("plain"), _aider("streamed")),
            {"OPENAI_API_KEY": KEY},
            get="python3 -m pip install aider-chat",
        ),
        Caller(
            "boto3",
            _PYTHONS,
            _python("boto3", _BOTO3, "boto3 (Bedrock)", "amazon.nova-lite-v1:0"),
            {"AWS_ACCESS_KEY_ID": "made-up", "AWS_SECRET_ACCESS_KEY": KEY},
            get="python3 -m pip install boto3",
        ),
    )
}
