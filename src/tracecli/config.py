"""Where everything is. The only module that reads the environment.

`TRACECLI_HOME`      the folder of all state (default `~/.tracecli`)
`TRACECLI_POLICIES`  the policy folder (default: `policies/` of the checkout tracecli runs from, else of the home)
`TRACECLI_HOSTS`     more hosts to intercept, separated by commas, as the option `tracecli_hosts` takes them
`TRACECLI_KEY`       the key of an encrypted home, in hexadecimal or Base64, in place of where the home says that it is;
                     `TRACECLI_KEY_FILE`, a file that holds it; `TRACECLI_KEY_COMMAND`, a command that prints it
`TRACECLI_UPSTREAM_AUTH`  user:password for the proxy that `--mode upstream:URL` names
`PAGER`              what shows a long list on a terminal (default `less -R`); empty or `cat`: nothing
`SUDO_USER`          who became another user with sudo: for the ledger of what was read, and as whom the proxy is to run
`TIKTOKEN_CACHE_DIR` where tiktoken keeps its vocabularies, for estimates
"""

from __future__ import annotations

import errno
import os
import pwd
import shlex
from dataclasses import dataclass
from pathlib import Path

from tracecli.errors import HomeError, NotYours

PRIVATE_FOLDER = 0o700
PRIVATE_FILE = 0o600
KEY = "TRACECLI_KEY"
UPSTREAM_AUTH = "TRACECLI_UPSTREAM_AUTH"

_package = Path(__file__).parent


@dataclass(frozen=True)
class Home:
    """The folder of all state, and the names in it."""

    root: Path

    @property
    def spool(self) -> Path:
        """Segments that the proxy writes and ingest removes."""
        return self.root / "spool"

    @property
    def bodies(self) -> Path:
        """Parquet files of recorded bodies."""
        return self.root / "bodies"

    @property
    def parts(self) -> Path:
        """Parquet files of the parts of bodies that are stored once."""
        return self.root / "parts"

    @property
    def said(self) -> Path:
        """What was said, as text: Parquet files."""
        return self.root / "said"

    @property
    def quarantine(self) -> Path:
        """What could not be read from the spool, byte for byte."""
        return self.root / "quarantine"

    @property
    def scratch(self) -> Path:
        """Files being written, before they get their name."""
        return self.root / "tmp"

    @property
    def database(self) -> Path:
        """The DuckDB file of usage records. Never open it with anything but DuckDB: closing drops DuckDB's lock."""
        return self.root / "traces.duckdb"

    @property
    def database_log(self) -> Path:
        """What a killed process wrote to the database and did not bring into its file; seldom there."""
        return self.root / "traces.duckdb.wal"

    @property
    def secret(self) -> Path:
        """The key of credential fingerprints."""
        return self.root / "fingerprint.key"

    @property
    def keys(self) -> Path:
        """The data keys of an encrypted home, themselves encrypted, and where their key is to be had."""
        return self.root / "keys.json"

    @property
    def ingest_lock(self) -> Path:
        """Held by the one process that ingests."""
        return self.root / "ingest.lock"

    @property
    def status(self) -> Path:
        """What ingest last counted, as JSON."""
        return self.root / "ingest.json"

    @property
    def ingest_log(self) -> Path:
        """What ingest had to say; no content."""
        return self.root / "ingest.log"

    @property
    def erasures(self) -> Path:
        """Erasures that were asked for, for the process that ingests, and their receipts."""
        return self.root / "erasures"

    @property
    def cache(self) -> Path:
        """The response cache: an SQLite file."""
        return self.root / "cache.db"

    @property
    def proxy_users(self) -> Path:
        """Who may call himself what at the proxy: names and hashes of secrets."""
        return self.root / "proxy-users.json"

    @property
    def policy_history(self) -> Path:
        """What was changed in the policy folder, and by whom; a journal of JSON lines."""
        return self.root / "policy-history.jsonl"

    @property
    def ledger(self) -> Path:
        """Who read what was recorded, and when; a chain of JSON lines."""
        return self.root / "ledger.jsonl"

    @property
    def access(self) -> Path:
        """Which groups beside the owner may read."""
        return self.root / "access.json"

    @property
    def datasets(self) -> Path:
        """Datasets: definitions, the ids that they chose, and what was built of them."""
        return self.root / "datasets"

    @property
    def coverage(self) -> Path:
        """What passed the proxy unrecorded: counts of hosts, in a file of each process and one of all."""
        return self.root / "coverage"

    @property
    def mitmproxy(self) -> Path:
        """The certificate authority and settings of `tracecli proxy`."""
        return self.root / "mitmproxy"

    @property
    def ca_bundle(self) -> Path:
        """The system's roots and our certificate authority in one file, for clients that take one."""
        return self.root / "ca-bundle.pem"

    @property
    def owner(self) -> str:
        """Whose it is, as the system calls him. Raises OSError."""
        return user_name(self.root.stat().st_uid)

    @property
    def foreign(self) -> bool:
        """Whether it is somebody else's, and this process may write nothing there."""
        try:
            owner = self.root.stat().st_uid
        except OSError:
            return False
        return owner != os.geteuid() and not os.access(self.root, os.W_OK)

    @property
    def read_only(self) -> bool:
        """Whether its disk is: nobody can write anything there."""
        try:
            return bool(os.statvfs(self.root).f_flag & os.ST_RDONLY)
        except OSError:  # there is no home
            return False

    def refuse_changes(self) -> None:
        """Raise NotYours if this process may write nothing there because it is somebody else's."""
        if self.foreign:
            raise NotYours(
                f"{self.root} belongs to {self.owner}, and nobody else changes it", "Ask its owner to do it."
            )

    def prepare(self) -> None:
        """Make the folders, private to their owner and those whom he lets read.

        Raises NotYours if it is somebody else's, HomeError if it cannot be done.
        """
        self.refuse_changes()
        shared = 0o050 if self.access.exists() else 0
        try:
            for folder in (self.root, self.spool, self.bodies, self.parts, self.said, self.quarantine, self.scratch):
                folder.mkdir(mode=PRIVATE_FOLDER, parents=True, exist_ok=True)
                if (mode := folder.stat().st_mode & 0o777) & 0o077 & ~shared:
                    folder.chmod(PRIVATE_FOLDER | mode & shared)
                if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
                    why = errno.EROFS if self.read_only else errno.EACCES
                    raise OSError(why, os.strerror(why), str(folder))
        except OSError as error:
            raise HomeError(
                f"cannot use the home folder {self.root}: {error.strerror} ({error.filename})",
                "Make it writable, or name another with TRACECLI_HOME.",
            ) from error


