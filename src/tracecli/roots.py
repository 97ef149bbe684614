"""The certificate authorities that a machine trusts, as PEM files. Reads files only."""

from __future__ import annotations

import re
import ssl
from collections.abc import Iterable
from pathlib import Path

_CERTIFICATE = re.compile(
    rb"-----BEGIN (?:TRUSTED )?CERTIFICATE-----\s.*?-----END (?:TRUSTED )?CERTIFICATE-----", re.DOTALL
)
_KNOWN = (
    "/etc/ssl/certs/ca-certificates.crt",  # Debian, Arch, Alpine
    "/etc/pki/tls/certs/ca-bundle.crt",  # Fedora, RHEL
    "/etc/ssl/ca-bundle.pem",  # SUSE
    "/etc/ssl/cert.pem",  # macOS, FreeBSD
)
"""For a Python that was built on another system, and looks elsewhere."""


def system() -> Path:
    """The file of the system's roots, or of certifi's where there is none; SSL_CERT_FILE names another."""
    paths = ssl.get_default_verify_paths()
    for candidate in (paths.cafile, *_KNOWN):
        if candidate and Path(candidate).is_file():
            return Path(candidate)
    import certifi

    return Path(certifi.where())


def of_system() -> list[Path]:
    """The files of roots that are known and there, whatever the environment says."""
    own = ssl.get_default_verify_paths().openssl_cafile
    return [path for path in map(Path, dict.fromkeys((own, *_KNOWN))) if path.is_file()]


def joined(files: Iterable[Path]) -> bytes:
    """The certificates of all files, each once, in their order. Raises OSError if one cannot be read."""
    found: dict[bytes, bytes] = {}
    for path in files:
        for certificate in _CERTIFICATE.findall(path.read_bytes()):
            found.setdefault(b"".join(certificate.split()), certificate)
    return b"\n".join(found.values()) + b"\n"
