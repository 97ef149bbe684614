"""Real clients, installed from their registries, each with a plain and a streamed call under `tracecli run`.

    python -m tests.clients.all_clients [--write] [NAME ...]

It makes a virtual environment, or a folder of npm's, for each group in a temporary place (or below `--folder`, to be
used again), installs the newest versions, and runs every client against the stand-in, with nothing changed but
`tracecli run` before the command. What counts is what `usage show` has: user, model and tokens, as the stand-in gave
them. It prints a table, and with --write puts it into `docs/tried_clients.json`, from which the page of clients is
made. The exit code is 1 if a client was not recorded as it should be. Node, npm and curl are those of this machine.

`--python` names the interpreter for aider, which takes no Python beyond 3.12.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime as dt
import json
import os
import re
import subprocess
import sys
import tempfile
import venv
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.commands import ROOT
from tracecli.clients import table
from tracecli.clients.calls import CALLERS, KEY, SAID, Call
from tracecli.demo.trial import Trial, trial

TABLE = ROOT / "docs" / "tried_clients.json"
_USER = "alice"
_WITH_PIP = ("python", "frameworks", "aider")
"""Frameworks ask for older SDKs than the newest, and aider for an older Python."""
_INSTALL_S = 1200
_RUN_S = 120


@dataclass(frozen=True)
class Client:
    """One client: what installs it, and how it calls."""

    kind: str
    """What it is, as in `table.CLIENTS`."""
    group: str
    """What is installed together: one of `_WITH_PIP`, `node`, `agents`; or `machine`: it is there."""
    package: str
    """Its name, and that of what installs it."""
    plain: tuple[str, ...] | None
    """The command of a plain call; None: it always streams."""
    streamed: tuple[str, ...]
    model: str
    environment: Mapping[str, str] = field(default_factory=dict)
    options: tuple[str, ...] = ()
    """Of `tracecli run`."""
    needs: str = ""
    """What its user has to do besides; a sentence."""

    @property
    def recipe(self) -> str:
        """How a user runs it."""
        return f"`{' '.join(['tracecli run', *self.options, '--', self.streamed[0]])} …` {self.needs}".rstrip()


def _python(
    name: str,
    source: str,
    model: str,
    options: tuple[str, ...] = (),
    needs: str = "",
    group: str = "python",
    **environment: str,
) -> Client:
    """`source` is a program in which `stream` says how to call."""
    plain, streamed = (("python", "-c", f"stream = {stream}\n{source}") for stream in (False, True))
    return Client("Python", group, name, plain, streamed, model, environment, options, needs)


def _node(name: str, source: str, model: str, *options: str, **environment: str) -> Client:
    plain, streamed = (
        ("node", "--input-type=module", "-e", f"const stream = {stream};\n{source}") for stream in ("false", "true")
    )
    return Client("Node", "node", name, plain, streamed, model, environment, options)


def _shipped(kind: str, group: str, name: str, package: str) -> Client:
    """One that `tracecli doctor client` knows; where it knows several of the name, the one of the package."""
    caller = CALLERS[name]
    calls = [call for call in caller.calls if call.stack == package] or caller.calls

    def command(call: Call) -> tuple[str, ...]:
        return (caller.programs[-1], *call.words)

    by_kind = {call.kind: command(call) for call in calls}
    plain, streamed = by_kind.get("plain"), by_kind["streamed"]
    return Client(kind, group, package, plain, streamed, calls[0].model, caller.environment)


def _needs(name: str) -> str:
    """Of one that is in the table of clients."""
    return next(known.needs for known in table.CLIENTS if known.name == name)


_CHAT = f'dict(model=MODEL, messages=[{{"role": "user", "content": "{SAID}"}}])'
_COMPLETIONS = """
asked = {chat}
if stream:
    for _ in client.chat.completions.create(**asked, stream=True{more}): pass
else:
    client.chat.completions.create(**asked)
"""

_REQUEST = f"""
asked = "https://api.openai.com/v1/chat/completions"
headers = {{"Authorization": "Bearer {KEY}"}}
body = {{"model": "gpt-4o-mini", "messages": [{{"role": "user", "content": "{SAID}"}}], "stream": stream}}
if stream: body["stream_options"] = {{"include_usage": True}}
"""
_ON_THIS_MACHINE = ("--local",)

CLIENTS = (
    _python(
        "openai",
        "import openai; MODEL = 'gpt-4o-mini'; client = openai.OpenAI()"
        + _COMPLETIONS.format(chat=_CHAT, more=', stream_options={"include_usage": True}'),
        "gpt-4o-mini",
        OPENAI_API_KEY=KEY,
    ),
    _python(
        "anthropic",
        f"""
