"""`tracecli ingest`: load the spool into the store."""

from __future__ import annotations

import logging
import os
import select
import signal
import sys
from pathlib import Path

import click

from tracecli import config

# Of a core that both want, the proxy gets nine tenths. Linux gives such a process a lower priority at the disk, too.
_NICENESS = 10


@click.command("ingest")
@click.option("--once", is_flag=True, help="Load what is finished, and end.")
@click.option(
    "--home", type=click.Path(path_type=Path), help="The home folder (default: TRACECLI_HOME or ~/.tracecli)."
)
@click.option("--policies", type=click.Path(path_type=Path), help="The policy folder, for its prices and flags.")
@click.option("--until-eof", is_flag=True, hidden=True, help="End when standard input ends and nothing is left.")
def command(once: bool, home: Path | None, policies: Path | None, until_eof: bool) -> None:
    """Load recorded exchanges from the spool into the store.

    The proxy does this by itself, in a process beside it; run it by hand after `tracecli_ingest` was turned off, or to
    load what a killed proxy left behind. Without --once it goes on until Ctrl-C.
    """
    from tracecli import erasing, ingest
    from tracecli.store import reencryption

    os.umask(0o077)
    os.nice(_NICENESS)
    logging.basicConfig(stream=sys.stderr, format="%(asctime)s %(levelname)s %(message)s", level=logging.INFO)
    stopped = _Stopped(until_eof)
    signal.signal(signal.SIGTERM, stopped.by_signal)
    if not once:
        signal.signal(signal.SIGINT, stopped.by_signal)
    place = config.home(home)
    chores: list[ingest.Chore] = [erasing.Eraser(place), reencryption.Reencrypter(place)]
    status = ingest.run(place, once=once, ended=stopped, policies=policies, chores=chores)
    if not until_eof:
        click.echo(f"{status.exchanges} exchanges loaded, {status.quarantined} quarantined", err=True)


class _Stopped:
    """Whether to end: after a signal, or when the process at the other end of standard input has gone."""

    def __init__(self, until_eof: bool) -> None:
        self.until_eof = until_eof
        self.stopped = False

    def by_signal(self, *_: object) -> None:
        self.stopped = True

    def __call__(self) -> bool:
        if self.until_eof and not self.stopped and select.select([0], [], [], 0)[0]:
            self.stopped = os.read(0, 1) == b""
        return self.stopped
