"""The checks of `tracecli doctor` for what is around a home: programs, disk, clock, proxies, network, firewall."""

from __future__ import annotations

import contextlib
import datetime as dt
import html
import platform
import re
import shutil
import socket
import ssl
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from tracecli import config
from tracecli.cli import attributing
from tracecli.cli.found import Found, Well
from tracecli.config import Home
from tracecli.errors import FirewallError, StoreError, TracecliError

if TYPE_CHECKING:
    from tracecli.proxy import using
    from tracecli.proxy.running import RunningProxy

LITTLE_BYTES = 300_000_000
ENOUGH_BYTES = 3_000_000_000
_AHEAD = dt.timedelta(minutes=1)
_CLOCKS_S = 2.0
DEFAULT = ("127.0.0.1", 8080)
"""Where `tracecli proxy` listens unless it is told otherwise."""
_ASKED = ("api.openai.com", "api.anthropic.com", "generativelanguage.googleapis.com")
_ONLINE_S = 15.0
_OPENS_TUNNELS = ("regular", "upstream")
_TCP = (*_OPENS_TUNNELS, "reverse", "socks5", "transparent")
_NAMED = ("duckdb", "mitmproxy")


def versions(home: Home, policies: Path) -> Iterator[Found | Well]:
    """Python and the packages, against what tracecli asks for."""
    from packaging.requirements import Requirement
    from packaging.specifiers import SpecifierSet

    yield Well("versions", f"tracecli {metadata.version('tracecli')}")
    again = (
        "Install tracecli anew: `python3 -m uv sync` in the checkout, else `pip install --force-reinstall tracecli`."
    )
    wanted = SpecifierSet(metadata.metadata("tracecli")["Requires-Python"] or "")
    if platform.python_version() in wanted:
        yield Well("versions", f"Python {platform.python_version()}")
    else:
        problem = f"this is Python {platform.python_version()}, and tracecli takes {wanted}"
        yield Found("versions", "error", problem, f"Run it with another Python than {sys.executable}.")
    for one in map(Requirement, metadata.requires("tracecli") or []):
        if one.marker is not None and not one.marker.evaluate({"extra": ""}):
            continue
        try:
            there = metadata.version(one.name)
        except metadata.PackageNotFoundError:
            yield Found("versions", "error", f"the package {one.name} is missing", again)
            continue
        if not one.specifier.contains(there, prereleases=True):
            problem = f"{one.name} {there} is installed, and tracecli takes {one.specifier}"
            yield Found("versions", "error", problem, again)
        elif one.name in _NAMED:
            yield Well("versions", f"{one.name} {there}")


def trust(home: Home, policies: Path) -> Iterator[Found | Well]:
    """Whether the system trusts the authority; `tracecli run` does without that."""
    from tracecli import authority

    with contextlib.suppress(TracecliError):  # what is wrong with the authority itself, another check says
        one = authority.authority(home)
        try:
            trusted = authority.store().trusts(one)
        except StoreError:
            yield Well("trust", "this system's store of authorities is not known; `tracecli run` does without")
            return
        yield Well(
            "trust",
            "the system trusts the certificate authority"
            if trusted
            else "the system does not trust the certificate authority, which `tracecli run` and `tracecli env` do not "
            "need; `tracecli ca install` has it do so, for programs that read no variable",
        )


def disk(home: Home, policies: Path) -> Iterator[Found | Well]:
    """The room that is left, also for all that the spool may take."""
    from tracecli.policy import rules
    from tracecli.policy.files import load
    from tracecli.tables.values import size

    place = next(path for path in (home.root, *home.root.parents) if path.exists())
    free = shutil.disk_usage(place).free
    if free < LITTLE_BYTES:
        problem = f"{size(free)} are free where {home.root} is; without room nothing is recorded"
        yield Found("disk", "error", problem, "Make room, or name another home with TRACECLI_HOME.")
        return
    with contextlib.suppress(TracecliError):  # another check says what is wrong with a policy
        most = load(policies).policies[rules.DEFAULT].settings.retention.max_spool_bytes if policies.is_dir() else 0
        there = sum(path.stat().st_size for path in home.spool.glob("*")) if home.spool.is_dir() else 0
        if most and free + there < most + LITTLE_BYTES:
            problem = f"{size(free)} are free where {home.root} is, and the spool may grow to {size(most)}"
            remedy = "Make room, or lower it: `tracecli policy set default retention.max_spool_bytes=1000000000`."
            yield Found("disk", "warning", problem, remedy)
            return
    if free < ENOUGH_BYTES:
        problem = f"{size(free)} are free where {home.root} is"
        yield Found(
            "disk", "warning", problem, "Make room, or `tracecli retention` says for how long records are kept."
        )
        return
    yield Well("disk", f"{size(free)} are free")