import anthropic
MODEL = "claude-haiku-4-5"
asked = {_CHAT} | {{"max_tokens": 100}}
client = anthropic.Anthropic()
if stream:
    with client.messages.stream(**asked) as answer:
        answer.get_final_message()
else:
    client.messages.create(**asked)
""",
        "claude-haiku-4-5",
        ANTHROPIC_API_KEY=KEY,
    ),
    _python(
        "google-genai",
        f"""
from google import genai
client = genai.Client()
models = client.models
asked = dict(model="gemini-2.5-flash", contents="{SAID}")
print([part.text for part in models.generate_content_stream(**asked)] if stream else models.generate_content(**asked))
""",
        "gemini-2.5-flash",
        GEMINI_API_KEY=KEY,
    ),
    _python(
        "mistralai",
        f"""
try:
    from mistralai import Mistral
except ImportError:
    from mistralai.client import Mistral
MODEL = "mistral-small-latest"
chat = Mistral(api_key="{KEY}").chat
if stream:
    for _ in chat.stream(**{_CHAT}): pass
else:
    chat.complete(**{_CHAT})
""",
        "mistral-small-latest",
    ),
    _python(
        "cohere",
        f"""
import cohere
MODEL = "command-a-03-2025"
client = cohere.ClientV2("{KEY}")
if stream:
    for _ in client.chat_stream(**{_CHAT}): pass
else:
    client.chat(**{_CHAT})
""",
        "command-a-03-2025",
    ),
    _python(
        "groq",
        "import groq; MODEL = 'llama-3.3-70b-versatile'; client = groq.Groq()"
        + _COMPLETIONS.format(chat=_CHAT, more=""),
        "llama-3.3-70b-versatile",
        GROQ_API_KEY=KEY,
    ),
    _python(
        "ollama",
        f"""
import ollama
MODEL = "llama3.2"
for _ in ollama.chat(**{_CHAT}, stream=True) if stream else [ollama.chat(**{_CHAT})]: pass
""",
        "llama3.2",
        _ON_THIS_MACHINE,
    ),
    _shipped("Python", "python", "boto3", "boto3"),
    _python(
        "litellm",
        f"""
import litellm
MODEL = "openai/gpt-4o-mini"
asked = {_CHAT}
if stream:
    for _ in litellm.completion(**asked, stream=True, stream_options={{"include_usage": True}}): pass
else:
    litellm.completion(**asked)
""",
        "gpt-4o-mini",
        OPENAI_API_KEY=KEY,
    ),
    _python(
        "langchain-openai",
        f"""
from langchain_openai import ChatOpenAI
model = ChatOpenAI(model="gpt-4o-mini")
print([part.text for part in model.stream("{SAID}")] if stream else model.invoke("{SAID}"))
""",
        "gpt-4o-mini",
        group="frameworks",
        OPENAI_API_KEY=KEY,
    ),
    _python(
        "langchain-anthropic",
        f"""
from langchain_anthropic import ChatAnthropic
model = ChatAnthropic(model="claude-haiku-4-5")
print([part.text for part in model.stream("{SAID}")] if stream else model.invoke("{SAID}"))
""",
        "claude-haiku-4-5",
        group="frameworks",
        ANTHROPIC_API_KEY=KEY,
    ),
    _python(
        "llama-index-llms-openai",
        f"""
from llama_index.core.llms import ChatMessage
from llama_index.llms.openai import OpenAI
model = OpenAI(model="gpt-4o-mini")
asked = [ChatMessage(role="user", content="{SAID}")]
print([part.delta for part in model.stream_chat(asked)] if stream else model.chat(asked))
""",
        "gpt-4o-mini",
        group="frameworks",
        OPENAI_API_KEY=KEY,
    ),
    _shipped("Python", "python", "python", "requests"),
    _shipped("Python", "python", "python", "httpx"),
    _shipped("Python", "python", "python", "websockets"),
    _python(
        "aiohttp",
        f"""
import asyncio, aiohttp
{_REQUEST}
async def main():
    async with aiohttp.ClientSession(trust_env=True) as session:
        async with session.post(asked, json=body, headers=headers) as answer:
            answer.raise_for_status()
            async for _ in answer.content: pass
asyncio.run(main())
""",
        "gpt-4o-mini",
        needs=_needs("aiohttp"),
    ),
    _python(
        "urllib3",
        f"""
