"""Kinds of values that several commands take, as callbacks of their options."""

from __future__ import annotations

import datetime as dt

import click

from tracecli import when


def moment(context: click.Context, option: click.Parameter, value: str) -> dt.datetime:
    """An instant in UTC, as `when` reads it."""
    try:
        return when.moment(value, dt.datetime.now(dt.UTC))
    except ValueError as error:
        raise click.BadParameter(f"{error}.", context, option) from None