def clock(home: Home, policies: Path) -> Iterator[Found | Well]:
    """Whether time goes forward: no record is of the future, and the disk's clock is ours."""
    from tracecli import browse

    if not home.root.exists():
        return
    with contextlib.suppress(TracecliError):  # another check says what is wrong with the database
        newest = browse.latest(home, 1)
        now = dt.datetime.now(dt.UTC)
        if newest and newest[0].started_at > now + _AHEAD:
            problem = f"the newest record is of {newest[0].started_at:%Y-%m-%d %H:%M:%S} UTC, and now is {now:%H:%M:%S}"
            remedy = "Set the clock (`timedatectl set-ntp true`); records keep the times that they have."
            yield Found("clock", "warning", problem, remedy)
            return
    with contextlib.suppress(OSError), tempfile.NamedTemporaryFile(dir=home.root, prefix=".doctor-") as probe:
        before = time.time()
        probe.write(b"x")
        probe.flush()
        written = Path(probe.name).stat().st_mtime
        if not before - _CLOCKS_S < written < time.time() + _CLOCKS_S:
            problem = f"the disk of {home.root} says that it is {abs(written - before):.0f} s "
            problem += "later" if written > before else "earlier"
            yield Found("clock", "warning", problem, "Set the clocks of both machines (`timedatectl set-ntp true`).")
            return
    yield Well("clock", "no record is of the future")


def proxies(home: Home, policies: Path) -> Iterator[Found | Well]:
    """Each proxy that runs: it is reached, takes calls, and has lost none. Without one, its port is free."""
    from tracecli.proxy import running

    found = running.proxies(home)
    for proxy in found:
        yield from _proxy(home, proxy)
    if found:
        return
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(DEFAULT)
        except OSError as error:
            problem = f"no proxy runs, and its port {DEFAULT[1]} cannot be had: {error.strerror}"
            remedy = "`tracecli proxy --listen 127.0.0.1:0` takes a free one; `tracecli run` does so by itself."
            yield Found("proxies", "warning", problem, remedy)
            return
    yield Well("proxies", f"none runs, and port {DEFAULT[1]} is free; `tracecli run` starts one")


def _proxy(home: Home, proxy: RunningProxy) -> Iterator[Found | Well]:
    from tracecli.proxy import using

    restart = f"End it (`kill {proxy.pid}`) and start it again."
    kinds = {mode.partition(":")[0].partition("@")[0] for mode in proxy.modes}
    for host, port in using.reachable(proxy):
        where = f"the proxy {proxy.pid} on {host}:{port}"
        if kinds <= set(_OPENS_TUNNELS):
            if not using.serves(host, port, *_login(home)):
                if (limit := _used_up(proxy.pid)) is not None:
                    problem = f"{where} takes no more calls: it has {limit:,} files and connections open, its limit"
                    remedy = "Raise that (`ulimit -n`, or LimitNOFILE= of its unit), or start it with --workers."
                    yield Found("proxies", "error", problem, remedy)
                    continue
                yield Found("proxies", "error", f"{where} does not take calls", restart)
                continue
        elif not kinds <= set(_TCP):
            continue  # UDP answers nobody who has no key
        elif not using.listens(host, port):
            yield Found("proxies", "error", f"{where} cannot be reached", restart)
            continue
        yield Well("proxies", f"{where} takes calls")
    if proxy.lost:
        problem = f"the proxy {proxy.pid} could not record {proxy.lost:,} exchanges"
        yield Found("proxies", "error", problem, f"See what it has written, and make room for {home.root}.")
    if proxy.version is not None and proxy.version != metadata.version("tracecli"):
        problem = f"the proxy {proxy.pid} is of tracecli {proxy.version}"
        yield Found("proxies", "warning", problem, f"It is not the one that is installed now. {restart}")


