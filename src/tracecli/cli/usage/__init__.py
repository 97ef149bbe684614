"""`tracecli usage`: look at what was recorded."""

from __future__ import annotations

import click

from tracecli.cli.usage import counting, finding, notes, report, sessions, show


@click.group("usage")
def command() -> None:
    """Look at what was recorded: requests, tokens, cost."""


for _one in (
    show.show,
    finding.find,
    finding.tail,
    counting.stats,
    counting.me,
    counting.repeats,
    report.report,
    sessions.sessions,
    sessions.session,
    sessions.diff,
    notes.tag,
    notes.rate,
):
    command.add_command(_one)
