"""The reference parts of README.md and of the pages here, made from the code. Called by cog."""

from __future__ import annotations

import ast
import itertools
import json
import re
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import click
from click.testing import CliRunner

from tracecli import errors
from tracecli.cli.main import EXIT_CODES, cli
from tracecli.clients.table import CLIENTS, VARIABLES
from tracecli.datasets.formats.registry import FORMATS
from tracecli.exchange import Row
from tracecli.providers import hosts as provider_hosts
from tracecli.query.fields import FIELDS
from tracecli.store.connection import MIGRATIONS
from tracecli.store.views import all_views, meanings
from tracecli.tables import training_files as formats
from tracecli.transparent import rules as firewall_rules
from tracecli.transparent.rules import Interception

SOURCE = Path(errors.__file__).parent
COMMANDS = (
    (),
    ("run",),
    ("env",),
    ("ca",),
    ("ca", "show"),
    ("ca", "install"),
    ("proxy",),
    ("proxy", "status"),
    ("transparent", "up"),
    ("transparent", "down"),
    ("transparent", "status"),
    ("transparent", "unit"),
    ("demo",),
    ("usage", "show"),
    ("usage", "find"),
    ("usage", "tail"),
    ("usage", "stats"),
    ("usage", "sessions"),
    ("usage", "session"),
    ("usage", "diff"),
    ("usage", "me"),
    ("usage", "repeats"),
    ("usage", "report"),
    ("usage", "tag"),
    ("usage", "rate"),
    ("ui",),
    ("sql",),
    ("export", "har"),
    ("export", "otlp"),
    ("coverage",),
    ("dataset",),
    ("dataset", "create"),
    ("dataset", "list"),
    ("dataset", "show"),
    ("dataset", "preview"),
    ("dataset", "build"),
    ("dataset", "diff"),
    ("dataset", "card"),
    ("dataset", "delete"),
    ("dataset", "validate"),
    ("dataset", "formats"),
    ("policy",),
    ("policy", "set"),
    ("policy", "delete"),
    ("policy", "explain"),
    ("policy", "validate"),
    ("policy", "user", "set"),
    ("flags",),
    ("flags", "list"),
    ("flags", "test"),
    ("user", "add"),
    ("encryption", "on"),
    ("encryption", "rotate"),
    ("access",),
    ("access", "set"),
    ("cache", "stats"),
    ("cache", "simulate"),
    ("cache", "explain"),
    ("cache", "purge"),
    ("cache", "rebuild"),
    ("prices",),
    ("reprice",),
    ("reparse",),
    ("ingest",),
    ("retention",),
    ("retention", "plan"),
    ("retention", "run"),
    ("retention", "apply"),
    ("retention", "hold"),
    ("redact", "test"),
    ("redact", "apply"),
    ("erase",),
    ("db",),
    ("db", "info"),
    ("db", "check"),
    ("db", "migrate"),
    ("db", "backup"),
    ("db", "restore"),
    ("db", "compact"),
    ("audit",),
    ("audit", "show"),
    ("audit", "verify"),
    ("doctor",),
    ("doctor", "secrets"),
    ("doctor", "client"),
)


def command_help() -> str:
    """The help of every command, as the terminal shows it at 80 columns."""
    shown = []
    for path in COMMANDS:
        result = CliRunner().invoke(
            cli, [*path, "--help"], prog_name="tracecli", terminal_width=80, obj=SimpleNamespace()
        )
        if result.exit_code != 0:
            raise RuntimeError(result.output)
        shown.append(
            f"```\n$ {' '.join(('tracecli', *path, '--help'))}\n{click.unstyle(result.output).rstrip()}\n```\n"
        )
    return "\n".join(shown)


def addon_options() -> str:
    """The options that the addon adds to mitmproxy, from its `load`."""
    tree = ast.parse((SOURCE.parents[1] / "addon" / "tracecli_addon.py").read_text("utf-8"))
    rows = ["| option | what it is |", "| --- | --- |"]
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "add_option":
            rows.append(f"| `{ast.literal_eval(node.args[0])}` | {_cell(ast.literal_eval(node.args[3]))} |")
    return "\n".join(rows) + "\n"


def policy_keys(name: str, module: str = "policy/rules.py") -> str:
    """The keys of `Settings`, of a policy file, a user file, a rule file or a dataset's definition, with defaults."""
    tree = ast.parse((SOURCE / module).read_text("utf-8"))
    classes = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}
    aliases = {ast.unparse(node.name): node.value for node in tree.body if isinstance(node, ast.TypeAlias)}

    def rows(of: str, prefix: str = "") -> Iterator[str]:
        for field, text in itertools.pairwise(classes[of].body):
            if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and field.value is not None:
                key, kind = prefix + field.target.id, ast.unparse(field.annotation).removesuffix(" | None")
                if kind in classes:
                    yield from rows(kind, f"{key}.")
                    continue
                kind = _kind(kind, aliases)
                yield f"| `{key}` | {kind} | {_default(field.value)} | {_cell(_docstring(text))} |"

    return "\n".join(["| key | type | default | what it does |", "| --- | --- | --- | --- |", *rows(name)]) + "\n"


