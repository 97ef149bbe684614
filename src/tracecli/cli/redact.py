"""`tracecli redact`: what redaction takes out, and taking it out of what is recorded."""

from __future__ import annotations

import datetime as dt
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tracecli import config
from tracecli.cli import output
from tracecli.errors import ConfigError
from tracecli.policy.rules import Redaction

if TYPE_CHECKING:
    from tracecli.redaction import Rules

ALWAYS = "secrets"

_REF = re.compile(r"last|[0-9a-f]{8}[0-9a-f-]*", re.IGNORECASE)


_policy = click.option("--policy", metavar="NAME", help="By the rules of this policy.")
_kinds = click.option("--kind", "kinds", multiple=True, metavar="KIND", help="By this kind; may be given again.")
_words = click.option("--word", "words", multiple=True, metavar="WORD", help="By this word; may be given again.")
_patterns = click.option(
    "--pattern",
    "patterns",
    multiple=True,
    metavar="NAME=EXPRESSION",
    help="By this pattern; may be given again.",
)


@click.group("redact")
def command() -> None:
    """See what redaction takes out, and take it out of the past.

    A policy names kinds of personal data, words and patterns of its own (`[redaction]`). Keys, tokens and passwords are
    taken out whatever it says.
    """


@command.command("test")
@click.argument("what", default="-", metavar="[REF | FILE | -]")
@click.option("--text", metavar="TEXT", help="This text, in place of a file.")
@_policy
@_kinds
@_words
@_patterns
@click.option("--json", "as_json", is_flag=True, help="Print JSON: the text, and what was found where.")
def test(
    what: str,
    text: str | None,
    policy: str | None,
    kinds: tuple[str, ...],
    words: tuple[str, ...],
    patterns: tuple[str, ...],
    as_json: bool,
) -> None:
    """Show what would be taken out of a text, a file or a recorded request.

    The text without it goes to standard output, and what was found where to standard error. Without rules of your own,
    or --policy, every kind is looked for. A REF is an id, or `last`: then the bodies of its request and its answer are
    looked at. Nothing is changed.
    """
    by = _rules(policy, kinds, words, patterns)
    from tracecli.redaction import redact

    found: list[str] = []
    told: dict[str, str | None] = {}
    for name, body in _bodies(what, text):
        redacted = redact(body, None, by)
        if redacted.body is None:
            found.append(f"{name}: it is no text, and would not be kept" if name else "it is no text")
        else:
            found += [f"{name} {path}".strip() for path in redacted.paths]
        told[name] = None if redacted.body is None else redacted.body.decode("utf-8", "replace")
    if as_json:
        output.json({"found": found, "redacted": told if len(told) > 1 else next(iter(told.values()))})
        return
    for said in told.values():
        if said is not None:
            output.data((said if said.endswith("\n") else f"{said}\n").encode())
    output.say("\n".join(found) if found else "Nothing would be taken out.")


@command.command("apply")
@click.option("--where", metavar="QUERY", required=True, help="Of what fits: 'user:alice since:30d'.")
@_policy
@_kinds
@_words
@_patterns
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--json", "as_json", is_flag=True, help="Print the receipt as JSON.")
def apply(
    where: str,
    policy: str | None,
    kinds: tuple[str, ...],
    words: tuple[str, ...],
    patterns: tuple[str, ...],
    yes: bool,
    as_json: bool,
) -> int | None:
    """Take something out of what is recorded already, for good.

    By the rules of a policy, or by those named here; keys, tokens and passwords go always. Bodies, texts and rows are
    written anew, with a marker in the place of what was found, and what the cache has of these requests goes. Works
    while the proxy records and people read. What is on legal hold stays as it is.
    """
    from tracecli import erasing, finding
    from tracecli.cli.erase import carried_out, confirmed
    from tracecli.query import syntax
    from tracecli.rewriting import Rules

    if not (policy or kinds or words or patterns):
        raise click.UsageError("Say what goes: --policy, --kind, --word or --pattern.")
    named = _named_rules(policy, kinds, words, patterns)
    _compiled(named)
    query = syntax.parse(where)
    home = config.home()
    if not yes:
        number = len(finding.ids(home, query, dt.datetime.now(dt.UTC)))
        confirmed("Take it out of what was said in {}, for good?", number)
    what = f"redaction of {', '.join([*named.kinds, *named.expressions]) or ALWAYS}"
    rules = Rules(list(named.kinds), named.expressions)
    asked = erasing.ask(home, query, what, [], content_only=False, rules=rules)
    return carried_out(home, asked, as_json)


def _rules(policy: str | None, kinds: tuple[str, ...], words: tuple[str, ...], patterns: tuple[str, ...]) -> Rules:
    """What to look for; without any of these, every kind."""
    if policy or kinds or words or patterns:
        return _compiled(_named_rules(policy, kinds, words, patterns))
    from tracecli.redaction import KINDS

    return _compiled(Redaction(kinds=list(KINDS)))  # type: ignore[arg-type]


def _named_rules(
    policy: str | None, kinds: tuple[str, ...], words: tuple[str, ...], patterns: tuple[str, ...]
) -> Redaction:
    if not policy:
        return Redaction(kinds=list(kinds), words=list(words), patterns=_named(patterns))  # type: ignore[arg-type]
    if kinds or words or patterns:
        raise click.UsageError("--policy has rules of its own: leave out --kind, --word and --pattern.")
    from tracecli.policy.files import load

    policies = load(config.policy_folder(config.home())).policies
    if policy not in policies:
        raise ConfigError(f"there is no policy {policy!r}", f"Name one of: {', '.join(sorted(policies))}.")
    return policies[policy].settings.redaction


def _compiled(named: Redaction) -> Rules:
    from tracecli.redaction import rules

    try:
        return rules([*dict.fromkeys([*named.kinds, ALWAYS])], named.expressions)
    except ValueError as error:
        raise click.UsageError(f"{error}.") from None


def _named(patterns: tuple[str, ...]) -> dict[str, str]:
    pairs = [pattern.partition("=") for pattern in patterns]
    if not all(name and equals and expression for name, equals, expression in pairs):
        raise click.UsageError("--pattern needs NAME=EXPRESSION.")
    return {name: expression for name, _, expression in pairs}


def _bodies(what: str, text: str | None) -> list[tuple[str, bytes]]:
    """What is looked at: names and bodies, without content encoding."""
    if text is not None:
        return [("", text.encode("utf-8", "surrogateescape"))]
    if what == "-":
        return [("", sys.stdin.buffer.read())]
    if (path := Path(what)).is_file():
        try:
            return [("", path.read_bytes())]
        except OSError as error:
            raise ConfigError(f"cannot read {what}: {error.strerror}", "Make it readable.") from error
    if not _REF.fullmatch(what):
        raise ConfigError(
            f"there is no file {what}", "Name a file, an id of a request, `last`, or - for standard input."
        )
    from tracecli import browse

    opened = browse.open_exchange(config.home(), what)
    return [("request", opened.request.body), ("response", opened.response.body)]
