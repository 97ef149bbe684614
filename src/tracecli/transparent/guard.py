"""The process behind `tracecli transparent up`: starts the proxy, sets the rules, and takes all back in the end.

It stays root, serves nobody and reads nothing that comes from outside. The proxy runs as a user, in the group that the
rules spare. When the proxy ends, however it does, the rules go at once. They are renewed only as long as the proxy
answers (`knock.py`): of one that hangs, and when this process is killed with it, they cease to act by themselves
(`rules.py`). The next `up` or `down` clears away what is left.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import msgspec

from tracecli import config
from tracecli.config import Home
from tracecli.errors import ConfigError, FirewallError, ProxyError, TracecliError
from tracecli.transparent import system
from tracecli.transparent.firewall import Firewall, choose, installed
from tracecli.transparent.knock import Knock
from tracecli.transparent.rules import LIVE_S, Interception
from tracecli.transparent.state import Held, State, Taken, held

RENEW_S = 2.0
_START_S = 60.0
_END_S = 15.0
_LOOK_S = 0.05
_DOWN_S = 30.0
_ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


@dataclass(frozen=True)
class Wanted:
    """What `tracecli transparent up` was asked for."""

    interception: Interception
    firewall: Firewall
    runs_as: pwd.struct_passwd
    home: Home
    proxy_args: tuple[str, ...]
    """More options of `tracecli proxy`, and after `--` of mitmproxy."""

    def command(self) -> list[str]:
        """The command line of the proxy."""
        # Connections of this machine's own are redirected to its loopback, those of others to the address of the
        # interface that they come in at.
        ipv4, ipv6 = ("0.0.0.0", "::") if self.interception.interfaces else ("127.0.0.1", "::1")  # noqa: S104 - a router's
        hosts = (ipv4, ipv6) if system.has_ipv6() else (ipv4,)
        own, mitmproxy_args = _split(self.proxy_args)
        modes = [f"--mode=transparent@{host}:{self.interception.port}" for host in hosts]
        # Clients keep their addresses, which mitmproxy would refuse if they are public. Nobody comes in from outside:
        # the rules let only redirected connections to this port.
        return [
            *(sys.executable, "-P", "-m", "tracecli", "proxy", f"--home={self.home.root}", *modes, *own),
            *("--", "--set", "block_global=false", *mitmproxy_args),
        ]


def _split(args: Sequence[str]) -> tuple[Sequence[str], Sequence[str]]:
    at = args.index("--") if "--" in args else len(args)
    return args[:at], args[at + 1 :]


def user(name: str) -> pwd.struct_passwd:
    """A user of this machine, by name or number. Raises ConfigError if there is none."""
    try:
        return pwd.getpwuid(int(name)) if name.isdecimal() else pwd.getpwnam(name)
    except (KeyError, OverflowError):
        raise ConfigError(f"there is no user {name!r} on this machine", "Give a name or a number of one.") from None


def caller() -> pwd.struct_passwd:
    """Who called sudo, or else who this is."""
    return user(config.sudo_user() or str(os.getuid()))


def up(wanted: Wanted, begun: str, say: Callable[[str], None]) -> None:
    """Intercept until a signal comes; then all is taken back. `say` is told `begun` once it has, and what is odd.

    Raises Taken if a guard is at it already, ProxyError if the port is taken, or the proxy does not start or ends,
    FirewallError if the rules cannot be set. Nothing is left then either.
    """
    with held() as file:
        clear(file)
        if who := system.listeners(wanted.interception.port):
            raise ProxyError(
                f"port {wanted.interception.port} is taken by {', '.join(who)}",
                "End that, or choose another port with --port.",
            )
        state = State(wanted.interception, wanted.firewall.name, str(wanted.home.root), os.getpid(), since=time.time())
        file.write(state)
        with _Signals() as signals:
            try:
                _intercept(wanted, file, state, signals, begun, say)
            except TracecliError as error:
                take_back(state)
                file.write(msgspec.structs.replace(state, set=False, settings=(), proxy=None, ended=error.problem))
                raise
            except BaseException:
                take_back(state)
                file.forget()
                raise
            take_back(state)
            file.forget()


def _intercept(
    wanted: Wanted, file: Held, state: State, signals: _Signals, begun: str, say: Callable[[str], None]
) -> None:
    """Until a signal comes. What is in `state` and in its file is there to be taken back, at any moment."""
    firewall, what = wanted.firewall, wanted.interception
    proxy = _start(wanted)
    state.proxy, state.proxy_started = proxy.pid, system.started(proxy.pid)
    file.write(state)
    ready_file = wanted.home.root / f"proxy-{proxy.pid}.json"
    deadline = time.monotonic() + _START_S
    while not ready_file.exists():
        if signals.asked(_LOOK_S, proxy):
            return
        _require_alive(proxy, started=False)
        if time.monotonic() > deadline:
            raise ProxyError(f"the proxy did not start within {_START_S:.0f} s", "See what it said.")
    state.settings = tuple(system.settings(what))
    file.write(state)
    system.apply(state.settings)
    firewall.load(what)
    firewall.renew(what)
    say(begun)
    _keep_renewing(firewall, what, proxy, signals, say)


def _keep_renewing(
    firewall: Firewall,
    what: Interception,
    proxy: subprocess.Popen[bytes],
    signals: _Signals,
    say: Callable[[str], None],
) -> None:
    """Until a signal comes; while the proxy does not answer, the rules are left to run out."""
    who, hangs = f"tracecli: the proxy (process {proxy.pid})", False
    knock = Knock(what.port)
    try:
        while not signals.asked(RENEW_S, proxy):
            _require_alive(proxy, started=True)
            if knock.answered():
                _renew(firewall, what, say)
                if hangs:
                    say(f"{who} answers again, and connections go to it")
                hangs = False
            elif time.monotonic() < knock.at + LIVE_S:
                continue
            elif not hangs:
                say(f"{who} does not answer: until it does, new connections go directly")
                hangs = True
            knock.close()
            knock = Knock(what.port)
    finally:
        knock.close()


def _renew(firewall: Firewall, what: Interception, say: Callable[[str], None]) -> None:
    try:
        firewall.renew(what)
    except FirewallError as error:
        say(f"tracecli: somebody has taken the rules out, and they are set again ({error.problem})")
        firewall.load(what)
        firewall.renew(what)


def _start(wanted: Wanted) -> subprocess.Popen[bytes]:
    who = wanted.runs_as
    command = wanted.command()
    try:
        # A session of its own keeps Ctrl-C from it: the rules go first.
        proxy = subprocess.Popen(  # noqa: S603 - our own interpreter and module
            command,
            env=config.environment(HOME=who.pw_dir, USER=who.pw_name, LOGNAME=who.pw_name),
            stdin=subprocess.DEVNULL,
            user=who.pw_uid,
            group=wanted.interception.group,
            extra_groups=os.getgrouplist(who.pw_name, who.pw_gid),
            start_new_session=True,
        )
    except OSError as error:
        raise ProxyError(
            f"{who.pw_name} cannot run {command[0]}: {error.strerror}",
            "Install tracecli where that user can read it, or name another one with --run-as.",
        ) from error
    (wanted.home.root / f"proxy-{proxy.pid}.json").unlink(missing_ok=True)  # of another process of that number
    return proxy


def _require_alive(proxy: subprocess.Popen[bytes], *, started: bool) -> None:
    code = proxy.poll()
    if code is None:
        return
    how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
    if not started:
        raise ProxyError(f"the proxy {how} before it listened", "It has said why, or its user cannot run it.")
    raise ProxyError(
        f"the proxy (process {proxy.pid}) {how}; the rules are taken out, and all traffic goes directly",
        "`tracecli transparent up` starts it again.",
    )


class _Signals:
    """Signals as something to wait for: none of them ends this process before all is taken back."""

    def __enter__(self) -> _Signals:
        self._reading, self._waking = socket.socketpair()
        self._waking.setblocking(False)
        self._asked = False
        for number in (*_ENDING, signal.SIGCHLD):
            if signal.getsignal(number) is not signal.SIG_IGN:  # nohup(1) ignores one
                signal.signal(number, lambda *_: None)
        signal.set_wakeup_fd(self._waking.fileno())
        return self

    def __exit__(self, *_: object) -> None:
        signal.set_wakeup_fd(-1)
        self._reading.close()
        self._waking.close()

    def asked(self, within_s: float, proxy: subprocess.Popen[bytes]) -> bool:
        """Whether this process is asked to end, within so many seconds; sooner if the proxy has ended."""
        deadline = time.monotonic() + within_s
        while not self._asked and proxy.poll() is None and (left := deadline - time.monotonic()) > 0:
            if select.select([self._reading], [], [], left)[0]:
                # What sets the rules is a child as well, whose end is no reason to set them again.
                self._asked = any(number in _ENDING for number in self._reading.recv(64))
        return self._asked


def down() -> bool:
    """Have the guard of this network namespace end, or take back what one has left; False: there was nothing.

    Raises FirewallError if that is refused.
    """
    deadline = time.monotonic() + _DOWN_S
    was_up = False
    while True:
        try:
            with held() as file:
                return clear(file) or was_up
        except Taken as taken:
            if time.monotonic() > deadline:
                guard = f"process {taken.state.guard}" if taken.state else "its process"
                raise FirewallError(
                    f"{guard} does not end", "End it with `kill -9`, and run `tracecli transparent down` again."
                ) from None
            if taken.state is not None and not was_up:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(taken.state.guard, signal.SIGTERM)
                was_up = True
            time.sleep(_LOOK_S)


def clear(file: Held) -> bool:
    """Take back what a guard has left; False: there was nothing. Raises FirewallError if that is refused."""
    state = file.state
    if state is not None and state.set:
        take_back(state)
        file.forget()
        return True
    file.forget()
    left = [firewall for firewall in installed() if firewall.listed()]
    for firewall in left:
        firewall.remove()
    return bool(left)


def take_back(state: State) -> None:
    """Take out the rules, restore the settings, end the proxy: in this order, and each though another fails."""
    with contextlib.ExitStack() as stack:
        if state.proxy is not None and state.proxy_started is not None:
            stack.callback(_end, state.proxy, state.proxy_started)
        stack.callback(system.restore, state.settings)
        stack.callback(choose(state.firewall).remove)


def _end(pid: int, started: int) -> None:
    """End a process, and wait for that."""
    deadline = time.monotonic() + _END_S
    number = signal.SIGTERM
    while system.started(pid) == started:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
        while system.started(pid) == started and time.monotonic() < deadline:
            time.sleep(_LOOK_S)
        number = signal.SIGKILL
        deadline = time.monotonic() + _END_S
