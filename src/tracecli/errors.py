"""The one error tree; the command line turns each into one sentence and an exit code.

    TracecliError
    ├── QueryError         2  a query cannot be understood (in query/errors.py)
    ├── SqlError           2  an SQL statement cannot be run
    ├── ConfigError        3  an option, a policy file or a setting is wrong
    ├── ExchangeNotFound   4  no recorded exchange matches
    │   └── AmbiguousId    4  several do
    ├── HomeError          5  the home folder, the spool or the database cannot be used
    │   ├── StoreBusy      5  another process held the database for too long
    │   ├── NewerDatabase  5  a newer tracecli made the database
    │   ├── NotYours       5  the home is another's, and what was asked for is not for you
    │   ├── NoKey          5  what was recorded is encrypted, and its key is not to be had
    │   └── BackupError    5  a backup cannot be written, or not be restored
    ├── StoreError         5  the system's store of authorities cannot be changed
    ├── ProxyError         6  the proxy could not start (port in use, ...)
    ├── NoProxy            8  no proxy is running
    ├── CollectorError     9  a collector cannot be reached, or refuses
    ├── FirewallError     10  the firewall cannot be set: no permission, no tool, or it refuses
    ├── DatasetError      11  a dataset cannot be built: nothing fits, or too few examples are left
    ├── NotRunnable      126  the command of `tracecli run` cannot be executed
    └── CommandNotFound  127  there is no such command, or no such client

Exit code 2 is a command line that cannot be parsed, 1 a bug in tracecli, 130 an interrupt. Every message is one
sentence that names what is wrong, followed by the remedy.
"""

import errno

OF_THE_MACHINE = {
    errno.EROFS: "Make it writable, or name another place.",
    errno.ENOSPC: "Make room.",
    errno.EDQUOT: "Make room.",
    errno.EMFILE: "Let a process have more files open: `ulimit -n`.",
    errno.ENFILE: "Let the system have more files open: `sysctl fs.file-max`.",
    errno.EIO: "The disk is damaged, or gone: look after it.",
}
"""What the machine refuses anybody, by the number of the error, and the remedy."""


class TracecliError(Exception):
    """Something the user can act on."""

    exit_code = 1

    def __init__(self, problem: str, remedy: str) -> None:
        super().__init__(f"{problem}. {remedy}" if remedy else problem)
        self.problem = problem
        self.remedy = remedy


class SqlError(TracecliError):
    """An SQL statement cannot be run; `place` shows where it goes wrong, in lines of its own."""

    exit_code = 2

    def __init__(self, problem: str, remedy: str, place: str = "") -> None:
        super().__init__(problem, remedy)
        self.place = place

    def __str__(self) -> str:
        sentence = super().__str__()
        return f"{sentence}\n  {self.place.replace('\n', '\n  ')}" if self.place else sentence


class ConfigError(TracecliError):
    """An option, a policy file or a setting is wrong."""

    exit_code = 3


class ExchangeNotFound(TracecliError):
    """No recorded exchange matches what was asked for."""

    exit_code = 4


class AmbiguousId(ExchangeNotFound):
    """More than one recorded exchange matches an id prefix."""


class HomeError(TracecliError):
    """The home folder, the spool or the database cannot be used."""

    exit_code = 5


class StoreBusy(HomeError):
    """Another process held the database for longer than we wait."""


class NewerDatabase(HomeError):
    """The database was made by a newer tracecli."""


class NoKey(HomeError):
    """What was recorded is encrypted, and its key is not to be had, or is another one."""


class NotYours(HomeError):
    """The home is somebody else's, and what was asked for is not for everybody who may read it."""


class BackupError(HomeError):
    """A backup cannot be written, or not be restored."""


class StoreError(TracecliError):
    """The system's store of authorities cannot be changed."""

    exit_code = 5


class ProxyError(TracecliError):
    """The proxy could not start."""

    exit_code = 6


class NoProxy(TracecliError):
    """No proxy is running for the home."""

    exit_code = 8


class NotRunnable(TracecliError):
    """The command that `tracecli run` was given cannot be executed."""

    exit_code = 126


class CommandNotFound(TracecliError):
    """There is no command that `tracecli run` was given, or no client that is to be tried."""

    exit_code = 127


class CollectorError(TracecliError):
    """An OpenTelemetry collector cannot be reached, or refuses what it is sent."""

    exit_code = 9


class FirewallError(TracecliError):
    """The firewall cannot be set: there is no permission or no tool, or it refuses."""

    exit_code = 10


class DatasetError(TracecliError):
    """A dataset cannot be built of what there is."""

    exit_code = 11
