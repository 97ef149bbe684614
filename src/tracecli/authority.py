"""The certificate authority of the proxy, and the store of authorities that the system's programs trust.

On Linux a store is a folder of anchors and a command that makes the files of it that programs read; on macOS it is a
keychain. Sources: update-ca-certificates(8) of Debian, update-ca-trust(8) of Fedora, security(1) of macOS.
"""

from __future__ import annotations

import datetime as dt
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

from tracecli import roots
from tracecli.config import Home
from tracecli.errors import ConfigError, HomeError, StoreError

_MODE = 0o644
"""A certificate is for everybody to read."""


@dataclass(frozen=True)
class Authority:
    """What is known of the certificate."""

    file: Path
    certificate: x509.Certificate

    @property
    def subject(self) -> str:
        """Its name."""
        return self.certificate.subject.rfc4514_string()

    @property
    def sha256(self) -> str:
        """Its fingerprint, as browsers show it."""
        return self.certificate.fingerprint(hashes.SHA256()).hex(":").upper()

    @property
    def begins_at(self) -> dt.datetime:
        """In UTC."""
        return self.certificate.not_valid_before_utc

    @property
    def ends_at(self) -> dt.datetime:
        """In UTC."""
        return self.certificate.not_valid_after_utc

    @property
    def name(self) -> str:
        """Of its file among others."""
        return f"tracecli-{self.certificate.fingerprint(hashes.SHA256()).hex()[:12]}"

    @property
    def pem(self) -> bytes:
        """The certificate, without its key."""
        return self.certificate.public_bytes(Encoding.PEM)


def authority(home: Home) -> Authority:
    """That of a home. Raises ConfigError if there is none, HomeError if it cannot be read."""
    path = home.mitmproxy / "mitmproxy-ca-cert.pem"
    try:
        return Authority(path, x509.load_pem_x509_certificate(path.read_bytes()))
    except FileNotFoundError:
        raise ConfigError(
            f"there is no certificate authority in {home.mitmproxy} yet",
            "The first start of `tracecli proxy` or `tracecli run` makes it.",
        ) from None
    except ValueError as error:
        raise ConfigError(f"{path} is no certificate", "Move the folder away; the proxy makes another.") from error
    except OSError as error:
        raise HomeError(f"cannot read {path}: {error.strerror}", "Make it readable.") from error


def check(home: Home) -> None:
    """Raises ConfigError if clients could not trust what the proxy of a home signs; where nothing is yet, they can."""
    signing = home.mitmproxy / "mitmproxy-ca.pem"
    if not signing.exists():
        return
    one = authority(home)
    remedy = f"Move {home.mitmproxy} away: the next start makes another, which clients have to trust."
    if one.ends_at < dt.datetime.now(dt.UTC):
        raise ConfigError(f"the certificate authority {one.file} expired at {one.ends_at:%Y-%m-%d}", remedy)
    try:
        same = x509.load_pem_x509_certificate(signing.read_bytes()) == one.certificate
    except (OSError, ValueError) as error:
        raise ConfigError(f"{signing} holds no certificate that can be read", remedy) from error
    if not same:
        raise ConfigError(f"{one.file} is not the certificate of the authority in {signing}", remedy)