def _kind(annotation: str, aliases: dict[str, ast.expr]) -> str:
    """A type as people who write TOML know it; of a choice, the choices."""
    node = aliases.get(annotation) or ast.parse(annotation, mode="eval").body
    if isinstance(node, ast.Subscript) and ast.unparse(node.value) == "Literal":
        return ", ".join(f"`{choice}`" for choice in ast.literal_eval(node.slice))
    return {
        "bool": "true or false",
        "int": "number",
        "float": "number",
        "str": "text",
        "list[Kind]": "list of texts",
        "list[str]": "list of texts",
        "dict[str, str]": "table of texts",
        "dt.datetime": "date and time",
    }[annotation]


def price_keys() -> str:
    """The keys of a `[[price]]` in prices.toml."""
    tree = ast.parse((SOURCE / "price_list.py").read_text("utf-8"))
    fields = next(node for node in ast.walk(tree) if isinstance(node, ast.ClassDef) and node.name == "Entry").body
    rows = ["| key | type | |", "| --- | --- | --- |"]
    kinds = {"Decimal": "number", "dt.date": "date", "str": "text"}
    for field, text in itertools.pairwise(fields):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
            kind = kinds[ast.unparse(field.annotation).removesuffix(" | None")]
            needed = "" if field.value else " Required."
            rows.append(f"| `{field.target.id.rstrip('_')}` | {kind} | {_cell(_docstring(text))}{needed} |")
    return "\n".join(rows) + "\n"


def _default(value: ast.expr) -> str:
    text = {"MAX_BODY_BYTES": "20000000", "DEFAULT": "default"}.get(ast.unparse(value)) or str(ast.literal_eval(value))
    return f"`{text.lower() if text in ('True', 'False') else text}`" if text not in ("", "[]", "{}", "None") else ""


def _docstring(node: ast.stmt) -> str:
    return str(ast.literal_eval(node.value)) if isinstance(node, ast.Expr) else ""


def query_fields() -> str:
    """The fields that a query can ask for."""
    examples = {
        "word": "`{0}:name`, `{0}:na*`",
        "words": '`{0}:word`, `{0}:"two words"`',
        "list": "`{0}:name`, `{0}:na*`",
        "choice": "",
        "status": "`{0}:200`, `{0}:4xx`, `{0}:>=400`",
        "truth": "`{0}:yes`, `{0}:no`",
        "money": "`{0}:>0.01`, `{0}:1..5`",
        "count": "`{0}:>10k`, `{0}:..500`",
        "score": "`{0}:>=4`, `{0}:1..2`",
        "duration": "`{0}:>2s`, `{0}:150ms..1s`",
        "since": "`{0}:2h`, `{0}:2026-11-01`",
        "until": "`{0}:1d`, `{0}:2026-11-01T14:30`",
        "id": "`{0}:01a2035b`",
        "content": '`{0}:word`, `{0}:"two words"`, `{0}:/[Rr]eg(ex)?/`',
    }
    rows = ["| field | what it is | as | also called |", "| --- | --- | --- | --- |"]
    for field in FIELDS.values():
        example = examples[field.kind].format(field.name) or ", ".join(f"`{choice}`" for choice in field.choices)
        others = ", ".join(f"`{alias}`" for alias in field.aliases)
        rows.append(f"| `{field.name}` | {_cell(field.help)} | {_cell(example)} | {others} |")
    return "\n".join(rows) + "\n"


def hosts() -> str:
    """The known hosts by provider."""
    found: dict[str, list[str]] = {}
    for host, provider in provider_hosts._EXACT.items():
        found.setdefault(provider, []).append(host)
    for suffix, rules in provider_hosts._SUFFIXES.items():
        for labels, provider in rules:
            found.setdefault(provider, []).append(f"{_glob(labels)}.{suffix}")
    for (host, port), provider in provider_hosts._LOCAL.items():
        found.setdefault(provider, []).append(f"{host}:{port}")
    rows = ["| provider | hosts |", "| --- | --- |"]
    rows += [f"| {name} | {', '.join(f'`{host}`' for host in names)} |" for name, names in found.items()]
    return "\n".join(rows) + "\n"


