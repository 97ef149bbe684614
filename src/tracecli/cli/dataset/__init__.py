"""`tracecli dataset`: training files of what was recorded."""

from __future__ import annotations

import click

from tracecli.cli.dataset import validate


@click.group("dataset")
def command() -> None:
    """Make training files of what was recorded."""


_COMMANDS: tuple[click.Command, ...] = (validate.validate, validate.formats_)
for _one in _COMMANDS:
    command.add_command(_one)
