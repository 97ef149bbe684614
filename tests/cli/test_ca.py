"""`tracecli ca`: the authority is shown, and goes into the system's store and out of it, in a namespace of its own."""

from __future__ import annotations

import json
import shutil
import ssl
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.commands import environment, tracecli
from tracecli import authority
from tracecli.config import Home
from tracecli.errors import StoreError

DEBIAN = Path("/usr/local/share/ca-certificates").is_dir() and shutil.which("update-ca-certificates")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with an authority, made as mitmproxy makes it."""
    from mitmproxy.certs import CertStore

    folder = tmp_path_factory.mktemp("ca") / "home"
    CertStore.from_store(folder / "mitmproxy", "mitmproxy", 2048)
    return folder


def test_show_and_path(home: Path) -> None:
    """The certificate as OpenSSL sees it, and its file; without one a sentence says what makes it."""
    file = Path(tracecli(home, "ca", "path").stdout.rstrip("\n"))
    told = json.loads(tracecli(home, "ca", "show", "--json").stdout)
    words = ["openssl", "x509", "-in", str(file), "-noout", "-fingerprint", "-sha256"]
    sha256 = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    assert told["sha256"] == sha256.strip().partition("=")[2]
    assert told["file"] == str(file)
    shown = tracecli(home, "ca", "show").stdout
    assert told["sha256"] in shown and told["ends_at"][:10] in shown and "CN=mitmproxy" in shown
    assert "there is no certificate authority" in tracecli(home.parent / "other", "ca", "show", code=3).stderr


def test_nobody_to_ask(home: Path) -> None:
    """Without a terminal nothing is installed or removed unless --yes says so."""
    for command in ("install", "uninstall"):
        assert "add --yes" in tracecli(home, "ca", command, code=None).stderr or not DEBIAN


@pytest.mark.skipif(not DEBIAN, reason="this is no Debian")
def test_the_store_of_debian(home: Path, tmp_path: Path) -> None:
    """Installed, the system's own bundle holds it and OpenSSL trusts it; taken out, all is as it was.

    All of it in a mount namespace, with a store of three authorities: this machine's does not change.
    """
    for name in ("certs", "local"):
        (tmp_path / name).mkdir()
    known = [line for line in Path("/etc/ca-certificates.conf").read_text().splitlines() if line.startswith("mozilla/")]
    (tmp_path / "conf").write_text("\n".join(known[:3]) + "\n")
    us = f"{sys.executable} -m tracecli ca"
    leaf = home / "mitmproxy" / "mitmproxy-ca-cert.pem"
    bundle = "/etc/ssl/certs/ca-certificates.crt"
    script = f"""
set -e
mount --bind {tmp_path}/certs /etc/ssl/certs
mount --bind {tmp_path}/conf /etc/ca-certificates.conf
mount --bind {tmp_path}/local /usr/local/share/ca-certificates
update-ca-certificates --fresh
cp {bundle} {tmp_path}/before
{us} show | grep -q 'does not trust it'
{us} install --yes
{us} show | grep -q 'trusts it'
openssl verify -CApath /etc/ssl/certs {leaf}
{us} install --yes
{us} uninstall --yes
{us} show | grep -q 'does not trust it'
{us} uninstall --yes
cmp {bundle} {tmp_path}/before
test -z "$(ls -A /usr/local/share/ca-certificates)"
"""
    here = Path(bundle).read_bytes()
    words = ["unshare", "--map-root-user", "--mount", "sh", "-c", script]
    given = environment(home) | {"PATH": "/usr/sbin:/sbin:" + environment(home)["PATH"]}
    if subprocess.run([*words[:3], "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("no mount namespace can be made here")
    done = subprocess.run(words, env=given, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    said = [line for line in done.stderr.splitlines() if line.startswith(("It ", "The system"))]
    assert said == [
        "It is in the store of Debian and Alpine.",
        "The system trusts it already.",
        "It is out of the store of Debian and Alpine.",
        "It was not in the store of Debian and Alpine.",
    ]
    assert Path(bundle).read_bytes() == here


@pytest.mark.parametrize(
    ("folder", "tool", "suffix"),
    [
        ("etc/pki/ca-trust/source/anchors", "update-ca-trust", ".pem"),
        ("etc/pki/trust/anchors", "update-ca-certificates", ".pem"),
        ("etc/ca-certificates/trust-source/anchors", "update-ca-trust", ".crt"),
        ("usr/local/share/ca-certificates", "update-ca-certificates", ".crt"),
    ],
)
def test_the_stores_of_linux(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str, tool: str, suffix: str
) -> None:
    """The certificate is put where each looks for it, and its tool is run; if that fails, nothing stays."""
    anchors, bin_folder = tmp_path / folder, tmp_path / "bin"
    anchors.mkdir(parents=True)
    bin_folder.mkdir()
    (bin_folder / tool).write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/asked\n')
    (bin_folder / tool).chmod(0o755)
    monkeypatch.setenv("PATH", f"{bin_folder}:/usr/bin:/bin")
    one = authority.authority(Home(home))
    store = authority.store(tmp_path, "linux")
    store.install(one)
    (file,) = anchors.iterdir()
    assert file.suffix == suffix and file.stat().st_mode & 0o777 == 0o644
    assert ssl.PEM_cert_to_DER_cert(file.read_text()) == ssl.PEM_cert_to_DER_cert(one.file.read_text())
    assert store.uninstall(one) and not store.uninstall(one)
    assert len((tmp_path / "asked").read_text().splitlines()) == 2
    (bin_folder / tool).write_text("#!/bin/sh\necho no rights >&2\nexit 1\n")
    with pytest.raises(StoreError, match="no rights"):
        store.install(one)
    assert not list(anchors.iterdir())


def test_a_system_that_nobody_knows(tmp_path: Path) -> None:
    """It is said what to do by hand."""
    with pytest.raises(StoreError, match="tracecli ca path"):
        authority.store(tmp_path, "plan9")


def test_the_store_of_macos(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """security(1) is asked to trust the certificate for all, and to forget it by its SHA-1."""
    (tmp_path / "security").write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/asked\n')
    (tmp_path / "security").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    one = authority.authority(Home(home))
    store = authority.store(tmp_path, "darwin")
    store.install(one)
    assert store.uninstall(one)
    add, _, remove, delete = (tmp_path / "asked").read_text().splitlines()
    assert add == f"add-trusted-cert -d -r trustRoot -k /Library/Keychains/System.keychain {one.file}"
    assert remove == f"remove-trusted-cert -d {one.file}"
    assert delete.startswith("delete-certificate -Z ") and delete.endswith("/Library/Keychains/System.keychain")