import os, urllib3
{_REQUEST}
url = urllib3.util.parse_url(os.environ["HTTPS_PROXY"])
pool = urllib3.ProxyManager(url.url, proxy_headers=urllib3.make_headers(proxy_basic_auth=url.auth))
answer = pool.request("POST", asked, json=body, headers=headers, preload_content=False)
assert answer.status == 200, answer.status
for _ in answer.stream(): pass
""",
        "gpt-4o-mini",
        needs=_needs("urllib3"),
    ),
    Client(
        "Python",
        "python",
        "llm",
        ("llm", "-m", "gpt-4o-mini", "--no-stream", SAID),
        ("llm", "-m", "gpt-4o-mini", SAID),
        "gpt-4o-mini",
        {"OPENAI_API_KEY": KEY},
    ),
    _shipped("agent", "aider", "aider", "aider-chat"),
    _node(
        "openai",
        f"""
import OpenAI from "openai";
const asked = {{model: "gpt-4o-mini", messages: [{{role: "user", content: "{SAID}"}}], stream}};
if (stream) asked.stream_options = {{include_usage: true}};
const answer = await new OpenAI().chat.completions.create(asked);
if (stream) for await (const _ of answer);
""",
        "gpt-4o-mini",
        OPENAI_API_KEY=KEY,
    ),
    _node(
        "@anthropic-ai/sdk",
        f"""
import Anthropic from "@anthropic-ai/sdk";
const messages = [{{role: "user", content: "{SAID}"}}];
const answer = await new Anthropic().messages.create({{model: "claude-haiku-4-5", max_tokens: 100, messages, stream}});
if (stream) for await (const _ of answer);
""",
        "claude-haiku-4-5",
        ANTHROPIC_API_KEY=KEY,
    ),
    _node(
        "@google/genai",
        f"""
import {{ GoogleGenAI }} from "@google/genai";
const models = new GoogleGenAI({{apiKey: "{KEY}"}}).models;
const asked = {{model: "gemini-2.5-flash", contents: "{SAID}"}};
if (stream) {{ for await (const _ of await models.generateContentStream(asked)); }}
else await models.generateContent(asked);
""",
        "gemini-2.5-flash",
    ),
    _node(
        "@mistralai/mistralai",
        f"""
import {{ Mistral }} from "@mistralai/mistralai";
const chat = new Mistral({{apiKey: "{KEY}"}}).chat;
const asked = {{model: "mistral-small-latest", messages: [{{role: "user", content: "{SAID}"}}]}};
if (stream) {{ for await (const _ of await chat.stream(asked)); }}
else await chat.complete(asked);
""",
        "mistral-small-latest",
    ),
    _node(
        "cohere-ai",
        f"""
import {{ CohereClientV2 }} from "cohere-ai";
const client = new CohereClientV2({{token: "{KEY}"}});
const asked = {{model: "command-a-03-2025", messages: [{{role: "user", content: "{SAID}"}}]}};
if (stream) {{ for await (const _ of await client.chatStream(asked)); }}
else await client.chat(asked);
""",
        "command-a-03-2025",
    ),
    _node(
        "groq-sdk",
        f"""
import Groq from "groq-sdk";
const messages = [{{role: "user", content: "{SAID}"}}];
const answer = await new Groq().chat.completions.create({{model: "llama-3.3-70b-versatile", messages, stream}});
if (stream) for await (const _ of answer);
""",
        "llama-3.3-70b-versatile",
        GROQ_API_KEY=KEY,
    ),
    _node(
        "ollama",
        f"""
import ollama from "ollama";
const answer = await ollama.chat({{model: "llama3.2", messages: [{{role: "user", content: "{SAID}"}}], stream}});
if (stream) for await (const _ of answer);
""",
        "llama3.2",
        *_ON_THIS_MACHINE,
    ),
    _node(
        "@langchain/openai",
        f"""
