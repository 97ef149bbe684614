"""`tracecli dataset`: training files of what was recorded."""

from __future__ import annotations

import click

from tracecli.cli.dataset import building, card, defining, showing, validate


@click.group("dataset")
def command() -> None:
    """Make training files of what was recorded.

    A dataset is a definition with the requests that it chose, in versions: `create` it, `preview` what it makes,
    `build` the files.
    """


_COMMANDS: tuple[click.Command, ...] = (
    defining.create,
    showing.list_,
    showing.show,
    showing.preview,
    building.build,
    showing.diff,
    card.card,
    building.delete,
    validate.validate,
    validate.formats_,
)
for _one in _COMMANDS:
    command.add_command(_one)