def _glob(labels: str | None) -> str:
    """A pattern of labels as people write one."""
    if labels is None:
        return "*"
    choices = re.sub(r"\(([^()]*)\)\?", r"[\1]", labels.replace("[a-z0-9-]+", "*").replace("\\.", "."))
    return re.sub(r"\(([^()]*)\)", lambda match: "{" + match[1].replace("|", ",") + "}", choices)


def clients() -> str:
    """The clients that are known, and the variables that each reads."""
    rows = ["| client | | its proxy | its authorities | |", "| --- | --- | --- | --- | --- |"]
    for client in CLIENTS:
        proxy, authorities = (", ".join(f"`{name}`" for name in names) for names in (client.proxy, client.authorities))
        told = f"{client.needs} [source]({client.source})".strip()
        rows.append(f"| {client.name} | {client.kind} | {proxy} | {authorities} | {_cell(told)} |")
    return "\n".join(rows) + "\n"


def tried_clients() -> str:
    """What `tests/clients/all_clients.py` saw."""
    tried = json.loads(Path(__file__).with_name("tried_clients.json").read_text("utf-8"))
    rows = ["| client | | version | on | recipe | plain | streamed |", "| --- | --- | --- | --- | --- | --- | --- |"]
    for one in tried:
        cells = [one[key] for key in ("client", "for", "version", "date", "recipe", "plain", "streamed")]
        rows.append(f"| {' | '.join(map(_cell, cells))} |")
    return "\n".join(rows) + "\n"


def client_variables() -> str:
    """The variables that are set, by what they are set to."""
    meanings = {
        "proxy": "the proxy's URL, with a password that says whose the calls are",
        "no_proxy": "what goes past the proxy: what was there before, and this machine",
        "bundle": "a file of the system's authorities, those that the variables named before, and ours",
        "switch": "`1`",
    }
    rows = ["| variables | value |", "| --- | --- |"]
    for kind, meaning in meanings.items():
        rows.append(f"| {', '.join(f'`{name}`' for name, of in VARIABLES.items() if of == kind)} | {meaning} |")
    return "\n".join(rows) + "\n"


def json_fields() -> str:
    """The fields of a row of `--json`, with the comments of the schema."""
    comments = meanings()
    rows = ["| field | |", "| --- | --- |"]
    rows += [
        f"| `{name}` | {_cell(comments.get(name, '').replace('NULL', 'null'))} |" for name in Row.__struct_fields__
    ]
    return "\n".join(rows) + "\n"


def exit_codes() -> str:
    """The exit codes of the command line."""
    rows = ["| code | means |", "| --- | --- |"]
    return "\n".join(rows + [f"| {code} | {text} |" for code, text in EXIT_CODES.items()]) + "\n"


def transparent_rules() -> str:
    """The rules of transparent mode, for nft and for iptables."""
    own, router = Interception(port=8081, users=(1000,)), Interception(port=8081, own=False, interfaces=("lan0",))
    shown = {
        "On one's own machine, for the user 1000, with nft:": firewall_rules.nft_table(own).expandtabs(4),
        "With iptables, and the same with ip6tables:": firewall_rules.iptables_load(own, 4),
        "On a router, for what comes in at `lan0`, with nft:": firewall_rules.nft_table(router).expandtabs(4),
        "And what has them act for some seconds more:": firewall_rules.nft_renew(own),
    }
    return "\n".join(f"{title}\n\n```\n{text}```\n" for title, text in shown.items())


def views() -> str:
    """The views of `tracecli sql`."""
    told = []
    for view in all_views():
        told += [f"`{view.name}`: {view.help}", "", "| column | type | |", "| --- | --- | --- |"]
        told += [f"| `{column.name}` | {column.kind} | {_cell(column.help)} |" for column in view.columns]
        told.append("")
    return "\n".join(told)


def dataset_formats() -> str:
    """The formats of training files, as a table, and the rules of each."""
    rows = ["| format | what for | keeps | limits |", "| --- | --- | --- | --- |"]
    rows += [
        f"| `{one.name}` | {_cell(one.title)} | {_cell(formats.keeps(one))} | {_cell(formats.limits(one))} |"
        for one in FORMATS.values()
    ]
    told = []
    for one in FORMATS.values():
        sources = " ".join(f"[[{number}]]({url})" for number, url in enumerate(one.urls, 1))
        told += ["", f"`{one.name}` ({one.kind}, `{one.suffix}`) {sources}", "", *(f"* {rule}" for rule in one.rules)]
    return "\n".join([*rows, *told]) + "\n"


def schema() -> str:
    """The schema of the database: its first version, and what each later one adds."""
    return "\n".join(script.read_text("utf-8") for script in MIGRATIONS)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
