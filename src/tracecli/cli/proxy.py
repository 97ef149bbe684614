"""`tracecli proxy`: run the proxy."""

from __future__ import annotations

from pathlib import Path

import click

from tracecli import config
from tracecli.identity import DEFAULT_USER_HEADERS


@click.command("proxy")
@click.option("--listen", default="127.0.0.1:8080", show_default=True, metavar="HOST:PORT", help="Where to listen.")
@click.option(
    "--mode",
    "modes",
    multiple=True,
    default=["regular"],
    show_default=True,
    help="A mode of mitmproxy: regular, transparent, local, wireguard, reverse:URL, ... Can be repeated.",
)
@click.option(
    "--host",
    "hosts",
    multiple=True,
    metavar="HOST[:PORT][=PROVIDER]",
    help="Intercept this host too, besides the known AI providers. HOST may begin with `*.`. Can be repeated.",
)
@click.option(
    "--user-header",
    "user_headers",
    multiple=True,
    default=list(DEFAULT_USER_HEADERS),
    show_default=True,
    metavar="NAME",
    help="A request header that names the user; removed before the request goes on. Can be repeated.",
)
@click.option(
    "--home", type=click.Path(path_type=Path), help="The folder of all state (default: TRACECLI_HOME or ~/.tracecli)."
)
@click.option("--policies", type=click.Path(path_type=Path), help="The policy folder.")
@click.argument("mitmproxy_args", nargs=-1, type=click.UNPROCESSED, metavar="[-- MITMPROXY ARGS...]")
def command(
    listen: str,
    modes: tuple[str, ...],
    hosts: tuple[str, ...],
    user_headers: tuple[str, ...],
    home: Path | None,
    policies: Path | None,
    mitmproxy_args: tuple[str, ...],
) -> None:
    """Run the proxy: record calls to AI providers, pass everything else.

    It prints the two variables that a client needs. What follows `--` goes to mitmdump: `tracecli proxy -- -w FILE`.
    """
    from tracecli.proxy import runner

    state = config.home(home)
    runner.run(
        state,
        config.policy_folder(state, policies),
        runner.parse_listen(listen),
        modes,
        hosts,
        user_headers,
        mitmproxy_args,
    )