def user_name(uid: int) -> str:
    """The name of a user of the system, or his number where he has none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"


def home(folder: str | Path | None = None, of: Path | None = None) -> Home:
    """The home: `folder` if given, else `TRACECLI_HOME`, else `~/.tracecli`; `of` is another user's home directory."""
    chosen = folder or os.environ.get("TRACECLI_HOME") or (of or Path.home()) / ".tracecli"
    return Home(Path(chosen).expanduser().absolute())


def policy_folder(state: Home, folder: str | Path | None = None) -> Path:
    """The policy folder: `folder`, else `TRACECLI_POLICIES`, else that of the checkout, else that of the home."""
    chosen = folder or os.environ.get("TRACECLI_POLICIES")
    if chosen:
        return Path(chosen).expanduser().absolute()
    source = checkout()
    return source / "policies" if source else state.root / "policies"


def extra_hosts() -> list[str]:
    """The hosts that `TRACECLI_HOSTS` adds."""
    return [entry.strip() for entry in os.environ.get("TRACECLI_HOSTS", "").split(",") if entry.strip()]


@dataclass(frozen=True)
class KeySource:
    """Where the key of an encrypted home is to be had: one of these."""

    variable: str | None = None
    """The name of an environment variable."""
    file: str | None = None
    command: str | None = None
    """As for a shell, which is not used: words, and quotes around them."""


def key_source() -> KeySource | None:
    """What the environment says of it; None: nothing."""
    if os.environ.get(KEY):
        return KeySource(variable=KEY)
    if file := os.environ.get("TRACECLI_KEY_FILE"):
        return KeySource(file=file)
    if command := os.environ.get("TRACECLI_KEY_COMMAND"):
        return KeySource(command=command)
    return None


def secret_variable(name: str) -> str | None:
    """What an environment variable holds, of which a user gave the name; None: nothing."""
    return os.environ.get(name) or None


def upstream_auth() -> str | None:
    """User and password for the proxy behind ours; in the environment, for command lines are everybody's to see."""
    return os.environ.get(UPSTREAM_AUTH) or None


def pager() -> list[str] | None:
    """The program that shows what is longer than the screen, and its arguments; None: none is wanted."""
    command = shlex.split(os.environ.get("PAGER", "less"))
    if command == ["less"] and not os.environ.get("LESS"):
        command.append("-R")  # colours
    return None if command in ([], ["cat"]) else command


@dataclass(frozen=True)
class Otlp:
    """What OpenTelemetry's own variables say of the collector for traces; None: nothing."""

    endpoint: str | None
    """Its URL for traces."""
    headers: str
    """As `name=value,name=value`, percent-encoded; secrets."""
    service: str | None


def otlp() -> Otlp:
    """Of https://opentelemetry.io/docs/specs/otel/protocol/exporter/."""

    def of(name: str) -> str | None:
        return os.environ.get(f"OTEL_EXPORTER_OTLP_TRACES_{name}") or None

    general = os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT", "").rstrip("/")
    return Otlp(
        of("ENDPOINT") or (f"{general}/v1/traces" if general else None),
        of("HEADERS") or os.environ.get("OTEL_EXPORTER_OTLP_HEADERS", ""),
        os.environ.get("OTEL_SERVICE_NAME") or None,
    )


def environment(**changed: str) -> dict[str, str]:
    """All of it, with changes, for a process that is started."""
    return {**os.environ, **changed}


def sudo_user() -> str | None:
    """Who runs this process as somebody else, as sudo says; None: nobody."""
    return os.environ.get("SUDO_USER") or None


def vocabulary_folder() -> Path | None:
    """Where tiktoken's vocabularies are; None: nowhere."""
    folder = os.environ.get("TIKTOKEN_CACHE_DIR")
    return Path(folder).expanduser().absolute() if folder else None


def checkout() -> Path | None:
    """The checkout that this package runs from, or None when it is installed."""
    root = _package.parent.parent
    return root if (root / "addon" / "tracecli_addon.py").is_file() and (root / "policies").is_dir() else None


def shipped(name: str) -> Path:
    """A file that ships beside the package: `tracecli_addon.py`, `node-proxy.cjs` or `default.toml`."""
    if source := checkout():
        return source / ("policies" if name.endswith(".toml") else "addon") / name
    return _package / "_shipped" / name