import {{ ChatOpenAI }} from "@langchain/openai";
const model = new ChatOpenAI({{model: "gpt-4o-mini"}});
if (stream) {{ for await (const _ of await model.stream("{SAID}")); }}
else await model.invoke("{SAID}");
""",
        "gpt-4o-mini",
        OPENAI_API_KEY=KEY,
    ),
    _shipped("Node", "machine", "node", "fetch"),
    _shipped("command line", "machine", "curl", "curl"),
    _shipped("agent", "agents", "claude", "@anthropic-ai/claude-code"),
    _shipped("agent", "agents", "codex", "@openai/codex"),
    _shipped("agent", "agents", "gemini", "@google/gemini-cli"),
)


@dataclass
class Place:
    """Where a group is installed."""

    programs: Path
    """A folder for PATH."""
    work: Path
    """Where Node finds its packages."""
    versions: dict[str, str] = field(default_factory=dict)
    failed: str | None = None
    """Why it is not installed."""


def main() -> int:
    """The script."""
    parsed = argparse.ArgumentParser(description="Try real clients, and print what was recorded of each.")
    parsed.add_argument("names", nargs="*", help="packages, as openai; default: all")
    parsed.add_argument("--folder", type=Path, help="install here, and use what is there")
    parsed.add_argument("--python", default=sys.executable, help="the interpreter for aider (at most 3.12)")
    parsed.add_argument("--write", action="store_true", help="put the table into the docs")
    given = parsed.parse_args()
    clients = [one for one in CLIENTS if not given.names or one.package in given.names]
    if unknown := set(given.names) - {one.package for one in CLIENTS}:
        parsed.error(f"there is no {', '.join(sorted(unknown))}; there are {', '.join(one.package for one in CLIENTS)}")
    with contextlib.ExitStack() as stack:
        folder = given.folder or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tracecli-clients-")))
        places = _installed(folder.absolute(), clients, given.python)
        stage = stack.enter_context(trial())
        rows = [_tried(stage, one, places[one.group]) for one in _told(clients)]
    _print(rows)
    if given.write:
        known = {(row["client"], row["for"]): row for row in json.loads(TABLE.read_text("utf-8"))}
        known |= {(row["client"], row["for"]): row for row in rows if row["version"]}
        ordered = [known[key] for key in ((one.package, one.kind) for one in CLIENTS) if key in known]
        TABLE.write_text(json.dumps(ordered, indent=1, ensure_ascii=False) + "\n", "utf-8")
    return 0 if all(row["well"] for row in rows) else 1


def _told(clients: list[Client]) -> Iterator[Client]:
    for one in clients:
        sys.stderr.write(f"{one.package} ({one.kind}) ...\n")
        yield one


def _installed(folder: Path, clients: list[Client], python: str) -> dict[str, Place]:
    places = {}
    for group in dict.fromkeys(one.group for one in clients):
        of_group = [one for one in clients if one.group == group]
        packages = [one.package for one in of_group]
        own = folder / group
        if group == "machine":
            places[group] = _there(own, of_group)
            continue
        sys.stderr.write(f"installing {', '.join(packages)} ...\n")
        if group in _WITH_PIP:
            places[group] = _with_pip(own, packages, python if group == "aider" else sys.executable)
        else:
            places[group] = _with_npm(own, packages)
    return places


def _there(own: Path, clients: list[Client]) -> Place:
    place = Place(own, own)
    for one in clients:
        if found := re.search(r"\d+(\.\d+)+", _do([one.streamed[0], "--version"], place)):
            place.versions[one.package] = found[0]
    return place


def _with_pip(own: Path, packages: list[str], python: str) -> Place:
    programs = own / "bin"
    place = Place(programs, own)
    if not (programs / "python").exists():
        if Path(python) == Path(sys.executable):
            venv.create(own, with_pip=True)
        else:
            _do([python, "-m", "venv", str(own)], place)
    _do([str(programs / "python"), "-m", "pip", "install", "-q", "--only-binary", ":all:", *packages], place)
    source = (
        "import importlib.metadata as m, json; "
        "print(json.dumps({d.metadata['Name'].lower(): d.version for d in m.distributions()}))"
    )
    place.versions = json.loads(_do([str(programs / "python"), "-c", source], place) or "{}")
    return place


def _with_npm(own: Path, packages: list[str]) -> Place:
    own.mkdir(parents=True, exist_ok=True)
    modules = own / "node_modules"
    place = Place(modules / ".bin", own)
    (own / "package.json").write_text("{}")
    _do(["npm", "install", "--no-fund", "--no-audit", "--loglevel=error", "--prefix", str(own), *packages], place)
    for name in packages:
        with contextlib.suppress(OSError):
            about = json.loads((modules / name / "package.json").read_text())
            place.versions[name] = about["version"]
            # npm may be set not to run it; the program is in a package that is there already.
            if name == "@anthropic-ai/claude-code" and (modules / name / "install.cjs").exists():
                _do(["node", str(modules / name / "install.cjs")], place)
    return place


def _do(words: list[str], place: Place) -> str:
    if place.failed:
        return ""
    try:
        done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=_INSTALL_S, input="")
    except (OSError, subprocess.TimeoutExpired) as error:
        place.failed = str(error)
        return ""
    if done.returncode:
        place.failed = (done.stderr.strip().splitlines() or ["it failed"])[-1]
    return done.stdout


def _tried(stage: Trial, one: Client, place: Place) -> dict[str, Any]:
    version = place.versions.get(one.package)
    row: dict[str, Any] = {
        "client": one.package,
        "for": one.kind,
        "version": version,
        "date": f"{dt.datetime.now(dt.UTC):%Y-%m-%d}",
        "recipe": one.recipe,
        "plain": None,
        "streamed": None,
        "user": None,
        "model": None,
        "tokens": None,
        "well": False,
    }
    if version is None:
        row["why"] = f"not installed: {place.failed}"
        return row
    for kind, command in (("plain", one.plain), ("streamed", one.streamed)):
        if command is None:
            row[kind] = "it always streams"
            continue
        problem, recorded = _run(stage, one, place, kind, command)
        row[kind] = "recorded" if problem is None else problem
        row |= recorded
    row["well"] = all(row[kind] in ("recorded", "it always streams") for kind in ("plain", "streamed"))
    return row


def _run(
    stage: Trial, one: Client, place: Place, kind: str, command: tuple[str, ...]
) -> tuple[str | None, dict[str, Any]]:
    """What is wrong, and what was recorded."""
    session = f"{one.group}-{re.sub(r'[^a-z0-9]+', '-', one.package)}-{kind}"
    environment = {
        "PATH": f"{place.programs}{os.pathsep}{os.environ['PATH']}",
        "HOME": str(stage.folder),
        "LANG": "C.UTF-8",
        "TRACECLI_HOME": str(stage.home.root),
        # The network's own proxy is the stand-in's: `tracecli run` takes the running one that goes out through it.
        "HTTPS_PROXY": f"http://127.0.0.1:{stage.provider.port('proxy')}",
        **one.environment,
    }
    words = [sys.executable, "-P", "-m", "tracecli", "run", "--user", _USER, "--session", session, *one.options, "--"]
    before = len(stage.provider.served)
    try:
        done = subprocess.run(
            [*words, *command],
            env=environment,
            cwd=place.work if one.group == "node" else stage.folder,
            input="",
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            timeout=_RUN_S,
        )
    except subprocess.TimeoutExpired:
        return f"no end after {_RUN_S} s", {}
    served = stage.provider.served[before:]
    rows = [row for row in _shown(environment) if row["session"] == session or one.group == "agents"]
    wanted = [call for call in served if call.model == one.model and call.stream == (kind == "streamed")]
    if not wanted:
        return f"no {kind} call came; it ended with {done.returncode}: {_last(done)}", {}
    for call in served:
        same = [
            row
            for row in rows
            if (row["user"], row["request_model"], row["stream"] or False) == (_USER, call.model, call.stream)
            and (row["input_tokens"], row["output_tokens"]) == (call.tokens_in, call.tokens_out)
            and row["outcome"] == "complete"
        ]
        if not same:
            keys = ("user", "request_model", "stream", "input_tokens", "output_tokens", "outcome")
            return f"{call} is recorded as {[{key: row[key] for key in keys} for row in rows]}", {}
    if done.returncode:
        return f"it ended with {done.returncode}: {_last(done)}", {}
    call = wanted[-1]
    return None, {"user": _USER, "model": call.model, "tokens": f"{call.tokens_in:,} / {call.tokens_out:,}"}


def _shown(environment: Mapping[str, str]) -> list[dict[str, Any]]:
    words = [sys.executable, "-P", "-m", "tracecli", "usage", "show", "--json", "--limit", "1000"]
    done = subprocess.run(words, env=dict(environment), input="", capture_output=True, text=True, check=True)
    rows: list[dict[str, Any]] = json.loads(done.stdout or "[]")
    return rows


def _last(done: subprocess.CompletedProcess[str]) -> str:
    lines = [line for line in f"{done.stdout}\n{done.stderr}".splitlines() if line.strip()]
    return " | ".join(lines[-3:])[:300]


def _print(rows: list[dict[str, Any]]) -> None:
    from rich import print as show
    from rich.table import Table

    columns = ("client", "for", "version", "plain", "streamed", "user", "model", "tokens")
    table = Table(*columns)
    for row in rows:
        shown = {**row, "plain": row["plain"] or row.get("why")}
        table.add_row(*(str(shown[name] or "") for name in columns))
    show(table)


if __name__ == "__main__":
    sys.exit(main())
