"""`tracecli doctor`: each thing that can be broken is found, with its remedy."""

from __future__ import annotations

import datetime as dt
import json
import os
import platform
import shutil
from pathlib import Path
from types import SimpleNamespace

import duckdb
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.policy.folders import folder
from tests.support.encrypting import encrypt
from tests.support.exchanges import captured
from tests.support.upkeep import spooled, stored
from tracecli import keys
from tracecli.cli import surroundings
from tracecli.cli.doctor import BROKEN, examine
from tracecli.cli.found import Found
from tracecli.cli.main import run
from tracecli.config import Home
from tracecli.store import connection
from tracecli.store.reencryption import Reencrypter


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    """A home as it is while all is well."""
    made = Home(tmp_path / "home")
    made.prepare()
    connection.make(made)
    made.database.chmod(0o600)
    folder(tmp_path / "policies")
    authority(made, dt.timedelta(days=365))
    made.ca_bundle.touch()
    monkeypatch.setattr(surroundings, "DEFAULT", ("127.0.0.1", 0))
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=10**12))
    monkeypatch.setenv("TRACECLI_HOME", str(made.root))
    monkeypatch.setenv("TRACECLI_POLICIES", str(tmp_path / "policies"))
    return made


def authority(home: Home, left: dt.timedelta) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    end = dt.datetime.now(dt.UTC) + left
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(end - dt.timedelta(days=1000))
        .not_valid_after(end)
        .sign(key, hashes.SHA256())
    )
    home.mitmproxy.mkdir(exist_ok=True)
    (home.mitmproxy / "mitmproxy-ca-cert.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))


def one(home: Home) -> Found:
    (found,) = examine(home, home.root.parent / "policies")
    assert found.remedy
    return found


def test_all_is_well(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    """A home in order is said to be, with exit code 0."""
    assert run(["doctor"]) == 0
    out, err = capsys.readouterr()
    assert err == "Everything that was looked at is well.\n"
    lines = dict(line.split(": ok: ") for line in out.splitlines())
    assert f"Python {platform.python_version()}" in lines["versions"] and lines["disk"] == "1000.0 GB are free"
    assert lines["encryption"] == "it is off"
    assert run(["doctor", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["healthy"] and told["found"] == []
    assert {one["check"] for one in told["well"]} == set(told["checks"]) == set(lines)
    assert {"home", "policies", "database", "spool", "ingest", "quarantine", "authority"} <= set(told["checks"])


def test_encryption_that_is_on_or_off(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    """It says which of them it is, also of a home where it was on once; and what is left to be encrypted."""

    def said() -> list[str]:
        assert run(["doctor"]) == 0
        return [line for line in capsys.readouterr().out.splitlines() if line.startswith("encryption")]

    stored(home, captured())
    encrypt(home)
    assert said() == [
        "encryption: warning: files of content that are not encrypted with the newest key yet: 2. "
        "`tracecli ingest --once` goes on with it."
    ]
    Reencrypter(home, whole=True).step(dt.datetime.now(dt.UTC))
    assert said() == ["encryption: ok: it is on, and all content is encrypted with the newest key"]
    keys.turn_off(home)
    assert said()[0].startswith("encryption: warning: files of content that are still encrypted, though it is off: 2. ")
    Reencrypter(home, whole=True).step(dt.datetime.now(dt.UTC))
    assert said() == ["encryption: ok: it is off"]


def test_a_home_that_is_not_there(tmp_path: Path) -> None:
    """Before the first start there is nothing broken, and nothing is made."""
    (found,) = examine(Home(tmp_path / "home"), tmp_path / "home" / "policies")
    assert (found.check, found.severity) == ("home", "warning")
    assert not (tmp_path / "home").exists()


def test_broken_policies(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    """A wrong policy is named with its line, and the exit code is 7."""
    folder(home.root.parent / "policies", wrong="\ntracng = true")
    assert run(["doctor"]) == BROKEN == 7
    out, _ = capsys.readouterr()
    assert f"{home.root.parent}/policies/wrong.toml:2: key `tracng`: is unknown (did you mean `tracing`?)" in out
    assert run(["doctor", "--json"]) == BROKEN
    assert not json.loads(capsys.readouterr().out)["healthy"]


def test_a_home_that_others_read(home: Home) -> None:
    """A folder or file that others may use is named with the command that closes it."""
    home.spool.chmod(0o755)
    found = one(home)
    assert (found.severity, found.remedy) == ("error", f"`chmod 700 {home.spool}`")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_home_that_cannot_be_written(home: Home) -> None:
    """A home without the right to write is broken."""
    home.root.chmod(0o500)
    try:
        assert "cannot write to" in one(home).problem
    finally:
        home.root.chmod(0o700)


def test_a_newer_database(home: Home) -> None:
    """A database of a version that this tracecli does not know is broken."""
    with duckdb.connect(str(home.database)) as made:
        made.execute("INSERT INTO schema_version VALUES (999, now(), '9')")
    assert "has schema version 999" in one(home).problem


def test_a_damaged_database(home: Home) -> None:
    """A file that is no database is broken."""
    home.database.write_bytes(b"x" * 5000)
    assert one(home).check == "database"


def test_a_spool_that_is_behind(home: Home) -> None:
    """Segments that nobody loads are told; fresh ones are not."""
    spooled(home, captured())
    assert examine(home, home.root.parent / "policies") == []
    (segment,) = home.spool.glob("*.seg")
    os.utime(segment, (0, 0))
    found = one(home)
    assert found.check == "spool" and "1 segments wait" in found.problem
    assert "tracecli ingest --once" in found.remedy


def test_quarantine_and_ingest(home: Home) -> None:
    """What could not be read is a warning, a round that failed an error, a damaged status a warning."""
    (home.quarantine / "x.bin").write_bytes(b"abc")
    found = one(home)
    assert (found.check, found.severity) == ("quarantine", "warning") and "3 bytes" in found.problem
    (home.quarantine / "x.bin").unlink()
    home.status.write_text(json.dumps({"pid": 1, "last_error": "disk full"}))
    found = one(home)
    assert (found.severity, found.problem) == ("error", "ingest failed: disk full")
    home.status.write_text("{")
    assert one(home).severity == "warning"


@pytest.mark.parametrize(("days", "severity"), [(5, "warning"), (-1, "error")])
def test_an_authority_that_ends(home: Home, days: int, severity: str) -> None:
    """A certificate authority that expires soon is a warning, one that expired an error."""
    authority(home, dt.timedelta(days=days, hours=1))
    found = one(home)
    assert (found.check, found.severity) == ("authority", severity)


def test_an_authority_that_is_none(home: Home) -> None:
    """A damaged certificate is an error; a missing bundle or authority a warning."""
    home.ca_bundle.unlink()
    assert one(home).severity == "warning"
    path = home.mitmproxy / "mitmproxy-ca-cert.pem"
    path.write_text("x")
    assert one(home).severity == "error"
    path.unlink()
    assert one(home).severity == "warning"


def test_a_broken_rule(home: Home) -> None:
    """A rule that cannot be in force is found."""
    rules = home.root.parent / "policies" / "flags"
    rules.mkdir()
    (rules / "leak.toml").write_text("words = 1")
    found = one(home)
    assert (found.check, found.severity) == ("policies", "error")
    assert "leak.toml:1: key `words`" in found.problem
