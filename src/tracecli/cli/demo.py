"""`tracecli demo`: see it work without an API key."""

from __future__ import annotations

import click

from tracecli.cli import output

_NEXT = """
That was the demo; its home is gone. To record your own calls:

  tracecli run -- python my_agent.py   runs a program and records its calls
  tracecli proxy                       runs a proxy that stays, and prints what a client needs
  tracecli usage show                  lists what was recorded
  tracecli usage show last             opens the latest"""


@click.command("demo")
def command() -> None:
    """See it work on a stand-in provider, without an API key.

    Starts a small provider on this machine and the real proxy before it, makes a few calls through it, one of which
    breaks off, and shows what was recorded. It takes a few seconds, uses no network and leaves nothing behind.
    """
    from tracecli import browse
    from tracecli.demo.stage import CALLS, OPENED, stage

    output.say("Starting a stand-in provider and the proxy ...")
    with stage() as demo:
        for call in CALLS:
            output.say(f"  {call.user:6} {call.what} ({call.provider})")
            demo.make(call)
        rows = demo.recorded()
        output.say("\n$ tracecli usage show")
        output.rows(rows, more=False)
        one = next(row for row in rows if row.user == OPENED.user)
        output.say(f"\n$ tracecli usage show {one.id}")
        output.opened(browse.open_exchange(demo.home, one.id))
    output.say(_NEXT)
