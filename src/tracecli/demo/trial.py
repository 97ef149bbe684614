"""Where a client is tried: a throw-away home, the stand-in provider, and the real proxy before it, as a process.

The proxy goes out through the stand-in and nowhere else, whatever host is asked for: nothing reaches a network.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tracecli.config import PRIVATE_FOLDER, Home
from tracecli.demo.stage import Signals
from tracecli.demo.standin import StandIn
from tracecli.launching import Launched, launch

ANSWER = "Hello from the stand-in."


@dataclass(frozen=True)
class Trial:
    """What there is while it goes on."""

    home: Home
    folder: Path
    """For the client: its home directory, and where it works."""
    provider: StandIn
    proxy: Launched
    port: int
    """Of the proxy."""


@contextlib.contextmanager
def trial() -> Iterator[Trial]:
    """Set everything up, and take everything down. Raises ProxyError if the proxy does not start."""
    with contextlib.ExitStack() as stack:
        signals = Signals()
        stack.enter_context(signals.heard())
        with signals.held():
            folder = Path(tempfile.mkdtemp(prefix="tracecli-trial-"))
            stack.callback(shutil.rmtree, folder, ignore_errors=True)
        provider = stack.enter_context(StandIn(folder, {}, ANSWER, pace=0))
        home, work = Home(folder / "home"), folder / "client"
        home.prepare()
        work.mkdir(PRIVATE_FOLDER)
        with signals.held():
            proxy = launch(home, _words(home, provider), ends_with_us=True)
            stack.callback(proxy.end, kill_ingest=True)
        port = proxy.ready()["listen"][0][1]
        stack.callback(signals.ignore)
        yield Trial(home, work, provider, proxy, port)


def _words(home: Home, provider: StandIn) -> list[str]:
    words = ["--home", str(home.root), "--policies", str(home.root / "policies"), "--listen", "127.0.0.1:0"]
    words += ["--until-eof"]
    words += ["--mode", f"upstream:http://127.0.0.1:{provider.port('proxy')}"]
    # It says who connects, and whose handshake fails.
    options = {"ssl_verify_upstream_trusted_ca": provider.authority, "termlog_verbosity": "info"}
    return [*words, "--", *(word for name, value in options.items() for word in ("--set", f"{name}={value}"))]
