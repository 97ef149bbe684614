"""A program in the place of this one: in the same terminal and process group, with its signals and its exit code.

What the terminal sends (Ctrl-C, Ctrl-\\, a hang-up) reaches the program by itself; what others send to this process is
handed on. If the program stops for job control, so does this process. POSIX only.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path

from tracecli.errors import CommandNotFound, NotRunnable

_HANDED_ON = (
    *(signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT),
    *(signal.SIGUSR1, signal.SIGUSR2, signal.SIGALRM),
)
_BY_THE_TERMINAL = (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP)
_STOPS = (signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU)


def program(name: str, environment: Mapping[str, str]) -> str:
    """The file of a command. Raises CommandNotFound or NotRunnable."""
    if found := shutil.which(name, path=environment.get("PATH", os.defpath)):
        return found
    if "/" not in name:
        raise CommandNotFound(f"there is no command {name!r}", "Correct its name, or give its path.")
    path = Path(name)
    if not path.exists():
        raise CommandNotFound(f"there is no file {name}", "Correct the path.")
    if path.is_dir():
        raise NotRunnable(f"{name} is a folder", "Name a program in it.")
    raise NotRunnable(f"{name} is not executable", f"`chmod +x {name}`, or name what runs it, as `python {name}`.")


def run(file: str, words: Sequence[str], environment: Mapping[str, str]) -> int:
    """Run a program to its end; returns its exit code, 128 and the number of the signal that ended it.

    Raises NotRunnable if the system refuses it.
    """
    ours = [one for one in _HANDED_ON if signal.getsignal(one) is not signal.SIG_IGN]  # nohup(1) ignores one
    waited = {signal.SIGCHLD, *ours}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, waited)
    try:
        try:
            child = os.posix_spawn(
                file,
                list(words),
                dict(environment),
                setsigmask=before,
                setsigdef=[signal.SIGPIPE, signal.SIGXFSZ],  # Python ignores them, and ignoring is inherited
            )
        except OSError as error:
            raise NotRunnable(
                f"{file} cannot be executed: {error.strerror}", "Name what runs it, as `sh`, before it."
            ) from error
        return _to_the_end(child, waited)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _to_the_end(child: int, waited: set[signal.Signals]) -> int:
    while True:
        received, handed_on = _next(waited)
        if received != signal.SIGCHLD:
            if handed_on:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(child, received)
            continue
        done, status = os.waitpid(child, os.WNOHANG | os.WUNTRACED)
        if done == 0:
            continue
        if not os.WIFSTOPPED(status):
            return os.WEXITSTATUS(status) if os.WIFEXITED(status) else 128 + os.WTERMSIG(status)
        if os.WSTOPSIG(status) in _STOPS:
            os.kill(os.getpid(), signal.SIGSTOP)  # until the shell takes both up again
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGCONT)


def _next(waited: set[signal.Signals]) -> tuple[int, bool]:
    """The next signal, and whether the program has to be told of it: the terminal's reach both."""
    if not hasattr(signal, "sigwaitinfo"):  # macOS
        number = signal.sigwait(waited)
        return number, number not in _BY_THE_TERMINAL
    about = signal.sigwaitinfo(waited)
    return about.si_signo, about.si_code <= 0 or about.si_signo not in _BY_THE_TERMINAL