def _used_up(pid: int) -> int | None:
    """The limit of open files of a process that has reached it; None: it has not, or nothing tells."""
    if sys.platform != "linux":
        return None
    import resource

    try:
        limit, _ = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        taken = sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())
    except OSError:
        return None
    return limit if taken >= limit else None


def transparent(home: Home, policies: Path) -> Iterator[Found | Well]:
    """Firewall and forwarding, where `tracecli transparent up` has set them."""
    if sys.platform != "linux":
        return
    from tracecli.transparent import looking, state

    try:
        found = looking.look()
        said, _ = state.seen()
    except FirewallError as error:
        yield Well("transparent", f"could not be looked at: {error}")
        return
    if found.problem:
        yield Found("transparent", "error", found.problem, found.remedy or "`tracecli transparent down`.")
        return
    if not found.intercepting:
        yield Well("transparent", "not in use")
        return
    for one in said.settings if said else ():
        file = Path("/proc/sys") / one.name
        if one.value is not None and (now := file.read_text().strip()) != one.value:
            problem = f"the kernel's {one.name} is {now}, and has to be {one.value}: somebody has changed it"
            yield Found("transparent", "error", problem, f"`sysctl -w {one.name}={one.value}`")
            return
    yield Well("transparent", f"connections go to port {found.port}, by {found.firewall}")


def online(home: Home, policies: Path) -> Iterator[Found | Well]:
    """Whether providers answer through the proxy; anything that they say counts. Only if it is asked for."""
    from tracecli.clients import variables
    from tracecli.proxy import using

    with contextlib.ExitStack() as stack:
        reached, login = _running(home)
        if reached is None:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="tracecli-doctor-"))
            other = Home(Path(folder))  # what is asked here is in nobody's records
            other.prepare()
            given = config.environment()
            started = using.started_one(
                other, policies, ["--no-ingest"], variables.named(given), attributing.own_roots(home, given)
            )
            reached, _ = stack.enter_context(started)
            login = _login(other)
        url = reached.url(*login)
        trusted = ssl.create_default_context(cafile=reached.authority)
        with ThreadPoolExecutor(len(_ASKED)) as several:
            yield from several.map(lambda host: _ask(url, trusted, host), _ASKED)


def _running(home: Home) -> tuple[using.Reached | None, tuple[str, str]]:
    from tracecli.proxy import using

    if not using.addresses(home):
        return None, ("", "")
    login = _login(home)
    return using.running_one(home, None, *login), login


def _login(home: Home) -> tuple[str, str]:
    """User and password that the proxies of a home take."""
    return attributing.PROXY_USER, attributing.password(home, attributing.ticket(home, {}, None, None, None))


def _ask(url: str, trusted: ssl.SSLContext, host: str) -> Found | Well:
    """Ask a provider for its first page, without a key."""
    import httpx2

    try:
        with httpx2.Client(proxy=url, verify=trusted, trust_env=False, timeout=_ONLINE_S) as client:
            answer = client.get(f"https://{host}/")
    except httpx2.HTTPError as error:
        return _unreachable(host, str(error) or type(error).__name__)
    if answer.headers.get("server", "").startswith("mitmproxy"):  # the proxy's own words
        said = re.sub(r"<head>.*</head>|<[^>]*>", " ", answer.text, flags=re.DOTALL)
        return _unreachable(host, " ".join(html.unescape(said).split()))
    return Well("online", f"{host} answers, with status {answer.status_code}")


def _unreachable(host: str, why: str) -> Found:
    if "certificate" in why.lower():
        problem = f"the proxy does not trust who answers for {host}: {why}"
        remedy = (
            "A network that opens connections has an authority of its own: name its file to the proxy, "
            "`tracecli proxy -- --set ssl_verify_upstream_trusted_ca=FILE`, or in SSL_CERT_FILE for `tracecli run`."
        )
        return Found("online", "error", problem, remedy)
    remedy = "See whether it is reached without the proxy (`curl https://HOST/`); behind another proxy set HTTPS_PROXY."
    return Found("online", "error", f"{host} cannot be reached through the proxy: {why}", remedy.replace("HOST", host))
