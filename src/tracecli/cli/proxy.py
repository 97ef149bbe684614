"""`tracecli proxy`: run the proxy, and look whether one runs."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tracecli import config
from tracecli.cli import output
from tracecli.identity import DEFAULT_USER_HEADERS

if TYPE_CHECKING:
    from tracecli.proxy.running import RunningProxy, Status, Waiting

NOT_RUNNING = 8

_home = click.option(
    "--home", type=click.Path(path_type=Path), help="The folder of all state (default: TRACECLI_HOME or ~/.tracecli)."
)


class _Proxy(click.Group):
    """Runs the proxy where no command is named; what follows `--` is mitmproxy's."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        mitmproxy_args: list[str] = []
        if "--" in args and args[0] not in self.commands:
            at = args.index("--")
            args, mitmproxy_args = args[:at], args[at + 1 :]
        rest = super().parse_args(ctx, args)
        ctx.params["mitmproxy_args"] = tuple(mitmproxy_args)
        return rest


@click.group("proxy", cls=_Proxy, invoke_without_command=True, subcommand_metavar="[-- MITMPROXY ARGS...]")
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
    "--lane",
    type=click.Choice(["auto", "fast", "flows"]),
    default="auto",
    show_default=True,
    help="fast: our own HTTP/1.1; flows: mitmproxy's, which its addons see; auto: fast where none of them needs flows.",
)
@click.option(
    "--workers", type=click.IntRange(1, 64), default=1, show_default=True, metavar="N", help="Processes on the port."
)
@click.option("--stock", is_flag=True, help="Leave mitmproxy as it is: slower, and for any version of it.")
@_home
@click.option("--policies", type=click.Path(path_type=Path), help="The policy folder.")
@click.option("--inherited", hidden=True, help="A socket that listens already, for a worker.")
@click.option("--until-eof", is_flag=True, hidden=True, help="End when standard input ends.")
@click.option("--no-ingest", is_flag=True, hidden=True, help="Another process ingests.")
@click.pass_context
def command(
    context: click.Context,
    listen: str,
    modes: tuple[str, ...],
    hosts: tuple[str, ...],
    user_headers: tuple[str, ...],
    lane: str,
    workers: int,
    stock: bool,
    home: Path | None,
    policies: Path | None,
    inherited: str | None,
    until_eof: bool,
    no_ingest: bool,
    mitmproxy_args: tuple[str, ...],
) -> int | None:
    """Run the proxy: record calls to AI providers, pass all else.

    It prints the two variables that a client needs. What follows `--` goes to mitmdump: `tracecli proxy -- -w FILE`.
    """
    if context.invoked_subcommand is not None:
        _refuse_options(context)
        return None
    from tracecli.proxy import runner

    state = config.home(home)
    settings = runner.ProxySettings(
        home=state,
        policies=config.policy_folder(state, policies),
        listen=runner.parse_listen(listen),
        modes=modes,
        hosts=hosts,
        user_headers=user_headers,
        lane=lane,
        stock=stock,
        ingest=not no_ingest,
        inherited=None if inherited is None else runner.parse_inherited(inherited),
        until_eof=until_eof,
        mitmproxy_args=mitmproxy_args,
    )
    return runner.run(settings, workers)


@command.command("status")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@_home
def status(as_json: bool, home: Path | None) -> int | None:
    """Say which proxies are running, and how far what they recorded has come.

    The exit code is 8 if none is running.
    """
    import msgspec

    from tracecli.proxy import running

    state = config.home(home)
    found = running.status(state)
    if as_json:
        output.json(msgspec.to_builtins(found))
    else:
        lines = list(_lines(found))
        output.listing(lines, lines)
        if found.read_only:
            output.say(
                f"tracecli: the disk of {state.root} is read-only: nothing is recorded, what proxies say of themselves "
                "is of before, and what they lose is in what they write. Make it writable."
            )
        if not found.proxies:
            output.say(f"No proxy is running for {state.root}. Start one with `tracecli proxy`.")
    return None if found.proxies else NOT_RUNNING


def _lines(found: Status) -> Iterator[str]:
    from tracecli.tables.visible import line

    for proxy in found.proxies:
        yield line(f"proxy {proxy.pid}: {_where(proxy)}, {_what(proxy)}")
    if found.proxies or found.spool.segments:
        yield f"spool: {_waiting(found.spool)}"
    if found.ingest_error:
        yield line(f"ingest: {found.ingest_error}")


def _where(proxy: RunningProxy) -> str:
    ports = [f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in proxy.listen]
    where = f"on {', '.join(ports) or 'no port of its own'}"
    if proxy.started_at is None:
        return where
    return f"{where} since {dt.datetime.fromtimestamp(proxy.started_at).astimezone():%Y-%m-%d %H:%M}"


def _what(proxy: RunningProxy) -> str:
    lane = f"lane {proxy.lane or 'unknown'}"
    parts = [f"{lane}, flows for {proxy.flows_because}" if proxy.flows_because else lane]
    parts += [f"{count:,} recorded by {name}" for name, count in sorted(proxy.recorded.items())]
    parts += [f"{proxy.lost:,} lost"] if proxy.lost else []
    parts += [f"{proxy.dropped:,} without content, too much waited"] if proxy.dropped else []
    parts += [f"{len(proxy.workers)} workers"] if proxy.workers else []
    return ", ".join(parts)


def _waiting(waiting: Waiting) -> str:
    from tracecli.tables import values

    if not waiting.segments:
        return "all is loaded"
    segments = "1 segment" if waiting.segments == 1 else f"{waiting.segments:,} segments"
    there = f"{segments} of {values.size(waiting.bytes)} not loaded yet"
    return f"{there}, the oldest finished {values.duration(waiting.behind_s * 1000)} ago" if waiting.behind_s else there


def _refuse_options(context: click.Context) -> None:
    """Options before `status` would say nothing."""
    for name in context.params:
        if context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE:
            raise click.UsageError(f"`{context.invoked_subcommand}` takes its options after its name.", context)
