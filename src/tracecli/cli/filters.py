"""What all commands take that look at some of the exchanges: a query, and options that say the same."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable, Sequence
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import click

from tracecli.query import syntax
from tracecli.query.errors import QueryError
from tracecli.query.fields import FIELDS
from tracecli.query.syntax import Query

_VALUES = ("user", "model", "provider", "operation", "status", "outcome", "policy", "session", "cache", "host", "tool")
_MORE = ("flag", "tag")
_BOUNDS = ("since", "until")
_LEAST = ("cost", "duration")
_TRUTHS = ("streamed", "traced")
_NO_TERM = re.compile(r"-[A-Za-z]|-")


class Asking(click.Command):
    """A command whose arguments are a query: `-status:200` is a term of it, and no cluster of options."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        options: list[str] = []
        terms: list[str] = []
        taking = {
            name for one in self.params if isinstance(one, click.Option) and _takes_value(one) for name in one.opts
        }
        rest = iter(args)
        for arg in rest:
            if arg == "--":
                terms += rest
            elif arg.startswith("--") or _NO_TERM.fullmatch(arg):
                options.append(arg)
                if arg in taking and (value := next(rest, None)) is not None:
                    options.append(value)
            else:
                terms.append(arg)
        return super().parse_args(ctx, [*options, "--", *terms])


def _takes_value(option: click.Option) -> bool:
    return not option.is_flag and not option.count


def options[**P, R](command: Callable[P, R]) -> Callable[P, R]:
    """The options that are terms of a query, as keyword arguments for `asked`."""
    made: list[Callable[[Callable[P, R]], Callable[P, R]]] = [
        click.option(
            f"--{name}",
            metavar=name.upper(),
            multiple=True,
            help=_sentence(FIELDS[name].help),
        )
        for name in (*_VALUES, *_MORE)
    ]
    made += [
        click.option("--since", metavar="WHEN", help="From then on: 30m, 2h, 7d, or a date."),
        click.option("--until", metavar="WHEN", help="Before then."),
        click.option("--min-cost", metavar="USD", help="Of this cost or more: 0.01."),
        click.option("--min-duration", metavar="TIME", help="That took as long or longer: 2s."),
        click.option("--errors", is_flag=True, help="What went wrong: a status from 400 on, a broken connection."),
        click.option("--streamed/--no-streamed", default=None, help="Asked for as a stream, or not."),
        click.option("--traced/--no-traced", default=None, help="Recorded with content, or without."),
    ]
    for option in reversed(made):
        command = option(command)
    return command


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."


def zone_options[**P, R](command: Callable[P, R]) -> Callable[P, R]:
    """`--zone` and `--utc`, as the keyword arguments `zone` and `utc` of `zone_of`."""
    command = click.option("--utc", is_flag=True, help="Show and read times in UTC.")(command)
    return click.option("--zone", metavar="NAME", help="Show and read times as there: Europe/Berlin.")(command)


def zone_of(zone: str | None, utc: bool) -> dt.tzinfo | None:
    """The zone that was asked for; None is the system's."""
    if utc:
        return dt.UTC
    if zone is None:
        return None
    try:
        return ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise click.BadParameter(
            f"{zone!r} is no time zone; write one as Europe/Berlin.", param_hint="--zone"
        ) from None


def asked(text: Sequence[str], given: dict[str, Any]) -> Query:
    """The query of the arguments and options. Raises QueryError."""
    parts = [syntax.parse(" ".join(text))]
    for name in (*_VALUES, *_MORE):
        if values := given.pop(name):
            parts.append(syntax.any_of([_of_option(name, value, syntax.term) for value in values]))
    for name in _BOUNDS:
        if (value := given.pop(name)) is not None:
            parts.append(_of_option(name, value, syntax.term))
    for name in _LEAST:
        if (value := given.pop(f"min_{name}")) is not None:
            parts.append(_of_option(f"min-{name}", value, lambda option, text: syntax.at_least(option[4:], text)))
    if given.pop("errors"):
        parts.append(syntax.yes_or_no("errors", wanted=True))
    for name in _TRUTHS:
        if (wanted := given.pop(name)) is not None:
            parts.append(syntax.yes_or_no(name, wanted=wanted))
    return syntax.all_of(parts)


def _of_option(name: str, value: str, read: Callable[[str, str], Query]) -> Query:
    try:
        return read(name, value)
    except QueryError as error:
        raise QueryError(f"--{name}: {error.problem}", error.remedy, error.text, error.at, error.end) from None