@dataclass(frozen=True)
class Anchors:
    """A store of Linux."""

    name: str
    folder: Path
    suffix: str
    add: tuple[str, ...]
    remove: tuple[str, ...]

    def file(self, one: Authority) -> Path:
        """Where the certificate is put."""
        return self.folder / f"{one.name}{self.suffix}"

    def steps(self, one: Authority) -> list[str]:
        """What installing does, for people."""
        return [f"write {self.file(one)}", f"run {' '.join(self.add)}"]

    def install(self, one: Authority) -> None:
        """Have the system trust it. Raises StoreError, and nothing is left, if that cannot be done."""
        file = self.file(one)
        try:
            file.write_bytes(one.pem)
            file.chmod(_MODE)
        except OSError as error:
            raise _refused(f"cannot write {file}: {error.strerror}") from error
        try:
            _run(self.add)
        except BaseException:
            file.unlink(missing_ok=True)
            raise

    def uninstall(self, one: Authority) -> bool:
        """Take it out again; whether it was there. Raises StoreError."""
        try:
            self.file(one).unlink()
        except FileNotFoundError:
            return False
        except OSError as error:
            raise _refused(f"cannot remove {self.file(one)}: {error.strerror}") from error
        _run(self.remove)
        return True

    def trusts(self, one: Authority) -> bool:
        """Whether it is among the system's roots."""
        wanted = b"".join(one.pem.split())
        return any(wanted in b"".join(path.read_bytes().split()) for path in roots.of_system())


@dataclass(frozen=True)
class Keychain:
    """The store of macOS."""

    name: str = "the System keychain"
    path: str = "/Library/Keychains/System.keychain"

    def steps(self, one: Authority) -> list[str]:
        """What installing does, for people."""
        return [f"run {' '.join(self._adding(one))}"]

    def _adding(self, one: Authority) -> tuple[str, ...]:
        return ("security", "add-trusted-cert", "-d", "-r", "trustRoot", "-k", self.path, str(one.file))

    def install(self, one: Authority) -> None:
        """Have the system trust it. Raises StoreError."""
        _run(self._adding(one))

    def uninstall(self, one: Authority) -> bool:
        """Take it out again; whether it was there. Raises StoreError."""
        if not self.trusts(one):
            return False
        _run(("security", "remove-trusted-cert", "-d", str(one.file)))
        sha1 = one.certificate.fingerprint(hashes.SHA1()).hex().upper()  # noqa: S303 - what security(1) asks for
        _run(("security", "delete-certificate", "-Z", sha1, self.path))
        return True

    def trusts(self, one: Authority) -> bool:
        """Whether the system does."""
        words = ("security", "verify-cert", "-c", str(one.file))
        return subprocess.run(words, capture_output=True, check=False).returncode == 0  # noqa: S603 - a fixed command


type Store = Anchors | Keychain


def store(root: Path = Path("/"), platform: str = sys.platform) -> Store:
    """The store of this system, below `root`. Raises StoreError if it is of no kind that is known."""
    if platform == "darwin":
        return Keychain()
    update, fresh = ("update-ca-certificates",), ("update-ca-certificates", "--fresh")
    extract = ("update-ca-trust", "extract")
    known = (
        Anchors("the store of Fedora and RHEL", root / "etc/pki/ca-trust/source/anchors", ".pem", extract, extract),
        Anchors("the store of SUSE", root / "etc/pki/trust/anchors", ".pem", update, update),
        Anchors("the store of Arch", root / "etc/ca-certificates/trust-source/anchors", ".crt", extract, extract),
        Anchors("the store of Debian and Alpine", root / "usr/local/share/ca-certificates", ".crt", update, fresh),
    )
    for one in known:
        if one.folder.is_dir() and shutil.which(one.add[0]):
            return one
    raise StoreError(
        "this system's store of authorities is of no kind that tracecli knows",
        "Give its own tool the file that `tracecli ca path` names; on Windows `certutil -addstore -f Root FILE`.",
    )


def _run(words: Sequence[str]) -> None:
    try:
        done = subprocess.run(  # noqa: S603 - a fixed command
            list(words), stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", check=False
        )
    except OSError as error:
        raise StoreError(f"cannot run {words[0]}: {error.strerror}", "Install the system's ca-certificates.") from error
    if done.returncode != 0:
        said = (done.stderr or done.stdout).strip().splitlines()
        raise _refused(f"{' '.join(words)} failed{': ' + said[-1] if said else ''}")


def _refused(problem: str) -> StoreError:
    return StoreError(problem, "It takes the rights of an administrator: `sudo env TRACECLI_HOME=... tracecli ca ...`.")
